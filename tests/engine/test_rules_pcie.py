"""The rules about PCIe links: idle is never a fault, and a narrow or slow slot always is one."""

from __future__ import annotations

from typing import Any

import pytest
from rule_calls import ERROR, call, gpus, worst

from nodectl.engine.rules import CannotTellError, pcie
from nodectl.model import Outcome

PASS, FAIL, UNKNOWN, NOT_APPLICABLE = Outcome.PASS, Outcome.FAIL, Outcome.UNKNOWN, Outcome.NOT_APPLICABLE
H200, L40S, B300 = "10de:2335", "10de:26b9", "10de:3182"


def generation(now: int | None, highest: int | None, pstate: str, used: int, *reasons: str) -> Outcome:
    row = {
        "pcie_gen_current": now,
        "pcie_gen_max": highest,
        "pstate": pstate,
        "gpu_utilization_pct": used,
        "clocks_event_reasons": list(reasons),
    }
    return worst(pcie.pcie_generation, {"gpu.devices": gpus(row)}, busy_pct=10)


@pytest.mark.parametrize(
    ("now", "highest", "pstate", "used", "reasons", "outcome"),
    [
        (5, 5, "P0", 99, (), PASS),
        (5, 5, "P8", 0, ("gpu_idle",), PASS),
        (1, 4, "P8", 0, ("gpu_idle",), NOT_APPLICABLE),
        (1, 4, "P0", 0, (), NOT_APPLICABLE),
        (1, 4, "P0", 50, ("gpu_idle",), NOT_APPLICABLE),
        (1, 4, "P8", 50, (), NOT_APPLICABLE),
        (3, 4, "P0", 50, (), FAIL),
        (3, 5, "P0", 10, ("sw_power_cap",), FAIL),
        (None, 5, "P0", 99, (), NOT_APPLICABLE),
        (4, None, "P0", 99, (), NOT_APPLICABLE),
    ],
)
def test_generations(
    now: int | None, highest: int | None, pstate: str, used: int, reasons: tuple[str, ...], outcome: Outcome
) -> None:
    assert generation(now, highest, pstate, used, *reasons) is outcome


@pytest.mark.parametrize(
    ("pci_id", "device", "host", "width", "outcome"),
    [
        (H200, 5, 5, 16, PASS),
        (H200, 5, 4, 16, FAIL),
        (H200, 5, None, 16, PASS),
        (H200, None, None, 8, FAIL),
        (B300, 6, 5, 16, PASS),
        (B300, 6, 4, 16, FAIL),
        (L40S, 4, 5, 16, PASS),
        ("10de:ffff", 5, 5, 8, PASS),
        ("10de:ffff", None, 5, 8, NOT_APPLICABLE),
    ],
)
def test_slots(pci_id: str, device: int | None, host: int | None, width: int, outcome: Outcome) -> None:
    row = {"pci_id": pci_id, "pcie_gen_device_max": device, "pcie_gen_host_max": host, "pcie_width_max": width}
    assert worst(pcie.pcie_slot, {"gpu.devices": gpus(row)}) is outcome


def replays(count: int, gen: int, width: int, uptime_s: float) -> Outcome:
    row = {"pcie_replays": count, "pcie_gen_max": gen, "pcie_width_max": width}
    return worst(pcie.pcie_replays, {"gpu.devices": gpus(row), "node.uptime_s": uptime_s})


def test_the_limit_of_replays_follows_speed_lanes_and_time() -> None:
    day = 86400.0
    assert replays(30 * 1440, 5, 16, day) is PASS
    assert replays(32 * 1440, 5, 16, day) is FAIL
    assert replays(30 * 1440, 5, 8, day) is FAIL
    assert replays(30 * 1440, 4, 16, day) is FAIL
    assert replays(31, 5, 16, 1.0) is FAIL  # a node that has just booted is judged as if it were up a minute
    assert replays(30, 5, 16, 1.0) is PASS


def test_without_the_uptime_there_is_no_rate() -> None:
    rows: dict[str, Any] = {"gpu.devices": gpus({"pcie_replays": 0}), "node.uptime_s": ERROR}
    with pytest.raises(CannotTellError):
        call(pcie.pcie_replays, rows)
