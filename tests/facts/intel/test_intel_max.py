"""Intel Data Center GPUs: xpu-smi's lists and boxes, the driver's files, and what is said when they are not there."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from replies import cmd, facts_of, grep, said

from nodectl.model import Fact, FactState
from nodectl.probe.transcript import Section

NAMES = (
    "gpu.devices", "gpu.count", "gpu.models", "intel.count", "intel.tool", "intel.smi_error", "intel.firmware_versions",
)  # fmt: skip
BUS = cmd("ls -d /sys/bus/pci/devices", "/sys/bus/pci/devices\n")
ADDRESS = "0000:4d:00.0"
DUMP = f"""Device ID,Device Name,UUID,Serial Number,Driver Version,GFX Firmware Version,PCI BDF Address,PCIe \
Generation,PCIe Max Link Width,OAM Socket ID,Memory Physical Size
0,"Intel(R) Data Center GPU Max 1550","00000000-0000-004d-0000-002f0bd58086","LQAC20305316","I915_24.2.17",\
"PVC2_1.23374","{ADDRESS}","5","16","0x00000001","131072.00 MiB"
"""
HEALTH = """+------------------------------+-------------------------------------------------------------------+
| Device ID                    | 0                                                                 |
+------------------------------+-------------------------------------------------------------------+
| 1. GPU Core Temperature      | Status: Ok                                                        |
|                              | Description: All temperature sensors are healthy.                 |
|                              | Throttle Threshold: 105 Celsius Degree                            |
+------------------------------+-------------------------------------------------------------------+
| 5. Xe Link Port              | Status: Critical                                                  |
|                              | Description: Port 3 is down.                                      |
+------------------------------+-------------------------------------------------------------------+
"""
STATS = """+-----------------------------+--------------------------------------------------------------------+
| Device ID                   | 0                                                                  |
+-----------------------------+--------------------------------------------------------------------+
| GPU Utilization (%)         | Tile 0: 3; Tile 1: 9                                               |
| Reset                       | Tile 0: 0, total: 0; Tile 1: 0, total: 0                           |
| Cache Errors Uncorrectable  | Tile 0: 0; Tile 1: 1                                               |
| Mem Errors Uncorrectable    | Tile 0: 2; Tile 1: 0                                               |
| GPU Power (W)               | Tile 0: 140; Tile 1: 150                                           |
| GPU Core Temperature (C)    | Tile 0: 41; Tile 1: 44                                             |
| GPU Memory Used (MiB)       | Tile 0: 24; Tile 1: 24                                             |
+-----------------------------+--------------------------------------------------------------------+
"""
DEVICE = f"/sys/bus/pci/devices/{ADDRESS}"
FILES = {
    f"{DEVICE}/uevent": "DRIVER=i915\nPCI_ID=8086:0BD5",
    f"{DEVICE}/drm/card1/lmem_total_bytes": "137438953472",
    f"{DEVICE}/drm/card1/gt/gt0/error_counter/fatal_guc": "0",
    f"{DEVICE}/drm/card1/gt/gt0/error_counter/correctable_guc": "1",
    f"{DEVICE}/drm/card1/gt/gt1/error_counter/fatal_guc": "1",
}


def node(*sections: Section, files: dict[str, str] | None = None) -> list[Section]:
    return [BUS, said("Intel GPUs", ADDRESS), grep(FILES if files is None else files), *sections]


def facts(sections: list[Section]) -> dict[str, Fact]:
    return facts_of("intel_gpu", sections, *NAMES)


def test_a_node_without_such_a_gpu_has_none_of_it() -> None:
    for fact in facts([BUS, said("Intel GPUs", "")]).values():
        assert (fact.state, fact.reason) == (FactState.ABSENT, "there is no Intel Data Center GPU")


def test_the_drivers_files_alone_tell_the_gpus() -> None:
    told = facts(node(cmd("xpu-smi discovery --dump", "", "sh: xpu-smi: not found", 127)))
    assert told["intel.tool"].value == "sysfs"
    assert told["intel.smi_error"].state is FactState.ABSENT
    assert told["gpu.devices"].value == [
        {
            "vendor": "intel", "index": 0, "pci_bus_id": ADDRESS, "pci_id": "8086:0bd5", "memory_total_mib": 131072,
            "ecc_uncorrectable_volatile": 1, "ecc_correctable_volatile": 1,
        }
    ]  # fmt: skip


def test_xpu_smi_with_two_tiles() -> None:
    told = facts(
        node(
            cmd("xpu-smi discovery --dump", DUMP),
            cmd("xpu-smi health -l", HEALTH),
            cmd(f"xpu-smi stats -d {ADDRESS}", STATS),
        )
    )
    assert told["intel.tool"].value == "xpu-smi"
    assert told["gpu.models"].value == ["Intel(R) Data Center GPU Max 1550"]
    assert told["intel.firmware_versions"].value == ["PVC2_1.23374"]
    (row,) = told["gpu.devices"].value
    wanted = {
        "name": "Intel(R) Data Center GPU Max 1550", "serial": "LQAC20305316", "pcie_gen_max": 5, "pcie_width_max": 16,
        "memory_total_mib": 131072, "power_draw_w": 290.0, "temperature_c": 44, "memory_used_mib": 48,
        "gpu_utilization_pct": 9, "resets": 0, "health": {"core_temperature": "Ok", "xe_link_port": "Critical"},
    }  # fmt: skip
    assert {name: row[name] for name in wanted} == wanted
    # What the driver's files count stands where both do.
    assert row["ecc_uncorrectable_volatile"] == 1


@pytest.mark.parametrize(
    ("section", "says"),
    [
        (cmd("xpu-smi discovery --dump", "", "", 124), "did not end in its time"),
        (cmd("xpu-smi discovery --dump", "Error: Level Zero Initialization Error\n", "", 1), "Level Zero"),
        (cmd("xpu-smi discovery --dump", DUMP[:300]), "a row of"),
    ],
)
def test_a_tool_that_fails_is_said_and_the_files_stand(section: Section, says: str) -> None:
    told = facts(node(section))
    assert says in told["intel.smi_error"].value
    assert told["gpu.count"].value == 1


def test_a_gpu_that_no_driver_has_is_not_counted() -> None:
    told = facts(node(files={f"{DEVICE}/uevent": "PCI_ID=8086:0BD5"}))
    assert told["gpu.count"].value == 0


def test_recorded_boxes(shared: Path) -> None:
    folder = shared / "recordings" / "public" / "xpu-smi"
    told = facts(
        node(
            cmd("xpu-smi discovery --dump", DUMP),
            cmd(f"xpu-smi stats -d {ADDRESS}", (folder / "intel-30-xpu-smi-stats-d-0.txt").read_text()),
            cmd(
                f"xpu-smi discovery -d {ADDRESS}",
                (folder / "intel-05-xpu-smi-discovery-d-0000-4d-00-0.txt").read_text(),
            ),
            files={f"{DEVICE}/uevent": "DRIVER=i915\nPCI_ID=8086:0BD5"},
        )
    )
    (row,) = told["gpu.devices"].value
    wanted = {
        "power_draw_w": 15.0, "temperature_c": 41, "temperature_memory_c": None, "ecc_uncorrectable_volatile": 0,
        "ecc_current": True, "tiles": 2, "xe_link_ports": 16, "resets": 0, "memory_used_mib": 24,
    }  # fmt: skip
    assert {name: row[name] for name in wanted} == wanted
    assert "_errors" not in row


@given(st.text(max_size=300), st.text(max_size=300))
def test_no_text_makes_it_raise(one: str, other: str) -> None:
    names = ("discovery --dump", "health -l", f"stats -d {ADDRESS}", f"discovery -d {ADDRESS}")
    facts(node(*(cmd(f"xpu-smi {name}", text) for name, text in zip(names, (one, other, other, one), strict=True))))
