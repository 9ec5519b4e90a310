"""Single NVML calls bound once: each fills its fields of a row and returns the driver's return code.

A reading keeps the ctypes objects that it passes, so that a call costs little more than the driver's own time; it is
used by one thread at a time.
"""

import ctypes
import typing

from .library import FUNCTION_NOT_FOUND, NEVER, SUCCESS, Library

ALL_LINKS = 0xFFFFFFFF
MIB = 1048576.0

HBM_TEMPERATURE, TOTAL_ENERGY, PCIE_REPLAYS, RECOVERY_ACTION = 82, 83, 94, 230
NVLINK_DATA_TX_KIB, NVLINK_DATA_RX_KIB = 138, 139
PCIE_TX_BYTES, PCIE_RX_BYTES = 197, 198
NVLINK_SENT_BYTES, NVLINK_RECEIVED_BYTES = 202, 204

Row = typing.List["float | None"]


class Reading:
    """One call and the fields that it fills."""

    fields: "tuple[str, ...]" = ()

    def read(self, row: "Row", now: float) -> int:
        """Writes into the row; returns the driver's code. A field that could not be read stays None."""
        raise NotImplementedError

    def probe(self, row: "Row", now: float) -> "dict[str, int]":
        """Reads for the first time; returns the fields that the driver refused, with its codes."""
        code = self.read(row, now)
        return dict.fromkeys(self.fields, code) if code else {}


class Absent(Reading):
    """Fields whose function this library does not have."""

    def __init__(self, fields: "tuple[str, ...]", code: int = FUNCTION_NOT_FOUND) -> None:
        self.fields = fields
        self._code = code

    def read(self, row: "Row", now: float) -> int:
        return self._code


class Number(Reading):
    """A getter of one number: `function(device, *args, &number)`; the value is multiplied, or left whole without it."""

    def __init__(
        self,
        field: str,
        at: int,
        function: "typing.Any",
        args: "tuple[typing.Any, ...]",
        cell: "typing.Any" = None,
        times: float = 0.0,
    ) -> None:
        self.fields = (field,)
        self._at = at
        self._function = function
        self._cell = ctypes.c_uint() if cell is None else cell
        self._args = args + (ctypes.byref(self._cell),)
        self._times = times

    def read(self, row: "Row", now: float) -> int:
        code = self._function(*self._args)
        if code == SUCCESS:
            value = self._cell.value
            row[self._at] = round(value * self._times, 3) if self._times else value
        return int(code)


class Utilization(Reading):
    """Share of time in which a kernel ran, and in which memory was used."""

    fields = ("gpu_util_pct", "memory_util_pct")

    def __init__(self, library: Library, handle: "typing.Any", at: "dict[str, int]") -> None:
        self._function = library.function("nvmlDeviceGetUtilizationRates")
        self._rates = library.module.c_nvmlUtilization_t()
        self._args = (handle, ctypes.byref(self._rates))
        self._at = (at[self.fields[0]], at[self.fields[1]])

    def read(self, row: "Row", now: float) -> int:
        code = self._function(*self._args)
        if code == SUCCESS:
            row[self._at[0]] = self._rates.gpu
            row[self._at[1]] = self._rates.memory
        return int(code)


class Memory(Reading):
    """Memory in use. The second version of the call leaves out what the driver reserves, as nvidia-smi does."""

    fields = ("memory_used_mib",)

    def __init__(self, library: Library, handle: "typing.Any", at: "dict[str, int]") -> None:
        self._function = library.function("nvmlDeviceGetMemoryInfo_v2")
        if self._function is not None:
            self._info = library.module.c_nvmlMemory_v2_t()
            self._info.version = library.module.nvmlMemory_v2
        else:
            self._function = library.function("nvmlDeviceGetMemoryInfo")
            self._info = library.module.c_nvmlMemory_t()
        self._args = (handle, ctypes.byref(self._info))
        self._at = at["memory_used_mib"]

    def read(self, row: "Row", now: float) -> int:
        code = self._function(*self._args)
        if code == SUCCESS:
            row[self._at] = int(self._info.used // 1048576)
        return int(code)

    @property
    def total_mib(self) -> int:
        return int(self._info.total // 1048576)


class RemappedRows(Reading):
    """Memory rows replaced by spare ones, for correctable and uncorrectable errors together."""

    fields = ("remapped_rows", "remap_pending", "remap_failure")

    def __init__(self, function: "typing.Any", handle: "typing.Any", at: "dict[str, int]") -> None:
        self._function = function
        self._cells = [ctypes.c_uint() for _ in range(4)]
        self._args = [handle] + [ctypes.byref(cell) for cell in self._cells]
        self._at = [at[field] for field in self.fields]

    def read(self, row: "Row", now: float) -> int:
        code = self._function(*self._args)
        if code == SUCCESS:
            correctable, uncorrectable, pending, failure = (cell.value for cell in self._cells)
            row[self._at[0]] = correctable + uncorrectable
            row[self._at[1]] = pending
            row[self._at[2]] = failure
        return int(code)


class Margin(Reading):
    """Degrees that are left until the GPU slows down (T.Limit)."""

    fields = ("t_limit_margin_c",)

    def __init__(self, library: Library, handle: "typing.Any", at: "dict[str, int]") -> None:
        self._function = library.function("nvmlDeviceGetMarginTemperature")
        self._info = library.module.c_nvmlMarginTemperature_v1_t()
        self._info.version = library.module.nvmlMarginTemperature_v1
        self._args = (handle, ctypes.byref(self._info))
        self._at = at["t_limit_margin_c"]

    def read(self, row: "Row", now: float) -> int:
        code = self._function(*self._args)
        if code == SUCCESS:
            row[self._at] = self._info.marginTemperature
        return int(code)


class Rate:
    """A counter's growth in a second. None for the first value, and when a counter fell (it was set back)."""

    def __init__(self, times: float) -> None:
        self._times = times
        self._last = 0
        self._at: "float | None" = None

    def of(self, value: int, now: float) -> "float | None":
        last, at = self._last, self._at
        self._last, self._at = value, now
        if at is None or now - at < 0.01 or value < last:
            return None
        return round((value - last) * self._times / (now - at), 3)


class Item:
    """A field value to ask for: its id and scope, the field that it fills, and how (a factor, or a rate)."""

    def __init__(self, field: str, number: int, scope: int = 0, times: float = 0.0, rate: "Rate | None" = None) -> None:
        self.field = field
        self.number = number
        self.scope = scope
        self.times = times
        self.rate = rate


_TYPES = ("dVal", "uiVal", "ulVal", "ullVal", "sllVal", "siVal", "usVal")


def typed(value: "typing.Any") -> "typing.Any":
    """The number in a field value, read as the type that the driver says it has."""
    kind = value.valueType
    return getattr(value.value, _TYPES[kind] if 0 <= kind < len(_TYPES) else "ullVal")


class FieldValues(Reading):
    """Many field values in one call, each with its own return code."""

    def __init__(self, library: Library, handle: "typing.Any", at: "dict[str, int]", items: "list[Item]") -> None:
        self._library = library
        self._handle = handle
        self._at = at
        self._function = library.function("nvmlDeviceGetFieldValues")
        self._bind(items)

    def _bind(self, items: "list[Item]") -> None:
        self.items = items
        self.fields = tuple(item.field for item in items)
        self._values = (self._library.module.c_nvmlFieldValue_t * max(len(items), 1))()
        for value, item in zip(self._values, items):
            value.fieldId, value.scopeId = item.number, item.scope
        self._args = (self._handle, ctypes.c_int(len(items)), ctypes.byref(self._values))
        self._targets = [(self._values[place], item, self._at[item.field]) for place, item in enumerate(items)]

    def read(self, row: "Row", now: float) -> int:
        code = self._function(*self._args)
        if code != SUCCESS:
            return int(code)
        worst = SUCCESS
        for value, item, at in self._targets:
            if value.nvmlReturn != SUCCESS:
                worst = value.nvmlReturn
                continue
            number = typed(value)
            if item.rate is not None:
                row[at] = item.rate.of(number, now)
            else:
                row[at] = round(number * item.times, 3) if item.times else number
        # One field that fails now is None; only if all fail is it the GPU's fault.
        return int(worst) if all(value.nvmlReturn for value, _, _ in self._targets) else SUCCESS

    def probe(self, row: "Row", now: float) -> "dict[str, int]":
        """The values that the driver refuses are left out of the call from here on."""
        if self._function is None:
            return dict.fromkeys(self.fields, FUNCTION_NOT_FOUND)
        code = self.read(row, now)
        refused = {item.field: int(value.nvmlReturn or code) for value, item, _ in self._targets}
        refused = {field: code for field, code in refused.items() if code}
        self._bind([item for item in self.items if refused.get(item.field) not in NEVER])
        return refused
