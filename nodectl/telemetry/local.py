"""`localhost` without a child: NVML through nvidia-ml-py and the host through psutil, in this process.

    streams = LocalStreams(transports, interval_s=1.0)
    watcher = Watcher(nodes, streams, store, launch_script, interval_s=1.0)

The lines are those of the agent, and what reads the GPUs is the agent's own code. Only where NVML cannot be used is a
node with `transport: local` given to the transports, so that a child finds out what else there is (AMD GPUs, none).
"""

from __future__ import annotations

import os
import platform
import select
import threading
import time
from collections.abc import Sequence
from typing import Any, Protocol

import psutil

from nodectl.model import Node
from nodectl.telemetry.agent.gpu_side import GpuSide
from nodectl.telemetry.agent.host import Flow, boot_id
from nodectl.telemetry.agent.names import GPU_FAST, GPU_SLOW, HOST_FAST, HOST_SLOW
from nodectl.telemetry.agent.sysfs import Source, infiniband_ports, network_interfaces
from nodectl.telemetry.agent.sysfs import disks as local_disks
from nodectl.telemetry.agent.wire import line_of, plain, slow_line_of
from nodectl.telemetry.agent.worker import Job, Outbox
from nodectl.transport.base import Reply
from nodectl.transport.stream import Stream, StreamRequest, StreamSink

MIB = 1048576.0
OPEN_PATIENCE_S = 10.0
FIRST_TICK_S = 0.25
PROCESSES_EVERY_S, SLOW_EVERY_S = 5.0, 10.0
LEAST_INTERVAL_S, MOST_INTERVAL_S = 0.1, 60.0


class Streams(Protocol):
    """The part of `Transports` that is stood in for."""

    def stream(
        self, node: Node, request: StreamRequest, sink: StreamSink, stop: threading.Event | None = None
    ) -> Stream: ...


class LocalStreams:
    """Streams of nodes; those of `localhost` come from this process where it can.

    Args:
        others: for all other nodes.
        interval_s: as the launch script was made for.
    """

    def __init__(self, others: Streams, interval_s: float = 1.0, *, full_commands: bool = False) -> None:
        self._others = others
        self._interval_s = min(max(interval_s, LEAST_INTERVAL_S), MOST_INTERVAL_S)
        self._full_commands = full_commands

    def stream(
        self, node: Node, request: StreamRequest, sink: StreamSink, stop: threading.Event | None = None
    ) -> Stream:
        """See `Transports.stream`."""
        if node.transport == "local":
            stream = LocalStream(self._interval_s, sink, self._full_commands)
            if stream.open():
                stream.start()
                return stream
        return self._others.stream(node, request, sink, stop)


class LocalStream:
    """Samples of this machine into a sink, as the agent's lines, by one thread beside the one that calls NVML."""

    def __init__(self, interval_s: float, sink: StreamSink, full_commands: bool = False) -> None:
        self._interval_s = interval_s
        self._sink = sink
        self._outbox = Outbox()
        self._gpus = GpuSide(self._outbox, self._tell, full_commands, SLOW_EVERY_S)
        self._host = PsutilHost()
        self._stop = threading.Event()
        self._generation = -1
        self._said_hello = False
        self._events: list[dict[str, Any]] = []
        self._slow: Job | None = None
        self._number = 0
        self._closing = threading.Lock()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="nodectl-local", daemon=True)

    def open(self) -> bool:
        """Whether NVML can be used. Waits for it, at most OPEN_PATIENCE_S."""
        end = time.monotonic() + OPEN_PATIENCE_S
        self._gpus.open(time.monotonic())
        while self._gpus.why and time.monotonic() < end:
            if self._wait(end) and self._gpus.why:  # the answer is no
                break
        if self._gpus.why:
            self._leave()
        return not self._gpus.why

    def start(self) -> None:
        """Begin; `open` was successful."""
        self._thread.start()

    def close(self) -> None:
        """See `Stream`."""
        self._stop.set()
        with self._closing:
            if not self._closed:
                self._outbox.ring()

    def _run(self) -> None:
        reply = Reply(reason=None, reached=True)
        try:
            self._hello()
            self._sample_on()
            self._send({"k": "bye", "t": _now(), "why": "the stream is closed"})
        except Exception as error:  # said where an agent would say it: the watcher tries again
            self._send({"k": "bye", "t": _now(), "why": plain(f"{type(error).__name__}: {error}")})
        finally:
            self._leave()
            self._sink.ended(reply)

    def _sample_on(self) -> None:
        began = time.monotonic()
        due = began + min(FIRST_TICK_S, self._interval_s)
        slow_due = 0.0
        while not self._stop.is_set():
            now = time.monotonic()
            if now < due:
                self._wait(due)
                continue
            late = int((now - due) / self._interval_s) + 1
            due += late * self._interval_s
            self._number += late
            self._gpus.watch(now)
            self._gpus.open(now)
            self._tick(now)
            if now >= slow_due and (self._slow is None or self._slow.done or self._slow.abandoned):
                slow_due = now + PROCESSES_EVERY_S
                self._slow = self._gpus.slow(now)

    def _tick(self, now: float) -> None:
        wall, job = time.time(), self._gpus.fast(now)
        until = now + min(2.0, max(0.5, self._interval_s))
        host = self._host.sample(now)
        while job is not None and not job.done and not self._stop.is_set() and time.monotonic() < until:
            self._wait(until)
        if job is not None and job.done and job.generation > self._generation and not self._gpus.why:
            self._hello()
        rows: list[Any] = [None] * (0 if self._gpus.why else len(self._gpus.gpus.devices))
        if job is not None and job.done and job.generation == self._generation and len(job.rows) == len(rows):
            rows = list(job.rows)
        cost_ms = round((time.monotonic() - now) * 1000.0, 2)
        self._send({"k": "t", "n": self._number, "t": round(wall, 3), "g": rows, "h": host, "ms": cost_ms})

    def _wait(self, until: float) -> bool:
        """Waits for the workers until then, and takes what they say; True when NVML was opened or could not be."""
        wait_s = max(0.0, until - time.monotonic())
        opened = False
        if select.select([self._outbox.wake_fd], [], [], wait_s)[0]:
            for item in self._outbox.take():
                if isinstance(item, dict):
                    self._event(item)
                    continue
                job: Job = item
                self._gpus.returned(job)
                if job.kind == "open":
                    opened = True
                    if self._gpus.opened(job) and self._said_hello:
                        self._tell("devices", None, None, self._gpus.why or "NVML can be read")
                        self._hello()
                elif job is self._slow and not job.abandoned:
                    self._slow_done(job)
        return opened

    def _slow_done(self, job: Job) -> None:
        anew, processes = job.result or [False, []]
        if anew and self._generation != self._gpus.gpus.generation:
            self._hello()
        rows = job.rows if job.rows and job.generation == self._generation else None
        message = {"k": "s", "n": self._number, "t": _now(), "g": rows, "h": [None], "p": processes}
        self._sink.feed(slow_line_of(message))

    def _tell(self, what: str, gpu: str | None, code: int | None, text: str) -> None:
        """Takes an event, from any thread."""
        self._outbox.put({"k": "e", "t": _now(), "gpu": gpu, "what": what, "code": code, "text": plain(text)})

    def _event(self, event: dict[str, Any]) -> None:
        if self._said_hello:
            self._send(event)
        else:
            self._events.append(event)

    def _hello(self) -> None:
        gpus, there = self._gpus.gpus, not self._gpus.why
        self._generation = gpus.generation if there else -1
        self._said_hello = True
        message = {
            "k": "hello",
            "v": 1,
            "backend": "nvml" if there else "none",
            "why": plain(self._gpus.why, 400),
            "interval_s": self._interval_s,
            "t": _now(),
            "hostname": plain(platform.node()),
            "boot_id": plain(boot_id()),
            "driver": plain(gpus.driver),
            "python": platform.python_version(),
            "pid": os.getpid(),
            "gpus": [device.facts for device in gpus.devices] if there else [],
            "host": self._host.facts(),
            "unsupported": {**self._host.unsupported, **(gpus.unsupported() if there else {})},
            "gpu_fields": GPU_FAST,
            "gpu_slow_fields": GPU_SLOW,
            "host_fields": HOST_FAST,
            "host_slow_fields": HOST_SLOW,
        }
        self._send(message)
        events, self._events = self._events, []
        for event in events:
            self._send(event)

    def _send(self, message: dict[str, Any]) -> None:
        self._sink.feed(line_of(message))

    def _leave(self) -> None:
        """Lets the worker's thread end. Where a call hangs in it, its pipe stays open: it may still ring."""
        self._host.close()
        worker = self._gpus._worker
        worker.retire()
        worker._thread.join(0.5)
        if not worker._thread.is_alive() and not self._gpus._hung:
            with self._closing:
                self._closed = True
                os.close(self._outbox.wake_fd)
                os.close(self._outbox.bell)


class PsutilHost:
    """The host's own fields by psutil, with InfiniBand, which it does not know, from sysfs."""

    def __init__(self, sys_root: str = "/sys") -> None:
        # Which of psutil's devices count is the agent's rule: physical interfaces, whole local disks.
        self._nics = _names(network_interfaces(sys_root))
        self._disks = _names(local_disks(sys_root))
        self._ib = Flow(infiniband_ports, sys_root)
        self._cpu: tuple[float, float] | None = None
        self._last: dict[str, tuple[float, int, int]] = {}
        self.sample(time.monotonic())

    def facts(self) -> dict[str, Any]:
        """The host part of the hello."""
        return {
            "cpus": psutil.cpu_count() or 0,
            "memory_total_mib": psutil.virtual_memory().total >> 20,
            "nics": self._nics,
            "ib": self._ib.names,
        }

    def close(self) -> None:
        """Gives its files back."""
        for source in self._ib.sources:
            source.close()

    @property
    def unsupported(self) -> dict[str, str]:
        """Field -> why it is never known here."""
        found = {"agent_cpu_pct": "this machine is sampled by nodectl itself"}
        for names, fields, why in (
            (self._nics, ("net_tx_mib_s", "net_rx_mib_s"), "no physical network interface is seen"),
            (self._ib.names, ("ib_tx_mib_s", "ib_rx_mib_s"), "no active InfiniBand or RoCE port"),
            (self._disks, ("disk_read_mib_s", "disk_write_mib_s"), "no local disk is seen"),
        ):
            if not names:
                found.update(dict.fromkeys(fields, why))
        return found

    def sample(self, now: float) -> list[float | None]:
        """The fast host fields in their order."""
        memory = psutil.virtual_memory()
        net = psutil.net_io_counters(pernic=True)
        disk = psutil.disk_io_counters(perdisk=True) or {}
        nics = [net[name] for name in self._nics if name in net]
        disks = [disk[name] for name in self._disks if name in disk]
        sent, received = self._rates("net", [(nic.bytes_sent, nic.bytes_recv) for nic in nics], now)
        read, written = self._rates("disk", [(one.read_bytes, one.write_bytes) for one in disks], now)
        used_pct = round(100.0 * (1.0 - memory.available / memory.total), 2) if memory.total else None
        return [
            self._cpu_pct(),
            used_pct,
            round(psutil.getloadavg()[0], 2),
            sent,
            received,
            *self._ib.rates(now),
            read,
            written,
        ]

    def _cpu_pct(self) -> float | None:
        times = psutil.cpu_times()
        idle = times.idle + getattr(times, "iowait", 0.0)
        # Guest time is in user time already.
        total = sum(times) - getattr(times, "guest", 0.0) - getattr(times, "guest_nice", 0.0)
        before, self._cpu = self._cpu, (idle, total)
        if before is None or total <= before[1]:
            return None
        return round(100.0 * min(max(1.0 - (idle - before[0]) / (total - before[1]), 0.0), 1.0), 1)

    def _rates(self, key: str, pairs: list[tuple[int, int]], now: float) -> tuple[float | None, float | None]:
        """Growth of the sums of both counters in MiB/s; None without a device or where they were set back."""
        if not pairs:
            return None, None
        sums = sum(pair[0] for pair in pairs), sum(pair[1] for pair in pairs)
        before = self._last.get(key)
        self._last[key] = (now, *sums)
        if before is None or now - before[0] < 0.01 or sums[0] < before[1] or sums[1] < before[2]:
            return None, None
        passed = now - before[0]
        return round((sums[0] - before[1]) / MIB / passed, 3), round((sums[1] - before[2]) / MIB / passed, 3)


def _names(sources: Sequence[Source]) -> list[str]:
    """The sources' names. They hold their files open, which is not needed here."""
    for source in sources:
        source.close()
    return [source.name for source in sources]


def _now() -> float:
    return round(time.time(), 3)
