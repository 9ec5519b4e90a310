"""One thread that reads many quiet connections, a batch at a time.

A thread a connection is what paramiko has, and with a thousand nodes that each send a line a second it costs most of
what there is to pay: every line wakes a thread that finds its caches cold. So while a connection has nothing but a
stream's data to read, its thread is parked and this one reads for it, resting a little after each round so that the
next finds several lines. Whatever else comes (a key exchange, the end) is handed to the connection's thread, which is
unparked for it.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import threading
import time
from typing import Protocol

REST_S = 0.02
"""After each round: what a line may be late for the sake of being read together with others."""


class Pumped(Protocol):
    """A connection whose thread is parked."""

    def fileno(self) -> int: ...

    def pump(self) -> float | None:
        """Read what has come. Never blocks.

        Returns:
            seconds until it wants to be read again, mostly 0; None: its thread has to take over, see `unpark`.
        """

    def unpark(self) -> None:
        """Wake its thread. It is not read by the pump any more."""

    def abandon(self) -> None:
        """Wake its thread, to find the connection ended."""


class Pump:
    """The thread. It begins with the first connection and ends with `close`."""

    def __init__(self) -> None:
        self._lock = threading.RLock()  # re-entrant: a signal handler may call close() in the same thread
        self._selector = selectors.DefaultSelector()
        self._wake_read, self._wake_write = os.pipe()
        self._selector.register(self._wake_read, selectors.EVENT_READ, None)
        self._parked: set[Pumped] = set()
        self._resting: dict[Pumped, float] = {}
        self._closed = False
        self._thread: threading.Thread | None = None

    def add(self, connection: Pumped) -> None:
        """Read for this one, until it is unparked."""
        with self._lock:
            if not self._closed:
                self._selector.register(connection.fileno(), selectors.EVENT_READ, connection)
                self._parked.add(connection)
                if self._thread is None:
                    self._thread = threading.Thread(target=self._loop, name="nodectl-ssh-pump", daemon=True)
                    self._thread.start()
                return
        connection.abandon()

    def _loop(self) -> None:
        while not self._closed:
            events = self._selector.select(self._wait_s())
            for key, _ in events:
                if key.data is not None:
                    self._read(key.data)
            self._wake_rested()
            if events:
                time.sleep(REST_S)
        with self._lock:
            parked, self._parked = self._parked, set()
            self._selector.close()
            for fd in (self._wake_read, self._wake_write):
                os.close(fd)
        for connection in parked:
            connection.abandon()

    def _read(self, connection: Pumped) -> None:
        try:
            rest_s = connection.pump()
        except Exception:  # a bug; it must cost this connection and not all of them
            with self._lock, contextlib.suppress(KeyError, ValueError):
                self._selector.unregister(connection.fileno())
                self._parked.discard(connection)
            connection.abandon()
            return
        if not rest_s and rest_s is not None:
            return
        with self._lock:
            self._selector.unregister(connection.fileno())
            if rest_s is None:
                self._parked.discard(connection)
            else:
                self._resting[connection] = time.monotonic() + rest_s
        if rest_s is None:
            connection.unpark()

    def _wait_s(self) -> float | None:
        if not self._resting:
            return None
        return max(0.0, min(self._resting.values()) - time.monotonic())

    def _wake_rested(self) -> None:
        if not self._resting:
            return
        now = time.monotonic()
        for connection in [one for one, until in self._resting.items() if until <= now]:
            del self._resting[connection]
            self._selector.register(connection.fileno(), selectors.EVENT_READ, connection)

    def close(self) -> None:
        """End it. The threads of connections that are still parked find them ended."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            thread = self._thread
            with contextlib.suppress(OSError):
                os.write(self._wake_write, b".")
            if thread is None:
                self._selector.close()
                for fd in (self._wake_read, self._wake_write):
                    os.close(fd)
        if thread is not None and thread is not threading.current_thread():
            thread.join(1.0)
