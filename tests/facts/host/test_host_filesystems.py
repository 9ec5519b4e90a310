"""Local file systems: space, inodes, and what the kernel turned read-only."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from replies import cmd, fact_of, facts_of, state_of, value_of

from nodectl.probe.transcript import Section

TABLE = "/proc/self/mountinfo"
ROOT = "31 1 253:0 / / rw,relatime shared:1 - ext4 /dev/sda2 rw,errors=remount-ro\n"


def fs(table: str, *statfs: Section) -> list[Section]:
    return [cmd(TABLE, f"{table}nd_total 38\n"), *statfs]


def only(sections: list[Section]) -> dict[str, object]:
    (row,) = value_of("filesystems", sections, "fs.local")
    assert isinstance(row, dict)
    return row


def test_space_as_df_counts_it() -> None:
    row = only(fs(ROOT, cmd("statfs", "4096 1000 400 300 500 450 /\n")))
    # 600 blocks used and 300 to have: a third of what users can have is free.
    assert (row["size_mib"], row["available_mib"], row["free_pct"]) == (3, 1, 33.3)
    assert (row["inodes"], row["inodes_free_pct"]) == (500, 90.0)
    assert (row["path"], row["source"], row["fstype"], row["read_only"]) == ("/", "/dev/sda2", "ext4", False)


def test_a_full_disk_with_reserved_blocks_is_not_negative() -> None:
    row = only(fs(ROOT, cmd("statfs", "4096 1000 40 -10 500 0 /\n")))
    assert (row["available_mib"], row["free_pct"], row["inodes_free_pct"]) == (0, 0.0, 0.0)


def test_file_systems_without_inodes() -> None:
    row = only(fs(ROOT.replace("ext4", "btrfs"), cmd("statfs", "4096 1000 400 300 0 0 /\n")))
    assert (row["inodes"], row["inodes_free_pct"]) == (None, None)


@pytest.mark.parametrize(
    ("mount", "own", "purpose", "turned"),
    [
        ("rw,relatime", "rw,errors=remount-ro", False, False),
        ("ro,relatime", "ro", True, False),
        ("ro,relatime", "rw", True, False),
        ("rw,relatime", "ro,errors=remount-ro", False, True),
        ("rw,relatime", "rw,emergency_ro", False, True),
        ("rw,relatime", "rw,shutdown", False, True),
    ],
)
def test_read_only_by_whom(mount: str, own: str, purpose: bool, turned: bool) -> None:
    row = only(fs(f"31 1 253:0 / /x {mount} shared:1 - ext4 /dev/sda2 {own}\n"))
    assert (row["read_only"], row["turned_read_only"]) == (purpose, turned)


def test_a_stat_that_hung_is_an_error_of_its_sizes() -> None:
    for statfs in ([], [cmd("statfs", "", "", 124)], [cmd("statfs", "4096 x /\n")]):
        row = only(fs(ROOT, *statfs))
        errors = row["_errors"]
        assert isinstance(errors, dict)
        assert set(errors) == {"size_mib", "available_mib", "free_pct", "inodes", "inodes_free_pct"}
    assert "did not end in its time" in str(only(fs(ROOT, cmd("statfs", "", "", 124)))["_errors"])


def test_paths_with_spaces_are_shown_as_they_are() -> None:
    assert only(fs(ROOT.replace(" / / ", " / /my\\040disk ")))["path"] == "/my disk"


@pytest.mark.parametrize("text", ["", "31 1 253:0 / /\nnd_total 3\n", f"{ROOT}nd_total 0\n", ROOT])
def test_a_table_that_was_cut_is_an_error(text: str) -> None:
    assert state_of("filesystems", [cmd(TABLE, text)], "fs.local") == "error"


def test_nothing_local_is_an_empty_list() -> None:
    assert value_of("filesystems", fs(""), "fs.local") == []


@given(st.text(max_size=300))
def test_any_text_is_read_without_raising(text: str) -> None:
    for sections in ([cmd(TABLE, text)], fs(ROOT, cmd("statfs", text)), fs(text)):
        for fact in facts_of("filesystems", sections, "fs.local").values():
            assert "could not be read (" not in fact.reason


def test_an_unknown_answer_is_no_size() -> None:
    assert fact_of("filesystems", [cmd(TABLE, "", "denied", 1)], "fs.local").state.value == "error"
