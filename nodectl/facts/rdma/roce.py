"""RoCE: how the interfaces of RDMA ports are set up for lossless Ethernet, their bonds, and who is at the other end."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from nodectl.facts.conform import ERRORS_KEY
from nodectl.facts.rdma import lldp, qos
from nodectl.facts.reading import NOT_MOUNTED, Row, command_trouble, errors_for, one_line, origin
from nodectl.facts.registry import Context, FactSpec, Field
from nodectl.model import Fact, present

if TYPE_CHECKING:
    from nodectl.probe.transcript import Section, SourceReply

SOURCE = "roce"
ROOT = "/sys/class/infiniband"

_FIELDS = (
    Field("device", about="RDMA device"),
    Field("port", "int"),
    Field("netdev", about="its interface"),
    Field("bond", about="the bond that the interface belongs to"),
    Field("board_id", about="board id of the adapter"),
    Field("state", about="active, down, ..."),
    Field("rate_gbps", "float", "Gb/s"),
    Field("mtu", "int", "bytes", "MTU of the interface"),
    Field("trust", about="what a packet's priority is read from: dscp or pcp"),
    Field("pfc", "list", about="priorities with flow control"),
    Field("dscp_priority", "any", about="DSCP -> priority, where it is not the default"),
    Field("ecn_np", "list", about="priorities whose receiver notifies of congestion"),
    Field("ecn_rp", "list", about="priorities whose sender reacts to it"),
    Field("cnp_dscp", "int", about="DSCP of notifications"),
    Field("cnp_priority", "int", about="priority of notifications"),
    Field("traffic_class", "int", about="traffic class that the driver forces on all queue pairs; 0: none"),
    Field("cma_mode", about="RoCE version of connections made by rdma_cm"),
    Field("cma_tos", "int", about="type of service of connections made by rdma_cm"),
    Field("pause_rx", "bool", about="global pause (802.3x), receiving"),
    Field("pause_tx", "bool", about="global pause (802.3x), sending"),
    Field("gid_v2", "int", about="RoCE v2 GIDs"),
    Field("gid_v2_ipv4", "int", about="RoCE v2 GIDs of IPv4 addresses"),
)
FACTS: tuple[FactSpec, ...] = (
    FactSpec(
        name="roce.ports",
        type="rows",
        source=SOURCE,
        fields=_FIELDS,
        varies=True,
        about="Ethernet ports of RDMA adapters that have an interface here; empty where there are none",
    ),
    FactSpec(
        name="roce.settings",
        type="list",
        source=SOURCE,
        about="The different ways in which active RoCE ports are set up: trust, PFC, ECN, traffic class, MTU",
    ),
    FactSpec(
        name="roce.bonds",
        type="rows",
        source=SOURCE,
        varies=True,
        about="Bonds of these interfaces",
        fields=(
            Field("bond"),
            Field("mode", about="802.3ad, active-backup, ..."),
            Field("hash_policy", about="layer3+4, ..."),
            Field("members", "list"),
            Field("down", "list", about="members without a link"),
        ),
    ),
    FactSpec(
        name="lldp.neighbours",
        type="rows",
        source=SOURCE,
        varies=True,
        about="What the switches say over LLDP, as lldpd has it; absent where it does not run or nobody asked",
        fields=lldp.FIELDS,
    ),
)
_NAMES = tuple(spec.name for spec in FACTS)

_PORT = re.compile(rf"{ROOT}/([A-Za-z0-9_.-]{{1,64}})/(?:ports|tc)/([0-9]{{1,3}})/([a-z_]+):(.*)")
_DEVICE = re.compile(rf"{ROOT}/([A-Za-z0-9_.-]{{1,64}})/board_id:(.*)")
_NET = re.compile(rf"{ROOT}/[A-Za-z0-9_.-]{{1,64}}/device/net/([A-Za-z0-9_.@-]{{1,32}})/([a-z0-9_/]+):(.*)")
_CMA = re.compile(r"/sys/kernel/config/rdma_cm/([A-Za-z0-9_.-]{1,64})/ports/([0-9]{1,3})/default_roce_(mode|tos):(.*)")
_BOND = re.compile(
    r"/sys/class/net/([A-Za-z0-9_.@-]{1,32})/(bonding/[a-z_]+|lower_[^/]+/bonding_slave/mii_status):(.*)"
)
_GID = re.compile(rf"{ROOT}/([A-Za-z0-9_.-]{{1,64}})/ports/([0-9]{{1,3}})/(gids|gid_attrs/types)/([0-9]{{1,4}}):(.*)")
_INTERFACE = re.compile(r"([A-Za-z0-9_.-]{1,64})/([0-9]{1,3}) ([A-Za-z0-9_.@-]{1,32})")
_RATE = re.compile(r"([0-9]{1,6}(?:\.[0-9]{1,3})?) Gb/sec.*")
_NUMBER = re.compile(r"0x[0-9a-fA-F]{1,8}|[0-9]{1,9}")
_ENABLE = re.compile(r"ecn/roce_(np|rp)/enable/([0-7])")
_IPV4 = "0000:0000:0000:0000:0000:ffff:"
_NO_TOOL = "neither mlnx_qos nor dcb (iproute2) is on the node"

Port = tuple[str, int]


class _Files:
    """The single files of the reply, by what they are about."""

    def __init__(self, reply: SourceReply) -> None:
        self.ports: dict[Port, dict[str, str]] = {}
        self.boards: dict[str, str] = {}
        self.nets: dict[str, dict[str, str]] = {}
        self.bonds: dict[str, dict[str, str]] = {}
        for section in reply.sections:
            if section.kind == "grep":
                for line in section.text.split("\n"):
                    self._add(line)

    def _add(self, line: str) -> None:
        if match := _PORT.fullmatch(line):
            self.ports.setdefault((match[1], int(match[2])), {})[match[3]] = match[4].strip()
        elif match := _NET.fullmatch(line):
            self.nets.setdefault(match[1], {})[match[2]] = match[3].strip()
        elif match := _DEVICE.fullmatch(line):
            self.boards[match[1]] = match[2].strip()
        elif match := _CMA.fullmatch(line):
            self.ports.setdefault((match[1], int(match[2])), {})[f"cma_{match[3]}"] = match[4].strip()
        elif match := _BOND.fullmatch(line):
            self.bonds.setdefault(match[1], {})[match[2]] = match[3].strip()


def parse(reply: SourceReply, context: Context) -> Iterable[Fact]:
    """The facts of the source roce."""
    where = origin(reply) | {"command": ROOT}
    looked = next((one for one in reply.sections if one.kind == "cmd" and one.name.startswith("ls ")), None)
    listed = reply.find("text", "ports")
    if looked is None or looked.rc != 0 or listed is None or reply.find("text", NOT_MOUNTED) is not None:
        why = one_line(looked.stderr) if looked is not None else "it was not listed"
        return errors_for(_NAMES, f"cannot look at /sys/class: {why or 'not mounted'}", **where)
    if reply.find("text", "left out") is not None:
        return errors_for(_NAMES, "more than 40 Ethernet ports of RDMA adapters: too many to look at", **where)
    files = _Files(reply)
    gids = _gids(reply)
    bonds = dict(pair for one in _texts(reply, "bond of") if len(pair := one.split()) == 2)
    rows = []
    for text in _texts(reply, "interface"):
        match = _INTERFACE.fullmatch(text.strip())
        if match is not None:
            rows.append(_row(reply, files, (match[1], int(match[2])), match[3], bonds, gids))
    return [
        present("roce.ports", rows, **where),
        present("roce.settings", sorted({_setting(row) for row in rows if row["state"] == "active"}), **where),
        present("roce.bonds", [_bond(name, found) for name, found in sorted(files.bonds.items())], **where),
        lldp.neighbours(reply),
    ]


def _texts(reply: SourceReply, name: str) -> list[str]:
    return [section.text for section in reply.sections if section.kind == "text" and section.name == name]


def _row(
    reply: SourceReply,
    files: _Files,
    port: Port,
    netdev: str,
    bonds: Mapping[str, str],
    gids: Mapping[Port, tuple[int, int]] | None,
) -> Row:
    errors: dict[str, str] = {}
    own, net = files.ports.get(port, {}), files.nets.get(netdev, {})
    rate = _RATE.fullmatch(own.get("rate", ""))
    row: Row = {
        "device": port[0],
        "port": port[1],
        "netdev": netdev,
        "bond": bonds.get(netdev),
        "board_id": files.boards.get(port[0]) or None,
        "state": own.get("state", "").partition(": ")[2].lower() or None,
        "rate_gbps": float(rate[1]) if rate else None,
        "mtu": _number(net.get("mtu")),
    }
    if row["state"] is None:
        errors["state"] = "state could not be read"
    row |= _priorities(reply, netdev, errors)
    for side in ("np", "rp"):
        told = {match[2]: net[name] for name in net if (match := _ENABLE.fullmatch(name)) and match[1] == side}
        row[f"ecn_{side}"] = sorted(number for number, text in told.items() if text == "1") if told else None
    row["cnp_dscp"], row["cnp_priority"] = (
        _number(net.get(f"ecn/roce_np/cnp_{name}")) for name in ("dscp", "802p_prio")
    )
    # `Global tclass=106`; empty where nothing is forced.
    forced = own.get("traffic_class")
    row["traffic_class"] = (_number(forced.rpartition("=")[2]) or 0) if forced is not None else None
    row["cma_mode"], row["cma_tos"] = own.get("cma_mode") or None, _number(own.get("cma_tos"))
    row["gid_v2"], row["gid_v2_ipv4"] = gids.get(port, (0, 0)) if gids is not None else (None, None)
    if gids is None:
        errors["gid_v2"] = errors["gid_v2_ipv4"] = "the GID table could not be read"
    row["pause_rx"], row["pause_tx"] = qos.read_pause(reply.find("cmd", f"timeout -k 1 3 ethtool -a {netdev}"))
    if errors:
        row[ERRORS_KEY] = errors
    return row


def _number(text: str | None) -> int | None:
    if text is None or not _NUMBER.fullmatch(text):
        return None
    return int(text, 16 if text.startswith("0x") else 10)


def _priorities(reply: SourceReply, netdev: str, errors: dict[str, str]) -> Row:
    """Trust, flow control and the map from DSCP, from mlnx_qos, or from dcb where that is not there."""
    tool = reply.find("cmd", f"timeout -k 1 5 mlnx_qos -i {netdev}")
    pfc = reply.find("cmd", f"timeout -k 1 3 dcb pfc show dev {netdev}")
    app = reply.find("cmd", f"timeout -k 1 3 dcb app show dev {netdev}")
    found: Row = {"trust": None, "pfc": None, "dscp_priority": None}
    if tool is not None and tool.rc == 0:
        found |= qos.read_mlnx_qos(tool.text)
        asked: Section | None = tool
    else:
        asked = pfc or tool
        found |= qos.read_dcb(pfc, app)
    if found["pfc"] is None:
        why = command_trouble(asked) if asked is not None and asked.rc else ""
        if "not supported" in why:
            return found  # an adapter without data centre bridging
        said = why or ("no PFC in what it says" if asked is not None else _NO_TOOL)
        errors["pfc"] = errors["trust"] = said
    return found


def _gids(reply: SourceReply) -> dict[Port, tuple[int, int]] | None:
    """(RoCE v2 GIDs, those of IPv4 addresses) of each port."""
    section = reply.find("cmd", "gids")
    if section is None:
        return {}
    values: dict[tuple[str, int, str], dict[str, str]] = {}
    for line in section.text.split("\n"):
        match = _GID.fullmatch(line)
        if match is not None:
            values.setdefault((match[1], int(match[2]), match[4]), {})[match[3]] = match[5].strip()
    if not values:
        return None
    counts: dict[Port, tuple[int, int]] = {}
    for (device, port, _), found in values.items():
        if found.get("gid_attrs/types") == "RoCE v2":
            all_, ipv4 = counts.get((device, port), (0, 0))
            counts[device, port] = (all_ + 1, ipv4 + found.get("gids", "").startswith(_IPV4))
    return counts


def _setting(row: Row) -> str:
    """One line that is the same for ports that are set up alike."""
    parts = {
        "trust": row["trust"],
        "pfc": _joined(row["pfc"]),
        "ecn": f"{_joined(row['ecn_np'])}/{_joined(row['ecn_rp'])}",
        "tc": row["traffic_class"],
        "mtu": row["mtu"],
    }
    return " ".join(f"{name}={'?' if value is None else value}" for name, value in parts.items())


def _joined(numbers: list[str] | None) -> str | None:
    return None if numbers is None else ",".join(numbers) or "none"


def _bond(name: str, files: Mapping[str, str]) -> Row:
    down = [
        path.split("/")[0].removeprefix("lower_")
        for path, text in files.items()
        if path.endswith("bonding_slave/mii_status") and text != "up"
    ]
    row: dict[str, Any] = {
        "bond": name,
        "mode": files.get("bonding/mode", "").split(" ")[0] or None,
        "hash_policy": files.get("bonding/xmit_hash_policy", "").split(" ")[0] or None,
        "members": files.get("bonding/slaves", "").split(),
        "down": sorted(down),
    }
    return row


SOURCES = {SOURCE: parse}
