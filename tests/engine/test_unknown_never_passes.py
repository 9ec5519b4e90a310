"""What could not be read never helps a check to an answer. Generated checks, generated facts.

With a fact, or one field of one row, that could not be read, a check may pass, fail or not apply only if it does so
whatever that might have been (`any` with another part that holds, `all` with one that does not). Else it is unknown.
"""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from nodectl.catalogue.checks import Surroundings, read_check
from nodectl.catalogue.model import Check
from nodectl.engine.evaluate import evaluate_check
from nodectl.model import Fact, Finding, Outcome, absent, error, present
from nodectl.strict_yaml import Doc

SCALARS = ("a", "b")
ROWS = "rows"
FIELDS = ("x", "y")

_numbers = st.integers(0, 2)
_if_absent = st.sampled_from([{}, {"if_absent": "fail"}, {"if_absent": "not_applicable"}, {"if_absent": "unknown"}])
_if_absent_list = st.lists(_numbers, min_size=1, max_size=3)


def _leaf(names: tuple[str, ...], key: str) -> st.SearchStrategy[dict[str, Any]]:
    subject = st.sampled_from(names).map(lambda name: {key: name})
    compare = st.tuples(st.sampled_from(["eq", "ne", "ge", "gt", "le", "lt"]), _numbers | subject).map(
        lambda pair: {pair[0]: pair[1], "as": "int"}
    )
    members = st.tuples(st.sampled_from(["one_of", "none_of"]), _if_absent_list).map(
        lambda pair: {pair[0]: pair[1], "as": "int"}
    )
    near = st.tuples(_numbers | subject, _numbers).map(
        lambda pair: {"within": {"value": pair[0], "tolerance": pair[1]}, "as": "int"}
    )
    other = st.builds(
        lambda *parts: {**parts[0], **parts[1], **parts[2]}, subject, compare | members | near, _if_absent
    )
    there = st.builds(lambda name, wanted: {**name, "present": wanted}, subject, st.booleans())
    return other | there


def _tree(leaf: st.SearchStrategy[Any], most: int) -> st.SearchStrategy[Any]:
    return st.recursive(
        leaf,
        lambda part: (
            st.lists(part, min_size=1, max_size=3).map(lambda parts: {"all": parts})
            | st.lists(part, min_size=1, max_size=3).map(lambda parts: {"any": parts})
            | part.map(lambda one: {"not": one})
        ),
        max_leaves=most,
    )


_inside = _tree(_leaf(FIELDS, "field"), 3)
_each = st.builds(
    lambda that, where, options: {"each": ROWS, "that": that, **where, **options},
    _inside,
    st.just({}) | _inside.map(lambda tree: {"where": tree}),
    st.sampled_from([{}, {"allow_empty": True}, {"at_least": 1}, {"at_least": 2, "allow_empty": True},
                     {"if_absent": "not_applicable"}, {"if_absent": "fail"}]),
)  # fmt: skip
TREES = _tree(_leaf(SCALARS, "fact") | _each, 5)


def _told(tree: Any, *, inside: bool = False) -> Any:
    """As `applies_when` takes it: within `all` and `any` nothing may be left out because its fact is absent."""
    lost = inside and tree.get("if_absent") == "not_applicable"
    own = {**tree, "if_absent": "fail"} if lost else dict(tree)
    for key in ("all", "any"):
        if key in own:
            own[key] = [_told(part, inside=True) for part in own[key]]
    if "not" in own:
        own["not"] = _told(own["not"], inside=inside)
    return own


CONDITIONS = st.none() | TREES.map(_told)

_row = st.builds(
    lambda values, broken: {
        **{k: v for k, v in values.items() if k not in broken},
        "_errors": dict.fromkeys(broken, "?"),
    },
    st.dictionaries(st.sampled_from(FIELDS), _numbers | st.none() | st.just("text")),
    st.sets(st.sampled_from(FIELDS), max_size=1),
)


def _fact(name: str, values: st.SearchStrategy[Any]) -> st.SearchStrategy[Fact]:
    there = values.map(lambda value: present(name, value))
    return st.one_of(there, there, there, st.just(absent(name, "none")), st.just(error(name, "denied")))


_VALUES: dict[str, st.SearchStrategy[Any]] = {
    name: st.sampled_from([0, 1, 2, 0, 1, 2, 0, 1, 2, "text"]) for name in SCALARS
}
_VALUES[ROWS] = st.lists(_row, max_size=3)
FACTS = st.fixed_dictionaries({name: _fact(name, values) for name, values in _VALUES.items()})


def check_of(expect: dict[str, Any], applies_when: dict[str, Any] | None) -> Check:
    body: dict[str, Any] = {
        "id": "gpu.x",
        "title": "A state",
        "severity": "high",
        "facts": sorted(_used(expect) | _used(applies_when)),
        "expect": expect,
        "why": "It matters.",
        "sources": [{"title": "t", "url": "https://example.com", "retrieved": "2026-11-20"}],
    }
    if applies_when is not None:
        body["applies_when"] = applies_when
    problems: list[str] = []
    around = Surroundings(tables={}, broken_tables=frozenset(), known_facts=None, rule_problem=None)
    check = read_check(Doc(body, "x.yaml", 1, None), "gpu", around, problems)
    assert check is not None, problems
    return check


def _used(tree: Any) -> set[str]:
    if isinstance(tree, dict):
        own = {tree[key] for key in ("fact", "each") if key in tree}
        return own.union(*(_used(part) for part in tree.values()))
    return set().union(*(_used(part) for part in tree)) if isinstance(tree, list) else set()


def outcome_of(findings: list[Finding]) -> Outcome:
    return max((finding.outcome for finding in findings), key=lambda outcome: outcome.rank)


def outcome(check: Check, facts: dict[str, Fact]) -> Outcome:
    return outcome_of(evaluate_check(check, facts, {}, "n"))


@settings(max_examples=500, deadline=None)
@given(TREES, CONDITIONS, FACTS, st.lists(st.lists(_row, max_size=3), min_size=2, max_size=4))
def test_a_fact_that_could_not_be_read_decides_nothing(
    expect: dict[str, Any], applies_when: dict[str, Any] | None, facts: dict[str, Fact], tables: list[list[Any]]
) -> None:
    check = check_of(expect, applies_when)
    for name in check.facts:
        blind = outcome(check, {**facts, name: error(name, "denied")})
        if blind is not Outcome.UNKNOWN:
            for value in tables if name == ROWS else [0, 1, 2]:
                assert outcome(check, {**facts, name: present(name, value)}) is blind, value
            assert outcome(check, {**facts, name: absent(name, "none")}) is blind


@settings(max_examples=500, deadline=None)
@given(_each, _tree(_leaf(SCALARS, "fact"), 2), st.lists(_row, min_size=1, max_size=3), FACTS)
def test_a_field_of_a_row_that_could_not_be_read_decides_nothing(
    each: dict[str, Any], other: dict[str, Any], rows: list[dict[str, Any]], facts: dict[str, Fact]
) -> None:
    for expect in (each, {"not": each}, {"all": [each, other]}):
        check = check_of(expect, None)
        for number, row in enumerate(rows):
            for field in FIELDS:
                lost = {**row, "_errors": {**row["_errors"], field: "lost"}}
                blind = outcome(check, {**facts, ROWS: present(ROWS, [*rows[:number], lost, *rows[number + 1 :]])})
                if blind is Outcome.UNKNOWN:
                    continue
                for value in (0, 1, 2, None):
                    errors = {name: text for name, text in row["_errors"].items() if name != field}
                    known = {**row, field: value, "_errors": errors}
                    seen = outcome(check, {**facts, ROWS: present(ROWS, [*rows[:number], known, *rows[number + 1 :]])})
                    assert seen is blind, (number, field, value)


@settings(max_examples=300, deadline=None)
@given(TREES, CONDITIONS)
def test_a_check_that_can_read_nothing_is_unknown(expect: dict[str, Any], applies_when: dict[str, Any] | None) -> None:
    check = check_of(expect, applies_when)
    facts = {name: error(name, "denied") for name in check.facts}
    (finding,) = evaluate_check(check, facts, {}, "n")
    assert finding.outcome is Outcome.UNKNOWN
    assert "denied" in finding.reason


@settings(max_examples=400, deadline=None)
@given(TREES, CONDITIONS, FACTS)
def test_findings_are_well_formed(
    expect: dict[str, Any], applies_when: dict[str, Any] | None, facts: dict[str, Fact]
) -> None:
    check = check_of(expect, applies_when)
    findings = evaluate_check(check, facts, {}, "n")
    assert findings
    assert len({finding.subject for finding in findings}) == len(findings)
    outcomes = {finding.outcome for finding in findings}
    if outcomes & {Outcome.PASS, Outcome.NOT_APPLICABLE}:
        assert len(findings) == 1
    for finding in findings:
        assert "could not be evaluated" not in finding.reason
        if finding.outcome is Outcome.UNKNOWN:
            assert finding.reason
        if finding.outcome is Outcome.FAIL:
            assert finding.expected and (finding.actual or finding.reason)
