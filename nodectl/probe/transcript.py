"""The transcript: everything a node said in one probe, to be saved, sent along and checked again without the node."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from nodectl.model import Node, Reason
from nodectl.probe import files
from nodectl.probe import wire as framed
from nodectl.probe.files import TranscriptReadError, TranscriptWriteError, file_name
from nodectl.probe.reply import Section, SourceReply, source_reply

if TYPE_CHECKING:
    from nodectl.probe.framing import FrameReader
    from nodectl.transport.base import Reply

__all__ = [
    "Section",
    "SourceReply",
    "Transcript",
    "TranscriptReadError",
    "TranscriptWriteError",
    "file_name",
    "reframe",
    "write_transcript",
]


class Transcript(msgspec.Struct, kw_only=True, dict=True):
    """One node's reply with what is known about how it came.

    Attributes:
        started: RFC 3339 UTC.
        host_key: `ssh-ed25519 SHA256:...`, empty where there is none.
        nonce: what marks the control lines of `wire`.
        ending: `complete`; `eof` (the reply ended early); `gave_up` (what was left hung on the node); `timed_out` (the
            node's time was up); `too_big`; `no_start` (the probe did not run at all).
        reason: why the reply is not whole or not there, for a person.
        wanted: the sources that were asked for; empty means those that the node's start line names.
        note: what the node printed before the probe (a message of the day, a noisy profile).
        declared: what the inventory said that the node should be (`profile`, `groups`, `labels`, `expect`), and
            where (`origin`).
        wire: the reply as it came, from its start line on, capped.
    """

    node: str
    nonce: str
    wire: bytes = b""
    address: str = ""
    started: str = ""
    duration_ms: int = 0
    host_key: str = ""
    ending: str = "complete"
    reason: Reason | None = None
    wanted: tuple[str, ...] = ()
    note: str = ""
    declared: dict[str, Any] = msgspec.field(default_factory=dict)

    @cached_property
    def _decoded(self) -> framed.Decoded:
        return framed.decode(self.wire, self.nonce)

    @property
    def probe_version(self) -> int | None:
        """None when the probe did not run."""
        return self._number("version")

    @property
    def uid(self) -> int | None:
        """The user id that the probe ran as."""
        return self._number("uid")

    @property
    def epoch_s(self) -> int | None:
        """The node's own clock at the start of the probe, seconds since 1970."""
        return self._number("epoch")

    def _number(self, key: str) -> int | None:
        text = self._decoded.start.get(key, "")
        return int(text) if text.isascii() and text.isdigit() and len(text) < 16 else None

    @property
    def asked(self) -> tuple[str, ...]:
        """The sources that were asked for, in the order of the script."""
        return self.wanted or tuple(name for name in self._decoded.start.get("sources", "").split(",") if name)

    @cached_property
    def sources(self) -> dict[str, SourceReply]:
        """What came of every source that was asked, in the order of the script. Worked out at first use."""
        raw, begun = self._decoded.sources, self._decoded.begun
        flooding = ""
        if self.ending == "too_big":
            open_ones = [one for one in raw.values() if not one.ended]
            flooding = max(open_ones, key=lambda one: one.size).name if open_ones else ""
        return {
            name: source_reply(name, raw.get(name), self.ending, flooding, begun=name in begun) for name in self.asked
        }

    def source(self, name: str) -> SourceReply:
        """The reply of a source; state `missing` when it was not asked."""
        known = self.sources.get(name)
        return known or SourceReply(name, "missing", rc=None, note="the probe did not ask this")

    @property
    def reached(self) -> bool:
        """The probe ran there, if not to its end."""
        return bool(self._decoded.start)

    def declared_node(self) -> Node:
        """The node as far as a judgement needs it: what it is called and what it should be."""
        try:
            return msgspec.convert({"name": self.node, "address": self.address, **self.declared}, Node)
        except msgspec.ValidationError:
            return Node(name=self.node, address=self.address)

    @classmethod
    def of_reply(
        cls, node: Node, reply: Reply, reader: FrameReader, *, nonce: str, started: str, duration_ms: int
    ) -> Transcript:
        """What came of a probe: the transport's account of it and what the reader has read.

        Args:
            started: RFC 3339 UTC.
            nonce: the one that the script was composed with.
        """
        reason = reply.reason
        if reply.reached or reason is None:
            reason = reader.conclude(reason, stderr=reply.stderr, exit_status=reply.exit_status)
        return cls(
            node=node.name,
            nonce=nonce,
            wire=reader.transcript_wire(),
            address=node.address or node.name,
            started=started or reply.started,
            duration_ms=duration_ms,
            host_key=reply.host_key,
            ending=reader.ending,
            reason=reason,
            wanted=reader.sources,
            note=reader.note,
            declared=_declared(node),
        )

    @classmethod
    def unreached(cls, node: Node, reason: Reason, *, started: str = "", duration_ms: int = 0) -> Transcript:
        """Of a node that was not asked, or did not let us in."""
        return cls(
            node=node.name,
            nonce="",
            address=node.address or node.name,
            started=started,
            duration_ms=duration_ms,
            ending="no_start",
            reason=reason,
            declared=_declared(node),
        )

    def to_bytes(self) -> bytes:
        """As it stands in a file."""
        meta = {key: getattr(self, key) for key in _META}
        return files.pack({**meta, "probe_version": self.probe_version, "uid": self.uid}, self.wire)

    @classmethod
    def from_bytes(cls, data: bytes, origin: str = "transcript") -> Transcript:
        """The opposite; `origin` is what an error calls it.

        Raises:
            TranscriptReadError: not a transcript, of another version, or cut.
        """
        meta, wire = files.unpack(data, origin)
        try:
            found = msgspec.convert({key: meta[key] for key in _META if key in meta}, cls)
        except msgspec.ValidationError as error:
            raise TranscriptReadError(f"{origin}: not a transcript of nodectl: {error}; {files.AGAIN}") from None
        found.wire = wire
        return found

    def save(self, path: Path) -> Path:
        """Writes it, mode 0600, whole or not at all; into `NODE.ndt` when `path` is a folder. Gives the file's path.

        Raises:
            TranscriptWriteError: disk full, no permission, ...
        """
        target = path / file_name(self.node) if path.is_dir() else path
        files.write_file(target, self.to_bytes())
        return target

    @classmethod
    def load(cls, path: Path) -> Transcript:
        """Reads a saved one.

        Raises:
            TranscriptReadError: not there, not a transcript, of another version, or cut.
        """
        return cls.from_bytes(files.read_file(path), str(path))


_META = (
    "node",
    "nonce",
    "address",
    "started",
    "duration_ms",
    "host_key",
    "ending",
    "reason",
    "wanted",
    "note",
    "declared",
)


def _declared(node: Node) -> dict[str, Any]:
    """What a later judgement may ask of the inventory; nothing of how the node is reached."""
    return {
        "profile": node.profile,
        "groups": list(node.groups),
        "labels": node.labels,
        "expect": node.expect,
        "origin": node.origin,
    }


def write_transcript(
    sources: Mapping[str, Sequence[Section] | SourceReply],
    *,
    node: str = "node",
    nonce: str = "00000000000000000000000000000000",
    address: str = "",
    uid: int = 0,
    epoch_s: int = 1_796_000_000,
    uptime_s: float = 86_400.0,
    started: str = "2026-11-20T00:00:00Z",
    duration_ms: int = 1000,
    host_key: str = "",
) -> Transcript:
    """Builds a transcript from sections, with the bytes that a node would have sent. For tests and the demo fleet.

    Args:
        sources: sections of each source (it ran well), or a whole reply (for one that hung, was cut, ...).
    """
    parts = [framed.encode_start(nonce, sources, {"uid": uid, "epoch": epoch_s, "uptime": uptime_s})]
    for name, value in sources.items():
        reply = value if isinstance(value, SourceReply) else SourceReply(name, sections=tuple(value))
        parts.append(_encoded(name, reply, nonce, uptime_s))
    parts += [framed.encode_lane(0, f"@{nonce} lane\n".encode()), f"@{nonce} done\n".encode()]
    return Transcript(
        node=node,
        nonce=nonce,
        wire=b"".join(parts),
        address=address,
        started=started,
        duration_ms=duration_ms,
        host_key=host_key,
    )


def _encoded(name: str, reply: SourceReply, nonce: str, uptime_s: float) -> bytes:
    if reply.state == "missing":
        return b""
    mark = f"@{nonce} "
    duration_s = (reply.duration_ms if reply.duration_ms is not None else 10) / 1000
    timeout_s = max(round(duration_s), 1) if reply.state == "timeout" else 10
    out = [f"{mark}src {name} {uptime_s:.2f} {timeout_s}\n"]
    for section in reply.sections:
        out.append(f"{mark}begin {section.kind} {' '.join(section.name.splitlines())}\n{section.text}\n")
        out += [f"{mark}err {line}\n" for line in section.stderr.splitlines()]
        if section.rc is not None:
            out.append(f"{mark}end {section.rc}\n")
    if reply.state == "too_big":
        out.append(f"{mark}big\n")
    if reply.state == "timeout":
        duration_s, rc = float(timeout_s), 124
    else:
        rc = reply.rc or 0
    if reply.state != "cut":
        out.append(f"\n{mark}exit {name} {rc} {uptime_s + duration_s:.2f}\n")
    return framed.encode_lane(0, "".join(out).encode("utf-8", "replace"))


def reframe(transcript: Transcript, nonce: str, wanted: Collection[str]) -> bytes:
    """The reply of a recorded node to another script: same sections, other nonce, only the wanted sources.

    A source that was recorded but not wanted is left out; one that is wanted but was not recorded comes out as cut.
    """
    decoded = framed.decode(transcript.wire, transcript.nonce)
    mark = f"@{nonce} ".encode()
    fields = {key: value for key, value in decoded.start.items() if key not in ("version", "lanes", "sources")}
    parts = [framed.encode_start(nonce, wanted, fields)]
    for name in wanted:
        raw = decoded.sources.get(name)
        if raw is None:
            continue
        text = mark + f"src {name} {raw.began_s or 0:.2f} {raw.timeout_s}\n".encode() + raw.stray
        text += b"".join(b"\n" + mark + piece for piece in raw.pieces)
        if raw.big:
            text += b"\n" + mark + b"big"
        ended_s = raw.ended_s or 0
        if raw.ended == "exit":
            text += b"\n" + mark + f"exit {name} {'' if raw.rc is None else raw.rc} {ended_s:.2f}".encode()
        elif raw.ended:
            text += b"\n" + mark + f"{raw.ended} {name} {ended_s:.2f}".encode()
        parts.append(framed.encode_lane(0, text + b"\n"))
    parts += [framed.encode_lane(0, mark + b"lane\n"), mark + b"done\n"]
    return b"".join(parts)
