"""Columns: every cell has its width, numbers stay readable, and 80 columns are enough."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodectl.view.sample_columns import (
    GPU_COLUMNS,
    NODE_COLUMNS,
    age,
    cell,
    columns_named,
    fit_columns,
    fitted,
    number,
    size,
    titles,
    watts,
)
from nodectl.view.sample_fields import ALL, FILTER_FIELDS, field_named

COLUMNS = [*NODE_COLUMNS, *GPU_COLUMNS, *columns_named((field.name for field in ALL), ())]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (size(0), "0"), (size(0.3), "307K"), (size(812), "812M"), (size(999.6), "1.0G"), (size(4198.4), "4.1G"),
        (size(319_488), "312G"), (size(1_100_000), "1.0T"), (size(20_000_000), "19T"),
        (watts(78.2), "78W"), (watts(999.6), "1.0kW"), (watts(5490), "5.5kW"), (watts(1_920_000), "1.92MW"),
        (age(3.9), "3s"), (age(99), "99s"), (age(150), "2m"), (age(20_000), "5h"), (age(2e6), "23d"),
        (number(0), "0"), (number(9999), "9999"), (number(12_000), "12k"), (number(3e6), "3M"),
    ],
)  # fmt: skip
def test_numbers(text: str, expected: str) -> None:
    assert text == expected


_value = st.one_of(
    st.none(), st.integers(0, 2**40), st.floats(0, 1e12), st.text(max_size=40), st.lists(st.text(max_size=9)).map(tuple)
)


@given(st.sampled_from(COLUMNS), st.data(), st.sampled_from(["live", "stale", "retry"]), st.integers(2, 40))
def test_a_cell_is_as_wide_as_its_column(column: Any, data: st.DataObject, state: str, wider: int) -> None:
    kind = field_named(column.name).type if column.name != "map" else "text"
    values = {"number": st.floats(0, 1e12) | st.integers(0, 2**40), "text": st.text(max_size=60)}
    value = data.draw(st.none() | values.get(kind, st.lists(st.text(max_size=9)).map(tuple)))
    row = {"state": state, column.name: value}
    for width in (column.width, wider):
        assert _cells(cell(column, row, width)[1]) == width


@pytest.mark.parametrize("name", ["gpu", "node"])
def test_characters_of_two_cells_count_as_two(name: str) -> None:
    column = next(column for column in COLUMNS if column.name == name)
    for width in (3, 4, 9):
        assert _cells(cell(column, {"state": "live", name: "\u5b57"}, width)[1]) == width


def _cells(text: str) -> int:
    from nodectl.view.sample_columns import _cells as one

    return sum(one(char) for char in text)


@given(st.text(max_size=50), st.integers(1, 60))
def test_fitted_text_has_its_width(text: str, width: int) -> None:
    assert _cells(fitted(text, width)) == width


def test_ordinary_values_are_never_too_wide() -> None:
    row = {
        "state": "stale", "gpu_util_pct": 100, "gpu_memory_pct": 100.0, "temperature_c": 110,
        "temperature_memory_c": 105,
        "power_w": 1400.0, "power_limit_w": 1400.0, "sm_clock_mhz": 2619, "memory_used_mib": 292_000,
        "ecc_uncorrectable": 999, "pcie_rx_mib_s": 128_000, "nvlink_rx_mib_s": 943_718, "load1": 999.4,
        "cpu_util_pct": 100.0, "memory_used_pct": 100.0, "pcie_gen": 6, "pcie_width": 16,
    }  # fmt: skip
    for column in (*NODE_COLUMNS, *GPU_COLUMNS):
        assert "#" not in cell(column, row, column.width)[1], column.name


def test_old_values_are_marked_and_unknown_ones_are_a_dash() -> None:
    column = next(column for column in NODE_COLUMNS if column.name == "temperature_c")
    assert cell(column, {"state": "live", "temperature_c": 71}, 6) == ("", "   71C")
    assert cell(column, {"state": "stale", "temperature_c": 71}, 6) == ("dim", "  ~71C")
    assert cell(column, {"state": "live", "temperature_c": None}, 6) == ("dim", "     -")


@pytest.mark.parametrize("columns", [NODE_COLUMNS, GPU_COLUMNS])
@pytest.mark.parametrize("width", [10, 20, 40, 60, 80, 100, 120, 160, 250])
def test_columns_fit(columns: Any, width: int) -> None:
    found = fit_columns(columns, width, {"node": 12})
    assert sum(size for _, size in found) <= width
    assert len(titles(found)) == sum(size for _, size in found)
    names = {column.name for column, _ in found}
    if width >= 80:
        assert {"node", "letter", "gpu_util_pct", "gpu_memory_pct", "temperature_c", "power_w", "note"} <= names
        assert sum(size for _, size in found) == width
    if width == 250:
        assert len(found) == len(columns)


def test_every_field_has_a_column_and_is_found_by_each_of_its_names() -> None:
    assert [column.name for column in columns_named((field.name for field in ALL), ())] == [one.name for one in ALL]
    names = [name for field in FILTER_FIELDS for name in (field.name, *field.aliases)]
    assert len(names) == len(set(names))
    with pytest.raises(ValueError, match='did you mean "temperature_c"'):
        field_named("temperature")
