"""The newest of every node, for whoever looks: a dict of nodes and a set of those that changed.

Samples come from one thread a node; one reader (a screen, `watch`) takes the set of changed nodes at its own pace, and
what came in between is simply overwritten. There is no lock on the way of a sample: what a node shows is replaced as a
whole and never changed in place, so a reader always sees one sample and never half of two, and adding to and popping
from a set are atomic. The messages of one node must come one after the other.
"""

from __future__ import annotations

import threading
import time
from array import array
from collections.abc import Callable, Iterable

from nodectl.model import Reason
from nodectl.telemetry.fields import GPU_FIELDS, GPU_INDEX, HOST_FIELDS, HOST_INDEX
from nodectl.telemetry.history import COARSE_FIELDS, COARSE_STEPS, NAN, Coarse, Recent
from nodectl.telemetry.layout import Layout, Row, layout_of
from nodectl.telemetry.messages import STREAM_VERSION, Bye, Event, Hello, Message, Process, Slow, Tick

CONNECTING, LIVE, STALE, RETRY, FAILED, ENDED = "connecting", "live", "stale", "retry", "failed", "ended"

KEPT_EVENTS = 200
STALE_INTERVALS = 3  # ticks that may be late before a node is said to be stale; of a second at least
MAX_OPEN = 64

_NOTHING_KNOWN: Row = [None] * len(GPU_FIELDS)
_COARSE_COLUMNS = tuple(GPU_INDEX[name] for name in COARSE_FIELDS)

Tap = Callable[[str, "Message | LiveNode"], None]


class LiveNode:
    """What is known of one node now. Others read it; only the store writes it.

    Attributes:
        state: `connecting`, `live`, `stale` (live, but late), `retry` (waits until `retry_at`), `failed` or `ended`.
        reason: why it is not live.
        hello: of the stream at hand or, while there is none, of the last one.
        gpus: a row of values in GPU_FIELDS order for each of `hello.gpus`; None for a lost GPU.
        host: the values in HOST_FIELDS order.
        lost: the event of each GPU that is lost, by index.
        events: the last 200, oldest first.
        notes: what a user should know of the stream (newer version, devices left out).
        seq: number of the newest line. missed: lines that were numbered and did not come.
        received_at: when the newest sample came, on the store's clock. slow_at: the same of the slow beat.
        heard_at: the same of the newest hello or sample.
        sample_t: when it was taken, on the node's clock (Unix seconds). cost_ms: what it cost there.
        tries, retry_at: attempts since it was last live, and when the next one is, on the store's clock.
        coarse, recent: the history; recent only while the node is open.
    """

    __slots__ = (
        "_layout", "coarse", "cost_ms", "events", "gpus", "heard_at", "hello", "host", "lost", "missed", "name",
        "notes", "processes", "reason", "received_at", "recent", "retry_at", "sample_t", "seq", "slow_at",
        "state", "tries",
    )  # fmt: skip

    def __init__(self, name: str) -> None:
        self.name = name
        self.state = CONNECTING
        self.reason: Reason | None = None
        self.hello: Hello | None = None
        self.gpus: list[Row | None] = []
        self.host: Row | None = None
        self.processes: tuple[Process, ...] = ()
        self.events: tuple[Event, ...] = ()
        self.lost: dict[str, Event] = {}
        self.notes: tuple[str, ...] = ()
        self.seq = 0
        self.missed = 0
        self.heard_at: float | None = None
        self.received_at: float | None = None
        self.slow_at: float | None = None
        self.sample_t: float | None = None
        self.cost_ms: float | None = None
        self.tries = 0
        self.retry_at: float | None = None
        self.coarse: Coarse | None = None
        self.recent: Recent | None = None
        self._layout: Layout | None = None

    @property
    def backend(self) -> str:
        """What the values come from: `nvml`, `smi`, `amdgpu`, `none`; empty before the hello."""
        return self.hello.backend if self.hello else ""

    @property
    def interval_s(self) -> float:
        return self.hello.interval_s if self.hello else 1.0

    def age_s(self, now: float) -> float | None:
        """Seconds since the newest sample came; None before the first."""
        return None if self.received_at is None else max(now - self.received_at, 0.0)

    def is_late(self, now: float) -> bool:
        """Whether nothing came for longer than a live node may take."""
        return self.heard_at is not None and now - self.heard_at > STALE_INTERVALS * max(self.interval_s, 1.0)

    def history(self, field: str, gpu: int, now: float | None = None) -> array[float]:
        """60 means of 10 s, oldest first, of one of COARSE_FIELDS; NaN where nothing is known. gpu: its position."""
        coarse = self.coarse
        if coarse is None or field not in COARSE_FIELDS:
            return array("f", [NAN]) * COARSE_STEPS
        return coarse.values(gpu, GPU_INDEX[field], now)

    def recent_values(self, field: str, gpu: int | None) -> tuple[array[float], array[float]]:
        """Times (store's clock) and values of the last 10 minutes; of the host where gpu is None. Empty if not open."""
        recent = self.recent
        if recent is None:
            return array("d"), array("f")
        return recent.other_values(HOST_INDEX[field]) if gpu is None else recent.row_values(gpu, GPU_INDEX[field])

    def open(self) -> None:
        """Keep every sample from now on."""
        if self.recent is None:
            self.recent = Recent(len(self.gpus), len(GPU_FIELDS), len(HOST_FIELDS), self.interval_s)

    # What follows is called by the store alone.

    def begin(self, hello: Hello, at: float) -> None:
        """A stream begins, or its devices have changed. The same devices keep their history and last values."""
        same = self.hello is not None and [g.uuid or g.index for g in self.hello.gpus] == [
            g.uuid or g.index for g in hello.gpus
        ]
        paced = self.hello is not None and self.hello.interval_s == hello.interval_s
        self.hello, self.heard_at = hello, at
        self._layout = layout_of(hello)
        self.seq = 0
        notes = list(hello.cut)
        if hello.newer:
            notes.append(
                f"it speaks version {hello.v} of the stream and this nodectl knows {STREAM_VERSION}: "
                "what is new in it is left out"
            )
        self.notes = tuple(notes)
        if not same:
            self.gpus = [_NOTHING_KNOWN] * len(hello.gpus)
            self.lost = {}
            self.processes = ()
            self.coarse = Coarse(len(hello.gpus), _COARSE_COLUMNS) if hello.gpus else None
        if self.recent is not None and not (same and paced):
            self.recent = None
            self.open()

    def tick(self, tick: Tick, at: float) -> None:
        """The fast values. A row that is None is a lost GPU; a row that is not there is not known."""
        layout = self._layout
        if layout is None:
            return
        if tick.gpus is not None:
            merged, old = layout.gpu_fast.merged, self.gpus
            new = [None if row is None else merged(row, was) for row, was in zip(tick.gpus, old, strict=False)]
            if len(new) < len(old):
                new += [_NOTHING_KNOWN] * (len(old) - len(new))
            self.gpus = new
            if self.coarse is not None:
                self.coarse.add(new, at)
        if tick.host is not None:
            self.host = layout.host_fast.merged(tick.host, self.host)
        if self.recent is not None:
            self.recent.add(self.gpus, self.host or (None,) * len(HOST_FIELDS), at)
        self._count(tick.seq)
        self.sample_t, self.cost_ms = tick.t, tick.cost_ms
        self.received_at = self.heard_at = at

    def slow(self, slow: Slow, at: float) -> None:
        """The slow values; a GPU that is lost stays so until a tick has it again."""
        layout = self._layout
        if layout is None:
            return
        if slow.gpus is not None:
            merged, old = layout.gpu_slow.merged, self.gpus
            rows = [*slow.gpus[: len(old)], *[None] * (len(old) - len(slow.gpus))]
            self.gpus = [
                was if row is None or was is None else merged(row, was) for row, was in zip(rows, old, strict=True)
            ]
        if slow.host is not None:
            self.host = layout.host_slow.merged(slow.host, self.host)
        if slow.processes is not None:
            self.processes = slow.processes
        self._count(slow.seq)
        self.slow_at = at

    def event(self, event: Event) -> None:
        """Keep it, and which GPUs are lost."""
        self.events = (*self.events[1 - KEPT_EVENTS :], event)
        if event.gpu is None:
            return
        if event.what == "lost":
            self.lost = {**self.lost, event.gpu: event}
        elif event.what == "back" and event.gpu in self.lost:
            self.lost = {index: was for index, was in self.lost.items() if index != event.gpu}

    def _count(self, seq: int) -> None:
        if self.seq and seq > self.seq + 1:
            self.missed += seq - self.seq - 1
        self.seq = seq


class Store:
    """All nodes of a watch.

    Args:
        now: the clock of all ages: seconds that only grow. A replay gives its own.
        tap: told of every message and of every change of state, before anybody else (a recorder).
    """

    def __init__(self, now: Callable[[], float] = time.monotonic, *, tap: Tap | None = None) -> None:
        self.now = now
        self.tap = tap
        self.nodes: dict[str, LiveNode] = {}
        self.dirty: set[str] = set()
        self._adding = threading.Lock()
        self._open: list[str] = []

    def add(self, names: Iterable[str]) -> None:
        """Make nodes known, in this order, before anything is heard of them."""
        for name in names:
            self._node(name)
            self.dirty.add(name)

    def put(self, name: str, message: Message, *, at: float | None = None) -> None:
        """One message of a node. From any thread, but one at a time for each node.

        Args:
            at: when it came, on the store's clock; None for now.
        """
        node = self.nodes.get(name) or self._node(name)
        if self.tap is not None:
            self.tap(name, message)
        at = self.now() if at is None else at
        kind = type(message)
        if kind is Tick:
            node.tick(message, at)  # type: ignore[arg-type]
        elif kind is Slow:
            node.slow(message, at)  # type: ignore[arg-type]
        elif kind is Hello:
            node.begin(message, at)  # type: ignore[arg-type]
        elif kind is Event:
            node.event(message)  # type: ignore[arg-type]
        if isinstance(message, Bye):
            node.state, node.reason = ENDED, Reason("bye", message.why or "the agent ended")
        elif node.state != LIVE:
            node.state, node.reason, node.tries, node.retry_at = LIVE, None, 0, None
        self.dirty.add(name)

    def set_state(
        self,
        name: str,
        state: str,
        *,
        reason: Reason | None = None,
        tries: int | None = None,
        retry_at: float | None = None,
    ) -> None:
        """How it stands with the way to a node. Its last values stay, and so do `tries` where none is given."""
        node = self.nodes.get(name) or self._node(name)
        node.state, node.reason, node.retry_at = state, reason, retry_at
        if tries is not None:
            node.tries = tries
        if self.tap is not None:
            self.tap(name, node)
        self.dirty.add(name)

    def reset(self) -> None:
        """Forget what was heard of every node, as if it were to begin anew. Open nodes stay open."""
        with self._adding:
            for name in self.nodes:
                self.nodes[name] = LiveNode(name)
                if name in self._open:
                    self.nodes[name].open()
                self.dirty.add(name)

    def take_dirty(self) -> set[str]:
        """The nodes that changed since the last call. Live nodes that are late become stale here."""
        self._find_stale()
        dirty, taken = self.dirty, set()
        while dirty:
            taken.add(dirty.pop())  # one by one: a thread may be adding, and nothing must be lost
        return taken

    def open(self, name: str) -> None:
        """Keep every sample of a node from now on; of the MAX_OPEN that were opened last."""
        with self._adding:
            if name in self._open:
                self._open.remove(name)
            self._open.append(name)
            shut = self._open[:-MAX_OPEN]
            self._open = self._open[-MAX_OPEN:]
        for other in shut:
            self.nodes[other].recent = None
        self._node(name).open()

    def shut(self, name: str) -> None:
        """Keep no more than the coarse history of a node."""
        with self._adding:
            if name in self._open:
                self._open.remove(name)
        if name in self.nodes:
            self.nodes[name].recent = None

    def _find_stale(self) -> None:
        now = self.now()
        for node in list(self.nodes.values()):
            if node.state == LIVE and node.is_late(now):
                node.state = STALE
                self.dirty.add(node.name)

    def _node(self, name: str) -> LiveNode:
        with self._adding:
            node = self.nodes.get(name)
            if node is None:
                node = self.nodes[name] = LiveNode(name)
            return node
