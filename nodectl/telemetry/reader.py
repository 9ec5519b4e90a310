"""Bytes of a stream, in pieces of any size, to messages. Never raises: what is no message is counted and left out.

Before the hello a shell may talk (a message of the day, a warning of a profile): such noise is skipped up to a cap, and
its last lines are kept, because when the hello never comes they say why.
"""

from __future__ import annotations

import msgspec

from nodectl.probe.clean import clean_line
from nodectl.telemetry.decode import NotUnderstood, decode
from nodectl.telemetry.messages import MAX_LINE_BYTES, Hello, Message

MAX_NOISE_BYTES = 256 * 1024
MAX_BAD_IN_A_ROW = 1000
KEPT_NOISE_LINES = 5
_MESSAGE_START = b'{"k":'


class Counts(msgspec.Struct):
    """What a reader has seen.

    Attributes:
        bytes, lines: all that came, and the whole lines of it.
        messages: lines that were understood.
        noise: lines before the hello that are no hello.
        bad: lines after it that are no message.
        unknown: lines after it of a kind that this version does not know.
        too_long: whole lines over the limit, before or after the hello.
        mended: messages found behind something else in their line; also in `messages`.
        unfinished: 1 where the stream ended inside a line.
    """

    bytes: int = 0
    lines: int = 0
    messages: int = 0
    noise: int = 0
    bad: int = 0
    unknown: int = 0
    too_long: int = 0
    mended: int = 0
    unfinished: int = 0


class LineReader:
    """The reader of one stream.

    Attributes:
        counts: what was seen. A caller that wants to stop a flood looks at `counts.bytes` over time.
        hello: the newest hello, or None before the first.
        noise: the last lines before the hello, clean.
        gave_up: more noise came before the hello than is borne, or no message in very many lines after it; everything
            since is dropped, so close the stream.
    """

    def __init__(self, *, max_line_bytes: int = MAX_LINE_BYTES, max_noise_bytes: int = MAX_NOISE_BYTES) -> None:
        self.counts = Counts()
        self.hello: Hello | None = None
        self.noise: list[str] = []
        self.gave_up = False
        self._max_line = max_line_bytes
        self._noise_left = max_noise_bytes
        self._partial = bytearray()
        self._bad_in_a_row = 0
        self._skipping = False  # inside a line that is too long

    def feed(self, data: bytes) -> list[Message]:
        """The messages of the lines that end in `data`."""
        counts = self.counts
        counts.bytes += len(data)
        if self.gave_up:
            return []
        pieces = data.split(b"\n")
        rest = pieces.pop()
        found: list[Message] = []
        for piece in pieces:
            line = self._end_of_line(piece)
            counts.lines += 1
            if line:
                self._take(line, found)
            if self.gave_up:
                return found
        self._keep(rest)
        return found

    def end(self) -> None:
        """The stream is over: an unfinished line is counted."""
        if self._partial or self._skipping:
            self.counts.unfinished = 1
        self._partial.clear()
        self._skipping = False

    def _end_of_line(self, piece: bytes) -> bytes | None:
        """A whole line, of what was kept and its last piece; None for one that is too long."""
        if self._skipping:
            self._skipping = False
            self._too_long()
            return None
        if self._partial:
            self._partial += piece
            piece = bytes(self._partial)
            self._partial.clear()
        if len(piece) > self._max_line:
            self._too_long()
            return None
        return piece

    def _keep(self, rest: bytes) -> None:
        if self._skipping or not rest:
            return
        if len(self._partial) + len(rest) > self._max_line:
            self._partial.clear()
            self._skipping = True
        else:
            self._partial += rest

    def _too_long(self) -> None:
        self.counts.too_long += 1
        if self.hello is None:
            self._noisy(self._max_line)

    def _take(self, line: bytes, found: list[Message]) -> None:
        try:
            message = decode(line)
        except NotUnderstood as exc:
            if not line.strip():
                return
            behind = self._behind_noise(line)
            if behind is None:
                self._refuse(line, exc)
                return
            message = behind
            self.counts.mended += 1
        if type(message) is Hello:
            self.hello = message
        elif self.hello is None:
            self._refuse(line, None)
            return
        self.counts.messages += 1
        self._bad_in_a_row = 0
        found.append(message)

    def _behind_noise(self, line: bytes) -> Message | None:
        """A message that begins inside a line: after a prompt with no newline, or after the torso of another."""
        start = line.rfind(_MESSAGE_START)
        if start <= 0:
            return None
        try:
            return decode(line[start:])
        except NotUnderstood:
            return None

    def _refuse(self, line: bytes, exc: NotUnderstood | None) -> None:
        if self.hello is None:
            self.counts.noise += 1
            self.noise.append(clean_line(line.strip()))
            del self.noise[:-KEPT_NOISE_LINES]
            self._noisy(len(line))
            return
        if exc is not None and exc.unknown_kind:
            self.counts.unknown += 1
        else:
            self.counts.bad += 1
        self._bad_in_a_row += 1
        if self._bad_in_a_row > MAX_BAD_IN_A_ROW:
            self._give_up()

    def _noisy(self, size: int) -> None:
        self._noise_left -= size
        if self._noise_left < 0:
            self._give_up()

    def _give_up(self) -> None:
        self.gave_up = True
        self._partial.clear()
