"""Mounted file systems: options in force, NFS and Lustre, and tables that were cut."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from replies import cmd, fact_of, facts_of, state_of, value_of

from nodectl.model import FactState
from nodectl.probe.transcript import Section

TABLE = "/proc/self/mountinfo"
NFS = (
    "340 29 0:61 / /home rw,relatime shared:190 - nfs4 nas:/export/home rw,vers=4.2,rsize=1048576,wsize=1048576,"
    "namlen=255,hard,proto=tcp,nconnect=8,timeo=600,retrans=2,sec=sys,addr=10.40.0.5"
)
LUSTRE = (
    "346 29 0:63 / /lustre rw,relatime shared:196 - lustre 10.50.0.1@o2ib:10.50.0.2@o2ib:/lfs01 rw,flock,lazystatfs"
)
ROOT = "29 1 253:0 / / rw,relatime shared:1 - ext4 /dev/vda1 rw"
NAMES = ("storage.mounts", "storage.network_fstypes", "nfs.mounts", "lustre.mounts")


def table(*lines: str, total: int = 38) -> list[Section]:
    return [cmd(TABLE, "".join(f"{line}\n" for line in [*lines, f"nd_total {total} {len(lines)}"]))]


def test_what_is_mounted_and_of_what_kind() -> None:
    lines = [ROOT, NFS, LUSTRE, "27 29 0:25 / /tmp rw - tmpfs tmpfs rw", "50 29 0:50 / /net rw - autofs systemd-1 rw"]
    rows = value_of("storage_mounts", table(*lines), "storage.mounts")
    assert {row["path"]: row["kind"] for row in rows} == {
        "/": "local",
        "/home": "network",
        "/lustre": "network",
        "/tmp": "memory",
        "/net": "automount",
    }
    assert value_of("storage_mounts", table(*lines), "storage.network_fstypes") == ["lustre", "nfs4"]


def test_nfs_options_in_force() -> None:
    (row,) = value_of("storage_mounts", table(ROOT, NFS), "nfs.mounts")
    assert row == {
        "path": "/home",
        "source": "nas:/export/home",
        "version": "4.2",
        "proto": "tcp",
        "connections": 8,
        "hard": True,
        "rsize_bytes": 1048576,
        "wsize_bytes": 1048576,
        "timeout_s": 60.0,
        "retries": 2,
        "read_only": False,
    }


@pytest.mark.parametrize("word", ["soft", "softerr"])
def test_soft_mounts(word: str) -> None:
    (row,) = value_of("storage_mounts", table(NFS.replace("hard", word)), "nfs.mounts")
    assert row["hard"] is False


def test_an_option_that_is_not_said_is_not_guessed() -> None:
    (row,) = value_of("storage_mounts", table("1 1 0:1 / /x rw - nfs nas:/x rw"), "nfs.mounts")
    assert row["hard"] is None
    assert set(row["_errors"]) >= {"hard", "version", "proto"}


def test_lustre_locks() -> None:
    for said, flock in (("flock", "flock"), ("localflock", "localflock"), ("noflock", "noflock"), ("x", "noflock")):
        (row,) = value_of("storage_mounts", table(LUSTRE.replace("rw,flock", f"rw,{said}")), "lustre.mounts")
        assert (row["filesystem"], row["flock"]) == ("lfs01", flock)


def test_a_mount_over_another_hides_it() -> None:
    auto = "50 29 0:50 / /home rw - autofs systemd-1 rw"
    (row,) = value_of("storage_mounts", table(auto, NFS), "storage.mounts")
    assert row["fstype"] == "nfs4"


def test_a_table_without_its_end_is_an_error() -> None:
    for text in ("", f"{ROOT}\n", f"{ROOT}\nnd_total 0 1\n", f"{ROOT}\nnd_total 38 0\n", f"{ROOT}\nnd_total 900 700\n"):
        for name in NAMES:
            assert state_of("storage_mounts", [cmd(TABLE, text)], name) == "error", text


def test_nothing_mounted_is_a_value() -> None:
    for name in NAMES:
        assert value_of("storage_mounts", table(), name) == []


def test_recorded_kubernetes_node(shared: Path) -> None:
    lines = (shared / "recordings/public/disk/mountinfo-k8s.txt").read_text().splitlines()
    fact = fact_of("storage_mounts", table(*lines, total=len(lines)), "storage.mounts")
    assert fact.state is FactState.VALUE
    assert len(fact.value) > 50


@given(st.text(max_size=300))
def test_any_table_is_read_without_raising(text: str) -> None:
    for sections in ([cmd(TABLE, text)], table(text), table(f"1 1 0:1 / /x rw - nfs4 {text} rw")):
        for fact in facts_of("storage_mounts", sections, *NAMES).values():
            assert fact.state is not FactState.ABSENT
            assert "could not be read (" not in fact.reason
