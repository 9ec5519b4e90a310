"""What disks say of their own health: `storage.health`, from `smartctl -j` or `nvme smart-log -o json`."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from nodectl.facts.reading import CannotTell, NotThere, Reading, Row, command_trouble, told
from nodectl.facts.registry import Context, FactSpec, Field
from nodectl.model import Fact

if TYPE_CHECKING:
    from nodectl.probe.transcript import Section, SourceReply

_SOURCE = "disk_health"
_LOG = "nvme_smart_health_information_log"
_NUMBERS = ("critical_warning", "percentage_used", "available_spare_pct", "spare_threshold_pct", "media_errors")
# Bits of smartctl's exit status: it was called wrongly, or the disk could not be opened. Other bits speak of the disk.
_COULD_NOT_LOOK = 0b11
_KELVIN = 273
_NO_TOOL = "neither smartctl nor nvme is installed on the node"
# What smartctl says of a disk that only another tool can ask: behind a RAID controller or a USB bridge. Its health is
# not reported, which is no failure to look.
_NOT_REACHED = re.compile(
    r"-d (?:megaraid|cciss|areca|3ware|hpt|aacraid)|RAID controller|USB bridge|specify device type", re.I
)

FACTS = (
    FactSpec(
        name="storage.health_tool",
        type="str",
        about="What on the node can read disks' health: smartctl or nvme; absent when neither is installed",
        source=_SOURCE,
    ),
    FactSpec(
        name="storage.health",
        type="rows",
        about="Health of local disks and NVMe drives as they report it (SMART)",
        source=_SOURCE,
        varies=True,
        fields=(
            Field("device", about="nvme0, sda"),
            Field("passed", "bool", about="the drive's own verdict"),
            Field("critical_warning", "int", about="NVMe: bits of the critical warning; 0 is none"),
            Field("percentage_used", "int", "%", "NVMe: endurance used, by the maker's estimate; may exceed 100"),
            Field("available_spare_pct", "int", "%", "NVMe: spare capacity left"),
            Field("spare_threshold_pct", "int", "%", "NVMe: below this much spare the drive warns"),
            Field("media_errors", "int", about="NVMe: data that could not be read back, over the drive's life"),
            Field("reallocated_sectors", "int", about="SATA: sectors replaced by spare ones"),
            Field("pending_sectors", "int", about="SATA: sectors that could not be read and wait for a write"),
            Field("temperature_c", "int", "C"),
        ),
    ),
)


def _json(text: str) -> Mapping[str, Any]:
    import json  # only where a drive was asked

    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        raise CannotTell("the answer is no JSON") from None
    if not isinstance(value, dict):
        raise CannotTell("the answer is no JSON object")
    return value


def _int(value: Any) -> int | None:
    if isinstance(value, str) and value.isdecimal() and len(value) < 40:
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _part(value: Mapping[str, Any], *keys: str) -> Mapping[str, Any]:
    for key in keys:
        inner = value.get(key)
        value = inner if isinstance(inner, dict) else {}
    return value


def from_smartctl(section: Section) -> Row:
    """The row of one disk from `smartctl -j -H -A`; what it does not report is None, and empty if it reports nothing.

    Raises:
        CannotTell: smartctl could not look at the disk.
    """
    if section.rc in (126, 127, 124, 137, 77) or not section.text.strip():
        raise CannotTell(command_trouble(section))
    value = _json(section.text)
    status = _int(_part(value, "smartctl").get("exit_status"))
    messages = _part(value, "smartctl").get("messages")
    said = (
        [str(one.get("string", "")) for one in messages if isinstance(one, dict)] if isinstance(messages, list) else []
    )
    if status and _NOT_REACHED.search(" ".join(said)):
        return {}
    if status is None or status & _COULD_NOT_LOOK:
        why = "; ".join(said)[:200] or f"smartctl ended with {status}"
        raise CannotTell(f"needs root: {why}" if "ermission denied" in why else why)
    log = _part(value, _LOG)
    passed = _part(value, "smart_status").get("passed")
    table = _part(value, "ata_smart_attributes").get("table")
    sectors = {
        _int(one.get("id")): _int(_part(one, "raw").get("value"))
        for one in (table if isinstance(table, list) else [])
        if isinstance(one, dict)
    }
    return {
        "passed": passed if isinstance(passed, bool) else None,
        "critical_warning": _int(log.get("critical_warning")),
        "percentage_used": _int(log.get("percentage_used")),
        "available_spare_pct": _int(log.get("available_spare")),
        "spare_threshold_pct": _int(log.get("available_spare_threshold")),
        "media_errors": _int(log.get("media_errors")),
        "reallocated_sectors": sectors.get(5),
        "pending_sectors": sectors.get(197),
        "temperature_c": _int(_part(value, "temperature").get("current")),
    }


def from_nvme_cli(section: Section) -> Row:
    """The row of one drive from `nvme smart-log -o json`.

    Raises:
        CannotTell: nvme could not look at it.
    """
    if section.rc != 0:
        raise CannotTell(command_trouble(section))
    value = _json(section.text)
    warning = value.get("critical_warning")
    # nvme-cli 2 spells the bits out when it is verbose: {"value": 0, ...}.
    warning = _int(warning.get("value") if isinstance(warning, dict) else warning)
    if warning is None:
        raise CannotTell("nvme said nothing of a critical warning")
    kelvin = _int(value.get("temperature"))
    return {
        "passed": warning == 0,
        "critical_warning": warning,
        "percentage_used": _int(value.get("percent_used", value.get("percentage_used"))),
        "available_spare_pct": _int(value.get("avail_spare")),
        "spare_threshold_pct": _int(value.get("spare_thresh")),
        "media_errors": _int(value.get("media_errors")),
        "reallocated_sectors": None,
        "pending_sectors": None,
        "temperature_c": None if kelvin is None else kelvin - _KELVIN,
    }


def _row(reading: Reading, tool: str, device: str) -> Row:
    try:
        if tool == "smartctl":
            found = from_smartctl(reading.ran(f"smartctl {device}"))
        elif device.startswith("nvme"):
            found = from_nvme_cli(reading.ran(f"nvme smart-log {device}"))
        else:
            return {}  # nvme knows nothing of SATA and SAS disks
        if not found:
            return {"device": device, **dict.fromkeys(("passed", *_NUMBERS))}
    except CannotTell as trouble:
        unread = dict.fromkeys(("passed", *(_NUMBERS if device.startswith("nvme") else ())), str(trouble))
        return {"device": device, **dict.fromkeys(unread), "_errors": unread}
    return {"device": device, **found}


def _tool(reading: Reading) -> str:
    tool = reading.text("tool").strip()
    if not tool:
        raise NotThere(_NO_TOOL)
    return tool


def _health(reading: Reading) -> list[Row]:
    tool = reading.text("tool").strip()
    devices = [
        section.name.removeprefix("disk ")
        for section in reading.reply.sections
        if section.kind == "text" and section.name.startswith("disk ")
    ]
    if not devices:
        trouble = reading.not_there("/sys/x")
        if not isinstance(trouble, NotThere):
            raise trouble
        return []
    if not tool:
        raise CannotTell(_NO_TOOL)
    rows = [row for device in devices if (row := _row(reading, tool, device))]
    if not rows:
        raise CannotTell(f"{tool} reads none of these disks: {', '.join(devices)[:100]}")
    troubles = {row["_errors"]["passed"] for row in rows if "_errors" in row}
    if len(troubles) == 1 and all("_errors" in row for row in rows):
        raise CannotTell(troubles.pop())
    return rows


def parse(reply: SourceReply, context: Context) -> Iterator[Fact]:
    """The facts of the source `disk_health`."""
    reading = Reading(reply)
    yield told("storage.health_tool", lambda: _tool(reading), "command -v smartctl nvme")
    yield told("storage.health", lambda: _health(reading), "smartctl -j -H -A; nvme smart-log -o json")


SOURCES = {_SOURCE: parse}
