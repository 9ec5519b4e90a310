"""A check from the present state: it passes on that state, fails on another, and can be loaded, whatever the value."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nodectl.engine import catalogue_for_run
from nodectl.engine.fixtures import disagreement, find_fixtures, read_fixture
from nodectl.engine.new_check import Drafted, DraftError, asked_for, draft
from nodectl.model import absent, error, present

TEXT = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs", "Cn", "Co", "Zl", "Zp")), max_size=80)


def drafted_of(name: str, *values: Any) -> Drafted:
    asked = asked_for(name)
    answers = {f"gpu{number}": present(asked.fact, value) for number, value in enumerate(values, 1)}
    return draft("site.test", asked, answers, day="2026-11-21")


def written(drafted: Drafted, folder: Path) -> None:
    (folder / "site.yaml").write_text(yaml.safe_dump(drafted.check, sort_keys=False, allow_unicode=True))
    for name, body in drafted.fixtures.items():
        path = folder / "fixtures" / "site.test" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(yaml.safe_dump(body, sort_keys=False, allow_unicode=True))


def agrees(folder: Path) -> None:
    """What was written loads, and each fixture comes to what it is named for."""
    catalogue = catalogue_for_run.load_dirs([folder])
    check = catalogue.checks["site.test"]
    fixtures = find_fixtures(folder / "fixtures")
    assert len(fixtures) == 3
    for fixture in fixtures:
        content = read_fixture(fixture, check)
        assert disagreement(fixture, content, content.evaluate(catalogue.tables)) == ""


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("gpu.count", 8),
        ("driver.version", "580.159.04"),
        ("driver.version", "580"),
        ("kernel.release", "6.8.0-45-generic"),
        ("gpu.models", ["NVIDIA H200"]),
        ("sysctl[net.ipv4.tcp_rmem]", "4096 87380 6291456"),
        ("sysctl[vm.swappiness]", "10"),
        (f"sysctl[{'a.' * 90}b]", "10"),
        ("kernel.release", ""),
        ("kernel.release", "."),
        ("kernel.release", "6.8 "),
        ("kernel.release", "of a length that no title has room for. " * 3),
        ("gpu.models", [f"NVIDIA H200 number {number}." for number in range(8)]),
        ("service[docker].active_state", {"load_state": "loaded", "active_state": "active", "restarts": 0}),
        ("gpu.devices.vbios_version", [{"index": 0, "vbios_version": "96.00"}, {"index": 1, "vbios_version": "96.01"}]),
        ("gpu.devices.persistence_mode", [{"index": 0, "persistence_mode": True}]),
        ("gpu.devices.power_limit_w", [{"index": 0, "power_limit_w": 700.5}]),
    ],
)
def test_it_passes_fails_and_cannot_tell(name: str, value: Any, tmp_path: Path) -> None:
    written(drafted_of(name, value, value), tmp_path)
    agrees(tmp_path)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(value=TEXT)
def test_any_text_of_a_node_survives_the_file(value: str, tmp_path: Path) -> None:
    written(drafted_of("kernel.release", value), tmp_path)
    agrees(tmp_path)


@pytest.mark.parametrize(
    ("value", "title"),
    [
        ("6.8.0", "kernel.release is 6.8.0"),
        ("6.8.", 'kernel.release is "6.8."'),
        ("", 'kernel.release is ""'),
        ("x" * 60, f'kernel.release is "{"x" * 45}..."'),
    ],
)
def test_the_title_says_the_state(value: str, title: str) -> None:
    assert drafted_of("kernel.release", value).check["title"] == title


def test_what_is_not_there_is_to_stay_away(tmp_path: Path) -> None:
    asked = asked_for("tuned.profile")
    made = draft("site.test", asked, {"gpu1": absent("tuned.profile", "no TuneD")}, day="2026-11-21")
    assert made.check["expect"] == {"fact": "tuned.profile", "present": False}
    written(made, tmp_path)
    agrees(tmp_path)


def test_nodes_that_differ_make_no_check() -> None:
    with pytest.raises(DraftError, match=r"the nodes differ in gpu.count: gpu1 8, gpu2 7"):
        drafted_of("gpu.count", 8, 7)


def test_what_could_not_be_read_makes_no_check() -> None:
    asked = asked_for("gpu.count")
    with pytest.raises(DraftError, match=r"gpu2: gpu.count could not be read: timed out"):
        draft(
            "site.test",
            asked,
            {"gpu1": present("gpu.count", 8), "gpu2": error("gpu.count", "timed out")},
            day="2026-11-21",
        )
    with pytest.raises(DraftError, match=r"gpu1: gpu.devices vbios_version could not be read: ERR!"):
        drafted_of("gpu.devices.vbios_version", [{"index": 0, "_errors": {"vbios_version": "ERR!"}}])


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("gpu.cuont", 'did you mean "gpu.count"'),
        ("gpu.devices", "is a table: name one of its fields"),
        ("gpu.devices.vbois_version", 'did you mean "vbios_version"'),
        ("sysctl", "is a family"),
        ("sysctl[a b]", "may hold only"),
    ],
)
def test_a_wrong_name_says_what_would_do(name: str, said: str) -> None:
    with pytest.raises(DraftError, match=r".") as caught:
        asked_for(name)
    assert said in str(caught.value)
