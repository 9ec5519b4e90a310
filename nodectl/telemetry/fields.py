"""What is sampled, in the order in which it travels: one place for names, units, beats and how values roll up.

A value is a number, or None: not known now. Why a field is never known on a node (the driver does not support it, no
permission) is said once, in the agent's hello; a value that is missing for one tick is just None. Rates are made by
the agent from counters (differences over its own clock), so a lost line costs no precision.

What a read costs decides its beat: `fast` fields are read each tick, `slow` ones every SLOW_EVERY_S seconds. Measured
on H200: energy 2 to 4 ms a GPU, T.Limit margin 0.6 to 1.3 ms, against 2 to 10 us for clocks, power and temperature.
"""

from __future__ import annotations

import msgspec

SLOW_EVERY_S = 10.0
FAST, SLOW = "fast", "slow"


class Field(msgspec.Struct, frozen=True):
    """One sampled quantity.

    Attributes:
        type: `float`, `int` or `mask` (bits).
        over_gpus: how the values of a node's GPUs become the node's: max, min, sum, mean, or (of bits), none.
    """

    name: str
    unit: str
    type: str
    beat: str
    over_gpus: str
    about: str


GPU_FIELDS: tuple[Field, ...] = (
    Field("gpu_util_pct", "%", "int", FAST, "mean", "share of time in which a kernel ran"),
    Field("memory_util_pct", "%", "int", FAST, "mean", "share of time in which memory was read or written"),
    Field("memory_used_mib", "MiB", "int", FAST, "sum", "GPU memory in use, without what the driver reserves"),
    Field("temperature_c", "C", "int", FAST, "max", "GPU temperature"),
    Field("temperature_memory_c", "C", "int", FAST, "max", "HBM temperature"),
    Field("power_w", "W", "float", FAST, "sum", "power draw"),
    Field("sm_clock_mhz", "MHz", "int", FAST, "min", "SM clock"),
    Field("mem_clock_mhz", "MHz", "int", FAST, "min", "memory clock"),
    Field("clocks_event_reasons", "", "mask", FAST, "or", "why clocks are held down (nvmlClocksEventReasons bits)"),
    Field("pcie_tx_mib_s", "MiB/s", "float", FAST, "sum", "sent over PCIe"),
    Field("pcie_rx_mib_s", "MiB/s", "float", FAST, "sum", "received over PCIe"),
    Field("nvlink_tx_mib_s", "MiB/s", "float", FAST, "sum", "data sent over all NVLinks"),
    Field("nvlink_rx_mib_s", "MiB/s", "float", FAST, "sum", "data received over all NVLinks"),
    Field("ecc_uncorrectable", "", "int", FAST, "sum", "uncorrectable memory errors since the driver was loaded"),
    Field("ecc_correctable", "", "int", FAST, "sum", "corrected memory errors since the driver was loaded"),
    Field("remapped_rows", "", "int", FAST, "sum", "memory rows replaced by spare ones"),
    Field("remap_pending", "", "int", FAST, "max", "1: a row waits for a reset to be replaced"),
    Field("remap_failure", "", "int", FAST, "max", "1: a row could not be replaced"),
    Field(
        "recovery_action",
        "",
        "int",
        FAST,
        "max",
        "0 none, 1 reset, 2 reboot, 3 drain P2P, 4 drain and reset, 5 recover IMEX domain, 6 reset bus, 7 reboot",
    ),
    Field("sm_active_pct", "%", "float", FAST, "mean", "share of SMs that were busy (Hopper and newer)"),
    Field("tensor_active_pct", "%", "float", FAST, "mean", "share of time that tensor cores worked (Hopper and newer)"),
    Field("memory_bandwidth_pct", "%", "float", FAST, "mean", "GPU memory bandwidth in use (Hopper and newer)"),
    Field("power_limit_w", "W", "float", SLOW, "sum", "enforced power limit"),
    Field("t_limit_margin_c", "C", "int", SLOW, "min", "degrees until the GPU slows down"),
    Field("energy_j", "J", "float", SLOW, "sum", "energy since the driver was loaded"),
    Field("pcie_replays", "", "int", SLOW, "sum", "PCIe packets sent again"),
    Field("pcie_gen", "", "int", SLOW, "min", "PCIe generation of the link as it is now"),
    Field("pcie_width", "lanes", "int", SLOW, "min", "PCIe lanes in use"),
)

HOST_FIELDS: tuple[Field, ...] = (
    Field("cpu_util_pct", "%", "float", FAST, "none", "share of time in which CPUs were not idle"),
    Field("memory_used_pct", "%", "float", FAST, "none", "1 - MemAvailable / MemTotal"),
    Field("load1", "", "float", FAST, "none", "load average over a minute"),
    Field("net_tx_mib_s", "MiB/s", "float", FAST, "none", "sent by all physical network interfaces"),
    Field("net_rx_mib_s", "MiB/s", "float", FAST, "none", "received by all physical network interfaces"),
    Field("ib_tx_mib_s", "MiB/s", "float", FAST, "none", "sent by all InfiniBand and RoCE ports"),
    Field("ib_rx_mib_s", "MiB/s", "float", FAST, "none", "received by all InfiniBand and RoCE ports"),
    Field("disk_read_mib_s", "MiB/s", "float", FAST, "none", "read from local disks"),
    Field("disk_write_mib_s", "MiB/s", "float", FAST, "none", "written to local disks"),
    Field("agent_cpu_pct", "%", "float", SLOW, "none", "what the agent itself uses, of one core"),
)

GPU_INDEX: dict[str, int] = {field.name: number for number, field in enumerate(GPU_FIELDS)}
HOST_INDEX: dict[str, int] = {field.name: number for number, field in enumerate(HOST_FIELDS)}
