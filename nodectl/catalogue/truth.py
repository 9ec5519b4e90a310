"""Four-valued logic: what an expectation can turn out to be.

`UNKNOWN` is Kleene's third value: a combination is TRUE or FALSE only when no value of what is unknown could change
that. `NOT_APPLICABLE` parts are left out of a combination; where nothing is left, the whole is not applicable.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable
from typing import NamedTuple


class Truth(enum.Enum):
    FALSE = "false"
    TRUE = "true"
    UNKNOWN = "unknown"
    NOT_APPLICABLE = "not_applicable"


FALSE, TRUE, UNKNOWN, NOT_APPLICABLE = Truth.FALSE, Truth.TRUE, Truth.UNKNOWN, Truth.NOT_APPLICABLE


class Verdict(NamedTuple):
    """What one expectation came to, in words.

    Attributes:
        truth: the value.
        expected: made from the operator, e.g. "at least 580.65.06".
        actual: what was found; empty where nothing could be found.
        reason: why it could not be told, or does not apply.
        subject: which row it is about ("GPU 3"); empty for the node as a whole.
    """

    truth: Truth
    expected: str = ""
    actual: str = ""
    reason: str = ""
    subject: str = ""


def conjunction(parts: Iterable[Truth]) -> Truth:
    """Kleene's AND; of nothing it is NOT_APPLICABLE."""
    result = NOT_APPLICABLE
    for part in parts:
        if part is FALSE:
            return FALSE
        if part is UNKNOWN or result is NOT_APPLICABLE:
            result = part
    return result


def disjunction(parts: Iterable[Truth]) -> Truth:
    """Kleene's OR; of nothing it is NOT_APPLICABLE."""
    result = NOT_APPLICABLE
    for part in parts:
        if part is TRUE:
            return TRUE
        if part is UNKNOWN or result is NOT_APPLICABLE:
            result = part
    return result


def negation(part: Truth) -> Truth:
    """Kleene's NOT: what is unknown or not applicable stays so."""
    if part is TRUE:
        return FALSE
    return TRUE if part is FALSE else part
