"""Kernels on disk, DKMS builds, reboots that are due."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from replies import cmd, fact_of, facts_of, file, said, state_of, value_of

from nodectl.facts.host.kernels import flavor, newest, order
from nodectl.probe.transcript import Section

DISK = "kernels on disk"
NVIDIA = "nvidia modules on disk"
RPM = "rpm install times"


def node(disk: str, nvidia: str = "", *more: Section) -> list[Section]:
    return [cmd(DISK, disk), cmd(NVIDIA, nvidia + "nd_end\n"), *more]


UBUNTU = (
    "6.8.0-85-generic image modules headers\n6.8.0-90-generic image modules\n5.15.0-1-leftover modules\nnd_running "
)
MODULE = "/lib/modules/6.8.0-85-generic/modules.dep:updates/dkms/nvidia.ko.zst:\n"


def test_what_is_on_disk() -> None:
    rows = value_of("kernels", node(UBUNTU + "6.8.0-85-generic\n", MODULE), "kernel.installed")
    assert [(row["release"], row["running"], row["headers"], row["nvidia_module"]) for row in rows] == [
        ("6.8.0-85-generic", True, True, True),
        ("6.8.0-90-generic", False, False, False),
    ]
    assert rows[0]["nvidia_path"] == "updates/dkms/nvidia.ko.zst"
    assert value_of("kernels", node(UBUNTU + "6.8.0-85-generic\n"), "kernel.newest") == "6.8.0-90-generic"


def test_a_kernel_that_came_from_elsewhere_is_absent() -> None:
    for text in ("nd_running 6.18.44-fc\n", UBUNTU + "6.8.0-85-aws\n"):
        fact = fact_of("kernels", node(text), "kernel.installed")
        assert (fact.state.value, "was not started from this disk" in fact.reason) == ("absent", True)
        assert state_of("kernels", node(text), "kernel.newest") == "absent"


@pytest.mark.parametrize(
    "text", ["", "6.8.0-85-generic image modules\n", "nd_running \n", "6.8.0-85-generic image modules\nnd_run"]
)
def test_a_list_that_was_cut_is_an_error(text: str) -> None:
    assert state_of("kernels", node(text), "kernel.installed") == "error"


@pytest.mark.parametrize("nvidia", ["rubbish\n", "/lib/modules/x/modules.dep\n"])
def test_an_index_that_is_none_is_an_error(nvidia: str) -> None:
    assert state_of("kernels", node(UBUNTU + "6.8.0-85-generic\n", nvidia), "kernel.installed") == "error"


@pytest.mark.parametrize(
    ("release", "name"),
    [
        ("6.8.0-87-generic", "generic"),
        ("6.8.0-1040-nvidia-64k", "nvidia-64k"),
        ("6.1.0-28-cloud-amd64", "cloud-amd64"),
        ("6.12.9+bpo-amd64", "amd64"),
        ("5.14.0-427.13.1.el9_4.x86_64", ""),
        ("5.14.0-427.el9.aarch64+64k", "64k"),
        ("5.15.0-308.179.6.el9uek.x86_64", "uek"),
        ("6.4.0-150600.23.25-default", "default"),
        ("6.1.119-129.201.amzn2023.x86_64", ""),
        ("6.12.54-flatcar", "flatcar"),
        ("6.12.0-rc1", ""),
    ],
)
def test_flavours(release: str, name: str) -> None:
    assert flavor(release) == name


@pytest.mark.parametrize(
    ("older", "newer"),
    [
        ("6.8.0-87-generic", "6.8.0-101-generic"),
        ("6.8.0-101-generic", "6.11.0-9-generic"),
        ("5.14.0-427.el9.x86_64", "5.14.0-427.2.1.el9_4.x86_64"),
        ("5.14.0-503.40.1.el9_5.x86_64", "5.14.0-570.el9.x86_64"),
        ("6.1.0-9-amd64", "6.1.0-28-amd64"),
        ("6.1.0-28-amd64", "6.12.9+bpo-amd64"),
        ("6.4.0-150600.23.25-default", "6.4.0-150700.53.3-default"),
    ],
)
def test_releases_are_ordered_by_their_numbers(older: str, newer: str) -> None:
    assert order(older) < order(newer)
    rows = [{"release": newer, "running": False}, {"release": older, "running": True}]
    assert newest(rows) == newer


def test_flavours_are_not_compared() -> None:
    rows = [{"release": "6.8.0-87-generic", "running": True}, {"release": "6.14.0-1010-nvidia", "running": False}]
    assert newest(rows) == "6.8.0-87-generic"


TREE = """added nvidia/580.159.04
added knem/1.1.4
built nvidia/580.159.04/6.8.0-87-generic/x86_64
built nvidia/580.159.04/6.8.0-90-generic/x86_64
installed nvidia/580.159.04/6.8.0-87-generic/x86_64
nd_end
"""


def test_dkms() -> None:
    rows = value_of("kernels", [cmd("dkms tree", TREE)], "dkms.modules")
    assert [(row["module"], row["kernel"], row["state"]) for row in rows] == [
        ("knem", "", "added"),
        ("nvidia", "6.8.0-87-generic", "installed"),
        ("nvidia", "6.8.0-90-generic", "built"),
    ]
    assert state_of("kernels", [said("dkms tree", "none")], "dkms.modules") == "absent"


@pytest.mark.parametrize("text", ["", "added nvidia/1\n", "broken nvidia/1\nnd_end\n", "installed nvidia\nnd_end\n"])
def test_a_tree_that_is_none_is_an_error(text: str) -> None:
    assert state_of("kernels", [cmd("dkms tree", text)], "dkms.modules") == "error"


def marks(*paths: str) -> Section:
    return cmd("marks of the last update", "".join(f"{path}\n" for path in paths) + "nd_end\n")


def test_what_the_source_said_of_itself_must_be_plain() -> None:
    assert state_of("kernels", [said("dkms tree", "perhaps")], "dkms.modules") == "error"
    assert state_of("kernels", [marks(), said("package manager", "perhaps")], "os.reboot_required") == "error"


def test_debian_marks() -> None:
    dpkg = said("package manager", "dpkg")
    assert value_of("kernels", [marks(), dpkg], "os.reboot_required") is False
    due = [marks("/run/reboot-required"), dpkg, file("/run/reboot-required.pkgs", "linux-base\nlibc6\nlinux-base\n")]
    assert value_of("kernels", due, "os.reboot_required") is True
    assert value_of("kernels", due, "os.reboot_packages") == ["libc6", "linux-base"]
    assert value_of("kernels", due[:2], "os.reboot_packages") == []


def rpm(text: str, rc: int = 0) -> list[Section]:
    return [marks(), cmd("btime", "btime 1762718807\n"), cmd(RPM, text, rc=rc)]


def test_packages_that_were_updated_since_boot() -> None:
    told = "rpm 1600000000\nkernel-core 1600000000\npackage kernel-rt is not installed\nglibc 1762800000\n"
    assert value_of("kernels", rpm(told, 2), "os.reboot_packages") == ["glibc"]
    assert value_of("kernels", rpm(told, 2), "os.reboot_required") is True
    assert value_of("kernels", rpm("rpm 1600000000\nglibc 1600000000\n"), "os.reboot_required") is False
    # A database that does not know rpm itself tells nothing, and rpm's own update needs no reboot.
    assert state_of("kernels", rpm("glibc 1762800000\n"), "os.reboot_required") == "error"
    assert state_of("kernels", rpm("", 127), "os.reboot_required") == "error"
    assert value_of("kernels", rpm("rpm 1762800000\n"), "os.reboot_required") is False


def test_flatcar_asks_its_updater() -> None:
    name = "update_engine_client -status"
    for state, due in (("UPDATE_STATUS_UPDATED_NEED_REBOOT", True), ("UPDATE_STATUS_IDLE", False)):
        status = cmd(name, f"LAST_CHECKED_TIME=0\nPROGRESS=0.0\nCURRENT_OP={state}\nNEW_VERSION=0.0.0\n")
        assert value_of("kernels", [marks(), status], "os.reboot_required") is due
    assert state_of("kernels", [marks(), cmd(name, "", "no bus", 1)], "os.reboot_required") == "error"


def test_a_mark_counts_everywhere_and_no_mark_is_nothing_where_nobody_leaves_one() -> None:
    assert value_of("kernels", [marks("/run/reboot-needed")], "os.reboot_required") is True
    assert state_of("kernels", [marks()], "os.reboot_required") == "absent"


@given(st.text(max_size=300))
def test_any_text_is_read_without_raising(text: str) -> None:
    sections = [
        cmd(DISK, text),
        cmd(NVIDIA, text),
        cmd("dkms tree", text),
        cmd("marks of the last update", text),
        cmd(RPM, text),
    ]
    names = ("kernel.installed", "kernel.newest", "dkms.modules", "os.reboot_required", "os.reboot_packages")
    for fact in facts_of("kernels", sections, *names).values():
        assert "could not be read (" not in fact.reason
        assert "could not read the answer" not in fact.reason


@given(st.text(max_size=200), st.text(max_size=200))
def test_any_two_releases_can_be_ordered(one: str, other: str) -> None:
    assert (order(one) < order(other)) + (order(one) > order(other)) + (order(one) == order(other)) == 1
    flavor(one)
