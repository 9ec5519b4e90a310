"""Many findings to few lines: the same thing on many nodes, or on many parts of one, is said once."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from nodectl.inventory.nodeset import fold as fold_nodes
from nodectl.model import Finding, Outcome, Severity

_DIGITS = re.compile(r"([0-9]{1,18})")  # not \\d, which has digits that int() does not know
_NUMBERED = re.compile(r"^(.*?)([0-9]+)$", re.DOTALL)


class Part(NamedTuple):
    """One saying about one or more parts of a node: `GPU 0-7`, `off`."""

    subjects: str
    actual: str
    reason: str
    expected: str


class NodeGroup(NamedTuple):
    """Nodes of which exactly the same is to be said."""

    nodes: str
    size: int
    parts: tuple[Part, ...]


class CheckGroup(NamedTuple):
    """One check with one outcome: who, and what was found there."""

    check: str
    outcome: Outcome
    severity: Severity
    waived: bool
    groups: tuple[NodeGroup, ...]


class ReasonGroup(NamedTuple):
    """Checks that could not be told on the same nodes for the same reason."""

    nodes: str
    size: int
    reason: str
    checks: tuple[str, ...]


class SameNodes(NamedTuple):
    """Nodes on which the same checks failed, these worst first."""

    nodes: str
    size: int
    severity: Severity
    checks: tuple[str, ...]


def natural(text: str) -> tuple[tuple[int, int, str], ...]:
    """A sort key under which gpu9 comes before gpu10."""
    pieces = (piece for piece in _DIGITS.split(text) if piece)
    return tuple((0, int(piece), "") if _DIGITS.fullmatch(piece) else (1, 0, piece) for piece in pieces)


def fold_subjects(subjects: Iterable[str]) -> str:
    """`GPU 0`, `GPU 1`, `GPU 3` as `GPU 0-1,3`; anything else joined with commas."""
    numbered: dict[str, list[int]] = defaultdict(list)
    other: list[str] = []
    for subject in sorted(set(subjects), key=natural):
        match = _NUMBERED.match(subject)
        if match and len(match[2]) < 10 and str(int(match[2])) == match[2]:
            numbered[match[1]].append(int(match[2]))
        elif subject:
            other.append(subject)
    folded = [prefix + _ranges(numbers) for prefix, numbers in numbered.items()]
    return ", ".join(folded + other)


def _ranges(numbers: Sequence[int]) -> str:
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ",".join(str(a) if a == b else f"{a}-{b}" for a, b in runs)


def by_check(findings: Iterable[Finding]) -> list[CheckGroup]:
    """Findings grouped by check and outcome, worst first; inside, nodes with identical findings are one group."""
    grouped: dict[tuple[str, Outcome, Severity, bool], dict[str, list[Finding]]] = defaultdict(
        lambda: defaultdict(list)
    )
    for finding in findings:
        key = (finding.check, finding.outcome, finding.severity, bool(finding.waived_by))
        grouped[key][finding.node].append(finding)
    groups = [
        CheckGroup(check, outcome, severity, waived, _node_groups(nodes))
        for (check, outcome, severity, waived), nodes in grouped.items()
    ]
    return sorted(
        groups, key=lambda g: (g.waived, -g.outcome.rank, -g.severity.rank, -sum(n.size for n in g.groups), g.check)
    )


def _node_groups(nodes: dict[str, list[Finding]]) -> tuple[NodeGroup, ...]:
    same: dict[tuple[Part, ...], list[str]] = defaultdict(list)
    for node, findings in nodes.items():
        same[_parts(findings)].append(node)
    groups = [NodeGroup(fold_nodes(names), len(names), parts) for parts, names in same.items()]
    return tuple(sorted(groups, key=lambda g: (-g.size, natural(g.nodes))))


def _parts(findings: Iterable[Finding]) -> tuple[Part, ...]:
    subjects: dict[tuple[str, str, str], list[str]] = defaultdict(list)
    for finding in findings:
        waived = f"waived by {finding.waived_by}" if finding.waived_by else ""
        reason = "; ".join(text for text in (finding.reason, waived) if text)
        subjects[finding.actual, reason, finding.expected].append(finding.subject)
    parts = [Part(fold_subjects(names), *said) for said, names in subjects.items()]
    return tuple(sorted(parts, key=lambda p: natural(p.subjects)))


def by_node(findings: Iterable[Finding], least: Severity = Severity.MEDIUM) -> list[SameNodes]:
    """Nodes grouped by the checks that failed on them, waived and lesser ones left out; worst first."""
    failed: dict[str, dict[str, Severity]] = defaultdict(dict)
    for finding in findings:
        if finding.outcome is Outcome.FAIL and not finding.waived_by and finding.severity.rank >= least.rank:
            failed[finding.node][finding.check] = finding.severity
    same: dict[tuple[tuple[str, Severity], ...], list[str]] = defaultdict(list)
    for node, checks in failed.items():
        same[tuple(sorted(checks.items(), key=lambda item: (-item[1].rank, item[0])))].append(node)
    groups = [
        SameNodes(fold_nodes(nodes), len(nodes), checks[0][1], tuple(name for name, _ in checks))
        for checks, nodes in same.items()
    ]
    return sorted(groups, key=lambda g: (-g.severity.rank, -len(g.checks), natural(g.nodes)))


_NOT_TOLD = "whether it applies could not be told: "
# Which field of a row could not be read, where what nvidia-smi says in its place is the same for all of them.
_FIELD = re.compile(r"^(?:[a-z][a-z0-9_.]*: )+(?=(?:needs root: )?nvidia-smi says )")
_COMMAND = re.compile(r"nvidia-smi [a-z]+ -[a-z]+: ")


def _root(finding: Finding) -> str:
    """The reason without which fact it stood in the way of: several checks are silenced by the same thing."""
    reason = finding.reason.removeprefix(_NOT_TOLD)
    fact, colon, rest = reason.partition(": ")
    return rest if colon and fact in finding.facts else reason


def _causes(findings: Iterable[Finding]) -> dict[str, set[str]]:
    """Why something could not be told on one node -> the checks that it silences.

    A GPU that is lost has no readable field, and a driver that is gone answers no command: each is one cause.
    """
    checks: dict[str, set[str]] = defaultdict(set)
    of_fields: dict[str, list[Finding]] = defaultdict(list)
    for finding in findings:
        root = _root(finding)
        said = "; ".join(dict.fromkeys(_FIELD.sub("", part) for part in root.split("; ")))
        if said != root and finding.subject:
            of_fields[said].append(finding)
        else:
            checks[root].add(finding.check)
    for said, same in of_fields.items():
        where = fold_subjects(finding.subject for finding in same)
        checks[f"{where}: {said}"].update(finding.check for finding in same)
    for reason in list(checks):
        without = _COMMAND.sub("", reason, count=1)
        if without != reason and without in checks:
            checks[without] |= checks.pop(reason)
    return checks


def by_reason(findings: Iterable[Finding]) -> list[ReasonGroup]:
    """Unknown findings grouped by why they are unknown: one missing tool is one line, not forty."""
    of_node: dict[str, list[Finding]] = defaultdict(list)
    for finding in findings:
        of_node[finding.node].append(finding)
    nodes: dict[tuple[str, tuple[str, ...]], list[str]] = defaultdict(list)
    for node, unknown in of_node.items():
        for reason, names in _causes(unknown).items():
            nodes[reason, tuple(sorted(names))].append(node)
    groups = [ReasonGroup(fold_nodes(names), len(names), reason, ids) for (reason, ids), names in nodes.items()]
    return sorted(groups, key=lambda g: (-g.size * len(g.checks), natural(g.nodes), g.reason))
