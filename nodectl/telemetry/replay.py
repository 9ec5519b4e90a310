"""Playing a recording again: its records, or a store that lives through them at their pace or at another."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

import msgspec

from nodectl.errors import UserError
from nodectl.model import Reason
from nodectl.telemetry.decode import NotUnderstood, decode
from nodectl.telemetry.messages import Hello, Message
from nodectl.telemetry.ndtel import (
    LINE,
    STATE,
    BlockInfo,
    BlockReader,
    Damaged,
    Header,
    Record,
    State,
    read_header,
    scan,
)
from nodectl.telemetry.store import CONNECTING, ENDED, FAILED, LIVE, RETRY, STALE, Store

_STATES = frozenset({CONNECTING, LIVE, STALE, RETRY, FAILED, ENDED})
WAIT_S = 0.1


class Replay:
    """A recording that is played.

        with Replay(path, speed=10) as replay:
            store = replay.store()
            while not replay.done:
                replay.advance(store)  # then look at store.take_dirty()
                time.sleep(0.1)

    The clock of the store is `now`, the Unix time of the recording: ages and staleness are those that were, at any
    speed. It stands still between calls of `advance`, and where the recording ends.

    Args:
        path: the file. speed: recorded seconds a second; 0 holds it.
        clock: seconds that only grow.

    Attributes:
        header: the first line of the file. start_t, end_t: Unix times of its first and last record.
        problem: what of the file is missing (cut, damaged), for a person; empty where nothing is.
        bad: records that are no message.
        done: all of it has been fed.

    Raises:
        UserError: it is no recording, one of a newer nodectl, or has nothing in it.
    """

    def __init__(self, path: Path, speed: float = 1.0, *, clock: Callable[[], float] = time.monotonic) -> None:
        try:
            self._file: BinaryIO = path.open("rb")
        except OSError as exc:
            raise UserError(f"{path}: cannot be read: {exc.strerror or exc}") from None
        try:
            self.header, start = read_header(self._file, str(path))
            self._blocks, rest = scan(self._file, start)
        except BaseException:
            self._file.close()
            raise
        self.problem = f"{path}: it ends within a block: the last {rest} bytes are left out" if rest else ""
        if not self._blocks:
            self._file.close()
            raise UserError(f"{path}: nothing was recorded" + (", or its end was cut off" if rest else ""))
        self.start_t = min(block.first_t for block in self._blocks)
        self.end_t = max(block.last_t for block in self._blocks)
        self.bad = 0
        self.done = False
        self._path = path
        self._clock = clock
        self._speed = speed
        self._reached = self.start_t  # recorded time, as of `_since` on the clock
        self._since: float | None = None  # None: not yet begun
        self._fed_t = self.start_t
        self._records = self.records()
        self._next: Record | None = None
        self._other_names = self.header != Header(
            tool=self.header.tool, created=self.header.created, nodes=self.header.nodes
        )

    @property
    def nodes(self) -> tuple[str, ...]:
        """The nodes that were to be recorded."""
        return self.header.nodes

    @property
    def duration_s(self) -> float:
        return self.end_t - self.start_t

    @property
    def speed(self) -> float:
        return self._speed

    @speed.setter
    def speed(self, speed: float) -> None:
        self._reached, self._since = self._due_t(), self._clock() if self._since is not None else None
        self._speed = speed

    def now(self) -> float:
        """The Unix time of the recording up to which it has been fed."""
        return self._fed_t

    def store(self) -> Store:
        """A store with this clock and the nodes of the recording."""
        store = Store(now=self.now)
        store.add(self.nodes)
        return store

    def close(self) -> None:
        self._file.close()
        self.done = True

    def __enter__(self) -> Replay:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def advance(self, store: Store) -> int:
        """Feed all that is due by now; returns how many records. The first call starts the clock. Does not wait."""
        if self.done:
            return 0
        if self._since is None:
            self._since = self._clock()
        return self._feed(store, self._due_t())

    def run(self, store: Store, stop: threading.Event) -> None:
        """Feed it at its pace until its end, or until `stop` is set."""
        while not self.done and not stop.is_set():
            self.advance(store)
            stop.wait(min(WAIT_S, 1.0 / max(self._speed, 0.1)))

    def seek(self, offset_s: float, store: Store, *, history_s: float = 0.0) -> None:
        """Go to a moment, in seconds from the start. The store forgets what it knew and gets what was known then.

        Args:
            history_s: how far back the store's history shall reach at least; each sample of it costs some 20 us.
        """
        target = min(max(self.start_t + offset_s, self.start_t), self.end_t)
        first = 0
        for number, block in enumerate(self._blocks):
            if block.fresh and block.first_t <= target - history_s:
                first = number
        self._records = self.records(first)
        self._next = None
        self.done = False
        self._reached, self._since = target, self._clock()
        store.reset()
        self._feed(store, target)

    def records(self, first_block: int = 0) -> Iterator[Record]:
        """All records in their order, each once, from the start or from the begin of a segment. Times never go back.

        What is damaged is left out, and `problem` says so. Not to be mixed with `advance`: both read the same file.
        """
        reader = BlockReader(self._file)
        last_t = 0.0
        repeats = True  # wanted in the segment in which reading begins, and after a gap
        begun = False
        for number in range(first_block, len(self._blocks)):
            block = self._blocks[number]
            repeats = repeats and not (block.fresh and begun)
            try:
                found = reader.records(block)
            except Damaged:
                self._damaged(block)
                repeats, begun = True, False
                continue
            begun = True
            for record in found:
                if repeats or not record.repeated:
                    last_t = max(last_t, record.t if block.first_t <= record.t <= block.last_t else block.last_t)
                    yield record if record.t == last_t else msgspec.structs.replace(record, t=last_t)

    def message(self, record: Record) -> Message | None:
        """What a record of kind LINE says; None where it says nothing."""
        try:
            message = decode(record.data)
        except NotUnderstood:
            self.bad += 1
            return None
        if self._other_names and type(message) is Hello:
            return self._with_names(message)
        return message

    def _due_t(self) -> float:
        """The recorded time that it should have reached by now."""
        if self._since is None:
            return self._reached
        return min(self._reached + (self._clock() - self._since) * self._speed, self.end_t)

    def _feed(self, store: Store, until: float) -> int:
        self._fed_t = until
        fed = 0
        while True:
            record = self._next or next(self._records, None)
            if record is None:
                self.done = True
                return fed
            if record.t > until:
                self._next = record
                return fed
            self._next = None
            self._put(store, record)
            fed += 1

    def _put(self, store: Store, record: Record) -> None:
        if record.kind == LINE:
            message = self.message(record)
            if message is not None:
                store.put(record.node, message, at=record.t)
        elif record.kind == STATE:
            try:
                state = msgspec.json.decode(record.data, type=State)
            except (msgspec.MsgspecError, ValueError, RecursionError):
                self.bad += 1
                return
            if state.state not in _STATES:
                return
            reason = Reason(state.code, state.text, state.hint) if state.code or state.text else None
            store.set_state(record.node, state.state, reason=reason, tries=state.tries)

    def _with_names(self, hello: Hello) -> Hello:
        """With the order of fields as it was when this was recorded, where the stream does not say it itself."""
        header = self.header
        gpu, host = not (hello.gpu_fields or hello.gpu_slow_fields), not (hello.host_fields or hello.host_slow_fields)
        return msgspec.structs.replace(
            hello,
            gpu_fields=header.gpu_fields if gpu else hello.gpu_fields,
            gpu_slow_fields=header.gpu_slow_fields if gpu else hello.gpu_slow_fields,
            host_fields=header.host_fields if host else hello.host_fields,
            host_slow_fields=header.host_slow_fields if host else hello.host_slow_fields,
        )

    def _damaged(self, block: BlockInfo) -> None:
        if not self.problem:
            self.problem = f"{self._path}: damaged at byte {block.offset}: what cannot be read is left out"
