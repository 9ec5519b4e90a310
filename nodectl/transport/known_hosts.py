"""known_hosts, read once for all nodes.

The format is that of sshd(8), "SSH_KNOWN_HOSTS FILE FORMAT": plain names, `[host]:port`, wildcards and negation,
hashed names, `@cert-authority` and `@revoked`. Lookups by plain name are one dictionary access; hashed names cost an
HMAC each, so they are tried only for a host that the rest of the file does not settle.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import os
import re
import stat
import struct
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

MAX_NOTES = 20
MAX_FILE = 64 * 1024 * 1024


class Entry(NamedTuple):
    """One key of the file.

    Attributes:
        marker: empty, `revoked` or `cert-authority`.
        key_type: `ssh-ed25519`, `ssh-rsa`, ...
        blob: the public key in SSH wire form.
        path, line: where it stands; line 0 for one that was added by this run.
        wild: the line names hosts by pattern (ssh-keygen -R does not touch such a line).
    """

    marker: str
    key_type: str
    blob: bytes
    path: str
    line: int
    wild: bool = False

    @property
    def origin(self) -> str:
        """`file:line`."""
        return f"{self.path}:{self.line}" if self.line else self.path


class _Hashed(NamedTuple):
    salt: bytes
    digest: bytes
    entry: Entry


class _Pattern(NamedTuple):
    wanted: tuple[re.Pattern[str], ...]
    unwanted: tuple[re.Pattern[str], ...]
    entry: Entry

    def matches(self, name: str) -> bool:
        return any(p.fullmatch(name) for p in self.wanted) and not any(p.fullmatch(name) for p in self.unwanted)


def fingerprint(blob: bytes) -> str:
    """`SHA256:...` of a public key, as ssh-keygen prints it."""
    return "SHA256:" + base64.b64encode(hashlib.sha256(blob).digest()).decode().rstrip("=")


def lookup_name(host: str, port: int) -> str:
    """How a host is written in the file: `host`, or `[host]:port` for any port but 22. Lower case."""
    host = host.lower()
    return host if port == 22 else f"[{host}]:{port}"


def glob_pattern(pattern: str) -> re.Pattern[str]:
    """A pattern of OpenSSH: `*` and `?` only; everything else, brackets too, stands for itself."""
    parts = {"*": ".*", "?": "."}
    return re.compile("".join(parts.get(ch) or re.escape(ch) for ch in pattern.lower()), re.DOTALL)


class KnownHosts:
    """All keys of a set of files. Safe to share between threads.

    Args:
        files: read in order; one that does not exist is left out.

    Attributes:
        notes: `file:line: why` of lines that were skipped (the first 20), for the user.
    """

    def __init__(self, files: Iterable[Path] = ()) -> None:
        self.notes: list[str] = []
        self._plain: dict[str, list[Entry]] = {}
        self._patterns: list[_Pattern] = []
        self._hashed: list[_Hashed] = []
        self._hashed_revoked: list[_Hashed] = []
        self._hashed_hits: dict[str, tuple[Entry, ...]] = {}
        self._lock = threading.Lock()
        for path in files:
            try:
                with path.open("rb") as file:
                    # A device has no end (/dev/zero) or nothing to say (/dev/null).
                    text = file.read(MAX_FILE) if stat.S_ISREG(os.fstat(file.fileno()).st_mode) else b""
            except FileNotFoundError:
                continue
            except OSError as exc:
                self._note(f"{path}: cannot be read: {exc.strerror or exc}")
                continue
            self.load(text, str(path))

    def load(self, text: bytes, name: str) -> None:
        """Add the lines of one file."""
        for number, line in enumerate(text.splitlines(), 1):
            fields = line.split(None, 4)
            if not fields or fields[0].startswith(b"#"):
                continue
            problem = self._add_line(fields, name, number)
            if problem:
                self._note(f"{name}:{number}: {problem}; the line is skipped")

    def add(self, name: str, key_type: str, blob: bytes, path: str) -> None:
        """Add one key that has just been accepted for a plain name."""
        with self._lock:
            self._plain[name] = [*self._plain.get(name, ()), Entry("", key_type, blob, path, 0)]

    def entries(self, name: str) -> Iterator[Entry]:
        """What is known of `name` without looking at hashed lines, except revoked ones, which always count."""
        yield from self._plain.get(name, ())
        for pattern in self._patterns:
            if pattern.matches(name):
                yield pattern.entry
        for hashed in self._hashed_revoked:
            if _hash_matches(hashed, name):
                yield hashed.entry

    def all_entries(self, name: str) -> list[Entry]:
        """Everything known of `name`. Searches hashed lines too: about 1 us each, once for a name."""
        found = list(self.entries(name))
        hits = self._hashed_hits.get(name)
        if hits is None:
            hits = tuple(hashed.entry for hashed in self._hashed if _hash_matches(hashed, name))
            with self._lock:
                self._hashed_hits[name] = hits
        return found + list(hits)

    def _note(self, text: str) -> None:
        if len(self.notes) < MAX_NOTES:
            self.notes.append(text)

    def _add_line(self, fields: list[bytes], path: str, number: int) -> str:
        marker = ""
        if fields[0].startswith(b"@"):
            marker = fields.pop(0)[1:].decode("ascii", "replace")
            if marker not in ("revoked", "cert-authority"):
                return f"unknown marker @{_short(marker)}"
        if len(fields) < 3:
            return "expected `hosts keytype base64-key`"
        try:
            hosts = fields[0].decode("utf-8").lower() if not fields[0].startswith(b"|") else fields[0].decode("ascii")
            key_type = fields[1].decode("ascii")
            blob = base64.b64decode(fields[2], validate=True)
        except (UnicodeDecodeError, binascii.Error, ValueError) as exc:
            return f"not readable: {_short(str(exc))}"
        if not _is_key_of_type(blob, fields[1]):
            return f"the key is not of type {_short(key_type)}"
        return self._add_entry(hosts, Entry(marker, key_type, blob, path, number))

    def _add_entry(self, hosts: str, entry: Entry) -> str:
        if hosts.startswith("|"):
            hashed = _parse_hashed(hosts, entry)
            if hashed is None:
                return "not a hashed host name of the form |1|salt|hash"
            (self._hashed_revoked if entry.marker == "revoked" else self._hashed).append(hashed)
            return ""
        names = [name for name in hosts.split(",") if name]
        if any(ch in hosts for ch in "*?!"):
            wanted = tuple(glob_pattern(name) for name in names if not name.startswith("!"))
            unwanted = tuple(glob_pattern(name[1:]) for name in names if name.startswith("!"))
            self._patterns.append(_Pattern(wanted, unwanted, entry._replace(wild=True)))
            return ""
        for name in dict.fromkeys(names):
            self._plain.setdefault(name, []).append(entry)
        return ""


def _short(text: str) -> str:
    return ascii(text[:40])


def _is_key_of_type(blob: bytes, key_type: bytes) -> bool:
    """The key's own first string must say what the line says."""
    return len(blob) > 4 and blob[4 : 4 + struct.unpack(">I", blob[:4])[0]] == key_type


def _parse_hashed(hosts: str, entry: Entry) -> _Hashed | None:
    parts = hosts.split("|")
    if len(parts) != 4 or parts[1] != "1":
        return None
    try:
        salt, digest = base64.b64decode(parts[2], validate=True), base64.b64decode(parts[3], validate=True)
    except (binascii.Error, ValueError):
        return None
    return _Hashed(salt, digest, entry) if len(digest) == 20 else None


def _hash_matches(hashed: _Hashed, name: str) -> bool:
    return hmac.digest(hashed.salt, name.encode(), "sha1") == hashed.digest


def hashed_name(name: str) -> str:
    """`|1|salt|hash`, as HashKnownHosts writes names."""
    salt = os.urandom(20)
    digest = hmac.digest(salt, name.encode(), "sha1")
    return f"|1|{base64.b64encode(salt).decode()}|{base64.b64encode(digest).decode()}"


def strip_port(name: str) -> str:
    """`[host]:port` without its port; other names as they are."""
    match = re.fullmatch(r"\[(.+)\]:\d+", name)
    return match.group(1) if match else name
