"""Running the demo as its user does: as a program of its own, in a folder that must be empty again at the end."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import psutil


class Finished(NamedTuple):
    """What a run has left: `took_s` is its wall time."""

    code: int
    out: str
    err: str
    took_s: float

    @property
    def report(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.out)
        return found


class Runner:
    """Runs nodectl in a session of its own, with no home and nothing of the tester's environment."""

    def __init__(self, folder: Path) -> None:
        self.temporary = folder / "tmp"
        self.temporary.mkdir()
        self.env = {"PATH": os.environ["PATH"], "TMPDIR": str(self.temporary), "HOME": str(folder / "nowhere")}
        self.env["PYTHONPATH"] = str(Path(__file__).resolve().parents[2])
        self.sessions: list[int] = []

    def start(self, *args: str, code: str = "", **options: Any) -> subprocess.Popen[str]:
        """Starts `nodectl ARGS`; with `code`, Python that is run first in its process."""
        script = f"import sys\n{code}\nfrom nodectl.__main__ import main\nmain()"
        env = {**self.env, **options.pop("env", {})}
        child = subprocess.Popen(
            [sys.executable, "-c", script, *args],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            env={key: value for key, value in env.items() if value is not None},
            **options,
        )
        self.sessions.append(child.pid)
        return child

    def run(self, *args: str, code: str = "", **options: Any) -> Finished:
        begun = time.monotonic()
        child = self.start(*args, code=code, **options)
        out, err = child.communicate(timeout=60)
        return Finished(child.returncode, out, err, time.monotonic() - begun)

    def left_behind(self) -> list[str]:
        """Files and processes that a run should have taken with it."""
        left = [path.name for path in self.temporary.iterdir()]
        for pid in psutil.pids():
            try:
                if pid not in self.sessions and os.getsid(pid) in self.sessions:
                    left.append(f"process {pid} {psutil.Process(pid).cmdline()}")
            except (OSError, psutil.Error):
                continue
        return left
