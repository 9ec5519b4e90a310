"""What a transport must know of a host to reach it over SSH. Where it comes from is not this package's business."""

from __future__ import annotations

from typing import Protocol

import msgspec

SYSTEM_KNOWN_HOSTS = ("/etc/ssh/ssh_known_hosts", "/etc/ssh/ssh_known_hosts2")


class HostSettings(Protocol):
    """The outcome of the user's ssh config and of the inventory, for one host. Empty text means not given.

    Attributes:
        alias: what the user calls the host (`%n`).
        hostname: what is connected to: a name or an address.
        port: TCP port.
        user: login name; empty means the local user's.
        identity_files: private keys (or public ones whose other half is in the agent), in order; empty means the
            default files of `~/.ssh`, (`none`,) none at all.
        identities_only: no other keys of the agent than those are offered.
        certificate_files: certificates besides `KEY-cert.pub`, which is always looked for.
        identity_agent: socket of the agent; empty means `SSH_AUTH_SOCK`, `none` means no agent.
        pubkey_authentication: false: no keys are offered.
        known_hosts_files: the user's files, the first of which is written to; empty means those of `~/.ssh`.
        global_known_hosts_files: the machine's, never written to.
        revoked_host_keys: file of public keys to refuse.
        host_key_alias: name under which the host key is looked up.
        host_key_algorithms: HostKeyAlgorithms, with its `+`, `-` or `^`.
        hash_known_hosts: new names in known_hosts are hashed.
        strict_host_key_checking: `accept-new` and `no` let new keys in; changed keys are always refused.
        proxy_jump: `user@host:port`, comma-separated for several hops.
        proxy_command: shell command whose stdin and stdout are the connection; `%h %p %r %n %%` are expanded here.
        connect_timeout_s: ConnectTimeout; None when the config has none.
        address_family: `any`, `inet` or `inet6`.
        bind_address: local address to connect from.
        unsupported: options of the config that only OpenSSH can honour, named when a login fails.
    """

    @property
    def alias(self) -> str: ...
    @property
    def hostname(self) -> str: ...
    @property
    def port(self) -> int: ...
    @property
    def user(self) -> str: ...
    @property
    def identity_files(self) -> tuple[str, ...]: ...
    @property
    def identities_only(self) -> bool: ...
    @property
    def certificate_files(self) -> tuple[str, ...]: ...
    @property
    def identity_agent(self) -> str: ...
    @property
    def pubkey_authentication(self) -> bool: ...
    @property
    def known_hosts_files(self) -> tuple[str, ...]: ...
    @property
    def global_known_hosts_files(self) -> tuple[str, ...]: ...
    @property
    def revoked_host_keys(self) -> str: ...
    @property
    def host_key_alias(self) -> str: ...
    @property
    def host_key_algorithms(self) -> str: ...
    @property
    def hash_known_hosts(self) -> bool: ...
    @property
    def strict_host_key_checking(self) -> str: ...
    @property
    def proxy_jump(self) -> str: ...
    @property
    def proxy_command(self) -> str: ...
    @property
    def connect_timeout_s(self) -> float | None: ...
    @property
    def address_family(self) -> str: ...
    @property
    def bind_address(self) -> str: ...
    @property
    def unsupported(self) -> tuple[str, ...]: ...


class SshSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Settings given by hand, with ssh's defaults: for programs and tests without an ssh config. See `HostSettings`."""

    hostname: str
    alias: str = ""
    port: int = 22
    user: str = ""
    identity_files: tuple[str, ...] = ()
    identities_only: bool = False
    certificate_files: tuple[str, ...] = ()
    identity_agent: str = ""
    pubkey_authentication: bool = True
    known_hosts_files: tuple[str, ...] = ()
    global_known_hosts_files: tuple[str, ...] = SYSTEM_KNOWN_HOSTS
    revoked_host_keys: str = ""
    host_key_alias: str = ""
    host_key_algorithms: str = ""
    hash_known_hosts: bool = False
    strict_host_key_checking: str = "ask"
    proxy_jump: str = ""
    proxy_command: str = ""
    connect_timeout_s: float | None = None
    address_family: str = "any"
    bind_address: str = ""
    unsupported: tuple[str, ...] = ()
