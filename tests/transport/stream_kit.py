"""What the tests of streams share besides fixtures."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from nodectl.model import Node
from nodectl.transport import Reply, Stream, StreamRequest, Transports

COUNTING = (
    "echo pid $$; i=0; while :; do i=$((i+1)); echo line $i; sleep 0.05; done & cat > /dev/null; kill $!; exit 7\n"
)
"""Twenty lines a second until stdin ends."""


class Flow:
    """A sink that keeps everything, and checks what is promised about how it is called."""

    def __init__(self, on_feed: Callable[[bytes], None] | None = None) -> None:
        self.data = b""
        self.replies: list[Reply] = []
        self.over = threading.Event()
        self.faults: list[str] = []
        self.threads: set[int] = set()
        self._on_feed = on_feed
        self._inside = False

    def feed(self, data: bytes) -> None:
        if self._inside or self.replies:
            self.faults.append(f"fed while inside={self._inside}, ended={bool(self.replies)}")
        self._inside = True
        try:
            self.threads.add(threading.get_ident())
            self.data += data
            if self._on_feed is not None:
                self._on_feed(data)
        finally:
            self._inside = False

    def ended(self, reply: Reply) -> None:
        if self._inside:
            self.faults.append("ended inside of feed")
        self.replies.append(reply)
        self.over.set()

    def wait_for(self, text: bytes, seconds: float = 5.0) -> None:
        until(lambda: text in self.data, seconds, lambda: f"{text!r} did not come: {self.data[-500:]!r} {self.replies}")

    def reply(self, seconds: float = 5.0) -> Reply:
        """The one reply. Waits for it, and a little for a second one that must not come."""
        assert self.over.wait(seconds), f"not ended; got {self.data[-200:]!r}"
        time.sleep(0.02)
        assert len(self.replies) == 1, self.replies
        assert not self.faults, self.faults
        return self.replies[0]

    @property
    def code(self) -> str:
        reason = self.reply().reason
        return reason.code if reason is not None else "ok"


def until(
    true: Callable[[], bool], seconds: float = 5.0, what: Callable[[], str] = lambda: "it did not happen"
) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, what()
        time.sleep(0.01)


def begin(transports: Transports, node: Node, script: str = "", **options: object) -> tuple[Flow, Stream]:
    """Start a script; keywords are `stop`, `sink`, and fields of StreamRequest."""
    stop = options.pop("stop", None)
    sink = options.pop("sink", None) or Flow()
    request = StreamRequest(stdin=script.encode(), **options)  # type: ignore[arg-type]
    assert isinstance(sink, Flow)
    return sink, transports.stream(node, request, sink, stop)  # type: ignore[arg-type]
