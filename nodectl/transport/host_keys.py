"""Whether the host key that a server shows is the one that the user knows. Decided before anything is offered to it."""

from __future__ import annotations

import base64
import contextlib
import fcntl
import os
import shlex
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from nodectl.model import Reason, Unreachable
from nodectl.transport.base import Failure
from nodectl.transport.certificate import (
    CERT_SUFFIX,
    host_certificate_problem,
    parse_certificate,
    signature_is_good,
)
from nodectl.transport.known_hosts import (
    Entry,
    KnownHosts,
    fingerprint,
    glob_pattern,
    hashed_name,
    lookup_name,
    strip_port,
)
from nodectl.transport.settings import HostSettings

USER_FILES = ("~/.ssh/known_hosts", "~/.ssh/known_hosts2")
ALGORITHMS = (
    "ssh-ed25519",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "rsa-sha2-512",
    "rsa-sha2-256",
)


class ShownKey(NamedTuple):
    """What the server showed.

    Attributes:
        algorithm: as negotiated, e.g. `rsa-sha2-512` or `ssh-ed25519-cert-v01@openssh.com`.
        key_type: of the plain key, e.g. `ssh-rsa`.
        blob: the plain key in wire form.
        certificate: the whole certificate, or empty.
    """

    algorithm: str
    key_type: str
    blob: bytes
    certificate: bytes = b""

    def __str__(self) -> str:
        return f"{self.key_type} {fingerprint(self.blob)}"


class HostKeys:
    """The policy, and the files it reads (each set of files once).

    Args:
        policy: `strict` refuses unknown keys, `accept-new` writes them down. A changed key is refused by both.
    """

    def __init__(self, policy: str = "strict") -> None:
        self.policy = policy
        self.notes: list[str] = []
        self._lock = threading.RLock()
        self._tables: dict[tuple[Path, ...], KnownHosts] = {}

    def algorithms(self, settings: HostSettings) -> tuple[str, ...]:
        """Host key algorithms to offer: those of the keys that are known for this host first, so that a server with
        several keys shows one that can be compared. Certificates only where a CA is known for the host."""
        entries = self._known(settings)
        known = {entry.key_type for entry in entries if not entry.marker}
        plain = sorted(ALGORITHMS, key=lambda name: _type_of(name) not in known)
        offer = tuple(plain)
        if any(entry.marker == "cert-authority" for entry in entries):
            offer = tuple(name + CERT_SUFFIX for name in ALGORITHMS) + offer
        return apply_list(settings.host_key_algorithms, offer) if settings.host_key_algorithms else offer

    def verify(self, settings: HostSettings, shown: ShownKey, target: str, *, direct: bool = True) -> None:
        """Compare.

        Args:
            direct: the host is connected to without a jump host, so that ssh-keyscan can reach it.

        Raises:
            Failure: the key is unknown, changed or revoked.
        """
        names = _names(settings)
        table = self._table(settings)
        entries = [entry for name in names for entry in table.entries(name)]
        if settings.revoked_host_keys:
            self._check_revoked(Path(settings.revoked_host_keys).expanduser(), shown, target)
        if any(entry.marker == "revoked" and entry.blob in _blobs(shown) for entry in entries):
            raise Failure(_revoked(shown, target, "a @revoked line of known_hosts"))
        if _plain_match(entries, shown) or self._certified(settings, entries, shown):
            return
        entries = [entry for name in names for entry in table.all_entries(name)]
        if _plain_match(entries, shown) or self._certified(settings, entries, shown):
            return
        # Only the exact name counts here: the same host on another port is another server.
        known = [entry for entry in table.all_entries(names[0]) if not entry.marker]
        if known:
            raise Failure(_changed(settings, shown, known, target, direct=direct))
        if not self._accepts_new(settings):
            problem = self._certificate_problem(settings, entries, shown)
            raise Failure(_unknown(settings, shown, target, direct=direct, problem=problem))
        self._write_down(settings, shown, target, direct=direct)

    def _check_revoked(self, path: Path, shown: ShownKey, target: str) -> None:
        """RevokedHostKeys: a list of public keys. Like ssh, nobody gets in while the list cannot be read."""
        try:
            data = path.read_bytes()
        except OSError as exc:
            raise Failure(_no_revocations(target, f"{path} cannot be read: {exc.strerror or exc}")) from None
        if data.startswith(b"SSHKRL"):
            raise Failure(_no_revocations(target, f"{path} is a binary list (KRL), which only OpenSSH reads"))
        for line in data.splitlines():
            if any(base64.b64encode(blob) in line.split() for blob in _blobs(shown)):
                raise Failure(_revoked(shown, target, str(path)))

    def _accepts_new(self, settings: HostSettings) -> bool:
        # StrictHostKeyChecking in the user's own config is an opt-in too; `no` is taken as accept-new: a changed key
        # is never let through.
        return self.policy == "accept-new" or settings.strict_host_key_checking in ("accept-new", "no", "off")

    def _known(self, settings: HostSettings) -> list[Entry]:
        table = self._table(settings)
        names = _names(settings)
        entries = [entry for name in names for entry in table.entries(name) if entry.marker != "revoked"]
        return entries or [entry for name in names for entry in table.all_entries(name)]

    def _table(self, settings: HostSettings) -> KnownHosts:
        files = (*user_files(settings), *(Path(name).expanduser() for name in settings.global_known_hosts_files))
        with self._lock:
            table = self._tables.get(files)
            if table is None:
                table = self._tables[files] = KnownHosts(files)
                self.notes += table.notes
            return table

    def _certified(self, settings: HostSettings, entries: list[Entry], shown: ShownKey) -> bool:
        return bool(shown.certificate) and not self._certificate_problem(settings, entries, shown)

    def _certificate_problem(self, settings: HostSettings, entries: list[Entry], shown: ShownKey) -> str:
        """Why the certificate that was shown does not help; empty if it does, or if there was none."""
        if not shown.certificate:
            return ""
        try:
            certificate = parse_certificate(shown.certificate)
        except ValueError as exc:
            return str(exc)
        authorities = {entry.blob for entry in entries if entry.marker == "cert-authority"}
        if certificate.ca_blob not in authorities:
            return "its certificate is signed by a CA that is not known for this host"
        problem = host_certificate_problem(certificate, settings.host_key_alias or settings.hostname)
        if problem:
            return f"its certificate is not accepted: {problem}"
        if not signature_is_good(shown.algorithm, shown.certificate):
            return "the signature of its certificate is wrong"
        return ""

    def _write_down(self, settings: HostSettings, shown: ShownKey, target: str, *, direct: bool) -> None:
        """accept-new: one writer at a time, one whole line at a time."""
        name = _names(settings)[0]
        path = user_files(settings)[0]
        with self._lock:
            table = self._table(settings)
            known = [entry for entry in table.all_entries(name) if not entry.marker]
            if _plain_match(known, shown):  # another thread has just met the same server
                return
            if known:
                raise Failure(_changed(settings, shown, known, target, direct=direct))
            written = hashed_name(name) if settings.hash_known_hosts else name
            try:
                _append_line(path, f"{written} {shown.key_type} {base64.b64encode(shown.blob).decode()}\n".encode())
            except OSError as exc:
                self.notes.append(f"{path}: the key of {name} was accepted but not written down: {exc.strerror or exc}")
            table.add(name, shown.key_type, shown.blob, str(path))


def apply_list(wanted: str, offer: tuple[str, ...]) -> tuple[str, ...]:
    """HostKeyAlgorithms of ssh_config(5) applied to what we can do: a list, or a change of it (`+`, `-`, `^`)."""
    patterns = [glob_pattern(part) for part in wanted.lstrip("+-^").split(",") if part]
    named = tuple(name for pattern in patterns for name in offer if pattern.fullmatch(name))
    named = tuple(dict.fromkeys(named))
    if wanted.startswith("+"):
        return offer
    if wanted.startswith("-"):
        return tuple(name for name in offer if name not in named)
    return named + tuple(name for name in offer if name not in named) if wanted.startswith("^") else named


def user_files(settings: HostSettings) -> tuple[Path, ...]:
    """The user's known_hosts files for this host; the first one is written to."""
    names = [name for name in settings.known_hosts_files if name.lower() != "none"]
    if not settings.known_hosts_files:
        names = list(USER_FILES)
    return tuple(Path(name).expanduser() for name in names) or (Path("/dev/null"),)


def _append_line(path: Path, line: bytes) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    fd = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        with contextlib.suppress(OSError):  # a file system without locks
            fcntl.flock(fd, fcntl.LOCK_EX)
        size = os.fstat(fd).st_size
        if size and os.pread(fd, 1, size - 1) not in (b"\n", b""):
            line = b"\n" + line
        os.write(fd, line)
    finally:
        os.close(fd)


def _names(settings: HostSettings) -> tuple[str, ...]:
    """Names to look up, the best first. Like ssh, a host on another port is also looked up without the port."""
    if settings.host_key_alias:
        return (settings.host_key_alias.lower(),)
    name = lookup_name(settings.hostname, settings.port)
    return (name,) if name == strip_port(name) else (name, strip_port(name))


def _type_of(algorithm: str) -> str:
    return "ssh-rsa" if algorithm.startswith("rsa-sha2-") else algorithm


def _blobs(shown: ShownKey) -> tuple[bytes, ...]:
    """What a @revoked line may name: the key itself, or the CA that signed its certificate."""
    if not shown.certificate:
        return (shown.blob,)
    try:
        return (shown.blob, parse_certificate(shown.certificate).ca_blob)
    except ValueError:
        return (shown.blob,)


def _plain_match(entries: Iterable[Entry], shown: ShownKey) -> bool:
    return any(not entry.marker and entry.blob == shown.blob for entry in entries)


def _host_key_file(key_type: str) -> str:
    kind = {"ssh-ed25519": "ed25519", "ssh-rsa": "rsa"}.get(key_type, "ecdsa")
    return f"/etc/ssh/ssh_host_{kind}_key.pub"


def _add_command(settings: HostSettings, shown: ShownKey, *, direct: bool) -> str:
    """The command that makes this key known. Where ssh-keyscan would not get through, the line itself is echoed."""
    path = shlex.quote(str(user_files(settings)[0]))
    if direct and not settings.host_key_alias:
        return f"ssh-keyscan -p {settings.port} {shlex.quote(settings.hostname)} >> {path}"
    line = f"{_names(settings)[0]} {shown.key_type} {base64.b64encode(shown.blob).decode()}"
    return f"echo {shlex.quote(line)} >> {path}"


def _unknown(settings: HostSettings, shown: ShownKey, target: str, *, direct: bool, problem: str) -> Reason:
    text = f"{target}: its host key is not known ({shown})" + (f"; {problem}" if problem else "")
    hint = (
        f"compare the fingerprint on its console (ssh-keygen -lf {_host_key_file(shown.key_type)}), then: "
        f"{_add_command(settings, shown, direct=direct)}   (or let every new key in: --host-key accept-new)"
    )
    return Reason(Unreachable.HOST_KEY_UNKNOWN.value, text, hint)


def _changed(settings: HostSettings, shown: ShownKey, known: list[Entry], target: str, *, direct: bool) -> Reason:
    entry = next((entry for entry in known if entry.key_type == shown.key_type), known[0])
    expected = f"{entry.key_type} {fingerprint(entry.blob)} at {entry.origin}"
    text = f"{target}: its host key is not the one that is known: it shows {shown}, known is {expected}"
    name = shlex.quote(_names(settings)[0])
    paths = dict.fromkeys(entry.path for entry in known if not entry.wild)
    steps = [f"ssh-keygen -R {name} -f {shlex.quote(path)}" for path in paths]
    steps.append(_add_command(settings, shown, direct=direct))
    by_hand = "".join(f"take its pattern out of {entry.origin}; " for entry in known if entry.wild)
    hint = (
        "someone may be in between, or it was installed anew; if it was, and its console shows this fingerprint "
        f"(ssh-keygen -lf {_host_key_file(shown.key_type)}): {by_hand}{' && '.join(steps)}"
    )
    return Reason(Unreachable.HOST_KEY_CHANGED.value, text, hint)


def _no_revocations(target: str, problem: str) -> Reason:
    hint = "mend RevokedHostKeys in your ssh config, or set `transport: openssh` for this node"
    return Reason(Unreachable.HOST_KEY_UNKNOWN.value, f"{target}: revoked host keys are not known: {problem}", hint)


def _revoked(shown: ShownKey, target: str, where: str) -> Reason:
    text = f"{target}: its host key is revoked by {where} ({shown})"
    return Reason(Unreachable.HOST_KEY_CHANGED.value, text, "do not log in: give the node a new host key")
