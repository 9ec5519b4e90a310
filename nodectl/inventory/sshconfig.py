"""The user's own ssh config, applied to a node: how `ssh ADDRESS` would reach it.

    config = SshConfig()                            # ~/.ssh/config, then /etc/ssh/ssh_config, as ssh reads them
    settings = config.resolve(node)                 # SshSettings

A node is looked up by its address, or by its name where it has none; what the node says itself (port, user, keys, jump)
wins over the config, as options on ssh's command line do. The hops of a ProxyJump are looked up one by one by whoever
connects, as `ssh -J` does.

The files are read here and not with paramiko's reader, which knows no Include, `Match localnetwork|tagged|version`,
several CertificateFile, `~user`, escapes, comments after a value, tokens in UserKnownHostsFile, or `ProxyJump` before
`ProxyCommand`, and takes `[` in a pattern for a set; importing it takes 0.2 s. That this reader says what ssh says is
tested against `ssh -G`. What depends on the network (CanonicalizeHostname) is asked of `ssh -G`, once per host.
"""

from __future__ import annotations

import logging
import os
import threading
from pathlib import Path

import msgspec

from nodectl.inventory.errors import InventoryError
from nodectl.inventory.ssh_match import Matcher, Question, ask_ssh
from nodectl.inventory.ssh_reader import Option, Segment, read_config
from nodectl.inventory.ssh_settings import SettingsReader, SshSettings
from nodectl.model import Node

__all__ = ["SshConfig", "SshSettings"]

SYSTEM_CONFIG = Path("/etc/ssh/ssh_config")

_DEFAULT_KEYS = ("id_rsa", "id_ecdsa", "id_ecdsa_sk", "id_ed25519", "id_ed25519_sk", "id_xmss", "id_dsa")
_log = logging.getLogger("nodectl.inventory")


class SshConfig:
    """The ssh config of this user and machine. May be used by several threads.

    Attributes:
        warnings: what could not be done as configured; each is logged (`nodectl.inventory`) as it turns up, too.
    """

    def __init__(self, path: Path | None = None, *, system: Path | None = SYSTEM_CONFIG) -> None:
        """Read the config files.

        Args:
            path: as with `ssh -F`: only this file is read (`none`: no file at all). None: the user's and the system's.
            system: the machine's own config, read after the user's.

        Raises:
            InventoryError: a file is wrong, with file:line, or `path` is not there.
        """
        self.warnings: list[str] = []
        self._local_user, self._home = _me()
        self._path = path
        self._cache: dict[tuple[object, ...], SshSettings] = {}
        self._canonical: dict[tuple[str, ...], list[Option] | None] = {}
        self._lock = threading.Lock()
        segments: list[Segment] = []
        if path is not None and str(path) != "none":
            segments = read_config(path.expanduser(), home=self._home, named=True)
        elif path is None:
            own = self._home / ".ssh" / "config"
            if own.is_file():
                segments += read_config(own, home=self._home)
            if system is not None and system.is_file():
                segments += read_config(system, home=self._home, system=True)
        self._matcher = Matcher(segments, self._warn)

    def resolve(self, node: Node) -> SshSettings:
        """How a node is reached.

        Raises:
            InventoryError: the config says something impossible for it.
        """
        key = (node.address or node.name, node.user, node.port, node.identity_files, node.known_hosts, node.jump)
        settings = self._cache.get(key)
        if settings is None:
            settings = self._cache[key] = self._resolve(node)
        return settings

    def _warn(self, text: str) -> None:
        if text not in self.warnings:
            self.warnings.append(text)
            _log.warning("%s", text)

    def _resolve(self, node: Node) -> SshSettings:
        typed = node.address or node.name
        question = self._question(node)
        self._matcher.apply(question, typed, final=False)
        hostname = question.hostname().lower()
        if (question.first("canonicalizehostname") or "no").lower() not in ("no", "false"):
            answer = self._ask(node, typed)
            if answer is not None:
                question = self._question(node)
                for option in answer:
                    question.take(option)
                hostname = (question.first("hostname") or hostname).lower()
        elif self._matcher.two_passes:
            question.values["hostname"] = [Option("hostname", (hostname.replace("%", "%%"),), "")]
            self._matcher.apply(question, hostname, final=True)
        # The node's own files stand alone; ssh's -i would have the config's after them.
        if node.identity_files:
            question.values["identityfile"] = [Option("identityfile", (file,), "") for file in node.identity_files]
        settings = SettingsReader(question, hostname).read()
        return msgspec.structs.replace(settings, known_hosts_files=node.known_hosts) if node.known_hosts else settings

    def _question(self, node: Node) -> Question:
        typed = node.address or node.name
        question = Question(typed, node.user, node.port, self._local_user, self._home)
        if node.jump is not None:
            question.take(Option("proxyjump", (node.jump,), ""))
        return question

    def _ask(self, node: Node, typed: str) -> list[Option] | None:
        """What `ssh -G` says of a host whose name it must look up first; None where there is no ssh."""
        options = [] if self._path is None else ["-F", str(self._path.expanduser())]
        options += ["-l", node.user] if node.user else []
        options += ["-p", str(node.port)] if node.port else []
        command = (*options, "--", typed)
        with self._lock:
            if command in self._canonical:
                return self._canonical[command]
        try:
            answer: list[Option] | None = _options(ask_ssh(command), self._home)
        except FileNotFoundError:
            self._warn("CanonicalizeHostname needs OpenSSH's ssh, which is not here: names are taken as they are")
            answer = None
        except InventoryError as problem:
            raise InventoryError(f"{typed}: {problem}") from None
        with self._lock:
            return self._canonical.setdefault(command, answer)


def _options(answer: dict[str, list[list[str]]], home: Path) -> list[Option]:
    """`ssh -G`'s answer as options. It prints its default keys, too; those are not configured ones."""
    keys = {words[0] for words in answer.get("identityfile", []) if words}
    if keys <= {f"~/.ssh/{key}" for key in _DEFAULT_KEYS}:
        answer = {key: lines for key, lines in answer.items() if key != "identityfile"}
    return [Option(key, tuple(words), "ssh -G") for key, lines in answer.items() for words in lines if words]


def _me() -> tuple[str, Path]:
    """The local user and home folder, from the password file as ssh does it; $HOME only where it has no entry."""
    import pwd

    try:
        entry = pwd.getpwuid(os.getuid())
    except KeyError:
        return os.environ.get("USER") or str(os.getuid()), Path(os.environ.get("HOME") or "/")
    return entry.pw_name, Path(entry.pw_dir)
