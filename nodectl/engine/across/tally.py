"""Who has which value, and who stands out. Knows neither facts nor nodes: values are counted, nodes are numbers.

Values are told apart by equality, or (numbers) by their distance from the median: an outlier is further away than
`OUTLIER_MADS` scaled median absolute deviations, and further than a relative tolerance, which is what is left where
more than half are exactly alike (a MAD of 0). The factor 1.4826 makes of the MAD what the standard deviation is of a
normal distribution; 3.5 is the usual cut of the modified z-score (Iglewicz and Hoaglin, 1993).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from nodectl.engine.across.values import Key

MIN_GROUP = 4  # nodes without which there is no majority to speak of
CLEAR_MAJORITY = (2, 3)  # of the nodes that could be told
OUTLIER_MADS = 3.5
MAX_DISTINCT = 64  # a fact with more values among nodes of one kind differs by nature
TOLERANCE = 0.02
_MAD_SCALE = 1.4826


class Value(NamedTuple):
    """A value (None: absent) and who has it."""

    key: Key
    nodes: list[int]


class Split(NamedTuple):
    """How the nodes are divided over a fact that they do not all agree on.

    `majority` is None where there is no clear one; then `others` are all the values, the most frequent first.
    """

    majority: Value | None
    others: list[Value]


class Tally:
    """Values as they come in."""

    __slots__ = ("by_nature", "told", "untold", "values")

    def __init__(self) -> None:
        self.values: dict[Key, list[int]] = {}
        self.told = 0
        self.untold = 0
        self.by_nature = False

    def add(self, key: Key, node: int, most: int = MAX_DISTINCT) -> None:
        """Counts a node; with more than `most` values, only that there are too many of them is kept."""
        self.told += 1
        nodes = self.values.get(key)
        if nodes is not None:
            nodes.append(node)
        elif self.by_nature or len(self.values) >= most:
            self.by_nature = True
            self.values.clear()
        else:
            self.values[key] = [node]

    def split(self, *, number: bool = False, tolerance: float = TOLERANCE) -> Split | None:
        """Who differs; None where all agree, too few could be told, or no two nodes have the same."""
        if self.told < MIN_GROUP or len(self.values) < 2:
            return None
        values = [Value(key, sorted(nodes)) for key, nodes in self.values.items()]
        if number:
            values = _clusters(values, tolerance)
        elif len(values) == self.told:
            return None
        values.sort(key=lambda value: (-len(value.nodes), value.key is None, str(value.key)))
        if len(values) < 2:
            return None
        of, all_of = CLEAR_MAJORITY
        if all_of * len(values[0].nodes) >= of * self.told:
            return Split(values[0], values[1:])
        return Split(None, values)


def median(ordered: Sequence[float]) -> float:
    """Of a sorted sequence that is not empty."""
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2


def _clusters(values: Iterable[Value], tolerance: float) -> list[Value]:
    """Numbers that are alike as one value: those around the median first, then each lump of outliers."""
    absent = [value for value in values if value.key is None]
    ordered = sorted((value for value in values if value.key is not None), key=lambda value: value.key)
    every = [value.key for value in ordered for _ in value.nodes]
    if not every:
        return absent
    middle = median(every)
    mad = median(sorted(abs(number - middle) for number in every))
    least = tolerance * abs(middle)
    reach = max(OUTLIER_MADS * _MAD_SCALE * mad, least)
    near = [value for value in ordered if abs(value.key - middle) <= reach]
    far = [value for value in ordered if abs(value.key - middle) > reach]
    lumps = _lumps(near, least)
    if all(3 * sum(len(value.nodes) for value in lump) < len(every) for lump in lumps[1:]):
        lumps = [near]  # one broad cloud, not several camps
    return [_merged(lump) for lump in (*lumps, *_lumps(far, least)) if lump] + absent


def _lumps(ordered: Sequence[Value], gap: float) -> list[list[Value]]:
    """Sorted values, parted where two neighbours are further apart than `gap`; the largest lump first."""
    lumps: list[list[Value]] = []
    for value in ordered:
        if lumps and value.key - lumps[-1][-1].key <= gap:
            lumps[-1].append(value)
        else:
            lumps.append([value])
    return sorted(lumps, key=lambda lump: -sum(len(value.nodes) for value in lump))


def _merged(lump: Sequence[Value]) -> Value:
    """One value for a lump: its median, if that is a number that somebody has, else the nearest such."""
    every = [value.key for value in lump for _ in value.nodes]
    return Value(every[len(every) // 2], sorted(node for value in lump for node in value.nodes))
