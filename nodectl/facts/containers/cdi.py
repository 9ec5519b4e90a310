"""CDI specs of NVIDIA devices, and the links in /dev/char that runc looks for."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING

from nodectl.facts.containers.files import COMPLETE
from nodectl.facts.reading import CannotTell, NotThere, Reading, Row, command_trouble, told
from nodectl.facts.registry import Context, FactSpec, Field
from nodectl.model import Fact

if TYPE_CHECKING:
    from nodectl.probe.transcript import Section, SourceReply

SOURCE = "cdi"
_SPEC = "spec "
# Files whose name or folder is the driver's version.
_DRIVER_FILE = re.compile(
    r"/\S{0,300}(?:/lib(?:cuda|nvidia-ml)\.so\.|/firmware/nvidia/)([0-9]{3,4}(?:\.[0-9]{1,6}){1,2})(?:/\S{1,200})?"
)
_GPU_NODE = re.compile(r"/\S{0,200}?dev/nvidia([0-9]{1,4})")
_MAX_MISSING = 20
_FIELDS = ("kind", "cdi_version", "devices", "gpu_nodes", "driver_versions", "missing")

FACTS = (
    FactSpec(
        name="cdi.specs",
        type="rows",
        about="CDI specs in /etc/cdi and /var/run/cdi that speak of NVIDIA",
        source=SOURCE,
        fields=(
            Field("path", about="the spec's file"),
            Field("kind", about="vendor and class: nvidia.com/gpu, management.nvidia.com/gpu, ..."),
            Field("cdi_version", "version", about="version of the form"),
            Field("devices", "list", about="names of its devices"),
            Field("gpu_nodes", "int", about="how many /dev/nvidiaN it gives"),
            Field("driver_versions", "list", about="driver versions in the names of the files that it mounts"),
            Field("missing", "list", about="files and devices that it names and that are not there"),
        ),
    ),
    FactSpec(
        name="nvidia.char_links_missing",
        type="list",
        about="NVIDIA device nodes that no link in /dev/char leads to; absent without such nodes or links at all",
        source=SOURCE,
    ),
)


def _spec_row(section: Section) -> Row:
    path = section.name.removeprefix(_SPEC)
    if section.kind == "file" or section.rc:
        trouble = command_trouble(section)
        return {"path": path, "_errors": dict.fromkeys(_FIELDS, trouble)}
    *lines, last = section.text.rstrip("\n").split("\n")
    if last.strip() != COMPLETE:
        raise CannotTell(f"{path} was not read to its end")
    values: dict[str, list[tuple[str, str]]] = {}
    for line in lines:
        parts = line.split("\t", 2)
        if len(parts) != 3:
            raise CannotTell(f"{path}: not understood: {line!r:.60}")
        values.setdefault(parts[0], []).append((parts[1], parts[2]))
    if not values.get("kind"):
        trouble = f"needs root: {path}" if section.stderr else f"{path} names no kind"
        return {"path": path, "_errors": dict.fromkeys(_FIELDS, trouble)}
    host, inside = values.get("hostPath", []), values.get("path", [])
    # A device has a path of its own on the host only where the driver lives in a container; then that is what counts.
    on_host = any(_GPU_NODE.fullmatch(name) for _, name in host)
    devices = [pair for pair in (host if on_host else inside) if "/dev/" in pair[1]]
    others = [pair for pair in [*host, *inside] if "/dev/" not in pair[1]]
    named = devices + others
    row: Row = {
        "path": path,
        "kind": _first(values, "kind"),
        "cdi_version": _first(values, "cdiVersion"),
        "devices": [name for _, name in values.get("name", [])],
        "gpu_nodes": len({match[1] for _, name in devices if (match := _GPU_NODE.fullmatch(name))}),
        "driver_versions": sorted({match[1] for _, name in host if (match := _DRIVER_FILE.fullmatch(name))}),
        "missing": sorted({name for state, name in named if state == "gone"})[:_MAX_MISSING],
    }
    if any(state == "hidden" for state, _ in named) and not row["missing"]:
        row |= {"missing": None, "_errors": {"missing": "needs root: some of the files lie where only root may look"}}
    return row


def _first(values: dict[str, list[tuple[str, str]]], key: str) -> str | None:
    return values[key][0][1] if values.get(key) else None


def _specs(reading: Reading) -> list[Row]:
    reading.text("specs")
    return [
        _spec_row(section)
        for section in reading.reply.sections
        if (section.kind == "cmd" and section.name.startswith(_SPEC)) or section.kind == "file"
    ]


def _links_missing(reading: Reading) -> list[str]:
    nodes = reading.command("nodes").split()
    if not nodes:
        raise NotThere("there are no NVIDIA device nodes")
    if not reading.has("cmd", "/dev/char"):
        raise NotThere("there is no /dev/char")
    *links, last = reading.command("/dev/char").rstrip("\n").split("\n")
    count = re.fullmatch(r"nd_links (\d{1,6})", last)
    if not count:
        raise CannotTell("/dev/char was not listed to its end")
    if count[1] == "0":
        raise NotThere("/dev/char holds no links: this is a container, or udev does not run")
    known = {link.rpartition("/")[2] for link in links}
    return [node for node in nodes if node.rpartition("/")[2] not in known]


def parse(reply: SourceReply, context: Context) -> Iterator[Fact]:
    """The facts of the source `cdi`."""
    reading = Reading(reply)
    yield told("cdi.specs", partial(_specs, reading), "nvidia-ctk cdi list")
    yield told("nvidia.char_links_missing", partial(_links_missing, reading), "ls -l /dev/char")


SOURCES = {SOURCE: parse}
