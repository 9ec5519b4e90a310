"""Xid 144 to 150 (NVLink 5): what NVIDIA's decode sheet says of an error beyond fatal and non-fatal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Row = Mapping[str, Any]

_LINK_EVENT = "NETIR_LINK_EVT"
_BIT_ERRORS = "NETIR_BER_EVENT"
_IGNORE = "IGNORE"


def decoded(row: Row, tables: Mapping[str, Any]) -> list[Row | None]:
    """For each error of an Xid row its row of the table; None where the sheet adds nothing to "fatal: reset"."""
    return [tables["nvlink5_errors"].get(_key(str(error))) for error in row.get("nvlink5_errors") or ()]


def _key(error: str) -> str:
    """`NETIR_LINK_EVT 0x025525c6 0x0` -> `NETIR_LINK_EVT 37`; `RLW_REMAP 0x4 0x40` -> `RLW_REMAP 0x40`."""
    unit, information, status = error.split(" ")
    unit = unit.partition("/")[0]
    if unit == _LINK_EVENT:
        return f"{unit} {int(information, 16) >> 20 & 0x3F}"
    return unit if unit == _BIT_ERRORS else f"{unit} {int(status, 16):#x}"


def is_fault(row: Row, tables: Mapping[str, Any]) -> bool:
    """A hand is needed: the line says fatal (or does not say), and the sheet does not ignore all that it names."""
    if row.get("fatal") is False:
        return False
    found = decoded(row, tables)
    return not found or any(entry is None or entry.get("bucket") != _IGNORE for entry in found)


def where_to_look(row: Row, tables: Mapping[str, Any]) -> str:
    """Where NVIDIA's sheet sends whoever looks for the cause; empty when it does not say."""
    places = (entry.get("look_at") for entry in decoded(row, tables) if entry)
    return ", ".join(dict.fromkeys(str(place) for place in places if place))


def bucket(row: Row, tables: Mapping[str, Any], default: str | None) -> str | None:
    """What to do at once: the sheet's word where all errors of the row have the same, else the catalogue's."""
    found = {str(entry["bucket"]) if entry else "" for entry in decoded(row, tables)}
    return found.pop() or default if len(found) == 1 else default
