"""Fleet rules of kind `unique`: what names one machine or one part must not be there twice.

A machine installed from an image that was taken of another keeps that one's ids and keys. Containers share their
host's: they are left out. Two names of one running system (the same boot id) are said once, by the rule that compares
boot ids.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from nodectl.catalogue.fleet import HOST_KEY, FleetRule
from nodectl.engine.across.seen import Seen
from nodectl.model import FleetFinding, Outcome, ValueCount

BOOT_ID = "node.boot_id"

# What firmware and drivers say instead of a number that nobody filled in.
_NO_NUMBER = frozenset(
    ("0", "none", "n/a", "[n/a]", "unknown", "uninitialized", "not specified", "default string", "system serial number")
)
_FILLERS = ("to be filled", "not applicable")


class Unique:
    """Who has which of the values that should be one node's alone."""

    def __init__(self, rules: Sequence[FleetRule]) -> None:
        self._rules = rules
        self._nodes: dict[tuple[str, str, str], dict[str, list[int]]] = {}
        self._boots: dict[str, list[int]] = {}
        self._told = 0

    def add(self, seen: Seen) -> None:
        if seen.in_container:
            return
        self._told += 1
        boot = seen.value(BOOT_ID)
        if isinstance(boot, str):
            self._boots.setdefault(boot, []).append(seen.place)
        for rule in self._rules:
            for compared in rule.compare:
                seats = self._nodes.setdefault((rule.id, compared.fact, compared.field), {})
                for value in _values(seen, compared.fact, compared.field):
                    seats.setdefault(value, []).append(seen.place)

    def findings(self, names: Sequence[str]) -> Iterator[FleetFinding]:
        """One finding for each set of nodes that share something, with everything that they share."""
        same = [frozenset(nodes) for nodes in self._boots.values() if len(nodes) > 1]
        by_id = {rule.id: rule for rule in self._rules}
        for (rule_id, fact, field), seats in self._nodes.items():
            shared: dict[tuple[int, ...], list[str]] = {}
            for value, nodes in seats.items():
                if len(nodes) > 1 and (fact == BOOT_ID or not any(group.issuperset(nodes) for group in same)):
                    shared.setdefault(tuple(sorted(nodes)), []).append(value)
            for group, values in shared.items():
                who = tuple(names[index] for index in group)
                subject = f"{fact}.{field}" if field else fact
                yield self._finding(by_id[rule_id], subject, fact, sorted(values), who)

    def _finding(
        self, rule: FleetRule, subject: str, fact: str, values: Sequence[str], nodes: tuple[str, ...]
    ) -> FleetFinding:
        more = f" and {len(values) - 1} more" if len(values) > 1 else ""
        return FleetFinding(
            node="",
            check=rule.id,
            subject=subject,
            outcome=Outcome.FAIL,
            severity=rule.severity,
            expected="a value of its own on every node",
            actual=f"{len(nodes)} nodes have {values[0]}{more}",
            facts=(fact,),
            nodes=nodes,
            value=values[0] if len(values) == 1 else list(values),
            compared=self._told,
            values=tuple(ValueCount(value, nodes) for value in values),
        )


def _values(seen: Seen, fact: str, field: str) -> Iterable[str]:
    """The values of a node, each once."""
    if fact == HOST_KEY:
        found: list[Any] = [seen.result.host_key]
    else:
        value = seen.value(fact)
        found = [row.get(field) for row in seen.rows(fact)] if field else value if isinstance(value, list) else [value]
    texts = {" ".join(str(one).split()) for one in found if one is not None}
    return sorted(text for text in texts if _is_number(text))


def _is_number(text: str) -> bool:
    lower = text.casefold()
    return lower not in _NO_NUMBER and not lower.startswith(_FILLERS) and bool(lower.strip("0-"))
