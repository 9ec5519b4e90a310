"""Folding: nothing may be lost by saying it once."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from nodectl.inventory.nodeset import expand
from nodectl.model import Finding, Outcome, Severity
from nodectl.view.fold import by_check, by_reason, fold_subjects, natural


def finding(node: str, check: str = "gpu.x", subject: str = "", **more: object) -> Finding:
    values: dict[str, object] = {"outcome": Outcome.FAIL, "severity": Severity.HIGH, "actual": "off"} | more
    return Finding(node=node, check=check, subject=subject, **values)  # type: ignore[arg-type]


def test_subjects_fold_into_ranges() -> None:
    assert fold_subjects(["GPU 3", "GPU 0", "GPU 1", "mlx5_0/1"]) == "GPU 0-1,3, mlx5_0/1"


def test_subjects_keep_leading_zeros_and_odd_names() -> None:
    assert fold_subjects(["disk 01", "disk 2", ""]) == "disk 2, disk 01"


@given(st.sets(st.integers(0, 300), min_size=1, max_size=40))
def test_subject_ranges_lose_nothing(numbers: set[int]) -> None:
    folded = fold_subjects(f"GPU {n}" for n in numbers).removeprefix("GPU ")
    unfolded: set[int] = set()
    for run in folded.split(","):
        first, _, last = run.partition("-")
        unfolded |= set(range(int(first), int(last or first) + 1))
    assert unfolded == numbers


def test_natural_order() -> None:
    names = ["gpu10", "gpu9", "gpu-a", "gpu100", "gpu2"]
    assert sorted(names, key=natural) == ["gpu2", "gpu9", "gpu10", "gpu100", "gpu-a"]


@given(st.lists(st.text(max_size=8), max_size=20))
def test_natural_is_a_total_order(names: list[str]) -> None:
    shuffled = names[:]
    random.Random(0).shuffle(shuffled)
    assert [natural(n) for n in sorted(names, key=natural)] == [natural(n) for n in sorted(shuffled, key=natural)]


def test_same_findings_on_many_nodes_are_one_group() -> None:
    findings = [finding(f"gpu-{n:03}", subject=f"GPU {g}") for n in (1, 2, 3, 17) for g in range(8)]
    (group,) = by_check(findings)
    (nodes,) = group.groups
    assert sorted(expand(nodes.nodes)) == ["gpu-001", "gpu-002", "gpu-003", "gpu-017"]
    assert [part.subjects for part in nodes.parts] == ["GPU 0-7"]


def test_nodes_with_other_values_stay_apart() -> None:
    (group,) = by_check([finding("a1", actual="off"), finding("a2", actual="off"), finding("a3", actual="400 W")])
    assert [(g.nodes, g.size) for g in group.groups] == [("a[1-2]", 2), ("a3", 1)]


def test_worst_first() -> None:
    order = by_check(
        [
            finding("a", "c.low", severity=Severity.LOW),
            finding("a", "c.waived", severity=Severity.CRITICAL, waived_by="ops"),
            finding("a", "c.unknown", severity=Severity.CRITICAL, outcome=Outcome.UNKNOWN),
            finding("a", "c.critical", severity=Severity.CRITICAL),
        ]
    )
    assert [group.check for group in order] == ["c.critical", "c.low", "c.unknown", "c.waived"]


def test_one_missing_tool_is_one_entry() -> None:
    unknown = [
        finding(node, f"gpu.c{n}", outcome=Outcome.UNKNOWN, reason="nvidia-smi not found")
        for node in ("n1", "n2")
        for n in range(40)
    ]
    (group,) = by_reason(unknown)
    assert (group.nodes, group.size, len(group.checks)) == ("n[1-2]", 2, 40)


def unknown(check: str, reason: str, *facts: str, subject: str = "") -> Finding:
    return finding("n1", check, subject, outcome=Outcome.UNKNOWN, actual="", reason=reason, facts=facts)


def test_a_gpu_that_is_lost_is_one_cause() -> None:
    lost = "nvidia-smi says GPU is lost"
    groups = by_reason(
        [
            unknown("gpu.a", f"ecc_current: {lost}", subject="GPU 4"),
            unknown("gpu.b", f"clocks_event_reasons: gpu_idle: {lost}", subject="GPU 4"),
            unknown("gpu.c", f"repair: {lost}; channel_repair: {lost}", subject="GPU 4"),
            unknown("gpu.d", f"GPU 4: {lost}"),
        ]
    )
    assert [(group.reason, len(group.checks)) for group in groups] == [(f"GPU 4: {lost}", 4)]


def test_gpus_with_the_same_unreadable_field_are_one_entry() -> None:
    denied = "needs root: nvidia-smi says Insufficient Permissions"
    (group,) = by_reason(unknown("gpu.a", f"power_draw_w: {denied}", subject=f"GPU {n}") for n in range(8))
    assert group.reason == f"GPU 0-7: {denied}"


def test_a_driver_that_answers_no_command_is_one_cause() -> None:
    hung = "nvidia-smi did not answer in its time limit (exit code 124)"
    all_hang = [
        unknown("gpu.a", f"gpu.devices: {hung}", "gpu.devices"),
        unknown("nvlink.a", f"nvlink.links: nvidia-smi nvlink -s: {hung}", "nvlink.links"),
    ]
    assert [(group.reason, group.checks) for group in by_reason(all_hang)] == [(hung, ("gpu.a", "nvlink.a"))]
    assert [group.reason for group in by_reason(all_hang[1:])] == [f"nvidia-smi nvlink -s: {hung}"]


def test_other_messages_keep_what_they_are_about() -> None:
    groups = by_reason(
        [unknown("a.a", "/proc/a: Permission denied"), unknown("a.b", "modinfo: Permission denied", subject="x")]
    )
    assert {group.reason for group in groups} == {"/proc/a: Permission denied", "modinfo: Permission denied"}
