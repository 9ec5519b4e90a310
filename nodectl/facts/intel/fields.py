"""The columns of Gaudi and of Intel's GPUs in `gpu.devices`: the shared names, and what only these have."""

from __future__ import annotations

from nodectl.facts.registry import Field

_COMMON = (
    Field("index", "int", "", "number that the tool gives the device"),
    Field("uuid", "str", "", "UUID"),
    Field("name", "str", "", "product name"),
    Field("pci_bus_id", "str", "", "PCI address as sysfs writes it"),
    Field("pci_id", "str", "", "PCI vendor:device"),
    Field("vbios_version", "str", "", "firmware that starts the device (Gaudi: preboot; Intel: GFX)"),
    Field("memory_total_mib", "int", "MiB", "memory of the device"),
    Field("memory_used_mib", "int", "MiB", "memory in use"),
    Field("temperature_c", "int", "C", "core temperature"),
    Field("power_draw_w", "float", "W", "power draw"),
    Field("gpu_utilization_pct", "int", "%", "utilization"),
    Field("ecc_uncorrectable_volatile", "int", "", "uncorrectable errors since the driver was loaded"),
)
GAUDI_FIELDS: tuple[Field, ...] = (
    *_COMMON,
    Field("module_id", "int", "", "place on the baseboard (OAM)"),
    Field("power_limit_w", "float", "W", "power limit"),
    Field("firmware_version", "str", "", "firmware that runs (CPU-CP or its operating system)"),
    Field("status", "str", "", "as the driver says: Operational, In reset, Malfunction, ..."),
    Field("hard_resets", "int", "", "hard resets since the driver was loaded"),
    Field("soft_resets", "int", "", "soft (compute) resets since the driver was loaded"),
    Field("ports_internal_up", "int", "", "ports to the other Gaudis of the node that are up"),
    Field("ports_internal_down", "int", "", "ports to the other Gaudis of the node that are down"),
    Field("ports_external_up", "int", "", "ports that lead out of the node and are up"),
    Field("ports_external_down", "int", "", "ports that lead out of the node and are down"),
    Field("ports_down", "list", "", 'the ports that are down: "8 (external)"'),
)
INTEL_FIELDS: tuple[Field, ...] = (
    *_COMMON,
    Field("serial", "str", "", "serial number of the board"),
    Field("pcie_gen_max", "int", "", "highest PCIe generation of the GPU"),
    Field("pcie_width_max", "int", "lanes", "highest number of PCIe lanes"),
    Field("temperature_memory_c", "int", "C", "memory temperature"),
    Field("ecc_current", "bool", "", "ECC of the memory is on"),
    Field("ecc_correctable_volatile", "int", "", "correctable errors since the driver was loaded"),
    Field("driver_version", "str", "", "driver as xpu-smi prints it"),
    Field("resets", "int", "", "resets that xpu-smi has counted"),
    Field("health", "any", "", "xpu-smi's verdict by component: {core_temperature: Ok, xe_link_port: Ok, ...}"),
    Field("xe_link_ports", "int", "", "Xe Link ports that the GPU has"),
    Field("tiles", "int", "", "tiles (stacks) of the GPU"),
)
