"""The columns of an AMD GPU in `gpu.devices`. Those that other vendors have too bear their names, types and units."""

from __future__ import annotations

from nodectl.facts.registry import Field

SHARED: tuple[Field, ...] = (
    Field("index", "int", "", "number that amd-smi gives the GPU, else its place on the bus"),
    Field("name", "str", "", "product name"),
    Field("serial", "str", "", "serial number of the board"),
    Field("pci_bus_id", "str", "", "PCI address as sysfs writes it"),
    Field("pci_id", "str", "", "PCI vendor:device"),
    Field("board_part_number", "str", "", "model number of the board"),
    Field("module_id", "int", "", "place on the baseboard (OAM)"),
    Field("vbios_version", "str", "", "part number or version of the VBIOS (IFWI)"),
    Field("memory_total_mib", "int", "MiB", "VRAM"),
    Field("memory_used_mib", "int", "MiB", "VRAM in use"),
    Field("temperature_c", "int", "C", "hottest spot (junction)"),
    Field("temperature_memory_c", "int", "C", "HBM"),
    Field("temperature_slowdown_c", "int", "C", "junction temperature at which the GPU slows down"),
    Field("temperature_shutdown_c", "int", "C", "junction temperature of shutdown"),
    Field("temperature_memory_max_operating_c", "int", "C", "HBM temperature at which the GPU slows down"),
    Field("power_draw_w", "float", "W", "socket power"),
    Field("power_limit_w", "float", "W", "power cap in force"),
    Field("power_default_limit_w", "float", "W", "power cap of the factory"),
    Field("power_min_limit_w", "float", "W", "lowest cap that can be set"),
    Field("power_max_limit_w", "float", "W", "highest cap that can be set"),
    Field("gpu_utilization_pct", "int", "%", "graphics and compute activity"),
    Field("pcie_gen_current", "int", "", "PCIe generation now; may be lower when idle"),
    Field("pcie_gen_max", "int", "", "highest PCIe generation of the GPU"),
    Field("pcie_width_current", "int", "lanes", "PCIe lanes now"),
    Field("pcie_width_max", "int", "lanes", "highest number of PCIe lanes"),
    Field("pcie_replays", "int", "", "PCIe replays"),
    Field("ecc_current", "bool", "", "ECC of the memory (RAS, block UMC) is on"),
    Field("ecc_uncorrectable_volatile", "int", "", "uncorrectable errors of all blocks since the driver was loaded"),
    Field("ecc_correctable_volatile", "int", "", "correctable errors of all blocks since the driver was loaded"),
)
OWN: tuple[Field, ...] = (
    Field("gfx_version", "str", "", "instruction set: gfx942 (MI300), gfx950 (MI350), gfx90a (MI200)"),
    Field("asic_serial", "str", "", "serial number of the chip (unique id)"),
    Field("ecc_deferred_volatile", "int", "", "deferred errors (poison) since the driver was loaded"),
    Field("bad_pages_retired", "int", "", "pages of HBM that are out of use"),
    Field("bad_pages_pending", "int", "", "bad pages that wait for the next load of the driver"),
    Field("bad_pages_unreservable", "int", "", "bad pages that could not be taken out of use"),
    Field("compute_partition", "str", "", "SPX, DPX, QPX, CPX"),
    Field("memory_partition", "str", "", "NPS1, NPS2, NPS4, NPS8"),
    Field("xgmi_links_up", "int", "", "XGMI links that are up (amd-smi of ROCm 6.4 or later)"),
    Field("xgmi_links_down", "int", "", "XGMI links that are down"),
    Field("xgmi_links_disabled", "int", "", "XGMI links that are disabled or not wired"),
    Field("xgmi_hive_id", "str", "", "hive: the GPUs that are linked with each other have the same"),
    Field("firmware", "any", "", "firmware of the GPU's parts: {part: version}"),
)
DEVICE_FIELDS: tuple[Field, ...] = (*SHARED, *OWN)
NODE_FIELDS: tuple[Field, ...] = (
    Field("path", "str", "", "/dev/kfd, /dev/dri/renderD128, ..."),
    Field("uid", "int", "", "its owner"),
    Field("gid", "int", "", "its group"),
    Field("group_access", "bool", "", "its group may read and write it"),
    Field("all_access", "bool", "", "everyone may read and write it"),
)
