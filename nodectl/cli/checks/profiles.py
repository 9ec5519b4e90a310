"""`nodectl checks profiles`: what there is to choose from."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from nodectl.cli.options import CHECKS_DIR, CheckChoice, colour_option

if TYPE_CHECKING:
    from nodectl.view.lines import Line


@click.command("profiles")
@CHECKS_DIR
@colour_option
def command(checks_dir: tuple[Path, ...], colour: str) -> int:
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
