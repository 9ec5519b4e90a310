"""What is the matter with each node of the demo fleet, as edits of the healthy recording.

Four nodes are well, and a fifth is but for its firmware, which only a look at the others shows. The others each have
one thing wrong that happens in real clusters, with all the traces that it leaves: in nvidia-smi, on the PCI bus, in the
kernel log, among the services, in the telemetry.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from functools import cache

import msgspec

from nodectl.demo.live import IDLE, JOBS, LiveStory
from nodectl.demo.recording import GPU_BUSES, Recording

OLD_DRIVER, DRIVER = "580.95.05", "580.159.04"
_NVLINK, _NVLINK_ERRORS, _QUERY = "nvidia-smi nvlink -s", "nvidia-smi nvlink -e", "nvidia-smi -q -x"
_LIST = "nvidia-smi -L"
_TOPOLOGY = "nvidia-smi topo -m"
_P2P = "nvidia-smi topo -p2p r"


class Door(enum.Enum):
    """How a node takes a connection."""

    OPEN = "open"
    REFUSES = "nothing listens on its port"
    OTHER_KEY = "its host key is not the one in known_hosts"


class DemoNode(msgspec.Struct, frozen=True):
    """One node: what is wrong with it, what its telemetry shows, and how long it takes to answer (seconds)."""

    name: str
    about: str = "healthy"
    edit: Callable[[Recording], None] | None = None
    h100: bool = False
    door: Door = Door.OPEN
    think_s: float = 0.2
    live: LiveStory = LiveStory()

    def recording(self) -> Recording:
        """What it answers."""
        recording = _base(self.h100).copy()
        recording.name(self.name)
        if self.edit is not None:
            self.edit(recording)
        return recording


@cache
def _base(h100: bool) -> Recording:
    if not h100:
        return Recording.load()
    recording = _base(False).copy()
    _as_h100(recording)
    return recording


def _as_h100(node: Recording) -> None:
    """The same machine with H100 boards: names, ids and sizes as an H100 SXM5 80 GB reports them."""
    node.every_gpu(
        product_name="NVIDIA H100 80GB HBM3",
        board_part_number="692-2G520-0200-000",
        gpu_part_number="2330-885-A1",
        vbios_version="96.00.A5.00.01",
        img_version="G520.0200.00.05",
        pci_device_id="233010DE",
        pci_sub_system_id="16C110DE",
        fb_memory_usage__total="81559 MiB",
        fb_memory_usage__reserved="551 MiB",
        fb_memory_usage__free="81008 MiB",
        bar1_memory_usage__total="131072 MiB",
        bar1_memory_usage__free="131071 MiB",
        row_remapper_histogram_max="2560 bank(s)",
        clocks__mem_clock="2619 MHz",
        applications_clocks__mem_clock="2619 MHz",
        default_applications_clocks__mem_clock="2619 MHz",
        max_clocks__mem_clock="2619 MHz",
    )
    node.replace("nvidia_smi_nvlink", "NVIDIA H200", "NVIDIA H100 80GB HBM3")
    node.replace("nvidia_smi_list", "NVIDIA H200", "NVIDIA H100 80GB HBM3")
    node.replace("gpu_pci", "10DE:2335", "10DE:2330")
    node.replace("gpu_pci", "10DE:18BF", "10DE:16C1")
    node.replace("gpu_pci", "d00002335sv000010DEsd000018BF", "d00002330sv000010DEsd000016C1")


def half_upgraded(node: Recording) -> None:
    """unattended-upgrades brought a new driver; the old module is still loaded, and nobody has rebooted."""
    said = "Failed to initialize NVML: Driver/library version mismatch\nNVML library version: 580.159\n"
    for source, command in (
        ("nvidia_smi_q", _QUERY),
        ("nvidia_smi_list", _LIST),
        ("nvidia_smi_topo", _TOPOLOGY),
        ("nvidia_smi_p2p", _P2P),
        ("nvidia_smi_nvlink", _NVLINK),
        ("nvidia_smi_nvlink", _NVLINK_ERRORS),
    ):
        node.answer(source, command, said, rc=18)
    node.replace("nvidia_proc", DRIVER, OLD_DRIVER)
    node.replace("kernel_log", f"x86_64  {DRIVER}", f"x86_64  {OLD_DRIVER}")
    node.unit("unattended-upgrades.service", "active", "running", "enabled")
    node.unit("apt-daily-upgrade.timer", "active", "waiting", "enabled")
    node.substitute("packages", "^hi ", "ii ")
    node.substitute("packages_held", r"^hi .*\n", "")
    node.kernel_says(
        6.4,
        f"NVRM: API mismatch: the client has the version {DRIVER}, but",
        f"NVRM: this kernel module has the version {OLD_DRIVER}.  Please",
        "NVRM: make sure that this kernel module and all NVIDIA driver",
        "NVRM: components have the same version.",
    )


def older_vbios(node: Recording) -> None:
    """Its GPU board came back from repair with the firmware of last year: each GPU is fine, and alike; no other node
    has that version.
    """
    node.every_gpu(vbios_version="96.00.A0.00.06")


def gpu_off_the_bus(node: Recording) -> None:
    """GPU 5 has stopped answering: nvidia-smi leaves it out, and its registers read as all ones."""
    gone = 5
    bus = GPU_BUSES[gone]
    begin = "\t<gpu id="
    parts = node.text("nvidia_smi_q", _QUERY).split(begin)
    del parts[gone + 1]
    node.answer("nvidia_smi_q", _QUERY, begin.join(parts))
    node.substitute("nvidia_smi_list", rf"^GPU {gone}: .*\n", "")
    for command in (_NVLINK, _NVLINK_ERRORS):
        node.substitute("nvidia_smi_nvlink", rf"^GPU {gone}: .*\n(?:[ \t].*\n|\n)*", "", command)
    node.substitute("nvidia_smi_topo", rf"^GPU{gone}\t.*\n", "", _TOPOLOGY)
    column = rf"^((?:[^\t\n]*\t){{{gone + 1}}})[^\t\n]*\t(?=.*\t)"
    node.substitute("nvidia_smi_topo", column, r"\1", _TOPOLOGY)
    node.substitute("nvidia_smi_p2p", rf"^ GPU{gone}\t.*\n", "", _P2P)
    node.substitute("nvidia_smi_p2p", column, r"\1", _P2P)
    for file, value in (
        ("current_link_speed", "Unknown"),
        ("current_link_width", "63"),
        ("max_link_speed", "Unknown"),
        ("max_link_width", "63"),
    ):
        for source in ("gpu_pci", "pcie_tree"):
            node.substitute(source, rf"^((?:/sys/bus/pci/devices/)?0000:{bus}:00.0/{file}:).*$", rf"\g<1>{value}")
    node.substitute("pcie_tree", rf"^(0000:{bus}:00.0 vendor=).*$", r"\g<1>65535", "configuration space")
    xid = _xid(gone)
    node.kernel_says(
        3.1,
        f"{xid}: 79, pid='<unknown>', name=<unknown>, GPU has fallen off the bus.",
        f"NVRM: GPU 0000:{bus}:00.0: GPU has fallen off the bus.",
        f"{xid}: 154, GPU recovery action changed from 0x0 (None) to 0x2 (Node Reboot Required)",
    )


def memory_error(node: Recording) -> None:
    """A row of GPU 4's memory has failed: the job that used it was killed, and the spare waits for a reset."""
    bad = 4
    xid = _xid(bad)
    node.gpu(
        bad,
        volatile__dram_uncorrectable="1",
        aggregate__dram_uncorrectable="1",
        remapped_row_unc="1",
        remapped_row_pending="Yes",
        row_remapper_histogram_max="3071 bank(s)",
        row_remapper_histogram_high="1 bank(s)",
        gpu_recovery_action="Drain and Reset",
    )
    node.kernel_says(
        8.7,
        f"{xid}: 63, pid='<unknown>', name=<unknown>, Row Remapper: New row (0x00000005e2f41a80) marked for remapping, "
        "reset gpu to activate.",
        f"{xid}: 94, pid=118243, name=python3, Contained: SM (0x1). RST: No, D-RST: No",
        f"{xid}: 154, GPU recovery action changed from 0x0 (None) to 0x4 (Drain and Reset)",
    )


def not_tuned(node: Recording) -> None:
    """Somebody reinstalled these nodes and forgot the tuning role: slower for ever, and nothing logs it."""
    node.every_gpu(
        persistence_mode="Disabled",
        gpu_power_readings__current_power_limit="500.00 W",
        gpu_power_readings__requested_power_limit="500.00 W",
    )
    node.unit("nvidia-persistenced.service", "inactive", "dead", "disabled")
    node.substitute("cpu_power", " performance$", " powersave", "scaling_governor")
    node.substitute("cpu_power", " performance$", " balance_performance", "energy_performance_preference")


def links_down(node: Recording) -> None:
    """Two NVLinks of GPU 6 have died; NCCL still works, and every job on the node is as slow as that GPU."""
    gpu, links = 6, (8, 9)
    for link in links:
        block = rf"(^GPU {gpu}: (?:(?!^GPU ).*\n)*?\t Link {link}: ).*$"
        node.substitute("nvidia_smi_nvlink", block, r"\g<1><inactive>", _NVLINK)
        errors = rf"(^GPU {gpu}: (?:(?!^GPU ).*\n)*?)(?:\t Link {link}: .*\n)+\n?"
        node.substitute("nvidia_smi_nvlink", errors, r"\1", _NVLINK_ERRORS)
    lines = []
    for line in node.text("nvidia_smi_topo", _TOPOLOGY).split("\n"):
        cells = line.split("\t")
        if cells[0] == f"GPU{gpu}":
            cells = [cell.replace("NV18", "NV16") for cell in cells]
        elif cells[0].startswith("GPU"):
            cells[gpu + 1] = cells[gpu + 1].replace("NV18", "NV16")
        lines.append("\t".join(cells))
    node.answer("nvidia_smi_topo", _TOPOLOGY, "\n".join(lines))
    node.gpu(gpu, gpu_recovery_action="Reset")
    xid = _xid(gpu)
    node.kernel_says(
        19.6,
        "nvidia-nvswitch2: SXid (PCI:0000:07:00.0): 20034, Fatal, Link 37 LTSSM Fault Up",
        "nvidia-nvswitch2: SXid (PCI:0000:07:00.0): 20034, Fatal, Link 36 LTSSM Fault Up",
        *(
            f"{xid}: 74, pid='<unknown>', name=<unknown>, NVLink: fatal error detected on link {link}"
            "(0x0, 0x0, 0x10000, 0x0, 0x0, 0x0, 0x0)"
            for link in links
        ),
        f"{xid}: 154, GPU recovery action changed from 0x0 (None) to 0x1 (GPU Reset Required)",
    )


def driver_hangs(node: Recording) -> None:
    """The firmware of GPU 3 does not answer its driver: nvidia-smi waits for it and cannot even be killed."""
    for source, command in (
        ("nvidia_smi_q", _QUERY),
        ("nvidia_smi_list", _LIST),
        ("nvidia_smi_topo", _TOPOLOGY),
        ("nvidia_smi_p2p", _P2P),
        ("nvidia_smi_nvlink", _NVLINK),
    ):
        node.hang(source, command, 45)
    xid = _xid(3)
    node.kernel_says(
        1.3,
        f"{xid}: 119, pid=204512, name=nvidia-smi, Timeout after 6s of waiting for RPC response from GPU3 GSP! "
        "Expected function 76 (GSP_RM_CONTROL) (0x20801348 0x410).",
        f"{xid}: 154, GPU recovery action changed from 0x0 (None) to 0x1 (GPU Reset Required)",
    )
    node.kernel_says(1.25, "INFO: task nvidia-smi:204512 blocked for more than 122 seconds.")


def _xid(gpu: int) -> str:
    return f"NVRM: Xid (PCI:0000:{GPU_BUSES[gpu]}:00)"


_OFF_THE_BUS = LiveStory(
    pace=0.7,
    lost_gpu=5,
    events=(
        ("xid", 5, 79, "GPU has fallen off the bus."),
        ("lost", 5, None, "GPU is lost"),
    ),
)
_ROW_FAILED = LiveStory(
    idle_gpus=(4,),
    values={4: {"ecc_uncorrectable": 1.0, "remapped_rows": 1.0, "remap_pending": 1.0, "recovery_action": 4.0}},
)
# Both with the limit that their GPUs were left with, and one of them between two jobs now and then.
_CAPPED, _CAPPED_JOBS = LiveStory(limit_w=500.0), LiveStory(limit_w=500.0, window=JOBS, pace=0.5)
_LINKS = LiveStory(links=16 / 18, values={6: {"recovery_action": 1.0}})
_HANGS = LiveStory(
    events=(("xid", 3, 119, "Timeout after 6s of waiting for RPC response from GPU3 GSP!"),),
    stops_after_s=5.0,
)
_MISMATCH = LiveStory(
    no_driver="nvmlInit: Driver/library version mismatch (the driver was changed under a loaded kernel module: "
    "reload it or reboot)"
)
_JOBS, _IDLE = LiveStory(window=JOBS, pace=0.6), LiveStory(window=IDLE)

FLEET = (
    DemoNode("gpu-01", think_s=0.2),
    DemoNode("gpu-02", "well, but for a VBIOS that no other node has", older_vbios, think_s=0.3, live=_JOBS),
    DemoNode("gpu-03", "driver upgraded on disk, not rebooted", half_upgraded, think_s=0.1, live=_MISMATCH),
    DemoNode("gpu-04", "GPU 5 has fallen off the bus", gpu_off_the_bus, think_s=0.5, live=_OFF_THE_BUS),
    DemoNode(
        "gpu-05", "uncorrectable memory error on GPU 4, row remap pending", memory_error, think_s=0.4, live=_ROW_FAILED
    ),
    DemoNode("gpu-06", "reinstalled without its tuning", not_tuned, think_s=0.3, live=_CAPPED),
    DemoNode("gpu-07", "reinstalled without its tuning", not_tuned, think_s=0.4, live=_CAPPED_JOBS),
    DemoNode("gpu-08", "two NVLinks of GPU 6 are down", links_down, think_s=0.2, live=_LINKS),
    DemoNode("gpu-09", "nvidia-smi hangs", driver_hangs, think_s=0.6, live=_HANGS),
    DemoNode("gpu-10", think_s=0.4),
    DemoNode("gpu-11", h100=True, think_s=0.3, live=_JOBS),
    DemoNode("gpu-12", h100=True, think_s=0.2, live=_IDLE),
    DemoNode("gpu-13", "no SSH server", h100=True, door=Door.REFUSES),
    DemoNode("gpu-14", "its host key has changed", h100=True, door=Door.OTHER_KEY),
)
