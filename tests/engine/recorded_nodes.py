"""Recordings of real machines as transcripts, for tests that judge them with the shipped catalogue."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from nodectl.catalogue import Catalogue
from nodectl.engine.evaluate import evaluate_check
from nodectl.facts.gather import gather
from nodectl.model import Finding, Node
from nodectl.probe.transcript import Section, Transcript, write_transcript

PCI = "/sys/bus/pci/devices"


def cmd(name: str, text: str, rc: int = 0) -> Section:
    return Section("cmd", name, text, "", rc)


def h200x8(shared: Path) -> Transcript:
    """The recorded 8x H200 node: a healthy virtual machine with all GPUs passed through.

    Sources that were not recorded (services, kernel modules, AER, files on disk) are left out: their facts are
    errors, as on a node where they could not be read.
    """
    here = shared / "recordings" / "h200x8"
    proc = here / "fs" / "proc" / "driver" / "nvidia"
    text = (here / "nvidia-smi-q.xml").read_text()
    flags = next(line.partition(":")[2] for line in (here / "lscpu.txt").read_text().splitlines() if "Flags:" in line)
    gpus = "".join(f"{path.name}\n" for path in sorted((proc / "gpus").iterdir()))
    return write_transcript(
        {
            "nvidia_smi_q": [cmd("nvidia-smi -q -x", text)],
            "nvidia_smi_topo": [cmd("nvidia-smi topo -m", (here / "nvidia-smi-topo.txt").read_text())],
            "nvidia_smi_p2p": [cmd("nvidia-smi topo -p2p r", (here / "nvidia-smi-topo-p2p.txt").read_text())],
            "nvidia_smi_nvlink": [
                cmd("nvidia-smi nvlink -s", (here / "nvidia-smi-nvlink-s.txt").read_text()),
                cmd("nvidia-smi nvlink -e", (here / "nvidia-smi-nvlink-e.txt").read_text()),
            ],
            "nvidia_proc": [
                Section("file", "/proc/driver/nvidia/version", (proc / "version").read_text(), "", 0),
                Section("file", "/proc/driver/nvidia/params", (proc / "params").read_text(), "", 0),
                cmd("ls -1 /proc/driver/nvidia/gpus", gpus),
            ],
            "gpu_pci": [cmd(f"ls -d {PCI}", f"{PCI}\n"), Section("grep", "files", _pci(here / "fs" / "pci"), "", 0)],
            "pcie_tree": _pcie_tree(here / "fs" / "pci"),
            "platform": [
                cmd("systemd-detect-virt --vm", "", rc=127),
                cmd("first CPU of /proc/cpuinfo", f"processor\t: 0\nflags\t\t:{flags}\n"),
            ],
            "node": [
                cmd("date -u +%Y-%m-%dT%H:%M:%SZ", "2026-11-20T20:06:27Z\n"),
                Section("grep", "files", "/proc/uptime:86400.00 1000000.00\n", "", 0),
            ],
            "numa": [Section("grep", "files", "/sys/devices/system/node/node0/cpulist:0-127\n", "", 0)],
        },
        node="h200x8",
    )


def _pcie_tree(folder: Path) -> list[Section]:
    """The same devices as the source pcie_tree has them: all on the root bus, and no registers were recorded."""
    gpus = [path.name for path in sorted(folder.iterdir()) if (path / "vendor").read_text().strip() == "0x10de"]
    return [
        cmd(f"ls -d {PCI}", f"{PCI}\n"),
        Section("text", "devices", "".join(f" {name}=gpu" for name in gpus)),
        Section("text", "names", ""),
        Section("text", "ways", "\n".join(f"../../../devices/pci0000:00/{name}" for name in gpus)),
        Section("grep", "files", _pci(folder), "", 0),
    ]


def _pci(folder: Path) -> str:
    """The recorded sysfs files of the GPUs as the probe prints them."""
    lines = []
    for device in sorted(folder.iterdir()):
        files = {path.name: path.read_text().strip() for path in device.iterdir()}
        if files["vendor"] != "0x10de":
            continue
        pair = f"{files['vendor'][2:]}:{files['device'][2:]}".upper()
        subsystem = f"{files['subsystem_vendor'][2:]}:{files['subsystem_device'][2:]}".upper()
        uevent = {
            "DRIVER": files["driver"].rpartition("/")[2],
            "PCI_CLASS": files["class"][2:].lstrip("0"),
            "PCI_ID": pair,
            "PCI_SUBSYS_ID": subsystem,
        }
        lines += [f"{PCI}/{device.name}/uevent:{key}={value}" for key, value in uevent.items()]
        for name in (
            "numa_node",
            "current_link_speed",
            "max_link_speed",
            "current_link_width",
            "max_link_width",
            "enable",
        ):
            lines.append(f"{PCI}/{device.name}/{name}:{files[name]}")
    return "\n".join(lines) + "\n"


def smi(path: Path, pci_count: int) -> Transcript:
    """A node of which only `nvidia-smi -q` was recorded, with so many GPUs on its bus."""
    command = "nvidia-smi -q -x" if path.suffix == ".xml" else "nvidia-smi -q"
    uevents = "".join(
        f"{PCI}/0000:{bus:02x}:00.0/uevent:{line}\n"
        for bus in range(1, pci_count + 1)
        for line in ("DRIVER=nvidia", "PCI_CLASS=30200", "PCI_ID=10DE:FFFF")
    )
    return write_transcript(
        {
            "nvidia_smi_q": [cmd(command, path.read_text(errors="replace"))],
            "gpu_pci": [cmd(f"ls -d {PCI}", f"{PCI}\n"), Section("grep", "files", uevents, "", 0)],
        },
        node=path.stem,
    )


def judged(
    transcript: Transcript, catalogue: Catalogue, areas: Sequence[str], expect: Mapping[str, object] | None = None
) -> list[Finding]:
    """What the catalogue's checks of these areas say of a node."""
    node = Node(name=transcript.node, expect=dict(expect or {}))
    findings: list[Finding] = []
    for check in catalogue.checks.values():
        if check.area in areas:
            facts = gather(transcript, check.facts, node)
            findings += evaluate_check(check, facts, catalogue.tables, transcript.node)
    return findings
