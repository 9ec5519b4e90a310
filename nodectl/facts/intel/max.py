"""Intel Data Center GPUs (Max, Flex): xpu-smi's lists and boxes, and the i915 or xe driver's files.

Forms: intel/xpumanager 1.x, doc/smi_user_guide.md. Without xpu-smi the driver's files still tell which GPUs it has.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from nodectl.facts.amd import values
from nodectl.facts.amd.values import UnreadableError, over
from nodectl.facts.conform import ERRORS_KEY
from nodectl.facts.intel.fields import INTEL_FIELDS
from nodectl.facts.intel.tables import ToolError, box_pairs, csv_rows, output
from nodectl.facts.reading import CannotTell, Reading, Row, errors_for, origin
from nodectl.facts.registry import Context, FactSpec
from nodectl.model import Fact, absent, present

if TYPE_CHECKING:
    from nodectl.probe.transcript import SourceReply

SOURCE = "intel_gpu"
VENDOR = "intel"
_NONE = "there is no Intel Data Center GPU"

FACTS: tuple[FactSpec, ...] = (
    FactSpec(name="gpu.count", type="int", source=SOURCE, vendor=VENDOR, about="Intel GPUs that xpu-smi lists"),
    FactSpec(name="gpu.models", type="list", source=SOURCE, vendor=VENDOR, about="Product names of Intel GPUs"),
    FactSpec(
        name="gpu.devices", type="rows", source=SOURCE, vendor=VENDOR, fields=INTEL_FIELDS, about="One row an Intel GPU"
    ),
    FactSpec(
        name="intel.count",
        type="int",
        source=SOURCE,
        about="Intel GPUs that xpu-smi lists; without it: that i915 or xe has",
    ),
    FactSpec(name="intel.tool", type="str", source=SOURCE, about="What told of Intel GPUs: xpu-smi or sysfs"),
    FactSpec(name="intel.smi_error", type="str", source=SOURCE, about="What xpu-smi failed with; absent: it works"),
    FactSpec(
        name="intel.firmware_versions",
        type="list",
        source=SOURCE,
        about="The different GFX firmware versions of Intel GPUs",
    ),
)
_NAMES = tuple(spec.name for spec in FACTS)
_DISCOVERY = "xpu-smi discovery --dump"
_LINE = re.compile(r"/sys/bus/pci/devices/([0-9a-f]{4,8}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7])/([\w./-]{1,120}):(.*)")
_COMPONENTS = {
    "1": "core_temperature", "2": "memory_temperature", "3": "power", "4": "memory", "5": "xe_link_port",
    "6": "frequency",
}  # fmt: skip
_TILE = re.compile(r"Tile \d{1,2}: ?(\d{1,15}(?:\.\d{1,6})?)(?![\d.])")
_Read = Callable[[Any], Any]


def parse(reply: SourceReply, context: Context) -> Iterable[Fact]:
    """Facts of the source intel_gpu. Without such a GPU all are absent."""
    reading = Reading(reply)
    where = origin(reply) | {"command": "/sys/bus/pci/devices"}
    try:
        if not reading.command("ls -d /sys/bus/pci/devices").strip():
            raise CannotTell("the PCI bus was not listed")
        addresses = reading.text("Intel GPUs").split()
    except CannotTell as trouble:
        return errors_for(_NAMES, f"cannot look at the PCI bus: {trouble}", **where)
    if not addresses:
        return [absent(name, _NONE, **where) for name in _NAMES]
    files = _files(reply)
    trouble_of_tool, listed = "", {}
    try:
        listed = _discovered(reply)
    except ToolError as trouble:
        trouble_of_tool = str(trouble)
    tool = "xpu-smi" if listed else "sysfs"
    where["command"] = "xpu-smi discovery; /sys/bus/pci/devices" if listed else "/sys/bus/pci/devices"
    health = _health(reply)
    rows = []
    for place, address in enumerate(addresses):
        if address not in (listed or files):
            continue
        row = over(listed.get(address, {}), files.get(address, {}))
        row = {"index": place, "pci_bus_id": address, **row}
        row = over(row, over(_stats(reply, address), _details(reply, address)))
        rows.append({**row, **health.get(row["index"], {})})
    return [*_of_rows(rows, where), *_of_tool(tool, trouble_of_tool, where)]


def _of_tool(tool: str, trouble: str, where: dict[str, Any]) -> Iterable[Fact]:
    yield present("intel.tool", tool, **where)
    if trouble and "not found" not in trouble:
        yield present("intel.smi_error", trouble, **where)
    else:
        yield absent("intel.smi_error", "xpu-smi is not installed" if trouble else "xpu-smi works", **where)


def _of_rows(rows: list[Row], where: dict[str, Any]) -> Iterable[Fact]:
    yield present("gpu.devices", rows, **where)
    yield present("gpu.count", len(rows), **where)
    yield present("intel.count", len(rows), **where)
    for name, field in (("gpu.models", "name"), ("intel.firmware_versions", "vbios_version")):
        found = list(dict.fromkeys(row[field] for row in rows if row.get(field) is not None))
        yield present(name, found, **where) if found else absent(name, "no Intel GPU tells it", **where)


def _files(reply: SourceReply) -> dict[str, Row]:
    """PCI address -> memory and errors as the driver's files have them; GPUs without i915 or xe are left out."""
    devices: dict[str, dict[str, str]] = defaultdict(dict)
    for section in reply.sections:
        for line in section.text.split("\n") if section.kind == "grep" else ():
            match = _LINE.fullmatch(line)
            if match:
                text = devices[match[1]].get(match[2])
                devices[match[1]][match[2]] = match[3] if text is None else f"{text}\n{match[3]}"
    found: dict[str, Row] = {}
    for address, files in devices.items():
        if not re.search(r"^DRIVER=(?:i915|xe)$", files.get("uevent", ""), re.MULTILINE):
            continue
        row: Row = {"pci_id": values.pci_id(files["uevent"])}
        for name, text in files.items():
            if name.endswith("/lmem_total_bytes"):
                _cell(row, "memory_total_mib", lambda said: (values.count(said) or 0) >> 20, text)
            elif "/error_counter/" in name:
                fatal = name.rpartition("/")[2].startswith("fatal")
                _add(row, "ecc_uncorrectable_volatile" if fatal else "ecc_correctable_volatile", text)
        found[address] = row
    return found


def _add(row: Row, field: str, text: str) -> None:
    if field in row.get(ERRORS_KEY, {}):
        return
    before = row.get(field) or 0
    _cell(row, field, values.count, text)
    if row[field] is not None:
        row[field] += before


def _cell(row: Row, field: str, read: _Read, value: Any) -> None:
    try:
        row[field] = read(value)
    except UnreadableError as problem:
        row[field] = None
        row.setdefault(ERRORS_KEY, {})[field] = str(problem)


_COLUMNS: tuple[tuple[str, int, _Read], ...] = (
    ("name", 1, values.text),
    ("uuid", 2, values.text),
    ("serial", 3, values.text),
    ("driver_version", 4, values.text),
    ("vbios_version", 5, values.text),
    ("pcie_gen_max", 7, values.count),
    ("pcie_width_max", 8, values.count),
    ("memory_total_mib", 10, values.whole),
)


def _discovered(reply: SourceReply) -> dict[str, Row]:
    """PCI address -> what `xpu-smi discovery --dump` lists.

    Raises:
        ToolError: it gave no list.
    """
    listed = csv_rows(output(reply, _DISCOVERY), 11)
    found: dict[str, Row] = {}
    for cells in listed[1:] if listed and listed[0][0] == "Device ID" else listed:
        address = values.pci_address(cells[6])
        if address is None or not cells[0].isdecimal():
            raise ToolError(f"xpu-smi discovery printed no PCI address: {', '.join(cells)[:80]}")
        row: Row = {"index": int(cells[0][:9])}
        for field, place, read in _COLUMNS:
            _cell(row, field, read, cells[place])
        found[address] = row
    return found


def _of_tiles(together: Callable[[list[float]], float]) -> _Read:
    """Reads `41`, or `Tile 0: 41, Tile 1: 43` put together."""

    def read(said: Any) -> float | None:
        tiles = [float(number) for number in _TILE.findall(str(said))]
        return together(tiles) if tiles else values.number(said)

    return read


def _whole(read: _Read) -> _Read:
    def rounded(said: Any) -> int | None:
        found = read(said)
        return None if found is None else round(found)

    return rounded


_hottest, _summed = _whole(_of_tiles(max)), _whole(_of_tiles(sum))
_STATS: dict[str, tuple[str, _Read]] = {
    "GPU Power (W)": ("power_draw_w", _of_tiles(sum)),
    "GPU Core Temperature (C)": ("temperature_c", _hottest),
    "GPU Memory Temperature (C)": ("temperature_memory_c", _hottest),
    "GPU Memory Used (MiB)": ("memory_used_mib", _summed),
    "GPU Utilization (%)": ("gpu_utilization_pct", _hottest),
    "Reset": ("resets", _summed),
}
_ERRORS = {
    "Cache Errors Uncorrectable": "ecc_uncorrectable_volatile",
    "Mem Errors Uncorrectable": "ecc_uncorrectable_volatile",
    "Cache Errors Correctable": "ecc_correctable_volatile",
    "Mem Errors Correctable": "ecc_correctable_volatile",
}


def _stats(reply: SourceReply, address: str) -> Row:
    """Heat, power and errors from `xpu-smi stats -d ADDRESS`."""
    try:
        pairs = box_pairs(output(reply, f"xpu-smi stats -d {address}"))
    except ToolError:
        return {}
    row: Row = {}
    for label, said in pairs:
        if label in _STATS:
            field, read = _STATS[label]
            _cell(row, field, read, said)
        elif label in _ERRORS and said:
            field = _ERRORS[label]
            try:
                row[field] = (row.get(field) or 0) + (_summed(said) or 0)
            except UnreadableError as problem:
                row.setdefault(ERRORS_KEY, {})[field] = str(problem)
    for field in row.get(ERRORS_KEY, {}):
        row[field] = None
    return row


def _ecc(text: str) -> bool | None:
    return {"enabled": True, "disabled": False}.get(text.strip().casefold())


_DETAILS: dict[str, tuple[str, _Read]] = {
    "ECC State": ("ecc_current", _ecc),
    "Memory Physical Size": ("memory_total_mib", values.whole),
    "Driver Version": ("driver_version", values.text),
    "Number of Tiles": ("tiles", values.count),
    "Number of Xe Link ports": ("xe_link_ports", values.count),
}


def _details(reply: SourceReply, address: str) -> Row:
    """What only `xpu-smi discovery -d ADDRESS` tells."""
    try:
        pairs = box_pairs(output(reply, f"xpu-smi discovery -d {address}"))
    except ToolError:
        return {}
    row: Row = {}
    for _, said in pairs:
        label, colon, text = said.partition(":")
        if colon and label in _DETAILS:
            field, read = _DETAILS[label]
            _cell(row, field, read, text.strip())
    return row


def _health(reply: SourceReply) -> dict[int, Row]:
    """xpu-smi's number of a GPU -> its verdict on each component, from `xpu-smi health -l`."""
    try:
        pairs = box_pairs(output(reply, "xpu-smi health -l"))
    except ToolError:
        return {}
    found: dict[int, Row] = {}
    verdicts: dict[str, str] = {}
    component = ""
    for label, said in pairs:
        if label == "Device ID" and said.isdecimal():
            verdicts = found.setdefault(int(said[:9]), {"health": {}})["health"]
        elif label:
            component = _COMPONENTS.get(label.partition(".")[0], "")
        if component and said.startswith("Status:"):
            verdicts[component] = said.removeprefix("Status:").strip()[:40]
    return found


SOURCES = {SOURCE: parse}
