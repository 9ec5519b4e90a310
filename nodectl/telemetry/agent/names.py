"""The fields in the order in which they travel: telemetry/fields.py without its words (a test holds them equal)."""

GPU_FAST = (
    "gpu_util_pct",
    "memory_util_pct",
    "memory_used_mib",
    "temperature_c",
    "temperature_memory_c",
    "power_w",
    "sm_clock_mhz",
    "mem_clock_mhz",
    "clocks_event_reasons",
    "pcie_tx_mib_s",
    "pcie_rx_mib_s",
    "nvlink_tx_mib_s",
    "nvlink_rx_mib_s",
    "ecc_uncorrectable",
    "ecc_correctable",
    "remapped_rows",
    "remap_pending",
    "remap_failure",
    "recovery_action",
    "sm_active_pct",
    "tensor_active_pct",
    "memory_bandwidth_pct",
)
GPU_SLOW = ("power_limit_w", "t_limit_margin_c", "energy_j", "pcie_replays", "pcie_gen", "pcie_width")
HOST_FAST = (
    "cpu_util_pct",
    "memory_used_pct",
    "load1",
    "net_tx_mib_s",
    "net_rx_mib_s",
    "ib_tx_mib_s",
    "ib_rx_mib_s",
    "disk_read_mib_s",
    "disk_write_mib_s",
)
HOST_SLOW = ("agent_cpu_pct",)

FAST_AT = {name: number for number, name in enumerate(GPU_FAST)}
SLOW_AT = {name: number for number, name in enumerate(GPU_SLOW)}
