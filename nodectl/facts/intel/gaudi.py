"""Gaudi 2 and 3: hl-smi's table and lists, port states, and the habanalabs driver's files.

Forms: https://docs.habana.ai/en/latest/Management_and_Monitoring/Embedded_System_Tools_Guide/
System_Management_Interface_Tool.html; the files: Linux Documentation/ABI/testing/sysfs-driver-habanalabs.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from nodectl.facts.amd import values
from nodectl.facts.amd.values import UnreadableError, over
from nodectl.facts.conform import ERRORS_KEY
from nodectl.facts.intel.fields import GAUDI_FIELDS
from nodectl.facts.intel.tables import ToolError, csv_rows, output
from nodectl.facts.reading import CannotTell, NotThere, Reading, Row, errors_for, origin
from nodectl.facts.registry import Context, FactSpec
from nodectl.model import Fact, absent, error, present

if TYPE_CHECKING:
    from nodectl.probe.transcript import SourceReply

SOURCE = "gaudi"
VENDOR = "habana"
_NONE = "there is no Gaudi accelerator"

FACTS: tuple[FactSpec, ...] = (
    FactSpec(name="gpu.count", type="int", source=SOURCE, vendor=VENDOR, about="Gaudi accelerators that hl-smi lists"),
    FactSpec(name="gpu.models", type="list", source=SOURCE, vendor=VENDOR, about="Product names of Gaudi accelerators"),
    FactSpec(
        name="gpu.devices", type="rows", source=SOURCE, vendor=VENDOR, fields=GAUDI_FIELDS, about="One row a Gaudi"
    ),
    FactSpec(name="gaudi.count", type="int", source=SOURCE, about="Gaudi accelerators that hl-smi lists"),
    FactSpec(name="gaudi.smi_error", type="str", source=SOURCE, about="What hl-smi failed with; absent when it works"),
    FactSpec(name="gaudi.smi_version", type="version", source=SOURCE, about="Version of hl-smi, that of the software"),
    FactSpec(name="gaudi.driver_version", type="version", source=SOURCE, about="Loaded habanalabs driver"),
    FactSpec(name="gaudi.nic_driver_version", type="version", source=SOURCE, about="Loaded driver of Gaudi's ports"),
    FactSpec(
        name="gaudi.firmware_versions", type="list", source=SOURCE, about="The different firmware versions of Gaudis"
    ),
    FactSpec(
        name="gaudi.preboot_versions", type="list", source=SOURCE, about="The different SPI (preboot) firmware versions"
    ),
)
_NAMES = tuple(spec.name for spec in FACTS)

_HEAD = re.compile(r"\| *(HL-SMI Version|Driver Version|Nic Driver Version): +(\S{1,80}) *\|", re.IGNORECASE)
_FIRST = re.compile(r"\| +(\d{1,3}) +(HL-[\w-]{1,20}) .*\| ([0-9A-Fa-f:.]{7,16}) .*\| +(\S{1,12}) +\|")
_SECOND = re.compile(
    r"\|.*?(\d{1,3})C .*?(\d{1,5})W +/ +(\d{1,5})W +\| +(\d{1,8})Mi[Bb] +/ +(\d{1,8})Mi[Bb] +\| +(\d{1,3})%.*\|"
)
_VERSION = re.compile(r"(?:hl-)?(\d+\.\d+\.\d+)")
_PORT = re.compile(r"port[ \t]+(\d{1,3})[ \t]*:[ \t]*(\w{1,20})", re.IGNORECASE)
_KIND = re.compile(r"port[ \t]+(\d{1,3})[ \t]*:([^\n]{1,60})", re.IGNORECASE)
_FILE = re.compile(r"/sys/class/(\w{1,20})/(?:accel|hl)(\d{1,3})(?:/device)?/(\w{1,30}):(.*)")
_UEVENT = re.compile(r"/sys/bus/pci/devices/([0-9a-f:.]{10,16})/uevent:(PCI_ID=.*)")
_BUILD = re.compile(r"(?:Preboot version )?(\S{3,60})")


def parse(reply: SourceReply, context: Context) -> Iterable[Fact]:
    """Facts of the source gaudi. Without a Gaudi all are absent."""
    reading = Reading(reply)
    where = origin(reply) | {"command": "/sys/bus/pci/devices"}
    try:
        if not reading.command("ls -d /sys/bus/pci/devices").strip():
            raise CannotTell("the PCI bus was not listed")
        addresses = reading.text("Gaudi").split()
    except CannotTell as trouble:
        return errors_for(_NAMES, f"cannot look at the PCI bus: {trouble}", **where)
    if not addresses:
        return [absent(name, _NONE, **where) for name in _NAMES]
    files = _files(reply)
    where["command"] = "hl-smi"
    driver = _driver_file(reading, where)
    section = reply.find("cmd", "hl-smi")
    if section is not None and section.rc == 127 and "hl-smi" in section.stderr:
        return _without_tool(addresses, files, driver, where)
    try:
        table = output(reply, "hl-smi")
        rows = [over(row, files.get(row["pci_bus_id"], {})) for row in _rows(reply, table)]
    except ToolError as trouble:
        others = [name for name in _NAMES if name not in ("gaudi.smi_error", "gaudi.driver_version")]
        return [present("gaudi.smi_error", str(trouble), **where), driver, *errors_for(others, str(trouble), **where)]
    for row in rows:
        _ports(reply, row)
    return [*_of_rows(rows, where), *_of_head(table, driver, where)]


def _without_tool(addresses: list[str], files: dict[str, Row], driver: Fact, where: dict[str, Any]) -> Iterable[Fact]:
    """hl-smi is in containers only: the driver's files tell which devices it has, and their state."""
    where = where | {"command": "/sys/class/accel"}
    told = [address for address in addresses if "status" in files.get(address, {})]
    rows = [{"index": place, "pci_bus_id": address, **files[address]} for place, address in enumerate(told)]
    for name in ("gaudi.smi_error", "gaudi.smi_version", "gaudi.nic_driver_version"):
        yield absent(name, "hl-smi is not installed on the node", **where)
    yield driver
    yield from _of_rows(rows, where)


def _files(reply: SourceReply) -> dict[str, Row]:
    """PCI address -> fields of the driver's files."""
    devices: dict[tuple[str, str], dict[str, str]] = defaultdict(dict)
    found: dict[str, Row] = {}
    for section in reply.sections:
        for line in section.text.split("\n") if section.kind == "grep" else ():
            if match := _FILE.fullmatch(line):
                devices[match[1], match[2]].setdefault(match[3], match[4].strip())
            elif match := _UEVENT.fullmatch(line):
                found[match[1]] = {"pci_id": values.pci_id(match[2])}
    for device in devices.values():
        address = values.pci_address(device.get("pci_addr"))
        if address is None:
            continue
        row = found.setdefault(address, {})
        row["status"] = device.get("status") or None
        for field, names in (
            ("firmware_version", ("fw_os_ver", "cpucp_ver", "armcp_ver")),
            ("vbios_version", ("preboot_btl_ver",)),
        ):
            said = next((device[name] for name in names if device.get(name)), "")
            match = _BUILD.match(said)
            row[field] = match[1] if match else None
        for field, name in (("hard_resets", "hard_reset_cnt"), ("soft_resets", "soft_reset_cnt")):
            _cell(row, field, values.count, device.get(name))
    return found


def _cell(row: Row, field: str, read: Callable[[Any], Any], value: Any) -> None:
    try:
        row[field] = read(value)
    except UnreadableError as problem:
        row[field] = None
        row.setdefault(ERRORS_KEY, {})[field] = str(problem)


def _rows(reply: SourceReply, table: str) -> list[Row]:
    """The accelerators that hl-smi lists.

    Raises:
        ToolError: neither its lists nor its table can be read.
    """
    boxed = _table_rows(table)
    try:
        listed = csv_rows(output(reply, "hl-smi -Q usual"), 7)
    except ToolError:
        if not boxed:
            raise ToolError("hl-smi lists no accelerator that can be read") from None
        return list(boxed.values())
    more = _more(reply)
    rows = []
    for cells in listed:
        address = values.pci_address(cells[2])
        if address is None or not cells[0].isdecimal():
            raise ToolError(f"hl-smi -Q printed no PCI address: {', '.join(cells)[:80]}")
        row: Row = {"index": int(cells[0][:9]), "pci_bus_id": address}
        for field, read, text in (
            ("module_id", values.count, cells[1]),
            ("name", values.text, cells[3]),
            ("memory_total_mib", values.whole, cells[4]),
            ("memory_used_mib", values.whole, cells[5]),
            ("temperature_c", values.whole, cells[6]),
        ):
            _cell(row, field, read, text)
        rows.append(over(row, over(more.get(address, {}), boxed.get(address, {}))))
    return rows


def _more(reply: SourceReply) -> dict[str, Row]:
    """What only newer versions list."""
    try:
        listed = csv_rows(output(reply, "hl-smi -Q more"), 5)
    except ToolError:
        return {}
    found: dict[str, Row] = {}
    for cells in listed:
        address = values.pci_address(cells[0])
        if address is None:
            continue
        row: Row = {}
        for field, read, text in (
            ("uuid", values.text, cells[1]),
            ("power_draw_w", values.number, cells[2]),
            ("power_limit_w", values.number, cells[3]),
            ("gpu_utilization_pct", values.whole, cells[4]),
        ):
            _cell(row, field, read, text)
        found[address] = row
    return found


def _table_rows(table: str) -> dict[str, Row]:
    """PCI address -> what the summary table says of an accelerator, in two lines each."""
    found: dict[str, Row] = {}
    row: Row | None = None
    for line in table.split("\n"):
        first = _FIRST.fullmatch(line.strip())
        if first:
            address = values.pci_address(first[3])
            row = None if address is None else {"index": int(first[1]), "name": first[2], "pci_bus_id": address}
            if row is not None:
                _cell(row, "ecc_uncorrectable_volatile", values.count, first[4])
                found[row["pci_bus_id"]] = row
            continue
        second = _SECOND.fullmatch(line.strip())
        if second and row is not None:
            names = ("temperature_c", "power_draw_w", "power_limit_w", "memory_used_mib", "memory_total_mib")
            row.update(zip(names, map(int, second.groups()[:5]), strict=True))
            row["gpu_utilization_pct"] = int(second[6])
            row = None
    return found


def _ports(reply: SourceReply, row: Row) -> None:
    """Counts ports that are up and down, by whether they lead out of the node; a failed call is the fields' error."""
    address = row["pci_bus_id"]
    fields = ("ports_internal_up", "ports_internal_down", "ports_external_up", "ports_external_down", "ports_down")
    try:
        kinds = dict(_KIND.findall(output(reply, f"hl-smi -n ports -i {address}")))
        states = _PORT.findall(output(reply, f"hl-smi -n link -i {address}"))
        if not states:
            raise ToolError(f"hl-smi -n link -i {address} names no port")
        unsaid = next((port for port, _ in states if port not in kinds), None)
        if unsaid is not None:
            raise ToolError(f"hl-smi -n ports -i {address} does not say where port {unsaid} leads")
    except ToolError as trouble:
        row.update(dict.fromkeys(fields))
        row.setdefault(ERRORS_KEY, {}).update(dict.fromkeys(fields, str(trouble)))
        return
    row.update(dict.fromkeys(fields[:4], 0))
    row["ports_down"] = []
    for port, state in states:
        side = "external" if "external" in kinds[port].casefold() else "internal"
        up = state.casefold() == "up"
        row[f"ports_{side}_{'up' if up else 'down'}"] += 1
        if not up:
            row["ports_down"].append(f"{port} ({side})")


def _of_rows(rows: list[Row], where: dict[str, Any]) -> Iterable[Fact]:
    yield present("gpu.devices", rows, **where)
    yield present("gpu.count", len(rows), **where)
    yield present("gaudi.count", len(rows), **where)
    for name, field in (
        ("gpu.models", "name"),
        ("gaudi.firmware_versions", "firmware_version"),
        ("gaudi.preboot_versions", "vbios_version"),
    ):
        found = list(dict.fromkeys(row[field] for row in rows if row.get(field) is not None))
        yield present(name, found, **where) if found else absent(name, "no Gaudi tells it", **where)


def _of_head(table: str, driver: Fact, where: dict[str, Any]) -> Iterable[Fact]:
    head = {name.casefold(): said for name, said in _HEAD.findall(table)}
    yield absent("gaudi.smi_error", "hl-smi works", **where)
    for name, key in (
        ("gaudi.smi_version", "hl-smi version"),
        ("gaudi.driver_version", "driver version"),
        ("gaudi.nic_driver_version", "nic driver version"),
    ):
        match = _VERSION.match(head.get(key, ""))
        if match:
            yield present(name, match[1], **where)
        else:
            yield driver if name == driver.name else absent(name, "hl-smi does not print it", **where)


def _driver_file(reading: Reading, where: dict[str, Any]) -> Fact:
    name, path = "gaudi.driver_version", "/sys/module/habanalabs/version"
    where = where | {"command": path}
    try:
        match = _VERSION.match(reading.file(path).strip())
    except NotThere as nothing:
        return absent(name, str(nothing), **where)
    except CannotTell as trouble:
        return error(name, str(trouble), **where)
    return present(name, match[1], **where) if match else error(name, f"{path} has no version", **where)


SOURCES = {SOURCE: parse}
