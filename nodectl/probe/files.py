"""Files of transcripts: one a node, written whole or not at all, readable by its owner only."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import secrets
import stat
from pathlib import Path
from typing import Any

import msgspec

from nodectl.errors import UserError
from nodectl.model import TRANSCRIPT_SCHEMA

SUFFIX = ".ndt"
AGAIN = "collect it again with `nodectl collect`"

_MAX_FILE_BYTES = 64 * 1024 * 1024
_MAX_META_BYTES = 64 * 1024
_MAX_NAME_BYTES = 180


class TranscriptWriteError(UserError):
    """A transcript could not be saved: which, why, and what to do."""


class TranscriptReadError(UserError):
    """A file is not a transcript that can be used: which, why, and what to do."""


def file_name(node: str) -> str:
    """`NODE.ndt`; odd characters become %XX, so two nodes never share a file and none leaves its folder."""

    def escaped(match: re.Match[str]) -> str:
        return "".join(f"%{byte:02X}" for byte in match[0].encode("utf-8", "surrogatepass"))

    name = re.sub(r"[^A-Za-z0-9._-]|^[.-]", escaped, node) or "%"
    if len(name) > _MAX_NAME_BYTES:
        digest = hashlib.sha256(node.encode("utf-8", "surrogatepass")).hexdigest()[:24]
        name = f"{name[: _MAX_NAME_BYTES - 26]}~{digest}"
    return name + SUFFIX


def write_file(path: Path, data: bytes) -> None:
    """Writes beside `path` first and then renames, so that nobody ever sees half a file.

    Raises:
        TranscriptWriteError: anything that the system refuses.
    """
    temporary = path.with_name(f".{secrets.token_hex(8)}.tmp")
    try:
        # O_EXCL never follows a link, and the rename replaces a link instead of writing through it.
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        except BaseException:
            with contextlib.suppress(OSError):
                temporary.unlink()
            raise
    except OSError as error:
        hint = {
            errno.ENOSPC: "free some space, or name another folder",
            errno.EDQUOT: "your quota is used up: free some space, or name another folder",
            errno.ENOENT: "make the folder first",
        }.get(error.errno or 0, "check the folder's owner and mode, or name another one")
        raise TranscriptWriteError(f"{path}: could not be written: {os.strerror(error.errno or 0)}; {hint}") from error


def read_file(path: Path) -> bytes:
    """All of a file.

    Raises:
        TranscriptReadError: not there, no plain file, or far too big.
    """
    try:
        # O_NONBLOCK: opening a fifo would wait for a writer for ever.
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        with os.fdopen(handle, "rb") as file:
            about = os.fstat(handle)
            if not stat.S_ISREG(about.st_mode):
                raise TranscriptReadError(
                    f"{path}: not a plain file; name a transcript (NODE{SUFFIX}) or a folder of them"
                )
            if about.st_size > _MAX_FILE_BYTES:
                raise TranscriptReadError(f"{path}: {about.st_size >> 20} MiB is too big for a transcript; {AGAIN}")
            return file.read(_MAX_FILE_BYTES)
    except OSError as error:
        raise TranscriptReadError(f"{path}: could not be read: {os.strerror(error.errno or 0)}") from error


def pack(meta: dict[str, Any], wire: bytes) -> bytes:
    """What stands in the file: one line of JSON, then the reply as it came."""
    return msgspec.json.encode({"schema": TRANSCRIPT_SCHEMA, **meta, "wire_bytes": len(wire)}) + b"\n" + wire


def unpack(data: bytes, origin: str) -> tuple[dict[str, Any], bytes]:
    """The meta data and the reply.

    Raises:
        TranscriptReadError: not a transcript, of another version, or cut.
    """
    head, newline, wire = data.partition(b"\n")
    try:
        meta = msgspec.json.decode(head) if newline and len(head) <= _MAX_META_BYTES else None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        meta = None
    schema = meta.pop("schema", None) if isinstance(meta, dict) else None
    if not isinstance(meta, dict) or not isinstance(schema, str):
        raise TranscriptReadError(f"{origin}: not a transcript of nodectl (its first line is no JSON header); {AGAIN}")
    if schema != TRANSCRIPT_SCHEMA:
        raise TranscriptReadError(
            f"{origin}: written as {schema[:60]!a}, this nodectl reads {TRANSCRIPT_SCHEMA}; "
            "use the nodectl that wrote it, or collect it again"
        )
    size = meta.pop("wire_bytes", None)
    if not isinstance(size, int) or len(wire) < size:
        raise TranscriptReadError(f"{origin}: cut short: {len(wire)} of {size} bytes of the reply are there; {AGAIN}")
    return meta, wire
