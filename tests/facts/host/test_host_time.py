"""Whether the clock follows a time source, and which programs set it."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from replies import cmd, facts_of, grep, said, state_of, value_of

from nodectl.probe.transcript import Section

CHRONY, NTP, SYSTEMD = "chronyc -n tracking", "ntpq -c rv", "timedatectl show"
NAMES = ("time.synchronized", "time.offset_ms", "time.off_by_ms", "time.stratum", "time.reference")
NO_SYSTEMD = "System has not been booted with systemd as init system (PID 1). Can't operate.\n"
TRACKING = """Reference ID    : 0A000A05 (10.0.10.5)
Stratum         : 3
System time     : 0.000012214 seconds fast of NTP time
Leap status     : Normal
"""


def node(*told: Section) -> list[Section]:
    """What is told, and of all else that it is not there."""
    names = {section.name for section in told}
    rest = {CHRONY: "none", NTP: "none", SYSTEMD: "none", "timesync mark": "no"}
    return [*told, *(said(name, text) for name, text in rest.items() if name not in names)]


def test_recorded_tracking(shared: Path) -> None:
    text = (shared / "recordings/public/chrony/powersj-chronyc.txt").read_text()
    facts = facts_of("time_sync", node(cmd(CHRONY, text.partition("\n")[2])), *NAMES)
    assert [fact.value for fact in facts.values()] == [True, -0.66984, 0.66984, 2, "srcf-ntp.stanford.edu"]


def test_the_daemon_knows_better_than_the_kernel() -> None:
    lost = TRACKING.replace("Normal", "Not synchronised").replace("0A000A05 (10.0.10.5)", "00000000 ()")
    sections = node(cmd(SYSTEMD, "NTP=yes\nNTPSynchronized=yes\n"), cmd(CHRONY, lost))
    assert value_of("time_sync", sections, "time.synchronized") is False
    assert state_of("time_sync", sections, "time.reference") == "absent"


@pytest.mark.parametrize(("leap", "synchronised"), [("00", True), ("01", True), ("11", False)])
def test_ntpd(leap: str, synchronised: bool) -> None:
    text = f"associd=0 status=0615 leap_none, sync_ntp, 1 event, clock_sync,\nstratum=2, offset=-0.241, leap={leap}\n"
    facts = facts_of("time_sync", node(cmd(NTP, text)), *NAMES)
    assert facts["time.synchronized"].value is synchronised
    assert (facts["time.offset_ms"].value, facts["time.stratum"].value) == (-0.241, 2)


@pytest.mark.parametrize(("said_so", "value"), [("yes", True), ("no", False)])
def test_the_kernel_is_asked_where_no_daemon_answers(said_so: str, value: bool) -> None:
    sections = node(
        cmd(SYSTEMD, f"CanNTP=yes\nNTP=yes\nNTPSynchronized={said_so}\n"),
        cmd(CHRONY, "506 Cannot talk to daemon\n", rc=1),
    )
    assert value_of("time_sync", sections, "time.synchronized") is value
    assert state_of("time_sync", sections, "time.offset_ms") == "absent"
    assert value_of("time_sync", node(said("timesync mark", "yes")), "time.synchronized") is True


def test_nobody_to_ask_is_absent_and_no_answer_is_an_error() -> None:
    assert state_of("time_sync", node(), "time.synchronized") == "absent"
    assert state_of("time_sync", [], "time.synchronized") == "error"
    assert state_of("time_sync", node(cmd(SYSTEMD, "", NO_SYSTEMD, 1)), "time.synchronized") == "absent"
    silent = node(cmd(SYSTEMD, "", NO_SYSTEMD, 1), cmd(CHRONY, "506 Cannot talk to daemon\n", rc=1))
    assert state_of("time_sync", silent, "time.synchronized") == "absent"
    assert state_of("time_sync", node(cmd(SYSTEMD, "", "", 124)), "time.synchronized") == "error"
    assert state_of("time_sync", node(cmd(SYSTEMD, "Something=else\n")), "time.synchronized") == "error"
    assert state_of("time_sync", node(cmd(CHRONY, "Rubbish\n")), "time.synchronized") == "error"


PROCESSES = "D 4711 1 python3\nD 99 1 nvidia-smi\nZ 12 7 sh) D 1\nnd_daemon chronyd\nnd_daemon systemd-timesyn\n"
COUNTS = "nd_zombies 1\nnd_total 2764\n"
FILES = {
    "/proc/sys/fs/file-nr": "41216\t0\t100000", "/proc/sys/kernel/pid_max": "4194304",
    "/proc/sys/kernel/threads-max": "32768", "/proc/loadavg": "0.41 0.38 0.35 2/3391 184207",
}  # fmt: skip


def test_processes() -> None:
    sections = [said("states", PROCESSES + COUNTS), cmd("still blocked", "99\n11\nnd_end\n"), grep(FILES)]
    assert value_of("processes", sections, "proc.blocked") == [{"pid": 99, "name": "nvidia-smi"}]
    assert value_of("processes", sections, "proc.zombies") == 1
    assert value_of("processes", sections, "time.daemons") == ["chronyd", "systemd-timesyncd"]
    assert value_of("processes", sections, "proc.threads_used_pct") == 10.3
    assert value_of("processes", sections, "proc.files_used_pct") == 41.2


def test_one_look_is_not_enough_to_call_a_process_blocked() -> None:
    cut = [said("states", PROCESSES + COUNTS), cmd("still blocked", "99\n")]
    assert state_of("processes", cut, "proc.blocked") == "error"
    assert state_of("processes", cut[:1], "proc.blocked") == "error"
    assert value_of("processes", [said("states", COUNTS)], "proc.blocked") == []


@pytest.mark.parametrize("text", ["", "nd_zombies 0\nnd_total 0", "rubbish\n" + COUNTS, "nd_zombies many\nnd_total 3"])
def test_processes_that_were_not_seen_are_an_error(text: str) -> None:
    for name in ("proc.blocked", "proc.zombies", "time.daemons"):
        assert state_of("processes", [said("states", text)], name) == "error"


@given(st.text(max_size=300))
def test_any_text_is_read_without_raising(text: str) -> None:
    for sections in (node(cmd(CHRONY, text)), node(cmd(NTP, text)), node(cmd(SYSTEMD, text))):
        for fact in facts_of("time_sync", sections, *NAMES).values():
            assert "could not be read (" not in fact.reason
    states = [said("states", text), cmd("still blocked", text), grep(dict.fromkeys(FILES, text.partition("\n")[0]))]
    names = ("proc.blocked", "proc.zombies", "time.daemons", "proc.threads_used_pct", "proc.files_used_pct")
    for fact in facts_of("processes", states, *names).values():
        assert "could not be read (" not in fact.reason
