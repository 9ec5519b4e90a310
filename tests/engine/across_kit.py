"""Small fleets for the tests of fleet rules: nodes with facts, and the shipped rules without the shipped checks."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec

from nodectl.catalogue import Catalogue, FleetRule, Selection, load_catalogue
from nodectl.engine.across.rules import FleetRules
from nodectl.facts import registry
from nodectl.model import (
    Fact,
    FactState,
    Finding,
    FleetFinding,
    Node,
    NodeResult,
    NodeState,
    Outcome,
    Reason,
    Severity,
    absent,
    error,
    present,
)
from nodectl.resources import data_dir

CLASS = {"gpu.pci_ids": ["10de:2335"], "node.product": "PowerEdge XE9680", "os.id": "ubuntu", "os.version_id": "24.04"}


def load_text(*documents: str, checks: str = "") -> Catalogue:
    """A catalogue of these fleet rules (and checks of area gpu), names checked against the registry."""
    with TemporaryDirectory() as folder:
        (Path(folder) / "fleet.yaml").write_text("\n---\n".join(documents))
        if checks:
            (Path(folder) / "gpu.yaml").write_text(checks)
        return load_catalogue([Path(folder)], known_facts=registry.resolve, known_families=registry.family_of)


@functools.cache
def shipped() -> Catalogue:
    """The shipped fleet rules alone."""
    return load_text(*((data_dir("checks") / name).read_text() for name in ("fleet.yaml", "fleet-machines.yaml")))


def facts_of(values: Mapping[str, Any]) -> dict[str, Fact]:
    """Facts by name; None is an absent one, an exception one that could not be read."""
    facts = {}
    for name, value in values.items():
        if isinstance(value, Exception):
            facts[name] = error(name, str(value))
        else:
            facts[name] = absent(name, "not there") if value is None else present(name, value)
    return facts


def result(name: str, values: Mapping[str, Any] | None = None, **more: Any) -> NodeResult:
    """A node that was reached and is of the usual class, unless `values` say otherwise."""
    facts = facts_of({**CLASS, **(values or {})})
    given: dict[str, Any] = {"address": name, "state": NodeState.REACHED, "started": "2026-11-20T10:00:00.000Z"} | more
    return NodeResult(node=name, facts=facts, **given)


def unreached(name: str) -> NodeResult:
    return NodeResult(node=name, address=name, state=NodeState.UNREACHABLE, reason=Reason("timeout", "no answer"))


def same(number: int, values: Mapping[str, Any], prefix: str = "n") -> list[NodeResult]:
    """So many nodes that are alike."""
    return [result(f"{prefix}{index}", values) for index in range(1, number + 1)]


def failed(check: str) -> Finding:
    return Finding(node="", check=check, outcome=Outcome.FAIL, severity=Severity.MEDIUM)


def rules_for(
    results: Sequence[NodeResult], catalogue: Catalogue | None = None, nodes: Iterable[Node] = (), only: str = ""
) -> FleetRules:
    """The fleet rules, fed with these results."""
    used = catalogue or shipped()
    fleet: tuple[FleetRule, ...] = tuple(rule for rule in used.fleet.values() if not only or rule.id == only)
    selection = Selection(profile="test", checks=tuple(used.checks.values()), facts=(), tables={}, fleet=fleet)
    declared = {node.name: node for node in nodes}
    known = [declared.get(one.node) or Node(name=one.node) for one in results]
    rules = FleetRules([selection], known, used)
    for one in results:
        rules.add(one)
    return rules


def findings(
    results: Sequence[NodeResult], catalogue: Catalogue | None = None, nodes: Iterable[Node] = (), only: str = ""
) -> tuple[FleetFinding, ...]:
    return rules_for(results, catalogue, nodes, only).findings()


def with_fact(one: NodeResult, name: str, value: Any) -> NodeResult:
    return msgspec.structs.replace(one, facts={**one.facts, **facts_of({name: value})})


def states(one: NodeResult) -> dict[str, FactState]:
    return {name: fact.state for name, fact in one.facts.items()}
