"""What is written where: data on stdout, the rest on stderr; colour only where a person reads it on a terminal."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterable
from typing import TextIO

from nodectl.view.lines import Line

# 256-colour forms of a palette that stays apart for people with deuteranopia and protanopia; styles as in view.glyphs.
_SGR = {
    "ok": "",
    "info": "38;5;75",
    "warn": "38;5;214",
    "fail": "1;38;5;202",
    "unknown": "38;5;176",
    "unreachable": "38;5;39",
    "dim": "2",
    "bold": "1",
    "": "",
}
_SGR_16 = _SGR | {"info": "36", "warn": "33", "fail": "1;31", "unknown": "35", "unreachable": "34"}


def wants_colour(stream: TextIO, choice: str = "auto") -> bool:
    """`always` and `never` as said; `auto`: a terminal, without NO_COLOR or TERM=dumb (FORCE_COLOR: a pipe, too)."""
    if choice != "auto":
        return choice == "always"
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return False
    return bool(os.environ.get("FORCE_COLOR")) or stream.isatty()


def width(stream: TextIO, default: int = 100) -> int:
    """Columns to write into: those of the terminal, or a fixed number in a pipe so that output does not vary."""
    if not stream.isatty():
        return default
    return max(40, shutil.get_terminal_size((default, 24)).columns)


def paint(line: Line, colour: bool) -> str:
    """One line as text, with escapes only if `colour`, and none that came with the text."""
    safe = [(style, text if text.isprintable() else _inert(text)) for style, text in line]
    if not colour:
        return "".join(text for _, text in safe).rstrip()
    table = _SGR if "256" in os.environ.get("TERM", "") or os.environ.get("COLORTERM") else _SGR_16
    return "".join(f"\x1b[{table[style]}m{text}\x1b[0m" if table.get(style) else text for style, text in safe)


def _inert(text: str) -> str:
    """What nodes say was cleaned when it came in; this is for what came another way (a file name, an inventory)."""
    return "".join(ch if ch.isprintable() else ch.encode("unicode_escape").decode("ascii") for ch in text)


def write(lines: Iterable[Line], stream: TextIO | None = None, *, colour: str = "auto") -> None:
    """Lines to stdout (or `stream`), painted if it is a terminal."""
    out = stream or sys.stdout
    use = wants_colour(out, colour)
    for line in lines:
        out.write(paint(line, use) + "\n")
    out.flush()


def note(text: str) -> None:
    """A word on stderr, for the person who runs the command."""
    sys.stderr.write(f"nodectl: {text}\n")
