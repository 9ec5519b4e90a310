"""Recordings for the tests of them, and replays that are closed when the test is over."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from agent_lines import hello, tick

from nodectl.telemetry.ndtel import LINE, BlockWriter, Header, Record
from nodectl.telemetry.replay import Replay

T0 = 1_763_600_000.0
OPEN: list[Replay] = []


def play(path: Path, speed: float = 1.0, **options: Any) -> Replay:
    """A replay that is closed at the end of the test."""
    replay = Replay(path, speed, **options)
    OPEN.append(replay)
    return replay


class Clock:
    def __init__(self) -> None:
        self.at = 50.0

    def __call__(self) -> float:
        return self.at


def recorded(path: Path, seconds: int, *, nodes: int = 1, gpus: int = 2, segment_s: float = 1e9) -> None:
    """A recording of nodes that were live for that long; the value of every field is the second."""
    writer, blocks = BlockWriter(), [Header(nodes=tuple(f"n{number}" for number in range(nodes))).line()]
    begun = -1e9
    for second in range(seconds):
        t = T0 + second
        fresh = second - begun >= segment_s or second == 0
        names = [f"n{number}" for number in range(nodes)]
        records = [Record(LINE, t, name, hello(gpus)) for name in names if second == 0]
        if fresh:
            records += [Record(LINE, t, name, hello(gpus), repeated=True) for name in names if second]
            begun = second
        records += [Record(LINE, t, name, tick(second + 1, gpus, float(second))) for name in names]
        blocks.append(writer.block(b"".join(r.packed() for r in records), t, t, fresh=fresh))
    path.write_bytes(b"".join(blocks))
