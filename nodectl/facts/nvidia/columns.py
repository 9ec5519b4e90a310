"""The columns of `gpu.devices`: what each means, and where nvidia-smi keeps it.

Paths are those of `nvidia-smi -q -x` below `<gpu>`. A column names every place where a driver branch has printed it;
the first place that has something counts. The text form `nvidia-smi -q` is mapped onto the same paths (`nvidia_text`).
"""

from __future__ import annotations

from typing import NamedTuple

from nodectl.facts.nvidia import smi_text
from nodectl.facts.nvidia.smi_text import Reader


class Kind(NamedTuple):
    """What a column holds: its type and unit in the fact registry, and the reader of the printed text."""

    type: str
    unit: str
    read: Reader


class Column(NamedTuple):
    """One field of a GPU row, with the places where it is printed, the newest driver's first."""

    name: str
    kind: Kind
    about: str
    paths: tuple[str, ...]


TEXT = Kind("str", "", smi_text.plain)
BOOL = Kind("bool", "", smi_text.yes_no)
COUNT = Kind("int", "", smi_text.integer())
LANES = Kind("int", "lanes", smi_text.link_width)
MIB = Kind("int", "MiB", smi_text.integer("MiB", "MB"))
CELSIUS = Kind("int", "C", smi_text.integer("C"))
WATT = Kind("float", "W", smi_text.decimal("W"))
MHZ = Kind("int", "MHz", smi_text.integer("MHz"))
PERCENT = Kind("int", "%", smi_text.integer("%"))
ADDRESS = Kind("str", "", smi_text.pci_address)
PCI_ID = Kind("str", "", smi_text.pci_id)
UUID = Kind("str", "", smi_text.uuid)
VERSION = Kind("version", "", smi_text.version)
PSTATE = Kind("str", "", smi_text.pstate)


def _one(name: str, kind: Kind, about: str, *paths: str) -> Column:
    return Column(name, kind, about, paths)


def _power(name: str, about: str, *leaves: str) -> Column:
    """Power readings: the section was `power_readings` up to branch 530."""
    sections = ("gpu_power_readings", "power_readings")
    return Column(name, WATT, about, tuple(f"{section}/{leaf}" for leaf in leaves for section in sections))


def _remap(name: str, kind: Kind, about: str, leaf: str) -> Column:
    return Column(name, kind, about, (f"remapped_rows/{leaf}",))


def _degrees(name: str, about: str, leaf: str) -> Column:
    return Column(name, CELSIUS, about, (f"temperature/{leaf}",))


def _pcie(name: str, kind: Kind, about: str, leaf: str) -> Column:
    return Column(name, kind, about, (f"pci/pci_gpu_link_info/{leaf}",))


IDENTITY = (
    _one("uuid", UUID, "UUID of the GPU", "uuid"),
    _one("name", TEXT, "product name", "product_name"),
    _one("serial", TEXT, "serial number of the board", "serial"),
    _one("pci_bus_id", ADDRESS, "PCI address as sysfs writes it", "pci/pci_bus_id", "@id"),
    _one("pci_id", PCI_ID, "PCI vendor:device", "pci/pci_device_id"),
    _one("pci_subsystem_id", PCI_ID, "PCI subsystem vendor:device", "pci/pci_sub_system_id"),
    _one("architecture", TEXT, "GPU architecture by name", "product_architecture"),
    _one("board_part_number", TEXT, "part number of the board", "board_part_number"),
    _one("module_id", COUNT, "place on the baseboard", "platformInfo/module_id", "gpu_module_id"),
    _one("vbios_version", TEXT, "VBIOS version", "vbios_version"),
    _one("inforom_version", TEXT, "InfoROM image version", "inforom_version/img_version"),
    _one("gsp_firmware_version", VERSION, "GSP firmware that runs now", "gsp_firmware_version"),
)

MODES = (
    _one("persistence_mode", BOOL, "the driver keeps the GPU's state without clients", "persistence_mode"),
    _one("ecc_current", BOOL, "ECC is on", "ecc_mode/current_ecc"),
    _one("ecc_pending", BOOL, "ECC will be on after the next reset", "ecc_mode/pending_ecc"),
    _one("mig_current", BOOL, "MIG is on", "mig_mode/current_mig"),
    _one("mig_pending", BOOL, "MIG will be on after the next reset", "mig_mode/pending_mig"),
    _one("compute_mode", TEXT, "who may open the GPU: Default, Exclusive_Process, Prohibited", "compute_mode"),
    _one("virtualization_mode", TEXT, "None, Pass-Through, VGPU, ...", "gpu_virtualization_mode/virtualization_mode"),
    _one("c2c_mode", TEXT, "chip-to-chip link mode (Grace)", "c2c_mode"),
    _one("addressing_mode", TEXT, "None, HMM or ATS", "addressing_mode"),
    _one("recovery_action", TEXT, "what the driver asks for: None, Reset, Reboot, ...", "gpu_recovery_action"),
    _one("reset_required", BOOL, "the GPU must be reset (branches 535 to 565)", "gpu_reset_status/reset_required"),
    _one(
        "drain_and_reset_recommended",
        BOOL,
        "the GPU should be drained, then reset (branches 535 to 565)",
        "gpu_reset_status/drain_and_reset_recommended",
    ),
)

MEMORY = (
    _one("memory_total_mib", MIB, "frame buffer as the driver counts it", "fb_memory_usage/total"),
    _one("memory_used_mib", MIB, "frame buffer in use", "fb_memory_usage/used"),
    _one("bar1_total_mib", MIB, "BAR1 aperture", "bar1_memory_usage/total"),
    _remap("remapped_rows_correctable", COUNT, "rows remapped for correctable errors", "remapped_row_corr"),
    _remap("remapped_rows_uncorrectable", COUNT, "rows remapped for uncorrectable errors", "remapped_row_unc"),
    _remap("remapped_rows_pending", BOOL, "a remap waits for a GPU reset", "remapped_row_pending"),
    _remap("remapped_rows_failure", BOOL, "a remap has failed", "remapped_row_failure"),
    _one(
        "retired_pages_sbe",
        COUNT,
        "pages retired for single-bit errors (before Ampere)",
        "retired_pages/multiple_single_bit_retirement/retired_count",
    ),
    _one(
        "retired_pages_dbe",
        COUNT,
        "pages retired for double-bit errors (before Ampere)",
        "retired_pages/double_bit_retirement/retired_count",
    ),
    _one(
        "retired_pages_pending",
        BOOL,
        "a page waits for a reboot to be retired",
        "retired_pages/pending_retirement",
        "retired_pages/pending_blacklist",
    ),
    _one(
        "ecc_sram_threshold_exceeded",
        BOOL,
        "NVIDIA's own limit of SRAM errors is passed",
        "ecc_errors/aggregate/sram_threshold_exceeded",
    ),
    _one("channel_repair_pending", BOOL, "a channel repair waits for a reset", "ecc_errors/channel_repair_pending"),
    _one("tpc_repair_pending", BOOL, "a TPC repair waits for a reset", "ecc_errors/tpc_repair_pending"),
    _one("unrepairable_memory", BOOL, "memory that cannot be repaired", "ecc_errors/unrepairable_memory"),
)

# T.Limit counts degrees left and is what Ada and later report; absolute temperatures are what came before. The
# "max" threshold of both is the one of shutdown.
HEAT_AND_POWER = (
    _degrees("temperature_c", "GPU temperature", "gpu_temp"),
    _degrees("temperature_memory_c", "memory temperature", "memory_temp"),
    _degrees("t_limit_c", "degrees left before the GPU must slow down", "gpu_temp_tlimit"),
    _degrees("t_limit_slowdown_c", "T.Limit of hardware slowdown", "gpu_temp_slow_tlimit_threshold"),
    _degrees("t_limit_shutdown_c", "T.Limit of shutdown", "gpu_temp_max_tlimit_threshold"),
    _degrees("temperature_slowdown_c", "temperature of hardware slowdown", "gpu_temp_slow_threshold"),
    _degrees("temperature_shutdown_c", "temperature of shutdown", "gpu_temp_max_threshold"),
    _degrees("temperature_max_operating_c", "highest operating temperature", "gpu_temp_max_gpu_threshold"),
    _degrees("temperature_memory_max_operating_c", "the same of the memory", "gpu_temp_max_mem_threshold"),
    _power(
        "power_draw_w",
        "power draw; an average where the driver gives one",
        "power_draw",
        "average_power_draw",
        "instant_power_draw",
    ),
    _power("power_limit_w", "the limit in force", "current_power_limit", "enforced_power_limit", "power_limit"),
    _power("power_default_limit_w", "factory limit", "default_power_limit"),
    _power("power_min_limit_w", "lowest limit that can be set", "min_power_limit"),
    _power("power_max_limit_w", "highest limit that can be set", "max_power_limit"),
)

WORK = (
    _one("pstate", PSTATE, "performance state, P0 (highest) to P15", "performance_state"),
    _one("gpu_utilization_pct", PERCENT, "time in which a kernel ran", "utilization/gpu_util"),
    _one("sm_clock_mhz", MHZ, "SM clock now", "clocks/sm_clock"),
    _one("sm_clock_max_mhz", MHZ, "highest SM clock", "max_clocks/sm_clock"),
    _one("mem_clock_mhz", MHZ, "memory clock now", "clocks/mem_clock"),
    _one("mem_clock_max_mhz", MHZ, "highest memory clock", "max_clocks/mem_clock"),
    _pcie("pcie_gen_current", COUNT, "PCIe generation now; lower when idle", "pcie_gen/current_link_gen"),
    _pcie("pcie_gen_max", COUNT, "highest PCIe generation of GPU and slot together", "pcie_gen/max_link_gen"),
    _pcie("pcie_gen_device_max", COUNT, "highest PCIe generation of the GPU", "pcie_gen/max_device_link_gen"),
    _pcie("pcie_gen_host_max", COUNT, "highest PCIe generation of the slot", "pcie_gen/max_host_link_gen"),
    _pcie("pcie_width_current", LANES, "PCIe lanes now", "link_widths/current_link_width"),
    _pcie("pcie_width_max", LANES, "highest number of PCIe lanes", "link_widths/max_link_width"),
    _one("pcie_replays", COUNT, "PCIe replays since the last reset", "pci/replay_counter"),
    _one("fabric_state", TEXT, "how far the GPU has joined the NVLink fabric", "fabric/state"),
    _one("fabric_status", TEXT, "how joining the fabric ended", "fabric/status"),
    _one("fabric_health", TEXT, "the fabric's health in one word", "fabric/health/summary"),
    _one("fabric_clique_id", COUNT, "clique within the fabric", "fabric/cliqueId"),
    _one("fabric_cluster_uuid", TEXT, "UUID of the fabric", "fabric/clusterUuid"),
)

COLUMNS: tuple[Column, ...] = (*IDENTITY, *MODES, *MEMORY, *HEAT_AND_POWER, *WORK)
