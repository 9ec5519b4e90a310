"""Temperatures of the host's parts, and what the BMC says of power and cooling."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from replies import cmd, fact_of, facts_of, grep, said, value_of

from nodectl.facts.conform import ERRORS_KEY
from nodectl.model import FactState
from nodectl.probe.transcript import Section

SOURCE = "power_sensors"
HWMON = "/sys/class/hwmon"
NAMES = ("host.temperatures", "host.chassis")
STATUS = """System Power         : on
Power Overload       : false
Main Power Fault     : false
Last Power Event     : ac-failed
Chassis Intrusion    : inactive
Drive Fault          : false
Cooling/Fan Fault    : true
"""


def sensors(**files: str) -> list[Section]:
    found = {f"{HWMON}/hwmon2/{name}": text for name, text in ({"name": "coretemp"} | files).items()}
    return [cmd(f"ls -d {HWMON}", f"{HWMON}\n"), grep(found), said("bmc", "no device")]


def test_a_sensor_with_a_limit() -> None:
    (row,) = value_of(SOURCE, sensors(temp1_crit="100000", temp1_input="52500", temp1_label="Package id 0"), NAMES[0])
    assert row == {"sensor": "coretemp Package id 0 (hwmon2)", "temperature_c": 52.5, "critical_c": 100.0}


@pytest.mark.parametrize("limit", ["0", "-1", "65261850", "none", ""])
def test_limits_that_are_placeholders_are_left_out(limit: str) -> None:
    assert value_of(SOURCE, sensors(temp1_crit=limit, temp1_input="52500"), NAMES[0]) == []


@pytest.mark.parametrize("files", [{"temp1_crit": "100000"}, {"temp1_crit": "100000", "temp1_input": "hot"}])
def test_a_sensor_that_cannot_be_read_is_an_error(files: dict[str, str]) -> None:
    (row,) = value_of(SOURCE, sensors(**files), NAMES[0])
    assert row["temperature_c"] is None
    assert "temperature_c" in row[ERRORS_KEY]


def test_no_sensors_at_all() -> None:
    gone = [cmd(f"ls -d {HWMON}", "", "ls: cannot access: No such file or directory\n", 2), said("bmc", "no device")]
    facts = facts_of(SOURCE, gone, *NAMES)
    assert {fact.state for fact in facts.values()} == {FactState.ABSENT}
    unmounted = [said("not mounted", "/sys"), *gone]
    assert fact_of(SOURCE, unmounted, NAMES[0]).state is FactState.ERROR


def test_what_the_bmc_says() -> None:
    row: dict[str, Any] = value_of(SOURCE, [cmd("ipmitool chassis status", STATUS)], NAMES[1])
    assert row == {
        "power_overload": False, "power_fault": False, "cooling_fault": True, "drive_fault": False,
        "last_power_event": "ac-failed",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("section", "state", "words"),
    [
        (said("bmc", "no ipmitool"), FactState.ABSENT, "ipmitool is not installed"),
        (cmd("ipmitool chassis status", "", "needs root: no sudo\n", 1), FactState.ERROR, "needs root"),
        (cmd("ipmitool chassis status", "Unable to open\n"), FactState.ERROR, "Unable to open"),
        (cmd("ipmitool chassis status", "", "", 124), FactState.ERROR, "did not end"),
    ],
)
def test_a_bmc_that_does_not_tell(section: Section, state: FactState, words: str) -> None:
    fact = fact_of(SOURCE, [section], NAMES[1])
    assert fact.state is state
    assert words in fact.reason


@settings(max_examples=100, deadline=None)
@given(text=st.text(max_size=200), name=st.sampled_from(["temp1_crit", "temp1_input", "temp1_label", "name"]))
def test_hostile_text_never_raises(text: str, name: str) -> None:
    files = {"temp1_crit": "90000", "temp1_input": "1000"} | {name: text}
    for fact in facts_of(SOURCE, [*sensors(**files), cmd("ipmitool chassis status", text)], *NAMES).values():
        assert "Error" not in fact.reason
