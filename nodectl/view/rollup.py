"""From what is known of a node now to rows: one for the node, one for each of its GPUs.

A row is a dict by field name (sample_fields.py). A node's row rolls the values of its GPUs up as telemetry/fields.py
says (max, min, sum, mean, or), over those that are known: a lost GPU is counted in `lost`, and has no part in a sum.
MIG devices have rows of their own and are no part of the roll-up, as their GPU is. Rows also carry, for who shows them:
`letter`, `note`, `map` (a letter for each GPU), `hottest` (index of a GPU), `retry_s`, and `_why` (why a field is never
known here).
"""

from __future__ import annotations

import functools
import operator
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from nodectl.telemetry.fields import GPU_FIELDS, GPU_INDEX, HOST_FIELDS
from nodectl.telemetry.messages import Event, Gpu, Process
from nodectl.telemetry.store import LIVE, STALE, LiveNode
from nodectl.view import glyphs
from nodectl.view.fold import fold_subjects
from nodectl.view.lines import count

Row = dict[str, Any]
Values = Sequence[float | None]

RECENT_S = 600.0
"""How long an Xid is said beside a node."""

_GPU_NAMES = tuple(field.name for field in GPU_FIELDS)
_HOST_NAMES = tuple(field.name for field in HOST_FIELDS)
_NOTHING = dict.fromkeys((*_GPU_NAMES, *_HOST_NAMES))

WORST_FIRST = glyphs.FAIL + glyphs.WARN + glyphs.UNKNOWN + glyphs.STALE + glyphs.OK + glyphs.UNREACHABLE
_RANK = {letter: rank for rank, letter in enumerate(WORST_FIRST)}

# Bits of nvmlClocksEventReasons: name, short form for a column, and whether it is a fault (so says the catalogue).
CLOCK_REASONS = (
    (0x8, "hw_slowdown", "hw-slow", True),
    (0x40, "hw_thermal_slowdown", "hw-therm", True),
    (0x80, "hw_power_brake_slowdown", "hw-brake", True),
    (0x20, "sw_thermal_slowdown", "sw-therm", True),
    (0x4, "sw_power_cap", "pwr", False),
    (0x10, "sync_boost", "sync", False),
    (0x2, "applications_clocks_setting", "app", False),
    (0x100, "display_clock_setting", "disp", False),
)
_RECOVERY = {
    1: "needs a reset",
    2: "the node needs a reboot",
    3: "its P2P traffic must be drained",
    4: "must be drained, then reset",
    5: "the IMEX domain must recover",
    6: "needs a reset of its bus",
    7: "the node needs a reboot",
}


def natural_rank(letter: str) -> int:
    """0 for the worst letter."""
    return _RANK.get(letter, len(_RANK))


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _bits(values: Sequence[float]) -> int:
    return functools.reduce(operator.or_, map(int, values))


_OVER_GPUS: Mapping[str, Callable[[Sequence[float]], float]] = {
    "max": max, "min": min, "sum": sum, "mean": _mean, "or": _bits,
}  # fmt: skip
_ROLL = tuple((field.name, _OVER_GPUS[field.over_gpus]) for field in GPU_FIELDS)


def node_row(live: LiveNode, now: float, labels: Mapping[str, str] | None = None) -> Row:
    """The row of a node, live or not. now: on the store's clock."""
    row = _of_node(live, now, labels)
    hello = live.hello
    if hello is None or row["state"] not in (LIVE, STALE):
        row["map"] = glyphs.NOT_APPLICABLE * (row["gpus"] or 0)
        return row
    whole = [(gpu, values) for gpu, values in _devices(live) if not gpu.mig]
    known = [values for _, values in whole if values is not None]
    if known:
        for (name, roll), column in zip(_ROLL, zip(*known, strict=False), strict=False):
            values = [value for value in column if value is not None] if None in column else column
            row[name] = roll(values) if values else None
    row["lost"] = len(whole) - len(known)
    hottest = max(
        (pair for pair in whole if pair[1] is not None and pair[1][_TEMPERATURE_AT] is not None),
        key=lambda pair: pair[1][_TEMPERATURE_AT] or 0 if pair[1] else 0,
        default=None,
    )
    row["hottest"] = hottest[0].index if hottest else None
    row["model"] = _most_common(gpu.name for gpu, _ in whole)
    _derive(row, whole)
    _processes_into(row, live.processes)
    _judge(row, live, whole)
    return row


def gpu_rows(live: LiveNode, now: float, labels: Mapping[str, str] | None = None) -> list[Row]:
    """A row for each device of a node that has said hello and is live or stale, MIG devices behind their GPUs."""
    hello = live.hello
    shared = _of_node(live, now, labels)
    if hello is None or shared["state"] not in (LIVE, STALE):
        return []
    by_gpu: dict[str, list[Process]] = {}
    for process in live.processes:
        by_gpu.setdefault(process.gpu, []).append(process)
    xids = {event.gpu: event for event in live.events if event.what == "xid"}
    rows = []
    for gpu, values in _devices(live):
        row = dict(shared)
        row["gpu"], row["uuid"], row["model"] = gpu.index, gpu.uuid, gpu.name
        row["lost"] = int(values is None)
        if values is not None:
            row.update(zip(_GPU_NAMES, values, strict=False))
        _derive(row, ((gpu, values),))
        _processes_into(row, by_gpu.get(gpu.index, ()))
        problems = _problems(gpu, values, live)
        xid = xids.get(gpu.index)
        row["xid"] = xid.code if xid else None
        if xid and _is_recent(xid, live):
            problems.append((glyphs.WARN, f"Xid {xid.code}: {xid.text}" if xid.text else f"Xid {xid.code}"))
        problems.sort(key=lambda problem: _RANK[problem[0]])
        row["letter"] = problems[0][0] if problems else glyphs.OK
        row["note"] = "; ".join(text for _, text in problems)
        if row["state"] == STALE and row["letter"] == glyphs.OK:
            row["letter"] = glyphs.STALE
        rows.append(row)
    return rows


def why_unknown(row: Mapping[str, Any], name: str) -> str:
    """Why a field of this row is never known; empty where it just is not known now."""
    reason = row.get("_why", {}).get(name, "")
    if isinstance(reason, dict):
        own = reason.get(row.get("gpu"))
        return own or ("; ".join(dict.fromkeys(reason.values())) if row.get("gpu") is None else "")
    return str(reason)


def clock_reasons(mask: float | None) -> tuple[str, ...] | None:
    """Names of the bits that are set, the faults first, without idle."""
    return None if mask is None else _reasons_of(int(mask))[0]


def short_reasons(mask: float) -> str:
    """The same for a column: `hw-therm,pwr`, or `-`."""
    return _reasons_of(int(mask))[1]


@functools.lru_cache(maxsize=512)
def _reasons_of(mask: int) -> tuple[tuple[str, ...], str, tuple[str, ...]]:
    held = [(name, short, bad) for bit, name, short, bad in CLOCK_REASONS if mask & bit]
    detailed = [one for one in held if one[0] != "hw_slowdown"]
    if any(name.startswith("hw_") for name, _, _ in detailed):
        held = detailed  # hw_slowdown only says again that one of the others is set
    names = tuple(name for name, _, _ in held)
    return names, ",".join(short for _, short, _ in held) or "-", tuple(name for name, _, bad in held if bad)


def _of_node(live: LiveNode, now: float, labels: Mapping[str, str] | None) -> Row:
    row: Row = dict(_NOTHING)
    hello, age = live.hello, live.age_s(now)
    state = live.state
    row["node"], row["state"], row["age_s"], row["gpu"] = live.name, state, age, None
    row["letter"] = glyphs.UNREACHABLE
    row["note"] = f"{live.reason.code}: {live.reason.text}" if live.reason else state
    row["_why"], row["backend"], row["driver"], row["gpus"] = {}, None, None, None
    row["retry_s"] = None if live.retry_at is None else max(0.0, live.retry_at - now)
    for name, value in (labels or {}).items():
        row[f"label.{name}"] = value
    row["labels"] = tuple(f"{name}={value}" for name, value in (labels or {}).items())
    if hello is not None:
        row["_why"], row["backend"], row["driver"] = hello.unsupported, hello.backend, hello.driver
        row["gpus"] = sum(not gpu.mig for gpu in hello.gpus)
        if state in (LIVE, STALE):
            row.update(zip(_HOST_NAMES, live.host or (), strict=False))
    return row


def _devices(live: LiveNode) -> list[tuple[Gpu, list[float | None] | None]]:
    hello = live.hello
    return list(zip(hello.gpus, live.gpus, strict=False)) if hello else []


def _derive(row: Row, devices: Sequence[tuple[Gpu, Values | None]]) -> None:
    used_at, power_at, limit_at = GPU_INDEX["memory_used_mib"], GPU_INDEX["power_w"], GPU_INDEX["power_limit_w"]
    totals = [gpu.memory_total_mib for gpu, _ in devices if gpu.memory_total_mib]
    row["memory_total_mib"] = sum(totals) if totals else None
    used = total = power = limit = 0.0
    for gpu, values in devices:
        if values is None:
            continue
        if gpu.memory_total_mib and (own := values[used_at]) is not None:
            used, total = used + own, total + gpu.memory_total_mib
        cap = values[limit_at] or gpu.power_limit_w
        if cap and (drawn := values[power_at]) is not None:
            power, limit = power + drawn, limit + cap
    row["gpu_memory_pct"] = 100.0 * used / total if total else None
    row["power_pct"] = 100.0 * power / limit if limit else None
    if row["power_limit_w"] is None and limit:
        row["power_limit_w"] = limit
    row["throttle"] = clock_reasons(row["clocks_event_reasons"])


def _processes_into(row: Row, processes: Iterable[Process]) -> None:
    found = list(processes)
    row["processes"] = len(found)
    row["users"] = tuple(dict.fromkeys(process.user for process in found if process.user))
    row["jobs"] = tuple(dict.fromkeys(process.job for process in found if process.job))


def _judge(row: Row, live: LiveNode, whole: Sequence[tuple[Gpu, Values | None]]) -> None:
    """Letter, note and map of a node that is live or stale."""
    hello = live.hello
    assert hello is not None
    said: dict[tuple[str, str], list[str]] = {}
    letters = []
    for gpu, values in whole:
        problems = _problems(gpu, values, live)
        for problem in problems:
            said.setdefault(problem, []).append(f"GPU {gpu.index}")
        letters.append(min((letter for letter, _ in problems), key=_RANK.__getitem__, default=glyphs.OK))
    for event in live.events:
        if event.what == "xid":
            row["xid"] = event.code
            if _is_recent(event, live):
                said.setdefault((glyphs.WARN, f"Xid {event.code}"), []).append(f"GPU {event.gpu}" if event.gpu else "")
    if not whole:
        said[(glyphs.UNKNOWN, f"no GPU seen: {hello.why}" if hello.why else "no GPU seen")] = []
    elif hello.why:
        said[(glyphs.INFO, hello.why)] = []
    stale = row["state"] == STALE
    if stale:
        said[(glyphs.STALE, f"no sample for {row['age_s']:.0f} s" if row["age_s"] is not None else "no sample")] = []
    ordered = sorted(said.items(), key=lambda item: _RANK.get(item[0][0], len(_RANK)))
    worst = ordered[0][0][0] if ordered else glyphs.OK
    row["letter"] = worst if worst in _RANK else glyphs.OK
    row["note"] = "; ".join(_with_gpus(text, gpus, len(whole)) for (_, text), gpus in ordered)
    row["map"] = "".join(glyphs.STALE if stale and letter == glyphs.OK else letter for letter in letters)


def _with_gpus(text: str, gpus: Sequence[str], of: int) -> str:
    names = [name for name in dict.fromkeys(gpus) if name]
    if not names or (of == len(names) == 1):
        return text
    return f"{text}, all GPUs" if len(names) == of else f"{text}, {fold_subjects(names)}"


_REASONS_AT, _TEMPERATURE_AT = GPU_INDEX["clocks_event_reasons"], GPU_INDEX["temperature_c"]
_ECC_AT, _RECOVERY_AT = GPU_INDEX["ecc_uncorrectable"], GPU_INDEX["recovery_action"]
_PENDING_AT, _FAILURE_AT = GPU_INDEX["remap_pending"], GPU_INDEX["remap_failure"]
_CORE_AT = tuple(GPU_INDEX[name] for name in ("gpu_util_pct", "memory_used_mib", "temperature_c", "power_w"))


def _problems(gpu: Gpu, values: Values | None, live: LiveNode) -> list[tuple[str, str]]:
    """What is wrong with one device now: letters and words."""
    if values is None:
        event = live.lost.get(gpu.index)
        return [(glyphs.FAIL, f"lost: {event.text}" if event and event.text else "lost: it no longer answers")]
    found = []
    if values[_FAILURE_AT]:
        found.append((glyphs.FAIL, "row remap failed"))
    if action := values[_RECOVERY_AT]:
        found.append((glyphs.FAIL, _RECOVERY.get(int(action), f"recovery action {action:.0f}")))
    if errors := values[_ECC_AT]:
        found.append((glyphs.FAIL, count(int(errors), "uncorrectable memory error")))
    if mask := values[_REASONS_AT]:
        found += [(glyphs.WARN, name.replace("_", " ")) for name in _reasons_of(int(mask))[2]]
    temperature, most = values[_TEMPERATURE_AT], gpu.temperature_slowdown_c
    if temperature is not None and most and temperature >= most:
        found.append((glyphs.WARN, f"at its slowdown temperature ({most:.0f}C)"))
    if values[_PENDING_AT]:
        found.append((glyphs.WARN, "row remap pending, needs a reset"))
    if not gpu.mig and all(values[at] is None for at in _CORE_AT):
        reason = live.hello.why_unsupported("gpu_util_pct", gpu.index) if live.hello else ""
        found.append((glyphs.UNKNOWN, f"no values: {reason}" if reason else "no values yet"))
    return found


def _is_recent(event: Event, live: LiveNode) -> bool:
    return live.sample_t is None or live.sample_t - event.t < RECENT_S


def _most_common(names: Iterable[str]) -> str | None:
    counted = Counter(name for name in names if name)
    return counted.most_common(1)[0][0] if counted else None
