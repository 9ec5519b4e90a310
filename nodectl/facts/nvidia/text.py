"""`nvidia-smi -q` (plain text): the same `ReplyRecord` as the XML form gives.

Bug reports and older tools have the text form only. Its tree is told by indentation; labels are mapped onto the XML
paths that `nvidia_columns` reads. Only labels that some column needs are mapped. The text has no end mark: a list that
is shorter than `Attached GPUs`, or text that ends in the middle of a line, is taken as cut.
"""

from __future__ import annotations

import re

from nodectl.facts.nvidia.rows import COUNTERS, FABRIC_HEALTH, MAX_PROCESSES, GpuRecord, Leaves, ReplyRecord
from nodectl.facts.nvidia.xml import MAX_CHARACTERS, MAX_DEPTH, MAX_GPUS, MAX_LEAVES

BANNER = "NVSMI LOG"

_LINE = re.compile(r"( *)([^:]{1,80}?) *:(?: (.*))?")
_GPU = re.compile(r"GPU ((?:[0-9A-Fa-f]{1,8}:)?[0-9A-Fa-f]{2}:[0-9A-Fa-f]{2}\.[0-7]) *")
_HEAD = {"driver version": "driver_version", "cuda version": "cuda_version", "attached gpus": "attached_gpus"}
_PROCESS = {"process id": "pid", "type": "type", "name": "process_name", "used gpu memory": "used_memory"}

# label path (lower case) of the text -> path of the XML; a value of several labels for one path is an older spelling.
_PLAIN = {
    "product name": "product_name",
    "product architecture": "product_architecture",
    "persistence mode": "persistence_mode",
    "addressing mode": "addressing_mode",
    "mig mode/current": "mig_mode/current_mig",
    "mig mode/pending": "mig_mode/pending_mig",
    "serial number": "serial",
    "gpu uuid": "uuid",
    "vbios version": "vbios_version",
    "board part number": "board_part_number",
    "module id": "gpu_module_id",
    "platform info/module id": "platformInfo/module_id",
    "inforom version/image version": "inforom_version/img_version",
    "gpu c2c mode": "c2c_mode",
    "gpu virtualization mode/virtualization mode": "gpu_virtualization_mode/virtualization_mode",
    "gpu recovery action": "gpu_recovery_action",
    "gpu reset status/reset required": "gpu_reset_status/reset_required",
    "gpu reset status/drain and reset recommended": "gpu_reset_status/drain_and_reset_recommended",
    "gsp firmware version": "gsp_firmware_version",
    "pci/device id": "pci/pci_device_id",
    "pci/bus id": "pci/pci_bus_id",
    "pci/sub system id": "pci/pci_sub_system_id",
    "pci/gpu link info/pcie generation/max": "pci/pci_gpu_link_info/pcie_gen/max_link_gen",
    "pci/gpu link info/pcie generation/current": "pci/pci_gpu_link_info/pcie_gen/current_link_gen",
    "pci/gpu link info/pcie generation/device max": "pci/pci_gpu_link_info/pcie_gen/max_device_link_gen",
    "pci/gpu link info/pcie generation/host max": "pci/pci_gpu_link_info/pcie_gen/max_host_link_gen",
    "pci/gpu link info/link width/max": "pci/pci_gpu_link_info/link_widths/max_link_width",
    "pci/gpu link info/link width/current": "pci/pci_gpu_link_info/link_widths/current_link_width",
    "pci/replays since reset": "pci/replay_counter",
    "performance state": "performance_state",
    "fb memory usage/total": "fb_memory_usage/total",
    "fb memory usage/used": "fb_memory_usage/used",
    "bar1 memory usage/total": "bar1_memory_usage/total",
    "compute mode": "compute_mode",
    "utilization/gpu": "utilization/gpu_util",
    "ecc mode/current": "ecc_mode/current_ecc",
    "ecc mode/pending": "ecc_mode/pending_ecc",
    "ecc errors/channel repair pending": "ecc_errors/channel_repair_pending",
    "ecc errors/tpc repair pending": "ecc_errors/tpc_repair_pending",
    "ecc errors/unrepairable memory": "ecc_errors/unrepairable_memory",
    "retired pages/single bit ecc": "retired_pages/multiple_single_bit_retirement/retired_count",
    "retired pages/double bit ecc": "retired_pages/double_bit_retirement/retired_count",
    "retired pages/pending page blacklist": "retired_pages/pending_blacklist",
    "retired pages/pending": "retired_pages/pending_retirement",
    "remapped rows/correctable error": "remapped_rows/remapped_row_corr",
    "remapped rows/uncorrectable error": "remapped_rows/remapped_row_unc",
    "remapped rows/pending": "remapped_rows/remapped_row_pending",
    "remapped rows/remapping failure occurred": "remapped_rows/remapped_row_failure",
    "temperature/gpu current temp": "temperature/gpu_temp",
    "temperature/gpu t.limit temp": "temperature/gpu_temp_tlimit",
    "temperature/gpu shutdown t.limit temp": "temperature/gpu_temp_max_tlimit_threshold",
    "temperature/gpu slowdown t.limit temp": "temperature/gpu_temp_slow_tlimit_threshold",
    "temperature/gpu shutdown temp": "temperature/gpu_temp_max_threshold",
    "temperature/gpu slowdown temp": "temperature/gpu_temp_slow_threshold",
    "temperature/gpu max operating temp": "temperature/gpu_temp_max_gpu_threshold",
    "temperature/memory current temp": "temperature/memory_temp",
    "temperature/memory max operating temp": "temperature/gpu_temp_max_mem_threshold",
    "clocks/sm": "clocks/sm_clock",
    "clocks/memory": "clocks/mem_clock",
    "max clocks/sm": "max_clocks/sm_clock",
    "max clocks/memory": "max_clocks/mem_clock",
    "fabric/state": "fabric/state",
    "fabric/status": "fabric/status",
    "fabric/cliqueid": "fabric/cliqueId",
    "fabric/clusteruuid": "fabric/clusterUuid",
    "fabric/health/summary": "fabric/health/summary",
}
_SECTIONS = {  # a whole section that is printed as one word
    "remapped rows": "remapped_rows",
    "retired pages": "retired_pages",
    "ecc errors": "ecc_errors",
    "temperature": "temperature",
    "fabric": "fabric",
    "fabric/health": "fabric/health",
    "processes": "processes",
    "clocks event reasons": "clocks_event_reasons",
    "clocks throttle reasons": "clocks_throttle_reasons",
}
_ECC = (
    "sram correctable",
    "sram uncorrectable",
    "sram uncorrectable parity",
    "sram uncorrectable sec-ded",
    "dram correctable",
    "dram uncorrectable",
    "sram threshold exceeded",
)


def _table() -> dict[str, str]:
    table = _PLAIN | _SECTIONS
    reasons = {
        "idle": "gpu_idle",
        "applications clocks setting": "applications_clocks_setting",
        "sw power cap": "sw_power_cap",
        "hw slowdown": "hw_slowdown",
        "hw slowdown/hw thermal slowdown": "hw_thermal_slowdown",
        "hw slowdown/hw power brake slowdown": "hw_power_brake_slowdown",
        "sync boost": "sync_boost",
        "sw thermal slowdown": "sw_thermal_slowdown",
        "display clock setting": "display_clocks_setting",
        "unknown": "unknown",
    }
    for label, key in reasons.items():
        table[f"clocks event reasons/{label}"] = f"clocks_event_reasons/clocks_event_reason_{key}"
        table[f"clocks throttle reasons/{label}"] = f"clocks_throttle_reasons/clocks_throttle_reason_{key}"
    counters = ("sw power capping", "sync boost", "sw thermal slowdown", "hw thermal slowdown", "hw power braking")
    for label, key in zip(counters, COUNTERS, strict=True):
        table[f"clocks event reasons counters/{label}"] = (
            f"clocks_event_reasons_counters/clocks_event_reasons_counters_{key}"
        )
    powers = {
        "power draw": "power_draw",
        "average power draw": "average_power_draw",
        "instantaneous power draw": "instant_power_draw",
        "current power limit": "current_power_limit",
        "enforced power limit": "enforced_power_limit",
        "power limit": "power_limit",
        "default power limit": "default_power_limit",
        "min power limit": "min_power_limit",
        "max power limit": "max_power_limit",
    }
    for label, key in powers.items():
        table[f"gpu power readings/{label}"] = f"gpu_power_readings/{key}"
        table[f"power readings/{label}"] = f"power_readings/{key}"
    for group in ("volatile", "aggregate"):
        for label in _ECC:
            key = label.replace("sec-ded", "secded").replace(" ", "_")
            table[f"ecc errors/{group}/{label}"] = f"ecc_errors/{group}/{key}"
        for bits in ("single bit", "double bit"):
            for label in ("device memory", "total"):
                table[f"ecc errors/{group}/{bits}/{label}"] = (
                    f"ecc_errors/{group}/{bits.replace(' ', '_')}/{label.replace(' ', '_')}"
                )
    for label in ("max", "high", "partial", "low", "none"):
        table[f"remapped rows/bank remap availability histogram/{label}"] = (
            f"remapped_rows/row_remapper_histogram/row_remapper_histogram_{label}"
        )
    for key in FABRIC_HEALTH:
        table[f"fabric/health/{key.replace('_', ' ')}"] = f"fabric/health/{key}"
    return table


TEXT_TO_XML = _table()


def looks_like_text(text: str) -> bool:
    return BANNER in text or "\nAttached GPUs" in text or text.startswith("Attached GPUs")


def read_text(text: str) -> ReplyRecord:
    """Read the text form. Text before the banner is kept as `stray`; unknown labels are passed over.

    Returns:
        The record; its `problem` says why the list of GPUs is not whole.
    """
    if len(text) > MAX_CHARACTERS:
        return ReplyRecord(problem=f"the text is larger than {MAX_CHARACTERS} characters")
    record = ReplyRecord()
    reader = _Reader(record)
    stray = []
    for line in text.split("\n"):
        if not line or line.isspace() or BANNER in line:
            continue
        if not reader.take(line):
            stray.append(line.strip())
    record.stray = "\n".join(stray[:20])
    record.problem = reader.problem or _cut(text, record)
    return record


def _cut(text: str, record: ReplyRecord) -> str:
    attached = record.head.get("attached_gpus", "")
    if not attached.isdecimal():
        return "the text is no answer of nvidia-smi -q: it names no attached GPUs"
    if len(record.gpus) < int(attached[:6]) or (record.gpus and not text.endswith("\n")):
        return f"truncated after {len(record.gpus)} of {attached} GPUs"
    return ""


class _Reader:
    """Takes line after line; the open headings are a stack of (indentation, label path)."""

    def __init__(self, record: ReplyRecord) -> None:
        self.problem = ""
        self._record = record
        self._gpu: GpuRecord | None = None
        self._stack: list[tuple[int, str]] = []

    def take(self, line: str) -> bool:
        """False when the line is none of nvidia-smi's fields."""
        heading = _GPU.fullmatch(line)
        if heading is not None:
            if len(self._record.gpus) >= MAX_GPUS:
                self.problem = f"more than {MAX_GPUS} GPUs"
                return True
            self._gpu = GpuRecord({"@id": heading[1]})
            self._record.gpus.append(self._gpu)
            self._stack = []
            return True
        match = _LINE.fullmatch(line)
        if match is None:
            return self._open(line)
        indent, label, value = len(match[1]), match[2].strip().casefold(), (match[3] or "").strip()
        if self._gpu is None or indent == 0:
            known = _HEAD.get(label)
            if known is not None and self._gpu is None:
                self._record.head[known] = value
            return known is not None or label == "timestamp"
        path = self._below(indent) + label
        self._stack.append((indent, path + "/"))
        self._keep(path, label, value)
        return True

    def _open(self, line: str) -> bool:
        """A heading with no value. At the margin, or with none of the indentation of nvidia-smi, it is stray text."""
        indent = len(line) - len(line.lstrip(" "))
        if self._gpu is None or indent == 0 or indent % 4:
            return False
        path = self._below(indent) + line.strip().casefold()
        if path == "mig device":
            self._gpu.mig_devices += 1
        elif path == "processes":
            self._gpu.leaves.setdefault("processes", "")
        self._stack.append((indent, path + "/"))
        if len(self._stack) > MAX_DEPTH:
            self.problem = f"headings are nested deeper than {MAX_DEPTH}"
            self._stack = []
        return True

    def _below(self, indent: int) -> str:
        while self._stack and self._stack[-1][0] >= indent:
            self._stack.pop()
        return self._stack[-1][1] if self._stack else ""

    def _keep(self, path: str, label: str, value: str) -> None:
        assert self._gpu is not None
        if path.startswith("processes/"):
            self._keep_process(label, value)
            return
        known = TEXT_TO_XML.get(path)
        if known is not None and len(self._gpu.leaves) < MAX_LEAVES:
            self._gpu.leaves[known] = value
            if known == "mig_mode/current_mig":
                self._gpu.leaves["mig_devices"] = "None"  # the text form lists them or says nothing

    def _keep_process(self, label: str, value: str) -> None:
        assert self._gpu is not None
        processes: list[Leaves] = self._gpu.processes
        known = _PROCESS.get(label)
        if known == "pid" and len(processes) < MAX_PROCESSES:
            processes.append({})
        if known is not None and processes:
            processes[-1].setdefault(known, value)
