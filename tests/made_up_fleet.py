"""A fleet that was never measured: one node of each kind of trouble among healthy ones, in a store with a clock."""

from __future__ import annotations

from collections.abc import Iterator

from nodectl.model import Reason
from nodectl.telemetry.fields import FAST, GPU_FIELDS, HOST_FIELDS
from nodectl.telemetry.messages import Event, Gpu, Hello, Host, Message, Process, Slow, Tick
from nodectl.telemetry.store import CONNECTING, FAILED, RETRY, Store

T0 = 1_780_000_000.0
"""Unix time of the first sample."""
FAST_GPU = tuple(field.name for field in GPU_FIELDS if field.beat == FAST)
SLOW_GPU = tuple(field.name for field in GPU_FIELDS if field.beat != FAST)
FAST_HOST = tuple(field.name for field in HOST_FIELDS if field.beat == FAST)

BUSY: dict[str, float | None] = {
    "gpu_util_pct": 98, "memory_util_pct": 61, "memory_used_mib": 73_000, "temperature_c": 71,
    "temperature_memory_c": 82, "power_w": 693.4, "sm_clock_mhz": 1980, "mem_clock_mhz": 3201,
    "clocks_event_reasons": 4, "pcie_tx_mib_s": 1228.8, "pcie_rx_mib_s": 4198.4, "nvlink_tx_mib_s": 315_392.0,
    "nvlink_rx_mib_s": 319_488.0, "ecc_uncorrectable": 0, "ecc_correctable": 0, "remapped_rows": 0,
    "remap_pending": 0, "remap_failure": 0, "recovery_action": 0, "power_limit_w": 700, "t_limit_margin_c": 16,
    "energy_j": 5_400_000, "pcie_replays": 0, "pcie_gen": 5, "pcie_width": 16,
}  # fmt: skip
IDLE = BUSY | {
    "gpu_util_pct": 0, "memory_util_pct": 0, "memory_used_mib": 615, "temperature_c": 36, "temperature_memory_c": 40,
    "power_w": 78.2, "sm_clock_mhz": 345, "clocks_event_reasons": 1, "pcie_tx_mib_s": 0, "pcie_rx_mib_s": 0,
    "nvlink_tx_mib_s": 0, "nvlink_rx_mib_s": 0, "t_limit_margin_c": 51,
}  # fmt: skip
HOST: dict[str, float | None] = {
    "cpu_util_pct": 12.4, "memory_used_pct": 31.2, "load1": 14.1, "net_tx_mib_s": 0.4, "net_rx_mib_s": 1.2,
    "ib_tx_mib_s": 40_960, "ib_rx_mib_s": 39_936, "disk_read_mib_s": 210, "disk_write_mib_s": 12,
}  # fmt: skip


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self, now: float = 0.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def hello(count: int = 8, **more: object) -> Hello:
    devices = tuple(
        Gpu(index=str(i), uuid=f"GPU-{i:08x}", name="NVIDIA H200", memory_total_mib=143_771, power_limit_w=700)
        for i in range(count)
    )
    fields: dict[str, object] = {
        "backend": "nvml", "driver": "580.95.05", "gpus": devices, "t": T0,
        "host": Host(cpus=192, memory_total_mib=2_000_000),
    }  # fmt: skip
    return Hello(**(fields | more))  # type: ignore[arg-type]


def tick(seq: int, gpus: list[dict[str, float | None] | None], t: float, host: dict[str, float | None] = HOST) -> Tick:
    rows = [None if gpu is None else [gpu.get(name) for name in FAST_GPU] for gpu in gpus]
    return Tick(seq=seq, t=t, gpus=rows, host=[host.get(name) for name in FAST_HOST], cost_ms=9.0)


def slow(seq: int, gpus: list[dict[str, float | None] | None], t: float, processes: tuple[Process, ...] = ()) -> Slow:
    rows = [None if gpu is None else [gpu.get(name) for name in SLOW_GPU] for gpu in gpus]
    return Slow(seq=seq, t=t, gpus=rows, host=[0.3], processes=processes)


def work(user: str, job: str, gpus: int = 8) -> tuple[Process, ...]:
    return tuple(Process(str(i), 104_422 + i, user, "python train.py --cfg ***", 72_000, "C", job) for i in range(gpus))


def stream(
    gpus: list[dict[str, float | None] | None], *, processes: tuple[Process, ...] = (), t: float = T0, **more: object
) -> Iterator[Message]:
    """A hello, two ticks and a slow beat."""
    yield hello(len(gpus), **more)
    yield tick(1, gpus, t)
    yield slow(2, gpus, t, processes)
    yield tick(3, gpus, t + 1)


def fleet(clock: Clock, healthy: int = 3) -> Store:
    """See the module. Everything came at the clock's time, but for what is stale (9 s before)."""
    store = Store(now=clock)
    names = [f"gpu-{number:03}" for number in range(1, healthy + 1)]
    store.add(
        [*names, "gpu-017", "gpu-031", "gpu-032", "gpu-033", "gpu-078", "gpu-133", "gpu-140", "gpu-250", "gpu-300"]
    )

    def say(name: str, messages: Iterator[Message], at: float | None = None) -> None:
        for message in messages:
            store.put(name, message, at=at)

    for name in names:
        say(name, stream([BUSY] * 8, processes=work("alice", "88213")))
    bad = BUSY | {
        "remap_failure": 1,
        "temperature_c": 86,
        "power_w": 402.0,
        "sm_clock_mhz": 1215,
        "ecc_uncorrectable": 2,
    }
    say("gpu-017", stream([*[BUSY] * 4, bad, *[BUSY] * 3], processes=work("alice", "88213")))
    lost = stream([*[BUSY] * 6, None, BUSY], processes=work("bob", "88400"))
    say("gpu-078", lost)
    store.put("gpu-078", Event(t=T0, gpu="6", what="xid", code=79, text="GPU has fallen off the bus"))
    store.put("gpu-078", Event(t=T0, gpu="6", what="lost", text="GPU is lost"))
    hot = BUSY | {"clocks_event_reasons": 0x48, "temperature_c": 91, "temperature_memory_c": 97, "power_w": 512.0}
    say("gpu-133", stream([*[BUSY] * 5, hot, *[BUSY] * 2]))
    say("gpu-140", stream([IDLE] * 8), at=clock.now - 9)
    say("gpu-250", stream([], backend="none", why="libnvidia-ml.so.1 is not there"))
    refused = Reason("timeout", "gpu-032 (10.0.0.32 port 22): connecting took longer than 10 s", "is it up?")
    store.set_state("gpu-032", RETRY, reason=refused, tries=4, retry_at=clock.now + 8)
    same = Reason("timeout", "gpu-033 (10.0.0.33 port 22): connecting took longer than 10 s", "is it up?")
    store.set_state("gpu-033", RETRY, reason=same, tries=4, retry_at=clock.now + 11)
    key = Reason("host_key_changed", "gpu-300 (10.0.1.44 port 22): the host key is not the one in known_hosts:311")
    store.set_state("gpu-300", FAILED, reason=key, tries=1, retry_at=clock.now + 280)
    store.set_state("gpu-031", CONNECTING, tries=0)
    store.take_dirty()
    store.dirty.update(store.nodes)
    return store
