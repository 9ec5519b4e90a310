"""Rules about where GPUs and NICs sit: PCIe switches, sockets, NUMA nodes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from nodectl.engine.rules import FactView, RowResult
from nodectl.engine.rules.gpu_rows import Row, Tables, failed, judge_rows, not_judged, passed, read, unknown
from nodectl.engine.rules.pcie_path import device_label

_FOR_GUESTS = "vfio-pci"
_FEWEST_GPUS = 4
_KEPT_MIB = 4096


def _of_host(facts: FactView, kind: str) -> list[Row]:
    rows = facts.rows("pcie.devices")
    return [row for row in rows if row.get("kind") == kind and row.get("driver") != _FOR_GUESTS]


def _near(gpu: Row, nics: list[Row]) -> list[Row]:
    """The RDMA NICs that the GPU reaches without the CPU's root complex: behind a switch that is above both."""
    above = set((gpu.get("bridges") or [])[1:])
    return [nic for nic in nics if nic.get("names") and above & set((nic.get("bridges") or [])[1:])]


def rails(facts: FactView, params: Mapping[str, Any], tables: Tables) -> list[RowResult]:
    """Where most GPUs have an RDMA NIC at their PCIe switch, all have."""
    gpus, nics = _of_host(facts, "gpu"), _of_host(facts, "nic")
    near = {str(gpu["pci_bus_id"]): _near(gpu, nics) for gpu in gpus}
    having = sum(1 for found in near.values() if found)
    if not having:
        return [not_judged("no RDMA NIC behind a PCIe switch of a GPU is seen")]
    if having * 2 <= len(gpus):
        return [not_judged(f"only {having} of {len(gpus)} GPUs have an RDMA NIC at their switch: not built in rails")]
    expected = "an RDMA NIC at the GPU's PCIe switch"

    def judge(gpu: Row) -> RowResult:
        found = near[str(gpu["pci_bus_id"])]
        names = ", ".join(str(name) for nic in found for name in nic["names"])
        return passed(expected, names) if found else failed(expected, "none", f"{having} of {len(gpus)} GPUs have one")

    return judge_rows(gpus, judge, device_label)


def same_node(facts: FactView, params: Mapping[str, Any], tables: Tables) -> list[RowResult]:
    """A GPU and the NICs at its switch report one NUMA node."""
    nics = _of_host(facts, "nic")

    def judge(gpu: Row) -> RowResult:
        node = gpu.get("numa_node")
        found = [nic for nic in _near(gpu, nics) if nic.get("numa_node") is not None]
        if node is None or not found:
            return not_judged("no NIC at its switch, or the NUMA node is not told")
        others = [nic for nic in found if nic["numa_node"] != node]
        expected = f"NUMA node {node}, as the GPU"
        if not others:
            return passed("one NUMA node for the GPU and its NICs", f"node {node}")
        return failed(expected, ", ".join(f"{device_label(nic)}: node {nic['numa_node']}" for nic in others))

    gpus = _of_host(facts, "gpu")
    return judge_rows(gpus, judge, device_label) if gpus else [not_judged("there is no GPU")]


def gpu_spread(facts: FactView, params: Mapping[str, Any], tables: Tables) -> list[RowResult]:
    """The GPUs of one model are spread evenly over the NUMA nodes that have any."""
    models = Counter(str(gpu.get("pci_id")) for gpu in _of_host(facts, "gpu"))
    model, number = models.most_common(1)[0] if models else ("", 0)
    if number < _FEWEST_GPUS:
        return [not_judged(f"fewer than {_FEWEST_GPUS} GPUs of one model")]
    nodes = [gpu.get("numa_node") for gpu in _of_host(facts, "gpu") if gpu.get("pci_id") == model]
    if None in nodes:
        return [not_judged("the NUMA node of a GPU is not told")]
    counts = Counter(nodes)
    shown = ", ".join(f"node {node}: {count}" for node, count in sorted(counts.items()))
    verdict = passed if len(set(counts.values())) == 1 else failed
    return [verdict("as many GPUs on each NUMA node that has any", shown)]


def memory_alike(facts: FactView, params: Mapping[str, Any], tables: Tables) -> list[RowResult]:
    """NUMA nodes with CPUs have about the same memory; a node with CPUs and none at all is the gravest case."""
    rows = [row for row in facts.rows("numa.nodes") if row.get("cpus")]
    if len(rows) < 2:
        return [not_judged("fewer than two NUMA nodes with CPUs")]
    most = max((int(row["mem_total_mib"]) for row in rows if row.get("mem_total_mib") is not None), default=0)
    tolerance = float(params["tolerance"])

    def judge(row: Row) -> RowResult:
        own = read(row, "mem_total_mib")
        if own is None:
            return unknown("its memory is not told")
        expected = f"about {most} MiB, as the node with the most (less {tolerance:.0%})"
        # The kernel and the firmware keep some GiB for themselves, mostly on the first node.
        return (passed if own >= min(most * (1 - tolerance), most - _KEPT_MIB) else failed)(expected, f"{own} MiB")

    return judge_rows(rows, judge, lambda row: f"NUMA node {row.get('node')}")
