"""Fleet rules of kind `alike`: in each hardware class, every compared fact, who has what."""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import NamedTuple

from nodectl.catalogue.fleet import CLASS_FACTS, EVERYTHING, Compared, FleetRule
from nodectl.catalogue.model import Check
from nodectl.engine.across.failures import Failures
from nodectl.engine.across.seen import Classes, ClassKey, Seen
from nodectl.engine.across.tally import MAX_DISTINCT, TOLERANCE, Split, Tally, Value
from nodectl.engine.across.values import Measure, UntoldError, measure_of, plain, shown, shown_against
from nodectl.facts import registry
from nodectl.model import Fact, FactState, FleetFinding, Outcome, ValueCount

_CAMPS_SHOWN = 4


class Comparison(NamedTuple):
    """One thing that is compared: what it is called, by which rule and how. `key`: rule and subject."""

    key: tuple[str, str]
    subject: str
    fact: str
    field: str
    rule: FleetRule
    measure: Measure


class Alike:
    """All rules of this kind in one pass: each fact of a node is looked up once, whichever rule speaks for it.

    Args:
        rules: those of the run.
        claimed_by: all rules of the catalogue: what one of them speaks for is not compared by the rule for `*`, also
            where it is not part of the run.
        checks: of the run, to say which of them the majority fails.
    """

    def __init__(self, rules: Sequence[FleetRule], claimed_by: Collection[FleetRule], checks: Mapping[str, Check]):
        self._rules = rules
        self._claims: dict[str, list[tuple[FleetRule, Compared]]] = {}
        self._spoken_for: set[str] = set()
        self._rest = next((rule for rule in rules if _is_rest(rule)), None)
        for rule in claimed_by:
            self._spoken_for.update(one.family or one.fact for one in (*rule.compare, *rule.speaks_for))
        self._prefixes = {compared.prefix: rule for rule in rules for compared in rule.compare if compared.prefix}
        for rule in rules:
            for compared in rule.compare:
                self._claims.setdefault(compared.family or compared.fact, []).append((rule, compared))
        self._how: dict[str, tuple[Comparison, ...]] = {}
        self._tallies: dict[ClassKey, dict[tuple[str, str], Tally]] = {}
        self._failures = Failures(checks)

    def add(self, seen: Seen) -> None:
        """Counts one node's facts."""
        tallies = self._tallies.setdefault(seen.kind, {})
        how, index = self._how, seen.place
        for name, fact in seen.result.facts.items():
            comparisons = how.get(name)
            if comparisons is None:
                comparisons = how[name] = self._comparisons(name)
            for comparison in comparisons:
                tally = tallies.get(comparison.key)
                if tally is None:
                    tally = tallies[comparison.key] = Tally()
                _count(tally, comparison.measure, fact, index)
        self._failures.add(index, seen.result.findings)

    def findings(self, names: Sequence[str], classes: Classes) -> Iterator[FleetFinding]:
        """Who differs, class by class."""
        by_key = {one.key: one for comparisons in self._how.values() for one in comparisons}
        for kind, tallies in self._tallies.items():
            group = classes.name(kind)
            for key, tally in tallies.items():
                comparison = by_key[key]
                percent = comparison.rule.values.get("tolerance_pct")
                tolerance = TOLERANCE if percent is None else percent / 100
                split = tally.split(number=comparison.measure.number, tolerance=tolerance)
                if split is not None:
                    yield from _Told(comparison, group, tally, split, names, self._failures).findings()

    def told_by(self, name: str) -> tuple[tuple[str, str], ...]:
        """What is compared of a fact: the rule, and the subject that its findings would have."""
        return tuple((one.rule.id, one.subject) for one in self._comparisons(name))

    def _comparisons(self, name: str) -> tuple[Comparison, ...]:
        spec = registry.spec_for(name)
        if spec is None or spec.source == registry.INVENTORY or name in CLASS_FACTS:
            return ()
        family, key = registry.split_name(name)
        claims = [*self._claims.get(name, ()), *(self._claims.get(family, ()) if key is not None else ())]
        found = []
        for rule, compared in claims:
            near = any(fnmatchcase(key or name, pattern) for pattern in rule.values.get("near", ()))
            measure = measure_of(spec, compared.field, rule.values.get("ignore", ()), near=near)
            if measure is not None:
                subject = f"{name}.{compared.field}" if compared.field else name
                found.append(Comparison((rule.id, subject), subject, name, compared.field, rule, measure))
        if found or spec.varies or name in self._spoken_for or (key is not None and family in self._spoken_for):
            return tuple(found)
        prefix = f"{name.partition('.')[0]}."
        rule = self._prefixes.get(prefix) or (None if f"{prefix}*" in self._spoken_for else self._rest)
        measure = measure_of(spec)
        if rule is None or measure is None:
            return ()
        return (Comparison((rule.id, name), name, name, "", rule, measure),)


def _is_rest(rule: FleetRule) -> bool:
    return any(compared.fact == EVERYTHING for compared in rule.compare)


def _count(tally: Tally, measure: Measure, fact: Fact, index: int) -> None:
    if fact.state is FactState.VALUE:
        try:
            tally.add(measure.read(fact.value), index, sys.maxsize if measure.number else MAX_DISTINCT)
        except (UntoldError, TypeError, AttributeError):  # a value of a form that no type foresaw is not compared
            tally.untold += 1
    elif fact.state is FactState.ABSENT:
        tally.add(None, index)
    else:
        tally.untold += 1


class _Told:
    """The findings of one comparison in one class."""

    def __init__(
        self,
        comparison: Comparison,
        group: str,
        tally: Tally,
        split: Split,
        names: Sequence[str],
        failures: Failures,
    ) -> None:
        self._one, self._group, self._tally, self._split = comparison, group, tally, split
        self._names, self._failures = names, failures

    def findings(self) -> Iterator[FleetFinding]:
        if self._split.majority is None:
            yield self._camps()
        else:
            for value in self._split.others:
                yield self._differs(value, self._split.majority)

    def _differs(self, value: Value, majority: Value) -> FleetFinding:
        one, unit = self._one, self._one.measure.unit
        fails = self._failures.of_most(one.fact, one.field, majority.nodes)
        told_by = self._failures.of_all(one.fact, one.field, value.nodes)
        most = shown(majority.key, unit)
        if isinstance(value.key, tuple) and isinstance(majority.key, tuple) and len(majority.key) > 1:
            most = "the same"
        around = "about " if one.measure.number and majority.key is not None else ""
        return self._finding(
            nodes=value.nodes,
            actual=shown_against(value.key, majority.key, unit),
            expected=f"{around}{most} on {len(majority.nodes)} of {self._tally.told} alike nodes",
            value=plain(value.key),
            majority=plain(majority.key),
            majority_nodes=len(majority.nodes),
            majority_fails=fails,
            told_by=told_by,
            reasons=[f"the majority is no model: most of it fails {', '.join(fails)}"] if fails else [],
        )

    def _camps(self) -> FleetFinding:
        """No clear majority: said as such, nobody is called an outlier."""
        unit, values = self._one.measure.unit, self._split.others
        said = [f"{shown(value.key, unit)} on {len(value.nodes)}" for value in values[:_CAMPS_SHOWN]]
        if len(values) > _CAMPS_SHOWN:
            rest = sum(len(value.nodes) for value in values[_CAMPS_SHOWN:])
            said.append(f"{len(values) - _CAMPS_SHOWN} other values on {rest}")
        nodes = sorted(index for value in values for index in value.nodes)
        return self._finding(
            nodes=nodes,
            actual="no clear majority: " + ", ".join(said),
            expected="one value for nodes that are alike",
            values=tuple(
                ValueCount(plain(value.key), tuple(self._names[index] for index in value.nodes)) for value in values
            ),
            told_by=self._failures.of_all(self._one.fact, self._one.field, nodes),
        )

    def _finding(
        self,
        *,
        nodes: list[int],
        actual: str,
        expected: str,
        value: object = None,
        majority: object = None,
        majority_nodes: int = 0,
        values: tuple[ValueCount, ...] = (),
        majority_fails: tuple[str, ...] = (),
        told_by: tuple[str, ...] = (),
        reasons: Sequence[str] = (),
    ) -> FleetFinding:
        untold = self._tally.untold
        said = [*reasons, *([f"could not be told on {untold} more"] if untold else [])]
        return FleetFinding(
            node="",
            check=self._one.rule.id,
            subject=self._one.subject,
            outcome=Outcome.FAIL,
            severity=self._one.rule.severity,
            expected=expected,
            actual=actual,
            reason="; ".join(said),
            facts=(self._one.fact,),
            group=self._group,
            nodes=tuple(self._names[index] for index in nodes),
            value=value,
            majority=majority,
            majority_nodes=majority_nodes,
            compared=self._tally.told,
            untold=untold,
            values=values,
            majority_fails=majority_fails,
            told_by=told_by,
        )
