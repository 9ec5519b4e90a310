"""Facts of the kernel log since boot: Xids, SXids, faults of the host, and whether the log tells everything.

An empty list means "nothing in what could be read": only with `kernel.log_complete` does it mean "nothing happened".
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import msgspec

from nodectl.facts.kernel_log.gpu import Resets, sxid_events, xid_events
from nodectl.facts.kernel_log.host import KINDS, LEVELS, log_events
from nodectl.facts.kernel_log.lines import Clock, LogLine, read_lines, uptime_s
from nodectl.facts.registry import Context, FactSpec, Field
from nodectl.model import Fact, error, present

if TYPE_CHECKING:
    from nodectl.probe.transcript import Section, SourceReply

_SOURCE = "kernel_log"
_TIMES = (
    Field("count", "int", "", "lines in the log"),
    Field("first_s", "float", "s", "time of the first, seconds since the epoch, UTC"),
    Field("last_s", "float", "s", "time of the last"),
    Field("message", "str", "", "the first line"),
)
_RESET = Field("before_reset", "bool", "", "the log shows a driver load, or a reset of the device, after it: history")

FACTS: tuple[FactSpec, ...] = (
    FactSpec(
        name="xid.events",
        type="rows",
        about="Xid errors of NVIDIA GPUs in the kernel log since boot, one row per GPU and Xid",
        source=_SOURCE,
        fields=(
            Field("xid", "int", "", "number of the Xid"),
            Field("gpu_pci_bus_id", "str", "", "GPU, as 0000:4f:00.0"),
            *_TIMES,
            Field("incidents_24h", "int", "", "most incidents (lines a minute or more apart) in any 24 hours"),
            Field("process", "str", "", "first process that the log names"),
            Field("processes_count", "int", "", "different processes that it names"),
            Field("repeated_unit", "str", "", "GPC and TPC that more than one incident hit"),
            Field("links", "list", "", "numbers of the NVLinks that the lines name; none where they name none"),
            Field("fatal", "bool", "", "the line says fatal (true) or non-fatal (false)"),
            Field("nvlink5_errors", "list", "", "Xid 144 to 150: unit, information, status of each, as logged"),
            Field("previous_xid", "int", "", "Xid that the driver says caused this one"),
            Field("recovery_action_code", "int", "", "Xid 154: the newest recovery action (0 none, 1 GPU reset, ...)"),
            Field("recovery_action_text", "str", "", "Xid 154: the same as text"),
            _RESET,
        ),
    ),
    FactSpec(
        name="sxid.events",
        type="rows",
        about="SXid errors of NVSwitches in the kernel's or Fabric Manager's log since boot, one row per link",
        source=_SOURCE,
        fields=(
            Field("sxid", "int", "", "number of the SXid"),
            Field("nvswitch_pci_bus_id", "str", "", "NVSwitch, as 0000:06:00.0"),
            Field("link", "int", "", "link of the NVSwitch"),
            Field("fatal", "bool", "", "as the line says"),
            *_TIMES,
            _RESET,
        ),
    ),
    FactSpec(
        name="kernel.log_events",
        type="rows",
        about="Other faults in the kernel log since boot: PCIe, CPU, memory, NICs, disks, memory shortage, stuck tasks",
        source=_SOURCE,
        fields=(
            Field("kind", "str", "", ", ".join(KINDS)),
            Field("device", "str", "", "PCI address, disk, CPU, DIMM or process; empty when the line names none"),
            Field("level", "str", "", ", ".join(LEVELS)),
            *_TIMES,
        ),
    ),
    FactSpec(
        name="kernel.log_source",
        type="str",
        about="Where the kernel log was read: journal or dmesg",
        source=_SOURCE,
        varies=True,
    ),
    FactSpec(
        name="kernel.log_complete",
        type="bool",
        about="The kernel log that was read reaches back to boot and nothing of it was lost",
        source=_SOURCE,
        varies=True,
    ),
)

_JOURNAL = "journalctl -k -b -o short-unix"
_FIRST_JOURNAL = "first line of the journal"
_FIRST_DMESG = "first line of dmesg"
_DENIED = re.compile(
    r"not permitted|permission|needs root|not seeing messages|password is required|sudo:", re.IGNORECASE
)
_NOT_FOUND = re.compile(r"not found|No such file", re.IGNORECASE)
_LOST = re.compile(r"messages? (?:were )?lost")
_DROPPED = re.compile(r"^nd_dropped (\d+)$", re.MULTILINE)
# The first kernel message is written in the first second; a journal dates the early ones from its own start.
_DMESG_START_S = 5.0
_JOURNAL_START_S = 120.0


class _Log(msgspec.Struct, frozen=True):
    """One readable log of the reply."""

    source: str
    section: Any
    complete: bool
    command: str


def parse(reply: SourceReply, context: Context) -> Iterable[Fact]:
    """Facts of one reply of `kernel_log.sh`, or of recorded dmesg or journal text in the same sections."""
    clock = _clock(reply)
    logs = [log for log in (_journal(reply, clock), _dmesg(reply)) if log is not None]
    if not logs:
        return _all_errors(_why_unreadable(reply))
    log = next((log for log in logs if log.complete), logs[0])
    if any("Starting gVisor" in section.text for section in reply.sections if section.name == _FIRST_DMESG):
        return _all_errors("this is the log of a gVisor sandbox, not of the node's kernel: probe the node itself")
    lines = list(read_lines(log.section.text, clock))
    dropped = _DROPPED.search(log.section.text)
    lost = bool(dropped and int(dropped[1])) or any(_LOST.search(line.message) for line in lines)
    resets = Resets(loads=[], devices={})
    for line in lines:
        resets.note(line)
    values: dict[str, Any] = {
        "xid.events": xid_events(lines, resets),
        "sxid.events": sxid_events(lines, _fabric_manager(reply, clock), resets),
        "kernel.log_events": log_events(lines),
        "kernel.log_source": log.source,
        "kernel.log_complete": log.complete and not lost,
    }
    origin = {"source": _SOURCE, "command": log.command, "duration_ms": reply.duration_ms}
    return [present(name, value, **origin) for name, value in values.items()]


SOURCES = {_SOURCE: parse}


def _text_of(reply: SourceReply, name: str) -> str:
    return next((section.text for section in reply.sections if section.name == name), "")


def _clock(reply: SourceReply) -> Clock:
    btime = re.search(r"^btime (\d{1,12})", _text_of(reply, "btime"), re.MULTILINE)
    zone = re.match(r"([+-])(\d\d)(\d\d)", _text_of(reply, "date +%z"))
    offset = (int(zone[2]) * 3600 + int(zone[3]) * 60) * (-1 if zone[1] == "-" else 1) if zone else 0
    return Clock(boot_s=float(btime[1]) if btime else None, utc_offset_s=offset)


def _journal(reply: SourceReply, clock: Clock) -> _Log | None:
    section = _readable(reply, "journalctl")
    if section is None:
        return None
    first = _text_of(reply, _FIRST_JOURNAL)
    start = next(iter(read_lines(first, clock)), LogLine(""))
    near_boot = (
        start.first_s is not None and clock.boot_s is not None and start.first_s - clock.boot_s <= _JOURNAL_START_S
    )
    return _Log("journal", section, "Linux version" in first or near_boot, section.name)


def _dmesg(reply: SourceReply) -> _Log | None:
    section = _readable(reply, "dmesg")
    if section is None:
        return None
    start = uptime_s(_text_of(reply, _FIRST_DMESG) or section.text.lstrip("\n"))
    return _Log("dmesg", section, start is not None and start <= _DMESG_START_S, section.name)


def _readable(reply: SourceReply, command: str) -> Section | None:
    """The section of a log that was read to its end and not empty-handed for lack of permission."""
    for section in reply.sections:
        if section.name.split(" ")[0] == command and section.rc == 0 and not _denied_and_empty(section):
            return section
    return None


def _denied_and_empty(section: Section) -> bool:
    return bool(_DENIED.search(section.stderr)) and not section.text.replace("nd_dropped 0", "").strip()


def _fabric_manager(reply: SourceReply, clock: Clock) -> list[LogLine]:
    """Lines of fabricmanager.log written since boot; those with no time count."""
    since = clock.boot_s or 0.0
    lines = read_lines(_text_of(reply, "fabricmanager.log"), clock)
    return [line for line in lines if line.first_s is None or line.first_s >= since]


def _why_unreadable(reply: SourceReply) -> str:
    tried = [section for section in reply.sections if section.name.split(" ")[0] in ("journalctl", "dmesg")]
    said = " ".join(" ".join(section.stderr.split()) for section in tried)
    if _DENIED.search(said):
        return f"needs root: the kernel log could not be read ({said[:200]})"
    if reply.state != "ok":
        return f"the kernel log was not read to its end: {reply.note or reply.state}"
    if _NOT_FOUND.search(said) or any(section.rc == 127 for section in tried):
        return "neither journalctl nor dmesg was found on the node"
    return f"the kernel log could not be read: {said[:200] or 'no output'}"


def _all_errors(reason: str) -> list[Fact]:
    return [error(spec.name, reason, source=_SOURCE) for spec in FACTS]
