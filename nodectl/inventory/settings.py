"""What may be said of a node in nodectl's own YAML: the keys, what each takes, and how layers of them make a Node."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from nodectl.inventory.errors import InventoryError
from nodectl.inventory.target import host_problem, parse_jumps, user_problem
from nodectl.model import Node
from nodectl.strict_yaml import describe, text_of

TRANSPORTS = ("ssh", "openssh", "local")

Key = tuple[str, ...]
Layer = dict[Key, tuple[Any, int]]
"""What defaults, a group or a host says: {("port",): (22, line), ("labels", "rack"): ("r1", line)}."""

_WORD = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*\Z")
_MAPPINGS = ("labels", "expect")


class WrongValueError(Exception):
    """What was expected; the caller knows the key, the value and the line."""


def _address(value: Any, folder: Path) -> str:
    text = _text(value)
    if problem := host_problem(text):
        raise InventoryError(problem)
    return text


def _port(value: Any, folder: Path) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 65535:
        raise WrongValueError("a number from 1 to 65535")
    return value


def _user(value: Any, folder: Path) -> str:
    text = text_of(value)
    if text is None or user_problem(text):
        raise WrongValueError("a user name")
    return text


def _jump(value: Any, folder: Path) -> str:
    text = text_of(value)
    if not text:
        raise WrongValueError("jump hosts like bastion or user@bastion:22, or none")
    parse_jumps(text)
    return text


def _transport(value: Any, folder: Path) -> str:
    if value not in TRANSPORTS or not isinstance(value, str):
        raise WrongValueError(f"one of {', '.join(TRANSPORTS)}")
    return value


def _profile(value: Any, folder: Path) -> str:
    text = text_of(value)
    if text is None or not _WORD.match(text):
        raise WrongValueError("the name of a profile")
    return text


def _paths(value: Any, folder: Path) -> tuple[str, ...]:
    values = value if isinstance(value, list) else [value]
    if not values or not all(isinstance(one, str) and one for one in values):
        raise WrongValueError("a path, or a list of paths")
    return tuple(path_text(one, folder) for one in values)


def _path(value: Any, folder: Path) -> tuple[str, ...]:
    if not isinstance(value, str) or not value:
        raise WrongValueError("a path")
    return (path_text(value, folder),)


def path_text(text: str, folder: Path) -> str:
    """A path of an inventory: `~` is the home folder, a relative one begins at the inventory's own folder."""
    return str(folder / Path(os.path.expanduser(text)))  # noqa: PTH111 - Path.expanduser raises on an unknown user


def _text(value: Any) -> str:
    text = text_of(value)
    if text is None:
        raise WrongValueError("text")
    return text


# YAML key -> (what the Node calls it, what it takes)
SETTINGS: Mapping[str, tuple[str, Callable[[Any, Path], Any]]] = {
    "port": ("port", _port),
    "user": ("user", _user),
    "identity_file": ("identity_files", _path),
    "identity_files": ("identity_files", _paths),
    "known_hosts": ("known_hosts", _paths),
    "jump": ("jump", _jump),
    "transport": ("transport", _transport),
    "profile": ("profile", _profile),
}
_READERS = {"address": ("address", _address), **SETTINGS}
COMMON_KEYS = (*SETTINGS, *_MAPPINGS)
HOST_KEYS = ("name", "address", *COMMON_KEYS)


def read_layer(
    mapping: Mapping[str, Any], line_of: Callable[[Key], int], folder: Path, problem: Callable[[int, str], None]
) -> Layer:
    """The settings, labels and expectations that a mapping gives; other keys are the caller's.

    Args:
        mapping: of the file.
        line_of: the line of a path of keys below the mapping.
        folder: where relative paths begin.
        problem: takes (line, text) of everything wrong.
    """
    layer: Layer = {}
    for key, value in mapping.items():
        line = line_of((key,))
        if key in _MAPPINGS:
            _read_mapping(key, value, line_of, problem, layer)
            continue
        if key not in _READERS:
            continue
        field, read = _READERS[key]
        if (field,) in layer:
            problem(line, f"{key}: identity_file and identity_files say the same; keep one")
            continue
        try:
            layer[field,] = (read(value, folder), line)
        except WrongValueError as wrong:
            problem(line, f"{key}: expected {wrong}, found {describe(value)}")
        except InventoryError as wrong:
            problem(line, f"{key}: {wrong}")
    return layer


def _read_mapping(
    key: str, value: Any, line_of: Callable[[Key], int], problem: Callable[[int, str], None], layer: Layer
) -> None:
    """`labels` (name: text) or `expect` (name: any value)."""
    if not isinstance(value, dict):
        problem(line_of((key,)), f"{key}: expected a mapping like {{rack: r1}}, found {describe(value)}")
        return
    for name, one in value.items():
        line = line_of((key, name))
        if not _WORD.match(name):
            problem(line, f"{key}: {describe(name)} cannot be a name here: letters, digits, -, _ and . can")
        elif one is None:
            problem(line, f"{key}.{name}: expected a value, found nothing")
        elif key == "labels":
            text = text_of(one)
            if text is None or not text.isprintable():
                problem(line, f"{key}.{name}: expected text, found {describe(one)}; quote it if it is meant as text")
            else:
                layer[key, name] = (text, line)
        else:
            layer[key, name] = (one, line)


def make_node(name: str, layer: Layer, own: Layer, groups: tuple[str, ...], origin: str) -> Node:
    """The node that all layers together describe.

    `localhost` with nothing of its own that says how to reach it is this machine: no SSH.

    Args:
        layer: defaults, groups and host, merged.
        own: the host's own layer.
    """
    fields: dict[str, Any] = {}
    maps: dict[str, dict[str, Any]] = {"labels": {}, "expect": {}}
    for key, (value, _) in layer.items():
        if len(key) == 1:
            fields[key[0]] = value
        else:
            maps[key[0]][key[1]] = value
    reach = (("address",), ("port",), ("user",), ("jump",))
    if name == "localhost" and "transport" not in fields and not any(key in own for key in reach):
        fields["transport"] = "local"
    return Node(name=name, groups=groups, labels=maps["labels"], expect=maps["expect"], origin=origin, **fields)
