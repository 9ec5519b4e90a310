"""Lines of styled text: what a front end paints. A style is a name (`fail`, `dim`, ...), never an escape."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator

Line = list[tuple[str, str]]


def plain(text: str) -> Line:
    return [("", text)]


def hanging(
    label: str, text: str, *, indent: int, label_width: int, width: int, style: str = "", label_style: str = "dim"
) -> Iterator[Line]:
    """`label` in a column, `text` wrapped beside it. A word longer than the column (a URL) is never broken."""
    column = indent + label_width
    rows = textwrap.wrap(
        text, max(20, width - column), break_long_words=False, break_on_hyphens=False, drop_whitespace=True
    ) or [""]
    yield [("", " " * indent), (label_style, f"{label:<{label_width}}"), (style, rows[0])]
    for row in rows[1:]:
        yield [("", " " * column), (style, row)]
