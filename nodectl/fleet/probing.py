"""Ask many nodes at once; hand each reply on as it comes.

Each node in flight has one worker thread. A worker only moves bytes: parsing and judging happen elsewhere, so that a
node with much to say never holds up the reading of another.
"""

from __future__ import annotations

import queue
import secrets
import threading
import time
from collections.abc import Iterator, Sequence

import msgspec

from nodectl.fleet.plan import Asks
from nodectl.model import Node, Reason, Unreachable
from nodectl.probe.compose import compose
from nodectl.probe.framing import FrameReader
from nodectl.probe.transcript import Transcript
from nodectl.transport import Transports
from nodectl.transport.base import Request, utc_now

_NONCE_TO_BE = "5ca1ab1e5ca1ab1e5ca1ab1e5ca1ab1e"
JOIN_S = 0.8  # what is left of the second within which an interrupted run must be over


class ProbeOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How hard to try. Times in seconds, sizes in bytes."""

    fanout: int = 64
    deadline_s: float = 75.0
    connect_timeout_s: float = 10.0
    sample_s: int = 1
    sudo: bool = True
    max_bytes: int = 16 << 20


class FleetProbe:
    """One pass over a list of nodes. Iterate over it for the transcripts, in the order in which they arrive.

    Every node gives exactly one transcript, also one that was not reached, and also after `stop()`.
    """

    def __init__(self, nodes: Sequence[Node], plan: Asks, transports: Transports, options: ProbeOptions) -> None:
        self._plan, self._transports, self._options = plan, transports, options
        self._waiting: queue.SimpleQueue[Node] = queue.SimpleQueue()
        self._done: queue.SimpleQueue[Transcript | BaseException | None] = queue.SimpleQueue()
        self._missing = {node.name: node for node in nodes}
        self._stop = threading.Event()
        self._scripts: dict[int, bytes] = {}
        for node in nodes:
            self._waiting.put(node)
        self._workers = [
            threading.Thread(target=self._work, name=f"nodectl-probe-{number}", daemon=True)
            for number in range(min(options.fanout, len(nodes)))
        ]

    def __iter__(self) -> Iterator[Transcript]:
        for worker in self._workers:
            worker.start()
        while self._missing:
            transcript = self._done.get()
            if transcript is None:
                return
            if isinstance(transcript, BaseException):
                raise transcript
            if self._missing.pop(transcript.node, None) is not None:
                yield transcript

    def interrupt(self, why: BaseException) -> None:
        """Make the iteration raise `why` once it has handed out what has come. For signal handlers."""
        self._done.put(why)

    def stop(self) -> list[Transcript]:
        """End at once: shut every connection, wait for the threads, and account for the nodes still missing."""
        self._stop.set()
        self._transports.close()
        give_up = time.monotonic() + JOIN_S
        for worker in self._workers:
            if worker.ident is not None:
                worker.join(max(0.0, give_up - time.monotonic()))
        left = []
        while not self._done.empty():
            transcript = self._done.get()
            if isinstance(transcript, Transcript) and self._missing.pop(transcript.node, None) is not None:
                left.append(transcript)
        reason = Reason(Unreachable.CANCELLED.value, "the run was interrupted before this node had answered")
        left += [_unreached(node, reason) for node in self._missing.values()]
        self._missing.clear()
        self._done.put(None)  # wakes whoever iterates
        return left

    def _work(self) -> None:
        while not self._stop.is_set():
            try:
                node = self._waiting.get_nowait()
            except queue.Empty:
                return
            try:
                self._done.put(self._probe(node))
            except Exception as exc:  # a fault of ours on one node must not lose the others
                text = f"internal error while probing: {type(exc).__name__}: {exc}"
                self._done.put(_unreached(node, Reason(Unreachable.PROBE_FAILED.value, text, "please report it")))

    def _probe(self, node: Node) -> Transcript:
        options = self._options
        nonce = secrets.token_hex(16)
        wanted = self._plan.sources_of(node)
        reader = FrameReader(nonce, wanted, max_bytes=options.max_bytes)
        request = Request(
            stdin=self._script(wanted, nonce),
            deadline_s=options.deadline_s,
            connect_timeout_s=options.connect_timeout_s,
            max_bytes=options.max_bytes,
        )
        begun = time.monotonic()
        reply = self._transports.run(node, request, reader, self._stop)
        duration_ms = round(1000 * (time.monotonic() - begun))
        return Transcript.of_reply(node, reply, reader, nonce=nonce, started=reply.started, duration_ms=duration_ms)

    def _script(self, wanted: dict[str, list[str]], nonce: str) -> bytes:
        """The script, composed once for all nodes that are asked the same: only the nonce differs."""
        key = id(wanted)
        if key not in self._scripts:
            options = self._options
            script = compose(wanted, nonce=_NONCE_TO_BE, sample_s=options.sample_s, sudo=options.sudo)
            self._scripts[key] = script
        return self._scripts[key].replace(_NONCE_TO_BE.encode(), nonce.encode())


def _unreached(node: Node, reason: Reason) -> Transcript:
    return Transcript.unreached(node, reason, started=utc_now())
