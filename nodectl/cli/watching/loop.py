"""The one loop of a watch: wait, take over what changed, look for alerts, show, and end when it is time."""

from __future__ import annotations

import contextlib
import os
import select
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

from nodectl.cli.session import terminable
from nodectl.cli.watching.alerts import Alerts
from nodectl.cli.watching.board import Board
from nodectl.cli.watching.source import Source
from nodectl.telemetry.messages import Message, Tick
from nodectl.telemetry.store import LiveNode

LEAST_WAIT_S, MOST_WAIT_S = 0.02, 0.5


class Output(Protocol):
    """One way of showing what comes in."""

    keyboard: int | None
    """A file descriptor whose input is given to `keys`."""

    def tick(self, changed: set[str]) -> bool:
        """The board has been brought up to date. True: it is all that was wanted."""

    def keys(self, data: bytes) -> bool:
        """What was typed. True: the user wants to leave."""


class EverySample:
    """A tap for a store that is filled by this thread (a replay): no sample is lost, however fast they come.

    Before a node's next tick overwrites the last one, that is taken over, and each of `listeners` is told the node.
    """

    def __init__(self, board: Board, *listeners: Callable[[str], None]) -> None:
        self._board, self._listeners = board, listeners
        self._fresh: set[str] = set()

    def __call__(self, name: str, message: Message | LiveNode) -> None:
        if isinstance(message, Tick):
            if name in self._fresh:
                self._board.update_one(name)
                for listener in self._listeners:
                    listener(name)
            self._fresh.add(name)

    def taken(self) -> None:
        """The board is up to date."""
        self._fresh.clear()


class Loop:
    """Runs one watch. `stopped` is the interrupt that ended it, if one did."""

    def __init__(
        self, source: Source, board: Board, alerts: Alerts, output: Output, exports: Sequence[Callable[[], None]] = ()
    ) -> None:
        self.source, self.board, self.alerts, self.output, self.exports = source, board, alerts, output, exports
        self.every: EverySample | None = None
        self.stopped: BaseException | None = None
        self._read_end, self._write_end = os.pipe()
        os.set_blocking(self._write_end, False)

    def run(self) -> None:
        """Until the output has what it wants, the time is over, the source is, or somebody interrupts."""
        choice = self.board.choice
        begun = time.monotonic()
        wait_s = min(MOST_WAIT_S, max(LEAST_WAIT_S, choice.interval_s / max(self.source.speed, 1.0) / 2.5))
        with terminable(self._interrupt), self._pipe():
            while self.stopped is None:
                self.source.advance()
                over = self.source.over()
                changed = self.board.update()
                if self.every is not None:
                    self.every.taken()
                self.alerts.look(changed)
                for export in self.exports:
                    export()
                if self.output.tick(changed):
                    break
                if over and self.output.keyboard is None:
                    break
                left_s = wait_s
                if choice.duration_s is not None:
                    left_s = min(wait_s, begun + choice.duration_s - time.monotonic())
                    if left_s <= 0:
                        break
                if self._typed(left_s):
                    break

    def wake(self) -> None:
        """End the wait. For signal handlers."""
        with contextlib.suppress(OSError):
            os.write(self._write_end, b".")

    def _interrupt(self, why: BaseException) -> None:
        self.stopped = why
        self.wake()

    def _typed(self, wait_s: float) -> bool:
        """Wait for a while, or for a key; whether the user wants to leave."""
        keyboard = self.output.keyboard
        ready = select.select([self._read_end] + ([] if keyboard is None else [keyboard]), [], [], wait_s)[0]
        if self._read_end in ready:
            os.read(self._read_end, 512)
        if keyboard is None or keyboard not in ready:
            return False
        try:
            data = os.read(keyboard, 512)
        except OSError:
            data = b""
        if not data:  # the terminal is gone
            self.output.keyboard = None
            return False
        return self.output.keys(data)

    @contextlib.contextmanager
    def _pipe(self) -> Iterator[None]:
        try:
            yield
        finally:
            os.close(self._read_end)
            os.close(self._write_end)
