"""From checks and facts to findings."""

from __future__ import annotations

import sys
import types
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from nodectl.catalogue import Catalogue, Table, load_catalogue, select
from nodectl.engine.evaluate import evaluate, rule_function
from nodectl.engine.rules import CannotTellError, FactView, RowResult, field_error, require_field
from nodectl.model import Fact, FactState, Finding, Outcome, Severity, absent, error, present

HEAD = """
title: A state
severity: high
why: It matters.
sources: [{title: "A manual", url: "https://example.com/manual", retrieved: "2026-11-20"}]
"""
PROFILE = "profile: default\ntitle: All\nselect: {areas: all}\n"
TABLE = """
table: models
version: "1"
key: id
columns: {name: str}
sources: {sheet: {title: "A sheet", url: "https://example.com/sheet", retrieved: "2026-11-20"}}
rows: [{id: 1, name: one}]
"""


def findings_of(body: str, facts: list[Fact], tmp_path: Path) -> list[Finding]:
    catalogue = catalogue_of(body, tmp_path)
    return list(evaluate(select(catalogue, "default"), {fact.name: fact for fact in facts}, "gpu-001"))


def catalogue_of(body: str, tmp_path: Path) -> Catalogue:
    (tmp_path / "profiles").mkdir()
    (tmp_path / "tables").mkdir()
    (tmp_path / "gpu.yaml").write_text(f"id: gpu.state\n{HEAD}{body}")
    (tmp_path / "profiles" / "default.yaml").write_text(PROFILE)
    (tmp_path / "tables" / "models.yaml").write_text(TABLE)
    return load_catalogue([tmp_path])


COUNT = "facts: [gpu.count]\nexpect: {fact: gpu.count, as: int, ge: 8}\n"
EACH = 'facts: [gpus]\nexpect: {each: gpus, label: "GPU {index}", that: {field: on, as: bool, is: true}}\n'


def test_a_finding_carries_all_that_a_reader_needs(tmp_path: Path) -> None:
    assert findings_of(COUNT, [present("gpu.count", 7)], tmp_path) == [
        Finding(
            node="gpu-001",
            check="gpu.state",
            outcome=Outcome.FAIL,
            severity=Severity.HIGH,
            expected="at least 8",
            actual="7",
            facts=("gpu.count",),
        )
    ]


@pytest.mark.parametrize(
    ("fact", "outcome", "reason"),
    [
        (present("gpu.count", 8), Outcome.PASS, ""),
        (absent("gpu.count", "no GPU"), Outcome.UNKNOWN, "gpu.count: no GPU"),
        (error("gpu.count", "timed out"), Outcome.UNKNOWN, "gpu.count: timed out"),
        (present("other", 8), Outcome.UNKNOWN, "gpu.count was not gathered"),
        (present("gpu.count", "eight"), Outcome.UNKNOWN, 'gpu.count: "eight" is not a whole number'),
        (present("gpu.count", None), Outcome.UNKNOWN, "gpu.count: not reported by this device or driver"),
    ],
)
def test_outcomes(fact: Fact, outcome: Outcome, reason: str, tmp_path: Path) -> None:
    (finding,) = findings_of(COUNT, [fact], tmp_path)
    assert (finding.outcome, finding.reason) == (outcome, reason)


def test_one_finding_for_each_row_that_is_not_fine(tmp_path: Path) -> None:
    rows = [{"index": 0, "on": True}, {"index": 1, "on": False}, {"index": 2, "_errors": {"on": "GPU is lost"}}]
    found = findings_of(EACH, [present("gpus", rows)], tmp_path)
    assert [(finding.subject, finding.outcome, finding.actual) for finding in found] == [
        ("GPU 1", Outcome.FAIL, "no"),
        ("GPU 2", Outcome.UNKNOWN, ""),
    ]


def test_one_finding_where_all_rows_are_fine(tmp_path: Path) -> None:
    (finding,) = findings_of(EACH, [present("gpus", [{"index": 0, "on": True}, {"index": 1, "on": True}])], tmp_path)
    assert (finding.outcome, finding.subject, finding.actual) == (Outcome.PASS, "", "2 of 2")


def test_rows_of_one_name_are_one_finding(tmp_path: Path) -> None:
    """(node, check, subject) names a finding, so that two runs can be compared."""
    body = "facts: [gpus]\nexpect: {each: gpus, label: GPU, that: {all: [{field: on, as: bool, is: true}]}}\n"
    rows = [{"on": False}, {"on": None, "_errors": {"on": "lost"}}, {"on": False}]
    found = findings_of(body.replace("label: GPU", 'label: "GPU {uuid}"'), [present("gpus", rows)], tmp_path)
    assert [(finding.subject, finding.outcome, finding.actual) for finding in found] == [("GPU ?", Outcome.FAIL, "no")]


APPLIES = "facts: [gpu.count, virt]\napplies_when: {fact: virt, as: bool, is: false}\n" + COUNT.partition("\n")[2]


@pytest.mark.parametrize(
    ("virt", "outcome", "reason"),
    [
        (present("virt", False), Outcome.PASS, ""),
        (present("virt", True), Outcome.NOT_APPLICABLE, "applies where virt no; here virt yes"),
        (error("virt", "denied"), Outcome.UNKNOWN, "whether it applies could not be told: virt: denied"),
        (absent("virt", "not there"), Outcome.UNKNOWN, "whether it applies could not be told: virt: not there"),
    ],
)
def test_applies_when(virt: Fact, outcome: Outcome, reason: str, tmp_path: Path) -> None:
    (finding,) = findings_of(APPLIES, [virt, present("gpu.count", 8)], tmp_path)
    assert (finding.outcome, finding.reason) == (outcome, reason)


def test_a_check_that_does_not_apply_does_not_look_further(tmp_path: Path) -> None:
    (finding,) = findings_of(APPLIES, [present("virt", True), error("gpu.count", "timed out")], tmp_path)
    assert finding.outcome is Outcome.NOT_APPLICABLE


def test_evaluating_changes_nothing_and_repeats(tmp_path: Path) -> None:
    rows = [{"index": at, "on": at % 2 == 0} for at in range(4)]
    catalogue = catalogue_of(EACH, tmp_path)
    facts = {"gpus": present("gpus", rows)}
    selection = select(catalogue, "default")
    assert evaluate(selection, facts, "a") == evaluate(selection, facts, "a")
    assert rows == [{"index": at, "on": at % 2 == 0} for at in range(4)]


# ---- Python rules


RULE = (
    "facts: [gpus, gpu.count]\nparams: {most: {type: int, default: 3}}\n"
    'expect: {python: "nodectl.engine.rules.for_tests:rule", most: {param: most}, words: [a, b]}\n'
)
FACTS = [present("gpus", [{"index": 0}]), present("gpu.count", 1)]


def with_rule(monkeypatch: pytest.MonkeyPatch, rule: Any) -> None:
    module = types.ModuleType("nodectl.engine.rules.for_tests")
    module.rule = rule  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module.__name__, module)
    rule_function.cache_clear()


def test_a_rule_gets_facts_params_and_tables(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def rule(facts: FactView, params: Mapping[str, Any], tables: Mapping[str, Table]) -> list[RowResult]:
        assert facts.rows("gpus") == [{"index": 0}]
        assert facts.value("gpu.count") == 1
        assert params == {"most": 3, "words": ["a", "b"]}
        row = tables["models"].get(1)
        assert row is not None and row["name"] == "one"
        return [RowResult(Outcome.FAIL, "GPU 0", "good", "bad", "because")]

    with_rule(monkeypatch, rule)
    (finding,) = findings_of(RULE, FACTS, tmp_path)
    assert (finding.outcome, finding.subject) == (Outcome.FAIL, "GPU 0")
    assert (finding.expected, finding.actual, finding.reason) == ("good", "bad", "because")


@pytest.mark.parametrize(
    ("results", "outcome", "actual"),
    [
        ([RowResult(Outcome.PASS, "GPU 0", "good", "fine")], Outcome.PASS, "fine"),
        ([RowResult(Outcome.PASS, "GPU 0"), RowResult(Outcome.PASS, "GPU 1")], Outcome.PASS, "2 of 2"),
        ([RowResult(Outcome.PASS, "GPU 0"), RowResult(Outcome.UNKNOWN, "GPU 1", reason="?")], Outcome.UNKNOWN, ""),
        ([RowResult(Outcome.PASS, actual="a"), RowResult(Outcome.NOT_APPLICABLE, "GPU 1")], Outcome.PASS, "a"),
        ([RowResult(Outcome.NOT_APPLICABLE, reason="no")], Outcome.NOT_APPLICABLE, ""),
        ([], Outcome.UNKNOWN, ""),
    ],
)
def test_what_a_rule_says(
    results: list[RowResult], outcome: Outcome, actual: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with_rule(monkeypatch, lambda facts, params, tables: results)
    (finding,) = findings_of(RULE, FACTS, tmp_path)
    assert (finding.outcome, finding.actual) == (outcome, actual)


def test_a_rule_that_fails_or_cannot_tell_is_unknown(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def rule(facts: FactView, params: Mapping[str, Any], tables: Mapping[str, Table]) -> list[RowResult]:
        raise KeyError("speed")

    with_rule(monkeypatch, rule)
    (finding,) = findings_of(RULE, FACTS, tmp_path)
    assert finding.outcome is Outcome.UNKNOWN
    assert finding.reason == "the check could not be evaluated: KeyError: 'speed'"


@pytest.mark.parametrize(
    ("fact", "reason"),
    [
        (error("gpu.count", "timed out"), "gpu.count: timed out"),
        (absent("gpu.count", "no GPU"), "gpu.count: no GPU"),
    ],
)
def test_a_rule_that_needs_a_fact_is_unknown_without_it(
    fact: Fact, reason: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with_rule(monkeypatch, lambda facts, params, tables: [RowResult(Outcome.PASS, actual=facts.value("gpu.count"))])
    (finding,) = findings_of(RULE, [FACTS[0], fact], tmp_path)
    assert (finding.outcome, finding.reason) == (Outcome.UNKNOWN, reason)


@pytest.mark.parametrize("target", ["os:system", "nodectl.engine.rules.x:_y", "nodectl.engine.rules.none:y", "x"])
def test_only_rules_of_the_package_can_be_named(target: str, tmp_path: Path) -> None:
    (finding,) = findings_of(f'facts: [gpus]\nexpect: {{python: "{target}"}}\n', FACTS, tmp_path)
    assert finding.outcome is Outcome.UNKNOWN


def test_a_view_of_facts() -> None:
    facts = {
        fact.name: fact for fact in (present("a", 1), absent("b", "none"), error("c", "denied"), present("d", [3]))
    }
    view = FactView(facts, ("a", "b", "c", "d", "e"))
    assert (view.value("a"), view.get("b", 7), view.get("a", 7)) == (1, 7, 1)
    assert view.state("c") is FactState.ERROR
    for ask, reason in [
        (lambda: view.value("b"), "b: none"),
        (lambda: view.get("c"), "c: denied"),
        (lambda: view.value("e"), "e was not gathered"),
        (lambda: view.value("f"), "the rule reads f, which its check does not list under `facts`"),
        (lambda: view.rows("d"), "d is not a table of rows"),
    ]:
        with pytest.raises(CannotTellError) as caught:
            ask()
        assert str(caught.value) == reason


def test_fields_of_rows_for_rules() -> None:
    row = {"a": 1, "b": None, "c": 2, "_errors": {"c": "lost"}}
    assert require_field(row, "a") == 1
    assert field_error(row, "c") == "lost"
    for field, reason in [("b", "b: not reported by this device or driver"), ("c", "c: lost")]:
        with pytest.raises(CannotTellError, match=reason):
            require_field(row, field)
