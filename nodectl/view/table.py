"""Rows of text in aligned columns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from nodectl.view.lines import Line

_GAP = 2
_WIDEST = 60


def table_lines(rows: Sequence[Mapping[str, str]], columns: Sequence[str], *, header: bool = True) -> Iterator[Line]:
    """A header and a line a row. Columns that are empty in every row are left out; the last one is not padded."""
    shown = [column for column in columns if any(row.get(column) for row in rows)]
    widths = {column: min(_WIDEST, max([len(column), *(len(row.get(column, "")) for row in rows)])) for column in shown}
    if header and shown:
        yield [("dim", _joined([column.upper() for column in shown], list(widths.values())))]
    for row in rows:
        yield [("", _joined([row.get(column, "") or "-" for column in shown], list(widths.values())))]


def _joined(cells: Sequence[str], widths: Sequence[int]) -> str:
    padded = [f"{cell:<{width}}" for cell, width in zip(cells[:-1], widths[:-1], strict=True)]
    return (" " * _GAP).join([*padded, cells[-1]])
