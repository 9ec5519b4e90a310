"""Which nodes there are, and how each is reached.

    nodes = load_hosts("inventory.yaml")            # or "gpu[001-128],login", "user@host:22", "localhost", "@slurm:gpu"
    nodes = select(nodes, ["@h200", "rack=r1"])     # --node
    settings = SshConfig().resolve(nodes[0])        # nodectl.inventory.sshconfig: the user's ssh config applied

Importing this imports neither YAML nor ClusterShell; they come when a file or a node set is read.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from nodectl.inventory.errors import InventoryError
from nodectl.model import Node

__all__ = ["InventoryError", "load_hosts", "select"]


def load_hosts(spec: str, *, ssh_config: Path | None = None) -> list[Node]:
    """The nodes that a `--hosts` value names: a file, or names written out (nodectl.inventory.spec).

    Args:
        spec: a path to a nodectl or Ansible inventory, or text like `gpu[001-128],login`.
        ssh_config: an ssh config that was named by hand; it is read here so that a mistake in it is told before
            anything runs.

    Returns:
        Nodes in the order in which they were named; names are unique.

    Raises:
        InventoryError: with every problem found.
    """
    from nodectl.inventory.spec import load_spec

    nodes = load_spec(spec)
    if ssh_config is not None:
        from nodectl.inventory.sshconfig import SshConfig

        SshConfig(ssh_config)
    return nodes


def select(nodes: Sequence[Node], patterns: Iterable[str]) -> list[Node]:
    """The nodes that `--node` patterns name, in the inventory's order (nodectl.inventory.selection).

    Raises:
        InventoryError: a pattern names no node.
    """
    from nodectl.inventory.selection import select as chosen

    return chosen(nodes, patterns)
