"""Writing a recording: what comes from any number of nodes, in a file that is good up to its last two seconds."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import msgspec

from nodectl.errors import UserError
from nodectl.telemetry.messages import Hello, Message, Slow, encode
from nodectl.telemetry.ndtel import LINE, STATE, BlockWriter, Header, Record, State, utc_text
from nodectl.telemetry.replay import Replay
from nodectl.telemetry.store import LiveNode

__all__ = ["RecordWriter", "Replay", "SteadyClock"]

FLUSH_S = 2.0
SEGMENT_S = 60.0
SEGMENT_BYTES = 8 * 1024 * 1024
MAX_PENDING_BYTES = 32 * 1024 * 1024
_BLOCK_BYTES = 4 * 1024 * 1024


class SteadyClock:
    """Unix time that never goes back: the wall clock as it was at the start, and from there the monotonic one."""

    def __init__(self) -> None:
        self._offset = time.time() - time.monotonic()

    def __call__(self) -> float:
        return time.monotonic() + self._offset


class RecordWriter:
    """Writes a recording. A thread of its own packs and writes, so `put` costs its callers next to nothing.

    Args:
        path: the file; made with mode 0600. nodes: the names that will come, for the header.
        max_bytes: when a file has grown to this, the next one is begun (`run.ndtel`, `run.2.ndtel`, ...); each can be
            replayed alone. None: one file, however large.
        overwrite: replace a file that is there.
        now: Unix time that does not go back.
        flush_s: how long what came may stay unwritten.

    Attributes:
        records, bytes_written: what is in the files. dropped: records that could not be written, or not in time.
        problem: why writing ended, or empty. paths: the files.

    Raises:
        UserError: the file is there already, or cannot be made.
    """

    def __init__(
        self,
        path: Path,
        *,
        nodes: Sequence[str] = (),
        max_bytes: int | None = None,
        overwrite: bool = False,
        now: Callable[[], float] | None = None,
        flush_s: float = FLUSH_S,
    ) -> None:
        self.records = self.bytes_written = self.dropped = 0
        self.problem = ""
        self.paths: list[Path] = []
        self._now = now or SteadyClock()
        self._names = tuple(nodes)
        self._max_bytes = max_bytes
        self._flush_s = flush_s
        self._lock = threading.Lock()
        self._pending: list[Record] = []
        self._pending_bytes = 0
        self._wake = threading.Event()
        self._closing = False
        self._known: dict[str, dict[str, Record]] = {}  # node: its newest hello, slow beat and state
        self._blocks = BlockWriter()
        self._segment_t: float | None = None
        self._segment_bytes = 0
        self._size = 0
        try:
            self._fd = self._begin_file(path, overwrite)
        except FileExistsError:
            raise UserError(f"{path}: is there already; choose another name, or say --overwrite") from None
        except OSError as exc:
            raise UserError(f"{path}: cannot be written: {exc.strerror or exc}") from None
        self._thread = threading.Thread(target=self._write_all, name="nodectl-record", daemon=True)
        self._thread.start()

    def put(self, node: str, unix_t: float, data: bytes | Message) -> None:
        """One line of a node's stream, raw (without its newline) or decoded. From any thread; never raises."""
        if not isinstance(data, bytes):
            part = "hello" if type(data) is Hello else "slow" if type(data) is Slow else ""
            data = encode(data)
        else:
            part = "hello" if data.startswith(b'{"k":"hello"') else "slow" if data.startswith(b'{"k":"s"') else ""
        self._put(Record(LINE, unix_t, node, data), part)

    def put_state(self, node: str, unix_t: float, state: State) -> None:
        """How it stands with the way to a node."""
        self._put(Record(STATE, unix_t, node, msgspec.json.encode(state)), "state")

    def tap(self, node: str, what: Message | LiveNode) -> None:
        """For `Store(tap=...)`: everything that the store is told."""
        if isinstance(what, LiveNode):
            reason = what.reason
            why = (reason.code, reason.text, reason.hint) if reason else ("", "", "")
            self.put_state(node, self._now(), State(what.state, *why, what.tries))
        else:
            self.put(node, self._now(), what)

    def close(self) -> None:
        """Write what is left and close. Twice is fine; what is put afterwards is dropped."""
        self._closing = True
        self._wake.set()
        self._thread.join()

    def _put(self, record: Record, part: str) -> None:
        size = len(record.data) + 64
        with self._lock:
            if self._closing or self.problem or self._pending_bytes + size > MAX_PENDING_BYTES:
                self.dropped += 1
                return
            self._pending.append(record)
            self._pending_bytes += size
            full = self._pending_bytes > _BLOCK_BYTES
        if part:
            self._known.setdefault(record.node, {})[part] = record
        if full:
            self._wake.set()

    # The rest runs in the writer's own thread.

    def _write_all(self) -> None:
        while True:
            self._wake.wait(self._flush_s / 2)
            closing = self._closing  # before the records are taken: none is forgotten
            self._wake.clear()
            with self._lock:
                records, self._pending, self._pending_bytes = self._pending, [], 0
            try:
                self._write(records)
            except OSError as exc:
                self._give_up(exc, len(records))
            if closing:
                break
        with contextlib.suppress(OSError):
            os.fsync(self._fd)
        with contextlib.suppress(OSError):
            os.close(self._fd)

    def _write(self, records: list[Record]) -> None:
        at = 0
        while at < len(records):
            size = 0
            end = at
            while end < len(records) and size < _BLOCK_BYTES:
                size += len(records[end].data)
                end += 1
            self._write_block(records[at:end])
            at = end

    def _write_block(self, records: list[Record]) -> None:
        first_t = min(record.t for record in records)
        last_t = max(record.t for record in records)
        if self._max_bytes is not None and self._size >= self._max_bytes:
            self._next_file()
        old = self._segment_t is None or last_t - self._segment_t >= SEGMENT_S or self._segment_bytes >= SEGMENT_BYTES
        parts = [record.packed() for record in records]
        if old:
            parts = [*self._repeats(first_t, records), *parts]
            self._segment_t, self._segment_bytes = first_t, 0
        for raw in _joined(parts):
            self._append(self._blocks.block(raw, first_t, last_t, fresh=old))
            self._segment_bytes += len(raw)
            old = False
        self.records += len(records)

    def _repeats(self, t: float, records: list[Record]) -> list[bytes]:
        """What whoever begins to read here has to know. It may be newer by a moment than what follows."""
        new = {id(record) for record in records}
        return [
            Record(record.kind, t, record.node, record.data, repeated=True).packed()
            for parts in list(self._known.values())
            for part in ("state", "hello", "slow")
            if (record := parts.get(part)) is not None and id(record) not in new
        ]

    def _append(self, data: bytes) -> None:
        """Whole or not at all."""
        left = memoryview(data)
        try:
            while left:
                left = left[os.write(self._fd, left) :]
        except OSError:
            with contextlib.suppress(OSError):
                os.ftruncate(self._fd, self._size)
            raise
        self._size += len(data)
        self.bytes_written += len(data)

    def _begin_file(self, path: Path, overwrite: bool) -> int:
        flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | (os.O_TRUNC if overwrite else os.O_EXCL)
        self._fd = os.open(path, flags, 0o600)
        if overwrite:
            os.fchmod(self._fd, 0o600)
        self.paths.append(path)
        self._size = 0
        self._segment_t = None
        self._append(Header(created=utc_text(self._now()), nodes=self._names).line())
        return self._fd

    def _next_file(self) -> None:
        first = self.paths[0]
        number = len(self.paths) + 1
        while (path := first.with_name(f"{first.stem}.{number}{first.suffix}")).exists():
            number += 1
        before = self._fd
        try:
            self._begin_file(path, overwrite=False)
        finally:
            if self._fd != before:
                os.close(before)

    def _give_up(self, exc: OSError, lost: int) -> None:
        with self._lock:
            self.problem = f"{self.paths[-1]}: writing failed: {exc.strerror or exc}"
            self.dropped += lost + len(self._pending)
            self._pending, self._pending_bytes = [], 0


def _joined(parts: list[bytes]) -> Iterator[bytes]:
    """The parts in pieces that are not much larger than a block should be."""
    piece: list[bytes] = []
    size = 0
    for part in parts:
        piece.append(part)
        size += len(part)
        if size >= 2 * _BLOCK_BYTES:
            yield b"".join(piece)
            piece, size = [], 0
    if piece:
        yield b"".join(piece)
