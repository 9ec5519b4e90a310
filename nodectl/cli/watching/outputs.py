"""The ways of showing samples that are no screen: one table, JSON lines, CSV, or nothing but alerts."""

from __future__ import annotations

import csv
import sys
import time
from typing import Any

from nodectl.cli.watching.board import BY_NODE, Board
from nodectl.cli.watching.source import Source
from nodectl.telemetry.store import LIVE, STALE
from nodectl.view.sample_records import CsvTable, json_line
from nodectl.view.watch_screen import Shown, in_order, once_lines

ENOUGH_TICKS = 2
"""Rates are differences: the first sample has none."""
WITHOUT_SLOW_TICKS = 4
"""After so many samples a node whose slow values have not come is taken as it is."""


class Complete:
    """Whether every node has given a full sample, or will not. deadline_s: when to wait no longer."""

    def __init__(self, board: Board, source: Source, deadline_s: float) -> None:
        self._board, self._source = board, source
        self._end = time.monotonic() + deadline_s

    def __call__(self) -> bool:
        return self._source.over() or time.monotonic() >= self._end or all(map(self._settled, self._board.nodes))

    def _settled(self, name: str) -> bool:
        ticks, live = self._board.ticks.get(name, 0), self._board.live[name]
        if live.state in (LIVE, STALE):
            return ticks >= WITHOUT_SLOW_TICKS or (ticks >= ENOUGH_TICKS and live.slow_at is not None)
        return name in self._board.missed


class OneTable:
    """The table of all rows; at once when every node has given a full sample, or at the end of the watch."""

    keyboard: int | None = None

    def __init__(self, board: Board, complete: Complete | None) -> None:
        self._board, self._complete = board, complete

    def tick(self, changed: set[str]) -> bool:
        return self._complete is not None and self._complete()

    def keys(self, data: bytes) -> bool:
        return False

    def show(self, colour: str) -> None:
        from nodectl.cli.terminal import width, write

        found = shown(self._board)
        found.clock = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(self._board.wall(self._board.store.now())))
        write(once_lines(found, width=width(sys.stdout, 120)), colour=colour)


class Nothing:
    """For who wants files, an address to ask, or alerts."""

    keyboard: int | None = None

    def tick(self, changed: set[str]) -> bool:
        return False

    def keys(self, data: bytes) -> bool:
        return False


class _Stream:
    """A record for each new sample of a node, and for each change of its state.

    complete: end with it, and write nothing but one record a node (`--once`).
    """

    keyboard: int | None = None

    def __init__(self, board: Board, complete: Complete | None) -> None:
        self._board, self._complete = board, complete

    def tick(self, changed: set[str]) -> bool:
        if self._complete is not None:
            if not self._complete():
                return False
            changed = set(self._board.nodes)
        self._write([name for name in self._board.nodes if name in changed])
        return self._complete is not None

    def keys(self, data: bytes) -> bool:
        return False

    def one(self, name: str) -> None:
        """A sample that would be gone at the next tick."""
        if self._complete is None:
            self._write([name])

    def _write(self, names: list[str]) -> None:
        for name in names:
            rows = self._rows(name)
            if rows:
                live = self._board.live[name]
                now = self._board.store.now()
                sampled = rows[0]["state"] in (LIVE, STALE) and live.received_at is not None
                self._write_one(name, rows, self._board.wall(live.received_at or now if sampled else now))
        sys.stdout.flush()

    def _rows(self, name: str) -> list[dict[str, Any]]:
        by_gpu = self._board.choice.by != BY_NODE
        return self._board.rows_of(name, self._board.choice.where, by_gpu=by_gpu)

    def _write_one(self, name: str, rows: list[dict[str, Any]], at: float) -> None:
        raise NotImplementedError


class JsonLines(_Stream):
    """One object a node and tick."""

    def __init__(self, board: Board, complete: Complete | None) -> None:
        super().__init__(board, complete)
        self._told: dict[str, object] = {}
        self._events_t: dict[str, tuple[object, ...]] = {}

    def _write_one(self, name: str, rows: list[dict[str, Any]], at: float) -> None:
        live, board = self._board.live[name], self._board
        is_new = self._told.get(name) is not live.hello
        self._told[name] = live.hello
        events, known = live.events, self._events_t.get(name, ())
        self._events_t[name] = events
        old = {id(event) for event in known}
        line = json_line(
            board.nodes[name],
            None if board.choice.by == BY_NODE else [row for row in rows if row["gpu"] is not None],
            at=at,
            reason=live.reason,
            wanted=board.choice.fields,
            processes=live.processes,
            events=[event for event in events if id(event) not in old],
            unsupported=live.hello.unsupported if live.hello and is_new else None,
        )
        sys.stdout.write(line.decode() + "\n")


class Csv(_Stream):
    """A header, then a line a GPU and tick (by node: a line a node)."""

    def __init__(self, board: Board, complete: Complete | None) -> None:
        super().__init__(board, complete)
        self._table = CsvTable(board.choice.fields)
        self._writer = csv.writer(sys.stdout, lineterminator="\n")
        self._writer.writerow(self._table.header())
        sys.stdout.flush()

    def _write_one(self, name: str, rows: list[dict[str, Any]], at: float) -> None:
        self._writer.writerows(self._table.record(row, at) for row in rows)


def shown(board: Board) -> Shown:
    """All that a table needs, in its order."""
    choice = board.choice
    sort, rising = choice.sort, choice.rising
    if not sort and board.is_single:
        sort, rising = "gpu", True  # the few GPUs of one node stay where people look for them
    return Shown(
        nodes=list(board.nodes.values()),
        rows=in_order(board.table(), sort, rising=rising),
        lost=in_order(board.lost()),
        columns=board.columns,
        said=board.said(),
    )
