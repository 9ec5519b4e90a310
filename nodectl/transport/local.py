"""`transport: local`: this machine, without SSH."""

from __future__ import annotations

import os
import threading

from nodectl.model import Node, Reason, Unreachable
from nodectl.transport.attempt import Attempt, Watchdog
from nodectl.transport.base import Reply, Request, Sink
from nodectl.transport.child import Child
from nodectl.transport.collect import Collector, silent, too_big


class LocalTransport:
    """Runs the request's command with `sh -c`, as a login over SSH would.

    Args:
        watchdog: ends attempts whose time is up.
    """

    def __init__(self, watchdog: Watchdog) -> None:
        self._watchdog = watchdog

    def run(self, node: Node, request: Request, sink: Sink, stop: threading.Event | None = None) -> Reply:
        """See `base.Transport`."""
        attempt = Attempt(node.name, request, stop)
        attempt.step = "start"
        with self._watchdog.watching(attempt):
            if attempt.over:
                return Reply(reason=attempt.ending(), reached=False, started=attempt.started)
            try:
                child = Child(["sh", "-c", request.command], os.environ)
            except OSError as exc:
                reason = Reason(Unreachable.PROBE_FAILED.value, f"{node.name}: sh cannot be run: {exc.strerror}")
                return Reply(reason=reason, reached=False, started=attempt.started)
            collector = Collector(sink, request.max_bytes)
            attempt.lap("connect")
            attempt.step = "run"
            try:
                status = child.converse(request.stdin, collector, attempt)
            finally:
                child.close()
        attempt.lap("run")
        if collector.error is not None:
            raise collector.error
        return Reply(
            reason=ending(collector, attempt, request),
            reached=True,
            stderr=bytes(collector.stderr),
            exit_status=status if status is None or status >= 0 else 128 - status,
            started=attempt.started,
            timings_ms=attempt.timings_ms,
            stdout_bytes=collector.stdout_bytes,
        )

    def close(self) -> None:
        """The watchdog, closed before, has killed the children; each `run` takes away its own."""


def ending(collector: Collector, attempt: Attempt, request: Request) -> Reason | None:
    """Why reading from a child stopped, or None if it was as it should be."""
    if collector.ending == "complete":
        return None
    if collector.ending == "too_big":
        return too_big(attempt.target, request.max_bytes)
    if attempt.over:
        return attempt.ending()
    return None if collector.ending == "eof" else silent(attempt.target, collector.stdout_bytes)
