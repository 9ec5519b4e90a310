"""Lines of a stream, as an agent writes them, for the tests of what reads them."""

from __future__ import annotations

import json
from typing import Any

from nodectl.telemetry.fields import FAST, GPU_FIELDS, HOST_FIELDS, SLOW

GPU_FAST = [field.name for field in GPU_FIELDS if field.beat == FAST]
GPU_SLOW = [field.name for field in GPU_FIELDS if field.beat == SLOW]
HOST_FAST = [field.name for field in HOST_FIELDS if field.beat == FAST]
HOST_SLOW = [field.name for field in HOST_FIELDS if field.beat == SLOW]


def line(kind: str, **keys: Any) -> bytes:
    return json.dumps({"k": kind, **keys}, separators=(",", ":")).encode()


def hello(gpus: int = 8, **keys: Any) -> bytes:
    devices = [
        {"index": str(n), "uuid": f"GPU-{n}", "name": "NVIDIA H200", "memory_total_mib": 143771.0} for n in range(gpus)
    ]
    return line("hello", **{"v": 1, "backend": "nvml", "interval_s": 1.0, "t": 1e9, "gpus": devices, **keys})


def tick(number: int, gpus: int = 8, value: float = 1.0, **keys: Any) -> bytes:
    """Every fast field of GPU g is `value + g`."""
    rows = [[value + g] * len(GPU_FAST) for g in range(gpus)]
    return line("t", **{"n": number, "t": 1e9 + number, "g": rows, "h": [value] * len(HOST_FAST), "ms": 9.5, **keys})


def slow(number: int, gpus: int = 8, value: float = 1.0, **keys: Any) -> bytes:
    rows = [[value + g] * len(GPU_SLOW) for g in range(gpus)]
    return line("s", **{"n": number, "t": 1e9 + number, "g": rows, "h": [value] * len(HOST_SLOW), "p": [], **keys})
