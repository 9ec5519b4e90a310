"""Lines out: one JSON object a line, one write a line, never waiting for a slow reader."""

import errno
import fcntl
import json
import os
import time
import typing

LINE_BYTES = 256 * 1024  # the most that the reader takes as one line
KEPT_LINES = 64  # hellos, events: kept for a slow reader, unlike ticks


def line_of(message: "dict[str, typing.Any]") -> bytes:
    """One message as its line. ASCII only, so that no terminal or encoding on the way can change it."""
    return json.dumps(message, separators=(",", ":"), allow_nan=False).encode("ascii") + b"\n"


def slow_line_of(message: "dict[str, typing.Any]") -> bytes:
    """A slow line; rows of processes are left out from the end until it fits."""
    line = line_of(message)
    while len(line) > LINE_BYTES and message["p"]:
        message["p"] = message["p"][: len(message["p"]) // 2]
        line = line_of(message)
    return line


def plain(text: "typing.Any", most: int = 200) -> str:
    """Text without control characters and lone surrogates, cut to a length."""
    if isinstance(text, bytes):
        text = text.decode("utf-8", "replace")
    cut = str(text).encode("utf-8", "replace").decode("utf-8")[:most]
    return "".join(letter if letter.isprintable() else "?" for letter in cut)


class Output:
    """Whole lines into a file descriptor that is never waited for.

    A line that does not fit now is kept and goes on later; while one is kept, ticks are dropped and counted, other
    lines queue up.
    """

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.broken = ""
        self.dropped = 0
        self._rest = b""
        self._kept: "list[bytes]" = []
        self._flags = fcntl.fcntl(fd, fcntl.F_GETFL)
        fcntl.fcntl(fd, fcntl.F_SETFL, self._flags | os.O_NONBLOCK)

    @property
    def waits(self) -> bool:
        """Whether something is left that the reader has not taken."""
        return bool(self._rest or self._kept)

    def tick(self, line: bytes) -> None:
        """Sends a line that is worth nothing later: dropped, and counted, if the reader is behind."""
        self.flush()
        if self.waits:
            self.dropped += 1
        else:
            self._write(line)

    def keep(self, line: bytes) -> None:
        """Sends a line that must not be lost: it waits for a reader that is behind."""
        self.flush()
        if not self.waits:
            self._write(line)
        elif len(self._kept) < KEPT_LINES:
            self._kept.append(line)
        else:
            self.dropped += 1

    def flush(self) -> None:
        """Goes on with what the reader has not taken yet."""
        while self.waits and not self.broken:
            if not self._rest:
                self._rest = self._kept.pop(0)
            if not self._write(b""):
                return

    def _write(self, line: bytes) -> bool:
        data = self._rest + line
        try:
            done = os.write(self.fd, data)
        except OSError as error:
            done = 0
            if error.errno not in (errno.EAGAIN, errno.EINTR):
                self.broken = "stdout: %s" % (error.strerror or error)
        self._rest = data[done:]
        return not self._rest

    def close(self, last: bytes, patience_s: float = 0.5) -> None:
        """Sends a last line if the reader takes it soon, and gives the descriptor back as it was."""
        self.keep(last)
        until = time.monotonic() + patience_s
        while self.waits and not self.broken and time.monotonic() < until:
            time.sleep(0.02)
            self.flush()
        try:
            fcntl.fcntl(self.fd, fcntl.F_SETFL, self._flags)
        except OSError:
            self.broken = self.broken or "stdout: closed"
