"""Lines of styled text: what a front end paints. A style is a name (`fail`, `dim`, ...), never an escape."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator

Line = list[tuple[str, str]]
_AFTER_COMMA = re.compile(r"(?<=,)(?=.)")


def plain(text: str) -> Line:
    return [("", text)]


class _Wrapper(textwrap.TextWrapper):
    """Breaks between words; a word that is longer than a line also after its commas."""

    def __init__(self, width: int) -> None:
        super().__init__(width, break_long_words=False, break_on_hyphens=False, drop_whitespace=True)

    def _split(self, text: str) -> list[str]:
        parts: list[str] = []
        for word in super()._split(text):
            parts += _AFTER_COMMA.split(word) if len(word) > self.width and "://" not in word else [word]
        return parts


def hanging(
    label: str, text: str, *, indent: int, label_width: int, width: int, style: str = "", label_style: str = "dim"
) -> Iterator[Line]:
    """`label` in a column, `text` wrapped beside it. A word longer than the column is broken after commas only: a list
    of devices may be, a URL never is."""
    column = indent + label_width
    rows = _Wrapper(max(20, width - column)).wrap(text) or [""]
    yield [("", " " * indent), (label_style, f"{label:<{label_width}}"), (style, rows[0])]
    for row in rows[1:]:
        yield [("", " " * column), (style, row)]


def beside(nodes: str, said: str, *, width: int, pad: int = 0, indent: int = 4) -> Iterator[Line]:
    """Node names, and what was found there beside them, or below when the names are long."""
    column = max(len(nodes), pad)
    if column > width // 3:
        if nodes:
            yield from hanging("", nodes, indent=indent, label_width=0, width=width, style="bold")
        yield from hanging("", said, indent=indent + 2, label_width=0, width=width)
    else:
        yield from hanging(nodes, said, indent=indent, label_width=column + 2, width=width, label_style="bold")


def count(number: int, word: str) -> str:
    """`1 node`, `2 nodes`."""
    return f"{number} {word}" if number == 1 else f"{number} {word}s"


def fitted(text: str, width: int) -> str:
    """A text behind two spaces in what is left of a line; cut only between words, and seen to be cut."""
    return f"  {textwrap.shorten(text, width - 2, placeholder='...')}" if text and width >= 12 else ""
