"""Jump hosts: one login to each, shared by all nodes behind it."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable
from typing import Any

from paramiko.ssh_exception import SSHException

from nodectl.model import Node, Reason, Unreachable
from nodectl.transport.attempt import Attempt
from nodectl.transport.base import Failure
from nodectl.transport.client import ChannelStream, ClientTransport
from nodectl.transport.reasons import tunnel_failure

MAX_HOPS = 8
BUSY_CHANNELS = 16
"""With this many nodes on one connection, a second one is opened, so that a lost connection does not lose all."""
CONNECTIONS = 2
FAILURE_LASTS_S = 30.0
"""A jump host that could not be reached is not asked again by each of a thousand nodes."""

_HOP = re.compile(r"(?:ssh://)?(?:(?P<user>.+)@)?(?P<host>\[[^\]]+\]|[^:@]+)(?::(?P<port>\d+))?/?")


def parse_hops(value: str) -> list[Node]:
    """ProxyJump's value as nodes, the first hop first.

    Raises:
        ValueError: not of the form `user@host:port`, comma-separated.
    """
    hops = []
    for part in value.split(","):
        match = _HOP.fullmatch(part.strip())
        if match is None:
            raise ValueError(f"{part.strip()!a} is not user@host:port")
        port = match["port"]
        host = match["host"].strip("[]")
        hops.append(Node(name=host, user=match["user"], port=int(port) if port else None))
    return hops


class Link:
    """One logged-in connection to a jump host, and how many channels run over it."""

    def __init__(self, transport: ClientTransport, close: Callable[[], None]) -> None:
        self.transport = transport
        self.close = close
        self.channels = 0


Dial = Callable[[], Link]


class _Bastion:
    def __init__(self) -> None:
        self.links: list[Link] = []
        self.dialing = 0
        self.failure: Failure | None = None
        self.failed_at = 0.0


class Tunnel(ChannelStream):
    """A way through a jump host to one node."""

    def __init__(self, channel: Any, on_close: Callable[[], None]) -> None:
        super().__init__(channel)
        self._on_close: Callable[[], None] | None = on_close

    def close(self) -> None:
        super().close()
        on_close, self._on_close = self._on_close, None
        if on_close is not None:
            on_close()


class Bastions:
    """All jump hosts of this run. Each is dialled in a thread of its own, so that no node's deadline ends a login that
    others wait for."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._bastions: dict[str, _Bastion] = {}
        self._threads: set[threading.Thread] = set()
        self._closed = False

    def tunnel(self, name: str, dial: Dial, address: tuple[str, int], attempt: Attempt) -> Tunnel:
        """A stream to `address` through the jump host `name` (user@host:port, and the hops before it).

        Raises:
            Failure: the jump host could not be reached, or did not reach the node.
        """
        for last_try in (False, True):
            link = self._link(name, dial, attempt)
            try:
                return self._open(link, address, attempt)
            except Failure:
                self._left(link)
                raise
            except (SSHException, EOFError, OSError) as exc:
                self._left(link)
                attempt.check()
                if link.transport.is_active() or last_try:
                    raise tunnel_failure(str(exc), attempt.target, name) from None
        raise AssertionError("not reached")

    def _open(self, link: Link, address: tuple[str, int], attempt: Attempt) -> Tunnel:
        return Tunnel(link.transport.open_tunnel(address, attempt.wait), lambda: self._left(link))

    def _link(self, name: str, dial: Dial, attempt: Attempt) -> Link:
        with self._changed:
            bastion = self._bastions.setdefault(name, _Bastion())
            while True:
                if bastion.failure is not None and time.monotonic() - bastion.failed_at > FAILURE_LASTS_S:
                    bastion.failure = None
                bastion.links = [link for link in bastion.links if link.transport.is_active()]
                link = min(bastion.links, key=lambda item: item.channels, default=None)
                crowded = link is not None and link.channels >= BUSY_CHANNELS
                idle = bastion.failure is None and not bastion.dialing
                if idle and (link is None or crowded) and len(bastion.links) < CONNECTIONS:
                    self._start_dialing(name, bastion, dial)
                if link is not None:
                    link.channels += 1
                    return link
                if bastion.failure is not None:
                    raise _through(bastion.failure, name, attempt.target)
                attempt.check()
                self._changed.wait(0.1)

    def _left(self, link: Link) -> None:
        with self._changed:
            link.channels -= 1

    def _start_dialing(self, name: str, bastion: _Bastion, dial: Dial) -> None:
        if self._closed:
            bastion.failure = Failure(Reason(Unreachable.CANCELLED.value, "stopped"))
            bastion.failed_at = time.monotonic()
            return
        bastion.dialing += 1
        thread = threading.Thread(target=self._dial, args=(bastion, dial), name=f"nodectl-jump-{name}", daemon=True)
        self._threads.add(thread)
        thread.start()

    def _dial(self, bastion: _Bastion, dial: Dial) -> None:
        link, failure = None, None
        try:
            link = dial()
        except Failure as exc:
            failure = exc
        except Exception as exc:  # a bug must not leave a thousand nodes waiting
            failure = Failure(Reason(Unreachable.PROXY_FAILED.value, f"{type(exc).__name__}: {exc}"))
        with self._changed:
            bastion.dialing -= 1
            self._threads.discard(threading.current_thread())
            if link is not None and not self._closed:
                bastion.links.append(link)
            elif failure is not None and not bastion.links:
                bastion.failure, bastion.failed_at = failure, time.monotonic()
            self._changed.notify_all()
        if link is not None and self._closed:
            link.close()

    def close(self) -> None:
        """Close all connections and wait briefly for logins under way, which the watchdog has ended."""
        with self._changed:
            self._closed = True
            links = [link for bastion in self._bastions.values() for link in bastion.links]
            threads = list(self._threads)
            self._changed.notify_all()
        for link in links:
            link.close()
        for thread in threads:
            thread.join(0.3)


def _through(failure: Failure, name: str, target: str) -> Failure:
    """The jump host's trouble, as the node's reason."""
    if failure.reason.code == Unreachable.CANCELLED.value:
        return Failure(failure.reason)
    text = f"{target}: its jump host cannot be used: {failure.reason.text}"
    return Failure(Reason(Unreachable.PROXY_FAILED.value, text, failure.reason.hint))
