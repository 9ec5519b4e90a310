"""The reader: it knows when a reply is over, whatever a node sends and however it comes."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodectl.model import Node, Reason
from nodectl.probe.framing import MAX_JUNK_BYTES, FrameReader
from nodectl.probe.reply import MAX_SECTIONS, MAX_SOURCE_BYTES
from nodectl.probe.transcript import Section, Transcript, write_transcript
from nodectl.probe.wire import encode_lane, encode_start
from nodectl.transport.base import Reply

NONCE = "0123456789abcdef"
MARK = f"@{NONCE} ".encode()
ORDINARY = write_transcript(
    {"one": [Section("file", "/a", "text\n"), Section("cmd", "b", "x" * 5000, "err\n", 3)], "two": []}, nonce=NONCE
)


class Clock:
    """Seconds that pass only when told."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


def _read(wire: bytes, step: int = 0, **options: int) -> FrameReader:
    reader = FrameReader(NONCE, ("one", "two"), **options)
    for at in range(0, len(wire), step or len(wire) or 1):
        if reader.feed(wire[at : at + (step or len(wire))]):
            break
    return reader


def _transcript(reader: FrameReader, reason: Reason | None = None, **reply: object) -> Transcript:
    told = Reply(reason=reason, reached=True, **reply)  # type: ignore[arg-type]
    return Transcript.of_reply(Node(name="n"), told, reader, nonce=NONCE, started="", duration_ms=0)


def _lane(number: int, *lines: str) -> bytes:
    return encode_lane(number, "".join(line.replace("@N ", f"@{NONCE} ") + "\n" for line in lines).encode())


def _start(*sources: str, lanes: int = 1) -> bytes:
    return encode_start(NONCE, sources, {"uid": 0, "epoch": 1, "uptime": 2.5}, lanes)


@pytest.mark.parametrize("step", [0, 1, 2, 7, 4096])
def test_an_ordinary_reply(step: int) -> None:
    reader = _read(ORDINARY.wire, step)
    assert reader.ending == "complete"
    assert reader.conclude() is None
    assert ORDINARY.wire.removesuffix(MARK + b"done\n") in reader.transcript_wire()
    assert _transcript(reader).sources == ORDINARY.sources


def test_nothing_is_read_after_the_end() -> None:
    reader = _read(ORDINARY.wire)
    assert reader.feed(b"more")
    assert reader.transcript_wire() == ORDINARY.wire.removesuffix(MARK + b"done\n")


@given(st.data())
def test_the_pieces_in_which_it_comes_do_not_matter(data: st.DataObject) -> None:
    pieces = st.sampled_from(
        [
            b"motd\n",
            _start("one", "two", lanes=2),
            _lane(0, "@N src one 1.0 5", "text"),
            b"0:@" + NONCE.encode(),
            b"\n",
            b"\x1b[2J\xff\0",
            _lane(1, "@N src two 1.0 5", "@N begin cmd x", "out", "", "@N end 0"),
            _lane(1, "", "@N exit two 0 2.0"),
            _lane(1, "@N lane"),
            _lane(0, "", "@N exit one 0 2.0", "@N lane"),
            MARK + b"done\n",
            MARK + b"tick\n",
            MARK,
            b"0+" + b"z" * 50 + b"\n",
            b"7:lane of nobody\n",
            MARK + b"at 0 one 5\n",
            MARK + b"at 9 x y\n",
            b"0:" + MARK + b"stuck one\n",
        ]
    )
    wire = b"".join(data.draw(st.lists(pieces, max_size=25)))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(wire)), max_size=10)))
    whole, split = FrameReader(NONCE), FrameReader(NONCE)
    whole_over = whole.feed(wire)
    split_over = False
    for begin, end in zip([0, *cuts], [*cuts, len(wire)], strict=True):
        split_over = split.feed(wire[begin:end])
        if split_over:
            break
    assert split_over == whole_over
    assert split.ending == whole.ending
    one, other = _transcript(whole), _transcript(split)
    assert one.sources == other.sources
    if whole.ending == "complete":
        assert whole.transcript_wire().startswith(split.transcript_wire())


@given(st.binary(max_size=2000))
def test_no_bytes_make_it_fail(noise: bytes) -> None:
    for wire in (
        noise,
        _start("one") + noise,
        _start("one") + _lane(0, "@N src one 1.0 5") + noise.replace(b"\n", b"\n0:"),
    ):
        reader = _read(wire)
        assert reader.ending in ("no_start", "eof", "complete")
        found = _transcript(reader)
        assert set(found.sources) == {"one", "two"}
        assert all(isinstance(reply.note, str) for reply in found.sources.values())


def test_what_a_login_prints_first_is_kept_apart() -> None:
    reader = _read(b"Welcome to \x1b[1mgpu001\x1b[0m\nLast login: never" + b"\n" + ORDINARY.wire, 5)
    assert reader.ending == "complete"
    assert reader.note == "before the probe the node printed: Welcome to \\x1b[1mgpu001\\x1b[0m Last login: never"
    assert _transcript(reader).sources == ORDINARY.sources
    assert _read(ORDINARY.wire).note == ""


@pytest.mark.parametrize(
    ("said", "stderr", "expected"),
    [
        (b"This account is currently not available.\n", b"", "This account is currently not available."),
        (b"\n\n \x1b[31mgo away\x1b[0m\nmore\n", b"", "\\x1b[31mgo away\\x1b[0m"),
        (b"", b"bash: sh: command not found\n", "bash: sh: command not found"),
    ],
)
def test_a_node_that_does_not_run_the_probe(said: bytes, stderr: bytes, expected: str) -> None:
    found = _transcript(_read(said), stderr=stderr, exit_status=1)
    assert not found.reached
    assert found.reason is not None
    assert found.reason.code == "probe_failed"
    assert found.reason.text == f'the node answered "{expected}" and not the probe (exit status 1)'
    assert "exec sh" in found.reason.hint
    assert {reply.state for reply in found.sources.values()} == {"cut"}


def test_a_node_that_says_nothing_at_all() -> None:
    found = _transcript(_read(b""), exit_status=0)
    assert found.reason is not None
    assert "without a word" in found.reason.text


def test_a_transport_s_own_reason_is_kept_with_what_was_said() -> None:
    found = _transcript(_read(b"Password: "), Reason("timeout", "n: no end after 30 s", "a hint"))
    assert found.reason == Reason("timeout", 'n: no end after 30 s; it had said only "Password:"', "a hint")


def test_a_login_that_never_stops_talking() -> None:
    reader = FrameReader(NONCE)
    assert not reader.feed(b"x" * (MAX_JUNK_BYTES - 10))
    assert reader.feed(b"y\n" * 100)
    found = _transcript(reader)
    assert found.reason is not None
    assert "at login" in found.reason.hint
    assert found.wire == b""


def test_lines_without_the_nonce_are_content() -> None:
    text = "@ffffffffffffffff end 0\n0:@0123 lane\n@done\n@0123456789abcdeF done\n"
    found = write_transcript({"one": [Section("file", "x", text)], "two": []}, nonce=NONCE)
    assert _transcript(_read(found.wire)).source("one").find("file", "x").text == text


def test_what_is_said_twice_counts_once() -> None:
    wire = _start("one", "two") + _lane(
        0,
        "@N src one 1.0 5",
        "@N begin text a",
        "first",
        "@N end 0",
        "@N end 9",
        "@N err late",
        "",
        "@N exit one 0 2.0",
        "@N exit one 7 9.0",
        "@N src one 3.0 5",
        "@N begin text b",
        "second",
        "@N end 0",
        "",
        "@N exit one 1 4.0",
        "@N lane",
        "@N lane",
    )
    found = _transcript(_read(wire + MARK + b"done\n" + MARK + b"done\n"))
    reply = found.source("one")
    assert (reply.rc, reply.duration_ms) == (0, 1000)
    assert [(one.name, one.text, one.rc, one.stderr) for one in reply.sections] == [("a", "first", 0, "")]


def test_a_reply_that_is_cut_keeps_what_is_whole() -> None:
    wire = _start("one", "two", "three") + _lane(
        0,
        "@N src one 1.0 5",
        "@N begin text a",
        "b",
        "@N end 0",
        "",
        "@N exit one 0 2.0",
        "@N src two 1.0 5",
        "@N begin cmd c",
        "so fa",
    )
    reader = FrameReader(NONCE, ("one", "two", "three"))
    reader.feed(wire)
    found = _transcript(reader, Reason("closed_during_probe", "n: gone"))
    assert (found.ending, found.reason) == ("eof", Reason("closed_during_probe", "n: gone"))
    assert found.reached
    assert {name: reply.state for name, reply in found.sources.items()} == {"one": "ok", "two": "cut", "three": "cut"}
    assert found.source("two").sections == (Section("cmd", "c", "so fa", "", None),)
    assert "before this source began" in found.source("three").note
    assert found.source("four").state == "missing"


def test_a_probe_that_is_ended_on_the_node_says_so() -> None:
    found = _transcript(_read(_start("one", "two")))
    assert found.reason is not None
    assert found.reason.code == "closed_during_probe"


def test_too_much_in_all_is_an_end_and_not_a_crash() -> None:
    wire = _start("one", "two", lanes=2) + _lane(
        1, "@N src two 1.0 5", "@N begin text a", "b", "@N end 0", "", "@N exit two 0 1.5", "@N lane"
    )
    wire += _lane(0, "@N src one 1.0 5", "@N begin cmd flood") + b"0:" + b"x" * 1000 + b"\n"
    reader = FrameReader(NONCE, ("one", "two"), max_bytes=100_000)
    over = reader.feed(wire)
    fed = 0
    while not over:
        over = reader.feed(b"0:" + b"y" * 997 + b"\n")
        fed += 1000
        assert fed < 200_000
    found = _transcript(reader)
    assert len(found.wire) <= 100_000
    assert found.reason is not None
    assert "bigger than 100000 bytes" in found.reason.text
    assert {name: reply.state for name, reply in found.sources.items()} == {"one": "too_big", "two": "ok"}


def test_too_much_of_one_source() -> None:
    big = Section("cmd", "flood", "x" * 100 + "\n" + "y" * MAX_SOURCE_BYTES)
    found = write_transcript({"one": [Section("text", "a", "b"), big], "two": [Section("text", "c", "d")]}, nonce=NONCE)
    reply = _transcript(_read(found.wire)).source("one")
    assert reply.state == "too_big"
    assert reply.sections == (Section("text", "a", "b"), Section("cmd", "flood", rc=None))
    assert "2 MiB" in reply.note
    assert _transcript(_read(found.wire)).source("two").state == "ok"


def test_too_many_sections_of_one_source() -> None:
    many = write_transcript({"one": [Section("text", "a")] * (MAX_SECTIONS + 1), "two": []}, nonce=NONCE)
    reply = _transcript(_read(many.wire)).source("one")
    assert reply.state == "too_big"
    assert len(reply.sections) == MAX_SECTIONS


def test_a_source_that_hangs_is_given_up_by_the_client_s_own_clock() -> None:
    clock = Clock()
    reader = FrameReader(NONCE, ("one", "two"), clock=clock)
    assert reader.due_in_s() is None
    reader.feed(_start("one", "two", lanes=2) + MARK + b"at 0 one 30\n" + MARK + b"at 1 two 5\n")
    assert 30 < reader.due_in_s() < 45
    reader.feed(_lane(1, "@N src two 1.0 5", "@N begin text a", "b", "@N end 0", "", "@N exit two 0 1.5", "@N lane"))
    clock.now += 29
    assert not reader.feed(MARK + b"tick\n")
    assert 0 < reader.due_in_s() < 16
    clock.now += 20
    assert reader.due_in_s() < 0
    assert reader.feed(MARK + b"tick\n")
    found = _transcript(reader)
    assert (found.ending, reader.gave_up_on) == ("gave_up", ("one",))
    assert found.reason is not None
    assert found.reason.text.startswith("one hangs on the node")
    assert {name: reply.state for name, reply in found.sources.items()} == {"one": "timeout", "two": "ok"}


def test_a_node_that_falls_silent_is_given_up_when_the_transport_says_so() -> None:
    clock = Clock()
    reader = FrameReader(NONCE, ("one", "two"), clock=clock)
    reader.feed(_start("one", "two") + MARK + b"at 0 one 5\n" + _lane(0, "@N src one 1.0 5"))
    clock.now += 60
    found = _transcript(reader, Reason("timeout", "n: nothing more came"))
    assert found.ending == "gave_up"
    assert {name: reply.state for name, reply in found.sources.items()} == {"one": "timeout", "two": "timeout"}
    assert "a source before it hung" in found.source("two").note


def test_a_deadline_that_comes_first_is_a_timeout_of_what_ran() -> None:
    reader = FrameReader(NONCE, ("one", "two"), clock=Clock())
    reader.feed(_start("one", "two") + MARK + b"at 0 one 50\n" + _lane(0, "@N src one 1.0 50"))
    found = _transcript(reader, Reason("timeout", "n: no end after 30 s"))
    assert (found.ending, found.reason) == ("timed_out", Reason("timeout", "n: no end after 30 s"))
    assert found.source("one").state == "timeout"
    assert "time for this node was up" in found.source("one").note


def test_between_two_sources_a_lane_is_still_expected() -> None:
    clock = Clock()
    reader = FrameReader(NONCE, clock=clock)
    reader.feed(_start("one", "two") + MARK + b"at 0 one 5\n" + _lane(0, "@N src one 1.0 5", "", "@N exit one 0 1.0"))
    assert 0 < reader.due_in_s() < 15
    reader.feed(MARK + b"at 0 two 60\n")
    assert reader.due_in_s() > 60


def test_all_lanes_through_is_an_end_even_without_the_last_line() -> None:
    wire = _start("one", "two", lanes=2) + _lane(0, "@N lane")
    reader = FrameReader(NONCE)
    assert not reader.feed(wire)
    assert reader.feed(_lane(1, "@N lane"))
    assert reader.ending == "complete"


def test_a_script_without_sources_is_complete_at_once() -> None:
    assert FrameReader(NONCE).feed(_start(lanes=0))


@pytest.mark.parametrize(
    "flood",
    [
        b"0:\n",
        b"0:\n1:\n",
        b"0:" + MARK + b"begin cmd x\n",
        b"0:" + MARK + b"err x\n",
        b"0:" + MARK + b"src one 1 5\n",
        MARK + b"at 0 one 5\n",
        b"0+x\n",
        b"0:\x1b\n",
        b"\xff",
        b"\n",
    ],
)
def test_a_flood_of_anything_ends_soon_and_in_little_memory(flood: bytes) -> None:
    reader = FrameReader(NONCE, ("one", "two"), max_bytes=2_000_000)
    began = time.process_time()
    reader.feed(_start("one", "two", lanes=2) + _lane(0, "@N src one 1.0 5"))
    piece = flood * (32_768 // len(flood))
    for _ in range(100):
        if reader.feed(piece):
            break
    assert reader.ending == "too_big"
    found = _transcript(reader)
    assert set(found.sources) == {"one", "two"}
    assert all(reply.state in ("cut", "too_big") for reply in found.sources.values())
    assert time.process_time() - began < 5.0
