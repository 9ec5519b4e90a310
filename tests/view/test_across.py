"""The section about the fleet: short for three nodes and for two thousand, at 80 columns."""

from __future__ import annotations

from typing import Any

import pytest
from test_findings import check, node, text

from nodectl.model import (
    REPORT_SCHEMA,
    CatalogueId,
    FleetFinding,
    FleetGroup,
    Outcome,
    Reason,
    Report,
    Severity,
    Tool,
    ValueCount,
)
from nodectl.report.build import summarise

KIND = "NVIDIA H200 (10de:2335), PowerEdge XE9680, ubuntu 24.04"


def names(*numbers: int) -> tuple[str, ...]:
    return tuple(f"gpu-{number:04}" for number in numbers)


def drift(
    nodes: tuple[str, ...], subject: str = "kernel.release", actual: str = "6.8.0-51", **more: Any
) -> FleetFinding:
    values: dict[str, Any] = {
        "check": "fleet.kernel",
        "outcome": Outcome.FAIL,
        "severity": Severity.INFO,
        "expected": "6.8.0-87 on 1990 of 2000 alike nodes",
        "group": KIND,
        "majority": "6.8.0-87",
        "majority_nodes": 1990,
        "compared": 2000,
        "value": actual,
    } | more
    return FleetFinding(node="", nodes=nodes, subject=subject, actual=actual, **values)


def report(
    *fleet: FleetFinding, nodes: int = 10, groups: tuple[FleetGroup, ...] | None = None, lost: int = 0
) -> Report:
    every = names(*range(1, nodes + 1))
    said = Reason("timeout", "no answer")
    if groups is None:
        groups = (FleetGroup(name=KIND, nodes=every[: nodes - lost], compared=nodes - lost >= 4),)
    return Report(
        schema=REPORT_SCHEMA, report_id="x", created="", tool=Tool("nodectl", "1"), catalogue=CatalogueId("1", "x"),
        profile="default", argv=(), exit_code=0, partial=False, fail_on=Severity.MEDIUM,
        summary=summarise([], fleet=fleet),
        nodes=tuple(node(name, said if place >= nodes - lost else None) for place, name in enumerate(every)),
        checks=(check("fleet.kernel", Severity.INFO, "Alike nodes run the same kernel"),),
        results=(), fleet=fleet, messages=(), groups=groups,
    )  # fmt: skip


def section(shown: Report, **how: Any) -> str:
    whole = text(shown, **how)
    return whole[whole.index("across the fleet") :].partition("\n\n")[0] if "across the fleet" in whole else ""


def test_a_small_fleet() -> None:
    assert section(report(drift(names(3)))) == (
        "across the fleet  10 of 10 nodes compared with their kind\n"
        "  10 nodes: NVIDIA H200 (10de:2335), PowerEdge XE9680, ubuntu 24.04\n"
        "i fleet.kernel  Alike nodes run the same kernel\n"
        "    gpu-0003  kernel.release: 6.8.0-51; 6.8.0-87 on 1990 of 2000 alike nodes"
    )


def test_a_large_fleet_is_no_longer() -> None:
    findings = [drift(names(*range(3, 2000, 7))), drift(names(*range(1, 41)), actual="6.8.0-40")]
    lines = section(report(*findings, nodes=2000)).splitlines()
    assert len(lines) < 20
    assert max(map(len, lines)) <= 80
    assert any(line.endswith("and 278 more") for line in lines)
    assert any("gpu-[0001-0040]" in line for line in lines)


def test_many_facts_of_one_node_are_told_together() -> None:
    shown = section(report(*(drift(names(3), f"sysctl[vm.x{number}]") for number in range(30))))
    assert shown.count("gpu-0003") == 1
    assert "and 24 more (--json lists them all)" in shown


def test_a_report_says_on_how_many_nodes_it_stands() -> None:
    few = FleetGroup(name="no GPU", nodes=names(8, 9), compared=False)
    groups = (FleetGroup(name=KIND, nodes=names(*range(1, 8)), compared=True), few)
    shown = section(report(drift(names(3)), groups=groups, lost=1))
    assert "7 of 10 nodes compared with their kind (2 of a kind with fewer than 4, 1 without" in " ".join(shown.split())


@pytest.mark.parametrize("nodes", [1, 3])
def test_small_groups_are_silent(nodes: int) -> None:
    assert section(report(nodes=nodes)) == ""
    assert "no nodes of one kind" in section(report(nodes=nodes), verbose=True)


def test_agreement_is_said_only_to_who_asks() -> None:
    assert section(report()) == ""
    assert "no difference in anything that was compared" in section(report(), verbose=True)


def test_what_a_failed_check_tells_is_not_told_twice() -> None:
    told = drift(names(3), "cpu.smt", told_by=("cpu.smt_expected",))
    assert "1 difference more, of which failed checks tell: cpu.smt (-v)" in section(report(told))
    assert "gpu-0003" in section(report(told), verbose=True)
    loud = drift(names(3), "cpu.smt", told_by=("cpu.smt_expected",), severity=Severity.HIGH)
    assert "gpu-0003" in section(report(loud))


def test_no_clear_majority_names_the_camps() -> None:
    values = (ValueCount("6.8.0-87", names(1, 2, 3)), ValueCount("6.8.0-51", names(4, 5, 6)))
    camps = drift(names(*range(1, 7)), actual="x", value=None, majority=None, majority_nodes=0, values=values)
    shown = " ".join(section(report(camps)).split())
    assert (
        "kernel.release: no clear majority: 6.8.0-87 on 3 (gpu-[0001-0003]), 6.8.0-51 on 3 (gpu-[0004-0006])" in shown
    )


def test_of_lists_only_what_not_all_have() -> None:
    values = (ValueCount(["ro", "quiet", "iommu=pt"], names(1, 2)), ValueCount(["ro", "quiet"], names(3, 4)))
    camps = drift(names(1, 2, 3, 4), "kernel.args", value=None, majority=None, majority_nodes=0, values=values)
    shown = " ".join(section(report(camps)).split())
    assert "... iommu=pt on 2 (gpu-[0001-0002]), ... none on 2" in shown


def test_what_counts_is_in_the_summary() -> None:
    loud = drift(names(3), severity=Severity.MEDIUM)
    assert "! 1 across the fleet" in text(report(loud))
    assert (
        "across the fleet"
        not in text(report(drift(names(3), severity=Severity.MEDIUM, waived_by="jane"))).rpartition("\n\n")[2]
    )


def test_waived_ones_say_by_whom() -> None:
    assert "w fleet.kernel" in section(report(drift(names(3), waived_by="jane, until 2026-11-30")))


def test_several_kinds_are_told_apart() -> None:
    other = "no GPU, X, debian 13"
    groups = tuple(FleetGroup(name=name, nodes=names(1, 2, 3, 4), compared=True) for name in (KIND, other))
    shown = section(report(drift(names(3)), drift(names(4), group=other), groups=groups))
    assert shown.index(f"of {KIND}:") < shown.index("gpu-0003")
    assert shown.index(f"of {other}:") < shown.index("gpu-0004")
