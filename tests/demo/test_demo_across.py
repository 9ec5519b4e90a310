"""Across the demo fleet: the one node whose firmware no other has, told, waived and made to count."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from demo_kit import Runner

from nodectl.inventory.nodeset import expand

# Who has a fault of its own may differ from the others; who has none, only as told here.
FAULTY = set(expand("gpu-[03-09]"))
ODD = {("fleet.vbios", "gpu.devices.vbios_version"): ["gpu-02"]}

STRICT = "profile: strict\ntitle: Firmware counts\nextends: default\nseverities: {fleet.vbios: high}\n"
WAIVER = """
waivers:
  - check: fleet.vbios
    nodes: [gpu-02]
    reason: Board is new
    owner: jane
    expires: "2099-12-31"
"""


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The transcripts of the whole fleet."""
    folder = tmp_path_factory.mktemp("across")
    Runner(folder).run("collect", "--demo", "-o", str(folder / "saved"))
    return folder / "saved"


@pytest.fixture(scope="module")
def report(saved: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return Runner(tmp_path_factory.mktemp("report")).run("check", "--from", str(saved), "--json").report


def test_only_the_node_with_the_other_firmware_is_odd(report: dict[str, Any]) -> None:
    odd = {
        (found["check"], found["subject"]): nodes
        for found in report["fleet"]
        if (nodes := [name for name in found["nodes"] if name not in FAULTY])
    }
    assert odd == ODD


def test_it_is_told_with_what_the_others_have(report: dict[str, Any]) -> None:
    (found,) = [found for found in report["fleet"] if found["check"] == "fleet.vbios"]
    assert (found["value"], found["majority"]) == ("96.00.A0.00.06", "96.00.A5.00.1A")
    # Two nodes could not tell theirs: nvidia-smi fails on one and hangs on the other.
    assert (found["majority_nodes"], found["compared"], found["untold"]) == (7, 8, 2)
    assert found["severity"] == "info"
    assert found["group"].startswith("NVIDIA H200 (10de:2335), ")


def test_the_report_says_who_was_compared(report: dict[str, Any]) -> None:
    groups = [(len(group["nodes"]), group["compared"]) for group in report["groups"]]
    assert groups == [(10, True), (2, False)]
    assert report["summary"]["fleet"]["unknown"] == 0


def test_nothing_across_the_demo_fleet_is_serious(report: dict[str, Any]) -> None:
    assert {found["severity"] for found in report["fleet"]} == {"info"}


def test_the_section_at_the_terminal(saved: Path, runner: Runner) -> None:
    out = runner.run("check", "--from", str(saved), "--only", "fleet.vbios").out
    assert "across the fleet  10 of 14 nodes compared with their kind" in out
    assert "i fleet.vbios  GPUs of alike nodes have the same VBIOS" in out
    assert "gpu-02  gpu.devices.vbios_version: 96.00.A0.00.06; 96.00.A5.00.1A on 7 of 8 alike nodes" in out


def test_a_profile_can_make_it_count(saved: Path, runner: Runner, tmp_path: Path) -> None:
    (tmp_path / "checks" / "profiles").mkdir(parents=True)
    (tmp_path / "checks" / "profiles" / "strict.yaml").write_text(STRICT)
    words = ("check", "--from", str(saved), "--only", "fleet.vbios", "--allow-incomplete")
    assert runner.run(*words).code == 0
    strict = (*words, "-p", "strict", "--checks", str(tmp_path / "checks"))
    loud = runner.run(*strict)
    assert loud.code == 1
    assert "X fleet.vbios" in loud.out and "! 1 across the fleet" in loud.out
    (tmp_path / "waivers.yaml").write_text(WAIVER)
    waived = runner.run(*strict, "--waivers", str(tmp_path / "waivers.yaml"))
    assert waived.code == 0
    assert "waived by jane, until 2099-12-31" in waived.out


def test_few_nodes_are_not_compared(saved: Path, runner: Runner) -> None:
    words = ("check", "--from", str(saved), "--area", "fleet", "--node", "gpu-[01-03]")
    assert "across the fleet" not in runner.run(*words).out
    assert "no nodes of one kind (3 of a kind with fewer than 4)" in runner.run(*words, "-v").out


def test_what_is_declared_is_asked_and_judged(saved: Path, runner: Runner, tmp_path: Path) -> None:
    inventory = tmp_path / "inventory.yaml"
    inventory.write_text(
        'groups:\n  h200: {hosts: "gpu-[01-10]", labels: {rack: a}, expect: {rack_power_w: 20000, gpu: 8,\n'
        '    facts: {driver.version: "580.159.*"}}}\n'
    )
    only = "fleet.declared,fleet.rack_power"
    finished = runner.run("check", "--from", str(saved), "--hosts", str(inventory), "--only", only, "--json")
    results = {result["node"]: result for result in finished.report["results"] if result["outcome"] == "fail"}
    assert set(results) == {"gpu-03"}
    assert results["gpu-03"]["actual"] == "580.95.05"
    assert results["gpu-03"]["reason"].endswith("inventory.yaml:2")
    (rack,) = finished.report["fleet"]
    assert (rack["check"], rack["outcome"], rack["subject"]) == ("fleet.rack_power", "fail", "rack a")
    assert rack["actual"].startswith("at least ")
    messages = [message["text"] for message in finished.report["messages"]]
    assert any(text.startswith("no check reads expect.gpu of gpu-01 and 9 more") for text in messages)


def test_rules_are_listed_and_explained_like_checks(runner: Runner) -> None:
    assert "fleet.vbios" in runner.run("checks", "list", "--area", "fleet").out
    shown = runner.run("checks", "show", "fleet.vbios").out
    assert "the same on nodes of one hardware class: gpu.devices.vbios_version" in " ".join(shown.split())
