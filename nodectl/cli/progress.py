"""One line on stderr that says how far a run is; nothing at all where stderr is not a terminal that can go back."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from collections import Counter
from typing import TextIO

from nodectl.model import NodeResult, NodeState, Outcome
from nodectl.view import glyphs

_EVERY_S = 0.1


class Progress:
    """Counts nodes as they come in, from `start` to `close`, which wipes the line. No escapes are written.

    A thread draws: so the seconds go on while all wait for one node, and a slow terminal holds up no result.
    """

    def __init__(self, total: int, *, what: str = "nodes", stream: TextIO | None = None) -> None:
        self._out = sys.stderr if stream is None else stream
        self._live = bool(self._out.isatty()) and os.environ.get("TERM") != "dumb"
        self._total, self._what = total, what
        self._counts: Counter[str] = Counter()
        self._done = 0
        self._begun = time.monotonic()
        self._drawn = ""
        self._widest = 0
        self._closing = threading.Event()
        self._drawing = threading.Thread(target=self._draw_on, name="nodectl-progress", daemon=True)

    def start(self) -> None:
        if self._live:
            self._draw()
            self._drawing.start()

    def close(self) -> None:
        """Wipe the whole line: the terminal may have put a ^C behind ours."""
        self._closing.set()
        if self._drawing.is_alive():
            self._drawing.join(timeout=0.5)
        if self._widest:
            self._write("\r" + " " * self._room() + "\r")

    def node_done(self, result: NodeResult) -> None:
        self.count(_letter(result))

    def count(self, letter: str) -> None:
        self._counts[letter] += 1
        self._done += 1

    def _draw_on(self) -> None:
        while not self._closing.wait(_EVERY_S):
            self._draw()

    def _draw(self) -> None:
        states = "  ".join(f"{letter} {self._counts[letter]}" for letter in ".X!i?@" if self._counts[letter])
        seconds = time.monotonic() - self._begun
        line = f"{self._done}/{self._total} {self._what}  {states}  {seconds:.0f} s"[: self._room()]
        if line != self._drawn:
            # The cursor stays at the end of the text, so that a ^C does not go on in the next line.
            self._widest = max(self._widest, len(line))
            self._drawn = line
            self._write(f"\r{line.ljust(self._widest)}\r{line}")

    def _room(self) -> int:
        """Columns that can be written to without going on in the next line."""
        try:
            columns = os.get_terminal_size(self._out.fileno()).columns
        except (OSError, ValueError):
            columns = 0
        return (columns or 80) - 1

    def _write(self, text: str) -> None:
        with contextlib.suppress(OSError, ValueError):  # the terminal is gone: the run goes on
            self._out.write(text)
            self._out.flush()


def _letter(result: NodeResult) -> str:
    if result.state is NodeState.UNREACHABLE:
        return glyphs.UNREACHABLE
    worst = max(
        (f for f in result.findings if not f.waived_by), key=lambda f: (f.outcome.rank, f.severity.rank), default=None
    )
    if worst is None or worst.outcome in (Outcome.PASS, Outcome.NOT_APPLICABLE):
        return glyphs.OK
    return glyphs.letter_of(worst)
