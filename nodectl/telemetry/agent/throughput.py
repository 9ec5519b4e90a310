"""Bytes a second over PCIe and NVLink, and how busy a GPU's parts are: which of several ways this GPU and driver offer.

Measured on H200 (driver 580) while copying 55 to 60 GB/s to the GPU: the byte counters of field values 197 and 198 are
32 bits wide, so at that speed they wrap every 72 ms, and a difference over a second read 3.9 GB/s; a GPM sample costs
0.05 ms and gave 59.2 GB/s. So, in this order:
  GPM (Hopper and newer)  exact over the tick, with SM, tensor core and memory bandwidth shares in the same sample
  byte counters           if 32 bits wide: read twice, WINDOW_S apart in the same tick, so that they wrap once at most
  nvmlDeviceGetPcieThroughput  blocks 20 ms a call: on the slow beat only
NVLink counters are 64 bits wide; NVLink 5 counts bytes in other fields; old drivers know no sum over all links.
"""

import ctypes
import typing

from .library import FUNCTION_NOT_FOUND, NOT_READY, NOT_SUPPORTED, SUCCESS, Library
from .readings import (
    ALL_LINKS,
    MIB,
    NVLINK_DATA_RX_KIB,
    NVLINK_DATA_TX_KIB,
    NVLINK_RECEIVED_BYTES,
    NVLINK_SENT_BYTES,
    PCIE_RX_BYTES,
    PCIE_TX_BYTES,
    FieldValues,
    Item,
    Rate,
    Reading,
    Row,
    typed,
)

WINDOW_S = 0.02
PCIE = ("pcie_tx_mib_s", "pcie_rx_mib_s")
NVLINK = ("nvlink_tx_mib_s", "nvlink_rx_mib_s")
MOST_LINKS = 36

# GPM metric, field, the most that can be true.
GPM_METRICS = (
    (20, "pcie_tx_mib_s", 1e7),
    (21, "pcie_rx_mib_s", 1e7),
    (61, "nvlink_tx_mib_s", 1e8),
    (60, "nvlink_rx_mib_s", 1e8),
    (2, "sm_active_pct", 100.0),
    (5, "tensor_active_pct", 100.0),
    (10, "memory_bandwidth_pct", 100.0),
)
# Of a MIG instance only what is its own; the whole GPU's utilisation getter says nothing about it.
GPM_MIG_METRICS = (
    (1, "gpu_util_pct", 100.0),
    (2, "sm_active_pct", 100.0),
    (5, "tensor_active_pct", 100.0),
    (10, "memory_bandwidth_pct", 100.0),
)


class Gpm(Reading):
    """GPU performance monitoring: two samples, one a tick, and what the driver makes of their difference."""

    def __init__(
        self,
        library: Library,
        handle: "typing.Any",
        at: "dict[str, int]",
        gpu_instance: "int | None" = None,
        without: "tuple[str, ...]" = (),
    ) -> None:
        self._library = library
        self._handle = handle
        self._instance = gpu_instance
        metrics = GPM_METRICS if gpu_instance is None else GPM_MIG_METRICS
        self._metrics = tuple(entry for entry in metrics if entry[1] not in without)
        self.fields = tuple(field for _, field, _ in self._metrics)
        self._at = at
        self._get = library.function("nvmlGpmSampleGet" if gpu_instance is None else "nvmlGpmMigSampleGet")
        self._compute = library.function("nvmlGpmMetricsGet")
        self._samples: "list[typing.Any]" = []
        self._full = 0

    def _bind(self) -> None:
        module = self._library.module
        self._samples = [module.nvmlGpmSampleAlloc(), module.nvmlGpmSampleAlloc()]
        asked = module.c_nvmlGpmMetricsGet_t()
        asked.version = module.NVML_GPM_METRICS_GET_VERSION
        self._asked = asked
        self._ask()

    def _ask(self) -> None:
        asked = self._asked
        asked.numMetrics = len(self._metrics)
        self._targets = []
        for place, (metric, field, most) in enumerate(self._metrics):
            asked.metrics[place].metricId = metric
            self._targets.append((asked.metrics[place], self._at[field], field, most))
        self.fields = tuple(field for _, field, _ in self._metrics)
        self._compute_args = (ctypes.byref(asked),)

    def _sample(self) -> int:
        into = self._samples[1]
        if self._instance is None:
            code = self._get(self._handle, into)
        else:
            code = self._get(self._handle, ctypes.c_uint(self._instance), into)
        return int(code)

    def read(self, row: "Row", now: float) -> int:
        self._samples.reverse()  # the older one is written over
        code = self._sample()
        if code != SUCCESS:
            self._full = 0
            return code
        self._full += 1
        if self._full < 2:
            return SUCCESS
        asked = self._asked
        asked.sample1, asked.sample2 = self._samples
        code = self._compute(*self._compute_args)
        if code != SUCCESS:
            return int(code)
        for metric, at, _, most in self._targets:
            value = metric.value
            if metric.nvmlReturn == SUCCESS and 0.0 <= value <= most * 1.001:
                row[at] = round(min(value, most), 3)
        return SUCCESS

    def probe(self, row: "Row", now: float) -> "dict[str, int]":
        """Asks for two samples; metrics that this GPU does not have are not asked for again."""
        code = self._supported()
        if code == SUCCESS:
            self._bind()
            code = self.read(row, now) or self.read(row, now)
        if code not in (SUCCESS, NOT_READY):
            self.close()
            return dict.fromkeys(self.fields, code)
        never = (NOT_SUPPORTED, 2, FUNCTION_NOT_FOUND)
        refused = {field: int(metric.nvmlReturn) for metric, _, field, _ in self._targets if metric.nvmlReturn in never}
        self._metrics = tuple(entry for entry in self._metrics if entry[1] not in refused)
        self._ask()
        return refused

    def _supported(self) -> int:
        module = self._library.module
        if self._get is None or self._compute is None:
            return FUNCTION_NOT_FOUND
        if self._instance is not None:
            return SUCCESS  # the question is not defined for MIG handles; the sample itself tells
        try:
            return SUCCESS if module.nvmlGpmQueryDeviceSupport(self._handle).isSupportedDevice else NOT_SUPPORTED
        except module.NVMLError as error:
            return int(getattr(error, "value", NOT_SUPPORTED))
        except AttributeError:
            return FUNCTION_NOT_FOUND

    def close(self) -> None:
        free = self._library.function("nvmlGpmSampleFree")
        for sample in self._samples if free is not None else []:
            free(sample)
        self._samples = []


class PcieWindow(Reading):
    """The 32 bit byte counters, read at both ends of a short window; all GPUs share the time of the window."""

    fields = PCIE

    def __init__(self, library: Library, handle: "typing.Any", at: "dict[str, int]") -> None:
        self._function = library.function("nvmlDeviceGetFieldValues")
        self._values = (library.module.c_nvmlFieldValue_t * 2)()
        for value, number in zip(self._values, (PCIE_TX_BYTES, PCIE_RX_BYTES)):
            value.fieldId = number
        self._args = (handle, ctypes.c_int(2), ctypes.byref(self._values))
        self._at = (at[PCIE[0]], at[PCIE[1]])
        self._opened: "tuple[float, int, int] | None" = None
        self.wide = False

    def _counters(self) -> "tuple[int, int, int]":
        code = int(self._function(*self._args))
        first, second = self._values
        return code or int(first.nvmlReturn or second.nvmlReturn), int(typed(first)), int(typed(second))

    def start(self, now: float) -> None:
        """Reads the counters at the begin of the window. `now` is taken right before."""
        code, sent, received = self._counters()
        self._opened = None if code else (now, sent, received)

    def read(self, row: "Row", now: float) -> int:
        """Reads them at its end. `now` is taken right before this read."""
        opened, self._opened = self._opened, None
        code, sent, received = self._counters()
        if code == SUCCESS and opened is not None and now - opened[0] > WINDOW_S / 2:
            for at, before, after in zip(self._at, opened[1:], (sent, received)):
                row[at] = round(((after - before) & 0xFFFFFFFF) / MIB / (now - opened[0]), 3)
        return code

    def probe(self, row: "Row", now: float) -> "dict[str, int]":
        code = FUNCTION_NOT_FOUND if self._function is None else self._counters()[0]
        self.wide = self._values[0].valueType not in (1, 5, 6)  # unsigned int, int, unsigned short
        return dict.fromkeys(PCIE, code) if code else {}


class PcieThroughput(Reading):
    """The driver's own 20 ms measurement. It blocks, so it is on the slow beat and its value is held until the next."""

    fields = PCIE

    def __init__(self, library: Library, handle: "typing.Any", held: "dict[int, float | None]", at: "dict[str, int]"):
        self._function = library.function("nvmlDeviceGetPcieThroughput")
        self._handle = handle
        self._cell = ctypes.c_uint()
        self._held = held
        self._at = at

    def read(self, row: "Row", now: float) -> int:
        if self._function is None:
            return FUNCTION_NOT_FOUND
        for direction, field in enumerate(PCIE):
            code = int(self._function(self._handle, ctypes.c_int(direction), ctypes.byref(self._cell)))
            self._held[self._at[field]] = round(self._cell.value / 1024.0, 3) if code == SUCCESS else None
            if code != SUCCESS:
                return code
        return SUCCESS


class LinkByLink(Reading):
    """NVLink counters summed over the links, for drivers that do not know the sum."""

    fields = NVLINK

    def __init__(self, library: Library, handle: "typing.Any", at: "dict[str, int]") -> None:
        self._library = library
        self._handle = handle
        self._function = library.function("nvmlDeviceGetFieldValues")
        self._rates = (Rate(1 / 1024.0), Rate(1 / 1024.0))
        self._at = (at[NVLINK[0]], at[NVLINK[1]])
        self._bind(list(range(MOST_LINKS)))

    def _bind(self, links: "list[int]") -> None:
        self._links = links
        self._values = (self._library.module.c_nvmlFieldValue_t * (2 * max(len(links), 1)))()
        for place, link in enumerate(links):
            for way, number in enumerate((NVLINK_DATA_TX_KIB, NVLINK_DATA_RX_KIB)):
                value = self._values[2 * place + way]
                value.fieldId, value.scopeId = number, link
        self._args = (self._handle, ctypes.c_int(2 * len(links)), ctypes.byref(self._values))

    def read(self, row: "Row", now: float) -> int:
        code = int(self._function(*self._args))
        if code == SUCCESS:
            code = int(next((value.nvmlReturn for value in self._values if value.nvmlReturn), SUCCESS))
        if code == SUCCESS:
            for way in (0, 1):
                total = sum(int(typed(value)) for value in self._values[way::2])
                row[self._at[way]] = self._rates[way].of(total, now)
        return code

    def probe(self, row: "Row", now: float) -> "dict[str, int]":
        """Keeps the links that answer."""
        code = FUNCTION_NOT_FOUND if self._function is None else int(self._function(*self._args))
        alive = [] if code else [link for link in self._links if not self._values[2 * link].nvmlReturn]
        if not alive:
            return dict.fromkeys(NVLINK, code or NOT_SUPPORTED)
        self._bind(alive)
        self.read(row, now)
        return {}


def nvlink_sums(library: Library, handle: "typing.Any", at: "dict[str, int]") -> "list[Reading]":
    """The ways to NVLink rates other than GPM, best first."""
    pairs = (
        (NVLINK_DATA_TX_KIB, NVLINK_DATA_RX_KIB, 1 / 1024.0),
        (NVLINK_SENT_BYTES, NVLINK_RECEIVED_BYTES, 1 / MIB),
    )
    ways: "list[Reading]" = [
        FieldValues(
            library,
            handle,
            at,
            [
                Item(NVLINK[0], sent, ALL_LINKS, rate=Rate(times)),
                Item(NVLINK[1], received, ALL_LINKS, rate=Rate(times)),
            ],
        )
        for sent, received, times in pairs
    ]
    return [*ways, LinkByLink(library, handle, at)]


def pcie_counters(library: Library, handle: "typing.Any", at: "dict[str, int]") -> FieldValues:
    """PCIe byte counters as plain rates, for drivers whose counters are 64 bits wide."""
    items = [
        Item(PCIE[0], PCIE_TX_BYTES, rate=Rate(1 / MIB)),
        Item(PCIE[1], PCIE_RX_BYTES, rate=Rate(1 / MIB)),
    ]
    return FieldValues(library, handle, at, items)
