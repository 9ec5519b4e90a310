"""RDMA devices and their ports, as the kernel has them below /sys/class/infiniband.

Whatever the maker: a device that has no counters of its own ("N/A (no PMA)") has none here, and that is no error.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from nodectl.facts.conform import ERRORS_KEY
from nodectl.facts.rdma.counters import COUNTERS, Counters, read_counters
from nodectl.facts.rdma.ports import PORT_FIELDS, port_row
from nodectl.facts.reading import NOT_MOUNTED, Row, errors_for, one_line, origin
from nodectl.facts.registry import Context, FactSpec, Field
from nodectl.model import Fact, present

if TYPE_CHECKING:
    from nodectl.probe.transcript import SourceReply

SOURCE = "rdma"
ROOT = "/sys/class/infiniband"

_DEVICE_FIELDS = (
    Field("device", about="name, e.g. mlx5_0"),
    Field("driver", about="kernel driver of the adapter: mlx5_core, bnxt_en, efa, ...; none for a software device"),
    Field("pci_bus_id", about="PCI address"),
    Field("pci_id", about="vendor:device, e.g. 15b3:1021"),
    Field("numa_node", "int", about="NUMA node; none in most virtual machines"),
    Field("firmware", "version", about="firmware version"),
    Field("board_id", about="board id (PSID) by which firmware is made"),
    Field("hca_type", about="chip as the driver calls it, e.g. MT4129"),
    Field("node_type", about="CA, RNIC (iWARP), unspecified, ..."),
    Field("node_guid", about="its id"),
    Field("node_desc", about="the name that the fabric knows it by"),
    Field("virtual_function", "bool", about="an SR-IOV virtual function, seen from the host"),
    Field("software", "bool", about="no adapter: rxe or siw over an ordinary interface"),
    Field("nvswitch_bridge", "bool", about="the way to the NVSwitches of an HGX board, no network; none if not told"),
)

FACTS: tuple[FactSpec, ...] = (
    FactSpec(
        name="rdma.devices",
        type="rows",
        source=SOURCE,
        fields=_DEVICE_FIELDS,
        varies=True,
        about="RDMA devices; empty where the kernel has none",
    ),
    FactSpec(
        name="rdma.ports",
        type="rows",
        source=SOURCE,
        fields=PORT_FIELDS,
        varies=True,
        about="Ports of the RDMA devices, with their error counters",
    ),
    FactSpec(name="rdma.device_count", type="int", source=SOURCE, about="RDMA adapters (no virtual functions)"),
    FactSpec(name="rdma.active_port_count", type="int", source=SOURCE, about="Ports of RDMA adapters that are active"),
    FactSpec(name="rdma.port_rates", type="list", source=SOURCE, about="The different rates of active ports, in Gb/s"),
    FactSpec(
        name="rdma.firmware_versions",
        type="list",
        source=SOURCE,
        about="The different firmware versions of the adapters, each with its board id",
    ),
    FactSpec(name="rdma.board_ids", type="list", source=SOURCE, about="The different board ids of the adapters"),
    FactSpec(
        name="rdma.ipoib",
        type="rows",
        source=SOURCE,
        varies=True,
        about="IP-over-InfiniBand interfaces of the adapters",
        fields=(
            Field("netdev", about="interface"),
            Field("device", about="RDMA device"),
            Field("mode", about="datagram or connected"),
            Field("mtu", "int", "bytes"),
            Field("operstate", about="up, down, ..."),
        ),
    ),
)
_NAMES = tuple(spec.name for spec in FACTS)

_LINE = re.compile(rf"{ROOT}/([A-Za-z0-9_.-]{{1,64}})/([A-Za-z0-9_.@/-]{{1,200}}):(.*)")
_PORT = re.compile(r"ports/([0-9]{1,3})/([a-z_]+)")
_NETDEV = re.compile(r"device/net/([A-Za-z0-9_.@-]{1,32})/([a-z_]+)")
_BRIDGE = re.compile(rf"{ROOT}/([A-Za-z0-9_.-]{{1,64}})/device/vpd")
_BRIDGES = "NVSwitch bridges"
_INFINIBAND = "32"  # ARPHRD_INFINIBAND
# Stands for another function of the adapter: `pf0vf3`, `c1pf0sf2`, `pf0hpf`.
_REPRESENTOR = re.compile(r"(?:c[0-9]+)?pf[0-9]+(?:vf|sf|hpf).*")
_HEX_PAIR = re.compile(r"([0-9A-Fa-f]{4}):([0-9A-Fa-f]{4})")
_VERSION = re.compile(r"[0-9][0-9A-Za-z.\-+_]{0,60}")

Files = dict[str, str]


class _Device:
    """The files of one device, by what they are about."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.files: Files = {}
        self.uevent: Files = {}
        self.ports: dict[int, Files] = {}
        self.netdevs: dict[str, Files] = {}

    def add(self, path: str, text: str) -> None:
        port, netdev = _PORT.fullmatch(path), _NETDEV.fullmatch(path)
        if path == "device/uevent":
            key, _, value = text.partition("=")
            self.uevent[key] = value
        elif port is not None:
            self.ports.setdefault(int(port[1]), {}).setdefault(port[2], text)
        elif netdev is not None:
            self.netdevs.setdefault(netdev[1], {}).setdefault(netdev[2], text)
        else:
            self.files.setdefault(path, text)

    def netdevs_of(self, port: int) -> dict[str, Files]:
        """Its interfaces at one port, without those that stand for other functions."""
        return {
            name: files
            for name, files in self.netdevs.items()
            if files.get("dev_port", "0") == str(port - 1)
            and not _REPRESENTOR.fullmatch(files.get("phys_port_name", ""))
        }


def parse(reply: SourceReply, context: Context) -> Iterable[Fact]:
    """Facts of the source rdma. No device is a value; a /sys that cannot be looked at is an error."""
    where = origin(reply) | {"command": ROOT}
    listed = reply.find("text", "devices")
    looked = next((one for one in reply.sections if one.kind == "cmd" and one.name.startswith("ls ")), None)
    unmounted = reply.find("text", NOT_MOUNTED)
    if listed is None or looked is None or looked.rc != 0 or unmounted is not None:
        why = one_line(looked.stderr) if looked is not None else "it was not listed"
        return errors_for(_NAMES, f"cannot look at /sys/class: {why or 'not mounted'}", **where)
    if reply.find("text", "odd names") is not None:
        return errors_for(_NAMES, "an RDMA device has a name that cannot be read safely", **where)
    devices = {name: _Device(name) for name in listed.text.split()}
    complaints = ""
    for section in reply.sections:
        if section.kind != "grep":
            continue
        complaints += section.stderr
        for line in section.text.split("\n"):
            match = _LINE.fullmatch(line)
            if match is not None and match[1] in devices:
                devices[match[1]].add(match[2], match[3].strip())
    bare = next((name for name, device in devices.items() if not device.ports), None)
    if bare is not None:
        return errors_for(_NAMES, f"nothing could be read of the RDMA device {bare}", **where)
    return _facts(reply, devices, complaints, where)


def _facts(reply: SourceReply, devices: dict[str, _Device], complaints: str, where: dict[str, Any]) -> list[Fact]:
    virtual = frozenset(_text(reply, "virtual functions").split())
    masters = dict(pair.split("=", 1) for pair in _text(reply, "masters").split() if "=" in pair)
    bridges = _bridges(reply)
    counters = read_counters(reply) if devices else Counters()
    rows = [_device_row(device, virtual, bridges, complaints) for device in devices.values()]
    ports = [
        port_row(row, number, files, devices[row["device"]].netdevs_of(number), masters, counters, complaints)
        for row in rows
        for number, files in sorted(devices[row["device"]].ports.items())
    ]
    own = [row for row in rows if not row["virtual_function"] and not row["software"]]
    names = {row["device"] for row in own}
    active = [port for port in ports if port["device"] in names and port["state"] == "active"]
    rates = sorted({port["rate_gbps"] for port in active if port["rate_gbps"] is not None})
    versions = {f"{row['board_id'] or row['hca_type'] or row['driver']} {row['firmware']}" for row in own}
    unsure = any(port.get(ERRORS_KEY, {}).get("state") for port in ports)
    facts = [
        present("rdma.devices", rows, **where),
        present("rdma.ports", ports, **where),
        present("rdma.device_count", len(own), **where),
        present("rdma.port_rates", [f"{rate:g}" for rate in rates], **where),
        present("rdma.firmware_versions", sorted(versions), **where),
        present("rdma.board_ids", sorted({row["board_id"] for row in own if row["board_id"]}), **where),
        present("rdma.ipoib", _ipoib(devices.values()), **where),
    ]
    if unsure:
        return [*facts, *errors_for(["rdma.active_port_count"], "the state of a port could not be read", **where)]
    return [*facts, present("rdma.active_port_count", len(active), **where)]


def _text(reply: SourceReply, name: str) -> str:
    section = reply.find("text", name)
    return section.text if section is not None else ""


def _bridges(reply: SourceReply) -> frozenset[str] | None:
    """Devices that lead to NVSwitches; None where that could not be read. Empty on boards that have none."""
    section = reply.find("cmd", _BRIDGES)
    if section is None:
        return frozenset()
    if section.rc not in (0, 1):
        return None
    found = (_BRIDGE.fullmatch(line.strip()) for line in section.text.split("\n"))
    return frozenset(match[1] for match in found if match is not None)


def _device_row(device: _Device, virtual: frozenset[str], bridges: frozenset[str] | None, complaints: str) -> Row:
    files, uevent = device.files, device.uevent
    firmware = files.get("fw_ver", "")
    node_type = files.get("node_type", "")
    errors: dict[str, str] = {}
    if not firmware and f"{device.name}/fw_ver: " in complaints:
        errors["firmware"] = "fw_ver could not be read"
    numa = files.get("device/numa_node", "")
    row: Row = {
        "device": device.name,
        "driver": uevent.get("DRIVER") or None,
        "pci_bus_id": uevent.get("PCI_SLOT_NAME") or None,
        "pci_id": _pair(uevent.get("PCI_ID")),
        "numa_node": int(numa) if re.fullmatch(r"[0-9]{1,4}", numa) else None,
        "firmware": firmware if _VERSION.fullmatch(firmware) else None,
        "board_id": files.get("board_id") or None,
        "hca_type": files.get("hca_type") or None,
        "node_type": node_type.partition(": ")[2] or None,
        "node_guid": files.get("node_guid") or None,
        "node_desc": files.get("node_desc") or None,
        "virtual_function": device.name in virtual,
        "software": not uevent and bool(re.match(r"rxe|siw", device.name)),
        "nvswitch_bridge": None if bridges is None else device.name in bridges,
    }
    if errors:
        row[ERRORS_KEY] = errors
    return row


def _pair(text: str | None) -> str | None:
    match = _HEX_PAIR.fullmatch(text or "")
    return f"{match[1]}:{match[2]}".lower() if match else None


def _ipoib(devices: Iterable[_Device]) -> list[Row]:
    rows = []
    for device in devices:
        for name, files in sorted(device.netdevs.items()):
            if files.get("type") != _INFINIBAND:
                continue
            mtu = files.get("mtu", "")
            rows.append(
                {
                    "netdev": name,
                    "device": device.name,
                    "mode": files.get("mode") or None,
                    "mtu": int(mtu) if re.fullmatch(r"[0-9]{1,6}", mtu) else None,
                    "operstate": files.get("operstate") or None,
                }
            )
    return rows


SOURCES = {SOURCE: parse}

__all__ = ["COUNTERS", "FACTS", "SOURCES"]
