"""Where the interrupts of network adapters arrive: `nic.irqs`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from nodectl.facts.reading import CannotTell, NotThere, Reading, Row, command_trouble, told
from nodectl.facts.registry import Context, FactSpec, Field
from nodectl.model import Fact

if TYPE_CHECKING:
    from nodectl.probe.transcript import SourceReply

_SOURCE = "nic_irqs"
_BUS = "ls -d /sys/bus/pci/devices"
_NAME = re.compile(r"interrupts of ([0-9a-f]{4,8}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7])")
_COUNT = re.compile(r"\s*(\d{1,6}) ?([\d,-]*)\s*")

FACTS = (
    FactSpec(
        name="nic.irqs",
        type="rows",
        about="NVIDIA/Mellanox adapters that have interrupts, and the CPUs on which these arrive",
        source=_SOURCE,
        fields=(
            Field("pci_bus_id", about="PCI address"),
            Field("irqs", "int", about="interrupts that go to some CPU"),
            Field("cpus", "int", about="different CPUs, or sets of CPUs, that they go to"),
        ),
    ),
)


def _rows(reading: Reading) -> list[Row]:
    bus = reading.ran(_BUS)
    if bus.rc != 0:
        raise CannotTell(command_trouble(bus))
    unmounted = reading.not_there("/proc/irq")
    if not isinstance(unmounted, NotThere):
        raise unmounted
    rows: list[Row] = []
    for section in reading.reply.sections:
        match = _NAME.fullmatch(section.name) if section.kind == "cmd" else None
        if match is None:
            continue
        row: Row = {"pci_bus_id": match[1], "irqs": None, "cpus": None}
        counts = [_COUNT.fullmatch(line) for line in section.text.splitlines()]
        if section.rc or not counts or not all(counts):
            why = command_trouble(section) if section.rc else "not understood"
            rows.append({**row, "_errors": dict.fromkeys(("irqs", "cpus"), why)})
            continue
        # An interrupt that nobody has asked for yet goes nowhere: its line is empty.
        used = [found for found in counts if found and found[2]]
        rows.append({**row, "irqs": sum(int(found[1]) for found in used), "cpus": len({found[2] for found in used})})
    return rows


def parse(reply: SourceReply, context: Context) -> Iterator[Fact]:
    """The fact of the source `nic_irqs`."""
    reading = Reading(reply)
    yield told("nic.irqs", lambda: _rows(reading), "/proc/irq/*/effective_affinity_list")


SOURCES = {_SOURCE: parse}
