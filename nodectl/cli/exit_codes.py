"""What the exit code of nodectl means. Scripts hang on these: they do not change.

    0    nothing failed at or above --fail-on (medium by default) and every node was reached
    1    something failed, on a node or across the fleet
    2    usage, inventory or catalogue error, or nothing selected: nothing was run
    3    no failure, but something could not be told: a check of that severity is unknown, or a node was not reached
         (--allow-incomplete makes it 0)
    4    internal error: a fault of nodectl
    130, 143   interrupted, terminated: what had come in until then is reported, marked as partial

1 wins over 3. With --exit-style nagios: 0 ok, 1 warning (medium and below), 2 critical (high and above), 3 unknown.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable

from nodectl.model import Finding, FleetFinding, NodeResult, NodeState, Outcome, Severity

OK, FAILED, USAGE, INCOMPLETE, INTERNAL, INTERRUPTED, TERMINATED = 0, 1, 2, 3, 4, 130, 143
NAGIOS_OK, NAGIOS_WARNING, NAGIOS_CRITICAL, NAGIOS_UNKNOWN = 0, 1, 2, 3


def of_run(
    results: Iterable[NodeResult],
    fleet: Iterable[FleetFinding] = (),
    *,
    fail_on: Severity = Severity.MEDIUM,
    allow_incomplete: bool = False,
    style: str = "nodectl",
) -> int:
    """The exit code of a check run that came to its end."""
    worst: Severity | None = None
    incomplete = False
    said: list[Iterable[Finding]] = [fleet]
    for result in results:
        incomplete |= result.state is NodeState.UNREACHABLE
        said.append(result.findings)
    for finding in itertools.chain.from_iterable(said):
        if finding.waived_by or finding.severity.rank < fail_on.rank:
            continue
        incomplete |= finding.outcome is Outcome.UNKNOWN
        if finding.outcome is Outcome.FAIL and (worst is None or finding.severity.rank > worst.rank):
            worst = finding.severity
    incomplete = incomplete and not allow_incomplete
    if style == "nagios":
        if worst is not None:
            return NAGIOS_CRITICAL if worst.rank >= Severity.HIGH.rank else NAGIOS_WARNING
        return NAGIOS_UNKNOWN if incomplete else NAGIOS_OK
    if worst is not None:
        return FAILED
    return INCOMPLETE if incomplete else OK
