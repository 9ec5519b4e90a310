"""ctrl-c in the middle of the demo: a partial report within a second, and nothing left."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

import pytest
from demo_kit import Runner

# Half of the fleet takes a minute to answer.
_SLOW = """
import msgspec
import nodectl.demo.fleet as fleet
fleet.FLEET = tuple(
    msgspec.structs.replace(node, think_s=60.0 if index % 2 else 0.0) for index, node in enumerate(fleet.FLEET)
)
"""
_QUICK = ("gpu-01", "gpu-03", "gpu-05", "gpu-07", "gpu-09", "gpu-11")


def _wait_for(folder: Path, pattern: str) -> None:
    end = time.monotonic() + 20
    while not list(folder.glob(pattern)):
        assert time.monotonic() < end, f"no {pattern} came"
        time.sleep(0.01)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_interrupted_in_the_middle(runner: Runner, tmp_path: Path, number: signal.Signals, code: int) -> None:
    saved = tmp_path / "saved"
    child = runner.start("check", "--demo", "--json", "--save", str(saved), code=_SLOW)
    for name in _QUICK:
        _wait_for(saved, f"{name}.ndt")
    assert child.poll() is None
    begun = time.monotonic()
    os.killpg(child.pid, number)
    out, err = child.communicate(timeout=20)
    took_s = time.monotonic() - begun
    report = json.loads(out)
    assert child.returncode == code, err
    assert report["partial"] is True
    assert len(report["nodes"]) == 14
    states = {node["name"]: node["state"] for node in report["nodes"]}
    reasons = {node["name"]: node["reason"]["code"] for node in report["nodes"] if node["reason"]}
    # What has just come may not have been judged yet; what has not come is cancelled.
    assert "reached" in {states[name] for name in _QUICK}
    assert {reasons[name] for name in states if name not in (*_QUICK, "gpu-13", "gpu-14")} == {"cancelled"}
    assert took_s < (2.5 if os.getloadavg()[0] < 2 * (os.cpu_count() or 1) else 15)


def test_interrupted_while_it_comes_up(runner: Runner) -> None:
    child = runner.start("check", "--demo", code=_SLOW)
    _wait_for(runner.temporary, "*")
    os.killpg(child.pid, signal.SIGINT)
    child.communicate(timeout=20)
    assert child.returncode == 130


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM])
@pytest.mark.parametrize("until", ["*", "*/ssh_config"])
def test_a_closed_terminal_leaves_nothing(runner: Runner, number: signal.Signals, until: str) -> None:
    """The runner looks for what is left when the test is over."""
    child = runner.start("check", "--demo", code=_SLOW)
    _wait_for(runner.temporary, until)
    os.killpg(child.pid, number)
    child.communicate(timeout=20)
    assert child.returncode == 128 + number
