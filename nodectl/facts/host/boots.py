"""When the node was started: `node.boots`, `node.boots_last_day`."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING

from nodectl.facts.reading import CannotTell, NotThere, Reading, told
from nodectl.facts.registry import DERIVED_SOURCE, Context, Derivation, FactSpec
from nodectl.model import Fact

if TYPE_CHECKING:
    from nodectl.probe.transcript import SourceReply

_LAST = "last starts"
_NONE = "no record"
_TIME = re.compile(r"\b(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)([+-]\d\d:?\d\d)?")

FACTS = (
    FactSpec(
        name="node.boots",
        type="list",
        about="When the node was started, the last 60 times, RFC 3339 in UTC, newest first; absent where no record is"
        " kept (newer distributions have no wtmp)",
        source="boots",
        varies=True,
    ),
    FactSpec(
        name="node.boots_last_day",
        type="int",
        about="How often the node was started in the 24 hours before it was asked",
        source=DERIVED_SOURCE,
        varies=True,
    ),
)


def parse_last(text: str) -> list[str]:
    """The start times from `last --time-format iso reboot`, in UTC."""
    found = []
    for line in text.splitlines():
        if not line.startswith("reboot "):
            continue
        match = _TIME.search(line)
        if not match:
            raise CannotTell(f"last: not understood: {line!r:.80}")
        sign = -1 if match[2] and match[2][0] == "-" else 1
        try:
            at = datetime.fromisoformat(match[1])
            if match[2]:
                at -= sign * timedelta(hours=int(match[2][1:3]), minutes=int(match[2][-2:]))
        except (ValueError, OverflowError):
            raise CannotTell(f"last names no time: {match[0]}") from None
        found.append(at.strftime("%Y-%m-%dT%H:%M:%SZ"))
    return sorted(found, reverse=True)


def _boots(reading: Reading) -> list[str]:
    if reading.has("text", _NONE):
        if reading.text(_NONE).strip() != "neither last nor /var/log/wtmp":
            raise CannotTell("the probe did not say whether a record of starts is kept")
        raise NotThere("no record of starts is kept: neither last nor /var/log/wtmp")
    boots = parse_last(reading.command(_LAST))
    if not boots:
        raise NotThere("the record of starts is empty")
    return boots


def last_day(boots: Sequence[str], now: str) -> int:
    """How many of the times lie in the 24 hours before `now`."""
    end = datetime.strptime(now, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=timezone.utc)
    begin = (end - timedelta(days=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
    return sum(begin < boot <= now for boot in boots)


def parse(reply: SourceReply, context: Context) -> Iterator[Fact]:
    """The fact of the source `boots`."""
    reading = Reading(reply)
    yield told("node.boots", lambda: _boots(reading), "last reboot")


SOURCES = {"boots": parse}
DERIVED: dict[str, Derivation] = {"node.boots_last_day": (("node.boots", "node.time_utc"), last_day)}
