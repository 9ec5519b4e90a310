"""`nodectl checks`: what the catalogue holds, and what one check is about."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from nodectl.cli.options import CHECKS_DIR, PROFILE, CheckChoice, check_options, colour_option

if TYPE_CHECKING:
    from nodectl.catalogue import Check
    from nodectl.view.lines import Line


@click.group("checks")
def command() -> None:
    """List and explain the checks of the catalogue."""


@command.command("list")
@check_options
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
@colour_option
def list_checks(checks: CheckChoice, as_json: bool, colour: str) -> int:
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
    write(_list_lines(selection.checks), colour=colour)
    note(f"{len(selection.checks)} checks, profile {selection.profile}, catalogue {catalogue.version}")
    return 0


def _list_lines(checks: Sequence[Check]) -> Iterator[Line]:
    widest = max(len(check.id) for check in checks)
    area = ""
    for check in sorted(checks, key=lambda check: (check.area, -check.severity.rank, check.id)):
        if check.area != area:
            area = check.area
            yield [("bold", area)]
        yield [("", f"  {check.id:<{widest}}  "), ("dim", f"{check.severity.value:<9}"), ("", check.title)]


@command.command("show")
@click.argument("check_id", metavar="ID")
@PROFILE
@CHECKS_DIR
@colour_option
def show_check(check_id: str, profile: str | None, checks_dir: tuple[Path, ...], colour: str) -> int:
    """What a check expects, why, who says so, how to look by hand and how to mend it."""
    from nodectl.catalogue import select
    from nodectl.cli.session import plan_spec
    from nodectl.cli.terminal import width, write
    from nodectl.fleet.plan import DEFAULT_PROFILE
    from nodectl.view.check import check_lines
    from nodectl.view.lines import plain

    catalogue = plan_spec(CheckChoice(profile=profile, only=(), area=(), checks_dir=checks_dir)).catalogue()
    selection = select(catalogue, profile or DEFAULT_PROFILE, only=[check_id])
    for number, check in enumerate(selection.checks):
        if number:
            write([plain("")])
        write(check_lines(check, width=width(sys.stdout)), colour=colour)
    return 0


@command.command("profiles")
@CHECKS_DIR
@colour_option
def list_profiles(checks_dir: tuple[Path, ...], colour: str) -> int:
    """The profiles: how many checks each takes, and what it leaves out."""
    from nodectl.cli.session import plan_spec
    from nodectl.cli.terminal import write

    catalogue = plan_spec(CheckChoice(profile=None, only=(), area=(), checks_dir=checks_dir)).catalogue()
    for profile in catalogue.profiles.values():
        count = len(profile.ids - {drop.id for drop in profile.drop})
        lines: list[Line] = [
            [("bold", profile.name), ("", f"  {profile.title}")],
            [("dim", f"  {count} checks" + (f", extends {profile.extends}" if profile.extends else ""))],
        ]
        lines += [[("", f"  without {drop.id}: "), ("dim", drop.reason)] for drop in profile.drop]
        write(lines, colour=colour)
    return 0
