"""What all GPUs of a node come to: versions that should be alike, and the sums of their power. Of any vendor."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from nodectl.facts.conform import ERRORS_KEY
from nodectl.facts.registry import DERIVED_SOURCE, Derivation, FactSpec
from nodectl.model import Fact, absent, error

Rows = Sequence[dict[str, Any]]

_LISTS = {
    "gpu.vbios_versions": ("vbios_version", "The different VBIOS versions of the GPUs"),
    "gpu.inforom_versions": ("inforom_version", "The different InfoROM image versions of the GPUs"),
    "gpu.gsp_versions": ("gsp_firmware_version", "The different versions of GSP firmware that the GPUs run now"),
    "gpu.board_part_numbers": ("board_part_number", "The different part numbers of the GPUs' boards"),
}
_SUMS = {
    "gpu.power_limit_total_w": (
        "power_limit_w",
        False,
        "Power limits of all GPUs added up: the most that they may draw",
    ),
    "gpu.power_draw_total_w": ("power_draw_w", True, "Power draw of all GPUs added up, now"),
}
FACTS: tuple[FactSpec, ...] = (
    *(FactSpec(name=name, type="list", source=DERIVED_SOURCE, about=about) for name, (_field, about) in _LISTS.items()),
    *(
        FactSpec(name=name, type="float", unit="W", source=DERIVED_SOURCE, about=about, varies=varies)
        for name, (_field, varies, about) in _SUMS.items()
    ),
)
SOURCES: dict[str, Any] = {}


def _unread(rows: Rows, field: str) -> str:
    for row in rows:
        reason = (row.get(ERRORS_KEY) or {}).get(field)
        if reason:
            return f"GPU {row.get('index')}: {reason}"
    return ""


def _distinct(name: str, field: str) -> Callable[[Rows], Any]:
    def compute(rows: Rows) -> list[str] | Fact:
        if reason := _unread(rows, field):
            return error(name, reason)
        found = sorted({str(row[field]) for row in rows if row.get(field) is not None})
        return found or absent(name, "no GPU reports it")

    return compute


def _total(name: str, field: str) -> Callable[[Rows], Any]:
    def compute(rows: Rows) -> float | Fact:
        if reason := _unread(rows, field):
            return error(name, reason)
        told = [float(row[field]) for row in rows if row.get(field) is not None]
        if not told:
            return absent(name, "no GPU reports it")
        if len(told) < len(rows):
            return error(name, f"only {len(told)} of {len(rows)} GPUs report it: the sum would be too small")
        return round(sum(told), 1)

    return compute


DERIVED: dict[str, Derivation] = {
    **{name: (("gpu.devices",), _distinct(name, field)) for name, (field, _about) in _LISTS.items()},
    **{name: (("gpu.devices",), _total(name, field)) for name, (field, _varies, _about) in _SUMS.items()},
}
