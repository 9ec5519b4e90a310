"""A command that runs for as long as it is wanted: its output flows to a sink until somebody ends it.

    stream = transports.stream(node, StreamRequest(stdin=script), sink)
    ...
    stream.close()

`run` is for a reply that has an end; this is for telemetry. Until the command runs, a stream has a deadline as a `run`
has; from then on it has none, and nobody looks after it but the thread that receives its data.

What holds for every transport:

* `sink.ended` is called exactly once, whatever happens, also when the node was never reached; after it, the sink is
  not called again, and nothing of the stream is left on this machine but the return from that very call.
* `sink.ended` is never called from within `sink.feed`.
* The node's command sees the end of its stdin when the stream is closed, for whatever reason: an agent that ends there
  never outlives its stream.
* A node that sends more than it may is slowed down, not cut off: see `StreamRequest.max_bytes_per_s`.
"""

from __future__ import annotations

import time
from typing import Protocol

import msgspec

from nodectl.model import Reason, Unreachable
from nodectl.transport.base import Reply, Request, printable

BURST_BYTES = 1024 * 1024
"""What a node may send at once before it is slowed down."""
READ_COST_BYTES = 64
"""Each read is booked with this many bytes more than it brought, so that many tiny ones are too much as well."""


class StreamRequest(msgspec.Struct, frozen=True):
    """What is to run on a node.

    Attributes:
        command: command line for the node's login shell.
        stdin: what is written to the command at its start.
        keep_stdin_open: afterwards stdin stays open until the stream is closed; otherwise its end follows at once.
        connect_timeout_s: seconds for connecting and logging in; the ssh config's ConnectTimeout wins over it.
        start_timeout_s: seconds from the call of `stream` until the command must have been started and have taken its
            stdin, waiting for a turn included. `openssh` does not say when it is in: there, until the first output.
        max_bytes_per_s: what is read of it in the long run. More is left to wait on the node.
    """

    command: str = "exec sh"
    stdin: bytes = b""
    keep_stdin_open: bool = True
    connect_timeout_s: float = 15.0
    start_timeout_s: float = 30.0
    max_bytes_per_s: int = 256 * 1024

    def as_request(self) -> Request:
        """The part of it that connecting needs."""
        return Request(self.command, self.stdin, self.start_timeout_s, self.connect_timeout_s)


class StreamSink(Protocol):
    """Takes what comes."""

    def feed(self, data: bytes) -> None:
        """Some stdout. One call at a time, though not always in the same thread, which other nodes share: it must not
        block."""

    def ended(self, reply: Reply) -> None:
        """It is over. `reply.reason` is None if the command ended by itself; its exit status is in the reply then."""


class Stream(Protocol):
    """One command that runs."""

    def close(self) -> None:
        """End it. Does not wait; from any thread, also from within `feed`; twice if you like. `ended` follows."""


class Ended:
    """A stream that was over before it began."""

    def close(self) -> None:
        """There is nothing to end."""


class Pace:
    """How much may be read: `BURST_BYTES` at once, `bytes_per_s` in the long run.

    The clock is looked at only when the burst is used up, so a node that behaves costs next to nothing here.
    """

    __slots__ = ("_at", "_left", "_rate")

    def __init__(self, bytes_per_s: int) -> None:
        self._rate = bytes_per_s
        self._left = float(BURST_BYTES)
        self._at = time.monotonic()

    def take(self, count: int) -> float:
        """Book a read of `count` bytes.

        Returns:
            seconds to wait before the next one, mostly 0.
        """
        self._left -= count + READ_COST_BYTES
        if self._left > 0:
            return 0.0
        now = time.monotonic()
        self._left = min(float(BURST_BYTES), self._left + (now - self._at) * self._rate)
        self._at = now
        return max(0.0, -self._left / self._rate)


def stream_closed(target: str, received: int, said: str, stderr: bytes) -> Reason:
    """The connection went away under a stream."""
    text = f"{target}: the connection was closed after {received} bytes{said}"
    last = last_line(stderr)
    if last:
        text += f"; last on stderr: {last}"
    return Reason(Unreachable.CLOSED.value, text, "did the node go down, or its sshd restart? look at its log")


def sink_failed(target: str, error: BaseException) -> Reason:
    """A sink raised: a bug of ours, which must not look like the node's fault."""
    text = f"{target}: what it sent could not be dealt with: {type(error).__name__}: {printable(str(error))}"
    return Reason(Unreachable.PROBE_FAILED.value, text, "this is a fault of nodectl; please report it")


def last_line(stderr: bytes) -> str:
    """The last line of a command's stderr, safe to show."""
    return printable(stderr.decode("utf-8", "replace").strip().rpartition("\n")[2], 100)
