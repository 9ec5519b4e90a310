"""What follows `--hosts`: a file, or names written out.

gpu[001-128],login      a node set             user@host:port   [2001:db8::1]:2222
localhost               this machine, no SSH   @slurm:PARTITION  asked of sinfo
inventory.yaml          a file: nodectl's own, or an Ansible inventory (INI or YAML)
"""

from __future__ import annotations

import os
from pathlib import Path

from nodectl.inventory.errors import InventoryError
from nodectl.inventory.nodeset import MAX_NODES, expand, split
from nodectl.inventory.target import host_problem, parse_target
from nodectl.model import Node
from nodectl.strict_yaml import quoted

FILE_SUFFIXES = (".yaml", ".yml", ".ini", ".json")
ORIGIN = "--hosts"


def load_spec(spec: str) -> list[Node]:
    """The nodes that a `--hosts` value names, in its order.

    Raises:
        InventoryError: it names no file and no hosts, or they are wrong.
    """
    text = spec.strip()
    if not text:
        raise InventoryError(f"{ORIGIN}: expected a file or host names, found nothing")
    if _is_file(text):
        from nodectl.inventory.files import load_file

        return load_file(Path(os.path.expanduser(text)))  # noqa: PTH111
    return _load_names(text)


def _is_file(text: str) -> bool:
    """Whether a file is meant.

    Raises:
        InventoryError: a file is meant and is not there.
    """
    path = Path(os.path.expanduser(text))  # noqa: PTH111 - Path.expanduser raises on an unknown user
    try:
        if "," not in text and (path.is_file() or text.startswith("/dev/")):
            return True
    except (OSError, ValueError):  # a name that no file can have: too long, or with a zero byte
        return False
    meant = text.lower().endswith(FILE_SUFFIXES) or ("/" in text and not text.startswith(("ssh://", "@slurm")))
    if not meant or "[" in text:  # gpu[0-6/2] has a slash, too
        return False
    if path.is_dir():
        raise InventoryError(f"{text}: is a directory; name the inventory file in it")
    if not path.exists():
        raise InventoryError(f"{text}: no such file (host names are given like gpu[001-128],login)")
    return True


def _load_names(text: str) -> list[Node]:
    problems: list[str] = []
    nodes: list[Node] = []
    try:
        parts = split(text)
    except InventoryError as problem:
        raise InventoryError(f"{ORIGIN}: {problem}") from None
    for part in parts:
        try:
            nodes.extend(_part(part))
            if len(nodes) > MAX_NODES:
                raise InventoryError(f"more than {MAX_NODES} hosts")
        except InventoryError as problem:
            problems.extend(f"{ORIGIN}: {one}" for one in problem.problems)
    if problems:
        raise InventoryError(problems)
    if not nodes:
        raise InventoryError(f"{ORIGIN}: no hosts in {quoted(text)}")
    return _unique(nodes)


def _part(part: str) -> list[Node]:
    """The nodes of one part between commas."""
    if part == "@slurm" or part.startswith("@slurm:"):
        from nodectl.inventory.slurm import partition_nodes

        names = _good(partition_nodes(part.partition(":")[2]))
        return [Node(name=name, origin=f"{ORIGIN} {part}") for name in names]
    if part.startswith("@"):
        raise InventoryError(f"{part}: only @slurm:PARTITION begins with @ (a group is chosen with --node @GROUP)")
    if part == "localhost":
        return [Node(name=part, transport="local", origin=ORIGIN)]
    target = parse_target(part)
    names = _good(expand(target.host))
    return [Node(name=name, user=target.user, port=target.port, origin=ORIGIN) for name in names]


def _good(names: list[str]) -> list[str]:
    for name in names:
        if problem := host_problem(name):
            raise InventoryError(problem)
    return names


def _unique(nodes: list[Node]) -> list[Node]:
    """Each node once. Where one host is meant in several ways (ports, users), its names say which way."""
    ways: dict[str, dict[tuple[str | None, int | None], Node]] = {}
    for node in nodes:
        ways.setdefault(node.name, {}).setdefault((node.user, node.port), node)
    kept: list[Node] = []
    for host, by_way in ways.items():
        for (user, port), node in by_way.items():
            if len(by_way) == 1:
                kept.append(node)
                continue
            name = (f"{user}@" if user else "") + (f"[{host}]" if ":" in host and port else host)
            name += f":{port}" if port else ""
            kept.append(Node(name=name, address=host, user=user, port=port, transport=node.transport, origin=ORIGIN))
    return kept
