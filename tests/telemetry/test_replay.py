"""Playing a recording: at any pace, from any moment, with the states and the order of fields that were."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from agent_lines import GPU_FAST, hello, slow, tick
from record_kit import OPEN, T0, Clock, play, recorded

from nodectl.model import Reason
from nodectl.telemetry.decode import decode
from nodectl.telemetry.fields import GPU_FIELDS, GPU_INDEX
from nodectl.telemetry.messages import encode
from nodectl.telemetry.ndtel import LINE, BlockWriter, Header, Record
from nodectl.telemetry.record import RecordWriter
from nodectl.telemetry.store import LIVE, RETRY, STALE, LiveNode, Store


@pytest.fixture(autouse=True)
def closing() -> Iterator[None]:
    yield
    while OPEN:
        OPEN.pop().close()


def test_a_store_lives_through_it_again_at_its_pace(tmp_path: Path) -> None:
    path = tmp_path / "run.ndtel"
    recorded(path, 40)
    clock = Clock()
    replay = play(path, speed=10.0, clock=clock)
    assert (replay.nodes, replay.duration_s) == (("n0",), 39.0)
    store = replay.store()
    assert replay.advance(store) == 2
    clock.at += 1.0
    assert replay.advance(store) == 10
    node = store.nodes["n0"]
    assert node.gpus[0] is not None
    assert (node.gpus[0][0], node.age_s(store.now()), node.state) == (10.0, 0.0, LIVE)
    replay.speed = 0.0
    clock.at += 100
    assert (replay.advance(store), replay.now() - T0) == (0, 10.0)
    replay.speed = 1.0
    clock.at += 2.5
    assert (replay.advance(store), node.age_s(store.now())) == (2, 0.5)
    clock.at += 1000
    replay.advance(store)
    assert replay.done
    assert store.take_dirty() == {"n0"}
    assert (node.state, node.age_s(store.now())) == (LIVE, 0.0)  # its clock stands at the end of the recording


@pytest.mark.parametrize("segment_s", [7.0, 1e9])
def test_seek_gives_what_was_known_then(tmp_path: Path, segment_s: float) -> None:
    path = tmp_path / "run.ndtel"
    recorded(path, 60, nodes=3, segment_s=segment_s)
    clock = Clock()
    replay = play(path, clock=clock)
    store = replay.store()
    for offset in (30.0, 5.0, 58.5, -10.0, 1e9, 17.0):
        replay.seek(offset, store)
        wanted = int(min(max(offset, 0.0), 59.0))
        rows = [node.gpus[0] for node in store.nodes.values()]
        assert [row[0] for row in rows if row is not None] == [float(wanted)] * 3
        assert replay.done == (wanted == 59)
    clock.at += 3
    replay.advance(store)
    assert [node.seq for node in store.nodes.values()] == [21] * 3
    replay.seek(50.0, store, history_s=30.0)
    known = [value for value in store.nodes["n0"].history("power_w", 0) if value == value]
    assert len(known) >= 4
    assert known[-2] - known[-3] == pytest.approx(10.0)
    assert len([r for r in play(path).records() if r.data.startswith(b'{"k":"hello"')]) == 3


def test_silence_and_states_are_played_too(tmp_path: Path) -> None:
    path = tmp_path / "run.ndtel"
    seconds = iter([T0, T0, T0 + 20, T0 + 30])
    writer = RecordWriter(path, now=lambda: next(seconds))
    heard = Store(tap=writer.tap)
    heard.put("a", decode(hello(1)))
    heard.set_state("a", RETRY, reason=Reason("timeout", "no answer", "is it up?"), tries=4)
    heard.put("a", decode(hello(1)))
    writer.close()
    clock = Clock()
    replay = play(path, clock=clock)
    store = replay.store()
    seen: list[tuple[str, int]] = []
    for _ in range(31):
        replay.advance(store)
        store.take_dirty()
        node: LiveNode = store.nodes["a"]
        seen.append((node.state, node.tries))
        if node.state == RETRY:
            assert node.reason == Reason("timeout", "no answer", "is it up?")
        clock.at += 1
    assert list(dict.fromkeys(seen)) == [(LIVE, 0), (STALE, 0), (RETRY, 4)]
    assert seen[-1] == (LIVE, 0)


def test_the_order_of_fields_of_an_older_nodectl_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "old.ndtel"
    older = tuple(reversed(GPU_FAST[:5]))
    row = [float(GPU_INDEX[name]) for name in older]
    raw = b"".join(
        Record(LINE, T0, "a", data).packed() for data in (hello(1), tick(1, g=[row]), encode(decode(slow(2, 1, 7.0))))
    )
    path.write_bytes(Header(gpu_fields=older).line() + BlockWriter().block(raw, T0, T0, fresh=True))
    replay = play(path)
    store = replay.store()
    replay.advance(store)
    (known,) = store.nodes["a"].gpus
    assert known is not None
    assert known[: len(GPU_FIELDS)] == [
        float(at) if field.name in older else 7.0 if field.beat == "slow" else None
        for at, field in enumerate(GPU_FIELDS)
    ]


def test_run_feeds_until_it_is_over_or_stopped(tmp_path: Path) -> None:
    path = tmp_path / "run.ndtel"
    recorded(path, 20)
    replay = play(path, speed=200.0)
    store = replay.store()
    replay.run(store, threading.Event())
    assert replay.done
    assert store.nodes["n0"].seq == 20
    stop = threading.Event()
    stop.set()
    other = play(path)
    other.run(other.store(), stop)
    assert not other.done
