"""Whether PCI bridges may be put to sleep: `pci.bridges*`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from nodectl.facts.reading import CannotTell, Reading, command_trouble, told
from nodectl.facts.registry import Context, FactSpec
from nodectl.model import Fact

if TYPE_CHECKING:
    from nodectl.probe.transcript import SourceReply

_SOURCE = "pci_bridge_power"
_COUNT = re.compile(r"\s*(\d{1,6}) (on|auto) [a-z-]{1,20}\s*")

FACTS = (
    FactSpec(name="pci.bridges", type="int", about="PCI bridges of the node", source=_SOURCE),
    FactSpec(
        name="pci.bridges_may_sleep",
        type="int",
        about="PCI bridges that the kernel may put to sleep when nothing below them is busy (power/control auto)",
        source=_SOURCE,
    ),
)


def _counts(reading: Reading) -> dict[str, int]:
    """Bridges by their `power/control`."""
    for name in ("ls -d /sys/bus/pci/devices", "bridge power"):
        if reading.ran(name).rc != 0:
            raise CannotTell(command_trouble(reading.ran(name)))
    counts = {"on": 0, "auto": 0}
    for line in reading.command("bridge power").splitlines():
        match = _COUNT.fullmatch(line)
        if match is None:
            raise CannotTell(f"the power control of a bridge is not understood: {line!r:.60}")
        counts[match[2]] += int(match[1])
    return counts


def parse(reply: SourceReply, context: Context) -> Iterator[Fact]:
    """The facts of the source `pci_bridge_power`."""
    reading = Reading(reply)
    where = "/sys/bus/pci/devices/*/power/control"
    yield told("pci.bridges", lambda: sum(_counts(reading).values()), where)
    yield told("pci.bridges_may_sleep", lambda: _counts(reading)["auto"], where)


SOURCES = {_SOURCE: parse}
