"""Rules about RDMA ports: which are up, how fast they are, and what their error counters say.

A node rarely says which of its ports are meant to be used. So a port is compared with its peers: ports of the same
adapter model, at the same PCI function and port number. Where more than half of at least three peers are up, one that
is down is a fault; where most are down, they are not cabled by design. `expect.rdma_ports` says it outright.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from nodectl.engine.rules import CannotTellError, FactView, RowResult
from nodectl.engine.rules.gpu_rows import Row, Tables, failed, judge_rows, not_judged, number, passed, read

INFINIBAND, ETHERNET = "InfiniBand", "Ethernet"
_LEAST_PEERS = 3
_MAX_NAMED = 4
_DAY_S = 86_400.0
# Where the InfiniBand counters stop, being no wider: they then stay as they are.
_FULL = {
    "symbol_error": 65_535,
    "link_error_recovery": 255,
    "link_downed": 255,
    "port_rcv_errors": 65_535,
    "local_link_integrity_errors": 15,
    "excessive_buffer_overrun_errors": 15,
}

Params = Mapping[str, Any]


def port_label(row: Row) -> str:
    name = f"{row.get('device')}/{row.get('port')}"
    return f"{name} ({row['netdev']})" if row.get("netdev") and row.get("link_layer") != INFINIBAND else name


def network_ports(facts: FactView) -> list[Row]:
    """Ports of adapters: no virtual function, no software device, no way to NVSwitches."""
    return [
        row
        for row in facts.rows("rdma.ports")
        if row.get("driver") and not row.get("virtual_function") and not row.get("nvswitch_bridge")
    ]


def _kind(row: Row) -> tuple[Any, ...]:
    return row.get("board_id"), row.get("link_layer"), row.get("pci_function"), row.get("port")


def _by_kind(rows: Iterable[Row]) -> dict[tuple[Any, ...], list[Row]]:
    kinds: dict[tuple[Any, ...], list[Row]] = defaultdict(list)
    for row in rows:
        kinds[_kind(row)].append(row)
    return kinds


def _judge(rows: list[Row], judge: Callable[[Row], RowResult]) -> list[RowResult]:
    if not rows:
        return [not_judged("no port of an adapter: virtual functions and software devices only")]
    return judge_rows(rows, judge, port_label)


def ports_up(facts: FactView, params: Params, tables: Tables) -> list[RowResult]:
    """No port is down while most of its kind are active."""
    rows = network_ports(facts)
    kinds = _by_kind(rows)

    def judge(row: Row) -> RowResult:
        state = read(row, "state")
        if state in ("active", "active_defer"):
            return _efa(row) if row.get("driver") == "efa" else passed("active", "active")
        if state in ("init", "armed"):
            return not_judged(f"{state}: see rdma.subnet_manager")
        if row.get("link_layer") == ETHERNET and read(row, "admin_up") is not True:
            return not_judged("its interface is switched off, or is not in this network namespace")
        if row.get("link_layer") != ETHERNET and read(row, "phys_state") == "disabled":
            return not_judged("disabled by an administrator")
        peers = kinds[_kind(row)]
        up = sum(peer.get("state") == "active" for peer in peers)
        if len(peers) < _LEAST_PEERS or up * 2 <= len(peers):
            return not_judged(f"{up} of {len(peers)} ports of its kind are up; expect.rdma_ports says how many should")
        shown = row.get("operstate") if row.get("link_layer") == ETHERNET else read(row, "phys_state")
        return failed("active", f"{state} ({shown or 'no more is told'})", f"{up} of {len(peers)} of its kind are up")

    return _judge(rows, judge)


def _efa(row: Row) -> RowResult:
    """The efa driver always says that its port is active: its interface, where it has one, knows better."""
    state = row.get("operstate") if row.get("admin_up") else None
    verdict = passed if state in (None, "up", "unknown") else failed
    return verdict("active", f"active, and its interface is {state}" if state else "active")


def ports_expected(facts: FactView, params: Params, tables: Tables) -> list[RowResult]:
    """As many active ports, at the declared rate where one is declared, as the inventory says."""
    rate = number(facts.get("expect.rdma_rate_gbps"))
    wanted = number(facts.get("expect.rdma_ports", 1))
    good, slow = 0, []
    for row in facts.rows("rdma.ports"):
        if row.get("nvswitch_bridge") or read(row, "state") != "active":
            continue
        speed = read(row, "rate_gbps") if rate is not None else None
        if rate is None or (speed is not None and speed >= rate):
            good += 1
        else:
            slow.append(f"{port_label(row)} {speed or 0:g}")
    least = f"{wanted:g} active ports" + (f" of {rate:g} Gb/s" if rate is not None else "")
    actual = f"{good}" + (f", and slower: {_some(slow)}" if slow and good < (wanted or 0) else "")
    return [(passed if good >= (wanted or 0) else failed)(least, actual)]


def some_port_up(facts: FactView, params: Params, tables: Tables) -> list[RowResult]:
    """At least one port of the InfiniBand adapters of a GPU node is active."""
    rows = [row for row in network_ports(facts) if row.get("link_layer") == INFINIBAND]
    if len(rows) < int(params["least"]):
        return [not_judged(f"{len(rows)} InfiniBand ports: too few to say that they are meant to be used")]
    states = [read(row, "state") for row in rows]
    up = sum(state in ("active", "init", "armed") for state in states)
    return [(passed if up else failed)("some port has a link", f"{up} of {len(rows)}")]


def rates_alike(facts: FactView, params: Params, tables: Tables) -> list[RowResult]:
    """No active port is slower than most of its kind."""
    rows = [row for row in network_ports(facts) if row.get("state") == "active"]
    if not rows:
        return [not_judged("no port is active")]
    kinds = _by_kind(rows)

    def judge(row: Row) -> RowResult:
        rate = read(row, "rate_gbps")
        if rate is None:
            return not_judged("the rate is not told")
        rates = [peer["rate_gbps"] for peer in kinds[_kind(row)] if peer.get("rate_gbps") is not None]
        best = max(rates)
        if rate >= best:
            return passed(f"{best:g} Gb/s", f"{rate:g} Gb/s")
        if len(rates) < _LEAST_PEERS or rates.count(best) * 2 <= len(rates):
            return not_judged(
                f"{rates.count(best)} of {len(rates)} of its kind run at {best:g} Gb/s: no clear majority"
            )
        return failed(f"{best:g} Gb/s, as its peers", f"{rate:g} Gb/s")

    return _judge(rows, judge)


def bandwidth_per_gpu(facts: FactView, params: Params, tables: Tables) -> list[RowResult]:
    """The active ports together have the network speed of the reference systems of this GPU."""
    ids = [str(row["pci_id"]) for row in facts.rows("gpu.pci") if row.get("pci_id")]
    wanted = [number((tables["nic_gpu_rates"].get(one) or {}).get("gbps_per_gpu")) for one in ids]
    if len(ids) < int(params["least_gpus"]) or None in wanted or not wanted:
        return [not_judged("no reference system is documented for these GPUs, or there are too few of them")]
    rates = [read(row, "rate_gbps") for row in network_ports(facts) if read(row, "state") == "active"]
    if not rates:
        return [not_judged("no port is active")]
    total, least = sum(rate or 0 for rate in rates), sum(one or 0 for one in wanted)
    verdict = passed if total >= least else failed
    return [verdict(f"{least:g} Gb/s in all", f"{total:g} Gb/s over {len(rates)} ports")]


def subnet_manager(facts: FactView, params: Params, tables: Tables) -> list[RowResult]:
    """Every InfiniBand port with a link has been set up by a subnet manager."""
    rows: list[Row] = [
        row
        for row in facts.rows("rdma.ports")
        if row.get("link_layer") == INFINIBAND and row.get("driver") and not row.get("virtual_function")
    ]
    if not rows:
        return [not_judged("no InfiniBand port")]

    def judge(row: Row) -> RowResult:
        state, phys = read(row, "state"), read(row, "phys_state")
        if state == "down" or (state != "active" and phys != "linkup"):
            return not_judged("no link: see rdma.ports_up")
        lid, sm_lid = read(row, "lid"), read(row, "sm_lid")
        if state in ("init", "armed"):
            return failed("active", f"{state}: the link is up, and no subnet manager has made it active")
        if sm_lid is None or lid is None:
            return not_judged("LIDs are not told")
        verdict = failed if sm_lid == 0 or lid == 0 else passed
        return verdict("a LID, and the LID of a subnet manager", f"LID {lid}, subnet manager {sm_lid}")

    return _judge(rows, judge)


def _some(parts: list[str]) -> str:
    return ", ".join(parts[:_MAX_NAMED]) + (f" and {len(parts) - _MAX_NAMED} more" if len(parts) > _MAX_NAMED else "")


def _counted(row: Row, field: str) -> Mapping[str, float]:
    """The counters of a port, or their growth.

    Raises:
        CannotTellError: they could not be read.
    """
    found = read(row, field)
    return found if isinstance(found, Mapping) else {}


def _over(facts: FactView, field: str, limits: Mapping[str, float], expected: str, unit: str) -> list[RowResult]:
    """Every port keeps each counter that it has at or under its limit."""

    def judge(row: Row) -> RowResult:
        counts = _counted(row, field)
        told = {name: number(counts[name]) or 0.0 for name in limits if name in counts}
        over = [f"{name} {value:g}{unit}" for name, value in told.items() if value > limits[name]]
        if over:
            return failed(expected, _some(over))
        return passed(expected, "none above") if told else not_judged("this adapter does not keep these counters")

    return _judge(network_ports(facts), judge)


def _limits(tables: Tables, column: str) -> dict[str, float]:
    rows = tables["rdma_counters"].rows
    return {str(row["counter"]): float(row[column]) for row in rows if row.get(column) is not None}


def link_errors_now(facts: FactView, params: Params, tables: Tables) -> list[RowResult]:
    """No counter of lost links and lost data grew between the two readings."""
    limits = {str(row["counter"]): 0.0 for row in tables["rdma_counters"].rows if row.get("fatal")}
    return _over(facts, "per_s", limits, "no growth", " per s")


def error_rates(facts: FactView, params: Params, tables: Tables) -> list[RowResult]:
    """No other error counter grew faster than its limit between the two readings."""
    return _over(facts, "per_s", _limits(tables, "max_per_s"), "each under its limit", " per s")


def symbol_errors(facts: FactView, params: Params, tables: Tables) -> list[RowResult]:
    """Symbol errors an hour, on average since boot, stay under the limit of the InfiniBand specification."""
    hours = max(float(facts.value("node.uptime_s")) / 3600, 1.0)
    limit = float(params["max_per_hour"])

    def judge(row: Row) -> RowResult:
        if row.get("link_layer") != INFINIBAND:
            return not_judged("no InfiniBand port")
        count = _counted(row, "counters").get("symbol_error")
        if count is None:
            return not_judged("this adapter does not count them")
        full = " (the counter is full)" if count >= _FULL["symbol_error"] else ""
        verdict = passed if count / hours <= limit else failed
        return verdict(f"at most {limit:g} an hour", f"{count / hours:.3g} an hour ({count} since boot){full}")

    return _judge(network_ports(facts), judge)


def link_flaps(facts: FactView, params: Params, tables: Tables) -> list[RowResult]:
    """Links were lost less often than so many times a day, on average since boot."""
    days = max(float(facts.value("node.uptime_s")) / _DAY_S, 1.0)
    limit = float(params["max_per_day"])

    def judge(row: Row) -> RowResult:
        flaps: float | None
        if row.get("link_layer") == INFINIBAND:
            flaps = _counted(row, "counters").get("link_downed")
        else:
            changes = read(row, "carrier_changes")
            flaps = None if changes is None else changes // 2
        if flaps is None:
            return not_judged("lost links are not counted")
        verdict = passed if flaps / days < limit else failed
        return verdict(f"fewer than {limit:g} a day", f"{flaps / days:.2g} a day ({flaps:g} since boot)")

    return _judge(network_ports(facts), judge)


def error_history(facts: FactView, params: Params, tables: Tables) -> list[RowResult]:
    """No counter of lost data has ever counted (since it was last reset)."""
    limits = {str(row["counter"]): 0.0 for row in tables["rdma_counters"].rows if row.get("history")}
    return _over(facts, "counters", limits, "none since the last reset", "")


def node_description(facts: FactView, params: Params, tables: Tables) -> list[RowResult]:
    """The name that the fabric shows for each InfiniBand adapter holds the host name."""
    short = str(facts.value("node.hostname")).partition(".")[0].casefold()
    on_fabric = {row["device"] for row in facts.rows("rdma.ports") if row.get("link_layer") == INFINIBAND}
    rows = [row for row in facts.rows("rdma.devices") if row["device"] in on_fabric and not row["virtual_function"]]
    if not rows:
        return [not_judged("no InfiniBand adapter")]

    def judge(row: Row) -> RowResult:
        said = read(row, "node_desc")
        if said is None:
            return not_judged("the adapter tells none")
        return (passed if short in str(said).casefold() else failed)(f"{short} in it", str(said))

    return judge_rows(rows, judge, lambda row: str(row["device"]))


def ipoib_alike(facts: FactView, params: Params, tables: Tables) -> list[RowResult]:
    """All IP-over-InfiniBand interfaces that are up have one mode and one MTU."""
    rows = [row for row in facts.rows("rdma.ipoib") if row.get("operstate") == "up"]
    if len(rows) < 2:
        return [not_judged("fewer than two such interfaces are up")]
    kinds: dict[str, list[str]] = defaultdict(list)
    for row in rows:
        if row.get("mode") is None or row.get("mtu") is None:
            raise CannotTellError(f"{row['netdev']}: mode or MTU is not told")
        kinds[f"{row['mode']} {row['mtu']}"].append(str(row["netdev"]))
    actual = "; ".join(f"{kind}: {_some(names)}" for kind, names in sorted(kinds.items()))
    return [(passed if len(kinds) == 1 else failed)("one mode and one MTU", actual)]
