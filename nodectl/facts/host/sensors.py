"""Temperatures of the host's parts against their limits, and what the BMC says of power supplies and fans."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from nodectl.facts.conform import ERRORS_KEY
from nodectl.facts.reading import CannotTell, NotThere, Reading, Row, command_trouble, one_line, told
from nodectl.facts.registry import Context, FactSpec, Field
from nodectl.model import Fact

if TYPE_CHECKING:
    from nodectl.probe.transcript import SourceReply

SOURCE = "power_sensors"
_CHASSIS = "ipmitool chassis status"
_HWMON = "/sys/class/hwmon"

FACTS: tuple[FactSpec, ...] = (
    FactSpec(
        name="host.temperatures",
        type="rows",
        source=SOURCE,
        about="Temperatures of CPUs, memory modules, drives and network adapters that tell a critical limit",
        fields=(
            Field("sensor", "str", "", "chip and label, e.g. coretemp Package id 0 (hwmon2)"),
            Field("temperature_c", "float", "C", "the temperature"),
            Field("critical_c", "float", "C", "the limit that the part itself tells"),
        ),
    ),
    FactSpec(
        name="host.chassis",
        type="row",
        source=SOURCE,
        about="What the BMC says of power and cooling; absent without a BMC or without ipmitool",
        fields=(
            Field("power_overload", "bool", "", "the power supplies are overloaded"),
            Field("power_fault", "bool", "", "a fault of the main power"),
            Field("cooling_fault", "bool", "", "a fault of a fan or of the cooling"),
            Field("drive_fault", "bool", "", "a fault of a drive"),
            Field(
                "last_power_event", "str", "", "why the power went off last, e.g. ac-failed; empty when it was asked to"
            ),
        ),
    ),
)
_FILE = re.compile(rf"{_HWMON}/(hwmon\d{{1,4}})/(name|temp(\d{{1,3}})_(crit|input|label))")
_MILLIDEGREES = re.compile(r"-?\d{1,9}")
_SAID = re.compile(r"([A-Za-z/ ]{3,30}?) *: *(.*)")
# Limits outside of this are placeholders of chips that have none.
_LOWEST_LIMIT_C, _HIGHEST_LIMIT_C = 1, 200
_LINES = {
    "power overload": "power_overload",
    "main power fault": "power_fault",
    "cooling/fan fault": "cooling_fault",
    "drive fault": "drive_fault",
}


def parse_sensors(reply: SourceReply, context: Context) -> Iterable[Fact]:
    """The facts of the source power_sensors."""
    reading = Reading(reply)
    yield told("host.temperatures", lambda: _temperatures(reading), f"{_HWMON}/*/temp*_input")
    yield told("host.chassis", lambda: _chassis(reading), _CHASSIS)


def _temperatures(reading: Reading) -> list[Row]:
    listing = reading.ran(f"ls -d {_HWMON}")
    if listing.rc != 0:
        raise reading.not_there(_HWMON, "this kernel has no hwmon sensors")
    chips: dict[str, str] = {}
    sensors: dict[tuple[str, int], dict[str, str]] = {}
    for match, text in reading.lines_below(_FILE):
        if match[3] is None:
            chips[match[1]] = text.strip()
        else:
            sensors.setdefault((match[1], int(match[3])), {})[match[4]] = text.strip()
    rows = []
    for (chip, place), files in sorted(sensors.items(), key=lambda item: (len(item[0][0]), item[0])):
        label = one_line(files.get("label", "")) or f"temp{place}"
        row = _row(f"{chips.get(chip, chip)[:20]} {label[:40]} ({chip})", files)
        if row is not None:
            rows.append(row)
    return rows


def _row(sensor: str, files: dict[str, str]) -> Row | None:
    """The row of one sensor; None where it tells no usable limit."""
    limit = files.get("crit", "")
    if not _MILLIDEGREES.fullmatch(limit) or not _LOWEST_LIMIT_C <= int(limit) / 1000 <= _HIGHEST_LIMIT_C:
        return None
    row: Row = {"sensor": sensor, "temperature_c": None, "critical_c": int(limit) / 1000}
    now = files.get("input")
    if now is None:
        row[ERRORS_KEY] = {"temperature_c": "the sensor could not be read"}
    elif _MILLIDEGREES.fullmatch(now):
        row["temperature_c"] = int(now) / 1000
    else:
        row[ERRORS_KEY] = {"temperature_c": f"it says {now[:30]!r}"}
    return row


def _chassis(reading: Reading) -> Row:
    if reading.has("text", "bmc"):
        if reading.text("bmc") == "no device":
            raise NotThere("the node shows no BMC (no /dev/ipmi0)")
        raise NotThere("ipmitool is not installed: only the BMC itself tells of power supplies and fans")
    section = reading.ran(_CHASSIS)
    if section.rc != 0:
        raise CannotTell(command_trouble(section))
    row: dict[str, Any] = {}
    for line in section.text.splitlines():
        match = _SAID.fullmatch(line.strip())
        if match is None:
            continue
        name, said = match[1].strip().casefold(), match[2].strip()
        if name in _LINES and said.casefold() in ("true", "false"):
            row[_LINES[name]] = said.casefold() == "true"
        elif name == "last power event":
            row["last_power_event"] = said[:60]
    if not row:
        raise CannotTell(f"{_CHASSIS} says {one_line(section.text)[:80]!r}")
    return row


SOURCES = {SOURCE: parse_sensors}
