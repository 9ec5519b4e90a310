"""Rules about the NVLink fabric: NVSwitches, Fabric Manager, and the multi-node domains of NVL72."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nodectl.engine.rules import FactView, RowResult
from nodectl.engine.rules.gpu_rows import (
    Row,
    Tables,
    failed,
    judge_rows,
    not_judged,
    of_models,
    passed,
    read,
    soft,
    unknown,
    version,
)

_COMPLETED, _SUCCESS = "completed", "success"
_HEALTHY = "healthy"
# What each part of the health is on a healthy GPU, as nvidia-smi prints it.
_GOOD_PARTS = {
    "bandwidth": ("full",),
    "route_recovery_in_progress": ("false",),
    "route_unhealthy": ("false",),
    "access_timeout_recovery": ("false",),
    "incorrect_configuration": ("false", "none"),
}
_NO_CLUSTER = "00000000-0000-0000-0000-000000000000"
# From NVLink 5 on the switches of a baseboard are reached through InfiniBand devices and are no PCI functions of 10de.
_SWITCHES_ON_PCI = ("Ampere", "Hopper")


def fabric_state(facts: FactView, params: Mapping[str, Any], tables: Tables) -> list[RowResult]:
    """Completed and Success for every GPU that has a fabric."""
    expected = "Completed, Success"

    def judge(gpu: Row) -> RowResult:
        state, status = read(gpu, "fabric_state"), read(gpu, "fabric_status")
        if state is None:
            return not_judged("no fabric: the GPU or its driver reports none")
        shown = f"{state}, {status}" if status is not None else str(state)
        good = str(state).casefold() == _COMPLETED and str(status).casefold() == _SUCCESS
        return (passed if good else failed)(expected, shown)

    return judge_rows(facts.nvidia_rows("gpu.devices"), judge)


def fabric_health(facts: FactView, params: Mapping[str, Any], tables: Tables) -> list[RowResult]:
    """Healthy in summary; on drivers that print only the parts, every part good."""

    def judge(gpu: Row) -> RowResult:
        summary = read(gpu, "fabric_health")
        parts = read(gpu, "fabric_health_detail") or {}
        told = {name: str(parts[name]) for name in _GOOD_PARTS if parts.get(name) is not None}
        bad = [
            f"{name.replace('_', ' ')}: {text}"
            for name, text in told.items()
            if text.casefold() not in _GOOD_PARTS[name]
        ]
        if summary is not None:
            good = str(summary).casefold() == _HEALTHY
            return (passed if good else failed)("Healthy", "; ".join([str(summary), *bad]))
        if not told:
            return not_judged("this GPU or driver does not report the fabric's health")
        return failed("Healthy", "; ".join(bad)) if bad else passed("Healthy", "every part is good")

    return judge_rows(facts.nvidia_rows("gpu.devices"), judge)


def _why_no_manager(facts: FactView, tables: Tables) -> str:
    """Why Fabric Manager does not belong on this node; empty when it does.

    Raises:
        what FactView raises: a fact that this hangs on could not be read.
    """
    gpus = facts.nvidia_rows("gpu.devices")
    on_switches = of_models(gpus, tables, "fabric_manager", "node")
    if not on_switches:
        if of_models(gpus, tables, "fabric_manager", "switch_tray"):
            return "it runs on the NVLink switch trays"
        return "no GPU here is of a model that is known to sit on NVSwitches"
    if any(gpu.get("architecture") in _SWITCHES_ON_PCI for gpu in on_switches):
        if facts.get("nvswitch.pci", []):
            return ""
        if soft(facts, "virt.is_vm", False):
            return "a VM without NVSwitches of its own: the host runs it"
        return "no NVSwitch on the PCI bus: the GPUs are wired directly, or the switches belong to another machine"
    if facts.get("virt.is_vm", False):
        return "in a VM the host usually runs it: see nvlink.fabric_state"
    return ""


def _why_not_judged(facts: FactView, tables: Tables) -> str:
    """As `_why_no_manager`; also where a driver container, which systemd does not know, runs it."""
    why = _why_no_manager(facts, tables)
    if why or facts.get("driver.on_disk_version", None) is not None:
        return why
    return "the driver is not installed on the host: a driver container brings its own Fabric Manager"


def fabric_manager(facts: FactView, params: Mapping[str, Any], tables: Tables) -> list[RowResult]:
    """The service is active, where it belongs."""
    why_not = _why_not_judged(facts, tables)
    if why_not:
        return [not_judged(why_not)]
    service = facts.get("service[nvidia-fabricmanager]", None)
    expected = "nvidia-fabricmanager is active"
    if service is None:
        return [failed(expected, "not installed")]
    state = read(service, "active_state")
    if state is None:
        return [unknown("systemctl gave no state", expected)]
    enabled = service.get("enabled")
    reason = "it is not enabled: it will not come back after a reboot" if enabled == "disabled" else ""
    return [(passed if state == "active" else failed)(expected, str(state), reason)]


def fabric_manager_version(facts: FactView, params: Mapping[str, Any], tables: Tables) -> list[RowResult]:
    """Fabric Manager has exactly the driver's version, where it belongs."""
    why_not = _why_not_judged(facts, tables)
    if why_not:
        return [not_judged(why_not)]
    driver = str(facts.value("driver.version"))
    manager = facts.get("driver.fabricmanager_version", None)
    if manager is None:
        return [not_judged("Fabric Manager is not installed: see nvlink.fabric_manager")]
    verdict = passed if version(manager) == version(driver) else failed
    return [verdict(driver, str(manager))]


def subnet_manager(facts: FactView, params: Mapping[str, Any], tables: Tables) -> list[RowResult]:
    """ib_umad is loaded on NVLink 5 baseboards."""
    known = [tables["gpu_models"].get(pci_id) or {} for pci_id in facts.value("gpu.pci_ids")]
    if not any(row.get("nvlsm") for row in known):
        return [not_judged("no GPU here needs the NVLink subnet manager")]
    if facts.get("virt.is_vm", False):
        return [not_judged("in a VM the host usually runs it")]
    module = facts.get("module[ib_umad]", None)
    return [(failed if module is None else passed)("ib_umad is loaded", "not loaded" if module is None else "loaded")]


def imex(facts: FactView, params: Mapping[str, Any], tables: Tables) -> list[RowResult]:
    """nvidia-imex is active on NVL72 trays that Kubernetes does not run."""
    known = [tables["gpu_models"].get(pci_id) or {} for pci_id in facts.value("gpu.pci_ids")]
    if not any(row.get("imex") for row in known):
        return [not_judged("no GPU here is of a multi-node NVLink system")]
    kubelet = facts.get("service[kubelet]", None)
    if kubelet is not None and kubelet.get("active_state") == "active":
        return [not_judged("Kubernetes runs this node: its DRA driver starts IMEX")]
    service = facts.get("service[nvidia-imex]", None)
    expected = "nvidia-imex is active"
    if service is None:
        return [failed(expected, "not installed")]
    state = read(service, "active_state")
    return [(passed if state == "active" else failed)(expected, str(state))]


def cluster_identity(facts: FactView, params: Mapping[str, Any], tables: Tables) -> list[RowResult]:
    """Every GPU of a multi-node NVLink system names a cluster, and all the same cluster and clique."""
    gpus = of_models(facts.nvidia_rows("gpu.devices"), tables, "imex", True)
    if not gpus:
        return [not_judged("no GPU here is of a multi-node NVLink system")]
    told = ((gpu.get("fabric_cluster_uuid"), gpu.get("fabric_clique_id")) for gpu in gpus)
    first = next((pair for pair in told if pair[0] is not None), None)

    def judge(gpu: Row) -> RowResult:
        cluster, clique = read(gpu, "fabric_cluster_uuid"), read(gpu, "fabric_clique_id")
        if cluster is None:
            return unknown("the driver prints no cluster UUID")
        shown = f"cluster {cluster}, clique {clique}"
        if str(cluster) == _NO_CLUSTER:
            return failed("a cluster UUID that is not zero", shown)
        return (passed if (cluster, clique) == first else failed)("cluster and clique as on the first GPU", shown)

    return judge_rows(gpus, judge)


def manager_mode(facts: FactView, params: Mapping[str, Any], tables: Tables) -> list[RowResult]:
    """Fabric Manager is set up for bare metal where the host itself uses the GPUs."""
    why_not = _why_not_judged(facts, tables)
    if why_not:
        return [not_judged(why_not)]
    if any(row.get("driver") == "vfio-pci" for row in facts.nvidia_rows("gpu.pci")):
        return [not_judged("GPUs are given to virtual machines: the mode depends on how")]
    mode = facts.get("fabric.manager_mode", None)
    if mode is None:
        return [not_judged("Fabric Manager has no configuration file: see nvlink.fabric_manager")]
    return [(passed if mode == 0 else failed)("FABRIC_MODE 0 (bare metal)", f"FABRIC_MODE {mode}")]


def nvlsm(facts: FactView, params: Mapping[str, Any], tables: Tables) -> list[RowResult]:
    """The package of the NVLink subnet manager is installed on NVLink 5 baseboards."""
    known = [tables["gpu_models"].get(pci_id) or {} for pci_id in facts.value("gpu.pci_ids")]
    if not any(row.get("nvlsm") for row in known):
        return [not_judged("no GPU here needs the NVLink subnet manager")]
    if facts.get("virt.is_vm", False):
        return [not_judged("in a VM the host usually runs it")]
    if facts.get("driver.on_disk_version", None) is None:
        return [not_judged("the driver is not installed on the host: a driver container brings its own")]
    package = facts.get("package[nvlsm]", None)
    return [
        failed("nvlsm is installed", "not installed") if package is None else passed("nvlsm is installed", str(package))
    ]


def _why_no_imex(facts: FactView, tables: Tables) -> str:
    """Why the host's own IMEX is not judged here; empty when it is."""
    known = [tables["gpu_models"].get(pci_id) or {} for pci_id in facts.value("gpu.pci_ids")]
    if not any(row.get("imex") for row in known):
        return "no GPU here is of a multi-node NVLink system"
    kubelet = facts.get("service[kubelet]", None)
    if kubelet is not None and kubelet.get("active_state") == "active":
        return "Kubernetes runs this node: its DRA driver starts IMEX"
    return ""


def imex_state(facts: FactView, params: Mapping[str, Any], tables: Tables) -> list[RowResult]:
    """The IMEX service calls itself READY."""
    if why_not := _why_no_imex(facts, tables):
        return [not_judged(why_not)]
    state = facts.get("fabric.imex_state", None)
    if state is None:
        return [not_judged("IMEX is not installed: see nvlink.imex")]
    return [(passed if state == "READY" else failed)("READY", str(state))]


def imex_nodes(facts: FactView, params: Mapping[str, Any], tables: Tables) -> list[RowResult]:
    """The node file of IMEX names at least two nodes, each once."""
    if why_not := _why_no_imex(facts, tables):
        return [not_judged(why_not)]
    nodes = facts.get("fabric.imex_nodes", None)
    if nodes is None:
        return [not_judged("IMEX is not installed, or has no node file: see nvlink.imex")]
    twice = sorted({str(node) for node in nodes if list(nodes).count(node) > 1})[:5]
    if twice:
        return [failed("each node once", f"twice: {', '.join(twice)}")]
    return [(passed if len(nodes) > 1 else failed)("the nodes of the domain, each once", f"{len(nodes)} nodes")]


def imex_channels(facts: FactView, params: Mapping[str, Any], tables: Tables) -> list[RowResult]:
    """There is an IMEX channel device for applications to use."""
    if why_not := _why_no_imex(facts, tables):
        return [not_judged(why_not)]
    channels = facts.get("fabric.imex_channels", 0)
    return [(passed if channels else failed)("at least one channel", f"{channels} channels")]
