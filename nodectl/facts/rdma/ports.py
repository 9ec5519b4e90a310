"""One row a port of an RDMA device."""

from __future__ import annotations

import re
from collections.abc import Mapping

from nodectl.facts.conform import ERRORS_KEY
from nodectl.facts.rdma.counters import Counters
from nodectl.facts.reading import Row
from nodectl.facts.registry import Field

PORT_FIELDS = (
    Field("device", about="RDMA device, e.g. mlx5_0"),
    Field("port", "int", about="port number, from 1"),
    Field("driver", about="kernel driver of the adapter"),
    Field("board_id", about="board id of the adapter; its chip where it has none"),
    Field("pci_function", "int", about="PCI function of the adapter: the second socket of many dual-port ones is 1"),
    Field("virtual_function", "bool", about="an SR-IOV virtual function, seen from the host"),
    Field("nvswitch_bridge", "bool", about="leads to the NVSwitches of an HGX board, not to a network"),
    Field("link_layer", about="InfiniBand, Ethernet, iWARP, or unspecified (EFA)"),
    Field("state", about="active, down, init (waits for a subnet manager), armed"),
    Field("phys_state", about="linkup, polling (no signal), disabled, training, ..."),
    Field("rate_gbps", "float", "Gb/s", "rate of the link"),
    Field("width", about="lanes, e.g. 4X"),
    Field("speed_name", about="HDR, NDR, ... as the kernel names the speed of a lane"),
    Field("lid", "int", about="address in the InfiniBand subnet; 0: none yet"),
    Field("sm_lid", "int", about="address of the subnet manager; 0: none seen"),
    Field("netdev", about="its network interface"),
    Field("bond", about="the bond or bridge that the interface belongs to"),
    Field("admin_up", "bool", about="the interface is switched on (ip link set up)"),
    Field("operstate", about="of the interface: up, down, ..."),
    Field("mtu", "int", "bytes", "MTU of the interface"),
    Field("netdev_speed_mbps", "int", "Mb/s", "speed of the interface; none while it is down"),
    Field("carrier_changes", "int", about="times that the interface lost or got its link, since it was made"),
    Field("counters", "any", about="error counters that the adapter keeps, by name"),
    Field("per_s", "any", "1/s", "growth of these counters between two readings"),
)

_RATE = re.compile(r"([0-9]{1,6}(?:\.[0-9]{1,3})?) Gb/sec(?: \(([0-9]{1,2}X)(?: ([A-Z0-9]{1,8}))?\))?")
_STATES = {"ACTIVE": "active", "DOWN": "down", "INIT": "init", "ARMED": "armed", "ACTIVE_DEFER": "active_defer"}
_IFF_UP = 1
_UNKNOWN_LAYERS = ("Unknown", "Unspecified")


def port_row(
    device: Row,
    number: int,
    files: Mapping[str, str],
    netdevs: Mapping[str, Mapping[str, str]],
    masters: Mapping[str, str],
    counters: Counters,
    complaints: str,
) -> Row:
    """The row of one port.

    Args:
        device: the row of its device.
        files: of the port: state, rate, ...
        netdevs: the interfaces at this port, by name.
        masters: interface -> target of its link to a bond.
    """
    errors: dict[str, str] = {}
    name = str(device["device"])
    function = re.fullmatch(r".*\.([0-7])", str(device["pci_bus_id"] or ""))
    row: Row = {
        "device": name,
        "port": number,
        "driver": device["driver"],
        "board_id": device["board_id"] or device["hca_type"],
        "pci_function": int(function[1]) if function else None,
        "virtual_function": device["virtual_function"],
        "nvswitch_bridge": device["nvswitch_bridge"],
        "link_layer": _link_layer(files, device),
    }
    row["state"] = _state(files, errors)
    row["phys_state"] = files["phys_state"].partition(": ")[2].lower() or None if files.get("phys_state") else None
    row |= _rate(files.get("rate"), errors)
    for field in ("lid", "sm_lid"):
        row[field] = _number(files.get(field), field, errors)
    for field, file in (("phys_state", "phys_state"), ("rate_gbps", "rate"), ("lid", "lid"), ("sm_lid", "sm_lid")):
        if row[field] is None and f"{name}/ports/{number}/{file}: " in complaints:
            errors.setdefault(field, f"{file} could not be read")
    row |= _netdev(netdevs, masters, errors)
    port = (name, number)
    row["counters"] = counters.totals.get(port)
    row["per_s"] = counters.per_second(port)
    if port in counters.troubles:
        errors["counters"] = errors["per_s"] = counters.troubles[port]
    elif row["counters"] and row["per_s"] is None:
        errors["per_s"] = "two readings with a known time between them are needed"
    if errors:
        row[ERRORS_KEY] = errors
    return row


def _link_layer(files: Mapping[str, str], device: Row) -> str | None:
    """iWARP adapters say InfiniBand here, and have neither subnet manager nor LID."""
    said = files.get("link_layer")
    if device["node_type"] == "RNIC" or str(device["hca_type"]).startswith("I40IW"):
        return "iWARP"
    return "unspecified" if said in _UNKNOWN_LAYERS else said or None


def _state(files: Mapping[str, str], errors: dict[str, str]) -> str | None:
    text = files.get("state", "")
    state = _STATES.get(text.partition(": ")[2])
    if state is None:
        errors["state"] = f"state says {text[:40]!r}" if text else "state could not be read"
    return state


def _rate(text: str | None, errors: dict[str, str]) -> Row:
    row: Row = {"rate_gbps": None, "width": None, "speed_name": None}
    if text is None:
        return row
    match = _RATE.fullmatch(text)
    if match is None:
        # -1 or nothing: mlx5 says so of a port that is down.
        if text not in ("", "-1 Gb/sec"):
            errors["rate_gbps"] = f"rate says {text[:40]!r}"
        return row
    return {"rate_gbps": float(match[1]), "width": match[2], "speed_name": match[3]}


def _number(text: str | None, field: str, errors: dict[str, str]) -> int | None:
    """`0x33f6` or `4096`."""
    if not text:
        return None
    if not re.fullmatch(r"0x[0-9a-fA-F]{1,8}|[0-9]{1,10}", text):
        errors[field] = f"{field} says {text[:40]!r}"
        return None
    return int(text, 16 if text.startswith("0x") else 10)


def _netdev(netdevs: Mapping[str, Mapping[str, str]], masters: Mapping[str, str], errors: dict[str, str]) -> Row:
    """The interface of the port: of several (sub-interfaces of IPoIB) the first."""
    row: Row = dict.fromkeys(("netdev", "bond", "admin_up", "operstate", "mtu", "netdev_speed_mbps", "carrier_changes"))
    if not netdevs:
        return row
    name = min(netdevs, key=lambda one: (len(one), one))
    files = netdevs[name]
    flags = _number(files.get("flags"), "flags", errors)
    speed = files.get("speed", "")
    row["netdev"] = name
    row["bond"] = masters[name].rpartition("/")[2] or None if name in masters else None
    row["admin_up"] = bool(flags & _IFF_UP) if flags is not None else None
    row["operstate"] = files.get("operstate") or None
    row["mtu"] = _number(files.get("mtu"), "mtu", errors)
    row["netdev_speed_mbps"] = int(speed) if re.fullmatch(r"[0-9]{1,8}", speed) and speed != "0" else None
    row["carrier_changes"] = _number(files.get("carrier_changes"), "carrier_changes", errors)
    if "flags" in errors:
        errors["admin_up"] = errors.pop("flags")
    return row
