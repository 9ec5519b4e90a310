"""Kernel, boot arguments, identity of a node."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from replies import NODE, cmd, fact_of, facts_of, file, grep, no_file, state_of, value_of

from nodectl.facts.gather import gather
from nodectl.facts.host.kernel import last_argument, split_cmdline, version_of
from nodectl.model import FactState
from nodectl.probe.transcript import Section, write_transcript

RELEASE = "/proc/sys/kernel/osrelease"
HOSTNAME = "/proc/sys/kernel/hostname"
BOOT_ID = "/proc/sys/kernel/random/boot_id"
DATE = "date -u +%Y-%m-%dT%H:%M:%SZ"
FILES = {
    RELEASE: "6.8.0-1021-aws",
    HOSTNAME: "gpu-017",
    BOOT_ID: "3afa61cf-ff7e-48b2-8147-e4c37fc18ca3",
    "/proc/uptime": "2791.26 5408.47",
}


def _node(
    cmdline: str = "BOOT_IMAGE=/vmlinuz root=UUID=1 ro quiet iommu=pt\n", machine_id: str = "0" * 31 + "1\n"
) -> list[Section]:
    return [
        grep(FILES),
        file("/proc/cmdline", cmdline),
        file("/etc/machine-id", machine_id),
        cmd("uname -m", "x86_64\n"),
        cmd(DATE, "2026-11-20T22:28:01Z\n"),
    ]


def test_a_node() -> None:
    facts = facts_of(
        "node", _node(), "kernel.release", "kernel.version", "kernel.arch", "kernel.args", "node.hostname",
        "node.boot_id", "node.machine_id", "node.uptime_s", "node.time_utc", "node.uid",
    )  # fmt: skip
    assert {name: fact.value for name, fact in facts.items()} == {
        "kernel.release": "6.8.0-1021-aws",
        "kernel.version": "6.8.0",
        "kernel.arch": "x86_64",
        "kernel.args": ["BOOT_IMAGE=/vmlinuz", "root=UUID=1", "ro", "quiet", "iommu=pt"],
        "node.hostname": "gpu-017",
        "node.boot_id": "3afa61cf-ff7e-48b2-8147-e4c37fc18ca3",
        "node.machine_id": "0" * 31 + "1",
        "node.uptime_s": 2791.26,
        "node.time_utc": "2026-11-20T22:28:01Z",
        "node.uid": 0,
    }


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("iommu", "pt"),
        ("quiet", ""),
        ("root", "UUID=1"),
        ("console", "ttyS0,115200"),
        ("transparent-hugepage", "never"),
        ("transparent_hugepage", "never"),
        ("dyndbg", "file a.c +p; x"),
        ("a b", "c"),
        ("init", None),
        ("iomm", None),
    ],
)
def test_arguments(name: str, value: str | None) -> None:
    line = (
        "root=UUID=1 console=tty0 quiet iommu=off transparent_hugepage=always console=ttyS0,115200 iommu=pt"
        ' transparent-hugepage=never dyndbg="file a.c +p; x" "a b=c" -- init=/bin/sh'
    )
    assert last_argument(split_cmdline(line), name) == value


def test_an_argument_not_given_is_absent_and_a_bare_flag_is_empty() -> None:
    assert value_of("node", _node(), "kernel.arg[quiet]") == ""
    assert value_of("node", _node(), "kernel.arg[iommu]") == "pt"
    fact = fact_of("node", _node(), "kernel.arg[amd_iommu]")
    assert (fact.state, fact.reason) == (FactState.ABSENT, "amd_iommu is not among the boot arguments")


def test_arguments_that_could_not_be_read_are_errors() -> None:
    for why in ("Permission denied", "Input/output error"):
        sections = [no_file("/proc/cmdline", why) if one.name == "/proc/cmdline" else one for one in _node()]
        for name in ("kernel.cmdline", "kernel.args", "kernel.arg[quiet]"):
            assert state_of("node", sections, name) == "error"
    assert state_of("node", _node(cmdline=""), "kernel.arg[quiet]") == "error"


@pytest.mark.parametrize(
    ("text", "args"),
    [
        ("", []),
        ("  a   b\n", ["a", "b"]),
        ('a="b c" d', ["a=b c", "d"]),
        ('"a=b c" d', ["a=b c", "d"]),
        ('a="b c', ["a=b c"]),
        ("a -- b c", ["a"]),
        ("a--b --", ["a--b"]),
        ('a=b"c d"e f', ['a=b"c d"e', "f"]),
    ],
)
def test_splitting(text: str, args: list[str]) -> None:
    assert split_cmdline(text) == args


@given(st.lists(st.from_regex(r"[a-z_.]{1,9}(=[a-z0-9,.:/=-]{0,9})?", fullmatch=True)))
def test_plain_arguments_are_what_stands_between_spaces(args: list[str]) -> None:
    assert split_cmdline(" ".join(args)) == args


@given(st.text())
def test_any_line_is_split_without_raising(text: str) -> None:
    split_cmdline(text)


@pytest.mark.parametrize(
    ("release", "version"),
    [
        ("5.15.0-1053-nvidia", "5.15.0"),
        ("4.18.0-553.el8_10.x86_64", "4.18.0"),
        ("6.8-rc1", "6.8.0"),
        ("6.6.0+", "6.6.0"),
    ],
)
def test_versions(release: str, version: str) -> None:
    assert version_of(release) == version


def test_a_release_that_is_none_is_an_error_in_both_facts() -> None:
    sections = [grep({RELEASE: "unknown"})]
    assert state_of("node", sections, "kernel.release") == "error"
    assert state_of("node", sections, "kernel.version") == "error"


@pytest.mark.parametrize(
    ("text", "state"), [("", "absent"), ("uninitialized\n", "absent"), ("xyz\n", "error"), ("0" * 32, "value")]
)
def test_machine_ids(text: str, state: str) -> None:
    assert state_of("node", _node(machine_id=text), "node.machine_id") == state


def test_a_missing_proc_is_an_error_never_absent() -> None:
    sections = [Section("text", "not mounted", "/proc"), grep({}, missing=FILES), no_file("/proc/cmdline")]
    for name in ("kernel.release", "kernel.cmdline", "kernel.arg[quiet]", "node.boot_id", "node.uptime_s"):
        fact = fact_of("node", sections, name)
        assert fact.state is FactState.ERROR
        assert "/proc is not mounted" in fact.reason


def test_a_host_name_cannot_be_anything_but_a_name() -> None:
    hostile = [grep({HOSTNAME: "a b; \\x1b[31m"})]
    assert state_of("node", hostile, "node.hostname") == "error"


def test_the_user_id_is_that_of_the_transcript() -> None:
    transcript = write_transcript({"node": _node()}, uid=1000)
    assert gather(transcript, ["node.uid"], NODE)["node.uid"].value == 1000


def test_a_command_that_failed_is_an_error() -> None:
    broken = [replace(one, rc=1, stderr="boom\n") if one.name == "uname -m" else one for one in _node()]
    fact = fact_of("node", broken, "kernel.arch")
    assert (fact.state, fact.reason) == (FactState.ERROR, "uname -m failed (rc 1): boom")
    missing = [replace(one, rc=127) if one.name == "uname -m" else one for one in _node()]
    assert fact_of("node", missing, "kernel.arch").reason == "uname not found on the node"
