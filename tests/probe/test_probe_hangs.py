"""What hangs on a node costs its own facts, and no others."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from probe_nodes import FakeNode, Running, run_probe, script_of, spec

from nodectl.probe.compose import SourceSpec
from nodectl.probe.transcript import Transcript

HUNG_MOUNT = Path(__file__).with_name("hung_mount.py")
_AFTER = "nd_text still here"


def _timed(node: FakeNode, specs: Sequence[SourceSpec]) -> tuple[Transcript, float]:
    began = time.monotonic()
    return run_probe(node, specs), time.monotonic() - began


@pytest.mark.parametrize("lane", ["fast", "slow"])
def test_a_slow_command_is_stopped_and_what_came_before_it_is_kept(node: FakeNode, lane: str) -> None:
    hung = spec("hung", "nd_text a b\nnd_cmd sh -c 'echo begun; exec sleep 600'\nnd_text c d", timeout_s=1, lane=lane)
    found, took_s = _timed(node, [hung, spec("after", _AFTER, lane="fast")])
    reply = found.source("hung")
    assert (found.ending, reply.state) == ("complete", "timeout")
    assert reply.note == "did not end within 1 s and was stopped"
    assert [(section.name, section.rc) for section in reply.sections] == [
        ("a", 0),
        ("sh -c echo begun; exec sleep 600", None),
    ]
    assert reply.sections[1].text == "begun"
    assert found.source("after").state == "ok"
    assert 1.0 <= took_s < 5.0


def test_a_source_that_ignores_the_first_signal_is_killed(node: FakeNode) -> None:
    body = "trap '' TERM\nnd_cmd sh -c 'trap \"\" TERM; while :; do sleep 600; done'"
    found, took_s = _timed(node, [spec("hung", body, timeout_s=1), spec("after", _AFTER, lane="fast")])
    assert found.ending == "complete"
    assert found.source("hung").state == "timeout"
    assert found.source("after").state == "ok"
    assert 1.0 <= took_s < 7.0


def test_eight_stopped_sources_that_ignore_signals(node: FakeNode) -> None:
    body = "trap '' TERM\nnd_text a b\nkill -STOP $$"
    sources = [spec(f"s{number}", body, timeout_s=2) for number in range(8)]
    with Running(node, script_of([*sources, spec("after", _AFTER, lane="fast")])) as running:
        began = time.monotonic()
        running.read_until(b"still\n")
        assert time.monotonic() - began < 2.0, "the fast lane waits for nobody"
        found = running.finish()
    assert found.ending == "complete"
    assert {found.source(one.name).state for one in sources} == {"timeout"}
    assert {found.source(one.name).find("text", "a").text for one in sources} == {"b"}
    assert found.source("after").state == "ok"
    assert time.monotonic() - began < 9.0


@pytest.mark.parametrize(
    "body",
    [
        "sleep 600 & nd_text a b",
        "(trap '' TERM HUP; exec sleep 600) & nd_text a b",
        "nd_cmd_as x timeout 500 sleep 600 & nd_text a b; sleep 0.2",
    ],
)
def test_what_a_source_leaves_running_is_ended_with_it(node: FakeNode, body: str) -> None:
    with Running(node, script_of([spec("one", body)])) as running:
        began = time.monotonic()
        found = running.finish()
        assert found.ending == "complete"
        assert found.source("one").state == "ok"
        assert time.monotonic() - began < 3.0
        running.wait(3.0)


def test_a_timeout_within_a_source_that_is_stopped(node: FakeNode) -> None:
    """coreutils' timeout makes a process group, which a signal to the source's own group would miss."""
    found, took_s = _timed(node, [spec("one", "nd_cmd timeout 500 sleep 600", timeout_s=1)])
    assert found.ending == "complete"
    assert found.source("one").state == "timeout"
    assert took_s < 6.0


def test_what_is_left_when_the_fast_lane_has_no_time(node: FakeNode) -> None:
    sources = [spec(f"s{number}", "sleep 600", timeout_s=1, lane="fast") for number in range(4)]
    script = script_of(sources).replace(b"nd_budget=20", b"nd_budget=2")
    with Running(node, script) as running:
        found = running.finish()
    assert found.ending == "complete"
    assert {found.source(one.name).state for one in sources} == {"timeout"}
    assert "was stopped" in found.source("s0").note
    assert "was not started" in found.source("s3").note


def _hung_mount(folder: Path) -> list[str]:
    """The command line before `sh` for a node on which `folder` hangs."""
    folder.mkdir()
    prefix = ["unshare", "-m", sys.executable, str(HUNG_MOUNT), str(folder)]
    if os.geteuid() != 0:
        pytest.skip("needs root to mount a file system that hangs")
    tried = subprocess.run([*prefix, "true"], capture_output=True, text=True, timeout=20, check=False)
    if tried.returncode != 0:
        pytest.skip(f"no FUSE here: {tried.stderr.strip()}")
    return prefix


@pytest.mark.parametrize("who", ["a command of the source", "the source itself"])
def test_a_source_in_uninterruptible_sleep_is_left_behind(node: FakeNode, tmp_path: Path, who: str) -> None:
    hung = tmp_path / "hung"
    prefix = _hung_mount(hung)
    itself = who == "the source itself"
    body = "nd_text a b\n" + (f"[ -e {hung}/file ]" if itself else f"nd_cmd cat {hung}/file") + "\nnd_text c d"
    sources = [
        spec("slow", body, timeout_s=1),
        spec("first", _AFTER, lane="fast"),
        spec("fast", body, timeout_s=1, lane="fast"),
        spec("last", _AFTER, lane="fast"),
    ]
    began = time.monotonic()
    with Running(node, script_of(sources), [*prefix, "sh"]) as running:
        running.read_until(b" at 1 fast ")
        time.sleep(0.3)
        stat = [Path(f"/proc/{pid}/stat").read_text() for pid in _children_of(running.process.pid)]
        assert [line for line in stat if line.split(") ")[1].startswith("D")], "nothing hangs, so this proves nothing"
        found = running.finish()
        took_s = time.monotonic() - began
        running.wait(5.0)
    assert found.ending == "complete"
    assert {name: found.source(name).state for name in ("first", "last")} == {"first": "ok", "last": "ok"}
    for name in ("slow", "fast"):
        assert found.source(name).state == "timeout"
        assert ("a hung driver or file system?" in found.source(name).note) == itself
        assert found.source(name).find("text", "a").text == "b"
    assert took_s < (9.0 if itself else 4.0)


def _children_of(pid: int) -> list[int]:
    found = []
    for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        found += [int(word), *_children_of(int(word))]
    return found


@pytest.mark.parametrize("line", ["0123456789012345678901234567890123456789", "0123"])
def test_a_source_that_floods_is_cut_off_on_the_node(node: FakeNode, line: str) -> None:
    """2 MiB of one source and no more come over the network, with what marks its lines as its own; it goes on, unheard,
    until its time is up."""
    lines = spec("lines", f"nd_text a b\nnd_cmd yes {line}", timeout_s=2)
    found = run_probe(node, [lines, spec("after", _AFTER, lane="fast")])
    assert found.ending == "complete"
    assert found.source("lines").state == "too_big"
    said = [(section.text[:9], section.rc) for section in found.source("lines").sections]
    assert said == [("b", 0), ("", None)]
    assert found.source("after").state == "ok"
    assert 1_000_000 < len(found.wire) <= 2 * 1024 * 1024 + 4096


def test_a_script_without_sources_is_over_at_once(node: FakeNode) -> None:
    with Running(node, script_of([])) as running:
        began = time.monotonic()
        assert running.finish().ending == "complete"
        assert running.wait(10.0) == 0
        assert time.monotonic() - began < 3.0


def test_it_ends_though_the_client_keeps_stdin_open(node: FakeNode) -> None:
    process = subprocess.Popen(
        ["sh"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=node.env()
    )
    with process:
        assert process.stdin is not None
        process.stdin.write(script_of([spec("one", "nd_text a b")]))
        process.stdin.flush()
        assert process.wait(10) == 0
