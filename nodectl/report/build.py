"""From the results of a run to its report."""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime, timezone

from nodectl import __version__
from nodectl.catalogue import Catalogue, Selection
from nodectl.model import (
    REPORT_SCHEMA,
    CatalogueId,
    CheckReport,
    Finding,
    FleetFinding,
    FleetGroup,
    Message,
    NodeCounts,
    NodeReport,
    NodeResult,
    NodeState,
    Outcome,
    Report,
    Severity,
    Summary,
    Tool,
)
from nodectl.view.fold import natural

WAIVED = "waived"


def now_utc() -> str:
    """RFC 3339, UTC, seconds."""
    return datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def build_report(
    results: Iterable[NodeResult],
    catalogue: Catalogue,
    selections: Sequence[Selection],
    *,
    argv: Sequence[str],
    exit_code: int,
    fail_on: Severity = Severity.MEDIUM,
    partial: bool = False,
    messages: Sequence[Message] = (),
    fleet: Sequence[FleetFinding] = (),
    groups: Sequence[FleetGroup] = (),
    with_facts: bool = True,
) -> Report:
    """One run as a value. Nodes, checks and results are sorted, so that two runs diff well."""
    nodes = sorted(results, key=lambda result: natural(result.node))
    findings = sorted((f for node in nodes for f in node.findings), key=_result_order)
    return Report(
        schema=REPORT_SCHEMA,
        report_id=str(uuid.uuid4()),
        created=now_utc(),
        tool=Tool("nodectl", __version__),
        catalogue=CatalogueId(catalogue.version, catalogue.digest),
        profile=",".join(selection.profile for selection in selections),
        argv=tuple(argv),
        exit_code=exit_code,
        partial=partial,
        fail_on=fail_on,
        summary=summarise(nodes, fail_on, fleet),
        nodes=tuple(_node_report(node, with_facts) for node in nodes),
        checks=check_reports(selections),
        results=tuple(findings),
        fleet=tuple(fleet),
        messages=tuple(messages),
        groups=tuple(groups),
    )


def worst_by_check(findings: Iterable[Finding]) -> dict[str, Finding]:
    """For each check the finding that decides it: the worst outcome, a waived one only if nothing else is as bad."""
    worst: dict[str, Finding] = {}
    for finding in findings:
        seen = worst.get(finding.check)
        if seen is None or _badness(finding) > _badness(seen):
            worst[finding.check] = finding
    return worst


def _badness(finding: Finding) -> tuple[int, int]:
    rank = 0 if finding.waived_by else finding.outcome.rank
    return rank, finding.severity.rank


def node_outcome(result: NodeResult, fail_on: Severity) -> Outcome | None:
    """A node rolled up: fail, unknown or pass; None when not reached. Waived and lesser findings do not count."""
    if result.state is NodeState.UNREACHABLE:
        return None
    counted = [f.outcome for f in result.findings if not f.waived_by and f.severity.rank >= fail_on.rank]
    return max((o for o in counted if o is not Outcome.NOT_APPLICABLE), key=lambda o: o.rank, default=Outcome.PASS)


def summarise(
    results: Iterable[NodeResult], fail_on: Severity = Severity.MEDIUM, fleet: Iterable[FleetFinding] = ()
) -> Summary:
    """Counts over the nodes of a run (see model.Summary)."""
    nodes: Counter[Outcome | None] = Counter()
    outcomes: Counter[str] = Counter({outcome.value: 0 for outcome in Outcome} | {WAIVED: 0})
    severities: Counter[str] = Counter({severity.value: 0 for severity in Severity})
    for result in results:
        nodes[node_outcome(result, fail_on)] += 1
        for finding in worst_by_check(result.findings).values():
            outcomes[WAIVED if finding.waived_by else finding.outcome.value] += 1
            if finding.outcome is Outcome.FAIL and not finding.waived_by:
                severities[finding.severity.value] += 1
    counts = NodeCounts(
        ok=nodes[Outcome.PASS], failed=nodes[Outcome.FAIL], unknown=nodes[Outcome.UNKNOWN], unreachable=nodes[None]
    )
    across = Counter({Outcome.FAIL.value: 0, Outcome.UNKNOWN.value: 0, WAIVED: 0})
    across.update(WAIVED if finding.waived_by else finding.outcome.value for finding in fleet)
    return Summary(nodes=counts, outcomes=dict(outcomes), severities=dict(severities), fleet=dict(across))


def _result_order(finding: Finding) -> tuple[object, ...]:
    return natural(finding.node), finding.check, natural(finding.subject)


def _node_report(result: NodeResult, with_facts: bool) -> NodeReport:
    return NodeReport(
        name=result.node,
        address=result.address,
        state=result.state,
        reason=result.reason,
        started=result.started,
        duration_ms=result.duration_ms,
        host_key=result.host_key,
        facts=dict(sorted(result.facts.items())) if with_facts else {},
    )


def check_reports(selections: Iterable[Selection]) -> tuple[CheckReport, ...]:
    """Each check and fleet rule once, sorted; where profiles differ in its severity, the highest."""
    checks: dict[str, CheckReport] = {}
    for selection in selections:
        for check in selection.everything:
            seen = checks.get(check.id)
            if seen is None or check.severity.rank > seen.severity.rank:
                checks[check.id] = CheckReport(
                    id=check.id,
                    title=check.title,
                    area=check.area,
                    severity=check.severity,
                    why=check.why,
                    sources=check.sources,
                    fix=check.fix.text if check.fix else "",
                )
    return tuple(checks[name] for name in sorted(checks))
