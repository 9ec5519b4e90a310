"""Recordings: what goes in comes out, up to a cut wherever it is, at any pace; and no file can do harm."""

from __future__ import annotations

import io
import os
import stat
import threading
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from stream_kit import GPU_FAST, hello, line, slow, tick

from nodectl.errors import UserError
from nodectl.model import Reason
from nodectl.telemetry import record as record_module
from nodectl.telemetry.decode import decode
from nodectl.telemetry.fields import GPU_FIELDS, GPU_INDEX
from nodectl.telemetry.messages import encode
from nodectl.telemetry.ndtel import LINE, BlockWriter, Header, Record, read_header, scan
from nodectl.telemetry.record import RecordWriter, Replay
from nodectl.telemetry.store import LIVE, RETRY, STALE, LiveNode, Store

T0 = 1_763_600_000.0
Wanted = list[tuple[float, str, bytes]]


def blocks_of(records: Wanted, sizes: list[int], *, fresh_every: int = 3) -> bytes:
    """A recording in memory, in blocks of the given numbers of records."""
    writer, parts, at = BlockWriter(), [Header(nodes=("a", "b")).line()], 0
    for number, size in enumerate(sizes):
        own = records[at : at + size]
        at += size
        if own:
            raw = b"".join(Record(LINE, t, node, data).packed() for t, node, data in own)
            parts.append(writer.block(raw, own[0][0], own[-1][0], fresh=number % fresh_every == 0))
    return b"".join(parts)


def read(path: Path) -> Wanted:
    with Replay(path) as replay:
        return [(record.t, record.node, record.data) for record in replay.records() if record.kind == LINE]


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


_OPEN: list[Replay] = []


def play(path: Path, speed: float = 1.0, **options: Any) -> Replay:
    """A replay that is closed at the end of the test."""
    replay = Replay(path, speed, **options)
    _OPEN.append(replay)
    return replay


@pytest.fixture(autouse=True)
def closing() -> Iterator[None]:
    yield
    while _OPEN:
        _OPEN.pop().close()


class Clock:
    def __init__(self) -> None:
        self.at = 50.0

    def __call__(self) -> float:
        return self.at


TIMES = st.floats(T0, T0 + 1e6)
NAMES = st.sampled_from(["a", "b", "gpu-01.example.org", "knoten-ä"])
RECORDS = st.lists(st.tuples(TIMES, NAMES, st.binary(max_size=200)), min_size=1, max_size=25).map(
    lambda found: sorted(found, key=lambda one: one[0])
)


@given(RECORDS)
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_what_is_put_comes_out(tmp_path: Path, records: Wanted) -> None:
    path = tmp_path / "run.ndtel"
    writer = RecordWriter(path, overwrite=True, flush_s=0.002)
    for number, (t, node, data) in enumerate(records):
        writer.put(node, t, data)
        if number % 7 == 3:
            threading.Event().wait(0.003)  # so that it becomes several blocks
    writer.close()
    assert (writer.records, writer.dropped, writer.problem) == (len(records), 0, "")
    assert writer.bytes_written == path.stat().st_size
    assert read(path) == records


@given(RECORDS, st.lists(st.integers(1, 6), min_size=1, max_size=12))
@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_a_file_cut_at_any_byte_plays_to_the_cut(tmp_path: Path, records: Wanted, sizes: list[int]) -> None:
    path = tmp_path / "cut.ndtel"
    whole = blocks_of(records, sizes)
    records = records[: sum(sizes)]
    ends = [0]
    file = io.BytesIO(whole)
    infos, rest = scan(file, read_header(file, "x")[1])
    assert rest == 0
    count = 0
    good = {infos[0].offset: 0}
    for info, size in zip(infos, sizes, strict=False):
        count = min(count + size, len(records))
        good[info.end] = count
        ends.append(info.end)
    for cut in range(len(whole) + 1):
        path.write_bytes(whole[:cut])
        expected = max((kept for end, kept in good.items() if end <= cut), default=-1)
        if expected < 1:
            with pytest.raises(UserError):
                play(path)
            continue
        replay = play(path)
        assert [(r.t, r.node, r.data) for r in replay.records()] == records[:expected]
        assert bool(replay.problem) == (cut not in ends)
        replay.close()


@given(st.data())
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_a_damaged_byte_costs_its_segment_and_nothing_is_made_up(tmp_path: Path, data: st.DataObject) -> None:
    path = tmp_path / "bad.ndtel"
    records = [(T0 + number, "a", b"line %d" % number * 5) for number in range(12)]
    whole = bytearray(blocks_of(records, [2] * 6, fresh_every=2))
    header = whole.index(b"\n") + 1
    at = data.draw(st.integers(header, len(whole) - 1))
    whole[at] ^= data.draw(st.integers(1, 255))
    path.write_bytes(whole)
    try:
        replay = play(path)
    except UserError:
        return  # the first block's head
    found = [(r.t, r.node, r.data) for r in replay.records()]
    assert set(found) < set(records)
    assert replay.problem
    assert found == sorted(found)


@given(st.binary(max_size=400), st.booleans())
@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_no_file_raises_but_as_a_user_error(tmp_path: Path, garbage: bytes, headed: bool) -> None:
    path = tmp_path / "garbage.ndtel"
    path.write_bytes((Header().line() if headed else b"") + garbage)
    with pytest.raises(UserError, match=r"garbage\.ndtel"):
        play(path)


@given(st.lists(st.binary(max_size=80), min_size=1, max_size=6))
@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_well_packed_garbage_is_borne(tmp_path: Path, parts: list[bytes]) -> None:
    """Blocks whose checksum is right, by somebody who means harm."""
    path = tmp_path / "evil.ndtel"
    writer = BlockWriter()
    junk = b"".join(Record(LINE, float("nan"), "n\x1b[2J", part).packed() for part in parts)
    path.write_bytes(
        Header(nodes=("n",)).line()
        + writer.block(junk, T0, T0 + 1, fresh=True)
        + writer.block(parts[0], T0, T0 + 2, fresh=True)
        + writer.block(Record(LINE, float("inf"), "n", hello(1)).packed(), T0, T0 + 3, fresh=True)
    )
    clock = Clock()
    replay = play(path, speed=1.0, clock=clock)
    store = replay.store()
    replay.advance(store)
    clock.at += 10
    replay.advance(store)
    assert replay.done
    assert store.nodes["n"].hello is not None
    assert all(name.isprintable() for name in store.nodes)


def test_a_block_that_unpacks_to_far_more_than_it_says_is_damaged(tmp_path: Path) -> None:
    path = tmp_path / "bomb.ndtel"
    whole = bytearray(Header().line() + BlockWriter().block(b"\0" * 30_000_000, T0, T0, fresh=True))
    at = whole.index(b"NDTB")
    whole[at + 12 : at + 16] = (100).to_bytes(4, "little")
    end = at + 32
    crc = zlib.crc32(bytes(whole[end + 4 :]), zlib.crc32(bytes(whole[at:end])))
    whole[end : end + 4] = crc.to_bytes(4, "little")
    path.write_bytes(whole)
    replay = play(path)
    assert list(replay.records()) == []
    assert "damaged" in replay.problem


def test_files_of_others_and_of_newer_versions_are_refused_plainly(tmp_path: Path) -> None:
    path = tmp_path / "run.ndtel"
    path.write_bytes(b"P3\n# not ours\n")
    with pytest.raises(UserError, match="no recording"):
        play(path)
    path.write_bytes(Header(schema="nodectl.telemetry/2").line())
    with pytest.raises(UserError, match="newer nodectl"):
        play(path)
    with pytest.raises(UserError, match="cannot be read"):
        play(tmp_path / "nothing.ndtel")
    path.write_bytes(Header().line())
    with pytest.raises(UserError, match="nothing was recorded"):
        play(path)


def test_the_file_is_the_users_alone_and_is_not_replaced_unasked(tmp_path: Path) -> None:
    path = tmp_path / "run.ndtel"
    RecordWriter(path).close()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with pytest.raises(UserError, match="--overwrite"):
        RecordWriter(path)
    path.chmod(0o644)
    RecordWriter(path, overwrite=True).close()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with pytest.raises(UserError, match="cannot be written"):
        RecordWriter(tmp_path / "no" / "run.ndtel")


def test_what_came_is_on_disk_without_a_close(tmp_path: Path) -> None:
    path = tmp_path / "run.ndtel"
    writer = RecordWriter(path, flush_s=0.05)
    writer.put("a", T0, tick(1))
    threading.Event().wait(0.4)
    assert read(path) == [(T0, "a", tick(1))]
    writer.close()


def test_lines_and_messages_are_the_same_and_compress(tmp_path: Path) -> None:
    path = tmp_path / "run.ndtel"
    writer = RecordWriter(path)
    writer.put("a", T0, decode(hello(8)))
    for number in range(600):
        writer.put("a", T0 + number, decode(tick(number + 1, 8, float(number))))
    writer.close()
    found = read(path)
    assert [decode(data) for _, _, data in found] == [
        decode(hello(8)), *(decode(tick(number + 1, 8, float(number))) for number in range(600))
    ]  # fmt: skip
    assert path.stat().st_size < sum(len(data) for _, _, data in found) / 8


def test_a_second_file_begins_when_one_is_full_and_plays_alone(tmp_path: Path) -> None:
    path = tmp_path / "run.ndtel"
    writer = RecordWriter(path, max_bytes=8_000, flush_s=0.02)
    writer.put("a", T0, hello(2))
    writer.put("a", T0, slow(1, 2, 9.0))
    for number in range(40):
        writer.put("a", T0 + number, line("e", t=0.0, what="error", text=os.urandom(400).hex()))
        writer.put("a", T0 + number, tick(number + 2, 2, float(number)))
        threading.Event().wait(0.02)
    writer.close()
    assert [each.name for each in writer.paths[:3]] == ["run.ndtel", "run.2.ndtel", "run.3.ndtel"]
    assert sum(each.stat().st_size for each in writer.paths) == writer.bytes_written
    replay = play(writer.paths[1], speed=1e9)
    store = replay.store()
    replay.advance(store)
    threading.Event().wait(0.01)
    replay.advance(store)
    (row, _) = store.nodes["a"].gpus
    assert row is not None
    assert row[GPU_INDEX["energy_j"]] == 9.0  # of a line that is in the first file
    repeats = 2 * (len(writer.paths) - 1)
    assert sum(len(read(each)) for each in writer.paths) == 82 + repeats


def test_a_full_disk_is_said_and_leaves_a_good_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "run.ndtel"
    writer = RecordWriter(path, flush_s=0.01)
    writer.put("a", T0, tick(1))
    threading.Event().wait(0.2)
    real_write = os.write

    def full(fd: int, data: memoryview) -> int:
        if len(data) > 20:
            return real_write(fd, data[:20])  # some of it still fits
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(record_module.os, "write", full)
    writer.put("a", T0 + 1, tick(2))
    threading.Event().wait(0.2)
    writer.put("a", T0 + 2, tick(3))
    writer.close()
    assert "No space left" in writer.problem
    assert writer.dropped == 2
    assert play(path).problem == ""
    assert len(read(path)) == 1


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
