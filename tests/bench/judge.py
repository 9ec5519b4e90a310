"""What a transcript costs after it has come in: framing, parsing, evaluation. An 8x H200 node, the training profile.

Each step in CPU time, and the run of many nodes end to end from transcripts, here and in worker processes.
"""

from __future__ import annotations

import os
import statistics
import sys
import time
from collections.abc import Callable

import msgspec

from nodectl.demo.recording import Recording
from nodectl.engine.evaluate import evaluate
from nodectl.facts.gather import _parsed_once as parsed_once
from nodectl.facts.gather import gather
from nodectl.fleet.judging import judge
from nodectl.fleet.plan import Plan
from nodectl.fleet.run import CheckRun
from nodectl.fleet.worker import PlanSpec
from nodectl.model import Node
from nodectl.probe.transcript import Transcript

BUDGET_MS = 25.0  # of CPU a node, in a run over many from transcripts: 1,000 nodes in 25 s
ROUNDS = 20
FLEET = 200
NONCE = "ab" * 16


def cpu_ms(step: Callable[[], object]) -> float:
    """Median CPU milliseconds of a call."""
    step()
    times = []
    for _ in range(ROUNDS):
        begun = time.process_time()
        step()
        times.append(1000 * (time.process_time() - begun))
    return statistics.median(times)


def _gather_anew(transcript: Transcript, names: tuple[str, ...], node: Node) -> object:
    """As for a node that says nothing word for word as another."""
    parsed_once.cache_clear()
    return gather(transcript, names, node)


def _judge_anew(transcript: Transcript, node: Node, plan: Plan) -> object:
    parsed_once.cache_clear()
    return judge(transcript, node, plan)


def _named(host: str) -> Recording:
    recording = Recording.load()
    recording.name(host)
    return recording


def main() -> int:
    spec = PlanSpec(profile="training")
    catalogue = spec.catalogue()
    node = Node(name="gpu-01", expect={"gpus": 8, "model": "H200"})
    plan = spec.plan(catalogue, [node])
    selection = plan.selection_of(node)
    wire = Recording.load().wire(NONCE, list(plan.sources_of(node)))

    def fresh(name: str = "gpu-01") -> Transcript:
        return Transcript(node=name, nonce=NONCE, wire=wire)

    facts = gather(fresh(), selection.facts, node)
    rows = {
        "framing and cleaning": cpu_ms(lambda: fresh().sources),
        "framing, parsing to facts": cpu_ms(lambda: _gather_anew(fresh(), selection.facts, node)),
        "evaluating the checks": cpu_ms(lambda: evaluate(selection, facts, node.name)),
        "all of it, the first of its kind": cpu_ms(lambda: _judge_anew(fresh(), node, plan)),
    }
    print(f"one node: {len(wire)} bytes, {len(facts)} facts, {len(selection.checks)} checks")
    for name, value in rows.items():
        print(f"  {name:<34} {value:6.1f} ms CPU")
    # Each with its own names, ids, UUIDs and serial numbers: what alike nodes say alike is read once, the rest is not.
    nodes = [msgspec.structs.replace(node, name=f"gpu-{number:04}") for number in range(FLEET)]
    wires = [_named(one.name).wire(NONCE, list(plan.sources_of(one))) for one in nodes]
    slowest = 0.0
    for workers in (0, os.cpu_count() or 1):
        begun, cpu = time.perf_counter(), time.process_time()
        transcripts = (Transcript(node=n.name, nonce=NONCE, wire=w) for n, w in zip(nodes, wires, strict=True))
        done = sum(1 for _ in CheckRun(nodes, transcripts, plan, spec, workers=workers))
        wall, own = time.perf_counter() - begun, time.process_time() - cpu
        slowest = max(slowest, 1000 * own / done)
        where = f"{workers} worker processes" if workers else "this process"
        print(f"  {done} nodes in {where}: {wall:.1f} s wall, {1000 * own / done:.1f} ms a node of this process's CPU")
    return int(slowest > BUDGET_MS)


if __name__ == "__main__":
    sys.exit(main())
