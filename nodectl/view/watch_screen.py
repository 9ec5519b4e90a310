"""What `nodectl watch` shows, as lines: the fleet in two lines, a table, and who is not there and why.

Pure: rows and a size in, lines out. The same lines are one screen of a terminal and the one table of `--once`.
"""

from __future__ import annotations

import functools
import re
import textwrap
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from nodectl.inventory.nodeset import fold as fold_nodes
from nodectl.telemetry.store import CONNECTING, LIVE, STALE
from nodectl.view import glyphs
from nodectl.view.fold import fold_subjects, natural
from nodectl.view.lines import Line, count
from nodectl.view.rollup import WORST_FIRST, natural_rank, why_unknown
from nodectl.view.sample_columns import Column, age, cell, fit_columns, fitted, size, titles, watts

Row = Mapping[str, Any]

SMALL_COLUMNS, SMALL_LINES = 60, 15
"""Below this there is one line about the fleet, and rows as they fit."""
_WIDEST_NAME = 24
_WIDEST_MAP = 17
_WHO = re.compile(r"^\S+ (?:\([^()]*\)|port [0-9]+): ")  # how the transport begins a reason: NAME (ADDRESS port N):
_natural = functools.lru_cache(maxsize=1 << 16)(natural)
_KEYS = ("q quit  p pause  arrows, space, b: scroll", "q quit  p pause", "q quit")


class Shown(msgspec.Struct, kw_only=True):
    """What there is to show.

    Attributes:
        nodes: the rows of all nodes, for the counts.
        rows: the rows of the table, in their order: of nodes or of GPUs.
        lost: rows of nodes that are not live, to be named below the table.
        columns: of the table.
        clock: what stands at the right of the first line.
        said: how the rows were chosen and ordered (`where temp > 80`, `by power_w`).
        alerts: what is on now.
        messages: what came up on the way; the newest last.
    """

    nodes: Sequence[Row]
    rows: Sequence[Row]
    lost: Sequence[Row] = ()
    columns: Sequence[Column]
    clock: str = ""
    said: str = ""
    alerts: Sequence[str] = ()
    messages: Sequence[str] = ()


def screen_lines(shown: Shown, *, width: int, height: int, first: int = 0) -> list[Line]:
    """One screen: `height` lines of at most `width` cells. first: the row at the top of the table."""
    small = width < SMALL_COLUMNS or height < SMALL_LINES
    head = [_counts_line(shown, width, small=small)]
    if not small:
        head.append(_sums_line(shown, width))
    foot = [] if small else _foot(shown, width, height)
    room = height - len(head) - len(foot) - 2
    table = table_lines(shown, width, shown.rows[first : first + max(0, room)])
    body = table if shown.rows else [[("dim", " no rows" + (f" {shown.said}" if shown.said else ""))]]
    lines = head + (body if height > len(head) + 1 else [])
    lines = lines[: height - len(foot) - 1]
    lines += [[] for _ in range(height - len(foot) - 1 - len(lines))]
    return [*lines, *foot, _key_line(shown, width, first, max(0, room))][:height]


def page_size(shown: Shown, *, width: int, height: int) -> int:
    """How many rows one screen holds."""
    small = width < SMALL_COLUMNS or height < SMALL_LINES
    return max(1, height - 3 if small else height - 4 - len(_foot(shown, width, height)))


def _foot(shown: Shown, width: int, height: int) -> list[Line]:
    """What stands below the table: remarks on a single node, who is lost, alerts, messages. A third of the screen."""
    remarks = remark_lines(shown, width)[:3] if len(shown.nodes) == 1 else []
    lines = [*remarks, *lost_lines(shown.lost, width)][: max(3, height // 3 - 3)]
    lines += [[("fail", fitted(f"ALERT {text}", width))] for text in shown.alerts[-2:]]
    return lines + [[("warn", fitted(text, width))] for text in shown.messages[-1:]]


def once_lines(shown: Shown, *, width: int) -> list[Line]:
    """All of it, however long."""
    lines = [_counts_line(shown, width), _sums_line(shown, width)]
    if shown.rows:
        lines += table_lines(shown, width, shown.rows)
    return lines + remark_lines(shown, width) + lost_lines(shown.lost, width, cut=False)


def remark_lines(shown: Shown, width: int) -> list[Line]:
    """Notes that are longer than their place in the table, and why what is not known of a single node is not."""
    columns = fit_columns(shown.columns, width, _wanted(shown))
    place = next((size for column, size in columns if column.name == "note"), 0)
    said: dict[tuple[str, str], list[str]] = {}
    for row in shown.rows:
        if len(row["note"]) >= place > 0:
            where = (
                f"{row['node']} GPU {row['gpu']}" if row["gpu"] is not None and len(shown.nodes) > 1 else row["node"]
            )
            said.setdefault((row["letter"], row["note"]), []).append(
                where if len(shown.nodes) > 1 else f"GPU {row['gpu']}" if row["gpu"] is not None else row["node"]
            )
    lines: list[Line] = []
    for (letter, note), who in said.items():
        names = fold_subjects(who) if " GPU " in f" {who[0]}" else fold_nodes(who)
        text = textwrap.wrap(note, max(20, width - len(names) - 5), break_on_hyphens=False) or [""]
        lines.append([(glyphs.STYLE_OF[letter], f" {letter} {names}"), ("", f"  {text[0]}")])
        lines += [[("", " " * (len(names) + 5) + more)] for more in text[1:]]
    if len(shown.nodes) == 1:
        lines += [[("dim", fitted(text, width).rstrip())] for text in _never_known(shown.nodes[0])]
    return lines


def _never_known(row: Row) -> list[str]:
    """By reason, the fields that are never known on a node."""
    by_reason: dict[str, list[str]] = {}
    for name in row["_why"]:
        by_reason.setdefault(why_unknown(row, name), []).append(name)
    return [f" - {reason}: {', '.join(names)}" for reason, names in by_reason.items() if reason]


def table_lines(shown: Shown, width: int, rows: Sequence[Row]) -> list[Line]:
    """Titles, and a line a row. Widths are those that all rows need, not only the ones that are seen."""
    columns = fit_columns(shown.columns, width, _wanted(shown))
    lines: list[Line] = [[("dim", titles(columns))]]
    lines += [[cell(column, row, size) for column, size in columns] for row in rows]
    return lines


def _wanted(shown: Shown) -> dict[str, int]:
    return {
        "node": 1 + min(_WIDEST_NAME, max(4, _longest(shown.rows, "node"))),
        "map": 1 + min(_WIDEST_MAP - 1, max(4, _longest(shown.rows, "map"))),
    }


def in_order(rows: Sequence[Row], sort: str = "", *, rising: bool = False) -> list[Row]:
    """Worst first, then by name; or by a field, what is not known last."""
    named = sorted(rows, key=lambda row: (_natural(row["node"]), _natural(row["gpu"] or "")))
    if not sort:
        return sorted(named, key=lambda row: natural_rank(row["letter"]))
    known = [row for row in named if row.get(sort) is not None]
    unknown = [row for row in named if row.get(sort) is None]
    return sorted(known, key=_sort_key(sort), reverse=not rising) + unknown


def _sort_key(sort: str) -> Callable[[Row], Any]:
    def key(row: Row) -> Any:
        value = row[sort]
        if isinstance(value, tuple):
            return natural(",".join(value))
        return natural(value) if isinstance(value, str) else value

    return key


def is_live(row: Row) -> bool:
    return row["state"] in (LIVE, STALE)


def lost_lines(rows: Sequence[Row], width: int, *, cut: bool = True) -> list[Line]:
    """Nodes that are not live: those with the same reason in one line."""
    alike: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        text = "" if row["note"] == CONNECTING else _WHO.sub("", row["note"].partition(": ")[2] or row["note"])
        code = row["note"].partition(": ")[0] if text else ""
        alike.setdefault((row["state"], f"{code}: {text.replace(row['node'], 'it')}" if text else ""), []).append(row)
    lines: list[Line] = []
    for (state, text), same in sorted(alike.items(), key=lambda item: (item[0][0] == CONNECTING, -len(item[1]))):
        waits = [row["retry_s"] for row in same if row["retry_s"] is not None]
        when = f" in {age(min(waits))}" if waits else ""
        names = fold_nodes(row["node"] for row in same)
        names = names if len(names) <= width // 2 else fitted(names, width // 2)
        said = f"{state}{when}" + (f"  {text}" if text else "")
        head = f" {glyphs.UNREACHABLE} {names}  "
        room = width - len(head)
        texts = [fitted(said, room).rstrip()] if cut else textwrap.wrap(said, max(20, room), break_on_hyphens=False)
        lines.append([("unreachable", head), ("", texts[0])])
        lines += [[("", " " * len(head) + more)] for more in texts[1:]]
    return lines


def _longest(rows: Sequence[Row], name: str) -> int:
    return max((len(row.get(name) or "") for row in rows), default=0)


def _counts_line(shown: Shown, width: int, *, small: bool = False) -> Line:
    """How many nodes are how. The counts are what must be there; the rest as it fits."""
    nodes = shown.nodes
    letters = Counter(row["letter"] for row in nodes)
    gpus = sum(row["gpus"] or 0 for row in nodes)
    counts: Line = []
    for letter in WORST_FIRST:
        if letters[letter]:
            counts += [("", "  " if counts else ""), (glyphs.STYLE_OF[letter], f"{letter} {letters[letter]}")]
    if small:
        return _with_right([*counts, ("", f" of {len(nodes)}")], shown.clock, width)
    total: Line = [("", f"{count(len(nodes), 'node')}  {count(gpus, 'GPU')}  ")]
    for head in ([("bold", "nodectl watch"), ("", "  "), *total], total):
        if sum(len(text) for _, text in [*head, *counts]) + len(shown.clock) + 2 <= width:
            return _with_right([*head, *counts], shown.clock, width)
    return _with_right(counts, shown.clock, width)


def _sums_line(shown: Shown, width: int) -> Line:
    """What all have in common: one node says what it is, many are summed up."""
    live = [row for row in shown.nodes if is_live(row)]
    parts = _about_one(live[0]) if len(shown.nodes) == 1 and live else _about_many(live, len(shown.nodes))
    text = ""
    for part in parts:
        if len(text) + len(part) + 3 < width:
            text += f"  {part}" if text else f" {part}"
    return _with_right([("", text)], shown.said, width)


def _about_many(live: Sequence[Row], nodes: int) -> list[str]:
    parts = []
    power = [row["power_w"] for row in live if row["power_w"] is not None]
    if power:
        parts.append(f"power {watts(sum(power))}")
    utils = [(row["gpu_util_pct"], row["gpus"]) for row in live if row["gpu_util_pct"] is not None]
    if utils:
        parts.append(f"util {sum(util * gpus for util, gpus in utils) / sum(gpus for _, gpus in utils):.0f}%")
    hot = max(live, key=lambda row: row["temperature_c"] or 0, default=None)
    if hot is not None and hot["temperature_c"] is not None:
        where = f"{hot['node']}:{hot['hottest']}" if hot.get("hottest") else hot["node"]
        parts.append(f"hottest {hot['temperature_c']:.0f}C {where}")
    memory = [(row["memory_used_mib"], row["memory_total_mib"]) for row in live]
    used = [(own, total) for own, total in memory if own is not None and total]
    if used:
        parts.append(f"mem {100 * sum(own for own, _ in used) / sum(total for _, total in used):.0f}%")
    if len(live) < nodes:
        parts.append(f"{len(live)} of {nodes} nodes live")
    return parts


def _about_one(row: Row) -> list[str]:
    parts = [f"{row['node']}"]
    if row.get("model"):
        parts.append(f"{row['gpus']}x {row['model']}")
    if row.get("power_w") is not None:
        parts.append(f"power {watts(row['power_w'])}")
    for name, word in (("cpu_util_pct", "cpu"), ("memory_used_pct", "ram")):
        if row.get(name) is not None:
            parts.append(f"{word} {row[name]:.0f}%")
    if row.get("load1") is not None:
        parts.append(f"load {row['load1']:.1f}")
    for word, names in (
        ("net", ("net_rx_mib_s", "net_tx_mib_s")),
        ("ib", ("ib_rx_mib_s", "ib_tx_mib_s")),
        ("disk", ("disk_read_mib_s", "disk_write_mib_s")),
    ):
        values = [row.get(name) for name in names]
        if None not in values:
            parts.append(f"{word} {'/'.join(size(value) for value in values if value is not None)}")
    if row.get("driver"):
        parts.append(f"driver {row['driver']}")
    return parts


def _with_right(line: Line, right: str, width: int) -> Line:
    """A line, cut where it is too long, with a text at its right end where there is room for both."""
    found: Line = []
    left = width
    for style, text in line:
        part = text if len(text) <= left else fitted(text, left)
        found.append((style, part))
        left -= len(part)
    if right and left >= len(right) + 2:
        found += [("", " " * (left - len(right))), ("dim", right)]
    return found


def _key_line(shown: Shown, width: int, first: int, room: int) -> Line:
    total = len(shown.rows)
    last = min(total, first + room)
    where = f"{first + 1}-{last} of {total}" if room < total else count(total, "row")
    keys = next((keys for keys in _KEYS if len(keys) + len(where) + 3 <= width), "")
    return _with_right([("dim", f" {keys}")], where, width)
