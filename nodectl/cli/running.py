"""One check run, live or from saved transcripts, until its end or until it is interrupted."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from datetime import datetime, timezone
from pathlib import Path

import click
import msgspec

from nodectl.catalogue import Catalogue
from nodectl.cli import exit_codes
from nodectl.cli.options import CheckChoice, NodeChoice
from nodectl.cli.progress import Progress
from nodectl.cli.session import Terminated, chosen_nodes, reach, terminable
from nodectl.engine.across.rules import FleetRules
from nodectl.engine.declared import unread
from nodectl.fleet.plan import Plan
from nodectl.fleet.probing import FleetProbe
from nodectl.fleet.run import CheckRun
from nodectl.fleet.worker import PlanSpec
from nodectl.inventory import select
from nodectl.model import FleetFinding, FleetGroup, Message, Node, NodeResult, NodeState
from nodectl.probe.store import TranscriptStore, read_folder
from nodectl.probe.transcript import Transcript, TranscriptWriteError


class Finished(msgspec.Struct):
    """A run that came to its end: `stopped` is 0, or the exit code of what ended it early."""

    results: list[NodeResult]
    plan: Plan
    nodes: list[Node]
    stopped: int = 0
    messages: list[Message] = msgspec.field(default_factory=list)
    fleet: tuple[FleetFinding, ...] = ()
    groups: tuple[FleetGroup, ...] = ()


def check_live(choice: NodeChoice, spec: PlanSpec, catalogue: Catalogue, save: Path | None) -> Finished:
    """Ask the chosen nodes and judge them; with `save`, keep what they said."""
    with reach(choice) as way:
        plan = spec.plan(catalogue, way.nodes)
        probe = FleetProbe(way.nodes, plan, way.transports, way.options)
        saving = Saving(probe, TranscriptStore(save)) if save else None
        across = FleetRules(plan.selections, way.nodes, catalogue)
        messages = [Message("warning", text) for text in unread(catalogue, way.nodes)]
        run = CheckRun(way.nodes, saving or probe, plan, spec)
        finished = _finish(run, plan, way.nodes, across, messages, probe)
    finished.messages += [Message("warning", text) for text in way.notes]
    if saving and saving.problems:
        finished.messages.append(Message("error", saving.summary))
    return finished


def check_saved(choice: NodeChoice, spec: PlanSpec, catalogue: Catalogue, folder: Path) -> Finished:
    """Judge saved transcripts. Each knows its node; an inventory given as well says anew what the nodes should be."""
    saved, problems = read_folder(folder)
    declared = {node.name: node for node in chosen_nodes(choice)} if choice.hosts else {}
    nodes = [declared.get(transcript.node, transcript.declared_node()) for transcript in saved]
    if choice.node and not choice.hosts:
        nodes = select(nodes, choice.node)
        saved = [transcript for transcript in saved if transcript.node in {node.name for node in nodes}]
    if not nodes:
        raise click.UsageError(f"no transcripts in {folder}: make some with nodectl collect --hosts ... -o {folder}")
    plan = spec.plan(catalogue, nodes)
    across = FleetRules(plan.selections, nodes, catalogue)
    messages = [Message("warning", text) for text in unread(catalogue, nodes)]
    finished = _finish(CheckRun(nodes, saved, plan, spec), plan, nodes, across, messages)
    finished.messages += [Message("warning", problem) for problem in problems]
    return finished


def apply_waivers(finished: Finished, checks: CheckChoice, catalogue: Catalogue) -> None:
    """Mark the findings that somebody has agreed to live with, and report waivers that have expired or waive nothing.

    Raises:
        CatalogueError: a waiver file is wrong.
    """
    files = [*checks.waivers, *(path for folder in checks.checks_dir if (path := folder / "waivers.yaml").is_file())]
    if not files:
        return
    from nodectl.catalogue.waivers import load_waivers
    from nodectl.engine.waive import about_waivers, waive, waive_fleet

    waivers = load_waivers(files, catalogue)
    today = datetime.now(timezone.utc).date()
    by_name = {node.name: node for node in finished.nodes}
    finished.results = [
        msgspec.structs.replace(
            result, findings=waive(result.findings, waivers, node=by_name[result.node], today=today)
        )
        for result in finished.results
    ]
    judged = {result.node: result.findings for result in finished.results if result.state is NodeState.REACHED}
    finished.fleet = waive_fleet(finished.fleet, waivers, finished.nodes, today=today)
    rules = {rule.id for selection in finished.plan.selections for rule in selection.fleet}
    compared = {name for group in finished.groups if group.compared for name in group.nodes}
    across = {
        rule: [finding for finding in finished.fleet if finding.check == rule]
        for rule in rules
        if compared.issuperset(by_name)  # else a difference may have gone unseen
    }
    finished.fleet += about_waivers(waivers, judged, finished.nodes, today=today, fleet=across)


class Saving:
    """Keeps each transcript that passes through; one that cannot be saved is noted and passed on all the same."""

    def __init__(self, transcripts: Iterable[Transcript], store: TranscriptStore) -> None:
        self._transcripts, self._store = transcripts, store
        self.saved = 0
        self.problems: list[str] = []

    def __iter__(self) -> Iterator[Transcript]:
        for transcript in self._transcripts:
            self.keep(transcript)
            yield transcript

    def keep(self, transcript: Transcript) -> None:
        try:
            self._store.save(transcript)
            self.saved += 1
        except TranscriptWriteError as exc:
            self.problems.append(str(exc))

    @property
    def summary(self) -> str:
        """The first thing that went wrong, and how often."""
        more = f" (and {len(self.problems) - 1} more like it)" if len(self.problems) > 1 else ""
        return f"not every transcript was saved: {self.problems[0]}{more}" if self.problems else ""


def _finish(
    run: CheckRun,
    plan: Plan,
    nodes: list[Node],
    across: FleetRules,
    messages: list[Message],
    probe: FleetProbe | None = None,
) -> Finished:
    results: list[NodeResult] = []
    stopped = 0
    progress = Progress(len(nodes))
    with terminable(run.interrupt):
        try:
            progress.start()
            for result in run:
                results.append(result)
                across.add(result)
                progress.node_done(result)
        except (KeyboardInterrupt, Terminated) as exc:
            stopped = exit_codes.INTERRUPTED if isinstance(exc, KeyboardInterrupt) else exit_codes.TERMINATED
            with contextlib.suppress(KeyboardInterrupt, Terminated):
                for result in run.stop(probe.stop() if probe else ()):
                    results.append(result)
                    across.add(result)
        finally:
            progress.close()
    return Finished(results, plan, nodes, stopped, messages, fleet=across.findings(), groups=across.groups())
