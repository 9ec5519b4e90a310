"""`transport: local`: this machine, without SSH."""

from __future__ import annotations

import os
import threading

from nodectl.model import Node, Reason, Unreachable
from nodectl.transport.attempt import Attempt, Watchdog
from nodectl.transport.base import Reply, Request, Sink
from nodectl.transport.child import Child
from nodectl.transport.child_stream import ChildStream, ChildStreams
from nodectl.transport.collect import Collector, silent, too_big
from nodectl.transport.stream import Ended, Stream, StreamRequest, StreamSink, sink_failed


class LocalTransport:
    """Runs the request's command with `sh -c`, as a login over SSH would.

    Args:
        watchdog: ends attempts whose time is up.
        children: reads streams.
    """

    def __init__(self, watchdog: Watchdog, children: ChildStreams) -> None:
        self._watchdog = watchdog
        self._children = children

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

    def stream(
        self, node: Node, request: StreamRequest, sink: StreamSink, stop: threading.Event | None = None
    ) -> Stream:
        """See `Transports.stream`."""
        attempt = Attempt(node.name, request.as_request(), stop)
        attempt.step = "start"
        with self._watchdog.watching(attempt):
            if attempt.over or (stop is not None and stop.is_set()):
                attempt.abort("cancelled")
                sink.ended(Reply(reason=attempt.ending(), reached=False, started=attempt.started))
                return Ended()

        def over(child: ChildStream) -> None:
            attempt.lap("run")
            sink.ended(child_reply(child, attempt, stopped(attempt, child)))

        try:
            child = ChildStream(["sh", "-c", request.command], os.environ, request, sink.feed, over)
        except OSError as exc:
            reason = Reason(Unreachable.PROBE_FAILED.value, f"{node.name}: sh cannot be run: {exc.strerror}")
            sink.ended(Reply(reason=reason, reached=False, started=attempt.started))
            return Ended()
        attempt.lap("connect")
        attempt.step = "run"
        self._children.add(child)
        if stop is not None and stop.is_set():
            child.close()
        return child

    def close(self) -> None:
        """The watchdog, closed before, has killed the children; each `run` takes away its own."""


def stopped(attempt: Attempt, child: ChildStream) -> Reason | None:
    """Why a stream was ended from this side, or None if it was not."""
    if child.error is not None:
        return sink_failed(attempt.target, child.error)
    if child.ending == "closed":
        attempt.abort("cancelled")
        return attempt.ending()
    return None


def child_reply(child: ChildStream, attempt: Attempt, reason: Reason | None, reached: bool = True) -> Reply:
    """How a child's stream went."""
    status = child.status
    return Reply(
        reason=reason,
        reached=reached,
        stderr=bytes(child.stderr),
        exit_status=status if status is None or status >= 0 else 128 - status,
        started=attempt.started,
        timings_ms=attempt.timings_ms,
        stdout_bytes=child.received,
    )


def ending(collector: Collector, attempt: Attempt, request: Request) -> Reason | None:
    """Why reading from a child stopped, or None if it was as it should be."""
    if collector.ending == "complete":
        return None
    if collector.ending == "too_big":
        return too_big(attempt.target, request.max_bytes)
    if attempt.over:
        return attempt.ending()
    return None if collector.ending == "eof" else silent(attempt.target, collector.stdout_bytes)
