"""systemd units and the TuneD profile."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from replies import cmd, fact_of, facts_of, file, no_file, state_of, value_of

from nodectl.facts.host.limits import UNLIMITED
from nodectl.facts.host.services import parse_show, unit_name
from nodectl.model import FactState
from nodectl.probe.transcript import Section

COMM = file("/proc/1/comm", "systemd\n")
DOCKER = """NRestarts=2
LimitNOFILE=1048576
LimitMEMLOCK=8388608
Id=docker.service
Names=docker.service
LoadState=loaded
ActiveState=active
SubState=running
UnitFileState=enabled
"""
CHRONY = """Id=chrony.service
Names=chrony.service chronyd.service
LoadState=loaded
ActiveState=failed
SubState=failed
UnitFileState=
LimitNOFILE=524288
LimitMEMLOCK=infinity
"""
GONE = """NRestarts=0
LimitNOFILE=
LimitMEMLOCK=
Id=nvidia-imex.service
Names=nvidia-imex.service
LoadState=not-found
ActiveState=inactive
SubState=dead
UnitFileState=
"""
SHOWN = "\n".join((DOCKER, CHRONY, GONE))
NO_SYSTEMD = (
    "System has not been booted with systemd as init system (PID 1). Can't operate.\n"
    "Failed to connect to bus: Host is down\n"
)


def _show(text: str = SHOWN, stderr: str = "", rc: int = 0) -> list[Section]:
    return [COMM, cmd("systemctl show", text, stderr, rc)]


def test_a_running_service() -> None:
    assert value_of("services", _show(), "service[docker]") == {
        "load_state": "loaded",
        "active_state": "active",
        "sub_state": "running",
        "enabled": "enabled",
        "restarts": 2,
        "memlock_kib": 8192,
        "nofile": 1048576,
    }


def test_an_alias_is_the_unit_that_it_stands_for() -> None:
    facts = facts_of("services", _show(), "service[chronyd]", "service[chrony.service]")
    for fact in facts.values():
        assert fact.value["active_state"] == "failed"
        assert fact.value["restarts"] is None
        assert fact.value["memlock_kib"] == UNLIMITED


def test_a_unit_that_is_not_installed_is_absent() -> None:
    fact = fact_of("services", _show(), "service[nvidia-imex]")
    assert (fact.state, fact.reason) == (FactState.ABSENT, "there is no unit nvidia-imex.service")


def test_a_unit_that_systemctl_passed_over_is_an_error() -> None:
    assert state_of("services", _show(), "service[slurmd]") == "error"
    assert state_of("services", _show(DOCKER.replace("loaded", "")), "service[docker]") == "error"


def test_a_masked_unit_is_a_value() -> None:
    row = value_of("services", _show(GONE.replace("not-found", "masked")), "service[nvidia-imex]")
    assert row["load_state"] == "masked"


def test_without_systemd_nobody_can_tell() -> None:
    sections = [file("/proc/1/comm", "tini\n"), cmd("systemctl show", "", NO_SYSTEMD, 1)]
    fact = fact_of("services", sections, "service[docker]")
    assert (fact.state, fact.reason) == (FactState.ERROR, "no systemd on this node to ask (process 1 is tini)")
    sections[0] = no_file("/proc/1/comm", "Permission denied")
    assert "process 1 is not known" in fact_of("services", sections, "service[docker]").reason


@pytest.mark.parametrize(
    ("stderr", "rc", "reason"),
    [
        ("sh: systemctl: not found\n", 127, "systemctl not found on the node"),
        ("Failed to get properties: Connection timed out\n", 1, "Connection timed out"),
        ("", 0, "described no unit"),
        ("", 124, "did not end in its time"),
    ],
)
def test_when_systemctl_fails(stderr: str, rc: int, reason: str) -> None:
    fact = fact_of("services", _show("", stderr, rc), "service[docker]")
    assert fact.state is FactState.ERROR
    assert reason in fact.reason


def test_one_refused_name_does_not_cost_the_others() -> None:
    sections = _show(DOCKER, "Failed to get properties: Unit name a/b.service is not valid.\n", 1)
    assert value_of("services", sections, "service[docker]")["active_state"] == "active"
    assert state_of("services", sections, "service[a/b]") == "error"


@pytest.mark.parametrize(
    ("key", "unit"),
    [("docker", "docker.service"), ("fstrim.timer", "fstrim.timer"), ("nvidia-imex@1", "nvidia-imex@1.service"),
     ("a.b", "a.b.service")],
)  # fmt: skip
def test_unit_names(key: str, unit: str) -> None:
    assert unit_name(key) == unit


def test_values_may_hold_equals_signs() -> None:
    assert parse_show("Id=a.service\nX=b=c\n")["a.service"]["X"] == "b=c"


@given(st.text(max_size=300), st.text(max_size=60), st.integers(0, 255))
def test_nothing_but_not_found_is_absent(text: str, stderr: str, rc: int) -> None:
    fact = fact_of("services", _show(text, stderr, rc), "service[docker]")
    assert fact.state is not FactState.ABSENT
    assert "could not be read (" not in fact.reason


def test_tuned() -> None:
    path = "/etc/tuned/active_profile"
    assert value_of("tuned", [file(path, "throughput-performance\n")], "tuned.profile") == "throughput-performance"
    assert value_of("tuned", [file(path, "hpc-compute my\n")], "tuned.profile") == "hpc-compute my"
    assert state_of("tuned", [file(path, "\n")], "tuned.profile") == "absent"
    assert state_of("tuned", [no_file(path)], "tuned.profile") == "absent"
    assert state_of("tuned", [no_file(path, "Permission denied")], "tuned.profile") == "error"
    assert state_of("tuned", [file(path, "<b>bold</b>\n")], "tuned.profile") == "error"
