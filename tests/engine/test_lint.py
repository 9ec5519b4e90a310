"""What lint finds in a catalogue that can be loaded, and that it finds nothing in the shipped one."""

from __future__ import annotations

from pathlib import Path

import pytest

from nodectl.engine import catalogue_for_run
from nodectl.engine.fixtures import FixtureError
from nodectl.engine.lint import fixtures_below, lint
from nodectl.engine.physical_limits import impossible_thresholds

CHECK = """
id: site.test
title: It is as it should be
severity: low
facts: [FACT]
PARAMS
expect: EXPECT
why: It matters.
sources: [{title: "A manual", url: "https://example.com/manual", retrieved: "2026-11-20"}]
"""


def folder_with(tmp_path: Path, fact: str, expect: str, params: str = "") -> Path:
    (tmp_path / "site.yaml").write_text(CHECK.replace("FACT", fact).replace("EXPECT", expect).replace("PARAMS", params))
    return tmp_path


def remarks(folder: Path) -> list[str]:
    catalogue = catalogue_for_run.load([folder])
    found = fixtures_below([folder / "fixtures"])
    return [
        str(remark).removeprefix(f"{folder}/") for remark in lint(catalogue, [catalogue.checks["site.test"]], found)
    ]


def fixture(folder: Path, name: str, text: str, check: str = "site.test") -> None:
    path = folder / "fixtures" / check / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.mark.parametrize(
    ("fact", "expect", "params", "said"),
    [
        ("gpu.devices", "{each: gpu.devices, that: {field: temperature_c, le: 900}}", "", "900 C is outside"),
        ("gpu.devices", "{each: gpu.devices, that: {field: gpu_utilization_pct, ge: 101}}", "", "101 % is outside"),
        ("gpu.devices", "{each: gpu.devices, that: {field: pcie_gen_current, ge: 16}}", "", "16 is outside"),
        ("gpu.devices", "{each: gpu.devices, that: {field: pcie_width_current, eq: 64}}", "", "64 lanes is outside"),
        ("gpu.pci", "{each: gpu.pci, that: {not: {field: link_speed_gts, lt: 5000}}}", "", "5000 GT/s is outside"),
        ("mem.total_mib", "{fact: mem.total_mib, ge: -1}", "", "-1 MiB is outside"),
        (
            "gpu.devices",
            "{each: gpu.devices, that: {field: temperature_c, le: {param: max_c}}}",
            "params: {max_c: {type: int, default: 850}}",
            "850 C is outside",
        ),
    ],
)
def test_thresholds_that_nothing_can_reach(fact: str, expect: str, params: str, said: str, tmp_path: Path) -> None:
    catalogue = catalogue_for_run.load([folder_with(tmp_path, fact, expect, params)])
    ((path, text),) = impossible_thresholds(catalogue.checks["site.test"], catalogue)
    assert said in text
    assert path[0] == "expect"


def test_what_a_profile_sets_is_a_threshold_too(tmp_path: Path) -> None:
    folder = folder_with(
        tmp_path,
        "gpu.devices",
        "{each: gpu.devices, that: {field: temperature_c, le: {param: max_c}}}",
        "params: {max_c: {type: int, default: 85}}",
    )
    (folder / "profiles").mkdir()
    (folder / "profiles" / "hot.yaml").write_text(
        "profile: hot\ntitle: Hot\nextends: default\nparams: {site.test: {max_c: 8500}}\n"
    )
    assert any("8500 C" in remark for remark in remarks(folder))


def test_a_check_without_fixtures_is_told_what_is_missing(tmp_path: Path) -> None:
    folder = folder_with(tmp_path, "gpu.count", "{fact: gpu.count, eq: 8}")
    (remark,) = remarks(folder)
    assert remark == (
        "site.yaml:2: site.test: no fixture shows it come to this: "
        "NAME.pass.yaml, NAME.fail.yaml, NAME.unknown.yaml in site.test/"
    )


def test_fixtures_are_evaluated(tmp_path: Path) -> None:
    folder = folder_with(tmp_path, "gpu.count", "{fact: gpu.count, eq: 8}")
    fixture(folder, "eight.pass.yaml", "facts: {gpu.count: 8}\n")
    fixture(folder, "seven.fail.yaml", 'facts: {gpu.count: 7}\nfindings: [{actual: "7"}]\n')
    fixture(folder, "hung.unknown.yaml", "facts: {gpu.count: {error: timed out}}\n")
    assert remarks(folder) == []
    fixture(folder, "wrong.pass.yaml", "facts: {gpu.count: 7}\n")
    (remark,) = remarks(folder)
    assert "comes to fail (7, expected 8), and its name says pass" in remark
    fixture(folder, "wrong.pass.yaml", 'facts: {gpu.count: 8}\nfindings: [{actual: "9"}]\n')
    (remark,) = remarks(folder)
    assert "finding 1 is {'actual': '8'}, and the fixture lists {'actual': '9'}" in remark


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("facts: {gpu.cuont: 8}\n", 'does not read the fact gpu.cuont; did you mean "gpu.count"?'),
        ("facts: {gpu.count: eight}\n", "str 'eight' where int is declared"),
        ("fact: {gpu.count: 8}\n", 'unknown key "fact"; did you mean "facts"?'),
        ("facts: {gpu.count: 8}\nparams: {max: 1}\n", "has no parameter max"),
        ("facts: {gpu.count: 8}\nfindings: [{actuall: 1}]\n", 'unknown key "actuall"'),
        ("facts: [gpu.count]\n", "facts is a mapping"),
        ("- 1\n", "a fixture is one mapping"),
        ("facts: {gpu.count: 8\n", "not YAML"),
    ],
)
def test_a_fixture_that_cannot_be_used_is_named_with_its_line(text: str, said: str, tmp_path: Path) -> None:
    folder = folder_with(tmp_path, "gpu.count", "{fact: gpu.count, eq: 8}")
    fixture(folder, "wrong.pass.yaml", text)
    found = [remark for remark in remarks(folder) if "wrong.pass.yaml:" in remark]
    assert len(found) == 1, found
    assert said in found[0]


def test_a_fixture_of_no_check_and_one_without_an_outcome(tmp_path: Path) -> None:
    folder = folder_with(tmp_path, "gpu.count", "{fact: gpu.count, eq: 8}")
    fixture(folder, "one.pass.yaml", "facts: {}\n", check="site.tset")
    assert any('there is no check "site.tset"; did you mean "site.test"?' in remark for remark in remarks(folder))
    fixture(folder, "one.yaml", "facts: {}\n")
    with pytest.raises(FixtureError, match="the name of a fixture ends in"):
        remarks(folder)


def test_the_shipped_thresholds_are_of_this_world() -> None:
    catalogue = catalogue_for_run.load()
    wrong = [
        f"{check.id}: {text}"
        for check in catalogue.checks.values()
        for _, text in impossible_thresholds(check, catalogue)
    ]
    assert wrong == []
