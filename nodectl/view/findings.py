"""A report as lines for a terminal: what is wrong first, said once, with what was expected and who says so."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

from nodectl.inventory.nodeset import fold as fold_nodes
from nodectl.model import CheckReport, Finding, NodeReport, NodeState, Outcome, Reason, Report, Severity
from nodectl.view import glyphs
from nodectl.view.across import across_lines, is_across
from nodectl.view.fold import CheckGroup, NodeGroup, Part, SameNodes, by_check, by_node, by_reason, natural
from nodectl.view.lines import Line, beside, count, fitted, hanging, plain

_INDENT = 4
_LABEL = 10
_MAX_GROUPS = 12
_MAX_IDS = 8
_MAX_NODES = 20
_MINOR = Severity.LOW
_WHO = re.compile(r"\S+ \(([^()]*)\): ")  # how the transport begins a reason: NAME (ADDRESS port N):
_ADDRESS, _NAME = "ADDRESS", "NODE"  # what stands for a node's own in a line about many
_OUTCOME_WORDS = (
    ("fail", "failed"),
    ("unknown", "unknown"),
    ("waived", "waived"),
    ("pass", "passed"),
    ("not_applicable", "not applicable"),
)


def report_lines(report: Report, *, width: int = 100, verbose: bool = False) -> Iterator[Line]:
    """The whole report: failures worst first, what could not be told, who was not reached, and the summary.

    Failures of low severity and below are one line each. `verbose` says all of them in full, adds the passes and what
    does not apply, and names each unknown check.
    """
    checks = {check.id: check for check in report.checks}
    findings = report.results + tuple(finding for finding in report.fleet if not is_across(finding))
    failed = by_check(f for f in findings if f.outcome is Outcome.FAIL)
    minor = [] if verbose else [g for g in failed if g.waived or g.severity.rank <= _MINOR.rank]
    for group in failed:
        if group not in minor:
            yield from check_group_lines(group, checks, width=width, verbose=verbose)
            yield plain("")
    if minor:
        yield from minor_lines(minor, checks, width=width)
        yield plain("")
    unknown = [f for f in findings if f.outcome is Outcome.UNKNOWN]
    if unknown:
        yield from unknown_lines(unknown, checks, width=width, verbose=verbose)
        yield plain("")
    lost = [node for node in report.nodes if node.state is NodeState.UNREACHABLE]
    if lost:
        yield from unreachable_lines(lost, width=width)
        yield plain("")
    across = list(across_lines(report, checks, width=width, verbose=verbose))
    if across:
        yield from across
        yield plain("")
    if verbose:
        rest = [f for f in findings if f.outcome in (Outcome.PASS, Outcome.NOT_APPLICABLE)]
        for group in by_check(rest):
            yield from quiet_lines(group, checks, width=width)
        if rest:
            yield plain("")
    nodes = by_node(findings)
    if len(report.nodes) > 1 and nodes:
        yield from node_lines(nodes, width=width)
        yield plain("")
    for message in report.messages:
        yield from hanging(f"{message.level}:", message.text, indent=0, label_width=9, width=width)
    yield from summary_lines(report, width=width)


def check_group_lines(
    group: CheckGroup, checks: Mapping[str, CheckReport], *, width: int, verbose: bool = False
) -> Iterator[Line]:
    """One failed check: its title, the nodes with what was found on them, what was expected, the source, the cure.

    `verbose` adds why it matters, and every source.
    """
    letter = glyphs.letter(group.outcome, group.severity, waived=group.waived)
    style = glyphs.STYLE_OF[letter]
    check = checks.get(group.check)
    yield [(style, f"{letter} {group.severity.value:<9}"), ("bold", group.check)]
    if check:
        yield from hanging("", check.title, indent=2, label_width=0, width=width)
    expected = {part.expected for node_group in group.groups for part in node_group.parts if part.expected}
    one_for_all = len(expected) == 1
    for node_group in group.groups[:_MAX_GROUPS]:
        yield from _node_group_lines(node_group, width=width, with_expected=not one_for_all)
    if len(group.groups) > _MAX_GROUPS:
        yield from _more(group.groups[_MAX_GROUPS:], width=width)
    if one_for_all:
        yield from hanging("expected", expected.pop(), indent=_INDENT, label_width=_LABEL, width=width)
    if check:
        yield from _because(check, width=width, verbose=verbose)


def _node_group_lines(group: NodeGroup, *, width: int, with_expected: bool) -> Iterator[Line]:
    for number, part in enumerate(group.parts):
        said = _part_text(part)
        if with_expected and part.expected:
            said += f" (expected {part.expected})"
        yield from beside(group.nodes if number == 0 else "", said, width=width, pad=len(group.nodes))


def _part_text(part: Part) -> str:
    text = f"{part.subjects}: {part.actual}" if part.subjects and part.actual else part.subjects or part.actual
    return "; ".join(words for words in (text, part.reason) if words)


def _because(check: CheckReport, *, width: int, verbose: bool) -> Iterator[Line]:
    if verbose:
        yield from hanging("why", check.why, indent=_INDENT, label_width=_LABEL, width=width)
    for source in check.sources if verbose else check.sources[:1]:
        yield from hanging("source", f"{source.title}, {source.url}", indent=_INDENT, label_width=_LABEL, width=width)
    if check.fix:
        yield from hanging("fix", check.fix, indent=_INDENT, label_width=_LABEL, width=width)


def minor_lines(groups: Sequence[CheckGroup], checks: Mapping[str, CheckReport], *, width: int) -> Iterator[Line]:
    """Failures that need not be read today: a line for the check, a line for each group of nodes."""
    yield [("bold", count(len(groups), "smaller finding")), ("dim", "  (in full: -v, or nodectl checks show ID)")]
    for group in groups:
        letter = glyphs.letter(group.outcome, group.severity, waived=group.waived)
        check = checks.get(group.check)
        head = f"{letter} {group.check}"
        yield [(glyphs.STYLE_OF[letter], head), ("dim", fitted(check.title if check else "", width - len(head)))]
        for node_group in group.groups[:_MAX_GROUPS]:
            expected = " or ".join(dict.fromkeys(part.expected for part in node_group.parts if part.expected))
            said = "; ".join(text for text in map(_part_text, node_group.parts) if text)
            yield from beside(node_group.nodes, f"{said} (expected {expected})" if expected else said, width=width)
        if len(group.groups) > _MAX_GROUPS:
            yield from _more(group.groups[_MAX_GROUPS:], width=width)


def _more(left: Sequence[NodeGroup], *, width: int) -> Iterator[Line]:
    nodes = sum(group.size for group in left)
    text = f"and {nodes} more nodes, in {len(left)} groups (--json lists them all)"
    yield from hanging("", text, indent=_INDENT, label_width=0, width=width)


def unknown_lines(
    findings: Sequence[Finding], checks: Mapping[str, CheckReport], *, width: int, verbose: bool
) -> Iterator[Line]:
    """What could not be told, by reason: one missing tool is one entry, however many checks it silences."""
    style = glyphs.STYLE_OF[glyphs.UNKNOWN]
    groups = by_reason(findings)
    total = len({(f.node, f.check) for f in findings})
    yield [
        (style, f"{glyphs.UNKNOWN} unknown  "),
        ("bold", f"{count(total, 'check')} could not be told"),
        ("dim", " (never counted as a pass)"),
    ]
    for group in groups:
        ids = group.checks if verbose or len(group.checks) <= _MAX_IDS else (*group.checks[: _MAX_IDS - 1], "...")
        how_many = f"{len(group.checks)} checks: " if len(group.checks) > 1 else ""
        yield from beside(group.nodes, group.reason, width=width)
        yield from hanging("", how_many + ", ".join(ids), indent=_INDENT + 2, label_width=0, width=width, style="dim")


def unreachable_lines(nodes: Iterable[NodeReport], *, width: int) -> Iterator[Line]:
    """Nodes that gave no reply, folded by why, with what to do about it."""
    style = glyphs.STYLE_OF[glyphs.UNREACHABLE]
    lost = list(nodes)
    yield [(style, f"{glyphs.UNREACHABLE} unreachable  "), ("bold", f"{count(len(lost), 'node')} gave no reply")]
    alike: dict[tuple[str, str, str], list[NodeReport]] = {}
    for node in lost:
        alike.setdefault(_without_names(node), []).append(node)
    for (code, text, hint), same in sorted(alike.items(), key=lambda item: (-len(item[1]), natural(item[1][0].name))):
        said = [f"{_where(same)}{text}", hint]
        if len(same) == 1:  # one node: its own names, as they were
            said = [part.replace(_ADDRESS, same[0].address).replace(_NAME, same[0].name) for part in said]
        yield from beside(fold_nodes([node.name for node in same]), f"{code}: {said[0]}", width=width)
        if hint:
            yield from hanging("try", said[1], indent=_INDENT + 2, label_width=5, width=width)


def _where(nodes: Sequence[NodeReport]) -> str:
    """For a single node, the address and port that were tried, where its name alone does not tell."""
    match = _WHO.match(nodes[0].reason.text) if len(nodes) == 1 and nodes[0].reason else None
    return f"{match[1]}: " if match else ""


def _without_names(node: NodeReport) -> tuple[str, str, str]:
    """Code, text and hint of its reason, without what the node is called: the same where the same happened."""
    reason = node.reason or Reason("probe_failed", "no reason was recorded")
    text = re.sub(rf"^{re.escape(node.name)} \([^()]*\): ", "", reason.text)
    parts = [text, reason.hint]
    for name, placeholder in ((node.address, _ADDRESS), (node.name, _NAME)):
        if name:
            parts = [re.sub(rf"(?<![\w.-]){re.escape(name)}(?![\w-])", placeholder, part) for part in parts]
    return reason.code, parts[0], parts[1]


def quiet_lines(group: CheckGroup, checks: Mapping[str, CheckReport], *, width: int) -> Iterator[Line]:
    """A check that passed, or does not apply: one line, and for each group of nodes what was found."""
    letter = glyphs.letter(group.outcome, group.severity, waived=group.waived)
    check = checks.get(group.check)
    title = fitted(check.title if check else "", width - 2 - len(group.check))
    yield [(glyphs.STYLE_OF[letter], f"{letter} "), ("", group.check), ("dim", title)]
    for node_group in group.groups[:_MAX_GROUPS]:
        said = "; ".join(text for text in map(_part_text, node_group.parts) if text)
        for line in beside(node_group.nodes, said, width=width):
            yield [("dim", text) for _, text in line]


def node_lines(groups: Sequence[SameNodes], *, width: int) -> Iterator[Line]:
    """Node by node, worst first: what failed there. The last thing printed, and so the first seen."""
    yield [("bold", "by node")]
    widest = min(width // 3, max(len(group.nodes) for group in groups))
    for group in groups[:_MAX_NODES]:
        letter = glyphs.letter(Outcome.FAIL, group.severity)
        style = glyphs.STYLE_OF[letter]
        lines = list(beside(group.nodes, ", ".join(group.checks), width=width - 2, pad=widest))
        for number, line in enumerate(lines):
            mark = f"{letter} " if number == 0 else "  "
            yield [(style, mark), *([("", line[0][1][2:])] if line[0][0] == "" else [line[0]]), *line[1:]]
    if len(groups) > _MAX_NODES:
        left = sum(group.size for group in groups[_MAX_NODES:])
        yield [("dim", f"    and {count(left, 'more node')} (--json lists them all)")]


def summary_lines(report: Report, *, width: int) -> Iterator[Line]:
    """The last line: nodes and checks, counted."""
    nodes, outcomes = report.summary.nodes, report.summary.outcomes
    cells: list[tuple[str, int, str]] = [
        (glyphs.OK, nodes.ok, "ok"),
        (glyphs.FAIL, nodes.failed, "failed"),
        (glyphs.UNKNOWN, nodes.unknown, "unknown"),
        (glyphs.UNREACHABLE, nodes.unreachable, "unreachable"),
    ]
    across = sum(
        one.outcome is Outcome.FAIL and not one.waived_by and one.severity.rank >= report.fail_on.rank
        for one in report.fleet
    )
    cells.append((glyphs.WARN, across, "across the fleet"))
    line: Line = [("bold", count(len(report.nodes), "node"))]
    for letter, number, word in cells:
        if number:
            line += [("", "  "), (glyphs.STYLE_OF[letter], f"{letter} {number} {word}")]
    yield line
    counts = ", ".join(f"{outcomes[key]} {word}" for key, word in _OUTCOME_WORDS if outcomes.get(key))
    text = f"{count(len(report.checks), 'check')} ({report.profile}): {counts or 'none could be made'}"
    yield from hanging("", text, indent=0, label_width=0, width=width, style="dim")
    if report.partial:
        yield [("warn", "interrupted: this report is partial")]
