"""GPUs, NVSwitches and NICs in sysfs, and their PCIe error counters."""

from __future__ import annotations

from pathlib import Path

import pytest
from nvidia_replies import cmd, facts_of, file

from nodectl.facts.conform import ERRORS_KEY
from nodectl.model import Fact, FactState
from nodectl.probe.transcript import Section

BUS = cmd("ls -d /sys/bus/pci/devices", "/sys/bus/pci/devices\n")


def device(address: str, ids: str = "10DE:2335", klass: str = "30200", **files: str) -> str:
    """What grep -H prints of one device."""
    lines = [
        f"DRIVER={files.pop('driver', 'nvidia')}",
        f"PCI_CLASS={klass}",
        f"PCI_ID={ids}",
        "PCI_SUBSYS_ID=10DE:18BF",
    ]
    known = {
        "numa_node": "0", "current_link_speed": "32.0 GT/s PCIe", "max_link_speed": "32.0 GT/s PCIe",
        "current_link_width": "16", "max_link_width": "16", "enable": "1",
    } | files  # fmt: skip
    root = f"/sys/bus/pci/devices/{address}"
    return "".join(f"{root}/uevent:{line}\n" for line in lines) + "".join(f"{root}/{k}:{v}\n" for k, v in known.items())


def pci(text: str, *, virtual: str = "", stderr: str = "") -> dict[str, Fact]:
    return facts_of(
        "gpu_pci", [BUS, Section("text", "virtual functions", virtual), Section("grep", "files", text, stderr, 0)]
    )


def test_a_gpu_an_nvswitch_and_a_nic() -> None:
    text = device("0000:18:00.0") + device("0000:05:00.0", "10DE:22A3", "68000", driver="nvidia-nvswitch")
    facts = pci(text + device("0000:1a:00.0", "15B3:1021", "20700", driver="mlx5_core"))
    assert facts["gpu.pci"].value == [
        {
            "pci_bus_id": "0000:18:00.0", "pci_id": "10de:2335", "subsystem_id": "10de:18bf", "class": "0302",
            "driver": "nvidia", "virtual_function": False, "numa_node": 0, "link_speed_gts": 32.0,
            "link_speed_max_gts": 32.0, "link_width": 16, "link_width_max": 16, "enabled": True, "vendor": "nvidia",
        }
    ]  # fmt: skip
    assert facts["nvidia.pci_count"].value == 1
    assert facts["gpu.pci_ids"].value == ["10de:2335"]
    assert [row["pci_id"] for row in facts["nvswitch.pci"].value] == ["10de:22a3"]
    assert [row["class"] for row in facts["nic.pci"].value] == ["0207"]


def test_no_gpu_is_a_value() -> None:
    facts = facts_of("gpu_pci", [BUS, Section("text", "virtual functions", "")])
    assert facts["nvidia.pci_count"].value == 0
    assert facts["gpu.pci"].value == []


@pytest.mark.parametrize(
    ("files", "field"),
    [
        ({"numa_node": "-1"}, "numa_node"),
        ({"current_link_speed": "Unknown"}, "link_speed_gts"),
        ({"current_link_speed": "Unknown speed"}, "link_speed_gts"),
        ({"max_link_width": "255"}, "link_width_max"),
        ({"current_link_width": "63"}, "link_width"),
    ],
)
def test_what_sysfs_calls_unknown_is_none(files: dict[str, str], field: str) -> None:
    (row,) = pci(device("0000:18:00.0", **files))["gpu.pci"].value
    assert row[field] is None
    assert ERRORS_KEY not in row


def test_odd_values_are_errors_of_their_field() -> None:
    (row,) = pci(device("0000:18:00.0", current_link_speed="fast", current_link_width="x16"))["gpu.pci"].value
    assert (row["link_speed_gts"], row["link_width"]) == (None, None)
    assert set(row[ERRORS_KEY]) == {"link_speed_gts", "link_width"}


def test_a_file_that_cannot_be_read_is_an_error_and_a_missing_one_is_not() -> None:
    root = "/sys/bus/pci/devices/0000:18:00.0"
    text = "".join(line + "\n" for line in device("0000:18:00.0").splitlines() if "current_link" not in line)
    stderr = (
        f"grep: {root}/current_link_speed: Input/output error\n"
        f"grep: {root}/current_link_width: No such file or directory\n"
    )
    (row,) = pci(text, stderr=stderr)["gpu.pci"].value
    assert "Input/output error" in row[ERRORS_KEY]["link_speed_gts"]
    assert row["link_width"] is None
    assert "link_width" not in row[ERRORS_KEY]


def test_virtual_functions_have_no_link_of_their_own() -> None:
    text = device("0000:1a:00.1", "15B3:101E", "20700", current_link_speed="Unknown", current_link_width="0")
    (row,) = pci(text, virtual=" 0000:1a:00.1")["nic.pci"].value
    assert (row["virtual_function"], row["link_width"], row["link_speed_gts"]) == (True, None, None)


def test_gpu_with_no_driver_is_counted() -> None:
    root = "/sys/bus/pci/devices/0000:18:00.0"
    text = device("0000:18:00.0").replace(f"{root}/uevent:DRIVER=nvidia\n", "").replace("enable:1", "enable:0")
    facts = pci(text)
    assert facts["nvidia.pci_count"].value == 1
    assert (facts["gpu.pci"].value[0]["driver"], facts["gpu.pci"].value[0]["enabled"]) == (None, False)


def test_a_bus_that_cannot_be_looked_at_is_an_error() -> None:
    gone = cmd("ls -d /sys/bus/pci/devices", rc=2, stderr="ls: cannot access: No such file or directory\n")
    for sections in ([gone], []):
        assert all(fact.state is FactState.ERROR for fact in facts_of("gpu_pci", sections).values())
    half = Section("grep", "files", "/sys/bus/pci/devices/0000:18:00.0/numa_node:0\n")
    assert "0000:18:00.0" in facts_of("gpu_pci", [BUS, half])["nvidia.pci_count"].reason


def test_h200x8_in_a_virtual_machine(shared: Path) -> None:
    """The recording has single files; uevent is made of them as the kernel does."""
    text = ""
    for folder in sorted((shared / "recordings/h200x8/fs/pci").iterdir()):
        have = {path.name: path.read_text().strip() for path in folder.iterdir()}
        if have["vendor"] != "0x10de":
            continue
        text += device(
            folder.name,
            f"{have['vendor'][2:]}:{have['device'][2:]}".upper(),
            have["class"][2:].lstrip("0"),
            driver=have["driver"].rpartition("/")[2],
            **{name: have[name] for name in have if name.endswith(("speed", "width", "node", "enable"))},
        )
    facts = pci(text)
    assert facts["nvidia.pci_count"].value == 8
    assert {(row["numa_node"], row["link_speed_gts"], row["link_width"]) for row in facts["gpu.pci"].value} == {
        (None, 32.0, 16)
    }
    assert facts["nvswitch.pci"].value == []


GPU, BRIDGE = "0000:18:00.0", "0000:17:00.0"


def counters(gpu: int, bridge: int, fatal: int = 0) -> str:
    root = "/sys/bus/pci/devices"
    return "".join(
        f"{root}/{address}/aer_dev_correctable:TOTAL_ERR_COR {correctable}\n"
        f"{root}/{address}/aer_dev_nonfatal:TOTAL_ERR_NONFATAL 0\n"
        f"{root}/{address}/aer_dev_fatal:TOTAL_ERR_FATAL {fatal}\n"
        for address, correctable in ((GPU, gpu), (BRIDGE, bridge))
    )


def aer(first: str, second: str, *, seconds: float = 2.0) -> Fact:
    sections = [
        BUS,
        Section("text", "devices", f" {GPU}=gpu {BRIDGE}=bridge"),
        file("/proc/uptime", "100.00 1.0\n"),
        cmd("aer 1", first),
        cmd("aer 2", second),
        cmd("uptime 2", f"{100 + seconds:.2f} 9.0\n"),
    ]
    return facts_of("pcie_aer", sections)["pcie.aer"]


def test_rates_come_from_two_readings_and_the_nodes_clock() -> None:
    bridge, gpu = aer(counters(5, 70), counters(5, 80, fatal=1)).value
    assert gpu == {
        "pci_bus_id": GPU, "kind": "gpu", "correctable": 5, "nonfatal": 0, "fatal": 1, "correctable_per_min": 0.0,
        "uncorrectable_grew": True,
    }  # fmt: skip
    assert (bridge["kind"], bridge["correctable_per_min"]) == ("bridge", 300.0)


def test_a_rate_that_cannot_be_told_is_an_error() -> None:
    for fact in (
        aer(counters(5, 5), counters(6, 6), seconds=0.0),
        aer(counters(5, 5), counters(1, 1)),
        aer("", counters(1, 1)),
    ):
        for row in fact.value:
            assert row["correctable_per_min"] is None
            assert "correctable_per_min" in row[ERRORS_KEY]
    gone = aer(counters(5, 5), "").value[0]
    assert gone["correctable"] is None
    assert set(gone[ERRORS_KEY]) >= {"correctable", "nonfatal", "fatal"}


def test_no_counters_in_a_virtual_machine() -> None:
    assert facts_of("pcie_aer", [BUS, Section("text", "devices", "")])["pcie.aer"].state is FactState.ABSENT
    assert facts_of("pcie_aer", [])["pcie.aer"].state is FactState.ERROR


def test_gpus_of_every_vendor_are_counted_where_they_were_looked_for() -> None:
    text = device("0000:18:00.0") + device("0000:05:00.0", "1002:74A1", "120000", driver="amdgpu")
    text += device("0000:19:00.0", "1DA3:1060", "120000", driver="habanalabs")
    text += device("0000:29:00.0", "8086:0BD5", "38000", driver="i915")
    told = facts_of(
        "gpu_pci",
        [BUS, Section("text", "vendors", "nvidia amd habana intel"), Section("grep", "files", text, "", 0)],
    )
    names = ("nvidia.pci_count", "amd.pci_count", "gaudi.pci_count", "intel.pci_count", "gpu.pci_count")
    assert [told[name].value for name in names] == [1, 1, 1, 1, 4]
    assert told["gpu.vendors"].value == ["nvidia", "amd", "habana", "intel"]
    assert told["gpu.pci_ids"].value == ["10de:2335"]
    assert sorted(row["vendor"] for row in told["gpu.pci"].value) == ["amd", "habana", "intel", "nvidia"]


def test_a_transcript_of_before_other_vendors_says_nothing_of_them() -> None:
    facts = pci(device("0000:18:00.0"))
    for name in ("amd.pci_count", "gaudi.pci_count", "intel.pci_count", "gpu.pci_count", "gpu.vendors"):
        assert facts[name].state is FactState.ERROR
        assert "NVIDIA's GPUs only" in facts[name].reason
    assert facts["nvidia.pci_count"].value == 1
