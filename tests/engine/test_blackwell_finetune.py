"""The profile blackwell-finetune on a B200 node: what is right passes, and what is often advised and wrong fails."""

from __future__ import annotations

from typing import Any

from nodectl.catalogue import select
from nodectl.engine import catalogue_for_run
from nodectl.engine.evaluate import evaluate
from nodectl.model import Fact, Finding, Outcome, absent, present

B200 = {"index": 0, "name": "NVIDIA B200", "architecture": "Blackwell", "pci_id": "10de:2901"}
NODE: dict[str, Any] = {
    "nvidia.pci_count": 8,
    "gpu.pci_ids": ["10de:2901"],
    "gpu.devices": [B200],
    "kernel.arch": "x86_64",
    "cuda.compat": [],
    "expect.venvs": ["/opt/train"],
    "expect.precisions": None,
}
GOOD = {
    "torch": "2.9.1",
    "torch_build": "cu130",
    "torch_cuda": "13.0",
    "triton": "3.5.1",
    "transformer_engine": "2.9.0",
    "flash_attn_4": "4.0.0b1",
    "bitsandbytes": "0.48.2",
    "nccl": "2.28.9",
    "nccl_cuda_major": 13,
}
# "CUDA 12.8+ and PyTorch 2.4+", "FlashAttention 3 on Blackwell tensor cores", and what was current with them.
ADVISED = {
    "torch": "2.4.1",
    "torch_build": "cu124",
    "torch_cuda": "12.4",
    "triton": "3.0.0",
    "transformer_engine": "1.9.0",
    "flash_attn_3": "3.0.0b1",
    "bitsandbytes": "0.43.3",
    "nccl": "2.20.5",
    "nccl_cuda_major": 12,
}


def judged(packages: dict[str, Any], **facts: Any) -> dict[str, Finding]:
    """Findings of the area workload by check, of a node with these packages in its environment."""
    selection = select(catalogue_for_run.load(), "blackwell-finetune", areas=("workload",))
    values = {
        **NODE,
        "driver.version": "580.159.04",
        "cuda.driver_version": "13.0",
        "workload.venvs": [{"path": "/opt/train", "found": True, "python": "3.12", **packages}],
        **facts,
    }
    given: dict[str, Fact] = {
        name: absent(name, "not declared") if value is None else present(name, value) for name, value in values.items()
    }
    return {finding.check: finding for finding in evaluate(selection, given, "n1")}


def failed(findings: dict[str, Finding]) -> set[str]:
    assert not [finding for finding in findings.values() if finding.outcome is Outcome.UNKNOWN]
    return {check for check, finding in findings.items() if finding.outcome is Outcome.FAIL}


def test_what_goes_together_passes() -> None:
    findings = judged(GOOD)
    assert failed(findings) == set()
    passed = {check for check, finding in findings.items() if finding.outcome is Outcome.PASS}
    assert {"workload.torch_gpu", "workload.torch_driver", "workload.number_formats", "workload.cuda_level"} <= passed


def test_advice_of_yesterday_fails() -> None:
    assert failed(judged(ADVISED)) == {
        "workload.torch_gpu",
        "workload.jit_toolchain",
        "workload.triton",
        "workload.transformer_engine",
        "workload.flash_attention_3",
        "workload.bitsandbytes",
        "workload.nccl_gpu",
    }


def test_the_default_wheel_on_the_first_blackwell_driver_fails() -> None:
    findings = judged(GOOD, **{"driver.version": "570.172.08", "cuda.driver_version": "12.8"})
    assert failed(findings) == {"workload.torch_driver"}


def test_a_hopper_node_is_not_what_this_profile_is_for() -> None:
    hopper = {"index": 0, "name": "NVIDIA H200", "architecture": "Hopper", "pci_id": "10de:2335"}
    findings = judged(GOOD, **{"gpu.pci_ids": ["10de:2335"], "gpu.devices": [hopper]})
    assert failed(findings) == {"workload.number_formats"}
