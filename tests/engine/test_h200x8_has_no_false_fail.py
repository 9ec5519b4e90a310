"""A healthy 8x H200 node (recorded), judged by every driver and GPU check: nothing fails, and every gap is known.

It is a hard case for naive checks: a virtual machine with the GPUs passed through, so NVLink is up with no Fabric
Manager in sight, the fabric's cluster UUID is zeros, the slots are hidden, no NUMA node is known, and the GPUs idle.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from recorded_nodes import h200x8, judged

from nodectl.engine import catalogue_for_run
from nodectl.model import Finding, Outcome

AREAS = ("driver", "cuda", "nccl", "workload", "persistence", "gpu", "nvlink", "pcie", "power")
# What hangs on sources that were not recorded. Everything else must come to a verdict.
NOT_RECORDED = {
    "cuda.toolkit_driver",
    "cuda.toolkit_all_features",
    "cuda.toolkit_knows_gpu",
    "cuda.compat_useful",
    "driver.userspace_matches",
    "driver.on_disk_matches",
    "driver.on_disk_flavor",
    "driver.on_disk_not_too_new",
    "driver.one_userspace",
    "driver.gsp_on_disk",
    "driver.nouveau_not_loaded",
    "driver.device_files",
    "driver.device_permissions",
    "driver.uvm_device",
    "driver.options_loaded",
    "driver.dkms_one_version",
    "driver.dcgm_knows_gpu",
    "driver.dcgm_part",
    "cuda.libcuda_first",
    "cuda.no_visible_devices",
    "nccl.known_faults",
    "nccl.known_issues",
    "nccl.knows_gpu",
    "nccl.package_driver",
    "nccl.plugin_api",
    "nccl.no_disabling_settings",
    "nccl.no_debug_settings",
    "nccl.conf_readable",
    "nccl.socket_interface",
    "nccl.ib_devices",
    "nccl.ib_devices_exact",
    "nccl.tests_present",
    "nccl.no_crashes",
    "persistence.daemon",
    "pcie.gpu_windows",
    "power.host_temperatures",
    "power.chassis",
    "pcie.aer_fatal",
    "pcie.aer_nonfatal",
    "pcie.aer_quiet",
    "pcie.aer_correctable_rate",
}
NOT_JUDGED = {
    "driver.minimum_for_gpu": "not documented",
    "driver.mig_layout": "applies where",
    "workload.number_formats": "no format is asked for",
    "workload.environments": "applies where",
    "workload.torch_build": "applies where",
    "workload.torch_driver": "applies where",
    "workload.torch_gpu": "applies where",
    "workload.jit_toolchain": "applies where",
    "workload.triton": "applies where",
    "workload.transformer_engine": "applies where",
    "workload.bitsandbytes": "applies where",
    "workload.flash_attention_3": "applies where",
    "workload.flash_attention_blackwell": "applies where",
    "workload.nccl_faults": "applies where",
    "workload.nccl_gpu": "applies where",
    "workload.nccl_matches_torch": "applies where",
    "gpu.retired_pages": "remaps rows",
    "gpu.retired_pages_not_pending": "none of the 8",
    "gpu.power_limit_expected": "applies where",
    "gpu.sm_clock_under_load": "idle",
    "gpu.memory_temperature": "not known",
    "gpu.mig_driver": "MIG is off",
    "nvlink.fabric_health": "does not report",
    "nvlink.fabric_manager": "the host runs it",
    "nvlink.fabric_manager_version": "the host runs it",
    "nvlink.subnet_manager": "no GPU here needs",
    "nvlink.imex": "multi-node",
    "nvlink.cluster_identity": "multi-node",
    "nvlink.imex_state": "multi-node",
    "nvlink.imex_nodes": "multi-node",
    "nvlink.imex_channels": "multi-node",
    "nvlink.nvlsm": "no GPU here needs",
    "nvlink.fabric_manager_mode": "the host runs it",
    "power.cooling_class": "applies where",
    "nvlink.links_alike": "documented",
    "nvlink.bit_errors": "does not count",
    "pcie.nic_width": "applies where",
    "pcie.nic_speed": "applies where",
    "pcie.nic_slot": "applies where",
    "pcie.nic_read_request": "applies where",
    "pcie.nics_expected": "applies where",
    "pcie.nvme_link": "applies where",
    "pcie.nvme_speed": "applies where",
    "pcie.path_width": "applies where",
    "pcie.path_speed": "applies where",
    "pcie.max_payload": "pcie.bridges none",
    "pcie.max_payload_full": "pcie.bridges none",
    "pcie.acs_redirect": "applies where",
    "pcie.iommu_identity": "applies where",
    "pcie.nic_ats_in_vm": "applies where",
    "pcie.devices_answer": "none of the 8",
    "pcie.gpu_numa_node": "numa.node_count 1",
}


@pytest.fixture(scope="module")
def findings(shared: Path) -> list[Finding]:
    expect = {"gpus": 8, "model": "H200", "mig": False}
    return judged(h200x8(shared), catalogue_for_run.load(), AREAS, expect)


def _of(findings: list[Finding], outcome: Outcome) -> dict[str, Finding]:
    return {finding.check: finding for finding in findings if finding.outcome is outcome}


def test_nothing_fails(findings: list[Finding]) -> None:
    assert _of(findings, Outcome.FAIL) == {}


def test_only_what_was_not_recorded_is_unknown(findings: list[Finding]) -> None:
    unknown = _of(findings, Outcome.UNKNOWN)
    assert {check: finding.reason for check, finding in unknown.items() if check not in NOT_RECORDED} == {}
    assert set(unknown) == NOT_RECORDED


def test_what_is_not_judged_says_why(findings: list[Finding]) -> None:
    left_out = {check: finding.reason for check, finding in _of(findings, Outcome.NOT_APPLICABLE).items()}
    assert set(left_out) == set(NOT_JUDGED)
    for check, words in NOT_JUDGED.items():
        assert words in left_out[check], check


def test_what_the_node_should_be_is_judged_too(shared: Path) -> None:
    wrong = judged(h200x8(shared), catalogue_for_run.load(), AREAS, {"gpus": 9, "model": "H100", "mig": True})
    failed = _of(wrong, Outcome.FAIL)
    assert set(failed) == {"gpu.count_expected", "gpu.model_expected", "gpu.mig_expected"}
