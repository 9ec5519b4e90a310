"""Does a value have the type that its fact declares? What a parser got wrong must not reach a check as a value."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import msgspec

from nodectl.facts.registry import FactSpec
from nodectl.model import Fact, FactState, error

ERRORS_KEY = "_errors"


def _is_int(value: Any) -> bool:
    return type(value) is int


def _is_float(value: Any) -> bool:
    return type(value) is int or (type(value) is float and math.isfinite(value))


def _is_version(value: Any) -> bool:
    return isinstance(value, str) and any(character.isdigit() for character in value)


_FITS: dict[str, Callable[[Any], bool]] = {
    "str": lambda value: isinstance(value, str),
    "int": _is_int,
    "float": _is_float,
    "bool": lambda value: isinstance(value, bool),
    "version": _is_version,
    "list": lambda value: isinstance(value, list),
    "row": lambda value: isinstance(value, dict),
    "rows": lambda value: isinstance(value, list),
    "any": lambda value: True,
}


# Where being of this very class is all that is asked.
_CLASS = {"str": str, "int": int, "bool": bool, "list": list, "row": dict, "rows": list}

# Of each column: its declared type, the class that is enough, and the whole question.
_Fits = dict[str, tuple[str, "type | None", Callable[[Any], bool]]]


@functools.cache
def _fits_by_field(spec: FactSpec) -> _Fits:
    return {field.name: (field.type, _CLASS.get(field.type), _FITS[field.type]) for field in spec.fields}


def conform(fact: Fact, spec: FactSpec) -> Fact:
    """The fact itself when it is what `spec` declares.

    A scalar or table of another type becomes an error fact. One wrong field in a row costs only that field: it moves
    into the row's `_errors`, which a check takes for unknown.
    """
    if fact.state is not FactState.VALUE:
        return fact
    value = fact.value
    if not _FITS[spec.type](value):
        return _wrong(fact, f"{type(value).__name__} {value!r:.80} where {spec.type} is declared")
    if spec.type == "row":
        row = _checked_row(value, _fits_by_field(spec))
        return fact if row is value else msgspec.structs.replace(fact, value=row)
    if spec.type == "rows":
        if not all(isinstance(row, dict) for row in value):
            return _wrong(fact, "a row that is no table of fields")
        fits = _fits_by_field(spec)
        rows = [_checked_row(row, fits) for row in value]
        same = all(new is old for new, old in zip(rows, value, strict=True))
        return fact if same else msgspec.structs.replace(fact, value=rows)
    return fact


def _wrong(fact: Fact, what: str) -> Fact:
    return error(
        fact.name,
        f"a fault in nodectl's parser of {fact.source or fact.name}: {what}",
        source=fact.source,
        command=fact.command,
        rc=fact.rc,
        duration_ms=fact.duration_ms,
    )


def _checked_row(row: dict[str, Any], fits: _Fits) -> dict[str, Any]:
    wrong = {}
    for name, value in row.items():
        if value is None:
            continue
        fit = fits.get(name)
        if fit is not None and value.__class__ is not fit[1] and not fit[2](value):
            wrong[name] = f"a fault in nodectl's parser: {value!r:.80} where {fit[0]} is declared"
    if not wrong:
        return row
    kept = {name: None if name in wrong else value for name, value in row.items()}
    kept[ERRORS_KEY] = {**row.get(ERRORS_KEY, {}), **wrong}
    return kept
