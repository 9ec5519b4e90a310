"""What came of each source of a probe, ready for its parser."""

from __future__ import annotations

import msgspec

from nodectl.probe import wire
from nodectl.probe.clean import clean, clean_line
from nodectl.probe.compose import SOURCE_CAP_BYTES

MAX_SOURCE_BYTES = SOURCE_CAP_BYTES
MAX_SECTIONS = 4096

# What `timeout` and a shell say of a process that was ended by TERM or KILL.
_KILLED_HARD = 137
_KILLED = frozenset((124, _KILLED_HARD, 143))

# Endings of a reply at which what is missing was too slow.
_LATE = frozenset(("gave_up", "timed_out"))
_NOT_BEGUN = {
    "gave_up": "was not started: a source before it hung",
    "timed_out": "was not started before the time for this node was up",
    "no_start": "the probe did not run",
}
# Begun, but nothing of it came: the node holds back what a lane says until there is enough of it (mawk does).
_BEGUN = {
    "gave_up": "had begun, and its answer never came",
    "timed_out": "had begun, and its answer had not come when the time for this node was up",
}


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


def source_reply(
    name: str, raw: wire.RawSource | None, ending: str, flooding: str = "", *, begun: bool = False
) -> SourceReply:
    """The reply of one source.

    Args:
        raw: what came of it; None when the reply ended before anything did.
        ending: how the whole reply ended, as `Transcript.ending`.
        flooding: the source that was sending when the whole reply grew too big.
        begun: the node said that it begins this source.
    """
    if raw is None:
        state = "timeout" if ending in _LATE else "cut"
        if begun:
            note = _BEGUN.get(ending, "the reply ended before anything of this source came")
        else:
            note = _NOT_BEGUN.get(ending, "the reply ended before this source began")
        return SourceReply(name, state, rc=None, note=note)
    found, stray = wire.sections(raw, MAX_SECTIONS + 1)
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


def _state(raw: wire.RawSource, ending: str, duration_ms: int | None) -> tuple[str, str]:
    limit = f"{raw.timeout_s} s"
    if raw.ended == "exit":
        if raw.rc in _KILLED and duration_ms is not None and duration_ms >= raw.timeout_s * 1000 - 50:
            if raw.rc == _KILLED_HARD:
                return "timeout", f"did not end within {limit} and had to be killed (a hung driver or file system?)"
            return "timeout", f"did not end within {limit} and was stopped"
        return "ok", ""
    if raw.ended == "stuck":
        return "timeout", f"did not end within {limit}, nor when it was killed (a hung driver or file system?)"
    if raw.ended == "skip":
        return "timeout", "was not started: the sources before it had used up the time"
    if ending == "gave_up":
        return "timeout", f"did not end within {limit}, and the node did not stop it"
    if ending == "timed_out":
        return "timeout", "was still running when the time for this node was up"
    if ending == "too_big":
        return "cut", "another source sent too much, and the rest of the reply was not read"
    return "cut", "the reply ended before this source did"


def _within(found: list[wire.RawSection]) -> list[wire.RawSection]:
    """As many whole sections as fit into the limits; of the one that does not, what it was about."""
    kept: list[wire.RawSection] = []
    size = 0
    for one in found[:MAX_SECTIONS]:
        size += len(one.content)
        if size > MAX_SOURCE_BYTES or one.rc is None:
            return [*kept, wire.RawSection(one.kind, one.name, b"")]
        kept.append(one)
    return kept


_KINDS = {kind.encode(): kind for kind in ("cmd", "file", "grep", "text")}


def _section(raw: wire.RawSection) -> Section:
    content = raw.content
    if raw.rc is None and content.endswith(b"\n"):
        content = content[:-1]
    return Section(
        kind=_KINDS.get(raw.kind) or clean_line(raw.kind, max_chars=20),
        name=clean(raw.name, max_line=1000),
        text=clean(content),
        stderr=clean(b"".join(line + b"\n" for line in raw.errors[:50]), max_total=20_000) if raw.errors else "",
        rc=raw.rc,
    )
