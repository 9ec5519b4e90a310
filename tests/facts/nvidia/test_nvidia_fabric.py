"""Fabric Manager's settings, IMEX, peer access, and what all GPUs of a node come to."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nvidia_replies import facts_of
from replies import cmd, file, said

from nodectl.facts.conform import ERRORS_KEY
from nodectl.facts.nvidia import summary
from nodectl.model import Fact, FactState
from nodectl.probe.transcript import Section

NODES = "/etc/nvidia-imex/nodes_config.cfg"
NOTHING = [said("fabricmanager.cfg", "not found"), said("imex", "not found"), said("imex channels", "not found")]
P2P = "nvidia-smi topo -p2p r"
MATRIX = (
    " \t\\x1b[4mGPU0\tGPU1\t\\x1b[0m\n GPU0\tX\tOK\t\n GPU1\tNS\tX\t\n\nLegend:\n\n  X    = Self\n  OK   = Status Ok\n"
)


def fabric(*sections: Section) -> dict[str, Fact]:
    return facts_of("nvidia_fabric", list(sections))


def test_a_node_without_any_of_it() -> None:
    assert {fact.state for fact in fabric(*NOTHING).values()} == {FactState.ABSENT}


def test_a_tray_with_imex() -> None:
    facts = fabric(
        cmd("fabricmanager.cfg", "LOG_LEVEL=4\nFABRIC_MODE=0\n"),
        said("imex", "found"),
        file(NODES, "# trays\n10.0.0.1\n\n10.0.0.2 # the second\n"),
        cmd("nvidia-imex-ctl -q", "READY\n"),
        cmd("imex channels", "1\n"),
    )
    assert facts["fabric.manager_mode"].value == 0
    assert facts["fabric.imex_nodes"].value == ["10.0.0.1", "10.0.0.2"]
    assert facts["fabric.imex_state"].value == "READY"
    assert facts["fabric.imex_channels"].value == 1


@pytest.mark.parametrize(
    ("section", "state", "words"),
    [
        (cmd("nvidia-imex-ctl -q", "", "cannot connect\n", 1), FactState.ERROR, "cannot connect"),
        (cmd("nvidia-imex-ctl -q", "", "", 124), FactState.ERROR, "did not end"),
        (cmd("nvidia-imex-ctl -q", "ready?\n"), FactState.ERROR, "says"),
        (cmd("something else", ""), FactState.ERROR, "not installed"),
        (cmd("nvidia-imex-ctl -q", "INITIALIZING\n"), FactState.VALUE, ""),
    ],
)
def test_states_that_imex_does_not_tell(section: Section, state: FactState, words: str) -> None:
    fact = fabric(said("imex", "found"), section)["fabric.imex_state"]
    assert fact.state is state
    assert words in fact.reason


def test_peer_access() -> None:
    (fact,) = facts_of("nvidia_smi_p2p", [cmd(P2P, MATRIX)]).values()
    assert fact.value == [
        {"gpu_index": 0, "peer_index": 1, "status": "OK"},
        {"gpu_index": 1, "peer_index": 0, "status": "NS"},
    ]


@pytest.mark.parametrize(
    ("text", "rc", "state"),
    [
        (MATRIX.replace(" GPU1\tNS\tX\t\n", ""), 0, FactState.ERROR),
        ("", 127, FactState.ERROR),
        ("", 124, FactState.ERROR),
        ("No devices were found\n", 6, FactState.VALUE),
        ("Not supported on this system\n", 0, FactState.ABSENT),
    ],
)
def test_peer_access_that_is_not_told(text: str, rc: int, state: FactState) -> None:
    (fact,) = facts_of("nvidia_smi_p2p", [cmd(P2P, text, rc=rc)]).values()
    assert fact.state is state


_TEXT = st.text(st.sampled_from("GPU0123456789XOKNS\t\n =_#.aé\x1b-"), max_size=120)


@settings(max_examples=100, deadline=None)
@given(text=_TEXT, other=_TEXT, rc=st.sampled_from([0, 1, 6, 124, 127]))
def test_hostile_text_never_raises(text: str, other: str, rc: int) -> None:
    sections = [
        cmd("fabricmanager.cfg", text, other, rc), said("imex", other), file(NODES, text),
        cmd("nvidia-imex-ctl -q", text, other, rc), cmd("imex channels", text, other, rc),
    ]  # fmt: skip
    for fact in [*fabric(*sections).values(), *facts_of("nvidia_smi_p2p", [cmd(P2P, text, other, rc)]).values()]:
        assert fact.state is not FactState.ERROR or fact.reason


def told(name: str, *rows: dict[str, Any]) -> Any:
    return summary.DERIVED[name][1](list(rows))


def test_what_all_gpus_come_to() -> None:
    rows = [{"index": n, "vbios_version": v, "power_limit_w": 700.0} for n, v in enumerate(("96.1", "96.0", "96.1"))]
    assert told("gpu.vbios_versions", *rows) == ["96.0", "96.1"]
    assert told("gpu.power_limit_total_w", *rows) == 2100.0
    assert told("gpu.inforom_versions", *rows).state is FactState.ABSENT


def test_a_sum_of_some_gpus_is_no_sum() -> None:
    some = [{"index": 0, "power_limit_w": 700.0}, {"index": 1, "power_limit_w": None}]
    assert told("gpu.power_limit_total_w", *some).state is FactState.ERROR
    lost = {"index": 1, "power_limit_w": None, ERRORS_KEY: {"power_limit_w": "GPU is lost"}}
    assert "GPU 1: GPU is lost" in told("gpu.power_limit_total_w", some[0], lost).reason
    assert told("gpu.power_limit_total_w").state is FactState.ABSENT
