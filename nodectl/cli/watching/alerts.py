"""`--alert`: says when a condition begins and ends to hold, for each row, and remembers that it did."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from nodectl.cli.watching.board import Board
from nodectl.telemetry.store import LIVE, STALE
from nodectl.view.filter import Predicate
from nodectl.view.sample_columns import age

Row = dict[str, Any]


class Alerts:
    """The conditions of one watch.

    Args:
        say: takes a line each time one begins or ends.

    Attributes:
        fired: one held at some time.
    """

    def __init__(self, board: Board, say: Callable[[str], None]) -> None:
        self._board, self._say = board, say
        # By alert and node: for each GPU (None: the node) since when it holds, and with which values.
        self._held: dict[tuple[int, str], dict[str | None, tuple[float, str]]] = {}
        self.fired = False

    def look(self, names: Iterable[str]) -> None:
        """Compare the rows that these nodes have now with those that they had before."""
        for number, alert in enumerate(self._board.choice.alerts):
            for name in names:
                self._look_at(number, alert, name)

    def _look_at(self, number: int, alert: Predicate, name: str) -> None:
        at = self._board.moment(name)
        rows = self._board.watched_by(alert, name)
        holds = {row["gpu"]: _values(alert, row) for row in rows if alert.matches(row)}
        held = self._held.setdefault((number, name), {})
        for gpu in [gpu for gpu in held if gpu not in holds]:
            known = self._board.nodes[name]["state"] in (LIVE, STALE) and any(row["gpu"] == gpu for row in rows)
            since, _ = held.pop(gpu)
            why = "over" if known else "no longer known"
            self._say(f"alert {why}: {self._title(number, name, gpu)} after {age(max(0.0, at - since))}")
        for gpu, values in holds.items():
            if gpu not in held:
                self.fired = True
                self._say(f"alert: {self._title(number, name, gpu)}{values}")
            held[gpu] = held.get(gpu, (at, ""))[0], values

    def now(self) -> list[str]:
        """What holds now, the newest last."""
        found = [
            (since, self._title(number, name, gpu) + values)
            for (number, name), held in self._held.items()
            for gpu, (since, values) in held.items()
        ]
        return [text for _, text in sorted(found, key=lambda one: one[0])]

    def _title(self, number: int, name: str, gpu: str | None) -> str:
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
