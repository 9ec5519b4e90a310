"""What a sample costs after it has come in: reading the line, the store, the history, and a recording of it.

Lines of 8-GPU nodes as the agent writes them: a tick a second, a slow line with processes each ten seconds. CPU time of
one thread; memory is what the process grows by. Decoding into types is compared with `json.loads` in the same run.
"""

from __future__ import annotations

import gc
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from nodectl.telemetry.decode import decode
from nodectl.telemetry.fields import FAST, GPU_FIELDS, HOST_FIELDS
from nodectl.telemetry.messages import Hello
from nodectl.telemetry.reader import LineReader
from nodectl.telemetry.record import RecordWriter
from nodectl.telemetry.store import Store

GPUS = 8
SECONDS = 30
BUDGET_US = 50.0  # a sample: 5% of a core for 1,000 nodes, of the 10% that all of it may take
BUDGET_MIB_PER_1000 = 50.0
FAST_GPU = sum(field.beat == FAST for field in GPU_FIELDS)
FAST_HOST = sum(field.beat == FAST for field in HOST_FIELDS)


def line(kind: str, **keys: object) -> bytes:
    return json.dumps({"k": kind, **keys}, separators=(",", ":")).encode() + b"\n"


def hello() -> bytes:
    devices = [
        {"index": str(n), "uuid": f"GPU-{n:08}-4ac5-8e5c-63ba-2c0d3e4b1a{n:02}", "name": "NVIDIA H200",
         "pci_bus_id": f"00000000:{n + 16:02X}:00.0", "memory_total_mib": 143771, "power_limit_w": 700.0}
        for n in range(GPUS)
    ]  # fmt: skip
    return line("hello", v=1, backend="nvml", interval_s=1.0, t=time.time(), hostname="gpu", gpus=devices)


def tick(number: int, rng: random.Random) -> bytes:
    """Numbers of the kinds and lengths that a busy H200 gives."""
    whole, half = rng.randrange, rng.uniform
    rows = [
        [whole(101), whole(101), whole(143771), whole(25, 90), whole(25, 95), round(half(70, 700), 2), 1980, 3201,
         whole(8), *(round(half(0, 50000), 1) for _ in range(4)), *[0] * 6, *(round(half(0, 100), 1) for _ in range(9))]
        for _ in range(GPUS)
    ]  # fmt: skip
    host = [round(half(0, 100), 1) for _ in range(FAST_HOST)]
    return line("t", n=number, t=round(time.time(), 3), g=[row[:FAST_GPU] for row in rows], h=host, ms=11.42)


def slow(number: int, rng: random.Random) -> bytes:
    rows = [[700.0, 45, rng.randrange(10**9), 0, 5, 16][: len(GPU_FIELDS) - FAST_GPU] for _ in range(GPUS)]
    processes = [[str(g), 10_000 + g, "ann", "python", 90_000, "C", "slurm:4711"] for g in range(GPUS)]
    return line("s", n=number, t=round(time.time(), 3), g=rows, h=[1.5], p=processes)


def cpu_us(calls: int, work: Callable[[], object]) -> float:
    """CPU microseconds of one of the calls that `work` makes; the best of three."""
    best = float("inf")
    for _ in range(3):
        begun = time.process_time()
        work()
        best = min(best, time.process_time() - begun)
    return best / calls * 1e6


def parts() -> float:
    """Prints the cost of each step for one node; returns how many times quicker typed decoding is than json."""
    rng = random.Random(1)
    lines = [tick(number, rng) for number in range(1, 2001)]
    messages = [decode(data) for data in lines]
    clock = iter(range(10**9))
    store, opened = Store(now=lambda: float(next(clock))), Store(now=lambda: float(next(clock)))
    for one in (store, opened):
        one.put("a", decode(hello()))
    opened.open("a")
    reader = LineReader()
    reader.feed(hello())
    with tempfile.TemporaryDirectory() as folder:
        writer = RecordWriter(Path(folder) / "bench.ndtel")
        rows = {
            "json.loads": cpu_us(2000, lambda: _each(json.loads, lines)),
            "decode, typed": cpu_us(2000, lambda: _each(decode, lines)),
            "LineReader.feed (decode in it)": cpu_us(2000, lambda: _each(reader.feed, lines)),
            "Store.put, with coarse history": cpu_us(2000, lambda: _each(lambda m: store.put("a", m), messages)),
            "Store.put of an open node": cpu_us(2000, lambda: _each(lambda m: opened.put("a", m), messages)),
            "RecordWriter.put, packed and written": cpu_us(2000, lambda: _recorded(writer, messages)),
        }
        writer.close()
        size = writer.bytes_written / writer.records
    print(f"a tick of {len(lines[-1])} bytes, {GPUS} GPUs x {FAST_GPU} values")
    for name, value in rows.items():
        print(f"  {name:<38} {value:6.1f} us CPU")
    print(f"  {'in a recording (random values)':<38} {size:6.0f} bytes")
    return rows["json.loads"] / rows["decode, typed"]


def _each(work: Callable[[Any], object], items: Sequence[object]) -> None:
    for item in items:
        work(item)


def _recorded(writer: RecordWriter, messages: Sequence[Any]) -> None:
    """Until it is on its way to the disk: the thread that packs is part of the cost."""
    before = writer.records
    for number, message in enumerate(messages):
        writer.put("a", 1.7e9 + number, message)
    writer._wake.set()
    while writer.records < before + len(messages):
        time.sleep(0.002)


def rss_mib() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def fleet(nodes: int) -> None:
    """In a process of its own: that many nodes through readers into one store, and what is left in memory."""
    rng = random.Random(2)
    ticks = [tick(number, rng) for number in range(1, 61)]
    beats = [slow(number, rng) for number in range(1, 11)]
    at = [0.0]
    gc.collect()
    before = rss_mib()
    store = Store(now=lambda: at[0])
    names = [f"gpu{number:04}" for number in range(nodes)]
    readers = {name: LineReader() for name in names}
    for name in names:
        (message,) = readers[name].feed(hello())
        assert isinstance(message, Hello)
        store.put(name, message)
    begun, samples, changed = time.process_time(), 0, 0
    for second in range(SECONDS):
        at[0] = float(second)
        for number, (name, reader) in enumerate(readers.items()):
            data = ticks[(second + number) % len(ticks)]
            if (second + number) % 10 == 0:
                data += beats[number % len(beats)]
            for found in reader.feed(data):
                store.put(name, found)
            samples += 1
        changed += len(store.take_dirty())
    each = (time.process_time() - begun) / samples * 1e6
    assert changed == samples
    assert all(node.state == "live" and None not in node.gpus for node in store.nodes.values())
    grown = rss_mib() - before
    print(
        f"{nodes:5} nodes at 1 Hz: {each:5.1f} us a sample, {each * nodes / 1e4:4.1f}% of a core, "
        f"{grown:5.1f} MiB ({grown * 1024 / nodes:4.1f} kB a node; newest values, 10 min coarse history, readers)"
    )
    if each > BUDGET_US or grown > BUDGET_MIB_PER_1000 * nodes / 1000:
        sys.exit(1)


def main() -> int:
    if len(sys.argv) > 1:
        fleet(int(sys.argv[1]))
        return 0
    quicker = parts()
    print(f"  typed decoding is {quicker:.1f} times as quick as json.loads")
    failed = 0
    for nodes in (1000, 2000):
        failed += subprocess.run([sys.executable, __file__, str(nodes)], check=False).returncode != 0
    return int(failed > 0 or quicker < 1.5)


if __name__ == "__main__":
    sys.exit(main())
