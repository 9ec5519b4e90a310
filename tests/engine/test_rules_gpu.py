"""The rules about GPUs, their speed and what they share: edges, odd rows, and rows that do not answer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rule_calls import ABSENT, ERROR, call, gpus, subjects, tables, worst

from nodectl.engine.evaluate import Rule
from nodectl.engine.rules import CannotTellError, RowResult, gpu, gpu_speed, pcie
from nodectl.engine.rules.gpu_rows import failed, is_idle, judge_rows, not_judged, passed, sum_up, unknown
from nodectl.model import Outcome

PASS, FAIL, UNKNOWN, NOT_APPLICABLE = Outcome.PASS, Outcome.FAIL, Outcome.UNKNOWN, Outcome.NOT_APPLICABLE
H200 = "10de:2335"
BUSY = {"pstate": "P0", "gpu_utilization_pct": 97, "clocks_event_reasons": ["sw_power_cap"]}
LOST = "GPU is lost"


def judged(rule: Rule, row: Mapping[str, Any], **params: Any) -> Outcome:
    return worst(rule, {"gpu.devices": gpus(row)}, **params)


def test_failures_and_unknowns_are_kept_and_passes_are_counted() -> None:
    good, bad, dark, out = passed("a", "b"), failed("a", "c"), unknown("why"), not_judged("idle")
    assert sum_up([good, bad, out, dark, good]) == [bad, dark]
    assert sum_up([good, good, out]) == [RowResult(PASS, expected="a", actual="2 of 2", reason="1 not judged: idle")]
    assert sum_up([good]) == [good]
    assert sum_up([good, out]) == [RowResult(PASS, expected="a", actual="1 of 1", reason="1 not judged: idle")]
    assert sum_up([out, out]) == [RowResult(NOT_APPLICABLE, reason="idle")]
    assert [result.outcome for result in sum_up([])] == [UNKNOWN]


def test_a_row_that_does_not_answer_costs_only_itself() -> None:
    rows = gpus({"temperature_c": 90, "temperature_slowdown_c": 89}, {"_errors": {"t_limit_c": LOST}})
    results = call(gpu_speed.temperature, {"gpu.devices": rows}, margin_c=5)
    assert [(result.subject, result.outcome) for result in results] == [("GPU 0", FAIL), ("GPU 1", UNKNOWN)]
    assert results[1].reason == f"t_limit_c: {LOST}"


@pytest.mark.parametrize(
    ("row", "idle"),
    [
        (BUSY, ""),
        ({**BUSY, "gpu_utilization_pct": 10}, ""),
        ({**BUSY, "gpu_utilization_pct": 9}, "idle (P0, 9 % used)"),
        ({**BUSY, "pstate": "P2"}, "idle (P2, 97 % used)"),
        ({**BUSY, "clocks_event_reasons": ["gpu_idle"]}, "idle (P0, 97 % used)"),
        ({**BUSY, "gpu_utilization_pct": None}, "idle (P0, utilisation is not reported)"),
        ({"pstate": None, "gpu_utilization_pct": 0}, "idle (0 % used)"),
    ],
)
def test_only_a_gpu_that_is_surely_at_work_is_judged_under_load(row: Mapping[str, Any], idle: str) -> None:
    assert is_idle(row, 10) == idle


def test_each_throttle_reason_is_judged_by_its_kind() -> None:
    for row in tables()["throttle_reasons"].rows:
        for kind in ("bad", "suspicious"):
            outcome = judged(gpu_speed.clock_events, {"clocks_event_reasons": [row["reason"]]}, kinds=[kind])
            assert outcome is (FAIL if row["kind"] == kind else PASS), row


def test_a_bad_reason_counts_beside_benign_ones_and_new_ones() -> None:
    reasons = ["sw_power_cap", "hw_thermal_slowdown", "something_new"]
    (result,) = call(gpu_speed.clock_events, {"gpu.devices": gpus({"clocks_event_reasons": reasons})}, kinds=["bad"])
    assert (result.outcome, result.actual) == (FAIL, "HW Thermal Slowdown")


@pytest.mark.parametrize(
    ("row", "outcome"),
    [
        ({"t_limit_c": 3, "t_limit_slowdown_c": -2}, PASS),
        ({"t_limit_c": 2, "t_limit_slowdown_c": -2}, FAIL),
        ({"t_limit_c": 5, "t_limit_slowdown_c": None}, PASS),
        ({"t_limit_c": 4}, FAIL),
        ({"temperature_c": 84, "temperature_slowdown_c": 89}, PASS),
        ({"temperature_c": 85, "temperature_slowdown_c": 89}, FAIL),
        ({"t_limit_c": 40, "temperature_c": 90, "temperature_slowdown_c": 89}, PASS),
        ({"temperature_c": 84}, NOT_APPLICABLE),
    ],
)
def test_what_is_left_before_slowdown(row: Mapping[str, Any], outcome: Outcome) -> None:
    assert judged(gpu_speed.temperature, row, margin_c=5) is outcome


@pytest.mark.parametrize(
    ("total", "outcome"), [(143771, PASS), (140896, PASS), (140895, FAIL), (81559, FAIL), (160000, PASS)]
)
def test_memory_may_be_a_little_less_and_any_more(total: int, outcome: Outcome) -> None:
    row = {"pci_id": H200, "memory_total_mib": total, "virtualization_mode": "Pass-Through"}
    assert judged(gpu.memory_total, row, tolerance=0.02) is outcome


@pytest.mark.parametrize(
    ("wanted", "name", "pci_id", "outcome"),
    [
        ("H200", "NVIDIA H200", H200, PASS),
        ("nvidia h200", "NVIDIA H200", H200, PASS),
        ("H200 NVL", "NVIDIA H200", H200, FAIL),
        ("H20", "NVIDIA H200", H200, FAIL),
        ("h200-sxm", "NVIDIA H200", H200, PASS),
        ("h200-sxm", "NVIDIA H200 NVL", "10de:233b", FAIL),
        ("L40", "NVIDIA L40S", "10de:26b9", FAIL),
        ("RTX 4090", "NVIDIA GeForce RTX 4090", "10de:2684", PASS),
    ],
)
def test_words_of_a_model_are_whole_words(wanted: str, name: str, pci_id: str, outcome: Outcome) -> None:
    facts = {"expect.model": wanted, "gpu.devices": gpus({"name": name, "pci_id": pci_id})}
    assert worst(gpu.model_expected, facts) is outcome


def test_addresses_are_compared_however_they_are_written() -> None:
    facts = {
        "gpu.devices": gpus({"pci_bus_id": "00000000:0B:00.0"}, {"pci_bus_id": "00010000:5E:00.0"}),
        "gpu.pci": [
            {"pci_bus_id": "0000:0b:00.0", "driver": "nvidia"},
            {"pci_bus_id": "10000:5e:00.0", "driver": "nvidia"},
        ],
        "gpu.attached_count": 2,
        "gpu.proc_count": ABSENT,
        "virt.container": ERROR,
    }
    assert worst(gpu.all_attached, facts) is PASS


def test_a_missing_gpu_is_named_even_where_the_counts_cannot_be_read() -> None:
    facts = {
        "gpu.devices": gpus({"pci_bus_id": "0000:0b:00.0"}),
        "gpu.pci": [{"pci_bus_id": "0000:0b:00.0", "driver": "nvidia"}, {"pci_bus_id": "0000:0c:00.0", "driver": None}],
        "gpu.attached_count": ERROR,
        "gpu.proc_count": ERROR,
        "virt.container": "none",
    }
    results = call(gpu.all_attached, facts)
    assert subjects(results) == ["0000:0c:00.0"]
    assert results[0].actual == "on the PCI bus, no driver, not listed"


def test_majorities_are_named_and_ties_are_one_failure() -> None:
    def names(*words: str) -> list[RowResult]:
        rows = gpus(*({"name": word} for word in words))
        return call(gpu.models_alike, {"gpu.devices": rows}, ignore=["display"])

    assert subjects(names("a", "a", "b")) == ["GPU 2"]
    assert [result.subject for result in names("a", "b")] == [""]
    assert names("a", "a", "display")[0].outcome is PASS


def test_recovery_actions_of_old_and_new_drivers() -> None:
    assert judged(gpu.recovery_action, {"recovery_action": "Drain and Reset"}) is FAIL
    assert judged(gpu.recovery_action, {"reset_required": False, "drain_and_reset_recommended": True}) is FAIL
    assert judged(gpu.recovery_action, {"reset_required": None, "drain_and_reset_recommended": None}) is NOT_APPLICABLE


def test_a_refused_permission_is_no_lost_gpu() -> None:
    rows = {"_errors": {"serial": "needs root: Insufficient Permissions"}}
    assert judged(gpu.answers, rows) is PASS
    assert judged(gpu.answers, {"_errors": {"uuid": "[GPU is lost]"}}) is FAIL
    assert judged(gpu.answers, {"_errors": {"name": "ERR!"}}) is FAIL


@pytest.mark.parametrize(
    ("rule", "params", "row", "outcome"),
    [
        (gpu.memory_total, {"tolerance": 0.0}, {"pci_id": H200, "memory_total_mib": 143771}, PASS),
        (gpu.memory_total, {"tolerance": 0.0}, {"pci_id": H200, "memory_total_mib": 143770}, FAIL),
        (gpu.retired_pages, {"max_pages": 59}, {"retired_pages_sbe": 58, "retired_pages_dbe": 1}, PASS),
        (gpu.retired_pages, {"max_pages": 59}, {"retired_pages_sbe": None, "retired_pages_dbe": 60}, FAIL),
        (gpu.idle_memory_free, {"max_used_mib": 1024}, {"memory_used_mib": 1024, "processes_count": 0}, PASS),
        (gpu.idle_memory_free, {"max_used_mib": 1024}, {"memory_used_mib": 1025, "processes_count": 0}, FAIL),
        (gpu.idle_memory_free, {"max_used_mib": 1}, {"memory_used_mib": 9, "processes_count": None}, NOT_APPLICABLE),
        (gpu.idle_memory_free, {"max_used_mib": 1}, {"memory_used_mib": None, "processes_count": 0}, NOT_APPLICABLE),
        (gpu.idle_memory_free, {"max_used_mib": 1}, {"memory_used_mib": 9, "processes_count": 1}, NOT_APPLICABLE),
        (
            gpu.idle_memory_free,
            {"max_used_mib": 1},
            {**BUSY, "memory_used_mib": 9, "processes_count": 0},
            NOT_APPLICABLE,
        ),
        (gpu_speed.memory_temperature, {"margin_c": 2}, {"pci_id": "10de:20b2", "temperature_memory_c": 93}, PASS),
        (gpu_speed.memory_temperature, {"margin_c": 2}, {"pci_id": "10de:20b2", "temperature_memory_c": 94}, FAIL),
        (
            gpu_speed.memory_temperature,
            {"margin_c": 0},
            {"pci_id": "10de:20b2", "temperature_memory_c": 100, "temperature_memory_max_operating_c": 105},
            PASS,
        ),
    ],
)
def test_the_last_good_and_the_first_bad_value(
    rule: Rule, params: dict[str, Any], row: dict[str, Any], outcome: Outcome
) -> None:
    assert judged(rule, row, **params) is outcome


@pytest.mark.parametrize(("clock", "outcome"), [(800, PASS), (799, FAIL)])
def test_a_busy_gpu_at_a_low_clock(clock: int, outcome: Outcome) -> None:
    row = {"pstate": "P0", "gpu_utilization_pct": 60, "clocks_event_reasons": [], "sm_clock_mhz": clock}
    assert judged(gpu_speed.sm_clock_under_load, row, min_mhz=800, busy_pct=50) is outcome


@pytest.mark.parametrize(("driver", "outcome"), [("550.90.07", PASS), ("550.54.15", FAIL)])
def test_the_first_driver_with_mig(driver: str, outcome: Outcome) -> None:
    facts = {"gpu.devices": gpus({"pci_id": H200, "mig_current": True}), "driver.version": driver}
    assert worst(gpu.mig_driver, facts) is outcome


def test_a_pass_names_the_limiters_that_are_in_order() -> None:
    def actual(*reasons: str) -> str:
        rows = gpus({"clocks_event_reasons": list(reasons)})
        return call(gpu_speed.clock_events, {"gpu.devices": rows}, kinds=["bad"])[0].actual

    assert actual() == "none"
    assert actual("gpu_idle", "sw_power_cap") == "Idle, SW Power Cap"


def test_history_counts_only_heat_and_power_brake() -> None:
    counters = {"sw_power_cap": 10**12, "sync_boost": 10**9, "hw_thermal_slowdown": 1_000_000}
    assert judged(gpu_speed.clock_event_history, {"clocks_event_counters_us": counters}, max_s=1) is PASS
    counters["hw_thermal_slowdown"] += 1
    assert judged(gpu_speed.clock_event_history, {"clocks_event_counters_us": counters}, max_s=1) is FAIL


ROW_RULES: list[tuple[Rule, dict[str, Any], tuple[str, ...]]] = [
    (gpu.recovery_action, {}, ("recovery_action",)),
    (gpu.memory_total, {"tolerance": 0.02}, ("memory_total_mib",)),
    (gpu.retired_pages, {"max_pages": 59}, ("retired_pages_sbe", "retired_pages_dbe")),
    (gpu.idle_memory_free, {"max_used_mib": 1024}, ("memory_used_mib", "processes_count")),
    (gpu_speed.clock_events, {"kinds": ["bad"]}, ("clocks_event_reasons",)),
    (gpu_speed.clock_event_history, {"max_s": 1}, ("clocks_event_counters_us",)),
    (gpu_speed.sm_clock_under_load, {"min_mhz": 800, "busy_pct": 50}, ("sm_clock_mhz", "pstate")),
    (gpu_speed.temperature, {"margin_c": 5}, ("t_limit_c", "temperature_c")),
    (gpu_speed.memory_temperature, {"margin_c": 2}, ("temperature_memory_c",)),
    (pcie.pcie_generation, {"busy_pct": 10}, ("pcie_gen_current", "pcie_gen_max")),
    (pcie.pcie_slot, {}, ("pcie_gen_device_max", "pcie_gen_host_max")),
]


@pytest.mark.parametrize(("rule", "params", "fields"), ROW_RULES, ids=lambda value: getattr(value, "__name__", None))
def test_a_field_that_could_not_be_read_is_unknown_and_one_that_is_not_there_is_not_judged(
    rule: Rule, params: dict[str, Any], fields: tuple[str, ...]
) -> None:
    dark = {"pci_id": H200, **dict.fromkeys(fields), "_errors": dict.fromkeys(fields, LOST)}
    assert judged(rule, dark, **params) is UNKNOWN
    assert judged(rule, {"pci_id": "10de:ffff", **dict.fromkeys(fields)}, **params) is NOT_APPLICABLE


def test_a_gpu_that_does_not_say_its_model_is_unknown() -> None:
    lost = {"pci_id": None, "name": None, "memory_total_mib": None, "_errors": {"pci_id": LOST, "name": LOST}}
    facts = {"gpu.devices": gpus({"pci_id": H200, "memory_total_mib": 143771}, lost)}
    assert worst(gpu.memory_total, facts, tolerance=0.02) is UNKNOWN


def test_a_name_that_fits_is_enough_where_the_pci_id_could_not_be_read() -> None:
    row = {"name": "NVIDIA H200", "pci_id": None, "_errors": {"pci_id": LOST}}
    assert worst(gpu.model_expected, {"expect.model": "H200", "gpu.devices": gpus(row)}) is PASS
    assert worst(gpu.model_expected, {"expect.model": "h200-sxm", "gpu.devices": gpus(row)}) is UNKNOWN


@pytest.mark.parametrize("rule", [gpu.models_alike, gpu.vbios_alike])
def test_no_gpus_to_compare_is_unknown_and_says_why(rule: Rule) -> None:
    (result,) = call(rule, {"gpu.devices": []}, ignore=[])
    assert result.outcome is UNKNOWN
    assert result.reason


_VALUE = st.none() | st.integers(-100, 200_000)
_ROWS = st.lists(
    st.fixed_dictionaries(
        {},
        optional={
            "t_limit_c": _VALUE,
            "t_limit_slowdown_c": _VALUE,
            "temperature_c": _VALUE,
            "temperature_slowdown_c": _VALUE,
            "_errors": st.dictionaries(st.sampled_from(["t_limit_c", "temperature_c"]), st.just(LOST), max_size=2),
        },
    ),
    max_size=8,
)


@given(_ROWS)
def test_a_pass_means_that_every_row_passes_alone(rows: list[dict[str, Any]]) -> None:
    def alone(row: dict[str, Any]) -> Outcome:
        return worst(gpu_speed.temperature, {"gpu.devices": gpus(row)}, margin_c=5)

    outcomes = {alone(row) for row in rows}
    whole = worst(gpu_speed.temperature, {"gpu.devices": gpus(*rows)}, margin_c=5)
    assert whole is max(outcomes, key=lambda outcome: outcome.rank, default=UNKNOWN)


def test_what_hangs_on_a_whole_fact_is_left_to_the_engine() -> None:
    with pytest.raises(CannotTellError):
        call(gpu_speed.temperature, {"gpu.devices": ERROR}, margin_c=5)
    assert [result.outcome for result in judge_rows([], lambda row: passed("", ""))] == [UNKNOWN]
