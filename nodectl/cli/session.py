"""What every command that talks to nodes does first and last: resolve the nodes, open the transports, shut them."""

from __future__ import annotations

import contextlib
import logging
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import FrameType

import click
import msgspec

from nodectl.cli.options import DEFAULT_CONNECT_TIMEOUT_S, CheckChoice, NodeChoice
from nodectl.fleet.probing import ProbeOptions
from nodectl.fleet.worker import PlanSpec
from nodectl.inventory import load_hosts, select
from nodectl.inventory.ssh_settings import SshSettings
from nodectl.inventory.sshconfig import SshConfig
from nodectl.model import Node
from nodectl.transport import Transports, open_transports

# What libraries and the inventory log is told through the report's messages; nothing goes to stderr by itself.
logging.getLogger("nodectl").addHandler(logging.NullHandler())


PATIENCE_S = 2.0


class Terminated(BaseException):
    """SIGTERM: like a KeyboardInterrupt, with its own exit code."""


class Reach(msgspec.Struct, frozen=True):
    """The nodes of a run, and the way to them."""

    nodes: list[Node]
    transports: Transports
    options: ProbeOptions
    config: SshConfig

    @property
    def notes(self) -> list[str]:
        """What the user should know of the way, and no node's reason tells."""
        return list(dict.fromkeys([*self.config.warnings, *self.transports.notes]))


@contextlib.contextmanager
def reach(choice: NodeChoice) -> Iterator[Reach]:
    """The chosen nodes with open transports, shut again at the end.

    Raises:
        InventoryError: a wrong inventory; nothing has been run.
        click.UsageError: no node was chosen.
    """
    with contextlib.ExitStack() as stack:
        if choice.demo:
            from nodectl.demo import demo_fleet

            if choice.hosts:
                raise click.UsageError("--demo brings its own nodes: leave out --hosts")
            fleet = stack.enter_context(demo_fleet())
            nodes = select(fleet.nodes, choice.node) if choice.node else fleet.nodes
            config_file: Path | None = fleet.ssh_config
        else:
            nodes, config_file = chosen_nodes(choice), choice.ssh_config
        config = SshConfig(config_file)
        transports = open_transports(
            nodes,
            resolve=_resolver(config, choice),
            ssh_config=config_file,
            host_key_policy=choice.host_key,
            fanout=choice.fanout,
        )
        stack.callback(transports.close)
        options = ProbeOptions(
            fanout=choice.fanout,
            deadline_s=choice.deadline_s,
            connect_timeout_s=choice.connect_timeout_s or DEFAULT_CONNECT_TIMEOUT_S,
            sample_s=choice.sample_s,
            sudo=choice.sudo,
        )
        yield Reach(nodes, transports, options, config)


def _resolver(config: SshConfig, choice: NodeChoice) -> Callable[[Node], SshSettings]:
    """How a node is reached: the ssh config, but for a connect timeout that was said on the command line."""

    def resolve(node: Node) -> SshSettings:
        settings = config.resolve(node)
        if choice.connect_timeout_s is None:
            return settings
        return msgspec.structs.replace(settings, connect_timeout_s=choice.connect_timeout_s)

    return resolve


def chosen_nodes(choice: NodeChoice) -> list[Node]:
    """The nodes that --hosts names, less those that --node leaves out."""
    return named_nodes(choice.hosts, choice.node, choice.ssh_config)


def named_nodes(hosts: Sequence[str], patterns: Sequence[str], ssh_config: Path | None) -> list[Node]:
    """The nodes of one or more --hosts; a node named twice is one node.

    Raises:
        InventoryError: a wrong inventory, or a pattern that matches no node.
        click.UsageError: no node was named.
    """
    if not hosts:
        raise click.UsageError(
            "no nodes: give --hosts inventory.yaml (or a node set such as gpu[001-128]), or --demo for a first look"
        )
    nodes: dict[str, Node] = {}
    for spec in hosts:
        for node in load_hosts(spec, ssh_config=ssh_config):
            nodes.setdefault(node.name, node)
    if not nodes:
        raise click.UsageError(f"no nodes in {', '.join(hosts)}: nothing to do")
    found = list(nodes.values())
    return select(found, patterns) if patterns else found


def plan_spec(checks: CheckChoice) -> PlanSpec:
    return PlanSpec(
        checks_dirs=tuple(str(folder) for folder in checks.checks_dir),
        profile=checks.profile,
        only=checks.only,
        areas=checks.area,
    )


@contextlib.contextmanager
def terminable(interrupt: Callable[[BaseException], None]) -> Iterator[None]:
    """ctrl-c or SIGTERM is handed to `interrupt` as an exception, which ends a run with a partial report.

    It is not raised on the spot, where it could hit the inside of a lock. What comes within `PATIENCE_S` of the first
    is not listened to: who leans on the key shall not lose that report. After that it is raised: something is stuck.
    """
    stopped_at: float | None = None

    def stop(signum: int, frame: FrameType | None) -> None:
        nonlocal stopped_at
        why = KeyboardInterrupt() if signum == signal.SIGINT else Terminated()
        if stopped_at is None:
            stopped_at = time.monotonic()
            interrupt(why)
        elif time.monotonic() - stopped_at >= PATIENCE_S:
            raise why

    terminate = signal.signal(signal.SIGTERM, stop)
    ctrl_c = signal.getsignal(signal.SIGINT)
    if ctrl_c is not signal.SIG_IGN:  # a job in the background of a script is not to be interrupted
        signal.signal(signal.SIGINT, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, terminate)
        if stopped_at is None:  # else the report has yet to be written
            signal.signal(signal.SIGINT, ctrl_c)
