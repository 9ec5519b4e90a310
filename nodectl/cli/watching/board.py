"""The rows of a watch, kept up with the store: only what changed is worked out anew."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from nodectl.telemetry.store import CONNECTING, LIVE, STALE, LiveNode, Store
from nodectl.view.filter import Predicate
from nodectl.view.rollup import gpu_rows, node_row
from nodectl.view.sample_columns import GPU_COLUMNS, NODE_COLUMNS, Column, columns_named
from nodectl.view.sample_fields import field_named, only_of_nodes

Row = dict[str, Any]
BY_NODE, BY_GPU, BY_WHAT_FITS = "node", "gpu", "auto"

ALWAYS_SHOWN = {"node", "gpu", "letter", "note"}
_MAY_BE_UNKNOWN = {column.name for column in (*NODE_COLUMNS, *GPU_COLUMNS)}
_EMPTY = (None, (), "")


class WatchChoice(msgspec.Struct, frozen=True, kw_only=True):
    """What of the samples is wanted, as said on the command line."""

    by: str = BY_WHAT_FITS
    fields: tuple[str, ...] = ()
    where: Predicate | None = None
    sort: str = ""
    rising: bool = False
    alerts: tuple[Predicate, ...] = ()
    interval_s: float = 1.0
    duration_s: float | None = None


class Board:
    """Rows of nodes and of GPUs by node.

    Args:
        labels: of the inventory, by node.
        wall: Unix time of a moment on the store's clock.

    Attributes:
        ticks: how many samples were seen of each node.
        reached, missed: nodes that were live at some time; that failed at some time.
    """

    def __init__(
        self,
        store: Store,
        choice: WatchChoice,
        labels: Mapping[str, Mapping[str, str]],
        wall: Callable[[float], float],
    ) -> None:
        self.store, self.choice, self.wall = store, choice, wall
        self.nodes: dict[str, Row] = {}
        self.ticks: dict[str, int] = {}
        self.reached: set[str] = set()
        self.missed: set[str] = set()
        self._labels = labels
        self._seen: dict[str, float | None] = {}
        self._said: dict[str, tuple[str, str]] = {}
        self._why: dict[str, str] = {}
        self._restless: set[str] = set()
        self._known: set[str] = set()
        self._gpus: dict[str, list[Row]] = {}  # those that were asked for since the node's last change

    def update(self) -> set[str]:
        """Take over what changed; returns the nodes with a new sample or a new state."""
        store, now = self.store, self.store.now()
        dirty = store.take_dirty()
        changed = set()
        for name in dirty | self._restless:
            live = store.nodes[name]
            row = self._take(live, now)
            if live.received_at != self._seen.get(name):
                self._seen[name] = live.received_at
                self.ticks[name] = self.ticks.get(name, 0) + 1
                changed.add(name)
            state = row["state"]
            if not (state == CONNECTING and name in self._why):  # trying again is no news
                said = state, "" if state in (LIVE, STALE) else row["note"]
                if said != self._said.get(name) and state != LIVE:
                    changed.add(name)
                self._said[name] = said
            # Ages grow and retries come closer without a message.
            (self._restless.discard if row["state"] == LIVE else self._restless.add)(name)
        return changed

    def update_one(self, name: str) -> None:
        """Take over one node, whose next message is about to come."""
        self._take(self.store.nodes[name], self.store.now())

    def _take(self, live: LiveNode, now: float) -> Row:
        name = live.name
        row = self.nodes[name] = node_row(live, now, self._labels.get(name))
        self._gpus.pop(name, None)
        if row["state"] in (LIVE, STALE):
            self.reached.add(name)
            self._why.pop(name, None)
            self._learn(row)
        elif live.reason is not None:
            self.missed.add(name)
            self._why[name] = row["note"]
        elif name in self._why:  # it is being tried again: what is known of the last time still holds
            row["note"] = self._why[name]
        return row

    def gpus(self, name: str) -> list[Row]:
        """Rows of the GPUs of a node; made when they are first asked for, as mostly nobody does."""
        rows = self._gpus.get(name)
        if rows is None:
            rows = gpu_rows(self.store.nodes[name], self.store.now(), self._labels.get(name))
            self._gpus[name] = rows
            for row in rows:
                self._learn(row)
        return rows

    def _learn(self, row: Row) -> None:
        """Which columns have ever had a value."""
        left = _MAY_BE_UNKNOWN - self._known
        self._known.update(name for name in left if row.get(name) not in _EMPTY)

    @property
    def live(self) -> Mapping[str, LiveNode]:
        return self.store.nodes

    @property
    def by(self) -> str:
        """By GPU where that was said, or where there is but one node and it has GPUs."""
        if self.choice.by != BY_WHAT_FITS:
            return self.choice.by
        return BY_GPU if self.is_single and any(row["gpus"] for row in self.nodes.values()) else BY_NODE

    @property
    def columns(self) -> tuple[Column, ...]:
        """Who it is about and the fields that were asked for; or the usual ones, less those of which
        no row has ever had a value."""
        usual = NODE_COLUMNS if self.by == BY_NODE else GPU_COLUMNS
        who = usual[:2] if self.by == BY_NODE else usual[:3]
        if self.choice.fields:
            own = columns_named(self.choice.fields, usual)
            found = (*who, *(column for column in own if column.name not in {one.name for one in who}))
        elif self.reached:
            found = tuple(one for one in usual if one.name in self._known or one.name in ALWAYS_SHOWN)
        else:
            found = usual
        return found[1:] if self.by == BY_GPU and self.is_single else found

    @property
    def is_single(self) -> bool:
        return len(self.nodes) == 1

    def table(self) -> list[Row]:
        """Rows of the nodes that are live or stale, of which `where` is true."""
        return [row for rows in self.samples().values() for row in rows if row["state"] in (LIVE, STALE)]

    def samples(self) -> dict[str, list[Row]]:
        """By node: its row, or those of its GPUs (its own, where it shows none), of which `where` is true."""
        where, by_gpu = self.choice.where, self.by == BY_GPU
        return {name: rows for name in self.nodes if (rows := self.rows_of(name, where, by_gpu=by_gpu))}

    def rows_of(self, name: str, where: Predicate | None, *, by_gpu: bool) -> list[Row]:
        rows = (self.gpus(name) if by_gpu else None) or [self.nodes[name]]
        return rows if where is None else [row for row in rows if where.matches(row)]

    def lost(self) -> list[Row]:
        """Rows of nodes that are neither live nor stale, of which `where` is true."""
        where = self.choice.where
        return [
            row
            for row in self.nodes.values()
            if row["state"] not in (LIVE, STALE) and (where is None or where.matches(row))
        ]

    def watched_by(self, alert: Predicate, name: str) -> list[Row]:
        """The rows of a node that an alert is about: its own if it compares nothing that GPUs have of their own."""
        of_nodes = bool(alert.fields) and not alert.searches and only_of_nodes(alert.fields)
        return self.rows_of(name, None, by_gpu=not of_nodes)

    def moment(self, name: str) -> float:
        """When what is shown of a node came, on the store's clock; now, where it is not live."""
        live, now = self.store.nodes[name], self.store.now()
        return now if live.state != LIVE or live.received_at is None else live.received_at

    def said(self) -> str:
        """How the rows of the table were chosen and put in order."""
        parts = []
        if self.choice.where is not None:
            parts.append(f"where {self.choice.where.text}")
        if self.choice.sort:
            parts.append(f"by {'lowest ' if self.choice.rising else ''}{self.choice.sort}")
        return ", ".join(parts)


def parse_sort(text: str) -> tuple[str, bool]:
    """(field, rising) of `--sort`: numbers fall, texts rise, and a `-` before the field turns that round.

    Raises:
        ValueError: there is no such field.
    """
    field = field_named(text.removeprefix("-"))
    return field.name, (field.type != "number") is not text.startswith("-")
