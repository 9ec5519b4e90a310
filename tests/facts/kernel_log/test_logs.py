"""The facts of the kernel log: which log was read, whether it is whole, and what recorded logs hold."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from replies import cmd, facts_of, file, said, state_of, value_of

from nodectl.facts.kernel_log.log import FACTS
from nodectl.model import FactState
from nodectl.probe.transcript import Section

SOURCE = "kernel_log"
NAMES = [spec.name for spec in FACTS]
BOOT = 1_700_000_000
HEAD = (file("/proc/uptime", "6800000.00 1.00"), cmd("btime", f"btime {BOOT}"), cmd("date +%z", "+0000"))
JOURNAL = "journalctl -k -b -o short-unix"
FIRST = "[    0.000000] Linux version 6.8.0-45-generic"
DENIED = "dmesg: read kernel buffer failed: Operation not permitted"
XID = "[6781741.548779] NVRM: Xid (PCI:0000:91:00): 79, pid='<unknown>', name=<unknown>, GPU has fallen off the bus."


def dmesg(text: str, first: str = FIRST, rc: int = 0, stderr: str = "") -> tuple[Section, ...]:
    return (said("first line of dmesg", first), cmd("dmesg", text, stderr, rc))


def journal(text: str, first: str, rc: int = 0) -> tuple[Section, ...]:
    return (said("first line of the journal", first), cmd(JOURNAL, text, "", rc))


def recorded(shared: Path, *path: str) -> dict[str, Any]:
    """The facts of a recorded log, put where the source would have put it."""
    text = shared.joinpath("recordings", "public", *path).read_text(errors="replace")
    facts = facts_of(SOURCE, (*HEAD, *dmesg(text)), *NAMES)
    assert all(fact.state is FactState.VALUE for fact in facts.values()), facts
    return {name: fact.value for name, fact in facts.items()}


def test_a_whole_dmesg() -> None:
    facts = facts_of(SOURCE, (*HEAD, *dmesg(XID + "\nnd_dropped 0")), *NAMES)
    (row,) = facts["xid.events"].value
    assert (row["xid"], row["gpu_pci_bus_id"], row["first_s"]) == (79, "0000:91:00.0", BOOT + 6781741.548779)
    assert facts["kernel.log_source"].value == "dmesg"
    assert facts["kernel.log_complete"].value is True
    assert facts["xid.events"].command == "dmesg"


@pytest.mark.parametrize(
    "sections",
    [
        pytest.param(dmesg("nd_dropped 0", "[86400.000000] eth0: link up"), id="the ring buffer was overwritten"),
        pytest.param(dmesg("nd_dropped 3"), id="lines were dropped on the node"),
        pytest.param(dmesg("nd_dropped 0", ""), id="the first line is not known"),
        pytest.param(
            dmesg("1\t70.0\t[   70.000000] systemd-journald[552]: /dev/kmsg buffer overrun, some messages lost."),
            id="messages were lost",
        ),
        pytest.param(
            journal("nd_dropped 0", f"{BOOT + 9000}.5 n1 kernel: eth0: link up"), id="the journal was rotated"
        ),
    ],
)
def test_a_log_that_does_not_tell_everything(sections: tuple[Section, ...]) -> None:
    assert value_of(SOURCE, (*HEAD, *sections), "kernel.log_complete") is False
    assert value_of(SOURCE, (*HEAD, *sections), "xid.events") == []


@pytest.mark.parametrize(
    "first", [f"{BOOT + 8}.125000 n1 kernel: Linux version 6.8.0", f"{BOOT + 30}.0 n1 kernel: x86/fpu: x"]
)
def test_a_whole_journal_goes_before_dmesg(first: str) -> None:
    sections = (*HEAD, *journal(f"{BOOT + 60}.5 n1 kernel: NVRM: Xid (PCI:0000:3b:00): 31, pid=1", first), *dmesg(XID))
    assert value_of(SOURCE, sections, "kernel.log_source") == "journal"
    assert value_of(SOURCE, sections, "kernel.log_complete") is True
    assert [row["xid"] for row in value_of(SOURCE, sections, "xid.events")] == [31]


def test_a_whole_dmesg_goes_before_a_cut_journal() -> None:
    sections = (*HEAD, *journal("nd_dropped 0", f"{BOOT + 9000}.5 n1 kernel: x"), *dmesg(XID))
    assert value_of(SOURCE, sections, "kernel.log_source") == "dmesg"
    assert [row["xid"] for row in value_of(SOURCE, sections, "xid.events")] == [79]


def test_a_journal_that_was_too_slow_gives_way_to_dmesg() -> None:
    sections = (*HEAD, *journal("nd_dropped 0", f"{BOOT}.5 n1 kernel: Linux version 6.8.0", rc=124), *dmesg(XID))
    assert value_of(SOURCE, sections, "kernel.log_source") == "dmesg"


@pytest.mark.parametrize(
    ("sections", "reason"),
    [
        (dmesg("nd_dropped 0", "", 1, DENIED), "needs root"),
        (dmesg("nd_dropped 0", "", 1, "needs root: sudo: a password is required"), "needs root"),
        (dmesg("nd_dropped 0", "", 127, "sh: dmesg: not found"), "neither journalctl nor dmesg was found"),
        (dmesg("nd_dropped 0", "", 1, "dmesg: read kernel buffer failed: Bad address"), "Bad address"),
        (dmesg("[    0.000000] Starting gVisor...", "[    0.000000] Starting gVisor..."), "gVisor"),
        ((), "kernel log"),
    ],
)
def test_a_log_that_cannot_be_read_is_an_error_for_every_fact(sections: tuple[Section, ...], reason: str) -> None:
    for fact in facts_of(SOURCE, (*HEAD, *sections), *NAMES).values():
        assert fact.state is FactState.ERROR
        assert reason in fact.reason


def test_a_reply_that_was_cut_is_an_error() -> None:
    sections = (*HEAD, Section("cmd", "dmesg", XID, "", None))
    assert state_of(SOURCE, sections, "xid.events") == "error"


def test_fabric_manager_speaks_local_time_and_only_since_boot() -> None:
    said_by_it = (
        "[{}] [ERROR] [tid 1] detected NVSwitch fatal error {} on fid 0 on NVSwitch pci bus id 00000000:86:00.0 "
        "physical id 3 port 61\n"
    )
    text = said_by_it.format("Nov 13 2023 00:00:00", 11111) + said_by_it.format("Nov 15 2023 01:00:00", 20034)
    sections = (cmd("btime", f"btime {BOOT}"), cmd("date +%z", "+0200"), *dmesg(""), cmd("fabricmanager.log", text))
    (row,) = value_of(SOURCE, sections, "sxid.events")
    assert (row["sxid"], row["link"], row["fatal"], row["first_s"]) == (20034, 61, True, 1_700_002_800.0)


def test_every_recorded_log_can_be_read(shared: Path) -> None:
    found = 0
    for folder in ("dmesg", "journal", "kmsg", "pstore", "fabricmanager"):
        for path in sorted((shared / "recordings" / "public" / folder).iterdir()):
            recorded(shared, folder, path.name)
            found += 1
    assert found >= 19


def test_recording_of_a_gpu_off_the_bus(shared: Path) -> None:
    facts = recorded(shared, "dmesg", "gpud-xid79-sxid20034.txt")
    (xid,) = facts["xid.events"]
    assert (xid["xid"], xid["gpu_pci_bus_id"], xid["count"], xid["process"]) == (79, "0000:91:00.0", 1, None)
    links = {(row["nvswitch_pci_bus_id"], row["sxid"], row["link"], row["fatal"]) for row in facts["sxid.events"]}
    assert links == {
        ("0000:06:00.0", 20034, 48, True),
        ("0000:05:00.0", 20034, 63, True),
        ("0000:05:00.0", 20034, 62, True),
        ("0000:07:00.0", 20034, 37, True),
    }
    (bus,) = facts["kernel.log_events"]
    assert (bus["kind"], bus["device"], bus["level"]) == ("nvrm", "0000:91:00.0", "fatal")


def test_recording_of_repeated_application_faults(shared: Path) -> None:
    facts = recorded(shared, "dmesg", "h100-xid13-xid43-iso.txt")
    rows = {row["xid"]: row for row in facts["xid.events"]}
    assert {xid: (row["count"], row["incidents_24h"]) for xid, row in rows.items()} == {13: (629, 9), 43: (7, 7)}
    assert rows[13]["repeated_unit"] == "GPC 8, TPC 5"
    assert (rows[43]["process"], rows[13]["gpu_pci_bus_id"]) == ("pt_main_thread", "0000:38:00.0")
    assert (rows[13]["first_s"], rows[13]["last_s"]) == (1737426093.498559, 1737434504.285147)


def test_recording_of_gsp_time_outs(shared: Path) -> None:
    (row,) = recorded(shared, "dmesg", "xid119-gsp-timeout.txt")["xid.events"]
    assert (row["xid"], row["gpu_pci_bus_id"], row["count"], row["incidents_24h"]) == (119, "0000:9b:00.0", 5, 3)
    assert (row["process"], row["processes_count"]) == ("nvidia-smi", 3)


def test_recording_of_many_kinds_of_xid(shared: Path) -> None:
    rows = {row["xid"]: row for row in recorded(shared, "journal", "nvsentinel-xid-lines.txt")["xid.events"]}
    assert sorted(rows) == [8, 13, 32, 46, 69, 74, 145, 149, 154, 999]
    assert rows[999]["gpu_pci_bus_id"] == "0000:66:00.0"
    assert (rows[149]["fatal"], rows[149]["links"]) == (True, [9])


def test_recording_of_a_boot_shows_only_the_slots_with_little_power(shared: Path) -> None:
    facts = recorded(shared, "dmesg", "h100-boot-550.90.07-iso.txt")
    assert facts["xid.events"] == facts["sxid.events"] == []
    assert {(row["kind"], row["level"]) for row in facts["kernel.log_events"]} == {("mlx5", "warning")}
    assert len({row["device"] for row in facts["kernel.log_events"]}) == 12


@pytest.mark.parametrize(
    ("path", "kinds"),
    [
        (("dmesg", "gpud-disk-nvme.txt"), {"disk": 3, "nvme": 3}),
        (("dmesg", "gpud-mlx5-events.txt"), {"mlx5": 9}),
        (("dmesg", "memory-oom.txt"), {"oom": 1}),
        (("dmesg", "os-vfs.txt"), {"limit": 2}),
        (("dmesg", "peermem-invalid-context.txt"), {"peermem": 7}),
        (("journal", "nvsentinel-nic-driver.txt"), {"mlx5": 7}),
        (("pstore", "panic-erst-combined.txt"), {"oops": 1}),
        (("journal", "a800-docker-ports.txt"), {}),
        (("kmsg", "nvswitch-open.txt"), {}),
    ],
)
def test_recordings_of_host_faults(shared: Path, path: tuple[str, ...], kinds: dict[str, int]) -> None:
    counts: dict[str, int] = {}
    for row in recorded(shared, *path)["kernel.log_events"]:
        counts[row["kind"]] = counts.get(row["kind"], 0) + row["count"]
    assert counts == kinds


def test_recording_of_fabric_manager(shared: Path) -> None:
    text = (shared / "recordings" / "public" / "fabricmanager" / "fm-log-12028-one.txt").read_text()
    (row,) = value_of(SOURCE, (*HEAD, *dmesg(""), cmd("fabricmanager.log", text)), "sxid.events")
    assert (row["sxid"], row["nvswitch_pci_bus_id"], row["link"], row["fatal"]) == (12028, "0000:86:00.0", 61, False)


@given(st.text(max_size=300), st.text(max_size=60), st.text(max_size=60), st.sampled_from([0, 1, 124]))
def test_no_reply_makes_it_raise(text: str, first: str, btime: str, rc: int) -> None:
    sections = (
        cmd("btime", "btime " + btime),
        cmd("date +%z", first),
        *journal(text, first, rc),
        *dmesg(text, first, rc),
    )
    for fact in facts_of(SOURCE, sections, *NAMES).values():
        assert "parser" not in fact.reason, fact
