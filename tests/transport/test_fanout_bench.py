"""The fan-out benchmark still runs (its figures are for people to read)."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from sshd import find_sshd

PROGRAM = Path(__file__).resolve().parents[1] / "bench" / "fanout" / "run.py"


@pytest.mark.parametrize("workload", ["script", "probe"])
def test_it_reaches_every_host(workload: str, tmp_path: Path) -> None:
    find_sshd()
    if shutil.which("cc") is None and shutil.which("gcc") is None:
        pytest.skip("no C compiler on this machine: install gcc and libc6-dev")
    options = [
        "--hosts",
        "3",
        "--repeat",
        "1",
        "--workload",
        workload,
        "--peers",
        "nodectl",
        "--json",
        str(tmp_path / "r"),
    ]
    done = subprocess.run(
        [sys.executable, str(PROGRAM), *options], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "nodectl       3" in done.stdout
    assert (tmp_path / "r").read_text().startswith('{"hosts":3')
