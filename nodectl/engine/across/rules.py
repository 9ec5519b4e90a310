"""The fleet rules of a run: fed with every node's result as it arrives, asked at the end.

Pure and in one pass. What is kept of a node is its number in the list of those who have a value: memory grows with
nodes times facts that differ, not with what the nodes said.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

import msgspec

from nodectl.catalogue.fleet import FleetRule
from nodectl.catalogue.model import Catalogue, Check, Selection
from nodectl.engine.across.alike import Alike
from nodectl.engine.across.clock import Clock
from nodectl.engine.across.power import RackPower
from nodectl.engine.across.seen import Classes, Seen, class_of, natural
from nodectl.engine.across.tally import MIN_GROUP
from nodectl.engine.across.unique import Unique
from nodectl.model import FleetFinding, FleetGroup, Node, NodeResult, NodeState


class FleetRules:
    """All fleet rules of a run.

    Args:
        selections: of the run, one a profile. Where they differ in a rule's severity, the highest holds.
        nodes: all nodes of the run.
        catalogue: what its rules speak for is not compared by the rule for all the rest, selected or not.
    """

    def __init__(self, selections: Collection[Selection], nodes: Iterable[Node], catalogue: Catalogue) -> None:
        self._nodes = {node.name: node for node in nodes}
        self._names = sorted(self._nodes, key=natural)
        self._place = {name: number for number, name in enumerate(self._names)}
        rules = rules_of(selections)
        checks: dict[str, Check] = {check.id: check for selection in selections for check in selection.checks}
        self._classes = Classes()
        self._any = bool(rules)
        self.alike = Alike(_kind(rules, "alike"), tuple(catalogue.fleet.values()), checks)
        self._unique = Unique(_kind(rules, "unique"))
        self._clock = Clock(_kind(rules, "clock"))
        self._power = RackPower(_kind(rules, "rack_power"))

    def add(self, result: NodeResult) -> None:
        """Takes one node in. A node twice would count twice."""
        if not self._any:
            return
        node = self._nodes[result.node]
        self._power.add(node, result)
        if result.state is not NodeState.REACHED or not result.facts:
            return
        seen = Seen(self._place[result.node], node, result, class_of(result.facts))
        self._classes.add(seen)
        self.alike.add(seen)
        self._unique.add(seen)
        self._clock.add(seen)

    def findings(self) -> tuple[FleetFinding, ...]:
        """What there is to say, worst first; the same whatever the order in which nodes came."""
        found = [
            *self.alike.findings(self._names, self._classes),
            *self._unique.findings(self._names),
            *self._clock.findings(self._names),
            *self._power.findings(),
        ]
        return tuple(sorted(found, key=_order))

    def groups(self) -> tuple[FleetGroup, ...]:
        """The hardware classes, the largest first."""
        return self._classes.groups(self._names, MIN_GROUP)


def rules_of(selections: Iterable[Selection]) -> tuple[FleetRule, ...]:
    """The fleet rules of all selections, each once and with the highest of its severities."""
    rules: dict[str, FleetRule] = {}
    for selection in selections:
        for rule in selection.fleet:
            seen = rules.get(rule.id)
            if seen is None:
                rules[rule.id] = rule
            elif rule.severity.rank > seen.severity.rank:
                rules[rule.id] = msgspec.structs.replace(seen, severity=rule.severity)
    return tuple(rules.values())


def _kind(rules: Sequence[FleetRule], across: str) -> tuple[FleetRule, ...]:
    return tuple(rule for rule in rules if rule.across == across)


def _order(finding: FleetFinding) -> tuple[object, ...]:
    return (
        -finding.outcome.rank,
        -finding.severity.rank,
        finding.check,
        finding.group,
        natural(finding.subject),
        tuple(natural(name) for name in finding.nodes[:1]),
        finding.actual,
    )
