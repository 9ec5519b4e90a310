"""Rules of the operating system: what the calendar says, kernels, and texts of a node that are patterns."""

from __future__ import annotations

import re
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rule_calls import ABSENT, call, subjects, tables, worst

from nodectl.engine.rules import os_state, os_support
from nodectl.model import Outcome

PASS, FAIL, NOT_JUDGED = Outcome.PASS, Outcome.FAIL, Outcome.NOT_APPLICABLE


def of_release(release: str, now: str = "2026-11-20T20:06:28Z") -> dict[str, Any]:
    return {"os.release": release, "node.time_utc": now}


@pytest.mark.parametrize(
    ("release", "now", "standard", "extended"),
    [
        # The last day itself still counts.
        ("ubuntu-22.04", "2027-06-30T23:59:59Z", PASS, PASS),
        ("ubuntu-22.04", "2027-07-01T00:00:00Z", FAIL, PASS),
        ("ubuntu-22.04", "2034-05-01T00:00:00Z", NOT_JUDGED, FAIL),
        ("sles-15.6", "2026-11-20T20:06:28Z", FAIL, PASS),
        ("centos-7", "2026-11-20T20:06:28Z", NOT_JUDGED, FAIL),
        ("rocky-9", "2032-05-31T12:00:00Z", PASS, PASS),
        # A clock that is behind makes nothing young again.
        ("debian-11", "2023-01-01T00:00:00Z", NOT_JUDGED, FAIL),
        ("gentoo", "2026-11-20T20:06:28Z", NOT_JUDGED, NOT_JUDGED),
    ],
)
def test_the_last_day_of_support(release: str, now: str, standard: Outcome, extended: Outcome) -> None:
    assert worst(os_support.end_of_life, of_release(release, now), until="standard") is standard
    assert worst(os_support.end_of_life, of_release(release, now), until="extended") is extended


def test_dates_of_the_table_are_dates_and_in_order() -> None:
    for row in tables()["os_lifecycle"].rows:
        end, extended = str(row["standard_end"]), str(row.get("extended_end") or "9999-12")
        assert re.fullmatch(r"20\d\d-(0[1-9]|1[0-2])(-\d\d)?", end)
        assert end < extended
        assert bool(row.get("extended_end")) == bool(row.get("extended_by"))


@given(st.sampled_from([str(row["release"]) for row in tables()["os_lifecycle"].rows]), st.dates())
def test_a_release_is_judged_once(release: str, day: Any) -> None:
    """Ended for good is said by one check only, and what passes for everybody passes with a contract."""
    facts = of_release(release, f"{day}T00:00:00Z")
    standard = worst(os_support.end_of_life, facts, until="standard")
    extended = worst(os_support.end_of_life, facts, until="extended")
    assert (standard, extended) in {(PASS, PASS), (FAIL, PASS), (NOT_JUDGED, FAIL)}


@pytest.mark.parametrize("row", tables()["os_support"].rows, ids=lambda row: str(row["release"]))
def test_every_listed_release_passes_with_a_present_driver(row: dict[str, Any]) -> None:
    facts = {"os.release": row["release"], "driver.version": "595.71.05"}
    wanted = PASS if row.get("listed") or row.get("own") else FAIL
    assert worst(os_support.driver, facts) is wanted
    for series in row.get("kernels") or []:
        kernel = {"os.release": row["release"], "kernel.release": f"{series}.0-101-generic"}
        assert worst(os_support.kernel, kernel) is PASS


def packages(*names: str, **facts: Any) -> dict[str, Any]:
    return {
        "packages.drivers": [{"name": name, "version": "580.95.05-0ubuntu0.24.04.2"} for name in names],
        "packages.held": [], "updates.excluded": [], "updates.origins": [], "updates.by": ["unattended-upgrades"],
        **{name.replace("__", "."): value for name, value in facts.items()},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("excluded", "outcome"),
    [
        (["nvidia-"], PASS),
        (["^nvidia-driver-.*$"], PASS),
        (["nvidia-driver-580$"], FAIL),
        (["libnvidia"], FAIL),
        ([".*"], FAIL),
        ([""], FAIL),
    ],
)
def test_patterns_of_unattended_upgrades(excluded: list[str], outcome: Outcome) -> None:
    facts = packages("nvidia-driver-580-server", updates__excluded=excluded)
    assert worst(os_state.not_upgraded, facts) is outcome


def test_a_pattern_of_a_node_is_never_run() -> None:
    """(a+)+$ against a long name takes for ever in a regular expression engine."""
    facts = packages("a" * 60 + "!", updates__excluded=["(a+)+$", "a*" * 40 + "$", "(" * 90])
    began = time.monotonic()
    call(os_state.not_upgraded, facts)
    assert time.monotonic() - began < 2


def test_many_packages_are_named_in_part() -> None:
    (result,) = call(os_state.not_upgraded, packages(*(f"nvidia-utils-{n}" for n in range(20))))
    assert result.actual.endswith("nvidia-utils-5 and 14 more")


def kernels(**newest: Any) -> dict[str, Any]:
    running = {"release": "6.8.0-87-generic", "running": True, "headers": True, "nvidia_module": True}
    rows = [running, {**running, "release": "6.8.0-90-generic", "running": False, **newest}]
    return {"kernel.installed": rows, "kernel.newest": "6.8.0-90-generic", "kernel.release": "6.8.0-87-generic"}


def test_the_next_boot() -> None:
    assert worst(os_state.next_boot_driver, kernels()) is PASS
    (result,) = call(os_state.next_boot_driver, kernels(nvidia_module=False, headers=False))
    assert (result.outcome, result.actual) == (FAIL, "6.8.0-90-generic without one")
    assert "headers are missing" in result.reason


def test_dkms_is_judged_for_the_running_kernel_alone_where_no_other_is_known() -> None:
    row = {"module": "nvidia", "version": "580", "kernel": "6.8.0-87-generic", "state": "installed"}
    facts = {"dkms.modules": [row], "kernel.release": "6.8.0-87-generic", "kernel.newest": ABSENT}
    assert worst(os_state.dkms_built, facts) is PASS
    facts["kernel.newest"] = "6.8.0-90-generic"
    assert subjects(call(os_state.dkms_built, facts)) == ["nvidia for 6.8.0-90-generic"]


@pytest.mark.parametrize(
    ("count", "days", "outcome"), [(9, 0.01, PASS), (10, 0.01, FAIL), (99, 10, PASS), (100, 10, FAIL)]
)
def test_corrected_errors_count_by_the_day(count: int, days: float, outcome: Outcome) -> None:
    facts = {
        "edac.dimms": [{"mc": "mc0", "dimm": "dimm0", "label": None, "corrected": count}],
        "edac.controllers": [], "node.uptime_s": days * 86400,
    }  # fmt: skip
    assert worst(os_state.corrected_errors, facts, per_day=10) is outcome
