"""Whether the clock follows a time source: `time.*` (`time.daemons` is among the processes)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from nodectl.facts.host.os import said_none
from nodectl.facts.reading import CannotTell, NotThere, Reading, command_trouble, told
from nodectl.facts.registry import DERIVED_SOURCE, Context, Derivation, FactSpec
from nodectl.model import Fact

if TYPE_CHECKING:
    from nodectl.probe.transcript import SourceReply

_CHRONY = "chronyc -n tracking"
_NTP = "ntpq -c rv"
_SYSTEMD = "timedatectl show"
_MARK = "timesync mark"
# Where no daemon and no systemd runs, the programs that ask them are there and say so.
_NOBODY = re.compile(r"not been booted with systemd|Cannot talk to daemon|Connection refused|Host is down")
_LEAP = {"00": True, "01": True, "10": True, "11": False}


def _spec(name: str, type: str, about: str, *, unit: str = "", varies: bool = True) -> FactSpec:
    return FactSpec(name=name, type=type, about=about, unit=unit, source="time_sync", varies=varies)


FACTS = (
    _spec(
        "time.synchronized",
        "bool",
        "The clock follows a source, by chronyd, else ntpd, else the kernel (timedatectl), else timesyncd's mark;"
        " absent where nothing is there that could tell",
        varies=False,
    ),
    _spec(
        "time.offset_ms", "float", "Clock minus its source, by chronyd or ntpd; absent with other daemons", unit="ms"
    ),
    FactSpec(
        name="time.off_by_ms",
        type="float",
        unit="ms",
        about="How far the clock is off, either way",
        source=DERIVED_SOURCE,
        varies=True,
    ),
    _spec("time.stratum", "int", "Distance from a reference clock, by chronyd or ntpd"),
    _spec("time.reference", "str", "The source that is followed, by chronyd"),
)


def parse_tracking(text: str) -> dict[str, str]:
    """The `Name : value` lines of `chronyc tracking`.

    Raises:
        CannotTell: it is no such answer.
    """
    values = {}
    for line in text.splitlines():
        key, colon, value = line.partition(" : ")
        if colon:
            values[key.strip()] = value.strip()
    if "Leap status" not in values or "System time" not in values:
        raise CannotTell("chronyc tracking is not as expected")
    return values


def offset_ms(system_time: str) -> float:
    """`0.000669840 seconds slow of NTP time` -> -0.66984."""
    match = re.match(r"(\d{1,10}\.\d{1,12}) seconds (slow|fast) of NTP time", system_time)
    if not match:
        raise CannotTell(f"chronyc tells no offset: {system_time!r:.60}")
    return round(float(match[1]) * (1000 if match[2] == "fast" else -1000), 6)


def _tracking(reading: Reading) -> dict[str, str] | None:
    """What chronyd says; None where it is not there or does not answer."""
    if said_none(reading, _CHRONY) or reading.ran(_CHRONY).rc:
        return None
    return parse_tracking(reading.command(_CHRONY))


def _ntpd(reading: Reading, name: str, form: str) -> str | None:
    if said_none(reading, _NTP) or reading.ran(_NTP).rc:
        return None
    match = re.search(rf"\b{name}=({form})", reading.command(_NTP))
    return match[1] if match else None


def _synchronized(reading: Reading) -> bool:
    tracking = _tracking(reading)
    if tracking is not None:
        return tracking["Leap status"] != "Not synchronised"
    leap = _ntpd(reading, "leap", r"\d\d")
    if leap in _LEAP:
        return _LEAP[leap]
    if not said_none(reading, _SYSTEMD):
        match = re.search(r"^NTPSynchronized=(yes|no)$", reading.ran(_SYSTEMD).text, re.MULTILINE)
        if match:
            return match[1] == "yes"
    if reading.text(_MARK).strip() == "yes":
        return True
    asked = [reading.ran(name) for name in (_CHRONY, _NTP, _SYSTEMD) if reading.has("cmd", name)]
    asked = [section for section in asked if not _NOBODY.search(section.text + section.stderr)]
    if not asked:
        raise NotThere("no chronyd, ntpd or systemd answers that could tell")
    raise CannotTell(command_trouble(asked[0]) if asked[0].rc else f"{asked[0].name} did not say it")


def _offset(reading: Reading) -> float:
    tracking = _tracking(reading)
    if tracking is not None:
        return offset_ms(tracking["System time"])
    offset = _ntpd(reading, "offset", r"[-+]?\d{1,9}(?:\.\d{1,9})?")
    if offset is None:
        raise NotThere("neither chronyd nor ntpd tells how far the clock is off")
    return float(offset)


def _stratum(reading: Reading) -> int:
    tracking = _tracking(reading)
    stratum = tracking.get("Stratum") if tracking is not None else _ntpd(reading, "stratum", r"\d{1,2}")
    if stratum is None or not re.fullmatch(r"\d{1,2}", stratum):
        raise NotThere("neither chronyd nor ntpd tells a stratum")
    return int(stratum)


def _reference(reading: Reading) -> str:
    tracking = _tracking(reading)
    match = re.fullmatch(r"[0-9A-F]{1,8} \((.{0,200})\)", (tracking or {}).get("Reference ID", ""))
    if not match or not match[1]:
        raise NotThere("chronyd names no source")
    return match[1]


def parse(reply: SourceReply, context: Context) -> Iterator[Fact]:
    """The facts of the source `time_sync`."""
    reading = Reading(reply)
    yield told("time.synchronized", lambda: _synchronized(reading), "chronyc -n tracking; timedatectl")
    yield told("time.offset_ms", lambda: _offset(reading), "chronyc -n tracking")
    yield told("time.stratum", lambda: _stratum(reading), "chronyc -n tracking")
    yield told("time.reference", lambda: _reference(reading), "chronyc -n tracking")


SOURCES = {"time_sync": parse}
DERIVED: dict[str, Derivation] = {"time.off_by_ms": (("time.offset_ms",), abs)}
