"""How nodes are reached: over SSH, through the system's `ssh`, or as this very machine.

    with open_transports(nodes, resolve=config.resolve) as transports:
        reply = transports.run(node, Request(stdin=script), sink)

`run` is called from as many threads as nodes are to be talked to at once; `stream` is for commands without an end (see
`stream.py`). paramiko is imported when the first node
needs it.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from nodectl.model import Node, Reason, Unreachable
from nodectl.suggest import did_you_mean
from nodectl.transport.base import Reply, Request, Sink, Transport
from nodectl.transport.settings import HostSettings, SshSettings
from nodectl.transport.stream import Ended, Stream, StreamRequest, StreamSink

if TYPE_CHECKING:
    from nodectl.transport.attempt import Watchdog
    from nodectl.transport.child_stream import ChildStreams

__all__ = [
    "KINDS",
    "HostSettings",
    "Reply",
    "Request",
    "Sink",
    "SshSettings",
    "Stream",
    "StreamRequest",
    "StreamSink",
    "Transport",
    "Transports",
    "open_transports",
]

KINDS = ("ssh", "openssh", "local")
HOST_KEY_POLICIES = ("strict", "accept-new")
CLOSE_WAIT_S = 0.8


class Transports:
    """All transports of one run. Use it as a context manager, or call `close`.

    Args:
        resolve: a node's ssh settings; also asked for jump hosts, as nodes that have only a name.
        ssh_config: the config that the `openssh` transport gives to ssh; None means the user's own.
        host_key_policy: `strict` or `accept-new`.
        fanout: how many threads will call `run` at once (a hint for tuning).
    """

    def __init__(
        self, resolve: Callable[[Node], HostSettings], ssh_config: Path | None, host_key_policy: str, fanout: int
    ) -> None:
        from nodectl.transport.attempt import Watchdog

        if host_key_policy not in HOST_KEY_POLICIES:
            raise ValueError(
                f"host key policy {host_key_policy!r} is not one of {', '.join(HOST_KEY_POLICIES)}"
                + did_you_mean(host_key_policy, HOST_KEY_POLICIES)
            )
        self._resolve = resolve
        self._ssh_config = ssh_config
        self._policy = host_key_policy
        self._fanout = fanout
        self._watchdog: Watchdog = Watchdog()
        self._changed = threading.Condition()
        self._made: dict[str, Transport] = {}
        self._children: ChildStreams | None = None
        self._running = 0
        self._closed = False
        self._notes: list[str] = []

    @property
    def notes(self) -> tuple[str, ...]:
        """What the user should know and no node's reason tells: skipped lines of known_hosts, keys not written down."""
        return tuple(dict.fromkeys(self._notes))

    def run(self, node: Node, request: Request, sink: Sink, stop: threading.Event | None = None) -> Reply:
        """Run the request on a node, by the transport that the node names. Thread-safe."""
        if node.transport not in KINDS:
            return _no_such_transport(node)
        self._count(1)
        try:
            return self._transport(node.transport).run(node, request, sink, stop)
        finally:
            self._count(-1)

    def stream(
        self, node: Node, request: StreamRequest, sink: StreamSink, stop: threading.Event | None = None
    ) -> Stream:
        """Start a command that runs until its stream is closed. Thread-safe; blocks until it runs, or cannot run.

        Args:
            stop: ends it while it is being started; afterwards `close` does.

        Returns:
            the stream, which may be over already: `sink.ended` says so, from this thread or another. Nothing is raised
            for what a node or a network can do.
        """
        if node.transport not in KINDS:
            sink.ended(_no_such_transport(node))
            return Ended()
        self._count(1)
        try:
            return self._transport(node.transport).stream(node, request, _Counted(sink, self._count), stop)
        except BaseException:
            self._count(-1)
            raise

    def _count(self, change: int) -> None:
        """How many runs and streams there are, for `close` to wait for."""
        with self._changed:
            self._running += change
            if change < 0:
                self._changed.notify_all()

    def close(self) -> None:
        """End all that is under way and wait, at most a second, until its threads and children are gone.

        From any thread, at any time, twice if you like; a `run` that is called later ends at once.
        """
        end = time.monotonic() + CLOSE_WAIT_S
        self._closed = True
        self._watchdog.close()
        for transport in list(self._made.values()):
            transport.close()
        if self._children is not None:
            self._children.close()
        with self._changed:
            while self._running and time.monotonic() < end:
                self._changed.wait(0.05)

    def __enter__(self) -> Transports:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _transport(self, kind: str) -> Transport:
        with self._changed:
            if kind not in self._made:
                self._made[kind] = self._make(kind)
            return self._made[kind]

    def _make(self, kind: str) -> Transport:
        if kind == "local":
            from nodectl.transport.local import LocalTransport

            return LocalTransport(self._watchdog, self._child_streams())
        if kind == "openssh":
            from nodectl.transport.openssh import OpensshTransport

            return OpensshTransport(self._watchdog, self._ssh_config, self._policy, self._child_streams())
        _load_paramiko()
        from nodectl.transport.host_keys import HostKeys
        from nodectl.transport.ssh import SshTransport

        host_keys = HostKeys(self._policy)
        self._notes = host_keys.notes
        return SshTransport(self._resolve, host_keys, self._watchdog, self._fanout)

    def _child_streams(self) -> ChildStreams:
        """The one thread that reads all children."""
        from nodectl.transport.child_stream import ChildStreams

        if self._children is None:
            self._children = ChildStreams()
        return self._children


class _Counted:
    """A sink whose end is counted."""

    def __init__(self, sink: StreamSink, count: Callable[[int], None]) -> None:
        self.feed = sink.feed  # not one call more for each piece of data
        self._sink = sink
        self._count = count

    def ended(self, reply: Reply) -> None:
        try:
            self._sink.ended(reply)
        finally:
            self._count(-1)


def _no_such_transport(node: Node) -> Reply:
    text = f"{node.name}: no transport is called {node.transport!r}{did_you_mean(node.transport, KINDS)}"
    return Reply(reason=Reason(Unreachable.PROBE_FAILED.value, text), reached=False)


def _load_paramiko() -> None:
    """Import paramiko without `invoke`, which it takes along (with asyncio, yaml and unittest: a fifth of the time) for
    a feature of its ssh_config reader that is not used here, and does without when it is not there."""
    if "paramiko" in sys.modules or "invoke" in sys.modules:
        return
    sys.modules["invoke"] = None  # type: ignore[assignment]  # makes `import invoke` fail
    try:
        import paramiko  # noqa: F401
    finally:
        del sys.modules["invoke"]


def open_transports(
    nodes: Iterable[Node] = (),
    *,
    resolve: Callable[[Node], HostSettings],
    ssh_config: Path | None = None,
    host_key_policy: str = "strict",
    fanout: int = 64,
) -> Transports:
    """Transports for a run over `nodes`.

    Args:
        nodes: the nodes that will be asked for; with none of them over SSH, nothing of SSH is loaded. The modules that
            they need are loaded here, so that no node's first second goes into imports.
        resolve: the ssh settings of a node or a jump host.
        ssh_config: for the `openssh` transport; None means the user's own config.
        host_key_policy: `strict` (unknown host keys are refused) or `accept-new` (they are written down).
        fanout: how many nodes will be talked to at once.

    Raises:
        ValueError: an unknown policy.
    """
    kinds = [node.transport for node in nodes]
    transports = Transports(resolve, ssh_config, host_key_policy, min(fanout, len(kinds) or fanout))
    for kind in dict.fromkeys(kinds):
        if kind in KINDS:
            transports._transport(kind)
    return transports
