"""How packets are read from a connection: paramiko's Packetizer, without its polling.

paramiko polls each socket ten times a second and reads a packet with two or more system calls. Here reads are blocking
and buffered: a thread sleeps until there is data, and whoever wants to end it shuts the socket down; or it is parked,
while the one thread of `pump.py` reads for many. The sizes of a banner line and of a packet are capped before memory is
taken for them.
"""

from __future__ import annotations

import contextlib
import errno
import socket
import threading
import time
from collections.abc import Callable
from typing import Any, Protocol, cast

from paramiko.common import MSG_IGNORE
from paramiko.message import Message
from paramiko.packet import NeedRekeyException, Packetizer
from paramiko.ssh_exception import SSHException

from nodectl.transport.base import inner
from nodectl.transport.pump import Pump

MAX_BANNER_LINE = 8192
MAX_PACKET = 256 * 1024
"""Both as in OpenSSH."""
READ_BYTES = 65536
HEADER_BYTES = 16  # the longest block of a cipher: read_message wants as much before it looks at the length


class Parking(Protocol):
    """A connection's reader, as the packetizer sees it when nothing but its stream's data is to be read."""

    def may_park(self) -> bool:
        """No keys are being exchanged. Asked in the connection's thread, which may send what is due here."""

    def take(self, kind: int, message: Message) -> bool:
        """A message, in the pump's thread. True: it is dealt with; False: the connection's thread must have it."""

    def wanted(self) -> bool:
        """The connection's thread has something to do."""


class BufferedPacketizer(Packetizer):
    """Reads in large pieces, blocks until there is data, and never reads more than a sane packet.

    Attributes:
        quick_acks: acknowledge at once.
        pace: limits how much is read; `pause` waits in the connection's thread.
    """

    def __init__(self, stream: Any) -> None:
        super().__init__(stream)
        self._stream = stream
        self._buffer = b""
        self._at = 0
        self.quick_acks = False
        self.pace: Callable[[int], float] = _unlimited
        self.pause: Callable[[float], None] = time.sleep
        self._finishing = False
        self._pump: Pump | None = None
        self._parking: Parking | None = None
        self._unparked = threading.Event()
        self._result: tuple[int, Message] | BaseException | None = None

    def _log(self, level: int, msg: Any) -> None:
        """Nothing is logged."""

    def start_handshake(self, timeout: float) -> None:
        """No timer: the watchdog looks after this."""

    def close(self) -> None:
        shutdown = getattr(self._stream, "shutdown", None)
        if shutdown is not None:
            with contextlib.suppress(OSError):
                shutdown(socket.SHUT_RDWR)
        super().close()

    def finish(self, within_s: float) -> None:
        """Read for this long at most, or, with 0, only what has been read already; then the connection is over. To be
        called by the thread that reads it."""
        self._finishing = True
        with contextlib.suppress(OSError):
            self._stream.settimeout(within_s)

    def _fill(self, check_rekey: bool) -> None:
        """Append what has come to the buffer; blocks until something has."""
        rest = self._buffer[self._at :]
        try:
            data = self._stream.recv(READ_BYTES)
        except TimeoutError as exc:
            if self.closed or self._finishing:
                raise EOFError from None
            if exc.errno == errno.ETIMEDOUT:  # not a time limit of ours: TCP has given the peer up
                raise
            if check_rekey and not rest and self.need_rekey():
                raise NeedRekeyException from None
            return
        except OSError:
            if self.closed or self._finishing:
                raise EOFError from None
            raise
        if not data:
            raise EOFError
        wait_s = self.pace(len(data))
        if wait_s:
            self.pause(wait_s)
        if self.quick_acks:
            # sshd's own Nagle waits for our acknowledgement; the kernel forgets this option after each use.
            with contextlib.suppress(OSError):
                self._stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        self._buffer, self._at = (rest + data if rest else data), 0

    def read_all(self, n: int, check_rekey: bool = False) -> bytes:
        if not 0 <= n <= MAX_PACKET:
            raise SSHException(f"a packet of {n} bytes is not valid")
        while len(self._buffer) - self._at < n:
            self._fill(check_rekey)
        self._at += n
        return self._buffer[self._at - n : self._at]

    def readline(self, timeout: float) -> str:
        while (end := self._buffer.find(b"\n", self._at)) < 0:
            if len(self._buffer) - self._at > MAX_BANNER_LINE:
                raise SSHException("the first line is too long")
            self._fill(False)
        line = self._buffer[self._at : end]
        self._at = end + 1
        return line.decode("utf-8", "replace").rstrip("\r")

    def write_all(self, out: Any) -> None:
        view = memoryview(out)
        while view:
            try:
                sent = self._stream.send(view)
            except (OSError, SSHException):  # also EAGAIN: a limited send that ran out of time
                raise EOFError from None
            if sent <= 0:
                raise EOFError
            view = view[sent:]

    def park_with(self, pump: Pump, parking: Parking) -> None:
        """From the next message on, `pump` may read for the connection's thread. Only where a packet's length can be
        told before it is decrypted, and only from sockets; everything else stays as it is."""
        if isinstance(self._stream, socket.socket):
            self._parking = parking
            self._pump = pump

    def read_message(self) -> tuple[int, Message]:
        pump, parking = self._pump, self._parking
        if pump is None or parking is None or self._finishing or not parking.may_park() or not self._length_is_plain():
            return cast("tuple[int, Message]", inner(super()).read_message())
        self._result = None
        self._unparked.clear()
        if self._whole_packets(parking):
            pump.add(self)
            self._unparked.wait()
        result: Any = self._result
        if isinstance(result, BaseException):
            raise result
        return cast("tuple[int, Message]", result)

    def _length_is_plain(self) -> bool:
        return bool(inner(self)._Packetizer__aead_in or inner(self)._Packetizer__etm_in)

    def fileno(self) -> int:
        return int(self._stream.fileno())

    def pump(self) -> float | None:
        """See `pump.Pumped`."""
        try:
            data = self._stream.recv(READ_BYTES, socket.MSG_DONTWAIT)
        except (BlockingIOError, InterruptedError):
            return 0.0
        except OSError as exc:
            self._result = EOFError() if self.closed else exc
            return None
        if not data:
            self._result = EOFError()
            return None
        wait_s = self.pace(len(data))
        rest = self._buffer[self._at :]
        self._buffer, self._at = (rest + data if rest else data), 0
        assert self._parking is not None
        return wait_s if self._whole_packets(self._parking) else None

    def unpark(self) -> None:
        """See `pump.Pumped`."""
        self._unparked.set()

    def abandon(self) -> None:
        """See `pump.Pumped`."""
        self._result = EOFError()
        self._unparked.set()

    def _whole_packets(self, parking: Parking) -> bool:
        """Deal with the packets that have come as a whole. False: there is a `_result` for the connection's thread."""
        overhead = 4 + int(inner(self)._Packetizer__mac_size_in)
        while len(self._buffer) - self._at >= HEADER_BYTES:
            size = int.from_bytes(self._buffer[self._at : self._at + 4], "big")
            if size <= MAX_PACKET and len(self._buffer) - self._at < size + overhead:
                break
            try:
                kind, message = inner(super()).read_message()
            except Exception as exc:
                self._result = exc
                return False
            if not parking.take(kind, message):
                self._result = kind, message
                return False
            if self.need_rekey():
                self._result = NeedRekeyException()
                return False
        if parking.wanted():
            self._result = MSG_IGNORE, Message()
            return False
        return True


def _unlimited(count: int) -> float:
    return 0.0
