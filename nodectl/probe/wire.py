r"""The reply of a probe, taken apart: lanes, sources, sections.

The script's stdout is lines. What several processes write side by side stays apart, since each line says whose it is:

    @NONCE probe version=1 uid=0 epoch=1796000000 uptime=12.5 lanes=3 sources=a,b,c      the start
    @NONCE at LANE NAME TIMEOUT     a source begins now (a hint for the client's clock, ahead of the lane's own data)
    @NONCE tick                     once a second: the node is alive
    LANE:text                       a line of lane LANE
    LANE+chunk                      a part of a long line, which goes on in the next line of the lane
    @NONCE done                     the end

and within a lane, first what frames its sources, one after the other, then what each source says:

    @NONCE src NAME UPTIME TIMEOUT
    @NONCE begin KIND NAME          a section; its content follows, as it is, and one newline that is not part of it
    @NONCE err LINE                 stderr of the command
    @NONCE end RC
    @NONCE exit NAME RC UPTIME | @NONCE stuck NAME UPTIME (killed, and still there) | @NONCE skip NAME (no time left)
    @NONCE big                      the node itself stopped sending this source: too much
    @NONCE lane                     the lane is through

A line without the nonce is content, whatever it looks like. Times are the node's uptime in seconds.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Mapping

import msgspec

VERSION = 1
_MAX_BEGUN = 1000
CHUNK_BYTES = 2000

_LANE_WORDS = frozenset((b"src", b"exit", b"stuck", b"skip", b"big", b"lane"))
# Lines of one lane that stand together: taken at once, so that the loop turns per run and not per line. The bounds are
# far above what any node needs; without them a hostile one could have us fill our memory.
_RUN = re.compile(rb"^([0-9]{1,3})[:+][^\n]*\n(?:\1[:+][^\n]*\n){0,2000}", re.MULTILINE)
_MAX_RUNS = 200_000


class RawSource(msgspec.Struct):
    """One source as it came: `pieces` are what followed each control mark, `ended` is how it ended, if it did."""

    name: str
    lane: int
    timeout_s: int = 0
    began_s: float | None = None
    ended_s: float | None = None
    ended: str = ""
    rc: int | None = None
    big: bool = False
    size: int = 0
    stray: bytes = b""
    pieces: list[bytes] = msgspec.field(default_factory=list)


class Decoded(msgspec.Struct):
    """A whole reply. `start` is empty when there was no start line.

    `begun`: sources that the node said it begins, ahead of their lane's data, which may still be held up there.
    """

    start: dict[str, str] = msgspec.field(default_factory=dict)
    begun: set[str] = msgspec.field(default_factory=set)
    sources: dict[str, RawSource] = msgspec.field(default_factory=dict)
    done: bool = False


def decode(wire: bytes, nonce: str) -> Decoded:
    """Takes a reply apart; it may be cut, interleaved or forged in any way, and nothing raises."""
    decoded = Decoded()
    mark = b"@" + nonce.encode() + b" "
    if wire and not wire.endswith(b"\n"):
        wire += b"\n"
    lanes: dict[int, list[bytes]] = {}
    at = 0
    for run in itertools.islice(_RUN.finditer(wire), _MAX_RUNS):
        _top_level(decoded, wire[at : run.start()], mark)
        at = run.end()
        lanes.setdefault(int(run[1]), []).append(_unprefixed(run[0], run[1]))
    _top_level(decoded, wire[at:], mark)
    for lane, runs in lanes.items():
        _split_lane(decoded, lane, b"".join(runs), mark)
    return decoded


def _top_level(decoded: Decoded, text: bytes, mark: bytes) -> None:
    if mark not in text:
        return
    for piece in (b"\n" + text).split(b"\n" + mark)[1:]:
        word, _, rest = piece.partition(b"\n")[0].partition(b" ")
        if word == b"probe" and not decoded.start:
            decoded.start = _pairs(rest)
        elif word == b"done":
            decoded.done = True
        elif word == b"at" and len(words := rest.split()) == 3 and len(decoded.begun) < _MAX_BEGUN:
            decoded.begun.add(words[1].decode("ascii", "replace"))


def _pairs(text: bytes) -> dict[str, str]:
    words = text.decode("ascii", "replace").split()
    return {key: value for key, is_pair, value in (word.partition("=") for word in words) if is_pair}


def _unprefixed(run: bytes, lane: bytes) -> bytes:
    """The lines of one lane without their prefixes; `LANE+` lines lose their newline too."""
    text = b"\n" + run
    if b"\n" + lane + b"+" not in text:
        return text.replace(b"\n" + lane + b":", b"\n")[1:]
    width = len(lane) + 1
    parts = []
    for line in run.split(b"\n")[:-1]:
        parts.append(line[width:])
        if line[width - 1 : width] == b":":
            parts.append(b"\n")
    return b"".join(parts)


def _split_lane(decoded: Decoded, lane: int, text: bytes, mark: bytes) -> None:
    current: RawSource | None = None
    for piece in (b"\n" + text).split(b"\n" + mark)[1:]:
        line, _, rest = piece.partition(b"\n")
        word, _, tail = line.partition(b" ")
        if word not in _LANE_WORDS:
            if current is not None:
                current.pieces.append(piece)
                current.size += len(piece)
        elif word == b"src":
            current = _begin(decoded, lane, tail.split(), rest)
        elif word == b"big":
            if current is not None:
                current.big = True
        elif word == b"skip":
            _begin(decoded, lane, [*tail.split(), b"", b""], b"", ended="skip")
            current = None
        else:
            if current is not None and word != b"lane":
                _end(current, word.decode(), tail.split())
            current = None


def _begin(decoded: Decoded, lane: int, words: list[bytes], stray: bytes, ended: str = "") -> RawSource | None:
    if len(words) < 3:
        return None
    name = words[0].decode("ascii", "replace")
    if name in decoded.sources:
        # The first one stands: whoever comes second is not what was asked for.
        return None
    timeout_s = _integer(words[2])
    source = RawSource(name, lane, timeout_s=timeout_s or 0, began_s=_seconds(words[1]), stray=stray, ended=ended)
    decoded.sources[name] = source
    return source


def _end(source: RawSource, word: str, words: list[bytes]) -> None:
    if source.ended or not words or words[0].decode("ascii", "replace") != source.name:
        return
    source.ended = word
    source.ended_s = _seconds(words[-1])
    if word == "exit" and len(words) >= 2:
        source.rc = _integer(words[1])


def _integer(word: bytes) -> int | None:
    return int(word) if word.isdigit() and len(word) < 10 else None


def _seconds(word: bytes) -> float | None:
    return float(word) if re.fullmatch(rb"[0-9]{1,12}(\.[0-9]{1,6})?", word) else None


class RawSection(msgspec.Struct):
    kind: bytes
    name: bytes
    content: bytes
    errors: list[bytes] = msgspec.field(default_factory=list)
    rc: int | None = None


def sections(source: RawSource, limit: int) -> tuple[list[RawSection], bytes]:
    """The sections of a source, at most `limit`, and what it said outside of any (a shell's complaint, mostly)."""
    found: list[RawSection] = []
    stray = [source.stray]
    current: RawSection | None = None
    for piece in source.pieces:
        line, _, rest = piece.partition(b"\n")
        word, _, tail = line.partition(b" ")
        if word == b"begin":
            if len(found) >= limit:
                break
            kind, _, name = tail.partition(b" ")
            current = RawSection(kind, name, rest)
            found.append(current)
            continue
        stray.append(rest)
        if current is not None and word == b"err":
            current.errors.append(tail)
        elif current is not None and word == b"end":
            current.rc = _integer(tail)
            current = None
    return found, b"\n".join(part for part in stray if part.strip())


def encode_start(nonce: str, sources: Iterable[str], fields: Mapping[str, object], lanes: int = 1) -> bytes:
    """The start line; `fields` are `uid`, `epoch`, `uptime` and whatever else is known."""
    pairs = {"version": VERSION, **fields, "lanes": lanes, "sources": ",".join(sources)}
    text = " ".join(f"{key}={value}" for key, value in pairs.items())
    return f"@{nonce} probe {text}\n".encode()


def encode_lane(lane: int, text: bytes) -> bytes:
    """The lines of one lane as the node's encoder writes them. `text` ends with a newline."""
    colon, plus = f"{lane}:".encode(), f"{lane}+".encode()
    out = []
    for line in text.split(b"\n")[:-1]:
        at = 0
        while len(line) - at > CHUNK_BYTES:
            out.append(plus + line[at : at + CHUNK_BYTES] + b"\n")
            at += CHUNK_BYTES
        out.append(colon + line[at:] + b"\n")
    return b"".join(out)
