"""One attempt to run something on one node, and the one thread that ends attempts whose time is up.

A thread that is stuck in a system call cannot look at a clock. So each attempt names what would free it (shut this
socket, kill that child), and the watchdog does that when the deadline has passed or when the user has had enough.
"""

from __future__ import annotations

import contextlib
import math
import threading
import time
from collections.abc import Callable, Iterator

from nodectl.model import Reason, Unreachable
from nodectl.transport.base import Deadline, Failure, Request, utc_now

TICK_S = 0.1
"""How often the watchdog looks. Deadlines hold to about this."""

_TIMEOUTS = {
    "queue": ("its turn did not come", "too many handshakes with the same server at once; lower --fanout"),
    "dns": ("its name was not resolved", "ask the resolver: getent hosts NAME; check /etc/resolv.conf"),
    "proxy": ("the way to it (jump host or ProxyCommand) was not open", "try the jump host by hand: ssh -v JUMPHOST"),
    "connect": (
        "no answer to the TCP connection",
        "is the node up? does a firewall drop the packets? (--connect-timeout)",
    ),
    "banner": ("connected, but no SSH banner came", "sshd there is hung or overloaded, or it is not an SSH port"),
    "kex": ("the key exchange did not end", "the node is overloaded, or large packets get lost on the way (MTU)"),
    "auth": (
        "the login did not end",
        "slow or hung on the node: PAM, LDAP, DNS, a home directory on a dead NFS server; or the ssh-agent is waiting",
    ),
    "open": ("logged in, but no session was opened", "PAM or systemd-logind on the node hangs; look at its console"),
    "start": ("the command did not start", "look at the load of this machine"),
    "stdin": ("it did not take its input", "something on the node hangs"),
    "first output": (
        "nothing came of it",
        "ssh does not say what it waits for: try by hand with ssh -v; or the command on the node says nothing",
    ),
    "run": ("no complete reply", "something on the node hangs, or it needs longer (--deadline)"),
}


class Attempt:
    """State of one `run`: its deadline, the step under way, and what to do to end it from another thread.

    Args:
        target: what the messages call it (`gpu001 (10.0.0.1 port 22)`).
    """

    def __init__(self, target: str, request: Request, stop: threading.Event | None = None) -> None:
        self.target = target
        self.step = "queue"
        self.started = utc_now()
        self.timings_ms: dict[str, int] = {}
        self.host_key = ""
        self.overall = Deadline(request.deadline_s)
        self._began = time.monotonic()
        self._allowed_s = request.deadline_s
        self._due_at = self.overall.at
        self._stop = stop
        self._lock = threading.RLock()  # re-entrant: a signal handler may call close() in the same thread
        self._closers: list[Callable[[], None]] = []
        self._over = threading.Event()
        self._why = ""
        self._clock = self._began

    def enter(self, step: str) -> None:
        """The next step begins. Ends here if the attempt is over."""
        self.step = step
        self.check()

    def limit(self, seconds: float | None) -> None:
        """Allow `seconds` from now for what comes next, inside the overall deadline; None: all of the rest."""
        now = time.monotonic()
        if seconds is None or now + seconds >= self.overall.at:
            self._due_at, self._allowed_s = self.overall.at, self.overall.at - self._began
        else:
            self._due_at, self._allowed_s = now + seconds, seconds

    def unlimited(self) -> None:
        """From now on only `abort` ends it."""
        self.overall.at = self._due_at = math.inf

    def lap(self, name: str) -> None:
        """Book the time since the last lap under `name`."""
        now = time.monotonic()
        self.timings_ms[name] = self.timings_ms.get(name, 0) + round((now - self._clock) * 1000)
        self._clock = now

    def remaining_s(self) -> float:
        """Seconds left for the step under way."""
        return max(0.0, self._due_at - time.monotonic())

    @property
    def over(self) -> bool:
        return self._over.is_set()

    def poll(self) -> None:
        """Called by the watchdog: end the attempt if it is time."""
        if self._stop is not None and self._stop.is_set():
            self.abort("cancelled")
        elif time.monotonic() >= self._due_at:
            self.abort("timeout")

    def abort(self, why: str) -> None:
        """End it now, from any thread: `why` is `timeout` or `cancelled`; the first one counts."""
        with self._lock:
            if self._why:
                return
            self._why = why
            closers, self._closers = self._closers, []
            self._over.set()
        for closer in reversed(closers):
            with contextlib.suppress(Exception):
                closer()

    @contextlib.contextmanager
    def freeing(self, closer: Callable[[], None]) -> Iterator[None]:
        """While inside, `closer` is what frees the thread. It must not block and may be called at any moment."""
        with self._lock:
            if not self._why:
                self._closers.append(closer)
        if self.over:
            closer()
        try:
            yield
        finally:
            with self._lock, contextlib.suppress(ValueError):
                self._closers.remove(closer)

    def sleep(self, seconds: float) -> None:
        """Sleep, unless it ends meanwhile."""
        self.pause(seconds)
        self.check()

    def pause(self, seconds: float) -> None:
        """Sleep, but not longer than it lasts."""
        self._over.wait(seconds)

    def wait(self, event: threading.Event) -> None:
        """Wait for `event`, in slices, so that the end of the attempt is noticed."""
        while not event.wait(TICK_S):
            self.check()

    def check(self) -> None:
        """Raises:
        Failure: it is over.
        """
        if not self.over and time.monotonic() >= self._due_at:
            self.abort("timeout")
        if self.over:
            raise Failure(self.ending())

    def ending(self) -> Reason:
        """Why it was ended from outside, with the step that was under way."""
        if self._why == "cancelled":
            return Reason(Unreachable.CANCELLED.value, f"{self.target}: stopped while in step {self.step!r}")
        what, hint = _TIMEOUTS.get(self.step, ("no answer", ""))
        text = f"{self.target}: {what} within {self._allowed_s:.3g} s (step {self.step})"
        return Reason(Unreachable.TIMEOUT.value, text, hint)


class Watchdog:
    """One thread that ends attempts which are past their time. It starts with the first attempt."""

    def __init__(self) -> None:
        self._lock = threading.RLock()  # re-entrant: a signal handler may call close() in the same thread
        self._attempts: set[Attempt] = set()
        self._wake = threading.Event()
        self._closed = False
        self._thread: threading.Thread | None = None

    @contextlib.contextmanager
    def watching(self, attempt: Attempt) -> Iterator[Attempt]:
        """Watch `attempt` while inside. After `close` it is over before it began."""
        with self._lock:
            closed = self._closed
            if not closed:
                self._attempts.add(attempt)
                if self._thread is None:
                    self._thread = threading.Thread(target=self._loop, name="nodectl-watchdog", daemon=True)
                    self._thread.start()
                self._wake.set()
        if closed:
            attempt.abort("cancelled")
        try:
            yield attempt
        finally:
            with self._lock:
                self._attempts.discard(attempt)

    def _loop(self) -> None:
        while True:
            with self._lock:
                if self._closed:
                    return
                attempts = list(self._attempts)
                if not attempts:
                    self._wake.clear()
            if not attempts:
                self._wake.wait()
                continue
            for attempt in attempts:
                attempt.poll()
            time.sleep(TICK_S)

    def close(self) -> None:
        """End every attempt, and the thread."""
        with self._lock:
            self._closed = True
            attempts = list(self._attempts)
            thread, self._thread = self._thread, None
            self._wake.set()
        for attempt in attempts:
            attempt.abort("cancelled")
        if thread is not None and thread is not threading.current_thread():
            thread.join(1.0)
