"""PCIe Advanced Error Reporting counters of GPUs, NICs and bridges, read twice so that a rate can be told."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

from nodectl.facts.conform import ERRORS_KEY
from nodectl.facts.reading import Row, errors_for, one_line, origin
from nodectl.facts.registry import Context, FactSpec, Field
from nodectl.model import Fact, absent, present

if TYPE_CHECKING:
    from nodectl.probe.transcript import Section, SourceReply

SOURCE = "pcie_aer"
NAME = "pcie.aer"

FACTS: tuple[FactSpec, ...] = (
    FactSpec(
        name=NAME,
        type="rows",
        source=SOURCE,
        about="PCIe error counters since boot; absent where no device keeps them (most virtual machines)",
        fields=(
            Field("pci_bus_id", "str", "", "PCI address"),
            Field("kind", "str", "", "gpu, nic, nvme or bridge"),
            Field("correctable", "int", "", "correctable errors"),
            Field("nonfatal", "int", "", "uncorrectable errors that were not fatal"),
            Field("fatal", "int", "", "fatal errors"),
            Field("correctable_per_min", "float", "1/min", "rate of correctable errors between the two readings"),
            Field("uncorrectable_grew", "bool", "", "a non-fatal or fatal error came between the two readings"),
        ),
    ),
)

_LINE = re.compile(
    r"/sys/bus/pci/devices/([0-9a-f]{4,8}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7])/aer_dev_(correctable|nonfatal|fatal)"
    r":TOTAL_ERR_[A-Z]{3,8} ([0-9]{1,20})"
)
_DEVICE = re.compile(r"([0-9a-f]{4,8}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7])=(gpu|nic|nvme|bridge)")
_UPTIME = re.compile(r"([0-9]{1,12}\.[0-9]{1,3})\b.*", re.DOTALL)
_SHORTEST_S = 0.5
_KINDS = ("correctable", "nonfatal", "fatal")

Counts = dict[str, dict[str, int]]


def parse_aer(reply: SourceReply, context: Context) -> Iterable[Fact]:
    """The fact `pcie.aer`."""
    where = origin(reply) | {"command": "/sys/bus/pci/devices/*/aer_dev_*"}
    bus = next((section for section in reply.sections if section.name.startswith("ls ")), None)
    listed = reply.find("text", "devices")
    if bus is None or bus.rc != 0 or listed is None:
        reason = one_line(bus.stderr) if bus is not None else "it was not listed"
        return errors_for([NAME], f"cannot look at the PCI bus: {reason or 'ls failed'}", **where)
    devices = {match[1]: match[2] for match in _DEVICE.finditer(listed.text)}
    if not devices:
        return [absent(NAME, "no GPU, NIC, drive or bridge of this node keeps PCIe error counters", **where)]
    first, second = reply.find("cmd", "aer 1"), reply.find("cmd", "aer 2")
    if first is None or second is None:
        return errors_for([NAME], "the counters were not read", **where)
    before, after = _counts(first), _counts(second)
    seconds = _elapsed(reply.find("file", "/proc/uptime"), reply.find("cmd", "uptime 2"))
    rows = [
        _row(address, kind, before.get(address, {}), after.get(address, {}), seconds)
        for address, kind in sorted(devices.items())
    ]
    return [present(NAME, rows, **where)]


def _counts(section: Section) -> Counts:
    counts: Counts = {}
    for line in section.text.split("\n"):
        match = _LINE.fullmatch(line.rstrip())
        if match is not None:
            counts.setdefault(match[1], {})[match[2]] = int(match[3])
    return counts


def _elapsed(first: Section | None, second: Section | None) -> float | None:
    """Seconds between the two readings by the node's own clock; None when it cannot be told."""
    if first is None or second is None:
        return None
    start, end = _UPTIME.fullmatch(first.text), _UPTIME.fullmatch(second.text)
    if start is None or end is None:
        return None
    seconds = float(end[1]) - float(start[1])
    return seconds if seconds >= _SHORTEST_S else None


def _row(address: str, kind: str, before: dict[str, int], after: dict[str, int], seconds: float | None) -> Row:
    errors = {name: "the counter could not be read" for name in _KINDS if name not in after}
    row: Row = {"pci_bus_id": address, "kind": kind}
    row.update({name: after.get(name) for name in _KINDS})
    grown = {name: after[name] - before[name] for name in _KINDS if name in after and name in before}
    row["correctable_per_min"] = None
    if seconds is not None and grown.get("correctable", -1) >= 0:
        row["correctable_per_min"] = round(grown["correctable"] * 60.0 / seconds, 2)
    else:
        errors["correctable_per_min"] = "two readings with a known time between them are needed"
    row["uncorrectable_grew"] = None
    if "nonfatal" in grown and "fatal" in grown:
        row["uncorrectable_grew"] = grown["nonfatal"] > 0 or grown["fatal"] > 0
    else:
        errors["uncorrectable_grew"] = "two readings are needed"
    if errors:
        row[ERRORS_KEY] = errors
    return row


SOURCES = {SOURCE: parse_aer}
