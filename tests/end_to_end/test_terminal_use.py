"""`nodectl check` on a real terminal: progress, colour, width, and ctrl-c."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil
import pytest
from broken_gpus import FAULTS, RECORDED
from cluster import NODECTL, Cluster
from terminal import CTRL_C, Terminal, is_reset_at_the_end, seen

from nodectl.demo.recording import RECORDED_AT_S, UPTIME_S, read_sections
from nodectl.probe.transcript import Section, write_transcript

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the probe's sources are for Linux")

LOCAL = (*NODECTL, "check", "-H", "localhost", "--only", "kernel.*,limits.*")
PROGRESS = re.compile(r"\d+/\d+ nodes")
COLOUR = re.compile(r"\x1b\[[0-9;]+m")


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """Transcripts of recorded nodes, of which one has a driver that does not answer."""
    folder = tmp_path / "saved"
    folder.mkdir()
    healthy: Mapping[str, Any] = {path.stem: read_sections(path) for path in sorted(RECORDED.glob("*.txt"))}
    answers = FAULTS["mismatch"].smi
    assert answers is not None
    said = dict(answers())  # type: ignore[arg-type]
    broken = {"nvidia_smi_q": [Section("cmd", "nvidia-smi -q -x", said["-q -x"], "", 18)]}
    for number in range(1, 13):
        sources = {**healthy, **(broken if number % 2 else {})}
        node = write_transcript(sources, node=f"gpu{number:03}-rack7", epoch_s=RECORDED_AT_S, uptime_s=UPTIME_S)
        node.declared = {"expect": {"gpus": 9}}
        node.save(folder)
    return folder


def environment(home: Path, **more: str) -> dict[str, str]:
    """Of a person at a terminal with 256 colours."""
    import os

    drop = ("NODECTL_HOSTS", "NO_COLOR", "FORCE_COLOR", "COLORTERM", "COLUMNS", "LINES")
    kept = {key: value for key, value in os.environ.items() if key not in drop}
    return {**kept, "HOME": str(home), "TERM": "xterm-256color", **more}


def test_progress_comes_on_stderr_and_goes_again(tmp_path: Path) -> None:
    with Terminal(LOCAL, environment(tmp_path), stdout=False) as terminal:
        assert terminal.process.stdout is not None
        report = terminal.process.stdout.read().decode()
        assert terminal.finish() in (0, 1, 3)
    assert PROGRESS.search(terminal.text)
    assert "0/1 nodes" in terminal.text
    assert "".join(terminal.lines()) == ""
    assert re.search(r"^1 node ", report, re.MULTILINE)
    assert "\x1b" not in report and "\r" not in report
    assert not PROGRESS.search(report)


def test_no_progress_where_stderr_is_no_terminal(tmp_path: Path) -> None:
    with Terminal(LOCAL, environment(tmp_path), stderr=False) as terminal:
        assert terminal.process.stderr is not None
        said = terminal.process.stderr.read()
        terminal.finish()
    assert said == b""
    assert not PROGRESS.search(terminal.text)
    assert COLOUR.search(terminal.text)


def test_report_and_progress_on_one_terminal(tmp_path: Path) -> None:
    with Terminal(LOCAL, environment(tmp_path)) as terminal:
        assert terminal.finish() in (0, 1, 3)
        assert terminal.is_sane
    lines = terminal.written_lines()
    assert PROGRESS.search(terminal.text)
    assert not any(PROGRESS.search(line) for line in lines)
    assert any(re.match(r"1 node ", line) for line in lines)
    assert max(map(len, lines)) <= 80
    assert COLOUR.search(terminal.text)
    assert is_reset_at_the_end(terminal.text)


@pytest.mark.parametrize("more", [{"NO_COLOR": "1"}, {"TERM": "dumb"}], ids=["NO_COLOR", "dumb"])
def test_no_escapes_for_who_wants_none(tmp_path: Path, saved: Path, more: dict[str, str]) -> None:
    for argv in (LOCAL, (*NODECTL, "check", "--from", str(saved))):
        with Terminal(argv, environment(tmp_path, **more)) as terminal:
            terminal.finish()
        assert "\x1b" not in terminal.text
        assert PROGRESS.search(terminal.text) is None or "TERM" not in more
        assert not any(PROGRESS.search(line) for line in terminal.lines())


def test_sixteen_colours_where_there_are_no_more(tmp_path: Path, saved: Path) -> None:
    argv = (*NODECTL, "check", "--from", str(saved))
    found = {}
    for term in ("xterm", "xterm-256color"):
        with Terminal(argv, environment(tmp_path, TERM=term)) as terminal:
            assert terminal.finish() == 1
        found[term] = terminal
    assert "38;5;" in found["xterm-256color"].text
    assert "38;5;" not in found["xterm"].text
    assert "\x1b[1;31m" in found["xterm"].text
    assert found["xterm"].lines() == found["xterm-256color"].lines()


@pytest.mark.parametrize("columns", [80, 132])
@pytest.mark.parametrize("words", [(), ("-v",), ("-p", "blackwell-finetune")], ids=["short", "verbose", "long profile"])
def test_the_width_of_the_window_is_kept(tmp_path: Path, saved: Path, columns: int, words: tuple[str, ...]) -> None:
    argv = (*NODECTL, "check", "--from", str(saved), *words)
    with Terminal(argv, environment(tmp_path), columns=columns) as terminal:
        assert terminal.finish() == 1
    lines = terminal.written_lines()
    assert [line for line in lines if len(line) > columns and "://" not in line] == []
    assert any(len(line) > columns * 3 // 4 for line in lines), "as wide as there is room"
    assert "gpu[001,003,005,007,009,011]-rack7" in "".join(lines)


def test_the_report_ends_where_a_person_looks(tmp_path: Path, saved: Path) -> None:
    with Terminal((*NODECTL, "check", "--from", str(saved)), environment(tmp_path)) as terminal:
        terminal.finish()
    last = [line for line in terminal.lines() if line][-2:]
    assert last[0].startswith("12 nodes  X 12 failed")
    assert "checks (default)" in last[1]


def test_ctrl_c_with_a_hanging_node(cluster: Cluster) -> None:
    cluster.add("fine")
    cluster.add("hangs", options={"ForceCommand": "sleep 600"})
    cluster.fleet.start()
    env = environment(cluster.folder)
    with Terminal(cluster.argv("check", "--only", "kernel.*"), env) as terminal:
        terminal.wait_for(lambda text: re.search(r"1/2 nodes  [.i!X?] 1  [1-9] s", text) is not None)
        children = psutil.Process(terminal.process.pid).children(recursive=True)
        begun = time.monotonic()
        terminal.press(CTRL_C)
        assert terminal.finish(timeout_s=10) == 130
        took_s = time.monotonic() - begun
        assert terminal.is_sane
    assert took_s < 1.0
    lines = terminal.lines()
    assert not any(PROGRESS.search(line) for line in lines)
    assert not any("^C" in line for line in lines)
    assert "Traceback" not in terminal.text
    assert "interrupted: this report is partial" in lines
    assert any(line.strip().startswith("hangs") for line in lines)
    assert is_reset_at_the_end(terminal.text)
    assert not [child for child in children if child.is_running()]


def test_ctrl_c_before_anything_has_come(cluster: Cluster) -> None:
    cluster.add("hangs", options={"ForceCommand": "sleep 600"})
    cluster.fleet.start()
    env = environment(cluster.folder)
    with Terminal(cluster.argv("check", "--only", "kernel.*"), env) as terminal:
        terminal.wait_for(lambda text: "0/1 nodes" in text)
        begun = time.monotonic()
        terminal.press(CTRL_C)
        assert terminal.finish(timeout_s=10) == 130
        assert time.monotonic() - begun < 1.0
        assert terminal.is_sane
    assert not any(PROGRESS.search(line) for line in terminal.lines())
    assert "Traceback" not in terminal.text


def test_ctrl_c_while_collecting_keeps_what_has_come(cluster: Cluster, tmp_path: Path) -> None:
    cluster.add("fine")
    cluster.add("hangs", options={"ForceCommand": "sleep 600"})
    cluster.fleet.start()
    argv = cluster.argv("collect", "--only", "kernel.*", "-o", str(tmp_path / "kept"))
    with Terminal(argv, environment(cluster.folder)) as terminal:
        terminal.wait_for(lambda text: "1/2 nodes" in text)
        terminal.press(CTRL_C)
        assert terminal.finish(timeout_s=10) == 130
        assert terminal.is_sane
    assert sorted(path.name for path in (tmp_path / "kept").iterdir()) == ["fine.ndt", "hangs.ndt"]
    assert not any(PROGRESS.search(line) for line in terminal.lines())
    assert any(line.startswith("nodectl: 2 transcripts in ") for line in terminal.lines())


def test_leaning_on_ctrl_c_is_as_good_as_once(cluster: Cluster) -> None:
    cluster.add("hangs", options={"ForceCommand": "sleep 600"})
    cluster.fleet.start()
    env = environment(cluster.folder)
    with Terminal(cluster.argv("check", "--only", "kernel.*"), env) as terminal:
        terminal.wait_for(lambda text: "0/1 nodes" in text)
        for _ in range(3):
            terminal.press(CTRL_C)
            time.sleep(0.02)
        assert terminal.finish(timeout_s=10) == 130
        assert terminal.is_sane
    assert "Traceback" not in terminal.text
    assert "interrupted: this report is partial" in terminal.lines()
    assert "1 node  @ 1 unreachable" in terminal.lines(), "no node is lost by it"


def test_what_is_seen_is_what_is_left() -> None:
    assert seen("0/2 nodes\r\x1b[K1/2\r\x1b[K\x1b[1mdone\x1b[0m\nab\rc", 80) == ["done", "cb"]
    assert seen("1/2^C\r   \r", 4) == ["1/2^", "   "]
    with pytest.raises(AssertionError):
        seen("\x1b[2J", 80)
