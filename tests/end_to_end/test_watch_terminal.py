"""`nodectl watch` on a real terminal: what is seen, keys, a new size, and that the terminal is as it was afterwards."""

from __future__ import annotations

import fcntl
import os
import re
import signal
import struct
import sys
import termios
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from made_up_run import write_run
from terminal import CTRL_C, Terminal

_MOVE = re.compile(r"\x1b\[([0-9;?]*)([A-Za-z])|([^\x1b]+)")
ENTER, LEAVE = "\x1b[?1049h", "\x1b[?1049l"
SHOW_CURSOR = "\x1b[?25h"


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_run(tmp_path_factory.mktemp("run") / "run.ndtel"))


def environment(home: Path, **more: str) -> dict[str, str]:
    drop = ("NODECTL_HOSTS", "NO_COLOR", "FORCE_COLOR", "COLORTERM", "COLUMNS", "LINES")
    kept = {key: value for key, value in os.environ.items() if key not in drop}
    return {**kept, "HOME": str(home), "TERM": "xterm-256color", **more}


def watch(recording: str, *options: str) -> tuple[str, ...]:
    return (sys.executable, "-m", "nodectl", "watch", "--replay", recording, *options)


def screen(text: str) -> list[str]:
    """What stands on the alternate screen: only what this program writes is understood."""
    lines: dict[int, str] = {}
    row = column = 0
    for numbers, command, plain in _MOVE.findall(text.rpartition(ENTER)[2].partition(LEAVE)[0]):
        if command == "H":
            row, column = [int(number or 1) - 1 for number in (numbers or "1;1").split(";")]
        elif command == "J":
            lines = {}
        elif command == "K":
            lines[row] = lines.get(row, "")[:column]
        elif command:
            assert command in "mhl", (numbers, command)
        else:
            assert plain.isprintable(), repr(plain)
            before = lines.get(row, "").ljust(column)
            lines[row] = before[:column] + plain + before[column + len(plain) :]
            column += len(plain)
    return [lines.get(number, "").rstrip() for number in range(max(lines, default=-1) + 1)]


def resize(terminal: Terminal, columns: int, lines: int) -> None:
    fcntl.ioctl(terminal.master, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))


def until(terminal: Terminal, seen: Callable[[list[str]], bool]) -> list[str]:
    terminal.wait_for(lambda text: seen(screen(text)))
    return screen(terminal.text)


def test_start_keys_resize_and_leaving(recording: str, tmp_path: Path) -> None:
    with Terminal(watch(recording, "--by", "gpu"), environment(tmp_path)) as terminal:
        found = until(terminal, lambda lines: any(" gpu-02 " in line for line in lines))
        assert found[0].startswith("nodectl watch  3 nodes  4 GPUs")
        assert len(found) == 24 and all(len(line) <= 80 for line in found)
        assert found[-1].startswith(" q quit") and found[-1].endswith("4 rows")
        assert " @ gpu-03  retry  timeout: connecting took longer than 10 s" in found
        terminal.press(b"p")
        until(terminal, lambda lines: "PAUSED" in lines[0])
        terminal.press(b"p")
        until(terminal, lambda lines: "PAUSED" not in lines[0])
        before = terminal.text.count("\x1b[2J")
        resize(terminal, 60, 15)
        found = until(terminal, lambda lines: len(lines) == 15)
        assert terminal.text.count("\x1b[2J") == before + 1
        assert all(len(line) <= 60 for line in found)
        resize(terminal, 40, 6)
        found = until(terminal, lambda lines: len(lines) == 6)
        assert " of 3 " in found[0] and found[-1].endswith("1-3 of 4")
        terminal.press(b"\x1b[B")
        until(terminal, lambda lines: lines[-1].endswith("2-4 of 4"))
        terminal.press(b"g")
        until(terminal, lambda lines: lines[-1].endswith("1-3 of 4"))
        terminal.press(b"\x1b[6~")
        until(terminal, lambda lines: lines[-1].endswith("2-4 of 4"))
        resize(terminal, 120, 40)
        until(terminal, lambda lines: len(lines) == 40 and any("PCIE-RX" in line for line in lines))
        assert not terminal.is_sane  # no echo meanwhile
        terminal.press(b"q")
        assert terminal.finish(10) == 3
        assert terminal.is_sane
        assert terminal.text.count(ENTER) == terminal.text.count(LEAVE) == 1
        assert terminal.text.rfind(SHOW_CURSOR) > terminal.text.rfind("\x1b[?25l")


@pytest.mark.parametrize(
    ("end", "code"),
    [
        (lambda terminal: terminal.press(CTRL_C), 130),
        (lambda terminal: terminal.process.send_signal(signal.SIGTERM), 143),
    ],
)
def test_the_terminal_is_restored_however_it_ends(
    recording: str, tmp_path: Path, end: Callable[[Terminal], None], code: int
) -> None:
    with Terminal(watch(recording), environment(tmp_path)) as terminal:
        until(terminal, lambda lines: len(lines) == 24)
        began = time.monotonic()
        end(terminal)
        assert terminal.finish(10) == code
        assert time.monotonic() - began < 3
        assert terminal.is_sane
        assert terminal.text.rstrip().endswith(LEAVE)
        assert "Traceback" not in terminal.text


def test_an_exception_restores_the_terminal_too(recording: str, tmp_path: Path) -> None:
    program = (
        "import sys; from nodectl.cli.watching import screen\n"
        "def broken(*a, **k): raise RuntimeError('a fault')\n"
        "screen.screen_lines = broken\n"
        "from nodectl.cli.main import run\n"
        f"sys.exit(run(['watch', '--replay', {recording!r}]))"
    )
    with Terminal((sys.executable, "-c", program), environment(tmp_path, TMPDIR=str(tmp_path))) as terminal:
        assert terminal.finish(20) == 4
        assert terminal.is_sane
        assert terminal.text.index(LEAVE) < terminal.text.index("internal error: RuntimeError: a fault")


def test_ctrl_z_gives_the_terminal_back_and_fg_takes_it_again(recording: str, tmp_path: Path) -> None:
    with Terminal(watch(recording), environment(tmp_path)) as terminal:
        until(terminal, lambda lines: len(lines) == 24)
        terminal.process.send_signal(signal.SIGTSTP)
        terminal.wait_for(lambda text: text.endswith(LEAVE))
        assert terminal.is_sane
        while psutil.Process(terminal.process.pid).status() != psutil.STATUS_STOPPED:
            time.sleep(0.01)
        terminal.process.send_signal(signal.SIGCONT)
        terminal.wait_for(lambda text: text.count(ENTER) == 2)
        until(terminal, lambda lines: len(lines) == 24)
        terminal.press(b"q")
        assert terminal.finish(10) == 3
        assert terminal.is_sane


def test_alerts_are_on_the_screen_and_said_afterwards(recording: str, tmp_path: Path) -> None:
    with Terminal(watch(recording, "--alert", "temp > 85", "--speed", "5"), environment(tmp_path)) as terminal:
        until(terminal, lambda lines: any(line.startswith("ALERT temp > 85: gpu-02 GPU 1") for line in lines))
        until(terminal, lambda lines: any("the recording is over" in line for line in lines))
        terminal.press(b"q")
        assert terminal.finish(10) == 1
        after = terminal.text.rpartition(LEAVE)[2]
        assert "nodectl: alert: temp > 85: gpu-02 GPU 1 (temperature_c 91)" in after
        assert "alert over: temp > 85" in after


def test_little_is_sent_where_little_changes(recording: str, tmp_path: Path) -> None:
    with Terminal(watch(recording, "--speed", "0.01"), environment(tmp_path)) as terminal:
        until(terminal, lambda lines: any("gpu-03" in line for line in lines))
        sent = len(terminal.data)
        end = time.monotonic() + 3
        while time.monotonic() < end:
            terminal._read(0.1)
        assert len(terminal.data) - sent < 3000
        terminal.press(b"q")
        terminal.finish(10)


def test_no_colour_where_none_is_wanted(recording: str, tmp_path: Path) -> None:
    for more, coloured in (({"NO_COLOR": "1"}, False), ({}, True)):
        with Terminal(watch(recording), environment(tmp_path, **more)) as terminal:
            until(terminal, lambda lines: len(lines) == 24)
            terminal.press(b"q")
            assert terminal.finish(10) == 3
            assert bool(re.search(r"\x1b\[[0-9;]*[1-9][0-9;]*m", terminal.text)) is coloured


def test_a_dumb_terminal_gets_one_plain_table(recording: str, tmp_path: Path) -> None:
    with Terminal(watch(recording, "--speed", "100"), environment(tmp_path, TERM="dumb")) as terminal:
        assert terminal.finish(20) in (0, 3)
    assert "\x1b" not in terminal.text
    assert "nodectl watch  3 nodes" in terminal.text
