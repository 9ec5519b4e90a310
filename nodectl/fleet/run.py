"""A check run: every node asked and judged, results as they are ready, and an end within a second of being stopped."""

from __future__ import annotations

import contextlib
import os
import queue
import threading
import time
from collections.abc import Iterable, Iterator, Sequence

from nodectl.fleet.judging import judge, unjudged
from nodectl.fleet.plan import Plan
from nodectl.fleet.worker import PlanSpec, Worker, WorkerGone
from nodectl.model import Node, NodeResult, Reason, Unreachable
from nodectl.probe.transcript import Transcript
from nodectl.transport.base import utc_now

WORTH_WORKERS = 48  # nodes from which worker processes pay: each costs about 0.4 s of CPU to start
MAX_WORKERS = 4
_LAST_RESULTS_S = 0.3

_CANCELLED = Reason(Unreachable.CANCELLED.value, "the run was interrupted before this node was judged")


def worker_count(nodes: int) -> int:
    """How many worker processes a run of so many nodes is worth: none for a few, else one a core."""
    return min(MAX_WORKERS, os.cpu_count() or 1) if nodes >= WORTH_WORKERS else 0


class CheckRun:
    """Judges what a source of transcripts gives; iterate over it for one NodeResult a node.

    Args:
        nodes: the nodes of the run.
        transcripts: gives one transcript a node, in any order (FleetProbe, or saved ones).
        workers: worker processes; 0 judges in one thread of this process.
    """

    def __init__(
        self,
        nodes: Sequence[Node],
        transcripts: Iterable[Transcript],
        plan: Plan,
        spec: PlanSpec,
        *,
        workers: int | None = None,
    ) -> None:
        self._nodes = list(nodes)
        self._place = {node.name: number for number, node in enumerate(nodes)}
        self._transcripts, self._plan, self._spec = transcripts, plan, spec
        count = worker_count(len(self._nodes)) if workers is None else workers
        self._jobs: queue.SimpleQueue[Transcript | None] = queue.SimpleQueue()
        self._results: queue.SimpleQueue[NodeResult | BaseException] = queue.SimpleQueue()
        self._missing = {node.name: node for node in nodes}
        self._stopping = threading.Event()
        self._workers: list[Worker] = []
        self._threads = [threading.Thread(target=self._feed, name="nodectl-feed", daemon=True)]
        self._threads += [
            threading.Thread(target=self._judge_loop, args=(bool(count),), name=f"nodectl-judge-{number}", daemon=True)
            for number in range(max(1, count))
        ]

    def __iter__(self) -> Iterator[NodeResult]:
        for thread in self._threads:
            thread.start()
        while self._missing:
            result = self._results.get()
            if isinstance(result, BaseException):
                raise result
            if self._missing.pop(result.node, None) is not None:
                yield result
        self._end()

    def interrupt(self, why: BaseException) -> None:
        """Make the iteration raise `why` once it has handed out what is ready.

        For signal handlers, which must not raise in the middle of things: a result could be lost on its way, or a lock
        be left in disorder.
        """
        self._results.put(why)

    def stop(self, left: Iterable[Transcript] = ()) -> list[NodeResult]:
        """End at once, with a result for every node that has none yet; `left`: what the probe's stop() returned."""
        give_up = time.monotonic() + _LAST_RESULTS_S
        waiting = self._waiting()  # before the judges are told to stop, so that none of them takes one and drops it
        results = self._drain(give_up)
        self._end()
        for transcript in [*waiting, *left]:
            node = self._missing.pop(transcript.node, None)
            if node is None:
                continue
            if transcript.reached and time.monotonic() < give_up + _LAST_RESULTS_S:
                results.append(judge(transcript, node, self._plan))
            else:
                results.append(unjudged(transcript, node, _CANCELLED if transcript.reached else transcript.reason))
        results += [
            unjudged(Transcript.unreached(node, _CANCELLED, started=utc_now()), node, _CANCELLED)
            for node in self._missing.values()
        ]
        self._missing.clear()
        return results

    def _drain(self, until: float) -> list[NodeResult]:
        """Results of transcripts that were already being judged."""
        results = []
        with contextlib.suppress(queue.Empty):
            while self._missing:
                result = self._results.get(timeout=max(0.0, until - time.monotonic()))
                if isinstance(result, NodeResult) and self._missing.pop(result.node, None) is not None:
                    results.append(result)
        return results

    def _waiting(self) -> list[Transcript]:
        """Transcripts that came in and that nobody has begun to judge."""
        found = []
        with contextlib.suppress(queue.Empty):
            while True:
                transcript = self._jobs.get_nowait()
                if transcript is not None:
                    found.append(transcript)
        return found

    def _end(self) -> None:
        self._stopping.set()
        for _ in self._threads:
            self._jobs.put(None)
        for worker in self._workers:
            worker.kill()

    def _feed(self) -> None:
        try:
            for transcript in self._transcripts:
                self._jobs.put(transcript)
        except BaseException as exc:  # handed to the thread that iterates
            self._results.put(exc)

    def _judge_loop(self, in_worker: bool) -> None:
        worker = self._start_worker() if in_worker else None
        try:
            while (transcript := self._jobs.get()) is not None and not self._stopping.is_set():
                try:
                    self._results.put(self._judge(transcript, worker))
                    continue
                except WorkerGone:
                    # A worker that died (out of memory, killed) takes nothing with it: this process judges instead.
                    worker = None
                if not self._stopping.is_set():
                    self._results.put(self._judge(transcript, None))
        finally:
            if worker is not None:  # also one that was still starting when the run ended
                worker.kill()

    def _start_worker(self) -> Worker | None:
        """None when there is no process to be had: then this one judges."""
        try:
            worker = Worker(self._spec, self._nodes)
        except (OSError, WorkerGone):
            return None
        self._workers.append(worker)
        return worker

    def _judge(self, transcript: Transcript, worker: Worker | None) -> NodeResult:
        """A result, whatever happens.

        Raises:
            WorkerGone: the worker died over it.
        """
        place = self._place[transcript.node]
        try:
            if worker is None or not transcript.reached:
                return judge(transcript, self._nodes[place], self._plan)
            return worker.judge(place, transcript)
        except WorkerGone:
            raise
        except Exception as exc:  # a fault of ours on one node must not lose the others
            text = f"internal error while judging: {type(exc).__name__}: {exc}"
            hint = "please report it, with a transcript (nodectl collect)"
            return unjudged(transcript, self._nodes[place], Reason(Unreachable.PROBE_FAILED.value, text, hint))
