"""The telemetry of the demo fleet: a recorded minute of eight H200s, played by each node in its own way.

What is recorded (data/live/): utilisation, memory, temperature, power, clocks, why they are held down, and PCIe. The
values between two samples are interpolated, so a stream is alive at any interval. What that recording lacks is worked
out from what it has, so that it moves with it: HBM temperature, NVLink, busy SMs and tensor cores, the margin to the
temperature limit, energy, and the host. Each node has its own phase and pace, and each GPU is a little warmer or
thriftier than the next. What is wrong with a node is a `LiveStory`.
"""

from __future__ import annotations

import itertools
import math
import random
import time
from bisect import bisect_right
from collections.abc import Iterator
from functools import cache
from typing import NamedTuple

import msgspec

from nodectl.demo.recording import DATA, GPU_BUSES, boot_id, gpu_uuid
from nodectl.telemetry.decode import decode
from nodectl.telemetry.fields import FAST, GPU_FIELDS, GPU_INDEX, SLOW, SLOW_EVERY_S
from nodectl.telemetry.messages import Event, Gpu, Hello, Host, Message, Process, Slow, Tick, encode
from nodectl.telemetry.replay import Replay

RECORDING = DATA / "live" / "h200.ndtel"
DRIVER = "580.159.04"
LIMIT_W = 700.0
# Seconds of the recording: its GPUs are idle, are put to work after 16 s, and rest again after 50 s.
IDLE = (0.0, 15.0)
LOAD = (22.0, 49.0)
JOBS = (6.0, 60.0)

Line = tuple[float, bytes]
Row = list[float | None]
"""A value for each of GPU_FIELDS."""


class Model(NamedTuple):
    """What a GPU of the fleet is called, and where it differs from those of the recording."""

    name: str
    memory_mib: float
    mem_clock_mhz: float


H200 = Model("NVIDIA H200", 143771.0, 3201.0)
H100 = Model("NVIDIA H100 80GB HBM3", 81559.0, 2619.0)


class LiveStory(msgspec.Struct, frozen=True):
    """What a node does, and what is wrong with it.

    Attributes:
        window: the part of the recording that it plays: JOBS (idle, at work, idle, ...) round and round, IDLE and LOAD
            forth and back, so that nothing jumps.
        pace: recorded seconds in a second.
        limit_w: power limit of all its GPUs.
        idle_gpus: GPUs without work. lost_gpu: one that has fallen off the bus.
        values: fixed values of GPUs: {GPU: {field: value}}.
        links: share of the NVLink rate that is left: all GPUs of a job wait for the one with the fewest links.
        events: (what, GPU, code, text), said at the beginning.
        stops_after_s: then it sends nothing any more, and does not hang up either.
        no_driver: why NVML cannot be used; only the host is sampled then.
    """

    window: tuple[float, float] = LOAD
    pace: float = 1.0
    limit_w: float = LIMIT_W
    idle_gpus: tuple[int, ...] = ()
    lost_gpu: int | None = None
    values: dict[int, dict[str, float]] = msgspec.field(default_factory=dict)
    links: float = 1.0
    events: tuple[tuple[str, int, int | None, str], ...] = ()
    stops_after_s: float = math.inf
    no_driver: str = ""


class _Minute(NamedTuple):
    """The recording: seconds from its start, and the rows of all GPUs then."""

    at: list[float]
    rows: list[list[Row]]

    def gpu(self, index: int, at: float) -> Row:
        """What a GPU showed at a moment, between the samples before and after it."""
        after = min(max(bisect_right(self.at, at), 1), len(self.at) - 1)
        before = after - 1
        span = self.at[after] - self.at[before]
        share = min(max((at - self.at[before]) / span, 0.0), 1.0) if span > 0 else 0.0
        old, new = self.rows[before][index], self.rows[after][index]
        mixed = [None if a is None or b is None else a + (b - a) * share for a, b in zip(old, new, strict=True)]
        mixed[_REASONS] = new[_REASONS]  # bits are not halved
        return mixed


_FAST = [field.name for field in GPU_FIELDS if field.beat == FAST]
_SLOW = [field.name for field in GPU_FIELDS if field.beat == SLOW]
_WHOLE = frozenset(field.name for field in GPU_FIELDS if field.type != "float")
_REASONS = GPU_INDEX["clocks_event_reasons"]
_SW_POWER_CAP = 0x4
_IN_USE_MIB = 640.0
"""Below this there is nothing in a GPU's memory but what the driver keeps there."""


@cache
def _minute() -> _Minute:
    replay = Replay(RECORDING)
    try:
        at, rows = [], []
        for record in replay.records():
            message = decode(record.data)
            if isinstance(message, Tick) and message.gpus is not None:
                at.append(record.t - replay.start_t)
                rows.append([[*(row or []), *[None] * len(_SLOW)] for row in message.gpus])
        return _Minute(at, rows)
    finally:
        replay.close()


class LiveNode:
    """The stream of one node.

    Args:
        host: its name. Everything that varies between nodes hangs on it, so that a node is the same in each run.
        seed: of the noise.
    """

    def __init__(self, host: str, story: LiveStory, *, h100: bool = False, seed: int | None = None) -> None:
        self._host, self._story, self._model = host, story, H100 if h100 else H200
        own = random.Random(host)  # noqa: S311  a demo is no secret
        self._offset = own.uniform(0.0, 60.0)
        self._thrift = [own.uniform(0.97, 1.02) for _ in GPU_BUSES]
        self._warmer = [own.uniform(-3.0, 4.0) for _ in GPU_BUSES]
        self._job = f"slurm:{48_000 + own.randrange(900)}"
        self._user = own.choice(("alice", "bob", "chen", "dana"))
        self._memory_mib = self._model.memory_mib * own.uniform(0.55, 0.85)
        self._pid = 200_000 + own.randrange(90_000)
        self._energy = [own.uniform(2e8, 5e8) for _ in GPU_BUSES]
        self._noise = random.Random(seed)  # noqa: S311
        self._load1 = own.uniform(0.2, 1.0)

    def lines(self, interval_s: float) -> Iterator[Line]:
        """Lines and when each is due, on the monotonic clock. Ends never, or when the story has it so."""
        begun = time.monotonic()
        numbers = itertools.count(1)
        yield begun, _line(self._hello(interval_s))
        for what, gpu, code, text in self._story.events:
            yield begun, _line(Event(t=_now(), gpu=str(gpu), what=what, code=code, text=text))
        slow_at = 0.0
        for tick in itertools.count():
            passed = tick * interval_s
            if passed > self._story.stops_after_s:
                return
            # Made when it is due: who asks for the next line has waited for the last one.
            rows = self._rows(passed, interval_s)
            host = self._host_row(rows, passed)
            fast = [None if row is None else row[: len(_FAST)] for row in rows]
            yield (
                begun + passed,
                _line(
                    Tick(
                        seq=next(numbers),
                        t=_now(),
                        gpus=fast,
                        host=host,
                        cost_ms=round(self._noise.uniform(9.0, 12.0), 2),
                    )
                ),
            )
            if passed >= slow_at:
                slow_at = passed + SLOW_EVERY_S
                slow = [None if row is None else row[len(_FAST) :] for row in rows]
                yield (
                    begun + passed,
                    _line(
                        Slow(seq=next(numbers), t=_now(), gpus=slow, host=[0.6], processes=tuple(self._processes(rows)))
                    ),
                )

    def _hello(self, interval_s: float) -> Hello:
        story = self._story
        gpus = tuple(
            Gpu(
                index=str(index),
                uuid=gpu_uuid(self._host, index),
                name=self._model.name,
                pci_bus_id=f"00000000:{bus.upper()}:00.0",
                memory_total_mib=self._model.memory_mib,
                power_limit_w=story.limit_w,
                temperature_slowdown_c=89.0,
            )
            for index, bus in enumerate(GPU_BUSES)
        )
        return Hello(
            backend="none" if story.no_driver else "nvml",
            why=story.no_driver,
            interval_s=interval_s,
            t=_now(),
            hostname=self._host,
            boot_id=boot_id(self._host),
            driver="" if story.no_driver else DRIVER,
            python="3.10.12",
            pid=self._pid - 1,
            gpus=() if story.no_driver else gpus,
            host=Host(
                cpus=192,
                memory_total_mib=2_063_876.0,
                nics=("ens1f0np0",),
                ib=tuple(f"mlx5_{number}" for number in range(8)),
            ),
        )

    def _at(self, passed: float) -> float:
        """The moment of the recording."""
        begin, end = self._story.window
        length = end - begin
        around = passed * self._story.pace + self._offset
        if self._story.window == JOBS:
            return begin + around % length
        return begin + length - abs(around % (2 * length) - length)

    def _rows(self, passed: float, interval_s: float) -> list[Row | None]:
        if self._story.no_driver:
            return []
        at = self._at(passed)
        rows: list[Row | None] = []
        for index in range(len(GPU_BUSES)):
            if index == self._story.lost_gpu:
                rows.append(None)
                continue
            idle = index in self._story.idle_gpus
            named = dict(zip(GPU_INDEX, _minute().gpu(index, 1.0 + at % 10.0 if idle else at), strict=True))
            self._shape(index, named)
            self._energy[index] += (named["power_w"] or 0.0) * interval_s
            named["energy_j"] = self._energy[index]
            named.update(self._story.values.get(index, {}))
            rows.append([_rounded(name, value) for name, value in named.items()])
        return rows

    def _shape(self, index: int, gpu: dict[str, float | None]) -> None:
        """Makes a recorded GPU one of this node, and adds what was not recorded."""
        noise = self._noise.gauss
        util = gpu["gpu_util_pct"] or 0.0
        power = (gpu["power_w"] or 0.0) * self._thrift[index] + noise(0.0, 1.5)
        temperature = (gpu["temperature_c"] or 0.0) + self._warmer[index]
        clock = gpu["sm_clock_mhz"] or 0.0
        limit = self._story.limit_w
        if util > 1.0 and power > limit - 8.0:
            # Held at its limit: power follows the clock more than linearly, and heat follows power.
            clock *= min(1.0, (limit / power) ** 0.6)
            temperature -= 0.04 * max(0.0, power - limit)
            power = limit - abs(noise(0.0, 4.0))
            gpu["clocks_event_reasons"] = _SW_POWER_CAP
        busy = util / 100.0
        speed = busy * clock / 1980.0
        flow = speed * self._story.links * 205_000.0
        memory = gpu["memory_used_mib"] or 0.0
        gpu.update(
            memory_used_mib=memory + (self._memory_mib if memory > _IN_USE_MIB else 0.0),
            gpu_util_pct=min(100.0, max(0.0, util + (noise(0.0, 1.0) if util > 1.0 else 0.0))),
            power_w=power,
            temperature_c=temperature,
            temperature_memory_c=temperature + 2.0 + 7.0 * busy,
            sm_clock_mhz=15.0 * round(clock / 15.0),
            mem_clock_mhz=self._model.mem_clock_mhz,
            nvlink_tx_mib_s=max(0.0, flow * noise(1.0, 0.02)) if busy else 0.0,
            nvlink_rx_mib_s=max(0.0, flow * noise(1.0, 0.02)) if busy else 0.0,
            sm_active_pct=_percent(93.0 * busy * noise(1.0, 0.01)),
            tensor_active_pct=_percent(64.0 * busy * noise(1.0, 0.02)),
            memory_bandwidth_pct=_percent(1.7 * (gpu["memory_util_pct"] or 0.0) * noise(1.0, 0.02)),
            power_limit_w=limit,
            t_limit_margin_c=87.0 - temperature,
            **dict.fromkeys(_COUNTS, 0.0),
            pcie_gen=5.0,
            pcie_width=16.0,
        )
        for name in ("pcie_tx_mib_s", "pcie_rx_mib_s"):
            gpu[name] = max(0.0, (gpu[name] or 0.0) * noise(1.0, 0.05))

    def _host_row(self, rows: list[Row | None], passed: float) -> Row:
        """What a host does whose GPUs do this: HOST_FIELDS of the fast beat."""
        noise = self._noise.gauss
        known = [row[GPU_INDEX["gpu_util_pct"]] or 0.0 for row in rows if row is not None]
        busy = sum(known) / (100.0 * len(known)) if known else 0.0
        runnable = 0.4 + 34.0 * busy
        self._load1 += (runnable - self._load1) * 0.1 if passed else runnable - self._load1
        fabric = 31_000.0 * busy
        row = (
            1.2 + 16.0 * busy + noise(0.0, 0.3),
            3.1 + 19.0 * busy + noise(0.0, 0.05),
            self._load1,
            0.06 + 0.5 * busy * noise(1.0, 0.2),
            0.09 + 0.9 * busy * noise(1.0, 0.2),
            fabric * noise(1.0, 0.03),
            fabric * noise(1.0, 0.03),
            620.0 * busy * noise(1.0, 0.15),
            max(0.2, 3.0 + noise(0.0, 2.0)),
        )
        return [round(max(0.0, value), 2) for value in row]

    def _processes(self, rows: list[Row | None]) -> Iterator[Process]:
        """One process of the node's job on each GPU that works."""
        for index, row in enumerate(rows):
            if row is not None and (row[GPU_INDEX["gpu_util_pct"]] or 0.0) > 1.0:
                memory = (row[GPU_INDEX["memory_used_mib"]] or 0.0) - _IN_USE_MIB
                yield Process(str(index), self._pid + index, self._user, "python3", memory, "C", self._job)


_COUNTS = (
    "ecc_uncorrectable", "ecc_correctable", "remapped_rows", "remap_pending", "remap_failure", "recovery_action",
    "pcie_replays",
)  # fmt: skip


def _line(message: Message) -> bytes:
    return encode(message) + b"\n"


def _now() -> float:
    return round(time.time(), 3)


def _percent(value: float) -> float:
    return min(100.0, max(0.0, value))


def _rounded(name: str, value: float | None) -> float | None:
    if value is None:
        return None
    return round(value) if name in _WHOLE else round(value, 2)
