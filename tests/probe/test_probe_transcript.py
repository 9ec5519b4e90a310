"""Transcripts: built, saved, read again, and sent once more under another nonce."""

from __future__ import annotations

import contextlib
import errno
import os
import pickle
import stat
import subprocess
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodectl.model import Node, Reason
from nodectl.probe.clean import clean
from nodectl.probe.framing import FrameReader
from nodectl.probe.store import TranscriptStore, read_folder
from nodectl.probe.transcript import (
    Section,
    SourceReply,
    Transcript,
    TranscriptReadError,
    TranscriptWriteError,
    file_name,
    reframe,
    write_transcript,
)

_WORDS = st.text(
    alphabet=st.characters(codec="utf-8", exclude_categories=["Cc", "Cf", "Cs", "Zl", "Zp", "Cn"]), max_size=40
)
_SECTION = st.builds(
    Section,
    kind=st.sampled_from(["file", "cmd", "grep", "text"]),
    name=_WORDS,
    text=st.text(max_size=200),
    stderr=st.lists(_WORDS, max_size=3).map(lambda lines: "".join(line + "\n" for line in lines)),
    rc=st.one_of(st.integers(0, 255), st.none()),
)
_SOURCES = st.dictionaries(
    st.from_regex(r"[a-z][a-z0-9_]{0,10}", fullmatch=True), st.lists(_SECTION, max_size=4), max_size=4
)

SAMPLE = write_transcript(
    {
        "one": [Section("file", "/a b", "no newline at the end"), Section("cmd", "x", "", "e1\n  e2\n", 127)],
        "hung": SourceReply(
            "hung", "timeout", (Section("text", "a", "b"), Section("cmd", "c", "so fa", rc=None)), rc=None
        ),
        "cut": SourceReply("cut", "cut", (Section("text", "a", "b"),), rc=None),
        "big": SourceReply("big", "too_big", (Section("text", "a", "b"),)),
        "never": SourceReply("never", "missing"),
    },
    node="gpu001",
    uid=1000,
)


@given(_SOURCES)
def test_what_is_written_is_what_is_read(sources: dict[str, list[Section]]) -> None:
    found = write_transcript(sources)
    assert list(found.sources) == list(sources)
    for name, sections in sources.items():
        reply = found.source(name)
        assert (reply.state, reply.rc) == ("ok", 0)
        for want, have in zip(sections, reply.sections, strict=True):
            # A section that never ended has no end mark: whether its last newline is its own cannot be told.
            text = want.text if want.rc is not None else want.text.removesuffix("\n")
            assert (have.kind, have.name, have.rc) == (want.kind, clean(want.name), want.rc)
            assert have.text.removesuffix("\n") == clean(text).removesuffix("\n")
            assert have.rc is None or have.text == clean(text)
            assert have.stderr == clean(want.stderr)


def test_every_state_survives() -> None:
    assert {name: reply.state for name, reply in SAMPLE.sources.items()} == {
        "one": "ok", "hung": "timeout", "cut": "cut", "big": "too_big", "never": "cut",
    }  # fmt: skip
    assert (SAMPLE.uid, SAMPLE.probe_version, SAMPLE.reached) == (1000, 1, True)
    assert SAMPLE.source("one").find("file", "/a b").text == "no newline at the end"
    assert SAMPLE.source("one").first("/a").kind == "file"
    assert SAMPLE.source("one").first("/nowhere") is None
    assert SAMPLE.source("one").of_kind("cmd")[0].stderr == "e1\n  e2\n"
    assert SAMPLE.source("hung").sections[1] == Section("cmd", "c", "so fa", rc=None)
    assert SAMPLE.source("nobody").state == "missing"


@pytest.mark.parametrize(
    ("ending", "state", "hung", "waiting"),
    [
        ("timed_out", "timeout", "had begun, and its answer had not come", "was not started before the time"),
        ("gave_up", "timeout", "had begun, and its answer never came", "was not started: a source before it hung"),
        ("eof", "cut", "before anything of this source came", "before this source began"),
    ],
)
def test_a_source_that_began_is_not_said_to_wait_for_its_turn(ending: str, state: str, hung: str, waiting: str) -> None:
    nonce = "00ff" * 8
    mark = f"@{nonce} ".encode()
    wire = mark + b"probe version=1 uid=0 epoch=1 uptime=1.00 lanes=1 sources=one,two\n" + mark + b"at 0 one 45\n"
    sources = Transcript(node="n", nonce=nonce, wire=wire, ending=ending).sources
    assert [one.state for one in sources.values()] == [state, state]
    assert hung in sources["one"].note
    assert waiting in sources["two"].note


@given(_SOURCES, st.binary(max_size=100))
def test_saved_and_read_again(
    tmp_path_factory: pytest.TempPathFactory, sources: dict[str, list[Section]], tail: bytes
) -> None:
    found = write_transcript(sources, node="n")
    found.wire += tail
    folder = tmp_path_factory.mktemp("saved")
    again = Transcript.load(found.save(folder))
    assert again == found
    assert again.sources == found.sources
    assert pickle.loads(pickle.dumps(again)).sources == found.sources
    assert Transcript.from_bytes(found.to_bytes()) == found


def test_a_node_that_was_not_reached_is_saved_with_the_reason(tmp_path: Path) -> None:
    node = Node(
        name="gpu/7",
        address="10.0.0.7",
        labels={"rack": "r1"},
        expect={"gpus": 8},
        groups=("h200",),
        profile="roce",
        origin="hosts.yaml:7",
    )
    lost = Transcript.unreached(node, Reason("refused", "no", "look"), started="2026-11-20T01:02:03Z")
    again = Transcript.load(lost.save(tmp_path))
    assert again == lost
    assert not again.reached
    assert again.reason == Reason("refused", "no", "look")
    declared = again.declared_node()
    assert declared == node
    assert again.sources == {}


def test_the_file_is_its_owner_s_only_and_nothing_else_is_left(tmp_path: Path) -> None:
    os.umask(os.umask(0))
    path = SAMPLE.save(tmp_path)
    assert path == tmp_path / "gpu001.ndt"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.chmod(0o644)
    SAMPLE.save(tmp_path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [entry.name for entry in tmp_path.iterdir()] == ["gpu001.ndt"]
    first, _, rest = path.read_bytes().partition(b"\n")
    assert msgspec.json.decode(first)["schema"] == "nodectl.transcript/1"
    assert rest == SAMPLE.wire


def test_a_link_is_replaced_and_not_followed(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_text("keep")
    (tmp_path / "gpu001.ndt").symlink_to(precious)
    path = SAMPLE.save(tmp_path)
    assert not path.is_symlink()
    assert precious.read_text() == "keep"


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
def test_a_full_disk_is_a_clear_error_and_spoils_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    SAMPLE.save(tmp_path)
    before = (tmp_path / "gpu001.ndt").read_bytes()

    def full(_: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(TranscriptWriteError, match=r"gpu001\.ndt: could not be written: .*; "):
        write_transcript({"one": []}, node="gpu001").save(tmp_path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["gpu001.ndt"]
    assert (tmp_path / "gpu001.ndt").read_bytes() == before


def test_a_disk_that_is_really_full(tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    if (
        os.geteuid() != 0
        or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "nd", str(small)], check=False).returncode
    ):
        pytest.skip("needs root to mount a small file system")
    try:
        big = write_transcript({"one": [Section("text", "a", "x" * 200_000)]}, node="gpu002")
        with pytest.raises(TranscriptWriteError, match=r"No space left on device; free some space"):
            TranscriptStore(small).save(big)
        assert list(small.iterdir()) == []
    finally:
        subprocess.run(["umount", str(small)], check=True)


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(TranscriptWriteError, match="make the folder first"):
        SAMPLE.save(tmp_path / "no" / "such.ndt")
    store = TranscriptStore(tmp_path / "new" / "folder")
    assert stat.S_IMODE((tmp_path / "new" / "folder").stat().st_mode) == 0o700
    assert store.save(SAMPLE).is_file()
    (tmp_path / "file").write_text("")
    with pytest.raises(TranscriptWriteError, match="could not be made"):
        TranscriptStore(tmp_path / "file" / "x")


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "not a transcript"),
        (b"hello\nworld\n", "not a transcript"),
        (b"[1]\n", "not a transcript"),
        (b'{"a": 1}\n', "not a transcript"),
        (b"[" * 100_000, "not a transcript"),
        (b'{"schema": "nodectl.transcript/9"}\n', "written as 'nodectl.transcript/9', this nodectl reads"),
        (SAMPLE.to_bytes()[:-10], "cut short"),
        (SAMPLE.to_bytes().replace(b'"duration_ms":1000', b'"duration_ms":"x"'), "duration_ms"),
        (SAMPLE.to_bytes().replace(b'"node":"gpu001",', b""), "node"),
        (b"\x00\xff" * 100 + b"\n", "not a transcript"),
    ],
)
def test_files_that_are_no_transcripts(tmp_path: Path, data: bytes, says: str) -> None:
    path = tmp_path / "x.ndt"
    path.write_bytes(data)
    with pytest.raises(TranscriptReadError, match=says) as caught:
        Transcript.load(path)
    assert str(caught.value).startswith(str(path))


@given(st.binary(max_size=200), st.integers(0, 600))
def test_no_damage_makes_it_fail_otherwise(noise: bytes, at: int) -> None:
    whole = SAMPLE.to_bytes()
    data = whole[:at] + noise + whole[at + len(noise) :]
    with contextlib.suppress(TranscriptReadError):
        assert isinstance(Transcript.from_bytes(data).sources, dict)


def test_other_things_than_files(tmp_path: Path) -> None:
    with pytest.raises(TranscriptReadError, match="No such file"):
        Transcript.load(tmp_path / "missing.ndt")
    os.mkfifo(tmp_path / "fifo.ndt")
    with pytest.raises(TranscriptReadError, match="not a plain file"):
        Transcript.load(tmp_path / "fifo.ndt")
    with pytest.raises(TranscriptReadError):
        Transcript.load(tmp_path)


def test_a_folder_with_one_bad_file_gives_the_others(tmp_path: Path) -> None:
    store = TranscriptStore(tmp_path)
    for name in ("b", "a"):
        store.save(write_transcript({"one": []}, node=name))
    (tmp_path / "bad.ndt").write_text("nonsense")
    (tmp_path / "readme.txt").write_text("not looked at")
    write_transcript({"two": []}, node="a", started="2027-01-01T00:00:00Z").save(tmp_path / "copy.ndt")
    found, problems = read_folder(tmp_path)
    assert [one.node for one in found] == ["a", "b"]
    assert found[0].asked == ("two",)
    assert len(problems) == 2
    assert "bad.ndt" in problems[0]
    assert "second transcript of a" in problems[1]
    assert read_folder(tmp_path / "b.ndt")[0][0].node == "b"
    assert read_folder(tmp_path / "nothing")[1]


@pytest.mark.parametrize(
    ("node", "name"),
    [
        ("gpu001", "gpu001.ndt"),
        ("user@host:22", "user%40host%3A22.ndt"),
        ("../../etc/passwd", "%2E.%2F..%2Fetc%2Fpasswd.ndt"),
        (".hidden", "%2Ehidden.ndt"),
        ("-rf", "%2Drf.ndt"),
        ("", "%.ndt"),
        ("é\n", "%C3%A9%0A.ndt"),
        ("a%2Fb", "a%252Fb.ndt"),
    ],
)
def test_file_names(node: str, name: str) -> None:
    assert file_name(node) == name


@given(st.text(max_size=300), st.text(max_size=300))
def test_two_nodes_never_share_a_file(one: str, other: str) -> None:
    assert (file_name(one) == file_name(other)) == (one == other)
    assert len(file_name(one)) < 200
    assert "/" not in file_name(one)
    assert file_name(one)[0] not in ".-"


def test_the_same_reply_under_another_nonce() -> None:
    wire = reframe(SAMPLE, "feedfeedfeedfeed", ["hung", "one", "unknown"])
    assert SAMPLE.nonce.encode() not in wire
    reader = FrameReader("feedfeedfeedfeed", ["hung", "one", "unknown"])
    assert reader.feed(wire)
    again = Transcript(node="x", nonce="feedfeedfeedfeed", wire=reader.transcript_wire())
    assert (again.uid, again.asked) == (1000, ("hung", "one", "unknown"))
    assert again.source("one") == SAMPLE.source("one")
    assert again.source("hung") == SAMPLE.source("hung")
    assert again.source("unknown").state == "cut"
    everything = Transcript(node="x", nonce="ab" * 8, wire=reframe(SAMPLE, "ab" * 8, SAMPLE.asked))
    assert everything.sources == SAMPLE.sources


@given(_SOURCES)
def test_reframing_keeps_every_section(sources: dict[str, list[Section]]) -> None:
    found = write_transcript(sources)
    assert Transcript(node="x", nonce="ab" * 8, wire=reframe(found, "ab" * 8, list(sources))).sources == found.sources
