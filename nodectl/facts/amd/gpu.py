"""AMD Instinct GPUs: amd-smi's or rocm-smi's answer and the driver's own files, put together by PCI address.

The driver's files (sysfs) tell nearly all and need no tool. So a node without amd-smi is not an error: only what the
tools alone know (link states, serials) is missing there. `amd.smi_error` tells of a tool that is there and fails.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from nodectl.facts.amd import smi, values
from nodectl.facts.amd.fields import DEVICE_FIELDS, NODE_FIELDS
from nodectl.facts.amd.sysfs import sysfs_rows
from nodectl.facts.amd.values import UnreadableError, at, json_after_warnings, over, records
from nodectl.facts.reading import CannotTell, NotThere, Reading, Row, command_trouble, errors_for, one_line, origin
from nodectl.facts.registry import Context, FactSpec
from nodectl.model import Fact, absent, error, present

if TYPE_CHECKING:
    from nodectl.probe.transcript import SourceReply

SOURCE = "amd_gpu"
VENDOR = "amd"
_NONE = "there is no AMD Instinct GPU"
_TOOLS = "GPUs that their vendors' tools list (nvidia-smi, amd-smi, hl-smi, xpu-smi)"

_JOINT: tuple[FactSpec, ...] = (
    FactSpec(name="gpu.count", type="int", source=SOURCE, vendor=VENDOR, about=_TOOLS),
    FactSpec(name="gpu.models", type="list", source=SOURCE, vendor=VENDOR, about="The product names of AMD GPUs"),
    FactSpec(
        name="gpu.devices", type="rows", source=SOURCE, vendor=VENDOR, fields=DEVICE_FIELDS, about="One row an AMD GPU"
    ),
)
_OWN: tuple[FactSpec, ...] = (
    FactSpec(name="amd.count", type="int", source=SOURCE, about="AMD Instinct GPUs that the driver and its tools show"),
    FactSpec(name="amd.tool", type="str", source=SOURCE, about="What told of AMD GPUs: amd-smi, rocm-smi or sysfs"),
    FactSpec(
        name="amd.smi_error", type="str", source=SOURCE, about="What amd-smi or rocm-smi failed with; absent: it works"
    ),
    FactSpec(
        name="amd.driver_version",
        type="version",
        source=SOURCE,
        about="Version of the loaded amdgpu module; absent for the driver that comes with the kernel",
    ),
    FactSpec(name="amd.rocm_version", type="version", source=SOURCE, about="ROCm that is installed on the node"),
    FactSpec(name="amd.vbios_versions", type="list", source=SOURCE, about="The different VBIOS versions of AMD GPUs"),
    FactSpec(
        name="amd.firmware",
        type="list",
        source=SOURCE,
        about='Firmware of AMD GPUs as "part version", each pair once: a part with two versions stands twice',
    ),
    FactSpec(
        name="amd.compute_partitions", type="list", source=SOURCE, about="Compute partition modes of AMD GPUs: SPX, CPX"
    ),
    FactSpec(
        name="amd.memory_partitions", type="list", source=SOURCE, about="Memory partition modes of AMD GPUs: NPS1, NPS4"
    ),
    FactSpec(
        name="amd.device_nodes",
        type="rows",
        source=SOURCE,
        fields=NODE_FIELDS,
        about="/dev/kfd and the render nodes below /dev/dri, with who may open them",
    ),
)
FACTS: tuple[FactSpec, ...] = (*_JOINT, *_OWN)
_NAMES = tuple(spec.name for spec in FACTS)
_VERSION = re.compile(r"\d+(?:\.\d+)+")
_MODE = re.compile(r"c([rwxsStT-]{9})[.+@]? +\d+ +(\d+) +(\d+) .* (\S+)")


def parse(reply: SourceReply, context: Context) -> Iterable[Fact]:
    """Facts of the source amd_gpu. Without an AMD Instinct GPU all are absent."""
    reading = Reading(reply)
    where = origin(reply) | {"command": "/sys/bus/pci/devices"}
    try:
        if not reading.command("ls -d /sys/bus/pci/devices").strip():
            raise CannotTell("the PCI bus was not listed")
        addresses = reading.text("AMD GPUs").split()
    except CannotTell as trouble:
        return errors_for(_NAMES, f"cannot look at the PCI bus: {trouble}", **where)
    if not addresses:
        return [absent(name, _NONE, **where) for name in _NAMES]
    if any(values.pci_address(address) is None for address in addresses):
        return errors_for(_NAMES, "the list of AMD GPUs is no list of PCI addresses", **where)
    told = sysfs_rows(reply)
    try:
        tool, trouble_of_tool, said = _ask_tools(reading)
    except CannotTell as trouble:
        return errors_for(_NAMES, str(trouble), **where)
    where["command"] = f"{tool}; /sys/bus/pci/devices" if said else "/sys/bus/pci/devices"
    rows = _joined(addresses, told, said)
    return [*_of_rows(rows, where), *_of_tools(reading, tool if said else "sysfs", trouble_of_tool, where)]


def _ask_tools(reading: Reading) -> tuple[str, str, dict[str, Row]]:
    """(the tool, what it failed with, its rows by PCI address). No tool at all is no failure."""
    if reading.has("cmd", "amd-smi static --json"):
        trouble, found = "", {}
        try:
            found = smi.static_rows(_document(reading, "amd-smi static --json"))
            numbers = {row["index"]: address for address, row in found.items() if row["index"] is not None}
            metrics = smi.metric_rows(_document(reading, "amd-smi metric -u -p -t -e -P --json"), numbers)
            found = {address: over(row, metrics.get(address, {})) for address, row in found.items()}
        except UnreadableError as problem:
            trouble = str(problem)
        else:
            links = _links(reading, numbers)
            found = {address: over(row, links.get(address, {})) for address, row in found.items()}
        return "amd-smi", trouble, found
    if reading.has("cmd", "rocm-smi --json"):
        try:
            return "rocm-smi", "", smi.rocm_smi_rows(_document(reading, "rocm-smi --json"))
        except UnreadableError as problem:
            return "rocm-smi", str(problem), {}
    return "sysfs", "", {}


def _links(reading: Reading, numbers: dict[int, str]) -> dict[str, Row]:
    """Link states, which only amd-smi of ROCm 6.4 and later tells."""
    try:
        return smi.link_rows(_document(reading, "amd-smi xgmi -l --json"), numbers)
    except UnreadableError:
        return {}


def _document(reading: Reading, command: str) -> Any:
    """A tool's JSON.

    Raises:
        UnreadableError: it failed, hung, or printed something else.
    """
    try:
        section = reading.ran(command)
    except CannotTell as trouble:
        raise UnreadableError(str(trouble)) from None
    if section.rc != 0:
        said = one_line(section.text)[:200]
        raise UnreadableError(command_trouble(section) + (f"; {said}" if said and not section.stderr else ""))
    try:
        return json_after_warnings(section.text)
    except UnreadableError as problem:
        raise UnreadableError(f"{command}: {problem}") from None


def _joined(addresses: list[str], told: dict[str, Row], said: dict[str, Row]) -> list[Row]:
    """One row a GPU that the tool lists (where no tool works: that the driver has), in the order of the bus."""
    rows = []
    for place, address in enumerate(addresses):
        if address not in (said or told):
            continue
        row = over(said.get(address, {}), told.get(address, {}))
        row = {"index": None, "pci_bus_id": address, **row}
        if row["index"] is None:
            row["index"] = place
        rows.append(row)
    return rows


def _of_rows(rows: list[Row], where: dict[str, Any]) -> Iterable[Fact]:
    yield present("gpu.devices", rows, **where)
    yield present("gpu.count", len(rows), **where)
    yield present("amd.count", len(rows), **where)
    for name, field in (
        ("gpu.models", "name"),
        ("amd.vbios_versions", "vbios_version"),
        ("amd.compute_partitions", "compute_partition"),
        ("amd.memory_partitions", "memory_partition"),
    ):
        found = list(dict.fromkeys(row[field] for row in rows if row.get(field) is not None))
        yield present(name, found, **where) if found else absent(name, "no AMD GPU tells it", **where)
    parts = dict.fromkeys(f"{part} {said}" for row in rows for part, said in (row.get("firmware") or {}).items())
    if parts:
        yield present("amd.firmware", sorted(parts), **where)
    else:
        yield absent("amd.firmware", "no AMD GPU tells its firmware", **where)


def _of_tools(reading: Reading, tool: str, trouble: str, where: dict[str, Any]) -> Iterable[Fact]:
    yield present("amd.tool", tool, **where)
    if trouble:
        yield present("amd.smi_error", trouble, **where)
    else:
        yield absent("amd.smi_error", "it works" if tool != "sysfs" else "no tool is installed", **where)
    yield _told_version("amd.driver_version", reading, "/sys/module/amdgpu/version", where)
    yield _rocm(reading, where)
    yield _device_nodes(reading, where)


def _told_version(name: str, reading: Reading, path: str, where: dict[str, Any]) -> Fact:
    where = where | {"command": path}
    try:
        match = _VERSION.match(reading.file(path).strip())
    except NotThere as nothing:
        return absent(name, str(nothing), **where)
    except CannotTell as trouble:
        return error(name, str(trouble), **where)
    return present(name, match[0], **where) if match else error(name, f"{path} has no version", **where)


def _rocm(reading: Reading, where: dict[str, Any]) -> Fact:
    """ROCm's version: of its folder, else as amd-smi has it."""
    fact = _told_version("amd.rocm_version", reading, "/opt/rocm/.info/version", where)
    if fact.value is not None or not reading.has("cmd", "amd-smi version --json"):
        return fact
    try:
        found = [at(record, "rocm_version") for record in records(_document(reading, "amd-smi version --json"))]
    except UnreadableError:
        return fact
    match = _VERSION.match(found[0]) if found and isinstance(found[0], str) else None
    return present(fact.name, match[0], **(where | {"command": "amd-smi version --json"})) if match else fact


def _device_nodes(reading: Reading, where: dict[str, Any]) -> Fact:
    """/dev/kfd and the render nodes, from `ls -ln /dev/kfd /dev/dri`."""
    where = where | {"command": "ls -ln /dev/kfd /dev/dri"}
    try:
        section = reading.ran("ls -ln /dev/kfd /dev/dri")
    except CannotTell as trouble:
        return error("amd.device_nodes", str(trouble), **where)
    rows = []
    for line in section.text.split("\n"):
        match = _MODE.fullmatch(line.strip())
        if match and (match[4] == "/dev/kfd" or match[4].startswith("renderD")):
            path = match[4] if match[4].startswith("/") else f"/dev/dri/{match[4]}"
            row: Row = {"path": path, "uid": int(match[2][:9]), "gid": int(match[3][:9])}
            rows.append({**row, "group_access": "rw" in match[1][3:6], "all_access": "rw" in match[1][6:9]})
    if not rows and section.rc not in (0, 1, 2):
        return error("amd.device_nodes", command_trouble(section), **where)
    return present("amd.device_nodes", rows, **where)


SOURCES = {SOURCE: parse}
