"""What the inventory says that facts must be, against what they are.

    expect: {facts: {driver.version: "580.*", "sysctl[vm.swappiness]": 10, gpu.devices.vbios_version: "96.00.*"}}

A text may hold `*` for any text. A list against a fact of one value is a choice; against a list it is the whole list,
and one text against a list must be among its items. Of a column of a table every row must agree. `{absent: true}` asks
that there be no such thing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from fnmatch import fnmatchcase
from typing import Any

from nodectl.catalogue.fleet import FleetRule
from nodectl.catalogue.model import Catalogue
from nodectl.engine.across.power import BUDGET
from nodectl.engine.across.values import Measure, UntoldError, measure_of, shown
from nodectl.facts import registry
from nodectl.model import Fact, FactState, Finding, Node, Outcome, Severity
from nodectl.suggest import did_you_mean

KEY = "facts"
_ABSENT = {"absent": True}


def declared(node: Node) -> Mapping[str, Any]:
    """What the inventory says of a node's facts, by fact or FACT.FIELD."""
    wanted = node.expect.get(KEY)
    return wanted if isinstance(wanted, dict) else {}


def facts_of(node: Node) -> tuple[str, ...]:
    """The facts that must be gathered to tell."""
    return tuple(dict.fromkeys(fact for fact, _ in map(split_field, declared(node))))


def problems(node: Node) -> Iterator[str]:
    """What is wrong with `expect.facts` of a node, `file:line: ...`; then nothing should be run."""
    where = node.origin or node.name  # one line for all nodes of a group
    if KEY in node.expect and not isinstance(node.expect[KEY], dict):
        yield f'{where}: expect.facts: a mapping like {{driver.version: "580.*"}} is wanted'
    for name, wanted in declared(node).items():
        fact, field = split_field(name)
        try:
            spec = registry.resolve(fact)
        except registry.FactNameError as problem:
            yield f"{where}: expect.facts: {problem}"
            continue
        if measure_of(spec, field) is None:
            names = ", ".join(column.name for column in spec.fields) or "no fields"
            yield f"{where}: expect.facts: {name}: say which field, FACT.FIELD ({spec.name} has {names})"
        elif isinstance(wanted, dict) and wanted != _ABSENT:
            yield f"{where}: expect.facts: {name}: a value, a list of them or {{absent: true}} is wanted"


def unread(catalogue: Catalogue, nodes: Iterable[Node]) -> Iterator[str]:
    """What the inventory expects and no check of the catalogue ever looks at: a slip of the pen, most likely."""
    known = {name.removeprefix(registry.EXPECT_PREFIX) for check in catalogue.checks.values() for name in check.facts
             if name.startswith(registry.EXPECT_PREFIX)} | {KEY, BUDGET}  # fmt: skip
    found: dict[str, list[Node]] = {}
    for node in nodes:
        for key in node.expect:
            if key not in known:
                found.setdefault(key, []).append(node)
    for key, who in found.items():
        many = f" and {len(who) - 1} more" if len(who) > 1 else ""
        where = f" ({who[0].origin})" if who[0].origin else ""
        guess = did_you_mean(key, known) or f"; known: {', '.join(sorted(known))}"
        yield f"no check reads expect.{key} of {who[0].name}{many}{where}{guess}"


def split_field(name: str) -> tuple[str, str]:
    """`gpu.devices.vbios_version` -> (`gpu.devices`, `vbios_version`); the name of a fact -> (name, "")."""
    if registry.spec_for(name) is None:
        fact, dot, field = name.rpartition(".")
        if dot and registry.spec_for(fact) is not None:
            return fact, field
    return name, ""


def findings(rules: Iterable[FleetRule], facts: Mapping[str, Fact], node: Node) -> Iterator[Finding]:
    """What the rules of kind `declared` say of one node, as ordinary findings."""
    for rule in rules:
        if rule.across != "declared":
            continue
        wanted = declared(node)
        if not wanted:
            yield _finding(rule, node, Outcome.NOT_APPLICABLE, reason="the inventory declares no expect.facts")
            continue
        said = [_judge(rule, node, name, value, facts) for name, value in wanted.items()]
        wrong = [finding for finding in said if finding.outcome is not Outcome.PASS]
        yield from wrong or [_finding(rule, node, Outcome.PASS, actual=f"{len(said)} of {len(said)}")]


def _judge(rule: FleetRule, node: Node, name: str, wanted: Any, facts: Mapping[str, Fact]) -> Finding:
    fact_name, field = split_field(name)
    spec, fact = registry.spec_for(fact_name), facts.get(fact_name)
    expected = _wanted_text(wanted)
    origin = f"declared at {node.origin}" if node.origin else ""

    def finding(outcome: Outcome, actual: str = "", reason: str = "") -> Finding:
        said = "; ".join(part for part in (reason, origin if outcome is not Outcome.PASS else "") if part)
        return _finding(
            rule, node, outcome, subject=name, expected=expected, actual=actual, reason=said, facts=(fact_name,)
        )

    measure = measure_of(spec, field) if spec is not None else None
    if fact is None or measure is None:
        return finding(Outcome.UNKNOWN, reason="it was not gathered")
    if fact.state is FactState.ERROR:
        return finding(Outcome.UNKNOWN, reason=fact.reason)
    try:
        key = measure.read(fact.value) if fact.state is FactState.VALUE else None
    except (UntoldError, TypeError, AttributeError):
        return finding(Outcome.UNKNOWN, reason="part of it could not be read")
    fits = _fits(key, wanted, every=bool(field))
    return finding(Outcome.PASS if fits else Outcome.FAIL, _actual(key, measure))


def _actual(key: Any, measure: Measure) -> str:
    return shown(key, measure.unit)


def _wanted_text(wanted: Any) -> str:
    if wanted == _ABSENT:
        return "absent"
    if isinstance(wanted, list):
        return " or ".join(shown(one) for one in wanted) or "none"
    return shown(wanted)


def _fits(key: Any, wanted: Any, *, every: bool) -> bool:
    """Whether a value is what was asked for. `every`: several values are rows of a table, which must all fit."""
    if wanted == _ABSENT or key is None:
        return wanted == _ABSENT and key is None
    if isinstance(key, tuple):
        if every:
            return all(_fits(one, wanted, every=False) for one in key)
        if isinstance(wanted, list):
            return set(key) == {str(one) for one in wanted}
        return any(_is(one, wanted) for one in key)
    return any(_is(key, one) for one in wanted) if isinstance(wanted, list) else _is(key, wanted)


def _is(value: Any, wanted: Any) -> bool:
    if isinstance(value, bool) or isinstance(wanted, bool):
        return value is wanted or (isinstance(value, str) and value.casefold() == str(wanted).casefold())
    if isinstance(value, (int, float)) or isinstance(wanted, (int, float)):
        try:
            return float(value) == float(wanted)
        except (TypeError, ValueError):
            return False
    # Only * stands for other text: brackets and question marks are themselves.
    return fnmatchcase(str(value), re.sub(r"([\[?])", r"[\1]", str(wanted)))


def _finding(
    rule: FleetRule,
    node: Node,
    outcome: Outcome,
    *,
    subject: str = "",
    expected: str = "",
    actual: str = "",
    reason: str = "",
    facts: tuple[str, ...] = (),
) -> Finding:
    severity: Severity = rule.severity
    return Finding(
        node=node.name,
        check=rule.id,
        subject=subject,
        outcome=outcome,
        severity=severity,
        expected=expected,
        actual=actual,
        reason=reason,
        facts=facts,
    )
