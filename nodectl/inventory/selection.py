"""`--node`: which nodes of an inventory are meant."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable, Sequence

from nodectl.inventory.errors import InventoryError
from nodectl.inventory.nodeset import expand, split
from nodectl.model import Node
from nodectl.strict_yaml import quoted
from nodectl.suggest import did_you_mean

_LABEL = re.compile(r"([A-Za-z0-9_][A-Za-z0-9._-]*)=(.*)\Z", re.DOTALL)
_MAX_LISTED = 12
"""Groups or labels that an error lists: a screen line or two."""


def select(nodes: Sequence[Node], patterns: Iterable[str]) -> list[Node]:
    """The nodes that any of the patterns names, in the inventory's order; all of them when there is no pattern.

    Args:
        nodes: of the inventory.
        patterns: node sets (`gpu[001-004],login`), globs (`gpu*`, `gpu?1`), groups (`@h200`), labels (`rack=r1`,
            `rack=r*`), or several of them with commas between.

    Raises:
        InventoryError: for every pattern that names no node.
    """
    parts: list[str] = []
    problems: list[str] = []
    for pattern in patterns:
        try:
            parts.extend(split(pattern) or [pattern])
        except InventoryError as problem:
            problems.append(f"--node: {problem}")
    if not parts and not problems:
        return list(nodes)
    names = [node.name for node in nodes]
    chosen: set[str] = set()
    for part in parts:
        try:
            chosen |= _matching(part, nodes, names)
        except InventoryError as problem:
            problems.append(f"--node: {problem}")
    if problems:
        raise InventoryError(problems)
    return [node for node in nodes if node.name in chosen]


def _matching(part: str, nodes: Sequence[Node], names: Sequence[str]) -> set[str]:
    """The names that one part of a pattern means; never empty."""
    if part in names:  # a name may look like a pattern: `user@host:22`
        return {part}
    if part.startswith("@"):
        return _in_group(part[1:], nodes)
    if label := _LABEL.match(part):
        return _with_label(label.group(1), label.group(2), nodes)
    if "*" in part or "?" in part:
        glob = re.compile(fnmatch.translate(part))
        found = {name for name in names if glob.match(name)}
        if not found:
            raise InventoryError(f"no node's name is like {quoted(part)}")
        return found
    found = set(names).intersection(expand(part))
    if not found:
        hint = did_you_mean(part, names) or did_you_mean(f"@{part}", {f"@{g}" for node in nodes for g in node.groups})
        raise InventoryError(f"no node is called {quoted(part)}{hint}")
    return found


def _in_group(group: str, nodes: Sequence[Node]) -> set[str]:
    found = {node.name for node in nodes if group in node.groups}
    if not found:
        known = sorted({one for node in nodes for one in node.groups})
        raise InventoryError(f"no group {quoted(group)}{did_you_mean(group, known) or _listing('groups here', known)}")
    return found


def _with_label(label: str, value: str, nodes: Sequence[Node]) -> set[str]:
    glob = re.compile(fnmatch.translate(value))
    found = {node.name for node in nodes if label in node.labels and glob.match(node.labels[label])}
    if found:
        return found
    values = sorted({node.labels[label] for node in nodes if label in node.labels})
    if values:
        hint = did_you_mean(value, values) or _listing("values here", values)
        raise InventoryError(f"no node has the label {quoted(f'{label}={value}')}{hint}")
    labels = sorted({one for node in nodes for one in node.labels})
    raise InventoryError(
        f"no node has a label {quoted(label)}{did_you_mean(label, labels) or _listing('labels', labels)}"
    )


def _listing(what: str, known: Sequence[str]) -> str:
    more = ", …" if len(known) > _MAX_LISTED else ""
    return f"; {what}: {', '.join(known[:_MAX_LISTED])}{more}" if known else f"; {what}: none"
