"""Rules about a Kubernetes node, seen from the node."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nodectl.engine.rules import FactView, RowResult
from nodectl.engine.rules.gpu_rows import Tables, failed, not_judged, passed, soft, unknown, version, where_split
from nodectl.model import FactState

_ASKS_THE_RUNTIME = "1.31"
_CDI_BY_DEFAULT = "2.0"
_DRA_DRIVER = "gpu.nvidia.com"


def cgroup_driver(facts: FactView, params: Mapping[str, Any], tables: Tables) -> list[RowResult]:
    """kubelet's driver against the runtime's."""
    kubelet = facts.get("kubelet.cgroup_driver")
    new = version(facts.value("kubelet.version")) >= version(_ASKS_THE_RUNTIME)
    if facts.get("crio.runtimes") is not None:
        if new:
            return [not_judged("this kubelet asks CRI-O for its cgroup driver")]
        name, runtime = "CRI-O", str(facts.get("crio.cgroup_manager", "systemd"))
    else:
        systemd = facts.get("containerd.systemd_cgroup")
        if systemd is None:
            return [not_judged("the runtime's settings are not in a file that is known")]
        containerd = facts.get("container.containerd_version")
        if new and containerd is not None and version(containerd) >= version("2.0"):
            return [not_judged("this kubelet asks containerd for its cgroup driver")]
        name, runtime = "containerd", "systemd" if systemd else "cgroupfs"
    expected = f"{runtime}, as {name} has it"
    if kubelet is None:
        return [unknown("kubelet's configuration does not say; kubeadm would have set systemd", expected)]
    return [(passed if kubelet == runtime else failed)(expected, f"kubelet has {kubelet}")]


def gpu_plugin(facts: FactView, params: Mapping[str, Any], tables: Tables) -> list[RowResult]:
    """A socket or a registered resource of NVIDIA, or NVIDIA's DRA driver."""
    expected = "a device plugin or DRA driver of NVIDIA"
    names = ("kubelet.device_plugin_sockets", "kubelet.dra_plugins", "kubelet.registered_devices")
    sockets = [name for name in soft(facts, names[0], []) if "nvidia" in name]
    drivers = [name for name in soft(facts, names[1], []) if name == _DRA_DRIVER]
    resources = [
        str(row.get("resource"))
        for row in soft(facts, names[2], [])
        if str(row.get("resource")).startswith("nvidia.com/") and row.get("count")
    ]
    found = sockets or drivers or resources
    if found:
        return [passed(expected, ", ".join(sorted(found)))]
    for name in names:
        if facts.state(name) is FactState.ERROR:
            return [unknown(facts.fact(name).reason, expected)]
    return [failed(expected, "none")]


def gpus_registered(facts: FactView, params: Mapping[str, Any], tables: Tables) -> list[RowResult]:
    """The devices of nvidia.com/gpu against the GPUs on the bus."""
    count = int(facts.value("nvidia.pci_count"))
    expected = f"{count} of nvidia.com/gpu"
    split = where_split(facts.get("gpu.devices", []), "MIG is on: what is registered are instances")
    if split:
        return split
    rows = facts.get("kubelet.registered_devices")
    if rows is None:
        return [not_judged("kubelet has no checkpoint of devices")]
    for row in rows:
        if row.get("resource") == "nvidia.com/gpu":
            found = int(row.get("count") or 0)
            return [(passed if found >= count else failed)(expected, f"{found} registered")]
    return [not_judged("no device plugin has registered nvidia.com/gpu: see kubernetes.gpu_plugin")]


def validations(facts: FactView, params: Mapping[str, Any], tables: Tables) -> list[RowResult]:
    """The operator has left a file for each of `params["wanted"]`."""
    done = [str(name) for name in facts.value("gpu_operator.validations")]
    wanted = [str(name) for name in params["wanted"]]
    expected = ", ".join(f"{name}-ready" for name in wanted)
    missing = [f"{name}-ready" for name in wanted if name not in done]
    if missing:
        return [failed(expected, f"{len(done)} validations done", f"missing: {', '.join(missing)}")]
    return [passed(expected, f"{len(done)} validations done")]


def containerd_gpu(facts: FactView, params: Mapping[str, Any], tables: Tables) -> list[RowResult]:
    """A runtime of NVIDIA, or CDI."""
    expected = "a runtime of NVIDIA, or CDI"
    own = [row for row in facts.rows("container.gpu_runtimes") if row.get("engine") == "containerd"]
    if own:
        return [passed(expected, f"runtime {own[0].get('name')}")]
    cdi = facts.get("containerd.cdi")
    if cdi is None:
        release = facts.get("container.containerd_version")
        if release is None:
            return [unknown("enable_cdi is not set, and containerd's version is not known", expected)]
        cdi = version(release) >= version(_CDI_BY_DEFAULT)
    return [passed(expected, "CDI")] if cdi else [failed(expected, "neither")]
