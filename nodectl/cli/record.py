"""`nodectl record`: keep the live telemetry of nodes in a file, to look at it again or to send it to somebody."""

from __future__ import annotations

import re
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nodectl.cli import exit_codes
from nodectl.cli.options import NodeChoice, node_options

if TYPE_CHECKING:
    from nodectl.telemetry.record import RecordWriter
    from nodectl.telemetry.store import Store

_DRAW_S = 1.0
_MOST_NAMED = 10


class Amount(click.ParamType):  # type: ignore[type-arg]
    """A number with a unit, such as `8h` or `500M`, in the smallest unit."""

    def __init__(self, name: str, units: dict[str, float], least: float, most: float, example: str) -> None:
        self.name = name
        self._units, self._least, self._most, self._example = units, least, most, example

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, int | float):
            return float(value)
        parts = re.fullmatch(r"([0-9]{1,12}(?:\.[0-9]{1,6})?)([a-z]?)", str(value).strip().lower())
        unit = self._units.get(parts[2]) if parts else None
        amount = float(parts[1]) * unit if parts and unit else -1.0
        if not self._least <= amount <= self._most:
            self.fail(f"{value!r}: this {self.name} cannot be; say {self._example}", param, ctx)
        return amount


_SECONDS = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_BYTES = {"": 1.0, "k": 1024.0, "m": 1024.0**2, "g": 1024.0**3, "t": 1024.0**4}
DURATION = Amount("duration", _SECONDS, 1.0, 366 * 86400.0, "90s, 10m, 8h or 3d (1s to 366d)")
INTERVAL = Amount("interval", _SECONDS, 0.1, 60.0, "1s or 0.5s (0.1s to 60s)")
SIZE = Amount("size", _BYTES, 1024.0**2, 1024.0**5, "100M or 2G (1M or more)")


@click.command("record")
@node_options
@click.option("-o", "--output", "path", type=click.Path(dir_okay=False, path_type=Path), required=True,
              metavar="FILE", help="The file to make (mode 0600), such as run.ndtel.")  # fmt: skip
@click.option("--duration", type=DURATION, default=None, help="End after this long.  [default: at ctrl-c]")
@click.option("--interval", type=INTERVAL, default="1s", show_default=True, help="From sample to sample.")
@click.option("--max-size", type=SIZE, default=None,
              help="Begin another file (FILE.2, ...) when one has grown to this, such as 500M.")  # fmt: skip
@click.option("--overwrite", is_flag=True, help="Replace a file that is there.")
def command(
    nodes: NodeChoice, path: Path, duration: float | None, interval: float, max_size: float | None, overwrite: bool
) -> int:
    """Record the live telemetry of nodes: nodectl watch --replay FILE.

    Records until ctrl-c, or for --duration. The file is good at any moment up to its last two seconds, however the
    recording ends. Exit code 0, 1 if the file could not be written to the end, 3 if a node was never heard of.
    """
    from nodectl.cli.session import Terminated, reach, terminable
    from nodectl.telemetry.launch import launch_script
    from nodectl.telemetry.record import RecordWriter
    from nodectl.telemetry.store import Store
    from nodectl.telemetry.watcher import Watcher

    stop = threading.Event()
    stopped: list[BaseException] = []

    def interrupt(why: BaseException) -> None:
        stopped.append(why)
        stop.set()

    with reach(nodes) as way:
        writer = RecordWriter(
            path, nodes=[n.name for n in way.nodes], max_bytes=int(max_size) if max_size else None, overwrite=overwrite
        )
        store = Store(tap=writer.tap)
        watcher = Watcher(way.nodes, way.transports, store, launch_script, interval, nodes.fanout)
        begun = time.monotonic()
        try:
            with terminable(interrupt):
                watcher.start()
                _wait(store, writer, stop, duration)
                silent = _silent(store)
                store.tap = None  # that the watch ends is nothing that happened to a node
                watcher.stop()
        finally:
            writer.close()
    _say_what_is_there(writer, time.monotonic() - begun, len(way.nodes), silent)
    if writer.problem:
        return exit_codes.FAILED
    if stopped and duration is not None:
        return exit_codes.TERMINATED if isinstance(stopped[0], Terminated) else exit_codes.INTERRUPTED
    return exit_codes.INCOMPLETE if silent else exit_codes.OK


def _wait(store: Store, writer: RecordWriter, stop: threading.Event, duration_s: float | None) -> None:
    """Until it is to end, or cannot go on; on a terminal with a line that tells how it goes."""
    begun = time.monotonic()
    draw, wipe = _status_line()
    try:
        while not writer.problem:
            passed_s = time.monotonic() - begun
            left_s = _DRAW_S if duration_s is None else min(_DRAW_S, duration_s - passed_s)
            if left_s <= 0 or stop.wait(left_s):
                return
            store.take_dirty()
            live = sum(node.state == "live" for node in store.nodes.values())
            draw(
                f"recording: {live} of {len(store.nodes)} nodes live, {passed_s + left_s:.0f} s, "
                f"{_size(writer.bytes_written)}; ctrl-c ends it"
            )
    finally:
        wipe()


def _status_line() -> tuple[Callable[[str], None], Callable[[], None]]:
    """How to write, and to wipe away, one line on a terminal; both do nothing elsewhere."""
    import os

    from nodectl.cli.terminal import width

    if not sys.stderr.isatty() or os.environ.get("TERM") == "dumb":
        return (lambda text: None), (lambda: None)

    def draw(text: str) -> None:
        room = width(sys.stderr) - 1
        sys.stderr.write("\r" + text[:room].ljust(room))
        sys.stderr.flush()

    def wipe() -> None:
        sys.stderr.write("\r" + " " * (width(sys.stderr) - 1) + "\r")
        sys.stderr.flush()

    return draw, wipe


def _silent(store: Store) -> list[str]:
    """Nodes of which no sample came, with the reason."""
    return [
        f"{node.name}: {node.reason.text if node.reason else node.state}"
        for node in store.nodes.values()
        if node.received_at is None
    ]


def _say_what_is_there(writer: RecordWriter, seconds: float, nodes: int, silent: list[str]) -> None:
    from nodectl.cli.terminal import note

    for text in silent[:_MOST_NAMED]:
        note(f"not recorded: {text}")
    if len(silent) > _MOST_NAMED:
        note(f"not recorded: {len(silent) - _MOST_NAMED} more")
    if writer.problem:
        note(writer.problem)
    if writer.dropped:
        note(f"{writer.dropped} records were lost")
    files = ", ".join(str(path) for path in writer.paths[:3]) + (", ..." if len(writer.paths) > 3 else "")
    note(
        f"{nodes - len(silent)} of {nodes} nodes in {seconds:.0f} s, {writer.records} records, "
        f"{_size(writer.bytes_written)} in {files}: nodectl watch --replay {writer.paths[0]}"
    )


def _size(count: int) -> str:
    """Bytes for a person."""
    if count < 10_000:
        return f"{count} bytes"
    return f"{count / 1e3:.0f} kB" if count < 1e6 else f"{count / 1e6:.1f} MB"
