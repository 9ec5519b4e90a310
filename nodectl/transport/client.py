"""paramiko's Transport, driven the way that measurements showed to be fast and safe.

This, `packetizer.py`, `login.py`, `agent.py` and `keys.py` are the only modules that know paramiko's insides. What is
changed here, and why:

* Its reads are those of `packetizer.py`: nothing polls.
* No timer thread for each handshake: the watchdog of `attempt.py` holds every deadline.
* What the server said when it refused (offered algorithms, disconnect text, channel error) is kept for the user.
"""

from __future__ import annotations

import contextlib
import logging
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import paramiko
from paramiko.buffered_pipe import PipeTimeout
from paramiko.channel import Channel
from paramiko.common import CONNECTION_FAILED_CODE, cMSG_CHANNEL_OPEN, cMSG_CHANNEL_WINDOW_ADJUST
from paramiko.message import Message
from paramiko.ssh_exception import IncompatiblePeer, SSHException

from nodectl.transport.base import inner, printable
from nodectl.transport.host_keys import ShownKey
from nodectl.transport.packetizer import BufferedPacketizer

_CONNECT_FAILED = 2  # the one code whose text says more than its name

KEX = (
    "mlkem768x25519-sha256",
    "curve25519-sha256@libssh.org",
    "ecdh-sha2-nistp256",
    "ecdh-sha2-nistp384",
    "ecdh-sha2-nistp521",
    # These cost 25 to 83 ms of CPU each and are kept for old machines.
    "diffie-hellman-group14-sha256",
    "diffie-hellman-group-exchange-sha256",
    "diffie-hellman-group16-sha512",
)
CIPHERS = (
    "aes128-gcm@openssh.com",
    "aes256-gcm@openssh.com",
    "aes128-ctr",
    "aes192-ctr",
    "aes256-ctr",
    "aes128-cbc",
    "aes256-cbc",
)
MACS = (
    "hmac-sha2-256-etm@openssh.com",
    "hmac-sha2-512-etm@openssh.com",
    "hmac-sha2-256",
    "hmac-sha2-512",
    "hmac-sha1",
)


def silence_paramiko() -> None:
    """paramiko logs tracebacks for every refused connection; all that matters of them is in the reasons."""
    logger = logging.getLogger("paramiko")
    if not any(isinstance(handler, logging.NullHandler) for handler in logger.handlers):
        logger.addHandler(logging.NullHandler())
        logger.propagate = False
        logger.setLevel(logging.CRITICAL + 1)


class Stream(Protocol):
    """What a connection runs over: a socket, or a channel through a jump host."""

    def send(self, data: bytes, /) -> int: ...
    def recv(self, size: int, /) -> bytes: ...
    def close(self) -> None: ...
    def settimeout(self, value: float | None, /) -> None: ...


class TunnelRefused(SSHException):
    """A jump host did not open the way to a node; the text is what it said."""


class ClientTransport(paramiko.Transport):
    """One client connection.

    Args:
        stream: connected.
        host_key_algorithms: in the order to offer.
        quick_acks: acknowledge at once during the handshake: saves 40 ms on a LAN for a few connections, costs CPU
            with many.
    """

    def __init__(self, stream: Any, name: str, host_key_algorithms: tuple[str, ...], *, quick_acks: bool) -> None:
        super().__init__(stream, packetizer_class=BufferedPacketizer)
        stream.settimeout(None)
        self.name = name
        self.daemon = True
        self.offered_host_keys = host_key_algorithms
        self._preferred_kex = tuple(name for name in KEX if name in inner(self)._kex_info)
        self._preferred_ciphers = CIPHERS
        self._preferred_macs = MACS
        self.peer_offer: dict[str, list[str]] = {}
        self.disconnect_text = ""
        self.channel_error = ""
        self._refusals: dict[int, str] = {}
        self._abandoned: dict[int, Channel] = {}
        self.on_banner: Callable[[], None] = _nothing
        self.on_gone: Callable[[], None] = _nothing
        self._order = threading.Lock()
        assert isinstance(self.packetizer, BufferedPacketizer)
        self.packetizer.quick_acks = quick_acks and hasattr(socket, "TCP_QUICKACK") and hasattr(stream, "setsockopt")

    @property
    def preferred_keys(self) -> tuple[str, ...]:
        return self.offered_host_keys

    def negotiate(self, wait: Callable[[threading.Event], None]) -> ShownKey:
        """Exchange keys. The server has proven, when this returns, that it holds the key that it shows.

        Raises:
            Exception: whatever ended the connection; see `reasons.py`.
        """
        done = threading.Event()
        self.start_client(event=done)
        wait(done)
        if not self.is_active() or not self.initial_kex_done:
            raise self.get_exception() or EOFError()
        key = self.get_remote_server_key()
        blob = key.public_blob
        certificate = blob.key_blob if blob is not None else b""
        return ShownKey(str(self.host_key_type), key.get_name(), key.asbytes(), certificate)

    def run(self) -> None:
        """The connection's thread; its last act is to say that it ends."""
        try:
            super().run()
        finally:
            self.on_gone()

    def calm(self) -> None:
        """The handshake is done: from now on acknowledgements may take their time."""
        inner(self.packetizer).quick_acks = False

    def _log(self, level: int, msg: Any, *args: Any) -> None:
        """Nothing is logged."""

    def _check_banner(self) -> None:
        inner(super())._check_banner()
        self.on_banner()

    def _parse_kex_init(self, m: Message) -> None:
        try:
            inner(super())._parse_kex_init(m)
        except IncompatiblePeer:
            m.rewind()
            self.peer_offer = inner(self)._really_parse_kex_init(m)
            raise

    def _parse_debug(self, m: Message) -> None:
        """sshd sends a few of these to each client; paramiko escapes them byte by byte, for a log."""

    def _parse_disconnect(self, m: Message) -> None:
        m.get_int()
        self.disconnect_text = printable(m.get_text())

    def open_tunnel(self, address: tuple[str, int], wait: Callable[[threading.Event], None]) -> Channel:
        """A channel to `address`, opened by the server (RFC 4254, 7.2). Many threads may do this on one connection.

        Args:
            wait: waits for the event, and raises if the caller has no more time.

        Raises:
            TunnelRefused: with the server's words.
        """
        opened = threading.Event()
        with self.lock:
            number = inner(self)._next_channel()
            channel = Channel(number)
            inner(self)._channels.put(number, channel)
            self.channel_events[number] = opened
            self.channels_seen[number] = True
            inner(channel)._set_transport(self)
            inner(channel)._set_window(self.default_window_size, self.default_max_packet_size)
        message = Message()
        message.add_byte(cMSG_CHANNEL_OPEN)
        message.add_string("direct-tcpip")
        for value in (number, self.default_window_size, self.default_max_packet_size):
            message.add_int(value)
        for host, port in (address, ("127.0.0.1", 0)):
            message.add_string(host)
            message.add_int(port)
        try:
            inner(self)._send_user_message(message)
            wait(opened)
        except BaseException:
            self._abandoned[number] = channel  # it is closed when it opens after all
            raise
        if channel.active:
            return channel
        raise TunnelRefused(self._refusals.pop(number, "") or "the connection to it was lost")

    def _parse_channel_open_success(self, m: Message) -> None:
        number = m.get_int()
        m.rewind()
        inner(super())._parse_channel_open_success(m)
        abandoned = self._abandoned.pop(number, None)
        if abandoned is not None:
            abandoned.close()

    def _parse_channel_open_failure(self, m: Message) -> None:
        number, code = m.get_int(), m.get_int()
        said = printable(m.get_text())
        if code != _CONNECT_FAILED or not said:
            said = ": ".join(filter(None, (CONNECTION_FAILED_CODE.get(code, f"code {code}"), said)))
        self._abandoned.pop(number, None)
        self._refusals[number] = self.channel_error = said
        m.rewind()
        inner(super())._parse_channel_open_failure(m)

    def _send_message(self, data: Message) -> None:
        """One order for all senders. A channel's data must not follow its close: the server drops the whole
        connection for that, with every other channel in it (paramiko issue 1115)."""
        channel = getattr(_sender, "channel", None)
        with self._order:
            if channel is None or not channel.closed:
                inner(super())._send_message(data)


def _nothing() -> None:
    """The default of a callback."""


_sender = threading.local()


@contextlib.contextmanager
def sending_on(channel: Channel) -> Iterator[None]:
    """While inside, this thread sends data or window space of `channel`, which is dropped once that is closed."""
    before = getattr(_sender, "channel", None)  # with two jump hosts in a row, one send is inside the other
    _sender.channel = channel
    try:
        yield
    finally:
        _sender.channel = before


def give_window(channel: Channel, count: int) -> None:
    """Tell the server that `count` bytes were taken and that it may send as many more. Not to be called by the thread
    that reads the connection while keys are exchanged: it would wait for itself."""
    grant = inner(channel)._check_add_window(count)
    if grant > 0:
        message = Message()
        message.add_byte(cMSG_CHANNEL_WINDOW_ADJUST)
        message.add_int(channel.remote_chanid)
        message.add_int(grant)
        inner(channel.transport)._send_user_message(message)


class ChannelStream:
    """A channel through a jump host, as the stream of another connection."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._shut = False
        self._timeout_s: float | None = None
        channel.settimeout(None)

    @property
    def _closed(self) -> bool:
        return bool(self._channel.closed)

    def settimeout(self, value: float | None, /) -> None:
        """For the next reads; None: they block until `shutdown`."""
        self._timeout_s = value

    def send(self, data: bytes, /) -> int:
        """Waits for window space in slices, so that `shutdown` is noticed."""
        self._channel.settimeout(0.5)
        while not self._shut:
            with contextlib.suppress(TimeoutError), sending_on(self._channel):
                return int(self._channel.send(bytes(data)))
        raise EOFError

    def recv(self, size: int, /) -> bytes:
        try:
            data = bytes(self._channel.in_buffer.read(size, self._timeout_s))
        except PipeTimeout:
            raise TimeoutError from None
        except OSError:
            return b""
        with sending_on(self._channel):
            give_window(self._channel, len(data))
        return data

    def shutdown(self, how: int) -> None:
        """Wake the reader and the writer. Sends nothing, so it never blocks."""
        self._shut = True
        self._channel.in_buffer.close()

    def close(self) -> None:
        self.shutdown(socket.SHUT_RDWR)
        with contextlib.suppress(OSError, EOFError, SSHException):
            self._channel.close()
