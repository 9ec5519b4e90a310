"""Threads that do what may hang: NVML calls and reads of /sys never run in the thread that keeps the time."""

import collections
import os
import queue
import threading
import time
import typing


class Job:
    """Something to be done by a worker, and what came of it.

    `abandoned` tells a job that nobody waits for it any more; it looks at it between two calls that may hang.
    """

    def __init__(self, kind: str, work: "typing.Callable[[Job], typing.Any]") -> None:
        self.kind = kind
        self.work = work
        self.result: "typing.Any" = None
        self.error = ""
        self.rows: "list[typing.Any]" = []
        self.generation = 0
        self.started_at: "float | None" = None
        self.done = False
        self.abandoned = False


class Outbox:
    """What the workers hand to the main thread, in order; each put wakes it through a pipe."""

    def __init__(self) -> None:
        self.wake_fd, self._bell = os.pipe()
        for fd in (self.wake_fd, self._bell):
            os.set_blocking(fd, False)
        self._items: "collections.deque[typing.Any]" = collections.deque()

    @property
    def bell(self) -> int:
        """The descriptor to write to in order to wake the main thread (for signal.set_wakeup_fd)."""
        return self._bell

    def put(self, item: "typing.Any") -> None:
        self._items.append(item)
        self.ring()

    def ring(self) -> None:
        try:
            os.write(self._bell, b"!")
        except OSError:
            return  # full: it will wake anyhow

    def take(self) -> "list[typing.Any]":
        try:
            os.read(self.wake_fd, 4096)
        except OSError:
            pass
        taken = []
        while self._items:
            taken.append(self._items.popleft())
        return taken


class Worker:
    """One daemon thread that does its jobs one after the other."""

    def __init__(self, name: str, outbox: Outbox) -> None:
        self.name = name
        self.current: "Job | None" = None
        self._outbox = outbox
        self._jobs: "queue.Queue[Job | None]" = queue.Queue()
        self._thread = threading.Thread(target=self._run, name=name)
        self._thread.daemon = True
        self._thread.start()

    def submit(self, job: Job) -> Job:
        self._jobs.put(job)
        return job

    def retire(self) -> None:
        """The thread ends once its present job is over; what else was queued is not done."""
        if self.current:
            self.current.abandoned = True
        while True:
            try:
                job = self._jobs.get_nowait()
            except queue.Empty:
                break
            if job is not None:
                job.abandoned = job.done = True
        self._jobs.put(None)

    def busy_s(self, now: float) -> float:
        """How long the job in hand has been running; 0 without one."""
        job = self.current
        return now - job.started_at if job and job.started_at is not None else 0.0

    def _run(self) -> None:
        while True:
            job = self._jobs.get()
            if job is None:
                return
            job.started_at = time.monotonic()
            self.current = job
            try:
                job.result = job.work(job)
            except Exception as error:
                job.error = "%s: %s" % (type(error).__name__, error)
            job.done = True
            self.current = None
            self._outbox.put(job)
