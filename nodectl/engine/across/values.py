"""What of a fact is compared between nodes, and how it is written for people."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from fnmatch import fnmatchcase
from typing import Any

import msgspec

from nodectl.facts.conform import ERRORS_KEY
from nodectl.facts.registry import FactSpec

Key = Any
"""A value in a form that can be counted: a scalar, or a sorted tuple of texts for a list; None for absent."""

_MEASURED_UNITS = ("MiB", "KiB", "GiB", "B", "bytes", "W", "MHz", "GB/s", "Gb/s", "GT/s", "C", "°C", "ms", "us")
_MAX_SHOWN = 100
_MAX_ITEMS = 6


class UntoldError(Exception):
    """Part of it could not be read on this node."""


class Measure(msgspec.Struct, frozen=True):
    """How one thing is compared.

    Attributes:
        read: from a fact's value to what is counted.
        number: compared by the median and the spread, not value by value.
        unit: for people.
    """

    read: Callable[[Any], Key]
    number: bool = False
    unit: str = ""


def measure_of(spec: FactSpec, field: str = "", ignore: Collection[str] = (), *, near: bool = False) -> Measure | None:
    """How a fact, or one field of its rows, is compared; None where it cannot be.

    Whole numbers that measure something (they have a unit) and floats are compared as numbers; counts and settings
    (no unit) value by value, as text is.

    Args:
        spec: the fact's declaration.
        field: of a row or a table.
        ignore: patterns of list items that differ by nature.
        near: a number, whatever it is declared as.
    """
    if not field:
        if spec.type == "list":
            return Measure(lambda value: _items(value, ignore))
        if spec.type in ("row", "rows", "any"):
            return None
        if near:
            return Measure(_number, True, spec.unit)
        number = _is_measured(spec.type, spec.unit)
        return Measure(_measured if number else _scalar, number, spec.unit)
    column = next((one for one in spec.fields if one.name == field), None)
    if column is None:
        return None
    if spec.type == "row":
        number = _is_measured(column.type, column.unit)
        kind = _measured if number else _scalar
        return Measure(lambda row: _of_row(row, field, kind), number, column.unit)
    return Measure(lambda rows: _of_rows(rows, field), unit=column.unit)


def _is_measured(kind: str, unit: str) -> bool:
    return kind == "float" or (kind == "int" and unit in _MEASURED_UNITS)


def _scalar(value: Any) -> Key:
    if isinstance(value, (dict, list)):
        raise UntoldError
    return value


def _measured(value: Any) -> Key:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise UntoldError
    return value


def _number(value: Any) -> Key:
    """A whole number, also where it is told as text (`sysctl`)."""
    try:
        return int(value)
    except ValueError:
        raise UntoldError from None


def _items(value: Any, ignore: Collection[str] = ()) -> Key:
    items = {str(item) for item in value}
    if ignore:
        items = {item for item in items if not any(fnmatchcase(item, pattern) for pattern in ignore)}
    return tuple(sorted(items))


def _of_row(row: Mapping[str, Any], field: str, scalar: Callable[[Any], Key]) -> Key:
    if field in row.get(ERRORS_KEY, ()):
        raise UntoldError
    value = row.get(field)
    if value is None:
        return None
    return _items(value) if isinstance(value, list) else scalar(value)


def _of_rows(rows: list[dict[str, Any]], field: str) -> Key:
    """The distinct values of a column: one of them as itself, several as a tuple, none as absent."""
    found = set()
    for row in rows:
        if ERRORS_KEY in row and field in row[ERRORS_KEY]:
            raise UntoldError
        value = row.get(field)
        if value is not None:
            found.add(str(value) if isinstance(value, (dict, list)) else value)
    if len(found) < 2:
        return next(iter(found), None)
    return tuple(sorted(str(value) for value in found))


def plain(key: Key) -> Any:
    """A counted value as JSON."""
    return list(key) if isinstance(key, tuple) else key


def shown(key: Key, unit: str = "") -> str:
    """A counted value in a few words."""
    if key is None:
        return "absent"
    if isinstance(key, tuple):
        return _joined(key) or "none"
    if isinstance(key, bool):
        return "yes" if key else "no"
    if isinstance(key, float):
        key = f"{key:.10g}"
    text = " ".join(str(key).split())
    if not text:
        return "empty"
    return _cut(f"{text} {unit}".strip())


def shown_against(key: Key, majority: Key, unit: str = "") -> str:
    """A value beside that of the majority: of two lists, only what differs."""
    if not isinstance(key, tuple) or not isinstance(majority, tuple):
        return shown(key, unit)
    gone, more = [one for one in majority if one not in key], [one for one in key if one not in majority]
    parts = (("without ", gone), ("with ", more))
    return "; ".join(word + _joined(items) for word, items in parts if items)


def _joined(items: Collection[str]) -> str:
    listed = [_cut(item) for item in items][:_MAX_ITEMS]
    more = f" and {len(items) - _MAX_ITEMS} more" if len(items) > _MAX_ITEMS else ""
    return ", ".join(listed) + more


def _cut(text: str) -> str:
    return text if len(text) <= _MAX_SHOWN else text[: _MAX_SHOWN - 3] + "..."
