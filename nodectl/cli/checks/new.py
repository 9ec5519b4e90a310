"""`nodectl checks new`: a check of one's own, made from what nodes are like now."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nodectl.cli import exit_codes
from nodectl.cli.options import NodeChoice, node_options

if TYPE_CHECKING:
    from nodectl.engine.new_check import Drafted
    from nodectl.model import Fact

_ID = re.compile(r"([a-z][a-z0-9]*)\.[a-z][a-z0-9_]*")


@click.command("new")
@click.argument("check_id", metavar="ID")
@click.argument("fact", metavar="FACT[.FIELD]")
@click.option("-o", "--into", type=click.Path(file_okay=False, path_type=Path), metavar="DIR",
              help="Add it to DIR/AREA.yaml, with fixtures in DIR/fixtures.  [default: print it]")  # fmt: skip
@click.option("--title", default="", metavar="TEXT", help="The state that is wanted, in words.")
@node_options
def command(check_id: str, fact: str, into: Path | None, title: str, nodes: NodeChoice) -> int:
    """Write a check that asks for what FACT is now on the chosen nodes, which must agree.

    \b
    nodectl checks new site.bios_version node.bios_version -H gpu001
    nodectl checks new site.gpu_vbios gpu.devices.vbios_version -H inventory.yaml -o my-checks
    nodectl check -H inventory.yaml --checks my-checks
    """
    from nodectl.engine.new_check import asked_for, draft

    match = _ID.fullmatch(check_id)
    if not match:
        raise click.UsageError(f'an id is AREA.NAME in small letters, such as site.vbios; "{check_id}" is not')
    asked = asked_for(fact)
    answers = _ask(asked.fact, nodes)
    day = datetime.now(timezone.utc).strftime("%Y-%m-%d")
    drafted = draft(check_id, asked, answers, day=day, title=title)
    if into is None:
        sys.stdout.write(_yaml(drafted.check))
    else:
        _write(into, match[1], drafted)
    return exit_codes.OK


def _ask(name: str, choice: NodeChoice) -> dict[str, Fact]:
    """The fact from every node.

    Raises:
        click.UsageError: a node could not be reached.
    """
    from nodectl.cli.session import reach
    from nodectl.facts.gather import gather
    from nodectl.fleet.plan import FactsPlan
    from nodectl.fleet.probing import FleetProbe

    answers: dict[str, Fact] = {}
    with reach(choice) as way:
        by_name = {node.name: node for node in way.nodes}
        for transcript in FleetProbe(way.nodes, FactsPlan([name]), way.transports, way.options):
            if not transcript.reached:
                why = transcript.reason.text if transcript.reason else "not reached"
                raise click.UsageError(f"{transcript.node}: {why}")
            answers[transcript.node] = gather(transcript, [name], by_name[transcript.node])[name]
        return {node.name: answers[node.name] for node in way.nodes}


def _write(folder: Path, area: str, drafted: Drafted) -> None:
    """Append to the area's file and add the fixtures; what comes of it is loaded, and taken back if it cannot be.

    Raises:
        click.UsageError: there is such a check already.
        CatalogueError: what is in the folder cannot be loaded.
    """
    from nodectl.catalogue import CatalogueError
    from nodectl.cli.terminal import note
    from nodectl.engine import catalogue_for_run

    check_id = drafted.check["id"]
    if folder.is_dir():
        defined = catalogue_for_run.load([folder]).checks.get(check_id)
    else:
        defined = catalogue_for_run.load().checks.get(check_id)
    if defined:
        raise click.UsageError(f"{check_id} is defined at {defined.origin}: choose another id")
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{area}.yaml"
    before = path.read_bytes() if path.exists() else None
    path.write_bytes((before + b"---\n" if before else b"") + _yaml(drafted.check).encode())
    try:
        catalogue_for_run.load([folder])
    except CatalogueError:
        if before is None:
            path.unlink()
        else:
            path.write_bytes(before)
        raise
    for name, body in drafted.fixtures.items():
        fixture = folder / "fixtures" / check_id / name
        fixture.parent.mkdir(parents=True, exist_ok=True)
        fixture.write_text(_yaml(body), encoding="utf-8")
    note(f"{check_id} is in {path}, its fixtures in {folder / 'fixtures' / check_id}")
    note("next: write into `why` what breaks without it, and name a document under `sources`; then")
    note(f"nodectl checks lint {folder}")


def _yaml(document: Mapping[str, Any]) -> str:
    import yaml

    return yaml.safe_dump(dict(document), sort_keys=False, allow_unicode=True, width=100, default_flow_style=None)
