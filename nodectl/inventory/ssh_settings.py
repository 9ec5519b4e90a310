"""The options that hold for a host, as one value with types: what ssh would do with them."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from typing import TypeVar

import msgspec

from nodectl.inventory.errors import InventoryError
from nodectl.inventory.ssh_match import Question
from nodectl.inventory.ssh_reader import Option, expand_environment, expand_tilde
from nodectl.inventory.ssh_tokens import PATH_TOKENS, PROXY_TOKENS, Tokens
from nodectl.inventory.target import host_problem, parse_jumps, user_problem
from nodectl.strict_yaml import quoted

GLOBAL_KNOWN_HOSTS = ("/etc/ssh/ssh_known_hosts", "/etc/ssh/ssh_known_hosts2")

_TIME_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_BOOLEANS = {"yes": True, "true": True, "no": False, "false": False}
_STRICT = {**dict.fromkeys(("yes", "true"), "yes"), **dict.fromkeys(("no", "false", "off"), "no")}
_STRICT |= {"ask": "ask", "accept-new": "accept-new"}
# Options that only OpenSSH itself can honour, by their keyword in small letters.
_UNSUPPORTED = {
    "gssapiauthentication": "GSSAPIAuthentication",
    "hostbasedauthentication": "HostbasedAuthentication",
    "knownhostscommand": "KnownHostsCommand",
    "pkcs11provider": "PKCS11Provider",
    "proxyusefdpass": "ProxyUseFdpass",
    "verifyhostkeydns": "VerifyHostKeyDNS",
}
_T = TypeVar("_T")


class SshSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that a transport needs to know to reach one host.

    Attributes:
        alias: what was looked up in the config (the node's address or name).
        hostname: to connect to: a name or an IP address.
        user: to log in as.
        identity_files: private keys to offer, in order; empty: nothing was configured, the default files of `~/.ssh`
            are meant; (`none`,): none are to be offered.
        identities_only: offer only these keys, not all that the agent has.
        certificate_files: user certificates beside those found as `KEY-cert.pub`.
        identity_agent: path of the agent's socket; empty: what SSH_AUTH_SOCK says; `none`: no agent.
        pubkey_authentication: false: keys are not to be offered at all.
        known_hosts_files: the user's, by default those of `~/.ssh`; they need not exist. (`none`,): none.
        global_known_hosts_files: the machine's.
        revoked_host_keys: file of host keys to refuse; empty: none.
        host_key_alias: name to look the host key up by; empty: hostname (with the port where it is not 22).
        host_key_algorithms: as configured (`+`, `-` and `^` prefixes included); empty: not configured.
        hash_known_hosts: new entries of known_hosts are to be hashed.
        strict_host_key_checking: `ask` (ssh's default), `yes`, `no` or `accept-new`.
        proxy_jump: hops `user@host:port,…`, tokens expanded; empty: none. Never together with proxy_command.
        proxy_command: shell command; empty: none. Its tokens `%h %p %r %n %%` are left to the transport, which knows
            how to put names into a shell command safely.
        connect_timeout_s: None: not configured.
        server_alive_interval_s: 0: off.
        address_family: `any`, `inet` or `inet6`.
        bind_address: local address to connect from; empty: any.
        unsupported: options of the config that only OpenSSH itself can honour, for a hint when logging in fails.
    """

    alias: str
    hostname: str
    port: int
    user: str
    identity_files: tuple[str, ...]
    identities_only: bool
    certificate_files: tuple[str, ...]
    identity_agent: str
    pubkey_authentication: bool
    known_hosts_files: tuple[str, ...]
    global_known_hosts_files: tuple[str, ...]
    revoked_host_keys: str
    host_key_alias: str
    host_key_algorithms: str
    hash_known_hosts: bool
    strict_host_key_checking: str
    proxy_jump: str
    proxy_command: str
    connect_timeout_s: float | None
    server_alive_interval_s: float
    server_alive_count_max: int
    address_family: str
    bind_address: str
    unsupported: tuple[str, ...]


class SettingsReader:
    """Turns the answers of one question into settings."""

    def __init__(self, question: Question, hostname: str) -> None:
        """Args: question: after every pass. hostname: the host's real name."""
        self.question = question
        port = self._one("port", _port, 22)
        user = question.first("user") or question.local_user
        if problem := host_problem(hostname):
            raise InventoryError(f"{self._where('hostname')}: {problem}")
        if "user" in question.values and (problem := user_problem(user)):
            raise InventoryError(f"{self._where('user')}: {problem}")
        self.tokens = Tokens(
            typed=question.typed,
            host=hostname,
            port=port,
            user=user,
            local_user=question.local_user,
            home=question.home,
            alias=question.first("hostkeyalias") or "",
            jump=question.first("proxyjump") or "",
        )

    def read(self) -> SshSettings:
        """The settings.

        Raises:
            InventoryError: a value is none that its option takes, with file:line.
        """
        question, tokens = self.question, self.tokens
        keys = self._files("identityfile")
        strict = self._one("stricthostkeychecking", _choice(_STRICT), "ask")
        return SshSettings(
            alias=tokens.typed,
            hostname=tokens.host,
            port=tokens.port,
            user=tokens.user,
            identity_files=() if keys is None else keys or ("none",),
            identities_only=self._yes("identitiesonly", False),
            certificate_files=self._files("certificatefile") or (),
            identity_agent=self._agent(),
            pubkey_authentication=(question.first("pubkeyauthentication") or "yes").lower() not in ("no", "false"),
            known_hosts_files=self._known_hosts() or ("none",),
            global_known_hosts_files=self._path_list("globalknownhostsfile", GLOBAL_KNOWN_HOSTS),
            revoked_host_keys=next(iter(self._files("revokedhostkeys") or ()), ""),
            host_key_alias=tokens.alias,
            host_key_algorithms=question.first("hostkeyalgorithms") or "",
            hash_known_hosts=self._yes("hashknownhosts", False),
            strict_host_key_checking=strict,
            proxy_jump=self._proxy_jump(),
            proxy_command=self._proxy_command(),
            connect_timeout_s=self._one("connecttimeout", _seconds, None),
            server_alive_interval_s=self._one("serveraliveinterval", _seconds, None) or 0.0,
            server_alive_count_max=self._one("serveralivecountmax", _count, 3),
            address_family=self._one("addressfamily", _choice({one: one for one in ("any", "inet", "inet6")}), "any"),
            bind_address=question.first("bindaddress") or "",
            unsupported=tuple(
                name
                for key, name in _UNSUPPORTED.items()
                if (question.first(key) or "no") not in ("no", "false", "none")
            ),
        )

    def _where(self, key: str) -> str:
        return (self.question.where(key) if key in self.question.values else "") or self.question.typed

    def _one(self, key: str, read: Callable[[str], _T], default: _T) -> _T:
        value = self.question.first(key)
        if value is None:
            return default
        try:
            return read(value)
        except ValueError as expected:
            raise InventoryError(f"{self._where(key)}: {key}: expected {expected}, found {quoted(value)}") from None

    def _yes(self, key: str, default: bool) -> bool:
        return self._one(key, _choice(_BOOLEANS), default)

    def _path(self, text: str, option: Option) -> str:
        where = option.where or self.question.typed
        text = self.tokens.expand(expand_tilde(text, self.question.home), PATH_TOKENS, where)
        return expand_environment(text, where)

    def _files(self, key: str) -> tuple[str, ...] | None:
        """The files of an option that takes one a line; None where it is not given; `none` is no file."""
        options = self.question.values.get(key)
        if options is None:
            return None
        return tuple(self._path(one.values[0], one) for one in options if one.values[0].lower() != "none")

    def _path_list(self, key: str, default: tuple[str, ...]) -> tuple[str, ...]:
        """The files of an option that takes several on a line."""
        if key not in self.question.values:
            return default
        option = self.question.values[key][0]
        return tuple(self._path(value, option) for value in option.values if value.lower() != "none")

    def _known_hosts(self) -> tuple[str, ...]:
        folder = f"{self.question.home}/.ssh"
        return self._path_list("userknownhostsfile", (f"{folder}/known_hosts", f"{folder}/known_hosts2"))

    def _agent(self) -> str:
        value = self.question.first("identityagent")
        if value is None or value == "SSH_AUTH_SOCK":
            return ""
        if value.lower() == "none":
            return "none"
        if re.fullmatch(r"\$[A-Za-z_][A-Za-z0-9_]*", value):
            return os.environ.get(value[1:]) or "none"
        return self._path(value, self.question.values["identityagent"][0])

    def _proxy_jump(self) -> str:
        value = self.question.first("proxyjump")
        if value is None or value.lower() == "none":
            return ""
        where = self._where("proxyjump")
        value = self.tokens.expand(value, PROXY_TOKENS, where)
        try:
            parse_jumps(value)
        except InventoryError as problem:
            raise InventoryError(f"{where}: ProxyJump: {problem}") from None
        return value

    def _proxy_command(self) -> str:
        value = self.question.first("proxycommand")
        if value is None or value.lower() == "none":
            return ""
        self.tokens.expand(value, PROXY_TOKENS, self._where("proxycommand"))  # only to find a token that is none
        return value


def _choice(known: dict[str, _T]) -> Callable[[str], _T]:
    def read(value: str) -> _T:
        if value.lower() not in known:
            raise ValueError(f"one of {', '.join(known)}")
        return known[value.lower()]

    return read


def _port(value: str) -> int:
    if not re.fullmatch(r"[0-9]{1,5}", value) or not 1 <= int(value) <= 65535:
        raise ValueError("a port from 1 to 65535")
    return int(value)


def _count(value: str) -> int:
    if not re.fullmatch(r"[0-9]{1,9}", value):
        raise ValueError("a number")
    return int(value)


def _seconds(value: str) -> float | None:
    """`90`, `1m30s`, `2h`; `none` and 0 are no limit."""
    if value.lower() == "none":
        return None
    parts = re.findall(r"([0-9]{1,9})([smhdw]?)", value.lower())
    if not parts or "".join(number + unit for number, unit in parts) != value.lower():
        raise ValueError("a time like 10 or 1m30s")
    return float(sum(int(number) * _TIME_UNITS[unit] for number, unit in parts)) or None
