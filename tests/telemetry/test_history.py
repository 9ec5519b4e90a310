"""The rings: what goes in comes out, in order, with NaN for what is missing, and in the memory that was promised."""

from __future__ import annotations

import math
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nodectl.telemetry.fields import GPU_FIELDS, HOST_FIELDS
from nodectl.telemetry.history import COARSE_FIELDS, COARSE_STEP_S, MAX_RECENT_FLOATS, Coarse, Recent


def plain(values: object) -> list[float | None]:
    return [None if math.isnan(value) else round(value, 3) for value in values]  # type: ignore[attr-defined]


@given(
    st.lists(st.tuples(st.floats(0, 40), st.none() | st.integers(0, 1000)), min_size=1, max_size=80), st.floats(0, 300)
)
@settings(max_examples=200)
def test_coarse_is_the_mean_of_each_step(samples: list[tuple[float, int | None]], later: float) -> None:
    steps = 6
    ring = Coarse(2, (1,), steps=steps)
    at = 0.0
    by_step: dict[int, list[int]] = {}
    for pause, value in samples:
        at += pause
        ring.add([[7.0, 99.0], [None, value]], at)
        by_step.setdefault(int(at // COARSE_STEP_S), []).extend([] if value is None else [value])
    now = int((at + later) // COARSE_STEP_S)
    wanted = [
        sum(kept) / len(kept) if (kept := by_step.get(step)) else math.nan for step in range(now - steps + 1, now + 1)
    ]
    assert list(ring.values(1, 1, at + later)) == pytest.approx(wanted, rel=1e-5, nan_ok=True)


def test_a_lost_gpu_leaves_gaps_and_the_others_stay_in_place() -> None:
    ring = Coarse(3, (0,), steps=4)
    for step, rows in enumerate([[[1.0], [2.0], [3.0]], [[1.0], None, [3.0]], [None, [5.0], [6.0]]]):
        ring.add(rows, 10.0 * step)
    assert [plain(ring.values(gpu, 0)) for gpu in range(3)] == [
        [None, 1.0, 1.0, None],
        [None, 2.0, None, 5.0],
        [None, 3.0, 3.0, 6.0],
    ]


def test_a_clock_that_goes_back_starts_anew() -> None:
    ring = Coarse(1, (0,), steps=3)
    for at in (100.0, 110.0, 120.0, 50.0):
        ring.add([[at]], at)
    assert plain(ring.values(0, 0)) == [None, None, 50.0]


@given(st.integers(1, 40), st.integers(1, 4))
def test_recent_keeps_the_last_samples_whole(samples: int, gpus: int) -> None:
    ring = Recent(gpus, 3, 2, interval_s=60.0)  # ten minutes: ten samples
    for number in range(samples):
        rows = [None if gpu == 1 else [number, None, number + gpu] for gpu in range(gpus)]
        ring.add(rows, [None, number], float(number))
    kept = [float(number) for number in range(samples)][-10:]
    times, values = ring.row_values(0, 0)
    assert (list(times), list(values)) == (kept, kept)
    assert plain(ring.row_values(0, 1)[1]) == [None] * len(kept)
    assert plain(ring.row_values(gpus - 1, 2)[1]) == (
        [None] * len(kept) if gpus == 2 else [number + gpus - 1 for number in kept]
    )
    assert list(ring.other_values(1)[1]) == kept


def test_recent_refuses_rows_of_other_devices_and_places_that_are_not() -> None:
    ring = Recent(1, 2, 0, 1.0)
    ring.add([[1.0, 2.0], [3.0, 4.0]], [], 0.0)
    assert list(ring.row_values(0, 0)[0]) == []
    assert list(ring.row_values(5, 0)[1]) == []


def test_recent_is_bounded_whatever_the_node_says() -> None:
    ring = Recent(256, len(GPU_FIELDS), len(HOST_FIELDS), interval_s=0.001)
    assert len(ring._data) <= MAX_RECENT_FLOATS
    assert len(Recent(8, len(GPU_FIELDS), len(HOST_FIELDS), 0.1)._times) == 6000


def test_values_beyond_a_float_do_not_raise() -> None:
    ring, recent = Coarse(1, (0,)), Recent(1, 1, 0, 1.0)
    for at in (0.0, 20.0):
        ring.add([[1e308]], at)
        ring.add([[1e308]], at)
        recent.add([[-1e308]], [], at)
    assert ring.values(0, 0)[-1] == math.inf
    assert recent.row_values(0, 0)[1][-1] == -math.inf


def test_coarse_history_of_16_000_gpus_is_5_mib_a_field() -> None:
    """As large as arrays can be: 83 MiB of deques hold two fields."""
    tracemalloc.start()
    rings = [Coarse(8, range(len(COARSE_FIELDS))) for _ in range(2000)]
    for ring in rings:
        for at in (0.0, 10.0, 20.0):
            ring.add([[50.5, 612.25, 61.125]] * 8, at)
    used = tracemalloc.get_traced_memory()[0] / 2**20
    tracemalloc.stop()
    assert used < 5.0 * len(COARSE_FIELDS)
