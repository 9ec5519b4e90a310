"""Rules about the PCIe way from the root to GPUs, NICs and drives: ACS, packet sizes, memory windows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from nodectl.engine.rules import CannotTellError, FactView, RowResult, field_error
from nodectl.engine.rules.gpu_rows import (
    Row,
    Tables,
    about,
    failed,
    judge_rows,
    not_judged,
    passed,
    read,
    sum_up,
    unknown,
)
from nodectl.engine.rules.pcie import narrow_by_design

_FOR_GUESTS = "vfio-pci"
_DEAD = "it does not answer on the bus: see pcie.devices_answer"
_PEERS = ("gpu ", "nic ")


def device_label(row: Row) -> str:
    """gpu 0000:1b:00.0, or nic 0000:18:00.0 (mlx5_0)."""
    names = ", ".join(str(name) for name in row.get("names") or ())
    return f"{row.get('kind', 'bridge')} {row.get('pci_bus_id')}" + (f" ({names})" if names else "")


def _unread(rows: Iterable[Row], field: str) -> str:
    """The reason when a field could be read of none of the rows (no root): one line, and not one a device."""
    reasons = [field_error(row, field) for row in rows]
    return reasons[0] if reasons and all(reasons) else ""


def acs(facts: FactView, params: Mapping[str, Any], tables: Tables) -> list[RowResult]:
    """No downstream port of a switch with a GPU and a peer below it sends their traffic up to the root.

    Where the ports could not be read, one IOMMU group for all below a switch tells as much: ACS would part them.
    """
    devices = facts.rows("pcie.devices")
    if any(row.get("kind") == "gpu" and row.get("driver") == _FOR_GUESTS for row in devices):
        return [not_judged("a GPU is given to a virtual machine (vfio-pci): there ACS keeps guests apart")]
    bridges = {str(row["pci_bus_id"]): row for row in facts.rows("pcie.bridges")}
    ports = [row for row in bridges.values() if _between_peers(row, bridges)]
    if not ports:
        return [not_judged("no PCIe switch with a GPU and a peer of it below is seen")]
    groups = {f"{row['kind']} {row['pci_bus_id']}": row.get("iommu_group") for row in devices}
    if reason := _unread(ports, "acs_redirect"):
        apart = [port for port in ports if not _in_one_group(bridges[str(port["parent"])], groups)]
        if apart:
            return [unknown(reason, "ACS does not redirect peer traffic")]
        return [passed("ACS does not redirect peer traffic", f"{len(ports)} of {len(ports)}",
                       "told by the IOMMU groups: all below a switch are in one")]  # fmt: skip

    def judge(row: Row) -> RowResult:
        redirects = read(row, "acs_redirect")
        shown = "no ACS" if redirects is None else "redirect off"
        below = ", ".join(row["below"])
        return failed("redirect off", "redirect on", f"above {below}") if redirects else passed("redirect off", shown)

    return judge_rows(ports, judge, lambda row: f"port {row['pci_bus_id']}")


def _peers_below(row: Row) -> list[str]:
    return [one for one in row.get("below") or () if one.startswith(_PEERS)]


def _between_peers(row: Row, bridges: Mapping[str, Row]) -> bool:
    """A downstream port with a GPU or NIC below it, beside another one at the same switch; one of them a GPU."""
    if row.get("port") != "downstream" or not _peers_below(row):
        return False
    all_below = _peers_below(bridges.get(str(row.get("parent")), {}))
    return len(all_below) > len(_peers_below(row)) and any(one.startswith("gpu ") for one in all_below)


def _in_one_group(switch: Row, groups: Mapping[str, Any]) -> bool:
    found = {groups.get(one) for one in _peers_below(switch)}
    return len(found) == 1 and None not in found


def max_payload(facts: FactView, params: Mapping[str, Any], tables: Tables) -> list[RowResult]:
    """No device sends larger packets than a bridge above it takes."""

    def judge(device: Row, way: list[Row]) -> RowResult:
        own = int(read(device, "max_payload_bytes"))
        smaller = [row for row in way if int(read(row, "max_payload_bytes")) < own]
        if not smaller:
            return passed("no more than the bridges above take", f"{own} bytes")
        least = min(int(row["max_payload_bytes"]) for row in smaller)
        return failed(f"at most {least} bytes, as bridge {smaller[0]['pci_bus_id']} takes", f"{own} bytes")

    return _along_ways(facts, judge)


def max_payload_full(facts: FactView, params: Mapping[str, Any], tables: Tables) -> list[RowResult]:
    """Each GPU and NIC sends the largest packets that it and all bridges above it are able to."""

    def judge(device: Row, way: list[Row]) -> RowResult:
        if device["kind"] not in ("gpu", "nic"):
            return not_judged("only GPUs and NICs are judged")
        own = int(read(device, "max_payload_bytes"))
        able = min(int(read(row, "max_payload_able_bytes")) for row in (device, *way))
        return (passed if own >= able else failed)(f"{able} bytes, as all on the way are able to", f"{own} bytes")

    return _along_ways(facts, judge)


def _along_ways(facts: FactView, judge: Any) -> list[RowResult]:
    """`judge(device, its bridges)` for each device with bridges above; one unknown where none could be read."""
    devices = [row for row in facts.rows("pcie.devices") if row.get("bridges")]
    bridges = {str(row["pci_bus_id"]): row for row in facts.rows("pcie.bridges")}
    if not devices:
        return [not_judged("no bridge above a device is seen")]
    if reason := _unread(devices, "max_payload_bytes"):
        return [unknown(reason)]

    def judged(device: Row) -> RowResult:
        if device.get("answers") is False:
            return not_judged(_DEAD)
        way = [bridges[address] for address in device["bridges"]]
        if any(_no_registers(row) for row in (device, *way)):
            return not_judged("a device on the way is no PCI Express device")
        result: RowResult = judge(device, way)
        return result

    return judge_rows(devices, judged, device_label)


def _no_registers(row: Row) -> bool:
    return row.get("max_payload_bytes") is None and not field_error(row, "max_payload_bytes")


def read_request(facts: FactView, params: Mapping[str, Any], tables: Tables) -> list[RowResult]:
    """Each Mellanox NIC asks for reads of at least `min_bytes`."""
    least = int(params["min_bytes"])
    nics = [row for row in facts.rows("pcie.devices") if str(row.get("pci_id")).startswith("15b3:")]
    if not nics:
        return [not_judged("there is no Mellanox adapter")]
    if reason := _unread(nics, "max_read_request_bytes"):
        return [unknown(reason, f"at least {least} bytes")]

    def judge(row: Row) -> RowResult:
        if row.get("answers") is False:
            return not_judged(_DEAD)
        size = read(row, "max_read_request_bytes")
        if size is None:
            return not_judged("it is no PCI Express device")
        return (passed if size >= least else failed)(f"at least {least} bytes", f"{size} bytes")

    return judge_rows(nics, judge, device_label)


def gpu_windows(facts: FactView, params: Mapping[str, Any], tables: Tables) -> list[RowResult]:
    """Every memory window (BAR) of each GPU has an address."""

    def judge(row: Row) -> RowResult:
        lost, sizes = read(row, "bars_unassigned"), read(row, "bars_mib")
        if lost is None or sizes is None:
            return unknown("its windows were not read")
        if not sizes:
            return failed("memory windows with an address", "none at all")
        if lost:
            names = ", ".join(f"BAR{number} ({sizes.get(str(number), 0):.0f} MiB)" for number in lost)
            return failed("memory windows with an address", f"no address: {names}")
        return passed("memory windows with an address", f"{len(sizes)} windows")

    gpus = [row for row in facts.rows("pcie.devices") if row.get("kind") == "gpu"]
    return judge_rows(gpus, judge, device_label)


def slot(facts: FactView, params: Mapping[str, Any], tables: Tables) -> list[RowResult]:
    """The slot of each NIC reaches the NIC's own speed and lanes."""

    def judge(row: Row) -> RowResult:
        speed, width = read(row, "link_speed_max_gts"), read(row, "link_width_max")
        able_speed, able_width = row.get("link_speed_possible_gts"), row.get("link_width_possible")
        if not row.get("bridges") or None in (speed, width, able_speed, able_width):
            return not_judged("what the slot can do is not seen")
        good = able_speed >= speed and able_width >= width
        return (passed if good else failed)(f"{speed:g} GT/s x{width}", f"{able_speed:g} GT/s x{able_width}")

    nics = [row for row in facts.rows("pcie.devices") if row.get("kind") == "nic"]
    return judge_rows(nics, judge, device_label)


def link(facts: FactView, params: Mapping[str, Any], tables: Tables) -> list[RowResult]:
    """The link above each device of the `kinds` has the lanes, or the speed, that both its ends have.

    Params:
        kinds: of nic, nvme, gpu.
        what: width or speed.
    """
    unit = "_gts" if params["what"] == "speed" else ""
    now_field, able_field = f"link_{params['what']}{unit}", f"link_{params['what']}_possible{unit}"

    def judge(row: Row) -> RowResult:
        now, able = read(row, now_field), read(row, able_field)
        if now is None or able is None:
            return not_judged("the link or its other end is not seen")
        if now < able and params["what"] == "width" and row["kind"] == "gpu":
            design = narrow_by_design(row, tables, now)
            if design:
                return not_judged(f"x{now} of x{able}: {design}")
        return (passed if now >= able else failed)(_shown(able, unit), _shown(now, unit))

    rows = [row for row in facts.rows("pcie.devices") if row.get("kind") in params["kinds"]]
    return judge_rows(rows, judge, device_label) if rows else [not_judged("there is no such device")]


def path(facts: FactView, params: Mapping[str, Any], tables: Tables) -> list[RowResult]:
    """The links between switches and the root have the lanes, or the speed, that both their ends have.

    Params:
        what: width or speed. Bridges that a card brings follow the card's own link: their speed is not judged.
    """
    speed = params["what"] == "speed"
    unit = "_gts" if speed else ""
    results = []
    for row in facts.rows("pcie.bridges"):
        if row.get("port") != "upstream" or (speed and row.get("inside_device")):
            continue
        subject = f"switch {row['pci_bus_id']}"
        try:
            now = read(row, f"link_{params['what']}{unit}")
            able = read(row, f"link_{params['what']}_possible{unit}")
        except CannotTellError as problem:
            results.append(about(subject, unknown(str(problem))))
            continue
        if now is None or able is None:
            results.append(about(subject, not_judged("the link or its other end is not seen")))
            continue
        below = ", ".join(row.get("below") or ())
        verdict = passed if now >= able else failed
        results.append(
            about(subject, verdict(_shown(able, unit), _shown(now, unit), "" if now >= able else f"above {below}"))
        )
    return sum_up(results) if results else [not_judged("no PCIe switch is seen")]


def _shown(value: Any, unit: str) -> str:
    return f"{value:g} GT/s" if unit else f"x{value}"
