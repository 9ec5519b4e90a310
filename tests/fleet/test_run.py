"""A run of many nodes: the same result here and in worker processes, and nothing lost when a worker dies."""

from __future__ import annotations

import itertools
import os
import signal
import threading
import time
from collections.abc import Iterator

import msgspec
import psutil
import pytest

from nodectl.demo.recording import Recording
from nodectl.fleet.plan import Plan
from nodectl.fleet.run import CheckRun, worker_count
from nodectl.fleet.worker import PlanSpec
from nodectl.model import Node, NodeResult, NodeState, Outcome, Reason
from nodectl.probe.transcript import Transcript

NONCE = "cd" * 16
SPEC = PlanSpec()


@pytest.fixture(scope="module")
def nodes() -> list[Node]:
    expect = {"gpus": 8, "model": "H200"}
    return [Node(name=f"gpu-{n:02}", expect=expect, profile="training" if n % 2 else None) for n in range(6)]


@pytest.fixture(scope="module")
def plan(nodes: list[Node]) -> Plan:
    return SPEC.plan(SPEC.catalogue(), nodes)


@pytest.fixture(scope="module")
def transcripts(nodes: list[Node], plan: Plan) -> list[Transcript]:
    recording = Recording.load()
    wires = {node.name: recording.wire(NONCE, list(plan.sources_of(node))) for node in nodes}
    return [Transcript(node=node.name, nonce=NONCE, wire=wires[node.name], ending="complete") for node in nodes]


def by_node(results: list[NodeResult]) -> dict[str, bytes]:
    return {result.node: msgspec.json.encode(result) for result in results}


def test_workers_and_this_process_judge_alike(nodes: list[Node], plan: Plan, transcripts: list[Transcript]) -> None:
    here = list(CheckRun(nodes, transcripts, plan, SPEC, workers=0))
    there = list(CheckRun(nodes, transcripts, plan, SPEC, workers=2))
    assert by_node(here) == by_node(there)
    assert len(here) == len(nodes)
    assert all(result.findings and result.facts for result in here)


def test_each_node_is_judged_by_its_own_profile(nodes: list[Node], plan: Plan, transcripts: list[Transcript]) -> None:
    results = {result.node: result for result in CheckRun(nodes, transcripts, plan, SPEC, workers=0)}
    checks = {check.id: check.severity for check in plan.selection_of(nodes[1]).everything}
    default = {check.id: check.severity for check in plan.selection_of(nodes[0]).everything}
    assert plan.profile_of(nodes[0]) == "default"
    assert plan.profile_of(nodes[1]) == "training"
    changed = [name for name in checks if checks[name] is not default[name]]
    assert changed
    for name, severities in (("gpu-00", default), ("gpu-01", checks)):
        assert all(finding.severity is severities[finding.check] for finding in results[name].findings)


def test_a_profile_on_the_command_line_holds_for_all(nodes: list[Node]) -> None:
    spec = PlanSpec(profile="training")
    plan = spec.plan(spec.catalogue(), nodes)
    assert {plan.profile_of(node) for node in nodes} == {"training"}


def test_a_worker_that_is_killed_takes_nothing_with_it(
    nodes: list[Node], plan: Plan, transcripts: list[Transcript]
) -> None:
    def slowly() -> Iterator[Transcript]:
        yield transcripts[0]
        while not (children := psutil.Process().children()):
            time.sleep(0.01)
        for child in children:
            os.kill(child.pid, signal.SIGKILL)
        time.sleep(0.1)
        yield from transcripts[1:]

    results = list(CheckRun(nodes, slowly(), plan, SPEC, workers=2))
    assert {result.node for result in results} == {node.name for node in nodes}
    assert all(result.state is NodeState.REACHED and result.findings for result in results)


def test_stop_accounts_for_every_node(nodes: list[Node], plan: Plan, transcripts: list[Transcript]) -> None:
    release = threading.Event()

    def stuck() -> Iterator[Transcript]:
        yield from transcripts[:2]
        release.wait(20)

    run = CheckRun(nodes, stuck(), plan, SPEC, workers=0)
    got = list(itertools.islice(run, 2))
    begun = time.monotonic()
    lost = Transcript.unreached(nodes[2], Reason("timeout", "no answer"))
    got += run.stop([lost, transcripts[3]])
    assert time.monotonic() - begun < 1
    release.set()
    assert sorted(result.node for result in got) == [node.name for node in nodes]
    states = {result.node: result for result in got}
    assert states["gpu-02"].reason == Reason("timeout", "no answer")
    assert states["gpu-03"].state is NodeState.REACHED  # it had come in: it is judged
    assert states["gpu-04"].reason is not None
    assert states["gpu-04"].reason.code == "cancelled"


def test_an_interrupt_comes_after_what_is_ready(nodes: list[Node], plan: Plan, transcripts: list[Transcript]) -> None:
    release = threading.Event()

    def stuck() -> Iterator[Transcript]:
        yield from transcripts[:3]
        release.wait(20)

    run = CheckRun(nodes, stuck(), plan, SPEC, workers=0)
    got: list[NodeResult] = []

    def iterate() -> None:
        for result in run:
            got.append(result)
            if len(got) == 3:
                run.interrupt(KeyboardInterrupt())

    with pytest.raises(KeyboardInterrupt):
        iterate()
    got += run.stop()
    release.set()
    assert sorted(result.node for result in got) == [node.name for node in nodes]
    assert [result.state for result in got[:3]] == [NodeState.REACHED] * 3


def test_no_worker_process_is_left(nodes: list[Node], plan: Plan, transcripts: list[Transcript]) -> None:
    before = {child.pid for child in psutil.Process().children(recursive=True)}
    list(CheckRun(nodes, transcripts, plan, SPEC, workers=2))
    after = {child.pid for child in psutil.Process().children(recursive=True) if child.status() != "zombie"}
    assert after <= before


def test_a_fault_of_ours_on_one_node_leaves_the_others(
    nodes: list[Node], plan: Plan, transcripts: list[Transcript], monkeypatch: pytest.MonkeyPatch
) -> None:
    from nodectl.fleet import run as module

    def broken(transcript: Transcript, node: Node, plan: Plan) -> NodeResult:
        if node.name == "gpu-03":
            raise ZeroDivisionError("a bug")
        return judge(transcript, node, plan)

    judge = module.judge
    monkeypatch.setattr(module, "judge", broken)
    results = {result.node: result for result in CheckRun(nodes, transcripts, plan, SPEC, workers=0)}
    assert len(results) == len(nodes)
    assert results["gpu-03"].reason is not None
    assert "a bug" in results["gpu-03"].reason.text
    assert any(finding.outcome is Outcome.PASS for finding in results["gpu-04"].findings)


@pytest.mark.parametrize(("count", "some"), [(1, False), (47, False), (48, True), (5000, True)])
def test_worker_processes_only_where_they_pay(count: int, some: bool) -> None:
    assert (worker_count(count) > 0) is some
