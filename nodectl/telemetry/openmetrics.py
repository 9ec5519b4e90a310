"""What a Store knows, as text for Prometheus: OpenMetrics 1.0, or the older text format that everything else reads.

Every sample bears its node, the labels of the inventory and, of a GPU, `gpu` (index), `uuid` and `name`; a MIG device
also `parent`. A value that is not known is left out. A node that is not connected or stale has `nodectl_node_up` 0,
`nodectl_node_down_info` with its state and the code of the reason (the words of a reason change from try to try and
would make a new series each time), and no samples. There are no timestamps: textfile collectors take none.

Nodes are in the order of the store, GPUs in that of the node, families in one that is fixed.
"""

from __future__ import annotations

import contextlib
import os
import re
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from nodectl import __version__
from nodectl.errors import UserError
from nodectl.model import Node
from nodectl.telemetry import metrics
from nodectl.telemetry.fields import GPU_INDEX
from nodectl.telemetry.messages import Hello
from nodectl.telemetry.metrics import COUNTER, Column, Family
from nodectl.telemetry.store import LIVE, STALE, LiveNode, Store

TEXTFILE_SUFFIX = ".prom"
_LARGEST = 1e300
_MIB = 1 << 20
_REASONS_AT = GPU_INDEX["clocks_event_reasons"]
# Names of our own, and those that Prometheus gives itself: a label of the inventory so called becomes `label_NAME`.
_RESERVED = {
    *("node", "gpu", "uuid", "name", "parent", "state", "reason", "field", "job", "instance", "le", "quantile"),
    *("hostname", "driver", "backend", "pci_bus_id", "version"),
}
_NOT_IN_NAMES = re.compile(r"[^a-zA-Z0-9_]")
_ESCAPES = str.maketrans({"\\": "\\\\", '"': '\\"', "\n": "\\n"})

Samples = Iterator[str]


class _Device(NamedTuple):
    """A device of a live node. labels: as they stand in a line, without the closing brace."""

    labels: str
    gpu: str
    position: int


class _Known(NamedTuple):
    """What the lines of a node begin with, for as long as its hello is the same one."""

    hello: Hello
    devices: tuple[_Device, ...]


class _Shown(NamedTuple):
    """A node as it is at the moment of one exposition. labels: without the closing brace."""

    live: LiveNode
    labels: str
    up: bool
    hello: Hello | None
    devices: tuple[_Device, ...]
    rows: list[list[float | None] | None]


class Exporter:
    """Makes the text. Any thread may ask for it; the store goes on meanwhile.

    Args:
        nodes: for the labels of the inventory; a node of the store that is not among them has none.
        wall: Unix time, to tell when a sample came.
    """

    def __init__(self, store: Store, nodes: Iterable[Node] = (), *, wall: Callable[[], float] = time.time) -> None:
        self._store, self._wall = store, wall
        self._inventory = {node.name: label_names(node.labels) for node in nodes}
        self._heads: dict[str, str] = {}
        self._known: dict[str, _Known] = {}

    def text(self, *, openmetrics: bool = False) -> bytes:
        """All of it at once."""
        return b"".join(self.families(openmetrics=openmetrics))

    def families(self, *, openmetrics: bool = False) -> Iterator[bytes]:
        """One family of metrics after the other, so that thousands of nodes need no memory for all of the text."""
        now = self._store.now()
        shown = [self._shown(live, now) for live in list(self._store.nodes.values())]
        for family, samples in self._parts(shown, now):
            text = "".join(samples)
            if text:
                yield (family.head(openmetrics) + text).encode("utf-8", "replace")
        if openmetrics:
            yield b"# EOF\n"

    def _shown(self, live: LiveNode, now: float) -> _Shown:
        labels = self._heads.get(live.name)
        if labels is None:
            labels = self._heads[live.name] = _labels({"node": live.name, **self._inventory.get(live.name, {})})
        hello, rows = live.hello, live.gpus
        up = live.state == LIVE and live.received_at is not None and not live.is_late(now)
        if hello is None or not up:
            return _Shown(live, labels, False, None, (), [])
        known = self._known.get(live.name)
        if known is None or known.hello is not hello:
            known = self._known[live.name] = _Known(hello, tuple(_devices(hello, labels)))
        return _Shown(live, labels, True, hello, known.devices, rows)

    def _parts(self, shown: list[_Shown], now: float) -> Iterator[tuple[Family, Samples]]:
        yield metrics.BUILD, iter([f'{metrics.BUILD.sample}{{version="{__version__}"}} 1\n'])
        yield from _of_nodes(shown, now, self._wall())
        live = [(node, hello) for node in shown if (hello := node.hello) is not None]
        hosts = [(node.labels, host) for node, _ in live if (host := node.live.host) is not None]
        yield from _statics(live)
        for column in metrics.HOST_COLUMNS:
            yield column.family, _column(column, hosts)
        rows = [
            (device.labels, row)
            for node, _ in live
            for device in node.devices
            if device.position < len(node.rows) and (row := node.rows[device.position]) is not None
        ]
        for column in metrics.GPU_COLUMNS:
            yield column.family, _column(column, rows)
        yield metrics.GPU_REASON, _reasons(rows)
        yield from _work(live)


def _column(column: Column, rows: list[tuple[str, list[float | None]]]) -> Samples:
    """The samples of one field. This is where the time goes: no call for a sample but its formatting."""
    name, at, scale = column.family.sample, column.at, column.scale
    least = 0.0 if column.family.type == COUNTER else -_LARGEST
    return (
        f"{name}{labels}}} {value * scale:.15g}\n"
        for labels, row in rows
        if (value := row[at]) is not None and least <= value <= _LARGEST
    )


def _of_nodes(shown: list[_Shown], now: float, wall: float) -> Iterator[tuple[Family, Samples]]:
    """What is said of every node, live or not."""
    up, down, heard = metrics.NODE_UP.sample, metrics.NODE_DOWN.sample, metrics.NODE_HEARD.sample
    yield metrics.NODE_UP, (f"{up}{node.labels}}} {int(node.up)}\n" for node in shown)
    yield metrics.NODE_DOWN, (f"{down}{node.labels}{_why_down(node.live)}}} 1\n" for node in shown if not node.up)
    yield (
        metrics.NODE_HEARD,
        (f"{heard}{node.labels}}} {wall - age:.3f}\n" for node in shown if (age := node.live.age_s(now)) is not None),
    )


def _why_down(live: LiveNode) -> str:
    state = STALE if live.state == LIVE and live.received_at is not None else live.state
    return _more({"state": state, "reason": live.reason.code if live.reason else state})


def _statics(live: list[tuple[_Shown, Hello]]) -> Iterator[tuple[Family, Samples]]:
    """What hellos say of nodes and devices."""

    def of_node(family: Family, value: Callable[[_Shown, Hello], float | None]) -> tuple[Family, Samples]:
        lines = ((node.labels, value(node, hello)) for node, hello in live)
        return family, (f"{family.sample}{at}}} {number:.15g}\n" for at, number in lines if number is not None)

    def of_gpu(family: Family, value: Callable[[_Shown, Hello, int], float | None]) -> tuple[Family, Samples]:
        lines = (
            (device.labels, value(node, hello, device.position)) for node, hello in live for device in node.devices
        )
        return family, (f"{family.sample}{at}}} {number:.15g}\n" for at, number in lines if number is not None)

    yield (
        metrics.NODE,
        (
            f"{metrics.NODE.sample}{node.labels}"
            f"{_more({'hostname': hello.hostname, 'driver': hello.driver, 'backend': hello.backend})}}} 1\n"
            for node, hello in live
        ),
    )
    yield of_node(metrics.NODE_INTERVAL, lambda node, hello: hello.interval_s)
    yield of_node(
        metrics.NODE_COST, lambda node, hello: None if node.live.cost_ms is None else node.live.cost_ms / 1000
    )
    yield (
        metrics.UNSUPPORTED,
        (
            f"{metrics.UNSUPPORTED.sample}{node.labels}{_more(labels)}}} 1\n"
            for node, hello in live
            for labels in _unsupported(hello)
        ),
    )
    yield of_node(metrics.HOST_CPUS, lambda node, hello: hello.host.cpus)
    yield of_node(metrics.HOST_MEMORY, lambda node, hello: _bytes(hello.host.memory_total_mib))
    yield (
        metrics.GPU,
        (
            f"{metrics.GPU.sample}{device.labels}{_more({'pci_bus_id': hello.gpus[device.position].pci_bus_id})}}} 1\n"
            for node, hello in live
            for device in node.devices
        ),
    )
    yield of_gpu(
        metrics.GPU_UP,
        lambda node, hello, at: None if at >= len(node.rows) else int(node.rows[at] is not None),
    )
    yield of_gpu(metrics.GPU_MEMORY, lambda node, hello, at: _bytes(hello.gpus[at].memory_total_mib))
    yield of_gpu(metrics.GPU_SLOWDOWN, lambda node, hello, at: hello.gpus[at].temperature_slowdown_c)


def _unsupported(hello: Hello) -> Iterator[dict[str, str]]:
    for field, reason in sorted(hello.unsupported.items()):
        if isinstance(reason, str):
            yield {"field": field, "reason": reason}
        else:
            for gpu, own in sorted(reason.items()):
                yield {"gpu": gpu, "field": field, "reason": own}


def _bytes(mib: float | None) -> float | None:
    return None if mib is None else mib * _MIB


def _reasons(rows: list[tuple[str, list[float | None]]]) -> Samples:
    name = metrics.GPU_REASON.sample
    for labels, row in rows:
        mask = row[_REASONS_AT]
        if mask is not None and 1 < mask < _LARGEST:
            bits = int(mask)
            for bit, reason in metrics.CLOCK_REASONS:
                if bits & bit:
                    yield f'{name}{labels},reason="{reason}"}} 1\n'


def _work(live: list[tuple[_Shown, Hello]]) -> Iterator[tuple[Family, Samples]]:
    """Processes, jobs and Xid errors by GPU."""
    counts: list[str] = []
    jobs: list[str] = []
    codes: list[str] = []
    times: list[str] = []
    for node, _ in live:
        state = node.live
        used = [process.gpu for process in state.processes]
        running = {(process.gpu, process.job) for process in state.processes if process.job}
        xids = {event.gpu: event for event in state.events if event.what == "xid" and event.code is not None}
        for device in node.devices:
            if state.slow_at is not None:
                counts.append(f"{metrics.GPU_PROCESSES.sample}{device.labels}}} {used.count(device.gpu)}\n")
            own = sorted(job for gpu, job in running if gpu == device.gpu)
            jobs += [f"{metrics.GPU_JOB.sample}{device.labels}{_more({'job': job})}}} 1\n" for job in own]
            if (xid := xids.get(device.gpu)) is not None:
                codes.append(f"{metrics.GPU_XID.sample}{device.labels}}} {xid.code}\n")
                times.append(f"{metrics.GPU_XID_AT.sample}{device.labels}}} {xid.t:.3f}\n")
    yield metrics.GPU_PROCESSES, iter(counts)
    yield metrics.GPU_JOB, iter(jobs)
    yield metrics.GPU_XID, iter(codes)
    yield metrics.GPU_XID_AT, iter(times)


def _devices(hello: Hello, node_labels: str) -> Iterator[_Device]:
    """The devices of a hello. Two that say they are the same one would spoil the whole text: the first counts."""
    seen = set()
    for position, gpu in enumerate(hello.gpus):
        own = {"gpu": gpu.index, "uuid": gpu.uuid, "name": gpu.name, "parent": gpu.parent}
        labels = node_labels + _more(own)
        if labels not in seen:
            seen.add(labels)
            yield _Device(labels, gpu.index, position)


def label_names(labels: Mapping[str, str]) -> dict[str, str]:
    """Labels of the inventory under names that Prometheus takes; two that become the same get a number."""
    named: dict[str, str] = {}
    for wanted, value in sorted(labels.items()):
        name = _NOT_IN_NAMES.sub("_", wanted)
        if name in _RESERVED or name.startswith("__") or not name or name[0].isdigit():
            name = f"label_{name}"
        base, number = name, 2
        while name in named:
            name, number = f"{base}_{number}", number + 1
        named[name] = value
    return named


def _labels(pairs: Mapping[str, str]) -> str:
    """`{a="b",c="d"` without its closing brace; `pairs` has a first one that is not empty."""
    return "{" + _more(pairs)[1:]


def _more(pairs: Mapping[str, str]) -> str:
    """`,a="b"` for each; an empty value is the same to Prometheus as no label, and is left out."""
    return "".join([f',{name}="{value.translate(_ESCAPES)}"' for name, value in pairs.items() if value])


def check_textfile(path: Path) -> None:
    """Whether a textfile can be written there, before the first sample comes.

    Raises:
        UserError: node_exporter would not read it, or its folder is none that can be written to.
    """
    if path.suffix != TEXTFILE_SUFFIX or path.name == TEXTFILE_SUFFIX:
        raise UserError(
            f"--prometheus {path}: node_exporter's textfile collector reads files named *{TEXTFILE_SUFFIX} only; "
            f"name it {path.with_suffix(TEXTFILE_SUFFIX) if path.stem else path / ('nodectl' + TEXTFILE_SUFFIX)}"
        )
    if path.is_dir():
        raise UserError(
            f"--prometheus {path}: it is a folder; name a file in it: {path / ('nodectl' + TEXTFILE_SUFFIX)}"
        )
    if not path.parent.is_dir():
        raise UserError(
            f"--prometheus {path}: there is no folder {path.parent}: make it first (mkdir -p {path.parent})"
        )
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise UserError(f"--prometheus {path}: {path.parent} cannot be written to: run as its owner, or name another")


def write_textfile(exporter: Exporter, path: Path) -> None:
    """The text in a file of mode 0644, for node_exporter's textfile collector: a reader sees the old or the new one.

    It is written beside the file under a name that no collector reads, and then put in its place.

    Raises:
        UserError: it cannot be written.
    """
    temporary: Path | None = None
    try:
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
        temporary = Path(name)
        with os.fdopen(handle, "wb") as file:
            for part in exporter.families():
                file.write(part)
            os.fchmod(file.fileno(), 0o644)
        temporary.replace(path)
        temporary = None
    except OSError as error:
        raise UserError(f"--prometheus {path}: cannot be written: {error.strerror or error}") from error
    finally:
        if temporary is not None:
            with contextlib.suppress(OSError):
                temporary.unlink()
