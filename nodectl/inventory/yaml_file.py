"""nodectl's own inventory, `inventory/1`:

    nodectl: inventory/1                        # optional
    defaults: {user: root, port: 22, identity_file: ~/.ssh/id_ed25519, profile: training}
    groups:
      h200: {hosts: "gpu[001-128]", labels: {rack: r1}, expect: {gpus: 8, model: H200}}
    hosts:
      - gpu-login
      - {name: gpu201, address: 10.0.0.2, port: 2222, user: admin, jump: bastion, labels: {rack: r2}}

`hosts` is a node set, or a list of node sets and mappings. Everything that `defaults` takes, a group and a host take
too; the host wins over its groups, a group over `defaults`, key by key. A host in several groups is one node; where its
groups contradict each other and it does not say itself, that is an error. A node set with settings
(`{name: "gpu[1-4]", port: 2222}`) gives them to each.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from nodectl.inventory.errors import InventoryError
from nodectl.inventory.nodeset import MAX_NODES, expand, fold
from nodectl.inventory.settings import COMMON_KEYS, HOST_KEYS, Key, Layer, make_node, read_layer
from nodectl.inventory.target import host_problem
from nodectl.model import Node
from nodectl.strict_yaml import Doc, describe, quoted, text_of
from nodectl.suggest import did_you_mean

SCHEMA = "inventory/1"
TOP_KEYS = ("nodectl", "defaults", "groups", "hosts")
_GROUP_KEYS = ("hosts", *COMMON_KEYS)
_WORD = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*\Z")


class _Host:
    """One host as it grows while the file is read."""

    __slots__ = ("groups", "line", "own", "own_line")

    def __init__(self, line: int) -> None:
        self.line = line
        self.groups: list[str] = []
        self.own: Layer = {}
        self.own_line = 0


def read_inventory(document: Doc) -> list[Node]:
    """The nodes of one document, in the order in which it first names them.

    Raises:
        InventoryError: with every problem of the document.
    """
    reader = _Reader(document)
    nodes = reader.read()
    if reader.problems:
        ordered = sorted(reader.problems, key=lambda problem: problem[0])
        raise InventoryError(f"{document.file}:{line}: {text}" for line, text in dict.fromkeys(ordered))
    return nodes


class _Reader:
    def __init__(self, document: Doc) -> None:
        self.document = document
        self.folder = Path(document.file).absolute().parent
        self.problems: list[tuple[int, str]] = []
        self.hosts: dict[str, _Host] = {}
        self.groups: dict[str, Layer] = {}
        self.defaults: Layer = {}
        # (what, first line, line) -> names that are there twice; gathered so that 128 of them are one problem
        self.twice: dict[tuple[str, int, int], list[str]] = {}

    def problem(self, line: int, text: str) -> None:
        self.problems.append((line, text))

    def read(self) -> list[Node]:
        top = self.document.value
        if not isinstance(top, dict):
            self.problem(
                self.document.line_of(),
                f"expected a mapping with hosts: or groups:, found {describe(top)}",
            )
            return []
        self._check_keys((), top, TOP_KEYS, "an inventory")
        for key, value in top.items():
            if key == "nodectl" and value != SCHEMA:
                self.problem(
                    self._line((key,)), f"nodectl: expected {SCHEMA}, found {describe(value)}: a newer nodectl?"
                )
            elif key == "defaults":
                self._read_defaults(value)
            elif key == "groups":
                self._read_groups(value)
            elif key == "hosts":
                self._read_hosts(("hosts",), value, None)
        for (what, first, line), names in self.twice.items():
            self.problem(line, f"{fold(names)}: {what} twice (first on line {first})")
        if not self.hosts and not self.problems:
            self.problem(self.document.line_of(), "no hosts: name some under hosts: or groups:")
        if self.problems:
            self._merge()
            return []
        return self._merge()

    def _line(self, path: Key | tuple[Any, ...]) -> int:
        return self.document.line_of(path)

    def _check_keys(self, path: tuple[Any, ...], mapping: dict[str, Any], known: tuple[str, ...], what: str) -> None:
        for key in mapping:
            if key not in known:
                hint = did_you_mean(key, known) or f"; known keys: {', '.join(known)}"
                self.problem(self._line((*path, key)), f"unknown key {quoted(key)} in {what}{hint}")

    def _layer(self, path: tuple[Any, ...], mapping: dict[str, Any]) -> Layer:
        return read_layer(mapping, lambda below: self._line((*path, *below)), self.folder, self.problem)

    def _read_defaults(self, value: Any) -> None:
        path = ("defaults",)
        if not isinstance(value, dict):
            self.problem(self._line(path), f"defaults: expected a mapping, found {describe(value)}")
            return
        self._check_keys(path, value, COMMON_KEYS, "defaults")
        self.defaults = self._layer(path, value)

    def _read_groups(self, value: Any) -> None:
        if not isinstance(value, dict):
            self.problem(self._line(("groups",)), f"groups: expected a mapping of names, found {describe(value)}")
            return
        for name, group in value.items():
            path = ("groups", name)
            if not _WORD.match(name):
                self.problem(self._line(path), f"{quoted(name)} is no group name: letters, digits, -, _ and . can be")
            if not isinstance(group, dict):
                wanted = 'a mapping like {hosts: "gpu[001-128]"}'
                self.problem(self._line(path), f"group {name}: expected {wanted}, found {describe(group)}")
                continue
            self._check_keys(path, group, _GROUP_KEYS, f"group {name}")
            self.groups[name] = self._layer(path, group)
            if "hosts" in group:
                self._read_hosts((*path, "hosts"), group["hosts"], name)
            else:
                self.problem(self._line(path), f"group {name}: hosts: is missing")

    def _read_hosts(self, path: tuple[Any, ...], value: Any, group: str | None) -> None:
        """A node set, or a list of node sets and mappings; `group` is the group that they are in."""
        seen: dict[str, int] = {}
        if isinstance(value, list):
            for index, item in enumerate(value):
                self._read_host((*path, index), item, group, seen)
        elif isinstance(value, dict):
            self.problem(self._line(path), "hosts: expected a node set or a list; write each host as - {name: …}")
        else:
            self._read_host(path, value, group, seen)

    def _read_host(self, path: tuple[Any, ...], item: Any, group: str | None, seen: dict[str, int]) -> None:
        line = self._line(path)
        own: Layer = {}
        text = text_of(item)
        if isinstance(item, dict):
            self._check_keys(path, item, HOST_KEYS, "a host")
            own = self._layer(path, item)
            text = text_of(item.get("name"))
            if text is None:
                found = describe(item.get("name"))
                self.problem(line, f"a host needs a name: expected text or a node set, found {found}")
                return
        elif text is None:
            self.problem(line, f"expected a host name, a node set or a mapping, found {describe(item)}")
            return
        names = self._names(text, line)
        if len(names) > 1 and ("address",) in own:
            self.problem(own["address",][1], f"address: {text} is {len(names)} hosts, which cannot share an address")
        for name in names:
            self._add(name, line, own if isinstance(item, dict) else None, group, seen)

    def _names(self, text: str, line: int) -> list[str]:
        """The host names of a node set; none when it is wrong."""
        try:
            names = expand(text)
        except InventoryError as problem:
            self.problem(line, str(problem))
            return []
        if not names:
            self.problem(line, "the host name is empty")
        if len(self.hosts) + len(names) > MAX_NODES:
            self.problem(line, f"more than {MAX_NODES} hosts in one inventory")
            return []
        for name in names:
            if wrong := host_problem(name):
                if "@" in name or name.count(":") == 1:
                    wrong += "; a user or port is given as {name: …, user: …, port: …}"
                self.problem(line, wrong)
                return []
        return names

    def _add(self, name: str, line: int, own: Layer | None, group: str | None, seen: dict[str, int]) -> None:
        if name in seen:
            what = f"in group {group}" if group else "in hosts"
            self.twice.setdefault((what, seen[name], line), []).append(name)
            return
        seen[name] = line
        host = self.hosts.get(name)
        if host is None:
            host = self.hosts[name] = _Host(line)
        if group is not None:
            host.groups.append(group)
        if own is not None:
            if host.own_line:
                self.twice.setdefault(("has settings of its own", host.own_line, line), []).append(name)
                return
            host.own, host.own_line = own, line

    def _merge(self) -> list[Node]:
        """Every host with what its layers say together."""
        nodes: list[Node] = []
        merged: dict[tuple[str, ...], tuple[Layer, dict[Key, tuple[str, str]]]] = {}
        clashes: dict[tuple[str, str, Key], list[str]] = {}
        file = self.document.file
        for name, host in self.hosts.items():
            groups = tuple(host.groups)
            if groups not in merged:
                merged[groups] = self._merge_groups(groups)
            layer, contradictions = merged[groups]
            for key, (first, second) in contradictions.items():
                if key not in host.own:
                    clashes.setdefault((first, second, key), []).append(name)
            if host.own:
                layer = {**layer, **host.own}
            nodes.append(make_node(name, layer, host.own, groups, f"{file}:{host.own_line or host.line}"))
        for (first, second, key), names in clashes.items():
            (one, line), (other, other_line) = self.groups[first][key], self.groups[second][key]
            self.problem(
                other_line,
                f"{fold(names)}: group {second} says {'.'.join(key)}: {_shown(other)}, but group {first} says "
                f"{_shown(one)} on line {line}; say it for the host itself, or only in one group",
            )
        return nodes

    def _merge_groups(self, groups: tuple[str, ...]) -> tuple[Layer, dict[Key, tuple[str, str]]]:
        """Defaults with these groups laid over them, and the keys on which two groups contradict each other."""
        layer = dict(self.defaults)
        said_by: dict[Key, str] = {}
        contradictions: dict[Key, tuple[str, str]] = {}
        for group in groups:
            for key, entry in self.groups.get(group, {}).items():
                if key in said_by and layer[key][0] != entry[0]:
                    contradictions.setdefault(key, (said_by[key], group))
                    continue
                said_by[key] = group
                layer[key] = entry
        return layer, contradictions


def _shown(value: Any) -> str:
    if isinstance(value, tuple):
        return ", ".join(value)
    text = text_of(value)
    return text if text is not None and text.isprintable() else describe(value)
