"""The refreshing screen: plain escapes on the alternate screen, and a terminal that is as it was when it ends.

Only lines that changed are written, each to its place, so that little goes over a slow ssh. Everything is written with
os.write: a signal may come in the middle, and its handler (ctrl-z) writes, too.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import sys
import termios
import time
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

from nodectl.cli.terminal import paint, wants_colour
from nodectl.cli.watching.alerts import Alerts
from nodectl.cli.watching.board import Board
from nodectl.cli.watching.outputs import shown
from nodectl.cli.watching.source import Source
from nodectl.view.lines import Line
from nodectl.view.watch_screen import Shown, page_size, screen_lines

_ENTER = "\x1b[?1049h\x1b[?25l\x1b[H\x1b[2J"
_LEAVE = "\x1b[0m\x1b[?25h\x1b[?1049l"
_DRAW_S = 0.2
"""Least time between two screens."""
_ORDER_S = 2.0
"""A table in the order of a value stays as it is for so long: rows that jump cannot be read."""
_KEY = re.compile(rb"\x1b(?:\[[0-9;]*[~A-Za-z]|O[A-Za-z])|[^\x1b]", re.DOTALL)

# What keys do: rows to go, as so many (line) or so many pages, or to an end of the table.
_LINES = {b"j": 1, b"\x1b[B": 1, b"\x1bOB": 1, b"\r": 1, b"k": -1, b"\x1b[A": -1, b"\x1bOA": -1}
_PAGES = {b" ": 1, b"\x1b[6~": 1, b"\x06": 1, b"b": -1, b"\x1b[5~": -1, b"\x02": -1}
_TOP = {b"g", b"\x1b[H", b"\x1b[1~", b"\x1bOH"}
_BOTTOM = {b"G", b"\x1b[F", b"\x1b[4~", b"\x1bOF"}


class Display:
    """The terminal of stdout, taken over between `enter` and `leave`; both may be called twice."""

    def __init__(self, colour: str) -> None:
        self.out = sys.stdout.fileno()
        self.keyboard = sys.stdin.fileno() if sys.stdin is not None and sys.stdin.isatty() else None
        self._colour = wants_colour(sys.stdout, colour)
        self._before: list[Any] | None = None
        self._drawn: list[str] = []
        self._size = (0, 0)
        self.entered = False

    def enter(self) -> None:
        if self.keyboard is not None and not self.entered:
            self._before = termios.tcgetattr(self.keyboard)
            quiet = termios.tcgetattr(self.keyboard)
            quiet[3] &= ~(termios.ICANON | termios.ECHO)
            quiet[6][termios.VMIN], quiet[6][termios.VTIME] = 1, 0
            termios.tcsetattr(self.keyboard, termios.TCSADRAIN, quiet)
        self.entered = True
        self._drawn, self._size = [], (0, 0)
        self._write(_ENTER)

    def leave(self) -> None:
        if not self.entered:
            return
        self.entered = False
        if self.keyboard is not None and self._before is not None:
            with contextlib.suppress(termios.error):
                termios.tcsetattr(self.keyboard, termios.TCSADRAIN, self._before)
        with contextlib.suppress(OSError):
            self._write(_LEAVE)

    def size(self) -> tuple[int, int]:
        """Columns and lines, as they are now."""
        try:
            columns, lines = os.get_terminal_size(self.out)
        except OSError:
            columns = lines = 0
        return columns or 80, lines or 24

    def draw(self, lines: list[Line]) -> None:
        """Show these lines. A window that has changed its size is painted anew."""
        size = self.size()
        parts = []
        if size != self._size:
            self._size, self._drawn = size, []
            parts.append("\x1b[0m\x1b[2J")
        painted = [paint(line, self._colour) for line in lines]
        for number, text in enumerate(painted):
            if number >= len(self._drawn) or self._drawn[number] != text:
                # Erased first: after a line that is full, the cursor hangs at its end, and would erase its last cell.
                parts.append(f"\x1b[{number + 1};1H\x1b[K{text}")
        self._drawn = painted
        if parts:
            self._write("".join(parts))

    def _write(self, text: str) -> None:
        data = memoryview(text.encode("utf-8", "replace"))
        while data:
            data = data[os.write(self.out, data) :]


class Screen:
    """The Output of a terminal."""

    def __init__(self, board: Board, source: Source, alerts: Alerts, display: Display, interval_s: float) -> None:
        self._board, self._source, self._alerts, self._display = board, source, alerts, display
        self._draw_s = max(_DRAW_S, min(1.0, interval_s))
        self._first = 0
        self._held: Shown | None = None
        self._paused_at: float | None = None
        self._drawn_at = self._ordered_at = 0.0
        self._place: dict[tuple[str, str | None], int] = {}
        self._size = (0, 0)
        self.notes: Callable[[], list[str]] = list

    @property
    def keyboard(self) -> int | None:
        return self._display.keyboard

    @keyboard.setter
    def keyboard(self, value: int | None) -> None:
        self._display.keyboard = value

    def tick(self, changed: set[str]) -> bool:
        now = time.monotonic()
        if now - self._drawn_at >= self._draw_s or self._display.size() != self._size:
            self._draw(now)
        return False

    def keys(self, data: bytes) -> bool:
        for key in _KEY.findall(data):
            if key in (b"q", b"Q"):
                return True
            if key == b"p":
                self._paused_at = time.monotonic() if self._paused_at is None else None
            elif key in _LINES:
                self._first += _LINES[key]
            elif key in _PAGES:
                self._first += _PAGES[key] * self._page()
            elif key in _TOP:
                self._first = 0
            elif key in _BOTTOM:
                self._first = sys.maxsize
        self._draw(time.monotonic())
        return False

    def _page(self) -> int:
        columns, lines = self._display.size()
        return page_size(self._held, width=columns, height=lines) if self._held else 1

    def _draw(self, now: float) -> None:
        self._drawn_at, self._size = now, self._display.size()
        if self._held is None or self._paused_at is None:
            self._held = self._shown(now)
        if self._paused_at is not None:
            self._held.clock = f"PAUSED {now - self._paused_at:.0f}s"
        columns, lines = self._size
        self._first = max(0, min(self._first, len(self._held.rows) - self._page()))
        self._display.draw(screen_lines(self._held, width=columns, height=lines, first=self._first))

    def _shown(self, now: float) -> Shown:
        found = shown(self._board)
        found.clock = self._clock()
        found.alerts = self._alerts.now()
        found.messages = [
            *self._source.notes(),
            *self.notes(),
            *(["the recording is over: q quits"] if self._source.over() else []),
        ]
        if self._board.choice.sort:
            self._keep_order(found, now)
        return found

    def _keep_order(self, found: Shown, now: float) -> None:
        if now - self._ordered_at >= _ORDER_S:
            self._ordered_at = now
            self._place = {(row["node"], row["gpu"]): place for place, row in enumerate(found.rows)}
        last = len(self._place)
        found.rows = sorted(found.rows, key=lambda row: self._place.get((row["node"], row["gpu"]), last))

    def _clock(self) -> str:
        wall = self._source.wall(self._board.store.now())
        text = time.strftime("%H:%M:%S", time.localtime(wall))
        return text if self._source.speed == 1.0 else f"{text} x{self._source.speed:g}"


@contextlib.contextmanager
def terminal(display: Display, changed: Callable[[], None]) -> Iterator[None]:
    """The display, entered; left again however this ends, and for as long as the program is stopped (ctrl-z).

    Args:
        changed: called, from a signal handler, when the window has a new size or is back.
    """

    def resized(signum: int, frame: FrameType | None) -> None:
        changed()

    def stopped(signum: int, frame: FrameType | None) -> None:
        display.leave()
        os.kill(os.getpid(), signal.SIGSTOP)
        display.enter()
        changed()

    handlers = {signal.SIGWINCH: resized, signal.SIGTSTP: stopped}
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        display.enter()
        yield
    finally:
        display.leave()
        for number, handler in before.items():
            signal.signal(number, handler)
