"""nvidia-smi topo -m: matrices with tabs, blanks, escapes, NIC columns; and what is no matrix."""

from __future__ import annotations

from pathlib import Path

import pytest
from nvidia_replies import TOPO, cmd, facts_of

from nodectl.facts.conform import ERRORS_KEY
from nodectl.model import Fact, FactState
from nodectl.probe.clean import clean

H200X8 = "recordings/h200x8/nvidia-smi-topo.txt"

# Two GPUs and two NICs as driver 535 prints them (tabs, escapes), with the legend of NICs.
WITH_NICS = (
    "\t\x1b[4mGPU0\tGPU1\tNIC0\tNIC1\tCPU Affinity\tNUMA Affinity\tGPU NUMA ID\x1b[0m\n"
    "GPU0\t X \tNV18\tPIX\tSYS\t0-55,112-167\t0\t\tN/A\n"
    "GPU1\tNV18\t X \tSYS\tPXB\t56-111,168-223\t1\t\tN/A\n"
    "NIC0\tPIX\tSYS\t X \tSYS\t\t\t\t\n"
    "NIC1\tSYS\tPXB\tSYS\t X \t\t\t\t\n"
    "\nLegend:\n\n  X    = Self\n  NV#  = Connection traversing a bonded set of # NVLinks\n"
    "\nNIC Legend:\n\n  NIC0: mlx5_0\n  NIC1: mlx5_bond_1\n"
)
# Driver 470 and older: RDMA names as columns, no legend of NICs, one affinity.
OLD = (
    "\tGPU0\tGPU1\tmlx5_0\tCPU Affinity\n"
    "GPU0\t X \tSYS\tPHB\t0-23\n"
    "GPU1\tSYS\t X \tNODE\t24-47\n"
    "mlx5_0\tPHB\tNODE\t X \t\n"
    "\nLegend:\n\n  X    = Self\n"
)


def topo(text: str, rc: int | None = 0, stderr: str = "") -> dict[str, Fact]:
    return facts_of("nvidia_smi_topo", [cmd(TOPO, text, rc=rc, stderr=stderr)])


@pytest.mark.parametrize("escaped", [False, True])
def test_gpus_nics_and_affinities(escaped: bool) -> None:
    facts = topo(clean(WITH_NICS) if escaped else WITH_NICS)
    assert facts["gpu.topology"].value == [
        {"gpu_index": 0, "peer_index": 1, "link": "NV18"},
        {"gpu_index": 1, "peer_index": 0, "link": "NV18"},
    ]
    assert facts["gpu.nic_topology"].value == [
        {"gpu_index": 0, "nic": "mlx5_0", "link": "PIX"},
        {"gpu_index": 0, "nic": "mlx5_bond_1", "link": "SYS"},
        {"gpu_index": 1, "nic": "mlx5_0", "link": "SYS"},
        {"gpu_index": 1, "nic": "mlx5_bond_1", "link": "PXB"},
    ]
    second = facts["gpu.affinity"].value[1]
    assert second == {
        "gpu_index": 1, "cpu_affinity": "56-111,168-223", "numa_affinity": "1", "numa_node": 1, "gpu_numa_node": None
    }  # fmt: skip


def test_old_drivers() -> None:
    facts = topo(OLD)
    assert facts["gpu.nic_topology"].value[1] == {"gpu_index": 1, "nic": "mlx5_0", "link": "NODE"}
    assert facts["gpu.affinity"].value[0] == {"gpu_index": 0, "cpu_affinity": "0-23"}


def test_h200_in_a_virtual_machine(shared: Path) -> None:
    facts = topo((shared / H200X8).read_text())
    rows = facts["gpu.topology"].value
    assert len(rows) == 56
    assert {row["link"] for row in rows} == {"NV18"}
    assert {(row["cpu_affinity"], row["numa_node"]) for row in facts["gpu.affinity"].value} == {("0-127", 0)}


def test_a_gpu_near_to_several_numa_nodes_has_no_single_one() -> None:
    row = topo(WITH_NICS.replace("0-55,112-167\t0\t", "0-223\t0-1\t"))["gpu.affinity"].value[0]
    assert (row["numa_affinity"], row["numa_node"]) == ("0-1", None)


def test_an_affinity_that_cannot_be_placed_is_an_error() -> None:
    row = topo(WITH_NICS.replace("0-55,112-167\t0\t\tN/A", "\t0\t\tN/A"))["gpu.affinity"].value[0]
    assert row["numa_affinity"] is None
    assert "cannot be told" in row[ERRORS_KEY]["numa_affinity"]


def test_words_that_are_no_link_are_errors_of_that_field() -> None:
    row = topo(WITH_NICS.replace("GPU0\t X \tNV18", "GPU0\t X \tERR!"))["gpu.topology"].value[0]
    assert row["link"] is None
    assert "ERR!" in row[ERRORS_KEY]["link"]


@pytest.mark.parametrize(
    ("text", "rc", "reason"),
    [
        ("", 127, "nvidia-smi not found"),
        ("", 124, "time limit"),
        ("Failed to initialize NVML: Driver/library version mismatch\n", 18, "version mismatch"),
        ("", 0, "no matrix"),
        ("garbage\n", 0, "no matrix"),
        (WITH_NICS[:120], 0, "links"),
        (WITH_NICS.replace("GPU1\tNV18\t X \tSYS\tPXB\t56-111,168-223\t1\t\tN/A\n", ""), 0, "1 of 2 GPUs"),
        (WITH_NICS.replace("CPU Affinity", "Moon Phase"), 0, "not known"),
    ],
)
def test_what_is_no_whole_matrix_is_an_error(text: str, rc: int, reason: str) -> None:
    for fact in topo(text, rc).values():
        assert fact.state is FactState.ERROR
        assert reason in fact.reason


def test_no_devices_and_no_support() -> None:
    assert topo("No devices were found\n", 6)["gpu.topology"].value == []
    assert topo("Topology information is not supported on this platform.\n")["gpu.topology"].state is FactState.ABSENT
    assert facts_of("nvidia_smi_topo", [])["gpu.topology"].state is FactState.ERROR


def test_the_matrix_of_a_call_that_failed_is_no_message() -> None:
    for fact in topo(WITH_NICS, rc=15).values():
        assert fact.state is FactState.ERROR
        assert "exit code 15" in fact.reason
        assert "GPU0" not in fact.reason
    assert "is lost" in topo("GPU 0000:18:00.0 is lost\n", rc=15)["gpu.topology"].reason
