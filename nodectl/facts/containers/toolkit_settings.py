"""How the NVIDIA container runtime and Enroot are set up, and Podman's old hook."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

from nodectl.facts.containers.engine_settings import SOURCE, engine_facts
from nodectl.facts.containers.files import (
    NETWORK_FILE_SYSTEMS,
    file_system,
    flag,
    looked_for,
    not_sent,
    settings,
    toml_text,
)
from nodectl.facts.reading import CannotTell, NotThere, Reading, Row, told
from nodectl.facts.registry import Context, FactSpec, Field
from nodectl.model import Fact

if TYPE_CHECKING:
    from nodectl.probe.transcript import SourceReply

_CONFIG = "/etc/nvidia-container-runtime/config.toml"
_HOOK_LINE = re.compile(r"(yes|no)\t(\S.{0,200})")


def _spec(name: str, kind: str, about: str, **more: Any) -> FactSpec:
    return FactSpec(name=name, type=kind, about=about, source=SOURCE, **more)


FACTS = (
    _spec("container_toolkit.mode", "str", "How the NVIDIA runtime gives GPUs: auto, legacy, cdi, csv; absent: auto"),
    _spec("container_toolkit.no_cgroups", "bool", "Device rules are left alone, as rootless containers need it"),
    _spec("container_toolkit.ldconfig", "str", "The ldconfig to run; with @ it is the host's; absent: not set"),
    _spec("container_toolkit.ldconfig_found", "bool", "The host's ldconfig that is named is there; absent: not set"),
    _spec("container_toolkit.features", "list", "Features that are switched on beyond the defaults"),
    _spec("podman.legacy_hook", "str", "NVIDIA's old OCI hook file; absent when it is not there"),
    _spec(
        "rootless.users",
        "int",
        "Users with subordinate user and group ids, as rootless containers need them",
        varies=True,
    ),
    FactSpec(
        name="enroot.paths",
        type="rows",
        about="Folders that enroot.conf names; absent without Enroot",
        source=SOURCE,
        fields=(
            Field("name", about="ENROOT_DATA_PATH, ENROOT_CACHE_PATH, ..."),
            Field("path", about="as it is written"),
            Field("fstype", about="file system that it lies on, as far as the path can be known"),
            Field("network", "bool", about="that is a network file system"),
        ),
    ),
    FactSpec(
        name="enroot.hooks",
        type="rows",
        about="Hooks of Enroot; absent without Enroot",
        source=SOURCE,
        fields=(Field("name", about="file name"), Field("executable", "bool", about="it can be run")),
    ),
)


def _values(reading: Reading) -> dict[str, str]:
    return dict(settings(reading, "nvidia-container-runtime", _CONFIG))


def _setting(reading: Reading, key: str) -> str:
    values = _values(reading)
    if key not in values:
        raise NotThere(f"{_CONFIG} does not set {key.rpartition('|')[2]}")
    return values[key]


def _no_cgroups(reading: Reading) -> bool:
    try:
        return flag(_setting(reading, "nvidia-container-cli|no-cgroups"), "no-cgroups")
    except NotThere:
        _values(reading)
        return False


def _ldconfig_found(reading: Reading) -> bool:
    path = toml_text(_setting(reading, "nvidia-container-cli|ldconfig"))
    if not path.startswith("@"):
        raise NotThere("the ldconfig that is named is the container's")
    there = looked_for(reading)
    if path[1:] not in there:
        raise CannotTell(f"the probe did not look for {path[1:]}")
    return there[path[1:]]


def _features(reading: Reading) -> list[str]:
    return sorted(
        key.partition("|")[2]
        for key, value in _values(reading).items()
        if key.startswith("features|") and toml_text(value) == "true"
    )


def _hook(reading: Reading) -> str:
    there = looked_for(reading)
    hooks = [path for path in there if path.endswith("/oci-nvidia-hook.json")]
    if not hooks:
        raise CannotTell("the probe did not look for the hook")
    for path in hooks:
        if there[path]:
            return path
    raise NotThere("there is no oci-nvidia-hook.json")


def _rootless_users(reading: Reading) -> int:
    if not reading.has("cmd", "subordinate ids"):
        raise not_sent(reading, "/etc/subuid or /etc/subgid")
    *lines, last = reading.command("subordinate ids").splitlines() or [""]
    if last != "nd_complete":
        raise CannotTell("/etc/subuid was not read to its end")
    counts = {path: int(count) for path, _, count in (line.partition(" ") for line in lines) if count.isdigit()}
    return min(counts.get("/etc/subuid", 0), counts.get("/etc/subgid", 0))


def _enroot_paths(reading: Reading) -> list[Row]:
    rows: dict[str, Row] = {}
    for name, path in settings(reading, "enroot", "/etc/enroot/enroot.conf"):
        row: Row = {"name": name, "path": path}
        try:
            kind = file_system(reading, path)
            row |= {"fstype": kind, "network": kind in NETWORK_FILE_SYSTEMS}
        except CannotTell as trouble:
            row["_errors"] = {"fstype": str(trouble), "network": str(trouble)}
        rows[name] = row
    return list(rows.values())


def _enroot_hooks(reading: Reading) -> list[Row]:
    if not reading.has("cmd", "enroot hooks"):
        raise not_sent(reading, "/etc/enroot")
    rows = []
    for line in reading.command("enroot hooks").splitlines():
        match = _HOOK_LINE.fullmatch(line)
        if not match:
            raise CannotTell(f"not understood: {line!r:.60}")
        rows.append({"name": match[2], "executable": match[1] == "yes"})
    return rows


def parse(reply: SourceReply, context: Context) -> Iterator[Fact]:
    """The facts of the source `container_config`."""
    yield from engine_facts(reply, context)
    reading = Reading(reply)
    looks: dict[str, Callable[[], Any]] = {
        "container_toolkit.mode": lambda: toml_text(_setting(reading, "nvidia-container-runtime|mode")),
        "container_toolkit.no_cgroups": partial(_no_cgroups, reading),
        "container_toolkit.ldconfig": lambda: toml_text(_setting(reading, "nvidia-container-cli|ldconfig")),
        "container_toolkit.ldconfig_found": partial(_ldconfig_found, reading),
        "container_toolkit.features": partial(_features, reading),
    }
    for name, look in looks.items():
        yield told(name, look, f"cat {_CONFIG}")
    yield told("podman.legacy_hook", partial(_hook, reading), "ls /usr/share/containers/oci/hooks.d")
    yield told("rootless.users", partial(_rootless_users, reading), "cat /etc/subuid /etc/subgid")
    yield told("enroot.paths", partial(_enroot_paths, reading), "cat /etc/enroot/enroot.conf")
    yield told("enroot.hooks", partial(_enroot_hooks, reading), "ls -l /etc/enroot/hooks.d")


SOURCES = {SOURCE: parse}
