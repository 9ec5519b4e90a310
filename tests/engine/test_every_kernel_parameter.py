"""Every row of the gathered kernel parameters is a check, or is left out for a reason that is written down here."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
import yaml

from nodectl.engine import catalogue_for_run

# Row -> the checks that judge it.
CHECKED: Mapping[str, tuple[str, ...]] = {
    "sysctl.kernel.numa_balancing": ("numa.balancing",),
    "sched.min_granularity": ("kernel.sched_min_granularity", "kernel.settings_known"),
    "sysctl.vm.swappiness": ("kernel.swappiness",),
    "sysctl.vm.zone_reclaim_mode": ("numa.zone_reclaim",),
    "sysctl.vm.max_map_count": ("kernel.max_map_count",),
    "sysctl.vm.overcommit_memory": ("kernel.overcommit_memory",),
    "sysctl.vm.min_free_kbytes": ("kernel.min_free_kbytes",),
    "sysctl.vm.dirty_ratio": ("kernel.dirty_ratio",),
    "sysctl.vm.dirty_background_ratio": ("kernel.dirty_background_ratio",),
    "sysctl.vm.nr_hugepages": ("kernel.hugepages_used", "kernel.hugepages_expected"),
    "sysctl.kernel.pid_max": ("kernel.pid_max",),
    "sysctl.kernel.threads-max": ("kernel.threads_max",),
    "sysctl.kernel.watchdog_thresh": ("kernel.lockup_detector",),
    "sysctl.kernel.perf_event_paranoid": ("kernel.perf_events",),
    "sysctl.kernel.panic_on_oops": ("kernel.sysctl_expected",),
    "sysctl.fs.file-max": ("kernel.file_max",),
    "sysctl.fs.inotify.max_user_watches": ("kernel.inotify_watches",),
    "sysctl.fs.inotify.max_user_instances": ("kernel.inotify_instances",),
    "sysctl.net.core.rmem_max": ("tcp.rmem_max",),
    "sysctl.net.core.wmem_max": ("tcp.wmem_max",),
    "sysctl.net.core.rmem_default": ("tcp.rmem_default",),
    "sysctl.net.core.wmem_default": ("tcp.wmem_default",),
    "sysctl.net.ipv4.tcp_rmem": ("tcp.tcp_rmem",),
    "sysctl.net.ipv4.tcp_wmem": ("tcp.tcp_wmem",),
    "sysctl.net.core.netdev_budget": ("tcp.netdev_budget",),
    "sysctl.net.core.netdev_max_backlog": ("tcp.netdev_max_backlog",),
    "sysctl.net.ipv4.tcp_max_syn_backlog": ("tcp.syn_backlog",),
    "sysctl.net.core.somaxconn": ("tcp.somaxconn",),
    "sysctl.net.core.default_qdisc": ("tcp.qdisc",),
    "sysctl.net.ipv4.tcp_congestion_control": ("tcp.congestion_control", "kernel.settings_applied"),
    "sysctl.net.ipv4.tcp_mtu_probing": ("tcp.mtu_probing",),
    "sysctl.net.ipv4.tcp_ecn": ("tcp.ecn",),
    "sysctl.net.ipv4.conf.all.arp_ignore": ("tcp.arp_ignore_all",),
    "sysctl.net.ipv4.conf.all.arp_announce": ("tcp.arp_announce_all",),
    "sysctl.net.ipv4.conf.default.arp_ignore": ("tcp.arp_ignore_default",),
    "sysctl.net.ipv4.conf.default.arp_announce": ("tcp.arp_announce_default",),
    "sysctl.net.ipv4.conf.all.rp_filter": ("tcp.reverse_path",),
    "sysctl.net.ipv4.ip_local_port_range": ("tcp.port_range",),
    "sysctl.net.ipv4.neigh.default.gc_thresh3": ("tcp.neighbours",),
    "thp.enabled": ("kernel.thp", "kernel.thp_argument", "kernel.thp_64k"),
    "thp.defrag": ("kernel.thp_defrag",),
    "ksm": ("kernel.ksm",),
    "cpu.governor": ("cpu.governor",),
    "cpu.epp": ("cpu.energy_preference",),
    "cpu.cstate": ("cpu.idle_states",),
    "cpu.mitigations": ("kernel.mitigations", "cpu.vulnerabilities"),
    "cpu.smt": ("cpu.smt_expected",),
    "cpu.numa_nodes": ("numa.node_count_expected",),
    "cpu.irqbalance": ("cpu.nic_irqs", "cpu.irqbalance_expected"),
    "boot.iommu_pt": ("kernel.iommu_passthrough", "pcie.iommu_identity"),
    "boot.pci_realloc": ("kernel.pci_realloc", "kernel.pci_realloc_grace", "pcie.gpu_windows"),
    "boot.acs": ("pcie.acs_redirect",),
    "boot.init_on_alloc": ("kernel.init_on_alloc",),
    "boot.preempt": ("kernel.preempt_none",),
    "boot.hmm_kaslr": ("kernel.kaslr",),
    "boot.crashkernel": ("kernel.crash_dump",),
    "boot.power_meter_cap": ("kernel.grace_power_meter",),
    "boot.nouveau": ("driver.nouveau_not_loaded",),
    "boot.novirt": ("kernel.iommu_expected",),
    "boot.64k": ("kernel.page_size",),
    "boot.hugepages": ("kernel.hugepages_used", "kernel.hugepages_expected"),
    "boot.isolcpus": ("kernel.isolcpus",),
    "boot.pcie_aspm": ("kernel.aspm_policy",),
    "boot.audit": ("kernel.arguments_expected",),
    "pci.bridge_power": ("kernel.pci_bridge_power",),
    "pci.link": ("pcie.gpu_width", "pcie.nic_speed", "gpu.pcie_generation", "pcie.path_width"),
    "limits.memlock": ("limits.memlock", "limits.slurmd_memlock", "limits.containerd_memlock"),
    "limits.nofile": ("limits.nofile", "limits.slurmd_nofile"),
    "limits.stack": ("limits.stack",),
    "limits.nproc": ("limits.nproc",),
    "limits.shm": ("limits.shared_memory", "containers.docker_shm"),
    "nvreg.gsp": ("driver.gsp_not_disabled",),
    "nvreg.nvlinkdisable": ("driver.nvlink_not_disabled",),
    "nvreg.peermap": ("driver.no_registry_overrides",),
    "nvreg.devfile": ("driver.device_permissions",),
    "mod.peermem": ("rdma.gpudirect",),
    "mod.vermagic": ("driver.on_disk_matches", "os.dkms_built"),
    "mod.version_skew": ("driver.userspace_matches",),
    "mod.flavour": ("driver.module_flavor",),
    "secureboot": ("os.module_signed",),
    "gpu.persistence": ("persistence.mode", "persistence.daemon"),
    "gpu.mig": ("gpu.mig_expected", "gpu.mig_no_change_pending"),
    "gpu.compute_mode": ("gpu.compute_mode",),
    "gpu.ecc": ("gpu.ecc_enabled", "gpu.ecc_no_change_pending"),
    "gpu.power_limit": ("gpu.power_limit_default",),
    "gpu.locked_clocks": ("gpu.sm_clock_under_load",),
    "gpu.fabricmanager": ("nvlink.fabric_manager", "nvlink.fabric_manager_version"),
    "gpu.nvlsm": ("nvlink.subnet_manager",),
    "gpu.imex": ("nvlink.imex",),
    "svc.autoupdate": ("os.drivers_not_auto_upgraded",),
    "svc.time": ("os.time_synchronised",),
    "tuned.profile": ("kernel.tuned_profile",),
    "docker.limits": ("containers.docker_memlock", "containers.docker_shm"),
}
# Row -> why no check judges it.
LEFT_OUT: Mapping[str, str] = {
    "boot.ats": "bare x86 needs none and Grace has it on by itself; whether a VM needs it is its host's affair. Facts"
    " tell it (pcie.devices, ats)",
    "pci.rebar": "SXM parts cover their memory by default and cards depend on the board: the size is a fact"
    " (gpu.devices, bar1_total_mib), and a window without an address is pcie.gpu_windows",
    "nvreg.preserve": "for suspend and resume only: both values are right on a server",
    "nvreg.relaxed": "DGX A100 sets 1, all others the default 0, and no document calls either wrong elsewhere; a"
    " misspelt parameter does nothing, and the kernel log says so",
    "nvreg.profiling": "0 and 1 are both a site's choice",
    "nvreg.unsupported": "ignored by current modules: a leftover line does nothing",
    "nvreg.streammem": "the default is right, and a recipe that sets it is old and harmless",
    "nvreg.dmaremap": "the default is right; no document asks for another value",
    "nvreg.imexcount": "the default is right; how many channels a rack needs hangs on its tenants",
    "nvreg.imex0": "0 and 1 are both right: 1 is for racks with one tenant",
    "nvreg.grdma": "one recipe sets it on GB200; the driver's default is documented and right",
    "nvreg.coherent": "driver and numa are both right: Kubernetes wants one, bare metal may have either",
    "nvreg.rebar": "the default is right; no document asks for another value",
    "svc.firewall": "a firewall between nodes shows as NCCL that cannot connect; which ports are open to whom cannot be"
    " judged from a rule set without knowing the cluster's networks",
}


@pytest.fixture(scope="module")
def rows(shared: Path) -> list[str]:
    gathered = yaml.safe_load((shared / "constraints" / "kernel_params.yaml").read_text())
    return [row["id"] for row in gathered["params"]]


def test_no_row_is_forgotten(rows: list[str]) -> None:
    assert len(rows) > 100
    assert set(rows) == set(CHECKED) | set(LEFT_OUT)
    assert not set(CHECKED) & set(LEFT_OUT)


def test_the_checks_exist() -> None:
    known = set(catalogue_for_run.load().checks)
    assert {row: set(checks) - known for row, checks in CHECKED.items() if set(checks) - known} == {}
