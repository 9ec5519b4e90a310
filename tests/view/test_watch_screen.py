"""What `nodectl watch` shows of a made-up fleet, at several sizes, as whole screens."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_up_fleet import BUSY, T0, Clock, fleet, stream, work

from nodectl.cli.terminal import paint
from nodectl.cli.watching.board import Board, WatchChoice
from nodectl.cli.watching.outputs import shown
from nodectl.model import Reason
from nodectl.telemetry.store import RETRY, Store
from nodectl.view.watch_screen import Shown, in_order, once_lines, page_size, screen_lines

GOLDEN = Path(__file__).with_name("golden")


def board_of(store: Store, **choice: object) -> Board:
    board = Board(store, WatchChoice(**choice), {"gpu-001": {"rack": "r1"}}, lambda at: T0 + at)  # type: ignore[arg-type]
    board.update()
    return board


def fleet_shown(by: str = "auto", healthy: int = 3, **choice: object) -> Shown:
    found = shown(board_of(fleet(Clock(1000.0), healthy), by=by, **choice))
    found.clock = "10:42:07"
    return found


def single_shown() -> Shown:
    store = Store(now=Clock(5.0))
    why = {
        "temperature_memory_c": "the driver does not support it",
        "nvlink_tx_mib_s": {"0": "no NVLink", "1": "no NVLink"},
    }
    for message in stream([BUSY, BUSY | {"temperature_c": 91, "clocks_event_reasons": 0x48}],
                          processes=work("alice", "88213", 2), unsupported=why):  # fmt: skip
        store.put("gpu-017", message)
    found = shown(board_of(store))
    found.clock = "10:42:07"
    return found


def as_text(found: Shown, width: int, height: int, **more: int) -> str:
    lines = screen_lines(found, width=width, height=height, **more) if height else once_lines(found, width=width)
    return "".join(paint(line, colour=False) + "\n" for line in lines)


@pytest.mark.parametrize(
    ("name", "found", "width", "height"),
    [
        ("fleet", fleet_shown(), 80, 24),
        ("fleet", fleet_shown(), 60, 15),
        ("fleet", fleet_shown(), 120, 40),
        ("fleet", fleet_shown(), 40, 8),
        ("fleet_gpus", fleet_shown("gpu"), 80, 24),
        ("fleet_gpus", fleet_shown("gpu"), 160, 40),
        ("single", single_shown(), 80, 24),
        ("once", fleet_shown(), 100, 0),
    ],
)
def test_golden_screens(name: str, found: Shown, width: int, height: int) -> None:
    """To take what is shown now as right: UPDATE_GOLDEN=1 pytest tests/view/test_watch_screen.py, and look at it."""
    path = GOLDEN / f"watch_{name}_{width}x{height}.txt"
    text = as_text(found, width, height)
    if os.environ.get("UPDATE_GOLDEN"):
        path.write_text(text)
    assert text == path.read_text()
    assert all(len(line) <= width for line in text.splitlines())
    if height:
        assert len(text.splitlines()) == height


FOUND = [fleet_shown(), fleet_shown("gpu", healthy=40), single_shown()]


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(FOUND), st.integers(1, 250), st.integers(1, 70), st.integers(0, 400))
def test_every_size_is_kept(found: Shown, width: int, height: int, first: int) -> None:
    lines = screen_lines(found, width=width, height=height, first=first)
    assert len(lines) == height
    assert all(sum(len(text) for _, text in line) <= width for line in lines)


def test_columns_do_not_move_when_values_get_old_or_change() -> None:
    clock = Clock(1000.0)
    store = fleet(clock)
    board = board_of(store)
    before = as_text(shown(board), 120, 40)
    clock.now += 30
    board.update()
    after = as_text(shown(board), 120, 40)
    row = next(line for line in after.splitlines() if " gpu-001 " in line)
    assert row.startswith(" gpu-001 ~ ~~~~~~~~  ~98%  ~51%  ~71C  ~82C  ~5.5kW  ~12%  ~31%")
    assert before.splitlines()[2] == after.splitlines()[2]


def test_worst_first_then_by_name_naturally() -> None:
    found = fleet_shown(healthy=11)
    assert [row["node"] for row in found.rows][:7] == [
        "gpu-017", "gpu-078", "gpu-133", "gpu-250", "gpu-140", "gpu-001", "gpu-002",
    ]  # fmt: skip
    by_temperature = in_order(found.rows, "temperature_c")
    assert [row["node"] for row in by_temperature][:2] == ["gpu-133", "gpu-017"]
    assert by_temperature[-1]["node"] == "gpu-250"  # not known: last, either way
    assert in_order(found.rows, "temperature_c", rising=True)[0]["node"] == "gpu-140"
    assert in_order(found.rows, "temperature_c", rising=True)[-1]["node"] == "gpu-250"
    assert in_order(found.rows, "users", rising=True)


def test_paging_shows_every_row_once() -> None:
    found = fleet_shown("gpu", healthy=40)
    size = page_size(found, width=80, height=24)
    seen = []
    for first in range(0, len(found.rows), size):
        lines = as_text(found, 80, 24, first=first).splitlines()
        seen += [tuple(line.split()[:2]) for line in lines[3 : 3 + size] if line.startswith(" gpu-")]
    assert seen == [(row["node"], row["gpu"] or "-") for row in found.rows]


def test_lost_nodes_with_one_reason_are_one_line() -> None:
    store = Store(now=Clock())
    for number in range(1, 2001):
        name = f"gpu{number:04}"
        store.set_state(
            name, RETRY, reason=Reason("refused", f"{name} port 22: the connection was refused"), retry_at=9
        )
    text = as_text(shown(board_of(store)), 100, 24)
    assert " @ gpu[0001-2000]  retry in 9s  refused: the connection was refused" in text.splitlines()


def test_where_leaves_out_rows_and_lost_nodes_but_not_the_counts() -> None:
    from nodectl.view.filter import compile_filter
    from nodectl.view.sample_fields import FILTER_FIELDS

    found = fleet_shown(where=compile_filter("temp > 80", FILTER_FIELDS))
    text = as_text(found, 100, 24)
    assert [row["node"] for row in found.rows] == ["gpu-017", "gpu-133"]
    assert "@ 4" in text and "gpu-[032-033]" not in text
    assert "where temp > 80" in text


def test_fields_choose_the_columns() -> None:
    found = fleet_shown("gpu", fields=("power", "remapped_rows", "thr", "label.rack"))
    header = as_text(found, 100, 24).splitlines()[2]
    assert header.split() == ["NODE", "GPU", "S", "W/LIMIT", "REMAPPED-ROWS", "THROTTLE", "LABEL.RACK"]
    assert any("r1" in line for line in as_text(found, 100, 24).splitlines())


def test_columns_without_any_value_have_no_place() -> None:
    store = Store(now=Clock())
    for message in stream([], backend="none", why="no driver"):
        store.put("login", message)
    header = as_text(shown(board_of(store)), 120, 24).splitlines()[2]
    assert "TEMP" not in header and "CPU" in header


def test_hostile_text_stays_in_its_line() -> None:
    store = Store(now=Clock())
    store.set_state("gpu1", RETRY, reason=Reason("refused", "\x1b]0;owned\x07\x1b[2J" + "漢" * 300))
    for message in stream([BUSY], backend="none", why="漢字" * 100):
        store.put("漢字漢字漢字漢字漢字漢字漢字", message)
    found = shown(board_of(store))
    for width in (60, 80, 120):
        text = as_text(found, width, 24)
        assert "\x1b" not in text
