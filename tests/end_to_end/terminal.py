"""A program on a real pseudo-terminal, and what a person would see there."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType

_TOKEN = re.compile(r"\x1b\[([0-9;]*)([A-Za-z])|(\r|\n|\x08)|(.)", re.DOTALL)
CTRL_C = b"\x03"


class Terminal:
    """Runs a program with a terminal of its own. Use as a context manager; the program is killed at the end.

    Args:
        stdout, stderr: whether that stream is the terminal; else it is a pipe.
    """

    def __init__(
        self,
        argv: Sequence[str],
        env: Mapping[str, str],
        *,
        columns: int = 80,
        lines: int = 24,
        stdout: bool = True,
        stderr: bool = True,
    ) -> None:
        self.master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        self.before = termios.tcgetattr(slave)
        self._slave = slave
        self.columns, self.data = columns, b""
        self.process = subprocess.Popen(
            argv,
            stdin=slave,
            stdout=slave if stdout else subprocess.PIPE,
            stderr=slave if stderr else subprocess.PIPE,
            env=env,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )

    def __enter__(self) -> Terminal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            self.process.kill()
        for stream in (self.process.stdout, self.process.stderr):
            if stream:
                stream.close()
        self.process.wait()
        os.close(self._slave)
        os.close(self.master)

    def wait_for(self, seen: Callable[[str], bool], timeout_s: float = 30) -> None:
        """Read until what has come so far satisfies `seen`."""
        end = time.monotonic() + timeout_s
        while not seen(self.text):
            if not self._read(min(0.1, end - time.monotonic())) and time.monotonic() > end:
                raise AssertionError(f"not seen in {timeout_s} s; on the terminal was {self.text[-2000:]!r}")

    def press(self, keys: bytes) -> None:
        os.write(self.master, keys)

    def finish(self, timeout_s: float = 30) -> int:
        """Read until the program has ended and nothing is left; its exit code."""
        end = time.monotonic() + timeout_s
        while self.process.poll() is None:
            if time.monotonic() > end:
                raise AssertionError(f"still running after {timeout_s} s; on the terminal was {self.text[-2000:]!r}")
            self._read(0.02)
        while self._read(0.05):
            pass
        return self.process.returncode

    def _read(self, wait_s: float) -> bool:
        if not select.select([self.master], [], [], max(0.0, wait_s))[0]:
            return False
        data = os.read(self.master, 65536)
        self.data += data
        return bool(data)

    @property
    def text(self) -> str:
        return self.data.decode("utf-8", "replace")

    @property
    def is_sane(self) -> bool:
        """The settings of the terminal are those from before the program."""
        return bool(termios.tcgetattr(self._slave) == self.before)

    def lines(self) -> list[str]:
        """The lines that stand on the screen and above it; those that are too long go on in the next."""
        return [line.rstrip() for line in seen(self.text, self.columns)]

    def written_lines(self) -> list[str]:
        """The same as they were written, however long."""
        return [line.rstrip() for line in seen(self.text, sys.maxsize)]


def seen(text: str, columns: int) -> list[str]:
    """What is left of a text after carriage returns and erasures in a window of that width.

    Raises:
        AssertionError: it holds an escape sequence other than colour and "erase to the end of the line".
    """
    lines: list[list[str]] = [[]]
    column = 0
    for parameters, command, control, char in _TOKEN.findall(text):
        line = lines[-1]
        if command:
            assert command in "mK", f"ESC [ {parameters} {command}"
            if command == "K":
                assert parameters in ("", "0")
                del line[column:]
        elif control == "\n":
            lines.append([])
            column = 0
        elif control:
            column = 0 if control == "\r" else max(0, column - 1)
        else:
            assert char != "\x1b", repr(text)
            if column >= columns:
                lines.append([])
                line, column = lines[-1], 0
            line[column : column + 1] = [" "] * (column - len(line)) + [char]
            column += 1
    return ["".join(line) for line in lines]


def is_reset_at_the_end(text: str) -> bool:
    """No colour is left on for what comes next."""
    codes = re.findall(r"\x1b\[([0-9;]*)m", text)
    return not codes or codes[-1] in ("", "0")
