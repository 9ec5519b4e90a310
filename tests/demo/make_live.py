"""Makes the recording of which the demo's telemetry is made: `nodectl/demo/data/live/h200.ndtel`.

Usage: python tests/demo/make_live.py [FILE]     reads the capture beside this checkout, ../shared/recordings/h200x8

The capture is a minute of eight H200s, idle, at work and idle again, as NVML's calls gave it. What was not read then
(HBM temperature, NVLink, ECC, ...) is null here; nothing is made up.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from nodectl.telemetry.fields import FAST, GPU_FIELDS
from nodectl.telemetry.messages import Gpu, Hello, Message, Tick
from nodectl.telemetry.record import RecordWriter

ROOT = Path(__file__).resolve().parents[2]
CAPTURE = ROOT.parent / "shared" / "recordings" / "h200x8" / "telemetry.jsonl"
RECORDING = ROOT / "nodectl" / "demo" / "data" / "live" / "h200.ndtel"
NODE = "gpu-00"
BEGUN_T = 1_795_205_188.0  # 2026-11-20 20:06:28 UTC, as all of the demo
SLOWDOWN_C, POWER_LIMIT_W, MEMORY_MIB = 89.0, 700.0, 143_771.0  # as nvidia-smi -q told of that machine


def messages(capture: Path = CAPTURE) -> Iterator[tuple[float, Message]]:
    """The hello and a tick for each line of the capture, with its Unix time."""
    samples = [json.loads(line) for line in capture.read_text().splitlines()]
    gpus = tuple(
        Gpu(
            index=str(number),
            name="NVIDIA H200",
            memory_total_mib=MEMORY_MIB,
            power_limit_w=POWER_LIMIT_W,
            temperature_slowdown_c=SLOWDOWN_C,
        )
        for number in range(len(samples[0]["gpus"]))
    )
    yield (
        BEGUN_T,
        Hello(backend="nvml", interval_s=0.4, t=BEGUN_T, hostname=NODE, driver="580.159.04", gpus=gpus),
    )
    names = [field.name for field in GPU_FIELDS if field.beat == FAST]
    for number, sample in enumerate(samples, 1):
        t = BEGUN_T + sample["t"]
        rows = [[values.get(name) for name in names] for values in map(_values, sample["gpus"])]
        yield t, Tick(seq=number, t=t, gpus=rows)


def _values(gpu: dict[str, Any]) -> dict[str, float]:
    """NVML's units to those of the fields: bytes, milliwatts, and KiB/s over the last 20 ms for PCIe.

    The memory is that of nvmlDeviceGetMemoryInfo, in which the 616 MiB that the driver keeps for itself are in use.
    """
    return {
        "gpu_util_pct": gpu["util"]["gpu"],
        "memory_util_pct": gpu["util"]["memory"],
        "memory_used_mib": gpu["mem"]["used"] >> 20,
        "temperature_c": gpu["temp"],
        "power_w": gpu["power_mw"] / 1000,
        "sm_clock_mhz": gpu["sm_mhz"],
        "mem_clock_mhz": gpu["mem_mhz"],
        "clocks_event_reasons": gpu["reasons"],
        "pcie_tx_mib_s": round(gpu["pcie_tx"] / 1024, 2),
        "pcie_rx_mib_s": round(gpu["pcie_rx"] / 1024, 2),
    }


def main() -> int:
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else RECORDING
    writer = RecordWriter(path, nodes=[NODE], overwrite=True, now=lambda: BEGUN_T)
    for t, message in messages():
        writer.put(NODE, t, message)
    writer.close()
    path.chmod(0o644)
    print(f"{path}: {writer.records} records, {path.stat().st_size} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
