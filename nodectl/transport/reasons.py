"""What went wrong with a connection, in words that help."""

from __future__ import annotations

import errno
import os

from paramiko.ssh_exception import ChannelException, IncompatiblePeer, SSHException

from nodectl.model import Reason, Unreachable
from nodectl.transport.attempt import Attempt
from nodectl.transport.base import Failure, printable
from nodectl.transport.client import CIPHERS, KEX, MACS, ClientTransport
from nodectl.transport.host_keys import ALGORITHMS

_OTHER_WAY = "update OpenSSH on the node, or set `transport: openssh` for it"
_PEER_GONE = frozenset({errno.ECONNRESET, errno.EPIPE, errno.ECONNABORTED, errno.ENOTCONN})


def handshake_failure(link: ClientTransport, error: BaseException, attempt: Attempt) -> Failure:
    """Why the handshake (banner, key exchange) did not work. Only what cannot do harm is tried again."""
    if attempt.over:
        return Failure(attempt.ending())
    target = attempt.target
    if isinstance(error, IncompatiblePeer):
        return Failure(_incompatible(link, str(error), target))
    text = str(error)
    if "banner" in text or "protocol version" in text or "first line" in text:
        return _no_banner(text, target)
    if isinstance(error, EOFError) or getattr(error, "errno", None) in _PEER_GONE:
        said = f": {link.disconnect_text}" if link.disconnect_text else ""
        where = "before its SSH banner came" if not link.remote_version else "during the key exchange"
        hint = "sshd may be overloaded (MaxStartups) or refuse this address (fail2ban, a firewall); look at its log"
        reason = Reason(Unreachable.PROTOCOL.value, f"{target}: the connection was closed {where}{said}", hint)
        return Failure(reason, retry=not link.disconnect_text)
    if isinstance(error, TimeoutError) or getattr(error, "errno", None) in (errno.ETIMEDOUT, errno.EHOSTUNREACH):
        text = f"{target}: it fell silent (step {attempt.step})"
        return Failure(Reason(Unreachable.TIMEOUT.value, text, "is the node up? look at its console"))
    return Failure(Reason(Unreachable.PROTOCOL.value, f"{target}: {printable(text) or type(error).__name__}"))


def _no_banner(text: str, target: str) -> Failure:
    """The first lines were not those of an SSH server, or none came."""
    if "Indecipherable" in text or "too long" in text:
        said = printable(text.partition('"')[2].rstrip('"'), 60)
        reason = Reason(
            Unreachable.PROTOCOL.value,
            f"{target}: what answers there is not an SSH server" + (f" (it says {said!r})" if said else ""),
            "is the port right?",
        )
        return Failure(reason)
    hint = "sshd may be overloaded (MaxStartups) or refuse this address (fail2ban, a firewall); look at its log"
    text = f"{target}: the connection was closed before its SSH banner came"
    return Failure(Reason(Unreachable.PROTOCOL.value, text, hint), retry=True)


def _incompatible(link: ClientTransport, error: str, target: str) -> Reason:
    """No algorithm in common: say which ones there are on both sides."""
    kinds = (
        ("kex algorithm", "key exchange", "kex_algo_list", KEX),
        ("host key", "host key algorithm", "server_key_algo_list", ALGORITHMS),
        ("ciphers", "cipher", "server_encrypt_algo_list", CIPHERS),
        ("macs", "MAC", "server_mac_algo_list", MACS),
    )
    for mark, words, field, ours in kinds:
        if mark in error:
            theirs = [
                name for name in link.peer_offer.get(field, []) if not name.startswith(("ext-info", "kex-strict"))
            ]
            offer = printable(", ".join(theirs), 160)
            text = f"{target}: no {words} in common: it offers {offer}; nodectl offers {', '.join(ours)}"
            if any("sha1" in name or name in ("ssh-rsa", "ssh-dss") for name in theirs):
                hint = f"it only knows what SHA-1 made unsafe: {_OTHER_WAY} and allow that there"
            else:
                hint = _OTHER_WAY
            return Reason(Unreachable.PROTOCOL.value, text, hint)
    return Reason(Unreachable.PROTOCOL.value, f"{target}: {printable(error)}", _OTHER_WAY)


def session_failure(link: ClientTransport, error: BaseException, attempt: Attempt) -> Failure:
    """Why no session was opened, or the command was not started, after a good login."""
    if attempt.over:
        return Failure(attempt.ending())
    target = attempt.target
    if isinstance(error, ChannelException):
        said = link.channel_error or error.text
        text = f"{target}: logged in, but it refused a session: {said}"
        return Failure(Reason(Unreachable.PROTOCOL.value, text, "look at MaxSessions and at the account on the node"))
    if not link.is_active():
        said = f": {link.disconnect_text}" if link.disconnect_text else ""
        text = f"{target}: the connection was closed before the command started{said}"
        return Failure(Reason(Unreachable.CLOSED.value, text, "look at the log of sshd there"))
    if isinstance(error, SSHException):
        text = f"{target}: logged in, but it refused to run a command ({printable(str(error))})"
        return Failure(
            Reason(Unreachable.PROTOCOL.value, text, "may this key run commands there (ForceCommand, shell)?")
        )
    return Failure(Reason(Unreachable.PROTOCOL.value, f"{target}: {printable(str(error))}"))


def tunnel_failure(said: str, target: str, jump: str) -> Failure:
    """Why the jump host did not open the way to the node. sshd passes on the words of its own connect()."""
    said = printable(said)
    text = f"{target}: jump host {jump} could not reach it: {said}"
    low = said.lower()
    for code, words in (
        (Unreachable.REFUSED, (os.strerror(errno.ECONNREFUSED).lower(),)),
        (Unreachable.NO_ROUTE, (os.strerror(errno.EHOSTUNREACH).lower(), os.strerror(errno.ENETUNREACH).lower())),
        (Unreachable.TIMEOUT, (os.strerror(errno.ETIMEDOUT).lower(),)),
        (Unreachable.DNS, ("not known", "name resolution", "no address associated", "unknown host")),
    ):
        if any(word in low for word in words):
            return Failure(Reason(code.value, text, "asked from the jump host; try it there by hand"))
    hint = "AllowTcpForwarding or PermitOpen on the jump host may forbid it" if "prohibited" in low else ""
    return Failure(Reason(Unreachable.PROXY_FAILED.value, text, hint or f"try it by hand: ssh -W HOST:PORT {jump}"))
