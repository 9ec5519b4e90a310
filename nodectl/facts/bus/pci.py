"""GPUs, NVSwitches and NICs as the PCI bus has them (sysfs): what is there, whatever a driver thinks of it."""

from __future__ import annotations

import functools
import re
from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from nodectl.facts.conform import ERRORS_KEY
from nodectl.facts.reading import Row, errors_for, one_line, origin
from nodectl.facts.registry import VENDORS, Context, FactSpec, Field
from nodectl.model import Fact, present

if TYPE_CHECKING:
    from nodectl.probe.transcript import SourceReply

SOURCE = "gpu_pci"

_FIELDS = (
    Field("pci_bus_id", "str", "", "PCI address, e.g. 0000:18:00.0"),
    Field("pci_id", "str", "", "vendor:device, e.g. 10de:2335"),
    Field("subsystem_id", "str", "", "subsystem vendor:device"),
    Field("class", "str", "", "PCI class and subclass, e.g. 0302"),
    Field("driver", "str", "", "kernel driver that has taken the device"),
    Field("numa_node", "int", "", "NUMA node; none in most virtual machines"),
    Field("link_speed_gts", "float", "GT/s", "PCIe speed now; lower when idle"),
    Field("link_speed_max_gts", "float", "GT/s", "highest PCIe speed of the device"),
    Field("link_width", "int", "lanes", "PCIe lanes now"),
    Field("link_width_max", "int", "lanes", "highest number of PCIe lanes"),
    Field("enabled", "bool", "", "a driver has switched the device on"),
    Field("virtual_function", "bool", "", "an SR-IOV virtual function of another device"),
)
_GPU_FIELDS = (*_FIELDS, Field("vendor", "str", "", f"who makes it: {', '.join(VENDORS)}"))
# Graphics of AMD and Intel are not counted: the source leaves them out.
ACCELERATORS = {
    "nvidia": "NVIDIA GPUs",
    "amd": "AMD Instinct GPUs",
    "habana": "Gaudi accelerators",
    "intel": "Intel GPUs",
}
COUNTS = {
    "nvidia": "nvidia.pci_count",
    "amd": "amd.pci_count",
    "habana": "gaudi.pci_count",
    "intel": "intel.pci_count",
}
FACTS: tuple[FactSpec, ...] = (
    FactSpec(
        name="gpu.pci", type="rows", source=SOURCE, fields=_GPU_FIELDS, about="GPUs on the PCI bus, of every vendor"
    ),
    FactSpec(name="gpu.pci_count", type="int", source=SOURCE, about="GPUs on the PCI bus, of every vendor"),
    FactSpec(name="gpu.vendors", type="list", source=SOURCE, about="Who made the GPUs on the PCI bus"),
    *(
        FactSpec(
            name=name, type="int", source=SOURCE, about=f"{ACCELERATORS[vendor]} on the PCI bus (no driver needed)"
        )
        for vendor, name in COUNTS.items()
    ),
    FactSpec(
        name="gpu.pci_ids", type="list", source=SOURCE, about="The different PCI vendor:device pairs of NVIDIA GPUs"
    ),
    FactSpec(name="nvswitch.pci", type="rows", source=SOURCE, fields=_FIELDS, about="NVSwitches on the PCI bus"),
    FactSpec(name="nic.pci", type="rows", source=SOURCE, fields=_FIELDS, about="NVIDIA/Mellanox NICs on the PCI bus"),
)
_NAMES = tuple(spec.name for spec in FACTS)

_LINE = re.compile(r"/sys/bus/pci/devices/([0-9a-f]{4,8}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7])/([a-z_]{1,40}):(.*)")
_SPEED = re.compile(r"([0-9]{1,3}(?:\.[0-9])?) GT/s(?: PCIe)?")
_NUMBER = re.compile(r"-?[0-9]{1,9}")
_HEX_PAIR = re.compile(r"([0-9A-Fa-f]{4}):([0-9A-Fa-f]{4})")
_GPUS = {
    "nvidia": ("10de", ("0300", "0302")),
    "amd": ("1002", ("03", "12")),
    "habana": ("1da3", ("12",)),
    "intel": ("8086", ("03",)),
}
_SWITCH_CLASS = "0680"
# 63 is what the six bits of a device that no longer answers read as; 255 is the kernel's "unknown".
_NO_WIDTH = (63, 255)


def parse_pci(reply: SourceReply, context: Context) -> Iterable[Fact]:
    """Facts of the source gpu_pci. An empty bus is a value; a bus that cannot be looked at is an error."""
    where = origin(reply) | {"command": "/sys/bus/pci/devices"}
    bus = next(
        (section for section in reply.sections if section.kind == "cmd" and section.name.startswith("ls ")), None
    )
    if bus is None or bus.rc != 0:
        reason = one_line(bus.stderr) if bus is not None else "it was not listed"
        return errors_for(_NAMES, f"cannot look at the PCI bus: {reason or 'ls failed'}", **where)
    virtual = reply.find("text", "virtual functions")
    rows = device_rows(reply, frozenset(virtual.text.split()) if virtual else frozenset())
    unread = next((row for row in rows if row["pci_id"] is None or row["class"] is None), None)
    if unread is not None:
        return errors_for(_NAMES, f"cannot read what the PCI device {unread['pci_bus_id']} is", **where)
    gpus = [{**row, "vendor": vendor} for row in rows if (vendor := _vendor(row))]
    nvidia = [row for row in gpus if row["vendor"] == "nvidia"]
    return [
        *_of_all_vendors(reply, gpus, where),
        present("gpu.pci", gpus, **where),
        present("nvidia.pci_count", len(nvidia), **where),
        present("gpu.pci_ids", list(dict.fromkeys(row["pci_id"] for row in nvidia)), **where),
        present("nvswitch.pci", [row for row in rows if _is(row, "10de", (_SWITCH_CLASS,))], **where),
        present("nic.pci", [row for row in rows if _is(row, "15b3", ("02",))], **where),
    ]


def _of_all_vendors(reply: SourceReply, gpus: list[Row], where: dict[str, Any]) -> list[Fact]:
    """What needs a look for every vendor's GPUs. Transcripts of earlier versions have none but NVIDIA's."""
    others = {vendor: name for vendor, name in COUNTS.items() if vendor != "nvidia"}
    if reply.find("text", "vendors") is None:
        names = ("gpu.pci_count", "gpu.vendors", *others.values())
        return errors_for(names, "this probe looked for NVIDIA's GPUs only", **where)
    counts = Counter(row["vendor"] for row in gpus)
    return [
        present("gpu.pci_count", len(gpus), **where),
        present("gpu.vendors", [vendor for vendor in COUNTS if counts[vendor]], **where),
        *(present(name, counts[vendor], **where) for vendor, name in others.items()),
    ]


def _vendor(row: Row) -> str:
    """Who makes a GPU; empty for every other device."""
    return next((vendor for vendor, (pci, classes) in _GPUS.items() if _is(row, pci, classes)), "")


def _is(row: Row, vendor: str, classes: tuple[str, ...]) -> bool:
    return bool(
        row["pci_id"] and row["class"] and row["pci_id"].startswith(vendor) and row["class"].startswith(classes)
    )


def device_rows(reply: SourceReply, virtual: frozenset[str]) -> list[Row]:
    """One row a device of the `grep` sections, in the order of the bus."""
    devices: dict[str, dict[str, str]] = {}
    complaints = ""
    for section in reply.sections:
        if section.kind != "grep":
            continue
        complaints += section.stderr
        for line in section.text.split("\n"):
            match = _LINE.fullmatch(line)
            if match is None:
                continue
            files = devices.setdefault(match[1], {})
            if match[2] == "uevent":
                key, _, value = match[3].partition("=")
                files[key] = value
            else:
                files[match[2]] = match[3].strip()
    return [_row(address, devices[address], complaints, address in virtual) for address in sorted(devices)]


def _row(address: str, files: dict[str, str], complaints: str, virtual: bool) -> Row:
    errors: dict[str, str] = {}
    row: Row = {
        "pci_bus_id": address,
        "pci_id": id_pair(files.get("PCI_ID")),
        "subsystem_id": id_pair(files.get("PCI_SUBSYS_ID")),
        "class": class_of(files.get("PCI_CLASS")),
        "driver": files.get("DRIVER"),
        "virtual_function": virtual,
    }
    for name, file, read in (
        ("numa_node", "numa_node", numa_node),
        ("link_speed_gts", "current_link_speed", link_speed),
        ("link_speed_max_gts", "max_link_speed", link_speed),
        ("link_width", "current_link_width", link_width),
        ("link_width_max", "max_link_width", link_width),
        ("enabled", "enable", _enabled),
    ):
        text = files.get(file)
        row[name] = None
        if text is None:
            if f"{address}/{file}: " in complaints and f"{address}/{file}: No such file" not in complaints:
                errors[name] = f"cannot read {file}: {_complaint(complaints, address, file)}"
            continue
        try:
            row[name] = read(text)
        except ValueError:
            errors[name] = f"{file} says {text[:40]!r}"
    if row["link_width"] == 0 and row["link_speed_gts"] is None:
        row["link_width"] = None  # a virtual function has no link of its own
    if errors:
        row[ERRORS_KEY] = errors
    return row


def _complaint(complaints: str, address: str, file: str) -> str:
    for line in complaints.split("\n"):
        if f"{address}/{file}: " in line:
            return line.rpartition(": ")[2][:80]
    return ""


def id_pair(text: str | None) -> str | None:
    match = _HEX_PAIR.fullmatch(text or "")
    return f"{match[1]}:{match[2]}".lower() if match else None


def class_of(text: str | None) -> str | None:
    """`30200` (uevent prints no leading zeros) -> `0302`."""
    if text is None or re.fullmatch(r"[0-9A-Fa-f]{1,6}", text) is None:
        return None
    return f"{int(text, 16):06x}"[:4]


def _number(text: str) -> int:
    if _NUMBER.fullmatch(text) is None:
        raise ValueError(text)
    return int(text)


def numa_node(text: str) -> int | None:
    return None if (number := _number(text)) < 0 else number


@functools.lru_cache(maxsize=32)
def link_speed(text: str) -> float | None:
    if text.casefold().startswith("unknown"):
        return None
    match = _SPEED.fullmatch(text)
    if match is None:
        raise ValueError(text)
    return float(match[1])


@functools.lru_cache(maxsize=32)
def link_width(text: str) -> int | None:
    if text.casefold().startswith("unknown"):
        return None
    return None if (number := _number(text)) in _NO_WIDTH or number < 0 else number


def _enabled(text: str) -> bool:
    return _number(text) > 0


SOURCES = {SOURCE: parse_pci}
