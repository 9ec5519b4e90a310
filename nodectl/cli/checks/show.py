"""`nodectl explain ID`, `nodectl checks show ID`: all about one check."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from nodectl.cli.options import CHECKS_DIR, PROFILE, CheckChoice, colour_option


@click.command("show")
@click.argument("check_id", metavar="ID")
@PROFILE
@CHECKS_DIR
@colour_option
def command(check_id: str, profile: str | None, checks_dir: tuple[Path, ...], colour: str) -> int:
    """What a check expects, why, who says so, how to look by hand and how to mend it."""
    from nodectl.catalogue import select
    from nodectl.cli.session import plan_spec
    from nodectl.cli.terminal import width, write
    from nodectl.fleet.plan import DEFAULT_PROFILE
    from nodectl.view.check import check_lines
    from nodectl.view.lines import plain

    catalogue = plan_spec(CheckChoice(profile=profile, only=(), area=(), checks_dir=checks_dir)).catalogue()
    selection = select(catalogue, profile or DEFAULT_PROFILE, only=[check_id])
    for number, check in enumerate(selection.everything):
        if number:
            write([plain("")])
        write(check_lines(check, width=width(sys.stdout)), colour=colour)
    return 0
