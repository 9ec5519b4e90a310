"""The GPU half of the agent: NVML in a worker thread, opened again when it fails, gone round when a call hangs."""

import time
import typing

from .gpus import Gpus
from .worker import Job, Outbox, Worker

LATE_S = 2.0  # a worker that is busy this long gets no further tick
HANG_S = 5.0  # and after this long the GPU in hand is left alone
RETRY_OPEN_S = 30.0
MOST_WORKERS = 4
OPENING = "NVML is starting"


class GpuSide:
    """What the main thread may ask of the GPUs; none of it waits.

    Attributes:
        why: why there are no GPUs to be read; empty while there are.
    """

    def __init__(
        self, outbox: Outbox, tell: "typing.Callable[..., None]", full_commands: bool, slow_every_s: float
    ) -> None:
        self.gpus = Gpus(tell, full_commands)
        self.why = OPENING
        self._tell = tell
        self._outbox = outbox
        self._slow_every_s = slow_every_s
        self._worker = Worker("gpus", outbox)
        self._workers = 1
        self._hung: "dict[Job, str]" = {}
        self._opening: "Job | None" = None
        self._open_next = 0.0
        self._slow_next = 0.0

    @property
    def stuck(self) -> bool:
        """Whether the worker in use hangs and is not replaced."""
        return self._worker.current is not None and self._worker.current in self._hung

    def open(self, now: float) -> None:
        """Opens NVML in the worker, now and again while it fails; the finished job comes through the outbox."""
        if self.why and self._opening is None and now >= self._open_next:
            self._open_next = now + RETRY_OPEN_S
            self._opening = self._worker.submit(Job("open", self.gpus.open))

    def fast(self, now: float) -> "Job | None":
        """Starts a tick's reading; None when there is nothing to read or nobody to do it."""
        if self.why or self.stuck or self._worker.busy_s(now) > LATE_S:
            return None
        return self._worker.submit(Job("fast", self.gpus.sample_fast))

    def slow(self, now: float) -> "Job | None":
        """Starts the slow beat: a look for changes and the processes, and each slow_every_s the slow fields."""
        if self.why or self.stuck or self._worker.busy_s(now) > LATE_S:
            return None
        with_fields = now >= self._slow_next
        if with_fields:
            self._slow_next = now + self._slow_every_s
        return self._worker.submit(Job("slow", lambda job: self._read_slow(job, with_fields)))

    def _read_slow(self, job: Job, with_fields: bool) -> "list[typing.Any]":
        """[whether the devices were looked up anew, processes]; job.rows stays empty where slow fields are not due."""
        self.gpus.check(job)
        anew = bool(job.result)
        job.generation = self.gpus.generation
        if with_fields or anew:
            self.gpus.sample_slow(job)
        self.gpus.processes(job)
        return [anew, job.result]

    def opened(self, job: Job) -> bool:
        """Takes a finished `open`; True when what there is to say about the node changed."""
        self._opening = None
        self._hung.pop(job, None)
        before, self.why = self.why, job.error.replace("NoNvml: ", "", 1)
        return before != self.why

    def returned(self, job: Job) -> None:
        """Takes any finished job: one that had hung makes its GPU readable again."""
        index = self._hung.pop(job, None)
        if index is None:
            return
        took = time.monotonic() - (job.started_at or 0.0)
        for device in self.gpus.devices:
            if device.index == index:
                self.gpus.skip.discard(device)
        self._tell("back", index or None, None, "NVML answered after %.0f s" % took)

    def watch(self, now: float) -> None:
        """The watchdog: names the GPU in which a call hangs, and goes on with the others in a new thread."""
        job = self._worker.current
        busy_s = self._worker.busy_s(now)
        if job is None or busy_s < HANG_S or job in self._hung:
            return
        device = next((one for one in self.gpus.devices if one.reading and one not in self.gpus.skip), None)
        index = device.index if device else ""
        self._hung[job] = index
        what = "NVML has not answered for %.0f s" % busy_s
        if device is not None:
            what += " (%s)" % device.reading
        if job.kind == "open":
            self.why = "nvmlInit has not returned for %.0f s" % busy_s
            what = self.why
        replace = job.kind != "open" and device is not None and self._workers < MOST_WORKERS
        if replace and device is not None:
            self.gpus.skip.add(device)
            self._worker.retire()
            self._worker = Worker("gpus-%d" % self._workers, self._outbox)
            self._workers += 1
            what += ": left alone until it does"
        self._tell("error", index or None, None, what)
