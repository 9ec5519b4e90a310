"""amd-smi's JSON -> fields of GPU rows, by PCI address. Its forms: ROCm/amdsmi, amdsmi_cli/amdsmi_commands.py.

What differs by version: the list stands alone or under `gpu_data`; numbers are bare, text with a unit, or `{value,
unit}`; `limit` has `max_power`, from ROCm 7 on `ppt0: {max_power_limit}`; link states come with ROCm 6.4.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from nodectl.facts.amd import values
from nodectl.facts.amd.values import UnreadableError, at, records
from nodectl.facts.conform import ERRORS_KEY
from nodectl.facts.reading import Row

Read = Callable[[Any], Any]
# field -> (reader, places; the first that holds something counts)
_Columns = Mapping[str, tuple[Read, tuple[tuple[str, ...], ...]]]


def _ecc(value: Any) -> bool | None:
    state = values.text(value)
    return None if state is None else state.upper() == "ENABLED"


_STATIC: _Columns = {
    "name": (values.text, (("asic", "market_name"), ("board", "product_name"))),
    "serial": (values.text, (("board", "product_serial"),)),
    "asic_serial": (values.text, (("asic", "asic_serial"),)),
    "gfx_version": (values.text, (("asic", "target_graphics_version"),)),
    "module_id": (values.count, (("asic", "oam_id"),)),
    "board_part_number": (values.text, (("board", "model_number"),)),
    "vbios_version": (values.text, (("vbios", "part_number"), ("ifwi", "part_number"), ("vbios", "version"))),
    "pcie_width_max": (values.count, (("bus", "max_pcie_width"),)),
    "pcie_gen_max": (values.pcie_generation, (("bus", "max_pcie_speed"),)),
    "memory_total_mib": (values.whole, (("vram", "size"),)),
    "power_limit_w": (values.number, (("limit", "ppt0", "socket_power_limit"), ("limit", "socket_power"))),
    "power_max_limit_w": (values.number, (("limit", "ppt0", "max_power_limit"), ("limit", "max_power"))),
    "temperature_slowdown_c": (values.whole, (("limit", "slowdown_hotspot_temperature"),)),
    "temperature_shutdown_c": (values.whole, (("limit", "shutdown_hotspot_temperature"),)),
    "temperature_memory_max_operating_c": (values.whole, (("limit", "slowdown_vram_temperature"),)),
    "compute_partition": (
        values.text,
        (("partition", "accelerator_partition"), ("partition", "compute_partition")),
    ),
    "memory_partition": (values.text, (("partition", "memory_partition"),)),
    "ecc_current": (_ecc, (("ras", "ecc_block_state", "UMC"),)),
}
_METRIC: _Columns = {
    "temperature_c": (values.whole, (("temperature", "hotspot"), ("temperature", "edge"))),
    "temperature_memory_c": (values.whole, (("temperature", "mem"),)),
    "power_draw_w": (values.number, (("power", "socket_power"), ("power", "current_socket_power"))),
    "gpu_utilization_pct": (values.whole, (("usage", "gfx_activity"),)),
    "memory_used_mib": (values.whole, (("mem_usage", "used_vram"), ("fb_usage", "used"))),
    "pcie_width_current": (values.count, (("pcie", "width"),)),
    "pcie_gen_current": (values.pcie_generation, (("pcie", "speed"),)),
    "pcie_replays": (values.count, (("pcie", "replay_count"),)),
    "ecc_uncorrectable_volatile": (values.count, (("ecc", "total_uncorrectable_count"),)),
    "ecc_correctable_volatile": (values.count, (("ecc", "total_correctable_count"),)),
    "ecc_deferred_volatile": (values.count, (("ecc", "total_deferred_count"),)),
}
_LINK_STATES = {"U": "xgmi_links_up", "D": "xgmi_links_down", "X": "xgmi_links_disabled"}


def static_rows(document: Any) -> dict[str, Row]:
    """PCI address -> fields, from `amd-smi static`. Partitions of a GPU, which come as records of their own, are one.

    Raises:
        UnreadableError: it is not such a reply.
    """
    found: dict[str, Row] = {}
    for record in records(document):
        address = values.pci_address(at(record, "bus", "bdf"))
        if address is None:
            if "gpu" in record:
                raise UnreadableError("amd-smi does not say which device a GPU is")
            continue  # a CPU
        row = _row(record, _STATIC)
        index = record.get("gpu")
        row["index"] = index if type(index) is int else None
        found.setdefault(address, row)
    return found


def metric_rows(document: Any, numbers: Mapping[int, str]) -> dict[str, Row]:
    """The same from `amd-smi metric`; `numbers`: the number that amd-smi gives a GPU -> its PCI address."""
    found: dict[str, Row] = {}
    for record in records(document):
        index = record.get("gpu")
        if type(index) is int and index in numbers:
            found.setdefault(numbers[index], _row(record, _METRIC))
    return found


def link_rows(document: Any, numbers: Mapping[int, str]) -> dict[str, Row]:
    """XGMI links by state, from `amd-smi xgmi -l`."""
    found: dict[str, Row] = {}
    for record in records(document, "link_status"):
        states = record.get("link_status")
        if isinstance(states, dict):
            states = states.get("links", list(states.values()))
        index = record.get("gpu")
        address = values.pci_address(record.get("bdf")) or numbers.get(index if type(index) is int else -1)
        if address is None or not isinstance(states, list):
            continue
        row: Row = dict.fromkeys(_LINK_STATES.values(), 0)
        for state in states:
            field = _LINK_STATES.get(str(values.bare(state)).strip().upper())
            if field:
                row[field] += 1
        # A board without links says N/A or nothing but SELF.
        found[address] = row if any(row.values()) else dict.fromkeys(row)
    return found


def rocm_smi_rows(document: Any) -> dict[str, Row]:
    """The same from `rocm-smi ... --json`. Its keys have changed their wording, so each is looked for by its words.

    Raises:
        UnreadableError: it is not such a reply.
    """
    if not isinstance(document, dict):
        raise UnreadableError("rocm-smi printed no table of cards")
    found: dict[str, Row] = {}
    for card, record in document.items():
        if not card.startswith("card") or not card[4:].isdecimal() or not isinstance(record, dict):
            continue
        address = values.pci_address(record.get("PCI Bus"))
        if address is None:
            raise UnreadableError(f"rocm-smi does not say which device {card} is")
        lowered = {key.casefold(): value for key, value in record.items() if isinstance(key, str)}
        row = _filled({name: (read, _first_key(lowered, words)) for name, (read, words) in _ROCM_SMI.items()})
        row["index"] = int(card[4:])
        found.setdefault(address, row)
    return found


def _mib_of_bytes(value: Any) -> int | None:
    size = values.count(value)
    return None if size is None else size >> 20


# field -> (reader, groups of words; the first key that holds all the words of a group)
_ROCM_SMI: Mapping[str, tuple[Read, tuple[tuple[str, ...], ...]]] = {
    "name": (values.text, (("device name",), ("card series",), ("card model",))),
    "serial": (values.text, (("serial number",),)),
    "asic_serial": (values.text, (("unique id",),)),
    "gfx_version": (values.text, (("gfx version",),)),
    "vbios_version": (values.text, (("vbios version",),)),
    "temperature_c": (values.whole, (("temperature", "junction"), ("temperature", "edge"))),
    "temperature_memory_c": (values.whole, (("temperature", "memory"),)),
    "power_draw_w": (
        values.number,
        (("current socket", "power"), ("average graphics", "power"), ("current", "package power")),
    ),
    "power_limit_w": (values.number, (("max graphics package power",),)),
    "gpu_utilization_pct": (values.whole, (("gpu use (%)",),)),
    "memory_total_mib": (_mib_of_bytes, (("vram total memory (b)",),)),
    "memory_used_mib": (_mib_of_bytes, (("vram total used memory (b)",),)),
    "pcie_replays": (values.count, (("pcie replay count",),)),
}


def _first_key(record: Mapping[str, Any], groups: Iterable[tuple[str, ...]]) -> Any:
    for words in groups:
        for key, value in record.items():
            if all(word in key for word in words) and not key.startswith("vis_"):
                return value
    return None


def _row(record: Any, columns: _Columns) -> Row:
    return _filled({name: (read, _first(record, places)) for name, (read, places) in columns.items()})


def _first(record: Any, places: Iterable[tuple[str, ...]]) -> Any:
    for place in places:
        value = at(record, *place)
        if value is not None and not (isinstance(value, str) and value.strip().upper() == "N/A"):
            return value
    return None


def _filled(cells: Mapping[str, tuple[Read, Any]]) -> Row:
    """A row of what was printed; a cell that cannot be read is None and named in `_errors`."""
    row: Row = {}
    errors: dict[str, str] = {}
    for name, (read, value) in cells.items():
        try:
            row[name] = read(value)
        except UnreadableError as problem:
            row[name], errors[name] = None, str(problem)
    if errors:
        row[ERRORS_KEY] = errors
    return row
