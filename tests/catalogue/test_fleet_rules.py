"""Fleet rules as data: what may stand in their documents, how profiles and waivers take them, what is said of slips."""

from __future__ import annotations

from pathlib import Path

import pytest
from small_catalogue import CHECK, Spec, column

from nodectl.catalogue import Catalogue, CatalogueError, load_catalogue, select
from nodectl.catalogue.fleet import CLASS_FACTS, Compared
from nodectl.model import Severity

FAMILIES = {"sysctl": Spec("str", name="sysctl[KEY]")}
FACTS = {
    "driver.version": Spec("version", name="driver.version"),
    "kernel.args": Spec("list", name="kernel.args"),
    "gpu.devices": Spec("rows", (column("index", "int"), column("vbios_version", "str")), name="gpu.devices"),
    "gpu.count": Spec("int", name="gpu.count"),
    "sysctl[vm.swappiness]": FAMILIES["sysctl"],
}
RULE = """\
id: fleet.kernel
title: Kernels are alike
severity: info
facts: [driver.version]
compare: [driver.version]
why: It matters.
sources: [{title: "A manual", url: "https://example.com/manual", retrieved: "2026-11-20"}]
"""
PROFILE = "profile: default\ntitle: All\nselect: {areas: all}\n"


def known(name: str) -> Spec:
    try:
        return FACTS[name]
    except KeyError:
        raise ValueError(f'no fact "{name}"') from None


def load(folder: Path, rules: str = RULE, profile: str = PROFILE) -> Catalogue:
    (folder / "profiles").mkdir(exist_ok=True)
    (folder / "fleet.yaml").write_text(rules)
    (folder / "gpu.yaml").write_text(CHECK)
    (folder / "profiles" / "default.yaml").write_text(profile)
    return load_catalogue([folder], known_facts=known, known_families=FAMILIES.get)


def problems(folder: Path, rules: str) -> list[str]:
    with pytest.raises(CatalogueError) as caught:
        load(folder, rules)
    return [problem.replace(f"{folder}/", "") for problem in caught.value.problems]


def test_a_rule_is_no_check_and_is_selected_like_one(tmp_path: Path) -> None:
    catalogue = load(tmp_path)
    assert list(catalogue.fleet) == ["fleet.kernel"]
    assert "fleet.kernel" not in catalogue.checks
    selection = select(catalogue, "default")
    assert [rule.id for rule in selection.fleet] == ["fleet.kernel"]
    assert {check.id for check in selection.everything} == {"gpu.count", "fleet.kernel"}
    assert {*CLASS_FACTS, "driver.version", "gpu.count"} <= set(selection.facts)


def test_only_and_area_choose_rules(tmp_path: Path) -> None:
    catalogue = load(tmp_path)
    only = select(catalogue, "default", only=["fleet.kernel"])
    assert (len(only.checks), len(only.fleet)) == (0, 1)
    area = select(catalogue, "default", areas=["fleet"])
    assert (len(area.checks), len(area.fleet)) == (0, 1)
    without = select(catalogue, "default", areas=["gpu"])
    assert without.fleet == () and not set(CLASS_FACTS) & set(without.facts)  # nobody pays for what is not asked
    with pytest.raises(CatalogueError, match="did you mean"):
        select(catalogue, "default", only=["fleet.kernal"])


def test_profiles_drop_rules_and_set_their_severity(tmp_path: Path) -> None:
    louder = select(load(tmp_path, profile=PROFILE + "severities: {fleet.kernel: high}\n"), "default")
    assert louder.fleet[0].severity is Severity.HIGH
    dropped = PROFILE + "drop: [{id: fleet.kernel, reason: mixed on purpose}]\n"
    assert select(load(tmp_path, profile=dropped), "default").fleet == ()


def test_profiles_set_parameters(tmp_path: Path) -> None:
    clock = RULE.replace("compare: [driver.version]", "across: clock\nparams: {max_s: {type: float, default: 5}}")
    catalogue = load(tmp_path, clock, PROFILE + "params: {fleet.kernel: {max_s: 60}}\n")
    assert select(catalogue, "default").fleet[0].values == {"max_s": 60.0}


@pytest.mark.parametrize(
    ("word", "compared"),
    [
        ("driver.version", Compared("driver.version")),
        ("kernel.args", Compared("kernel.args")),
        ("sysctl[*]", Compared("sysctl[*]")),
        ("sysctl[vm.swappiness]", Compared("sysctl[vm.swappiness]")),
        ("gpu.devices.vbios_version", Compared("gpu.devices", "vbios_version")),
        ("docker.*", Compared("docker.*")),
        ("*", Compared("*")),
        ("host_key", Compared("host_key")),
    ],
)
def test_what_can_be_compared(tmp_path: Path, word: str, compared: Compared) -> None:
    rules = RULE.replace("compare: [driver.version]", f'compare: ["{word}"]')
    (rule,) = load(tmp_path, rules).fleet.values()
    assert rule.compare == (compared,)
    assert compared.text in rule.expected or word == "*"


CASES = [
    ("compare: [driver.version]", "compare: [driver.versoin]",
     'fleet.yaml:5: fleet.kernel: compare[0]: no fact "driver.versoin"'),
    ("compare: [driver.version]", "compare: [gpu.devices]",
     "fleet.yaml:5: fleet.kernel: compare[0]: gpu.devices is rows: name one of its fields, FACT.FIELD"),
    ("compare: [driver.version]", "compare: [gpu.devices.vbios]",
     'fleet.yaml:5: fleet.kernel: compare[0]: unknown field of gpu.devices "vbios": one of index'),
    ("compare: [driver.version]", 'compare: ["module[*]"]',
     'fleet.yaml:5: fleet.kernel: compare[0]: no fact family "module[...]"'),
    ("compare: [driver.version]", 'compare: ["a b"]',
     'fleet.yaml:5: fleet.kernel: compare[0]: a fact, FAMILY[*], FACT.FIELD, PREFIX.* or * is wanted, not "a b"'),
    ("compare: [driver.version]", "across: alike", "fleet.yaml:1: fleet.kernel: compare: is missing: what to compare"),
    ("compare: [driver.version]", "across: twice",
     'fleet.yaml:5: fleet.kernel: across: unknown way to look across "twice": one of alike, unique, clock'),
    ("compare: [driver.version]", "across: clock",
     "fleet.yaml:1: fleet.kernel: params: `max_s` is missing: how many seconds clocks may differ"),
    ("facts: [driver.version]", "facts: [nothing.known]",
     'fleet.yaml:4: fleet.kernel: facts[0]: no fact "nothing.known"'),
    ("id: fleet.kernel", "id: gpu.kernel",
     'fleet.yaml:1: gpu.kernel: id: fleet.snake_name in small letters is wanted, not "gpu.kernel"'),
    ("severity: info", "severity: loud",
     'fleet.yaml:3: fleet.kernel: severity: unknown severity "loud": one of critical, high'),
    ("why: It matters.", "why: It matters.\nexpect: {}", 'fleet.yaml:7: fleet.kernel: expect: unknown key "expect"'),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new", "said"), CASES)
def test_slips_are_said_with_file_and_line(tmp_path: Path, old: str, new: str, said: str) -> None:
    assert old in RULE
    assert any(problem.startswith(said) for problem in problems(tmp_path, RULE.replace(old, new))), problems(
        tmp_path, RULE.replace(old, new)
    )


def test_an_id_is_there_once(tmp_path: Path) -> None:
    (problem,) = problems(tmp_path, RULE + "---\n" + RULE)
    assert "fleet.kernel: is defined at" in problem


def test_what_is_compared_is_asked_for_unless_said_otherwise(tmp_path: Path) -> None:
    rules = RULE.replace("facts: [driver.version]\n", "").replace(
        "[driver.version]", '[gpu.devices.index, "sysctl[*]"]'
    )
    (rule,) = load(tmp_path, rules).fleet.values()
    assert rule.facts == ("gpu.devices",)
