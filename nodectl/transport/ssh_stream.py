"""A stream over an SSH connection of its own: the connection's thread hands data on, and ends it as its last act.

While it runs, that thread sleeps: in `recv` until there is data or, on a plain TCP connection, until there is something
else than data, which the one thread of `pump.py` reads for all. Nothing polls, and no lock is shared between nodes.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable

import msgspec
from paramiko.channel import Channel
from paramiko.common import MSG_CHANNEL_DATA
from paramiko.message import Message
from paramiko.ssh_exception import SSHException

from nodectl.model import Reason
from nodectl.transport.attempt import Attempt
from nodectl.transport.base import STDERR_CAP_BYTES, Reply
from nodectl.transport.client import ClientTransport, give_window, sending_on
from nodectl.transport.packetizer import BufferedPacketizer
from nodectl.transport.pump import Pump
from nodectl.transport.reasons import session_failure
from nodectl.transport.session import EXIT_STATUS_WAIT_S, Tap
from nodectl.transport.sockets import shut
from nodectl.transport.stream import Pace, StreamRequest, StreamSink, sink_failed, stream_closed

WINDOW_BYTES = 512 * 1024
GIVE_AFTER_BYTES = WINDOW_BYTES // 4
"""Window space is given back in pieces of this size: at 1 KB/s, one small packet in two minutes."""
SEND_BYTES = 32768


class SshStream:
    """See `stream.Stream`. Made, started and handed over by `SshTransport.stream`, in one thread.

    Until `hand_over` it belongs to the thread that starts it, which also ends it if that fails; after it, to the
    connection's thread.

    Args:
        on_end: told when it is over, before the sink is.

    Attributes:
        stack: undoes the connection.
    """

    def __init__(
        self, request: StreamRequest, sink: StreamSink, attempt: Attempt, on_end: Callable[[SshStream], None]
    ) -> None:
        self.stack = contextlib.ExitStack()
        self._request: StreamRequest | None = request
        self._sink = sink
        self._feed: Callable[[bytes], None] = sink.feed
        self._attempt = attempt
        self._on_end = on_end
        self._pace = Pace(request.max_bytes_per_s)
        self._lock = threading.Lock()
        self._handed_over = False
        self._eof = False
        self._gone = False
        self._link: ClientTransport | None = None
        self._channel: Channel | None = None
        self._received = 0
        self._owed = 0
        self._stderr = bytearray()
        self._error: BaseException | None = None

    def close(self) -> None:
        """See `stream.Stream`. Shuts the socket, which wakes the thread that reads it."""
        self._attempt.abort("cancelled")

    def start(self, link: ClientTransport) -> None:
        """Run the command over a connection that is logged in, and write its stdin.

        Raises:
            Failure: it was not started.
        """
        attempt, request = self._attempt, self._request
        assert request is not None
        self._link = link
        link.on_gone = self._link_gone
        packetizer = link.packetizer
        assert isinstance(packetizer, BufferedPacketizer)
        packetizer.pace, packetizer.pause = self._pace.take, attempt.pause
        attempt.enter("open")
        try:
            channel = link.open_channel("session", window_size=WINDOW_BYTES, timeout=attempt.remaining_s() + 1.0)
            self._channel = channel
            link.calm()
            channel.in_buffer = Tap(self._stdout, self._stdout_ended)
            channel.in_stderr_buffer = Tap(self._stderr_data, _nothing)
            channel.exec_command(request.command)
        except (SSHException, EOFError, OSError) as exc:
            if not self._received:  # a command that is over at once may be gone before its start was confirmed
                raise session_failure(link, exc, attempt) from None
        else:
            attempt.enter("stdin")
            self._write(channel, request)
        attempt.check()
        attempt.step = "run"
        self._request = None

    def _write(self, channel: Channel, request: StreamRequest) -> None:
        with contextlib.suppress(OSError, EOFError, SSHException):
            view = memoryview(request.stdin)
            channel.settimeout(0.5)
            while view and not channel.closed:
                self._attempt.check()
                with contextlib.suppress(TimeoutError), sending_on(channel):
                    sent = channel.send(bytes(view[:SEND_BYTES]))
                    if sent == 0:
                        return
                    view = view[sent:]
            if not request.keep_stdin_open and not channel.closed and not channel.eof_received:
                channel.shutdown_write()

    def fail(self, reason: Reason) -> None:
        """It was not started: undo everything and say so."""
        self._end(Reply(reason=reason, reached=False, stderr=bytes(self._stderr)))

    def hand_over(self, pump: Pump) -> None:
        """From now on the connection's thread ends the stream; or this one does, if that is gone already. While there
        is nothing but data, `pump` reads it."""
        assert self._link is not None
        assert isinstance(self._link.packetizer, BufferedPacketizer)
        self._link.packetizer.park_with(pump, self)
        with self._lock:
            self._handed_over = True
            gone, eof = self._gone, self._eof
        if gone:
            self._over()
        elif eof:  # seen while nobody was there to act on it
            if self._channel is not None:
                self._channel.status_event.wait(EXIT_STATUS_WAIT_S)
            shut(self._link.sock)

    def may_park(self) -> bool:
        """See `packetizer.Parking`."""
        self._give_back(0)
        link = self._link
        return link is not None and not link.in_kex and link.clear_to_send.is_set()

    def take(self, kind: int, message: Message) -> bool:
        """See `packetizer.Parking`. Sends nothing: a node that does not read must not hold up the others."""
        channel = self._channel
        if kind != MSG_CHANNEL_DATA or channel is None or channel.closed:
            return False
        if message.get_int() != channel.chanid:
            message.rewind()
            return False
        data = message.get_binary()
        self._deliver(data)
        self._owed += len(data)
        return True

    def wanted(self) -> bool:
        """See `packetizer.Parking`. Window space has to be given back."""
        return self._owed >= GIVE_AFTER_BYTES

    def _stdout(self, data: bytes) -> None:
        self._deliver(data)
        self._give_back(len(data))

    def _deliver(self, data: bytes) -> None:
        self._received += len(data)
        try:
            self._feed(data)
        except Exception as exc:
            self._error = exc
            self._feed = _drop
            self.close()

    def _stderr_data(self, data: bytes) -> None:
        self._stderr += data[: STDERR_CAP_BYTES - len(self._stderr)]
        self._give_back(len(data))

    def _give_back(self, count: int) -> None:
        """Window space; not while keys are exchanged, for this is the thread that exchanges them."""
        self._owed += count
        link, channel = self._link, self._channel
        if self._owed >= GIVE_AFTER_BYTES and link is not None and channel is not None and link.clear_to_send.is_set():
            owed, self._owed = self._owed, 0
            with sending_on(channel):
                give_window(channel, owed)

    def _stdout_ended(self) -> None:
        """End of file, or the channel was closed (it holds its lock here). Wait for the exit status, but not long."""
        link, channel = self._link, self._channel
        with self._lock:
            self._eof = True
            if not self._handed_over:
                return
        assert link is not None
        assert channel is not None
        assert isinstance(link.packetizer, BufferedPacketizer)
        link.packetizer.finish(0.0 if channel.closed else EXIT_STATUS_WAIT_S)

    def _link_gone(self) -> None:
        """The last act of the connection's thread."""
        with self._lock:
            self._gone = True
            mine = self._handed_over
        if mine:
            self._over()

    def _over(self) -> None:
        channel = self._channel
        status = channel.exit_status if channel is not None and channel.exit_status >= 0 else None
        self._attempt.lap("run")
        self._end(
            Reply(
                reason=self._reason(status),
                reached=True,
                stderr=bytes(self._stderr),
                exit_status=status,
                stdout_bytes=self._received,
            )
        )

    def _reason(self, status: int | None) -> Reason | None:
        attempt, link, channel = self._attempt, self._link, self._channel
        assert link is not None
        if self._error is not None:
            return sink_failed(attempt.target, self._error)
        if status is not None or (channel is not None and channel.eof_received):
            return None
        if attempt.over:
            return attempt.ending()
        said = f": {link.disconnect_text}" if link.disconnect_text else ""
        if isinstance(link.get_exception(), TimeoutError):  # TCP gave up: nothing was acknowledged any more
            said = ": it no longer answers"
        return stream_closed(attempt.target, self._received, said, bytes(self._stderr))

    def _end(self, reply: Reply) -> None:
        attempt = self._attempt
        reply = msgspec.structs.replace(
            reply, host_key=attempt.host_key, started=attempt.started, timings_ms=attempt.timings_ms
        )
        try:
            self.stack.close()
        finally:
            self._on_end(self)
            self._link = self._channel = None  # no circles: a thousand lost nodes try again and again
            self._sink.ended(reply)


def _nothing() -> None:
    """stderr has no end that matters."""


def _drop(data: bytes) -> None:
    """After the sink has failed it gets nothing more."""
