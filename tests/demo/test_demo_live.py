"""The telemetry of the demo fleet: it moves, is plausible, tells the stories of the nodes, and ends with its reader."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import paramiko
import pytest
from demo_kit import Runner

from nodectl.demo.live import IDLE, LIMIT_W, LiveNode, LiveStory
from nodectl.demo.server import KeyPair, NodeServer
from nodectl.demo.story import FLEET, DemoNode
from nodectl.inventory.nodeset import expand
from nodectl.telemetry.decode import decode
from nodectl.telemetry.fields import GPU_FIELDS, HOST_FIELDS
from nodectl.telemetry.launch import launch_script
from nodectl.telemetry.messages import Event, Hello, Message, Tick
from nodectl.telemetry.reader import LineReader
from nodectl.telemetry.store import LiveNode as Shown
from nodectl.telemetry.store import Store

NODES = {node.name: node for node in FLEET}
SPEAKING = [name for name in NODES if name not in ("gpu-03", "gpu-13", "gpu-14")]


def messages(node: DemoNode, count: int, interval_s: float = 1.0) -> list[Message]:
    """The first lines, at once and not when they are due."""
    lines = LiveNode(node.name, node.live, h100=node.h100, seed=1).lines(interval_s)
    return [decode(line) for _, line in itertools.islice(lines, count)]


def shown(node: DemoNode, count: int = 12) -> Shown:
    """What a store shows of it after some lines."""
    store = Store()
    for message in messages(node, count):
        store.put(node.name, message)
    return store.nodes[node.name]


def column(live: Shown, field: str) -> list[float | None]:
    at = [one.name for one in GPU_FIELDS].index(field)
    return [None if row is None else row[at] for row in live.gpus]


def known(live: Shown, field: str) -> list[float]:
    return [value for value in column(live, field) if value is not None]


@pytest.mark.parametrize("name", SPEAKING)
def test_every_field_is_known_and_plausible(name: str) -> None:
    live = shown(NODES[name])
    assert live.hello is not None and live.host is not None
    rows = [row for row in live.gpus if row is not None]
    assert len(live.gpus) == 8 and all(value is not None for row in rows for value in row)
    assert all(value is not None and value >= 0 for value in live.host)
    assert len(live.host) == len(HOST_FIELDS)
    for field in GPU_FIELDS:
        if field.unit == "%":
            assert all(0 <= value <= 100 for value in known(live, field.name)), field.name
        if field.type != "float":
            assert all(value == int(value) for value in known(live, field.name)), field.name
    total = live.hello.gpus[0].memory_total_mib
    assert total is not None and all(600 < used < total for used in known(live, "memory_used_mib"))
    assert all(30 <= value <= 75 for value in known(live, "temperature_c"))
    assert all(60 <= value <= NODES[name].live.limit_w for value in known(live, "power_w"))


def test_it_moves_at_any_interval() -> None:
    for interval_s in (0.1, 1.0, 10.0):
        ticks = [one for one in messages(NODES["gpu-01"], 12, interval_s) if isinstance(one, Tick)]
        powers = [tick.gpus[0][5] for tick in ticks if tick.gpus and tick.gpus[0]]
        assert len(set(powers)) == len(powers) >= 6


def test_nothing_jumps_from_tick_to_tick() -> None:
    """A GPU warms up within seconds, not between two samples of a tenth of a second."""
    at = [one.name for one in GPU_FIELDS].index("temperature_c")
    for name in SPEAKING:
        lines = LiveNode(name, NODES[name].live, seed=1).lines(0.1)
        ticks = [one for _, line in itertools.islice(lines, 1300) if isinstance(one := decode(line), Tick)]
        rows = [tick.gpus[0] for tick in ticks if tick.gpus and tick.gpus[0]]
        assert all(abs((a[at] or 0) - (b[at] or 0)) <= 6 for a, b in itertools.pairwise(rows))


def test_nodes_are_not_in_step() -> None:
    assert len({tuple(column(shown(NODES[name]), "power_w")) for name in SPEAKING}) == len(SPEAKING)


def test_a_node_is_the_same_in_each_run() -> None:
    first, again = messages(NODES["gpu-02"], 1)[0], messages(NODES["gpu-02"], 1)[0]
    assert isinstance(first, Hello) and isinstance(again, Hello)
    assert (first.gpus, first.boot_id) == (again.gpus, again.boot_id)


def test_ids_are_those_that_the_node_tells_when_it_is_checked() -> None:
    hello = messages(NODES["gpu-02"], 1)[0]
    assert isinstance(hello, Hello)
    listed = NODES["gpu-02"].recording().text("nvidia_smi_list", "nvidia-smi -L")
    assert all(f"GPU {gpu.index}: {gpu.name} (UUID: {gpu.uuid})" in listed for gpu in hello.gpus)


def test_energy_is_what_the_power_adds_up_to() -> None:
    node = LiveNode("gpu-01", LiveStory(), seed=1)
    lines = [decode(line) for _, line in itertools.islice(node.lines(1.0), 14)]
    slow = [one.gpus[0][2] for one in lines if not isinstance(one, Tick | Hello | Event) and one.gpus]  # type: ignore[union-attr,index]
    powers = [one.gpus[0][5] for one in lines if isinstance(one, Tick) and one.gpus and one.gpus[0]]
    assert slow[1] - slow[0] == pytest.approx(sum(powers[1:11]), rel=0.01)  # type: ignore[operator,arg-type]


# The stories.


def test_a_gpu_off_the_bus_is_an_event_and_an_empty_row() -> None:
    live = shown(NODES["gpu-04"])
    assert [index for index, row in enumerate(live.gpus) if row is None] == [5]
    assert [(event.what, event.gpu, event.code) for event in live.events] == [("xid", "5", 79), ("lost", "5", None)]
    assert "5" in live.lost


def test_a_memory_error_waits_for_its_reset_and_its_gpu_is_without_work() -> None:
    live = shown(NODES["gpu-05"])
    for field, value in (("ecc_uncorrectable", 1), ("remap_pending", 1), ("recovery_action", 4)):
        assert column(live, field) == [value if index == 4 else 0 for index in range(8)]
    util = known(live, "gpu_util_pct")
    assert util[4] == 0 and min(util[:4] + util[5:]) > 50
    assert "4" not in {process.gpu for process in live.processes}


@pytest.mark.parametrize("name", ["gpu-06", "gpu-07"])
def test_the_drifted_nodes_are_held_at_a_lower_limit(name: str) -> None:
    capped, free = shown(NODES[name]), shown(NODES["gpu-01"])
    assert set(known(capped, "power_limit_w")) == {500.0} and set(known(free, "power_limit_w")) == {LIMIT_W}
    if name == "gpu-06":
        assert all(470 < watts <= 500 for watts in known(capped, "power_w"))
        assert set(known(capped, "clocks_event_reasons")) == {4}
        assert sum(known(capped, "sm_clock_mhz")) < 0.9 * sum(known(free, "sm_clock_mhz"))


def test_dead_links_slow_all_gpus_down() -> None:
    slow, free = known(shown(NODES["gpu-08"]), "nvlink_rx_mib_s"), known(shown(NODES["gpu-01"]), "nvlink_rx_mib_s")
    assert 0.8 < sum(slow) / sum(free) < 0.95
    assert column(shown(NODES["gpu-08"]), "recovery_action") == [0, 0, 0, 0, 0, 0, 1, 0]


def test_a_driver_that_does_not_fit_leaves_the_host() -> None:
    live = shown(NODES["gpu-03"])
    assert live.hello is not None and live.hello.backend == "none"
    assert "Driver/library version mismatch" in live.hello.why
    assert live.gpus == [] and live.host is not None and live.host[0] is not None


def test_a_hung_driver_is_the_last_thing_that_is_heard() -> None:
    said = messages(NODES["gpu-09"], 100)
    assert len([one for one in said if isinstance(one, Tick)]) == 6  # and then the lines are over
    assert any(isinstance(one, Event) and one.code == 119 for one in said)


def test_h100_nodes_have_their_own_name_and_memory() -> None:
    for name in ("gpu-11", "gpu-12"):
        hello = shown(NODES[name]).hello
        assert hello is not None
        assert {(gpu.name, gpu.memory_total_mib) for gpu in hello.gpus} == {("NVIDIA H100 80GB HBM3", 81559.0)}


# Over SSH.


@contextmanager
def _session(story: LiveStory, script: bytes) -> Iterator[Any]:
    """A channel to a demo node that has been sent a script, with its stdin still open."""
    host_key, login = KeyPair.generate(), KeyPair.generate()
    live = LiveNode("gpu-01", story, seed=1)
    server = NodeServer(host_key, login.public, lambda nonce, sources: b"", live.lines)
    transport = paramiko.Transport(("127.0.0.1", server.port))
    try:
        transport.start_client(timeout=10)
        transport.auth_publickey("admin", login.load())
        channel = transport.open_session(timeout=10)
        channel.exec_command("exec sh")
        channel.settimeout(10)
        channel.sendall(script)
        yield channel
    finally:
        transport.close()
        server.close()


def test_it_answers_the_script_that_starts_the_agent() -> None:
    reader, found = LineReader(), []
    with _session(LiveStory(), launch_script(0.1)) as channel:
        while len(found) < 8:
            found += reader.feed(channel.recv(1 << 16))
        assert isinstance(found[0], Hello) and found[0].interval_s == 0.1
        assert reader.counts.bad == 0
        channel.shutdown_write()
        while channel.recv(1 << 16):
            pass
        assert channel.recv_exit_status() == 0


def test_after_its_last_line_it_is_silent_and_stays() -> None:
    with _session(LiveStory(stops_after_s=0.15), launch_script(0.1)) as channel:
        data = b""
        channel.settimeout(1.0)
        with pytest.raises(TimeoutError):
            while part := channel.recv(1 << 16):
                data += part
        assert data.count(b'"k":"t"') == 2
        assert not channel.exit_status_ready() and not channel.closed


def test_another_script_is_still_refused() -> None:
    with _session(LiveStory(window=IDLE), b"# nodectl-agent/2 interval=1\nid\n") as channel:
        channel.shutdown_write()
        assert channel.recv_exit_status() == 127
        assert b"this is a recorded node" in channel.recv_stderr(1 << 16)


# The whole of it.


def test_one_look_shows_all_nodes_with_their_states(runner: Runner) -> None:
    """3 s on an idle machine; this only finds what hangs."""
    finished = runner.run("watch", "--demo", "--once", "--jsonl", "--by", "node")
    rows = {row["node"]: row for row in map(json.loads, finished.out.splitlines())}
    assert sorted(rows) == expand("gpu-[01-14]")
    assert {name for name, row in rows.items() if row["state"] == "live"} >= {*SPEAKING, "gpu-03"} - {"gpu-09"}
    assert rows["gpu-09"]["state"] in ("live", "stale")
    assert rows["gpu-13"]["state"] in ("retry", "failed") and rows["gpu-14"]["state"] in ("retry", "failed")
    assert finished.code == 3
    assert finished.took_s < 15


def test_the_hung_node_becomes_stale_and_nothing_is_left(runner: Runner) -> None:
    finished = runner.run("watch", "--demo", "-n", "gpu-[01,09]", "--jsonl", "--by", "node", "--duration", "11s")
    rows = [json.loads(line) for line in finished.out.splitlines()]
    states = [row["state"] for row in rows if row["node"] == "gpu-09"]
    assert states[0] == "live" and "stale" in states
    assert {row["state"] for row in rows if row["node"] == "gpu-01"} == {"live"}


def test_a_stream_is_made_in_time() -> None:
    """0.2 ms a line were measured; this only finds what is far off."""
    lines = LiveNode("gpu-01", LiveStory(), seed=1).lines(0.1)
    next(lines)
    begun = time.process_time()
    assert len(list(itertools.islice(lines, 200))) == 200
    assert time.process_time() - begun < 2.0
