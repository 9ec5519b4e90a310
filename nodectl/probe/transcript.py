"""The transcript: everything a node said in one probe, to be saved, sent along and checked again without the node."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from functools import cached_property
from pathlib import Path

import msgspec

from nodectl.model import TRANSCRIPT_SCHEMA, Reason
from nodectl.probe import store
from nodectl.probe import wire as framed
from nodectl.probe.clean import clean, clean_line
from nodectl.probe.store import TranscriptReadError, TranscriptWriteError, file_name

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

MAX_SOURCE_BYTES = 4 * 1024 * 1024
MAX_SECTIONS = 4096

# What `timeout` and a shell say of a process that was ended by TERM or KILL.
_KILLED = frozenset((124, 137, 143))


class Section(msgspec.Struct, frozen=True):
    """One file or command of a source. Its texts went through `clean`.

    Attributes:
        kind: `file`, `cmd`, `grep` or `text`.
        name: the path, or the command line (without `sudo -n`), on one line.
        text: content or stdout, with or without a final newline, as the node had it.
        stderr: at most 50 lines, each ended by a newline.
        rc: exit status; None when the reply was cut before the section's end.
    """

    kind: str
    name: str
    text: str = ""
    stderr: str = ""
    rc: int | None = 0


class SourceReply(msgspec.Struct, frozen=True):
    """What came of one source.

    Attributes:
        state: `ok` (it ran to its end, whatever it found), `timeout` (it hung, or was never reached because another
            one did), `cut` (the connection ended first), `missing` (it was not asked), `too_big`.
        rc: exit status of the source itself.
        duration_ms: on the node's own clock, which ticks in 10 ms.
        note: why it is not ok, or what it said outside of its sections.
    """

    source: str
    state: str = "ok"
    sections: tuple[Section, ...] = ()
    rc: int | None = 0
    duration_ms: int | None = None
    note: str = ""

    def find(self, kind: str, name: str) -> Section | None:
        """The first section of that kind and exact name."""
        return next((one for one in self.sections if one.kind == kind and one.name == name), None)

    def first(self, prefix: str) -> Section | None:
        """The first section whose name begins so."""
        return next((one for one in self.sections if one.name.startswith(prefix)), None)

    def of_kind(self, kind: str) -> tuple[Section, ...]:
        return tuple(one for one in self.sections if one.kind == kind)


class Transcript(msgspec.Struct, kw_only=True, dict=True):
    """One node's reply with what is known about how it came.

    Attributes:
        started: RFC 3339 UTC.
        host_key: `ssh-ed25519 SHA256:...`, empty where there is none.
        nonce: what marks the control lines of `wire`.
        ending: `complete`; `eof` (the reply ended early); `gave_up` (what was left would not come); `too_big`;
            `no_start` (the probe did not run at all).
        reason: why the reply is not whole or not there, for a person.
        note: what the node printed before the probe (a message of the day, a noisy profile).
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
    note: str = ""

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
        """The sources that the script had in it, as the node's start line says."""
        return tuple(name for name in self._decoded.start.get("sources", "").split(",") if name)

    @cached_property
    def sources(self) -> dict[str, SourceReply]:
        """What came of every source that was asked, in the order of the script. Worked out at first use."""
        raw = self._decoded.sources
        flooding = ""
        if self.ending == "too_big":
            open_ones = [one for one in raw.values() if not one.ended]
            flooding = max(open_ones, key=lambda one: one.size).name if open_ones else ""
        return {name: _reply(name, raw.get(name), self.ending, flooding) for name in self.asked}

    def source(self, name: str) -> SourceReply:
        """The reply of a source; state `missing` when it was not asked."""
        known = self.sources.get(name)
        return known or SourceReply(name, "missing", rc=None, note="the probe did not ask this")

    def save(self, path: Path) -> Path:
        """Writes it, mode 0600, whole or not at all; into `NODE.ndt` when `path` is a folder. Gives the file's path.

        Raises:
            TranscriptWriteError: disk full, no permission, ...
        """
        meta = {"schema": TRANSCRIPT_SCHEMA, "probe_version": self.probe_version, "uid": self.uid}
        meta |= {key: getattr(self, key) for key in _META} | {"wire_bytes": len(self.wire)}
        target = path / file_name(self.node) if path.is_dir() else path
        store.write_file(target, msgspec.json.encode(meta) + b"\n" + self.wire)
        return target

    @classmethod
    def load(cls, path: Path) -> Transcript:
        """Reads a saved one.

        Raises:
            TranscriptReadError: not there, not a transcript, of another version, or cut.
        """
        meta, wire_bytes = store.read_file(path)
        try:
            return msgspec.convert({**meta, "wire": b""}, cls, strict=True)._with(wire_bytes)
        except msgspec.ValidationError as error:
            raise TranscriptReadError(f"{path}: not a transcript of nodectl: {error}; {store.AGAIN}") from None

    def _with(self, wire_bytes: bytes) -> Transcript:
        self.wire = wire_bytes
        return self


_META = ("node", "nonce", "address", "started", "duration_ms", "host_key", "ending", "reason", "note")


def _reply(name: str, raw: framed.RawSource | None, ending: str, flooding: str) -> SourceReply:
    if raw is None:
        state = "timeout" if ending == "gave_up" else "cut"
        return SourceReply(name, state, rc=None, note="the reply ended before this source was started")
    found, stray = framed.sections(raw, MAX_SECTIONS + 1)
    duration_ms = None
    if raw.began_s is not None and raw.ended_s is not None and raw.ended_s >= raw.began_s:
        duration_ms = round((raw.ended_s - raw.began_s) * 1000)
    state, note = _state(raw, ending, duration_ms)
    if raw.big or raw.size > MAX_SOURCE_BYTES or len(found) > MAX_SECTIONS or name == flooding:
        state, note = "too_big", f"sent more than the {MAX_SOURCE_BYTES >> 20} MiB or {MAX_SECTIONS} sections allowed"
        found = _within(found)
    return SourceReply(
        source=name,
        state=state,
        sections=tuple(_section(one) for one in found),
        rc=raw.rc,
        duration_ms=duration_ms,
        note=note or clean_line(stray, max_chars=400),
    )


def _state(raw: framed.RawSource, ending: str, duration_ms: int | None) -> tuple[str, str]:
    limit = f"{raw.timeout_s} s"
    if raw.ended == "exit":
        if raw.rc in _KILLED and duration_ms is not None and duration_ms >= raw.timeout_s * 1000 - 50:
            return "timeout", f"did not end within {limit} and was stopped"
        return "ok", ""
    if raw.ended == "stuck":
        return "timeout", f"did not end within {limit}, nor when it was killed (a hung driver or file system?)"
    if raw.ended == "skip":
        return "timeout", "was not started: the sources before it had used up the time"
    if ending == "gave_up":
        return "timeout", f"did not end within {limit}, and the node did not stop it"
    return "cut", "the connection ended before this source did"


def _within(found: list[framed.RawSection]) -> list[framed.RawSection]:
    """As many whole sections as fit into the limits."""
    kept, size = [], 0
    for one in found[:MAX_SECTIONS]:
        size += len(one.content)
        if size > MAX_SOURCE_BYTES:
            break
        kept.append(one)
    return kept


def _section(raw: framed.RawSection) -> Section:
    content = raw.content
    if raw.rc is None and content.endswith(b"\n"):
        content = content[:-1]
    return Section(
        kind=clean_line(raw.kind, max_chars=20),
        name=clean_line(raw.name, max_chars=1000),
        text=clean(content),
        stderr=clean(b"".join(line + b"\n" for line in raw.errors[:50]), max_total=20_000) if raw.errors else "",
        rc=raw.rc,
    )


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
        out.append(f"{mark}begin {section.kind} {' '.join(section.name.split())}\n{section.text}\n")
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
