"""`nodectl check`: the main job. Ask the nodes, judge them, say what is wrong."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from nodectl.cli import exit_codes
from nodectl.cli.options import (
    EXISTING_DIR,
    EXISTING_FILE,
    CheckChoice,
    NodeChoice,
    check_options,
    colour_option,
    node_options,
)
from nodectl.model import Severity

_AFTER_DEMO = (
    "this was the demo fleet. Next: nodectl check --demo --node gpu-03 -v, nodectl checks show ID, "
    "nodectl hosts --example, nodectl check --hosts inventory.yaml"
)


@click.command("check")
@node_options
@check_options
@click.option(
    "--from",
    "from_dir",
    type=EXISTING_DIR,
    metavar="DIR",
    help="Check saved transcripts (nodectl collect) instead of asking nodes.",
)
@click.option(
    "--save", type=click.Path(file_okay=False, path_type=Path), metavar="DIR", help="Also keep the transcripts there."
)
@click.option(
    "--waivers",
    multiple=True,
    type=EXISTING_FILE,
    metavar="FILE",
    help="Failures agreed to live with: who, why, until when.  [also: waivers.yaml in a --checks folder]",
)
@click.option(
    "--fail-on",
    type=click.Choice([s.value for s in Severity]),
    default="medium",
    show_default=True,
    help="The least severity that makes the exit code 1.",
)
@click.option(
    "--allow-incomplete", is_flag=True, help="Unknown checks and unreachable nodes do not make the exit code 3."
)
@click.option(
    "--exit-style",
    type=click.Choice(["nodectl", "nagios"]),
    default="nodectl",
    show_default=True,
    help="nagios: 0 ok, 1 warning, 2 critical, 3 unknown.",
)
@click.option("--json", "as_json", is_flag=True, help="The whole report on stdout as JSON (nodectl.report/1).")
@click.option(
    "--facts/--no-facts", "with_facts", default=True, show_default=True, help="Put the facts into the JSON report."
)
@click.option("-v", "--verbose", is_flag=True, help="Also what passed and what does not apply.")
@colour_option  # fmt: skip
def command(nodes: NodeChoice, checks: CheckChoice, **options: Any) -> int:
    """Check nodes against the catalogue and say what is wrong.

    Nothing is installed or changed on a node: one SSH connection each, one read-only script.

    \b
    Exit code: 0 nothing failed, 1 something failed, 2 usage or inventory error,
    3 something could not be told, 4 internal error, 130 interrupted.
    """
    return run_check(nodes, checks, **options)


def run_check(
    choice: NodeChoice,
    checks: CheckChoice,
    *,
    from_dir: Path | None,
    save: Path | None,
    waivers: tuple[Path, ...],
    fail_on: str,
    allow_incomplete: bool,
    exit_style: str,
    as_json: bool,
    with_facts: bool,
    verbose: bool,
    colour: str,
) -> int:
    """The command behind its options; returns the exit code."""
    import msgspec

    from nodectl.cli.running import apply_waivers, check_live, check_saved
    from nodectl.cli.session import plan_spec
    from nodectl.report.build import build_report

    if from_dir and (choice.demo or save):
        raise click.UsageError("--from reads saved transcripts: it does not go with --demo or --save")
    spec = plan_spec(checks)
    catalogue = spec.catalogue()
    run = (choice, spec, catalogue)
    finished = check_saved(*run, from_dir) if from_dir else check_live(*run, save)
    apply_waivers(finished, msgspec.structs.replace(checks, waivers=waivers), catalogue)
    code = finished.stopped or exit_codes.of_run(
        finished.results, finished.fleet, fail_on=Severity(fail_on), allow_incomplete=allow_incomplete, style=exit_style
    )
    report = build_report(
        finished.results,
        catalogue,
        finished.plan.selections,
        argv=sys.argv[1:],
        exit_code=code,
        fail_on=Severity(fail_on),
        partial=bool(finished.stopped),
        messages=finished.messages,
        fleet=finished.fleet,
        groups=finished.groups,
        with_facts=with_facts,
    )
    if as_json:
        from nodectl.report.json import write_json

        write_json(report, sys.stdout)
    else:
        from nodectl.cli.terminal import width, write
        from nodectl.view.findings import report_lines

        write(report_lines(report, width=width(sys.stdout), verbose=verbose), colour=colour)
    if choice.demo and not as_json and sys.stderr.isatty():
        from nodectl.cli.terminal import note

        note(_AFTER_DEMO)
    return code
