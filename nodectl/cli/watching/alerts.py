"""`--alert`: says when a condition begins and ends to hold, for each row, and remembers that it did."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from nodectl.cli.watching.board import Board
from nodectl.telemetry.store import LIVE, STALE
from nodectl.view.filter import Predicate
from nodectl.view.sample_columns import age

Row = dict[str, Any]
_Place = tuple[int, str, str | None]


class Alerts:
    """The conditions of one watch.

    Args:
        say: takes a line each time one begins or ends.

    Attributes:
        fired: one held at some time.
    """

    def __init__(self, board: Board, say: Callable[[str], None]) -> None:
        self._board, self._say = board, say
        self._on: dict[_Place, tuple[float, str]] = {}
        self.fired = False

    def look(self) -> None:
        """Compare the rows of now with those of before."""
        now = self._board.store.now()
        holds: dict[_Place, str] = {}
        known: set[_Place] = set()
        for number, alert in enumerate(self._board.choice.alerts):
            for name, rows in self._board.watched_by(alert):
                for row in rows:
                    place = (number, name, row["gpu"])
                    known.add(place)
                    if alert.matches(row):
                        holds[place] = _values(alert, row)
        for place in [place for place in self._on if place not in holds]:
            since, _ = self._on.pop(place)
            lost = place not in known or self._board.nodes[place[1]]["state"] not in (LIVE, STALE)
            why = "no longer known" if lost else "over"
            self._say(f"alert {why}: {self._title(place)} after {age(max(0.0, now - since))}")
        for place, values in holds.items():
            since, _ = self._on.get(place, (now, ""))
            if place not in self._on:
                self.fired = True
                self._say(f"alert: {self._title(place)}{values}")
            self._on[place] = since, values

    def now(self) -> list[str]:
        """What holds now, the newest last."""
        ordered = sorted(self._on.items(), key=lambda item: item[1][0])
        return [self._title(place) + values for place, (_, values) in ordered]

    def _title(self, place: _Place) -> str:
        number, name, gpu = place
        text = self._board.choice.alerts[number].text
        return f"{text}: {name}" + (f" GPU {gpu}" if gpu is not None else "")


def _values(alert: Predicate, row: Row) -> str:
    """What the row has of the fields that the condition compares."""
    found = []
    for name in sorted(alert.fields):
        value = row.get(name)
        if isinstance(value, tuple):
            value = ",".join(value)
        found.append(f"{name} {value:.6g}" if isinstance(value, int | float) else f"{name} {value}")
    return f" ({', '.join(found)})" if found else ""
