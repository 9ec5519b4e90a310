"""The way from the PCI root to each GPU, RDMA NIC and NVMe drive: links at each hop, IOMMU groups, PCIe settings.

A way is a row of bridges: a root port, then for each switch its upstream and a downstream port, then the device. The
link between two of them is as wide and as fast as the lesser end allows: a device of 16 lanes in a slot of 8 can have
8 (`link_width_possible`). The settings come out of the configuration space, which only root can read whole.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from nodectl.facts.bus.pci import class_of, id_pair, link_speed, link_width, numa_node
from nodectl.facts.bus.pcie_config import BRIDGE_SETTINGS, DEVICE_SETTINGS, Config, read_config, settings
from nodectl.facts.conform import ERRORS_KEY
from nodectl.facts.reading import Row, command_trouble, errors_for, one_line, origin
from nodectl.facts.registry import Context, FactSpec, Field
from nodectl.model import Fact, present

if TYPE_CHECKING:
    from nodectl.probe.transcript import SourceReply

SOURCE = "pcie_tree"

_LINK_FIELDS = (
    Field("pci_bus_id", "str", "", "PCI address, e.g. 0000:18:00.0"),
    Field("pci_id", "str", "", "vendor:device, e.g. 10de:2335"),
    Field("driver", "str", "", "kernel driver that has taken it"),
    Field("iommu_group", "int", "", "IOMMU group; none where the IOMMU is off"),
    Field("link_speed_gts", "float", "GT/s", "PCIe speed now"),
    Field("link_speed_max_gts", "float", "GT/s", "highest PCIe speed that it has itself"),
    Field("link_speed_possible_gts", "float", "GT/s", "highest PCIe speed of both ends of the link above it"),
    Field("link_width", "int", "lanes", "PCIe lanes now"),
    Field("link_width_max", "int", "lanes", "highest number of PCIe lanes that it has itself"),
    Field("link_width_possible", "int", "lanes", "highest number of PCIe lanes of both ends of the link above it"),
    Field("answers", "bool", "", "it can be read over the bus; a dead one reads as all ones"),
)
_DEVICE_FIELDS = (
    Field("kind", "str", "", "gpu, nic, nvme or nvswitch"),
    Field("numa_node", "int", "", "NUMA node; none where the firmware does not tell"),
    Field("names", "list", "", "RDMA devices or NVMe controllers of it: mlx5_0, nvme0"),
    Field("bridges", "list", "", "PCI addresses of the bridges above it, from the root on; empty in most VMs"),
    Field("switch", "str", "", "upstream port of the PCIe switch right above it; none on a root port"),
    Field("iommu_type", "str", "", "how its IOMMU group translates: identity is pass-through"),
    Field("bars_unassigned", "list", "", "numbers of the memory windows (BARs) of a GPU that have no address"),
    Field("bars_mib", "any", "MiB", "memory windows of a GPU by their number: size in MiB, rounded up"),
    *_LINK_FIELDS,
    *DEVICE_SETTINGS,
)
_BRIDGE_FIELDS = (
    Field("port", "str", "", "root, upstream (of a switch) or downstream; as it says itself, else by its place"),
    Field("parent", "str", "", "the bridge above it; none for a root port"),
    Field("below", "list", "", "what hangs below it: gpu 0000:1b:00.0"),
    Field("inside_device", "bool", "", "it is part of the card below it (GPUs of AMD and Intel bring bridges)"),
    *_LINK_FIELDS,
    *BRIDGE_SETTINGS,
)
FACTS: tuple[FactSpec, ...] = (
    FactSpec(
        name="pcie.devices",
        type="rows",
        source=SOURCE,
        fields=_DEVICE_FIELDS,
        about="GPUs, RDMA NICs, NVMe drives and NVSwitches on the PCI bus, with the way to the root",
    ),
    FactSpec(
        name="pcie.bridges",
        type="rows",
        source=SOURCE,
        fields=_BRIDGE_FIELDS,
        about="The PCIe bridges above these devices; none in most virtual machines",
    ),
    FactSpec(name="pcie.nic_count", type="int", source=SOURCE, about="PCI functions that are RDMA or Mellanox NICs"),
    FactSpec(name="pcie.rdma_nic_count", type="int", source=SOURCE, about="Such functions that show an RDMA device"),
    FactSpec(name="pcie.nvme_count", type="int", source=SOURCE, about="NVMe drives on the PCI bus"),
)
_NAMES = tuple(spec.name for spec in FACTS)

_ADDRESS = r"[0-9a-f]{4,8}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]"
_IS_ADDRESS = re.compile(_ADDRESS)
_KIND = re.compile(rf"({_ADDRESS})=(gpu|nic|nvme|nvswitch)")
_NAME = re.compile(rf"({_ADDRESS})=([A-Za-z0-9_.-]{{1,40}})")
_GROUP = re.compile(rf"({_ADDRESS}) ([0-9]{{1,6}})")
_LINE = re.compile(rf"(?:/sys/bus/pci/devices/)?({_ADDRESS})/([a-z_]{{1,40}}):(.*)")
_TYPE = re.compile(r"/sys/kernel/iommu_groups/([0-9]{1,6})/type:(\S{1,40})")
_BAR = re.compile(r"0x([0-9a-f]{1,16}) 0x([0-9a-f]{1,16}) 0x([0-9a-f]{1,16})")
_BRIDGE_CLASS = "0604"
_BARS = 6
# IORESOURCE_MEM and IORESOURCE_UNSET of the kernel (include/linux/ioport.h): a window, and one with no address.
_IS_MEMORY, _IS_UNSET = 0x200, 0x20000000
# Makers whose GPUs bring PCIe bridges on the card, which report the GPU's link at their upper side.
_WITH_BRIDGES = ("1002", "8086")
MAX_DEVICES = 4096
_READ = ("uevents", "files")

Files = dict[str, dict[str, list[str]]]


def parse_tree(reply: SourceReply, context: Context) -> Iterable[Fact]:
    """The facts `pcie.*` of the source pcie_tree."""
    where = origin(reply) | {"command": "/sys/bus/pci/devices"}
    bus = next((s for s in reply.sections if s.kind == "cmd" and s.name.startswith("ls ")), None)
    listed = reply.find("text", "devices")
    if bus is None or bus.rc != 0 or listed is None:
        reason = one_line(bus.stderr) if bus is not None else "it was not listed"
        return errors_for(_NAMES, f"cannot look at the PCI bus: {reason or 'ls failed'}", **where)
    kinds = dict(_KIND.findall(listed.text))
    ways = _ways(reply)
    lost = sorted(set(kinds) - set(ways))
    if lost or len(kinds) > MAX_DEVICES:
        reason = f"the way to {lost[0]} was not told" if lost else f"more than {MAX_DEVICES} devices"
        return errors_for(_NAMES, reason, **where)
    if kinds and (trouble := _unread(reply)):
        return errors_for(_NAMES, trouble, **where)
    tree = _Tree(reply, kinds, ways)
    devices = [tree.device(address) for address in sorted(kinds)]
    nics = [row for row in devices if row["kind"] == "nic"]
    return [
        present("pcie.devices", devices, **where),
        present("pcie.bridges", tree.bridges(), **where),
        present("pcie.nic_count", len(nics), **where),
        present("pcie.rdma_nic_count", sum(1 for row in nics if row["names"]), **where),
        present("pcie.nvme_count", sum(1 for row in devices if row["kind"] == "nvme"), **where),
    ]


def _unread(reply: SourceReply) -> str:
    """Why the files of the devices were not read; empty when they were. (grep ends with 2 where one is missing.)"""
    sections = [s for s in reply.sections if s.name in _READ]
    bad = [s for s in sections if s.rc not in (0, 1, 2)]
    if bad:
        return command_trouble(bad[0])
    return "" if sections else "the probe read no file of the devices"


def _ways(reply: SourceReply) -> dict[str, list[str]]:
    """For each device the PCI addresses above it, from the root on."""
    section = reply.find("text", "ways")
    ways = {}
    for line in section.text.split("\n") if section else ():
        parts = [part for part in line.strip().split("/") if _IS_ADDRESS.fullmatch(part)]
        if parts:
            ways[parts[-1]] = parts[:-1]
    return ways


class _Tree:
    """What was read of each device and bridge, put together."""

    def __init__(self, reply: SourceReply, kinds: dict[str, str], ways: dict[str, list[str]]) -> None:
        self._kinds = kinds
        self._uevents: dict[str, dict[str, str]] = {}
        self._files, self._types, self._complaints = _read_files(reply)
        groups = reply.find("text", "iommu groups")
        self._groups = dict(_GROUP.findall(groups.text)) if groups else {}
        names = reply.find("text", "names")
        self._names: dict[str, list[str]] = {}
        for address, name in _NAME.findall(names.text if names else ""):
            self._names.setdefault(address, []).append(name)
        self._config: Config = read_config(reply)
        self._ways = {address: self._bridges_of(ways[address]) for address in kinds}

    def _bridges_of(self, way: list[str]) -> list[str]:
        """The PCI bridges right above a device: those below the last that is none (a VMD, which hides a bus)."""
        bridges: list[str] = []
        for address in way:
            bridges = [*bridges, address] if self._class(address) == _BRIDGE_CLASS else []
        return bridges

    def _class(self, address: str) -> str | None:
        return class_of(self._uevent(address).get("PCI_CLASS"))

    def _uevent(self, address: str) -> dict[str, str]:
        known = self._uevents.get(address)
        if known is None:
            lines = self._files.get(address, {}).get("uevent", [])
            known = {key: value for key, _, value in (line.partition("=") for line in lines)}
            self._uevents[address] = known
        return known

    def device(self, address: str) -> Row:
        way = self._ways[address]
        kind = self._kinds[address]
        row, errors = self._common(address, way[-1] if way else None, bridge=False)
        group = row["iommu_group"]
        row |= {
            "kind": kind,
            "names": self._names.get(address, []),
            "bridges": way,
            "switch": next((one for level, one in _from_below(way) if self._port(one, level) == "upstream"), None),
            "iommu_type": self._types.get(str(group)) if group is not None else None,
            "bars_unassigned": None,
            "bars_mib": None,
        }
        self._read(row, errors, "numa_node", address, "numa_node", numa_node)
        if kind == "gpu":
            windows = self._files.get(address, {}).get("resource")
            try:
                row["bars_mib"], row["bars_unassigned"] = _windows(windows or [])
            except ValueError as problem:
                errors |= dict.fromkeys(("bars_mib", "bars_unassigned"), str(problem))
        return row | {ERRORS_KEY: errors} if errors else row

    def bridges(self) -> list[Row]:
        below: dict[str, list[str]] = {}
        parents: dict[str, tuple[str | None, int]] = {}
        for device, way in self._ways.items():
            for level, address in enumerate(way):
                below.setdefault(address, []).append(f"{self._kinds[device]} {device}")
                parents[address] = (way[level - 1] if level else None, level)
        return [self._bridge(address, *parents[address], below[address]) for address in sorted(parents)]

    def _bridge(self, address: str, parent: str | None, level: int, below: list[str]) -> Row:
        port = self._port(address, level)
        row, errors = self._common(address, parent if port == "upstream" else None, bridge=True)
        vendor = str(row["pci_id"])[:4]
        row |= {
            "port": port,
            "parent": parent,
            "below": sorted(below),
            "inside_device": level > 0 and vendor in _WITH_BRIDGES and any(one.startswith("gpu ") for one in below),
        }
        return row | {ERRORS_KEY: errors} if errors else row

    def _port(self, address: str, level: int) -> str:
        """As it says itself; else a way goes root, upstream, downstream, upstream, downstream, ..."""
        return self._config.ports.get(address) or ("root" if level == 0 else ("downstream", "upstream")[level % 2])

    def _common(self, address: str, above: str | None, *, bridge: bool) -> tuple[Row, dict[str, str]]:
        """What devices and bridges have alike; `above` is the other end of the link."""
        uevent = self._uevent(address)
        errors: dict[str, str] = {}
        group = self._groups.get(address)
        row: Row = {
            "pci_bus_id": address,
            "pci_id": id_pair(uevent.get("PCI_ID")),
            "driver": uevent.get("DRIVER"),
            "iommu_group": int(group) if group is not None else None,
        }
        for name, file, read in (
            ("link_speed_gts", "current_link_speed", link_speed),
            ("link_speed_max_gts", "max_link_speed", link_speed),
            ("link_width", "current_link_width", link_width),
            ("link_width_max", "max_link_width", link_width),
        ):
            self._read(row, errors, name, address, file, read)
        if row["link_width"] == 0 and row["link_speed_gts"] is None:
            row["link_width"] = None
        other: Row = {}
        if above is not None:
            self._read(other, {}, "speed", above, "max_link_speed", link_speed)
            self._read(other, {}, "width", above, "max_link_width", link_width)
        row["link_speed_possible_gts"] = _lesser(row["link_speed_max_gts"], other.get("speed"), above)
        row["link_width_possible"] = _lesser(row["link_width_max"], other.get("width"), above)
        row["answers"] = self._config.answers.get(address)
        found, trouble = settings(self._config, address, bridge=bridge)
        return row | found, errors | trouble

    def _read(
        self, row: Row, errors: dict[str, str], name: str, address: str, file: str, read: Callable[[str], Any]
    ) -> None:
        row[name] = None
        lines = self._files.get(address, {}).get(file)
        if lines is None:
            complaint = self._complaints.get((address, file), "")
            if complaint and "No such file" not in complaint:
                errors[name] = f"cannot read {file}: {complaint[:80]}"
            return
        try:
            row[name] = read(lines[0].strip())
        except ValueError:
            errors[name] = f"{file} says {lines[0][:40]!r}"


def _from_below(way: list[str]) -> list[tuple[int, str]]:
    return list(enumerate(way))[::-1]


def _lesser(own: Any, other: Any, above: str | None) -> Any:
    """The lesser of both ends; the own end where nothing is seen above; none where one of the two does not tell."""
    if above is None:
        return own
    return None if own is None or other is None else min(own, other)


def _read_files(reply: SourceReply) -> tuple[Files, dict[str, str], dict[tuple[str, str], str]]:
    """(lines by device and file, types by IOMMU group, complaints by device and file)."""
    files: Files = {}
    types: dict[str, str] = {}
    complaints: dict[tuple[str, str], str] = {}
    for section in reply.sections:
        if section.name not in _READ:
            continue
        for line in section.text.split("\n"):
            if match := _LINE.fullmatch(line):
                files.setdefault(match[1], {}).setdefault(match[2], []).append(match[3])
            elif match := _TYPE.fullmatch(line):
                types[match[1]] = match[2]
        for line in section.stderr.split("\n"):
            if match := re.search(rf"\b({_ADDRESS})/([a-z_]{{1,40}})'?: (.*)", line):
                complaints[match[1], match[2]] = match[3]
    return files, types, complaints


def _windows(lines: list[str]) -> tuple[dict[str, int], list[int]]:
    """Memory windows of a `resource` file: sizes in MiB by number, and the numbers of those without an address.

    Raises:
        ValueError: it is no such file.
    """
    sizes: dict[str, int] = {}
    unassigned = []
    if len(lines) < _BARS:
        raise ValueError("its file `resource` was not read")
    for number, line in enumerate(lines[:_BARS]):
        match = _BAR.fullmatch(line.strip())
        if match is None:
            raise ValueError(f"resource says {line[:60]!r}")
        start, end, flags = (int(part, 16) for part in match.groups())
        if not flags & _IS_MEMORY:
            continue
        if flags & _IS_UNSET or start == 0:
            unassigned.append(number)
        sizes[str(number)] = -(-(end - start + 1) // 2**20)
    return sizes, unassigned


SOURCES = {SOURCE: parse_tree}
