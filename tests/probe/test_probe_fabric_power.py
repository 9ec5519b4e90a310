"""The sources nvidia_fabric and power_sensors on made-up files, under every shell."""

from __future__ import annotations

from pathlib import Path

import pytest
from probe_nodes import SHELLS

from nodectl.facts.gather import gather
from nodectl.model import Fact, FactState, Node
from nodectl.probe import overlay
from nodectl.probe.__main__ import run_source
from nodectl.probe.compose import load_sources
from nodectl.probe.transcript import write_transcript

COMMANDS = {"dash": ["dash"], "busybox": ["busybox", "sh"], "bash": ["bash", "--posix"]}
FABRIC = ["fabric.manager_mode", "fabric.imex_nodes", "fabric.imex_state", "fabric.imex_channels"]


def _ask(tmp_path: Path, shell: str, source: str, names: list[str]) -> dict[str, Fact]:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    if refusal := overlay.refusal(scratch):
        pytest.skip(f"no overlay root here (root is needed): {refusal}")
    (tmp_path / "top").mkdir(exist_ok=True)
    reply = run_source(load_sources()[source], [], shell=COMMANDS[shell], root=tmp_path / "top")
    assert (reply.state, reply.note) == ("ok", "")
    return gather(write_transcript({source: reply.sections}), names, Node(name="n"))


def _write(tmp_path: Path, path: str, text: str, mode: int = 0o644) -> None:
    file = tmp_path / "top" / path.lstrip("/")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    file.chmod(mode)


@pytest.mark.parametrize("shell", SHELLS)
def test_fabric_manager_and_imex(tmp_path: Path, shell: str) -> None:
    _write(tmp_path, "/usr/share/nvidia/nvswitch/fabricmanager.cfg", "# 0 bare metal\n\nLOG_LEVEL=4\nFABRIC_MODE=1\n")
    _write(tmp_path, "/etc/nvidia-imex/nodes_config.cfg", "# the trays\n10.0.0.1\n10.0.0.2\n")
    _write(tmp_path, "/usr/bin/nvidia-imex-ctl", '#!/bin/sh\n[ "$1" = -q ] && echo READY\n', 0o755)
    facts = _ask(tmp_path, shell, "nvidia_fabric", FABRIC)
    assert [facts[name].value for name in FABRIC[:3]] == [1, ["10.0.0.1", "10.0.0.2"], "READY"]
    assert facts["fabric.imex_channels"].state is FactState.ABSENT


@pytest.mark.parametrize("shell", SHELLS)
def test_a_node_without_a_fabric(tmp_path: Path, shell: str) -> None:
    facts = _ask(tmp_path, shell, "nvidia_fabric", FABRIC)
    assert {fact.state for fact in facts.values()} == {FactState.ABSENT}


@pytest.mark.parametrize("shell", SHELLS)
def test_sensors_of_parts_and_not_of_mainboards(tmp_path: Path, shell: str) -> None:
    for chip, name in (("hwmon0", "coretemp"), ("hwmon1", "nct6775")):
        _write(tmp_path, f"/sys/class/hwmon/{chip}/name", f"{name}\n")
        _write(tmp_path, f"/sys/class/hwmon/{chip}/temp1_input", "61000\n")
        _write(tmp_path, f"/sys/class/hwmon/{chip}/temp1_crit", "100000\n")
    _write(tmp_path, "/sys/class/hwmon/hwmon0/temp1_label", "Package id 0\n")
    _write(tmp_path, "/sys/class/hwmon/hwmon0/temp2_input", "50000\n")  # no limit: left out
    facts = _ask(tmp_path, shell, "power_sensors", ["host.temperatures", "host.chassis"])
    assert facts["host.temperatures"].value == [
        {"sensor": "coretemp Package id 0 (hwmon0)", "temperature_c": 61.0, "critical_c": 100.0}
    ]
    assert facts["host.chassis"].state is FactState.ABSENT
