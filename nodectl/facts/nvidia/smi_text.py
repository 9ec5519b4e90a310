"""What the texts that nvidia-smi prints for one field mean: a value, "the device has none", or "could not be read".

nvidia-smi never leaves a field out because of a fault: it prints a marker in its place. The markers fall in two groups
that must not be mixed up. `N/A` says that the device has no such thing. `[Unknown Error]`, `ERR!`, `[GPU is lost]` say
that the device, or the driver, did not answer.

Markers as printed by nvidia-smi of drivers 450 to 595 (NVML return texts, in brackets or bare).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

NO_SUCH_THING = frozenset(
    {
        "n/a",
        "not supported",
        "not available",
        "requested functionality has been deprecated",
    }
)
NOT_ANSWERED = frozenset(
    {
        "unknown error",
        "err!",
        "gpu is lost",
        "gpu requires reset",
        "gpu access blocked",
        "insufficient permissions",
        "no permission",
        "function not found",
        "driver not loaded",
    }
)

_MAX_TEXT = 256
_INTEGER = re.compile(r"-?[0-9]{1,20}")
_DECIMAL = re.compile(r"-?[0-9]{1,15}(\.[0-9]{1,9})?")
_PCI_ADDRESS = re.compile(r"(?:([0-9A-Fa-f]{1,8}):)?([0-9A-Fa-f]{2}):([0-9A-Fa-f]{2})\.([0-7])")
_HEX_ID = re.compile(r"(?:0[xX])?([0-9A-Fa-f]{4})([0-9A-Fa-f]{4})")
_VERSION = re.compile(r"[0-9]{1,6}(\.[0-9A-Za-z]{1,12}){1,6}")
_UUID = re.compile(r"(GPU|MIG)-[0-9A-Za-z/-]{4,80}")
_PSTATE = re.compile(r"P[0-9]{1,2}")
_DIGITS = frozenset("0123456789")
_TRUE = frozenset({"Enabled", "Yes", "Active", "On", "True", "enabled", "yes", "active", "on", "true"})
_FALSE = frozenset({"Disabled", "No", "Not Active", "Off", "False", "disabled", "no", "not active", "off", "false"})


class UnreadableError(ValueError):
    """The device or the driver did not say what the field's value is. The text says why."""


def stated(text: str) -> str | None:
    """Sort one printed text.

    Returns:
        the text itself, or None where it says that the device has no such thing.

    Raises:
        UnreadableError: the text stands for a failure, or nothing was printed at all.
    """
    if text[:1] in _DIGITS:  # nearly every value; none of the words that stand for no value begins so
        return text
    key = text.casefold()
    if text.startswith("[") and text.endswith("]"):
        key = key[1:-1].strip()
        if key not in NO_SUCH_THING:
            raise UnreadableError(failure_text(text[1:-1]))
        return None
    if key in NO_SUCH_THING:
        return None
    if key in NOT_ANSWERED:
        raise UnreadableError(failure_text(text))
    if not text:
        raise UnreadableError("nvidia-smi printed nothing here")
    return text


def failure_text(text: str) -> str:
    """The reason to keep for a field that was not answered; says "needs root" where that is what is missing."""
    text = text.strip()[:_MAX_TEXT]
    if "permission" in text.casefold():
        return f"needs root: nvidia-smi says {text}"
    return f"nvidia-smi says {text}"


def plain(text: str) -> str:
    return text[:_MAX_TEXT]


def yes_no(text: str) -> bool:
    if text in _TRUE:
        return True
    if text in _FALSE:
        return False
    raise UnreadableError(f"expected yes or no, found {text[:40]!r}")


def integer(*units: str) -> Callable[[str], int]:
    """A reader for whole numbers, followed by one of `units` or by nothing."""
    allowed = frozenset(units)

    def read(text: str) -> int:
        number, _, unit = text.partition(" ")
        if _INTEGER.fullmatch(number) is None or (unit and unit not in allowed):
            raise UnreadableError(f"expected a whole number, found {text[:40]!r}")
        return int(number)

    return read


def decimal(*units: str) -> Callable[[str], float]:
    """A reader for decimal numbers, followed by one of `units` or by nothing. Never nan or infinite."""
    allowed = frozenset(units)

    def read(text: str) -> float:
        number, _, unit = text.partition(" ")
        if _DECIMAL.fullmatch(number) is None or (unit and unit not in allowed):
            raise UnreadableError(f"expected a number, found {text[:40]!r}")
        return float(number)

    return read


def link_width(text: str) -> int:
    """`16x` (nvidia-smi) or `x16` (people) -> 16 lanes."""
    return _count(text.strip("x"))


def pci_address(text: str) -> str:
    """A PCI address as sysfs writes it, so that facts of different sources can be joined.

    `00000000:5E:00.0` -> `0000:5e:00.0`; a domain above 0xffff keeps its digits (Hyper-V and VMD have such).
    """
    match = _PCI_ADDRESS.fullmatch(text)
    if match is None:
        raise UnreadableError(f"expected a PCI address, found {text[:40]!r}")
    domain = int(match[1] or "0", 16)
    return f"{domain:04x}:{match[2]}:{match[3]}.{match[4]}".lower()


def pci_id(text: str) -> str:
    """nvidia-smi's device word `0x233510DE` (device in the high half) -> `10de:2335` (vendor:device, as lspci -n)."""
    match = _HEX_ID.fullmatch(text)
    if match is None:
        raise UnreadableError(f"expected a PCI id, found {text[:40]!r}")
    return f"{match[2]}:{match[1]}".lower()


def version(text: str) -> str:
    return _matching(_VERSION, text, "a version")


def uuid(text: str) -> str:
    return _matching(_UUID, text, "a GPU UUID")


def pstate(text: str) -> str:
    return _matching(_PSTATE, text, "a performance state")


def process_name(text: str) -> str:
    """The base name of a program. What follows the first blank is arguments, which are nobody's business.

    nvidia-smi prints the process's own idea of its name: a path, or whatever the program wrote over it.
    """
    words = text.split(None, 1)
    if not words:
        raise UnreadableError("the process has no name")
    base = words[0].replace("\\", "/").rstrip("/").rpartition("/")[2].rstrip(":")
    if not base:
        raise UnreadableError("the process has no name")
    return base[:64]


def _matching(pattern: re.Pattern[str], text: str, what: str) -> str:
    if pattern.fullmatch(text) is None:
        raise UnreadableError(f"expected {what}, found {text[:40]!r}")
    return text


_count = integer()

Reader = Callable[[str], Any]
