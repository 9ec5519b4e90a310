"""Reading the reply while it comes: enough of it to know when it is over, and no more.

This runs between the reads of a socket, so it only looks for the few lines that carry the nonce. What the lanes and
sources said is taken apart later, elsewhere (`Transcript.sources`).
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable

import msgspec

from nodectl.model import Reason, Unreachable
from nodectl.probe.clean import clean_line
from nodectl.probe.compose import GRACE_S, START_S

MAX_BYTES = 16 * 1024 * 1024
MAX_JUNK_BYTES = 64 * 1024
_KEPT_JUNK_BYTES = 2048
_LONGEST_CONTROL = 8 * 1024
_NETWORK_S = 4
_HANGS = "look at it on the node: ps -eo pid,stat,wchan,cmd | grep ' D'"


class _Lane(msgspec.Struct):
    """One lane as far as it has been heard of. `due_at`: when the source that runs in it must have been ended."""

    due_at: float
    source: str = ""


class FrameReader:
    """Takes in a node's stdout, in pieces of any size, and knows when all of it is there or the rest will not come.

    Args:
        nonce: the one that the script was composed with.
        sources: names of the sources asked for.
        max_bytes: what is kept of a reply; more than that ends it.
        clock: seconds, monotonic.

    Attributes:
        ending: `no_start` until the start line is there; then `eof` until one of `complete` (all has come), `gave_up`
            (what is left hangs on the node), `timed_out` (the transport stopped waiting) or `too_big`.
        gave_up_on: the sources that hang.
    """

    def __init__(
        self,
        nonce: str,
        sources: Iterable[str] = (),
        *,
        max_bytes: int = MAX_BYTES,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._mark = b"@" + nonce.encode() + b" "
        self._control = re.compile(re.escape(self._mark) + rb"(at|src|exit|stuck|skip|lane|done)(?: ([^\n]*))?\n")
        self.sources = tuple(sources)
        self._max_bytes = max_bytes
        self._clock = clock
        self._data = bytearray()
        self._taken = 0
        self._scanned = 0
        self._junk = b""
        self._lanes: dict[int, _Lane] = {}
        self._over = False
        self.ending = "no_start"
        self.gave_up_on: tuple[str, ...] = ()

    def feed(self, data: bytes) -> bool:
        """Takes some of the reply. True: it is complete, and nothing more need be read."""
        if self._over:
            return True
        self._data += data
        self._taken += len(data)
        if self.ending == "no_start" and not self._find_start():
            return self._over
        self._scan()
        if self._over:  # what follows the end is no part of the reply, in however many pieces it comes
            del self._data[self._scanned :]
        if not self._over and self._taken >= self._max_bytes:
            del self._data[self._max_bytes :]
            self._finish("too_big")
        due_in_s = self.due_in_s()
        if not self._over and due_in_s is not None and due_in_s <= 0:
            # The node still ticks, but what hangs there is not coming.
            self._give_up()
        return self._over

    def due_in_s(self) -> float | None:
        """Seconds after which what is left will not come any more; None before the probe has started."""
        if self.ending == "no_start":
            return None
        if self._over or not self._lanes:
            return 0.0
        return max(lane.due_at for lane in self._lanes.values()) - self._clock()

    def transcript_wire(self) -> bytes:
        """The reply from its start line on."""
        return b"" if self.ending == "no_start" else bytes(self._data)

    @property
    def note(self) -> str:
        """What the node printed before the probe began, if anything."""
        junk = self._junk if self.ending != "no_start" else bytes(self._data[:_KEPT_JUNK_BYTES])
        said = clean_line(junk, max_chars=400)
        return f"before the probe the node printed: {said}" if said else ""

    def conclude(
        self, reason: Reason | None = None, *, stderr: bytes = b"", exit_status: int | None = None
    ) -> Reason | None:
        """The reading is over: why the reply is not whole, for a person; None when it is.

        Args:
            reason: what the transport has to say, if it stopped the reading.
            stderr: what came on the other stream.
            exit_status: of the command that the transport ran, if it is known.
        """
        if self.ending == "complete":
            return None
        if self.ending == "no_start":
            return self._no_start(reason, stderr, exit_status)
        if self.ending == "eof" and reason is not None and reason.code == Unreachable.TIMEOUT.value:
            left_s = self.due_in_s()
            self._give_up() if left_s is not None and left_s <= 0 else self._finish("timed_out")
        if self.ending == "gave_up":
            who = ", ".join(self.gave_up_on) or "the probe"
            return Reason(Unreachable.TIMEOUT.value, f"{who} hangs on the node and cannot be ended there", _HANGS)
        if self.ending == "too_big":
            text = f"the reply is bigger than {self._max_bytes} bytes; the rest was not read"
            return Reason(Unreachable.PROBE_FAILED.value, text)
        text = "the probe was ended on the node before it was through"
        return reason or Reason(Unreachable.CLOSED.value, text, "did somebody kill it, or was memory short?")

    def _no_start(self, reason: Reason | None, stderr: bytes, exit_status: int | None) -> Reason:
        lines = (line for text in (bytes(self._data), stderr) for line in text.split(b"\n"))
        said = clean_line(next((line for line in lines if line.strip()), b""), max_chars=160)
        if reason is not None and reason.code not in (Unreachable.CLOSED.value, Unreachable.PROBE_FAILED.value):
            text = f'{reason.text}; it had said only "{said}"' if said else reason.text
            return Reason(reason.code, text, reason.hint)
        hint = "can this login run sh? try: ssh NODE 'exec sh' </dev/null"
        if len(self._data) >= MAX_JUNK_BYTES:
            hint = "what does its shell print at login? a session without a terminal should be silent"
        status = "" if exit_status is None else f" (exit status {exit_status})"
        if said:
            return Reason(Unreachable.PROBE_FAILED.value, f'the node answered "{said}" and not the probe{status}', hint)
        if reason is not None:
            return reason
        text = f"the node ended the session without a word, and without running the probe{status}"
        return Reason(Unreachable.PROBE_FAILED.value, text, hint)

    def _find_start(self) -> bool:
        """Throws away what a login prints before the script's first line."""
        mark = b"\n" + self._mark + b"probe "
        # The first such line counts, in however many pieces it comes; nothing need stand before it.
        at = -1
        if not self._data.startswith(mark[1:]):
            at = self._data.find(mark, max(0, self._scanned - len(mark)))
            if at < 0:
                self._scanned = len(self._data)
                return self._no_start_yet()
        end = self._data.find(b"\n", at + 1)
        if end < 0:
            self._scanned = max(0, at)
            return self._no_start_yet()
        self._junk = bytes(self._data[: min(max(at, 0), _KEPT_JUNK_BYTES)])
        del self._data[: at + 1]
        self._scanned = end - at
        self.ending = "eof"
        self._begin()
        return True

    def _no_start_yet(self) -> bool:
        if len(self._data) > MAX_JUNK_BYTES:
            del self._data[MAX_JUNK_BYTES:]
            self._over = True
        return False

    def _begin(self) -> None:
        match = re.search(rb" lanes=([0-9]{1,3})\b", self._data[: self._scanned])
        due_at = self._clock() + START_S + _NETWORK_S
        self._lanes = {number: _Lane(due_at) for number in range(int(match[1]) if match else 1)}
        if not self._lanes:
            self._finish("complete")

    def _scan(self) -> None:
        for match in self._control.finditer(self._data, self._scanned):
            self._scanned = match.end()
            begin = self._data.rfind(b"\n", max(0, match.start() - 8), match.start()) + 1
            prefix = bytes(self._data[begin : match.start()])
            if prefix and not (prefix[-1:] == b":" and prefix[:-1].isdigit()):
                continue
            self._heard(int(prefix[:-1]) if prefix else -1, match[1], (match[2] or b"").split())
            if self._over:
                return
        # The last line may still be coming; look at it again, unless it is too long to be one of ours.
        tail = self._data.rfind(b"\n", self._scanned) + 1
        self._scanned = max(self._scanned, tail, len(self._data) - _LONGEST_CONTROL)

    def _heard(self, number: int, word: bytes, rest: list[bytes]) -> None:
        now = self._clock()
        if number < 0:
            if word == b"done":
                self._finish("complete")
            elif word == b"at" and len(rest) >= 3 and rest[0].isdigit() and rest[2].isdigit() and len(rest[2]) < 6:
                lane = self._lanes.get(int(rest[0]))
                if lane is not None:
                    lane.source = rest[1].decode("ascii", "replace")
                    lane.due_at = now + int(rest[2]) + GRACE_S + _NETWORK_S
            return
        if number not in self._lanes:
            return
        if word == b"lane":
            del self._lanes[number]
            if not self._lanes:
                self._finish("complete")
        elif word in (b"exit", b"stuck", b"skip") and rest:
            lane = self._lanes[number]
            # An encoder that reads in blocks tells late: the next source may long have begun.
            if lane.source == rest[0].decode("ascii", "replace"):
                lane.source, lane.due_at = "", now + START_S + _NETWORK_S

    def _give_up(self) -> None:
        self.gave_up_on = tuple(lane.source for lane in self._lanes.values() if lane.source)
        self._finish("gave_up")

    def _finish(self, ending: str) -> bool:
        self.ending = ending
        self._over = True
        return True
