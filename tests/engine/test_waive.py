"""Waivers: what they cover, until when, and what is said of those that no longer do."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from nodectl.catalogue import Catalogue, CatalogueError, load_catalogue
from nodectl.catalogue.waivers import Waiver, load_waivers
from nodectl.engine.waive import EXPIRED, UNUSED, about_waivers, waive, waive_fleet
from nodectl.model import Finding, FleetFinding, Node, Outcome, Severity

CHECK = """
id: gpu.count
aliases: [gpu.number]
title: There is a GPU
severity: high
facts: [gpu.count]
expect: {fact: gpu.count, as: int, ge: 1}
why: It matters.
sources: [{title: "A manual", url: "https://example.com/manual", retrieved: "2026-11-20"}]
"""
WAIVER = """
waivers:
  - check: gpu.count
    nodes: ["gpu[01-04]", "@old", "login*"]
    reason: Board is at the vendor's
    owner: jane
    expires: "2026-11-30"
"""
LAST_DAY, DAY_AFTER = date(2026, 11, 30), date(2026, 12, 1)
NODE = Node(name="gpu02")


@pytest.fixture
def catalogue(tmp_path: Path) -> Catalogue:
    (tmp_path / "checks").mkdir()
    (tmp_path / "checks" / "gpu.yaml").write_text(CHECK)
    return load_catalogue([tmp_path / "checks"])


def read(text: str, catalogue: Catalogue, tmp_path: Path) -> tuple[Waiver, ...]:
    path = tmp_path / "waivers.yaml"
    path.write_text(text)
    return load_waivers([path], catalogue)


def finding(
    outcome: Outcome = Outcome.FAIL, node: str = "gpu02", check: str = "gpu.count", subject: str = ""
) -> Finding:
    return Finding(node=node, check=check, subject=subject, outcome=outcome, severity=Severity.HIGH)


def test_a_waiver_marks_a_failure_and_keeps_its_outcome(catalogue: Catalogue, tmp_path: Path) -> None:
    waivers = read(WAIVER, catalogue, tmp_path)
    (found,) = waive([finding()], waivers, node=NODE, today=LAST_DAY)
    assert found.outcome is Outcome.FAIL
    assert found.waived_by == f"jane, until 2026-11-30: Board is at the vendor's ({tmp_path}/waivers.yaml:3)"


def test_it_holds_up_to_and_including_its_last_day(catalogue: Catalogue, tmp_path: Path) -> None:
    waivers = read(WAIVER, catalogue, tmp_path)
    assert waive([finding()], waivers, node=NODE, today=LAST_DAY)[0].waived_by
    assert not waive([finding()], waivers, node=NODE, today=DAY_AFTER)[0].waived_by


@pytest.mark.parametrize(
    ("node", "waived"),
    [
        (Node(name="gpu04"), True),
        (Node(name="gpu05"), False),
        (Node(name="gpu4"), False),
        (Node(name="x", groups=("new", "old")), True),
        (Node(name="login-3"), True),
        (Node(name="old"), False),
    ],
)
def test_nodes_by_set_group_and_pattern(node: Node, waived: bool, catalogue: Catalogue, tmp_path: Path) -> None:
    (found,) = waive([finding()], read(WAIVER, catalogue, tmp_path), node=node, today=LAST_DAY)
    assert bool(found.waived_by) is waived


def test_other_checks_outcomes_and_subjects_stay(catalogue: Catalogue, tmp_path: Path) -> None:
    waivers = read(WAIVER.replace("owner:", 'subject: "GPU [0-3]"\n    owner:'), catalogue, tmp_path)
    given = [
        finding(subject="GPU 3"),
        finding(subject="GPU 4"),
        finding(check="gpu.other", subject="GPU 3"),
        finding(Outcome.UNKNOWN, subject="GPU 3"),
        finding(Outcome.PASS, subject="GPU 3"),
    ]
    found = waive(given, waivers, node=NODE, today=LAST_DAY)
    assert [bool(each.waived_by) for each in found] == [True, False, False, False, False]


def test_unknown_is_waived_only_where_it_is_named(catalogue: Catalogue, tmp_path: Path) -> None:
    waivers = read(WAIVER.replace("owner:", "covers: [fail, unknown]\n    owner:"), catalogue, tmp_path)
    assert waive([finding(Outcome.UNKNOWN)], waivers, node=NODE, today=LAST_DAY)[0].waived_by


def test_a_former_id_is_followed(catalogue: Catalogue, tmp_path: Path) -> None:
    (waiver,) = read(WAIVER.replace("check: gpu.count", "check: gpu.number"), catalogue, tmp_path)
    assert waiver.check == "gpu.count"


def test_an_expired_waiver_is_a_finding(catalogue: Catalogue, tmp_path: Path) -> None:
    waivers = read(WAIVER, catalogue, tmp_path)
    (found,) = about_waivers(waivers, {"gpu02": [finding()]}, [NODE], today=DAY_AFTER)
    assert (found.check, found.subject) == (EXPIRED, "gpu.count on gpu[01-04], @old, login*")
    assert found.actual == "expired after 2026-11-30"
    assert about_waivers(waivers, {}, [Node(name="other")], today=DAY_AFTER) == ()


@pytest.mark.parametrize(
    ("results", "unused"),
    [
        ({"gpu02": [finding(Outcome.PASS)]}, True),
        ({"gpu02": [finding(Outcome.NOT_APPLICABLE)]}, True),
        ({"gpu02": [finding()]}, False),
        ({"gpu02": [finding(Outcome.UNKNOWN)]}, False),
        ({"gpu02": [finding(Outcome.PASS, check="gpu.other")]}, False),
        ({}, False),
    ],
)
def test_a_waiver_that_waives_nothing_is_a_finding(
    results: dict[str, list[Finding]], unused: bool, catalogue: Catalogue, tmp_path: Path
) -> None:
    waivers = read(WAIVER, catalogue, tmp_path)
    after = {name: waive(found, waivers, node=NODE, today=LAST_DAY) for name, found in results.items()}
    found = about_waivers(waivers, after, [NODE], today=LAST_DAY)
    assert [each.check for each in found] == ([UNUSED] if unused else [])


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (
            "check: gpu.count",
            "check: gpu.cuont",
            ':3: waivers[0].check: no check "gpu.cuont"; did you mean "gpu.count"?',
        ),
        ("owner: jane", "ower: jane", ':6: waivers[0].ower: unknown key "ower"; did you mean "owner"?'),
        ("    owner: jane\n", "", ":3: waivers[0].owner: is missing"),
        ("    reason: Board is at the vendor's\n", "", ":3: waivers[0].reason: is missing"),
        ('"2026-11-30"', '"30.11.2026"', ':7: waivers[0].expires: a day such as "2026-11-30" is wanted'),
        ('"2026-11-30"', '"2026-11-31"', ':7: waivers[0].expires: a day such as "2026-11-30" is wanted'),
        ('    expires: "2026-11-30"\n', "", ":3: waivers[0].expires: is missing"),
        ('["gpu[01-04]", "@old", "login*"]', "[]", ":4: waivers[0].nodes: an empty list waives nothing"),
        ("gpu[01-04]", "gpu[01-", ":4: waivers[0].nodes[0]: "),
        ("owner: jane", "owner: jane\n    covers: [pass]", ':7: waivers[0].covers[0]: unknown outcome "pass"'),
        ("waivers:", "waiver:", ':2: waiver: unknown key "waiver"; did you mean "waivers"?'),
    ],
)
def test_says_what_is_wrong(old: str, new: str, said: str, catalogue: Catalogue, tmp_path: Path) -> None:
    assert old in WAIVER
    with pytest.raises(CatalogueError) as caught:
        read(WAIVER.replace(old, new), catalogue, tmp_path)
    assert any(said in problem for problem in caught.value.problems), caught.value.problems


RULE = """
id: fleet.kernel
title: Kernels are alike
severity: info
facts: [kernel.release]
compare: [kernel.release]
why: It matters.
sources: [{title: "A manual", url: "https://example.com/manual", retrieved: "2026-11-20"}]
"""


def drift(*nodes: str, majority: int = 9) -> FleetFinding:
    return FleetFinding(
        node="", check="fleet.kernel", subject="kernel.release", outcome=Outcome.FAIL, severity=Severity.INFO,
        nodes=nodes, majority_nodes=majority,
    )  # fmt: skip


@pytest.fixture
def waivers(tmp_path: Path) -> tuple[Waiver, ...]:
    (tmp_path / "checks").mkdir()
    (tmp_path / "checks" / "fleet.yaml").write_text(RULE)
    text = WAIVER.replace("check: gpu.count", "check: fleet.kernel")
    return read(text, load_catalogue([tmp_path / "checks"]), tmp_path)


def fleet(
    findings: list[FleetFinding], waivers: tuple[Waiver, ...], today: date = LAST_DAY
) -> dict[tuple[str, ...], bool]:
    nodes = [Node(name=name) for name in ("gpu01", "gpu02", "gpu07", "gpu08")]
    return {found.nodes: bool(found.waived_by) for found in waive_fleet(findings, waivers, nodes, today=today)}


def test_a_difference_is_waived_on_the_nodes_that_a_waiver_covers(waivers: tuple[Waiver, ...]) -> None:
    assert fleet([drift("gpu01", "gpu02")], waivers) == {("gpu01", "gpu02"): True}
    assert fleet([drift("gpu01", "gpu07", "gpu08")], waivers) == {("gpu01",): True, ("gpu07", "gpu08"): False}
    assert fleet([drift("gpu07")], waivers) == {("gpu07",): False}
    assert fleet([drift("gpu01")], waivers, DAY_AFTER) == {("gpu01",): False}


def test_what_concerns_nodes_together_is_waived_for_all_or_for_none(waivers: tuple[Waiver, ...]) -> None:
    assert fleet([drift("gpu01", "gpu07", majority=0)], waivers) == {("gpu01", "gpu07"): False}
    assert fleet([drift("gpu01", "gpu02", majority=0)], waivers) == {("gpu01", "gpu02"): True}


def test_a_waiver_of_a_fleet_rule_that_waives_nothing_is_said(waivers: tuple[Waiver, ...]) -> None:
    nodes = [Node(name="gpu01"), Node(name="gpu07")]
    reached: dict[str, list[Finding]] = {"gpu01": [], "gpu07": []}

    def said(*findings: FleetFinding) -> list[str]:
        after = waive_fleet(findings, waivers, nodes, today=LAST_DAY)
        about = about_waivers(waivers, reached, nodes, today=LAST_DAY, fleet={"fleet.kernel": after})
        return [finding.check for finding in about]

    assert said() == [UNUSED]
    assert said(drift("gpu07")) == [UNUSED]
    assert said(drift("gpu01")) == []
    assert about_waivers(waivers, reached, nodes, today=LAST_DAY) == ()  # the rule was no part of the run
