"""Fan-out: nodectl's transport against `ssh` under xargs, ClusterShell, pssh and Ansible, in one run, on real sshd.

    python tests/bench/fanout/run.py --hosts 50,200                  loopback
    python tests/bench/fanout/run.py --hosts 200 --rtt-ms 50         two network namespaces, 50 ms apart (root)
    python tests/bench/fanout/run.py --hosts 200 --workload probe    nodectl's whole probe instead of a 20 KB script

All peers connect, verify the host key, log in with the same key, run the same script from stdin and collect its output,
with the same key exchange. Servers and clients share this machine, so wall clock shows mostly what the servers leave;
the client's CPU per host is the figure that carries over. It counts everything: the program's start and its children.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import msgspec
from hosts import Hosts, hosts
from peers import END_VARIABLE, PEERS, Job

NONCE = "6e6f646563746c00"
LAST_LINE = "NODECTL_BENCH_END"
WALL_TARGET = 1.1


class Run(msgspec.Struct):
    """One run of one peer. Seconds of wall and CPU, MB of memory that is not shared, and the CPU of the servers."""

    good: int
    wall_s: float
    cpu_s: float
    peak_mb: float
    server_cpu_s: float


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--hosts", default="50,200", help="how many, comma-separated")
    parser.add_argument("--fanout", type=int, default=64)
    parser.add_argument("--peers", default="nodectl,ssh,clush,pssh,ansible", help=f"some of {', '.join(PEERS)}")
    parser.add_argument("--workload", choices=("echo", "script", "probe"), default="script")
    parser.add_argument("--rtt-ms", type=float, default=0.0, help="round trip between client and hosts")
    parser.add_argument("--repeat", type=int, default=3, help="runs of each peer; the median is shown")
    parser.add_argument("--json", type=Path, help="write every run there")
    options = parser.parse_args()
    names = options.peers.split(",")
    os.environ[END_VARIABLE] = f"@{NONCE} done" if options.workload == "probe" else LAST_LINE
    if unknown := [name for name in names if name not in PEERS]:
        parser.error(f"no such peer: {', '.join(unknown)}")
    failed = False
    for count in map(int, options.hosts.split(",")):
        results = measure(count, names, options)
        print_table(count, results, options)
        failed = failed or any(run.good != count for run in results.get("nodectl", []))
        if options.json:
            with options.json.open("ab") as file:
                what = {"hosts": count, "rtt_ms": options.rtt_ms, "workload": options.workload, "runs": results}
                file.write(msgspec.json.encode(what) + b"\n")
    return int(failed)


def measure(count: int, names: list[str], options: argparse.Namespace) -> dict[str, list[Run]]:
    """Every peer, in turn, `repeat` times."""
    results: dict[str, list[Run]] = {}
    with tempfile.TemporaryDirectory(prefix="nodectl-fanout-") as temporary:
        folder = Path(temporary)
        script = folder / "script"
        script.write_bytes(workload(options.workload))
        with hosts(count, folder, options.rtt_ms) as made:
            host_file = folder / "hosts"
            host_file.write_text("\n".join(made.addresses) + "\n")
            few = folder / "few"
            few.write_text("\n".join(made.addresses[:4]) + "\n")
            for turn in range(-1, options.repeat):  # the first turn is not counted: it warms the file cache, for all
                for name in names:
                    out = folder / f"out-{name}-{turn}"
                    out.mkdir()
                    job = PEERS[name](made, few if turn < 0 else host_file, script, options.fanout, out)
                    if job is None:
                        if turn < 0:
                            print(f"   {name} is not installed here", file=sys.stderr)
                        continue
                    run = run_job(job, made, out)
                    if turn >= 0:
                        results.setdefault(name, []).append(run)
    return results


def workload(kind: str) -> bytes:
    """What the hosts run. `script`: 20 KB that read 40 files of /proc and /sys and run some commands, 35 KB back."""
    if kind == "probe":
        from nodectl.probe.compose import compose, load_sources

        sources: dict[str, tuple[str, ...]] = dict.fromkeys(load_sources(), ())
        sources["sysctl"] = ("vm.swappiness", "kernel.numa_balancing", "net.core.rmem_max")
        return compose(sources, nonce=NONCE)
    if kind == "echo":
        return f"echo {LAST_LINE}\n".encode()
    files = [f"/proc/{name}" for name in ("cpuinfo", "meminfo", "vmstat", "stat", "zoneinfo", "modules", "interrupts")]
    files += [f"/proc/{name}" for name in ("cmdline", "version", "loadavg", "uptime", "mounts", "swaps", "filesystems")]
    files += [f"/proc/sys/vm/{name}" for name in ("swappiness", "overcommit_memory", "dirty_ratio", "nr_hugepages")]
    files += [f"/proc/self/{name}" for name in ("status", "limits", "smaps_rollup", "mountinfo", "cgroup", "maps")]
    lines = [f"echo '== {name}'; head -c 1800 {name} 2>/dev/null" for name in files]
    lines += ["uname -a", "id", "df -P / 2>/dev/null", "date -u", "env | sort", "ls -l /sys/class/net", "ulimit -a"]
    body = "\n".join(lines)
    padding = "\n".join(f"# {'x' * 97}" for _ in range((20_000 - len(body)) // 100))
    return f"nodectl_bench() {{\n{padding}\n{body}\necho {LAST_LINE}\n}}\nnodectl_bench\n".encode()


def run_job(job: Job, made: Hosts, out: Path) -> Run:
    """Run one peer and weigh it: itself and everything it started and waited for."""
    servers_before = made.server_cpu_s()
    stdout_path = out.with_name(out.name + ".stdout")
    stdin = job.stdin.open("rb") if job.stdin else subprocess.DEVNULL
    with stdout_path.open("wb") as stdout:
        begun = time.monotonic()
        process = subprocess.Popen(
            [*made.prefix, *job.argv],
            stdin=stdin,
            stdout=stdout,
            stderr=subprocess.DEVNULL,
            env={**os.environ, **job.env},
            start_new_session=True,
        )
        peak = Peak(process.pid)
        _, _, usage = os.wait4(process.pid, 0)
        wall_s = time.monotonic() - begun
        process.returncode = 0  # wait4 has taken it
        peak_mb = peak.stop()
    if not isinstance(stdin, int):
        stdin.close()
    time.sleep(0.5)  # the last servers end
    good = job.good(stdout_path.read_text(errors="replace"))
    return Run(good, wall_s, usage.ru_utime + usage.ru_stime, peak_mb, made.server_cpu_s() - servers_before)


class Peak(threading.Thread):
    """The most memory that a process and its descendants held together, without what they share; looked at 5 times a
    second."""

    def __init__(self, root: int) -> None:
        super().__init__(daemon=True)
        self._root, self._most, self._over = root, 0, threading.Event()
        self.start()

    def run(self) -> None:
        while not self._over.wait(0.2):
            self._most = max(self._most, _private_pages(self._root))

    def stop(self) -> float:
        """Megabytes."""
        self._over.set()
        self.join()
        return self._most * os.sysconf("SC_PAGE_SIZE") / 1e6


def _private_pages(root: int) -> int:
    """Pages of a process and all below it that are not shared with files."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError, ValueError, IndexError):
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                children.setdefault(parent, []).append(int(entry.name))
    total, waiting = 0, [root]
    while waiting:
        pid = waiting.pop()
        waiting += children.get(pid, [])
        with contextlib.suppress(OSError, ValueError, IndexError):
            resident, shared = Path(f"/proc/{pid}/statm").read_text().split()[1:3]
            total += int(resident) - int(shared)
    return total


def print_table(count: int, results: dict[str, list[Run]], options: argparse.Namespace) -> None:
    where = f"{options.rtt_ms:g} ms round trip" if options.rtt_ms else "loopback"
    print(f"\n{count} hosts, fan-out {options.fanout}, {options.workload}, {where}, median of {options.repeat}")
    print(f"{'peer':9} {'good':>5} {'wall s':>7} {'hosts/s':>8} {'x fastest':>9} {'CPU ms/host':>11}", end="")
    print(f" {'x nodectl':>9} {'peak MB':>8} {'servers CPU s':>13}")
    middle = {name: _median(runs) for name, runs in results.items()}
    fastest = min((run.wall_s for run in middle.values() if run.good == count), default=float("nan"))
    ours = middle.get("nodectl")
    for name, run in middle.items():
        cpu_ms = 1000 * run.cpu_s / count
        ratio = f"{run.cpu_s / ours.cpu_s:9.2f}" if ours else " " * 9
        print(f"{name:9} {run.good:5} {run.wall_s:7.2f} {count / run.wall_s:8.1f} {run.wall_s / fastest:9.2f}", end="")
        print(f" {cpu_ms:11.1f} {ratio} {run.peak_mb:8.0f} {run.server_cpu_s:13.1f}")
    others = [run for name, run in middle.items() if name not in ("nodectl", "collect") and run.good == count]
    if ours and others:
        wall = ours.wall_s / min(run.wall_s for run in others)
        cpu = ours.cpu_s / min(run.cpu_s for run in others)
        met = wall <= WALL_TARGET and cpu < 1
        print(
            f"target: wall within {WALL_TARGET} of the fastest peer: {wall:.2f}; CPU per host below all: {cpu:.2f}",
            end="",
        )
        print("   met" if met else "   MISSED")


def _median(runs: list[Run]) -> Run:
    return Run(
        min(run.good for run in runs),
        *(statistics.median(getattr(run, name) for run in runs) for name in Run.__struct_fields__[1:]),
    )


if __name__ == "__main__":
    sys.exit(main())
