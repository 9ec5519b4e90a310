"""Rows of nodes and GPUs: how values roll up, what is not known, and what is said to be wrong."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_up_fleet import BUSY, IDLE, T0, Clock, hello, slow, stream, tick, work

from nodectl.model import Reason
from nodectl.telemetry.fields import GPU_FIELDS
from nodectl.telemetry.messages import Event, Gpu, Hello, Process, Tick
from nodectl.telemetry.store import RETRY, LiveNode, Store
from nodectl.view import glyphs
from nodectl.view.rollup import clock_reasons, gpu_rows, node_row, short_reasons, why_unknown


def live(*gpus: dict[str, float | None] | None, **more: Any) -> LiveNode:
    store = Store(now=Clock())
    for message in stream(list(gpus), **more):
        store.put("gpu-01", message)
    return store.nodes["gpu-01"]


def test_values_of_gpus_become_those_of_the_node() -> None:
    row = node_row(live(BUSY, IDLE), 0.0)
    assert row["temperature_c"] == 71
    assert row["sm_clock_mhz"] == 345
    assert row["power_w"] == pytest.approx(771.6)
    assert row["gpu_util_pct"] == 49
    assert row["clocks_event_reasons"] == 5
    assert row["throttle"] == ("sw_power_cap",)
    assert row["memory_total_mib"] == 2 * 143_771
    assert row["gpu_memory_pct"] == pytest.approx(100 * 73_615 / (2 * 143_771))
    assert row["power_pct"] == pytest.approx(100 * 771.6 / 1400)
    assert (row["gpus"], row["lost"], row["hottest"], row["model"]) == (2, 0, "0", "NVIDIA H200")
    assert row["cpu_util_pct"] == 12.4


def test_what_is_not_known_is_none_and_never_0() -> None:
    row = node_row(live(BUSY | {"temperature_memory_c": None}, IDLE | {"temperature_memory_c": None}), 0.0)
    assert row["temperature_memory_c"] is None
    partly = node_row(live(BUSY | {"temperature_memory_c": None}, IDLE), 0.0)
    assert partly["temperature_memory_c"] == 40
    nothing = node_row(live(dict.fromkeys(BUSY), dict.fromkeys(BUSY)), 0.0)
    assert all(nothing[field.name] is None for field in GPU_FIELDS if field.name != "power_limit_w")
    assert nothing["letter"] == glyphs.UNKNOWN
    assert nothing["throttle"] is None


def test_a_lost_gpu_is_counted_and_has_no_part_in_sums() -> None:
    node = live(BUSY, None)
    row = node_row(node, 0.0)
    assert (row["gpus"], row["lost"], row["map"], row["letter"]) == (2, 1, ".X", "X")
    assert row["power_w"] == pytest.approx(693.4)
    lost = gpu_rows(node, 0.0)[1]
    assert lost["temperature_c"] is None and lost["letter"] == "X" and lost["lost"] == 1


def test_mig_devices_have_rows_and_no_part_in_the_node() -> None:
    gpus = (
        Gpu(index="0", name="H200", memory_total_mib=1000),
        Gpu(index="0/1", name="H200 MIG 1g", memory_total_mib=100, parent="0", mig=True),
    )
    store = Store(now=Clock())
    store.put("n", hello(0, gpus=gpus))
    store.put("n", tick(1, [BUSY | {"memory_used_mib": 500}, BUSY | {"memory_used_mib": 90}], T0))
    row = node_row(store.nodes["n"], 0.0)
    assert (row["gpus"], row["map"], row["memory_used_mib"], row["gpu_memory_pct"]) == (1, ".", 500, 50)
    assert [one["gpu"] for one in gpu_rows(store.nodes["n"], 0.0)] == ["0", "0/1"]


@pytest.mark.parametrize(
    ("values", "letter", "note"),
    [
        ({}, ".", ""),
        ({"remap_failure": 1}, "X", "row remap failed, GPU 1"),
        ({"recovery_action": 2}, "X", "the node needs a reboot, GPU 1"),
        ({"recovery_action": 99}, "X", "recovery action 99, GPU 1"),
        ({"ecc_uncorrectable": 2}, "X", "2 uncorrectable memory errors, GPU 1"),
        ({"remap_pending": 1}, "!", "row remap pending, needs a reset, GPU 1"),
        ({"clocks_event_reasons": 0x48}, "!", "hw thermal slowdown, GPU 1"),
        ({"clocks_event_reasons": 0x8}, "!", "hw slowdown, GPU 1"),
        ({"clocks_event_reasons": 0x84}, "!", "hw power brake slowdown, GPU 1"),
        ({"clocks_event_reasons": 0x5}, ".", ""),
        (
            {"remap_failure": 1, "clocks_event_reasons": 0x40},
            "X",
            "row remap failed, GPU 1; hw thermal slowdown, GPU 1",
        ),
    ],
)
def test_what_is_wrong(values: dict[str, float], letter: str, note: str) -> None:
    node = live(BUSY, BUSY | values)
    row = node_row(node, 0.0)
    assert (row["letter"], row["note"]) == (letter, note)
    assert row["map"] == "." + letter
    assert gpu_rows(node, 0.0)[1]["letter"] == letter


def test_the_same_on_all_gpus_is_said_once() -> None:
    row = node_row(live(*[BUSY | {"clocks_event_reasons": 0x20}] * 8), 0.0)
    assert row["note"] == "sw thermal slowdown, all GPUs"
    row = node_row(live(*[BUSY | {"remap_pending": 1}] * 3, *[BUSY] * 5), 0.0)
    assert row["note"] == "row remap pending, needs a reset, GPU 0-2"


def test_slowdown_temperature() -> None:
    gpus = (Gpu(index="0", temperature_slowdown_c=90),)
    store = Store(now=Clock())
    store.put("n", hello(0, gpus=gpus))
    store.put("n", tick(1, [BUSY | {"temperature_c": 90}], T0))
    assert node_row(store.nodes["n"], 0.0)["note"] == "at its slowdown temperature (90C)"


def test_an_xid_is_said_for_ten_minutes_and_kept() -> None:
    store = Store(now=Clock())
    for message in stream([BUSY, BUSY]):
        store.put("n", message)
    store.put("n", Event(t=T0 + 1, gpu="1", what="xid", code=79, text="fell off the bus"))
    node = store.nodes["n"]
    assert (node_row(node, 0.0)["letter"], node_row(node, 0.0)["xid"]) == ("!", 79)
    assert node_row(node, 0.0)["note"] == "Xid 79, GPU 1"
    assert gpu_rows(node, 0.0)[1]["note"] == "Xid 79: fell off the bus"
    assert gpu_rows(node, 0.0)[0]["xid"] is None
    store.put("n", tick(9, [BUSY, BUSY], T0 + 700))
    assert (node_row(node, 0.0)["letter"], node_row(node, 0.0)["xid"]) == (".", 79)


def test_a_node_that_is_not_live_has_its_reason_and_no_values() -> None:
    store = Store(now=Clock())
    for message in stream([BUSY]):
        store.put("n", message)
    store.set_state("n", RETRY, reason=Reason("timeout", "nothing came for 15 s"), retry_at=7)
    row = node_row(store.nodes["n"], 2.0, {"rack": "r1"})
    assert (row["letter"], row["note"], row["retry_s"]) == ("@", "timeout: nothing came for 15 s", 5)
    assert row["temperature_c"] is None and row["cpu_util_pct"] is None and row["gpus"] == 1
    assert row["label.rack"] == "r1" and row["labels"] == ("rack=r1",)
    assert gpu_rows(store.nodes["n"], 2.0) == []


def test_reasons_why_a_field_is_never_known() -> None:
    why = {"temperature_memory_c": "not supported", "nvlink_tx_mib_s": {"0": "no NVLink", "1": "off"}}
    node = live(BUSY, BUSY, unsupported=why)
    first, second = gpu_rows(node, 0.0)
    assert why_unknown(first, "temperature_memory_c") == "not supported"
    assert (why_unknown(first, "nvlink_tx_mib_s"), why_unknown(second, "nvlink_tx_mib_s")) == ("no NVLink", "off")
    assert why_unknown(node_row(node, 0.0), "nvlink_tx_mib_s") == "no NVLink; off"
    assert why_unknown(first, "power_w") == ""


def test_processes() -> None:
    row = node_row(live(BUSY, BUSY, processes=(*work("alice", "7", 1), Process("1", 9, "bob", "x"))), 0.0)
    assert (row["users"], row["jobs"], row["processes"]) == (("alice", "bob"), ("7",), 2)


def test_names_of_clock_reasons() -> None:
    assert clock_reasons(None) is None
    assert clock_reasons(1) == ()
    assert clock_reasons(0x4C) == ("hw_thermal_slowdown", "sw_power_cap")
    assert (short_reasons(1), short_reasons(0x4C), short_reasons(8)) == ("-", "hw-therm,pwr", "hw-slow")


_values = st.one_of(st.none(), st.floats(allow_nan=False, allow_infinity=False), st.integers(-(2**63), 2**63))


@given(
    st.lists(st.one_of(st.none(), st.lists(_values, max_size=len(GPU_FIELDS) + 3)), max_size=5),
    st.lists(_values, max_size=20),
    st.integers(0, 5),
)
def test_whatever_a_node_sends_there_are_rows(
    gpus: list[list[float | None] | None], host: list[float | None], devices: int
) -> None:
    store = Store(now=Clock())
    store.put("n", Hello(gpus=tuple(Gpu(index=str(number)) for number in range(devices))))
    store.put("n", Tick(seq=1, t=T0, gpus=gpus, host=host))
    store.put("n", slow(2, [BUSY], T0))
    row = node_row(store.nodes["n"], 0.0)
    assert len(row["map"]) == devices
    assert len(gpu_rows(store.nodes["n"], 0.0)) == devices
