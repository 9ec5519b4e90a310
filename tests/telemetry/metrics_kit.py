"""A small fleet in a store, and a strict reader of the two text formats."""

from __future__ import annotations

import contextlib
import re
import shutil
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import pytest

from nodectl.model import Node, Reason
from nodectl.telemetry.fields import FAST, GPU_FIELDS
from nodectl.telemetry.messages import Event, Gpu, Hello, Host, Process, Slow, Tick
from nodectl.telemetry.store import RETRY, Store

WALL = 1_795_205_188.0
FAST_FIELDS = [field.name for field in GPU_FIELDS if field.beat == FAST]
SLOW_ROW: list[float | None] = [700.0, 41, 5_398_992.25, 3, 5, 16]


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def fast_row(**values: float | None) -> list[float | None]:
    row: list[float | None] = [None] * len(FAST_FIELDS)
    for name, value in values.items():
        row[FAST_FIELDS.index(name)] = value
    return row


def hello(count: int = 2, name: str = "NVIDIA H200", **more: object) -> Hello:
    devices = tuple(
        Gpu(
            index=str(index), uuid=f"GPU-{index}", name=name, pci_bus_id=f"00000000:{index:02X}:00.0",
            memory_total_mib=143771.0,
        )
        for index in range(count)
    )  # fmt: skip
    fixed = {"backend": "nvml", "hostname": "host", "driver": "580.159.04", "gpus": devices, "host": Host(cpus=192)}
    return Hello(**{**fixed, **more})  # type: ignore[arg-type]


class Fleet(NamedTuple):
    store: Store
    nodes: list[Node]
    clock: Clock


def small_fleet() -> Fleet:
    """Two live nodes, one with a lost GPU; one that went stale; one that cannot be reached; one not tried yet."""
    clock = Clock()
    store = Store(now=clock)
    names = ("gpu-01", "gpu-02", "gpu-03", "gpu-04", "gpu-05")
    store.add(names)
    store.put("gpu-03", hello())
    store.put("gpu-03", Tick(seq=1, t=WALL, gpus=[fast_row(power_w=1.0)] * 2))
    clock.now += 60.0
    busy = fast_row(
        gpu_util_pct=57, memory_used_mib=615, power_w=689.204, sm_clock_mhz=1620, clocks_event_reasons=0x44,
        pcie_tx_mib_s=1.5, ecc_uncorrectable=0, remapped_rows=2,
    )  # fmt: skip
    store.put("gpu-01", hello(unsupported={"t_limit_margin_c": "too old", "energy_j": {"1": "not by this GPU"}}))
    store.put(
        "gpu-01", Tick(seq=1, t=WALL, gpus=[busy, fast_row(gpu_util_pct=0, power_w=78.18)], host=[12.5, 3.0, 0.5])
    )
    store.put(
        "gpu-01",
        Slow(
            seq=2, t=WALL, gpus=[SLOW_ROW, [None] * 6], host=[0.4],
            processes=(
                Process("0", 10, "u", "python", 400.0, "C", "4711"), Process("0", 11, "u", "python", 9.0, "C", "4711"),
            ),
        ),
    )  # fmt: skip
    store.put("gpu-02", hello())
    store.put("gpu-02", Event(t=WALL - 5, gpu="1", what="xid", code=79, text="GPU has fallen off the bus"))
    store.put("gpu-02", Tick(seq=1, t=WALL, gpus=[fast_row(power_w=80.0, clocks_event_reasons=1), None]))
    store.set_state("gpu-04", RETRY, reason=Reason("refused", "connection refused after 3 ms"))
    nodes = [Node(name=name, labels={"rack": "a1"}) for name in names[:4]]
    return Fleet(store, nodes, clock)


class Sample(NamedTuple):
    family: str
    name: str
    labels: tuple[tuple[str, str], ...]
    value: float

    def label(self, name: str) -> str | None:
        return dict(self.labels).get(name)


_COMMENT = re.compile(r"# (TYPE|HELP|UNIT) ([a-z][a-z0-9_]*) (.+)")
_SAMPLE = re.compile(r"([a-z][a-z0-9_]*)(?:\{(.*)\})? (-?(?:[0-9]+\.?[0-9]*|[0-9]*\.[0-9]+)(?:e[+-]?[0-9]+)?)")
_LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\["\\n])*)"(?:,|$)')
_UNESCAPED = {"\\\\": "\\", '\\"': '"', "\\n": "\n"}
_OPENMETRICS_SUFFIX = {"gauge": "", "counter": "_total", "info": "_info"}


def read_text(text: bytes, *, openmetrics: bool) -> list[Sample]:
    """All samples; an AssertionError says what is no good text of the format."""
    body = text.decode("utf-8")
    assert body.endswith("# EOF\n" if openmetrics else "\n")
    samples = list(_samples(body.removesuffix("# EOF\n") if openmetrics else body, openmetrics))
    series = [(sample.name, frozenset(sample.labels)) for sample in samples]
    assert len(set(series)) == len(series), "a series is there twice"
    return samples


def _samples(body: str, openmetrics: bool) -> Iterator[Sample]:
    family = kind = ""
    done: set[str] = set()
    for line in body.removesuffix("\n").split("\n"):
        if comment := _COMMENT.fullmatch(line):
            what, name, rest = comment.groups()
            if name != family:
                assert name not in done, f"{name} is not in one piece"
                done.add(name)
                family, kind = name, ""
            if what == "TYPE":
                assert not kind
                kind = rest
            if what == "UNIT":
                assert openmetrics and name.endswith(f"_{rest}")
            continue
        assert not line.startswith("#"), line
        match = _SAMPLE.fullmatch(line)
        assert match, line
        assert match[1] == family + (_OPENMETRICS_SUFFIX[kind] if openmetrics else ""), line
        yield Sample(family, match[1], _read_labels(match[2] or ""), float(match[3]))


def _read_labels(text: str) -> tuple[tuple[str, str], ...]:
    found, at = [], 0
    while at < len(text):
        match = _LABEL.match(text, at)
        assert match, text
        value = re.sub(r'\\[\\"n]', lambda escape: _UNESCAPED[escape[0]], match[2])
        assert value, f"an empty label in {text}"
        found.append((match[1], value))
        at = match.end()
    names = [name for name, _ in found]
    assert len(set(names)) == len(names), text
    return tuple(found)


# The programs for which the text is made.


def needs(program: str, package: str) -> str:
    """Where a program is; the test is skipped where it is not."""
    found = shutil.which(program)
    if found is None:
        pytest.skip(f"{program} is not installed (apt-get install {package})")
    return found


@contextlib.contextmanager
def serving(words: Sequence[str], listen: str, folder: Path) -> Iterator[str]:
    """A program that serves HTTP, while it is needed; gives its URL. listen: its option, with `{port}` in it."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    log = folder / "server.log"
    with log.open("wb") as said:
        child = subprocess.Popen([*words, listen.format(port=port)], cwd=folder, stdout=said, stderr=said)
    try:
        give_up = time.monotonic() + 20
        while True:
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            assert child.poll() is None and time.monotonic() < give_up, log.read_text()
            time.sleep(0.05)
        yield f"http://127.0.0.1:{port}"
    finally:
        child.terminate()
        child.wait(20)


def get(url: str, **headers: str) -> str:
    """What a URL answers."""
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=10) as reply:
        text: str = reply.read().decode()
        return text
