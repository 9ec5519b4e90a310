"""A command on this machine that is fed, read and, when its time is up, killed with everything that it started."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import time
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from nodectl.transport.attempt import TICK_S, Attempt
from nodectl.transport.collect import Collector

READ_BYTES = 65536
GRACE_S = 0.3
"""Between asking a process to end and making it."""


class Child:
    """The running command, in a session of its own.

    Args:
        argv: what to run.
        env: its whole environment.

    Raises:
        OSError: it cannot be started.
    """

    def __init__(self, argv: Sequence[str], env: Mapping[str, str]) -> None:
        self._process = subprocess.Popen(
            argv,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=dict(env),
            start_new_session=True,
            bufsize=0,
        )

    def kill(self) -> None:
        """Kill its process group. Does not wait, and may be called from any thread."""
        with contextlib.suppress(OSError):
            if self._process.returncode is None:
                os.killpg(self._process.pid, signal.SIGKILL)

    def converse(self, stdin: bytes, collector: Collector, attempt: Attempt) -> int | None:
        """Write `stdin`, read both outputs, until it is over one way or another.

        Returns:
            exit status; negative for a signal; None if it did not end by itself.
        """
        with attempt.freeing(self.kill):
            self._pump(stdin, collector, attempt)
        if collector.ending == "eof" and not attempt.over:
            with contextlib.suppress(subprocess.TimeoutExpired):
                return self._process.wait(min(1.0, attempt.remaining_s()))
        return None

    def _pump(self, stdin: bytes, collector: Collector, attempt: Attempt) -> None:
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        poller = select.poll()
        out, err, inp = process.stdout.fileno(), process.stderr.fileno(), process.stdin.fileno()
        os.set_blocking(inp, False)
        for fd in (out, err):
            poller.register(fd, select.POLLIN)
        waiting = memoryview(stdin)
        if waiting:
            poller.register(inp, select.POLLOUT)
        else:
            process.stdin.close()
        while not collector.over.is_set() and not attempt.over and not collector.silent():
            for fd, _ in poller.poll(collector.next_wait_s(TICK_S) * 1000):
                if fd == inp:
                    waiting = _write(inp, waiting)
                    if not waiting:
                        poller.unregister(inp)
                        process.stdin.close()
                    continue
                data = os.read(fd, READ_BYTES)
                if fd == err:
                    collector.stderr_data(data)
                else:
                    collector.stdout(data)
                if not data:
                    poller.unregister(fd)
                    if fd == out:
                        collector.eof()
        with contextlib.suppress(OSError, ValueError):  # what is already there of stderr
            os.set_blocking(err, False)
            collector.stderr_data(os.read(err, READ_BYTES))

    def close(self) -> None:
        """Leave nothing behind: not the command, not what it started, not a zombie."""
        process = self._process
        for pipe in (process.stdin, process.stdout, process.stderr):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(0.05)  # it may be at its last line
        for number in (signal.SIGTERM, signal.SIGKILL):
            if not _signal_session(process.pid, number):
                break
            _wait_for_session(process, GRACE_S)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(0.2)  # a process in an uninterruptible system call is left to init


def _write(fd: int, data: memoryview) -> memoryview:
    """What is left to write. Nothing, if the other side does not read any more."""
    try:
        return data[os.write(fd, data[:READ_BYTES]) :]
    except BlockingIOError:
        return data
    except OSError:
        return data[:0]


def session_members(session: int) -> list[int]:
    """Processes of a session. A process group is not enough: `timeout` makes one of its own for what it runs."""
    return members_of_sessions({session})[session]


def members_of_sessions(sessions: Collection[int]) -> dict[int, list[int]]:
    """Processes of each of the sessions, zombies left out, with one look at all processes."""
    found: dict[int, list[int]] = {session: [] for session in sessions}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError, ValueError, IndexError):
                fields = (entry / "stat").read_bytes().rpartition(b")")[2].split()
                if int(fields[3]) in found and fields[0] not in (b"Z", b"X"):
                    found[int(fields[3])].append(int(entry.name))
    return found


def _signal_session(session: int, number: int) -> bool:
    members = session_members(session)
    for pid in members:
        with contextlib.suppress(OSError):
            os.kill(pid, number)
    return bool(members)


def _wait_for_session(process: subprocess.Popen[bytes], seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        process.poll()
        if not session_members(process.pid):
            return
        time.sleep(0.02)
