"""The benchmark of streams still runs (its figures are for people to read)."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from sshd import find_sshd

PROGRAM = Path(__file__).resolve().parents[1] / "bench" / "telemetry" / "streams.py"


def test_all_nodes_stay_live() -> None:
    find_sshd()
    if shutil.which("cc") is None:
        pytest.skip("no C compiler on this machine: install gcc and libc6-dev")
    options = ["--real", "3", "--simulated", "20", "--seconds", "1"]
    done = subprocess.run(
        [sys.executable, str(PROGRAM), *options], capture_output=True, text=True, timeout=90, check=False
    )
    assert done.returncode == 0, done.stderr
    assert [line.split("  ")[0] for line in done.stdout.splitlines()[2:-1]] == [
        "ssh", "ssh + store", "floor", "reader + store"
    ]  # fmt: skip
    assert "LOST" not in done.stdout
