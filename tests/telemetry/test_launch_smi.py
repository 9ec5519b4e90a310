"""The sampler for nodes without python3: nvidia-smi as it was recorded, in three shells and what awks there are."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from launch_kit import SHELLS, BareNode, recorded

from nodectl.telemetry.fields import FAST, GPU_FIELDS, HOST_FIELDS

FAST_NAMES = [field.name for field in GPU_FIELDS if field.beat == FAST]
SLOW_NAMES = [field.name for field in GPU_FIELDS if field.beat != FAST]
HOST_WIDTH = sum(field.beat == FAST for field in HOST_FIELDS)
RECORDINGS = (
    "h200x8/nvidia-smi-query-all.txt",
    "public/nvidia-smi-csv/nge-h100-590.48.01-idle.csv",
    "public/nvidia-smi-csv/nge-h100-mig-590.48.01-idle.csv",
    "public/nvidia-smi-csv/nge-rtx4080s-595.71.05-idle.csv",
)
H200 = RECORDINGS[0]


@pytest.fixture(params=SHELLS)
def node(request: pytest.FixtureRequest, tmp_path: Path) -> BareNode:
    return BareNode(request.param, tmp_path)


def values(tick: dict[str, Any], gpu: int) -> dict[str, Any]:
    return dict(zip(FAST_NAMES, tick["g"][gpu], strict=True))


def slow_values(slow: dict[str, Any], gpu: int) -> dict[str, Any]:
    return dict(zip(SLOW_NAMES, slow["g"][gpu], strict=True))


def is_full(message: dict[str, Any]) -> bool:
    return message["k"] == "t" and all(message["g"])


@pytest.mark.parametrize("recording", RECORDINGS)
def test_a_recorded_nvidia_smi_becomes_the_stream(node: BareNode, shared: Path, recording: str) -> None:
    data = recorded(shared / "recordings" / recording)
    node.smi(**data)
    with node.start(node.script()) as channel:
        hello = channel.until("hello")
        tick = channel.until(is_full)
        slow = channel.until("s")
    assert hello["backend"] == "smi"
    assert "no python3" in hello["why"]
    assert [gpu["uuid"] for gpu in hello["gpus"]] == [row[data["columns"].index("uuid")] for row in data["rows"]]
    assert len(tick["h"]) == HOST_WIDTH
    for number, row in enumerate(data["rows"]):
        cells = dict(zip(data["columns"], row, strict=False))
        assert hello["gpus"][number]["name"] == cells["name"]
        assert hello["gpus"][number]["memory_total_mib"] == int(cells["memory.total"])
        now = values(tick, number)
        assert now["power_w"] == float(cells["power.draw"])
        assert now["temperature_c"] == int(cells["temperature.gpu"])
        assert now["sm_clock_mhz"] == int(cells["clocks.current.sm"])
        assert now["clocks_event_reasons"] == int(cells["clocks_event_reasons.active"], 16)
        assert slow_values(slow, number)["power_limit_w"] == float(cells["enforced.power.limit"])
        assert slow_values(slow, number)["pcie_width"] == int(cells["pcie.link.width.current"])


def test_what_nvidia_smi_does_not_tell_is_null_with_a_reason(node: BareNode, shared: Path) -> None:
    node.smi(**recorded(shared / "recordings" / RECORDINGS[3]))
    with node.start(node.script()) as channel:
        hello = channel.until("hello")
        tick = values(channel.until(is_full), 0)
    assert tick["ecc_uncorrectable"] is None
    assert hello["unsupported"]["ecc_uncorrectable"] == "nvidia-smi says [N/A]"
    assert tick["pcie_tx_mib_s"] is None
    assert hello["unsupported"]["pcie_tx_mib_s"] == "nvidia-smi --query-gpu does not tell it"
    assert {name for name, value in tick.items() if value is None} <= set(hello["unsupported"])
    assert not {name for name, value in tick.items() if value is not None} & set(hello["unsupported"])


def test_fields_that_an_old_nvidia_smi_lacks_are_left_out(node: BareNode, shared: Path) -> None:
    data = recorded(shared / "recordings" / H200)
    new = {"gpu_recovery_action", "clocks_event_reasons.active", "temperature.gpu.tlimit"}
    names = [name for name in data["columns"] if name not in new] + ["clocks_throttle_reasons.active"]
    # The help promises one more than is taken.
    smi = node.smi(**data, help=names, refuse=["remapped_rows.failure", *new])
    with node.start(node.script()) as channel:
        hello = channel.until("hello")
        tick = values(channel.until(is_full), 0)
    assert hello["unsupported"]["recovery_action"] == "this nvidia-smi has no gpu_recovery_action"
    assert hello["unsupported"]["remap_failure"] == "this nvidia-smi has no remapped_rows.failure"
    assert "t_limit_margin_c" in hello["unsupported"]
    assert tick["clocks_event_reasons"] == 1
    assert tick["remap_failure"] is None
    assert tick["remapped_rows"] == 0
    assert not any("tlimit" in call for call in smi.calls)


def test_without_its_help_every_field_is_tried(node: BareNode, shared: Path) -> None:
    node.smi(**recorded(shared / "recordings" / H200), help=[], refuse=["temperature.gpu.tlimit", "temperature.memory"])
    with node.start(node.script()) as channel:
        hello = channel.until("hello")
    assert {"t_limit_margin_c", "temperature_memory_c"} <= set(hello["unsupported"])
    assert len(hello["gpus"]) == 8


def test_a_lost_gpu_is_an_event_and_comes_back(node: BareNode, shared: Path) -> None:
    data = recorded(shared / "recordings" / H200)
    smi = node.smi(**data)
    third = data["rows"][3][data["columns"].index("uuid")]
    with node.start(node.script()) as channel:
        channel.until(is_full)
        smi.change(lost={third: "[GPU is lost]"})
        event = channel.until("e")
        assert (event["what"], event["gpu"]) == ("lost", "3")
        tick = channel.until("t")
        assert tick["g"][3] is None
        assert all(tick["g"][:3])
        smi.change(lost={})
        event = channel.until("e")
        assert (event["what"], event["gpu"]) == ("back", "3")
        assert channel.until(is_full)["g"][3]


def test_a_gpu_whose_handle_is_gone_is_lost_and_the_others_go_on(node: BareNode, shared: Path) -> None:
    data = recorded(shared / "recordings" / H200)
    smi = node.smi(**data)
    second = data["rows"][1][data["columns"].index("uuid")]
    with node.start(node.script()) as channel:
        channel.until(is_full)
        smi.change(lost={second: "handle"}, end_after=1)
        event = channel.until("e")
        assert (event["what"], event["gpu"]) == ("lost", "1")
        assert "Unknown Error" in event["text"]
        tick = channel.until(lambda m: m["k"] == "t" and m["g"][7] is not None, 40)
        assert tick["g"][1] is None


def test_an_unknown_error_in_one_cell_is_null_for_now(node: BareNode, shared: Path) -> None:
    data = recorded(shared / "recordings" / H200)
    smi = node.smi(**data)
    with node.start(node.script()) as channel:
        hello = channel.until("hello")
        channel.until(is_full)
        data["rows"][2][data["columns"].index("power.draw")] = "[Unknown Error]"
        smi.change(rows=data["rows"])
        tick = channel.until(lambda m: is_full(m) and values(m, 2)["power_w"] is None)
        assert values(tick, 2)["temperature_c"] is not None
        assert "power_w" not in hello["unsupported"]


def test_hostile_names_are_valid_json(node: BareNode, shared: Path) -> None:
    data = recorded(shared / "recordings" / H200)
    name = 'H200 "x", \\ \x1b[31m\x07\x7f\t\u202e \u00e9 $(reboot) `id`'
    data["rows"] = data["rows"][:2]
    for row in data["rows"]:
        row[data["columns"].index("name")] = name
        row[data["columns"].index("driver_version")] = '5"8\\0'
        row[data["columns"].index("power.draw")] = "9" * 400
        row[data["columns"].index("temperature.gpu")] = "0x41"
        row[data["columns"].index("clocks.current.sm")] = "007"
        row[data["columns"].index("utilization.gpu")] = "nan"
    uuid = data["rows"][0][data["columns"].index("uuid")]
    apps = [f'{uuid}, 1, 10, /x/"a\\b\x01 , c', f"{uuid}, 1; rm, 10, y", "@eof", "@h", f'{uuid}, 2, [N/A], "']
    node.smi(**data, apps=apps)
    with node.start(node.script()) as channel:
        hello = channel.until("hello")
        tick = values(channel.until(is_full), 0)
        slow = channel.until(lambda m: m["k"] == "s" and m["p"])
        channel.until("t")
    assert hello["gpus"][0]["name"].startswith('H200 "x", \\ ?[31m???')
    assert (tick["power_w"], tick["temperature_c"], tick["gpu_util_pct"], tick["sm_clock_mhz"]) == (None, None, None, 7)
    assert [row[:2] for row in slow["p"]] == [["0", 1], ["0", 2]]
    assert slow["p"][0][3].startswith('"a\\b')
    assert slow["p"][1][4] is None


def test_processes_have_user_and_job(node: BareNode, shared: Path) -> None:
    import os
    import pwd

    data = recorded(shared / "recordings" / H200)
    uuid = data["rows"][5][data["columns"].index("uuid")]
    node.smi(**data, apps=[f"{uuid}, {os.getpid()}, 2296, /root/tools/memhog", f"{uuid}, 4194303, 5, [Not Found]"])
    with node.start(node.script()) as channel:
        slow = channel.until(lambda m: m["k"] == "s" and m["p"])
    mine, other = slow["p"]
    assert mine[:6] == ["5", os.getpid(), pwd.getpwuid(os.getuid()).pw_name, "memhog", 2296, "C"]
    assert other[:6] == ["5", 4194303, "", "", 5, "C"]


def test_a_driver_that_does_not_answer_leaves_the_host(node: BareNode, shared: Path) -> None:
    data = recorded(shared / "recordings" / H200)
    words = "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver."
    node.smi(**data, fail=words)
    with node.start(node.script()) as channel:
        hello = channel.until("hello")
        tick = channel.until(lambda m: m["k"] == "t" and m["h"][0] is not None)
    assert (hello["backend"], hello["gpus"]) == ("none", [])
    assert words in hello["why"]
    assert tick["g"] == []


def test_an_nvidia_smi_that_hangs_in_the_middle_is_said_and_the_host_goes_on(node: BareNode, shared: Path) -> None:
    smi = node.smi(**recorded(shared / "recordings" / H200))
    with node.start(node.script()) as channel:
        channel.until(is_full)
        smi.change(hang=True)
        event = channel.until("e")
        assert event["what"] == "error"
        assert "said nothing" in event["text"]
        blind = channel.until("t")
        assert blind["g"] == [None] * 8
        assert blind["h"][1] is not None
        smi.change(hang=False)
        assert channel.until(is_full)


def test_numbers_of_messages_rise_and_ticks_keep_the_interval(node: BareNode, shared: Path) -> None:
    node.smi(**recorded(shared / "recordings" / H200))
    with node.start(node.script(0.1)) as channel:
        channel.until(is_full)
        for _ in range(15):
            channel.until("t")
    ticks = [message for message in channel.seen if message["k"] == "t"]
    numbers = [message["n"] for message in channel.seen if "n" in message]
    assert numbers == sorted(set(numbers))
    assert 0.09 < (ticks[-1]["t"] - ticks[1]["t"]) / (len(ticks) - 2) < 0.3


@pytest.mark.parametrize("awk", ["gawk", "original-awk"])
def test_other_awks(awk: str, tmp_path: Path, shared: Path) -> None:
    found = shutil.which(awk)
    if found is None:
        pytest.skip(f"{awk} is not installed: apt install {awk}")
    node = BareNode("dash", tmp_path, awk=found)
    node.smi(**recorded(shared / "recordings" / H200))
    with node.start(node.script()) as channel:
        assert channel.until("hello")["backend"] == "smi"
        assert channel.until(is_full)["h"][1] is not None
        channel.until("s")
        channel.close()
        assert channel.rest()[-1]["k"] == "bye"
