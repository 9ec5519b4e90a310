"""OpenSSH certificates: what a host's certificate must satisfy, and when a user's one ends.

Format: PROTOCOL.certkeys of OpenSSH.
"""

from __future__ import annotations

import datetime
import struct
import time
from typing import NamedTuple

CERT_SUFFIX = "-cert-v01@openssh.com"
HOST_CERTIFICATE = 2
_FOREVER = 2**64 - 1
# Certificates signed with SHA-1 (ssh-rsa) or DSA are not accepted, as in OpenSSH since 8.2.
_CA_SIGNATURES = frozenset(
    {
        "ssh-ed25519",
        "ecdsa-sha2-nistp256",
        "ecdsa-sha2-nistp384",
        "ecdsa-sha2-nistp521",
        "rsa-sha2-256",
        "rsa-sha2-512",
    }
)
# How many fields the public key has between the nonce and the serial number.
_KEY_FIELDS = {"ssh-ed25519": 1, "ssh-rsa": 2, "ecdsa-sha2-nistp256": 2, "ecdsa-sha2-nistp384": 2}
_KEY_FIELDS["ecdsa-sha2-nistp521"] = 2


class Certificate(NamedTuple):
    """The parts of a certificate that matter here. Times are seconds since 1970."""

    kind: int
    key_id: str
    principals: tuple[str, ...]
    valid_after_s: int
    valid_before_s: int
    critical_options: bytes
    ca_blob: bytes
    signature_type: str

    def validity_problem(self, now_s: float | None = None) -> str:
        """Empty while it is valid, else a few words that say when it was."""
        now_s = time.time() if now_s is None else now_s
        if now_s < self.valid_after_s:
            return f"not valid before {_date(self.valid_after_s)}"
        if self.valid_before_s != _FOREVER and now_s >= self.valid_before_s:
            return f"expired on {_date(self.valid_before_s)}"
        return ""


class _Reader:
    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def take(self, count: int) -> bytes:
        if self.at + count > len(self.data):
            raise ValueError("the certificate ends too early")
        self.at += count
        return self.data[self.at - count : self.at]

    def uint32(self) -> int:
        return int(struct.unpack(">I", self.take(4))[0])

    def uint64(self) -> int:
        return int(struct.unpack(">Q", self.take(8))[0])

    def string(self) -> bytes:
        return self.take(self.uint32())

    def text(self) -> str:
        return self.string().decode("utf-8", "replace")


def parse_certificate(blob: bytes) -> Certificate:
    """Read a certificate in wire form. The signature is not verified here.

    Raises:
        ValueError: it is not one, or of a kind that is not known.
    """
    reader = _Reader(blob)
    key_type = reader.text().removesuffix(CERT_SUFFIX)
    if key_type not in _KEY_FIELDS:
        raise ValueError(f"certificates of type {key_type[:40]!a} are not known")
    reader.string()  # nonce
    for _ in range(_KEY_FIELDS[key_type]):
        reader.string()
    reader.uint64()  # serial
    kind, key_id = reader.uint32(), reader.text()
    names = _Reader(reader.string())
    principals = []
    while names.at < len(names.data):
        principals.append(names.text())
    after, before, critical = reader.uint64(), reader.uint64(), reader.string()
    reader.string()  # extensions
    reader.string()  # reserved
    ca_blob = reader.string()
    signature_type = _Reader(reader.string()).text()
    return Certificate(kind, key_id, tuple(principals), after, before, critical, ca_blob, signature_type)


def signature_is_good(key_type: str, blob: bytes) -> bool:
    """Whether the CA key inside the certificate really signed it."""
    import base64

    from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import SSHCertificate, load_ssh_public_identity

    try:
        loaded = load_ssh_public_identity(key_type.encode() + b" " + base64.b64encode(blob))
        if not isinstance(loaded, SSHCertificate):
            return False
        loaded.verify_cert_signature()
    except (InvalidSignature, UnsupportedAlgorithm, ValueError):
        return False
    return True


def host_certificate_problem(certificate: Certificate, host: str) -> str:
    """Why a host certificate, already known to be signed by a trusted CA, is not good for `host`; empty if it is."""
    if certificate.kind != HOST_CERTIFICATE:
        return "it is a user certificate, not a host certificate"
    if certificate.signature_type not in _CA_SIGNATURES:
        return f"it is signed with {certificate.signature_type[:40]!a}, which is no longer accepted"
    if certificate.critical_options:
        return "it has critical options, and none are known for hosts"
    if certificate.principals and host.lower() not in (name.lower() for name in certificate.principals):
        return f"it is not for {host} (it is for {', '.join(certificate.principals)[:100]!a})"
    return certificate.validity_problem()


def _date(seconds: int) -> str:
    try:
        return datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC")
    except (OverflowError, ValueError, OSError):
        return "a date far away"
