"""amdgpu's files in sysfs -> fields of GPU rows. They need no tool, and tell what amd-smi tells and the factory limits.

The files: Linux Documentation/gpu/amdgpu (driver-misc, thermal, ras), https://docs.kernel.org/gpu/amdgpu/index.html.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from nodectl.facts.amd import values
from nodectl.facts.amd.values import UnreadableError
from nodectl.facts.conform import ERRORS_KEY
from nodectl.facts.reading import Row

if TYPE_CHECKING:
    from nodectl.probe.transcript import SourceReply

_LINE = re.compile(r"/sys/bus/pci/devices/([0-9a-f]{4,8}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7])/([\w./-]{1,100}):(.*)")
_HWMON = re.compile(r"hwmon/hwmon\d{1,3}/((?:temp|power)\d{1,2}_\w{1,20})")
_FIRMWARE = re.compile(r"fw_version/(\w{1,40})_fw_version")
_ERRORS = re.compile(r"(ue|ce|de): (\d{1,18})")
_PAGE = re.compile(r"0x[0-9a-f]+ ?: ?0x[0-9a-f]+ ?: ?([RPF])", re.IGNORECASE)
_PAGE_FIELDS = {"R": "bad_pages_retired", "P": "bad_pages_pending", "F": "bad_pages_unreservable"}
_ERROR_FIELDS = {
    "ue": "ecc_uncorrectable_volatile",
    "ce": "ecc_correctable_volatile",
    "de": "ecc_deferred_volatile",
}

Files = Mapping[str, str]


def sysfs_rows(reply: SourceReply) -> dict[str, Row]:
    """PCI address -> what the driver's files say of that GPU; GPUs whose driver is not amdgpu are left out."""
    devices: dict[str, dict[str, list[str]]] = defaultdict(dict)
    for section in reply.sections:
        for line in section.text.split("\n") if section.kind == "grep" else ():
            match = _LINE.fullmatch(line)
            if match:
                devices[match[1]].setdefault(match[2], []).append(match[3])
    return {
        address: device_row({name: "\n".join(lines) for name, lines in files.items()})
        for address, files in devices.items()
        if "DRIVER=amdgpu" in files.get("uevent", ())
    }


def device_row(files: Files) -> Row:
    """The row of one GPU. A file that is not there leaves its field out."""
    sensors = {match[1]: text for name, text in files.items() if (match := _HWMON.fullmatch(name))}
    row: Row = {}
    errors: dict[str, str] = {}
    if "uevent" in files:
        row["pci_id"] = values.pci_id(files["uevent"])
    for name, file, read in _FILES:
        _read(row, errors, name, files.get(file), read)
    for name, sensor, read in _SENSORS:
        _read(row, errors, name, _sensor(sensors, sensor), read)
    firmware = {match[1]: text.strip() for name, text in files.items() if (match := _FIRMWARE.fullmatch(name))}
    if firmware:
        # All zeros: this GPU has no such part.
        row["firmware"] = {part: said for part, said in sorted(firmware.items()) if said.strip("0x")}
    _read_errors(files, row, errors)
    _read_pages(files.get("ras/gpu_vram_bad_pages"), row, errors)
    if errors:
        row[ERRORS_KEY] = errors
    return row


def _mib(text: Any) -> int | None:
    size = values.count(text)
    return None if size is None else size >> 20


def _watt(text: Any) -> float | None:
    microwatt = values.number(text)
    return None if microwatt is None else microwatt / 1e6


def _celsius(text: Any) -> int | None:
    milli = values.number(text)
    return None if milli is None else round(milli / 1000)


def _hive(text: Any) -> str | None:
    said = values.text(text)
    return None if said is None or not said.strip("0x") else said


_Read = Callable[[Any], Any]
_FILES: tuple[tuple[str, str, _Read], ...] = (
    ("name", "product_name", values.text),
    ("serial", "serial_number", values.text),
    ("asic_serial", "unique_id", values.text),
    ("vbios_version", "vbios_version", values.text),
    ("memory_total_mib", "mem_info_vram_total", _mib),
    ("memory_used_mib", "mem_info_vram_used", _mib),
    ("compute_partition", "current_compute_partition", values.text),
    ("memory_partition", "current_memory_partition", values.text),
    ("gpu_utilization_pct", "gpu_busy_percent", values.count),
    ("pcie_replays", "pcie_replay_count", values.count),
    ("pcie_gen_current", "current_link_speed", values.pcie_generation),
    ("pcie_gen_max", "max_link_speed", values.pcie_generation),
    ("pcie_width_current", "current_link_width", values.count),
    ("pcie_width_max", "max_link_width", values.count),
    ("xgmi_hive_id", "xgmi_hive_info/xgmi_hive_id", _hive),
)
# A sensor is named by what its label says (edge, junction, mem), or in full.
_SENSORS: tuple[tuple[str, str, _Read], ...] = (
    ("temperature_c", "junction_input", _celsius),
    ("temperature_slowdown_c", "junction_crit", _celsius),
    ("temperature_shutdown_c", "junction_emergency", _celsius),
    ("temperature_memory_c", "mem_input", _celsius),
    ("temperature_memory_max_operating_c", "mem_crit", _celsius),
    ("power_draw_w", "power1_average", _watt),
    ("power_draw_w", "power1_input", _watt),
    ("power_limit_w", "power1_cap", _watt),
    ("power_default_limit_w", "power1_cap_default", _watt),
    ("power_min_limit_w", "power1_cap_min", _watt),
    ("power_max_limit_w", "power1_cap_max", _watt),
)


def _sensor(sensors: Mapping[str, str], wanted: str) -> str | None:
    if wanted in sensors:
        return sensors[wanted]
    label, _, what = wanted.partition("_")
    for name, text in sensors.items():
        if name.endswith("_label") and text.strip() == label:
            return sensors.get(f"{name.removesuffix('_label')}_{what}")
    return None


def _read(row: Row, errors: dict[str, str], name: str, text: str | None, read: _Read) -> None:
    if text is None or row.get(name) is not None:
        return
    try:
        row[name] = read(text)
    except UnreadableError as problem:
        row[name], errors[name] = None, str(problem)


def _read_errors(files: Files, row: Row, errors: dict[str, str]) -> None:
    """Errors of all the GPU's blocks (`ras/umc_err_count`: `ue: 0`, `ce: 0`), added up."""
    for name, text in files.items():
        if not (name.startswith("ras/") and name.endswith("_err_count")):
            continue
        found = _ERRORS.findall(text)
        if not found:
            errors["ecc_uncorrectable_volatile"] = f"{name} says {text.strip()!r:.60}"
            row["ecc_uncorrectable_volatile"] = None
            continue
        for kind, number in found:
            field = _ERROR_FIELDS[kind]
            if field not in errors:
                row[field] = (row.get(field) or 0) + int(number)
        if name == "ras/umc_err_count":
            row["ecc_current"] = True


def _read_pages(text: str | None, row: Row, errors: dict[str, str]) -> None:
    """Bad pages, one a line: `0x00000001 : 0x00001000 : R` (R retired, P pending, F could not be reserved)."""
    if text is None:
        return
    row.update(dict.fromkeys(_PAGE_FIELDS.values(), 0))
    for line in text.split("\n"):
        if not line.strip():
            continue
        match = _PAGE.fullmatch(line.strip())
        if match is None:
            errors.update(dict.fromkeys(_PAGE_FIELDS.values(), f"a line of the bad pages says {line.strip()!r:.60}"))
            row.update(dict.fromkeys(_PAGE_FIELDS.values()))
            return
        row[_PAGE_FIELDS[match[1].upper()]] += 1
