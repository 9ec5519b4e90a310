"""Mounted file systems."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from replies import cmd, fact_of, facts_of, state_of, value_of

from nodectl.facts.host.mounts import parse_mountinfo
from nodectl.model import FactState
from nodectl.probe.__main__ import run_source
from nodectl.probe.compose import load_sources
from nodectl.probe.transcript import Section

INFO = (
    "24 1 259:2 / / rw,relatime shared:1 - ext4 /dev/nvme0n1p2 rw,errors=remount-ro\n"
    "30 24 0:26 / /dev/shm rw,nosuid,nodev shared:5 - tmpfs tmpfs rw,size=1056311296k\n"
    "31 24 0:50 / /scratch rw,relatime shared:9 - xfs /dev/md0 rw\n"
    "77 24 0:51 / /scratch rw,relatime shared:10 master:3 - nfs4 nas:/exp\\040ort rw,vers=4.2,hard\n"
    "78 24 8:1 / /data rw,relatime - ext4 /dev/sda1 ro,errors=remount-ro\n"
)
HEAD = "Filesystem     1024-blocks      Used Available Capacity Mounted on\n"


def _table(text: str = INFO, total: int = 40, rc: int = 0, stderr: str = "") -> Section:
    return cmd("/proc/self/mountinfo", f"{text}nd_total {total}\n", stderr, rc)


def _df(path: str, line: str, rc: int = 0, stderr: str = "") -> Section:
    return cmd(f"df {path}", HEAD + line if line else "", stderr, rc)


def test_a_mount() -> None:
    sections = [_table(), _df("/", "/dev/nvme0n1p2    1921724676 846223412 977809360      47% /\n")]
    assert value_of("mounts", sections, "mount[/]") == {
        "source": "/dev/nvme0n1p2",
        "fstype": "ext4",
        "options": ["rw", "relatime", "errors=remount-ro"],
        "read_only": False,
        "size_mib": 1876684,
        "available_mib": 954891,
        "used_pct": 47,
    }


def test_the_topmost_mount_counts_and_escapes_are_undone() -> None:
    row = value_of("mounts", [_table(), _df("/scratch", "nas:/exp ort 2048 1024 1024 50% /scratch")], "mount[/scratch]")
    assert (row["fstype"], row["source"], row["size_mib"]) == ("nfs4", "nas:/exp ort", 2)


def test_a_file_system_that_the_kernel_turned_read_only_is_seen() -> None:
    row = value_of("mounts", [_table(), _df("/data", "/dev/sda1 2048 1024 1024 50% /data")], "mount[/data]")
    assert row["read_only"] is True
    assert row["options"][0] == "ro"


def test_what_is_no_mount_point_is_absent() -> None:
    fact = fact_of("mounts", [_table()], "mount[/home]")
    assert (fact.state, fact.reason) == (FactState.ABSENT, "nothing is mounted at /home")


@pytest.mark.parametrize(
    ("section", "says"),
    [
        (_df("/scratch", "", 124), "did not end in its time"),
        (_df("/scratch", "", 137), "did not end in its time"),
        (_df("/scratch", "", 1, "df: /scratch: Stale file handle\n"), "Stale file handle"),
        (_df("/scratch", "", 127, "timeout: not found\n"), "not found"),
        (_df("/scratch", "nas:/x 2048 1024 1024 50% /other"), "another mount"),
        (_df("/scratch", "gibberish"), "not understood"),
        (None, "df was not asked"),
    ],
)
def test_a_dead_server_costs_only_the_sizes_of_its_own_mount(section: Section | None, says: str) -> None:
    sections = [_table(), _df("/", "/dev/nvme0n1p2 2048 1024 1024 50% /"), *([section] if section else [])]
    facts = facts_of("mounts", sections, "mount[/]", "mount[/scratch]")
    assert facts["mount[/]"].value["used_pct"] == 50
    row = facts["mount[/scratch]"].value
    assert row["fstype"] == "nfs4"
    assert row["size_mib"] is None
    assert says in row["_errors"]["used_pct"]


def test_a_table_that_was_not_read_to_its_end_is_an_error() -> None:
    tables = [
        cmd("/proc/self/mountinfo", INFO),
        cmd("/proc/self/mountinfo", ""),
        _table(total=0),
        _table("gibberish\n"),
        _table(rc=2, stderr="awk: cannot open /proc/self/mountinfo (No such file or directory)\n"),
    ]
    for table in tables:
        assert state_of("mounts", [table], "mount[/home]") == "error"
        assert state_of("mounts", [table], "mount[/]") == "error"


def test_a_pseudo_file_system_has_no_share_in_use() -> None:
    table = _table("25 1 0:22 / /sys rw - sysfs sysfs rw\n")
    row = value_of("mounts", [table, _df("/sys", "sysfs 0 0 0 - /sys")], "mount[/sys]")
    assert (row["size_mib"], row["used_pct"]) == (0, None)


def test_this_machine() -> None:
    keys = ["/proc", "/no/such/folder"]
    reply = run_source(load_sources()["mounts"], keys, shell=["sh"])
    facts = facts_of("mounts", reply, *(f"mount[{key}]" for key in keys))
    assert facts["mount[/proc]"].value["fstype"] == "proc"
    assert facts["mount[/no/such/folder]"].state is FactState.ABSENT


def test_a_df_that_hangs_is_cut_off_by_the_source() -> None:
    spec = load_sources()["mounts"]
    hanging = replace(spec, body=spec.body.replace("df -P -k", "sleep 60; :").replace(" 3 sleep", " 1 sleep"))
    began = time.monotonic()
    reply = run_source(hanging, ["/proc"], shell=["sh"])
    assert time.monotonic() - began < 5
    row = value_of("mounts", reply, "mount[/proc]")
    assert "_errors" in row


@given(st.text(max_size=300), st.text(max_size=100))
def test_any_text_is_read_without_raising(text: str, line: str) -> None:
    for sections in ([cmd("/proc/self/mountinfo", text)], [_table(), _df("/", line)]):
        fact = fact_of("mounts", sections, "mount[/]")
        assert fact.state is not FactState.ABSENT
        assert "could not be read (" not in fact.reason


def test_mountinfo_with_many_optional_fields() -> None:
    line = "1 2 0:1 /sub /mnt\\011tab ro,noatime shared:1 master:2 propagate_from:3 - fuse.x src rw,user_id=0"
    assert parse_mountinfo(line)["/mnt\ttab"]["options"] == ["ro", "noatime", "user_id=0"]
