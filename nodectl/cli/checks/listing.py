"""`nodectl checks list`: the checks of a profile, for a terminal, a program or a reader."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import click

from nodectl.cli.options import CheckChoice, check_options, colour_option

if TYPE_CHECKING:
    from nodectl.catalogue import Check, FleetRule
    from nodectl.view.lines import Line


@click.command("list")
@check_options
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
@click.option("--markdown", is_flag=True, help="A Markdown document on stdout, with every check in full.")
@colour_option
def command(checks: CheckChoice, as_json: bool, markdown: bool, colour: str) -> int:
    """The checks of a profile, by area."""
    from nodectl.catalogue import select
    from nodectl.cli.session import plan_spec
    from nodectl.cli.terminal import note, write
    from nodectl.fleet.plan import DEFAULT_PROFILE

    catalogue = plan_spec(checks).catalogue()
    selection = select(catalogue, checks.profile or DEFAULT_PROFILE, only=checks.only, areas=checks.area)
    if as_json:
        import msgspec

        from nodectl.report.build import check_reports

        document = {"schema": "nodectl.checks/1", "catalogue": catalogue.version, "checks": check_reports([selection])}
        sys.stdout.write(msgspec.json.format(msgspec.json.encode(document), indent=2).decode() + "\n")
        return 0
    if markdown:
        from nodectl.view.catalogue_markdown import catalogue_lines

        title = f"nodectl: the checks of the profile {selection.profile}"
        for line in catalogue_lines(selection.everything, title=title, version=catalogue.version):
            sys.stdout.write(line + "\n")
        return 0
    write(_list_lines(selection.everything), colour=colour)
    note(f"{len(selection.everything)} checks, profile {selection.profile}, catalogue {catalogue.version}")
    return 0


def _list_lines(checks: Sequence[Check | FleetRule]) -> Iterator[Line]:
    widest = max(len(check.id) for check in checks)
    area = ""
    for check in sorted(checks, key=lambda check: (check.area, -check.severity.rank, check.id)):
        if check.area != area:
            area = check.area
            yield [("bold", area)]
        yield [("", f"  {check.id:<{widest}}  "), ("dim", f"{check.severity.value:<9}"), ("", check.title)]
