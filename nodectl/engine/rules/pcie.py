"""Rules about the PCIe links of GPUs, as the driver reports them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nodectl.engine.rules import FactView, RowResult
from nodectl.engine.rules.gpu_rows import Row, Tables, failed, gpu_model, is_idle, judge_rows, not_judged, passed, read

_NEWEST_COMMON_GEN = 5
_DESKTOP_LANES = 8
# Replays a minute and lane from which DCGM 4.6 warns (modules/health/DcgmHealthWatch.cpp), by PCIe generation.
_REPLAYS_PER_MIN_AND_LANE = {1: 0.15, 2: 0.3, 3: 0.48, 4: 0.96, 5: 1.92, 6: 3.84}


def pcie_width(facts: FactView, params: Mapping[str, Any], tables: Tables) -> list[RowResult]:
    """All lanes that GPU and slot have are in use; boards that are known to be wired with fewer are not judged."""

    def judge(row: Row) -> RowResult:
        now, highest = read(row, "pcie_width_current"), read(row, "pcie_width_max")
        if now is None or highest is None:
            return not_judged("the PCIe width is not reported")
        design = narrow_by_design(row, tables, now) if now < highest else ""
        if design:
            return not_judged(f"x{now} of x{highest}: {design}")
        return (passed if now >= highest else failed)(f"x{highest}", f"x{now}")

    return judge_rows(facts.nvidia_rows("gpu.devices"), judge)


def narrow_by_design(row: Row, tables: Tables, lanes: int) -> str:
    """Why fewer lanes than the chip tells prove no fault; empty where they do."""
    known = [one for one in tables["gpu_models"].rows if one["pci_id"] == row.get("pci_id") or _named(one, row)]
    if any(one.get("pcie_wired_narrower") for one in known):
        return "boards of this model are wired with fewer lanes than the chip tells"
    if not known and row.get("ecc_current") is None and lanes >= _DESKTOP_LANES:
        return "desktops and laptops often wire 8 lanes"
    return ""


def _named(one: Row, row: Row) -> bool:
    return one.get("name") is not None and one["name"] == row.get("name")


def pcie_generation(facts: FactView, params: Mapping[str, Any], tables: Tables) -> list[RowResult]:
    """The link of a GPU at work runs at the highest generation of GPU and slot together; idle GPUs are not judged."""

    def judge(row: Row) -> RowResult:
        now, highest = read(row, "pcie_gen_current"), read(row, "pcie_gen_max")
        if now is None or highest is None:
            return not_judged("the PCIe generation is not reported")
        if now >= highest:
            return passed(f"Gen{highest}", f"Gen{now}")
        idle = is_idle(row, int(params["busy_pct"]))
        if idle:
            return not_judged(f"Gen{now} of Gen{highest} while {idle}: links slow down when idle")
        return failed(f"Gen{highest}", f"Gen{now} at {row.get('gpu_utilization_pct')} % use")

    return judge_rows(facts.nvidia_rows("gpu.devices"), judge)


def pcie_slot(facts: FactView, params: Mapping[str, Any], tables: Tables) -> list[RowResult]:
    """The slot reaches the generation (up to Gen5) and the lanes of the GPU."""

    def judge(row: Row) -> RowResult:
        device, host = read(row, "pcie_gen_device_max"), read(row, "pcie_gen_host_max")
        lanes = gpu_model(row, tables).get("pcie_width")
        width = read(row, "pcie_width_max")
        expected, actual, wrong = [], [], False
        if device is not None and host is not None:
            wanted = min(device, _NEWEST_COMMON_GEN)
            expected.append(f"Gen{wanted} slot")
            actual.append(f"Gen{host} slot")
            wrong = host < wanted
        if lanes is not None and width is not None:
            expected.append(f"x{lanes}")
            actual.append(f"x{width}")
            wrong = wrong or width < int(lanes)
        if not expected:
            return not_judged("what the slot can do is not reported")
        return (failed if wrong else passed)(", ".join(expected), ", ".join(actual))

    return judge_rows(facts.nvidia_rows("gpu.devices"), judge)


def pcie_replays(facts: FactView, params: Mapping[str, Any], tables: Tables) -> list[RowResult]:
    """Replays a minute, on average since boot, stay under DCGM's limit for this link."""
    minutes = max(float(facts.value("node.uptime_s")) / 60, 1.0)

    def judge(row: Row) -> RowResult:
        replays, gen, width = (read(row, name) for name in ("pcie_replays", "pcie_gen_max", "pcie_width_max"))
        per_lane = _REPLAYS_PER_MIN_AND_LANE.get(gen) if gen is not None else None
        if replays is None or per_lane is None or width is None:
            return not_judged("replays or the link are not reported")
        limit = per_lane * width
        verdict = passed if replays / minutes <= limit else failed
        return verdict(f"at most {limit:.0f} per minute", f"{replays / minutes:.2g} per minute ({replays} since boot)")

    return judge_rows(facts.nvidia_rows("gpu.devices"), judge)
