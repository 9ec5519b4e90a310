"""Rules about what slows a GPU down: clock limits, heat, low clocks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nodectl.engine.rules import FactView, RowResult
from nodectl.engine.rules.gpu_rows import (
    Row,
    Tables,
    failed,
    gpu_model,
    is_idle,
    judge_rows,
    not_judged,
    passed,
    read,
    unknown,
)

_FLICKERS = "hw_slowdown"
_HISTORY = ("hw_thermal_slowdown", "hw_power_brake_slowdown", "sw_thermal_slowdown")
# Reasons that explain a low clock: it is not stuck, it is held down by something that another check judges.
_EXPLAINED = ("sw_power_cap", "hw_slowdown", "hw_thermal_slowdown", "hw_power_brake_slowdown", "sw_thermal_slowdown")


def clock_events(facts: FactView, params: Mapping[str, Any], tables: Tables) -> list[RowResult]:
    """No active clocks event reason is of one of the `kinds` (bad, suspicious) of the table."""
    kinds = set(params["kinds"])
    table = tables["throttle_reasons"]
    expected = "none of " + ", ".join(str(row["label"]) for row in table.rows if row["kind"] in kinds)

    def judge(row: Row) -> RowResult:
        active = read(row, "clocks_event_reasons")
        if active is None:
            return not_judged("this GPU does not report what holds its clocks down")
        known = {reason: table.get(reason) or {} for reason in active}
        wrong = {reason: entry for reason, entry in known.items() if entry.get("kind") in kinds}
        if set(wrong) == {_FLICKERS} and "gpu_idle" in active:
            return unknown("HW Slowdown alone on an idle GPU may be a change of P-state: look again", expected)
        if wrong:
            labels = ", ".join(str(entry["label"]) for entry in wrong.values())
            return failed(expected, labels, "; ".join(str(entry["explain"]) for entry in wrong.values()))
        news = sorted(reason for reason, entry in known.items() if not entry)
        if news:
            return unknown(f"{', '.join(news)}: not in the table of reasons", expected)
        return passed(expected, ", ".join(str(known[reason]["label"]) for reason in active) or "none")

    return judge_rows(facts.nvidia_rows("gpu.devices"), judge)


def clock_event_history(facts: FactView, params: Mapping[str, Any], tables: Tables) -> list[RowResult]:
    """The counters of heat and power brake have stayed (nearly) zero since the driver was loaded."""
    limit_s = float(params["max_s"])
    expected = f"at most {limit_s:g} s of each"

    def judge(row: Row) -> RowResult:
        counters = read(row, "clocks_event_counters_us")
        told = {name: counters[name] / 1e6 for name in _HISTORY if name in (counters or {})}
        if not told:
            return not_judged("this driver does not count how long the clocks were held down")
        over = {name: seconds for name, seconds in told.items() if seconds > limit_s}
        if not over:
            return passed(expected, "none")
        labels = {name: str((tables["throttle_reasons"].get(name) or {}).get("label", name)) for name in over}
        return failed(expected, ", ".join(f"{labels[name]} {seconds:.0f} s" for name, seconds in over.items()))

    return judge_rows(facts.nvidia_rows("gpu.devices"), judge)


def sm_clock_under_load(facts: FactView, params: Mapping[str, Any], tables: Tables) -> list[RowResult]:
    """A GPU at work, with nothing that explains a low clock, has at least `min_mhz`."""
    floor = int(params["min_mhz"])

    def judge(row: Row) -> RowResult:
        idle = is_idle(row, int(params["busy_pct"]))
        if idle:
            return not_judged(idle)
        clock, reasons = read(row, "sm_clock_mhz"), read(row, "clocks_event_reasons") or []
        if clock is None:
            return not_judged("the SM clock is not reported")
        if clock >= floor:
            return passed(f"at least {floor} MHz", f"{clock} MHz")
        explained = [reason for reason in reasons if reason in _EXPLAINED]
        if explained:
            return not_judged(f"{clock} MHz, held down by {', '.join(explained)}: see gpu.clock_events")
        return failed(f"at least {floor} MHz", f"{clock} MHz at {row.get('gpu_utilization_pct')} % use")

    return judge_rows(facts.nvidia_rows("gpu.devices"), judge)


def temperature(facts: FactView, params: Mapping[str, Any], tables: Tables) -> list[RowResult]:
    """At least `margin_c` degrees are left before the hardware slows the GPU down.

    T.Limit counts down to 0 at the highest operating temperature; the slowdown threshold is a T.Limit too (-2 on H200),
    so what is left is the difference. Where a driver prints no such threshold it is taken as 0. Older GPUs print the
    temperature and its slowdown threshold.
    """
    margin = int(params["margin_c"])
    expected = f"at least {margin} C below slowdown"

    def judge(row: Row) -> RowResult:
        t_limit, now = read(row, "t_limit_c"), read(row, "temperature_c")
        if t_limit is not None:
            left = t_limit - (read(row, "t_limit_slowdown_c") or 0)
        else:
            slowdown = read(row, "temperature_slowdown_c")
            if now is None or slowdown is None:
                return not_judged("this GPU reports no slowdown temperature")
            left = slowdown - now
        shown = f"{left} C left" if now is None else f"{left} C left at {now} C"
        return (passed if left >= margin else failed)(expected, shown)

    return judge_rows(facts.nvidia_rows("gpu.devices"), judge)


def memory_temperature(facts: FactView, params: Mapping[str, Any], tables: Tables) -> list[RowResult]:
    """The memory is at least `margin_c` degrees below its highest operating temperature."""
    margin = int(params["margin_c"])

    def judge(row: Row) -> RowResult:
        now = read(row, "temperature_memory_c")
        limit = read(row, "temperature_memory_max_operating_c")
        if limit is None:
            limit = gpu_model(row, tables).get("memory_max_operating_c")
        if now is None or limit is None:
            return not_judged("the memory's temperature or its limit is not known")
        return (passed if now <= int(limit) - margin else failed)(f"at most {int(limit) - margin} C", f"{now} C")

    return judge_rows(facts.nvidia_rows("gpu.devices"), judge)
