"""What it costs to have a stream open to many nodes: CPU of one core, memory, threads, context switches.

    python tests/bench/telemetry/streams.py                          200 real sshd; 1,000 and 2,000 simulated feeds
    python tests/bench/telemetry/streams.py --real 1000 --simulated ""     judged by the target

Each measurement is a program of its own. `ssh` is the transport alone, with a sink that counts; `ssh + store` is the
watcher with reader and store, and a consumer that takes what changed twice a second. The servers and what runs on them
share this machine, but are not counted. Simulated feeds have no transport: one thread hands a line a second to each of
N sinks; what that thread takes by itself (`floor`) is measured with a sink that does nothing, and to be subtracted.

The target is 1,000 nodes at 1 Hz for 10 % of one core and 200 MB, for transport and store. With fewer nodes, each costs
more: lines that come close together are read together.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "fanout")]

import lines  # noqa: E402

from nodectl.model import Node  # noqa: E402
from nodectl.telemetry.store import LIVE, Store  # noqa: E402
from nodectl.telemetry.watcher import Watcher  # noqa: E402
from nodectl.transport import Reply, SshSettings, StreamRequest, Transports, open_transports  # noqa: E402

TARGET_CPU_PERCENT, TARGET_RSS_MB, TARGET_NODES = 10.0, 200.0, 1000
CONSUMER_S = 0.5
FANOUT = 32


class Count:
    """A sink that counts lines."""

    def __init__(self) -> None:
        self.lines = 0
        self.reply: Reply | None = None

    def feed(self, data: bytes) -> None:
        self.lines += data.count(b"\n")

    def ended(self, reply: Reply) -> None:
        self.reply = reply


def measure(seconds: float, count: Callable[[], int], consume: Callable[[], object] = lambda: None) -> dict[str, float]:
    """Watch this process for some seconds."""
    time.sleep(2.0)
    lines_before, before, begun = count(), resource.getrusage(resource.RUSAGE_SELF), time.monotonic()
    while time.monotonic() - begun < seconds:
        time.sleep(CONSUMER_S)
        consume()
    after, wall_s = resource.getrusage(resource.RUSAGE_SELF), time.monotonic() - begun
    cpu_s = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
    return {
        "cpu_percent": 100 * cpu_s / wall_s,
        "lines_per_s": (count() - lines_before) / wall_s,
        "rss_mb": _rss_mb(),
        "threads": threading.active_count(),
        "switches_per_s": (after.ru_nvcsw + after.ru_nivcsw - before.ru_nvcsw - before.ru_nivcsw) / wall_s,
    }


def _rss_mb() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def ssh_streams(plan: dict[str, Any]) -> dict[str, float]:
    """The transport alone."""
    nodes, transports = _nodes(plan)
    sinks = [Count() for _ in nodes]
    waiting = list(zip(nodes, sinks, strict=True))
    request = StreamRequest(stdin=plan["script"].encode(), start_timeout_s=120, connect_timeout_s=60)

    def work() -> None:
        while waiting:
            node, sink = waiting.pop()
            transports.stream(node, request, sink)

    with transports:
        workers = [threading.Thread(target=work) for _ in range(FANOUT)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        found = measure(plan["seconds"], lambda: sum(sink.lines for sink in sinks))
        found["lost"] = sum(sink.reply is not None for sink in sinks)
    return found


def ssh_watch(plan: dict[str, Any]) -> dict[str, float]:
    """Watcher, reader and store on real channels."""
    nodes, transports = _nodes(plan)
    store = Store()
    with transports:
        begun = time.monotonic()
        watcher = Watcher(nodes, transports, store, lambda s: plan["script"].encode(), fanout=FANOUT)
        watcher.start()
        while sum(node.state == LIVE for node in list(store.nodes.values())) < len(nodes):
            time.sleep(0.05)
            if time.monotonic() - begun > 180:
                sys.exit(f"not all are live: {[n.reason for n in store.nodes.values() if n.state != LIVE][:3]}")
        live_s = time.monotonic() - begun
        found = measure(plan["seconds"], lambda: _messages(watcher), store.take_dirty)
        found["lost"] = sum(node.state != LIVE for node in store.nodes.values())
        found["connect_s"] = live_s
        begun = time.monotonic()
        if not watcher.stop():
            print("stop() took more than 2 s", file=sys.stderr)
        found["stop_s"] = time.monotonic() - begun
    return found


def _messages(watcher: Watcher) -> int:
    return sum(counts.messages for counts in watcher.counts().values())


def _nodes(plan: dict[str, Any]) -> tuple[list[Node], Transports]:
    nodes = [Node(name=name, user=plan["user"], port=plan["port"]) for name in plan["addresses"]]

    def resolve(node: Node) -> SshSettings:
        return SshSettings(
            hostname=node.name,
            port=plan["port"],
            user=plan["user"],
            identity_files=(plan["key"],),
            identities_only=True,
            identity_agent="none",
            known_hosts_files=(plan["known_hosts"],),
        )

    return nodes, open_transports(nodes, resolve=resolve, fanout=FANOUT)


class Simulated:
    """Transports whose nodes are one thread of this process: a line a second to each, evenly spread."""

    def __init__(self) -> None:
        self.sinks: list[Any] = []
        self.end = threading.Event()

    def stream(self, node: Node, request: StreamRequest, sink: Any, stop: object = None) -> Any:
        sink.feed(lines.hello(1.0))
        self.sinks.append(sink)
        return self

    def close(self) -> None:
        """Ends with the program."""

    def drive(self) -> None:
        """Fifty portions a second."""
        circle, turn, begun = lines.circle(), 0, time.monotonic()
        while not self.end.is_set():
            for position in range(turn % 50, len(self.sinks), 50):
                self.sinks[position].feed(circle[(turn // 50 + position) % len(circle)])
            turn += 1
            time.sleep(max(0.0, begun + turn / 50 - time.monotonic()))


class Nothing:
    """A sink that does nothing: what the simulation itself takes."""

    def feed(self, data: bytes) -> None:
        return


def simulated(plan: dict[str, Any]) -> dict[str, float]:
    """Reader and store on feeds without a transport; or, for the floor, not even those."""
    made, store = Simulated(), Store()
    driver = threading.Thread(target=made.drive, daemon=True)
    if plan["floor"]:
        made.sinks = [Nothing()] * plan["nodes"]
        driver.start()
        return measure(plan["seconds"], lambda: 0)
    nodes = [Node(name=f"gpu-{i:04}") for i in range(plan["nodes"])]
    watcher = Watcher(nodes, made, store, lambda s: b"")
    watcher.start()
    while len(made.sinks) < len(nodes):
        time.sleep(0.05)
    driver.start()
    found = measure(plan["seconds"], lambda: _messages(watcher), store.take_dirty)
    made.end.set()
    return found


CHILDREN = {"ssh": ssh_streams, "ssh + store": ssh_watch, "simulated": simulated}


def run_child(name: str, plan: dict[str, Any]) -> dict[str, float]:
    done = subprocess.run(
        [sys.executable, __file__, "--child", name], input=json.dumps(plan), capture_output=True, text=True, check=False
    )
    if done.stderr:
        print(done.stderr, file=sys.stderr)
    if done.returncode:
        sys.exit(f"{name}: status {done.returncode}")
    return dict(json.loads(done.stdout))


@contextmanager
def real_plan(count: int, seconds: float) -> Iterator[dict[str, Any]]:
    """Servers, and what a client needs to know of them."""
    import hosts

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with hosts.hosts(count, folder, 0) as made:
            ticker = folder / "ticker"
            subprocess.run(["cc", "-O2", "-o", str(ticker), str(HERE / "ticker.c")], check=True)
            (folder / "lines").write_bytes(b"".join([lines.hello(1.0), *lines.circle()]))
            yield {
                "addresses": made.addresses,
                "port": made.port,
                "user": made.user,
                "key": str(made.key),
                "known_hosts": str(made.known_hosts),
                "script": f"exec {ticker} {folder}/lines 1000\n",
                "seconds": seconds,
            }


HEADER = (
    f"{'what':<14} {'nodes':>6} {'CPU %':>7} {'per 1,000':>10} {'RSS MB':>7} {'threads':>8} {'switches/s':>11} lines/s"
)


def show(name: str, nodes: int, found: dict[str, float]) -> None:
    extra = "".join(f"  {key} {found[key]:.1f}" for key in ("connect_s", "stop_s") if key in found)
    lost = f"  LOST {found['lost']:.0f}" if found.get("lost") else ""
    print(
        f"{name:<14} {nodes:>6} {found['cpu_percent']:>7.2f} {1000 * found['cpu_percent'] / nodes:>10.2f} "
        f"{found['rss_mb']:>7.0f} {found['threads']:>8.0f} {found['switches_per_s']:>11.0f} "
        f"{found['lines_per_s']:>7.0f}{extra}{lost}",
        flush=True,
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--real", default="200")
    parser.add_argument("--simulated", default="1000,2000")
    parser.add_argument("--seconds", type=float, default=12.0)
    parser.add_argument("--child")
    options = parser.parse_args()
    if options.child:
        print(json.dumps(CHILDREN[options.child](json.load(sys.stdin))))
        return 0
    print(f"a tick is {len(lines.tick(1))} bytes, a slow line {len(lines.slow(1))}")
    print(HEADER)
    judged, met = False, True
    for count in [int(word) for word in options.real.split(",") if word]:
        with real_plan(count, options.seconds) as plan:
            show("ssh", count, run_child("ssh", plan))
            found = run_child("ssh + store", plan)
            show("ssh + store", count, found)
            met &= not found["lost"]
            if count == TARGET_NODES:
                judged = True
                met &= found["cpu_percent"] <= TARGET_CPU_PERCENT and found["rss_mb"] <= TARGET_RSS_MB
    for count in [int(word) for word in options.simulated.split(",") if word]:
        floor = run_child("simulated", {"nodes": count, "seconds": options.seconds, "floor": True})
        found = run_child("simulated", {"nodes": count, "seconds": options.seconds, "floor": False})
        show("floor", count, floor)
        show("reader + store", count, found)
    verdict = ("met" if met else "NOT met") if judged else "not judged by these numbers of nodes"
    print(f"target, {TARGET_NODES} nodes at 1 Hz: {TARGET_CPU_PERCENT:.0f} % and {TARGET_RSS_MB:.0f} MB: {verdict}")
    return int(not met)


if __name__ == "__main__":
    sys.exit(main())
