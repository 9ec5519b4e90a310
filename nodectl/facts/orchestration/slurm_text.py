"""How Slurm writes things down: host lists, GRES, and what `scontrol show node` prints."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

_PIECE = re.compile(r"(?:[^,\[\]]|\[[^\[\]]{0,4000}\])+")
_GROUP = re.compile(r"\[([^\[\]]{0,4000})\]")
_RANGE = re.compile(r"(\d{1,9})(?:-(\d{1,9}))?")
_KEY = re.compile(r"(?:^|(?<=\s))([A-Za-z][A-Za-z_]{0,40})=")
_PARTS = re.compile(r"(?:[^,()]|\([^()]{0,2000}\))+")
_TO_THE_END = ("Reason=", "Comment=", "Extra=", "OS=")
_MULTIPLES = {"": 1, "K": 1024, "M": 1024**2, "G": 1024**3}
# The sign behind a state, as sinfo(1) explains them.
_SIGNS = {
    "*": "NOT_RESPONDING",
    "~": "POWERED_DOWN",
    "#": "POWERING_UP",
    "!": "POWER_DOWN",
    "%": "POWERING_DOWN",
    "$": "MAINT",
    "@": "REBOOT_REQUESTED",
    "^": "REBOOT_ISSUED",
    "-": "PLANNED",
}


def _ranges(text: str) -> Iterator[tuple[int, int, int]]:
    """(first, last, width) of `01-64,70`. A width of 0: no leading zeros."""
    for part in text.split(","):
        match = _RANGE.fullmatch(part.strip())
        if match:
            first, last = int(match[1]), int(match[2] or match[1])
            yield first, last, len(match[1]) if match[1].startswith("0") else 0


def names_host(spec: str, host: str) -> bool:
    """Whether a host list (`gpu[01-64],login`) names a host. Nothing is unfolded: a list may name millions."""
    return any(_piece_names(piece.strip(), host) for piece in _PIECE.findall(spec))


def _piece_names(piece: str, host: str) -> bool:
    groups = [match[1] for match in _GROUP.finditer(piece)]
    if len(groups) > 4:
        return False
    pattern = r"(\d{1,9})".join(re.escape(part) for part in _GROUP.sub("\0", piece).split("\0"))
    match = re.fullmatch(pattern, host)
    if not match:
        return False
    return all(_holds(group, digits) for group, digits in zip(groups, match.groups(), strict=True))


def _holds(group: str, digits: str) -> bool:
    number = int(digits)
    return any(
        first <= number <= last and (len(digits) == width if width else not digits.startswith("0") or digits == "0")
        for first, last, width in _ranges(group)
    )


def count_names(spec: str) -> int:
    """How many names `/dev/nvidia[0-3,6],/dev/nvidia8` stands for."""
    total = 0
    for piece in _PIECE.findall(spec):
        size = 1
        for match in _GROUP.finditer(piece):
            size *= sum(max(last - first + 1, 0) for first, last, _ in _ranges(match[1]))
        total += size
    return total


def gpus_of(gres: str) -> int:
    """GPUs in a GRES text: 8 of `gpu:h200:8(S:0-1),shard:64`; 0 of `(null)`.

    Raises:
        ValueError: the number cannot be read.
    """
    total = 0
    for part in _PARTS.findall(gres):
        words = part.strip().partition("(")[0].split(":")
        if words[0].lower() != "gpu":
            continue
        match = re.fullmatch(r"(\d{1,9})([KMG]?)", words[-1], re.IGNORECASE) if len(words) > 1 else None
        if match:
            total += int(match[1]) * _MULTIPLES[match[2].upper()]
        elif len(words) <= 2:
            total += 1
        else:
            raise ValueError(f"no number of GPUs in {part.strip()!r:.60}")
    return total


def values_of(text: str) -> dict[str, str]:
    """`Key=Value` pairs of one node as scontrol prints it, over several lines or on one."""
    values: dict[str, str] = {}
    for line in text.splitlines():
        stripped = line.strip()
        if stripped.startswith(_TO_THE_END):
            key, _, rest = stripped.partition("=")
            values.setdefault(key, rest.strip())
            continue
        found = list(_KEY.finditer(stripped))
        for at, match in enumerate(found):
            end = found[at + 1].start() if at + 1 < len(found) else len(stripped)
            values.setdefault(match[1], stripped[match.end() : end].strip())
    return values


def node_row(text: str) -> dict[str, Any] | None:
    """The row of `slurm.node` from what scontrol printed; None when that describes no node."""
    values = values_of(text)
    if "NodeName" not in values or not values.get("State"):
        return None
    first, *more = values["State"].upper().split("+")
    flags = []
    words = []
    for word in (first, *more):
        bare = word.rstrip("".join(_SIGNS))
        flags += [_SIGNS[sign] for sign in word[len(bare) :]]
        words.append(bare)
    row: dict[str, Any] = {
        "name": values["NodeName"],
        "state": words[0],
        "flags": sorted({*words[1:], *flags} - {""}),
        "reason": values.get("Reason") or None,
        "version": values.get("Version") or None,
        "real_memory_mib": _number(values.get("RealMemory")),
    }
    errors = {}
    for field, key in (("gpus", "Gres"), ("gpus_used", "GresUsed")):
        try:
            row[field] = gpus_of(values[key]) if key in values else None
        except ValueError as problem:
            errors[field] = str(problem)
    return {**row, "_errors": errors} if errors else row


def _number(text: str | None) -> int | None:
    return int(text) if text and re.fullmatch(r"\d{1,15}", text) else None
