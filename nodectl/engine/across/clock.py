"""Fleet rules of kind `clock`: whose clock is off.

Nodes are asked at different moments, so each one's clock is first set against ours, by which its reply was timed: the
node looked at its clock between the start and the end of its probe, which gives an earliest and a latest offset. Then
it is set against the median of all nodes. Our own clock drops out: it may be as wrong as it likes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime

from nodectl.catalogue.fleet import FleetRule
from nodectl.engine.across.seen import Seen
from nodectl.engine.across.tally import MIN_GROUP, median
from nodectl.model import FleetFinding, Outcome

CLOCK = "node.time_utc"


class Clock:
    """The offsets of the nodes' clocks from ours, as they come in."""

    def __init__(self, rules: Sequence[FleetRule]) -> None:
        self._rules = rules
        self._offsets: list[tuple[int, float, float]] = []

    def add(self, seen: Seen) -> None:
        if seen.in_container:  # its clock is its host's
            return
        told, started = _seconds(seen.value(CLOCK)), _seconds(seen.result.started)
        if told is not None and started is not None:
            # The node's clock is told in whole seconds, cut.
            earliest = told - started - seen.result.duration_ms / 1000
            self._offsets.append((seen.place, earliest, told + 1 - started))

    def findings(self, names: Sequence[str]) -> Iterator[FleetFinding]:
        """A finding for each node whose clock is off by more than `max_s`, whatever the timing of the probe hides."""
        if len(self._offsets) < MIN_GROUP:
            return
        low = median(sorted(earliest for _, earliest, _ in self._offsets))
        high = median(sorted(latest for _, _, latest in self._offsets))
        for rule in self._rules:
            most = float(rule.values["max_s"])
            for index, earliest, latest in sorted(self._offsets):
                behind, ahead = low - latest, earliest - high
                if max(behind, ahead) > most:
                    yield self._finding(rule, names[index], behind, ahead, most, (latest - earliest) + (high - low))

    def _finding(
        self, rule: FleetRule, name: str, behind: float, ahead: float, most: float, unsure: float
    ) -> FleetFinding:
        off, way = (behind, "behind") if behind > ahead else (ahead, "ahead of")
        return FleetFinding(
            node="",
            check=rule.id,
            subject=CLOCK,
            outcome=Outcome.FAIL,
            severity=rule.severity,
            expected=f"within {most:g} s of the median node",
            actual=f"at least {_span(off)} {way} the median node (told to within {unsure:.0f} s)",
            facts=(CLOCK,),
            nodes=(name,),
            value=round(-off if behind > ahead else off, 1),
            compared=len(self._offsets),
        )


def _span(seconds: float) -> str:
    for size, unit in ((86400, "days"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def _seconds(text: object) -> float | None:
    """RFC 3339 UTC as seconds since 1970; None when it is none."""
    try:
        moment = datetime.fromisoformat(str(text).replace("Z", "+00:00"))
        return moment.timestamp() if moment.tzinfo else None
    except (ValueError, OverflowError):
        return None
