"""The probe source of the kernel log, run by real shells with a `dmesg` and a `journalctl` of our own."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
from replies import NODE

from nodectl.facts.gather import gather
from nodectl.facts.kernel_log.log import FACTS
from nodectl.model import Fact
from nodectl.probe.__main__ import run_source
from nodectl.probe.compose import load_sources
from nodectl.probe.transcript import SourceReply, write_transcript

SHELLS = {"dash": ["dash"], "busybox": ["busybox", "sh"], "bash": ["bash", "--posix"], "sh": ["sh"]}
FIRST = "[    0.000000] Linux version 6.8.0-45-generic (x)"

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the probe's sources are for Linux")


class Node:
    """Commands that stand in for a node's."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.command("journalctl", "exit 1")

    def command(self, name: str, body: str) -> None:
        path = self.folder / name
        path.write_text(f"#!/bin/sh\n{body}\n")
        path.chmod(0o755)

    def log(self, name: str, text: str) -> None:
        (self.folder / f"{name}.txt").write_text(text)
        self.command(name, f"cat '{self.folder}/{name}.txt'")

    def probe(self, shell: str = "sh") -> SourceReply:
        return run_source(load_sources()["kernel_log"], [], shell=SHELLS[shell])

    def facts(self, shell: str = "sh") -> dict[str, Fact]:
        return gather(write_transcript({"kernel_log": self.probe(shell)}), [spec.name for spec in FACTS], NODE)


@pytest.fixture
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Node:
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    return Node(tmp_path)


def rows(fact: Fact) -> list[dict[str, Any]]:
    assert isinstance(fact.value, list), fact
    return fact.value


@pytest.mark.parametrize("shell", SHELLS)
def test_every_shell_reads_it_alike(node: Node, shell: str) -> None:
    if shutil.which(SHELLS[shell][0]) is None:
        pytest.skip(f"no {SHELLS[shell][0]} on this machine")
    node.log(
        "dmesg",
        f"{FIRST}\n[    1.000000] NVRM: loading NVIDIA UNIX x86_64 Kernel Module  550.90.07\n"
        "[   50.500000] NVRM: Xid (PCI:0000:3b:00): 31, pid=4711, name=python3, Ch 00000008\n"
        "[   51.500000] NVRM: Xid (PCI:0000:3b:00): 31, pid=4712, name=python3, Ch 00000008\n"
        "[   60.000000] eth0: link is up\n"
        "[   61.000000] nvidia-nvswitch1: SXid (PCI:0000:06:00.0): 20034, Fatal, Link 48 LTSSM Fault Up\n"
        "[   62.000000] EDAC MC0: 1 UE memory read error on CPU_SrcID#0_MC#0_Chan#1_DIMM#0 (channel:1)\n",
    )
    facts = node.facts(shell)
    assert [(row["xid"], row["count"]) for row in rows(facts["xid.events"])] == [(31, 2)]
    assert [row["sxid"] for row in rows(facts["sxid.events"])] == [20034]
    assert [(row["kind"], row["level"]) for row in rows(facts["kernel.log_events"])] == [("edac", "error")]
    assert facts["kernel.log_complete"].value is True


def test_a_flood_is_folded_on_the_node_and_hides_nothing(node: Node) -> None:
    flood = (
        f"[{100 + i / 100:.6f}] pcieport 0000:17:00.0: PCIe Bus Error: severity=Corrected, (pid {i})"
        for i in range(60_000)
    )
    xid = "[  350.000000] NVRM: Xid (PCI:0000:91:00): 79, GPU has fallen off the bus."
    lines = list(flood)
    node.log("dmesg", "\n".join([FIRST, *lines[:25_000], xid, *lines[25_000:]]) + "\n")
    reply = node.probe()
    assert sum(len(section.text) for section in reply.sections) < 2000
    facts = node.facts()
    assert [row["xid"] for row in rows(facts["xid.events"])] == [79]
    (aer,) = rows(facts["kernel.log_events"])
    assert (aer["count"], aer["device"]) == (60_000, "0000:17:00.0")
    assert aer["last_s"] - aer["first_s"] == pytest.approx(599.99)
    assert facts["kernel.log_complete"].value is True


def test_more_kinds_of_messages_than_there_is_room_for_are_counted_and_no_xid_is_among_them(node: Node) -> None:
    names = [f"{chr(97 + i // 676)}{chr(97 + i // 26 % 26)}{chr(97 + i % 26)}" for i in range(3000)]
    other = "".join(f"[  10.000000] Out of memory: Killed process 1 ({name}) total-vm:1kB\n" for name in names)
    xids = "".join(f"[  {20 + i}.000000] NVRM: Xid (PCI:0000:{i:02x}:00): 48, pid=1\n" for i in range(16))
    node.log("dmesg", f"{FIRST}\n{other}{xids}")
    facts = node.facts()
    assert len(rows(facts["xid.events"])) == 16
    assert facts["kernel.log_complete"].value is False
    reply = node.probe()
    assert any("nd_dropped 2000" in section.text for section in reply.sections)


def test_how_often_an_xid_came_back_survives_the_folding(node: Node) -> None:
    crash = "".join(
        f"[{hour * 3600 + i / 100:.6f}] NVRM: Xid (PCI:0000:3b:00): 13, pid=1, (GPC 1, TPC 2, SM {i % 4})\n"
        for hour in (1, 2, 30)
        for i in range(500)
    )
    node.log("dmesg", f"{FIRST}\n{crash}")
    (row,) = rows(node.facts()["xid.events"])
    assert (row["count"], row["incidents_24h"], row["repeated_unit"]) == (1500, 2, "GPC 1, TPC 2")


def test_folding_does_not_cross_a_driver_load(node: Node) -> None:
    xid = "NVRM: Xid (PCI:0000:3b:00): 119, pid=1, Timeout after 6s"
    load = "NVRM: loading NVIDIA UNIX x86_64 Kernel Module  550.90.07"
    node.log("dmesg", f"{FIRST}\n[  1.0] {load}\n[  10.0] {xid}\n[  20.0] {load}\n[  30.0] {xid}\n")
    found = [(row["count"], row["before_reset"]) for row in rows(node.facts()["xid.events"])]
    assert found == [(1, True), (1, False)]


def test_the_journal_goes_first_and_its_times_are_kept(node: Node) -> None:
    node.log("dmesg", f"{FIRST}\n")
    node.log(
        "journalctl",
        "1737128175.365853 gpu7 kernel: Linux version 6.8.0\n"
        "1737128999.250000 gpu7 kernel: NVRM: Xid (PCI:0000:4f:00): 119, pid=1, name=nvidia-smi, Timeout\n",
    )
    facts = node.facts()
    (row,) = rows(facts["xid.events"])
    assert (facts["kernel.log_source"].value, row["first_s"]) == ("journal", 1737128999.25)
    assert facts["kernel.log_complete"].value is True


def test_no_permission_is_said(node: Node) -> None:
    node.command("dmesg", "echo 'dmesg: read kernel buffer failed: Operation not permitted' >&2; exit 1")
    for fact in node.facts().values():
        assert fact.state.value == "error"
        assert fact.reason.startswith("needs root")


def test_a_journal_with_nothing_in_it_is_no_clean_log(node: Node) -> None:
    node.command("journalctl", "echo 'No journal files were opened due to insufficient permissions.' >&2; exit 1")
    node.command("dmesg", "echo 'dmesg: read kernel buffer failed: Operation not permitted' >&2; exit 1")
    assert node.facts()["xid.events"].state.value == "error"
