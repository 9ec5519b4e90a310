"""Options that several commands share: which nodes, how to reach them, what to check, how to print."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click
import msgspec
from click.core import ParameterSource

F = TypeVar("F", bound=Callable[..., Any])

DEFAULT_CONNECT_TIMEOUT_S = 10.0
EXISTING_DIR = click.Path(exists=True, file_okay=False, path_type=Path)
EXISTING_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


class Seconds(click.ParamType):  # type: ignore[type-arg]
    """A duration such as `10`, `10s`, `1.5s` or `2m`, in seconds."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, int | float):
            return float(value)
        text = str(value).strip().lower()
        unit = {"s": 1.0, "m": 60.0}.get(text[-1:], 0.0)
        try:
            seconds = float(text[:-1]) * unit if unit else float(text)
        except ValueError:
            seconds = -1.0
        if not 0 < seconds <= 3600:
            self.fail(f"{value!r} is not a duration: say 10s or 2m (at most 60m)", param, ctx)
        return seconds


class Words(click.ParamType):  # type: ignore[type-arg]
    """`a,b` as a tuple; options of this type may also be repeated."""

    name = "list"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, ...]:
        if isinstance(value, tuple):
            return value
        return tuple(word for word in (part.strip() for part in str(value).split(",")) if word)


class NodeNames(Words):
    """Like Words, but a comma inside brackets (`gpu[1,3]`) belongs to the node set."""

    name = "nodes"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, ...]:
        return value if isinstance(value, tuple) else (str(value).strip(),)


def flat(groups: tuple[tuple[str, ...], ...]) -> tuple[str, ...]:
    """The words of a repeated option, in one tuple."""
    return tuple(word for group in groups for word in group)


class NodeChoice(msgspec.Struct, frozen=True):
    """Which nodes, and how to reach them, as said on the command line."""

    hosts: tuple[str, ...]
    demo: bool
    node: tuple[str, ...]
    ssh_config: Path | None
    host_key: str
    fanout: int
    deadline_s: float
    connect_timeout_s: float | None
    sample_s: int
    sudo: bool


class CheckChoice(msgspec.Struct, frozen=True):
    """Which checks, as said on the command line."""

    profile: str | None
    only: tuple[str, ...]
    area: tuple[str, ...]
    checks_dir: tuple[Path, ...]
    waivers: tuple[Path, ...] = ()


HOSTS = click.option(
    "-H", "--hosts", multiple=True, envvar="NODECTL_HOSTS", metavar="SPEC",
    help="Inventory file (YAML, Ansible), node set (gpu[001-128]), [user@]host[:port], localhost, or @slurm:PARTITION. "
         "May be repeated.  [env: NODECTL_HOSTS]",
)  # fmt: skip
NODE = click.option(
    "-n", "--node", multiple=True, type=NodeNames(), metavar="PATTERN",
    help="Only these nodes of the inventory: node set, glob, @group or label=value.",
)  # fmt: skip
SSH_CONFIG = click.option("--ssh-config", type=EXISTING_FILE, metavar="FILE", help="Instead of ~/.ssh/config.")
DEMO = click.option("--demo", is_flag=True, help="The demo fleet: recorded nodes behind real SSH servers on loopback.")
_NODE_OPTIONS = (
    HOSTS,
    DEMO,
    NODE,
    SSH_CONFIG,
    click.option(
        "--host-key", type=click.Choice(["strict", "accept-new"]), default="strict", show_default=True,
        help="What to do with a host key that is not in known_hosts. A changed key is always refused.",
    ),
    click.option("--fanout", type=click.IntRange(1, 512), default=64, show_default=True,
                 help="Nodes at the same time."),
    click.option("--deadline", type=Seconds(), default="75s", show_default=True, help="For one node, all in all."),
    click.option("--connect-timeout", type=Seconds(), default=None,
                 help="To get in.  [default: ConnectTimeout of your ssh config, or 10s]"),
    click.option("--sample", type=Seconds(), default="1s", show_default=True,
                 help="Between the two readings of counters from which rates are made."),
    click.option("--sudo/--no-sudo", default=True, show_default=True,
                 help="Use `sudo -n` for the few reads that need root, where the login is not root."),
)  # fmt: skip


def node_options(function: F) -> F:
    """Options that choose nodes; the command gets them as one `nodes: NodeChoice`."""

    @functools.wraps(function)
    def wrapper(
        *,
        hosts: tuple[str, ...],
        demo: bool,
        node: tuple[tuple[str, ...], ...],
        ssh_config: Path | None,
        host_key: str,
        fanout: int,
        deadline: float,
        connect_timeout: float | None,
        sample: float,
        sudo: bool,
        **rest: Any,
    ) -> Any:
        if demo and click.get_current_context().get_parameter_source("hosts") is ParameterSource.ENVIRONMENT:
            hosts = ()  # a word on the command line is stronger than the environment
        sample_s = max(1, round(sample))  # not every node's `sleep` knows fractions
        choice = NodeChoice(
            hosts, demo, flat(node), ssh_config, host_key, fanout, deadline, connect_timeout, sample_s, sudo
        )
        return function(nodes=choice, **rest)

    return _with(_NODE_OPTIONS, wrapper)  # type: ignore[return-value]


PROFILE = click.option(
    "-p", "--profile", metavar="NAME",
    help="Profile of the catalogue (nodectl checks profiles).  [default: the inventory's, or default]",
)  # fmt: skip
CHECKS_DIR = click.option(
    "--checks", "checks_dir", multiple=True, type=EXISTING_DIR, metavar="DIR",
    help="A folder with checks, tables and profiles of your own, added to the shipped ones.",
)  # fmt: skip
_CHECK_OPTIONS = (
    PROFILE,
    click.option("--only", multiple=True, type=Words(), metavar="ID", help="Only these checks (gpu.* for several)."),
    click.option("--area", multiple=True, type=Words(), metavar="AREA", help="Only these areas (driver, gpu, ...)."),
    CHECKS_DIR,
)


def check_options(function: F) -> F:
    """Options that choose checks; the command gets them as one `checks: CheckChoice`."""

    @functools.wraps(function)
    def wrapper(
        *,
        profile: str | None,
        only: tuple[tuple[str, ...], ...],
        area: tuple[tuple[str, ...], ...],
        checks_dir: tuple[Path, ...],
        **rest: Any,
    ) -> Any:
        return function(checks=CheckChoice(profile, flat(only), flat(area), checks_dir), **rest)

    return _with(_CHECK_OPTIONS, wrapper)  # type: ignore[return-value]


colour_option = click.option(
    "--color", "colour", type=click.Choice(["auto", "always", "never"]), default="auto", show_default=True,
    help="auto: on a terminal, unless NO_COLOR is set.",
)  # fmt: skip


def _with(options: tuple[Callable[[Any], Any], ...], function: Callable[..., Any]) -> Callable[..., Any]:
    for option in reversed(options):  # as decorators in this order
        function = option(function)
    return function
