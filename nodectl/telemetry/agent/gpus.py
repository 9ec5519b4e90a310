"""All GPUs of the node through NVML: found, read, watched for events. Called by one worker thread at a time."""

import ctypes
import os
import time
import typing

from .device import Device
from .library import NEVER, NOT_READY, SUCCESS, TIMEOUT, Library
from .names import GPU_FAST, GPU_SLOW
from .proc_info import ProcInfo
from .processes import MOST, Lists
from .throughput import WINDOW_S
from .worker import Job

DRIVER_LIST = "/proc/driver/nvidia/gpus"
XID = 8  # nvmlEventTypeXidCriticalError
MOST_EVENTS = 16  # of one tick
RETRY_LOST_S = 5.0
REOPEN_S = 60.0

Tell = typing.Callable[[str, "str | None", "int | None", str], None]


class Gpus:
    """The devices of an open NVML. `tell(what, gpu index, code, text)` takes events, from the worker's thread.

    Attributes:
        skip: devices in which a call hangs; they are left alone until it returns.
        generation: grows each time the devices were looked up.
    """

    def __init__(self, tell: "Tell", full_commands: bool = False) -> None:
        self.library: "Library | None" = None
        self.devices: "list[Device]" = []
        self.skip: "set[Device]" = set()
        self.generation = 0
        self.driver = ""
        self.xid_refused = ""
        self._tell = tell
        self._info = ProcInfo(full_commands)
        self._lists: "Lists | None" = None
        self._events: "typing.Any" = None
        self._handles: "dict[int | None, Device]" = {}
        self._seen: "typing.Any" = None
        self._mig: "dict[str, tuple[str, ...]]" = {}
        self._opened_at = 0.0
        self._tried_at = 0.0

    # Opening

    def open(self, job: "Job | None" = None) -> None:
        """Initialises NVML and looks the devices up.

        Raises:
            NoNvml: it cannot be used now.
        """
        lost = {device.index: device.lost for device in self.devices if device.lost}
        self._close()
        library = Library.open()
        now = time.monotonic()
        self.driver = library.text("nvmlSystemGetDriverVersion")
        self._lists = Lists(library)
        self.devices = _devices(library)
        for device in self.devices:
            self._begin(library, device, now, lost)
        self.library = library
        self._watch_events(library)
        self._mig = {}
        self._seen = self._signature(library)
        self._opened_at = self._tried_at = now
        self.generation += 1

    def _begin(self, library: Library, device: Device, now: float, lost: "dict[str, str]") -> None:
        before = lost.pop(device.index, "")
        if device.handle is not None:
            device.reading = "statics"
            device.describe(library)
            device.plan(library, now)
            device.reading = ""
        if device.lost and not before:
            self._tell("lost", device.index, None, device.lost)
        elif before and not device.lost:
            self._tell("back", device.index, None, "answers again")

    def _close(self) -> None:
        library, self.library = self.library, None
        if library is not None:
            for device in self.devices:
                device.close()
            library.shut_down()
        self._events, self._handles = None, {}

    def _signature(self, library: Library) -> "typing.Any":
        """What changes when GPUs or MIG devices come and go."""
        try:
            listed = tuple(sorted(os.listdir(DRIVER_LIST)))
        except OSError:
            listed = ()
        count = library.number("nvmlDeviceGetCount")
        for device in self.devices:
            if not device.parent and not device.lost:  # of one that is lost, what was seen last stands
                device.reading = "MIG devices"
                self._mig[device.index] = _mig_uuids(library, device.handle)
                device.reading = ""
        return listed, count, dict(self._mig)

    def unsupported(self) -> "dict[str, typing.Any]":
        """Field -> why it is not known on any device, or {device index: why}."""
        found: "dict[str, typing.Any]" = {}
        for field in GPU_FAST + GPU_SLOW:
            reasons = {device.index: device.refused[field] for device in self.devices if field in device.refused}
            if reasons:
                alike = len(reasons) == len(self.devices) and len(set(reasons.values())) == 1
                found[field] = next(iter(reasons.values())) if alike else reasons
        if self.xid_refused:
            found["xid"] = self.xid_refused
        return found

    # Reading

    def sample_fast(self, job: Job) -> None:
        """Fills job.rows, a list for each device, None for one that is lost or left alone."""
        devices, library = self.devices, self.library
        job.generation = self.generation
        rows: list[typing.Any] = [None] * len(devices)
        job.rows = rows
        if library is None:
            return
        begin = time.monotonic()
        opened = [(device, window) for device in devices for window in device.windows]
        for device, window in opened:
            if self._alive(device, job):
                device.reading = "PCIe counters"
                window.start(time.monotonic())
                device.reading = ""
        for place, device in enumerate(devices):
            if not self._alive(device, job):
                continue
            row: "list[typing.Any]" = [None] * len(GPU_FAST)
            device.read(library, device.fast, row, time.monotonic())
            if device.lost:
                self._tell("lost", device.index, None, device.lost)
                continue
            for at, value in device.held.items():
                row[at] = value
            rows[place] = row
        if opened:
            self._finish_windows(job, rows, begin)
        if not job.abandoned:
            self._take_events()

    def _finish_windows(self, job: Job, rows: "list[typing.Any]", begin: float) -> None:
        time.sleep(max(0.0, begin + WINDOW_S - time.monotonic()))
        for place, device in enumerate(self.devices):
            for window in device.windows:
                if rows[place] is not None and self._alive(device, job):
                    device.reading = "PCIe counters"
                    window.read(rows[place], time.monotonic())
                    device.reading = ""

    def _alive(self, device: Device, job: Job) -> bool:
        return not (device.lost or device in self.skip or job.abandoned)

    def sample_slow(self, job: Job) -> None:
        """Fills job.rows with the slow fields of each device."""
        devices, library = self.devices, self.library
        job.generation = self.generation
        rows: list[typing.Any] = [None] * len(devices)
        job.rows = rows
        if library is None:
            return
        for place, device in enumerate(devices):
            if not self._alive(device, job):
                continue
            row: "list[typing.Any]" = [None] * len(GPU_SLOW)
            device.read(library, device.slow, row, time.monotonic())
            if device.lost:
                self._tell("lost", device.index, None, device.lost)
            else:
                rows[place] = row

    def processes(self, job: Job) -> None:
        """Sets job.result to rows of GPU index, pid, user, command, memory in MiB or None, kind and job."""
        rows: "list[list[typing.Any]]" = []
        split = {device.parent for device in self.devices if device.parent}
        for device in self.devices:
            # A GPU that is split is asked through its MIG devices, which need no special rights.
            if self._lists is None or device.index in split or not self._alive(device, job):
                continue
            device.reading = "processes"
            found = self._lists.of(device)
            device.reading = ""
            for pid, memory, kind in found:
                user, command, work = self._info.of(pid)
                rows.append([device.index, pid, user or "", command or "", memory, kind, work or ""])
        self._info.forget_all_but(row[1] for row in rows)
        job.result = rows[:MOST]

    # Watching

    def check(self, job: Job) -> None:
        """Looks whether devices came, went or came back; job.result is True when the devices were looked up anew."""
        library = self.library
        job.result = False
        if library is None or self.skip or job.abandoned:
            return
        now = time.monotonic()
        lost = [device for device in self.devices if device.lost]
        if lost and now - self._tried_at >= RETRY_LOST_S:
            self._tried_at = now
            for device in lost:
                self._retry(library, device, now)
        seen = self._signature(library)
        still_lost = any(device.lost for device in self.devices)
        if seen == self._seen and not (still_lost and now - self._opened_at >= REOPEN_S):
            return
        before = [device.facts for device in self.devices], self.unsupported()
        changed, generation = seen != self._seen, self.generation
        self.open(job)
        after = [device.facts for device in self.devices], self.unsupported()
        job.result = changed or before != after
        if not job.result:
            self.generation = generation  # rows still mean what the last hello said
        if job.result:
            self._tell("devices", None, None, "%d GPUs and MIG devices" % len(self.devices))

    def _retry(self, library: Library, device: Device, now: float) -> None:
        row: "list[typing.Any]" = [None] * len(GPU_FAST)
        why, device.lost = device.lost, ""
        device.read(library, device.fast[:1], row, now)
        if device.lost or not device.fast:
            device.lost = why
            return
        self._tell("back", device.index, None, "answers again")

    def _watch_events(self, library: Library) -> None:
        self.xid_refused = ""
        create, register = library.function("nvmlEventSetCreate"), library.function("nvmlDeviceRegisterEvents")
        self._wait = library.function("nvmlEventSetWait_v2", "nvmlEventSetWait")
        if create is None or register is None or self._wait is None:
            self.xid_refused = "this driver has no events"
            return
        events = ctypes.c_void_p()
        code = create(ctypes.byref(events))
        for device in self.devices if code == SUCCESS else []:
            if device.parent or device.lost:
                continue
            refused = register(device.handle, ctypes.c_ulonglong(XID), events)
            if refused == SUCCESS:
                self._handles[_address(device.handle)] = device
            elif refused in NEVER or not code:
                code = refused
        if not self._handles:
            self.xid_refused = library.why(code) if code else "no GPU to watch"
            return
        self._events = events
        self._event = library.module.c_nvmlEventData_t()
        self._wait_args = (events, ctypes.byref(self._event), ctypes.c_uint(0))

    def _take_events(self) -> None:
        """Xids that came since the last tick. Asking takes 5 us and never waits."""
        if self._events is None or self.library is None:
            return
        for _ in range(MOST_EVENTS):
            code = self._wait(*self._wait_args)
            if code != SUCCESS:
                if code not in (TIMEOUT, NOT_READY):
                    self._events = None
                    self._tell("error", None, int(code), "Xid events end: %s" % self.library.says(code))
                return
            if self._event.eventType & XID:
                device = self._handles.get(_address(self._event.device))
                number = int(self._event.eventData)
                self._tell("xid", device.index if device else None, number, "Xid %d" % number)


def _address(handle: "typing.Any") -> "int | None":
    return ctypes.cast(handle, ctypes.c_void_p).value


def _mig_uuids(library: Library, handle: "typing.Any") -> "tuple[str, ...]":
    return tuple(library.text("nvmlDeviceGetUUID", part) for part, _ in _mig_parts(library, handle))


def _mig_parts(library: Library, handle: "typing.Any") -> "list[tuple[typing.Any, int | None]]":
    """(handle, GPU instance id) of each MIG device of a GPU; none where MIG is off or not known."""
    module = library.module
    try:
        if not module.nvmlDeviceGetMigMode(handle)[0]:
            return []
    except (module.NVMLError, AttributeError):
        return []
    parts = []
    for number in range(library.number("nvmlDeviceGetMaxMigDeviceCount", handle) or 0):
        try:
            part = module.nvmlDeviceGetMigDeviceHandleByIndex(handle, number)
        except module.NVMLError:
            continue  # the places of MIG devices need not be filled without gaps
        parts.append((part, library.number("nvmlDeviceGetGpuInstanceId", part)))
    return parts


def _devices(library: Library) -> "list[Device]":
    found = []
    for number in range(library.number("nvmlDeviceGetCount") or 0):
        try:
            handle = library.module.nvmlDeviceGetHandleByIndex(number)
        except library.module.NVMLError as error:
            # A GPU that is lost has no handle: it keeps its place, so that the others keep their numbers.
            lost = Device(str(number), None)
            lost.facts["memory_total_mib"] = None
            lost.lost = str(error)
            found.append(lost)
            continue
        found.append(Device(str(number), handle))
        for part, instance in _mig_parts(library, handle):
            place = sum(1 for device in found if device.parent == str(number))
            found.append(Device("%d/%d" % (number, place), part, str(number), instance))
    return found
