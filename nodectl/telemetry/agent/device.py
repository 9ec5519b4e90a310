"""One GPU or MIG device: what can be read of it, found out once, and its state."""

import ctypes
import typing

from .library import GPU_IS_LOST, NEVER, SUCCESS, Library
from .names import FAST_AT, GPU_FAST, GPU_SLOW, SLOW_AT
from .readings import (
    HBM_TEMPERATURE,
    PCIE_REPLAYS,
    RECOVERY_ACTION,
    TOTAL_ENERGY,
    Absent,
    FieldValues,
    Item,
    Margin,
    Memory,
    Number,
    Reading,
    RemappedRows,
    Row,
    Utilization,
)
from .throughput import (
    NVLINK,
    PCIE,
    Gpm,
    PcieThroughput,
    PcieWindow,
    nvlink_sums,
    pcie_counters,
)

SM_CLOCK, MEMORY_CLOCK, CORE_TEMPERATURE, SLOWDOWN_THRESHOLD = 1, 2, 0, 1
CORRECTED, UNCORRECTED, SINCE_DRIVER_LOAD = 0, 1, 0
# Of a MIG device: memory, its ECC counts and its GPM shares; the rest is measured for the whole GPU.
MIG_FIELDS = ("memory_used_mib", "ecc_uncorrectable", "ecc_correctable")


class Device:
    """A GPU, or a MIG device (`parent` is the index of its GPU, "3", and its own index "3/1").

    Attributes:
        lost: why it does not answer; empty if it does.
        reading: what is being read of it now, for the watchdog; empty between two passes.
        refused: field -> why it is never known on this device.
        held: fast values that are measured on the slow beat only.
    """

    def __init__(self, index: str, handle: "typing.Any", parent: str = "", instance: "int | None" = None) -> None:
        self.index = index
        self.handle = handle
        self.parent = parent
        self.instance = instance
        self.facts: "dict[str, typing.Any]" = {"index": index, "uuid": "", "name": "", "pci_bus_id": ""}
        self.fast: "list[Reading]" = []
        self.slow: "list[Reading]" = []
        self.windows: "list[PcieWindow]" = []  # read at both ends of the window that all GPUs share
        self.refused: "dict[str, str]" = {}
        self.held: "dict[int, float | None]" = {}
        self.lost = ""
        self.reading = ""

    def describe(self, library: Library) -> None:
        """Takes what does not change, once."""
        facts, handle = self.facts, self.handle
        facts["uuid"] = library.text("nvmlDeviceGetUUID", handle)
        facts["name"] = library.text("nvmlDeviceGetName", handle)
        if self.parent:
            facts["parent"], facts["mig"] = self.parent, True
            return
        try:
            bus = library.module.nvmlDeviceGetPciInfo(handle).busId
            facts["pci_bus_id"] = bus.decode("ascii", "replace") if isinstance(bus, bytes) else str(bus)
        except (library.module.NVMLError, AttributeError):
            facts["pci_bus_id"] = ""
        limit = library.number("nvmlDeviceGetEnforcedPowerLimit", handle)
        facts["power_limit_w"] = limit / 1000.0 if limit is not None else None
        slowdown = library.number("nvmlDeviceGetTemperatureThreshold", handle, SLOWDOWN_THRESHOLD)
        if slowdown is not None:
            facts["temperature_slowdown_c"] = slowdown

    def plan(self, library: Library, now: float) -> None:
        """Asks for everything once; what the driver refuses for good is not asked again."""
        codes: "dict[str, int]" = {}
        self.close()
        self.slow, self.windows, self.refused = [], [], {}
        self.held.clear()
        self.fast = _kept(self._fast_candidates(library), len(GPU_FAST), now, codes)
        if not self.parent:
            self._plan_throughput(library, now, codes)
            self.slow += _kept(_slow_candidates(library, self.handle), len(GPU_SLOW), now, codes)
        else:
            self.fast += _kept([Gpm(library, self.handle, FAST_AT, self.instance)], len(GPU_FAST), now, codes)
        own = {field for reading in self.fast + self.slow + list(self.windows) for field in reading.fields}
        for field in GPU_FAST + GPU_SLOW:
            if field not in own:
                code = codes.get(field)
                self.refused[field] = library.why(code) if code else "measured for the whole GPU"
        for reading in self.fast:
            if isinstance(reading, Memory):
                self.facts["memory_total_mib"] = reading.total_mib
        self.facts.setdefault("memory_total_mib", None)
        self.lost = library.says(GPU_IS_LOST) if GPU_IS_LOST in codes.values() else ""

    def _fast_candidates(self, library: Library) -> "list[Reading]":
        handle, at = self.handle, FAST_AT
        memory = Memory(library, handle, at)
        ecc = [
            _number(library, field, at, ("nvmlDeviceGetTotalEccErrors",), (handle, kind, SINCE_DRIVER_LOAD), 0.0, True)
            for field, kind in (("ecc_uncorrectable", UNCORRECTED), ("ecc_correctable", CORRECTED))
        ]
        if self.parent:
            return [memory, *ecc]
        reasons = ("nvmlDeviceGetCurrentClocksEventReasons", "nvmlDeviceGetCurrentClocksThrottleReasons")
        rows = library.function("nvmlDeviceGetRemappedRows")
        return [
            Utilization(library, handle, at),
            memory,
            _number(library, "temperature_c", at, ("nvmlDeviceGetTemperature",), (handle, CORE_TEMPERATURE)),
            _number(library, "power_w", at, ("nvmlDeviceGetPowerUsage",), (handle,), 0.001),
            _number(library, "sm_clock_mhz", at, ("nvmlDeviceGetClockInfo",), (handle, SM_CLOCK)),
            _number(library, "mem_clock_mhz", at, ("nvmlDeviceGetClockInfo",), (handle, MEMORY_CLOCK)),
            _number(library, "clocks_event_reasons", at, reasons, (handle,), 0.0, True),
            *ecc,
            RemappedRows(rows, handle, at) if rows is not None else Absent(RemappedRows.fields),
            FieldValues(
                library,
                handle,
                at,
                [Item("temperature_memory_c", HBM_TEMPERATURE), Item("recovery_action", RECOVERY_ACTION)],
            ),
        ]

    def _plan_throughput(self, library: Library, now: float, codes: "dict[str, int]") -> None:
        row: "Row" = [None] * len(GPU_FAST)
        found: "Reading | None" = None
        for way in nvlink_sums(library, self.handle, FAST_AT):
            refused = way.probe(row, now)
            if not refused:
                found = way
                break
            codes.setdefault(NVLINK[0], refused[min(refused)])
            codes.setdefault(NVLINK[1], refused[min(refused)])
        # GPM gives 0, not an error, for NVLinks that are not there: whether there are any, the counters tell.
        gpm = Gpm(library, self.handle, FAST_AT, None, () if found else NVLINK)
        refused = gpm.probe(row, now)
        codes.update({field: code for field, code in refused.items() if field not in NVLINK + PCIE})
        given = set(gpm.fields) - set(refused)
        if given:
            self.fast.append(gpm)
        if found is not None and not given.issuperset(NVLINK):
            self.fast.append(found)
        if not given.issuperset(PCIE):
            self._plan_pcie(library, now, codes)

    def _plan_pcie(self, library: Library, now: float, codes: "dict[str, int]") -> None:
        row: "Row" = [None] * len(GPU_FAST)
        window = PcieWindow(library, self.handle, FAST_AT)
        refused = window.probe(row, now)
        if not refused and window.wide:
            wide = pcie_counters(library, self.handle, FAST_AT)
            wide.probe(row, now)
            self.fast.append(wide)
        elif not refused:
            self.windows.append(window)
        else:
            held = PcieThroughput(library, self.handle, self.held, FAST_AT)
            codes.update(held.probe(row, now))
            if PCIE[0] not in codes:
                self.slow.append(held)

    def read(self, library: Library, readings: "list[Reading]", row: "Row", now: float) -> None:
        """One pass over these readings; sets `lost` when the device does not answer any more."""
        answered = False
        worst = SUCCESS
        for reading in readings:
            self.reading = reading.fields[0] if reading.fields else ""
            code = reading.read(row, now)
            if code == SUCCESS:
                answered = True
                continue
            worst = code
            if code == GPU_IS_LOST:
                break
        self.reading = ""
        if worst == GPU_IS_LOST or (worst and not answered):
            self.lost = library.says(worst)

    def close(self) -> None:
        for reading in self.fast:
            if isinstance(reading, Gpm):
                reading.close()


def _number(
    library: Library,
    field: str,
    at: "dict[str, int]",
    names: "tuple[str, ...]",
    args: "tuple[typing.Any, ...]",
    times: float = 0.0,
    wide: bool = False,
) -> Reading:
    function = library.function(*names)
    if function is None:
        return Absent((field,))
    cell = ctypes.c_ulonglong() if wide else ctypes.c_uint()
    return Number(field, at[field], function, args, cell, times)


def _slow_candidates(library: Library, handle: "typing.Any") -> "list[Reading]":
    at = SLOW_AT
    return [
        _number(library, "power_limit_w", at, ("nvmlDeviceGetEnforcedPowerLimit",), (handle,), 0.001),
        Margin(library, handle, at) if library.function("nvmlDeviceGetMarginTemperature") else Absent(Margin.fields),
        FieldValues(
            library, handle, at, [Item("energy_j", TOTAL_ENERGY, times=0.001), Item("pcie_replays", PCIE_REPLAYS)]
        ),
        _number(library, "pcie_gen", at, ("nvmlDeviceGetCurrPcieLinkGeneration",), (handle,)),
        _number(library, "pcie_width", at, ("nvmlDeviceGetCurrPcieLinkWidth",), (handle,)),
    ]


def _kept(candidates: "list[Reading]", width: int, now: float, codes: "dict[str, int]") -> "list[Reading]":
    """The readings that answer, or may answer later; the codes of what was refused go into `codes`."""
    row: "Row" = [None] * width
    kept = []
    for reading in candidates:
        refused = reading.probe(row, now)
        codes.update(refused)
        fields = set(reading.fields)
        if not fields or all(refused.get(field) in NEVER for field in fields):
            continue
        kept.append(reading)
    return kept
