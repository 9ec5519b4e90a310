"""Every recorded file of a kind that nodectl reads, through facts and all checks: faults are found, health is believed.

The recordings are other people's machines, read where they lie. `INDEX.yaml` beside them says which are faulty.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml
from recorded_files import BOOT_S, H200X8, KINDS, NOT_READ, builder, kernel_log, read, transcript_of, unread

from nodectl.catalogue import Selection, select
from nodectl.engine import catalogue_for_run
from nodectl.engine.evaluate import evaluate
from nodectl.facts.gather import gather
from nodectl.facts.kernel_log.lines import Clock, read_lines
from nodectl.model import Fact, Finding, Node, Outcome, Severity
from nodectl.probe.__main__ import run_source
from nodectl.probe.compose import load_sources
from nodectl.probe.transcript import write_transcript

PROFILES = ("default", "training")
# No recorded log begins at boot, and none says when its machine booted.
OF_ANY_LOG = {"log.complete"}

# Faulty file -> the checks that fail on it, and no others.
FAULTY: Mapping[str, set[str]] = {
    "dmesg/gcm-xid31-48.txt": {"xid.hardware_fault", "xid.application"},
    "dmesg/gpud-disk-nvme.txt": {"log.storage"},
    "dmesg/gpud-mlx5-events.txt": {"log.warnings"},
    "dmesg/gpud-nccl-peermem.txt": {"nccl.no_crashes"},
    "dmesg/gpud-xid79-sxid20034.txt": {"xid.hardware_fault", "sxid.fatal", "log.hardware"},
    "dmesg/h100-boot-550.90.07-iso.txt": {"log.warnings"},
    "dmesg/h100-xid13-xid43-iso.txt": {"xid.repeated_fault", "xid.application"},
    "dmesg/memory-oom.txt": {"log.stuck", "xid.application"},
    "dmesg/nccl-segfault.txt": {"nccl.no_crashes"},
    "dmesg/os-vfs.txt": {"log.warnings"},
    "dmesg/peermem-invalid-context.txt": {"log.warnings"},
    "dmesg/xid119-gsp-timeout.txt": {"xid.hardware_fault"},
    "fabricmanager/fm-log-12028-one.txt": {"sxid.non_fatal"},
    "ibstat/h100-some-down-1.txt": {"rdma.ports_up"},
    "journal/nvsentinel-nic-driver.txt": {"log.network", "log.warnings"},
    "journal/nvsentinel-xid-lines.txt": {"xid.hardware_fault", "xid.recovery_action", "xid.notice", "xid.application"},
    # Replays are judged by their rate since boot, and nobody recorded when that was.
    "nvidia-smi-q/h100-x8-535.161.08-hw-slowdown.txt": {"gpu.clock_events"},
    "nvidia-smi-q/gpud-a10-550.127.05-hw-slowdown.txt": {"gpu.clock_events"},
    "nvidia-smi-q/aznhc-retired-pages-bad.txt": {"gpu.retired_pages", "gpu.retired_pages_not_pending"},
    "nvlink/aznhc-a100-all-inactive.txt": {"nvlink.link_count"},
    "pstore/panic-erst-combined.txt": {"log.stuck"},
}
# Excerpts, which are not what nvidia-smi prints: the check of their fault must be unknown.
CANNOT_BE_READ: Mapping[str, set[str]] = {
    "nvidia-smi-q/stas-ecc-excerpt-510.73.08.txt": {"gpu.row_remap_not_pending", "gpu.ecc_correctable"},
    "nvidia-smi-q/stas-retired-pages-excerpt.txt": {"gpu.retired_pages_not_pending", "gpu.retired_pages"},
}
# A drive that was called bad for the number of entries in its error log, which harmless commands fill.
NOT_LOOKED_FOR = {"smartctl/gcm-cache-nvme3-bad.json"}

# File of a healthy machine -> what fails there of medium severity and above all the same, and rightly so.
TRUE_ALL_THE_SAME: Mapping[str, set[str]] = {
    # Desktop cards, and machines that were left as they came: persistence mode is off.
    "nvidia-smi-q/nge-rtx4080s-595.71.05-idle.txt": {"persistence.mode"},
    "nvidia-smi-q/nge-rtx4080s-595.71.05-load.txt": {"persistence.mode"},
    "nvidia-smi-q/titan-v-x1-560.35.03.txt": {"persistence.mode"},
    "nvidia-smi-xml/telegraf-gtx-1660-ti.xml": {"persistence.mode"},
    "nvidia-smi-xml/telegraf-quadro-p400.xml": {"persistence.mode"},
    "nvidia-smi-xml/netdata-rtx-3060.xml": {"persistence.mode"},
    "nvidia-smi-xml/telegraf-a10g.xml": {"persistence.mode"},
    # Power limit raised from 320 W to 336 W.
    "nvidia-smi-xml/telegraf-rtx-3080-v12.xml": {"gpu.power_limit_default"},
    # Of four attached GPUs one was kept in the file.
    "nvidia-smi-xml/telegraf-a100-sxm4-v12.xml": {"gpu.all_attached", "gpu.count_expected", "persistence.mode"},
    # A laptop.
    "sysfs-cpufreq/nodeexp/": {"cpu.governor"},
    # A test archive of a program that reads the counters: they are made up, and not healthy.
    "sysfs-edac/nodeexp/": {"os.memory_uncorrected"},
    # A container's limit of open files, which training asks more of.
    "h200x8/limits.txt": {"limits.nofile"},
}
# Whether it is a VM, or has its NVLinks switched off, matters only where a GPU has no links.
ONLY_WITHOUT_LINKS = {"virt.is_vm", "driver.param[NvLinkDisable]"}


class Judged(NamedTuple):
    facts: Mapping[str, Fact]
    findings: tuple[Finding, ...]

    def failed(self, least: Severity = Severity.INFO) -> set[str]:
        return {
            finding.check
            for finding in self.findings
            if finding.outcome is Outcome.FAIL and finding.severity.rank >= least.rank
        } - OF_ANY_LOG

    def of(self, outcome: Outcome) -> set[str]:
        return {finding.check for finding in self.findings if finding.outcome is outcome}


@lru_cache(maxsize=2)
def selection(profile: str) -> Selection:
    return select(catalogue_for_run.load(), profile)


def judge(path: Path, name: str, profile: str = "default") -> Judged:
    """A recorded file through the facts and the checks of a profile."""
    build = builder(name) or H200X8[path.name]
    transcript, node = transcript_of(build(path))
    facts = gather(transcript, selection(profile).facts, node)
    return Judged(facts, evaluate(selection(profile), facts, node.name))


def path_of(shared: Path, name: str) -> Path:
    return shared / "recordings" / ("" if name.startswith("h200x8/") else "public") / name


@pytest.fixture(scope="module")
def index(shared: Path) -> dict[str, dict[str, Any]]:
    listed = yaml.safe_load((shared / "recordings" / "public" / "INDEX.yaml").read_text())
    return {entry["file"]: entry for entry in listed}


@pytest.fixture(scope="module")
def names(index: Mapping[str, Any]) -> list[str]:
    """Of every file that nodectl reads."""
    return [name for name in index if builder(name)] + [f"h200x8/{name}" for name in H200X8]


def test_every_folder_is_read_or_left_out_on_purpose(index: Mapping[str, Any]) -> None:
    folders = {name.partition("/")[0] for name in index}
    assert folders == set(KINDS) | NOT_READ
    assert not set(KINDS) & NOT_READ


def test_every_faulty_file_is_in_one_of_the_lists(index: Mapping[str, Any], names: list[str]) -> None:
    faulty = {name for name in names if index.get(name, {}).get("condition") == "faulty"}
    assert faulty == set(FAULTY) | set(CANNOT_BE_READ) | NOT_LOOKED_FOR
    assert set(names) - faulty >= set(TRUE_ALL_THE_SAME)


@pytest.mark.parametrize("profile", PROFILES)
def test_nothing_breaks_and_nothing_passes_unseen(shared: Path, names: list[str], profile: str) -> None:
    assert len(names) > 70
    for name in names:
        judged = judge(path_of(shared, name), name, profile)
        for fact in judged.facts.values():
            assert "could not read the answer" not in fact.reason, (name, fact)
            assert "a fault in nodectl" not in fact.reason, (name, fact)
        for problem in malformed(judged, profile):
            raise AssertionError((name, problem))
        blind = unread(judged.facts)
        for check in selection(profile).checks:
            needed = set(check.facts) - (ONLY_WITHOUT_LINKS if check.area == "nvlink" else set())
            if blind & needed:
                assert check.id not in judged.of(Outcome.PASS), (name, check.id, blind & needed)


def malformed(judged: Judged, profile: str) -> Iterator[object]:
    """What is wrong with the form of the findings."""
    said: dict[str, list[Finding]] = {}
    for finding in judged.findings:
        said.setdefault(finding.check, []).append(finding)
        if "could not be evaluated" in finding.reason:
            yield finding
        if finding.outcome is Outcome.FAIL and not (finding.expected and finding.actual):
            yield finding
        if finding.outcome in (Outcome.UNKNOWN, Outcome.NOT_APPLICABLE) and not finding.reason:
            yield finding
        if finding.outcome is Outcome.PASS and not (finding.actual or finding.reason):
            yield finding
        if "()" in finding.actual + finding.reason or " None " in finding.reason:
            yield finding
    if list(said) != [check.id for check in selection(profile).checks]:
        yield "not one of each check, in order"
    for findings in said.values():
        good = {finding.outcome for finding in findings} & {Outcome.PASS, Outcome.NOT_APPLICABLE}
        if good and len(findings) > 1:
            yield findings
        if len({finding.subject for finding in findings}) < len(findings):
            yield findings


@pytest.mark.parametrize("name", sorted(FAULTY))
def test_the_fault_is_found_and_no_other(shared: Path, name: str) -> None:
    assert judge(path_of(shared, name), name).failed() == FAULTY[name]


@pytest.mark.parametrize("name", sorted(CANNOT_BE_READ))
def test_a_fault_that_cannot_be_read_is_unknown(shared: Path, name: str) -> None:
    judged = judge(path_of(shared, name), name)
    assert judged.of(Outcome.UNKNOWN) >= CANNOT_BE_READ[name]
    assert judged.failed() == {"driver.answers"}


@pytest.mark.parametrize("name", sorted(NOT_LOOKED_FOR))
def test_what_is_no_fault_of_the_node_is_no_finding(shared: Path, name: str) -> None:
    assert judge(path_of(shared, name), name).failed() == set()


@pytest.mark.parametrize("profile", PROFILES)
def test_a_healthy_machine_is_well(shared: Path, index: Mapping[str, Any], names: list[str], profile: str) -> None:
    for name in names:
        if index.get(name, {}).get("condition") != "faulty":
            failed = judge(path_of(shared, name), name, profile).failed(Severity.MEDIUM)
            wanted = TRUE_ALL_THE_SAME.get(name, set())
            assert failed == wanted - ({"limits.nofile"} if profile == "default" else set()), name


def as_dmesg(text: str) -> str:
    """A log in any form as the lines that dmesg prints: seconds since boot, and the message."""
    lines, at = [], 0.0
    for line in read_lines(text, Clock(boot_s=BOOT_S)):
        at = at if line.first_s is None else line.first_s - BOOT_S
        lines.append(f"[{at:12.6f}] {line.message}\n")
    return "".join(lines)


@pytest.mark.skipif(sys.platform != "linux", reason="the probe's sources are for Linux")
def test_what_the_probe_picks_out_of_a_log_on_the_node_is_enough(
    shared: Path, names: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The node sends the lines that matter, folded. They give the same findings as the whole log."""
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    for command, body in (("dmesg", f"cat '{tmp_path}/log'"), ("journalctl", "exit 1")):
        (tmp_path / command).write_text(f"#!/bin/sh\n{body}\n")
        (tmp_path / command).chmod(0o755)
    done = 0
    for name in names:
        if name.partition("/")[0] not in ("dmesg", "journal", "kmsg", "pstore"):
            continue
        log = tmp_path / "log"
        log.write_text(as_dmesg(read(path_of(shared, name))))
        whole: Mapping[str, Any] = kernel_log(log).sources
        picked = {**whole, "kernel_log": run_source(load_sources()["kernel_log"], [], shell=["sh"])}
        found = []
        for sources in (whole, picked):
            facts = gather(write_transcript(sources), selection("default").facts, Node(name="recorded"))
            assert "kernel.log_events" not in unread(facts), name
            found.append(subjects(evaluate(selection("default"), facts, "recorded")))
        assert found[0] == found[1], name
        done += 1
    assert done > 15


def subjects(findings: Iterable[Finding]) -> set[tuple[str, str]]:
    return {(f.check, f.subject) for f in findings if f.outcome is Outcome.FAIL and f.check not in OF_ANY_LOG}
