"""`nodectl collect`: keep what the nodes answer, to check it later or to send it to somebody."""

from __future__ import annotations

from pathlib import Path

import click

from nodectl.cli import exit_codes
from nodectl.cli.options import CheckChoice, NodeChoice, check_options, node_options


@click.command("collect")
@node_options
@check_options
@click.option("-o", "--output", "folder", type=click.Path(file_okay=False, path_type=Path), required=True,
              metavar="DIR", help="The folder for one transcript a node (files of mode 0600).")  # fmt: skip
def command(nodes: NodeChoice, checks: CheckChoice, folder: Path) -> int:
    """Save what the nodes answer, to check it later: nodectl check --from DIR.

    Asks for the facts that the chosen checks read. A node that was not reached gets a transcript, too: why.
    """
    from nodectl.cli.progress import Progress
    from nodectl.cli.running import Saving
    from nodectl.cli.session import Terminated, plan_spec, reach, terminable
    from nodectl.cli.terminal import note
    from nodectl.fleet.probing import FleetProbe
    from nodectl.probe.store import TranscriptStore
    from nodectl.view import glyphs

    spec = plan_spec(checks)
    catalogue = spec.catalogue()
    lost = stopped = 0
    with reach(nodes) as way:
        probe = FleetProbe(way.nodes, spec.plan(catalogue, way.nodes), way.transports, way.options)
        saving = Saving(probe, TranscriptStore(folder))
        progress = Progress(len(way.nodes))
        with terminable(probe.interrupt):
            try:
                progress.start()
                for transcript in saving:
                    lost += not transcript.reached
                    progress.count(glyphs.OK if transcript.reached else glyphs.UNREACHABLE)
            except (KeyboardInterrupt, Terminated) as exc:
                stopped = exit_codes.INTERRUPTED if isinstance(exc, KeyboardInterrupt) else exit_codes.TERMINATED
                for transcript in probe.stop():
                    saving.keep(transcript)
                    lost += not transcript.reached
            finally:
                progress.close()
    if saving.problems:
        note(saving.summary)
    note(
        f"{saving.saved} transcripts in {folder}" + (f", {lost} of them of nodes that were not reached" if lost else "")
    )
    return stopped or (exit_codes.INCOMPLETE if lost or saving.problems else exit_codes.OK)
