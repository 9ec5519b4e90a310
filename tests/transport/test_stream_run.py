"""Streams that go as they should, over each transport: data flows, stdin stays open, the end is told once."""

from __future__ import annotations

import resource
import threading
import time

import psutil
import pytest
from sshd import SshFleet
from stream_kit import COUNTING, Flow, begin, until
from transport_kit import Opener, run

from nodectl.model import Node, Unreachable
from nodectl.transport import StreamRequest

TRANSPORTS = ("ssh", "openssh", "local")


def node_of(fleet: SshFleet, transport: str) -> Node:
    return Node(name="here", transport="local") if transport == "local" else fleet.node("gpu001", transport=transport)


def remote_pid(flow: Flow) -> int:
    flow.wait_for(b"line 1\n")
    return int(flow.data.split(b"pid ")[1].split()[0])


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_lines_flow_until_it_is_closed(fleet: SshFleet, opened: Opener, transport: str) -> None:
    flow, stream = begin(opened(), node_of(fleet, transport), COUNTING)
    pid = remote_pid(flow)
    flow.wait_for(b"line 10\n")
    assert not flow.replies
    stream.close()
    stream.close()
    reply = flow.reply()
    assert flow.code == Unreachable.CANCELLED.value
    assert reply.reached
    assert reply.stdout_bytes == len(flow.data)
    until(lambda: not psutil.pid_exists(pid))
    stream.close()


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_command_that_ends_by_itself(fleet: SshFleet, opened: Opener, transport: str) -> None:
    flow, _ = begin(opened(), node_of(fleet, transport), "echo hello; echo oh no >&2; exit 3\n")
    reply = flow.reply()
    assert (flow.data, reply.reason, reply.exit_status, reply.stderr) == (b"hello\n", None, 3, b"oh no\n")


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_command_that_is_over_at_once(fleet: SshFleet, opened: Opener, transport: str) -> None:
    """Its end may come before all of its stdin was written."""
    transports = opened()
    for _ in range(10):
        flow, _ = begin(transports, node_of(fleet, transport), "x" * 300_000, command="exit 5")
        reply = flow.reply()
        assert (flow.data, reply.reason, reply.exit_status) == (b"", None, 5)


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_stdin_may_end_at_once(fleet: SshFleet, opened: Opener, transport: str) -> None:
    flow, _ = begin(opened(), node_of(fleet, transport), "0123456789" * 50_000, command="wc -c", keep_stdin_open=False)
    assert flow.reply().exit_status == 0
    assert flow.data.strip() == b"500000"
    flow, _ = begin(opened(), node_of(fleet, transport), "", command="cat", keep_stdin_open=False)
    assert (flow.reply().exit_status, flow.data) == (0, b"")


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_more_than_a_window_is_taken(fleet: SshFleet, opened: Opener, transport: str) -> None:
    """Space is given back for stdout and for stderr, of which only the start is kept."""
    script = "head -c 3000000 /dev/zero >&2; head -c 5000000 /dev/zero; echo; echo done\n"
    flow, stream = begin(opened(), node_of(fleet, transport), script, max_bytes_per_s=100_000_000)
    flow.wait_for(b"done\n", 20)
    stream.close()
    assert len(flow.reply().stderr) == 65536
    assert len(flow.data) == 5_000_006


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_flood_is_slowed_down_and_hurts_nobody_else(fleet: SshFleet, opened: Opener, transport: str) -> None:
    transports = opened()
    flood, flooding = begin(transports, node_of(fleet, transport), "exec yes\n", max_bytes_per_s=200_000)
    calm, stream = begin(transports, node_of(fleet, transport), COUNTING)
    time.sleep(0.5)
    begun_with, lines = len(flood.data), calm.data.count(b"\n")
    time.sleep(1.0)
    assert 50_000 < len(flood.data) - begun_with < 600_000
    assert calm.data.count(b"\n") - lines >= 10
    begun = time.monotonic()
    flooding.close()
    assert flood.reply(2).reason is not None
    assert time.monotonic() - begun < 1.0
    stream.close()


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_closing_from_within_feed(fleet: SshFleet, opened: Opener, transport: str) -> None:
    box: list[object] = []
    ready = threading.Event()

    def close_it(data: bytes) -> None:
        ready.wait(5)
        box[0].close()  # type: ignore[attr-defined]

    flow = Flow(close_it)
    _, stream = (
        begin(opened(), node_of(fleet, transport), "echo hello; exec cat\n", sink=flow)
        if (transport != "openssh")
        else begin(opened(), node_of(fleet, transport), "echo; sleep 0.3; echo hello; exec cat\n", sink=flow)
    )
    box.append(stream)
    ready.set()
    assert flow.code == Unreachable.CANCELLED.value


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_sink_that_raises_ends_its_stream_only(fleet: SshFleet, opened: Opener, transport: str) -> None:
    def fail(data: bytes) -> None:
        raise RuntimeError("a bug")

    transports = opened()
    calm, _ = begin(transports, node_of(fleet, transport), COUNTING)
    flow, _ = begin(transports, node_of(fleet, transport), COUNTING, sink=Flow(fail))
    reason = flow.reply().reason
    assert reason is not None
    assert "RuntimeError: a bug" in reason.text
    lines = calm.data.count(b"\n")
    time.sleep(0.3)
    assert calm.data.count(b"\n") > lines
    assert not calm.replies


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_transports_close_ends_all_streams(fleet: SshFleet, opened: Opener, transport: str) -> None:
    transports = opened()
    flows = [begin(transports, node_of(fleet, transport), COUNTING)[0] for _ in range(5)]
    pids = [remote_pid(flow) for flow in flows]
    begun = time.monotonic()
    transports.close()
    assert time.monotonic() - begun < 1.5
    assert all(flow.replies for flow in flows)  # when close returns they are over
    assert {flow.code for flow in flows} == {Unreachable.CANCELLED.value}
    until(lambda: not any(psutil.pid_exists(pid) for pid in pids))
    late, _ = begin(transports, node_of(fleet, transport), COUNTING)
    assert late.code == Unreachable.CANCELLED.value


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_in_steady_state_nothing_watches(fleet: SshFleet, opened: Opener, transport: str) -> None:
    """One thread for each ssh node and one that reads for them, one for all children; and they sleep."""
    transports = opened()
    before = set(threading.enumerate())
    flows = [begin(transports, node_of(fleet, transport), "echo up; exec cat\n")[0] for _ in range(4)]
    for flow in flows:
        flow.wait_for(b"up\n")
    time.sleep(0.3)
    added = [thread for thread in threading.enumerate() if thread not in before and "watchdog" not in thread.name]
    assert len(added) == (5 if transport == "ssh" else 1)
    assert not transports._watchdog._attempts
    switches = resource.getrusage(resource.RUSAGE_SELF).ru_nvcsw  # of all threads
    time.sleep(1.0)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_nvcsw - switches < 12  # paramiko's own polling would be 40


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_stop_while_it_is_being_started(fleet: SshFleet, opened: Opener, transport: str) -> None:
    stop = threading.Event()
    stop.set()
    flow, stream = begin(opened(), node_of(fleet, transport), COUNTING, stop=stop)
    assert flow.code == Unreachable.CANCELLED.value
    stream.close()


def test_runs_and_streams_side_by_side(fleet: SshFleet, opened: Opener) -> None:
    transports = opened()
    for transport in TRANSPORTS:
        flow, stream = begin(transports, node_of(fleet, transport), COUNTING)
        assert run(transports, node_of(fleet, transport), "echo in\n")[0].data == b"in\n"
        flow.wait_for(b"line 3\n")
        stream.close()
        assert flow.code == Unreachable.CANCELLED.value


def test_a_transport_that_does_not_exist(opened: Opener) -> None:
    flow, stream = begin(opened(), Node(name="x", transport="telnet"))
    stream.close()
    reason = flow.reply().reason
    assert reason is not None
    assert "telnet" in reason.text


def test_defaults() -> None:
    request = StreamRequest()
    assert (request.command, request.keep_stdin_open, request.connect_timeout_s) == ("exec sh", True, 15.0)
    assert request.as_request().deadline_s == request.start_timeout_s
