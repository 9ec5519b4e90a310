"""The sampler of the amdgpu driver's files, on a made-up tree of MI300X-like cards."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from launch_kit import SHELLS, BareNode
from test_launch_smi import slow_values, values


@pytest.fixture(params=SHELLS)
def node(request: pytest.FixtureRequest, tmp_path: Path) -> BareNode:
    return BareNode(request.param, tmp_path)


def write(folder: Path, **files: Any) -> None:
    for name, text in files.items():
        path = folder / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{text}\n")


def add_card(sys: Path, card: int, bus: str, **changes: Any) -> Path:
    """A card's folder as the driver makes it; `changes` are files, `__` for a slash, None to leave one out."""
    device = sys / f"devices/{bus}"
    files = {
        "vendor": "0x1002",
        "device": "0x74a1",
        "uevent": f"DRIVER=amdgpu\nPCI_CLASS=120000\nPCI_SLOT_NAME={bus}",
        "unique_id": f"a1b2c3d4e5f6{card:04x}",
        "product_name": "AMD Instinct MI300X OAM",
        "gpu_busy_percent": 37,
        "mem_busy_percent": 12,
        "mem_info_vram_total": 206141652992,
        "mem_info_vram_used": 299630592,
        "current_link_speed": "32.0 GT/s PCIe",
        "current_link_width": 16,
        "pcie_replay_count": 3,
        "pp_dpm_sclk": "0: 500Mhz\n1: 1700Mhz *\n2: 2100Mhz",
        "pp_dpm_mclk": "0: 900Mhz\n3: 1300Mhz *",
        "ras__umc_err_count": "ue: 1\nce: 20",
        "ras__gfx_err_count": "ue: 0\nce: 2",
        "hwmon__hwmon7__power1_input": 141000000,
        "hwmon__hwmon7__power1_cap": 750000000,
        "hwmon__hwmon7__temp2_input": 45000,
        "hwmon__hwmon7__temp2_label": "junction",
        "hwmon__hwmon7__temp2_crit": 100000,
        "hwmon__hwmon7__temp3_input": 39000,
        "hwmon__hwmon7__temp3_label": "mem",
        **changes,
    }
    write(device, **{name: text for name, text in files.items() if text is not None})
    drm = sys / "class/drm"
    drm.mkdir(parents=True, exist_ok=True)
    (drm / f"card{card}").mkdir()
    (drm / f"card{card}/device").symlink_to(device)
    return device


def test_amd_cards_become_the_stream(node: BareNode) -> None:
    sys = node.own_sys()
    clock = {"hwmon__hwmon7__freq1_input": 2100000000, "hwmon__hwmon7__freq1_label": "sclk"}
    add_card(sys, 1, "0000:15:00.0", pp_dpm_sclk=None, **clock)
    device = add_card(sys, 0, "0000:25:00.0")
    (sys / "class/drm/card0-DP-1").mkdir()
    with node.start(node.script()) as channel:
        hello = channel.until("hello")
        tick = channel.until("t")
        slow = channel.until("s", 15)
        (device / "gpu_busy_percent").write_text("99\n")
        channel.until(lambda m: m["k"] == "t" and values(m, 1)["gpu_util_pct"] == 99)
    assert hello["backend"] == "amdgpu"
    assert [gpu["pci_bus_id"] for gpu in hello["gpus"]] == ["0000:15:00.0", "0000:25:00.0"]
    assert hello["gpus"][1] == {
        "index": "1",
        "uuid": "a1b2c3d4e5f60000",
        "name": "AMD Instinct MI300X OAM",
        "pci_bus_id": "0000:25:00.0",
        "memory_total_mib": 196592,
        "power_limit_w": 750,
        "temperature_slowdown_c": 100,
    }
    known = {name: value for name, value in values(tick, 1).items() if value is not None}
    assert known == {
        "gpu_util_pct": 37,
        "memory_util_pct": 12,
        "memory_used_mib": 285,
        "temperature_c": 45,
        "temperature_memory_c": 39,
        "power_w": 141,
        "sm_clock_mhz": 1700,
        "mem_clock_mhz": 1300,
        "ecc_uncorrectable": 1,
        "ecc_correctable": 22,
    }
    assert values(tick, 0)["sm_clock_mhz"] == 2100
    known = {name: value for name, value in slow_values(slow, 1).items() if value is not None}
    assert known == {"power_limit_w": 750, "t_limit_margin_c": 55, "pcie_replays": 3, "pcie_gen": 5, "pcie_width": 16}
    assert hello["unsupported"]["pcie_tx_mib_s"] == "the amdgpu driver has no file for it"
    assert hello["unsupported"]["energy_j"] == "the amdgpu driver has no file for it here"
    assert not set(known) & set(hello["unsupported"])


def test_what_one_card_lacks_is_said_of_it_alone(node: BareNode) -> None:
    sys = node.own_sys()
    add_card(sys, 0, "0000:15:00.0")
    add_card(sys, 1, "0000:25:00.0", mem_busy_percent=None, hwmon__hwmon7__temp3_input="", product_name='a"b\\\x1b')
    with node.start(node.script(backend="amdgpu")) as channel:
        hello = channel.until("hello")
        tick = channel.until("t")
    assert hello["unsupported"]["memory_util_pct"] == {"1": "the amdgpu driver has no file for it here"}
    assert values(tick, 1)["memory_util_pct"] is None
    assert values(tick, 0)["memory_util_pct"] == 12
    assert hello["gpus"][1]["name"] == 'a"b\\?'


def test_a_file_that_goes_away_is_null_and_nothing_ends(node: BareNode) -> None:
    sys = node.own_sys()
    device = add_card(sys, 0, "0000:15:00.0")
    with node.start(node.script()) as channel:
        channel.until("t")
        (device / "hwmon/hwmon7/power1_input").unlink()
        (device / "gpu_busy_percent").unlink()
        (device / "gpu_busy_percent").mkdir()  # a read error
        tick = channel.until(lambda m: m["k"] == "t" and values(m, 0)["power_w"] is None)
        assert values(tick, 0)["gpu_util_pct"] is None
        assert values(tick, 0)["memory_used_mib"] == 285


def test_host_rates_come_from_counters(node: BareNode) -> None:
    sys = node.own_sys()
    (node.root / "proc").unlink()
    proc = node.root / "proc"
    write(sys, class__net__eth0__type=1, class__net__ib0__type=32, class__net__docker0__type=1)
    for name in ("eth0", "ib0"):
        (sys / f"class/net/{name}/device").mkdir()
    port = sys / "class/infiniband/mlx5_0/ports/1"
    write(port, state="4: ACTIVE", counters__port_xmit_data=0, counters__port_rcv_data=0)
    write(sys / "class/infiniband/mlx5_1/ports/1", state="1: DOWN", counters__port_xmit_data=0)
    write(sys, block__nvme0n1__device__x=1, block__loop0__y=1, block__sr0__device__x=1)

    def at(up: float, count: int) -> None:
        # Before the clock, which is read first.
        write(port, counters__port_xmit_data=count * 262144, counters__port_rcv_data=count * 524288)
        write(
            proc,
            stat=f"cpu  {count * 30} 0 {count * 10} {count * 50} {count * 10} 0 0 0 0 0\ncpu0 1\ncpu1 1",
            meminfo="MemTotal:       1048576 kB\nMemFree:         9 kB\nMemAvailable:    262144 kB",
            loadavg="12.50 1.00 0.50 3/900 12345",
            net__dev=f"Inter-|\n  eth0:{count * 1048576} 1 0 0 0 0 0 0 {count * 2097152} 1 0 0 0 0 0 0\n"
            f"docker0: {count * 99999999} 1 0 0 0 0 0 0 5 1 0 0 0 0 0 0",
            diskstats=f" 259 0 nvme0n1 1 0 {count * 2048} 0 1 0 {count * 6144} 0 0 0 0\n"
            f" 7 0 loop0 1 0 {count * 77} 0 1 0 0",
        )
        write(proc, uptime=f"{up} 1.0")

    at(1000, 1)
    with node.start(node.script(0.3, backend="none")) as channel:
        hello = channel.until("hello")
        assert hello["host"] == {"cpus": 2, "memory_total_mib": 1024, "nics": ["eth0"], "ib": ["mlx5_0/1"]}
        assert hello["unsupported"] == {}
        wanted = {0: 40, 1: 75, 2: 12.5, 3: 4, 4: 2, 5: 2, 6: 4, 7: 2, 8: 6}
        for step in range(1, 12):
            at(1000 + 2 * step, 1 + 4 * step)
            channel.until("t")
            # A tick in the middle of a change has mixed values; the others are right.
            rows = [message["h"] for message in channel.seen if message["k"] == "t"]
            missing = {place for place, value in wanted.items() if not any(row[place] == value for row in rows)}
            if not missing:
                break
    assert not missing, rows
