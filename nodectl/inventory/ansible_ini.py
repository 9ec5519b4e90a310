"""Ansible's INI form: `[group]`, `[group:children]`, `[group:vars]`, and host lines `gpu[01:10] ansible_user=root`."""

from __future__ import annotations

import re
import shlex

from nodectl.inventory.ansible import AnsibleInventory
from nodectl.inventory.ansible_vars import CONNECTION_VARIABLES, Variables, misspelt
from nodectl.model import Node
from nodectl.strict_yaml import quoted
from nodectl.suggest import did_you_mean

_SECTION = re.compile(r"\[([^:\]\s]+)(?::(\w+))?\]\s*(?:[#;].*)?\Z")
_KINDS = ("hosts", "children", "vars")


def read_ini(text: str, file: str) -> list[Node]:
    """The nodes of an inventory in INI form; a bare list of names is one, too.

    Raises:
        InventoryError: with every problem of the file.
    """
    inventory = AnsibleInventory(file)
    group, kind = "ungrouped", "hosts"
    for number, raw in enumerate(text.splitlines(), 1):
        line = raw.strip()
        if not line or line[0] in "#;":
            continue
        section = _section(inventory, line, number)
        if section:
            group, kind = section
        elif section is None and kind == "hosts":
            _host_line(inventory, line, group, number)
        elif section is None and kind == "children":
            name = line.split("#")[0].strip()
            inventory.group(group, number).children.setdefault(name, number)
        elif section is None and kind == "vars":
            _variable_line(inventory, line, group, number)
    return inventory.nodes()


def _section(inventory: AnsibleInventory, line: str, number: int) -> tuple[str, str] | tuple[()] | None:
    """(group, kind) of a section's head, () of one that is wrong (the problem is noted), None for another line."""
    match = _SECTION.match(line)
    if match:
        group, kind = match.group(1), match.group(2) or "hosts"
        if kind not in _KINDS:
            inventory.problem(
                number,
                f"section kind {quoted(kind)}: expected {', '.join(_KINDS)}{did_you_mean(kind, _KINDS)}",
            )
            return group, ""
        inventory.group(group, number)
        return group, kind
    if line[0] == "[" and ("]" not in line or " " in line[: line.index("]")]):
        inventory.problem(number, f"{quoted(line)}: expected a section like [gpu] or [gpu:vars]")
        return ()
    return None


def _host_line(inventory: AnsibleInventory, line: str, group: str, number: int) -> None:
    try:
        words = shlex.split(line, comments=True)
    except ValueError:
        inventory.problem(number, f"{quoted(line)}: a quote is not closed")
        return
    variables: Variables = {}
    for word in words[1:]:
        name, equals, value = word.partition("=")
        if not equals:
            inventory.problem(number, f"expected key=value after the host, found {quoted(word)}")
            return
        if name in CONNECTION_VARIABLES:
            variables[name] = (value, inventory.file, number)
        elif meant := misspelt(name):
            inventory.problem(number, f'unknown variable {quoted(name)}; did you mean "{meant}"?')
    inventory.add_hosts(words[0], variables, group, number)


def _variable_line(inventory: AnsibleInventory, line: str, group: str, number: int) -> None:
    name, equals, value = (part.strip() for part in line.partition("="))
    if not equals:
        inventory.problem(number, f"expected key=value in [{group}:vars], found {quoted(line)}")
        return
    if name in CONNECTION_VARIABLES:
        if len(value) > 1 and value[0] in "\"'" and value[-1] == value[0]:
            value = value[1:-1]
        inventory.group(group, number).variables[name] = (value, inventory.file, number)
    elif meant := misspelt(name):
        inventory.problem(number, f'unknown variable {quoted(name)}; did you mean "{meant}"?')
