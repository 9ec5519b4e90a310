"""What was, in little memory: rings of `array('f')`, in which NaN is a value that is not known.

`Coarse` is kept for every GPU of every node: a few fields, the mean of each `COARSE_STEP_S`, 60 of them (10 minutes).
240 bytes a GPU and field: three fields of 16,000 GPUs are 11 MiB. `Recent` is kept for nodes that are looked at: every
sample of every field of 10 minutes.

One thread writes a ring; any other may read it meanwhile and gets a copy.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Sequence

NAN = math.nan
Row = Sequence[float | None]

COARSE_FIELDS = ("gpu_util_pct", "power_w", "temperature_c")
COARSE_STEP_S = 10.0
COARSE_STEPS = 60

RECENT_S = 600.0
MAX_RECENT_FLOATS = 2_000_000  # 8 MB a node: 10 Hz of 8 GPUs for 10 minutes are 1.5 million


class Coarse:
    """The means of a few columns of each row, step by step.

    Args:
        rows: number of rows (GPUs). columns: which values of a row are kept.
        at: seconds on any clock that does not go back; steps are counted on it.
    """

    __slots__ = ("_columns", "_counts", "_data", "_step", "_step_s", "_steps", "_sums", "_width")

    def __init__(
        self, rows: int, columns: Sequence[int], *, step_s: float = COARSE_STEP_S, steps: int = COARSE_STEPS
    ) -> None:
        self._columns = tuple(columns)
        self._width = rows * len(self._columns)
        self._step_s = step_s
        self._steps = steps
        self._data = array("f", [NAN]) * (self._width * steps)
        self._step: int | None = None
        self._sums = [0.0] * self._width
        self._counts = bytearray(self._width)

    def add(self, rows: Sequence[Row | None], at: float) -> None:
        """One sample: the values of each row, None for a row that is lost."""
        step = int(at // self._step_s)
        if step != self._step:
            self._next(step)
        sums, counts, columns = self._sums, self._counts, self._columns
        place = 0
        for row in rows:
            if row is None:
                place += len(columns)
                continue
            for column in columns:
                value = row[column]
                if value is not None and counts[place] < 255:
                    sums[place] += value
                    counts[place] += 1
                place += 1

    def values(self, row: int, column: int, at: float | None = None) -> array[float]:
        """The means of one value, oldest first, `steps` of them; the last is of the step under way.

        Args:
            column: as it was given in `columns`.
            at: now, so that what has not come since is NaN; None for the time of the last sample.
        """
        place = row * len(self._columns) + self._columns.index(column)
        step, width, steps = self._step, self._width, self._steps
        if step is None or not 0 <= place < width:
            return array("f", [NAN]) * steps
        ring = self._data[place::width]
        oldest = (step + 1) % steps
        kept = ring[oldest:] + ring[:oldest]
        kept[-1] = _mean(self._sums[place], self._counts[place])
        gone = 0 if at is None else min(max(int(at // self._step_s) - step, 0), steps)
        return kept[gone:] + array("f", [NAN]) * gone

    def _next(self, step: int) -> None:
        """Write down the step that is over, and NaN for those in which nothing came."""
        last, width, steps = self._step, self._width, self._steps
        self._step = step
        if last is None:
            return
        at = (last % steps) * width
        means = array("f", map(_mean, self._sums, self._counts))
        self._sums = [0.0] * width
        self._counts = bytearray(width)
        self._data[at : at + width] = means
        blank = array("f", [NAN]) * width
        # A clock that went back (it must not) starts the ring anew.
        first = last + 1 if last < step <= last + steps else step - steps + 1
        for missing in range(first, step + 1):
            at = (missing % steps) * width
            self._data[at : at + width] = blank


class Recent:
    """Every value of every sample of the last `RECENT_S` seconds, or of fewer where that would be too much.

    Args:
        rows, columns: number of GPUs, and of fields of each. others: number of further values (of the host).
    """

    __slots__ = ("_columns", "_count", "_data", "_others", "_rows", "_size", "_times", "_width")

    def __init__(self, rows: int, columns: int, others: int, interval_s: float) -> None:
        self._rows, self._columns, self._others = rows, columns, others
        self._width = max(rows * columns + others, 1)
        wanted = math.ceil(RECENT_S / max(interval_s, 0.01))
        self._size = max(min(wanted, MAX_RECENT_FLOATS // self._width), 1)
        self._times = array("d", [NAN]) * self._size
        self._data = array("f", [NAN]) * (self._size * self._width)
        self._count = 0

    def add(self, rows: Sequence[Row | None], others: Row, at: float) -> None:
        """One sample. Each row has `columns` values or is None, and `others` has `others`."""
        blank = (None,) * self._columns
        flat = [NAN if value is None else value for row in rows for value in (blank if row is None else row)]
        flat += [NAN if value is None else value for value in others]
        if len(flat) != self._width:
            return  # of other devices than this ring was made for
        place = self._count % self._size
        self._data[place * self._width : (place + 1) * self._width] = array("f", flat)
        self._times[place] = at
        self._count += 1

    def row_values(self, row: int, column: int) -> tuple[array[float], array[float]]:
        """Times and values of one GPU's field, oldest first."""
        return self._series(row * self._columns + column)

    def other_values(self, column: int) -> tuple[array[float], array[float]]:
        """Times and values of one of the others, oldest first."""
        return self._series(self._rows * self._columns + column)

    def _series(self, at: int) -> tuple[array[float], array[float]]:
        if not 0 <= at < self._width:
            return array("d"), array("f")
        count = self._count
        head = count % self._size
        values = self._data[at :: self._width]
        if count < self._size:
            return self._times[:count], values[:count]
        return self._times[head:] + self._times[:head], values[head:] + values[:head]


def _mean(total: float, count: int) -> float:
    return total / count if count else NAN
