"""Stand-ins for nodes: this machine with dash, busybox or bash as its `sh`, and what a test does with them.

run_probe(node, sources)        the whole script, through a reader, to a transcript
Running(node, script)           the same in steps, in a session of its own, to be killed in the middle
left_behind(tag)                the processes that a probe has started and that still live
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from nodectl.model import Node, Reason, Unreachable
from nodectl.probe.compose import SourceSpec, compose
from nodectl.probe.framing import FrameReader
from nodectl.probe.transcript import Transcript
from nodectl.transport.base import Reply

NONCE = "00ff" * 8
SHELLS = ("dash", "busybox", "bash")


class FakeNode:
    """A machine whose `sh` is the shell named. With busybox every other command is busybox', too."""

    def __init__(self, shell: str, folder: Path) -> None:
        found = shutil.which(shell)
        if found is None:
            pytest.skip(f"{shell} is not installed: apt install {shell}")
        self.shell = shell
        self.folder = folder
        folder.mkdir()
        if shell == "busybox":
            applets = subprocess.run([found, "--list"], capture_output=True, text=True, check=True).stdout.split()
            for applet in applets:
                (folder / applet).symlink_to(found)
        else:
            (folder / "sh").symlink_to(found)

    def without(self, *commands: str) -> FakeNode:
        """The same node with only the commands of this one that are not named: nothing else is on its PATH."""
        other = FakeNode.__new__(FakeNode)
        other.shell, other.folder = self.shell, self.folder.with_name(f"{self.folder.name}-{secrets.token_hex(4)}")
        other.folder.mkdir()
        for place in (self.folder, Path("/usr/bin"), Path("/bin")):
            for command in place.iterdir():
                if command.name not in commands and not (other.folder / command.name).is_symlink():
                    (other.folder / command.name).symlink_to(command)
        other.only = True
        return other

    only = False

    def env(self, **more: str) -> dict[str, str]:
        path = str(self.folder) if self.only else f"{self.folder}:/usr/bin:/bin"
        return {"PATH": path, "HOME": "/nonexistent", **more}


def spec(name: str, body: str, *, timeout_s: int = 10, lane: str = "slow", sample: bool = False) -> SourceSpec:
    """A source of a test."""
    return SourceSpec(
        name=name,
        about="a test",
        timeout_s=timeout_s,
        lane=lane,
        root="no",
        sample=sample,
        body=body.strip("\n") + "\n",
    )


def script_of(specs: Sequence[SourceSpec], args: Mapping[str, Sequence[str]] | None = None, **options: int) -> bytes:
    wanted = {one.name: (args or {}).get(one.name, ()) for one in specs}
    return compose(wanted, nonce=NONCE, specs={one.name: one for one in specs}, **options)


class Running:
    """A script on its way through `sh` in a session of its own, as a login over SSH has it."""

    def __init__(self, node: FakeNode, script: bytes, argv: Sequence[str] = ("sh",), **popen: Any) -> None:
        self.tag = secrets.token_hex(8)
        self.reader = FrameReader(NONCE)
        self.process = subprocess.Popen(
            argv,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=node.env(ND_TEST_TAG=self.tag),
            **{"start_new_session": True, **popen},
        )
        assert self.process.stdin is not None
        self.process.stdin.write(script)
        self.process.stdin.close()

    def read_until(self, text: bytes) -> None:
        """Reads until the node has said this."""
        assert self.process.stdout is not None
        while text not in self.reader.transcript_wire():
            data = os.read(self.process.stdout.fileno(), 65536)
            assert data, f"the probe ended without saying {text!r}: {self.reader.transcript_wire()!r}"
            self.reader.feed(data)

    def finish(self, within_s: float = 60.0) -> Transcript:
        """Reads to the end, as a transport does, and stops when the reader has enough or it takes too long."""
        assert self.process.stdout is not None
        fd = self.process.stdout.fileno()
        os.set_blocking(fd, False)
        end = time.monotonic() + within_s
        reason = None
        while True:
            due_in_s = self.reader.due_in_s()
            if time.monotonic() > end or (due_in_s is not None and due_in_s <= 0):
                reason = Reason(Unreachable.TIMEOUT.value, "took too long")
                break
            with contextlib.suppress(BlockingIOError):
                data = os.read(fd, 65536)
                if not data or self.reader.feed(data):
                    break
                continue
            time.sleep(0.005)
        reply = Reply(reason=reason, reached=True)
        return Transcript.of_reply(
            Node(name="fake"), reply, self.reader, nonce=NONCE, started="2026-11-20T00:00:00Z", duration_ms=1
        )

    def close(self) -> None:
        """What a client does that goes away: the pipes are closed, nothing is killed."""
        for pipe in (self.process.stdout, self.process.stderr):
            if pipe is not None:
                pipe.close()

    def wait(self, within_s: float = 10.0) -> int:
        return self.process.wait(within_s)

    def __enter__(self) -> Running:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()
        for pid in left_behind(self.tag):
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait(10)


def run_probe(
    node: FakeNode, specs: Sequence[SourceSpec], args: Mapping[str, Sequence[str]] | None = None
) -> Transcript:
    with Running(node, script_of(specs, args)) as running:
        return running.finish()


def left_behind(tag: str) -> list[int]:
    """Living processes that have the tag in their environment; what has ended and awaits its parent is not counted."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        with contextlib.suppress(OSError):
            state = (entry / "stat").read_bytes().rpartition(b")")[2].split()[0]
            if tag.encode() in (entry / "environ").read_bytes() and state not in (b"Z", b"X"):
                found.append(int(entry.name))
    return found


def command_lines(tag: str) -> dict[int, bytes]:
    """What a probe has running: process id and command line, arguments separated by NUL."""
    found = {}
    for pid in left_behind(tag):
        with contextlib.suppress(OSError):
            found[pid] = Path(f"/proc/{pid}/cmdline").read_bytes()
    return found


def gone_within(tag: str, seconds: float) -> bool:
    """All of them have ended in time."""
    end = time.monotonic() + seconds
    while left_behind(tag):
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True
