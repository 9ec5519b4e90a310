"""Rules about RoCE: what a site has declared for its lossless Ethernet against what each port has.

Priority, DSCP and traffic class are the policy of a fabric: they must be those of the switches, which no node sees. So
nothing is asked until a profile or a parameter says what the site uses. Judged are active ports of at least the
declared rate: the others are not the fabric's.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Any

from nodectl.engine.rules import CannotTellError, FactView, RowResult
from nodectl.engine.rules.gpu_rows import Row, Tables, about, failed, judge_rows, not_judged, number, passed, read

Params = Mapping[str, Any]
_NOT_DECLARED = "the site has not declared it: profile roce, or a parameter of this check"
# What 802.3 puts around the payload, with one VLAN tag, and without the checksum that not all switches count.
_FRAME = 18


def _label(row: Row) -> str:
    return f"{row.get('device')}/{row.get('port')} ({row.get('netdev')})"


def _ports(facts: FactView, params: Params) -> list[Row]:
    """The active ports of a fabric."""
    least = float(params["least_gbps"])
    return [
        row
        for row in facts.rows("roce.ports")
        if read(row, "state") == "active" and (number(row.get("rate_gbps")) or 0) >= least
    ]


def _judge(facts: FactView, params: Params, judge: Callable[[Row], RowResult]) -> list[RowResult]:
    rows = _ports(facts, params)
    if not rows:
        return [not_judged(f"no active RoCE port of {float(params['least_gbps']):g} Gb/s or more")]
    return judge_rows(rows, judge, _label)


def _compared(expected: str, actual: Any) -> RowResult:
    shown = str(actual)
    return (passed if shown == expected else failed)(expected, shown)


def value(facts: FactView, params: Params, tables: Tables) -> list[RowResult]:
    """A field has the declared value (`wanted`; below 0 or empty: not declared)."""
    wanted, field = params["wanted"], str(params["field"])
    if wanted == "" or (not isinstance(wanted, str) and float(wanted) < 0):
        return [not_judged(_NOT_DECLARED)]

    def judge(row: Row) -> RowResult:
        found = read(row, field)
        if found is None:
            return not_judged(f"the driver does not show {field.replace('_', ' ')}")
        return _compared(str(wanted), found)

    return _judge(facts, params, judge)


def priorities(facts: FactView, params: Params, tables: Tables) -> list[RowResult]:
    """A list of priorities is exactly the declared one (or holds it, where `exact` is false)."""
    wanted = [str(one) for one in params["wanted"]]
    fields = str(params["fields"]).split()
    if not wanted:
        return [not_judged(_NOT_DECLARED)]

    def judge(row: Row) -> RowResult:
        expected = f"{' and '.join(fields).replace('_', ' ')}: {', '.join(wanted)}"
        lists = {field: read(row, field) for field in fields}
        told = {field: [str(one) for one in found] for field, found in lists.items() if found is not None}
        if not told:
            return not_judged("the driver does not show it")
        good = all(
            sorted(found) == sorted(wanted) if params["exact"] else set(wanted) <= set(found) for found in told.values()
        )
        actual = "; ".join(f"{field.replace('_', ' ')}: {', '.join(found) or 'none'}" for field, found in told.items())
        return (passed if good else failed)(expected, actual)

    return _judge(facts, params, judge)


def alike(facts: FactView, params: Params, tables: Tables) -> list[RowResult]:
    """Active ports of one board id are set up alike."""
    boards: dict[Any, list[Row]] = defaultdict(list)
    for row in _ports(facts, params):
        boards[row.get("board_id")].append(row)
    results: list[RowResult] = []
    judged = 0
    for board, rows in sorted(boards.items(), key=lambda item: str(item[0])):
        if board is None or len(rows) < 2:
            continue
        judged += 1
        for field in ("trust", "pfc", "ecn_np", "ecn_rp", "traffic_class", "mtu", "cma_tos"):
            values: dict[str, list[str]] = defaultdict(list)
            for row in rows:
                found = row.get(field)
                if found is not None:
                    shown = (", ".join(map(str, found)) or "none") if isinstance(found, list) else str(found)
                    values[shown].append(str(row.get("netdev")))
            if len(values) > 1:
                actual = "; ".join(f"{shown}: {' '.join(names)}" for shown, names in sorted(values.items()))
                subject = f"{board} {field.replace('_', ' ')}"
                results.append(about(subject, failed("alike on all ports", actual)))
    if not judged:
        return [not_judged("no two active RoCE ports of one board id")]
    return results or [passed("all ports of a board id alike", f"{judged} kinds of adapter")]


def gids(facts: FactView, params: Params, tables: Tables) -> list[RowResult]:
    """Every active port has a RoCE v2 GID, of an IPv4 address where `ipv4` is asked for."""
    field = "gid_v2_ipv4" if params["ipv4"] else "gid_v2"
    kind = "RoCE v2 GID of an IPv4 address" if params["ipv4"] else "RoCE v2 GID"

    def judge(row: Row) -> RowResult:
        count = read(row, field)
        if count is None:
            return not_judged("the GID table is not told")
        return (passed if count else failed)(f"a {kind}", f"{count}")

    return _judge(facts, params, judge)


def mtu(facts: FactView, params: Params, tables: Tables) -> list[RowResult]:
    """The interface's MTU leaves room for RoCE packets with 4096 bytes of payload."""
    least = int(params["least_mtu"])

    def judge(row: Row) -> RowResult:
        have = read(row, "mtu")
        if have is None:
            return not_judged("the interface's MTU is not told")
        return (passed if have >= least else failed)(f"{least} or more", f"{have}")

    return _judge(facts, params, judge)


def pause_or_pfc(facts: FactView, params: Params, tables: Tables) -> list[RowResult]:
    """No port has global pause on as well as flow control by priority."""

    def judge(row: Row) -> RowResult:
        pfc = row.get("pfc")
        if not pfc:
            return not_judged("no flow control by priority")
        pause = [read(row, field) for field in ("pause_rx", "pause_tx")]
        if None in pause:
            return not_judged("pause is not told: ethtool is missing, or the adapter has none")
        return (failed if any(pause) else passed)("global pause off", "on" if any(pause) else "off")

    return _judge(facts, params, judge)


def bond_members(facts: FactView, params: Params, tables: Tables) -> list[RowResult]:
    """Every member of the bonds has a link."""

    def judge(row: Row) -> RowResult:
        members, down = row.get("members") or [], row.get("down") or []
        if not members:
            return not_judged("not a bond of the bonding driver")
        expected = f"{len(members)} members up"
        return (failed if down else passed)(expected, f"down: {', '.join(down)}" if down else f"{len(members)} up")

    rows = facts.rows("roce.bonds")
    if not rows:
        return [not_judged("no RoCE port belongs to a bond")]
    return judge_rows(rows, judge, lambda row: str(row.get("bond")))


def bond_mode(facts: FactView, params: Params, tables: Tables) -> list[RowResult]:
    """Bonds are link aggregations that spread by address and port."""

    def judge(row: Row) -> RowResult:
        mode, policy = row.get("mode"), row.get("hash_policy")
        if mode is None:
            return not_judged("not a bond of the bonding driver")
        good = mode == "802.3ad" and policy == "layer3+4"
        return (passed if good else failed)("802.3ad, layer3+4", f"{mode}, {policy or 'no policy told'}")

    rows = facts.rows("roce.bonds")
    if not rows:
        return [not_judged("no RoCE port belongs to a bond")]
    return judge_rows(rows, judge, lambda row: str(row.get("bond")))


def switch_frames(facts: FactView, params: Params, tables: Tables) -> list[RowResult]:
    """The switch port takes the frames that the interface may send."""
    said = {row["netdev"]: row for row in facts.rows("lldp.neighbours")}

    def judge(row: Row) -> RowResult:
        most, have = said.get(row.get("netdev"), {}).get("max_frame"), read(row, "mtu")
        if most is None or have is None:
            return not_judged("the switch does not tell its largest frame")
        return (passed if most >= have + _FRAME else failed)(f"{have + _FRAME} bytes or more", f"{most}")

    return _judge(facts, params, judge)


def active_mtu(facts: FactView, params: Params, tables: Tables) -> list[RowResult]:
    """RoCE links of a fabric agreed on packets of 4096 bytes."""
    fabric = {(row["device"], row["port"]) for row in _ports(facts, params)}
    least = int(params["least_bytes"])

    def judge(row: Row) -> RowResult:
        have = read(row, "active_mtu")
        if have is None:
            raise CannotTellError("ibv_devinfo does not tell the active MTU")
        return (passed if have >= least else failed)(f"{least} bytes", f"{have} bytes")

    rows = [row for row in facts.rows("rdma.port_mtu") if (row["device"], row["port"]) in fabric]
    if not rows:
        return [not_judged(f"no active RoCE port of {float(params['least_gbps']):g} Gb/s or more")]
    return judge_rows(rows, judge, lambda row: f"{row['device']}/{row['port']}")
