"""`nodectl watch`: live telemetry of many nodes, as a screen, a table, JSON lines or CSV."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nodectl.cli.options import EXISTING_FILE, NodeChoice, Words, colour_option, flat, node_options

if TYPE_CHECKING:
    from nodectl.cli.watching.board import WatchChoice
    from nodectl.view.filter import Predicate

LEAST_INTERVAL_S, MOST_INTERVAL_S = 0.1, 60.0
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


class Span(click.ParamType):  # type: ignore[type-arg]
    """A time such as `0.5`, `500ms`, `10s`, `5m`, `8h` or `2d`, in seconds, between two limits."""

    name = "time"

    def __init__(self, least_s: float, most_s: float, limits: str) -> None:
        self._least_s, self._most_s, self._limits = least_s, most_s, limits

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        text = str(value).strip().lower()
        unit = text.lstrip("0123456789.")
        try:
            seconds = float(text.removesuffix(unit)) * _UNITS[unit or "s"]
        except (ValueError, KeyError):
            self.fail(f"{value!r} is not a time: say 500ms, 10s, 5m or 8h", param, ctx)
        if not self._least_s <= seconds <= self._most_s:
            self.fail(f"{value!r} is not {self._limits}", param, ctx)
        return seconds


@click.command("watch")
@node_options
@click.option("--once", is_flag=True, help="One table (or one record a node) after a full sample of every node. In a "
              "pipe this is what happens unless something else is asked for.")  # fmt: skip
@click.option("--jsonl", is_flag=True, help="One JSON object a node and tick (nodectl.watch/1).")
@click.option("--csv", "as_csv", is_flag=True, help="A header, then one line a GPU and tick.")
@click.option("--by", type=click.Choice(["gpu", "node", "auto"]), default="auto", show_default=True,
              help="A row for each GPU or each node; auto: by GPU for one node, and in --jsonl and --csv.")  # fmt: skip
@click.option("-i", "--interval", type=Span(LEAST_INTERVAL_S, MOST_INTERVAL_S, "from 0.1s to 60s"), default="1s",
              show_default=True, help="Between two samples.")  # fmt: skip
@click.option("--duration", type=Span(0.001, 366 * 86400.0, "at most a year"), default=None,
              help="End after this long.")  # fmt: skip
@click.option("--fields", multiple=True, type=Words(), metavar="FIELD,...",
              help="Only these fields: temp,power,sm,ecc... (all of them: nodectl watch --list-fields).")  # fmt: skip
@click.option(
    "--where", metavar="FILTER", help="Only rows such as 'temp > 80 & util < 10', 'user = bob', '~gpu-0[1-4]'."
)
@click.option("--sort", metavar="FIELD", help="By a field, largest first (-FIELD: smallest).  [default: worst first]")
@click.option("--alert", "alerts", multiple=True, metavar="FILTER",
              help="Say on stderr when this begins and ends to be true of a row; exit code 1. Repeatable.")  # fmt: skip
@click.option(
    "--replay", type=EXISTING_FILE, metavar="FILE", help="Play a recording (nodectl record) in place of nodes."
)
@click.option("--speed", type=click.FloatRange(0.01, 100_000), default=1.0, show_default=True,
              help="Of --replay: recorded seconds in a second.")  # fmt: skip
@click.option("--prometheus", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE",
              help="Keep a textfile for node_exporter up to date.")  # fmt: skip
@click.option(
    "--listen", metavar="[HOST]:PORT", help="Serve /metrics (OpenMetrics); only to this machine unless HOST is named."
)
@click.option("--full-commands", is_flag=True,
              help="Whole command lines of GPU processes (--jsonl); what looks like a secret is masked.")  # fmt: skip
@click.option("--list-fields", is_flag=True, help="Print the fields that --fields, --where and --sort know.")
@colour_option
def command(
    nodes: NodeChoice, list_fields: bool, once: bool, jsonl: bool, as_csv: bool, interval: float, **options: Any
) -> int:
    """Watch the GPUs and hosts of nodes, live.

    On a terminal: one screen, worst first; q quits, arrows and space scroll, p pauses. Nothing is installed on a node:
    one SSH connection each, and an agent that ends with it.

    \b
    nodectl watch -H gpu[001-128]
    nodectl watch -H gpu01 --csv --duration 60s --fields temp,power > run.csv
    nodectl watch -H inventory.yaml --once --where 'temp > 80 & util < 10'
    nodectl watch -H inventory.yaml --alert 'ecc > 0' --alert 'hbm > 95C' --duration 8h

    \b
    Exit code: 0, 1 an --alert was true, 2 usage or inventory error,
    3 a node was not reached or was lost, 130 interrupted.
    """
    from nodectl.cli.watching.run import Plan, list_all_fields, run_watch

    if list_fields:
        return list_all_fields(options["colour"])
    if jsonl and as_csv:
        raise click.UsageError("--jsonl or --csv: one of them")
    form = "jsonl" if jsonl else "csv" if as_csv else "table"
    plan = Plan(
        form=form, once=once, replay=options["replay"], speed=options["speed"], prometheus=options["prometheus"],
        listen=options["listen"], colour=options["colour"], full_commands=options["full_commands"],
    )  # fmt: skip
    return run_watch(nodes, _choice(interval, options), plan)


for _parameter in command.params:
    if isinstance(_parameter, click.Option) and _parameter.name in ("sample", "sudo"):
        _parameter.hidden = True  # of the probe; taken, so that a command line can be turned from check into watch


def _choice(interval_s: float, options: dict[str, Any]) -> WatchChoice:
    """What was asked for, understood.

    Raises:
        click.UsageError: a filter or a field that is not understood.
    """
    from nodectl.cli.watching.board import WatchChoice, parse_sort
    from nodectl.view.sample_fields import field_named

    fields = flat(options["fields"])
    try:
        for name in fields:
            field_named(name)
    except ValueError as problem:
        raise click.UsageError(f"--fields: {problem}; all of them: nodectl watch --list-fields") from None
    try:
        sort, rising = parse_sort(options["sort"]) if options["sort"] else ("", False)
    except ValueError as problem:
        raise click.UsageError(f"--sort: {problem}") from None
    return WatchChoice(
        by=options["by"],
        fields=tuple(fields),
        where=_filter("--where", options["where"]) if options["where"] else None,
        sort=sort,
        rising=rising,
        alerts=tuple(_filter("--alert", text) for text in options["alerts"]),
        interval_s=interval_s,
        duration_s=options["duration"],
    )


def _filter(option: str, text: str) -> Predicate:
    from nodectl.view.filter import FilterError, compile_filter
    from nodectl.view.sample_fields import FILTER_FIELDS

    if option == "--alert" and not text.strip():
        raise click.UsageError("--alert '': say when, such as --alert 'temp > 85'")
    try:
        return compile_filter(text, FILTER_FIELDS)
    except FilterError as problem:
        where = f"\n  {text}\n  {' ' * (problem.column - 1)}^" if len(text) < 100 and text.isprintable() else ""
        raise click.UsageError(f"{option}, {problem}{where}") from None
