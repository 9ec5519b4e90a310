"""What the tests of the watcher share: an agent in three lines of sh, and transports that are told what to do."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable

from nodectl.model import Node, Reason
from nodectl.telemetry.store import LiveNode, Store
from nodectl.transport import Reply, Stream, StreamRequest, StreamSink

HELLO = json.dumps(
    {"k": "hello", "v": 1, "backend": "smi", "interval_s": 0.1, "gpus": [{"index": "0", "uuid": "GPU-0"}], "host": {}}
)


def tick(number: int, util: int = 50) -> str:
    return json.dumps({"k": "t", "n": number, "t": 0.0, "g": [[util]], "h": [], "ms": 1.0})


def agent(interval_s: float = 0.1, *, before: str = "", after: str = "") -> bytes:
    """A script that behaves like the agent: ticks until its stdin ends; then says so in the file `ended`."""
    text = tick(0).replace('"n": 0', '"n": %d')
    return (
        f"{before}\necho '{HELLO}'\n"
        f"(i=0; while :; do i=$((i+1)); printf '{text}\\n' $i; sleep {interval_s}; done) & loop=$!\n"
        f"{after}\ncat > /dev/null; kill $loop; echo $$ > $HOME/ended; exit\n"
    ).encode()


def until(true: Callable[[], object], seconds: float = 8.0, what: Callable[[], object] = lambda: "") -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, what() or "it did not happen"
        time.sleep(0.01)


def wait_for(store: Store, name: str, state: str, seconds: float = 8.0) -> LiveNode:
    """Wait for a node's state, looking at the store as a screen does."""

    def reached() -> bool:
        store.take_dirty()
        return name in store.nodes and store.nodes[name].state == state

    until(reached, seconds, lambda: (name, state, store.nodes[name].state, store.nodes[name].reason))
    return store.nodes[name]


class FakeStream:
    """A stream of `FakeTransports`. The test plays the node."""

    def __init__(self, node: Node, sink: StreamSink) -> None:
        self.node = node
        self.sink = sink
        self.closed = False
        self._lock = threading.Lock()
        self._over = False

    def say(self, *lines: str) -> None:
        self.sink.feed("".join(f"{line}\n" for line in lines).encode())

    def end(self, reason: Reason | None = None, **fields: object) -> None:
        with self._lock:
            if self._over:
                return
            self._over = True
        self.sink.ended(Reply(reason=reason, **{"reached": True, **fields}))  # type: ignore[arg-type]

    def close(self) -> None:
        self.closed = True
        self.end(Reason("cancelled", "closed"))


class FakeTransports:
    """Streams that do what `on_open` makes them do."""

    def __init__(self, on_open: Callable[[FakeStream], None] = lambda stream: None) -> None:
        self.streams: list[FakeStream] = []
        self.at_once = 0
        self.most_at_once = 0
        self.pause_s = 0.0
        self._on_open = on_open
        self._lock = threading.Lock()

    def stream(
        self, node: Node, request: StreamRequest, sink: StreamSink, stop: threading.Event | None = None
    ) -> Stream:
        made = FakeStream(node, sink)
        with self._lock:
            self.streams.append(made)
            self.at_once += 1
            self.most_at_once = max(self.at_once, self.most_at_once)
        time.sleep(self.pause_s)
        self._on_open(made)
        with self._lock:
            self.at_once -= 1
        return made
