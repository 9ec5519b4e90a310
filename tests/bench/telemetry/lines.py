"""What a node with eight GPUs sends: the size and the look of real lines, values that move."""

from __future__ import annotations

import json
import random

from nodectl.telemetry.fields import FAST, GPU_FIELDS, HOST_FIELDS

GPUS = 8
SLOW_EVERY = 10


def hello(interval_s: float) -> bytes:
    """The first line."""
    gpus = [
        {
            "index": str(i),
            "uuid": f"GPU-{random.getrandbits(128):032x}",
            "name": "NVIDIA H200",
            "pci_bus_id": f"00000000:{0x10 + i:02X}:00.0",
            "memory_total_mib": 143771,
            "power_limit_w": 700.0,
        }
        for i in range(GPUS)
    ]
    value = {
        "k": "hello",
        "v": 1,
        "backend": "nvml",
        "interval_s": interval_s,
        "t": 1.0,
        "hostname": "gpu",
        "gpus": gpus,
    }
    return _line({**value, "host": {"cpus": 192, "memory_total_mib": 2063937, "nics": ["eth0"], "ib": ["mlx5_0"]}})


def tick(number: int) -> bytes:
    """One sample."""
    gpus, host = _values(GPU_FIELDS, True), _values(HOST_FIELDS, True)
    return _line({"k": "t", "n": number, "t": 1795219200.25 + number, "g": gpus(), "h": host()[0], "ms": 6.2})


def slow(number: int) -> bytes:
    """The slow beat, with a process on each GPU."""
    gpus, host = _values(GPU_FIELDS, False), _values(HOST_FIELDS, False)
    processes = [[str(i), 40000 + i, "alice", "python3", 120000, "C", "slurm 4711"] for i in range(GPUS)]
    return _line({"k": "s", "n": number, "t": 1795219200.5, "g": gpus(), "h": host()[0], "p": processes})


def circle() -> list[bytes]:
    """Lines to be sent over and over, one an interval: ticks, and in place of every tenth a slow line."""
    return [slow(n) if n % SLOW_EVERY == 0 else tick(n) for n in range(1, 4 * SLOW_EVERY + 1)]


def _values(fields, fast: bool):  # type: ignore[no-untyped-def]
    kinds = [field.type for field in fields if (field.beat == FAST) == fast]

    def rows() -> list[list[float]]:
        return [[_value(kind) for kind in kinds] for _ in range(GPUS)]

    return rows


def _value(kind: str) -> float:
    return random.randrange(2000) if kind != "float" else round(random.uniform(0, 2000), 1)


def _line(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode() + b"\n"
