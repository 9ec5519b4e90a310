"""Which checks nodes fail, and which facts those are about: a majority may well be wrong together."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from nodectl.catalogue.combine import PythonRule
from nodectl.catalogue.model import Check
from nodectl.model import Finding, Outcome

Read = tuple[str, str]
"""A fact and a field of it; an empty field: the fact as a whole."""


class Failures:
    """Who fails what, of a run's checks."""

    def __init__(self, checks: Mapping[str, Check]) -> None:
        self._checks = checks
        self._nodes: dict[str, set[int]] = {}
        self._of_fact: dict[str, list[tuple[str, frozenset[Read]]]] | None = None

    def add(self, index: int, findings: Iterable[Finding]) -> None:
        for finding in findings:
            if finding.outcome is Outcome.FAIL:
                self._nodes.setdefault(finding.check, set()).add(index)

    def of_most(self, fact: str, field: str, nodes: Sequence[int]) -> tuple[str, ...]:
        """Checks of this that more than half of the nodes fail."""
        return tuple(
            check
            for check in self._about(fact, field)
            if 2 * sum(index in self._nodes[check] for index in nodes) > len(nodes)
        )

    def of_all(self, fact: str, field: str, nodes: Sequence[int]) -> tuple[str, ...]:
        """Checks of this that every one of the nodes fails."""
        return tuple(check for check in self._about(fact, field) if all(index in self._nodes[check] for index in nodes))

    def _about(self, fact: str, field: str) -> Iterator[str]:
        if self._of_fact is None:  # only at the end, and only for checks that somebody fails
            self._of_fact = {}
            for check in sorted(self._nodes):
                reads = judged_by(self._checks[check]) if check in self._checks else frozenset()
                for name in {name for name, _ in reads}:
                    self._of_fact.setdefault(name, []).append((check, reads))
        for check, reads in self._of_fact.get(fact, ()):
            if (fact, field) in reads:
                yield check


def judged_by(check: Check) -> frozenset[Read]:
    """What a check judges: the facts and fields of its expectation, not those that only say where it applies.

    What a Python rule reads of a table is not known: it is taken to judge the facts as a whole.
    """
    if isinstance(check.expect, PythonRule):
        gates = {name for name, _ in _leaves(check.raw.get("applies_when"), "")}
        return frozenset((name, "") for name in check.facts if name not in gates)
    return frozenset(_leaves(check.raw.get("expect"), ""))


def _leaves(raw: Any, row: str) -> Iterator[Read]:
    """(fact, field) of every leaf, on both sides of its operator; `row` is the table that an `each` is over."""
    if isinstance(raw, list):
        for item in raw:
            yield from _leaves(item, row)
    elif isinstance(raw, dict):
        if isinstance(raw.get("each"), str):
            yield from _leaves(raw.get("that"), raw["each"])
        elif "fact" in raw:
            yield str(raw["fact"]), str(raw.get("field", ""))
            for part in raw.values():  # what it is compared with may be a fact as well
                if isinstance(part, dict):
                    yield from _leaves(part, row)
        elif "field" in raw:
            yield row, "" if raw["field"] == "value" else str(raw["field"])
        else:
            for part in raw.values():
                yield from _leaves(part, row)
