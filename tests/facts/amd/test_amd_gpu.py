"""AMD GPUs: amd-smi's forms by version, rocm-smi, the driver's files, and what is said when one is not there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from replies import cmd, facts_of, grep, no_file, said

from nodectl.facts.amd import smi, sysfs, values
from nodectl.facts.amd.values import UnreadableError
from nodectl.facts.gather import gather
from nodectl.model import Fact, FactState, Node
from nodectl.probe.transcript import Section, write_transcript

NAMES = (
    "gpu.devices", "gpu.count", "gpu.models", "amd.count", "amd.tool", "amd.smi_error", "amd.driver_version",
    "amd.rocm_version", "amd.vbios_versions", "amd.firmware", "amd.compute_partitions", "amd.memory_partitions",
    "amd.device_nodes",
)  # fmt: skip
BUS = cmd("ls -d /sys/bus/pci/devices", "/sys/bus/pci/devices\n")
ADDRESSES = ("0000:05:00.0", "0000:26:00.0")
STATIC, METRIC = "amd-smi static --json", "amd-smi metric -u -p -t -e -P --json"
LINKS, ROCM_SMI = "amd-smi xgmi -l --json", "rocm-smi --json"
NODES = """crw-rw---- 1 0 992 509, 0 Nov 20 10:00 /dev/kfd

/dev/dri:
total 0
drwxr-xr-x 2 0  0      80 Nov 20 10:00 by-path
crw-rw---- 1 0 44 226,  0 Nov 20 10:00 card0
crw-rw---- 1 0 992 226, 128 Nov 20 10:00 renderD128
crw-rw-rw- 1 0 992 226, 129 Nov 20 10:00 renderD129
"""


def sysfs_files(address: str, **other: str) -> dict[str, str]:
    """The driver's files of an MI300X, as nd_grep sends them."""
    root = f"/sys/bus/pci/devices/{address}"
    files = {
        "uevent": "DRIVER=amdgpu\nPCI_ID=1002:74A1",
        "mem_info_vram_total": "206141652992",
        "mem_info_vram_used": "297152512",
        "vbios_version": "113-M3000100-102",
        "current_compute_partition": "SPX",
        "current_memory_partition": "NPS1",
        "gpu_busy_percent": "0",
        "pcie_replay_count": "0",
        "current_link_speed": "32.0 GT/s PCIe",
        "max_link_speed": "32.0 GT/s PCIe",
        "current_link_width": "16",
        "max_link_width": "16",
        "xgmi_hive_info/xgmi_hive_id": "1234567890123",
        "ras/umc_err_count": "ue: 0\nce: 3\nde: 1",
        "ras/gfx_err_count": "ue: 0\nce: 0\nde: 0",
        "ras/gpu_vram_bad_pages": "",
        "fw_version/mec_fw_version": "0x0000009e",
        "fw_version/vce_fw_version": "0x00000000",
        "hwmon/hwmon4/power1_average": "139000000",
        "hwmon/hwmon4/power1_cap": "750000000",
        "hwmon/hwmon4/power1_cap_default": "750000000",
        "hwmon/hwmon4/power1_cap_max": "750000000",
        "hwmon/hwmon4/temp2_label": "junction",
        "hwmon/hwmon4/temp2_input": "41000",
        "hwmon/hwmon4/temp2_crit": "100000",
        "hwmon/hwmon4/temp2_emergency": "105000",
        "hwmon/hwmon4/temp3_label": "mem",
        "hwmon/hwmon4/temp3_input": "34000",
        "hwmon/hwmon4/temp3_crit": "105000",
    }
    return {f"{root}/{name}": text for name, text in {**files, **other}.items()}


def node(*tools: Section, files: dict[str, str] | None = None, addresses: tuple[str, ...] = ADDRESSES) -> list[Section]:
    if files is None:
        files = {path: text for address in addresses for path, text in sysfs_files(address).items()}
    return [
        BUS,
        said("AMD GPUs", " ".join(addresses)),
        grep(files),
        no_file("/sys/module/amdgpu/version")
        if not tools
        else Section("file", "/sys/module/amdgpu/version", "6.12.12\n"),
        Section("file", "/opt/rocm/.info/version", "6.4.1-83\n"),
        cmd("ls -ln /dev/kfd /dev/dri", NODES),
        *tools,
    ]


def gpu_static(number: int, address: str) -> dict[str, Any]:
    return {
        "gpu": number,
        "asic": {"market_name": "AMD Instinct MI300X", "oam_id": 3, "target_graphics_version": "gfx942"},
        "bus": {"bdf": address, "max_pcie_width": 16, "max_pcie_speed": {"value": 32, "unit": "GT/s"}},
        "vbios": {"part_number": "113-M3000100-102", "version": "022.040.003.042.000001"},
        "limit": {
            "max_power": {"value": 750, "unit": "W"},
            "socket_power": {"value": 600, "unit": "W"},
            "slowdown_hotspot_temperature": {"value": 100, "unit": "C"},
        },
        "board": {"product_serial": "692251001122", "model_number": "102-G30211-0C"},
        "ras": {"ecc_block_state": {"UMC": "ENABLED"}},
        "partition": {"compute_partition": "SPX", "memory_partition": "NPS1"},
        "vram": {"size": {"value": 196592, "unit": "MB"}},
    }


def gpu_metric(number: int) -> dict[str, Any]:
    return {
        "gpu": number,
        "usage": {"gfx_activity": {"value": 97, "unit": "%"}},
        "power": {"socket_power": {"value": 612, "unit": "W"}},
        "temperature": {"edge": "N/A", "hotspot": {"value": 71, "unit": "C"}, "mem": {"value": 60, "unit": "C"}},
        "ecc": {"total_correctable_count": 0, "total_uncorrectable_count": 2, "total_deferred_count": 0},
        "pcie": {"width": 16, "speed": {"value": 32, "unit": "GT/s"}, "replay_count": 7},
    }


def links(*states: str) -> dict[str, Any]:
    return {"link_status": [{"gpu": 0, "bdf": ADDRESSES[0], "link_status": list(states)}]}


def smi_sections(static: Any, metric: Any, link: Any = None) -> list[Section]:
    sections = [cmd(STATIC, json.dumps(static)), cmd(METRIC, json.dumps(metric))]
    return [*sections, cmd(LINKS, json.dumps(link)) if link is not None else cmd(LINKS, "", "no such option", 2)]


def facts(sections: list[Section]) -> dict[str, Fact]:
    return facts_of("amd_gpu", sections, *NAMES)


def test_a_node_without_such_a_gpu_has_none_of_it() -> None:
    for fact in facts([BUS, said("AMD GPUs", "")]).values():
        assert fact.state is FactState.ABSENT
        assert fact.reason == "there is no AMD Instinct GPU"


def test_a_bus_that_cannot_be_listed_is_an_error() -> None:
    lost = cmd("ls -d /sys/bus/pci/devices", "", "ls: cannot access: No such file or directory", 2)
    for fact in facts([lost, said("AMD GPUs", "")]).values():
        assert fact.state is FactState.ERROR


def test_the_drivers_files_alone_tell_the_gpus() -> None:
    told = facts(node())
    assert told["gpu.count"].value == told["amd.count"].value == 2
    assert told["amd.tool"].value == "sysfs"
    assert told["amd.smi_error"].state is told["amd.driver_version"].state is FactState.ABSENT
    assert told["amd.rocm_version"].value == "6.4.1"
    row = told["gpu.devices"].value[0]
    assert row == {
        "vendor": "amd", "index": 0, "pci_bus_id": ADDRESSES[0], "pci_id": "1002:74a1",
        "memory_total_mib": 196592, "memory_used_mib": 283,
        "vbios_version": "113-M3000100-102", "compute_partition": "SPX", "memory_partition": "NPS1",
        "gpu_utilization_pct": 0, "pcie_replays": 0, "pcie_gen_current": 5, "pcie_gen_max": 5,
        "pcie_width_current": 16, "pcie_width_max": 16, "xgmi_hive_id": "1234567890123", "temperature_c": 41,
        "temperature_slowdown_c": 100, "temperature_shutdown_c": 105, "temperature_memory_c": 34,
        "temperature_memory_max_operating_c": 105, "power_draw_w": 139.0, "power_limit_w": 750.0,
        "power_default_limit_w": 750.0, "power_max_limit_w": 750.0, "ecc_uncorrectable_volatile": 0,
        "ecc_correctable_volatile": 3, "ecc_deferred_volatile": 1, "ecc_current": True, "bad_pages_retired": 0,
        "bad_pages_pending": 0, "bad_pages_unreservable": 0, "firmware": {"mec": "0x0000009e"},
    }  # fmt: skip


@pytest.mark.parametrize("wrapped", [False, True], ids=["before ROCm 7", "ROCm 7"])
@pytest.mark.parametrize("warning", ["", "WARNING: User is missing the following required groups: render\n\n"])
def test_amd_smi_counts_and_the_files_fill_in(wrapped: bool, warning: str) -> None:
    static: Any = [gpu_static(number, address) for number, address in enumerate(ADDRESSES)]
    metric: Any = [gpu_metric(number) for number in range(2)]
    if wrapped:
        static, metric = {"gpu_data": static}, {"gpu_data": metric}
    sections = [cmd(STATIC, warning + json.dumps(static)), cmd(METRIC, warning + json.dumps(metric))]
    told = facts(node(*sections, cmd(LINKS, json.dumps(links("SELF", "U", "D", "X")))))
    assert told["amd.tool"].value == "amd-smi"
    assert told["amd.smi_error"].state is FactState.ABSENT
    assert told["gpu.models"].value == ["AMD Instinct MI300X"]
    first, second = told["gpu.devices"].value
    wanted = {
        "index": 0, "name": "AMD Instinct MI300X", "power_limit_w": 600.0, "power_default_limit_w": 750.0,
        "temperature_c": 71, "ecc_uncorrectable_volatile": 2, "pcie_replays": 7, "gpu_utilization_pct": 97,
        "gfx_version": "gfx942", "module_id": 3, "serial": "692251001122", "xgmi_links_up": 1, "xgmi_links_down": 1,
        "xgmi_links_disabled": 1, "bad_pages_retired": 0,
    }  # fmt: skip
    assert {name: first[name] for name in wanted} == wanted
    assert second["index"] == 1
    assert "xgmi_links_up" not in second


def test_limits_of_rocm_7() -> None:
    record = gpu_static(0, ADDRESSES[0])
    record["limit"] = {"ppt0": {"socket_power_limit": {"value": 1000, "unit": "W"}}, "ppt1": "N/A"}
    assert smi.static_rows([record])[ADDRESSES[0]]["power_limit_w"] == 1000.0


def test_partitions_of_a_gpu_are_not_counted_as_gpus() -> None:
    static = [gpu_static(number, address) for number, address in enumerate((ADDRESSES[0], "0000:05:00.1"))]
    told = facts(node(*smi_sections(static, []), addresses=ADDRESSES[:1]))
    assert told["gpu.count"].value == 1


@pytest.mark.parametrize(
    ("section", "says"),
    [
        (cmd(STATIC, "", "", 124), "did not end in its time"),
        (cmd(STATIC, "AMDSMI_STATUS_DRIVER_NOT_LOADED", "", 1), "AMDSMI_STATUS_DRIVER_NOT_LOADED"),
        (cmd(STATIC, '[{"gpu": 0, "asic"'), "its JSON cannot be read"),
        (cmd(STATIC, "no GPU"), "it printed no JSON"),
        (cmd(STATIC, '[{"gpu": 0}]'), "does not say which device"),
    ],
)
def test_a_tool_that_fails_is_said_and_the_files_stand(section: Section, says: str) -> None:
    told = facts(node(section, cmd(METRIC, "[]"), cmd(LINKS, "[]")))
    assert says in told["amd.smi_error"].value
    assert told["gpu.count"].value == 2
    assert told["amd.tool"].value == "sysfs"


def test_a_gpu_that_no_driver_has_is_not_counted() -> None:
    files = sysfs_files(ADDRESSES[0]) | sysfs_files(ADDRESSES[1], uevent="DRIVER=vfio-pci")
    assert facts(node(files=files))["gpu.count"].value == 1


def test_bad_pages_by_what_became_of_them() -> None:
    pages = (
        "0x00000001 : 0x00001000 : R\n0x00000002 : 0x00001000 : R\n0x000000aa : 0x00001000 : P\n0xb : 0x00001000 : F"
    )
    row = sysfs.device_row({"ras/gpu_vram_bad_pages": pages})
    assert [row[f"bad_pages_{name}"] for name in ("retired", "pending", "unreservable")] == [2, 1, 1]
    row = sysfs.device_row({"ras/gpu_vram_bad_pages": "garbage"})
    assert row["bad_pages_retired"] is None
    assert "garbage" in row["_errors"]["bad_pages_retired"]


def test_device_nodes() -> None:
    rows = facts(node())["amd.device_nodes"].value
    assert [row["path"] for row in rows] == ["/dev/kfd", "/dev/dri/renderD128", "/dev/dri/renderD129"]
    assert [row["all_access"] for row in rows] == [False, False, True]
    assert all(row["group_access"] and row["gid"] == 992 for row in rows)


def test_two_vendors_in_one_node() -> None:
    xml = (Path(__file__).parents[1] / "recordings" / "h200-two-gpus.xml").read_text()
    transcript = write_transcript({"nvidia_smi_q": [cmd("nvidia-smi -q -x", xml)], "amd_gpu": node()})
    told = gather(transcript, ["gpu.count", "gpu.devices", "gpu.models"], Node(name="mixed"))
    assert told["gpu.count"].value == 4
    assert [row["vendor"] for row in told["gpu.devices"].value] == ["nvidia", "nvidia", "amd", "amd"]


def test_recorded_rocm_smi(shared: Path) -> None:
    for path in sorted((shared / "recordings" / "public" / "rocm-smi-json").glob("*.json")):
        rows = smi.rocm_smi_rows(json.loads(path.read_text()))
        assert rows, path.name
        for row in rows.values():
            assert row["memory_total_mib"] > 7000, (path.name, row)
            assert row["temperature_c"] is not None, path.name
    rows = smi.rocm_smi_rows(
        json.loads((shared / "recordings/public/rocm-smi-json/telegraf-mi100_rocm571.json").read_text())
    )
    assert len(rows) == 6
    first = rows["0000:1e:00.0"]
    assert (first["temperature_c"], first["power_draw_w"], first["power_limit_w"]) == (34, 39.0, 290.0)
    assert (first["memory_total_mib"], first["memory_used_mib"]) == (32752, 6)


@pytest.mark.parametrize(
    ("value", "number"),
    [
        ("750 W", 750.0),
        ({"value": 41.5, "unit": "C"}, 41.5),
        ("100 °C", 100.0),
        ("N/A", None),
        (65535, None),
        (None, None),
    ],
)
def test_numbers(value: Any, number: float | None) -> None:
    assert values.number(value) == number


@pytest.mark.parametrize("value", ["12 monkeys and more", [1], True, "0x1"])
def test_what_is_no_number(value: Any) -> None:
    with pytest.raises(UnreadableError):
        values.number(value)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(
        st.sampled_from(("gpu", "bus", "bdf", "asic", "limit", "ras", "value", "gpu_data", "link_status", "card0",
                         "PCI Bus")),
        inner, max_size=5,
    ),
    max_leaves=20,
)  # fmt: skip


@given(_JSON, _JSON, _JSON)
def test_no_document_makes_it_raise_or_lose_a_gpu_of_the_files(static: Any, metric: Any, link: Any) -> None:
    told = facts(node(*smi_sections(static, metric, link)))
    assert told["gpu.count"].value == 2
    told = facts(node(cmd(ROCM_SMI, json.dumps(static))))
    assert told["gpu.count"].value == 2


@given(st.dictionaries(st.sampled_from(sorted(sysfs_files("0000:05:00.0"))), st.text(max_size=40)))
def test_no_content_of_files_makes_it_raise(files: dict[str, str]) -> None:
    short = {path.split("/", 6)[-1].partition("/")[2] or path: text for path, text in files.items()}
    row = sysfs.device_row(short)
    assert isinstance(row, dict)
    facts(node(files=files))
