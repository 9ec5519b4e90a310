"""Recorded files of AMD's and Intel's tools, as the sections of the probe's sources and the number of their GPUs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from nodectl.probe.transcript import Section

PCI = "/sys/bus/pci/devices"
BUS = Section("cmd", f"ls -d {PCI}", f"{PCI}\n", "", 0)


def rocm_smi(path: Path) -> tuple[Mapping[str, Sequence[Section]], int]:
    """rocm-smi's JSON, as of Instinct GPUs on the bus."""
    text = path.read_text(errors="replace")
    addresses = [card["PCI Bus"].lower() for name, card in json.loads(text).items() if name.startswith("card")]
    said = [Section("text", "AMD GPUs", " ".join(addresses)), Section("cmd", "rocm-smi --json", text, "", 0)]
    return _node("amd_gpu", addresses, "amdgpu", "1002:738C", said), len(addresses)


def xpu_smi(path: Path) -> tuple[Mapping[str, Sequence[Section]], int]:
    """What xpu-smi printed of one GPU: its statistics, or its description."""
    address = "0000:4d:00.0"
    asked = "stats" if "stats" in path.name else "discovery"
    said = [
        Section("text", "Intel GPUs", address),
        Section("cmd", "xpu-smi discovery --dump", "", "sh: xpu-smi: not found\n", 127),
        Section("cmd", f"xpu-smi {asked} -d {address}", path.read_text(errors="replace"), "", 0),
    ]
    return _node("intel_gpu", [address], "i915", "8086:020A", said), 1


def _node(
    source: str, addresses: Sequence[str], driver: str, pci_id: str, said: Sequence[Section]
) -> Mapping[str, Sequence[Section]]:
    """The vendor's source and the bus, for display controllers of one kind."""
    lines = "".join(
        f"{PCI}/{address}/uevent:{line}\n"
        for address in addresses
        for line in (f"DRIVER={driver}", "PCI_CLASS=38000", f"PCI_ID={pci_id}")
    )
    files = Section("grep", "files", lines, "", 0)
    vendors = Section("text", "vendors", "nvidia amd habana intel")
    return {source: [BUS, files, *said], "gpu_pci": [vendors, BUS, files]}
