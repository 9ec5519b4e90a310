"""Whose GPUs there are, told from a made-up /sys under every shell: accelerators count, graphics do not."""

from __future__ import annotations

from pathlib import Path

import pytest
from fake_pci import FakePci
from probe_nodes import SHELLS

from nodectl.facts.gather import gather
from nodectl.model import Fact, FactState, Node
from nodectl.probe import overlay
from nodectl.probe.__main__ import run_source
from nodectl.probe.compose import load_sources
from nodectl.probe.transcript import write_transcript

COMMANDS = {"dash": ["dash"], "busybox": ["busybox", "sh"], "bash": ["bash", "--posix"]}
SOURCES = ("amd_gpu", "gaudi", "intel_gpu", "gpu_pci", "nvidia_smi_q")
COUNTS = ("nvidia.pci_count", "amd.pci_count", "gaudi.pci_count", "intel.pci_count")
NAMES = [
    *COUNTS,
    "gpu.pci_count",
    "gpu.vendors",
    "gpu.count",
    "gpu.devices",
    "amd.count",
    "gaudi.smi_error",
    "intel.count",
]
AMD_SMI = """#!/bin/sh
case $1 in
static) echo '[{"gpu": 0, "asic": {"market_name": "AMD Instinct MI300X"}, "bus": {"bdf": "0000:05:00.0"}}]' ;;
metric) echo '[{"gpu": 0, "temperature": {"hotspot": {"value": 41, "unit": "C"}}}]' ;;
version) echo '[{"rocm_version": "6.4.1"}]' ;;
*) exit 2 ;;
esac
"""


def _ask(tmp_path: Path, shell: str, pci: FakePci) -> dict[str, Fact]:
    scratch = tmp_path / "scratch"
    replies = {}
    for source in SOURCES:
        (folder := scratch / source).mkdir(parents=True)
        if refusal := overlay.refusal(folder):
            pytest.skip(f"no overlay root here (root is needed): {refusal}")
        reply = run_source(load_sources()[source], [], shell=COMMANDS[shell], root=pci.top)
        assert (reply.state, reply.note) == ("ok", ""), source
        replies[source] = reply.sections
    return gather(write_transcript(replies), NAMES, Node(name="n"))


@pytest.mark.parametrize("shell", SHELLS)
def test_graphics_of_laptops_and_servers_are_no_gpus_of_a_node(tmp_path: Path, shell: str) -> None:
    pci = FakePci(tmp_path / "top")
    pci.add("0000:00:02.0", "pci0000:00", "8086:a780", "030000", driver="i915")
    pci.add("0000:06:00.0", "pci0000:00", "1002:1681", "038000", driver="amdgpu")
    pci.add("0000:07:00.0", "pci0000:00", "1002:744c", "030000", driver="amdgpu")
    pci.add("0000:08:00.0", "pci0000:00", "1a03:2000", "030000", driver="ast")
    facts = _ask(tmp_path, shell, pci)
    assert [facts[name].value for name in COUNTS] == [0, 0, 0, 0]
    assert facts["gpu.vendors"].value == []
    for name in ("gpu.count", "gpu.devices", "amd.count", "intel.count"):
        assert facts[name].state is FactState.ABSENT, facts[name]


@pytest.mark.parametrize("shell", SHELLS)
def test_accelerators_of_four_vendors(tmp_path: Path, shell: str) -> None:
    pci = FakePci(tmp_path / "top")
    pci.add("0000:05:00.0", "pci0000:00", "1002:74a1", "120000", driver="amdgpu")
    pci.add("0000:06:00.0", "pci0000:00", "1002:740c", "038000", driver="amdgpu")
    pci.add("0000:19:00.0", "pci0000:00", "1da3:1060", "120000", driver="habanalabs")
    pci.add("0000:29:00.0", "pci0000:00", "8086:0bd5", "038000", driver="i915")
    pci.add("0000:1b:00.0", "pci0000:00", "10de:2335", "030200", driver="nvidia")
    tool = tmp_path / "top" / "usr" / "local" / "bin" / "amd-smi"
    tool.parent.mkdir(parents=True)
    tool.write_text(AMD_SMI)
    tool.chmod(0o755)
    facts = _ask(tmp_path, shell, pci)
    assert [facts[name].value for name in COUNTS] == [1, 2, 1, 1]
    assert facts["gpu.vendors"].value == ["nvidia", "amd", "habana", "intel"]
    assert facts["amd.count"].value == 1, "amd-smi lists one of the two"
    assert facts["intel.count"].value == 1
    assert facts["gaudi.smi_error"].reason == "hl-smi is not installed on the node"
    # One that cannot be asked makes the whole unknown: nvidia-smi is not there, its GPU is.
    assert facts["gpu.count"].state is FactState.ERROR
    assert "nvidia-smi not found" in facts["gpu.count"].reason
