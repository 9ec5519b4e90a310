"""TCP connections to nodes: names resolved once, several addresses tried side by side, dead peers noticed."""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import os
import selectors
import socket
import struct
import threading
import time
from typing import Any

from nodectl.model import Reason, Unreachable
from nodectl.transport.attempt import TICK_S, Attempt
from nodectl.transport.base import Failure

NEXT_ADDRESS_S = 0.25
"""How long one address is tried alone before the next one is tried beside it (RFC 8305)."""
PEER_LOST_MS = 15_000
"""A peer that does not acknowledge data for this long is gone. paramiko's own keepalive never notices it."""

Address = tuple[socket.AddressFamily, tuple[Any, ...]]


class Resolver:
    """Names to addresses. A name is asked for once; a resolver that hangs costs the waiting node its own time only."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lookups: dict[tuple[str, int], _Lookup] = {}

    def resolve(self, host: str, port: int, attempt: Attempt, family: str = "any") -> list[Address]:
        """Addresses in the order to try, families alternating. `family` is `any`, `inet` or `inet6`.

        Raises:
            Failure: the name has no address, or the time is up.
        """
        literal = _literal(host, port)
        if literal is not None:
            return [literal]
        with self._lock:
            lookup = self._lookups.get((host, port))
            if lookup is None or lookup.failed_before(time.monotonic() - 1.0):
                lookup = self._lookups[host, port] = _Lookup(host, port)
                lookup.start()
        attempt.wait(lookup.done)
        if lookup.error:
            text = f"{attempt.target}: {host} does not resolve: {lookup.error}"
            hint = (
                f"correct the name, give the node an `address:`, or a HostName in your ssh config (getent hosts {host})"
            )
            raise Failure(Reason(Unreachable.DNS.value, text, hint))
        wanted = {"inet": socket.AF_INET, "inet6": socket.AF_INET6}.get(family)
        addresses = [address for address in lookup.addresses if wanted in (None, address[0])]
        if not addresses:
            text = f"{attempt.target}: {host} has no address of the family {family} (AddressFamily)"
            raise Failure(Reason(Unreachable.DNS.value, text, "look at AddressFamily in your ssh config"))
        return addresses


class _Lookup(threading.Thread):
    """getaddrinfo cannot be interrupted, so it has a thread of its own."""

    def __init__(self, host: str, port: int) -> None:
        super().__init__(name=f"nodectl-dns-{host}", daemon=True)
        self.host, self.port = host, port
        self.done = threading.Event()
        self.error = ""
        self.addresses: list[Address] = []
        self._ended_at = 0.0

    def run(self) -> None:
        try:
            found = socket.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM)
            self.addresses = _alternate([(info[0], info[4]) for info in found])
        except OSError as exc:
            self.error = exc.strerror or str(exc)
        except UnicodeError:
            self.error = "not a valid host name"
        finally:
            self._ended_at = time.monotonic()
            self.done.set()

    def failed_before(self, moment: float) -> bool:
        return bool(self.error) and self._ended_at < moment


def _literal(host: str, port: int) -> Address | None:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return None
    if address.version == 4:
        return socket.AF_INET, (host, port)
    scope = address.scope_id if isinstance(address, ipaddress.IPv6Address) else None
    if scope:  # fe80::1%eth0 needs the interface's number
        return None
    return socket.AF_INET6, (host, port)


def _alternate(found: list[Address]) -> list[Address]:
    """The resolver's first family first, then the families in turn."""
    unique = list(dict.fromkeys(found))
    if not unique:
        return []
    first = [item for item in unique if item[0] == unique[0][0]]
    other = [item for item in unique if item[0] != unique[0][0]]
    mixed: list[Address] = []
    while first or other:
        if first:
            mixed.append(first.pop(0))
        if other:
            mixed.append(other.pop(0))
    return mixed


def connect(addresses: list[Address], attempt: Attempt, bind_address: str = "") -> socket.socket:
    """The first of the addresses that answers, as a blocking socket.

    Raises:
        Failure: none of them did. Refused, no route, timeout and no more file descriptors are told apart.
    """
    race = _Race(attempt, bind_address)
    try:
        return race.run(list(addresses))
    finally:
        race.clean_up()


class _Race:
    def __init__(self, attempt: Attempt, bind_address: str) -> None:
        self._attempt = attempt
        self._bind_address = bind_address
        self._selector = selectors.DefaultSelector()
        self._sockets: set[socket.socket] = set()
        self._errors: list[int] = []

    def run(self, waiting: list[Address]) -> socket.socket:
        next_at = 0.0
        while True:
            self._attempt.check()
            now = time.monotonic()
            if waiting and (now >= next_at or not self._sockets):
                self._start(waiting.pop(0))
                next_at = now + NEXT_ADDRESS_S
                continue
            if not self._sockets:
                raise Failure(_connect_reason(self._attempt.target, self._errors), retry=self._worth_another_try())
            slice_s = min(TICK_S, max(0.0, next_at - now)) if waiting else TICK_S
            for key, _ in self._selector.select(slice_s):
                sock = key.fileobj
                assert isinstance(sock, socket.socket)
                error = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                self._selector.unregister(sock)
                self._sockets.discard(sock)
                if error == 0:
                    return _configured(sock)
                sock.close()
                self._errors.append(error)

    def _start(self, address: Address) -> None:
        try:
            sock = socket.socket(address[0], socket.SOCK_STREAM)
        except OSError as exc:
            self._errors.append(exc.errno or 0)
            return
        sock.setblocking(False)
        try:
            if self._bind_address:
                sock.bind((self._bind_address, 0))
            error = sock.connect_ex(address[1])
        except OSError as exc:  # also: a local address of the other family, which is none (socket.gaierror)
            error = exc.errno if exc.errno and exc.errno > 0 else errno.EADDRNOTAVAIL
        if error not in (0, errno.EINPROGRESS):
            sock.close()
            self._errors.append(error)
            return
        self._sockets.add(sock)
        self._selector.register(sock, selectors.EVENT_WRITE)

    def _worth_another_try(self) -> bool:
        return bool(self._errors) and all(error in (errno.ECONNRESET, errno.EPIPE) for error in self._errors)

    def clean_up(self) -> None:
        for sock in self._sockets:
            sock.close()
        self._selector.close()


def _configured(sock: socket.socket) -> socket.socket:
    """No Nagle (it holds back every second message of a handshake), and two ways to notice a dead peer."""
    sock.setblocking(True)
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in (
            ("TCP_KEEPIDLE", 5),
            ("TCP_KEEPINTVL", 5),
            ("TCP_KEEPCNT", 3),
            ("TCP_USER_TIMEOUT", PEER_LOST_MS),
        ):
            if hasattr(socket, name):
                sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
    return sock


def limit_blocking_send(sock: Any, seconds: int) -> None:
    """A send that blocks this long fails. For connections that many nodes share: none may hold up the others."""
    with contextlib.suppress(OSError, AttributeError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", seconds, 0))


def shut(sock: Any) -> None:
    """End a connection so that threads blocked in it wake up. (Closing it would leave them there.)"""
    with contextlib.suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)


_NO_ROUTE = frozenset(
    {errno.EHOSTUNREACH, errno.ENETUNREACH, errno.ENETDOWN, errno.EHOSTDOWN, errno.EADDRNOTAVAIL, errno.EACCES}
    | {errno.EPERM, errno.EAFNOSUPPORT}
)
_NO_DESCRIPTORS = frozenset({errno.EMFILE, errno.ENFILE})


def _connect_reason(target: str, errors: list[int]) -> Reason:
    """The error that says most: an answer says more than silence."""
    error = next((e for e in errors if e == errno.ECONNREFUSED), None) or next(
        (e for e in errors if e != errno.ETIMEDOUT), errno.ETIMEDOUT
    )
    words = os.strerror(error)
    if error == errno.ECONNREFUSED:
        text = f"{target}: the connection was refused"
        hint = "nothing listens on that port: is sshd running there, is the port right?"
        return Reason(Unreachable.REFUSED.value, text, hint)
    if error == errno.ETIMEDOUT:
        hint = "is the node up? does a firewall drop the packets?"
        return Reason(Unreachable.TIMEOUT.value, f"{target}: no answer to the TCP connection (step connect)", hint)
    if error in _NO_ROUTE:
        hint = "look at the route to it (ip route get ADDRESS) and at the firewall"
        return Reason(Unreachable.NO_ROUTE.value, f"{target}: cannot be reached: {words}", hint)
    if error in _NO_DESCRIPTORS:
        hint = "lower --fanout, or raise the limit of this machine: ulimit -n"
        text = f"{target}: no more file descriptors on this machine ({words})"
        return Reason(Unreachable.PROBE_FAILED.value, text, hint)
    return Reason(Unreachable.PROTOCOL.value, f"{target}: connecting failed: {words}")
