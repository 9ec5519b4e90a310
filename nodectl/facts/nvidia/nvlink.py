"""`nvidia-smi nvlink -s` and `-e`: state, speed and error counters of every NVLink.

Hopper and older print replay, recovery and CRC errors; Blackwell prints packet, symbol and recovery-event counters
instead. Traffic, FEC and raw-lane counters are passed over: on a healthy link they grow.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

from nodectl.facts.conform import ERRORS_KEY
from nodectl.facts.nvidia.smi_failure import failure, no_devices
from nodectl.facts.nvidia.smi_text import UnreadableError, integer, stated
from nodectl.facts.reading import Row, errors_for, origin
from nodectl.facts.registry import Context, FactSpec, Field
from nodectl.model import Fact, present

if TYPE_CHECKING:
    from nodectl.probe.transcript import Section, SourceReply

SOURCE = "nvidia_smi_nvlink"
STATUS = "nvidia-smi nvlink -s"
ERRORS = "nvidia-smi nvlink -e"
MAX_LINKS = 8192

_COUNTERS = {
    "replay errors": "replay_errors",
    "recovery errors": "recovery_errors",
    "crc errors": "crc_errors",
    "malformed packet errors": "malformed_packet_errors",
    "buffer overrun errors": "buffer_overrun_errors",
    "rx errors": "rx_errors",
    "rx remote errors": "rx_remote_errors",
    "rx general errors": "rx_general_errors",
    "local link integrity errors": "local_link_integrity_errors",
    "tx discards": "tx_discards",
    "link recovery successful events": "recovery_successful_events",
    "link recovery failed events": "recovery_failed_events",
    "total link recovery events": "recovery_events",
    "effective errors": "effective_errors",
    "symbol errors": "symbol_errors",
}
_BIT_ERROR_RATES = {"effective ber": "effective_ber", "symbol ber": "symbol_ber"}
FACTS: tuple[FactSpec, ...] = (
    FactSpec(
        name="nvlink.links",
        type="rows",
        source=SOURCE,
        about="One row an NVLink; one row with no link number for a GPU whose links are all inactive",
        fields=(
            Field("gpu_index", "int", "", "nvidia-smi's number of the GPU"),
            Field("gpu_uuid", "str", "", "UUID of the GPU"),
            Field("link", "int", "", "number of the link; none where nvidia-smi speaks of all links at once"),
            Field("state", "str", "", "active or inactive"),
            Field("speed_gbs", "float", "GB/s", "speed in one direction, as the driver counts it"),
            *(Field(name, "int", "", label) for label, name in _COUNTERS.items()),
            *(Field(name, "float", "", label) for label, name in _BIT_ERROR_RATES.items()),
        ),
    ),
)
_NAME = FACTS[0].name

_GPU = re.compile(r"GPU ([0-9]{1,3}): .{0,120}?(?:\(UUID: ([A-Za-z0-9-]{4,80})\))?")
_LINK = re.compile(r"Link ([0-9]{1,3}): (.+)")
_SPEED = re.compile(r"([0-9]{1,5}(?:\.[0-9]{1,6})?) GB/s")
_RATE = re.compile(r"[0-9]{1,9}(?:\.[0-9]{1,9})?(?:[eE][+-]?[0-9]{1,3})?")
_count = integer()


class _TextError(ValueError):
    """The text is no answer of nvidia-smi nvlink."""


def parse_nvlink(reply: SourceReply, context: Context) -> Iterable[Fact]:
    """The fact `nvlink.links`."""
    status = reply.find("cmd", STATUS)
    if status is None:
        return errors_for([_NAME], "the probe did not run nvidia-smi nvlink -s", **origin(reply))
    where = origin(reply, status)
    if no_devices(status):
        return [present(_NAME, [], **where)]
    if status.rc != 0 and not _explained(status):
        return errors_for([_NAME], f"{STATUS}: {failure(status, _stray(status.text))}", **where)
    try:
        links = _read_status(status.text)
    except _TextError as problem:
        return errors_for([_NAME], f"{STATUS}: {problem}", **where)
    _add_counters(links, reply.find("cmd", ERRORS))
    return [present(_NAME, list(links.values()), **where)]


def _explained(section: Section) -> bool:
    """True for an exit code that stands for what the text says of the links, not for a failure to say it."""
    folded = section.text.casefold()
    return section.rc == 3 and ("all links are inactive" in folded or "not supported" in folded)


def _stray(text: str) -> str:
    """The message of a call that failed; nothing where it printed an answer all the same."""
    try:
        rows = _read_status(text).values()
    except _TextError:
        return text
    return "" if all(row["state"] for row in rows) else text


Links = dict[tuple[int, int | None], Row]


def _read_status(text: str) -> Links:
    links: Links = {}
    gpu: Row | None = None
    for line in map(str.strip, text.split("\n")):
        if not line or line.startswith("$"):
            continue
        heading = _GPU.fullmatch(line)
        if heading is not None:
            gpu = {"gpu_index": int(heading[1]), "gpu_uuid": heading[2]}
            continue
        if gpu is None:
            raise _TextError(f"found {line[:80]!r} where a GPU was expected")
        match = _LINK.fullmatch(line)
        number = int(match[1]) if match else None
        row: Row = {**gpu, "link": number}
        if match is not None:
            _set_state(row, match[2].strip())
        else:
            _set_all(row, line)
        if len(links) >= MAX_LINKS:
            raise _TextError(f"more than {MAX_LINKS} links")
        links[gpu["gpu_index"], number] = row
    if gpu is None:
        raise _TextError("nothing was printed")
    return links


def _set_state(row: Row, said: str) -> None:
    """`26.562 GB/s`, `<inactive>`, or a failure. Only a speed makes a link active."""
    speed = _SPEED.fullmatch(said)
    row["state"] = row["speed_gbs"] = None
    if speed is not None:
        row["state"], row["speed_gbs"] = "active", float(speed[1])
    elif said.strip("<>").casefold() == "inactive":
        row["state"] = "inactive"
    else:
        try:
            if stated(said) is not None:
                raise UnreadableError(f"nvidia-smi says {said[:80]}")
        except UnreadableError as problem:
            row[ERRORS_KEY] = {"state": str(problem), "speed_gbs": str(problem)}


def _set_all(row: Row, line: str) -> None:
    """A line about all links of a GPU at once."""
    folded = line.casefold()
    row["speed_gbs"] = None
    row["state"] = "inactive" if "all links are inactive" in folded else None
    if row["state"] is None and "not supported" not in folded:
        row[ERRORS_KEY] = {"state": f"nvidia-smi says {line[:120]}"}


def _add_counters(links: Links, section: Section | None) -> None:
    """Adds the error counters to the rows; where they cannot be told, every link says so."""
    counted: dict[tuple[int, int], Row] = {}
    reason = "the probe did not run it" if section is None else ""
    if section is not None:
        reason = failure(section, section.text) if section.rc != 0 else _read_counters(section.text, counted)
    for (gpu, number), row in links.items():
        if number is None:
            continue
        counters = counted.get((gpu, number))
        if counters is not None:
            errors = {**row.pop(ERRORS_KEY, {}), **counters.pop(ERRORS_KEY, {})}
            row.update(counters)
        else:
            told = reason or ("no counters of this link" if row["state"] == "active" else "")
            row["replay_errors"] = row["recovery_errors"] = row["crc_errors"] = None
            errors = row.pop(ERRORS_KEY, {})
            if told:
                errors |= dict.fromkeys(("replay_errors", "recovery_errors", "crc_errors"), f"{ERRORS}: {told}")
        if errors:
            row[ERRORS_KEY] = errors


def _read_counters(text: str, counted: dict[tuple[int, int], Row]) -> str:
    """Fills `counted`; returns why it cannot be believed, or nothing."""
    gpu: int | None = None
    for line in map(str.strip, text.split("\n")):
        heading = _GPU.fullmatch(line)
        if heading is not None:
            gpu = int(heading[1])
            continue
        match = _LINK.fullmatch(line)
        if match is None or gpu is None:
            continue
        label, colon, said = match[2].rpartition(":")
        key = label.strip().casefold()
        if not colon or (key not in _COUNTERS and key not in _BIT_ERROR_RATES):
            continue
        if len(counted) > MAX_LINKS:
            return f"more than {MAX_LINKS} links"
        _set_counter(counted.setdefault((gpu, int(match[1])), {}), key, said.strip())
    return "" if gpu is not None else "nothing was printed"


def _set_counter(row: Row, key: str, said: str) -> None:
    name = _COUNTERS.get(key) or _BIT_ERROR_RATES[key]
    try:
        text = stated(said)
        if text is None:
            row[name] = None
        elif key in _COUNTERS:
            row[name] = _count(text)
        elif _RATE.fullmatch(text):
            row[name] = float(text)
        else:
            raise UnreadableError(f"expected an error rate, found {text[:40]!r}")
    except UnreadableError as problem:
        row[name] = None
        row.setdefault(ERRORS_KEY, {})[name] = str(problem)


SOURCES = {SOURCE: parse_nvlink}
