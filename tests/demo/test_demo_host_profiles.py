"""A healthy node of the demo fleet in every profile: host settings and storage pass, or say why they do not apply."""

from __future__ import annotations

import pytest

from nodectl.catalogue import select
from nodectl.demo.story import FLEET
from nodectl.engine import catalogue_for_run
from nodectl.engine.evaluate import evaluate
from nodectl.facts.gather import gather
from nodectl.model import Finding, Node, Outcome, Severity
from nodectl.probe.transcript import Transcript

NONCE = "0123456789abcdef0123456789abcdef"
AREAS = ("kernel", "tcp", "cpu", "limits", "storage")
EXPECT = {
    "nvme": 10,
    "scratch": "/raid",
    "mounts": ["/lustre", {"path": "/home", "fstype": "nfs4", "options": ["hard", "nconnect=8"]}],
    "kernel_args": ["iommu=pt", "init_on_alloc=0"],
    "sysctl": {"kernel.panic_on_oops": 0, "net.ipv4.tcp_rmem": "4096 87380 268435456"},
    "hugepages": {2048: 0},
}
# What profile asks more of than this node, which was set up for training, has: information only.
MORE_ASKED = {
    "default": set(),
    "dgx": set(),
    "training": {"cpu.idle_states"},
    "inference": {"cpu.idle_states", "kernel.swappiness"},
}


def findings(profile: str, expect: dict[str, object]) -> list[Finding]:
    healthy = next(node for node in FLEET if node.name == "gpu-01")
    recording = healthy.recording()
    transcript = Transcript(node="gpu-01", nonce=NONCE, wire=recording.wire(NONCE, recording.sources))
    selection = select(catalogue_for_run.load(), profile, areas=AREAS)
    facts = gather(transcript, selection.facts, Node(name="gpu-01", expect=expect))
    return list(evaluate(selection, facts, "gpu-01"))


@pytest.mark.parametrize("profile", sorted(MORE_ASKED))
@pytest.mark.parametrize("expect", [{}, EXPECT], ids=["nothing declared", "declared"])
def test_a_healthy_node_is_well(profile: str, expect: dict[str, object]) -> None:
    found = findings(profile, expect)
    assert {(one.check, one.reason) for one in found if one.outcome is Outcome.UNKNOWN} == set()
    failed = {one.check: one.severity for one in found if one.outcome is Outcome.FAIL}
    assert set(failed) == MORE_ASKED[profile]
    assert set(failed.values()) <= {Severity.INFO}


def test_what_the_inventory_declares_is_judged() -> None:
    wrong = {"nvme": 12, "scratch": "/scratch", "mounts": ["/data"], "kernel_args": ["audit=0"]}
    wrong |= {"sysctl": {"vm.swappiness": 1}, "hugepages": {2048: 8192}, "irqbalance": True, "iommu": False}
    failed = {one.check for one in findings("default", wrong) if one.outcome is Outcome.FAIL}
    assert failed >= {
        "storage.nvme_count_expected",
        "storage.scratch_mounted",
        "storage.mounts_expected",
        "kernel.arguments_expected",
        "kernel.sysctl_expected",
        "kernel.hugepages_expected",
        "cpu.irqbalance_expected",
    }
