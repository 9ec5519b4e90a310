"""Fleet rules of kind `rack_power`: may the GPUs of a rack draw more than the inventory says the rack can give?

The inventory labels a node with its rack (`labels: {rack: r1}`) and says what that rack has for GPUs
(`expect: {rack_power_w: 40000}`, best for the whole group). Summed are the GPUs' power limits, the most that each may
draw. What could not be read, and nodes that were not reached, make the sum a lower bound.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from nodectl.catalogue.fleet import FleetRule
from nodectl.engine.across.seen import natural
from nodectl.model import FactState, FleetFinding, Node, NodeResult, Outcome

DEVICES = "gpu.devices"
LABEL, BUDGET = "rack", "rack_power_w"


class _Rack:
    __slots__ = ("budgets", "gpus", "nodes", "origins", "sum_w", "unread")

    def __init__(self) -> None:
        self.budgets: set[Any] = set()
        self.origins: list[str] = []
        self.nodes: list[str] = []
        self.unread: list[str] = []
        self.gpus = 0
        self.sum_w = 0.0


class RackPower:
    """The sum of the GPUs' power limits, rack by rack, as nodes come in. Nodes not reached are counted too."""

    def __init__(self, rules: Sequence[FleetRule]) -> None:
        self._rules = rules
        self._racks: dict[str, _Rack] = {}

    def add(self, node: Node, result: NodeResult) -> None:
        name = node.labels.get(LABEL, "")
        budget = node.expect.get(BUDGET)
        if not name and budget is None:
            return
        rack = self._racks.setdefault(name, _Rack())
        rack.nodes.append(node.name)
        if budget is not None:
            rack.budgets.add(budget if _is_power(budget) else str(budget))
            rack.origins.append(node.origin)
        limits = _limits_w(result)
        rack.gpus += len(limits)
        rack.sum_w += sum(limit for limit in limits if limit is not None)
        if not limits or None in limits:
            rack.unread.append(node.name)

    def findings(self) -> Iterator[FleetFinding]:
        """A finding for each rack that may draw too much, or of which that could not be told."""
        for name, rack in sorted(self._racks.items(), key=lambda item: natural(item[0])):
            if rack.budgets:
                for rule in self._rules:
                    finding = _judge(rule, name, rack)
                    if finding is not None:
                        yield finding


def _judge(rule: FleetRule, name: str, rack: _Rack) -> FleetFinding | None:
    """None when the sum is known and within the budget."""
    budgets = sorted(map(str, rack.budgets))
    origin = min(rack.origins, key=natural)
    at_least = "at least " if rack.unread else ""
    actual = f"{at_least}{rack.sum_w:,.0f} W ({rack.gpus} GPUs of {len(rack.nodes) - len(rack.unread)} nodes)"
    outcome, expected, reason = Outcome.UNKNOWN, "", ""
    if not name:
        actual, reason = "", f"{BUDGET} is declared without a label `{LABEL}`: add labels: {{{LABEL}: NAME}}"
    elif len(budgets) > 1:
        reason = f"the nodes of the rack declare different budgets: {', '.join(budgets)} W: say it once, for a group"
    elif not _is_power(budget := next(iter(rack.budgets))):
        reason = f"{BUDGET} is {budget}: a number of watts is wanted"
    else:
        expected = f"at most {budget:,.0f} W"
        if rack.sum_w > budget:
            outcome = Outcome.FAIL
        elif not rack.unread:
            return None
        else:
            reason = f"the power limits of {len(rack.unread)} of {len(rack.nodes)} nodes were not read"
    reason = "; ".join(part for part in (reason, f"declared at {origin}" if origin else "") if part)
    nodes = tuple(sorted(rack.nodes, key=natural))
    return FleetFinding(
        node="",
        check=rule.id,
        subject=f"rack {name}" if name else "no rack",
        outcome=outcome,
        severity=rule.severity,
        expected=expected,
        actual=actual,
        reason=reason,
        facts=(DEVICES,),
        nodes=nodes,
        value=round(rack.sum_w, 1),
        compared=len(rack.nodes) - len(rack.unread),
        untold=len(rack.unread),
    )


def _is_power(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _limits_w(result: NodeResult) -> list[float | None]:
    """The power limit of every GPU; None for one that does not tell its own. Empty: nothing is known."""
    fact = result.facts.get(DEVICES)
    if fact is None or fact.state is not FactState.VALUE or not isinstance(fact.value, list):
        return []
    limits: list[Any] = [row.get("power_limit_w") for row in fact.value if isinstance(row, dict)]
    return [float(limit) if _is_power(limit) else None for limit in limits]
