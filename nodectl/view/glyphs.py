"""A letter for every state. A letter always goes with its colour, so that no screen depends on colour alone."""

from __future__ import annotations

from nodectl.model import Finding, Outcome, Severity

OK, INFO, WARN, FAIL, UNKNOWN, STALE, UNREACHABLE, NOT_APPLICABLE, WAIVED = ".i!X?~@-w"

STYLE_OF = {
    OK: "ok",
    INFO: "info",
    WARN: "warn",
    FAIL: "fail",
    UNKNOWN: "unknown",
    STALE: "dim",
    UNREACHABLE: "unreachable",
    NOT_APPLICABLE: "dim",
    WAIVED: "dim",
}


def letter(outcome: Outcome, severity: Severity, *, waived: bool = False) -> str:
    """The letter of one finding. A failure is `X` from high up, `!` for medium and low, `i` for info."""
    if waived:
        return WAIVED
    if outcome is Outcome.PASS:
        return OK
    if outcome is Outcome.UNKNOWN:
        return UNKNOWN
    if outcome is Outcome.NOT_APPLICABLE:
        return NOT_APPLICABLE
    if severity.rank >= Severity.HIGH.rank:
        return FAIL
    return INFO if severity is Severity.INFO else WARN


def letter_of(finding: Finding) -> str:
    return letter(finding.outcome, finding.severity, waived=bool(finding.waived_by))
