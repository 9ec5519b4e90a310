"""Bytes in any pieces to messages: the pieces do not matter, and nothing that comes can raise."""

from __future__ import annotations

import itertools

import msgspec
import pytest
from agent_lines import hello, line, slow, tick
from hypothesis import given, settings
from hypothesis import strategies as st

from nodectl.telemetry.messages import Bye, Hello, Message, Slow, Tick
from nodectl.telemetry.reader import Counts, LineReader

LIMIT = 2000  # bytes of a line in these tests: a hello of two GPUs fits

LINES = st.sampled_from(
    [
        hello(2),
        tick(1, 2),
        slow(2, 2),
        line("e", what="xid", code=79, gpu="1", text="fell off"),
        line("bye", why="stdin closed"),
        line("later", x=1),
        b"",
        b"\r",
        b"Last login: Mon Nov 20",
        b"user@gpu1:~$ " + hello(2),
        tick(1, 2)[:40] + tick(3, 2),
        tick(5, 2)[:70],
        b'{"k":"t"' * 40,
        b"x" * (LIMIT + 1),
        b"\xff\xfe\x00",
    ]
)
PIECES = st.lists(LINES | st.binary(max_size=60), max_size=30).map(b"\n".join)


def read(pieces: list[bytes]) -> tuple[list[Message], Counts]:
    reader = LineReader(max_line_bytes=LIMIT, max_noise_bytes=3 * LIMIT)
    found = [message for piece in pieces for message in reader.feed(piece)]
    reader.end()
    return found, reader.counts


@given(data=PIECES, cuts=st.lists(st.integers(0, 6000), max_size=40))
@settings(max_examples=300)
def test_however_a_stream_is_split_it_gives_the_same(data: bytes, cuts: list[int]) -> None:
    whole, counts = read([data])
    at = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    pieces, split = read([data[a:b] for a, b in itertools.pairwise(at)])
    assert pieces == whole
    assert split == counts


@given(data=PIECES)
@settings(max_examples=50)
def test_byte_by_byte(data: bytes) -> None:
    assert read([data[at : at + 1] for at in range(len(data))]) == read([data])


@given(st.lists(st.binary(max_size=500), max_size=20))
def test_any_bytes_are_counted_and_nothing_is_raised(pieces: list[bytes]) -> None:
    reader = LineReader()
    reader.feed(hello() + b"\n")
    before = reader.counts.lines
    for piece in pieces:
        assert all(isinstance(message, msgspec.Struct) for message in reader.feed(piece))
    reader.end()
    counts = reader.counts
    assert counts.bytes == len(hello()) + 1 + sum(map(len, pieces))
    assert counts.lines - before == b"".join(pieces).count(b"\n")
    assert counts.messages + counts.bad + counts.unknown + counts.too_long <= counts.lines


def test_what_a_shell_says_first_is_skipped_and_kept_for_the_reason() -> None:
    reader = LineReader()
    assert reader.feed(b"Welcome to Ubuntu\r\n\r\n\x1b[31mmaintenance\x1b[0m tonight\n") == []
    assert reader.noise == ["Welcome to Ubuntu", r"\x1b[31mmaintenance\x1b[0m tonight"]
    reader.feed(b"one\ntwo\nthree\nsh: 1: cannot fork\n")
    assert (len(reader.noise), reader.noise[-1]) == (5, "sh: 1: cannot fork")
    (message,) = reader.feed(b"prompt> " + hello(1) + b"\r\n")
    assert isinstance(message, Hello)
    assert reader.hello is message
    assert (reader.counts.noise, reader.counts.mended, reader.counts.messages) == (6, 1, 1)


def test_too_much_noise_ends_it() -> None:
    reader = LineReader(max_noise_bytes=10_000)
    for _ in range(200):
        reader.feed(b"y" * 99 + b"\n")
    assert reader.gave_up
    assert reader.feed(hello() + b"\n") == []
    assert reader.counts.bytes > 20_000
    assert reader.counts.lines < 110


def test_nothing_but_garbage_after_the_hello_ends_it_too() -> None:
    reader = LineReader()
    reader.feed(hello() + b"\n")
    for _ in range(5):
        reader.feed(b'{"k":"t"\n' * 900 + b"\n" * 2000)
        assert not reader.gave_up
        assert len(reader.feed(tick(1) + b"\n")) == 1
    reader.feed(b'{"k":"t"\n' * 100_000)
    assert reader.gave_up
    assert reader.counts.bad < 5600
    assert reader.feed(tick(2) + b"\n") == []


def test_samples_before_the_hello_are_noise() -> None:
    reader = LineReader()
    assert reader.feed(tick(1) + b"\n" + slow(2) + b"\n") == []
    assert reader.counts.noise == 2
    assert [type(message) for message in reader.feed(hello() + b"\n" + tick(3) + b"\n")] == [Hello, Tick]


def test_a_huge_line_costs_no_more_than_its_limit_and_the_next_is_read() -> None:
    reader = LineReader()
    reader.feed(hello() + b"\n")
    for _ in range(100):
        assert reader.feed(b"z" * 100_000) == []
        assert len(reader._partial) <= 256 * 1024
    assert [type(m) for m in reader.feed(b"\n" + tick(1) + b"\n" + line("bye") + b"\n")] == [Tick, Bye]
    assert reader.counts.too_long == 1


def test_torn_and_interleaved_lines_cost_only_themselves() -> None:
    reader = LineReader()
    data = b"\n".join([hello(), tick(1)[:50] + tick(2), tick(3)[:60], tick(4), b"oops", line("later"), slow(5), b""])
    messages = reader.feed(data)
    assert [type(message) for message in messages] == [Hello, Tick, Tick, Slow]
    assert [message.seq for message in messages if isinstance(message, Tick | Slow)] == [2, 4, 5]
    assert (reader.counts.bad, reader.counts.unknown, reader.counts.mended) == (2, 1, 1)


@pytest.mark.parametrize(("rest", "unfinished"), [(b"", 0), (tick(2)[:30], 1), (b"q" * 300_000, 1)])
def test_an_end_inside_a_line_is_counted(rest: bytes, unfinished: int) -> None:
    reader = LineReader()
    reader.feed(hello() + b"\n" + rest)
    reader.end()
    assert reader.counts.unfinished == unfinished
