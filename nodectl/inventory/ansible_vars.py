"""Ansible's connection variables as fields of a Node."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

from nodectl.inventory.errors import InventoryError
from nodectl.inventory.target import host_problem, parse_jumps, user_problem
from nodectl.strict_yaml import describe, quoted, text_of

Variables = dict[str, tuple[Any, str, int]]
"""Name -> (value, file, line)."""

Problem = Callable[[int, str, str], None]
"""Takes line, text and file of what is wrong."""

_HOST = ("ansible_host", "ansible_ssh_host")
_PORT = ("ansible_port", "ansible_ssh_port")
_USER = ("ansible_user", "ansible_ssh_user")
_KEY = ("ansible_private_key_file", "ansible_ssh_private_key_file")
_ARGUMENTS = ("ansible_ssh_common_args", "ansible_ssh_extra_args", "ansible_ssh_args")
_CONNECTION = ("ansible_connection",)
CONNECTION_VARIABLES = frozenset((*_HOST, *_PORT, *_USER, *_KEY, *_ARGUMENTS, *_CONNECTION))

_CONNECTIONS = {
    "ssh": "ssh",
    "smart": "ssh",
    "paramiko": "ssh",
    "paramiko_ssh": "ssh",
    "ansible.builtin.ssh": "ssh",
    "ansible.builtin.paramiko_ssh": "ssh",
    "local": "local",
    "ansible.builtin.local": "local",
}
# ssh options with a value of their own, to find what is an option and what is not
_WITH_VALUE = frozenset("BbcDEeFIiJLlmOopQRSWw")


_MISSPELT = 0.92
"""Likeness (difflib's ratio) from which a variable is a mistyped one: `ansible_usr` is 0.96, the closest of Ansible's
other variables (`ansible_ssh_pass`, `ansible_become_user`) stay below 0.85."""


class _WrongError(Exception):
    """Text of what is wrong with one variable."""


def misspelt(name: str) -> str:
    """The connection variable that a mistyped one means, or nothing: it would silently lead to the wrong place."""
    if name in CONNECTION_VARIABLES or not name.startswith("ansible"):
        return ""
    import difflib

    return next(iter(difflib.get_close_matches(name, CONNECTION_VARIABLES, n=1, cutoff=_MISSPELT)), "")


def connection(host: str, variables: Variables, problem: Problem) -> dict[str, Any]:
    """The Node fields (`address`, `port`, `user`, `identity_files`, `jump`, `transport`) that variables ask for."""
    fields: dict[str, Any] = {}
    readers: tuple[tuple[tuple[str, ...], Callable[[str, dict[str, Any]], None]], ...] = (
        (_HOST, _read_host),
        (_PORT, _read_port),
        (_USER, _read_user),
        (_KEY, _read_key),
        (_CONNECTION, _read_connection),
        *(((name,), _read_arguments) for name in _ARGUMENTS),
    )
    for names, read in readers:
        for name in names:
            if name not in variables:
                continue
            value, file, line = variables[name]
            text = text_of(value)
            try:
                if text is None:
                    raise _WrongError(f"expected text, found {describe(value)}")
                if "{{" in text or "{%" in text:
                    raise _WrongError(f"{quoted(text)} is a template, which only Ansible can fill in: write the value")
                if text.startswith(("!vault", "|", ">")):
                    raise _WrongError(f"{quoted(text)} cannot be read here: write the value on the line")
                read(text, fields)
            except (_WrongError, InventoryError) as wrong:
                problem(line, f"{name}: {wrong}", file)
            break
    if fields.get("address") == host:
        del fields["address"]
    return fields


def _read_host(text: str, fields: dict[str, Any]) -> None:
    if wrong := host_problem(text):
        raise _WrongError(wrong)
    fields["address"] = text


def _read_port(text: str, fields: dict[str, Any]) -> None:
    if not re.fullmatch(r"[0-9]{1,5}", text) or not 1 <= int(text) <= 65535:
        raise _WrongError(f"expected a port from 1 to 65535, found {quoted(text)}")
    fields["port"] = int(text)


def _read_user(text: str, fields: dict[str, Any]) -> None:
    if wrong := user_problem(text):
        raise _WrongError(wrong)
    fields["user"] = text


def _read_key(text: str, fields: dict[str, Any]) -> None:
    if not text:
        raise _WrongError("expected a path, found nothing")
    fields["identity_files"] = (_path(text),)


def _read_connection(text: str, fields: dict[str, Any]) -> None:
    if text not in _CONNECTIONS:
        raise _WrongError(f"expected ssh or local, found {quoted(text)}: nodectl reaches nodes in no other way")
    fields["transport"] = _CONNECTIONS[text]


def _read_arguments(text: str, fields: dict[str, Any]) -> None:
    """Take jump hosts and key files out of ssh arguments; what changes nothing about where to go is passed over.

    `StrictHostKeyChecking=no` and `UserKnownHostsFile=/dev/null` are passed over, too: nodectl verifies host keys.
    """
    options, rest = _ssh_options(text)
    if rest:
        raise _WrongError(f"{quoted(' '.join(rest))} is no ssh option")
    for option, value in options:
        if option == "J" or option == "proxyjump":
            parse_jumps(value)
            fields["jump"] = value
        elif option == "proxycommand":
            fields["jump"] = jump_of_proxy_command(value)
        elif option in ("i", "identityfile"):
            fields["identity_files"] = (*fields.get("identity_files", ()), _path(value))
        elif option == "F":
            raise _WrongError("-F is not taken from an inventory: name the file with --ssh-config")


def jump_of_proxy_command(command: str) -> str:
    """The ProxyJump value that does what `ssh -W %h:%p user@bastion` does.

    Raises:
        InventoryError: the command is another one.
    """
    if command.strip().lower() == "none":
        return "none"
    words = _words(command)
    user = port = ""
    forwards = False
    if words and Path(words[0]).name == "ssh":
        options, rest = _ssh_options(command, skip=1)
        for option, value in options:
            forwards = forwards or (option == "W" and value.replace("[%h]", "%h") == "%h:%p")
            user = value if option in ("l", "user") else user
            port = value if option in ("p", "port") else port
        if forwards and len(rest) == 1 and not any(option in ("F", "i", "identityfile") for option, _ in options):
            jump = (f"{user}@" if user and "@" not in rest[0] else "") + rest[0] + (f":{port}" if port else "")
            parse_jumps(jump)
            return jump
    raise InventoryError(
        f"ProxyCommand {quoted(command)} is none that an inventory can give: put it into the ssh config, or write "
        "-o ProxyJump=user@bastion"
    )


def _ssh_options(text: str, skip: int = 0) -> tuple[list[tuple[str, str]], list[str]]:
    """(option, value) of ssh arguments, `-o Key=value` as (key in small letters, value), and what is no option."""
    words = _words(text)[skip:]
    options: list[tuple[str, str]] = []
    rest: list[str] = []
    index = 0
    while index < len(words):
        word = words[index]
        index += 1
        if len(word) < 2 or word[0] != "-":
            rest.append(word)
            continue
        for position, letter in enumerate(word[1:], 1):
            if letter not in _WITH_VALUE:
                options.append((letter, ""))
                continue
            value = word[position + 1 :]
            if not value and index < len(words):
                value = words[index]
                index += 1
            if letter == "o":
                key, _, value = re.sub(r"\s*=\s*|\s+", "=", value, count=1).partition("=")
                letter = key.lower()
            options.append((letter, value))
            break
    return options, rest


def _words(text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError:
        raise InventoryError(f"{quoted(text)}: a quote is not closed") from None


def _path(text: str) -> str:
    """As Ansible has it: `~` is the home folder, a relative path begins where the command was started."""
    return str(Path(os.path.expanduser(text)).absolute())  # noqa: PTH111 - Path.expanduser raises on an unknown user
