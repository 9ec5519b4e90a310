"""The types that a check may declare (`as:`), how a value is read as one, and how two of them are ordered.

A type is declared, never guessed. A value that cannot be read as its type raises `UnreadableError`, which the
operators turn into `unknown`: it never becomes a pass, a fail or a crash.

    TYPES["version"].read("570.86.15")   # a key that can be compared and hashed
    TYPES["bytes"].read("1G")            # 1073741824
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any

UNLIMITED = (1 << 63) - 1
"""What a limit that is "unlimited" is as a number (RLIM_INFINITY and the kernel's LONG_MAX)."""

MAX_TEXT = 2048
"""Characters of one value that are matched; a kernel command line has at most 2048 (x86)."""

_MAX_VERSION = 128
_MAX_SHOWN = 160
_MAX_ITEMS = 12

_INT = re.compile(r"[+-]?[0-9]{1,20}\Z")
_HEX = re.compile(r"0[xX][0-9a-fA-F]{1,16}\Z")
_FLOAT = re.compile(r"[+-]?[0-9]{1,20}(?:\.[0-9]{0,18})?(?:[eE][+-]?[0-9]{1,2})?\Z")
_VERSION = re.compile(r"(?:[0-9]+:)?[vV]?([0-9][0-9A-Za-z.+~_-]*)\Z")
_VERSION_PART = re.compile(r"[0-9]+|[A-Za-z]+|~")
_KERNEL = re.compile(r"([0-9]{1,6}(?:\.[0-9]{1,6})+)")
_VBIOS = re.compile(r"[0-9A-Fa-f]{1,4}(?:\.[0-9A-Fa-f]{1,4})+\Z")
_BYTES = re.compile(r"([0-9]{1,20}(?:\.[0-9]{1,9})?) ?(?:([KMGTPkmgtp])(iB|i|B)?|B)?\Z")

_FACTORS: dict[str, int] = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40, "P": 1 << 50}
_TRUE = frozenset(("true", "yes", "on", "y", "1", "enabled", "enable"))
_FALSE = frozenset(("false", "no", "off", "n", "0", "disabled", "disable"))
_PRE_RELEASE = {"dev": 1, "alpha": 2, "beta": 3, "pre": 4, "preview": 4, "rc": 5}
_PRE_RELEASE_LETTER = {"a": 2, "b": 3, "c": 5}
_END = (1, 0, "")

VersionKey = tuple[tuple[int, int, str], ...]


class UnreadableError(Exception):
    """A value that is not of the type it was declared to be; the text says what it is and what was expected."""


def show(value: Any, unit: str = "") -> str:
    """A value for a person: `8`, `700 W`, `on`, `a, b and 3 more`; cut to a readable length."""
    if value is None:
        return "nothing"
    if value is True or value is False:
        return "yes" if value else "no"
    if isinstance(value, int):
        if value >= UNLIMITED:
            return "unlimited"
        return f"{value} {unit}" if unit else str(value)
    if isinstance(value, float):
        text = f"{value:.6g}"
        return f"{text} {unit}" if unit else text
    if isinstance(value, str):
        return _cut(value) if value.strip() else '""'
    if isinstance(value, (list, tuple, set, frozenset)):
        return _show_items(list(value) if not isinstance(value, (set, frozenset)) else sorted(value, key=str))
    if isinstance(value, dict):
        return _cut(", ".join(f"{key} {show(item)}" for key, item in value.items() if not str(key).startswith("_")))
    return _cut(str(value))


def _show_items(items: list[Any]) -> str:
    if not items:
        return "none"
    if isinstance(items[0], dict):
        return f"{len(items)} row" + ("s" if len(items) > 1 else "")
    shown = ", ".join(show(item) for item in items[:_MAX_ITEMS])
    return _cut(shown) + (f" and {len(items) - _MAX_ITEMS} more" if len(items) > _MAX_ITEMS else "")


def _cut(text: str) -> str:
    return text if len(text) <= _MAX_SHOWN else text[: _MAX_SHOWN - 1] + "…"


def _not(value: Any, what: str) -> UnreadableError:
    shown = f'"{_cut(value)}"' if isinstance(value, str) else show(value)
    return UnreadableError(f"{shown} is not {what}")


def read_int(value: Any) -> int:
    """An int, a float without a fraction, decimal text or 0x text."""
    if type(value) is int:
        return value
    if isinstance(value, str):
        text = value.strip()
        if _INT.match(text):
            return int(text)
        if _HEX.match(text):
            return int(text, 16)
    elif isinstance(value, float) and value.is_integer():
        return int(value)
    raise _not(value, "a whole number")


def read_float(value: Any) -> float:
    """A finite number, or decimal text of one."""
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if is_number or (isinstance(value, str) and _FLOAT.match(value.strip())):
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
        if math.isfinite(number):
            return number
    raise _not(value, "a number")


def read_text(value: Any) -> str:
    """Text; a number as it is written."""
    if type(value) is str:
        return value
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return str(value)
    raise _not(value, "text")


def read_bool(value: Any) -> bool:
    """true/false; 1/0, Y/N, yes/no, on/off and enabled/disabled as text, as drivers and the kernel write them."""
    if value is True or value is False:
        return bool(value)
    if isinstance(value, (str, int)):
        text = str(value).strip().lower()
        if text in _TRUE:
            return True
        if text in _FALSE:
            return False
    raise _not(value, "true or false")


def read_list(value: Any) -> tuple[str, ...]:
    """The items as text, in order; text is split at white space."""
    if isinstance(value, str):
        return tuple(value.split())
    if isinstance(value, (list, tuple)):
        return tuple([plain(item) for item in value])
    raise _not(value, "a list")


def plain(item: Any) -> str:
    """An item of a list as text, so that 8 and "8" are the same item.

    Raises:
        UnreadableError: it is a row or a list itself.
    """
    if isinstance(item, str):
        return item
    if isinstance(item, bool):
        return "true" if item else "false"
    if isinstance(item, (int, float)):
        return str(item)
    raise _not(item, "a plain value")


def read_bytes(value: Any) -> int:
    """Bytes: a number, or text with K M G T P, each 1024 times the one before (KiB, Ki, K and the kernel's kB).

    MB, GB, TB are refused: some mean 1000, some 1024 by it.
    """
    if type(value) is int and value >= 0:
        return value
    found = _BYTES.match(value.strip()) if isinstance(value, str) else None
    if found is None:
        raise _not(value, "a size such as 512M or 64 GiB")
    number, letter, tail = found.groups()
    if tail == "B" and letter != "k":
        raise _not(value, f"a size: write {letter.upper()}iB for 1024, as {letter}B has two meanings")
    factor = _FACTORS[letter.upper() if letter else ""]
    return int(number) * factor if "." not in number else round(float(number) * factor)


@lru_cache(maxsize=4096)
def _version_key(text: str) -> VersionKey | None:
    found = _VERSION.match(text)
    if found is None or len(text) > _MAX_VERSION:
        return None
    parts = _VERSION_PART.findall(found.group(1))
    key = [_version_token(part, after) for part, after in zip(parts, [*parts[1:], ""], strict=True)]
    while len(key) > 1 and key[-1] == _END:
        key.pop()
    return tuple(key)


def _version_token(part: str, after: str) -> tuple[int, int, str]:
    """Orders parts so: ~ and pre-release words < end of text = 0 < other words < 1 < 2 …

    A lone a, b or c is a pre-release only before a number: 2.1.0a0 comes before 2.1.0, but 1.1.1a after 1.1.1.
    """
    if part.isdigit():
        return 1, int(part), ""
    word = part.lower()
    if word == "~":
        return 0, 0, ""
    rank = _PRE_RELEASE_LETTER.get(word) if after.isdigit() and word in _PRE_RELEASE_LETTER else _PRE_RELEASE.get(word)
    return (0, rank, "") if rank is not None else (1, 0, word)


def read_version(value: Any) -> VersionKey:
    """A version, part by part: numbers by value, `rc`, `beta`, `~` before the release, missing parts count as 0.

    An epoch (`1:580.95`) and a leading v are dropped, as the vendor's documents do not write them.
    """
    if type(value) is str or type(value) is int:
        key = _version_key(str(value).strip())
        if key is not None:
            return key
    raise _not(value, "a version")


def version_less(left: VersionKey, right: VersionKey) -> bool:
    """left < right; the shorter one is filled with zeros, so 6.8 = 6.8.0 and 6.8 < 6.8.12."""
    gap = len(left) - len(right)
    if gap > 0:
        right = right + (_END,) * gap
    elif gap < 0:
        left = left + (_END,) * -gap
    return left < right


@lru_cache(maxsize=1024)
def _kernel_key(text: str) -> VersionKey | None:
    found = _KERNEL.match(text)
    return _version_key(found.group(1)) if found else None


def read_kernel(value: Any) -> VersionKey:
    """The kernel version at the head of a release: `6.8.0-45-generic` is 6.8.0."""
    key = _kernel_key(value[:_MAX_VERSION]) if isinstance(value, str) else None
    if key is None:
        raise _not(value, "a kernel release")
    return key


def read_vbios(value: Any) -> VersionKey:
    """A VBIOS version: hexadecimal parts between dots, e.g. `96.00.BC.00.01`."""
    if not isinstance(value, str) or not _VBIOS.match(value.strip()):
        raise _not(value, "a VBIOS version")
    key = [(1, int(part, 16), "") for part in value.strip().split(".")]
    while len(key) > 1 and key[-1] == _END:
        key.pop()
    return tuple(key)


class ValueType:
    """One declared type.

    Attributes:
        name: as written after `as:`.
        what: for messages, e.g. "a version".
        read: makes a comparable, hashable key of a raw value; raises UnreadableError.
        less: the strict order of two keys; None where the type has no order.
    """

    __slots__ = ("less", "name", "read", "what")

    def __init__(
        self, name: str, what: str, read: Callable[[Any], Any], less: Callable[[Any, Any], bool] | None
    ) -> None:
        self.name = name
        self.what = what
        self.read = read
        self.less = less


TYPES: dict[str, ValueType] = {
    kind.name: kind
    for kind in (
        ValueType("int", "a whole number", read_int, operator.lt),
        ValueType("float", "a number", read_float, operator.lt),
        ValueType("version", "a version", read_version, version_less),
        ValueType("vbios", "a VBIOS version", read_vbios, version_less),
        ValueType("kernel", "a kernel release", read_kernel, version_less),
        ValueType("bytes", "a size", read_bytes, operator.lt),
        ValueType("str", "text", read_text, None),
        ValueType("bool", "true or false", read_bool, None),
        ValueType("list", "a list", read_list, None),
    )
}
