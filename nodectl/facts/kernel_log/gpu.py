"""Xids and SXids out of kernel-log lines: which GPU or NVSwitch, how often, when, and what the driver advises."""

from __future__ import annotations

import bisect
import functools
import re
from collections.abc import Sequence
from typing import Any

import msgspec

from nodectl.facts.kernel_log.lines import LogLine

# "NVRM: Xid (PCI:0000:4f:00): 79, ...", old "NVRM: Xid (0000:3b:00): 48", and with a function "(PCI:0000:00:08.0)".
_XID = re.compile(r"NVRM: Xid \((?:PCI:)?([0-9a-fA-F:.]{5,20})[^)]{0,20}\): (\d{1,6})\b[, ]*(.*)")
_SXID = re.compile(r"nvidia-nvswitch\d+: SXid \((?:PCI:)?([0-9a-fA-F:.]{5,20})\): (\d{1,6})\b[, ]*(.*)")
_FABRIC_MANAGER = re.compile(
    r"detected NVSwitch (non-fatal|fatal) error (\d{1,6}) .*NVSwitch pci bus id ([0-9a-fA-F:.]{5,20})"
    r"(?: physical id \d+)?(?: port (\d+))?"
)
_RECOVERY = re.compile(
    r"recovery action changed from 0x([0-9a-fA-F]{1,4}) \(([^)]{0,60})\) to 0x([0-9a-fA-F]{1,4}) \(([^)]{0,60})\)"
)
_PROCESS = re.compile(r"\bname=([^,\s][^,]{0,60})")
_PREVIOUS = re.compile(r"caused by previous Xid (\d{1,5})")
_FATALITY = re.compile(r"\b(Non-?fatal|Fatal)\b", re.IGNORECASE)
_LINK = re.compile(r"\b[Ll]ink (\d{1,4})\b")
# Xid 144 to 150: `NETIR_LINK_EVT  Fatal   XC0 i0 Link 09 (0x025525c6 0x00000000 ...`.
_NVLINK5 = re.compile(
    r"\s*([A-Z][A-Z0-9_/]{2,60})\s+(?:Non-?fatal|Fatal)\b[^(]{0,60}\((0x[0-9a-fA-F]{1,8}) (0x[0-9a-fA-F]{1,8})"
)
_UNIT = re.compile(r"\(GPC (\d{1,3}), TPC (\d{1,3})")
_DRIVER_LOAD = re.compile(r"NVRM: loading NVIDIA UNIX")
_DEVICE_RESET = re.compile(r"(?:nvidia|vfio-pci) ([0-9a-f:.]{7,20}): (?:reset done|resetting)")

# One crash writes its lines within seconds; a second one this long after is another incident.
INCIDENT_GAP_S = 60.0
_DAY_S = 86400.0
# 16 GPUs with every Xid there is; a node that sends more is not telling the truth.
MAX_ROWS = 4000
MAX_LINKS = 100


@functools.lru_cache(maxsize=1024)
def pci_bus_id(text: str) -> str:
    """`0000:4f:00.0` out of any way to write a PCI address (`4F:00`, `PCI:0000:4f:00`, `00000000:4F:00.0`).

    Text that is no PCI address comes back in lower case.
    """
    body, _, function = text.lower().removeprefix("pci:").partition(".")
    parts = body.split(":")
    if len(parts) == 2:
        parts = ["0", *parts]
    try:
        domain, bus, device = (int(part, 16) for part in parts)
        return f"{domain:04x}:{bus:02x}:{device:02x}.{int(function or '0', 16):x}"
    except ValueError:
        return text.lower()


class Spans:
    """When lines of one group were written: how many, first, last, and how many incidents apart in time."""

    __slots__ = ("_spans", "count")

    def __init__(self) -> None:
        self.count = 0
        self._spans: list[tuple[float, float]] = []

    def add(self, line: LogLine) -> None:
        self.count += line.count
        if line.first_s is not None and line.last_s is not None:
            self._spans.append((line.first_s, max(line.first_s, line.last_s)))

    @property
    def first_s(self) -> float | None:
        return min((start for start, _ in self._spans), default=None)

    @property
    def last_s(self) -> float | None:
        return max((end for _, end in self._spans), default=None)

    def incidents(self) -> list[float]:
        """Start times of the incidents: groups of lines more than `INCIDENT_GAP_S` apart, in order."""
        starts: list[float] = []
        until = float("-inf")
        for start, end in sorted(self._spans):
            if start - until > INCIDENT_GAP_S:
                starts.append(start)
            until = max(until, end)
        return starts

    def most_in_a_day(self) -> int | None:
        """The most incidents that any 24 hours hold; None when the log has no times."""
        starts = self.incidents()
        if not starts:
            return None
        return max(bisect.bisect_right(starts, start + _DAY_S) - i for i, start in enumerate(starts))


class _Group:
    """Lines of one (GPU, Xid) before or after the last reset."""

    __slots__ = ("action", "fatal", "links", "message", "nvlink5", "previous", "processes", "spans", "units")

    def __init__(self, message: str) -> None:
        self.message = message
        self.spans = Spans()
        self.processes: list[str] = []
        self.action: tuple[int, str] | None = None
        self.previous: int | None = None
        self.fatal: bool | None = None
        self.links: set[int] = set()
        self.nvlink5: dict[str, None] = {}
        self.units: dict[str, Spans] = {}

    def add(self, line: LogLine, rest: str) -> None:
        self.spans.add(line)
        if (match := _PROCESS.search(rest)) and "unknown" not in match[1] and match[1] not in self.processes:
            self.processes.append(match[1])
        if match := _RECOVERY.search(rest):
            self.action = (int(match[3], 16), match[4])
        if match := _PREVIOUS.search(rest):
            self.previous = int(match[1])
        if match := _FATALITY.search(rest):
            self.fatal = bool(self.fatal) or match[1].lower() == "fatal"
        if len(self.links) < MAX_LINKS and (match := _LINK.search(rest)):
            self.links.add(int(match[1]))
        if (match := _NVLINK5.match(rest)) and len(self.nvlink5) < MAX_LINKS:
            self.nvlink5[" ".join(match.groups())] = None
        if (match := _UNIT.search(rest)) and (len(self.units) < 500 or match[0] in self.units):
            self.units.setdefault(f"GPC {match[1]}, TPC {match[2]}", Spans()).add(line)

    def repeated_unit(self) -> str | None:
        """The GPC and TPC that most incidents hit, if more than one did."""
        most = {unit: len(spans.incidents()) for unit, spans in self.units.items()}
        unit = max(most, key=lambda name: most[name], default=None)
        return unit if unit is not None and most[unit] > 1 else None


def _reset_device(message: str) -> str:
    """The device that a message says was reset: by the PCI core, or because its recovery action went back to none."""
    if match := _DEVICE_RESET.match(message):
        return pci_bus_id(match[1])
    if "recovery action" not in message:
        return ""
    match = _XID.search(message)
    action = _RECOVERY.search(match[3]) if match else None
    return pci_bus_id(match[1]) if match and action and int(action[3], 16) == 0 else ""


class Resets(msgspec.Struct):
    """When the driver was loaded (for every GPU) and when single devices were reset, as far as the log says."""

    loads: list[float] = []
    devices: dict[str, float] = {}

    def note(self, line: LogLine) -> None:
        if line.last_s is None:
            return
        if _DRIVER_LOAD.match(line.message):
            self.loads.append(line.last_s)
        device = _reset_device(line.message)
        if device:
            self.devices[device] = max(line.last_s, self.devices.get(device, line.last_s))

    def after(self, device: str, line: LogLine) -> bool:
        """True when the driver was loaded or the device reset after (the last of) this line."""
        if line.last_s is None:
            return False
        return max([*self.loads, self.devices.get(device, float("-inf"))], default=float("-inf")) > line.last_s


def xid_events(lines: Sequence[LogLine], resets: Resets) -> list[dict[str, Any]]:
    """Rows of `xid.events`: one per GPU, Xid and side of the last reset, in the order of their first line."""
    groups: dict[tuple[str, int, bool], _Group] = {}
    for line in lines:
        match = _XID.search(line.message) if "Xid (" in line.message else None
        if match is None:
            continue
        device = pci_bus_id(match[1])
        key = (device, int(match[2]), resets.after(device, line))
        if key in groups or len(groups) < MAX_ROWS:
            groups.setdefault(key, _Group(line.message[match.start() :])).add(line, match[3])
    return [_xid_row(*key, group) for key, group in groups.items()]


def _xid_row(device: str, xid: int, before_reset: bool, group: _Group) -> dict[str, Any]:
    code, text = group.action or (None, None)
    return {
        "xid": xid,
        "gpu_pci_bus_id": device,
        "count": group.spans.count,
        "incidents_24h": group.spans.most_in_a_day(),
        "first_s": group.spans.first_s,
        "last_s": group.spans.last_s,
        "message": group.message,
        "process": group.processes[0] if group.processes else None,
        "processes_count": len(group.processes),
        "repeated_unit": group.repeated_unit(),
        "links": sorted(group.links) or None,
        "fatal": group.fatal,
        "nvlink5_errors": list(group.nvlink5) or None,
        "previous_xid": group.previous,
        "recovery_action_code": code,
        "recovery_action_text": text,
        "before_reset": before_reset,
    }


def sxid_events(lines: Sequence[LogLine], fabric_manager: Sequence[LogLine], resets: Resets) -> list[dict[str, Any]]:
    """Rows of `sxid.events`: one per NVSwitch, SXid, link and side of the last driver load.

    The kernel writes the registers of an SXid in lines of their own; only where nothing else was kept do they make a
    row. Fabric Manager's log adds what the kernel's log no longer holds.
    """
    groups: dict[tuple[str, int, int | None, bool], _Group] = {}
    details: dict[tuple[str, int, int | None, bool], _Group] = {}
    for line in lines:
        if "SXid" in line.message and (match := _SXID.search(line.message)):
            device = pci_bus_id(match[1])
            link = int(found[1]) if (found := _LINK.search(match[3])) else None
            key = (device, int(match[2]), link, resets.after("", line))
            into = groups if _FATALITY.search(match[3]) else details
            if key in into or len(into) < MAX_ROWS:
                into.setdefault(key, _Group(line.message[match.start() :])).add(line, match[3])
    known = {key[:2] for key in groups}
    groups.update({key: group for key, group in details.items() if key[:2] not in known})
    known |= {key[:2] for key in groups}
    for line in fabric_manager:
        if match := _FABRIC_MANAGER.search(line.message):
            key = (pci_bus_id(match[3]), int(match[2]), int(match[4]) if match[4] else None, resets.after("", line))
            if key[:2] not in known:
                groups.setdefault(key, _Group(line.message[match.start() :])).add(line, match[1])
    return [
        {
            "sxid": sxid,
            "nvswitch_pci_bus_id": device,
            "link": link,
            "fatal": group.fatal,
            "count": group.spans.count,
            "first_s": group.spans.first_s,
            "last_s": group.spans.last_s,
            "message": group.message,
            "before_reset": before_reset,
        }
        for (device, sxid, link, before_reset), group in groups.items()
    ]
