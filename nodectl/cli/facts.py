"""`nodectl facts`: what can be known about a node; with --hosts, what is known about these."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import click

from nodectl.cli import exit_codes
from nodectl.cli.options import NodeChoice, colour_option, node_options

if TYPE_CHECKING:
    from nodectl.facts.registry import FactSpec
    from nodectl.model import Fact
    from nodectl.view.lines import Line


@click.command("facts")
@click.argument("names", nargs=-1, metavar="[NAME]...")
@node_options
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
@colour_option
def command(names: tuple[str, ...], nodes: NodeChoice, as_json: bool, colour: str) -> int:
    """List the facts that checks can ask for; with --hosts or --demo, read them from nodes.

    \b
    nodectl facts                                         all that can be asked
    nodectl facts gpu.devices                             one, with its fields
    nodectl facts -H gpu01 driver.version 'sysctl[vm.swappiness]'
    """
    if nodes.hosts or nodes.demo:
        return _read(names, nodes, as_json, colour)
    from nodectl.facts.registry import registry

    specs = [registry()[name] for name in _known(names)] if names else list(registry().values())
    if as_json:
        _dump({"schema": "nodectl.facts/1", "facts": specs})
        return exit_codes.OK
    from nodectl.cli.terminal import width, write

    write(_spec_lines(specs, full=bool(names), width=width(sys.stdout)), colour=colour)
    return exit_codes.OK


def _known(names: Sequence[str]) -> list[str]:
    """The registry's own names of the facts asked for; a family by its name or by a member."""
    from nodectl.facts.registry import registry, spec_for
    from nodectl.suggest import did_you_mean

    found = []
    for name in names:
        spec = registry().get(name) or spec_for(name)
        if spec is None:
            raise click.UsageError(f'there is no fact "{name}"{did_you_mean(name, registry())}')
        found.append(spec.name)
    return found


def _spec_lines(specs: Sequence[FactSpec], *, full: bool, width: int) -> Iterator[Line]:
    from nodectl.view.lines import hanging

    widest = max(len(spec.name) for spec in specs)
    for spec in specs:
        kind = f"{spec.type}, {spec.unit}" if spec.unit else spec.type
        yield from hanging(
            spec.name, f"{spec.about} [{kind}]", indent=0, label_width=widest + 2, width=width, label_style=""
        )
        if full:
            yield [("dim", f"  told by: {', '.join(spec.sources)}")]
            for field in spec.fields:
                kind = f"{field.type}, {field.unit}" if field.unit else field.type
                kind += f", {', '.join(field.vendors)} only" if field.vendors else ""
                yield from hanging(field.name, f"{field.about} [{kind}]".strip(), indent=4, label_width=34, width=width)


def _read(names: Sequence[str], choice: NodeChoice, as_json: bool, colour: str) -> int:
    """Ask the nodes for these facts, and print them."""
    from nodectl.cli.session import reach
    from nodectl.cli.terminal import write
    from nodectl.facts.gather import gather
    from nodectl.fleet.plan import FactsPlan
    from nodectl.fleet.probing import FleetProbe

    if not names:
        raise click.UsageError("say which facts to read: nodectl facts -H NODE NAME... (nodectl facts lists them)")
    _known(names)
    plan = FactsPlan(names)
    answers: dict[str, Any] = {}
    lost = False
    with reach(choice) as way:
        by_name = {node.name: node for node in way.nodes}
        for transcript in FleetProbe(way.nodes, plan, way.transports, way.options):
            lost |= not transcript.reached
            answers[transcript.node] = (
                gather(transcript, names, by_name[transcript.node]) if transcript.reached else transcript.reason
            )
        answers = {node.name: answers[node.name] for node in way.nodes}
    if as_json:
        _dump({"schema": "nodectl.facts/1", "nodes": answers})
    else:
        for node, facts in answers.items():
            write(_fact_lines(node, facts), colour=colour)
    return exit_codes.INCOMPLETE if lost else exit_codes.OK


def _fact_lines(node: str, facts: Any) -> Iterator[Line]:
    from nodectl.model import FactState, Reason

    if isinstance(facts, Reason):
        yield [("bold", node), ("unreachable", f"  @ {facts.code}: {facts.text}")]
        return
    for name, fact in facts.items():
        style = {FactState.VALUE: "", FactState.ABSENT: "dim", FactState.ERROR: "unknown"}[fact.state]
        yield [("bold", node), ("", f"  {name} = "), (style, _value_text(fact))]


def _value_text(fact: Fact) -> str:
    import msgspec

    from nodectl.model import FactState

    if fact.state is FactState.VALUE:
        return fact.value if isinstance(fact.value, str) else msgspec.json.encode(fact.value).decode()
    return f"({fact.state.value}: {fact.reason})"


def _dump(document: object) -> None:
    import msgspec

    text = msgspec.json.encode(document)
    sys.stdout.write((msgspec.json.format(text, indent=2) if sys.stdout.isatty() else text).decode() + "\n")
