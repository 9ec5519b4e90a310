"""Where each value of a line belongs: the order of a stream's fields against the order in which they are kept."""

from __future__ import annotations

import functools
from collections.abc import Sequence

from nodectl.telemetry.fields import FAST, GPU_FIELDS, HOST_FIELDS, SLOW, Field
from nodectl.telemetry.messages import Hello

Row = list[float | None]


class Placement:
    """Puts the values of one beat into a whole row.

    Args:
        names: the names of the values in a line, in their order; unknown ones are left out.
        fields: all fields of a row. beat: whose values these are.
    """

    __slots__ = ("_blank", "_own", "_places", "_plain", "_start", "_stop")

    def __init__(self, names: Sequence[str], fields: Sequence[Field], beat: str) -> None:
        where = {field.name: at for at, field in enumerate(fields)}
        self._places = [where.get(name, -1) for name in names]
        self._blank: Row = [None] * len(fields)
        own = [at for at, field in enumerate(fields) if field.beat == beat]
        self._start, self._stop = (own[0], own[-1] + 1) if own else (0, 0)
        # What nearly every stream has: the fields of this beat, all of them, and in our order.
        self._plain = self._places == own == list(range(self._start, self._stop))

    def merged(self, values: Row, row: Row | None) -> Row:
        """A new row: these values, and what `row` has of the other beat. `row` is not changed."""
        if row is None:
            row = self._blank
        if self._plain and len(values) == self._stop - self._start:
            return row[: self._start] + values + row[self._stop :]
        new = list(row)
        for at in self._places:
            if at >= 0:
                new[at] = None  # a line that is too short says nothing of the rest
        for at, value in zip(self._places, values, strict=False):
            if at >= 0:
                new[at] = value
        return new


class Layout:
    """The placements of one stream's four kinds of values: names of the fast and the slow ones, empty for ours."""

    __slots__ = ("gpu_fast", "gpu_slow", "host_fast", "host_slow")

    def __init__(
        self, gpu_fast: Sequence[str], gpu_slow: Sequence[str], host_fast: Sequence[str], host_slow: Sequence[str]
    ) -> None:
        gpu_fast, gpu_slow = _names(gpu_fast, gpu_slow, GPU_FIELDS)
        host_fast, host_slow = _names(host_fast, host_slow, HOST_FIELDS)
        self.gpu_fast = Placement(gpu_fast, GPU_FIELDS, FAST)
        self.gpu_slow = Placement(gpu_slow, GPU_FIELDS, SLOW)
        self.host_fast = Placement(host_fast, HOST_FIELDS, FAST)
        self.host_slow = Placement(host_slow, HOST_FIELDS, SLOW)


_layout = functools.lru_cache(maxsize=32)(Layout)  # the streams of a fleet are of a few kinds at most


def layout_of(hello: Hello) -> Layout:
    return _layout(hello.gpu_fields, hello.gpu_slow_fields, hello.host_fields, hello.host_slow_fields)


def field_names(fields: Sequence[Field], beat: str) -> tuple[str, ...]:
    """The names of a beat's fields, in order."""
    return tuple(field.name for field in fields if field.beat == beat)


def _names(fast: Sequence[str], slow: Sequence[str], fields: Sequence[Field]) -> tuple[Sequence[str], Sequence[str]]:
    """The names on a tick and on the slow beat.

    A hello that names only one list, with fields of both beats in it, gives the order of both: ticks carry the slow
    ones no more than they always did.
    """
    if not fast and not slow:
        return field_names(fields, FAST), field_names(fields, SLOW)
    slow_ones = set(field_names(fields, SLOW))
    if not slow:
        slow = [name for name in fast if name in slow_ones] or field_names(fields, SLOW)
        fast = [name for name in fast if name not in slow_ones]
    return fast or field_names(fields, FAST), slow
