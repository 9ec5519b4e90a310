"""What a store makes of messages: the newest of everything, in one order, seen whole, with ages and states."""

from __future__ import annotations

import math
import threading
import time
from typing import Any

import pytest
from agent_lines import GPU_FAST, GPU_SLOW, HOST_FAST, HOST_SLOW, hello, line, slow, tick
from hypothesis import given, settings
from hypothesis import strategies as st

from nodectl.model import Reason
from nodectl.telemetry.decode import decode
from nodectl.telemetry.fields import GPU_FIELDS, GPU_INDEX, HOST_FIELDS, HOST_INDEX
from nodectl.telemetry.messages import Event, Tick
from nodectl.telemetry.store import CONNECTING, ENDED, LIVE, MAX_OPEN, RETRY, STALE, LiveNode, Store


class Clock:
    def __init__(self) -> None:
        self.at = 1000.0

    def __call__(self) -> float:
        return self.at


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(clock: Clock) -> Store:
    return Store(now=clock)


def told(store: Store, *lines: bytes, name: str = "gpu1") -> LiveNode:
    for data in lines:
        store.put(name, decode(data))
    return store.nodes[name]


def test_fast_and_slow_are_one_row_in_the_order_of_the_fields(store: Store) -> None:
    fast = {name: float(at) for at, name in enumerate(GPU_FAST)}
    beat = {name: 100.0 + at for at, name in enumerate(GPU_SLOW)}
    node = told(
        store,
        hello(1),
        tick(1, g=[list(fast.values())], h=[1.0] * len(HOST_FAST)),
        slow(2, g=[list(beat.values())], h=[2.0] * len(HOST_SLOW)),
    )
    assert node.gpus == [[{**fast, **beat}[field.name] for field in GPU_FIELDS]]
    assert node.host == [1.0 if field.name in HOST_FAST else 2.0 for field in HOST_FIELDS]


@given(st.permutations(GPU_FAST), st.permutations(GPU_SLOW), st.permutations(HOST_FAST), st.data())
@settings(max_examples=60)
def test_the_order_that_a_hello_names_makes_no_difference(
    fast: list[str], beat: list[str], host: list[str], data: st.DataObject
) -> None:
    gpu = {name: float(at) for name, at in GPU_INDEX.items()}
    of_host = {name: float(at) for name, at in HOST_INDEX.items()}
    known = data.draw(st.integers(0, len(fast)))
    unknown = ["not_known_here", *fast[:known], "nor_this"]
    values = {**gpu, **of_host, "not_known_here": -1.0, "nor_this": -2.0}
    own = hello(2, gpu_fields=unknown, gpu_slow_fields=beat, host_fields=host)
    lines = [
        tick(1, g=[[values[name] for name in unknown]] * 2, h=[values[name] for name in host]),
        slow(2, g=[[values[name] for name in beat]] * 2, h=[values[name] for name in HOST_SLOW]),
    ]
    if data.draw(st.booleans()):
        lines.reverse()
    node = told(Store(), own, *lines)
    left_out = set(fast[known:])
    row = [None if field.name in left_out else gpu[field.name] for field in GPU_FIELDS]
    assert node.gpus == [row, row]
    assert node.host == [of_host[field.name] for field in HOST_FIELDS]


def test_one_list_of_all_fields_gives_the_order_of_both_beats() -> None:
    names = [*reversed(GPU_SLOW), *reversed(GPU_FAST)]
    node = told(
        Store(),
        hello(1, gpu_fields=names),
        tick(1, g=[[float(GPU_INDEX[name]) for name in reversed(GPU_FAST)]]),
        slow(2, g=[[float(GPU_INDEX[name]) for name in reversed(GPU_SLOW)]]),
    )
    assert node.gpus == [[float(at) for at in range(len(GPU_FIELDS))]]


ROWS = st.none() | st.lists(st.none() | st.floats(-1e300, 1e300), max_size=40)
SAMPLES = st.fixed_dictionaries({"g": st.none() | st.lists(ROWS, max_size=12), "h": ROWS})


@given(st.lists(st.tuples(st.booleans(), SAMPLES), max_size=12), st.integers(0, 5))
@settings(max_examples=150)
def test_rows_of_any_shape_leave_whole_rows(lines: list[tuple[bool, dict[str, Any]]], gpus: int) -> None:
    clock = Clock()
    store = Store(now=clock)
    told(store, hello(gpus))
    store.open("gpu1")
    for number, (fast, keys) in enumerate(lines, 1):
        clock.at += 7
        node = told(store, (tick if fast else slow)(number, **keys))
        assert len(node.gpus) == gpus
        assert all(row is None or len(row) == len(GPU_FIELDS) for row in node.gpus)
        assert node.host is None or len(node.host) == len(HOST_FIELDS)
        for gpu in range(gpus):
            assert len(node.history("power_w", gpu, clock.at)) == 60
            times, values = node.recent_values("power_w", gpu)
            assert len(times) == len(values) <= number


def test_null_is_not_known_and_never_the_value_before(store: Store) -> None:
    node = told(store, hello(1), tick(1, 1, 5.0), slow(2, 1, 7.0))
    told(store, tick(3, g=[[None] * len(GPU_FAST)], h=[None] * len(HOST_FAST)))
    assert node.gpus[0] is not None
    assert {node.gpus[0][GPU_INDEX[name]] for name in GPU_FAST} == {None}
    assert {node.gpus[0][GPU_INDEX[name]] for name in GPU_SLOW} == {7.0}
    told(store, tick(4, g=[[9.0]]))  # a row that is cut off
    assert node.gpus[0][:2] == [9.0, None]


def test_a_lost_gpu_is_none_with_its_event_until_it_is_back(store: Store) -> None:
    node = told(store, hello(2), tick(1, 2), slow(2, 2))
    lost = line("e", t=1.0, gpu="1", what="lost", text="GPU is lost")
    rows = [[4.0] * len(GPU_FAST), None]
    told(store, lost, tick(3, g=rows), slow(4, 2))
    assert node.gpus[0] is not None
    assert node.gpus[1] is None
    assert node.lost["1"].text == "GPU is lost"
    told(store, line("e", gpu="1", what="back"), tick(5, 2, 8.0))
    assert node.lost == {}
    assert node.gpus[1] is not None
    assert node.gpus[1][GPU_INDEX["power_w"]] == 9.0
    assert node.gpus[1][GPU_INDEX["energy_j"]] is None  # that of before the loss says nothing
    assert [event.what for event in node.events] == ["lost", "back"]


def test_before_the_first_sample_nothing_is_known_and_nothing_is_lost(store: Store) -> None:
    node = told(store, hello(2))
    assert node.gpus == [[None] * len(GPU_FIELDS)] * 2
    assert (node.received_at, node.age_s(store.now())) == (None, None)


def test_events_are_the_last_200(store: Store) -> None:
    store.put("gpu1", decode(hello(1)))
    for number in range(500):
        store.put("gpu1", Event(t=float(number), what="xid", gpu="0", code=number))
    node = store.nodes["gpu1"]
    assert [event.code for event in node.events] == list(range(300, 500))


def test_processes_stay_where_a_slow_line_has_none(store: Store) -> None:
    node = told(store, hello(1), slow(1, 1, p=[["0", 7, "ann", "python", 512, "C", "slurm:12"]]))
    assert (node.processes[0].pid, node.processes[0].job) == (7, "slurm:12")
    told(store, line("s", n=2, t=1.0, g=None))
    assert len(node.processes) == 1
    told(store, slow(3, 1, p=[]))
    assert node.processes == ()


def test_ages_and_staleness(store: Store, clock: Clock) -> None:
    node = told(store, hello(1), tick(1, 1))
    assert store.take_dirty() == {"gpu1"}
    clock.at += 2.9
    assert (store.take_dirty(), node.state, node.age_s(clock.at)) == (set(), LIVE, pytest.approx(2.9))
    clock.at += 0.2
    assert (store.take_dirty(), node.state) == ({"gpu1"}, STALE)
    assert store.take_dirty() == set()
    told(store, tick(2, 1))
    assert (store.take_dirty(), node.state) == ({"gpu1"}, LIVE)


def test_a_node_that_never_samples_becomes_stale_and_one_that_is_back_is_not(store: Store, clock: Clock) -> None:
    node = told(store, hello(1, interval_s=5.0))
    clock.at += 14
    store.take_dirty()
    assert node.state == LIVE
    clock.at += 2
    store.take_dirty()
    assert node.state == STALE
    told(store, tick(1, 1))
    store.set_state("gpu1", RETRY, reason=Reason("closed_during_probe", "reset by peer"), tries=2, retry_at=1100.0)
    clock.at += 500
    told(store, hello(1))
    store.take_dirty()
    assert (node.state, node.reason, node.tries, node.retry_at) == (LIVE, None, 0, None)
    assert node.age_s(clock.at) == pytest.approx(500)


def test_states_keep_the_last_values(store: Store) -> None:
    node = told(store, hello(1), tick(1, 1, 5.0))
    store.set_state("gpu1", RETRY, reason=Reason("timeout", "no answer"), tries=3, retry_at=1010.0)
    assert (node.state, node.tries, node.retry_at) == (RETRY, 3, 1010.0)
    assert node.gpus[0] is not None
    assert node.gpus[0][0] == 5.0
    store.set_state("gpu1", CONNECTING)
    assert (node.tries, node.retry_at, node.reason) == (3, None, None)
    told(store, line("bye", why="stdin closed"))
    assert node.state == ENDED
    assert node.reason == Reason("bye", "stdin closed")


def test_numbers_that_are_missing_are_counted(store: Store) -> None:
    node = told(store, hello(1), tick(1, 1), tick(2, 1), tick(7, 1), slow(8, 1))
    assert (node.seq, node.missed) == (8, 4)
    told(store, hello(1), tick(1, 1))
    assert node.missed == 4


def test_samples_without_a_hello_say_nothing(store: Store) -> None:
    node = told(store, tick(1), slow(2))
    assert (node.gpus, node.host, node.received_at) == ([], None, None)


def test_a_newer_stream_and_devices_left_out_are_said(store: Store) -> None:
    node = told(store, hello(300, v=2))
    assert len(node.gpus) == 256
    assert "300 devices" in node.notes[0]
    assert "version 2" in node.notes[1]


def test_a_hello_of_the_same_devices_keeps_what_is_known_and_of_others_does_not(store: Store, clock: Clock) -> None:
    node = told(store, hello(2), tick(1, 2, 5.0))
    told(store, hello(2, t=2e9))
    assert node.gpus[1] is not None
    assert node.gpus[1][0] == 6.0
    assert node.history("gpu_util_pct", 1)[-1] == 6.0
    told(store, hello(1))
    assert node.gpus == [[None] * len(GPU_FIELDS)]
    assert math.isnan(node.history("gpu_util_pct", 0)[-1])


def test_open_nodes_keep_every_sample_and_only_so_many_are_open(store: Store, clock: Clock) -> None:
    node = told(store, hello(1))
    store.open("gpu1")
    for number in range(1, 31):
        clock.at += 1
        told(store, tick(number, 1, float(number)))
    times, values = node.recent_values("power_w", 0)
    assert list(values) == [float(number) for number in range(1, 31)]
    assert list(times) == [1000.0 + number for number in range(1, 31)]
    assert list(node.recent_values("cpu_util_pct", None)[1]) == list(values)
    for other in range(MAX_OPEN):
        store.open(f"other{other}")
    assert node.recent is None
    assert node.recent_values("power_w", 0)[1].tolist() == []
    store.shut("other3")
    assert sum(one.recent is not None for one in store.nodes.values()) == MAX_OPEN - 1


def test_a_tap_hears_everything(clock: Clock) -> None:
    heard: list[object] = []
    store = Store(now=clock, tap=lambda name, what: heard.append(what.state if isinstance(what, LiveNode) else what))
    store.set_state("gpu1", CONNECTING)
    told(store, hello(1), tick(1, 1))
    assert heard == [CONNECTING, decode(hello(1)), decode(tick(1, 1))]


def test_many_threads_lose_nothing_and_readers_see_whole_samples() -> None:
    """Each thread feeds nodes of its own; all values of a sample are alike, so a mixture of two would show."""
    store = Store()
    names = [[f"t{thread}n{number}" for number in range(5)] for thread in range(6)]
    samples = 150
    torn: list[str] = []
    seen: set[str] = set()
    over = threading.Event()

    def feed(own: list[str]) -> None:
        for name in own:
            store.put(name, decode(hello(4)))
        for number in range(1, samples + 1):
            row = [float(number)] * len(GPU_FAST)
            for name in own:
                store.put(name, Tick(seq=number, t=0.0, gpus=[row] * 4, host=[float(number)] * len(HOST_FAST)))

    def look() -> None:
        while not over.is_set():
            seen.update(store.take_dirty())
            for node in list(store.nodes.values()):
                gpus = node.gpus
                if len({row[0] for row in gpus if row is not None}) > 1:
                    torn.append(node.name)

    threads = [threading.Thread(target=feed, args=(own,)) for own in names]
    reader = threading.Thread(target=look)
    reader.start()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    time.sleep(0.01)
    over.set()
    reader.join()
    seen |= store.take_dirty()
    assert not torn
    assert seen == {name for own in names for name in own}
    assert all(node.seq == samples and node.missed == 0 for node in store.nodes.values())
