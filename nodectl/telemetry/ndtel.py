r"""The file of a recording, `.ndtel`: how it is laid out.

    header line    one JSON object, `\n`: schema nodectl.telemetry/1, tool, created, nodes, the names of all fields
    block          magic NDTB, flags, sizes, CRC-32, times of its first and last record; then deflated records
    block ...

A record is a line of a node's stream as it came in, or a state of the way to it, with the node's name and the Unix time
at which it came. The blocks of a segment are one deflate stream, flushed to a byte at the end of each, so that a small
block costs little; a segment (flag FRESH) begins anew every minute or so with what is known of every node, marked as
REPEATED. So a file that is cut anywhere is good up to its last whole block, a damaged block costs no more than its
segment, and reading can begin at any segment.
"""

from __future__ import annotations

import datetime
import struct
import zlib
from collections.abc import Iterator
from typing import BinaryIO

import msgspec

from nodectl import __version__
from nodectl.errors import UserError
from nodectl.probe.clean import clean_line
from nodectl.telemetry.fields import FAST, GPU_FIELDS, HOST_FIELDS, SLOW
from nodectl.telemetry.layout import field_names

SCHEMA, MAJOR = "nodectl.telemetry", 1
LINE, STATE = 0, 1  # kinds of records
REPEATED = 0x80
FRESH = 0x01
MAX_HEADER_BYTES = 8 * 1024 * 1024
MAX_RAW_BYTES = 64 * 1024 * 1024  # of one block
MAX_NAME_BYTES = 1024
_LEVEL = 4  # 10 us a sample; 6 costs three times as much for a file that is an eighth smaller

_MAGIC = b"NDTB"
_BLOCK = struct.Struct("<4sBxxxIIdd")  # magic, flags, stored bytes, raw bytes, first and last Unix time
_CRC = struct.Struct("<I")
_RECORD = struct.Struct("<BdHI")  # kind, Unix time, bytes of the name, bytes of the data


class ToolName(msgspec.Struct, frozen=True):
    name: str = "nodectl"
    version: str = __version__


class Header(msgspec.Struct, frozen=True, kw_only=True):
    """The first line. Fields are the values of a tick and of the slow beat, in order, where a hello names none."""

    schema: str = f"{SCHEMA}/{MAJOR}"
    tool: ToolName = ToolName()
    created: str = ""
    nodes: tuple[str, ...] = ()
    gpu_fields: tuple[str, ...] = field_names(GPU_FIELDS, FAST)
    gpu_slow_fields: tuple[str, ...] = field_names(GPU_FIELDS, SLOW)
    host_fields: tuple[str, ...] = field_names(HOST_FIELDS, FAST)
    host_slow_fields: tuple[str, ...] = field_names(HOST_FIELDS, SLOW)

    def line(self) -> bytes:
        return msgspec.json.encode(self) + b"\n"


class Record(msgspec.Struct, frozen=True):
    """One record. data: a line of the stream (kind LINE), or a State as JSON (kind STATE).

    `repeated`: it was in the file before; it is there again for those who begin to read here.
    """

    kind: int
    t: float
    node: str
    data: bytes
    repeated: bool = False

    def packed(self) -> bytes:
        name = self.node.encode("utf-8", "replace")[:MAX_NAME_BYTES]
        kind = self.kind | (REPEATED if self.repeated else 0)
        return _RECORD.pack(kind, self.t, len(name), len(self.data)) + name + self.data


class State(msgspec.Struct, frozen=True, omit_defaults=True):
    """How it stood with the way to a node: the state of a LiveNode, and why."""

    state: str
    code: str = ""
    text: str = ""
    hint: str = ""
    tries: int = 0


class BlockInfo(msgspec.Struct, frozen=True):
    """A block, by its head. offset: where it begins in the file. end: where the next one does."""

    offset: int
    end: int
    fresh: bool
    raw_bytes: int
    first_t: float
    last_t: float


class Damaged(Exception):
    """A block cannot be read."""


class BlockWriter:
    """Makes blocks of records, one segment after the other."""

    def __init__(self) -> None:
        self._deflate: zlib._Compress | None = None

    def block(self, raw: bytes, first_t: float, last_t: float, *, fresh: bool) -> bytes:
        """The bytes of a block. `fresh` begins a segment; the very first block must be one."""
        if fresh or self._deflate is None:
            self._deflate, fresh = zlib.compressobj(_LEVEL), True
        stored = self._deflate.compress(raw) + self._deflate.flush(zlib.Z_SYNC_FLUSH)
        head = _BLOCK.pack(_MAGIC, FRESH if fresh else 0, len(stored), len(raw), first_t, last_t)
        return head + _CRC.pack(zlib.crc32(stored, zlib.crc32(head))) + stored


class BlockReader:
    """Reads blocks one after the other."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._inflate: zlib._Decompress | None = None

    def records(self, info: BlockInfo) -> list[Record]:
        """The records of a block; the blocks of its segment before it must have been read.

        Raises:
            Damaged: it is not what was written, or a block before it was not.
        """
        self._file.seek(info.offset)
        data = self._file.read(info.end - info.offset)
        head, stored = data[: _BLOCK.size], data[_BLOCK.size + _CRC.size :]
        inflate = zlib.decompressobj() if info.fresh else self._inflate
        self._inflate = None
        if len(data) < _BLOCK.size + _CRC.size:
            raise Damaged  # the file has become shorter
        (crc,) = _CRC.unpack_from(data, _BLOCK.size)
        if inflate is None or zlib.crc32(stored, zlib.crc32(head)) != crc:
            raise Damaged
        try:
            raw = inflate.decompress(stored, info.raw_bytes + 1)
        except zlib.error:
            raise Damaged from None
        if len(raw) != info.raw_bytes:
            raise Damaged
        found = list(_unpacked(raw))
        self._inflate = inflate
        return found


def read_header(file: BinaryIO, name: str) -> tuple[Header, int]:
    """The header of a recording, and where its first block begins.

    Raises:
        UserError: it is no recording, or one of a newer nodectl.
    """
    line = file.readline(MAX_HEADER_BYTES)
    try:
        schema = msgspec.json.decode(line, type=_AnySchema).schema
    except (msgspec.MsgspecError, ValueError, RecursionError):
        schema = ""
    kind, _, version = schema.partition("/")
    if kind != SCHEMA or not version.isdecimal() or not line.endswith(b"\n"):
        raise UserError(f"{name}: this is no recording of `nodectl record` (no header line of {SCHEMA})")
    if int(version[:9]) > MAJOR:
        raise UserError(
            f"{name}: it was recorded by a newer nodectl ({clean_line(schema)}); this one reads {SCHEMA}/{MAJOR}: "
            "update nodectl to replay it"
        )
    try:
        return msgspec.json.decode(line, type=Header), file.tell()
    except (msgspec.MsgspecError, ValueError, RecursionError) as exc:
        raise UserError(f"{name}: the header line cannot be read: {clean_line(str(exc))}") from None


class _AnySchema(msgspec.Struct):
    schema: str


def scan(file: BinaryIO, start: int) -> tuple[list[BlockInfo], int]:
    """The heads of all whole blocks, and how many bytes at the end are none (0 in a file that was closed well)."""
    size = file.seek(0, 2)
    blocks: list[BlockInfo] = []
    at = start
    while size - at >= _BLOCK.size + _CRC.size:
        file.seek(at)
        magic, flags, stored, raw, first_t, last_t = _BLOCK.unpack(file.read(_BLOCK.size))
        end = at + _BLOCK.size + _CRC.size + stored
        plausible = magic == _MAGIC and raw <= MAX_RAW_BYTES and 0 <= first_t <= last_t < 1e11
        if not plausible or end > size:
            break
        blocks.append(BlockInfo(at, end, bool(flags & FRESH), raw, first_t, last_t))
        at = end
    return blocks, size - at


def utc_text(unix_t: float) -> str:
    """RFC 3339 UTC."""
    moment = datetime.datetime.fromtimestamp(unix_t, datetime.timezone.utc)
    return moment.isoformat(timespec="seconds").replace("+00:00", "Z")


def _unpacked(raw: bytes) -> Iterator[Record]:
    at = 0
    while at < len(raw):
        try:
            kind, t, name_size, data_size = _RECORD.unpack_from(raw, at)
        except struct.error:
            raise Damaged from None
        name_at = at + _RECORD.size
        data_at = name_at + name_size
        at = data_at + data_size
        if at > len(raw):
            raise Damaged
        name = clean_line(raw[name_at:data_at], max_chars=MAX_NAME_BYTES)
        yield Record(kind & ~REPEATED, t, name, raw[data_at:at], bool(kind & REPEATED))
