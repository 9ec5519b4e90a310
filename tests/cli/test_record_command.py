"""`nodectl record` as a program: it ends when it is told to, and the file is good however it ends."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from nodectl.errors import UserError
from nodectl.telemetry.record import Replay

RECORD = (sys.executable, "-m", "nodectl", "record")
ENV = {key: value for key, value in os.environ.items() if not key.startswith("NODECTL_")}


def record(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*RECORD, *words], capture_output=True, text=True, env=ENV, timeout=60, check=False)


def begun(path: Path, *words: str) -> subprocess.Popen[str]:
    """A recording of this machine that has samples in its file."""
    child = subprocess.Popen(
        [*RECORD, "-H", "localhost", "--interval", "0.2s", "-o", str(path), *words],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=ENV,
    )  # fmt: skip
    end = time.monotonic() + 30
    while time.monotonic() < end and ticks(path) < 3:
        assert child.poll() is None, child.stderr.read() if child.stderr else ""
        time.sleep(0.2)
    return child


def ticks(path: Path) -> int:
    try:
        with Replay(path) as replay:
            return sum(b'"k":"t"' in found.data for found in replay.records())
    except UserError:
        return 0  # there is nothing in it yet


def test_for_a_while(tmp_path: Path) -> None:
    path = tmp_path / "run.ndtel"
    done = record("-H", "localhost", "-o", str(path), "--duration", "3s", "--interval", "0.2s")
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    (said,) = done.stderr.splitlines()
    assert said.startswith("nodectl: 1 of 1 nodes in ")
    assert said.endswith(f"nodectl watch --replay {path}")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with Replay(path, speed=1e6) as replay:
        store = replay.store()
        assert replay.nodes == ("localhost",)
        while not replay.done:
            replay.advance(store)
        node = store.nodes["localhost"]
        assert node.host is not None
        assert node.host[1] is not None
        assert 0 < node.host[1] < 100  # memory in use, in percent


@pytest.mark.parametrize(
    ("words", "number", "code"),
    [([], signal.SIGINT, 0), ([], signal.SIGTERM, 0), (["--duration", "1h"], signal.SIGINT, 130)],
)
def test_ctrl_c_ends_it_with_a_whole_file(tmp_path: Path, words: list[str], number: int, code: int) -> None:
    path = tmp_path / "run.ndtel"
    child = begun(path, *words)
    child.send_signal(number)
    out, err = child.communicate(timeout=20)
    assert (child.returncode, out) == (code, ""), err
    assert "1 of 1 nodes" in err
    assert "Traceback" not in err
    with Replay(path) as replay:
        assert replay.problem == ""
        assert sum(1 for _ in replay.records()) == int(err.split(" records")[0].rsplit(" ", 1)[1])


def test_a_kill_leaves_what_came_until_then(tmp_path: Path) -> None:
    path = tmp_path / "run.ndtel"
    child = begun(path)
    child.kill()
    child.communicate(timeout=20)
    assert ticks(path) >= 3


def test_a_node_that_is_not_there_is_said(tmp_path: Path) -> None:
    path = tmp_path / "run.ndtel"
    done = record("-H", "localhost,127.0.0.1:9", "-o", str(path), "--duration", "3s")
    assert done.returncode == 3, done.stderr
    first, last = done.stderr.splitlines()
    assert first.startswith("nodectl: not recorded: 127.0.0.1")
    assert "refused" in first
    assert "1 of 2 nodes" in last


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "Missing option '-o'"),
        (["-o", "x.ndtel"], "no nodes"),
        (["-o", "/no/such/folder/x.ndtel", "-H", "localhost"], "cannot be written"),
        (["-o", "x", "-H", "localhost", "--interval", "1ms"], "this interval cannot be"),
        (["-o", "x", "-H", "localhost", "--duration", "0s"], "say 90s, 10m, 8h or 3d"),
        (["-o", "x", "-H", "localhost", "--max-size", "10k"], "say 100M or 2G"),
    ],
)
def test_what_a_person_gets_wrong(words: list[str], said: str) -> None:
    done = record(*words)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr


def test_a_file_that_is_there_stays(tmp_path: Path) -> None:
    path = tmp_path / "run.ndtel"
    path.write_text("mine")
    done = record("-H", "localhost", "-o", str(path), "--duration", "1s")
    assert done.returncode == 2
    assert "--overwrite" in done.stderr
    assert path.read_text() == "mine"
