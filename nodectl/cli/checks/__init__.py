"""`nodectl checks`: what the catalogue holds, and what helps to write checks of one's own."""

from __future__ import annotations

import click

from nodectl.cli.lazy_group import LazyGroup

COMMANDS = {
    "list": ("nodectl.cli.checks.listing", "The checks of a profile, by area"),
    "show": ("nodectl.cli.checks.show", "What one check asks for, why, who says so, and how to mend it"),
    "profiles": ("nodectl.cli.checks.profiles", "The profiles, and what each leaves out"),
    "lint": ("nodectl.cli.checks.lint", "Say what is wrong with checks of your own"),
    "new": ("nodectl.cli.checks.new", "Write a check from what nodes are like now"),
}


@click.group("checks", cls=LazyGroup, members=COMMANDS)
def command() -> None:
    """List the checks of the catalogue, and write your own."""
