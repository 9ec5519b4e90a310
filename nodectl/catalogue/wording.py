"""How expectations are put into words: values with their units, what an operator wants, and the opposite of it."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from nodectl.catalogue.value_types import show


class Wording(NamedTuple):
    """How the values of a leaf are shown.

    Attributes:
        unit: after numbers.
        yes, no: for booleans.
    """

    unit: str = ""
    yes: str = "yes"
    no: str = "no"

    def show(self, value: Any) -> str:
        if value is True:
            return self.yes
        if value is False:
            return self.no
        return show(value, self.unit)


def wording_for(name: str, unit: str) -> Wording:
    """`persistence_mode` is on or off, `remapped_rows_pending` yes or no."""
    last = name.rpartition(".")[2].rpartition("_")[2]
    if last in ("mode", "current", "enabled", "smt"):
        return Wording(unit, "on", "off")
    return Wording(unit)


# What stands before the value; nothing before what must be equal to a literal.
COMPARE_WORDS = {
    "is": "",
    "eq": "",
    "ne": "not",
    "ge": "at least",
    "gt": "more than",
    "le": "at most",
    "lt": "less than",
}
MEMBER_WORDS = {
    "one_of": "one of",
    "none_of": "none of",
    "contains": "contains",
    "contains_none": "none of",
    "subset_of": "only",
}
# The same for the opposite of each operator.
OPPOSITES = {
    "is": "not",
    "eq": "not",
    "ne": "",
    "ge": "less than",
    "gt": "at most",
    "le": "more than",
    "lt": "at least",
    "one_of": "none of",
    "none_of": "one of",
    "contains": "not containing",
    "contains_none": "any of",
    "subset_of": "not only",
}

_PLAIN_PATTERN = re.compile(r"(\.\*)?((?:[A-Za-z0-9 _:,=/@%#&;<>~!'\"-]|\\[^A-Za-z0-9\s])+)(\.\*)?")
_ESCAPED = re.compile(r"\\(.)")
_PLACES = {(True, True): "containing", (False, True): "beginning with", (True, False): "ending with"}


def pattern_words(pattern: str) -> str:
    """A regular expression for a person: `Lost.*` is "beginning with Lost"; one that is not so plain stays as it is."""
    match = _PLAIN_PATTERN.fullmatch(pattern)
    place = _PLACES.get((match[1] is not None, match[3] is not None)) if match else None
    if match is None or place is None:
        return f"matching {pattern}"
    return f"{place} {_ESCAPED.sub(lambda escaped: escaped[1], match[2])}"
