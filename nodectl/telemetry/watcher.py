"""Keeps a stream to every node and its messages in the store; what goes wrong becomes a state of the node.

    watcher = Watcher(nodes, transports, store, launch_script, interval_s=1.0)
    watcher.start()
    ...
    watcher.stop()

States, as the store shows them: `connecting` until the first message; `live` from then on; `stale` when the store finds
it late; `retry` when its stream was lost or never came, with the reason and the time of the next try; `failed` for what
trying again does not mend (a changed host key, a refused login), tried again all the same, but rarely; `ended` after
`stop`.

While all is well there is one thread beside those of the connections. It wakes up once a second, to close streams that
have fallen silent: TCP notices a node that dies, but not an agent that hangs, nor a node that dies behind a jump host.
"""

from __future__ import annotations

import heapq
import random
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Protocol

from nodectl.model import Node, Reason, Unreachable
from nodectl.telemetry.messages import Bye, Message
from nodectl.telemetry.reader import Counts, LineReader
from nodectl.telemetry.store import CONNECTING, ENDED, FAILED, RETRY, Store
from nodectl.transport.base import Reply
from nodectl.transport.stream import Stream, StreamRequest, StreamSink, last_line

FIRST_PAUSE_S = 1.0
LONGEST_PAUSE_S = 60.0
RARE_PAUSE_S = 300.0
"""Between tries where trying does not help. Accounts get locked and addresses banned by too many refused logins."""
STEADY_S = 30.0
"""A stream that lasted this long was a good one: when it is lost, the pauses begin anew."""
SILENT_S = 15.0
SILENT_INTERVALS = 5
HELLO_S = 60.0
"""For the hello: a driver without persistence mode takes half a minute to start on a node with many GPUs."""
LOOK_S = 1.0

_HOPELESS = frozenset({Unreachable.AUTH.value, Unreachable.HOST_KEY_UNKNOWN.value, Unreachable.HOST_KEY_CHANGED.value})


class Streams(Protocol):
    """The part of `Transports` that is needed here."""

    def stream(
        self, node: Node, request: StreamRequest, sink: StreamSink, stop: threading.Event | None = None
    ) -> Stream: ...


def pause_s(tries: int, hopeless: bool) -> float:
    """How long to wait after that many tries in vain. Spread, so that a fleet does not come back in one moment."""
    longest = RARE_PAUSE_S if hopeless else min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2.0 ** min(tries - 1, 20))
    return longest * random.uniform(0.5, 1.0)  # noqa: S311  spread, not secrecy


class Watcher:
    """See the module.

    Args:
        nodes: distinct names.
        transports: stays the caller's, and open until after `stop`.
        launch: what is sent to a node to start the agent, for the seconds between ticks; asked once, by `start`.
        fanout: how many nodes are connected to at once.
        silent_s: after this long without a message a stream is given up; None: 15 s, or 5 intervals.
    """

    def __init__(
        self,
        nodes: Sequence[Node],
        transports: Streams,
        store: Store,
        launch: Callable[[float], bytes],
        interval_s: float = 1.0,
        fanout: int = 32,
        *,
        silent_s: float | None = None,
    ) -> None:
        self._transports = transports
        self._store = store
        self._launch = launch
        self._interval_s = interval_s
        self._fanout = fanout
        self._silent_s = silent_s if silent_s is not None else max(SILENT_S, SILENT_INTERVALS * interval_s)
        self._watched = [_Watched(node) for node in nodes]
        self._request = StreamRequest()
        self._stop = threading.Event()
        self._changed = threading.Condition()
        # All of these under `_changed`.
        self._due: list[tuple[float, int, _Watched]] = []
        self._ready: deque[_Watched] = deque()
        self._feeds: set[_Feed] = set()
        self._connecting = 0
        self._number = 0
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin with all nodes. Returns at once."""
        self._request = StreamRequest(stdin=self._launch(self._interval_s))
        self._store.add(one.node.name for one in self._watched)
        with self._changed:
            if self._thread is not None or self._stop.is_set():
                raise RuntimeError("a watcher starts once")
            self._ready.extend(self._watched)
            self._thread = threading.Thread(target=self._keep, name="nodectl-watcher", daemon=True)
            self._thread.start()

    def stop(self, within_s: float = 2.0) -> bool:
        """End all streams, which ends the agents on the nodes.

        Returns:
            everything was over within that time.
        """
        end = time.monotonic() + within_s
        with self._changed:
            self._stop.set()
            feeds = list(self._feeds)
            self._ready.clear()
            self._due.clear()
            self._changed.notify_all()
        for feed in feeds:
            feed.close()
        with self._changed:
            while (self._feeds or self._connecting) and (left_s := end - time.monotonic()) > 0:
                self._changed.wait(left_s)
            over = not self._feeds and not self._connecting
            thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(max(0.1, end - time.monotonic()))
        for one in self._watched:
            node = self._store.nodes.get(one.node.name)
            self._store.set_state(one.node.name, ENDED, reason=node.reason if node is not None else None)
        return over

    def __enter__(self) -> Watcher:
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()

    def counts(self) -> dict[str, Counts]:
        """What the reader of each node's newest stream has seen, for whom a stream puzzles."""
        return {one.node.name: one.counts for one in self._watched if one.counts is not None}

    def _keep(self) -> None:
        """The watcher's thread: start what is due, look for the silent."""
        look_at = time.monotonic() + LOOK_S
        while True:
            with self._changed:
                if self._stop.is_set():
                    return
                now = time.monotonic()
                while self._due and self._due[0][0] <= now:
                    self._ready.append(heapq.heappop(self._due)[2])
                starting = max(0, min(self._fanout - self._connecting, len(self._ready)))
                self._connecting += starting
                feeds = list(self._feeds) if now >= look_at else []
            for _ in range(starting):
                threading.Thread(target=self._connect_some, name="nodectl-watch-connect", daemon=True).start()
            if now >= look_at:
                look_at = now + LOOK_S
                for feed in feeds:
                    feed.look(now, self._silent_s)
            with self._changed:
                wake_at = min(look_at, self._due[0][0]) if self._due else look_at
                if not self._stop.is_set():
                    self._changed.wait(max(0.0, wake_at - time.monotonic()))

    def _connect_some(self) -> None:
        """Connect to nodes for as long as some are waiting."""
        while True:
            with self._changed:
                if not self._ready or self._stop.is_set():
                    self._connecting -= 1
                    self._changed.notify_all()
                    return
                one = self._ready.popleft()
                feed = _Feed(one, self._store.put, self._ended)
                self._feeds.add(feed)
            self._store.set_state(one.node.name, CONNECTING, tries=one.tries)
            try:
                feed.opened(self._transports.stream(one.node, self._request, feed, self._stop))
            except Exception as exc:  # a bug; it must not be the end of the watch of all others
                text = f"{one.node.name}: connecting failed: {type(exc).__name__}: {exc}"
                feed.ended(Reply(reason=Reason(Unreachable.PROBE_FAILED.value, text), reached=False))
            if self._stop.is_set():
                feed.close()

    def _ended(self, feed: _Feed, reply: Reply) -> None:
        """A stream is over. In the thread of its connection."""
        one, now = feed.watched, time.monotonic()
        reason = feed.why(reply)
        hopeless = reason.code in _HOPELESS or (reason.code == Unreachable.PROBE_FAILED.value and not reply.reached)
        # Somebody has closed the transports: there is nothing to try any more.
        final = self._stop.is_set() or reason.code == Unreachable.CANCELLED.value
        one.tries = 1 if feed.lasted_s(now) >= STEADY_S else one.tries + 1
        if final:
            self._store.set_state(one.node.name, ENDED, tries=one.tries)
        else:
            wait_s = pause_s(one.tries, hopeless)
            self._store.set_state(
                one.node.name,
                FAILED if hopeless else RETRY,
                reason=reason,
                tries=one.tries,
                retry_at=self._store.now() + wait_s,
            )
        with self._changed:
            self._feeds.discard(feed)
            if not final and not self._stop.is_set():
                self._number += 1
                heapq.heappush(self._due, (now + wait_s, self._number, one))
            self._changed.notify_all()


class _Watched:
    """One node, and how often it was tried in vain."""

    __slots__ = ("counts", "node", "tries")

    def __init__(self, node: Node) -> None:
        self.node = node
        self.tries = 0
        self.counts: Counts | None = None


class _Feed:
    """The sink of one stream."""

    __slots__ = (
        "_began_at", "_bye", "_closing", "_heard_at", "_live_at", "_name", "_on_end", "_over", "_put", "_reader",
        "_stream", "watched",
    )  # fmt: skip

    def __init__(
        self, watched: _Watched, put: Callable[[str, Message], None], on_end: Callable[[_Feed, Reply], None]
    ) -> None:
        self.watched = watched
        self._name = watched.node.name
        self._put, self._on_end = put, on_end
        self._reader = LineReader()
        self._stream: Stream | None = None
        self._closing: Reason | None = None
        self._bye = ""
        self._began_at = self._heard_at = time.monotonic()
        self._live_at: float | None = None
        self._over = False
        watched.counts = self._reader.counts

    def feed(self, data: bytes) -> None:
        """See `StreamSink`."""
        messages = self._reader.feed(data)
        if messages:
            self._heard_at = now = time.monotonic()
            if self._live_at is None:
                self._live_at = now
            for message in messages:
                self._put(self._name, message)
                if type(message) is Bye:
                    self._bye = message.why
        elif self._reader.gave_up and self._closing is None:
            self._give_up(Unreachable.PROBE_FAILED, "it sends, but nothing that is telemetry")

    def ended(self, reply: Reply) -> None:
        """See `StreamSink`."""
        if not self._over:
            self._over = True
            self._reader.end()
            self._on_end(self, reply)

    def opened(self, stream: Stream) -> None:
        """It runs, or is over already."""
        self._stream = stream
        self._began_at = self._heard_at = time.monotonic()
        if self._closing is not None:
            stream.close()

    def close(self) -> None:
        """End it. One that is only being opened has the watcher's `stop`."""
        stream = self._stream
        if stream is not None:
            stream.close()

    def look(self, now: float, silent_s: float) -> None:
        """Give it up if it has fallen silent."""
        if self._stream is None or self._closing is not None or now - self._heard_at < silent_s:
            return
        if self._live_at is not None:
            self._give_up(Unreachable.TIMEOUT, f"nothing came for {now - self._heard_at:.0f} s")
        elif now - self._began_at >= max(HELLO_S, silent_s):
            self._give_up(
                Unreachable.TIMEOUT, f"logged in, but the agent said nothing for {now - self._began_at:.0f} s"
            )

    def _give_up(self, code: Unreachable, what: str) -> None:
        hint = "something on the node hangs (nvidia-smi too?)" if code is Unreachable.TIMEOUT else ""
        self._closing = Reason(code.value, f"{self._name}: {what}{self._noise()}", hint or "what does its shell print?")
        self.close()

    def lasted_s(self, now: float) -> float:
        """Seconds since its first message."""
        return 0.0 if self._live_at is None else now - self._live_at

    def why(self, reply: Reply) -> Reason:
        """Why it is over, for a person."""
        if self._closing is not None:
            return self._closing
        if reply.reason is not None:
            return reply.reason
        text = f"{self._name}: the agent ended" + (f": {self._bye}" if self._bye else "")
        if reply.exit_status:
            text += f" with status {reply.exit_status}"
        said = last_line(reply.stderr)
        text += f"; last on stderr: {said}" if said and not self._bye else ""
        return Reason(Unreachable.PROBE_FAILED.value, text + ("" if self._bye else self._noise()))

    def _noise(self) -> str:
        """What came in place of a hello."""
        if self._live_at is not None or not self._reader.noise:
            return ""
        return f"; it printed: {self._reader.noise[-1][:100]}"
