"""`nodectl checks lint`: everything that is wrong with checks of one's own, before a run finds out."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from nodectl.cli import exit_codes
from nodectl.cli.options import EXISTING_DIR

if TYPE_CHECKING:
    from nodectl.catalogue import Catalogue, Check


@click.command("lint")
@click.argument("folders", nargs=-1, type=EXISTING_DIR, metavar="[DIR]...")
@click.option("--fixtures/--no-fixtures", default=True, show_default=True,
              help="Evaluate the fixtures in DIR/fixtures, and say which outcomes none of them shows.")  # fmt: skip
@click.option("--strict", is_flag=True, help="A missing fixture is a failure, too.")
def command(folders: tuple[Path, ...], fixtures: bool, strict: bool) -> int:
    """Say what is wrong with the checks, tables and profiles in DIR (without one: with those that nodectl ships).

    Exit code: 0 nothing, 1 remarks, 2 the folder cannot be loaded.
    """
    from nodectl.cli.terminal import note
    from nodectl.engine import catalogue_for_run
    from nodectl.engine.lint import fixtures_below, lint

    catalogue = catalogue_for_run.load(folders)
    checks = _checks_of(catalogue, folders)
    found = fixtures_below(_fixture_folders(folders)) if fixtures else None
    remarks = list(lint(catalogue, checks, found if found or folders else None))
    sys.stdout.write("".join(f"{remark}\n" for remark in remarks))
    note(
        f"{len(checks)} checks, {len(catalogue.tables)} tables, {len(catalogue.profiles)} profiles"
        + (f", {len(found)} fixtures" if found else "")
        + f": {len(remarks) or 'no'} remark{'' if len(remarks) == 1 else 's'}"
    )
    wrong = any(remark.serious or strict for remark in remarks)
    return exit_codes.FAILED if wrong else exit_codes.OK


def _checks_of(catalogue: Catalogue, folders: Sequence[Path]) -> list[Check]:
    """The checks that these folders define; all where none is named."""
    if not folders:
        return list(catalogue.checks.values())
    roots = [folder.resolve() for folder in folders]
    return [
        check for check in catalogue.checks.values() if Path(check.origin.rpartition(":")[0]).resolve().parent in roots
    ]


def _fixture_folders(folders: Sequence[Path]) -> list[Path]:
    """Where the fixtures lie: beside a user's checks; those of the shipped ones are in a checkout's tests."""
    from nodectl.resources import data_dir

    places = [folder / "fixtures" for folder in folders] or [data_dir("checks").parent / "tests" / "checks"]
    return [place for place in places if place.is_dir()]
