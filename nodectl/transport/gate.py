"""Not too many handshakes with one server at once.

sshd drops connections at random once 10 are waiting for their login (MaxStartups 10:30:100). So at most 8 handshakes
run against one server (one address and port, or one ProxyCommand), and they start a little apart. Distinct servers do
not wait for one another.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Hashable, Iterator

from nodectl.transport.attempt import TICK_S, Attempt

AT_ONCE = 8
APART_S = 0.015


class _Gate:
    def __init__(self) -> None:
        self.inside = 0
        self.users = 0
        self.next_at = 0.0


class Gates:
    """One gate for each server that is being talked to."""

    def __init__(self, at_once: int = AT_ONCE, apart_s: float = APART_S) -> None:
        self._at_once, self._apart_s = at_once, apart_s
        self._changed = threading.Condition()
        self._gates: dict[Hashable, _Gate] = {}

    @contextlib.contextmanager
    def handshake(self, server: Hashable, attempt: Attempt) -> Iterator[None]:
        """Inside, a handshake with `server` may be done. Waiting costs the attempt its overall deadline only."""
        gate = self._enter(server, attempt)
        try:
            yield
        finally:
            self._leave(server, gate)

    def _enter(self, server: Hashable, attempt: Attempt) -> _Gate:
        with self._changed:
            gate = self._gates.setdefault(server, _Gate())
            gate.users += 1
            try:
                while gate.inside >= self._at_once or time.monotonic() < gate.next_at:
                    attempt.check()
                    wait_s = max(gate.next_at - time.monotonic(), 0.0) if gate.inside < self._at_once else TICK_S
                    self._changed.wait(min(wait_s, TICK_S) or 0.001)
            except BaseException:
                self._forget(server, gate)
                raise
            gate.inside += 1
            gate.next_at = time.monotonic() + self._apart_s
            return gate

    def _leave(self, server: Hashable, gate: _Gate) -> None:
        with self._changed:
            gate.inside -= 1
            self._forget(server, gate)
            if gate.users:
                self._changed.notify_all()

    def _forget(self, server: Hashable, gate: _Gate) -> None:
        gate.users -= 1
        if gate.users == 0:
            self._gates.pop(server, None)
