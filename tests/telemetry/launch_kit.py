"""Nodes without python3 for the launch script: a folder of commands for each shell and awk, and channels to them."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import re
import secrets
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from nodectl.telemetry.launch import LaunchOptions, launch_script

SHELLS = ("dash", "bash", "busybox")
# What a node without python3 still has.
COMMANDS = ("cat", "date", "getconf", "getent", "nice", "ps", "sed", "setsid", "sleep", "sort", "tr")
HERE = Path(__file__).resolve().parent


class BareNode:
    """This machine seen through a PATH with one shell, one awk and a few commands: no python3, and `/` moved to `root`.

    Args:
        shell: dash, bash or busybox (then every command is busybox').
        awk: path of another awk than the shell's own or the system's.
    """

    def __init__(self, shell: str, folder: Path, awk: str = "") -> None:
        found = shutil.which(shell)
        if found is None:
            pytest.skip(f"{shell} is not installed: apt install {shell}")
        self.bin, self.root = folder / "bin", folder / "root"
        self.tag = secrets.token_hex(8)
        self.bin.mkdir(parents=True)
        self.root.mkdir()
        (self.root / "proc").symlink_to("/proc")
        (self.root / "sys").symlink_to("/sys")
        if shell == "busybox":
            for applet in subprocess.run([found, "--list"], capture_output=True, text=True, check=True).stdout.split():
                (self.bin / applet).symlink_to(found)
        else:
            (self.bin / "sh").symlink_to(found)
            for name in (*COMMANDS, "awk"):
                place = shutil.which(name)
                if place is not None:
                    (self.bin / name).symlink_to(place)
        if awk:
            (self.bin / "awk").unlink()
            (self.bin / "awk").symlink_to(awk)

    @property
    def env(self) -> dict[str, str]:
        return {"PATH": str(self.bin), "HOME": "/nonexistent", "ND_TEST_TAG": self.tag}

    def own_sys(self) -> Path:
        """A `sys` of its own for this node, empty."""
        (self.root / "sys").unlink()
        (self.root / "sys").mkdir()
        return self.root / "sys"

    def script(self, interval_s: float = 0.2, backend: str = "auto", **options: Any) -> bytes:
        return launch_script(interval_s, LaunchOptions(backend=backend, root=str(self.root), **options))

    def start(self, script: bytes, argv: Sequence[str] = ("sh",), **popen: Any) -> Channel:
        return Channel([str(self.bin / argv[0]), *argv[1:]], script, self.env, **popen)

    def alive(self) -> list[str]:
        """Command lines of everything that this node's scripts have started and that still runs."""
        return living(self.tag)

    def smi(self, **state: Any) -> FakeSmi:
        return FakeSmi(self.bin, state)


class FakeSmi:
    """The node's nvidia-smi: see fake_smi.py."""

    def __init__(self, folder: Path, state: dict[str, Any]) -> None:
        self._state_file = folder / "state.json"
        self._calls = folder / "calls"
        self.state: dict[str, Any] = {"help": state.get("columns", []), **state}
        self.change()
        script = folder / "nvidia-smi"
        script.write_text(f"#!{os.path.realpath(sys.executable)} -IS\n" + (HERE / "fake_smi.py").read_text())
        script.chmod(0o755)

    def change(self, **state: Any) -> None:
        self.state.update(state)
        fresh = self._state_file.with_suffix(".new")
        fresh.write_text(json.dumps(self.state))
        fresh.replace(self._state_file)

    @property
    def calls(self) -> list[str]:
        return self._calls.read_text().splitlines() if self._calls.exists() else []


def recorded(path: Path) -> dict[str, Any]:
    """columns and rows of a recorded `nvidia-smi --query-gpu=... --format=csv`, without the units."""
    lines = path.read_text().splitlines()
    columns = [re.sub(r" \[.*\]$", "", cell) for cell in lines[0].split(", ")]
    units = (" %", " W", " MHz", " MiB", " us", " ms")
    rows = []
    for line in lines[1:]:
        cells = line.split(", ")
        if len(cells) >= len(columns):
            rows.append([next((cell[: -len(unit)] for unit in units if cell.endswith(unit)), cell) for cell in cells])
    # Two identical GPUs in a recording that was made anonymous are told apart again.
    uuid = columns.index("uuid")
    for number, row in enumerate(rows):
        row[uuid] = f"GPU-{number:08x}" + row[uuid][12:]
    return {"columns": columns, "rows": rows}


class Channel:
    """A running script: its standard input is open until `close`, its lines come into a queue."""

    def __init__(self, argv: Sequence[str], script: bytes, env: dict[str, str], **popen: Any) -> None:
        self.process = subprocess.Popen(
            argv,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=env,
            **{"start_new_session": True, **popen},
        )
        self.lines: queue.Queue[bytes | None] = queue.Queue()
        self.seen: list[dict[str, Any]] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        assert self.process.stdin is not None
        self.process.stdin.write(script)
        self.process.stdin.flush()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.put(line)
        self.lines.put(None)

    def until(self, wanted: Callable[[dict[str, Any]], bool] | str, within_s: float = 20.0) -> dict[str, Any]:
        """The first message that is wanted (a kind, or a test of it). Every line must be a message before that."""
        end = time.monotonic() + within_s
        while (left := end - time.monotonic()) > 0:
            with contextlib.suppress(queue.Empty):
                line = self.lines.get(timeout=left)
                if line is None:
                    break
                message = checked(line)
                self.seen.append(message)
                if message["k"] == wanted if isinstance(wanted, str) else wanted(message):
                    return message
        raise AssertionError(f"did not come: {self.seen}")

    def rest(self, within_s: float = 20.0) -> list[dict[str, Any]]:
        """All that comes until the end of the stream."""
        end = time.monotonic() + within_s
        while True:
            line = self.lines.get(timeout=max(0.01, end - time.monotonic()))
            if line is None:
                return self.seen
            self.seen.append(checked(line))

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()

    def __enter__(self) -> Channel:
        return self

    def __exit__(self, *error: object) -> None:
        with contextlib.suppress(OSError):
            self.close()
        with contextlib.suppress(OSError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(5)
        self._reader.join(5)
        for pipe in (self.process.stdout, self.process.stderr):
            assert pipe is not None
            pipe.close()


def checked(line: bytes) -> dict[str, Any]:
    """A line as JSON, read strictly, and as the message that nodectl makes of it."""
    from nodectl.telemetry.decode import decode

    def refuse(word: str) -> None:
        raise ValueError(f"{word} is no JSON")

    assert line.endswith(b"\n")
    message = json.loads(line.decode("ascii"), parse_constant=refuse)
    assert isinstance(message, dict)
    decode(line)
    return message


def living(tag: str) -> list[str]:
    """Command lines of the processes that have this tag in their environment."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit() and int(folder.name) != os.getpid():
            with contextlib.suppress(OSError):
                if f"ND_TEST_TAG={tag}".encode() in (folder / "environ").read_bytes():
                    found.append((folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()[:100])
    return found


def gone(tag: str, within_s: float = 8.0) -> list[str]:
    """What of a tag is still alive when the time is up; empty as soon as nothing is."""
    end = time.monotonic() + within_s
    while (alive := living(tag)) and time.monotonic() < end:
        time.sleep(0.05)
    return alive


@contextlib.contextmanager
def nothing_left(tag: str, within_s: float = 8.0) -> Iterator[None]:
    """A block after which nothing with this tag may live."""
    yield
    alive = gone(tag, within_s)
    assert not alive, f"still alive: {alive}"
