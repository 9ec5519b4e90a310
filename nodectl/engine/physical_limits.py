"""Thresholds that nothing real can reach: a percentage of 150, a GPU of 900 C, a link of 33 lanes.

A bound that no machine can meet never passes, and one that no machine can miss never fails; both are slips of a key.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from nodectl.catalogue import Catalogue, Check
from nodectl.catalogue.operators import OPERATORS
from nodectl.facts import registry
from nodectl.strict_yaml import number_of

# Of each unit what is possible at all, with room for the hardware of the years to come.
LIMITS: dict[str, tuple[float, float]] = {
    "%": (0, 100),
    "C": (-60, 150),
    "W": (0, 1_000_000),
    "MHz": (0, 10_000),
    "GT/s": (0, 256),
    "Gb/s": (0, 3_200),
    "GB/s": (0, 20_000),
    "lanes": (0, 32),
    "GiB": (0, 1 << 20),
    "MiB": (0, 1 << 30),
    "KiB": (0, 1 << 40),
}
_NUMERIC = ("eq", "ne", "ge", "gt", "le", "lt", "within")
# Of one part of a node, whatever its unit.
_LIMITS_OF_FIELDS: dict[str, tuple[float, float]] = {
    "pcie_gen_current": (1, 7),
    "pcie_gen_max": (1, 7),
    "pcie_gen_device_max": (1, 7),
    "pcie_gen_host_max": (1, 7),
}


def impossible_thresholds(check: Check, catalogue: Catalogue) -> Iterator[tuple[tuple[Any, ...], str]]:
    """(path in the check's document, what is impossible about it) for each threshold that is out of this world."""
    for root in ("applies_when", "expect"):
        yield from _walk(check.raw.get(root), (root,), "", check, catalogue)


def _walk(
    tree: Any, path: tuple[Any, ...], rows: str, check: Check, catalogue: Catalogue
) -> Iterator[tuple[tuple[Any, ...], str]]:
    """`rows`: the table fact that `field` is one of, inside `each`."""
    if isinstance(tree, list):
        for number, part in enumerate(tree):
            yield from _walk(part, (*path, number), rows, check, catalogue)
        return
    if not isinstance(tree, dict):
        return
    rows = tree.get("each", rows)
    operator = next((key for key in tree if key in OPERATORS), "")
    if operator in _NUMERIC:
        limits = _limits_of(tree, rows)
        low, high, unit = limits or (float("-inf"), float("inf"), "")
        for value in _values(tree[operator], check, catalogue):
            if not low <= value <= high:
                shown = f"{value:g} {unit}".strip()
                yield (*path, operator), f"{shown} is outside what is possible ({low:g} to {high:g})"
    for key in ("all", "any", "not", "that", "where", "each"):
        yield from _walk(tree.get(key), (*path, key), rows, check, catalogue)


def _limits_of(leaf: Mapping[str, Any], rows: str) -> tuple[float, float, str] | None:
    field = leaf.get("field")
    spec = registry.spec_for(leaf.get("fact") or rows)
    if spec is None:
        return None
    unit = next((one.unit for one in spec.fields if one.name == field), "") if field else spec.unit
    limits = _LIMITS_OF_FIELDS.get(str(field)) or LIMITS.get(unit)
    return (*limits, unit) if limits else None


def _values(raw: Any, check: Check, catalogue: Catalogue) -> Iterator[float]:
    """Every number that the right side of an operator can stand for, as far as the catalogue says."""
    if isinstance(raw, dict) and "param" in raw:
        yield from _numbers([check.values.get(raw["param"])])
        set_by_profiles = (profile.params.get(check.id, {}) for profile in catalogue.profiles.values())
        yield from _numbers([values[raw["param"]] for values in set_by_profiles if raw["param"] in values])
    elif isinstance(raw, dict) and "lookup" in raw:
        table = catalogue.tables.get(raw["lookup"])
        yield from _numbers([row.get(raw.get("column", "")) for row in table.rows] if table else [])
    elif isinstance(raw, dict) and "value" in raw:  # within
        yield from _values(raw["value"], check, catalogue)
    elif not isinstance(raw, dict):
        yield from _numbers([raw])


def _numbers(values: list[Any]) -> Iterator[float]:
    for value in values:
        number = value if isinstance(value, float) else number_of(value)
        if number is not None:
            yield float(number)
