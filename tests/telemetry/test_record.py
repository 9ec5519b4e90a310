"""Recordings: what goes in comes out, up to a cut wherever it is, at any pace; and no file can do harm."""

from __future__ import annotations

import io
import os
import stat
import threading
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from agent_lines import hello, line, slow, tick
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from record_kit import OPEN, T0, Clock, play

from nodectl.errors import UserError
from nodectl.telemetry import record as record_module
from nodectl.telemetry.decode import decode
from nodectl.telemetry.fields import GPU_INDEX
from nodectl.telemetry.ndtel import LINE, BlockWriter, Header, Record, read_header, scan
from nodectl.telemetry.record import RecordWriter, Replay

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


@pytest.fixture(autouse=True)
def closing() -> Iterator[None]:
    yield
    while OPEN:
        OPEN.pop().close()


def read(path: Path) -> Wanted:
    with Replay(path) as replay:
        return [(record.t, record.node, record.data) for record in replay.records() if record.kind == LINE]


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
