"""Columns of samples: what they are called, how wide they are, and how a value looks in them.

One table for all front ends. The first character of every cell is its gap; where a value is old it is followed by a
`~`, so a number is as wide as before, and everything stays where it is. What is not known is `-`. Where not all columns
fit, those with the lowest `priority` number do; 80 columns are a supported width.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import msgspec

from nodectl.telemetry.store import STALE
from nodectl.view import glyphs
from nodectl.view.rollup import short_reasons
from nodectl.view.sample_fields import ALL, field_named

Row = Mapping[str, Any]
LEFT, RIGHT = "left", "right"
UNKNOWN = "-"
_TOO_WIDE = "#"  # as in a spreadsheet: never a number without its last digits
LEAST_FLEXIBLE = 13
_KEPT = 0
"""Priority of a column that is never dropped."""


class Column(msgspec.Struct, frozen=True):
    """One column.

    Attributes:
        name: of the field, as in a row; what it sorts by and what CSV and JSON call it.
        width: characters, its gap (and mark) included.
        priority: 0 is always there; of the others, those with a low number get a place first.
        flexible: takes what is left of the line, or a smaller place where there is no other. Empty where unknown.
        written: how it is shown; by its field's unit where it is None.
        style: the style of a value, beyond that of its row.
    """

    name: str
    title: str
    width: int
    priority: int
    align: str = RIGHT
    flexible: bool = False
    written: Callable[[Row], str] | None = None
    style: Callable[[Row], str] | None = None

    def value(self, row: Row) -> Any:
        return row.get(self.name)

    def format(self, row: Row) -> str:
        """The value as text, `-` where it is not known; not yet of the column's width."""
        if self.flexible:
            return str(row.get(self.name) or "")
        if self.written is not None:
            return self.written(row) or UNKNOWN
        value = row.get(self.name)
        if value is None:
            return UNKNOWN
        if isinstance(value, str):
            return value or UNKNOWN
        if isinstance(value, tuple | list):
            return ",".join(map(str, value)) or UNKNOWN
        return _FORMATS[_UNIT_OF[self.name]](value)


def cell(column: Column, row: Row, width: int) -> tuple[str, str]:
    """(style, text of exactly `width` characters)."""
    text = column.format(row)
    style = column.style(row) if column.style and text != UNKNOWN else ""
    if text == UNKNOWN:
        style = style or "dim"
    elif row.get("state") == STALE and column.name not in _NEVER_OLD:
        text, style = glyphs.STALE + text, "dim"
    if column.align == LEFT:
        return style, " " + fitted(text, width - 1)
    taken = len(text) if text.isascii() else sum(map(_cells, text))
    if taken > width - 1:
        return style, (_TOO_WIDE * (width - 1)).rjust(width)
    return style, " " * (width - taken) + text


def fit_columns(columns: Sequence[Column], width: int, wanted: Mapping[str, int]) -> list[tuple[Column, int]]:
    """The columns that fit into `width` characters, and how wide each is.

    Args:
        columns: in their order.
        wanted: widths by name that depend on the rows (names of nodes).
    """
    taken: dict[str, int] = {}
    left = width
    for column in sorted(columns, key=lambda column: column.priority):  # stable: the first of equals comes first
        size = wanted.get(column.name, column.width)
        if column.flexible and LEAST_FLEXIBLE <= left < size:
            size = left
        if column.priority == _KEPT and left > 1:
            size = min(size, left)  # a window of next to no width cuts what it must show
        if size <= left:
            taken[column.name] = size
            left -= size
    return [
        (column, taken[column.name] + (left if column.flexible else 0)) for column in columns if column.name in taken
    ]


def titles(columns: Iterable[tuple[Column, int]]) -> str:
    return "".join(
        " " + fitted(column.title, width - 1) if column.align == LEFT else column.title[: width - 1].rjust(width)
        for column, width in columns
    )


def fitted(text: str, width: int) -> str:
    """Exactly `width` cells of a terminal, cut with a `>` at the end; characters of two cells count as two."""
    if text.isascii():
        return text.ljust(width) if len(text) <= width else text[: max(0, width - 1)] + ">"[:width]
    sizes = [_cells(char) for char in text]
    if sum(sizes) <= width:
        return text + " " * (width - sum(sizes))
    taken, used = [], 0
    for char, size in zip(text, sizes, strict=True):
        if used + size > width - 1:
            break
        taken.append(char)
        used += size
    return "".join(taken) + (">" + " " * (width - used - 1) if width > used else "")


def _cells(char: str) -> int:
    if unicodedata.combining(char) or unicodedata.category(char) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(char) in ("W", "F") else 1


def watts(value: float) -> str:
    """`702W`, `5.1kW`, `1.92MW`."""
    if value < 999.5:
        return f"{value:.0f}W"
    if value < 999_500:
        return f"{value / 1e3:.1f}kW"
    return f"{value / 1e6:.2f}MW"


def size(mib: float) -> str:
    """`812M`, `4.1G`, `141G`, `1.1T`: at most four characters up to 999 TiB."""
    for unit, factor in (("K", 2**-10), ("M", 1.0), ("G", 2.0**10), ("T", 2.0**20), ("P", 2.0**30)):
        value = mib / factor
        if value < 999.5 or unit == "P":
            break
    if mib == 0:
        return "0"
    return f"{value:.1f}{unit}" if value < 9.95 and unit not in "KM" else f"{value:.0f}{unit}"


def age(seconds: float) -> str:
    """`3s`, `14m`, `5h`, `12d`."""
    for unit, length, most in (("s", 1, 100), ("m", 60, 100), ("h", 3600, 48)):
        if seconds < most * length:
            return f"{int(seconds / length)}{unit}"
    return f"{int(seconds / 86400)}d"


def number(value: float) -> str:
    """`0`, `9999`, `12k`, `3M`."""
    if abs(value) < 10_000:
        return f"{value:.0f}"
    return f"{value / 1e3:.0f}k" if abs(value) < 999_500 else f"{value / 1e6:.0f}M"


_FORMATS: dict[str, Callable[[float], str]] = {
    "%": lambda value: f"{value:.0f}%",
    "C": lambda value: f"{value:.0f}C",
    "W": watts,
    "MiB": size,
    "MiB/s": size,
    "MHz": lambda value: f"{value:.0f}",
    "J": lambda value: f"{value / 1e3:.0f}k" if value < 1e9 else f"{value / 1e6:.0f}M",
    "s": age,
    "load": lambda value: f"{value:.1f}" if value < 999.5 else f"{value:.0f}",
    "lanes": lambda value: f"x{value:.0f}",
    "": number,
}
_UNIT_OF = {field.name: field.unit for field in ALL} | {"load1": "load"}
_NEVER_OLD = {"node", "gpu", "letter", "map", "state", "age_s", "note", "model", "driver", "backend", "labels", "gpus"}


def _letter_style(row: Row) -> str:
    return glyphs.STYLE_OF.get(row.get("letter", ""), "")


def _bad_if_any(name: str) -> Callable[[Row], str]:
    return lambda row: "fail" if row.get(name) else ""


def _bad_reasons(row: Row) -> str:
    return "warn" if any("slowdown" in name for name in row.get("throttle") or ()) else ""


def _power_of_limit(row: Row) -> str:
    power, limit = row.get("power_w"), row.get("power_limit_w")
    if power is None:
        return ""
    return f"{power:.0f}/{limit:.0f}" if limit is not None else f"{power:.0f}"


def _reasons(row: Row) -> str:
    mask = row.get("clocks_event_reasons")
    return "" if mask is None else short_reasons(mask)


def _generation(row: Row) -> str:
    generation, lanes = row.get("pcie_gen"), row.get("pcie_width")
    return f"{generation:.0f}x{lanes:.0f}" if generation is not None and lanes is not None else ""


NODE = Column("node", "NODE", 9, _KEPT, LEFT, style=_letter_style)
GPU = Column("gpu", "GPU", 4, _KEPT)
STATE = Column("letter", "S", 2, _KEPT, LEFT, style=_letter_style)
NOTE = Column("note", "NOTE", 24, 5, LEFT, flexible=True, style=_letter_style)
_UTIL = Column("gpu_util_pct", "UTIL", 6, 1)
_MEMORY = Column("gpu_memory_pct", "MEM", 6, 3)
_TEMPERATURE = Column("temperature_c", "TEMP", 6, 2)
_HBM = Column("temperature_memory_c", "HBM", 6, 8)
_PCIE = (Column("pcie_rx_mib_s", "PCIE-RX", 8, 15), Column("pcie_tx_mib_s", "PCIE-TX", 8, 16))
_NVLINK = (Column("nvlink_rx_mib_s", "NVL-RX", 7, 17), Column("nvlink_tx_mib_s", "NVL-TX", 7, 18))
_ECC = Column("ecc_uncorrectable", "ECC", 5, 12, style=_bad_if_any("ecc_uncorrectable"))
_USERS = Column("users", "USER", 10, 14, LEFT)
_JOBS = Column("jobs", "JOB", 11, 19, LEFT)
_THROTTLE = Column("throttle", "THROTTLE", 10, 4, LEFT, written=_reasons, style=_bad_reasons)

NODE_COLUMNS: tuple[Column, ...] = (
    NODE,
    STATE,
    Column("map", "GPUS", 9, 3, LEFT, style=_letter_style),
    _UTIL,
    _MEMORY,
    _TEMPERATURE,
    _HBM,
    Column("power_w", "POWER", 8, 4),
    Column("cpu_util_pct", "CPU", 6, 6),
    Column("memory_used_pct", "RAM", 6, 7),
    Column("load1", "LOAD", 7, 20),
    *_PCIE,
    *_NVLINK,
    Column("ib_rx_mib_s", "IB-RX", 7, 21),
    Column("ib_tx_mib_s", "IB-TX", 7, 22),
    Column("net_rx_mib_s", "NET-RX", 7, 23),
    Column("net_tx_mib_s", "NET-TX", 7, 24),
    _USERS,
    _JOBS,
    NOTE,
)
GPU_COLUMNS: tuple[Column, ...] = (
    NODE,
    GPU,
    STATE,
    _UTIL,
    _MEMORY,
    Column("memory_used_mib", "USED", 6, 11),
    _TEMPERATURE,
    _HBM,
    Column("power_w", "W/LIMIT", 11, 4, written=_power_of_limit),
    Column("sm_clock_mhz", "SM", 6, 4),
    _ECC,
    Column("sm_active_pct", "SM-ACT", 8, 20),
    Column("tensor_active_pct", "TENSOR", 8, 21),
    Column("memory_bandwidth_pct", "MEM-BW", 8, 22),
    *_PCIE,
    *_NVLINK,
    Column("pcie_gen", "PCIE", 6, 25, written=_generation),
    _THROTTLE,
    _USERS,
    _JOBS,
    msgspec.structs.replace(NOTE, width=LEAST_FLEXIBLE),  # THROTTLE says most of it
)

_WIDTHS = {"%": 6, "C": 6, "W": 8, "MiB": 6, "MiB/s": 7, "MHz": 6, "J": 8, "s": 5, "load": 7, "": 6, "lanes": 5}
_SHOWN = {column.name: column for column in (*GPU_COLUMNS, *NODE_COLUMNS)}


def columns_named(names: Iterable[str], by: tuple[Column, ...]) -> tuple[Column, ...]:
    """The columns of these fields; where the table `by` has none for one, a plain one is made.

    Raises:
        ValueError: there is no such field.
    """
    known = _SHOWN | {column.name: column for column in by}
    found = []
    for name in dict.fromkeys(names):
        field = field_named(name)
        column = known.get(field.name)
        if column is None:
            is_number = field.type == "number"
            title = _title(field.name)
            width = max(_WIDTHS[_UNIT_OF.get(field.name, "")] if is_number else 13, len(title) + 1)
            column = Column(field.name, title, width, 1, RIGHT if is_number else LEFT)
        found.append(column)
    return tuple(msgspec.structs.replace(column, priority=number) for number, column in enumerate(found))


def _title(name: str) -> str:
    for end in ("_mib_s", "_mib", "_pct", "_mhz", "_c", "_w", "_s", "_j"):
        name = name.removesuffix(end)
    return name.replace("_", "-").upper()
