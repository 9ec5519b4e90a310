"""A check made from what nodes are like now: it asks that they stay so.

`draft` gives the check and its fixtures as plain documents, ready to be written as YAML; it reads and writes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from nodectl.errors import UserError
from nodectl.facts import registry
from nodectl.facts.registry import FactNameError, FactSpec
from nodectl.model import Fact, FactState
from nodectl.suggest import did_you_mean

_MAX_SHOWN = 48
_LEAST_SHOWN = 12
_MAX_TITLE = 100
_MAX_FIELDS = 12
_TABLES = ("row", "rows")


class DraftError(UserError):
    """No check can be made of this: why, and what could."""


class Asked(msgspec.Struct, frozen=True):
    """What to hold on to: a fact, or one field of a fact that is a table (`gpu.devices.vbios_version`)."""

    fact: str
    field: str
    spec: FactSpec

    @property
    def name(self) -> str:
        return f"{self.fact} {self.field}".strip()

    @property
    def type(self) -> str:
        if not self.field:
            return self.spec.type
        return next(one.type for one in self.spec.fields if one.name == self.field)


class Drafted(msgspec.Struct, frozen=True):
    """A check's document, and its fixtures by file name."""

    check: dict[str, Any]
    fixtures: dict[str, dict[str, Any]]


def asked_for(name: str) -> Asked:
    """`FACT` or `FACT.FIELD` as a person writes it.

    Raises:
        DraftError: there is no such fact or field, or a table without a field.
    """
    spec = registry.spec_for(name)
    if spec is None:
        fact, dot, field = name.rpartition(".")
        table = registry.spec_for(fact) if dot else None
        if table is None or table.type not in _TABLES:
            try:
                registry.resolve(name)
            except FactNameError as problem:
                raise DraftError(f"{problem} (nodectl facts lists them)") from None
            raise DraftError(f'"{name}" is no fact')
        fields = [one.name for one in table.fields]
        if field not in fields:
            raise DraftError(f'{fact} has no field "{field}"{did_you_mean(field, fields)}')
        return Asked(fact, field, table)
    if spec.type in _TABLES:
        fields = [one.name for one in spec.fields]
        known = ", ".join(fields[:_MAX_FIELDS]) + (", ..." if len(fields) > _MAX_FIELDS else "")
        raise DraftError(f"{name} is a table: name one of its fields, as in {name}.{fields[0]} (it has {known})")
    return Asked(name, "", spec)


def draft(
    check_id: str, asked: Asked, answers: Mapping[str, Fact], *, day: str, severity: str = "info", title: str = ""
) -> Drafted:
    """The check that the nodes pass as they are.

    Args:
        answers: the fact as each node told it.
        day: today, for the check's source.
        severity: `info` unless the user names a document (he edits the file).

    Raises:
        DraftError: no node told it, they differ, or it differs by nature.
    """
    if not answers:
        raise DraftError(f"no node told {asked.fact}")
    for node, fact in answers.items():
        if fact.state is FactState.ERROR:
            raise DraftError(f"{node}: {asked.fact} could not be read: {fact.reason}")
    expect, shown = _expectation(asked, answers)
    nodes = list(answers)
    where = nodes[0] if len(nodes) == 1 else f"{len(nodes)} nodes ({nodes[0]} to {nodes[-1]})"
    check = {
        "id": check_id,
        "title": title or _title(asked.name, shown),
        "severity": severity,
        "facts": [asked.fact],
        "expect": expect,
        "why": f"It was so on {where} on {day}. Write here what breaks when it changes.",
        "sources": [{"title": f"State of {where}, {day}"}],
        "confidence": "notes-only",
        "fix": {"manual": "Find out what changed it, and put it back."},
    }
    return Drafted(check, _fixtures(asked, next(iter(answers.values()))))


def _expectation(asked: Asked, answers: Mapping[str, Fact]) -> tuple[dict[str, Any], str]:
    """The `expect` of the check, and its value for the title."""
    if asked.spec.type == "rows":
        return _of_rows(asked, answers)
    values = {node: _value(asked, fact) for node, fact in answers.items()}
    first_node, value = next(iter(values.items()))
    for node, other in values.items():
        if other != value:
            differ = f"{first_node} {_shown(value)}, {node} {_shown(other)}"
            raise DraftError(f"the nodes differ in {asked.name}: {differ}: name fewer nodes")
    leaf: dict[str, Any] = {"fact": asked.fact} | ({"field": asked.field} if asked.field else {})
    if value is None:
        return leaf | {"present": False}, "not there"
    return leaf | _compared(value), _shown(value)


def _of_rows(asked: Asked, answers: Mapping[str, Fact]) -> tuple[dict[str, Any], str]:
    found: dict[str, Any] = {}
    for node, fact in answers.items():
        rows = fact.value if fact.state is FactState.VALUE else []
        if not rows:
            raise DraftError(f"{node}: {asked.fact} is empty")
        for row in rows:
            if asked.field in row.get("_errors", {}):
                raise DraftError(f"{node}: {asked.name} could not be read: {row['_errors'][asked.field]}")
            if row.get(asked.field) is not None:
                found.setdefault(_shown(row[asked.field]), row[asked.field])
    if not found:
        raise DraftError(f"{asked.name} has no value in any row")
    values = list(found.values())
    if len(values) > 1 and isinstance(values[0], (bool, list)):
        raise DraftError(f"the rows differ in {asked.name}: {', '.join(found)}")
    that = _compared(values[0]) if len(values) == 1 else {"one_of": sorted(values)}
    names = [one.name for one in asked.spec.fields]
    label = "GPU {index}" if asked.fact == "gpu.devices" and "index" in names else f"{{{names[0]}}}"
    return {"each": asked.fact, "label": label, "that": {"field": asked.field} | that}, ", ".join(found)


def _value(asked: Asked, fact: Fact) -> Any:
    """None where it is not there."""
    if fact.state is FactState.ABSENT:
        return None
    if not asked.field:
        return fact.value
    if asked.field in fact.value.get("_errors", {}):
        raise DraftError(f"{asked.name} could not be read: {fact.value['_errors'][asked.field]}")
    return fact.value.get(asked.field)


def _compared(value: Any) -> dict[str, Any]:
    return {"is": value} if isinstance(value, bool) else {"eq": value}


def _fixtures(asked: Asked, fact: Fact) -> dict[str, dict[str, Any]]:
    """As found, otherwise, and unreadable: what the check must pass, fail and not tell."""
    present = fact.state is FactState.VALUE
    found: Any = fact.value if present else {"absent": fact.reason or "not there"}
    if asked.spec.type == "rows":
        found = [{name: row[name] for name in row if name != "_errors" and row[name] is not None} for row in found]
        other: Any = [found[0] | {asked.field: _other(found[0].get(asked.field))}, *found[1:]]
    elif asked.field and present:
        other = found | {asked.field: _other(found.get(asked.field))}
    else:
        other = _other(found) if present else _some(asked.type)
    return {
        "as_found.pass.yaml": {"facts": {asked.fact: found}},
        "otherwise.fail.yaml": {"facts": {asked.fact: other}},
        "unreadable.unknown.yaml": {"facts": {asked.fact: {"error": "it did not answer in its time"}}},
    }


def _other(value: Any) -> Any:
    """A value of the same type that is not this one."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, (int, float)):
        return value + 1
    if isinstance(value, list):
        return [*value, "other"]
    return f"{value}.1" if value is not None else "other"


def _some(kind: str) -> Any:
    return {"int": 1, "float": 1.5, "bool": True, "list": ["other"], "version": "1.0"}.get(kind, "other")


def _title(name: str, shown: str) -> str:
    """What is wanted, in one line. It has no full stop at its end, whatever the nodes said."""
    said = _cut(shown, max(_LEAST_SHOWN, _MAX_TITLE - len(f'{name} is ""')))
    quoted = f'"{said}"' if not said or said.endswith(".") else said
    title = f"{name} is {quoted}"
    return title if len(title) <= _MAX_TITLE else f"{name[: _MAX_TITLE - 24].rstrip('.')}... is as it was found"


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return _cut(", ".join(map(str, value)) if isinstance(value, list) else str(value), _MAX_SHOWN)


def _cut(text: str, limit: int) -> str:
    text = " ".join(text.split())
    return text if len(text) <= limit else text[: limit - 3].rstrip(". ") + "..."
