"""Where samples come from: the nodes themselves, the demo fleet, or a recording."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import click
import msgspec

from nodectl.cli.options import NodeChoice
from nodectl.model import Node
from nodectl.telemetry.store import Store


class Source(msgspec.Struct):
    """A store that fills.

    Attributes:
        wall: Unix time of a moment on the store's clock.
        advance: gives the store what is due; for sources that do nothing by themselves.
        over: nothing more will come.
        notes: what the user should know by now.
        speed: seconds of the source in one of ours.
    """

    store: Store
    nodes: list[Node]
    wall: Callable[[float], float]
    advance: Callable[[], object]
    over: Callable[[], bool]
    notes: Callable[[], list[str]]
    speed: float = 1.0

    @property
    def labels(self) -> Mapping[str, Mapping[str, str]]:
        return {node.name: node.labels for node in self.nodes}


@contextlib.contextmanager
def live_source(choice: NodeChoice, interval_s: float, *, full_commands: bool = False) -> Iterator[Source]:
    """The chosen nodes, watched until the context ends; with it the agents end on the nodes.

    Args:
        full_commands: ask for the whole command lines of processes.

    Raises:
        InventoryError, click.UsageError: as `reach`.
    """
    from nodectl.cli.session import reach
    from nodectl.telemetry.launch import LaunchOptions, launch_script
    from nodectl.telemetry.watcher import Streams, Watcher

    options = LaunchOptions(full_commands=full_commands)

    with reach(choice) as way:
        store = Store()
        offset = time.time() - time.monotonic()
        store.add(node.name for node in way.nodes)
        streams: Streams = way.transports
        if any(node.transport == "local" for node in way.nodes):
            from nodectl.telemetry.local import LocalStreams

            streams = LocalStreams(streams, interval_s, full_commands=full_commands)
        with Watcher(
            way.nodes, streams, store, lambda wait_s: launch_script(wait_s, options), interval_s, choice.fanout
        ):
            yield Source(
                store,
                way.nodes,
                wall=lambda at: at + offset,
                advance=lambda: None,
                over=lambda: False,
                notes=lambda: way.notes,
            )


@contextlib.contextmanager
def replay_source(path: Path, speed: float, choice: NodeChoice) -> Iterator[Source]:
    """A recording, played.

    Raises:
        UserError: it cannot be read.
        click.UsageError: nodes are named as well.
    """
    from nodectl.telemetry.replay import Replay

    if choice.hosts or choice.demo or choice.node:
        raise click.UsageError("--replay brings its own nodes: leave out --hosts, --node and --demo (--where chooses)")
    replay = Replay(path, speed)
    try:
        store = replay.store()
        yield Source(
            store,
            [Node(name=name) for name in replay.nodes],
            wall=lambda at: at,
            advance=lambda: replay.advance(store),
            over=lambda: replay.done,
            notes=lambda: [replay.problem] if replay.problem else [],
            speed=speed,
        )
    finally:
        replay.close()
