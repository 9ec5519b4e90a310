"""Every recorded file as the transcript of a node: its text in the section that the probe's source would have made.

Only what was recorded is there. Everything else is a fact that could not be read, as on a node where the rest failed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from recorded_gpus import rocm_smi, xpu_smi

from nodectl.facts.gather import gather
from nodectl.model import Fact, FactState, Node
from nodectl.probe.compose import load_sources
from nodectl.probe.transcript import Section, Transcript, write_transcript

Sources = Mapping[str, Sequence[Section]]

BOOT_S = 1_600_000_000
PCI = "/sys/bus/pci/devices"
XML, TEXT = "nvidia-smi -q -x", "nvidia-smi -q"
STATES = {"Down": 1, "Initializing": 2, "Armed": 3, "Active": 4}
TOPO, LINKS, LINK_ERRORS = "nvidia-smi topo -m", "nvidia-smi nvlink -s", "nvidia-smi nvlink -e"
# Product names in recordings of nvlink and topo, which print no PCI id.
PCI_IDS = {"NVIDIA A100": "20B2", "NVIDIA H100": "2330", "NVIDIA H200": "2335"}


class Recorded(NamedTuple):
    """What a file says, and how many GPUs the node has: on the PCI bus and by its inventory."""

    sources: Sources
    gpus: int = 0


def read(path: Path) -> str:
    return path.read_text(errors="replace")


def cmd(name: str, text: str, rc: int = 0) -> Section:
    return Section("cmd", name, text, "", rc)


def file(name: str, text: str) -> Section:
    return Section("file", name, text, "", 0)


def grep(files: Mapping[str, str]) -> Section:
    return Section("grep", "files", "".join(f"{path}:{text}\n" for path, text in files.items()), "", 0)


def pci_bus(gpus: Sequence[tuple[str, str]]) -> list[Section]:
    """The source gpu_pci for GPUs given as (bus address, device id)."""
    lines = {
        f"{PCI}/{address}/uevent": f"DRIVER=nvidia\n{PCI}/{address}/uevent:PCI_CLASS=30200\n"
        f"{PCI}/{address}/uevent:PCI_ID=10DE:{device}"
        for address, device in gpus
    }
    return [cmd(f"ls -d {PCI}", f"{PCI}\n"), grep(lines)]


def smi_query(path: Path) -> Recorded:
    """`nvidia-smi -q` or `-q -x`; on the bus are the GPUs that it lists, and those that it says are attached."""
    text = read(path)
    sources: dict[str, Sequence[Section]] = {"nvidia_smi_q": [cmd(XML if path.suffix == ".xml" else TEXT, text)]}
    rows = gather(write_transcript(sources), ["gpu.devices"], Node(name="n"))["gpu.devices"].value or []
    listed = [(row["pci_bus_id"], str(row.get("pci_id") or "10de:ffff")[5:].upper()) for row in rows]
    attached = re.search(r"(?:<attached_gpus>|Attached GPUs +: )(\d+)", text)
    missing = range(len(listed), int(attached[1]) if attached else 1)
    bus = [*listed, *((f"00fe:{number:02x}:00.0", "FFFF") for number in missing)]
    sources["gpu_pci"] = pci_bus(bus)
    return Recorded(sources, len(bus))


def of_model(model: str, gpus: int, sources: dict[str, Sequence[Section]], *, mig: bool = False) -> Recorded:
    """A node of one of the models of `PCI_IDS`, to go with what only speaks of links or of a log."""
    device = PCI_IDS[model]
    listed = "".join(
        f'<gpu id="00000000:{bus:02X}:00.0"><product_name>{model}</product_name>'
        f"<mig_mode><current_mig>{'Enabled' if mig else 'Disabled'}</current_mig></mig_mode>"
        f"<pci><pci_device_id>{device}10DE</pci_device_id></pci></gpu>"
        for bus in range(1, gpus + 1)
    )
    xml = f"<nvidia_smi_log><attached_gpus>{gpus}</attached_gpus>{listed}</nvidia_smi_log>"
    bus = [(f"0000:{number:02x}:00.0", device) for number in range(1, gpus + 1)]
    return Recorded({"nvidia_smi_q": [cmd(XML, xml)], "gpu_pci": pci_bus(bus), **sources}, gpus)


def nvlink(path: Path) -> Recorded:
    """Links or their counters. The GPUs that are printed are all there are: numbered from 0, whatever they were."""
    text = read(path)
    numbers = {number: str(index) for index, number in enumerate(re.findall(r"^GPU (\d+)", text, re.MULTILINE))}
    text = re.sub(r"^GPU (\d+)", lambda match: f"GPU {numbers[match[1]]}", text, flags=re.MULTILINE)
    model = next(model for model in PCI_IDS if model in text or model.removeprefix("NVIDIA ") in text)
    sections = [cmd(LINKS, text)]
    if "Errors:" in text:
        speed = "25" if model == "NVIDIA A100" else "26.562"
        sections = [cmd(LINKS, re.sub(r"(Link \d+):.*", rf"\1: {speed} GB/s", text)), cmd(LINK_ERRORS, text)]
    return of_model(model, len(numbers), {"nvidia_smi_nvlink": sections}, mig="-mig-" in path.name)


def topo(path: Path) -> Recorded:
    text = read(path)
    gpus = 1 + max(int(number) for number in re.findall(r"^GPU(\d+)", text, re.MULTILINE))
    model = "NVIDIA A100" if "a100" in path.name else "NVIDIA H100"
    return of_model(model, gpus, {"nvidia_smi_topo": [cmd(TOPO, text)]})


def smi_list(path: Path) -> Recorded:
    """`nvidia-smi -L`: the GPUs and their MIG devices."""
    text = read(path)
    gpus = len(re.findall(r"^GPU \d+:", text, re.MULTILINE))
    model = "NVIDIA A100" if "a100" in path.name else "NVIDIA H200" if "H200" in text else "NVIDIA H100"
    return of_model(model, gpus, {"nvidia_smi_list": [cmd("nvidia-smi -L", text)]}, mig="-mig-" in path.name)


def kernel_log(path: Path) -> Recorded:
    """Any log of the kernel, on a node that has been up for years; fabricmanager.log stands beside an empty one."""
    text = read(path)
    head = [file("/proc/uptime", "100000000.00 1.00"), cmd("btime", f"btime {BOOT_S}"), cmd("date +%z", "+0000")]
    if path.parent.name == "fabricmanager":
        logs = [cmd("dmesg", ""), cmd("fabricmanager.log", text)]
    elif path.parent.name == "journal":
        logs = [cmd("journalctl -k -b -o short-unix", text)]
    else:
        logs = [cmd("dmesg", text)]
    return of_model("NVIDIA H100", 8, {"kernel_log": [*head, *logs]})


def os_release(path: Path) -> Recorded:
    none = [Section("text", name, "none") for name in ("/etc/dgx-release", "/etc/nv_tegra_release")]
    return Recorded({"os_release": [file("/etc/os-release", read(path)), Section("text", "ostree", "no"), *none]})


def sysctl(path: Path) -> Recorded:
    pairs = (line.partition(" = ") for line in read(path).splitlines())
    return Recorded({"sysctl": [grep({f"/proc/sys/{key.replace('.', '/')}": value for key, _, value in pairs})]})


def lsmod(path: Path) -> Recorded:
    """lsmod's columns as /proc/modules has them; no module file can be looked at."""
    lines = []
    for line in read(path).splitlines():
        words = line.split()
        if len(words) >= 3 and words[1].isdigit():
            users = f"{words[3]}," if len(words) > 3 else "-"
            lines.append(f"{words[0]} {words[1]} {words[2]} {users} Live 0x0000000000000000\n")
    modules = [cmd("/proc/modules", "".join(lines) + f"nd_total {len(lines)}\n")]
    return Recorded({"modules": modules, "gpu_pci": pci_bus([("0000:01:00.0", PCI_IDS["NVIDIA H200"])])}, 1)


def limits(path: Path) -> Recorded:
    return Recorded({"limits": [file("/proc/self/limits", read(path))]})


def meminfo(path: Path) -> Recorded:
    return Recorded({"memory": [file("/proc/meminfo", read(path))]})


def cpuinfo(path: Path) -> Recorded:
    first = read(path).split("\n\n")[0]
    return Recorded({"cpu": [cmd("first CPU of /proc/cpuinfo", first), cmd("cores", "4\n"), cmd("sockets", "1\n")]})


def cpufreq(path: Path) -> Recorded:
    """The folder of a recorded /sys."""
    lines = (f"{p.parts[-3][3:]} {read(p).strip()}\n" for p in sorted(path.glob("**/cpu*/cpufreq/scaling_governor")))
    empty = [cmd("energy_performance_preference", ""), cmd("idle states", "")]
    return Recorded({"cpu_power": [cmd("scaling_governor", "".join(lines)), *empty]})


def mountinfo(path: Path) -> Recorded:
    text = read(path)
    lines = len(text.splitlines())
    return Recorded(
        {
            "mounts": [cmd("/proc/self/mountinfo", f"{text}nd_total {lines}\n")],
            "storage_mounts": [cmd("/proc/self/mountinfo", f"{text}nd_total {lines} {lines}\n")],
        }
    )


def chrony(path: Path) -> Recorded:
    """`chronyc tracking`, below the line in which it was typed."""
    rest = [Section("text", name, "none") for name in ("ntpq -c rv", "timedatectl show")]
    return Recorded({"time_sync": [cmd("chronyc -n tracking", read(path).partition("\n")[2]), *rest]})


def edac(path: Path) -> Recorded:
    """The folder of a recorded /sys."""
    lines: dict[str, list[str]] = {"mc": [], "dimm": [], "csrow": []}
    for one in sorted(path.glob("devices/system/edac/mc/**/*")):
        if one.is_file():
            kind = one.parent.name.rstrip("0123456789")
            lines[kind].append(f"{one.relative_to(path / 'devices/system/edac/mc')}:{read(one).strip()}\n")
    return Recorded({"edac": [cmd(f"{kind} counts", "".join(found)) for kind, found in lines.items()]})


def smartctl(path: Path) -> Recorded:
    said = [
        Section("text", "tool", "smartctl"),
        Section("text", "disk nvme0", "/sys/class/nvme"),
        cmd("smartctl nvme0", read(path)),
    ]
    return Recorded({"disk_health": said})


def lustre_health(path: Path) -> Recorded:
    return Recorded(
        {"lustre": [file("/sys/fs/lustre/version", "2.12.9\n"), file("/sys/fs/lustre/health_check", read(path))]}
    )


def rdma(names: Sequence[str], files: Mapping[str, str]) -> Recorded:
    """The source rdma, read twice with nothing growing. Files by their path below /sys/class/infiniband."""
    found = {f"/sys/class/infiniband/{path}": text for path, text in files.items()}
    counters = "".join(f"{path}:{text}\n" for path, text in found.items() if "counters/" in path)
    sections = [
        cmd("ls -d /sys/class", "/sys/class\n"),
        Section("text", "devices", " ".join(names)),
        grep(found),
        file("/proc/uptime", "100000000.00 1.00"),
        cmd("counters 1", counters),
        cmd("counters 2", counters),
        cmd("uptime 2", "100000001.00 1.00"),
    ]
    return Recorded({"rdma": sections})


def infiniband(path: Path) -> Recorded:
    """The folder of a recorded /sys/class/infiniband. Which driver each device has was not recorded."""
    files = {str(one.relative_to(path)): read(one).strip() for one in sorted(path.rglob("*")) if one.is_file()}
    names = sorted({name.partition("/")[0] for name in files})
    return rdma(names, files | {f"{name}/device/uevent": f"DRIVER={name.partition('_')[0]}" for name in names})


def ibstat(path: Path) -> Recorded:
    """ibstat as sysfs has the same; the interface of an Ethernet port is taken to be switched on."""
    files: dict[str, str] = {}
    names: list[str] = []
    for line in read(path).splitlines():
        key, _, value = (part.strip() for part in line.partition(":"))
        if line.startswith("CA '"):
            names.append(line.split("'")[1])
            files[f"{names[-1]}/device/uevent"] = "DRIVER=mlx5_core"
        elif names:
            port = f"{names[-1]}/ports/1"
            files |= {
                "CA type": {f"{names[-1]}/hca_type": value},
                "Firmware version": {f"{names[-1]}/fw_ver": value},
                "State": {f"{port}/state": f"{STATES[value]}: {value.upper()}" if value in STATES else value},
                "Physical state": {f"{port}/phys_state": f"0: {value}"},
                "Rate": {f"{port}/rate": f"{value} Gb/sec (4X)"},
                "Base lid": {f"{port}/lid": value},
                "SM lid": {f"{port}/sm_lid": value},
                "Link layer": {f"{port}/link_layer": value, f"{names[-1]}/device/net/e0/flags": "0x1003"},
            }.get(key, {})
    return rdma(names, files)


def ofed(path: Path) -> Recorded:
    return Recorded({"rdma_stack": [cmd("timeout -k 1 5 ofed_info -s", read(path))]})


def daemon_json(path: Path) -> Recorded:
    """daemon.json as the probe takes it apart: each value with the keys that lead to it."""
    pairs = [f"{'|'.join(keys)}\t{value}" for keys, value in _flat(json.loads(read(path)))]
    there = cmd("files that are there", "there\t/usr/bin/nvidia-container-runtime\n")
    sections = [cmd("/etc/docker/daemon.json", "\n".join([*pairs, "nd_complete\n"])), there]
    engines = [cmd("dockerd", "Docker version 28.5.1, build e180ab8\n"), text_section("not found", "podman")]
    return Recorded(
        {"container_config": [*sections, cmd("mounts", "/\text4\nnd_complete\n")], "container_engines": engines}
    )


def _flat(value: Any, keys: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], Any]]:
    if isinstance(value, dict):
        return [pair for key, one in value.items() for pair in _flat(one, (*keys, key))]
    return [(keys, value)]


def slurm_node(path: Path) -> Recorded:
    """The last node that scontrol listed, as if it had been asked for alone."""
    last = read(path).strip().splitlines()[-1]
    sections = [
        text_section("found", "slurmd scontrol"),
        text_section("node", "recorded"),
        text_section("running", "yes"),
    ]
    return Recorded({"slurm": [*sections, cmd("slurmd -V", "slurm 24.11.7\n"), cmd("scontrol show node", f"{last}\n")]})


def text_section(name: str, text: str) -> Section:
    return Section("text", name, text, "", 0)


Build = Callable[[Path], Recorded]
# Folder of recordings -> how its files are read, or for single files of a folder: their names.
KINDS: Mapping[str, Build | Mapping[str, Build]] = {
    "nvidia-smi-xml": smi_query,
    "nvidia-smi-q": smi_query,
    "nvidia-smi-list": smi_list,
    "nvlink": nvlink,
    "topo": topo,
    "dmesg": kernel_log,
    "journal": kernel_log,
    "kmsg": kernel_log,
    "pstore": kernel_log,
    "fabricmanager": kernel_log,
    "ibstat": {"a100-all-active.txt": ibstat, "h100-all-active-0.txt": ibstat, "h100-some-down-1.txt": ibstat},
    "ofed": ofed,
    "rocm-smi-json": lambda path: Recorded(*rocm_smi(path)),
    "xpu-smi": {
        "intel-05-xpu-smi-discovery-d-0000-4d-00-0.txt": lambda path: Recorded(*xpu_smi(path)),
        "intel-30-xpu-smi-stats-d-0.txt": lambda path: Recorded(*xpu_smi(path)),
    },
    "os-release": os_release,
    "chrony": chrony,
    "sysfs-edac": {"nodeexp/": edac},
    "sysfs-infiniband": {"nodeexp/": infiniband, "procfs/": infiniband},
    "sysctl": sysctl,
    "lsmod": lsmod,
    "proc": {"nodeexp-cpuinfo.txt": cpuinfo},
    "disk": {"mountinfo-k8s.txt": mountinfo},
    "docker": daemon_json,
    "slurm": {"sckyzo-slurm-24.11.7-scontrol_nodes.txt": slurm_node},
    "sysfs-cpufreq": {"nodeexp/": cpufreq},
    "smartctl": smartctl,
    "lustre": {"telegraf-sys-fs-lustre-health_check.txt": lustre_health},
}
# Other tools, other vendors, and other forms of what is read elsewhere (limits.conf, lspci, the table of nvidia-smi).
NOT_READ = frozenset(
    {
        "amd-smi", "cpufreq", "cuda-devicequery", "dcgm", "ethtool", "hl-smi", "host",
        "ib-fabric", "ibnetdiscover", "intel-gpu", "limits", "lldp", "lscpu", "lspci", "lstopo",
        "nccl", "nvidia-smi-csv", "nvidia-smi-dmon", "nvidia-smi-table", "nvidia-smi-version",
        "perf", "perftest", "rocm-bench", "rocm-smi", "sysfs-json", "topo-xml",
    }
)  # fmt: skip
H200X8: Mapping[str, Build] = {
    "nvidia-smi-q.xml": smi_query,
    "nvidia-smi-q.txt": smi_query,
    "nvidia-smi-L.txt": smi_list,
    "nvidia-smi-topo.txt": topo,
    "nvidia-smi-nvlink-s.txt": nvlink,
    "nvidia-smi-nvlink-e.txt": nvlink,
    "sysctl.txt": sysctl,
    "limits.txt": limits,
    "meminfo.txt": meminfo,
    "os-release.txt": os_release,
}


def builder(name: str) -> Build | None:
    """How a file of the recordings is read (`dmesg/x.txt`); None: by nothing."""
    folder, _, rest = name.partition("/")
    kind = KINDS.get(folder)
    return kind.get(rest) if isinstance(kind, Mapping) else kind


def transcript_of(recorded: Recorded) -> tuple[Transcript, Node]:
    """The node as it would have answered, and as an inventory would have it."""
    unknown = set(recorded.sources) - set(load_sources())
    assert not unknown, unknown
    expect = {"gpus": recorded.gpus} if recorded.gpus else {}
    return write_transcript(recorded.sources, node="recorded"), Node(name="recorded", expect=expect)


def unread(facts: Mapping[str, Fact]) -> set[str]:
    return {name for name, fact in facts.items() if fact.state is FactState.ERROR}
