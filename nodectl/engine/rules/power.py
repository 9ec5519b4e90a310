"""Rules about power and heat: how long GPUs were held down, one that is hotter than its neighbours, cooling."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from statistics import median
from typing import Any

from nodectl.engine.rules import FactView, RowResult, field_error
from nodectl.engine.rules.gpu_rows import (
    Row,
    Tables,
    about,
    failed,
    gpu_label,
    gpu_model,
    gpu_name,
    judge_rows,
    not_judged,
    passed,
    read,
    sum_up,
    unknown,
)

_HELD_DOWN = ("hw_thermal_slowdown", "hw_power_brake_slowdown", "sw_thermal_slowdown")
_SMALLEST_GROUP = 4
_CPU_SENSORS = ("coretemp", "k10temp", "zenpower")


def throttled_share(facts: FactView, params: Mapping[str, Any], tables: Tables) -> list[RowResult]:
    """Heat and power brake held no GPU down for more than `max_share` of the time since boot.

    The counters begin when the driver is loaded, which is after boot: the share is rather too small than too large.
    """
    uptime_s = max(float(facts.value("node.uptime_s")), 1.0)
    limit = float(params["max_share"])
    expected = f"at most {limit:.1%} of the time each"

    def judge(row: Row) -> RowResult:
        if row.get("ecc_current") is None and not gpu_model(row, tables):
            return not_judged(f"{gpu_name(row)} is no data-centre GPU: laptops and desktops slow down by design")
        counters = read(row, "clocks_event_counters_us")
        shares = {name: counters[name] / 1e6 / uptime_s for name in _HELD_DOWN if name in (counters or {})}
        if not shares:
            return not_judged("this driver does not count how long the clocks were held down")
        over = {name: share for name, share in shares.items() if share > limit}
        if not over:
            return passed(expected, "less")
        labels = {name: str((tables["throttle_reasons"].get(name) or {}).get("label", name)) for name in over}
        return failed(expected, ", ".join(f"{labels[name]} {share:.1%}" for name, share in over.items()))

    return judge_rows(facts.nvidia_rows("gpu.devices"), judge)


def temperature_spread(facts: FactView, params: Mapping[str, Any], tables: Tables) -> list[RowResult]:
    """No GPU is `max_above_c` hotter than the median of its model that draw about as much power.

    Params:
        max_above_c: degrees above the median.
        similar_power: what share of the node's highest power draw the draws may differ by.
    """
    groups: dict[str, list[Row]] = defaultdict(list)
    results: list[RowResult] = []
    for row in facts.rows("gpu.devices"):
        reason = field_error(row, "name")
        if reason:
            results.append(about(gpu_label(row), unknown(f"name: {reason}")))
        else:
            groups[gpu_name(row)].append(row)
    for name, rows in groups.items():
        if len(rows) < _SMALLEST_GROUP:
            results.append(not_judged(f"fewer than {_SMALLEST_GROUP} GPUs of the model {name}"))
        else:
            results += _hotter(rows, float(params["max_above_c"]), float(params["similar_power"]))
    return sum_up(results)


def _hotter(rows: list[Row], limit: float, similar: float) -> list[RowResult]:
    told = [row for row in rows if row.get("temperature_c") is not None and row.get("power_draw_w") is not None]
    if len(told) < _SMALLEST_GROUP:
        return judge_rows(rows, _not_told)
    usual = median(float(row["temperature_c"]) for row in told)
    power = median(float(row["power_draw_w"]) for row in told)
    expected = f"at most {limit:g} C above the median of {usual:g} C"

    def judge(row: Row) -> RowResult:
        own, draw = read(row, "temperature_c"), read(row, "power_draw_w")
        if own is None or draw is None:
            return not_judged("temperature or power are not reported")
        if own - usual <= limit:
            return passed(expected, f"{own} C")
        if draw > power * (1 + similar):
            return not_judged(f"it works harder than the others ({draw:.0f} W against {power:.0f} W)")
        return failed(expected, f"{own} C at {draw:.0f} W")

    return judge_rows(rows, judge)


def _not_told(row: Row) -> RowResult:
    """There are too few to compare a GPU with; one that did not answer is told."""
    if read(row, "temperature_c") is None or read(row, "power_draw_w") is None:
        return not_judged("temperature or power are not reported")
    return not_judged(f"fewer than {_SMALLEST_GROUP} GPUs report temperature and power")


def default_limit(facts: FactView, params: Mapping[str, Any], tables: Tables) -> list[RowResult]:
    """The factory limit of each GPU is that of its model."""

    def judge(row: Row) -> RowResult:
        documented, own = gpu_model(row, tables).get("power_default_w"), read(row, "power_default_limit_w")
        if documented is None or own is None:
            return not_judged(f"the default power limit of {gpu_name(row)} is not documented or not reported")
        good = abs(float(own) - float(documented)) <= 1
        return (passed if good else failed)(f"{documented} W", f"{float(own):g} W")

    return judge_rows(facts.nvidia_rows("gpu.devices"), judge)


def cooling(facts: FactView, params: Mapping[str, Any], tables: Tables) -> list[RowResult]:
    """Models that are cooled by liquid alone are not in a rack that is declared as cooled by air."""
    declared = str(facts.value("expect.cooling")).strip().casefold()
    if declared not in ("air", "liquid"):
        return [unknown("expect.cooling is neither air nor liquid")]

    def judge(row: Row) -> RowResult:
        needed = gpu_model(row, tables).get("cooling")
        if needed is None:
            return not_judged(f"{gpu_name(row)}: air or liquid is the system's choice")
        return (passed if needed == declared else failed)(f"{needed} cooling", f"{declared} cooling declared")

    return judge_rows(facts.nvidia_rows("gpu.devices"), judge)


def _is_gpu_server(facts: FactView, tables: Tables) -> bool:
    """Whether there is an accelerator of the tables: those are in servers only."""
    ids = [row.get("pci_id") for row in facts.get("gpu.pci", [])]
    return any(tables["gpu_models"].get(one) or tables["accelerators"].get(one) for one in ids if one)


def sensors(facts: FactView, params: Mapping[str, Any], tables: Tables) -> list[RowResult]:
    """Every sensor of the host with a limit of its own is at least `margin_c` below it."""
    margin = float(params["margin_c"])

    def judge(row: Row) -> RowResult:
        now, limit = read(row, "temperature_c"), read(row, "critical_c")
        if now is None or limit is None:
            return not_judged("it tells no temperature")
        expected, shown = f"at most {limit - margin:g} C", f"{now:g} C"
        if now <= limit - margin:
            return passed(expected, shown)
        if str(row.get("sensor")).startswith(_CPU_SENSORS) and not _is_gpu_server(facts, tables):
            return not_judged("CPUs of laptops and desktops work at their limit by design")
        return failed(expected, shown)

    return judge_rows(facts.rows("host.temperatures"), judge, lambda row: str(row.get("sensor")))
