"""The fixtures of the checks: `<check id>/<name>.<pass|fail|unknown|na>.yaml`, read and evaluated.

facts:
  gpu.count: 8                          a value, typed as the registry declares it
  expect.gpus: {absent: "not declared"}
  driver.version: {error: "timeout"}    a fact that is not given was not gathered
params: {tolerance: 0.1}                optional, in place of the check's defaults
findings:                               optional: exactly these, in this order; each key that is given must agree
  - {subject: "GPU 3", actual: "off"}
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from nodectl.catalogue import Catalogue, Check
from nodectl.engine.evaluate import evaluate_check
from nodectl.facts import registry
from nodectl.facts.conform import conform
from nodectl.model import Fact, FactState, Finding, Outcome, absent, error, present
from nodectl.strict_yaml import load_documents, number_of, text_of

HERE = Path(__file__).resolve().parent
OUTCOMES = {
    "pass": Outcome.PASS,
    "fail": Outcome.FAIL,
    "unknown": Outcome.UNKNOWN,
    "na": Outcome.NOT_APPLICABLE,
}


class Fixture(msgspec.Struct, frozen=True):
    path: Path
    check_id: str
    outcome: Outcome

    @property
    def name(self) -> str:
        return f"{self.check_id}/{self.path.name.removesuffix('.yaml')}"


def all_fixtures() -> list[Fixture]:
    """Every fixture file; a name that says no outcome is an AssertionError."""
    found = []
    for path in sorted(HERE.glob("*/*.yaml")):
        word = path.name.split(".")[-2]
        assert word in OUTCOMES, f"{path}: the name must end in .pass.yaml, .fail.yaml, .unknown.yaml or .na.yaml"
        found.append(Fixture(path, path.parent.name, OUTCOMES[word]))
    return found


class Given(msgspec.Struct, frozen=True):
    """A fixture's content, ready to evaluate."""

    check: Check
    facts: dict[str, Fact]
    findings: list[dict[str, Any]] | None

    def evaluate(self, catalogue: Catalogue) -> list[Finding]:
        return evaluate_check(self.check, self.facts, catalogue.tables, "node1")

    def with_fact(self, fact: Fact) -> Given:
        return msgspec.structs.replace(self, facts={**self.facts, fact.name: fact})


def read(fixture: Fixture, check: Check) -> Given:
    """Read a fixture; what does not fit the check or the registry is an AssertionError."""
    (doc,) = load_documents(fixture.path)
    body = doc.value
    assert set(body) <= {"facts", "params", "findings"}, f"{fixture.path}: unknown keys {sorted(body)}"
    for name in body["facts"]:
        assert name in check.facts, f"{fixture.path}: {check.id} does not read the fact {name}"
    facts = {name: _fact(name, raw, doc.where(("facts", name))) for name, raw in body["facts"].items()}
    values = dict(check.values)
    for name, value in body.get("params", {}).items():
        values[name] = check.params[name].read(value)
    return Given(msgspec.structs.replace(check, values=values), facts, body.get("findings"))


def _fact(name: str, raw: Any, where: str) -> Fact:
    if isinstance(raw, dict) and set(raw) == {"absent"}:
        return absent(name, str(raw["absent"]))
    if isinstance(raw, dict) and set(raw) == {"error"}:
        return error(name, str(raw["error"]))
    spec = registry.resolve(name)
    fields = {field.name: field.type for field in spec.fields}
    value = raw
    if spec.type == "rows":
        value = [_row(row, fields, where) for row in raw]
    elif spec.type == "row":
        value = _row(raw, fields, where)
    else:
        value = _typed(raw, spec.type)
    fact = conform(present(name, value), spec)
    assert fact.state is FactState.VALUE, f"{where}: {fact.reason}"
    for row in fact.value if spec.type == "rows" else [fact.value] if spec.type == "row" else []:
        wrong = {key: text for key, text in row.get("_errors", {}).items() if "nodectl's parser" in text}
        assert not wrong, f"{where}: {wrong}"
    return fact


def _row(raw: dict[str, Any], fields: dict[str, str], where: str) -> dict[str, Any]:
    unknown = set(raw) - set(fields) - {"_errors"}
    assert not (fields and unknown), f"{where}: the registry declares no fields {sorted(unknown)}"
    return {key: _typed(value, fields.get(key, "any")) for key, value in raw.items()}


def _typed(raw: Any, kind: str) -> Any:
    """A scalar as its declared type: strict YAML has no floats, no ints over 18 digits; `525` is an int."""
    if kind == "int" and isinstance(raw, str) and raw.lstrip("-").isdecimal():
        return int(raw)
    if kind == "float" and number_of(raw) is not None:
        return float(number_of(raw) or 0)
    if kind in ("str", "version") and text_of(raw) is not None:
        return text_of(raw)
    return raw


def worst(findings: list[Finding]) -> Outcome:
    return max((finding.outcome for finding in findings), key=lambda outcome: outcome.rank)
