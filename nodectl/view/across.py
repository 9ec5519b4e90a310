"""The section `across the fleet` of a report: what differs between nodes of one kind, said once for many nodes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from nodectl.catalogue.fleet import AREA
from nodectl.engine.across.values import shown
from nodectl.inventory.nodeset import fold as fold_nodes
from nodectl.model import CheckReport, FleetFinding, NodeState, Outcome, Report, Severity
from nodectl.view import glyphs
from nodectl.view.lines import Line, beside, count, fitted, hanging

_INDENT = 4
_LABEL = 10
_MAX_WHO = 12  # sets of nodes told of one rule
_MAX_FACTS = 6  # facts told of one set of nodes
_MAX_FOLDED = 60  # letters for the names of a set of nodes
_NAMED = (16, 12, 8, 5, 3, 2, 1)  # how many to try of a set that does not fold
_MAX_CAMPS = 4


def is_across(finding: FleetFinding) -> bool:
    """Whether it is of a fleet rule, and not about the run's own waivers."""
    return finding.check.partition(".")[0] == AREA


def across_lines(
    report: Report, checks: Mapping[str, CheckReport], *, width: int, verbose: bool = False
) -> Iterator[Line]:
    """The section; nothing where there is nothing to say. `verbose` says more, also that nothing differs."""
    findings = [finding for finding in report.fleet if is_across(finding)]
    if not findings and not (verbose and report.groups):
        return
    yield from _head(report, width=width)
    told = [] if verbose else [f for f in findings if f.told_by and f.severity.rank <= Severity.LOW.rank]
    by_check: dict[tuple[str, Outcome, bool], list[FleetFinding]] = {}
    for finding in findings:
        if finding not in told:
            by_check.setdefault((finding.check, finding.outcome, bool(finding.waived_by)), []).append(finding)
    for same in by_check.values():
        yield from _rule_lines(same, checks.get(same[0].check), report, width=width, verbose=verbose)
    if told:
        yield from _told_elsewhere(told, width=width)
    if not findings:
        yield [("dim", "    no difference in anything that was compared")]


def _head(report: Report, *, width: int) -> Iterator[Line]:
    """On how many nodes it stands."""
    compared = [group for group in report.groups if group.compared]
    left = sum(len(group.nodes) for group in report.groups if not group.compared)
    lost = sum(node.state is NodeState.UNREACHABLE for node in report.nodes)
    nodes = sum(len(group.nodes) for group in compared)
    said = f"{nodes} of {len(report.nodes)} nodes compared with their kind" if compared else "no nodes of one kind"
    why = []
    if left:
        why.append(f"{left} of a kind with fewer than 4")
    if lost:
        why.append(f"{lost} without a reply")
    text = f"{said} ({', '.join(why)})" if why else said
    title = "across the fleet"
    yield from hanging(title, text, indent=0, label_width=len(title) + 2, width=width, label_style="bold")
    for group in compared:
        text = f"{count(len(group.nodes), 'node')}: {group.name}"
        yield from hanging("", text, indent=2, label_width=0, width=width, style="dim")


def _rule_lines(
    findings: Sequence[FleetFinding], check: CheckReport | None, report: Report, *, width: int, verbose: bool
) -> Iterator[Line]:
    first = findings[0]
    letter = glyphs.letter(first.outcome, first.severity, waived=bool(first.waived_by))
    head = f"{letter} {first.check}"
    title = check.title if check else ""
    yield [(glyphs.STYLE_OF[letter], head), ("dim", fitted(title, width - len(head)))]
    kinds = {finding.group for finding in findings}
    several = sum(group.compared for group in report.groups) > 1
    for kind in sorted(kinds):
        if several and kind:
            yield from hanging("", f"of {kind}:", indent=2, label_width=0, width=width, style="dim")
        yield from _kind_lines([finding for finding in findings if finding.group == kind], width=width)
    if verbose and check:
        yield from hanging("why", check.why, indent=_INDENT, label_width=_LABEL, width=width)
        for source in check.sources:
            text = f"{source.title}, {source.url}"
            yield from hanging("source", text, indent=_INDENT, label_width=_LABEL, width=width)
    if check and check.fix and (verbose or first.severity.rank > Severity.LOW.rank):
        yield from hanging("fix", check.fix, indent=_INDENT, label_width=_LABEL, width=width)


def _kind_lines(findings: Iterable[FleetFinding], *, width: int) -> Iterator[Line]:
    """Each set of nodes once, with all in which it differs; where there is no majority, each fact once."""
    camps: list[FleetFinding] = []
    sets: dict[tuple[str, ...], list[FleetFinding]] = {}
    for finding in findings:
        if finding.group and finding.majority_nodes == 0:
            camps.append(finding)
        else:
            sets.setdefault(finding.nodes, []).append(finding)
    for nodes, same in list(sets.items())[:_MAX_WHO]:
        texts = [_text(finding) for finding in same[:_MAX_FACTS]]
        if len(same) > _MAX_FACTS:
            texts.append(f"and {len(same) - _MAX_FACTS} more (--json lists them all)")
        who = named(nodes)
        for number, text in enumerate(texts):
            yield from beside(who if number == 0 else "", text, width=width, pad=len(who))
    if len(sets) > _MAX_WHO:
        left = list(sets)[_MAX_WHO:]
        text = f"and {sum(map(len, left))} more nodes, in {len(left)} groups (--json lists them all)"
        yield from hanging("", text, indent=_INDENT, label_width=0, width=width)
    for finding in camps[:_MAX_WHO]:
        yield from hanging("", _camps(finding), indent=_INDENT, label_width=0, width=width)
    if len(camps) > _MAX_WHO:
        text = f"and no clear majority in {len(camps) - _MAX_WHO} more facts (--json lists them all)"
        yield from hanging("", text, indent=_INDENT, label_width=0, width=width)


def _text(finding: FleetFinding) -> str:
    of_rack = finding.subject.startswith("rack ")
    parts = [finding.actual, finding.expected if finding.majority_nodes or of_rack else "", finding.reason]
    if finding.waived_by:
        parts.append(f"waived by {finding.waived_by}")
    return f"{finding.subject}: " + "; ".join(part for part in parts if part)


def _camps(finding: FleetFinding) -> str:
    lists = [set(map(str, one.value)) for one in finding.values if isinstance(one.value, list)]
    common = frozenset(set.intersection(*lists)) if len(lists) == len(finding.values) else frozenset()
    said = [
        f"{_value(one.value, common)} on {len(one.nodes)} ({named(one.nodes)})" for one in finding.values[:_MAX_CAMPS]
    ]
    if len(finding.values) > _MAX_CAMPS:
        said.append(f"{len(finding.values) - _MAX_CAMPS} other values")
    parts = [f"{finding.subject}: no clear majority: " + ", ".join(said), finding.reason]
    if finding.waived_by:
        parts.append(f"waived by {finding.waived_by}")
    return "; ".join(part for part in parts if part)


def _value(value: object, common: frozenset[str]) -> str:
    """A value; of a list only what not all have."""
    if not isinstance(value, list):
        return shown(value)
    own = shown(tuple(item for item in map(str, value) if item not in common))
    return f"... {own}" if common else own


def named(nodes: Sequence[str]) -> str:
    """Nodes folded; where that is long all the same, the first of them and how many more there are."""
    folded = fold_nodes(nodes)
    if len(folded) <= _MAX_FOLDED:
        return folded
    tries = ((fold_nodes(nodes[:number]), number) for number in _NAMED if number < len(nodes))
    first, number = next((one for one in tries if len(one[0]) <= _MAX_FOLDED), (nodes[0], 1))
    return f"{first} and {len(nodes) - number} more" if len(nodes) > number else first


def _told_elsewhere(findings: Sequence[FleetFinding], *, width: int) -> Iterator[Line]:
    """Differences that a failed check has told already: only what they are."""
    subjects = list(dict.fromkeys(finding.subject for finding in findings))
    listed = ", ".join(subjects[:_MAX_FACTS]) + (", ..." if len(subjects) > _MAX_FACTS else "")
    text = f"{count(len(findings), 'difference')} more, of which failed checks tell: {listed} (-v)"
    yield from hanging("", text, indent=2, label_width=0, width=width, style="dim")
