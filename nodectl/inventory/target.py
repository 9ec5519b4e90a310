"""`user@host:port` in all its spellings, and what may be a host or user name at all.

Names end up in command lines (`ssh -l USER HOST`), in ProxyCommand and Match exec lines that a shell reads, and on
terminals. So the alphabets are closed: narrower than OpenSSH's own rules, wide enough for every real name.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from nodectl.inventory.errors import InventoryError
from nodectl.strict_yaml import quoted

MAX_NAME = 253
"""Characters of the longest DNS name (RFC 1035)."""

MAX_HOPS = 8
"""Jump hosts in a row. Real chains have one or two; this ends a chain that runs in a circle."""

_HOST = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*\Z")
_IPV6 = re.compile(r"[0-9A-Fa-f:.]{2,45}(?:%[A-Za-z0-9._-]{1,15})?\Z")
_USER = re.compile(r"[A-Za-z0-9_.+@\\-]{1,128}\Z")


class Target(NamedTuple):
    """Where to go. `host` may be a node set; None means that the text did not say."""

    user: str | None
    host: str
    port: int | None


def parse_target(text: str) -> Target:
    """Read `host`, `user@host`, `host:port`, `[2001:db8::1]:22`, `2001:db8::1`, `ssh://user@host:port`.

    The host's own spelling is not judged here (`host_problem`), so that it may be a node set.

    Raises:
        InventoryError: the port or the user cannot be one.
    """
    rest = text.strip()
    if rest.startswith("ssh://"):
        rest = rest[len("ssh://") :].rstrip("/")
    user, at, host = rest.rpartition("@")
    port = ""
    address = re.match(r"\[([^\]]*:[^\]]*)\](?::(.*))?\Z", host)
    if address:
        host, port = address.group(1), address.group(2)
        if port == "":
            raise InventoryError(f"{quoted(text)}: the port is missing after the colon")
    elif host.count(":") == 1:
        host, _, port = host.partition(":")
        if not port:
            raise InventoryError(f"{quoted(text)}: the port is missing after the colon")
    if at and (problem := user_problem(user)):
        raise InventoryError(f"{quoted(text)}: {problem}")
    if not host:
        raise InventoryError(f"{quoted(text)}: the host is missing")
    return Target(user if at else None, host, port_of(port, text) if port else None)


def port_of(port: str, text: str) -> int:
    """The port as a number.

    Raises:
        InventoryError: it is none.
    """
    if not re.fullmatch(r"[0-9]{1,5}", port) or not 1 <= int(port) <= 65535:
        raise InventoryError(f"{quoted(text)}: expected a port from 1 to 65535, found {quoted(port)}")
    return int(port)


def parse_jumps(text: str) -> tuple[Target, ...]:
    """The hops of a ProxyJump value (`user@bastion:22,inner`), first hop first; `none` and nothing give ().

    Raises:
        InventoryError: a hop cannot be one, or there are more than `MAX_HOPS`.
    """
    if text.strip().lower() in ("", "none"):
        return ()
    hops = tuple(parse_target(hop) for hop in text.split(","))
    if len(hops) > MAX_HOPS:
        raise InventoryError(f"{quoted(text)}: more than {MAX_HOPS} jump hosts in a row")
    for hop in hops:
        if problem := host_problem(hop.host):
            raise InventoryError(problem)
    return hops


def host_problem(host: str) -> str:
    """Why this can be no host name or address; empty when it can."""
    if _HOST.match(host) and len(host) <= MAX_NAME:
        return ""
    if ":" in host and _IPV6.match(host):
        return _ipv6_problem(host)
    if len(host) > MAX_NAME:
        return f"a host name has at most {MAX_NAME} characters, not {len(host)}"
    if not host:
        return "the host name is empty"
    if any(ord(char) > 127 for char in host):
        return f"{quoted(host)} is no host name: write other than English letters as punycode (xn--…)"
    return f'{quoted(host)} is no host name: letters, digits, "-", "_" and "." can stand in one'


def user_problem(user: str) -> str:
    """Why this can be no user name for SSH; empty when it can."""
    if _USER.match(user) and user[0] != "-" and user[-1] != "\\":
        return ""
    return f"{quoted(user)} is no user name"


def _ipv6_problem(host: str) -> str:
    import ipaddress

    try:
        ipaddress.IPv6Address(host)
    except ValueError:
        return f"{quoted(host)} is no IPv6 address; with a port it is written [address]:port"
    return ""
