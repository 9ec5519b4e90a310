"""The keys that a user may log in with: files read once, certificates, what the agent holds, and in which order."""

from __future__ import annotations

import base64
import binascii
import contextlib
import copy
import io
import re
import struct
import threading
from pathlib import Path
from typing import NamedTuple

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from paramiko import ECDSAKey, Ed25519Key, PKey, RSAKey
from paramiko.agent import AgentKey
from paramiko.pkey import PublicBlob
from paramiko.ssh_exception import SSHException

from nodectl.transport.agent import SharedAgent, agent_path
from nodectl.transport.attempt import Attempt
from nodectl.transport.base import printable
from nodectl.transport.certificate import parse_certificate
from nodectl.transport.known_hosts import fingerprint
from nodectl.transport.settings import HostSettings

DEFAULT_FILES = ("~/.ssh/id_ed25519", "~/.ssh/id_ecdsa", "~/.ssh/id_rsa")
_DEFAULT_NAME = re.compile(r"(~|/.*)/\.ssh/id_(rsa|dsa|ecdsa|ecdsa_sk|ed25519|ed25519_sk|xmss)")
MAX_KEY_FILE = 1024 * 1024


class Identity(NamedTuple):
    """One thing to log in with. `name` is what the user is told: a file or the agent's comment, never the contents."""

    name: str
    key: PKey
    agent: SharedAgent | None = None
    note: str = ""

    @property
    def mark(self) -> bytes:
        """Tells identities apart: the certificate, or the public key."""
        blob = self.key.public_blob
        return bytes(blob.key_blob) if blob is not None else self.key.asbytes()


class KeyFile(NamedTuple):
    """What is in one identity file. `key` is None when it cannot be used by itself; `problem` says why."""

    key: PKey | None
    public: bytes
    certificates: tuple[PublicBlob, ...]
    problem: str = ""
    encrypted: bool = False


class Candidates(NamedTuple):
    """Identities to offer, in order, and what was wrong with others (for the message when none is accepted)."""

    identities: list[Identity]
    problems: list[str]


class KeyRing:
    """All keys of this run. Each file is parsed once and each agent is asked once, for all nodes."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._files: dict[str, KeyFile] = {}
        self._agents: dict[str, SharedAgent] = {}
        self._worked: dict[str, bytes] = {}

    def candidates(self, settings: HostSettings, user: str, attempt: Attempt) -> Candidates:
        """What to offer to one host: the key that this user last got in with somewhere; named files; the rest of the
        agent, unless IdentitiesOnly."""
        problems: list[str] = []
        if not settings.pubkey_authentication:
            return Candidates([], ["keys are turned off (PubkeyAuthentication no)"])
        # `ssh -G` lists the default files as if the user had named them.
        named = any(not _DEFAULT_NAME.fullmatch(name) for name in settings.identity_files)
        files = () if settings.identity_files == ("none",) else settings.identity_files or DEFAULT_FILES
        agent, held = self._agent_keys(settings, attempt, problems)
        found: list[Identity] = []
        for name in files:
            found += self._from_file(name, settings, agent, held, problems)
        rest = [] if settings.identities_only and named else [_from_agent(key, agent) for key in held]
        ordered = found + rest if named else rest + found
        unique = list({identity.mark: identity for identity in reversed(ordered)}.values())[::-1]
        worked = self._worked.get(user)
        unique.sort(key=lambda identity: identity.mark != worked)
        return Candidates(unique, problems)

    def remember(self, user: str, identity: Identity) -> None:
        """This one got in: it is offered first from now on."""
        self._worked[user] = identity.mark

    def close(self) -> None:
        with self._lock:
            agents = list(self._agents.values())
        for agent in agents:
            agent.close()

    def _agent_keys(
        self, settings: HostSettings, attempt: Attempt, problems: list[str]
    ) -> tuple[SharedAgent | None, tuple[AgentKey, ...]]:
        path = agent_path(settings.identity_agent)
        if not path:
            if settings.identity_agent.lower() != "none":
                problems.append("no ssh-agent is running (SSH_AUTH_SOCK is not set)")
            return None, ()
        with self._lock:
            agent = self._agents.setdefault(path, SharedAgent(path))
        held = agent.keys(attempt)
        if agent.problem:
            problems.append(agent.problem)
        return agent, held

    def _from_file(
        self,
        name: str,
        settings: HostSettings,
        agent: SharedAgent | None,
        held: tuple[AgentKey, ...],
        problems: list[str],
    ) -> list[Identity]:
        content = self._load(name, settings.certificate_files)
        if content is None:
            if not _DEFAULT_NAME.fullmatch(name):
                problems.append(f"{name} does not exist")
            return []
        key: PKey | None = content.key
        source = None
        if key is None:
            key = next((held_key for held_key in held if content.public and held_key.blob == content.public), None)
            source = agent
        if key is None:
            problems.append(f"{name} {content.problem}")
            return []
        label = name if source is None else f"{name} (agent)"
        identities = []
        for blob in content.certificates:
            certified = _with_certificate(key, blob)
            note = _certificate_note(blob)
            identities.append(Identity(f"{label} with certificate", certified, source, note))
        return [*identities, Identity(label, key, source)]

    def _load(self, name: str, certificate_files: tuple[str, ...]) -> KeyFile | None:
        with self._lock:
            slot = "\0".join((name, *certificate_files))
            if slot not in self._files:
                path = Path(name).expanduser()
                if not path.is_file():
                    return None
                self._files[slot] = read_key_file(path, certificate_files)
            return self._files[slot]


def read_key_file(path: Path, certificate_files: tuple[str, ...] = ()) -> KeyFile:
    """Parse one identity file: OpenSSH, PEM or PKCS#8, or only the public half of a key that an agent holds."""
    try:
        data = path.read_bytes() if path.stat().st_size <= MAX_KEY_FILE else b""
    except OSError as exc:
        return KeyFile(None, b"", (), f"cannot be read: {exc.strerror or exc}")
    public = _public_line(data) or _public_in_openssh(data)
    if not public:
        with contextlib.suppress(OSError):
            public = _public_line(path.with_name(path.name + ".pub").read_bytes())
    key, problem, encrypted = (None, "is a public key, and no agent holds the private one", False)
    if not _public_line(data):
        key, problem, encrypted = _private_key(data, str(path))
    if key is not None:
        public = key.asbytes()
    certificates = _certificates(path, certificate_files, public)
    return KeyFile(key, public, certificates, problem, encrypted)


def _private_key(data: bytes, name: str) -> tuple[PKey | None, str, bool]:
    """The key, or why not, and whether that is because it is encrypted."""
    locked = f"is encrypted and not in the agent (ssh-add {name})"
    try:
        loaded: object
        if b"BEGIN OPENSSH PRIVATE KEY" in data:
            loaded = serialization.load_ssh_private_key(data, None)
        else:
            loaded = serialization.load_pem_private_key(data, None)
    except TypeError:
        return None, locked, True
    except (ValueError, UnsupportedAlgorithm) as exc:
        if "password" in str(exc).lower():
            return None, locked, True
        if re.search(rb"sk-(ssh|ecdsa)", _decoded(data)):
            return None, "is a security key: only an agent can use it (ssh-add)", False
        return None, "is not a private key that can be read", False
    classes = (
        (ed25519.Ed25519PrivateKey, Ed25519Key),
        (ec.EllipticCurvePrivateKey, ECDSAKey),
        (rsa.RSAPrivateKey, RSAKey),
    )
    for kind, key_class in classes:
        if isinstance(loaded, kind):
            text = loaded.private_bytes(  # one form for all, in memory only
                serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
            ).decode()
            try:
                return key_class.from_private_key(io.StringIO(text)), "", False
            except SSHException:
                return None, "is a key of a kind that cannot be used", False
    return None, "is a key of a kind that is no longer used (DSA?)", False


def _public_line(data: bytes) -> bytes:
    """The blob, if the data is a public key line."""
    fields = data.split(None, 2)
    if len(fields) < 2 or not re.match(rb"(ssh-|ecdsa-|sk-)", fields[0]):
        return b""
    with contextlib.suppress(binascii.Error, ValueError):
        return base64.b64decode(fields[1], validate=True)
    return b""


def _decoded(data: bytes) -> bytes:
    lines = [line for line in data.splitlines() if line and b":" not in line and not line.startswith(b"-----")]
    with contextlib.suppress(binascii.Error, ValueError):
        return base64.b64decode(b"".join(lines))
    return b""


def _public_in_openssh(data: bytes) -> bytes:
    """The public key of an OpenSSH private key file, which is readable even when the private one is encrypted."""
    blob = _decoded(data) if b"BEGIN OPENSSH PRIVATE KEY" in data else b""
    magic = b"openssh-key-v1\0"
    if not blob.startswith(magic):
        return b""
    at = len(magic)
    try:
        for _ in range(3):  # cipher, kdf, kdf options
            at += 4 + struct.unpack_from(">I", blob, at)[0]
        at += 4  # number of keys
        (size,) = struct.unpack_from(">I", blob, at)
    except struct.error:
        return b""
    return blob[at + 4 : at + 4 + size]


def _certificates(path: Path, extra: tuple[str, ...], public: bytes) -> tuple[PublicBlob, ...]:
    """Certificates for this key: the one beside it, and those of CertificateFile that are for it."""
    found = []
    stem = path.name.removesuffix(".pub")
    for candidate in (path.with_name(stem + "-cert.pub"), *(Path(name).expanduser() for name in extra)):
        with contextlib.suppress(OSError, ValueError, SSHException, UnicodeDecodeError):
            blob = PublicBlob.from_string(candidate.read_text())
            if public and _certified_key(blob.key_blob) == public:
                found.append(blob)
    return tuple(found)


def _with_certificate(key: PKey, blob: PublicBlob) -> PKey:
    if isinstance(key, AgentKey):
        certified: PKey = AgentKey(key.agent, key.blob, key.comment)
    else:
        certified = copy.copy(key)
    certified.public_blob = blob
    return certified


def _certified_key(blob: bytes) -> bytes:
    """The plain public key inside a certificate."""
    return PKey.from_type_string(*_plain_parts(blob)).asbytes()


def _plain_parts(blob: bytes) -> tuple[str, bytes]:
    from paramiko.message import Message

    kind = Message(blob).get_text().removesuffix("-cert-v01@openssh.com")
    return kind, blob


def _certificate_note(blob: PublicBlob) -> str:
    try:
        problem = parse_certificate(blob.key_blob).validity_problem()
    except ValueError as exc:
        problem = str(exc)
    return f"its certificate {problem}" if problem else ""


def _from_agent(key: AgentKey, agent: SharedAgent | None) -> Identity:
    return Identity(f"agent: {printable(key.comment or fingerprint(key.blob), 60)}", key, agent)
