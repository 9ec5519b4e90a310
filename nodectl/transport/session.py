"""One command over one connection: script in, reply out, with every way of ending accounted for."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from functools import partial

from paramiko.buffered_pipe import BufferedPipe
from paramiko.channel import Channel
from paramiko.ssh_exception import SSHException

from nodectl.model import Reason
from nodectl.transport.attempt import Attempt
from nodectl.transport.base import STDERR_CAP_BYTES, Reply, Request, Sink
from nodectl.transport.client import ClientTransport, give_window
from nodectl.transport.collect import Collector, closed, silent, too_big
from nodectl.transport.reasons import session_failure

EXIT_STATUS_WAIT_S = 1.0
WINDOW_SLACK = 256 * 1024


class Tap(BufferedPipe):  # type: ignore[type-arg]
    """In place of a channel's buffer: data goes straight to its reader, in the thread that received it.

    A thread switch for every packet costs more than all the cryptography. Window space is not given back for stdout;
    instead the channel is opened with a window that covers the whole reply, which also caps what a node can send.
    """

    def __init__(self, on_data: Callable[[bytes], None], on_end: Callable[[], None]) -> None:
        super().__init__()
        self._on_data, self._on_end = on_data, on_end

    def feed(self, data: bytes | str) -> None:
        self._on_data(data if isinstance(data, bytes) else data.encode())

    def close(self) -> None:
        super().close()
        self._on_end()


def converse(link: ClientTransport, request: Request, sink: Sink, attempt: Attempt) -> Reply:
    """Run the command and read its reply.

    Raises:
        Failure: the command was not started.
    """
    collector = Collector(sink, request.max_bytes)
    attempt.enter("open")
    channel = None
    try:
        window = request.max_bytes + STDERR_CAP_BYTES + WINDOW_SLACK
        channel = link.open_channel("session", window_size=window, timeout=attempt.remaining_s() + 1.0)
        link.calm()
        channel.in_buffer = Tap(collector.stdout, collector.eof)
        channel.in_stderr_buffer = Tap(partial(_take_stderr, link, channel, collector), lambda: None)
        channel.exec_command(request.command)
    except (SSHException, EOFError, OSError) as exc:
        # A command that is over at once may be gone before its start was confirmed.
        if channel is None or not collector.stdout_bytes:
            raise session_failure(link, exc, attempt) from None
    attempt.step = "run"
    _write_stdin(channel, request.stdin, collector)
    _wait(collector, attempt)
    if collector.error is not None:
        raise collector.error
    status = _exit_status(channel, attempt) if collector.ending == "eof" and channel.eof_received else None
    attempt.lap("run")
    return Reply(
        reason=_reason(link, channel, collector, request, attempt),
        reached=True,
        stderr=bytes(collector.stderr),
        exit_status=status,
        stdout_bytes=collector.stdout_bytes,
    )


def _take_stderr(link: ClientTransport, channel: Channel, collector: Collector, data: bytes) -> None:
    """stderr uses up the same window and has no end of its own, so its share is given back."""
    collector.stderr_data(data)
    if link.clear_to_send.is_set():
        give_window(channel, len(data))


def _write_stdin(channel: Channel, data: bytes, collector: Collector) -> None:
    """All of it, then end of file; unless the command has ended, for then an EOF would end the whole connection."""
    with contextlib.suppress(OSError, EOFError, SSHException):
        view = memoryview(data)
        channel.settimeout(1.0)
        while view and not collector.over.is_set() and not channel.closed:
            with contextlib.suppress(TimeoutError):
                sent = channel.send(bytes(view[:32768]))
                if sent == 0:
                    return
                view = view[sent:]
        if not channel.closed and not channel.eof_received:
            channel.shutdown_write()


def _wait(collector: Collector, attempt: Attempt) -> None:
    while not collector.over.wait(collector.next_wait_s(0.5)):
        if attempt.over or collector.silent():
            return


def _exit_status(channel: Channel, attempt: Attempt) -> int | None:
    channel.status_event.wait(min(EXIT_STATUS_WAIT_S, attempt.remaining_s()))
    return channel.exit_status if channel.exit_status >= 0 else None


def _reason(
    link: ClientTransport, channel: Channel, collector: Collector, request: Request, attempt: Attempt
) -> Reason | None:
    """Why reading stopped, or None if it was as it should be."""
    if collector.ending == "complete":
        return None
    if collector.ending == "too_big":
        return too_big(attempt.target, request.max_bytes)
    if attempt.over:
        return attempt.ending()
    if collector.ending == "eof":
        if channel.eof_received:
            return None
        said = f": {link.disconnect_text}" if link.disconnect_text else ""
        if isinstance(link.get_exception(), TimeoutError):  # TCP gave up: nothing was acknowledged any more
            said = ": it no longer answers"
        return closed(attempt.target, collector.stdout_bytes, said, bytes(collector.stderr))
    return silent(attempt.target, collector.stdout_bytes)
