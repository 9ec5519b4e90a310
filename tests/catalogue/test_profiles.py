"""Profiles, and what a run selects with them."""

from __future__ import annotations

from pathlib import Path

import pytest
from small_catalogue import CHECK, known, write

from nodectl.catalogue import Catalogue, CatalogueError, Drop, load_catalogue, select
from nodectl.model import Severity

PARAM_CHECK = """
id: mem.total
title: There is enough memory
severity: low
facts: [mem.total_mib]
params:
  least_mib: {type: int, default: 1024, min: 1, max: 1048576}
  words: {type: list, default: [a], choices: [a, b]}
aliases: [memory.total]
expect: {all: [{fact: mem.total_mib, ge: {param: least_mib}}, {fact: mem.total_mib, as: str, none_of: {param: words}}]}
why: Programs need memory.
sources: [{title: "A manual", url: "https://example.com/manual", retrieved: "2026-11-20"}]
"""
OS_CHECK = CHECK.replace("gpu.count", "os.id").replace("There is a GPU", "It is RHEL").replace("ge: 1", "eq: rhel")
DEFAULT = "profile: default\ntitle: Everyday\nselect: {areas: [gpu], ids: [memory.total]}\n"
TRAINING = """
profile: training
title: Training
extends: default
select: {areas: [os]}
params: {memory.total: {least_mib: 65536}}
severities: {gpu.count: critical}
drop: [{id: os.id, reason: the fleet is mixed}]
"""
FILES = {
    "gpu.yaml": CHECK,
    "mem.yaml": PARAM_CHECK,
    "os.yaml": OS_CHECK,
    "profiles/default.yaml": DEFAULT,
    "profiles/training.yaml": TRAINING,
    "profiles/all.yaml": "profile: all\ntitle: All\nselect: {areas: all}\n",
    "profiles/strict.yaml": "profile: strict\ntitle: S\nextends: training\nparams: {mem.total: {words: [b]}}\n",
}


@pytest.fixture
def catalogue(tmp_path: Path) -> Catalogue:
    return load_catalogue([write(tmp_path, FILES)], known_facts=known)


def ids(catalogue: Catalogue, profile: str, only: list[str] | None = None, areas: list[str] | None = None) -> list[str]:
    return [check.id for check in select(catalogue, profile, only=only or [], areas=areas or []).checks]


def test_a_profile_selects_by_area_and_id(catalogue: Catalogue) -> None:
    assert ids(catalogue, "default") == ["gpu.count", "mem.total"]
    assert ids(catalogue, "all") == ["gpu.count", "mem.total", "os.id"]


def test_the_facts_are_those_of_the_selected_checks(catalogue: Catalogue) -> None:
    selection = select(catalogue, "default")
    assert (selection.profile, selection.facts) == ("default", ("gpu.count", "mem.total_mib"))


def test_a_profile_adds_to_what_it_extends_and_drops_with_a_reason(catalogue: Catalogue) -> None:
    assert ids(catalogue, "training") == ["gpu.count", "mem.total"]
    assert catalogue.profiles["training"].drop == (Drop("os.id", "the fleet is mixed"),)
    assert catalogue.profiles["strict"].drop == (Drop("os.id", "the fleet is mixed"),)


def test_params_and_severities_of_the_nearest_profile_win(catalogue: Catalogue) -> None:
    gpu, memory = select(catalogue, "strict").checks
    assert gpu.severity is Severity.CRITICAL
    assert memory.values == {"least_mib": 65536, "words": ["b"]}
    assert select(catalogue, "default").checks[1].values == {"least_mib": 1024, "words": ["a"]}
    assert catalogue.checks["gpu.count"].severity is Severity.HIGH


def test_only_and_areas_narrow(catalogue: Catalogue) -> None:
    assert ids(catalogue, "all", areas=["os"]) == ["os.id"]
    assert ids(catalogue, "default", only=["memory.total"]) == ["mem.total"]
    assert ids(catalogue, "default", only=["*.id", "gpu.*"]) == ["gpu.count", "os.id"]
    assert ids(catalogue, "default", only=["os.id"], areas=["gpu"]) == ["gpu.count", "os.id"]
    assert select(catalogue, "strict", only=["mem.total"]).checks[0].values["least_mib"] == 65536


@pytest.mark.parametrize(
    ("profile", "only", "areas", "said"),
    [
        ("trainig", [], [], 'no profile "trainig"; did you mean "training"? known profiles: all, default, strict'),
        ("default", ["gpu.cuont"], [], 'no check "gpu.cuont"; did you mean "gpu.count"?'),
        ("default", ["x.*"], [], 'no check "x.*"'),
        ("default", [], ["gpus"], 'no area "gpus"; did you mean "gpu"? known areas: gpu, mem, os'),
        ("default", [], ["os"], 'the profile "default" selects no check in area os: nothing would be run'),
    ],
)
def test_what_selects_nothing_is_an_error(
    profile: str, only: list[str], areas: list[str], said: str, catalogue: Catalogue
) -> None:
    with pytest.raises(CatalogueError) as caught:
        select(catalogue, profile, only=only, areas=areas)
    assert str(caught.value).startswith(said)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("extends: defualt", ':3: profile x: extends: unknown profile "defualt"; did you mean "default"?'),
        ("extends: x", ":3: profile x: extends: a circle: x extends x"),
        ("extends: y", ":3: profile y: extends: a circle: x extends y extends x"),
        ("select: {ids: [gpu.cuont]}", ':3: profile x: select.ids[0]: no check "gpu.cuont"; did you mean "gpu.count"?'),
        (
            "params: {gpu.count: {least: 1}}",
            ':3: profile x: params.gpu.count.least: unknown parameter of gpu.count "least"',
        ),
        (
            "params: {mem.total: {least_mib: 0}}",
            ":3: profile x: params.mem.total.least_mib: 0 is below the least allowed",
        ),
        ("params: {mem.total: {words: [c]}}", ":3: profile x: params.mem.total.words: c is none of a, b"),
        ("severities: {gpu.count: bad}", ':3: profile x: severities.gpu.count: unknown severity "bad"'),
        ("drop: [{id: gpu.count}]", ":3: profile x: drop[0].reason: is missing"),
        ("drop: [gpu.count]", ':3: profile x: drop[0]: a mapping is wanted, not "gpu.count"'),
    ],
)
def test_says_what_is_wrong_with_a_profile(text: str, said: str, tmp_path: Path) -> None:
    profiles = {
        "profiles/x.yaml": f"profile: x\ntitle: X\n{text}\n",
        "profiles/y.yaml": "profile: y\ntitle: Y\nextends: x\n" if text == "extends: y" else "profile: y\ntitle: Y\n",
    }
    with pytest.raises(CatalogueError) as caught:
        load_catalogue([write(tmp_path, FILES | profiles)], known_facts=known)
    assert any(said in problem for problem in caught.value.problems), caught.value.problems


def test_a_users_folder_adds_checks_and_profiles(tmp_path: Path) -> None:
    first = write(tmp_path / "shipped", {k: v for k, v in FILES.items() if "os.yaml" not in k and "training" not in v})
    second = write(
        tmp_path / "own",
        {
            "site-rules.yaml": CHECK.replace("id: gpu.count", "id: site.gpus"),
            "profiles/ours.yaml": "profile: ours\ntitle: Ours\nextends: default\nselect: {areas: [site]}\n",
        },
    )
    catalogue = load_catalogue([first, second], known_facts=known)
    assert ids(catalogue, "ours") == ["gpu.count", "mem.total", "site.gpus"]


def test_the_digest_is_of_the_content_not_of_its_layout(tmp_path: Path) -> None:
    plain = load_catalogue([write(tmp_path / "a", FILES)], known_facts=known)
    spread = {name: f"# a comment\n\n{text}" for name, text in FILES.items()}
    again = load_catalogue([write(tmp_path / "b", spread)], known_facts=known)
    changed = load_catalogue(
        [write(tmp_path / "c", FILES | {"gpu.yaml": CHECK.replace("ge: 1", "ge: 2")})], known_facts=known
    )
    assert plain.digest == again.digest != changed.digest
    assert plain.digest.startswith("sha256:")


def test_the_version_is_what_the_catalogue_says(tmp_path: Path) -> None:
    version = {"catalogue.yaml": 'catalogue: nodectl\nversion: "2026.11.20"\n'}
    assert load_catalogue([write(tmp_path, FILES | version)], known_facts=known).version == "2026.11.20"
