"""Failed systemd units: `systemd.failed_units`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from nodectl.facts.host.services import no_systemd
from nodectl.facts.reading import CannotTell, Reading, told
from nodectl.facts.registry import Context, FactSpec
from nodectl.model import Fact

if TYPE_CHECKING:
    from nodectl.probe.transcript import SourceReply

_FAILED = "failed units"
# systemctl before version 232 puts a dot in front even with --plain.
_LINE = re.compile(r"[●*]?\s*([A-Za-z0-9:_.\\@-]{1,256})\s+\S+\s+failed\s+\S+(?:\s.*)?")

FACTS = (
    FactSpec(
        name="systemd.failed_units",
        type="list",
        about="Units in the state failed; absent where systemd does not run the node",
        source="units",
        varies=True,
    ),
)


def parse_failed(text: str) -> list[str]:
    """Unit names from `systemctl list-units --state=failed --no-legend --plain`."""
    units = []
    for line in text.splitlines():
        if not line.strip():
            continue
        match = _LINE.fullmatch(line.strip())
        if not match:
            raise CannotTell(f"systemctl --failed: not understood: {line!r:.80}")
        units.append(match[1])
    return sorted(set(units))


def _failed(reading: Reading) -> list[str]:
    trouble = no_systemd(reading, reading.ran(_FAILED))
    if trouble:
        raise trouble
    return parse_failed(reading.command(_FAILED))


def parse(reply: SourceReply, context: Context) -> Iterator[Fact]:
    """The fact of the source `units`."""
    reading = Reading(reply)
    yield told("systemd.failed_units", lambda: _failed(reading), "systemctl --failed")


SOURCES = {"units": parse}
