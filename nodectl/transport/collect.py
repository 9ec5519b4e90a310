"""Collecting a reply, whatever it comes through: to the sink, under a cap, and knowing when it is over."""

from __future__ import annotations

import threading
import time

from nodectl.model import Reason, Unreachable
from nodectl.transport.base import STDERR_CAP_BYTES, Sink, printable


class Collector:
    """Hands stdout to the sink as it comes, counts, and knows when it is over. Used by every transport.

    Attributes:
        ending: empty while reading; then `complete`, `eof` or `too_big`.
        error: what the sink raised, if it did: a bug, raised again in the caller's thread.
    """

    def __init__(self, sink: Sink, max_bytes: int) -> None:
        self._sink = sink
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self.over = threading.Event()
        self.ending = ""
        self.error: BaseException | None = None
        self.stdout_bytes = 0
        self.stderr = bytearray()
        self.due_at: float | None = None
        self._ask_when_due()

    def stdout(self, data: bytes) -> None:
        with self._lock:
            if self.ending or not data:
                return
            taken = data[: self._max_bytes - self.stdout_bytes]
            self.stdout_bytes += len(taken)
            try:
                complete = self._sink.feed(bytes(taken))
                self._ask_when_due()
            except Exception as exc:
                self.error = exc
                complete = True
            if complete:
                self._end("complete")
            elif self.stdout_bytes >= self._max_bytes:
                self._end("too_big")

    def stderr_data(self, data: bytes) -> None:
        self.stderr += data[: STDERR_CAP_BYTES - len(self.stderr)]

    def eof(self) -> None:
        with self._lock:
            if not self.ending:
                self._end("eof")

    def silent(self) -> bool:
        """The sink expects nothing more, by the clock."""
        return self.due_at is not None and time.monotonic() >= self.due_at

    def next_wait_s(self, slice_s: float) -> float:
        """How long to wait before asking `silent` again."""
        if self.due_at is None:
            return slice_s
        return min(slice_s, max(0.0, self.due_at - time.monotonic()))

    def _ask_when_due(self) -> None:
        due_in_s = self._sink.due_in_s()
        self.due_at = None if due_in_s is None else time.monotonic() + due_in_s

    def _end(self, ending: str) -> None:
        self.ending = ending
        self.over.set()


def too_big(target: str, max_bytes: int) -> Reason:
    text = f"{target}: it sent more than {max_bytes} bytes; the rest was not read"
    return Reason(Unreachable.PROBE_FAILED.value, text, "what does its shell print at login?")


def closed(target: str, received: int, said: str, stderr: bytes) -> Reason:
    last = printable(stderr.decode("utf-8", "replace").strip().rpartition("\n")[2], 100)
    text = f"{target}: the connection was closed while the probe ran, after {received} bytes{said}"
    if last:
        text += f"; last on stderr: {last}"
    return Reason(Unreachable.CLOSED.value, text, "did the node go down, or its sshd restart? look at its log")


def silent(target: str, received: int) -> Reason:
    text = f"{target}: nothing more came after {received} bytes, though more was due"
    return Reason(Unreachable.TIMEOUT.value, text, "something on the node hangs")
