"""Exit codes are a contract: each row of the table in the module's docstring."""

from __future__ import annotations

import pytest

from nodectl.cli import exit_codes
from nodectl.model import Finding, FleetFinding, NodeResult, NodeState, Outcome, Reason, Severity


def result(*findings: tuple[Outcome, Severity], waived: str = "", reached: bool = True) -> NodeResult:
    return NodeResult(
        node="n",
        address="",
        state=NodeState.REACHED if reached else NodeState.UNREACHABLE,
        reason=None if reached else Reason("timeout", "no answer"),
        findings=tuple(
            Finding(node="n", check=f"c.{i}", outcome=o, severity=s, waived_by=waived)
            for i, (o, s) in enumerate(findings)
        ),
    )


FAIL, PASS, UNKNOWN, NA = Outcome.FAIL, Outcome.PASS, Outcome.UNKNOWN, Outcome.NOT_APPLICABLE
HIGH, MEDIUM, LOW = Severity.HIGH, Severity.MEDIUM, Severity.LOW


@pytest.mark.parametrize(
    ("results", "options", "expected"),
    [
        ([result((PASS, HIGH), (NA, HIGH))], {}, 0),
        ([result((FAIL, MEDIUM))], {}, 1),
        ([result((FAIL, LOW))], {}, 0),
        ([result((FAIL, LOW))], {"fail_on": LOW}, 1),
        ([result((FAIL, MEDIUM))], {"fail_on": HIGH}, 0),
        ([result((FAIL, HIGH), waived="ops until 2027-01-01")], {}, 0),
        ([result((UNKNOWN, HIGH))], {}, 3),
        ([result((UNKNOWN, LOW))], {}, 0),
        ([result((UNKNOWN, HIGH))], {"allow_incomplete": True}, 0),
        ([result((PASS, HIGH)), result(reached=False)], {}, 3),
        ([result(reached=False)], {"allow_incomplete": True}, 0),
        ([result((FAIL, HIGH)), result((UNKNOWN, HIGH)), result(reached=False)], {}, 1),
        ([result((FAIL, MEDIUM))], {"style": "nagios"}, 1),
        ([result((FAIL, HIGH))], {"style": "nagios"}, 2),
        ([result(reached=False)], {"style": "nagios"}, 3),
        ([result((PASS, HIGH))], {"style": "nagios"}, 0),
    ],
)
def test_of_run(results: list[NodeResult], options: dict[str, object], expected: int) -> None:
    assert exit_codes.of_run(results, **options) == expected  # type: ignore[arg-type]


def across(outcome: Outcome, severity: Severity, waived: str = "") -> FleetFinding:
    return FleetFinding(node="", check="fleet.x", outcome=outcome, severity=severity, waived_by=waived, nodes=("n",))


@pytest.mark.parametrize(
    ("fleet", "options", "expected"),
    [
        ([across(FAIL, MEDIUM)], {}, 1),
        ([across(FAIL, LOW)], {}, 0),
        ([across(FAIL, LOW)], {"fail_on": LOW}, 1),
        ([across(FAIL, HIGH, "ops until 2027-01-01")], {}, 0),
        ([across(UNKNOWN, MEDIUM)], {}, 3),
        ([across(UNKNOWN, MEDIUM)], {"allow_incomplete": True}, 0),
        ([across(FAIL, HIGH)], {"style": "nagios"}, 2),
    ],
)
def test_what_is_wrong_across_the_fleet_counts(
    fleet: list[FleetFinding], options: dict[str, object], expected: int
) -> None:
    assert exit_codes.of_run([result((PASS, HIGH))], fleet, **options) == expected  # type: ignore[arg-type]
