"""A report as lines for a terminal: what is wrong first, said once, with what was expected and who says so."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from nodectl.inventory.nodeset import fold as fold_nodes
from nodectl.model import CheckReport, Finding, NodeReport, NodeState, Outcome, Report
from nodectl.view import glyphs
from nodectl.view.fold import CheckGroup, NodeGroup, Part, by_check, by_reason, natural
from nodectl.view.lines import Line, hanging, plain

_INDENT = 4
_LABEL = 10
_MAX_GROUPS = 12
_MAX_IDS = 8
_OUTCOME_WORDS = (
    ("fail", "failed"),
    ("unknown", "unknown"),
    ("waived", "waived"),
    ("pass", "passed"),
    ("not_applicable", "not applicable"),
)


def report_lines(report: Report, *, width: int = 100, verbose: bool = False) -> Iterator[Line]:
    """The whole report: failures worst first, what could not be told, who was not reached, and the summary.

    `verbose` adds the passes, what does not apply, and each unknown check by itself.
    """
    checks = {check.id: check for check in report.checks}
    findings = report.results + report.fleet
    failed = [f for f in findings if f.outcome is Outcome.FAIL]
    for group in by_check(failed):
        yield from check_group_lines(group, checks, width=width)
        yield plain("")
    unknown = [f for f in findings if f.outcome is Outcome.UNKNOWN]
    if unknown:
        yield from unknown_lines(unknown, checks, width=width, verbose=verbose)
        yield plain("")
    lost = [node for node in report.nodes if node.state is NodeState.UNREACHABLE]
    if lost:
        yield from unreachable_lines(lost, width=width)
        yield plain("")
    if verbose:
        rest = [f for f in findings if f.outcome in (Outcome.PASS, Outcome.NOT_APPLICABLE)]
        for group in by_check(rest):
            yield from quiet_lines(group, checks, width=width)
        if rest:
            yield plain("")
    for message in report.messages:
        yield from hanging(f"{message.level}:", message.text, indent=0, label_width=9, width=width)
    yield from summary_lines(report)


def check_group_lines(group: CheckGroup, checks: Mapping[str, CheckReport], *, width: int) -> Iterator[Line]:
    """One failed check: its title, the nodes with what was found on them, what was expected, the source, the cure."""
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
        left = group.groups[_MAX_GROUPS:]
        names = sum(g.size for g in left)
        yield from hanging(
            "",
            f"and {names} more nodes in {len(left)} groups (--json lists them all)",
            indent=_INDENT,
            label_width=0,
            width=width,
        )
    if one_for_all:
        yield from hanging("expected", expected.pop(), indent=_INDENT, label_width=_LABEL, width=width)
    if check:
        yield from _because(check, width=width)


def _node_group_lines(group: NodeGroup, *, width: int, with_expected: bool) -> Iterator[Line]:
    for number, part in enumerate(group.parts):
        said = _part_text(part)
        if number == 0:
            yield from _beside(group.nodes, said, width=width)
        else:
            yield from _beside("", said, width=width, pad=len(group.nodes))
        if with_expected and part.expected:
            yield from hanging("expected", part.expected, indent=_INDENT + 2, label_width=_LABEL, width=width)


def _beside(nodes: str, said: str, *, width: int, pad: int = 0) -> Iterator[Line]:
    """Node names, and what was found there beside them, or below when the names are long."""
    column = max(len(nodes), pad)
    if column > width // 3:
        if nodes:
            yield from hanging("", nodes, indent=_INDENT, label_width=0, width=width, style="bold")
        yield from hanging("", said, indent=_INDENT + 2, label_width=0, width=width)
    else:
        yield from hanging(nodes, said, indent=_INDENT, label_width=column + 2, width=width, label_style="bold")


def _part_text(part: Part) -> str:
    text = f"{part.subjects}: {part.actual}" if part.subjects and part.actual else part.subjects or part.actual
    return f"{text} ({part.reason})" if part.reason and text else text or part.reason


def _because(check: CheckReport, *, width: int) -> Iterator[Line]:
    yield from hanging("why", check.why, indent=_INDENT, label_width=_LABEL, width=width)
    for source in check.sources[:2]:
        yield from hanging("source", f"{source.title}, {source.url}", indent=_INDENT, label_width=_LABEL, width=width)
    if check.fix:
        yield from hanging("fix", check.fix, indent=_INDENT, label_width=_LABEL, width=width)


def unknown_lines(
    findings: Sequence[Finding], checks: Mapping[str, CheckReport], *, width: int, verbose: bool
) -> Iterator[Line]:
    """What could not be told, by reason: one missing tool is one entry, however many checks it silences."""
    style = glyphs.STYLE_OF[glyphs.UNKNOWN]
    groups = by_reason(findings)
    total = len({(f.node, f.check) for f in findings})
    yield [
        (style, f"{glyphs.UNKNOWN} unknown  "),
        ("bold", f"{total} checks could not be told"),
        ("dim", " (never counted as a pass)"),
    ]
    for group in groups:
        ids = group.checks if verbose or len(group.checks) <= _MAX_IDS else (*group.checks[: _MAX_IDS - 1], "...")
        count = f"{len(group.checks)} checks: " if len(group.checks) > 1 else ""
        yield from _beside(group.nodes, group.reason, width=width)
        yield from hanging("", count + ", ".join(ids), indent=_INDENT + 2, label_width=0, width=width, style="dim")


def unreachable_lines(nodes: Iterable[NodeReport], *, width: int) -> Iterator[Line]:
    """Nodes that gave no reply, folded by why, with what to do about it."""
    style = glyphs.STYLE_OF[glyphs.UNREACHABLE]
    lost = list(nodes)
    yield [(style, f"{glyphs.UNREACHABLE} unreachable  "), ("bold", f"{len(lost)} of the nodes gave no reply")]
    said: dict[tuple[str, str, str], list[str]] = {}
    for node in lost:
        reason = node.reason
        key = (reason.code, reason.text, reason.hint) if reason else ("", "no reason recorded", "")
        # The same failure on many nodes differs only in the address it names: fold those as well.
        key = tuple(part.replace(node.address, "ADDRESS") if node.address else part for part in key)  # type: ignore[assignment]
        said.setdefault(key, []).append(node.name)
    addresses = {node.name: node.address or node.name for node in lost}
    for (code, text, hint), names in sorted(said.items(), key=lambda item: (-len(item[1]), natural(item[1][0]))):
        put = addresses[names[0]] if len(names) == 1 else "NODE"
        yield from _beside(fold_nodes(names), f"{code}: {text.replace('ADDRESS', put)}", width=width)
        if hint:
            yield from hanging("try", hint.replace("ADDRESS", put), indent=_INDENT + 2, label_width=5, width=width)


def quiet_lines(group: CheckGroup, checks: Mapping[str, CheckReport], *, width: int) -> Iterator[Line]:
    """A check that passed, or does not apply: one line, and for each group of nodes what was found."""
    letter = glyphs.letter(group.outcome, group.severity, waived=group.waived)
    check = checks.get(group.check)
    title = f"  {check.title}" if check else ""
    yield [
        (glyphs.STYLE_OF[letter], f"{letter} "),
        ("", group.check),
        ("dim", title[: max(0, width - 2 - len(group.check))]),
    ]
    for node_group in group.groups[:_MAX_GROUPS]:
        said = "; ".join(text for text in map(_part_text, node_group.parts) if text)
        for line in _beside(node_group.nodes, said, width=width):
            yield [("dim", text) for _, text in line]


def summary_lines(report: Report) -> Iterator[Line]:
    """The last line: nodes and checks, counted."""
    nodes, outcomes = report.summary.nodes, report.summary.outcomes
    cells: list[tuple[str, int, str]] = [
        (glyphs.OK, nodes.ok, "ok"),
        (glyphs.FAIL, nodes.failed, "failed"),
        (glyphs.UNKNOWN, nodes.unknown, "unknown"),
        (glyphs.UNREACHABLE, nodes.unreachable, "unreachable"),
    ]
    line: Line = [("bold", f"{len(report.nodes)} nodes")]
    for letter, count, word in cells:
        if count:
            line += [("", "  "), (glyphs.STYLE_OF[letter], f"{letter} {count} {word}")]
    yield line
    counts = ", ".join(f"{outcomes[key]} {word}" for key, word in _OUTCOME_WORDS if outcomes.get(key))
    yield [("dim", f"{len(report.checks)} checks ({report.profile}): {counts or 'none could be made'}")]
    if report.partial:
        yield [("warn", "interrupted: this report is partial")]
