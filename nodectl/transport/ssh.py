"""`transport: ssh`: nodes over SSH, on paramiko."""

from __future__ import annotations

import contextlib
import getpass
import random
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
from paramiko.ssh_exception import SSHException

from nodectl.model import Node, Reason, Unreachable
from nodectl.transport import proxy
from nodectl.transport.attempt import Attempt, Watchdog
from nodectl.transport.base import Failure, Reply, Request, Sink
from nodectl.transport.client import ClientTransport, silence_paramiko
from nodectl.transport.gate import Gates
from nodectl.transport.host_keys import HostKeys
from nodectl.transport.jump import MAX_HOPS, Bastions, Link, parse_hops
from nodectl.transport.keys import KeyRing
from nodectl.transport.login import log_in
from nodectl.transport.pump import Pump
from nodectl.transport.reasons import handshake_failure
from nodectl.transport.session import converse
from nodectl.transport.settings import HostSettings
from nodectl.transport.sockets import Resolver, connect, limit_blocking_send, shut
from nodectl.transport.ssh_stream import SshStream
from nodectl.transport.stream import Stream, StreamRequest, StreamSink

TRIES = 3
FIRST_PAUSE_S = 0.5
QUICK_ACK_FANOUT = 32
"""Up to this many connections at once, each acknowledges at once during its handshake; above, that costs more CPU than
it saves time."""
SHARED_SEND_S = 10
JOIN_S = 1.0
"""How long `close` waits for the threads of all connections together."""

Resolve = Callable[[Node], HostSettings]


class SshTransport:
    """SSH to many nodes: what can be shared (keys, agent, host keys, jump hosts, names) is shared.

    Args:
        resolve: settings of a node, or of a jump host (as a node without an address).
        host_keys: the policy.
        watchdog: ends attempts whose time is up.
        fanout: how many nodes are talked to at once, for tuning only.
    """

    def __init__(self, resolve: Resolve, host_keys: HostKeys, watchdog: Watchdog, fanout: int) -> None:
        silence_paramiko()
        self._resolve = resolve
        self._host_keys = host_keys
        self._watchdog = watchdog
        self._quick_acks = fanout <= QUICK_ACK_FANOUT
        self._keys = KeyRing()
        self._names = Resolver()
        self._gates = Gates()
        self._bastions = Bastions()
        self._lock = threading.RLock()
        self._links: set[ClientTransport] = set()
        self._streams: set[SshStream] = set()
        self._pump = Pump()
        self._closed = False

    def run(self, node: Node, request: Request, sink: Sink, stop: threading.Event | None = None) -> Reply:
        """See `base.Transport`."""
        attempt = Attempt(node.name, request, stop)
        with self._watchdog.watching(attempt):
            try:
                settings = self._settings(node)
                attempt.target = _describe(node.name, settings)
                with self._connected(settings, request.connect_timeout_s, attempt) as link:
                    attempt.limit(None)
                    reply = converse(link, request, sink, attempt)
            except Failure as failure:
                reply = Reply(reason=failure.reason, reached=False)
        return _complete(reply, attempt)

    def stream(
        self, node: Node, request: StreamRequest, sink: StreamSink, stop: threading.Event | None = None
    ) -> Stream:
        """See `Transports.stream`."""
        attempt = Attempt(node.name, request.as_request(), stop)
        stream = SshStream(request, sink, attempt, self._forget)
        with self._watchdog.watching(attempt):
            try:
                settings = self._settings(node)
                attempt.target = _describe(node.name, settings)
                link = stream.stack.enter_context(self._connected(settings, request.connect_timeout_s, attempt))
                attempt.limit(None)
                stream.start(link)
            except Failure as failure:
                stream.fail(failure.reason)
                return stream
            except BaseException:
                stream.stack.close()
                raise
            with self._lock:
                self._streams.add(stream)
            attempt.unlimited()
        if self._closed or (stop is not None and stop.is_set()):
            stream.close()
        stream.hand_over(self._pump)
        return stream

    def _forget(self, stream: SshStream) -> None:
        with self._lock:
            self._streams.discard(stream)

    def close(self) -> None:
        """Shut everything: attempts under way, jump hosts, the agent; wait briefly for their threads."""
        self._closed = True
        with self._lock:
            links, streams = list(self._links), list(self._streams)
        for stream in streams:
            stream.close()
        for link in links:  # first of all, and without a word to the server: what would be said could block
            shut(link.sock)
        self._pump.close()
        self._bastions.close()
        self._keys.close()
        end = time.monotonic() + JOIN_S
        for link in links:
            if link.is_alive() and link is not threading.current_thread():
                link.join(min(0.2, max(0.0, end - time.monotonic())))

    def _settings(self, node: Node) -> HostSettings:
        try:
            return self._resolve(node)
        except Exception as exc:  # whatever is wrong with the config, it is this node's reason and not the run's end
            text = f"{node.name}: its ssh settings cannot be worked out: {exc}"
            raise Failure(Reason(Unreachable.PROBE_FAILED.value, text, "look at your ssh config")) from None

    @contextlib.contextmanager
    def _connected(
        self,
        settings: HostSettings,
        connect_timeout_s: float,
        attempt: Attempt,
        via: tuple[str, ...] = (),
    ) -> Iterator[ClientTransport]:
        """A logged-in connection, shut when left. Tried again where that can help and do no harm."""
        limit_s = settings.connect_timeout_s if settings.connect_timeout_s is not None else connect_timeout_s
        for number in range(1, TRIES + 1):
            with contextlib.ExitStack() as stack:
                try:
                    link = self._dial(settings, limit_s, attempt, stack, via)
                except Failure as failure:
                    if not failure.retry or attempt.over or number == TRIES:
                        raise
                else:
                    yield link
                    return
            attempt.sleep(random.uniform(0, FIRST_PAUSE_S * 2 ** (number - 1)))  # noqa: S311  spread, not secrecy

    def _dial(
        self,
        settings: HostSettings,
        limit_s: float,
        attempt: Attempt,
        stack: contextlib.ExitStack,
        via: tuple[str, ...],
    ) -> ClientTransport:
        """Connect and log in once. What has to be undone is put on `stack`."""
        attempt.limit(None)
        with contextlib.ExitStack() as handshake:
            if _given(settings.proxy_command) and not _given(settings.proxy_jump):
                return self._dial_proxy(settings, limit_s, attempt, stack, handshake)
            if _given(settings.proxy_jump):
                attempt.limit(limit_s)
                attempt.enter("proxy")
                stream: Any = self._tunnel(settings, attempt, via)
                stack.callback(stream.close)
                attempt.lap("connect")
                return self._handshake(stream, settings, attempt, stack, direct=False)
            attempt.limit(limit_s)
            attempt.enter("dns")
            addresses = self._names.resolve(settings.hostname, settings.port, attempt, settings.address_family)
            attempt.limit(None)
            attempt.enter("queue")
            handshake.enter_context(self._gates.handshake(addresses[0][1][:2], attempt))
            attempt.limit(limit_s)
            attempt.enter("connect")
            sock = connect(addresses, attempt, settings.bind_address)
            stack.callback(sock.close)
            attempt.lap("connect")
            return self._handshake(sock, settings, attempt, stack, direct=True)

    def _dial_proxy(
        self,
        settings: HostSettings,
        limit_s: float,
        attempt: Attempt,
        stack: contextlib.ExitStack,
        handshake: contextlib.ExitStack,
    ) -> ClientTransport:
        attempt.enter("queue")
        handshake.enter_context(self._gates.handshake(settings.proxy_command, attempt))
        attempt.limit(limit_s)
        attempt.enter("proxy")
        child = proxy.start(settings, settings.user or getpass.getuser(), attempt)
        stack.callback(child.close)
        stack.enter_context(attempt.freeing(child.kill))
        attempt.lap("connect")
        try:
            return self._handshake(child.sock, settings, attempt, stack, direct=False)
        except Failure as failure:
            if failure.reason.code != Unreachable.PROTOCOL.value or not failure.retry:
                raise
            raise proxy.failure(child, failure, attempt) from None

    def _handshake(
        self, stream: Any, settings: HostSettings, attempt: Attempt, stack: contextlib.ExitStack, *, direct: bool
    ) -> ClientTransport:
        """Key exchange, host key, login."""
        stack.enter_context(attempt.freeing(lambda: shut(stream)))
        attempt.enter("banner")
        algorithms = self._host_keys.algorithms(settings)
        link = ClientTransport(stream, f"nodectl-ssh-{settings.hostname}", algorithms, quick_acks=self._quick_acks)
        link.on_banner = lambda: _banner_came(attempt)
        self._track(link)
        stack.callback(self._drop, link)
        try:
            shown = link.negotiate(attempt.wait)
        except (SSHException, EOFError, OSError, ValueError) as exc:
            raise handshake_failure(link, exc, attempt) from None
        attempt.check()
        self._host_keys.verify(settings, shown, attempt.target, direct=direct)
        attempt.host_key = str(shown)
        attempt.lap("kex")
        attempt.enter("auth")
        log_in(link, settings, settings.user or getpass.getuser(), self._keys, attempt)
        attempt.lap("auth")
        return link

    def _track(self, link: ClientTransport) -> None:
        with self._lock:
            self._links.add(link)
        if self._closed:
            link.packetizer.close()

    def _drop(self, link: ClientTransport) -> None:
        link.packetizer.close()
        link.close()
        with self._lock:
            self._links.discard(link)

    def _tunnel(self, settings: HostSettings, attempt: Attempt, via: tuple[str, ...]) -> Any:
        """A stream through the jump hosts of a host. `via` are the jump hosts that are being dialled for this one."""
        value = settings.proxy_jump or ""
        try:
            last = parse_hops(value)[-1]
        except ValueError as exc:
            text = f"{attempt.target}: its ProxyJump cannot be read: {exc}"
            raise Failure(Reason(Unreachable.PROXY_FAILED.value, text, "user@host:port, comma-separated")) from None
        if value in via or len(via) >= MAX_HOPS:
            text = f"{attempt.target}: its jump hosts lead in a circle ({' > '.join((*via, value))})"
            hint = "take ProxyJump out of the ssh config of the jump host itself (Host * matches it too)"
            raise Failure(Reason(Unreachable.PROXY_FAILED.value, text, hint))
        before = value.rpartition(",")[0]
        # A later hop is reached through the ones before it, whatever the config says about it.
        bastion = self._settings(msgspec.structs.replace(last, jump=before) if before else last)
        return self._bastions.tunnel(
            value,
            lambda: self._dial_bastion(bastion, last.name, (*via, value)),
            (settings.hostname, settings.port),
            attempt,
        )

    def _dial_bastion(self, settings: HostSettings, name: str, via: tuple[str, ...]) -> Link:
        """Log in to a jump host, with a deadline of its own: many nodes wait for it."""
        request = Request()
        attempt = Attempt(_describe(name, settings), request)
        stack = contextlib.ExitStack()
        with self._watchdog.watching(attempt):
            context = self._connected(settings, request.connect_timeout_s, attempt, via)
            transport = stack.enter_context(context)
        transport.calm()
        limit_blocking_send(transport.sock, SHARED_SEND_S)
        return Link(transport, stack.close)


def _banner_came(attempt: Attempt) -> None:
    attempt.step = "kex"


def _given(value: str) -> bool:
    return bool(value) and value.lower() != "none"


def _jump_value(settings: HostSettings) -> str:
    host = f"[{settings.hostname}]" if ":" in settings.hostname else settings.hostname
    return f"{settings.user or getpass.getuser()}@{host}:{settings.port}"


def _describe(name: str, settings: HostSettings) -> str:
    if name == settings.hostname:
        return f"{name} port {settings.port}"
    return f"{name} ({settings.hostname} port {settings.port})"


def _complete(reply: Reply, attempt: Attempt) -> Reply:
    return msgspec.structs.replace(
        reply, host_key=attempt.host_key, started=attempt.started, timings_ms=attempt.timings_ms
    )
