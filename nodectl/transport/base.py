"""What every way of reaching a node has in common: the request, the sink that reads the reply, and the reply.

A transport is asked to `run` one command on one node. It feeds what the node says to a sink as it comes, and answers
with a `Reply` that says how it went. It never raises for anything that a node or a network can do.
"""

from __future__ import annotations

import datetime
import threading
import time
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from nodectl.model import Node, Reason

if TYPE_CHECKING:
    from nodectl.transport.stream import Stream, StreamRequest, StreamSink

STDERR_CAP_BYTES = 64 * 1024
"""How much of a command's stderr is kept; the rest is read and dropped, so that the command never blocks on it."""


class Request(msgspec.Struct, frozen=True):
    """What is asked of a node.

    Attributes:
        command: command line for the node's login shell.
        stdin: what is written to the command, followed by end of file.
        deadline_s: seconds from the call of `run` after which it is over, whatever it was doing.
        connect_timeout_s: seconds for connecting and logging in, inside the deadline; the ssh config's ConnectTimeout
            wins over it.
        max_bytes: cap on stdout; reading stops there.
    """

    command: str = "exec sh"
    stdin: bytes = b""
    deadline_s: float = 30.0
    connect_timeout_s: float = 15.0
    max_bytes: int = 16 * 1024 * 1024


class Sink(Protocol):
    """Reads the reply. Both methods are called one at a time, though not from the thread that called `run`."""

    def feed(self, data: bytes) -> bool:
        """Take some stdout. True means that the reply is complete and nothing more need be read."""

    def due_in_s(self) -> float | None:
        """Seconds after which, with no more data, the rest will not come. None: no opinion. Asked after each feed."""


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """How it went.

    Attributes:
        reason: None when the sink said complete or the command ended by itself.
        reached: the login was done and the command was started.
        stderr: the first 64 KiB of it.
        exit_status: None when it is not known (reading stopped before the end, or a signal ended the command).
        host_key: `ssh-ed25519 SHA256:...` of the server, as soon as it has been verified.
        started: when `run` was called, RFC 3339 UTC.
        timings_ms: milliseconds of the steps that were done: `connect`, `kex`, `auth`, `run`.
        stdout_bytes: how much was fed to the sink.
    """

    reason: Reason | None
    reached: bool
    stderr: bytes = b""
    exit_status: int | None = None
    host_key: str = ""
    started: str = ""
    timings_ms: dict[str, int] = msgspec.field(default_factory=dict)
    stdout_bytes: int = 0


class Transport(Protocol):
    """One way of reaching nodes."""

    def run(self, node: Node, request: Request, sink: Sink, stop: threading.Event | None = None) -> Reply:
        """Run the command on the node. Setting `stop` ends it within a fraction of a second."""

    def stream(
        self, node: Node, request: StreamRequest, sink: StreamSink, stop: threading.Event | None = None
    ) -> Stream:
        """Start a command that runs until its stream is closed; see `stream.py`."""

    def close(self) -> None:
        """End everything under way at once. May be called from any thread, and twice."""


class Failure(Exception):
    """A step did not work. Carries what is told to the user; never leaves this package.

    Attributes:
        retry: trying again may help, and can do no harm (nothing was offered to the server yet).
    """

    def __init__(self, reason: Reason, *, retry: bool = False) -> None:
        super().__init__(reason.text)
        self.reason = reason
        self.retry = retry


class Deadline:
    """An absolute moment on the monotonic clock that every step draws on."""

    __slots__ = ("at",)

    def __init__(self, seconds: float) -> None:
        self.at = time.monotonic() + seconds

    def remaining_s(self) -> float:
        """Seconds left, never negative."""
        return max(0.0, self.at - time.monotonic())

    @property
    def passed(self) -> bool:
        return time.monotonic() >= self.at


def inner(thing: object) -> Any:
    """`thing`, for mypy without a type: paramiko's stubs leave out what begins with an underscore."""
    return thing


def utc_now() -> str:
    """The time as RFC 3339 UTC with milliseconds."""
    now = datetime.datetime.now(datetime.timezone.utc)
    return now.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def printable(text: str, limit: int = 200) -> str:
    """Text from a server or a child, safe to show: one line, control and bidi characters escaped, cut at `limit`."""
    line = " ".join(text.split())
    safe = "".join(ch if ch.isprintable() else ch.encode("unicode_escape").decode("ascii") for ch in line)
    return safe if len(safe) <= limit else safe[: limit - 1] + "…"
