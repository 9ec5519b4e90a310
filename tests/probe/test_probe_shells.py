"""What a source says comes back as it was said, through every shell that a node may have."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from probe_nodes import NONCE, FakeNode, run_probe, spec

from nodectl.probe.clean import clean

# What could be taken for the frame's own: prefixes, control lines without the nonce, lines as long as a chunk.
_TRAPS = st.sampled_from(
    [
        b"@",
        b"0:",
        b"1+",
        b"@00ff00ff end 0",
        b"\n",
        b"\n\n",
        b"\r\n",
        b" ",
        b"\\",
        b"%s",
        b"'",
        b'"',
        b"\x1b[2J",
        b"\xff",
        b"\t",
    ]
)
_LINES = st.sampled_from([b"x" * size for size in (1999, 2000, 2001, 4000, 4001, 9000)])
_CONTENT = st.lists(st.one_of(st.binary(max_size=30), _TRAPS, _LINES), max_size=8).map(b"".join)


def test_the_frame_says_who_ran(node: FakeNode) -> None:
    found = run_probe(node, [spec("one", "nd_text hello 'there'")])
    assert found.ending == "complete"
    assert found.reason is None
    assert (found.probe_version, found.uid) == (1, 0 if Path("/root").owner() == Path.home().owner() else found.uid)
    assert found.source("one").find("text", "hello").text == "there"


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(contents=st.lists(_CONTENT, min_size=1, max_size=5))
def test_any_content_comes_back_byte_for_byte(
    steady_node: FakeNode, tmp_path_factory: pytest.TempPathFactory, contents: list[bytes]
) -> None:
    if steady_node.shell == "busybox":
        contents = [content.replace(b"\0", b"\n") for content in contents]  # its awk ends a line at a NUL byte
    folder = tmp_path_factory.mktemp("content")
    paths = [folder / f"{number}" for number in range(len(contents))]
    for path, content in zip(paths, contents, strict=True):
        path.write_bytes(content)
    sources = [spec("one", 'nd_file "$@"', lane="fast"), spec("two", 'for f; do nd_cmd_as "$f" cat "$f"; done')]
    found = run_probe(steady_node, sources, {one.name: [str(path) for path in paths] for one in sources})
    assert found.ending == "complete"
    for name, kind in (("one", "file"), ("two", "cmd")):
        reply = found.source(name)
        assert (reply.state, reply.rc, len(reply.sections), reply.note) == ("ok", 0, len(paths), "")
        for path, content in zip(paths, contents, strict=True):
            section = reply.find(kind, str(path))
            assert (section.text, section.rc, section.stderr) == (clean(content), 0, "")


def test_many_lanes_that_talk_at_once_stay_apart(node: FakeNode, tmp_path: Path) -> None:
    paths = []
    for number in range(8):
        path = tmp_path / str(number)
        path.write_bytes(b"".join(b"%d-%d " % (number, line) + b"y" * (line * 7 % 300) + b"\n" for line in range(2000)))
        paths.append(path)
    sources = [spec(f"s{number}", 'nd_file "$@"') for number in range(8)]
    found = run_probe(node, sources, {f"s{number}": [str(path)] for number, path in enumerate(paths)})
    assert found.ending == "complete"
    for number, path in enumerate(paths):
        assert found.source(f"s{number}").sections[0].text == path.read_text()


def test_stdout_stderr_and_status_are_kept_apart(node: FakeNode) -> None:
    body = """
nd_cmd sh -c 'echo out; echo err >&2; printf more; echo "  err two" >&2; exit 7'
nd_cmd_as again sh -c 'echo only >&2' && nd_text reached yes
nd_cmd no-such-command --please || nd_text 'status' "$?"
nd_cmd true
"""
    reply = run_probe(node, [spec("one", body)]).source("one")
    first = reply.sections[0]
    assert first.name.startswith("sh -c echo out")
    assert (first.text, first.stderr, first.rc) == ("out\nmore", "err\n  err two\n", 7)
    assert reply.find("cmd", "again").stderr == "only\n"
    assert reply.find("text", "reached").text == "yes"
    missing = reply.find("cmd", "no-such-command --please")
    assert missing.rc == 127
    assert "not found" in missing.stderr
    assert reply.find("text", "status").text == "127"
    assert (reply.find("cmd", "true").text, reply.find("cmd", "true").rc) == ("", 0)


def test_files_that_cannot_be_read_say_why(node: FakeNode) -> None:
    reply = run_probe(node, [spec("one", "nd_file /proc/version /nowhere/at-all /etc")]).source("one")
    assert reply.find("file", "/proc/version").text == Path("/proc/version").read_text()
    missing = reply.find("file", "/nowhere/at-all")
    assert (missing.rc, missing.text) == (1, "")
    assert "No such file" in missing.stderr
    assert "irectory" in reply.find("file", "/etc").stderr


def test_many_small_files_in_one_section(node: FakeNode, tmp_path: Path) -> None:
    (tmp_path / "a").write_text("1\n")
    (tmp_path / "b").write_text("two")
    (tmp_path / "c").write_bytes(b"\0bin\n")
    files = " ".join(str(tmp_path / name) for name in ("a", "b", "c", "missing"))
    reply = run_probe(node, [spec("one", f"nd_grep {files}")]).source("one")
    section = reply.find("grep", "files")
    assert f"{tmp_path}/a:1\n{tmp_path}/b:two\n" in section.text
    assert "bin" in section.text
    assert "missing" in section.stderr


def test_a_section_name_is_one_clean_line(node: FakeNode) -> None:
    body = "nd_text 'two\nlines\tand  spaces \033[31m' x\nnd_cmd printf '%s' 'a\nb'"
    names = [section.name for section in run_probe(node, [spec("one", body)]).source("one").sections]
    assert names == ["two lines and  spaces  [31m", "printf %s a b"]


def test_stderr_has_a_limit(node: FakeNode) -> None:
    reply = run_probe(node, [spec("one", "nd_cmd sh -c 'seq 1000 >&2'\nnd_text next ok")]).source("one")
    assert reply.sections[0].stderr == "".join(f"{number}\n" for number in range(1, 51))
    assert reply.find("text", "next").text == "ok"


def test_what_a_source_says_outside_of_sections_becomes_its_note(node: FakeNode) -> None:
    reply = run_probe(node, [spec("one", "echo stray\nnd_text a b\nnot-a-command-at-all\nexit 3")]).source("one")
    assert reply.rc == 3
    assert reply.state == "ok"
    assert "stray" in reply.note
    assert "not-a-command-at-all" in reply.note
    assert reply.find("text", "a").text == "b"


def test_a_source_with_a_syntax_error_harms_no_other(node: FakeNode) -> None:
    found = run_probe(node, [spec("one", "if then (", lane="fast"), spec("two", "nd_text a b", lane="fast")])
    assert found.source("one").rc != 0
    assert found.source("one").note
    assert found.source("two").find("text", "a").text == "b"


def test_arguments_arrive_as_they_are(node: FakeNode) -> None:
    given_args = ["vm.swappiness", "a b", "$(touch /tmp/nodectl-was-here)", "`id`", "'\"\\", "--", "*", "é"]
    found = run_probe(node, [spec("one", 'for a; do nd_text arg "$a"; done')], {"one": given_args})
    assert [section.text for section in found.source("one").sections] == given_args
    assert not Path("/tmp/nodectl-was-here").exists()


def test_a_source_finds_its_surroundings_in_order(node: FakeNode) -> None:
    body = """
nd_cmd env
nd_cmd cat
nd_text umask "$(umask)"
nd_text args "$#"
nd_text ifs "$IFS"
nd_cmd sh -c 'ls /proc/self/fd'
"""
    reply = run_probe(node, [spec("one", body)]).source("one")
    env = dict(line.partition("=")[::2] for line in reply.find("cmd", "env").text.splitlines())
    assert env["LC_ALL"] == "C"
    assert env["TZ"] == "UTC0"
    assert "/usr/sbin" in env["PATH"].split(":")
    assert env["ND_SAMPLE_S"] == "1"
    assert not [value for value in env.values() if NONCE in value], (
        "a command that a source runs must not see the nonce"
    )
    assert (reply.find("cmd", "cat").text, reply.find("cmd", "cat").rc) == ("", 0), "stdin is empty"
    assert reply.find("text", "umask").text.endswith("77")
    assert reply.find("text", "ifs").text == " \t\n"
    assert not re.search(r"\b[78]\b", reply.sections[-1].text), "the frame's own descriptors stay its own"


@pytest.mark.parametrize("command", ["awk", "timeout", "setsid", "date", "id"])
def test_a_node_that_lacks_a_command(node: FakeNode, command: str) -> None:
    bare = node.without(command)
    body = "nd_cmd printf '%s\\n' " + "z" * 5000 + "\nnd_text a 'b\n\nc'"
    found = run_probe(bare, [spec("one", body), spec("two", "nd_text a b", lane="fast")])
    assert found.ending == "complete", found.wire
    assert [section.text for section in found.source("one").sections] == ["z" * 5000 + "\n", "b\n\nc"]
    assert found.source("two").state == "ok"


def test_a_node_with_neither_timeout_nor_setsid(node: FakeNode) -> None:
    bare = node.without("timeout", "setsid")
    found = run_probe(bare, [spec("one", "nd_text a b"), spec("hung", "nd_cmd sleep 600", timeout_s=1)])
    assert found.source("one").state == "ok"
    assert found.source("hung").state == "timeout"
