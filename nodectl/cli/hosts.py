"""`nodectl hosts`: what an inventory resolves to, and how each node would be reached. Touches no node."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nodectl.cli.options import DEMO, HOSTS, NODE, SSH_CONFIG, flat
from nodectl.model import Node

if TYPE_CHECKING:
    from nodectl.inventory.sshconfig import SshConfig


@click.command("hosts")
@HOSTS
@NODE
@SSH_CONFIG
@DEMO
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
@click.option("--example", is_flag=True, help="Print an inventory to start from.")
def command(
    hosts: tuple[str, ...],
    node: tuple[tuple[str, ...], ...],
    ssh_config: Path | None,
    demo: bool,
    as_json: bool,
    example: bool,
) -> int:
    """Print what an inventory resolves to, and how each node would be reached."""
    if example:
        from nodectl.resources import data_dir

        sys.stdout.write((data_dir("templates") / "inventory.yaml").read_text())
        return 0
    from nodectl.cli.session import named_nodes
    from nodectl.inventory import select
    from nodectl.inventory.sshconfig import SshConfig

    if demo:
        from nodectl.demo import demo_fleet

        with demo_fleet() as fleet:
            nodes = select(fleet.nodes, flat(node)) if node else fleet.nodes
            _print(nodes, SshConfig(fleet.ssh_config), as_json)
    else:
        _print(named_nodes(hosts, flat(node), ssh_config), SshConfig(ssh_config), as_json)
    return 0


def _print(nodes: list[Node], config: SshConfig, as_json: bool) -> None:
    rows = [_row(node, config) for node in nodes]
    if as_json:
        import msgspec

        document = msgspec.json.encode({"schema": "nodectl.hosts/1", "nodes": rows})
        sys.stdout.write(msgspec.json.format(document, indent=2 if sys.stdout.isatty() else 0).decode() + "\n")
        return
    from nodectl.cli.terminal import note, write
    from nodectl.view.table import table_lines

    columns = ("name", "reach", "profile", "groups", "labels", "expect", "origin")
    write(table_lines([{key: _text(value) for key, value in row.items()} for row in rows], columns))
    for warning in config.warnings:
        note(warning)


def _row(node: Node, config: SshConfig) -> dict[str, Any]:
    """One node as plain values: what was declared, and the ssh settings that come of it."""
    row: dict[str, Any] = {
        "name": node.name,
        "transport": node.transport,
        "profile": node.profile or "",
        "groups": list(node.groups),
        "labels": node.labels,
        "expect": node.expect,
        "origin": node.origin,
    }
    if node.transport == "local":
        return row | {"reach": "this machine"}
    settings = config.resolve(node)
    where = f"{settings.user}@{settings.hostname}" + ("" if settings.port == 22 else f":{settings.port}")
    if settings.proxy_jump:
        where += f" via {settings.proxy_jump}"
    elif settings.proxy_command:
        where += " via ProxyCommand"
    return row | {
        "reach": where,
        "hostname": settings.hostname,
        "port": settings.port,
        "user": settings.user,
        "jump": settings.proxy_jump or "",
        "identity_files": [str(path) for path in settings.identity_files],
    }


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return " ".join(f"{key}={item}" for key, item in value.items())
    if isinstance(value, list):
        return ",".join(str(item) for item in value)
    return str(value)
