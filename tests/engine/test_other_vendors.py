"""Whole nodes of other vendors, and of two: NVIDIA's checks leave them alone, and their own find what is wrong."""

from __future__ import annotations

import functools
import json
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from nodectl.catalogue import Catalogue
from nodectl.demo.recording import Recording
from nodectl.engine import catalogue_for_run
from nodectl.engine.evaluate import evaluate_check
from nodectl.facts.gather import gather
from nodectl.model import Finding, Node, Outcome
from nodectl.probe.__main__ import run_source
from nodectl.probe.compose import SOURCES_DIR, load_sources
from nodectl.probe.transcript import Section, Transcript, write_transcript

BUS = Section("cmd", "ls -d /sys/bus/pci/devices", "/sys/bus/pci/devices\n", "", 0)
PCI = "/sys/bus/pci/devices"
AMD = [f"0000:{bus:02x}:00.0" for bus in (0x05, 0x26, 0x46, 0x65, 0x85, 0xA6, 0xC6, 0xE5)]


def _grep(files: Mapping[str, str]) -> Section:
    lines = [f"{path}:{line}" for path, text in files.items() for line in text.split("\n")]
    return Section("grep", "files", "\n".join(lines) + "\n", "", 0)


def bus_files(addresses: Sequence[str], driver: str, pci_id: str, pci_class: str) -> dict[str, str]:
    files: dict[str, str] = {}
    for address in addresses:
        files[f"{PCI}/{address}/uevent"] = f"DRIVER={driver}\nPCI_CLASS={pci_class}\nPCI_ID={pci_id}"
        files[f"{PCI}/{address}/numa_node"] = "0"
        files[f"{PCI}/{address}/current_link_speed"] = files[f"{PCI}/{address}/max_link_speed"] = "32.0 GT/s PCIe"
        files[f"{PCI}/{address}/current_link_width"] = files[f"{PCI}/{address}/max_link_width"] = "16"
        files[f"{PCI}/{address}/enable"] = "1"
    return files


def amd_files(addresses: Sequence[str]) -> dict[str, str]:
    files = {}
    for address in addresses:
        for name, text in {
            "uevent": "DRIVER=amdgpu\nPCI_ID=1002:74A1",
            "mem_info_vram_total": "206141652992",
            "vbios_version": "113-M3000100-102",
            "current_compute_partition": "SPX",
            "current_memory_partition": "NPS1",
            "gpu_busy_percent": "0",
            "current_link_speed": "32.0 GT/s PCIe",
            "max_link_speed": "32.0 GT/s PCIe",
            "xgmi_hive_info/xgmi_hive_id": "12345",
            "ras/umc_err_count": "ue: 0\nce: 0",
            "ras/gpu_vram_bad_pages": "",
            "fw_version/mec_fw_version": "0x0000009e",
            "hwmon/hwmon4/power1_cap": "750000000",
            "hwmon/hwmon4/power1_cap_default": "750000000",
            "hwmon/hwmon4/temp2_label": "junction",
            "hwmon/hwmon4/temp2_input": "41000",
            "hwmon/hwmon4/temp2_crit": "100000",
        }.items():
            files[f"{PCI}/{address}/{name}"] = text
    return files


def amd_gpu(addresses: Sequence[str], links: str = "U") -> list[Section]:
    static = [
        {"gpu": n, "asic": {"market_name": "AMD Instinct MI300X"}, "bus": {"bdf": a}} for n, a in enumerate(addresses)
    ]
    states = [
        {"gpu": n, "bdf": a, "link_status": ["SELF" if n == m else links for m in range(len(addresses))]}
        for n, a in enumerate(addresses)
    ]
    nodes = "crw-rw---- 1 0 992 509, 0 Nov 20 10:00 /dev/kfd\n" + "".join(
        f"crw-rw---- 1 0 992 226, {128 + n} Nov 20 10:00 renderD{128 + n}\n" for n in range(len(addresses))
    )
    return [
        BUS,
        Section("text", "AMD GPUs", " ".join(addresses)),
        _grep(amd_files(addresses)),
        Section("file", "/sys/module/amdgpu/version", "6.8.5\n", "", 0),
        Section("file", "/opt/rocm/.info/version", "6.2.4-139\n", "", 0),
        Section("cmd", "ls -ln /dev/kfd /dev/dri", nodes, "", 0),
        Section("cmd", "amd-smi static --json", json.dumps(static), "", 0),
        Section("cmd", "amd-smi metric -u -p -t -e -P --json", json.dumps([]), "", 0),
        Section("cmd", "amd-smi xgmi -l --json", json.dumps({"link_status": states}), "", 0),
    ]


@functools.cache
def without_nvidia() -> dict[str, Any]:
    """What NVIDIA's sources answer where nothing of NVIDIA is: on the machine of the test."""
    if Path("/proc/driver/nvidia").exists() or shutil.which("nvidia-smi") or sys.platform != "linux":
        pytest.skip("this machine has NVIDIA's driver or tools")
    specs = load_sources()
    return {path.stem: run_source(specs[path.stem], [], shell=["sh"]) for path in SOURCES_DIR.glob("nvidia/*.sh")}


def node(changed: Mapping[str, Sequence[Section]], gpu_pci: Mapping[str, str], *, nvidia: bool = False) -> Transcript:
    """The demo's healthy node with other GPUs; without `nvidia` its own are taken out."""
    base = Recording.load()
    wanted = tuple(load_sources())
    recorded = Transcript(node="base", nonce="0" * 32, wire=base.wire("0" * 32, wanted), wanted=wanted)
    replies: dict[str, Any] = {name: reply for name, reply in recorded.sources.items() if reply.state == "ok"}
    if not nvidia:
        replies.update(without_nvidia())
    old = next(section.text for section in replies["gpu_pci"].sections if section.kind == "grep") if nvidia else ""
    replies["gpu_pci"] = [
        Section("text", "vendors", "nvidia amd habana intel"),
        BUS,
        Section("text", "virtual functions", ""),
        Section("grep", "files", old + _grep(gpu_pci).text, "", 0),
    ]
    return write_transcript({**replies, **changed}, node="node1")


def judge(transcript: Transcript, catalogue: Catalogue, areas: Sequence[str]) -> list[Finding]:
    findings: list[Finding] = []
    expect = {"gpus": 8}
    for check in catalogue.checks.values():
        if check.area in areas:
            facts = gather(transcript, check.facts, Node(name="node1", expect=expect))
            findings += evaluate_check(check, facts, catalogue.tables, "node1")
    return findings


@pytest.fixture(scope="module")
def catalogue() -> Catalogue:
    return catalogue_for_run.load()


def by_outcome(findings: Sequence[Finding], outcome: Outcome) -> dict[str, str]:
    return {one.check: one.reason or one.actual for one in findings if one.outcome is outcome}


OURS = ("amd", "gaudi", "intel")
NVIDIAS = ("driver", "cuda", "gpu", "nvlink", "fabric", "pcie", "xid", "sxid", "persistence", "power", "nccl")
MI300X = bus_files(AMD, "amdgpu", "1002:74A1", "120000")


GAUDI_TABLE = """| HL-SMI Version:                              hl-1.20.0-fw-58.1.1.1          |
| Driver Version:                                     1.20.0-6f47ddd          |
"""
GAUDI = [f"0000:{bus:02x}:00.0" for bus in range(0x19, 0x21)]
INTEL = [f"0000:{bus:02x}:00.0" for bus in range(0x29, 0x31)]


def gaudi(addresses: Sequence[str]) -> list[Section]:
    usual = "".join(f"{n}, {n}, {a}, HL-225, 98304 MiB, 768 MiB, 22 C\n" for n, a in enumerate(addresses))
    sections = [BUS, Section("text", "Gaudi", " ".join(addresses))]
    sections.append(Section("file", "/sys/module/habanalabs/version", "1.20.0\n", "", 0))
    sections.append(_grep({f"{PCI}/{address}/uevent": "PCI_ID=1DA3:1020" for address in addresses}))
    sections.append(Section("cmd", "hl-smi", GAUDI_TABLE, "", 0))
    sections.append(Section("cmd", "hl-smi -Q usual", usual, "", 0))
    for address in addresses:
        sections.append(Section("cmd", f"hl-smi -n ports -i {address}", "port 0: internal\nport 8: external\n", "", 0))
        sections.append(Section("cmd", f"hl-smi -n link -i {address}", "port 0: UP\nport 8: UP\n", "", 0))
    return sections


def intel_gpu(addresses: Sequence[str]) -> list[Section]:
    files = {f"{PCI}/{address}/uevent": "DRIVER=i915\nPCI_ID=8086:0BD5" for address in addresses}
    missing = Section("cmd", "xpu-smi discovery --dump", "", "sh: xpu-smi: not found\n", 127)
    return [BUS, Section("text", "Intel GPUs", " ".join(addresses)), _grep(files), missing]


NODES = {
    "amd": ({"amd_gpu": amd_gpu(AMD)}, MI300X),
    "gaudi": ({"gaudi": gaudi(GAUDI)}, bus_files(GAUDI, "habanalabs", "1DA3:1020", "120000")),
    "intel": ({"intel_gpu": intel_gpu(INTEL)}, bus_files(INTEL, "i915", "8086:0BD5", "38000")),
}


@pytest.mark.parametrize("vendor", NODES)
def test_a_healthy_node_of_another_vendor(vendor: str, catalogue: Catalogue) -> None:
    """All checks of all areas. What a healthy node with NVIDIA's GPUs is told, too, is no matter of the GPUs."""
    areas = sorted({check.area for check in catalogue.checks.values()})
    usual = judge(node({}, {}, nvidia=True), catalogue, areas)
    findings = judge(node(*NODES[vendor]), catalogue, areas)
    boot = {"amd.iommu_passthrough", "amd.pci_realloc", "gaudi.iommu_passthrough"}
    failed = set(by_outcome(findings, Outcome.FAIL)) - set(by_outcome(usual, Outcome.FAIL)) - boot
    assert failed == set()
    unknown = by_outcome(findings, Outcome.UNKNOWN)
    assert {check: unknown[check] for check in set(unknown) - set(by_outcome(usual, Outcome.UNKNOWN))} == {}
    passed = by_outcome(findings, Outcome.PASS)
    assert {f"{vendor}.driver_bound", f"{vendor}.all_listed", f"{vendor}.pcie_width", "gpu.count_expected"} <= set(
        passed
    )


def test_nvidias_checks_leave_an_amd_node_alone(catalogue: Catalogue) -> None:
    findings = judge(node({"amd_gpu": amd_gpu(AMD)}, MI300X), catalogue, NVIDIAS)
    # The demo's bus: what its bridges allow is no matter of the GPUs.
    assert set(by_outcome(findings, Outcome.FAIL)) <= {"pcie.max_payload_full"}
    assert by_outcome(findings, Outcome.UNKNOWN) == {}
    assert "gpu.count_expected" in by_outcome(findings, Outcome.PASS)


def test_what_is_wrong_with_an_amd_node_is_said(catalogue: Catalogue) -> None:
    bus = {**MI300X, f"{PCI}/{AMD[3]}/current_link_width": "8"}
    bus[f"{PCI}/{AMD[7]}/uevent"] = "PCI_CLASS=120000\nPCI_ID=1002:74A1"
    findings = judge(node({"amd_gpu": amd_gpu(AMD[:7], links="D")}, bus), catalogue, (*OURS, "gpu"))
    failed = by_outcome(findings, Outcome.FAIL)
    assert {"amd.xgmi_links", "amd.pcie_width", "amd.driver_bound", "amd.all_listed", "gpu.count_expected"} <= set(
        failed
    )
    subjects = {one.check: one.subject for one in findings if one.outcome is Outcome.FAIL}
    assert (subjects["amd.pcie_width"], subjects["amd.all_listed"]) == (AMD[3], AMD[7])


def test_two_vendors_in_one_node(catalogue: Catalogue) -> None:
    """The demo's eight H200 and two MI300X beside them: nothing of either is judged by the other's rules."""
    two = node({"amd_gpu": amd_gpu(AMD[:2])}, bus_files(AMD[:2], "amdgpu", "1002:74A1", "120000"), nvidia=True)
    alone = node({}, {}, nvidia=True)
    before = judge(alone, catalogue, NVIDIAS)
    after = judge(two, catalogue, (*NVIDIAS, *OURS))
    for outcome in (Outcome.FAIL, Outcome.UNKNOWN):
        new = set(by_outcome(after, outcome)) - set(by_outcome(before, outcome))
        assert new <= {"gpu.count_expected", "amd.pci_realloc", "amd.iommu_passthrough"}, outcome
    facts = gather(two, ["gpu.count", "gpu.vendors", "gpu.models", "gpu.pci_count"], Node(name="node1"))
    assert facts["gpu.count"].value == facts["gpu.pci_count"].value == 10
    assert facts["gpu.vendors"].value == ["nvidia", "amd"]
    assert facts["gpu.models"].value == ["NVIDIA H200", "AMD Instinct MI300X"]
