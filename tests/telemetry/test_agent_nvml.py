"""The agent against a fake libnvidia-ml: values, ways to measure, what is not supported, faults while it runs."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from agent_bench import RunningAgent
from fake_nvml import GPU_IS_LOST, UNKNOWN, FakeNvml, build

from nodectl.telemetry.agent.names import GPU_FAST, GPU_SLOW

Start = Callable[..., RunningAgent]
FAST_BEATS = {"interval_s": 0.1, "processes_every_s": 0.3, "slow_every_s": 0.3}


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("nvml"))


@pytest.fixture
def fake(library: Path, tmp_path: Path) -> Iterator[FakeNvml]:
    made = FakeNvml(library, tmp_path / "control")
    yield made
    made.close()


@pytest.fixture
def start(fake: FakeNvml) -> Iterator[Start]:
    running: list[RunningAgent] = []

    def begin(sooner: dict[str, float] | None = None, **options: Any) -> RunningAgent:
        running.append(RunningAgent({**FAST_BEATS, **options}, fake.env, sooner=sooner))
        return running[-1]

    yield begin
    for agent in running:
        agent.__exit__()


def fast(row: list[Any], name: str) -> Any:
    return row[GPU_FAST.index(name)]


def slow(row: list[Any], name: str) -> Any:
    return row[GPU_SLOW.index(name)]


def test_all_values(start: Start) -> None:
    agent = start()
    hello = agent.kind("hello")
    assert (hello["backend"], hello["why"], hello["driver"]) == ("nvml", "", "580.159.04")
    assert [gpu["uuid"] for gpu in hello["gpus"]] == ["GPU-00000000", "GPU-00000001"]
    assert hello["gpus"][1]["pci_bus_id"] == "00000000:01:00.0"
    assert hello["gpus"][0]["memory_total_mib"] == 143771
    assert hello["gpus"][0]["power_limit_w"] == 700.0
    assert hello["gpus"][0]["temperature_slowdown_c"] == 89
    rows = agent.kind("t")["g"]
    values = dict(zip(GPU_FAST, rows[1], strict=True))
    assert values == {
        "gpu_util_pct": 11,
        "memory_util_pct": 5,
        "memory_used_mib": 101,
        "temperature_c": 41,
        "temperature_memory_c": 51,
        "power_w": 123.456,
        "sm_clock_mhz": 1980,
        "mem_clock_mhz": 3201,
        "clocks_event_reasons": 4,
        "pcie_tx_mib_s": 3072.0,
        "pcie_rx_mib_s": 6144.0,
        "nvlink_tx_mib_s": 5120.0,
        "nvlink_rx_mib_s": 10240.0,
        "ecc_uncorrectable": 2,
        "ecc_correctable": 7,
        "remapped_rows": 3,
        "remap_pending": 1,
        "remap_failure": 0,
        "recovery_action": 0,
        "sm_active_pct": 44.0,
        "tensor_active_pct": None,
        "memory_bandwidth_pct": 22.0,
    }
    assert hello["unsupported"]["tensor_active_pct"] == "not supported by this GPU and driver"
    beat = agent.kind("s")
    assert beat["g"][0][:2] == [700.0, 49]
    assert slow(beat["g"][0], "energy_j") > 400_000
    assert beat["g"][0][3:] == [3, 5, 16]
    later = agent.until(lambda message: message["k"] == "s" and message["g"] is not None)
    assert slow(later["g"][0], "energy_j") > slow(beat["g"][0], "energy_j")


@pytest.mark.parametrize("refused", ["gpm", "deny_gpm"])
def test_rates_from_counters_that_wrap(start: Start, fake: FakeNvml, refused: str) -> None:
    """32 bit byte counters at 50 GB/s wrap each 86 ms, and the tick is longer than that: a window tells the truth."""
    fake.rates(pcie_bytes_s=25_000_000_000)
    fake.refuse(refused)
    agent = start(interval_s=0.5)
    unsupported = agent.kind("hello")["unsupported"]["sm_active_pct"]
    assert unsupported.startswith("no permission" if refused == "deny_gpm" else "not supported")
    agent.kind("t")
    tick = agent.kind("t")
    for row in tick["g"]:
        assert fast(row, "pcie_tx_mib_s") == pytest.approx(25e9 / 2**20, rel=0.2)
        assert fast(row, "pcie_rx_mib_s") == pytest.approx(50e9 / 2**20, rel=0.2)
        assert fast(row, "nvlink_tx_mib_s") == pytest.approx(5120, rel=0.1)
    assert tick["ms"] < 200
    assert fake.calls("throughput") == 0


def test_rates_from_wide_counters(start: Start, fake: FakeNvml) -> None:
    fake.refuse("gpm", "wide_pcie", "link_sum")
    agent = start()
    for _ in range(3):
        tick = agent.kind("t")
    row = tick["g"][0]
    assert fast(row, "pcie_rx_mib_s") == pytest.approx(6144, rel=0.1)
    assert fast(row, "nvlink_tx_mib_s") == pytest.approx(5120, rel=0.1)
    assert fast(row, "nvlink_rx_mib_s") == pytest.approx(10240, rel=0.1)


def test_nvlink_5_counts_bytes(start: Start, fake: FakeNvml) -> None:
    fake.refuse("gpm", "nvlink5")
    agent = start()
    agent.kind("t")
    assert fast(agent.kind("t")["g"][0], "nvlink_rx_mib_s") == pytest.approx(10240, rel=0.1)


def test_blocking_call_is_a_last_resort_on_the_slow_beat(start: Start, fake: FakeNvml) -> None:
    fake.refuse("gpm", "pcie")
    agent = start(slow_every_s=1000, processes_every_s=1000)
    agent.kind("s")
    called = fake.calls("throughput")
    for _ in range(4):
        tick = agent.kind("t")
    assert fast(tick["g"][0], "pcie_tx_mib_s") == 1.0
    assert fast(tick["g"][0], "pcie_rx_mib_s") == 2.0
    assert fake.calls("throughput") == called


def test_no_nvlink_is_not_zero(start: Start, fake: FakeNvml) -> None:
    """GPM answers 0 for links that are not there."""
    fake.refuse("nvlink")
    agent = start()
    assert agent.kind("hello")["unsupported"]["nvlink_tx_mib_s"] == "not supported by this GPU and driver"
    row = agent.kind("t")["g"][0]
    assert fast(row, "nvlink_tx_mib_s") is None
    assert fast(row, "pcie_tx_mib_s") == 3072.0


def test_unsupported_is_said_once_and_never_asked_again(start: Start, fake: FakeNvml) -> None:
    fake.refuse("ecc", "hbm", "margin", "events")
    agent = start()
    unsupported = agent.kind("hello")["unsupported"]
    for name in ("ecc_correctable", "ecc_uncorrectable", "temperature_memory_c", "t_limit_margin_c"):
        assert unsupported[name] == "not supported by this GPU and driver"
    assert "xid" in unsupported
    asked = fake.calls("ecc")
    row = agent.kind("t")["g"][0]
    agent.kind("t")
    assert fast(row, "ecc_correctable") is None
    assert fast(row, "temperature_memory_c") is None
    assert fast(row, "recovery_action") == 0
    assert fake.calls("ecc") == asked


@pytest.mark.parametrize("code", [GPU_IS_LOST, UNKNOWN])
def test_a_gpu_lost_and_back(start: Start, fake: FakeNvml, code: int) -> None:
    agent = start(interval_s=0.2)
    agent.kind("t")
    fake.gpu(1, code=code)
    lost = agent.event("lost")
    assert lost["gpu"] == "1"
    assert lost["text"]
    tick = agent.kind("t")
    tick = agent.kind("t")
    assert tick["g"][1] is None
    assert fast(tick["g"][0], "temperature_c") == 40
    beat = agent.until(lambda message: message["k"] == "s" and message["g"] is not None)
    assert beat["g"][1] is None
    assert slow(beat["g"][0], "power_limit_w") == 700.0
    fake.gpu(1, code=0)
    assert agent.event("back")["gpu"] == "1"
    agent.kind("t")
    assert fast(agent.kind("t")["g"][1], "temperature_c") == 41


def test_nvml_is_opened_again_for_a_lost_gpu(start: Start, fake: FakeNvml) -> None:
    """Old handles of a GPU that was reset stay lost: only a new nvmlInit gives one that answers."""
    agent = start({"REOPEN_S": 1.0, "RETRY_LOST_S": 1000.0})
    agent.kind("t")
    fake.gpu(1, code=GPU_IS_LOST)
    agent.event("lost")
    opened = fake.calls("init")
    agent.until(lambda message: message["k"] == "t" and fake.calls("init") > opened)
    agent.kind("t")
    tick = agent.kind("t")
    assert tick["g"][1] is None
    assert fast(tick["g"][0], "temperature_c") == 40
    fake.gpu(1, code=0)
    assert agent.event("back")["gpu"] == "1"
    back = agent.until(lambda message: message["k"] == "t" and message["g"][1] is not None)
    assert fast(back["g"][1], "temperature_c") == 41


def test_a_gpu_that_has_no_handle_keeps_its_place(start: Start, fake: FakeNvml) -> None:
    fake.set(count=3)
    fake.gpu(1, no_handle=GPU_IS_LOST)
    agent = start()
    hello = agent.kind("hello")
    assert agent.event("lost")["gpu"] == "1"
    assert [gpu["index"] for gpu in hello["gpus"]] == ["0", "1", "2"]
    rows = agent.kind("t")["g"]
    assert rows[1] is None
    assert fast(rows[2], "temperature_c") == 42


def test_device_count_changes(start: Start, fake: FakeNvml) -> None:
    agent = start()
    assert len(agent.kind("hello")["gpus"]) == 2
    agent.kind("t")
    fake.set(count=3)
    assert agent.event("devices")["text"] == "3 GPUs and MIG devices"
    assert len(agent.kind("hello")["gpus"]) == 3
    assert len(agent.kind("t")["g"]) == 3
    fake.set(count=1)
    agent.event("devices")
    agent.kind("hello")
    assert len(agent.kind("t")["g"]) == 1


def test_mig_devices_under_their_gpu(start: Start, fake: FakeNvml) -> None:
    fake.gpu(1, mig=2)
    fake.set(pid=os.getpid())
    agent = start()
    hello = agent.kind("hello")
    assert [gpu["index"] for gpu in hello["gpus"]] == ["0", "1", "1/0", "1/1"]
    assert hello["gpus"][2]["parent"] == "1"
    assert hello["gpus"][2]["mig"] is True
    assert hello["gpus"][2]["memory_total_mib"] == 18000
    assert hello["unsupported"]["power_w"] == {"1/0": "measured for the whole GPU", "1/1": "measured for the whole GPU"}
    part = agent.kind("t")["g"][3]
    assert fast(part, "memory_used_mib") == 101
    assert fast(part, "gpu_util_pct") == 33.0
    assert fast(part, "power_w") is None
    assert [row[0] for row in agent.kind("s")["p"]] == ["0", "1/0", "1/1"]
    fake.gpu(1, mig=1)
    agent.event("devices")
    assert [gpu["index"] for gpu in agent.kind("hello")["gpus"]] == ["0", "1", "1/0"]


def test_processes(start: Start, fake: FakeNvml) -> None:
    fake.set(count=1, pid=os.getpid(), busy_pids=90, mps_pid=os.getpid())
    rows = start().kind("s")["p"]
    assert len(rows) == 91
    first = next(row for row in rows if row[1] == os.getpid())
    assert first[2] == os.environ.get("USER", "root")
    assert first[3].startswith(("python", "pytest"))
    assert first[4:6] == [512.0, "M"]
    assert rows[-1][4] is None


def test_xid(start: Start, fake: FakeNvml) -> None:
    agent = start()
    agent.kind("t")
    fake.gpu(1, xid=79)
    event = agent.event("xid")
    assert (event["gpu"], event["code"], event["text"]) == ("1", 79, "Xid 79")


def test_a_hung_call_stops_nothing_else(start: Start, fake: FakeNvml) -> None:
    fake.set(count=3)
    agent = start(interval_s=0.2)
    agent.kind("t")
    fake.gpu(1, hang=1)
    without = agent.until(lambda message: message["k"] == "t" and message["g"][1] is None)
    assert without["g"][2] is None
    assert without["h"] is not None
    assert agent.kind("t")["h"] is not None
    error = agent.event("error")
    assert error["gpu"] == "1"
    assert "has not answered" in error["text"]
    around = agent.until(lambda message: message["k"] == "t" and message["g"][2] is not None)
    assert around["g"][1] is None
    assert fast(around["g"][0], "temperature_c") == 40
    fake.gpu(1, hang=0)
    assert agent.event("back")["gpu"] == "1"
    again = agent.until(lambda message: message["k"] == "t" and message["g"][1] is not None)
    assert fast(again["g"][1], "temperature_c") == 41


def test_it_ends_at_once_while_a_call_hangs(start: Start, fake: FakeNvml) -> None:
    agent = start()
    agent.kind("t")
    fake.gpu(0, hang=1)
    agent.until(lambda message: message["k"] == "t" and message["g"][0] is None)
    begin = time.monotonic()
    assert agent.end()[-1]["k"] == "bye"
    assert time.monotonic() - begin < 1.5


def test_slow_calls_make_ticks_rarer_not_late(start: Start, fake: FakeNvml) -> None:
    agent = start(processes_every_s=1000)
    agent.kind("s")
    fake.gpu(0, slow_ms=25)
    agent.until(lambda message: message["k"] == "t" and message["ms"] > 250)
    ticks = [agent.kind("t") for _ in range(3)]
    assert all(fast(tick["g"][0], "temperature_c") == 40 for tick in ticks)
    assert all(later["n"] - tick["n"] > 1 for tick, later in itertools.pairwise(ticks))


def test_nvml_that_cannot_be_opened_and_then_can(start: Start, fake: FakeNvml) -> None:
    fake.set(init_code=18)
    agent = start({"RETRY_OPEN_S": 2.0})
    hello = agent.kind("hello")
    assert hello["backend"] == "none"
    assert "version mismatch" in hello["why"].lower()
    assert "reboot" in hello["why"]
    tick = agent.kind("t")
    assert tick["g"] == []
    assert tick["h"][1] is not None
    assert agent.kind("s")["g"] is None
    fake.set(init_code=0)
    agent.event("devices")
    assert agent.kind("hello")["backend"] == "nvml"
    assert len(agent.kind("t")["g"]) == 2
    assert fake.calls("init") == 2


def test_nvml_init_that_hangs(start: Start, fake: FakeNvml) -> None:
    fake.set(init_hang=1)
    agent = start({"OPEN_PATIENCE_S": 2.0})
    hello = agent.kind("hello")
    assert hello["backend"] == "none"
    assert "nvmlInit has not returned" in hello["why"]
    assert agent.kind("t")["h"] is not None
    fake.set(init_hang=0)
    agent.event("devices")
    assert agent.kind("hello")["backend"] == "nvml"
    agent.kind("t")
    agent.end()
