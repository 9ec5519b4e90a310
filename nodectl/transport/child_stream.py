"""Streams of commands on this machine: one thread reads all of them, and takes away what is left of those that end."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence

from nodectl.transport.base import STDERR_CAP_BYTES
from nodectl.transport.child import GRACE_S, READ_BYTES, members_of_sessions
from nodectl.transport.stream import Pace, StreamRequest

END_TICK_S = 0.02
"""How often the thread looks while a command is being ended. Otherwise it sleeps until there is something to read."""
EXIT_WAIT_S = 1.0
"""How long a command may go on after the end of its output."""


class ChildStream:
    """One command, in a session of its own. Everything but `close` is done by the thread of `ChildStreams`.

    Args:
        on_data: takes stdout.
        on_end: told once, when nothing is left of the command.

    Attributes:
        ending: how it ended: `eof` (by itself), `closed` (by us), `failed` (`on_data` raised `error`).
        status: exit status of the command; negative for a signal; None if it did not end by itself.

    Raises:
        OSError: it cannot be started.
    """

    def __init__(
        self,
        argv: Sequence[str],
        env: Mapping[str, str],
        request: StreamRequest,
        on_data: Callable[[bytes], None],
        on_end: Callable[[ChildStream], None],
    ) -> None:
        self._on_data, self._on_end = on_data, on_end
        self._pace = Pace(request.max_bytes_per_s)
        self._stdin = memoryview(request.stdin)
        self._keep_stdin_open = request.keep_stdin_open
        self.ending = ""
        self.error: BaseException | None = None
        self.status: int | None = None
        self.received = 0
        self.stderr = bytearray()
        self.paused_until = 0.0
        self.step_due_at = 0.0
        self._signals = [signal.SIGTERM, signal.SIGKILL]
        self._open: dict[int, Callable[[selectors.BaseSelector, int], None]] = {}
        self._wake: Callable[[], None] = _nothing
        self._closing = False
        self.process = subprocess.Popen(
            argv,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=dict(env),
            start_new_session=True,
            bufsize=0,
        )

    def close(self) -> None:
        """End it, from any thread. Does not wait."""
        self._closing = True
        self._wake()

    def attach(self, selector: selectors.BaseSelector, wake: Callable[[], None]) -> None:
        """Begin to read and write."""
        self._wake = wake
        process = self.process
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        self._open = {process.stdout.fileno(): self._read_stdout, process.stderr.fileno(): self._read_stderr}
        for fd in self._open:
            selector.register(fd, selectors.EVENT_READ, self)
        os.set_blocking(process.stderr.fileno(), False)
        if self._stdin:
            inp = process.stdin.fileno()
            os.set_blocking(inp, False)
            self._open[inp] = self._write_stdin
            selector.register(inp, selectors.EVENT_WRITE, self)
        elif not self._keep_stdin_open:
            process.stdin.close()

    def ready(self, selector: selectors.BaseSelector, fd: int) -> None:
        """A pipe can be read or written."""
        act = self._open.get(fd)
        if act is not None:
            try:
                act(selector, fd)
            except Exception as exc:  # whatever it is, it must cost this stream and not all of them
                self.error = exc
                self._end(selector, "failed")

    def look(self, selector: selectors.BaseSelector) -> None:
        """Called at each turn: has it been closed?"""
        if self._closing and not self.ending:
            self._end(selector, "closed")

    def _read_stdout(self, selector: selectors.BaseSelector, fd: int) -> None:
        data = os.read(fd, READ_BYTES)
        if not data:
            self._forget(selector, fd)
            self._end(selector, "eof")
            return
        self.received += len(data)
        self._on_data(data)
        wait_s = self._pace.take(len(data))
        if wait_s:
            self.paused_until = time.monotonic() + wait_s
            selector.unregister(fd)

    def resume(self, selector: selectors.BaseSelector) -> None:
        """It has waited long enough to be read again."""
        self.paused_until = 0.0
        if not self.ending:
            assert self.process.stdout is not None
            selector.register(self.process.stdout.fileno(), selectors.EVENT_READ, self)

    def _read_stderr(self, selector: selectors.BaseSelector, fd: int) -> None:
        data = b""
        with contextlib.suppress(BlockingIOError):
            data = os.read(fd, READ_BYTES)
        self.stderr += data[: STDERR_CAP_BYTES - len(self.stderr)]
        if not data:
            self._forget(selector, fd)

    def _write_stdin(self, selector: selectors.BaseSelector, fd: int) -> None:
        try:
            self._stdin = self._stdin[os.write(fd, self._stdin[:READ_BYTES]) :]
        except BlockingIOError:
            return
        except OSError:  # it does not read any more
            self._stdin = self._stdin[:0]
        if not self._stdin:
            self._forget(selector, fd)
            if not self._keep_stdin_open:
                assert self.process.stdin is not None
                self.process.stdin.close()

    def _forget(self, selector: selectors.BaseSelector, fd: int) -> None:
        del self._open[fd]
        with contextlib.suppress(KeyError):
            selector.unregister(fd)

    def _end(self, selector: selectors.BaseSelector, ending: str) -> None:
        """Stop reading. What is left of the command has until `step_due_at` to go by itself."""
        self.ending = ending
        process = self.process
        if process.stderr is not None and process.stderr.fileno() in self._open:
            self._read_stderr(selector, process.stderr.fileno())
        for fd in list(self._open):
            self._forget(selector, fd)
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        self.step_due_at = time.monotonic() + (EXIT_WAIT_S if ending == "eof" else GRACE_S)
        if ending != "eof" and process.poll() is None:
            with contextlib.suppress(OSError):  # most are only one process group, and end at that
                os.killpg(process.pid, self._signals.pop(0))

    def end_due(self, now: float) -> bool:
        """Whether there is a step to take in ending it: it has exited, or its time is up."""
        exited = self.process.poll() is not None
        if exited and self.ending == "eof" and not self._signalled:
            self.status = self.process.returncode
        return exited or now >= self.step_due_at

    def end_step(self, members: list[int]) -> bool:
        """The next step of ending it, `members` being the processes of its session.

        Returns:
            nothing is left of it, or nothing can be done about what is.
        """
        exited = self.process.returncode is not None
        if exited and not members:
            return self._gone()
        now = time.monotonic()
        if now < self.step_due_at and (self._signalled or not exited):
            return False
        if not self._signals:  # an uninterruptible system call: it is left to init
            return self._gone()
        number = self._signals.pop(0)
        for pid in members:
            with contextlib.suppress(OSError):
                os.kill(pid, number)
        self.step_due_at = now + GRACE_S
        return False

    @property
    def _signalled(self) -> bool:
        return len(self._signals) < 2

    def _gone(self) -> bool:
        if self.process.stderr is not None:
            with contextlib.suppress(OSError):  # what was said at the end
                said = os.read(self.process.stderr.fileno(), READ_BYTES)
                self.stderr += said[: STDERR_CAP_BYTES - len(self.stderr)]
            self.process.stderr.close()
        return True

    def tell(self) -> None:
        """Say that it is over."""
        try:
            self._on_end(self)
        except Exception as exc:  # shown as one that ends a thread would be; but this thread has others to serve
            threading.excepthook(
                threading.ExceptHookArgs((type(exc), exc, exc.__traceback__, threading.current_thread()))
            )


class ChildStreams:
    """All of them, and their thread, which is there only while there is a stream."""

    def __init__(self) -> None:
        self._lock = threading.RLock()  # re-entrant: a signal handler may call close() in the same thread
        self._new: list[ChildStream] = []
        self._streams: set[ChildStream] = set()
        self._attended: set[ChildStream] = set()
        self._thread: threading.Thread | None = None
        self._wake_fd = -1
        self._woken = False
        self._closed = False

    def add(self, stream: ChildStream) -> None:
        """Look after a command that was just started. After `close`, it is ended at once."""
        with self._lock:
            self._new.append(stream)
            if self._closed:
                stream._closing = True
            if self._thread is None:
                read_fd, self._wake_fd = os.pipe()
                os.set_blocking(self._wake_fd, False)
                os.set_blocking(read_fd, False)
                self._thread = threading.Thread(
                    target=self._loop, args=(read_fd,), name="nodectl-child-streams", daemon=True
                )
                self._thread.start()
            else:
                self._wake()

    def _wake(self) -> None:
        with self._lock, contextlib.suppress(OSError):
            if self._wake_fd >= 0 and not self._woken:
                self._woken = True
                os.write(self._wake_fd, b".")

    def _loop(self, wake_fd: int) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(wake_fd, selectors.EVENT_READ, None)
            woken = True
            while True:
                if woken and not self._take_in(selector, wake_fd):
                    break
                woken = self._turn(selector, wake_fd)
        os.close(wake_fd)

    def _take_in(self, selector: selectors.BaseSelector, wake_fd: int) -> bool:
        """New streams and closed ones. False if there are none left: the thread ends."""
        with self._lock:
            self._woken = False
            with contextlib.suppress(OSError):
                os.read(wake_fd, 1)
            new, self._new = self._new, []
            self._streams.update(new)
            if not self._streams:
                os.close(self._wake_fd)
                self._wake_fd, self._thread, self._woken = -1, None, False
                return False
        for stream in new:
            stream.attach(selector, self._wake)
        for stream in self._streams:
            stream.look(selector)
            self._attend(stream)
        return True

    def _turn(self, selector: selectors.BaseSelector, wake_fd: int) -> bool:
        """Wait, read what there is, and take the next step with those that end. True: `_take_in` is due."""
        woken = False
        for key, _ in selector.select(self._wait_s()):
            if key.fd == wake_fd:
                woken = True
                continue
            key.data.ready(selector, key.fd)
            self._attend(key.data)
        return self._step(selector) or woken if self._attended else woken

    def _attend(self, stream: ChildStream) -> None:
        """Note a stream that needs something at a time, and not when there is something to read."""
        if stream.ending or stream.paused_until:
            self._attended.add(stream)

    def _step(self, selector: selectors.BaseSelector) -> bool:
        now = time.monotonic()
        for stream in [one for one in self._attended if one.paused_until and one.paused_until <= now]:
            stream.resume(selector)
            if not stream.ending:
                self._attended.discard(stream)
        ending = [stream for stream in self._attended if stream.ending and stream.end_due(now)]
        if not ending:  # looking at all processes of a machine is not for every turn
            return False
        members = members_of_sessions({stream.process.pid for stream in ending})
        over = [stream for stream in ending if stream.end_step(members[stream.process.pid])]
        with self._lock:
            self._streams.difference_update(over)
        self._attended.difference_update(over)
        for stream in over:
            stream.tell()
        return bool(over)

    def _wait_s(self) -> float | None:
        """Until when to sleep: mostly for as long as nothing comes."""
        if not self._attended:
            return None
        if any(stream.ending for stream in self._attended):
            return END_TICK_S
        return max(0.0, min(stream.paused_until for stream in self._attended) - time.monotonic())

    def close(self) -> None:
        """End all of them, and wait until they are gone; unless it is their own thread that asks."""
        with self._lock:
            self._closed = True
            thread = self._thread
            for stream in (*self._streams, *self._new):
                stream.close()
        self._wake()
        if thread is not None and thread is not threading.current_thread():
            thread.join(2 * GRACE_S + 0.4)


def _nothing() -> None:
    """Before it is attached there is nobody to wake."""
