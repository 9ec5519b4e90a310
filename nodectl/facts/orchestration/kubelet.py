"""A Kubernetes node as it looks from the node itself."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

from nodectl.facts.containers.files import flag, settings
from nodectl.facts.reading import CannotTell, NotThere, Reading, Row, command_trouble, told
from nodectl.facts.registry import Context, FactSpec, Field
from nodectl.model import Fact

if TYPE_CHECKING:
    from nodectl.probe.transcript import SourceReply

SOURCE = "kubelet"
_VERSION = re.compile(r"^Kubernetes v([0-9]{1,3}(?:\.[0-9]{1,4}){1,3})", re.MULTILINE)
_SPAN = re.compile(r"(?:(\d{1,6})h)?(?:(\d{1,6})m)?(?:(\d{1,6})(?:\.\d{1,9})?s)?")
_MAX_CHECKPOINT = 4_000_000


def _spec(name: str, kind: str, about: str, **more: Any) -> FactSpec:
    return FactSpec(name=name, type=kind, about=about, source=SOURCE, **more)


FACTS = (
    _spec("kubelet.version", "version", "Version of kubelet; absent on a node that has none"),
    _spec("kubelet.joined", "bool", "kubelet runs or is configured here; no where it is only installed, or not at all"),
    _spec("kubelet.cgroup_driver", "str", "cgroupDriver: systemd or cgroupfs; absent: not set"),
    _spec("kubelet.cpu_manager", "str", "cpuManagerPolicy; absent: not set, which is none"),
    _spec("kubelet.topology_manager", "str", "topologyManagerPolicy; absent: not set, which is none"),
    _spec("kubelet.topology_scope", "str", "topologyManagerScope; absent: not set, which is container"),
    _spec("kubelet.memory_manager", "str", "memoryManagerPolicy; absent: not set, which is None"),
    _spec("kubelet.max_pods", "int", "maxPods; absent: not set, which is 110"),
    _spec("kubelet.fail_swap_on", "bool", "failSwapOn; absent: not set, which is true"),
    _spec("kubelet.swap_behavior", "str", "swapBehavior; absent: not set"),
    _spec("kubelet.shutdown_grace_s", "int", "shutdownGracePeriod; absent: not set, which is 0", unit="s"),
    _spec("kubelet.runtime_endpoint", "str", "Socket of the container runtime; absent: not set"),
    _spec("kubelet.device_plugin_sockets", "list", "Sockets of device plugins"),
    _spec("kubelet.dra_plugins", "list", "Folders of plugins beside device plugins: DRA and CSI drivers"),
    FactSpec(
        name="kubelet.registered_devices",
        type="rows",
        about="Devices that device plugins have registered and that are healthy, by kubelet's checkpoint",
        source=SOURCE,
        fields=(
            Field("resource", about="nvidia.com/gpu, nvidia.com/mig-1g.10gb, rdma/hca, ..."),
            Field("count", "int", about="devices; one that is shared counts once"),
        ),
    ),
    _spec("gpu_operator.validations", "list", "What the GPU operator has validated; absent without the operator"),
    _spec("gpu_operator.driver_container", "bool", "A driver container has its files in /run/nvidia/driver"),
)
# Fact -> (setting, flag, how it is read).
_TEXTS = {
    "cgroup_driver": ("cgroupDriver", "--cgroup-driver"),
    "cpu_manager": ("cpuManagerPolicy", "--cpu-manager-policy"),
    "topology_manager": ("topologyManagerPolicy", "--topology-manager-policy"),
    "topology_scope": ("topologyManagerScope", "--topology-manager-scope"),
    "memory_manager": ("memoryManagerPolicy", "--memory-manager-policy"),
    "swap_behavior": ("swapBehavior", ""),
    "runtime_endpoint": ("containerRuntimeEndpoint", "--container-runtime-endpoint"),
}


def _found(reading: Reading) -> list[str]:
    found = reading.text("found").split()
    if not {"kubelet", "running"} & set(found):
        raise NotThere("k3s has its kubelet inside" if "k3s" in found else "there is no kubelet on this node")
    return found


def _version(reading: Reading) -> str:
    if "kubelet" not in _found(reading):
        raise CannotTell("kubelet runs, but its binary is not on the node's path")
    text = reading.command("kubelet --version")
    match = _VERSION.search(text)
    if not match:
        raise CannotTell(f"kubelet gave no version: {text.strip()!r:.60}")
    return match[1]


def _joined(reading: Reading) -> bool:
    found = reading.text("found").split()
    return "running" in found or ("kubelet" in found and reading.has("cmd", "settings"))


def _setting(reading: Reading, key: str, option: str) -> str:
    """A setting: the flag wins over the file, as kubelet has it."""
    _found(reading)
    values: dict[str, str] = {}
    looked = False
    for section in ("settings", "flags"):
        try:
            values.update(settings(reading, section, "kubelet's configuration"))
            looked = True
        except NotThere:
            continue
    if not looked and "running" in reading.text("found").split():
        raise CannotTell("kubelet's configuration was not found")
    if not looked:
        raise NotThere("kubelet has no configuration: the node has joined no cluster")
    for name in (option, key):
        if values.get(name):
            return values[name]
    raise NotThere(f"kubelet's configuration does not set {key}")


def _max_pods(reading: Reading) -> int:
    text = _setting(reading, "maxPods", "--max-pods")
    if not re.fullmatch(r"\d{1,6}", text):
        raise CannotTell(f"maxPods is no number: {text!r:.40}")
    return int(text)


def _grace_s(reading: Reading) -> int:
    text = _setting(reading, "shutdownGracePeriod", "")
    match = _SPAN.fullmatch(text)
    if not match or not text:
        raise CannotTell(f"shutdownGracePeriod is no time: {text!r:.40}")
    hours, minutes, seconds = (int(part or 0) for part in match.groups())
    return hours * 3600 + minutes * 60 + seconds


def _listed(reading: Reading, section: str, what: str) -> list[str]:
    _found(reading)
    if not reading.has("cmd", section):
        raise NotThere("there is no /var/lib/kubelet")
    ran = reading.ran(section)
    if ran.rc and "No such file" in ran.stderr:
        raise NotThere(f"there is no {what}")
    if ran.rc:
        raise CannotTell(command_trouble(ran))
    return [line for line in ran.text.splitlines() if line]


def _sockets(reading: Reading) -> list[str]:
    names = _listed(reading, "sockets", "/var/lib/kubelet/device-plugins")
    return sorted(name for name in names if name.endswith(".sock") and name != "kubelet.sock")


def _registered(reading: Reading) -> list[Row]:
    lines = _listed(reading, "registered", "kubelet_internal_checkpoint")
    if not lines:
        raise CannotTell("the checkpoint lists no registered devices in the form that is known")
    if len(lines[0]) > _MAX_CHECKPOINT:
        raise CannotTell("the checkpoint is too long")
    try:
        devices = json.loads(lines[0])
    except (ValueError, RecursionError):
        raise CannotTell("the list of registered devices is no JSON") from None
    if not isinstance(devices, dict):
        raise CannotTell("the list of registered devices is no table")
    rows = []
    for resource, ids in sorted(devices.items()):
        if not isinstance(ids, list):
            ids = [] if ids is None else [ids]
        # Shared devices are listed once for each share: GPU-x::0, GPU-x::1.
        rows.append({"resource": str(resource), "count": len({str(one).partition("::")[0] for one in ids})})
    return rows


def _validations(reading: Reading) -> list[str]:
    _found(reading)
    if not reading.has("cmd", "validations"):
        raise NotThere("there is no /run/nvidia/validations: no GPU operator here")
    names = reading.command("validations").splitlines()
    return sorted(name.removesuffix("-ready") for name in names if name.endswith("-ready"))


def _driver_container(reading: Reading) -> bool:
    _found(reading)
    return reading.has("text", "driver container")


def parse(reply: SourceReply, context: Context) -> Iterator[Fact]:
    """The facts of the source `kubelet`."""
    reading = Reading(reply)
    config = "cat /var/lib/kubelet/config.yaml"
    looks: dict[str, tuple[Callable[[], Any], str]] = {
        "kubelet.version": (partial(_version, reading), "kubelet --version"),
        "kubelet.joined": (partial(_joined, reading), config),
        **{
            f"kubelet.{name}": (partial(_setting, reading, key, option), config)
            for name, (key, option) in _TEXTS.items()
        },
        "kubelet.max_pods": (partial(_max_pods, reading), config),
        "kubelet.fail_swap_on": (
            lambda: flag(_setting(reading, "failSwapOn", "--fail-swap-on"), "failSwapOn"),
            config,
        ),
        "kubelet.shutdown_grace_s": (partial(_grace_s, reading), config),
        "kubelet.device_plugin_sockets": (partial(_sockets, reading), "ls /var/lib/kubelet/device-plugins"),
        "kubelet.dra_plugins": (
            lambda: sorted(_listed(reading, "dra plugins", "/var/lib/kubelet/plugins")),
            "ls /var/lib/kubelet/plugins",
        ),
        "kubelet.registered_devices": (
            partial(_registered, reading),
            "cat /var/lib/kubelet/device-plugins/kubelet_internal_checkpoint",
        ),
        "gpu_operator.validations": (partial(_validations, reading), "ls /run/nvidia/validations"),
        "gpu_operator.driver_container": (partial(_driver_container, reading), "ls /run/nvidia/driver"),
    }
    for name, (look, command) in looks.items():
        yield told(name, look, command)


SOURCES = {SOURCE: parse}
