"""Recordings of other people's machines: their faults are found, and nothing is made up.

All persistence findings are true.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from recorded_nodes import judged, smi

from nodectl.engine import catalogue_for_run
from nodectl.model import Outcome

ALL = frozenset(range(8))
# recording -> check -> GPUs that fail it.
FAULTS: dict[str, dict[str, frozenset[int]]] = {
    "nvidia-smi-q/aznhc-retired-pages-bad.txt": {
        "gpu.retired_pages": frozenset({0, 1, 5, 7}),
        "gpu.retired_pages_not_pending": frozenset({1, 3, 5, 7}),
    },
    "nvidia-smi-q/aznhc-retired-pages-orig.txt": {},
    "nvidia-smi-q/gpud-a10-550.127.05-hw-slowdown.txt": {"gpu.clock_events": frozenset({0})},
    "nvidia-smi-q/gpud-a10-550.127.05.txt": {},
    "nvidia-smi-q/h100-x8-535.161.08-hw-slowdown.txt": {"gpu.clock_events": ALL},
    "nvidia-smi-q/nge-h100-590.48.01-idle.txt": {},
    "nvidia-smi-q/nge-h100-590.48.01-load.txt": {},
    "nvidia-smi-q/nge-h100-mig-590.48.01-load.txt": {},
    "nvidia-smi-q/nge-rtx4080s-595.71.05-idle.txt": {"persistence.mode": frozenset({0})},
    "nvidia-smi-q/nge-rtx4080s-595.71.05-load.txt": {"persistence.mode": frozenset({0})},
    "nvidia-smi-q/rtx4090-x8-535.154.05-a.txt": {},
    "nvidia-smi-q/titan-v-x1-560.35.03.txt": {"persistence.mode": frozenset({0})},
    "nvidia-smi-xml/c3sr-example1.xml": {},
    "nvidia-smi-xml/ceems-a100-pcie-x8-mig-535.129.03.xml": {},
    "nvidia-smi-xml/netdata-rtx-3060.xml": {"persistence.mode": frozenset({0})},
    "nvidia-smi-xml/netdata-rtx-pro-6000-driver-580.xml": {},
    "nvidia-smi-xml/telegraf-a100-sxm4-v12.xml": {"persistence.mode": frozenset({1})},
    "nvidia-smi-xml/telegraf-a10g.xml": {"persistence.mode": frozenset({0})},
    "nvidia-smi-xml/telegraf-rtx-3080-v12.xml": {"gpu.power_limit_default": frozenset({0})},
    "nvidia-smi-xml/telegraf-rtx-4000-sff-ada-v13.xml": {},
}


@pytest.mark.parametrize("name", sorted(FAULTS))
def test_the_faults_of_a_recording_and_no_others(name: str, shared: Path) -> None:
    path = shared / "recordings" / "public" / name
    findings = judged(smi(path, 8), catalogue_for_run.load(), ("gpu", "persistence", "nvlink"))
    found: dict[str, set[int]] = {}
    for finding in findings:
        # What hangs on the bus, on the inventory or on other sources is not in these recordings.
        if finding.outcome is Outcome.FAIL and finding.subject.startswith("GPU "):
            found.setdefault(finding.check, set()).add(int(finding.subject.removeprefix("GPU ")))
    assert found == {check: set(gpus) for check, gpus in FAULTS[name].items()}


@pytest.mark.parametrize("name", sorted(FAULTS))
def test_no_check_breaks_on_a_recording(name: str, shared: Path) -> None:
    path = shared / "recordings" / "public" / name
    for finding in judged(smi(path, 8), catalogue_for_run.load(), ("driver", "cuda", "gpu", "nvlink", "pcie")):
        assert "could not be evaluated" not in finding.reason, finding
