"""The agent: keeps the time, asks its workers, writes lines, ends when it must.

This thread never calls NVML and never reads a device: those are the workers', and what is late is left out of a tick.
A tick's number `n` grows with the clock, so a gap in it counts ticks that were missed or dropped.
"""

import os
import platform
import select
import time
import typing

from .gpu_side import HANG_S, LATE_S, OPENING, GpuSide
from .host import Host, boot_id
from .lifetime import Lifetime, be_nice, cpu_s
from .names import GPU_FAST, GPU_SLOW, HOST_FAST, HOST_SLOW
from .wire import Output, line_of, plain, slow_line_of
from .worker import Job, Outbox, Worker

LEAST_INTERVAL_S, MOST_INTERVAL_S = 0.1, 60.0
OPEN_PATIENCE_S = 10.0  # a hello waits this long for NVML
FIRST_TICK_S = 0.25  # after the hello, so that the first tick has rates


class Options:
    """What the agent is started with (keys of the dict given to main).

    interval_s: 0.1 to 60. slow_every_s, processes_every_s: beats of slow fields and processes. full_commands: command
    lines (secrets masked) in place of names. ticks: ends after so many, 0 for none. stdin: descriptor whose end is the
    end, None for none. stdout: where lines go. parent: process that must live; by default the parent.
    """

    def __init__(self, given: "dict[str, typing.Any]") -> None:
        self.interval_s = min(max(float(given.get("interval_s", 1.0)), LEAST_INTERVAL_S), MOST_INTERVAL_S)
        self.slow_every_s = float(given.get("slow_every_s", 10.0))
        self.processes_every_s = float(given.get("processes_every_s", 5.0))
        self.full_commands = bool(given.get("full_commands", False))
        self.ticks = int(given.get("ticks", 0))
        self.stdin: "int | None" = given.get("stdin", 0)
        self.stdout = int(given.get("stdout", 1))
        self.parent: "int | None" = given.get("parent")


class Sample:
    """A tick in the making: its jobs, and until when they are waited for."""

    def __init__(self, number: int, gpu: "Job | None", host: "Job | None", until: float) -> None:
        self.number = number
        self.gpu = gpu
        self.host = host
        self.until = until
        self.wall = time.time()
        self.begun = time.monotonic()

    @property
    def done(self) -> bool:
        return all(job is None or job.done for job in (self.gpu, self.host))


class Agent:
    """One run of the agent."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.outbox = Outbox()
        self.output = Output(options.stdout)
        self.life = Lifetime(options.stdin, options.parent, self.outbox.bell)
        self.gpus = GpuSide(self.outbox, self._tell, options.full_commands, options.slow_every_s)
        self._host = Worker("host", self.outbox)
        self._host_hung: "Job | None" = None
        self._host_facts = self._host.submit(Job("facts", lambda job: Host()))
        self._sample: "Sample | None" = None
        self._slow: "Job | None" = None
        self._slow_next = 0.0
        self._generation = -1
        self._said_hello = False
        self._number = 0
        self._ticks = 0
        self._next = 0.0
        self._began = time.monotonic()
        self._cpu: "tuple[float, float] | None" = None
        self._dropped = 0
        self._errors: "set[str]" = set()
        self._early: "list[dict[str, typing.Any]]" = []

    # What the workers say

    def _tell(self, what: str, gpu: "str | None", code: "int | None", text: str) -> None:
        """Takes an event from any thread."""
        event = {"k": "e", "t": round(time.time(), 3), "gpu": gpu, "what": what, "code": code, "text": plain(text)}
        self.outbox.put(event)

    def _take(self) -> None:
        for item in self.outbox.take():
            if isinstance(item, dict):
                self._event(item)
                continue
            self._error_of(item)
            self.gpus.returned(item)
            if item is self._host_hung:
                self._host_hung = None
            if item.kind == "open":
                if self.gpus.opened(item) and self._said_hello:
                    self._tell_devices("NVML can be read" if not self.gpus.why else self.gpus.why)
            elif item.kind == "slow" and not item.abandoned:
                self._slow_done(item)

    def _event(self, event: "dict[str, typing.Any]") -> None:
        """Sends an event; what happens while the GPUs are looked up waits for the hello that names them."""
        if self._said_hello:
            self.output.keep(line_of(event))
        else:
            self._early.append(event)

    def _error_of(self, job: Job) -> None:
        """A job that failed by itself is a bug: said once for each kind of it."""
        if job.error and job.kind != "open" and job.error not in self._errors:
            self._errors.add(job.error)
            self._tell("error", None, None, "%s: %s" % (job.kind, job.error))

    def _tell_devices(self, text: str) -> None:
        event = {"k": "e", "t": round(time.time(), 3), "gpu": None, "what": "devices", "code": None}
        event["text"] = plain(text)
        self.output.keep(line_of(event))
        self._hello()

    # Lines

    def _hello(self) -> None:
        gpus, host = self.gpus.gpus, self._host_facts.result
        there = not self.gpus.why
        self._generation = gpus.generation if there else -1
        self._said_hello = True
        unsupported = dict(host.unsupported) if host else {}
        if there:
            unsupported.update(gpus.unsupported())
        message = {
            "k": "hello",
            "v": 1,
            "backend": "nvml" if there else "none",
            "why": plain(self.gpus.why, 400),
            "interval_s": self.options.interval_s,
            "t": round(time.time(), 3),
            "hostname": plain(platform.node()),
            "boot_id": plain(boot_id()),
            "driver": plain(gpus.driver),
            "python": platform.python_version(),
            "pid": os.getpid(),
            "gpus": [device.facts for device in gpus.devices] if there else [],
            "host": host.facts() if host else {},
            "unsupported": unsupported,
            "gpu_fields": GPU_FAST,
            "gpu_slow_fields": GPU_SLOW,
            "host_fields": HOST_FAST,
            "host_slow_fields": HOST_SLOW,
        }
        self.output.keep(line_of(message))
        early, self._early = self._early, []
        for event in early:
            self.output.keep(line_of(event))

    def _begin_tick(self, now: float) -> None:
        patience = min(LATE_S, max(0.5, self.options.interval_s))
        host = None
        if self._host_facts.result is not None and self._host.busy_s(now) <= patience:
            host = self._host.submit(Job("host", self._host_facts.result.sample))
        self._sample = Sample(self._number, self.gpus.fast(now), host, now + patience)

    def _end_tick(self, sample: Sample, now: float) -> None:
        """Writes a tick with what is there of it."""
        self._sample = None
        if sample.gpu is not None and sample.gpu.generation > self._generation:
            self._take()  # the hello that goes with these rows
            if sample.gpu.generation > self._generation and not self.gpus.why:
                self._tell_devices("the devices were looked up anew")
        devices = len(self.gpus.gpus.devices) if not self.gpus.why else 0
        rows: "list[typing.Any]" = [None] * devices
        job = sample.gpu
        if job is not None and job.generation == self._generation and len(job.rows) == devices:
            rows = list(job.rows)
        host = sample.host.result if sample.host and sample.host.done else None
        message = {
            "k": "t",
            "n": sample.number,
            "t": round(sample.wall, 3),
            "g": rows,
            "h": host,
            "ms": round((now - sample.begun) * 1000.0, 2),
        }
        self.output.tick(line_of(message))
        self._ticks += 1
        if now >= self._slow_next and self._slow is None:
            self._slow_next = now + self.options.processes_every_s
            self._slow = self.gpus.slow(now)
            if self._slow is None:
                self._slow_line(None, [])

    def _slow_done(self, job: Job) -> None:
        if job is not self._slow:
            return
        self._slow = None
        anew, processes = job.result or [False, []]
        if anew and self._generation != self.gpus.gpus.generation:
            self._hello()
        fits = job.rows and job.generation == self._generation
        self._slow_line(job.rows if fits else None, processes)

    def _slow_line(self, rows: "list[typing.Any] | None", processes: "list[typing.Any]") -> None:
        message = {
            "k": "s",
            "n": self._number,
            "t": round(time.time(), 3),
            "g": rows,
            "h": [self._own_cpu()],
            "p": processes,
        }
        self.output.tick(slow_line_of(message))

    def _own_cpu(self) -> "float | None":
        """What this process used since the last time, in percent of one core."""
        before, self._cpu = self._cpu, (time.monotonic(), cpu_s())
        if before is None or self._cpu[0] - before[0] < 0.5:
            return None
        return round(100.0 * (self._cpu[1] - before[1]) / (self._cpu[0] - before[0]), 2)

    # The loop

    def _watch(self, now: float) -> None:
        self.gpus.watch(now)
        self.gpus.open(now)
        job = self._host.current
        if job is not None and job is not self._host_hung and self._host.busy_s(now) > HANG_S:
            self._host_hung = job
            reading = getattr(self._host_facts.result, "reading", "") or "the devices of the host"
            self._tell("error", None, None, "the host has not answered for %.0f s (%s)" % (HANG_S, reading))
        if self._slow is not None and self._slow.abandoned:
            self._slow = None
        if self.output.dropped != self._dropped and not self.output.waits:
            missed, self._dropped = self.output.dropped - self._dropped, self.output.dropped
            self._tell("error", None, None, "%d lines dropped: the reader was behind" % missed)

    def _step(self, now: float) -> float:
        """Does what is due; returns the time of what is due next."""
        if not self._said_hello:
            waited = now - self._began
            starting = self.gpus.why == OPENING or not (self._host_facts.done or waited > LATE_S)
            if starting and waited < OPEN_PATIENCE_S:
                return self._began + OPEN_PATIENCE_S
            if self.gpus.why == OPENING:
                self.gpus.why = "nvmlInit has not returned for %.0f s" % waited
            self._hello()
            self._next = now + min(FIRST_TICK_S, self.options.interval_s)
        if self._sample is not None and (self._sample.done or now >= self._sample.until):
            self._end_tick(self._sample, now)
        if now >= self._next:
            interval = self.options.interval_s
            late = int((now - self._next) / interval) + 1
            self._next += late * interval
            self._number += late
            self.life.look()
            self._watch(now)
            if self._sample is None:
                self._begin_tick(now)
        return min(self._next, self._sample.until if self._sample else self._next)

    def run(self) -> str:
        """Runs until there is a reason to end, and returns it."""
        self.gpus.open(time.monotonic())
        while not self._why():
            due = self._step(time.monotonic())
            inputs = [self.outbox.wake_fd] + ([] if self.life.stdin is None else [self.life.stdin])
            outputs = [self.output.fd] if self.output.waits else []
            ready, room, _ = select.select(inputs, outputs, [], max(0.0, due - time.monotonic()))
            if self.life.stdin in ready:
                self.life.read_stdin()
            if room:
                self.output.flush()
            if self.outbox.wake_fd in ready:
                self._take()
        return self._why()

    def _why(self) -> str:
        if self.options.ticks and self._ticks >= self.options.ticks and self._slow is None:
            return "%d ticks were asked for" % self.options.ticks
        return self.life.why or self.output.broken


def main(given: "dict[str, typing.Any]") -> None:
    """Runs the agent and ends the process: at once, whatever hangs in another thread."""
    options = Options(given)
    be_nice()
    agent = Agent(options)
    why = "error"
    try:
        why = agent.run()
    except Exception as error:
        why = "error: %s: %s" % (type(error).__name__, error)
    finally:
        agent.output.close(line_of({"k": "bye", "t": round(time.time(), 3), "why": plain(why)}))
        # A thread that the kernel cannot end would keep the channel open: close it from here.
        for fd in (options.stdout, options.stdin):
            if fd is not None:
                os.close(fd)
        os._exit(0)
