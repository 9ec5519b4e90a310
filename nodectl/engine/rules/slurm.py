"""Rules about a Slurm node."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nodectl.engine.rules import FactView, RowResult, require_field
from nodectl.engine.rules.gpu_rows import Tables, failed, not_judged, passed, read, soft, unknown, where_split


def node_state(facts: FactView, params: Mapping[str, Any], tables: Tables) -> list[RowResult]:
    """Neither the state nor a flag is one of `params["bad"]`."""
    node = facts.get("slurm.node")
    if node is None:
        return [not_judged(facts.fact("slurm.node").reason)]
    state = str(require_field(node, "state"))
    flags = [str(flag) for flag in read(node, "flags") or []]
    shown = "+".join([state, *flags])
    reason = str(read(node, "reason") or "")
    if {state, *flags} & set(params["bad"]):
        return [failed("in service", shown, reason or "the controller gives no reason")]
    return [passed("in service", shown)]


def gres_matches(facts: FactView, params: Mapping[str, Any], tables: Tables) -> list[RowResult]:
    """The GPUs of the controller's Gres against those on the bus.

    Params:
        side: more (Gres may not name more than there are) or fewer (it may not leave any out).
    """
    count = int(facts.value("nvidia.pci_count"))
    more = params["side"] == "more"
    expected = f"at most {count} GPUs" if more else f"all {count} GPUs"
    split = where_split(facts.get("gpu.devices", []), "MIG is on: Slurm counts instances")
    if split:
        return split
    node = facts.get("slurm.node")
    if node is None:
        return [not_judged(facts.fact("slurm.node").reason)]
    gpus = read(node, "gpus")
    if gpus is None:
        return [unknown("the controller says nothing of Gres", expected)]
    good = gpus <= count if more else gpus >= count
    return [(passed if good else failed)(expected, f"{gpus} in Gres")]


def gres_conf(facts: FactView, params: Mapping[str, Any], tables: Tables) -> list[RowResult]:
    """AutoDetect, or a device file for each GPU."""
    count = int(facts.value("nvidia.pci_count"))
    expected = f"AutoDetect, or File= for {count} GPUs"
    kind = facts.get("slurm.gres_autodetect")
    if kind is not None:
        return [passed(expected, f"AutoDetect={kind}")]
    split = where_split(facts.get("gpu.devices", []), "MIG is on: the device files are those of instances")
    if split:
        return split
    listed = facts.get("slurm.gres_conf_gpus")
    if listed is None:
        node = soft(facts, "slurm.node") or {}
        if not node.get("gpus"):
            return [not_judged("Slurm has no GPUs for this node: see slurm.gres_matches_gpus")]
        return [failed(expected, "no AutoDetect, and no GPU of this node")]
    bare = int(facts.get("slurm.gres_conf_without_file", 0))
    if bare:
        return [failed(expected, f"{bare} lines for GPUs without File=")]
    # A site that leaves GPUs out of Gres= on purpose lists no file for them either.
    named = (soft(facts, "slurm.node") or {}).get("gpus")
    return [(passed if listed in (count, named) else failed)(expected, f"File= for {listed} GPUs")]


def pyxis(facts: FactView, params: Mapping[str, Any], tables: Tables) -> list[RowResult]:
    """plugstack.conf names Pyxis."""
    rows = facts.get("slurm.spank_plugins", [])
    names = [str(row.get("path")) for row in rows if "pyxis" in str(row.get("path"))]
    expected = "spank_pyxis.so in plugstack.conf"
    return [passed(expected, names[0])] if names else [failed(expected, "not there")]


def memlock_propagation(facts: FactView, params: Mapping[str, Any], tables: Tables) -> list[RowResult]:
    """MEMLOCK is not among the limits that are carried over."""
    limits, left_out = facts.value("slurm.propagate_limits"), facts.value("slurm.propagate_limits_except")
    expected = "not MEMLOCK"
    if left_out:
        shown = f"all except {', '.join(left_out)}"
        return [(passed if "MEMLOCK" in left_out else failed)(expected, shown)]
    if not limits:
        return [failed(expected, "all", "PropagateResourceLimits is not set")]
    carried = {"ALL", "MEMLOCK"} & set(limits)
    return [(failed if carried else passed)(expected, ", ".join(limits).lower())]
