"""Fixtures of checks: facts written down by hand, and what the check must say of them.

FOLDER/<check id>/<name>.<pass|fail|unknown|na>.yaml

facts:
  gpu.count: 8                          a value, typed as the registry declares it
  expect.gpus: {absent: "not declared"}
  driver.version: {error: "timeout"}    a fact that is not given was not gathered
params: {tolerance: 0.1}                optional, in place of the check's defaults
findings:                               optional: exactly these, in this order; each key that is given must agree
  - {subject: "GPU 3", actual: "off"}
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from nodectl.catalogue import Check
from nodectl.catalogue.tables import Table
from nodectl.catalogue.value_types import UnreadableError
from nodectl.engine.evaluate import evaluate_check
from nodectl.errors import UserError
from nodectl.facts import registry
from nodectl.facts.conform import conform
from nodectl.facts.registry import FactSpec
from nodectl.model import Fact, FactState, Finding, Outcome, absent, error, present
from nodectl.strict_yaml import Doc, StrictYamlError, load_documents, number_of, text_of
from nodectl.suggest import did_you_mean

OUTCOMES = {
    "pass": Outcome.PASS,
    "fail": Outcome.FAIL,
    "unknown": Outcome.UNKNOWN,
    "na": Outcome.NOT_APPLICABLE,
}
_KEYS = ("facts", "params", "findings")
_FINDING_KEYS = ("subject", "outcome", "severity", "expected", "actual", "reason")


class FixtureError(UserError):
    """A fixture that cannot be used: `file:line: what is wrong`."""


class Fixture(msgspec.Struct, frozen=True):
    """One file: which check it is for, and what its name says that comes out."""

    path: Path
    check_id: str
    outcome: Outcome

    @property
    def name(self) -> str:
        return f"{self.check_id}/{self.path.name.removesuffix('.yaml')}"


class Given(msgspec.Struct, frozen=True):
    """A fixture's content, ready to evaluate.

    Attributes:
        check: with the fixture's parameters.
        findings: what is wanted of each finding, in order; None when the fixture says nothing of them.
    """

    check: Check
    facts: dict[str, Fact]
    findings: list[dict[str, Any]] | None

    def evaluate(self, tables: Mapping[str, Table]) -> list[Finding]:
        return evaluate_check(self.check, self.facts, tables, "node1")

    def with_fact(self, fact: Fact) -> Given:
        return msgspec.structs.replace(self, facts={**self.facts, fact.name: fact})


def find_fixtures(folder: Path) -> list[Fixture]:
    """Every fixture below a folder, sorted.

    Raises:
        FixtureError: a file's name says no outcome.
    """
    found = []
    for path in sorted(folder.glob("*/*.yaml")):
        parts = path.name.split(".")
        if len(parts) < 3 or parts[-2] not in OUTCOMES:
            raise FixtureError(
                f"{path}: the name of a fixture ends in .pass.yaml, .fail.yaml, .unknown.yaml or .na.yaml"
            )
        found.append(Fixture(path, path.parent.name, OUTCOMES[parts[-2]]))
    return found


def read_fixture(fixture: Fixture, check: Check) -> Given:
    """A fixture's facts as the registry declares them, for its check.

    Raises:
        FixtureError: it is no YAML, or does not fit the check or the registry.
    """
    try:
        documents = load_documents(fixture.path)
    except StrictYamlError as problem:
        raise FixtureError(str(problem)) from None
    if len(documents) != 1 or not isinstance(documents[0].value, dict):
        raise FixtureError(f"{fixture.path}:1: a fixture is one mapping with the keys {', '.join(_KEYS)}")
    doc = documents[0]
    body = doc.value
    _known_keys(doc, (), body, _KEYS)
    facts = {}
    for name, raw in _mapping(doc, "facts", body).items():
        where = doc.where(("facts", name))
        if name not in check.facts:
            raise FixtureError(f"{where}: {check.id} does not read the fact {name}{did_you_mean(name, check.facts)}")
        facts[name] = _fact(name, raw, where)
    values = dict(check.values)
    for name, value in _mapping(doc, "params", body).items():
        if name not in check.params:
            raise FixtureError(f"{doc.where(('params', name))}: {check.id} has no parameter {name}")
        try:
            values[name] = check.params[name].read(value)
        except UnreadableError as problem:
            raise FixtureError(f"{doc.where(('params', name))}: {problem}") from None
    return Given(msgspec.structs.replace(check, values=values), facts, _wanted_findings(doc, body))


def worst(findings: Iterable[Finding]) -> Outcome:
    """The worst outcome of findings."""
    return max((finding.outcome for finding in findings), key=lambda outcome: outcome.rank)


def disagreement(fixture: Fixture, given: Given, findings: Sequence[Finding]) -> str:
    """In which way the findings are not what the fixture asks for; empty when they are."""
    outcome = worst(findings)
    if outcome is not fixture.outcome:
        said = next(f for f in findings if f.outcome is outcome)
        words = said.reason or f"{said.subject} {said.actual}, expected {said.expected}".strip()
        return f"comes to {outcome.value} ({words}), and its name says {fixture.outcome.value}"
    if given.findings is None:
        return ""
    if len(findings) != len(given.findings):
        return f"gives {len(findings)} findings, and {len(given.findings)} are listed"
    for number, (finding, wanted) in enumerate(zip(findings, given.findings, strict=True), 1):
        found = {key: getattr(finding, key) for key in wanted}
        if found != wanted:
            return f"finding {number} is {found}, and the fixture lists {wanted}"
    return ""


def _mapping(doc: Doc, key: str, body: dict[str, Any]) -> dict[str, Any]:
    value = body.get(key, {})
    if not isinstance(value, dict):
        raise FixtureError(f"{doc.where((key,))}: {key} is a mapping")
    return value


def _known_keys(doc: Doc, path: tuple[Any, ...], body: dict[str, Any], known: Sequence[str]) -> None:
    for key in body:
        if key not in known:
            raise FixtureError(f'{doc.where((*path, key))}: unknown key "{key}"{did_you_mean(key, known)}')


def _wanted_findings(doc: Doc, body: dict[str, Any]) -> list[dict[str, Any]] | None:
    wanted = body.get("findings")
    if wanted is None:
        return None
    if not isinstance(wanted, list) or not all(isinstance(one, dict) for one in wanted):
        raise FixtureError(f"{doc.where(('findings',))}: findings is a list of mappings")
    for number, one in enumerate(wanted):
        _known_keys(doc, ("findings", number), one, _FINDING_KEYS)
    return wanted


def _fact(name: str, raw: Any, where: str) -> Fact:
    if isinstance(raw, dict) and set(raw) == {"absent"}:
        return absent(name, str(raw["absent"]))
    if isinstance(raw, dict) and set(raw) == {"error"}:
        return error(name, str(raw["error"]))
    spec = registry.resolve(name)
    fact = conform(present(name, _value(raw, spec, where)), spec)
    if fact.state is not FactState.VALUE:
        raise FixtureError(f"{where}: {_plainly(fact.reason)}")
    for row in fact.value if spec.type == "rows" else [fact.value] if spec.type == "row" else []:
        wrong = [text for text in row.get("_errors", {}).values() if "nodectl's parser" in text]
        if wrong:
            raise FixtureError(f"{where}: {'; '.join(map(_plainly, wrong))}")
    return fact


def _plainly(reason: str) -> str:
    """What `conform` says of a wrong type, less that it takes it for a parser's fault."""
    return reason.partition(": ")[2] or reason


def _value(raw: Any, spec: FactSpec, where: str) -> Any:
    fields = {field.name: field.type for field in spec.fields}
    if spec.type == "rows":
        if not isinstance(raw, list):
            raise FixtureError(f"{where}: {spec.name} is a list of rows")
        return [_row(row, fields, where) for row in raw]
    return _row(raw, fields, where) if spec.type == "row" else _typed(raw, spec.type)


def _row(raw: Any, fields: dict[str, str], where: str) -> dict[str, Any]:
    if not isinstance(raw, dict):
        raise FixtureError(f"{where}: a row is a mapping of fields")
    for key in raw:
        if fields and key not in fields and key != "_errors":
            raise FixtureError(f'{where}: the registry declares no field "{key}"{did_you_mean(key, fields)}')
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
