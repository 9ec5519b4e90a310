"""One line on stderr that says how far a run is; nothing at all where stderr is not a terminal."""

from __future__ import annotations

import sys
import time
from collections import Counter
from types import TracebackType
from typing import TextIO

from nodectl.model import NodeResult, NodeState, Outcome
from nodectl.view import glyphs

_EVERY_S = 0.1


class Progress:
    """Counts nodes as they come in. Use as a context manager; the line is wiped at the end."""

    def __init__(self, total: int, *, what: str = "nodes", stream: TextIO | None = None) -> None:
        self._out = sys.stderr if stream is None else stream
        self._live = bool(self._out.isatty())
        self._total, self._what = total, what
        self._counts: Counter[str] = Counter()
        self._begun = time.monotonic()
        self._drawn = 0.0

    def __enter__(self) -> Progress:
        self._draw()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live:
            self._write("\r\x1b[K")

    def node_done(self, result: NodeResult) -> None:
        self.count(_letter(result))

    def count(self, letter: str) -> None:
        self._counts[letter] += 1
        if time.monotonic() - self._drawn >= _EVERY_S or sum(self._counts.values()) == self._total:
            self._draw()

    def _draw(self) -> None:
        if not self._live:
            return
        self._drawn = time.monotonic()
        done = sum(self._counts.values())
        states = "  ".join(f"{letter} {self._counts[letter]}" for letter in ".X!?@" if self._counts[letter])
        seconds = time.monotonic() - self._begun
        self._write(f"\r\x1b[K{done}/{self._total} {self._what}  {states}  {seconds:.0f} s")

    def _write(self, text: str) -> None:
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
