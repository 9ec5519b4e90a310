"""Which processes use which GPU, by NVML's lists; who they are, proc_info knows."""

import ctypes
import typing

from .device import Device
from .library import INSUFFICIENT_SIZE, NEVER, SUCCESS, Library

NOT_AVAILABLE = 0xFFFFFFFFFFFFFFFF
MOST = 2000  # rows of one line


class OldProcess(ctypes.Structure):
    """What the first version of the calls fills (drivers before 450)."""

    _fields_ = (("pid", ctypes.c_uint), ("usedGpuMemory", ctypes.c_ulonglong))


class Lists:
    """NVML's three lists of a device's processes. A list that a driver does not have is not asked for again."""

    # The last kind that names a process stands: a client of the MPS server is in the compute list too.
    KINDS = (("G", "Graphics"), ("C", "Compute"), ("M", "MPSCompute"))

    def __init__(self, library: Library) -> None:
        self._refused: "set[tuple[str, str]]" = set()
        self._room = 64
        self._calls: "list[tuple[str, typing.Any, typing.Any]]" = []
        new = library.module.c_nvmlProcessInfo_v2_t
        for kind, name in self.KINDS:
            stem = "nvmlDeviceGet%sRunningProcesses" % name
            function = library.function(stem + "_v3", stem + "_v2")
            if function is not None:
                self._calls.append((kind, function, new))
                continue
            function = library.function(stem)
            if function is not None:
                self._calls.append((kind, function, OldProcess))

    def of(self, device: Device) -> "list[tuple[int, float | None, str]]":
        """(pid, memory in MiB or None, kind) of one device."""
        found: "dict[int, tuple[float | None, str]]" = {}
        for kind, function, entry in self._calls:
            if (device.index, kind) in self._refused:
                continue
            code, rows = self._ask(function, entry, device.handle)
            if code in NEVER:
                self._refused.add((device.index, kind))
            for pid, used in rows:
                found[pid] = (None if used == NOT_AVAILABLE else round(used / 1048576.0, 1), kind)
        return [(pid, memory, kind) for pid, (memory, kind) in sorted(found.items())]

    def _ask(self, function: "typing.Any", entry: "typing.Any", handle: "typing.Any") -> "tuple[int, typing.Any]":
        for _ in range(4):
            rows = (entry * self._room)()
            count = ctypes.c_uint(self._room)
            code = int(function(handle, ctypes.byref(count), rows))
            if code == INSUFFICIENT_SIZE and self._room < 4 * MOST:
                self._room = max(self._room * 2, min(count.value * 2, 4 * MOST))
                continue
            used = min(count.value, self._room, MOST) if code == SUCCESS else 0
            return code, [(row.pid, row.usedGpuMemory) for row in rows[:used]]
        return INSUFFICIENT_SIZE, []
