"""The script that a node is given, and the source files that it is made of."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
from probe_nodes import NONCE, FakeNode, Running, script_of, spec

from nodectl.probe import compose as composing
from nodectl.probe.compose import SourceError, compose, load_sources, probe_deadline_s, read_source

HEADER = "# source: good\n# about: a test\n# timeout: 5\n# lane: fast\n# root: no\n"


def _written(folder: Path, text: str, name: str = "good") -> Path:
    path = folder / f"{name}.sh"
    path.write_text(text)
    return path


def test_a_source_file(tmp_path: Path) -> None:
    text = (
        HEADER
        + "# args: sysctl\n# sample: yes\n\n# a comment\nnd_text a b   \n\n  # more\nif true; then\n  nd_pause\nfi\n"
    )
    found = read_source(_written(tmp_path, text))
    assert (found.name, found.about, found.timeout_s, found.lane, found.root) == ("good", "a test", 5, "fast", "no")
    assert (found.args_family, found.sample) == ("sysctl", True)
    assert found.body == "nd_text a b\nif true; then\nnd_pause\nfi\n"


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        (HEADER.replace("# lane: fast\n", ""), 1, 'no "# lane: ..." line'),
        (HEADER.replace("source: good", "source: other"), 1, "is not the file's name"),
        (HEADER.replace("# timeout", "# timout"), 3, 'unknown key "timout"; did you mean "timeout"?'),
        (HEADER.replace("timeout: 5", "timeout: soon"), 3, 'whole seconds, 1 to 120, not "soon"'),
        (HEADER.replace("timeout: 5", "timeout: 0"), 3, "whole seconds"),
        (HEADER.replace("lane: fast", "lane: quick"), 4, 'one of fast, slow, not "quick"'),
        (HEADER.replace("root: no", "root: maybe"), 5, "one of no, helps, needed"),
        (HEADER + "# about: again\n", 6, '"about" is there twice'),
        (HEADER + "# args: a b\n", 6, "the family of a fact"),
        (HEADER.replace("about: a test", "about:"), 2, "has no value"),
        (HEADER + "nd_text a b\ncat <<EOF\nx\nEOF\n", 7, "no here-documents"),
    ],
)
def test_errors_say_where_and_what(tmp_path: Path, text: str, line: int, says: str) -> None:
    path = _written(tmp_path, text)
    with pytest.raises(SourceError) as caught:
        read_source(path)
    assert str(caught.value).startswith(f"{path}:{line}: ")
    assert says in str(caught.value)


def test_the_script_names_itself_and_ends_with_its_only_call() -> None:
    script = compose({"node": [], "os_release": []}, nonce="abcdef0123456789").decode()
    lines = script.splitlines()
    assert lines[0] == "# nodectl-probe/1 nonce=abcdef0123456789 sources=node,os_release"
    assert lines[1] == "nd_probe() {"
    assert lines[-2:] == ["}", "nd_probe"]
    assert not [line for line in lines[1:] if re.match(r"\s*(#|$)", line)], "comments are not sent"


def test_all_of_it_is_small() -> None:
    """What the whole catalogue asks, in one script. The limit is what it costs to send: a TCP connection of Linux has
    brought 100 kB to the other side in its third round trip. Measured over SSH at a round trip of 50 ms, until the node
    has answered: 16 kB in 262 ms, 64 kB in 337, 96 kB in 363, 200 kB in 414; at 0.1 ms all of them in 50."""
    sources = load_sources()
    assert len(compose({name: [] for name in sources}, nonce=NONCE)) < 96_000
    assert len(compose({}, nonce=NONCE)) < 8_000


@pytest.mark.parametrize("nonce", ["", "short", "x; reboot", "ABCDEF0123", "0" * 65])
def test_a_nonce_is_digits(nonce: str) -> None:
    with pytest.raises(ValueError, match="hexadecimal"):
        compose({}, nonce=nonce)


@pytest.mark.parametrize("arg", ["a\nb", "a\0b", "\x1b[2J", "\u202e"])
def test_arguments_are_printable(arg: str) -> None:
    with pytest.raises(ValueError, match="cannot be sent"):
        compose({"sysctl": [arg]}, nonce=NONCE)


def test_an_unknown_source_is_refused() -> None:
    with pytest.raises(ValueError, match='no source "nod"; did you mean "node"'):
        compose({"nod": []}, nonce=NONCE)


def test_how_long_a_node_may_take(monkeypatch: pytest.MonkeyPatch) -> None:
    sources = [
        spec("a", "", timeout_s=30),
        spec("b", "", timeout_s=20, sample=True),
        *(spec(f"f{number}", "", timeout_s=5, lane="fast") for number in range(10)),
    ]
    monkeypatch.setattr(composing, "load_sources", lambda: {one.name: one for one in sources})
    assert probe_deadline_s([]) == composing.START_S
    assert probe_deadline_s(["a"]) == 30 + composing.GRACE_S + composing.START_S
    assert probe_deadline_s(["a", "b"], sample_s=60) == 80 + composing.GRACE_S + composing.START_S
    fast = [one.name for one in sources if one.lane == "fast"]
    assert probe_deadline_s(fast[:1]) == 5 + composing.GRACE_S + composing.START_S
    assert probe_deadline_s(fast) == composing.FAST_LANE_BUDGET_S + 5 + composing.GRACE_S + composing.START_S
    assert f"nd_limit={probe_deadline_s(fast)} ".encode() in compose({name: [] for name in fast}, nonce=NONCE)


def test_a_script_that_is_cut_anywhere_runs_nothing(node: FakeNode) -> None:
    script = script_of([spec("one", "nd_text ran yes")])
    cuts = [*range(0, len(script) - 10, len(script) // 25), *range(len(script) - 10, len(script) - 1)]
    for cut in cuts:
        done = subprocess.run(["sh"], input=script[:cut], env=node.env(), capture_output=True, check=False, timeout=20)
        assert done.stdout == b"", cut
    with Running(node, script) as running:
        assert running.finish().ending == "complete"


def test_a_second_reading_comes_after_the_time_asked_for(node: FakeNode) -> None:
    body = "nd_file /proc/uptime\nnd_pause\nnd_file /proc/uptime"
    with Running(node, script_of([spec("one", body, sample=True, timeout_s=1)], sample_s=2)) as running:
        reply = running.finish().source("one")
    assert reply.state == "ok", "its time is its own and the pause"
    first, second = (float(section.text.split()[0]) for section in reply.sections)
    assert 1.9 <= second - first < 3.5


def test_slow_sources_run_side_by_side(node: FakeNode) -> None:
    sources = [spec(f"s{number}", "sleep 1\nnd_text a b") for number in range(6)]
    began = time.monotonic()
    with Running(node, script_of(sources)) as running:
        found = running.finish()
    assert {reply.state for reply in found.sources.values()} == {"ok"}
    assert time.monotonic() - began < 3.0


def test_the_tool_for_whoever_writes_a_source(tmp_path: Path) -> None:
    path = _written(tmp_path, HEADER + 'nd_cmd printf "%s" "$1"\nnd_file /nowhere\n')
    argv = [sys.executable, "-m", "nodectl.probe", str(path), "hello"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "== good: ok" in done.stdout
    assert "-- cmd printf %s hello [rc 0]\nhello\n" in done.stdout
    assert "!! cat: /nowhere: No such file" in done.stdout
    done = subprocess.run([*argv[:3], "nodee"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert 'did you mean "node"' in done.stderr
