"""What the agent costs on a machine with NVIDIA GPUs, whether it disturbs a job, and whether its values are true.

    python3 tests/bench/telemetry/device.py [seconds of each measurement]

Needs the driver, pynvml and torch; nvitop is compared if it is installed. Prints one line a measurement. With `load`,
`copy` or `p2p` as its first argument it is the job that runs beside the agent.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[3]
sys.path[:0] = [str(ROOT), str(ROOT / "tests/telemetry")]

from agent_bench import RunningAgent  # noqa: E402

from nodectl.telemetry.agent.gpus import Gpus  # noqa: E402
from nodectl.telemetry.agent.names import GPU_FAST, GPU_SLOW  # noqa: E402
from nodectl.telemetry.agent.worker import Job  # noqa: E402

QUERY = (
    "utilization.gpu,utilization.memory,memory.used,temperature.gpu,temperature.memory,power.draw,clocks.sm,"
    "clocks.mem,"
    "clocks_event_reasons.active,ecc.errors.uncorrected.volatile.total,ecc.errors.corrected.volatile.total"
)
COMPARED = [
    "gpu_util_pct",
    "memory_util_pct",
    "memory_used_mib",
    "temperature_c",
    "temperature_memory_c",
    "power_w",
    "sm_clock_mhz",
    "mem_clock_mhz",
    "clocks_event_reasons",
    "ecc_uncorrectable",
    "ecc_correctable",
]


def say(what: str, **values: Any) -> None:
    print(f"{what:44} " + "  ".join(f"{name}={value}" for name, value in values.items()), flush=True)


def cost(call: Callable[[], object], times: int) -> dict[str, float]:
    """Median wall and CPU milliseconds of a call, its own thread only."""
    walls, cpus = [], []
    for _ in range(times):
        cpu, wall = time.thread_time(), time.perf_counter()
        call()
        walls.append(1e3 * (time.perf_counter() - wall))
        cpus.append(1e3 * (time.thread_time() - cpu))
    return {
        "wall_ms": round(statistics.median(walls), 3),
        "worst_ms": round(max(walls), 3),
        "cpu_ms": round(statistics.median(cpus), 3),
    }


def process_cpu_s(pid: int) -> float:
    """CPU time of a process and of the children it has waited for."""
    words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, words[11:15])) / os.sysconf("SC_CLK_TCK")


def command_cost(command: list[str], times: int) -> dict[str, float]:
    """Median wall and CPU milliseconds of a command."""
    walls, cpus = [], []
    for _ in range(times):
        before, wall = os.times(), time.perf_counter()
        subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
        walls.append(1e3 * (time.perf_counter() - wall))
        after = os.times()
        cpus.append(1e3 * (after[2] + after[3] - before[2] - before[3]))
    return {"wall_ms": round(statistics.median(walls), 1), "cpu_ms": round(statistics.median(cpus), 1)}


@contextlib.contextmanager
def jobs(kind: str, gpus: range) -> Iterator[Callable[[], list[int]]]:
    """Jobs on GPUs; gives a function that returns how far each of them is."""
    with tempfile.NamedTemporaryFile() as file:
        file.write(bytes(8 * 64))
        file.flush()
        shared = mmap.mmap(file.fileno(), 8 * 64)
        running = [subprocess.Popen([sys.executable, __file__, kind, str(gpu), file.name]) for gpu in gpus]

        def counts() -> list[int]:
            return [int(struct.unpack_from("q", shared, 8 * gpu)[0]) for gpu in gpus]

        try:
            until = time.monotonic() + 60
            while not all(counts()) and time.monotonic() < until:
                time.sleep(0.1)
            time.sleep(1)
            yield counts
        finally:
            for one in running:
                one.kill()
                one.wait()


def job(kind: str, gpu: int, path: str) -> None:
    """A job on one GPU: bf16 matrix products, copies from the host, or copies to the next GPU."""
    import torch  # type: ignore[import-not-found,unused-ignore]

    with Path(path).open("r+b") as file:
        shared = mmap.mmap(file.fileno(), 8 * 64)
    here = torch.device("cuda", gpu)
    done = 0
    if kind == "load":
        a, b = (torch.randn(8192, 8192, device=here, dtype=torch.bfloat16) for _ in range(2))
        out = torch.empty_like(a)
    else:
        a = torch.empty(1 << 30, dtype=torch.uint8, device="cpu" if kind == "copy" else here, pin_memory=kind == "copy")
        out = torch.empty(1 << 30, dtype=torch.uint8, device=here if kind == "copy" else torch.device("cuda", gpu + 1))
    while True:
        for _ in range(20):
            if kind == "load":
                torch.matmul(a, b, out=out)
            else:
                out.copy_(a, non_blocking=True)
        torch.cuda.synchronize(here)
        done += 20
        struct.pack_into("q", shared, 8 * gpu, done)


def sample_cost(label: str) -> None:
    """What one pass costs, without the process around it."""
    events: list[Any] = []
    gpus = Gpus(lambda *event: events.append(event))
    begin = time.perf_counter()
    gpus.open()
    say(f"open and statics {label}", gpus=len(gpus.devices), ms=round(1e3 * (time.perf_counter() - begin), 1))
    say(f"fast sample {label}", **cost(lambda: gpus.sample_fast(Job("fast", print)), 40))
    say(f"slow fields {label}", **cost(lambda: gpus.sample_slow(Job("slow", print)), 8))
    say(f"processes {label}", **cost(lambda: gpus.processes(Job("processes", print)), 8))
    say(f"check for changes {label}", **cost(lambda: gpus.check(Job("check", print)), 8))
    device = gpus.devices[0]
    for reading in [*device.fast, *device.slow]:
        row: list[Any] = [None] * max(len(GPU_FAST), len(GPU_SLOW))
        spent = cost(lambda reading=reading, row=row: reading.read(row, time.monotonic()), 20)  # type: ignore[misc]
        say(f"  {type(reading).__name__} {label}", us=round(1e3 * spent["wall_ms"], 1), fields=",".join(reading.fields))
    say(f"events {label}", events=events, unsupported=gpus.unsupported())
    gpus._close()


def running_cost(interval_s: float, seconds: float, label: str) -> None:
    """CPU time of a running agent after its start, and how punctual it is."""
    begin = time.perf_counter()
    with RunningAgent({"interval_s": interval_s}) as agent:
        hello = agent.kind("hello")
        started = time.perf_counter() - begin
        agent.kind("s")
        before, at = process_cpu_s(hello["pid"]), time.monotonic()
        start_cpu = before
        ticks = []
        while time.monotonic() - at < seconds:
            ticks.append(agent.kind("t"))
        spent, passed = process_cpu_s(hello["pid"]) - before, time.monotonic() - at
        late = [tick["t"] - ticks[0]["t"] - interval_s * (tick["n"] - ticks[0]["n"]) for tick in ticks]
        rss = Path(f"/proc/{hello['pid']}/statm").read_text().split()[1]
        say(
            f"agent at {1 / interval_s:g} Hz {label}",
            cpu_pct=round(100 * spent / passed, 2),
            ms_median=statistics.median(tick["ms"] for tick in ticks),
            ms_worst=max(tick["ms"] for tick in ticks),
            jitter_ms=round(1e3 * max(map(abs, late)), 1),
            missed=ticks[-1]["n"] - ticks[0]["n"] + 1 - len(ticks),
            start_s=round(started, 2),
            start_cpu_s=round(start_cpu, 2),
            rss_mib=round(int(rss) * 4096 / 2**20, 1),
        )


def others(label: str, seconds: float) -> None:
    """The same by other tools."""
    query = ["nvidia-smi", f"--query-gpu={QUERY}", "--format=csv,noheader,nounits"]
    say(f"nvidia-smi --query-gpu {label}", **command_cost(query, 4))
    say(
        f"nvidia-smi dmon -c 1 -s pucvmet {label}",
        **command_cost(["nvidia-smi", "dmon", "-c", "1", "-s", "pucvmet"], 2),
    )
    for name, command in (
        ("--query-gpu -lms 1000", [*query, "-lms", "1000"]),
        ("dmon -s pucvmet -d 1", ["nvidia-smi", "dmon", "-s", "pucvmet", "-d", "1"]),
    ):
        child = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        time.sleep(1.5)
        before, at = process_cpu_s(child.pid), time.monotonic()
        time.sleep(seconds)
        say(
            f"nvidia-smi {name} {label}",
            cpu_pct=round(100 * (process_cpu_s(child.pid) - before) / (time.monotonic() - at), 2),
        )
        child.kill()
        child.wait()
    try:
        from nvitop import Device  # type: ignore[import-not-found,unused-ignore]
    except ImportError:
        say("nvitop is not installed")
        return
    devices = Device.all()
    say(f"nvitop as_snapshot {label}", **cost(lambda: [device.as_snapshot() for device in devices], 4))


def values(label: str) -> None:
    """The agent's values beside nvidia-smi's of the same moment."""
    with RunningAgent({"interval_s": 0.1}) as agent:
        agent.kind("s")
        for _ in range(5):
            agent.kind("t")
        query = ["nvidia-smi", f"--query-gpu={QUERY}", "--format=csv,noheader,nounits"]
        begin = time.time()
        text = subprocess.run(query, capture_output=True, text=True, check=False).stdout
        middle = (begin + time.time()) / 2
        tick = agent.until(lambda message: message["k"] == "t" and message["t"] >= middle)
    for number, line in enumerate(text.splitlines()):
        theirs = [int(word, 16) if "0x" in word else float(word) for word in line.split(", ")]
        ours = [tick["g"][number][GPU_FAST.index(name)] for name in COMPARED]
        pairs = {name: f"{mine:g}|{his:g}" for name, mine, his in zip(COMPARED, ours, theirs, strict=True)}
        say(f"values GPU {number} {label} (agent|nvidia-smi)", **pairs)


def throughput(kind: str, gpus: range) -> None:
    """Rates of known copies, at 1 Hz and 10 Hz."""
    names = [name for name in GPU_FAST if name.endswith("_mib_s")]
    with jobs(kind, gpus) as counts:
        for interval_s in (1.0, 0.1):
            with RunningAgent({"interval_s": interval_s}) as agent:
                agent.kind("t")
                before, at = sum(counts()), time.monotonic()
                ticks = [agent.kind("t") for _ in range(int(3 / interval_s))]
                true = 1024 * (sum(counts()) - before) / (time.monotonic() - at)
            for gpu in range(len(ticks[0]["g"])):
                got = {n: [tick["g"][gpu][GPU_FAST.index(n)] for tick in ticks[1:]] for n in names}
                shown = {n: f"{min(v):.0f}..{max(v):.0f}" for n, v in got.items() if None not in v and max(v) > 100}
                if shown:
                    say(f"{kind} GPU {gpu} at {1 / interval_s:g} Hz", true_mib_s=round(true), **shown)


def disturbance(seconds: float, gpus: range, counts: Callable[[], list[int]]) -> None:
    """Matrix products a second without and with the agent and others, in turns."""
    query = ["nvidia-smi", f"--query-gpu={QUERY}", "--format=csv", "-lms", "1000"]
    for name in ("alone", "agent 1 Hz", "agent 10 Hz", "alone", "agent 10 Hz", "nvidia-smi -lms 1000", "alone"):
        with contextlib.ExitStack() as stack:
            if name.startswith("agent"):
                agent = stack.enter_context(RunningAgent({"interval_s": 1.0 if " 1 Hz" in name else 0.1}))
                agent.kind("s")
            elif name.startswith("nvidia-smi"):
                child = subprocess.Popen(query, stdout=subprocess.DEVNULL)
                stack.callback(child.wait)
                stack.callback(child.kill)
            before, at = sum(counts()), time.monotonic()
            until = at + seconds
            while time.monotonic() < until:
                if name.startswith("agent"):
                    agent.read(0.1)
                else:
                    time.sleep(0.1)
            products = (sum(counts()) - before) / (time.monotonic() - at)
        say(f"bf16 products, {name}", tflops_a_gpu=round(products / len(gpus) * 2 * 8192**3 / 1e12, 2))


def main() -> None:
    if len(sys.argv) > 3:
        job(sys.argv[1], int(sys.argv[2]), sys.argv[3])
        return
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 8.0
    count = len(subprocess.run(["nvidia-smi", "-L"], capture_output=True, check=False).stdout.splitlines())
    for label in ("idle", "busy"):
        with contextlib.ExitStack() as stack:
            if label == "busy":
                counts = stack.enter_context(jobs("load", range(count)))
            sample_cost(label)
            running_cost(1.0, 1.5 * seconds, label)
            running_cost(0.1, seconds, label)
            values(label)
            others(label, seconds / 2)
            if label == "busy":
                disturbance(seconds, range(count), counts)
    throughput("copy", range(1))
    if count > 1:
        throughput("p2p", range(1))


if __name__ == "__main__":
    main()
