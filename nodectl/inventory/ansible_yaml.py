"""Ansible's YAML form (and JSON): groups with `hosts`, `children` and `vars`, nested.

    all:
      vars: {ansible_user: admin}
      children:
        gpu: {hosts: {"gpu[01:10]": {ansible_port: 2222}}}

What `ansible-inventory --list` writes is read as well: members as lists, variables under `_meta: {hostvars: …}`.
"""

from __future__ import annotations

from typing import Any

from nodectl.inventory.ansible import AnsibleInventory
from nodectl.inventory.ansible_vars import CONNECTION_VARIABLES, Variables, misspelt
from nodectl.model import Node
from nodectl.strict_yaml import Doc, describe, quoted, text_of
from nodectl.suggest import did_you_mean

_KEYS = ("hosts", "children", "vars")


def read_yaml(document: Doc) -> list[Node]:
    """The nodes of an inventory in YAML form.

    Raises:
        InventoryError: with every problem of the file.
    """
    reader = _Reader(document)
    for name, group in document.value.items():
        if name != "_meta":
            reader.read_group(name, group, (name,))
    reader.read_hostvars(document.value.get("_meta"))
    return reader.inventory.nodes()


class _Reader:
    def __init__(self, document: Doc) -> None:
        self.document = document
        self.inventory = AnsibleInventory(document.file)

    def read_group(self, name: str, value: Any, path: tuple[Any, ...]) -> None:
        """One group, and the groups in it. The nesting is bounded by the YAML reader."""
        line = self.document.line_of(path)
        group = self.inventory.group(name, line)
        if value is None:
            return
        if not isinstance(value, dict):
            self.inventory.problem(line, f"group {name}: expected hosts:, children: or vars:, found {describe(value)}")
            return
        for key, inner in value.items():
            below = (*path, key)
            if key == "hosts":
                self._read_hosts(name, inner, below)
            elif key == "vars":
                group.variables.update(self._variables(inner, below))
            elif key == "children":
                for child, child_value in self._members(inner, below):
                    group.children.setdefault(child, self.document.line_of((*below, child)))
                    if isinstance(inner, dict):
                        self.read_group(child, child_value, (*below, child))
                    else:  # a list names groups that stand elsewhere; empty ones stand nowhere
                        self.inventory.group(child, self.document.line_of(below))
            else:
                self.inventory.problem(
                    self.document.line_of(below),
                    f"group {name}: unknown key {quoted(key)}; expected {', '.join(_KEYS)}{did_you_mean(key, _KEYS)}",
                )

    def read_hostvars(self, meta: Any) -> None:
        """`_meta: {hostvars: {gpu01: {…}}}`"""
        if not isinstance(meta, dict) or not isinstance(meta.get("hostvars"), dict):
            return
        for host, values in meta["hostvars"].items():
            if host in self.inventory.hosts:
                variables = self._variables(values, ("_meta", "hostvars", host))
                self.inventory.hosts[host][1].update(variables)

    def _read_hosts(self, group: str, value: Any, path: tuple[Any, ...]) -> None:
        for pattern, variables in self._members(value, path):
            line = self.document.line_of((*path, pattern))
            self.inventory.add_hosts(pattern, self._variables(variables, (*path, pattern)), group, line)

    def _members(self, value: Any, path: tuple[Any, ...]) -> list[tuple[str, Any]]:
        """(name, what stands under it) of a mapping, a list of names, one name, or nothing."""
        if value is None:
            return []
        if isinstance(value, dict):
            return list(value.items())
        names = value if isinstance(value, list) else [value]
        texts = [text_of(name) for name in names]
        if None in texts:
            self.inventory.problem(self.document.line_of(path), f"{path[-1]}: expected names, found {describe(value)}")
        return [(text, None) for text in texts if text is not None]

    def _variables(self, value: Any, path: tuple[Any, ...]) -> Variables:
        """The connection variables of a mapping; a playbook's own are passed over."""
        if value is None:
            return {}
        if not isinstance(value, dict):
            self.inventory.problem(self.document.line_of(path), f"expected variables, found {describe(value)}")
            return {}
        for name in value:
            if meant := misspelt(name):
                line = self.document.line_of((*path, name))
                self.inventory.problem(line, f'unknown variable {quoted(name)}; did you mean "{meant}"?')
        return {
            name: (one, self.document.file, self.document.line_of((*path, name)))
            for name, one in value.items()
            if name in CONNECTION_VARIABLES
        }
