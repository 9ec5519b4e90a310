"""Waivers laid over findings. The outcome below stays: a waived failure can still be seen, and is counted apart."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import date

import msgspec

from nodectl.catalogue.waivers import Waiver
from nodectl.model import Finding, FleetFinding, Node, Outcome, Severity

EXPIRED = "waiver.expired"
UNUSED = "waiver.unused"


def waive(findings: Sequence[Finding], waivers: Collection[Waiver], *, node: Node, today: date) -> tuple[Finding, ...]:
    """The findings of one node, those that a waiver in force fits marked with it (Finding.waived_by).

    Args:
        findings: of this node.
        waivers: all of them.
        node: for its name and its groups.
        today: the day in UTC. A waiver holds up to and including the day on which it expires.
    """
    in_force = [waiver for waiver in waivers if today <= waiver.expires and waiver.is_for(node)]
    if not in_force:
        return tuple(findings)
    return tuple(
        next(
            (msgspec.structs.replace(finding, waived_by=waiver.label) for waiver in in_force if waiver.fits(finding)),
            finding,
        )
        for finding in findings
    )


def waive_fleet(
    findings: Iterable[FleetFinding], waivers: Collection[Waiver], nodes: Iterable[Node], *, today: date
) -> tuple[FleetFinding, ...]:
    """The findings over several nodes. Where waivers cover only some of the nodes of one, it is parted in two.

    A finding that is about its nodes together (a split without a majority, a thing that is there twice, a rack) is
    waived only where all of them are covered.
    """
    known = {node.name: node for node in nodes}
    in_force = [waiver for waiver in waivers if today <= waiver.expires]
    found: list[FleetFinding] = []
    for finding in findings:
        labels: dict[str, list[str]] = {}
        for name in finding.nodes:
            fits = (waiver for waiver in in_force if waiver.fits(finding) and waiver.is_for(known[name]))
            waiver = next(fits, None)
            labels.setdefault(waiver.label if waiver else "", []).append(name)
        together = finding.majority_nodes == 0
        if len(labels) < 2 or together:
            label = next(iter(labels)) if len(labels) == 1 else "" if "" in labels else " / ".join(labels)
            found.append(msgspec.structs.replace(finding, waived_by=label) if label else finding)
        else:
            found += [
                msgspec.structs.replace(finding, nodes=tuple(names), waived_by=label) for label, names in labels.items()
            ]
    return tuple(found)


def about_waivers(
    waivers: Iterable[Waiver],
    results: Mapping[str, Sequence[Finding]],
    nodes: Iterable[Node],
    *,
    today: date,
    fleet: Mapping[str, Sequence[FleetFinding]] | None = None,
) -> tuple[FleetFinding, ...]:
    """What there is to say of the waivers themselves, after a run: those that have expired, those that waive nothing.

    A waiver is unused only where its check was evaluated on at least one of its nodes, and came out passed or not
    applicable on all of them; a node that could not be reached, or a check that could not tell, leaves it in peace.

    Args:
        waivers: all of them.
        results: node name -> its findings, after `waive`.
        nodes: of this run.
        today: the day in UTC.
        fleet: what each fleet rule of the run found, after `waive_fleet`.
    """
    known = list(nodes)
    found: list[FleetFinding] = []
    for waiver in waivers:
        its_nodes = [node.name for node in known if waiver.is_for(node)]
        if not its_nodes:
            continue
        where = f"{waiver.check} on {', '.join(waiver.nodes)}"
        if waiver.expires < today:
            found.append(
                FleetFinding(
                    node="",
                    check=EXPIRED,
                    subject=where,
                    outcome=Outcome.FAIL,
                    severity=Severity.LOW,
                    expected=f"a waiver that holds on {today.isoformat()}",
                    actual=f"expired after {waiver.expires.isoformat()}",
                    reason=f"{waiver.owner}: {waiver.reason} ({waiver.origin}): renew it or take it out",
                )
            )
        elif _is_unused(waiver, its_nodes, results, fleet or {}):
            found.append(
                FleetFinding(
                    node="",
                    check=UNUSED,
                    subject=where,
                    outcome=Outcome.FAIL,
                    severity=Severity.INFO,
                    expected="a failure to waive",
                    actual="none",
                    reason=f"{waiver.owner}: {waiver.reason} ({waiver.origin}): take it out",
                )
            )
    return tuple(found)


def _is_unused(
    waiver: Waiver,
    nodes: Sequence[str],
    results: Mapping[str, Sequence[Finding]],
    fleet: Mapping[str, Sequence[FleetFinding]],
) -> bool:
    if any(name not in results for name in nodes):
        return False
    if waiver.check in fleet:
        return not any(
            finding.waived_by == waiver.label or finding.untold or finding.outcome is Outcome.UNKNOWN
            for finding in fleet[waiver.check]
        )
    own = [finding for name in nodes for finding in results[name] if finding.check == waiver.check]
    return bool(own) and not any(
        finding.waived_by == waiver.label or finding.outcome is Outcome.UNKNOWN for finding in own
    )
