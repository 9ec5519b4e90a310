"""Inventory files: which kind one is, and reading it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from nodectl.inventory.errors import InventoryError
from nodectl.model import Node
from nodectl.strict_yaml import Doc, StrictYamlError, parse_documents, read_text

MAX_BYTES = 16 << 20
"""100,000 hosts with a line of settings each; what is larger is no inventory."""

_YAML_SUFFIXES = (".yaml", ".yml", ".json")
_ANSIBLE_KEYS = {"hosts", "children", "vars"}
_SECTION = re.compile(r"\[[^\]\s]+\]\s*(?:[#;].*)?\Z")
_YAML_START = re.compile(r"---|\{|[\"']?[A-Za-z0-9_.-]+[\"']?\s*:(?:\s|\Z)")


def load_file(path: Path) -> list[Node]:
    """The nodes of an inventory file.

    Raises:
        InventoryError: it cannot be read or is wrong, with every problem found.
    """
    try:
        text = read_text(path, max_bytes=MAX_BYTES)
        if not _is_yaml(path, text):
            if text.startswith("#!"):
                raise InventoryError(
                    f"{path}:1: a script; nodectl runs no inventory scripts. Write its answer to a file: "
                    f"ansible-inventory -i {path} --list --yaml --output inventory.yaml"
                )
            from nodectl.inventory.ansible_ini import read_ini

            return read_ini(text, str(path))
        return _load_yaml(path, parse_documents(text, str(path)))
    except StrictYamlError as problem:
        raise InventoryError(problem.problems) from None


def _load_yaml(path: Path, documents: list[Doc]) -> list[Node]:
    if not documents:
        raise InventoryError(f"{path}:1: the file is empty; an inventory has hosts: or groups:")
    if len(documents) > 1:
        raise InventoryError(f"{documents[1].where()}: a second document; an inventory file has one")
    if _is_ansible(documents[0].value):
        from nodectl.inventory.ansible_yaml import read_yaml

        return read_yaml(documents[0])
    from nodectl.inventory.yaml_file import read_inventory

    return read_inventory(documents[0])


def _is_yaml(path: Path, text: str) -> bool:
    """By the suffix, or else by the first line that says something."""
    suffix = path.suffix.lower()
    if suffix in (*_YAML_SUFFIXES, ".ini"):
        return suffix != ".ini"
    for line in text.splitlines():
        stripped = line.strip()
        if not stripped or stripped[0] in "#;":
            continue
        return not _SECTION.match(stripped) and bool(_YAML_START.match(stripped))
    return False


def _is_ansible(value: Any) -> bool:
    """Whether a document is an Ansible inventory: groups at the top, with hosts as mappings."""
    from nodectl.inventory.yaml_file import TOP_KEYS

    if not isinstance(value, dict) or not value or any(key in TOP_KEYS for key in value):
        return False
    groups = [group for group in value.values() if group is not None]
    if not all(isinstance(group, dict) for group in groups):
        return False
    return "all" in value or any(_ANSIBLE_KEYS & group.keys() for group in groups)
