"""What sampled fields are called in Prometheus, and in which units: the only place where a metric gets its name.

Base units as the Prometheus conventions ask for: bytes, watts, joules, celsius, hertz, seconds, and ratios of 0 to 1.
What only grows is a counter (`_total`), also where the driver begins again at 0: Prometheus knows resets.
https://prometheus.io/docs/practices/naming/ and the OpenMetrics 1.0 specification.
"""

from __future__ import annotations

import msgspec

from nodectl.telemetry.fields import GPU_FIELDS, HOST_FIELDS

GAUGE, COUNTER, INFO = "gauge", "counter", "info"
_SUFFIX = {GAUGE: "", COUNTER: "_total", INFO: "_info"}
_MIB, _PERCENT, _MHZ = float(1 << 20), 0.01, 1e6


class Family(msgspec.Struct, frozen=True):
    """A metric family. `name` is without the suffix of its type; `unit` is the end of it, or empty."""

    name: str
    type: str
    about: str
    unit: str = ""

    @property
    def sample(self) -> str:
        """The name that its samples bear."""
        return self.name + _SUFFIX[self.type]

    def head(self, openmetrics: bool) -> str:
        """The comment lines above its samples."""
        if openmetrics:
            unit = f"# UNIT {self.name} {self.unit}\n" if self.unit else ""
            return f"# TYPE {self.name} {self.type}\n{unit}# HELP {self.name} {self.about}\n"
        shown = COUNTER if self.type == COUNTER else GAUGE
        return f"# HELP {self.sample} {self.about}\n# TYPE {self.sample} {shown}\n"


class Column(msgspec.Struct, frozen=True):
    """One sampled field as a metric: `at` is its place in a row, `scale` what one of its unit is in the metric's."""

    family: Family
    at: int
    scale: float


def _gauge(name: str, about: str, unit: str = "") -> Family:
    return Family(name, GAUGE, about, unit)


# Field: end of the metric's name behind `nodectl_gpu_` or `nodectl_host_`, its type and unit. Units that are no
# suffix of the name (bytes_per_second) are no UNIT of OpenMetrics.
_RATIO, _BYTES, _RATE = ("ratio", _PERCENT), ("bytes", _MIB), ("", _MIB)
_PLAIN, _WATTS, _CELSIUS, _HERTZ = ("", 1.0), ("watts", 1.0), ("celsius", 1.0), ("hertz", _MHZ)
_GPU = {
    "gpu_util_pct": ("utilization_ratio", GAUGE, _RATIO),
    "memory_util_pct": ("memory_utilization_ratio", GAUGE, _RATIO),
    "memory_used_mib": ("memory_used_bytes", GAUGE, _BYTES),
    "temperature_c": ("temperature_celsius", GAUGE, _CELSIUS),
    "temperature_memory_c": ("memory_temperature_celsius", GAUGE, _CELSIUS),
    "power_w": ("power_watts", GAUGE, _WATTS),
    "sm_clock_mhz": ("sm_clock_hertz", GAUGE, _HERTZ),
    "mem_clock_mhz": ("memory_clock_hertz", GAUGE, _HERTZ),
    "clocks_event_reasons": ("clocks_event_reasons", GAUGE, _PLAIN),
    "pcie_tx_mib_s": ("pcie_transmit_bytes_per_second", GAUGE, _RATE),
    "pcie_rx_mib_s": ("pcie_receive_bytes_per_second", GAUGE, _RATE),
    "nvlink_tx_mib_s": ("nvlink_transmit_bytes_per_second", GAUGE, _RATE),
    "nvlink_rx_mib_s": ("nvlink_receive_bytes_per_second", GAUGE, _RATE),
    "ecc_uncorrectable": ("ecc_uncorrectable_errors", COUNTER, _PLAIN),
    "ecc_correctable": ("ecc_correctable_errors", COUNTER, _PLAIN),
    "remapped_rows": ("remapped_rows", COUNTER, _PLAIN),
    "remap_pending": ("row_remap_pending", GAUGE, _PLAIN),
    "remap_failure": ("row_remap_failure", GAUGE, _PLAIN),
    "recovery_action": ("recovery_action", GAUGE, _PLAIN),
    "sm_active_pct": ("sm_active_ratio", GAUGE, _RATIO),
    "tensor_active_pct": ("tensor_active_ratio", GAUGE, _RATIO),
    "memory_bandwidth_pct": ("memory_bandwidth_ratio", GAUGE, _RATIO),
    "power_limit_w": ("power_limit_watts", GAUGE, _WATTS),
    "t_limit_margin_c": ("temperature_limit_margin_celsius", GAUGE, _CELSIUS),
    "energy_j": ("energy_joules", COUNTER, ("joules", 1.0)),
    "pcie_replays": ("pcie_replays", COUNTER, _PLAIN),
    "pcie_gen": ("pcie_generation", GAUGE, _PLAIN),
    "pcie_width": ("pcie_lanes", GAUGE, _PLAIN),
}
_HOST = {
    "cpu_util_pct": ("cpu_utilization_ratio", GAUGE, _RATIO),
    "memory_used_pct": ("memory_used_ratio", GAUGE, _RATIO),
    "load1": ("load1", GAUGE, _PLAIN),
    "net_tx_mib_s": ("network_transmit_bytes_per_second", GAUGE, _RATE),
    "net_rx_mib_s": ("network_receive_bytes_per_second", GAUGE, _RATE),
    "ib_tx_mib_s": ("infiniband_transmit_bytes_per_second", GAUGE, _RATE),
    "ib_rx_mib_s": ("infiniband_receive_bytes_per_second", GAUGE, _RATE),
    "disk_read_mib_s": ("disk_read_bytes_per_second", GAUGE, _RATE),
    "disk_write_mib_s": ("disk_written_bytes_per_second", GAUGE, _RATE),
    "agent_cpu_pct": ("agent_cpu_ratio", GAUGE, _RATIO),
}

GPU_COLUMNS: tuple[Column, ...] = tuple(
    Column(Family(f"nodectl_gpu_{name}", kind, field.about, unit), at, scale)
    for at, field in enumerate(GPU_FIELDS)
    for name, kind, (unit, scale) in (_GPU[field.name],)
)
HOST_COLUMNS: tuple[Column, ...] = tuple(
    Column(Family(f"nodectl_host_{name}", kind, field.about, unit), at, scale)
    for at, field in enumerate(HOST_FIELDS)
    for name, kind, (unit, scale) in (_HOST[field.name],)
)

BUILD = Family("nodectl_build", INFO, "version of the nodectl that writes this")
NODE_UP = _gauge("nodectl_node_up", "1: samples of the node come in; 0: it is not connected, or stale")
NODE_DOWN = Family("nodectl_node_down", INFO, "why nodectl_node_up is 0")
NODE_HEARD = _gauge(
    "nodectl_node_last_sample_timestamp_seconds", "when the newest sample came, Unix time of the reader", "seconds"
)
NODE = Family("nodectl_node", INFO, "what is fixed while a stream lasts")
NODE_INTERVAL = _gauge("nodectl_node_sample_interval_seconds", "from sample to sample", "seconds")
NODE_COST = _gauge("nodectl_node_sample_cost_seconds", "what the newest sample cost on the node", "seconds")
UNSUPPORTED = Family("nodectl_node_unsupported_field", INFO, "fields that are never known on this node, and why")
HOST_CPUS = _gauge("nodectl_host_cpus", "CPUs")
HOST_MEMORY = _gauge("nodectl_host_memory_size_bytes", "memory of the host", "bytes")
GPU = Family("nodectl_gpu", INFO, "one for each device")
GPU_UP = _gauge("nodectl_gpu_up", "0: the GPU was there and no longer answers its driver")
GPU_MEMORY = _gauge("nodectl_gpu_memory_size_bytes", "memory of the GPU", "bytes")
GPU_SLOWDOWN = _gauge("nodectl_gpu_temperature_slowdown_celsius", "from here on the GPU slows down", "celsius")
GPU_REASON = _gauge("nodectl_gpu_clocks_event_active", "clocks are held down for this reason; idle is left out")
GPU_PROCESSES = _gauge("nodectl_gpu_processes", "processes that use the GPU")
GPU_JOB = Family("nodectl_gpu_job", INFO, "jobs of Slurm or Kubernetes that use the GPU")
GPU_XID = _gauge("nodectl_gpu_last_xid", "code of the newest Xid error seen while watching")
GPU_XID_AT = _gauge("nodectl_gpu_last_xid_timestamp_seconds", "when it was, Unix time of the node", "seconds")

# Bits of nvmlClocksEventReasons, less idle.
CLOCK_REASONS = (
    (0x2, "applications_clocks_setting"),
    (0x4, "sw_power_cap"),
    (0x8, "hw_slowdown"),
    (0x10, "sync_boost"),
    (0x20, "sw_thermal_slowdown"),
    (0x40, "hw_thermal_slowdown"),
    (0x80, "hw_power_brake_slowdown"),
    (0x100, "display_clock_setting"),
)
