"""Node sets, `gpu[001-128,130],login`: unfolding through ClusterShell's NodeSet, and folding for reports.

Unfolding takes ClusterShell's syntax: ranges with steps `[0-10/2]`, several brackets `r[1-4]n[1-16]`, and its operators
`!` (without), `&` (both), `^` (either, not both). Its own node groups (`@group`) are not asked.

Folding is done here: NodeSet needs 25 us a name, and 0.2 ms where names have several numbers (2,000 addresses:
0.45 s), which is too slow for a report that folds once per finding. This one takes 3 to 5 us; what it writes,
NodeSet reads back as the same names (a property test).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from nodectl.inventory.errors import InventoryError, visible

MAX_NODES = 100_000
"""Ten times the largest clusters; what asks for more is a typing mistake, and would eat memory before saying so."""

MAX_TEXT = 4 << 20
"""Characters of a node set: enough for `MAX_NODES` names written out."""

_MAX_SHOWN = 80
_FOLDABLE = re.compile(r"[A-Za-z0-9._-]{1,255}\Z")
_NUMBERS = re.compile(r"([0-9]+)")
_OUTSIDE = re.compile(r"[A-Za-z0-9._-]*\Z")
_RANGE = re.compile(r"([0-9]{1,18})(?:-([0-9]{1,18})(?:/([1-9][0-9]{0,17}))?)?\Z")
_OPERATORS = re.compile(r"[!&^]")


def split(text: str) -> list[str]:
    """The comma-separated parts of a text; commas in brackets do not part. Empty parts are left out.

    Raises:
        InventoryError: a bracket has no other half.
    """
    parts, depth, start = [], 0, 0
    for index, char in enumerate(text):
        if char == "[":
            depth += 1
        elif char == "]":
            depth -= 1
        elif char == "," and depth == 0:
            parts.append(text[start:index])
            start = index + 1
        if depth not in (0, 1):
            raise InventoryError(f"{_short(text)}: the brackets do not match; a node set is like gpu[001-128],login")
    if depth:
        raise InventoryError(f"{_short(text)}: a bracket is not closed; a node set is like gpu[001-128],login")
    parts.append(text[start:])
    return [part.strip() for part in parts if part.strip()]


def expand(text: str) -> list[str]:
    """The names of a node set, in the order of its parts, each once.

    Raises:
        InventoryError: it is no node set, or has more than `MAX_NODES` names.
    """
    if len(text) > MAX_TEXT:
        raise InventoryError(f"a node set of {len(text)} characters: at most {MAX_TEXT} are read")
    parts = split(text)
    _check_size(text, parts)
    if any(_OPERATORS.search(part) for part in parts):
        return _with_nodeset(",".join(parts))
    names: dict[str, None] = {}
    for part in parts:
        if "[" in part:
            names.update(dict.fromkeys(_with_nodeset(part)))
        elif re.search(r"\s", part):
            raise InventoryError(f"{_short(part)}: a space in a host name; part names with commas")
        else:
            names[part] = None
    return list(names)


def fold(names: Iterable[str]) -> str:
    """Names as short text: `gpu[001-003,017],login`. For people: never raises, whatever the names are.

    Names that a node set cannot say (spaces, brackets, control characters) are written as they are, with control
    characters made visible. Names are sorted; a name given twice is written once.
    """
    plain: list[tuple[str, ...]] = []
    odd: list[str] = []
    for name in dict.fromkeys(names):
        if _FOLDABLE.match(name):
            plain.append(tuple(_NUMBERS.split(name)))
        else:
            odd.append(visible(name))
    return ",".join([*_folded(plain), *sorted(odd)])


def natural_key(name: str) -> list[tuple[int, str, str]]:
    """A key that sorts `gpu9` before `gpu10`; for any text, however long its numbers."""
    parts = _NUMBERS.split(name)
    return [
        (len(digits := part.lstrip("0")), digits, part) if index % 2 else (-1, part, "")
        for index, part in enumerate(parts)
    ]


def _folded(names: list[tuple[str, ...]]) -> list[str]:
    """Node set parts of names cut at their numbers (every second element is a number)."""
    by_shape: dict[tuple[str, ...], list[tuple[str, ...]]] = {}
    for name in sorted(names, key=_cut_key):
        by_shape.setdefault(name[::2], []).append(name)
    parts: list[str] = []
    for group in by_shape.values():
        folded = group
        for axis in range(len(group[0]) - 2, 0, -2):
            alike: dict[tuple[str, ...], list[str]] = {}
            for name in folded:
                alike.setdefault(name[:axis] + name[axis + 1 :], []).append(name[axis])
            folded = [(*rest[:axis], _ranges(numbers), *rest[axis:]) for rest, numbers in alike.items()]
        parts.extend("".join(name) for name in folded)
    return parts


def _cut_key(name: tuple[str, ...]) -> list[tuple[int, str]]:
    return [(int(part), part) if index % 2 else (-1, part) for index, part in enumerate(name)]


def _ranges(numbers: list[str]) -> str:
    """`[1-3,7]` of numbers as text, or the number itself when there is one.

    Numbers of one width are padded ones when any of them has a leading zero (08, 09, 10); a run never mixes the two.
    """
    if len(numbers) == 1:
        return numbers[0]
    padded_widths = {len(number) for number in numbers if number[0] == "0" and len(number) > 1}
    kinds: dict[int, list[int]] = {}
    for number in numbers:
        width = len(number) if len(number) in padded_widths else 0
        kinds.setdefault(width, []).append(int(number))
    return "[" + ",".join(run for width in sorted(kinds) for run in _runs(sorted(kinds[width]), width)) + "]"


def _runs(numbers: list[int], width: int) -> Iterator[str]:
    """`1-3` and `7` of sorted numbers, each padded to a width (0: as it is)."""
    start = previous = numbers[0]
    for number in [*numbers[1:], -1]:
        if number == previous + 1:
            previous = number
            continue
        first = str(start).zfill(width)
        yield first if start == previous else f"{first}-{str(previous).zfill(width)}"
        start = previous = number


def _check_size(text: str, parts: list[str]) -> None:
    """Refuse what would be too many names before anything is built of it, and brackets that hold no ranges."""
    total = 0
    for part in parts:
        for one in _OPERATORS.split(part):
            total += _size(one)
            if total > MAX_NODES:
                raise InventoryError(f"{_short(text)}: more than {MAX_NODES} names")


def _size(part: str) -> int:
    """How many names one part stands for."""
    pieces = re.split(r"[\[\]]", part)
    size = 1
    for index, piece in enumerate(pieces):
        if index % 2:
            size *= sum(_range_size(one, part) for one in piece.split(","))
        elif len(pieces) > 1 and not _OUTSIDE.match(piece):
            bad = next(char for char in piece if not _OUTSIDE.match(char))
            raise InventoryError(f"{_short(part)}: {_short(bad)} cannot stand in a node set")
        elif 0 < index < len(pieces) - 1 and not piece:
            raise InventoryError(f"{_short(part)}: two brackets with nothing between them")
    return size


def _range_size(text: str, part: str) -> int:
    """How many numbers `1-128/2` stands for."""
    match = _RANGE.match(text.strip())
    if not match:
        raise InventoryError(f"{_short(part)}: [{text}] is no range of numbers; a node set is like gpu[001-128,130]")
    first, last, step = match.groups()
    if last is None:
        return 1
    if int(last) < int(first):
        raise InventoryError(f"{_short(part)}: the range {first}-{last} runs backwards")
    if len(first) != len(last) and any(len(number) > 1 and number[0] == "0" for number in (first, last)):
        width = max(len(first), len(last))
        wanted = f"{first.zfill(width)}-{last.zfill(width)}"
        raise InventoryError(f"{_short(part)}: {first}-{last} pads its numbers unevenly; write {wanted}")
    return (int(last) - int(first)) // int(step or 1) + 1


def _with_nodeset(text: str) -> list[str]:
    from ClusterShell.NodeSet import RESOLVER_NOGROUP, NodeSet, NodeSetException

    try:
        return [str(name) for name in NodeSet(text, resolver=RESOLVER_NOGROUP)]
    except NodeSetException as problem:
        raise InventoryError(f"{_short(text)}: not a node set: {problem}") from None


def _short(text: str) -> str:
    return text if len(text) <= _MAX_SHOWN else text[:_MAX_SHOWN] + "…"
