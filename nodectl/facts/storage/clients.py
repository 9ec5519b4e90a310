"""Clients of parallel file systems that a node has: `storage.clients`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from nodectl.facts.host.services import parse_show
from nodectl.facts.reading import CannotTell, NotThere, Reading, Row, told
from nodectl.facts.registry import Context, FactSpec, Field
from nodectl.model import Fact

if TYPE_CHECKING:
    from nodectl.probe.transcript import SourceReply

_SOURCE = "storage_clients"
_LOADED = "/proc/modules"
_SHOW = "systemctl show"
# Client -> (kernel modules, systemd units, folders that its packages make).
_CLIENTS = {
    "beegfs": (("beegfs",), ("beegfs-client.service", "beegfs-helperd.service"), ("/etc/beegfs", "/opt/beegfs")),
    "ceph": (("ceph",), (), ()),
    "gpfs": (("mmfs26",), ("gpfs.service",), ("/usr/lpp/mmfs",)),
    "lustre": (("lustre",), (), ()),
    "nvidia_fs": (("nvidia_fs",), (), ()),
    "weka": (("wekafsio", "wekafsgw"), ("weka-agent.service",), ("/opt/weka",)),
}
_VERSION = re.compile(r"/sys/module/([a-z0-9_]{1,60})/version")

FACTS = (
    FactSpec(
        name="storage.clients",
        type="rows",
        about="Clients of parallel file systems that are installed or loaded, a row a service; the module of GPUDirect"
        " Storage (nvidia_fs) is among them",
        source=_SOURCE,
        fields=(
            Field("client", about="beegfs, ceph, gpfs, lustre, nvidia_fs, weka"),
            Field("module_loaded", "bool", about="its kernel module is loaded"),
            Field("version", "version", about="of the loaded module"),
            Field("unit", about="systemd unit of the client"),
            Field("enabled", about="enabled, disabled, static, masked, ..."),
            Field("active_state", about="active, inactive, failed, ..."),
        ),
    ),
)


def _loaded(reading: Reading) -> set[str]:
    section = reading.ran(_LOADED)
    if section.rc and "No such file" in section.stderr:
        # A kernel that cannot load modules: whatever it has is built in.
        trouble = reading.not_there(_LOADED)
        if isinstance(trouble, NotThere):
            return set()
        raise trouble
    *names, last = reading.command(_LOADED).split("\n")[:-1] or [""]
    if not re.fullmatch(r"nd_total \d+", last):
        raise CannotTell(f"{_LOADED} was not read to its end")
    return set(names)


def _units(reading: Reading) -> dict[str, dict[str, str]] | str:
    """What systemd says of the units; or why nobody can tell."""
    if not reading.has("cmd", _SHOW):
        return {}
    section = reading.ran(_SHOW)
    units = parse_show(section.text)
    return units or f"systemctl gave no answer: {' '.join(section.stderr.split())[:200] or f'rc {section.rc}'}"


def _rows(reading: Reading) -> list[Row]:
    loaded = _loaded(reading)
    units = _units(reading)
    folders = {
        place for _, _, places in _CLIENTS.values() for place in places if reading.has("text", f"folder {place}")
    }
    versions = {match[1]: text.strip() for match, text in reading.lines_below(_VERSION)}
    rows: list[Row] = []
    for client, (modules, names, places) in _CLIENTS.items():
        version = next((versions[module] for module in modules if module in versions), None)
        base: Row = {
            "client": client,
            "module_loaded": bool(loaded & set(modules)),
            "version": version if version and re.search(r"\d", version) else None,
            "unit": None,
            "enabled": None,
            "active_state": None,
        }
        known = []
        for name in names:
            if isinstance(units, str):
                if folders & set(places):
                    known.append({**base, "unit": name, "_errors": dict.fromkeys(("enabled", "active_state"), units)})
            elif units.get(name, {}).get("LoadState", "not-found") != "not-found":
                unit = units[name]
                known.append(
                    {
                        **base,
                        "unit": name,
                        "enabled": unit.get("UnitFileState"),
                        "active_state": unit.get("ActiveState") or None,
                    }
                )
        rows += known or ([base] if base["module_loaded"] else [])
    return rows


def parse(reply: SourceReply, context: Context) -> Iterator[Fact]:
    """The fact of the source `storage_clients`."""
    reading = Reading(reply)
    yield told("storage.clients", lambda: _rows(reading), "/proc/modules; systemctl show")


SOURCES = {_SOURCE: parse}
