"""What amd-smi, rocm-smi and amdgpu's files print, as values.

One thing is printed in several ways: `750`, `"750 W"`, `{"value": 750, "unit": "W"}`, `"N/A"`. What is not there is
None; what cannot be read is an UnreadableError, which becomes the error of one field.
"""

from __future__ import annotations

import json
import re
from typing import Any

from nodectl.facts.conform import ERRORS_KEY
from nodectl.facts.reading import Row

_NOT_THERE = ("", "n/a", "na", "none", "not supported", "unknown", "not available")
_NUMBER = re.compile(r"(-?\d{1,18}(?:\.\d{1,9})?) ?(?:°?[A-Za-z%/]{0,6})")
_MAX_TEXT = 200
_BDF = re.compile(r"(?:([0-9a-f]{4,8}):)?([0-9a-f]{2}):([0-9a-f]{2})\.([0-7])")
# The largest number that a counter or a size can be; more is a field that the firmware left at all ones.
_ALL_ONES = (0xFFFF, 0xFFFFFFFF, 0xFFFFFFFFFFFFFFFF)


class UnreadableError(ValueError):
    """A field that holds something else than what it should."""


def bare(value: Any) -> Any:
    """`{"value": 750, "unit": "W"}` -> 750; everything else as it is."""
    return value.get("value") if isinstance(value, dict) and "value" in value else value


def number(value: Any) -> float | None:
    """A number with or without its unit.

    Raises:
        UnreadableError: something else.
    """
    value = bare(value)
    if value is None:
        return None
    if type(value) in (int, float):
        return None if value in _ALL_ONES else float(value)
    if not isinstance(value, str):
        raise UnreadableError(f"no number: {value!r:.60}")
    text = value.strip()
    if text.casefold() in _NOT_THERE or text.casefold().startswith("n/a"):
        return None
    match = _NUMBER.fullmatch(text)
    if match is None:
        raise UnreadableError(f"no number: {text!r:.60}")
    return None if float(match[1]) in _ALL_ONES else float(match[1])


def whole(value: Any) -> int | None:
    found = number(value)
    return None if found is None else round(found)


def count(value: Any) -> int | None:
    """A count.

    Raises:
        UnreadableError: no whole number, or less than nothing.
    """
    found = number(value)
    if found is None:
        return None
    if found < 0 or found != int(found):
        raise UnreadableError(f"no count: {found!r}")
    return int(found)


def text(value: Any) -> str | None:
    """One line of text.

    Raises:
        UnreadableError: something else, or more than that.
    """
    value = bare(value)
    if value is None:
        return None
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str) or len(value) > _MAX_TEXT or "\n" in value.strip():
        raise UnreadableError(f"no text: {value!r:.60}")
    stripped = value.strip()
    return None if stripped.casefold() in _NOT_THERE else stripped


def pci_address(value: Any) -> str | None:
    """`0000:1E:00.0`, `1e:00.0` -> `0000:1e:00.0`; None for anything else."""
    if not isinstance(value, str):
        return None
    match = _BDF.fullmatch(value.strip().casefold())
    return f"{(match[1] or '0000')[-4:]}:{match[2]}:{match[3]}.{match[4]}" if match else None


def pci_id(uevent: str) -> str | None:
    """vendor:device out of a device's `uevent` file: `PCI_ID=1002:74A1` -> `1002:74a1`."""
    match = re.search(r"^PCI_ID=([0-9A-Fa-f]{4}:[0-9A-Fa-f]{4})$", uevent, re.MULTILINE)
    return match[1].lower() if match else None


_GENERATIONS = {2.5: 1, 5.0: 2, 8.0: 3, 16.0: 4, 32.0: 5, 64.0: 6}


def pcie_generation(value: Any) -> int | None:
    """The PCIe generation of a speed: `32.0 GT/s PCIe`, `32 GT/s`, 32 -> 5; `Unknown` -> None.

    Raises:
        UnreadableError: no speed.
    """
    if isinstance(value, str):
        value = value.strip().removesuffix("PCIe").strip()
    speed = number(value)
    if speed is None:
        return None
    if speed not in _GENERATIONS:
        raise UnreadableError(f"no PCIe speed: {speed}")
    return _GENERATIONS[speed]


def json_after_warnings(said: str) -> Any:
    """The JSON document in what a tool printed, past warnings that stand before it.

    Raises:
        UnreadableError: there is none, or it was cut.
    """
    match = re.search(r"^[\[{]", said, re.MULTILINE)
    if match is None:
        raise UnreadableError("it printed no JSON")
    try:
        return json.JSONDecoder().raw_decode(said[match.start() :])[0]
    except (ValueError, RecursionError) as problem:
        raise UnreadableError(f"its JSON cannot be read ({str(problem)[:100]})") from None


def records(document: Any, *names: str) -> list[dict[str, Any]]:
    """The records of a reply: a list, or a list under a name (`gpu_data` since ROCm 7); other things give none."""
    for name in ("gpu_data", *names):
        if isinstance(document, dict) and name in document:
            document = document[name]
    if isinstance(document, dict):
        document = [document]
    return [record for record in document if isinstance(record, dict)] if isinstance(document, list) else []


def at(record: Any, *path: str) -> Any:
    """The value at a path of nested records; None where a step is missing or no record."""
    for step in path:
        if not isinstance(record, dict):
            return None
        record = record.get(step)
    return record


def over(row: Row, more: Row) -> Row:
    """A row, with another's fields where it has none. An error stands only where neither has a value."""
    errors = {**more.get(ERRORS_KEY, {}), **row.get(ERRORS_KEY, {})}
    merged = {**more, **{name: value for name, value in row.items() if value is not None or name not in more}}
    merged.pop(ERRORS_KEY, None)
    left = {name: text for name, text in errors.items() if merged.get(name) is None}
    if left:
        merged[ERRORS_KEY] = left
    return merged
