"""The shipped catalogue is free of problems, and every name in a catalogue is checked against facts and rules."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from nodectl.catalogue import CatalogueError, select
from nodectl.engine import catalogue_for_run
from nodectl.engine.evaluate import rule_function
from nodectl.facts import registry

CHECK = """
id: site.gpus
title: There is a GPU
severity: high
facts: [FACT]
expect: EXPECT
why: It matters.
sources: [{title: "A manual", url: "https://example.com/manual", retrieved: "2026-11-20"}]
"""


def folder_with(tmp_path: Path, fact: str, expect: str) -> Path:
    (tmp_path / "site.yaml").write_text(CHECK.replace("FACT", fact).replace("EXPECT", expect))
    return tmp_path


def test_the_shipped_catalogue_has_no_problems() -> None:
    catalogue = catalogue_for_run.load()
    assert {"default", "training"} <= set(catalogue.profiles)
    for profile in catalogue.profiles:
        selection = select(catalogue, profile)
        registry.sources_for(selection.facts)


def test_every_rule_that_is_named_can_be_imported() -> None:
    for check in catalogue_for_run.load().checks.values():
        target = check.raw["expect"].get("python")
        if target:
            assert callable(rule_function(target))


def test_a_users_folder_adds_to_the_shipped_one(tmp_path: Path) -> None:
    folder = folder_with(tmp_path, "gpu.count", "{fact: gpu.count, ge: 1}")
    assert "site.gpus" in catalogue_for_run.load([folder]).checks


@pytest.mark.parametrize(
    ("fact", "expect", "said"),
    [
        ("gpu.cuont", "{fact: gpu.cuont, ge: 1}", 'no fact "gpu.cuont"; did you mean "gpu.count"?'),
        ("sysctl", "{fact: sysctl, eq: a}", '"sysctl" is a family: ask for sysctl[KEY]'),
        ("gpu.devices", "{each: gpu.devices, that: {field: tempreature_c, le: 80}}", 'unknown field "tempreature_c"'),
        ("gpu.count", '{python: "nodectl.engine.rules.gpus:count"}', 'no module "gpus" in nodectl.engine.rules'),
        ("gpu.count", '{python: "nodectl.engine.rules.gpu:nothing"}', 'no function "nothing" in'),
        ("gpu.count", '{python: "os:system"}', 'a rule is "nodectl.engine.rules.MODULE:FUNCTION", not "os:system"'),
        ("gpu.count", '{python: "nodectl.engine.rules.gpu:_private"}', 'no function "_private"'),
    ],
)
def test_names_are_checked(fact: str, expect: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(CatalogueError) as caught:
        catalogue_for_run.load_dirs([folder_with(tmp_path, fact, expect)])
    assert any(said in problem for problem in caught.value.problems), caught.value.problems


def test_loading_imports_no_rule_and_no_heavy_library() -> None:
    program = (
        "import sys; from nodectl.engine import catalogue_for_run as c; c.load()\n"
        "names = [n for n in sys.modules if n.startswith('nodectl.engine.rules.')"
        " or n in ('paramiko', 'textual', 'jinja2', 'click', 'rich')]\n"
        "print(names)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
