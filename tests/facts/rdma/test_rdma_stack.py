"""OFED release, device files, peer memory clients and active MTU."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from replies import cmd, fact_of, facts_of, grep, said, state_of, value_of

from nodectl.facts.rdma.stack import parse_devinfo
from nodectl.facts.registry import registry
from nodectl.probe.transcript import Section

OFED, DEVINFO, NODES = "timeout -k 1 5 ofed_info -s", "timeout -k 1 10 ibv_devinfo", "ls -l /dev/infiniband"
NAMES = tuple(name for name, spec in registry().items() if spec.source == "rdma_stack")
CLASS = cmd("ls -d /sys/class", "/sys/class\n")
LISTED = """total 0
drwxr-xr-x 2 root root      60 Nov  9 10:06 by-ibdev
crw-rw-rw- 1 root root  10, 120 Nov  9 10:06 rdma_cm
crw-------. 1 root root 231,   0 Nov  9 10:06 umad0
crw-rw----+ 1 root rdma 231, 192 Nov  9 10:06 uverbs0
crw-rw-rw- 1 root root 231, 193 Nov  9 10:06 uverbs1
"""
INFO = """hca_id:\tmlx5_0
\ttransport:\t\t\tInfiniBand (0)
\tfw_ver:\t\t\t\t28.39.1002
\tphys_port_cnt:\t\t\t1
\t\tport:\t1
\t\t\tstate:\t\t\tPORT_ACTIVE (4)
\t\t\tmax_mtu:\t\t4096 (5)
\t\t\tactive_mtu:\t\t4096 (5)
\t\t\tlink_layer:\t\tInfiniBand

hca_id:\tmlx5_1
\t\tport:\t1
\t\t\tstate:\t\t\tPORT_DOWN (1)
\t\t\tmax_mtu:\t\t4096 (5)
\t\t\tactive_mtu:\t\t1024 (3)
\t\t\tlink_layer:\t\tEthernet
"""


@pytest.mark.parametrize(
    ("text", "kind", "version"),
    [
        ("MLNX_OFED_LINUX-24.10-2.1.8.0:\n", "MLNX_OFED", "24.10-2.1.8.0"),
        ("MLNX_OFED_LINUX-5.8-4.1.5.0:\n", "MLNX_OFED", "5.8-4.1.5.0"),
        ("OFED-internal-25.10-1.7.1:\n", "DOCA-OFED", "25.10-1.7.1"),
        ("OFED-internal-24.10-1.1.4.0.200:\n", "DOCA-OFED", "24.10-1.1.4.0.200"),
    ],
)
def test_a_release(text: str, kind: str, version: str) -> None:
    sections = [cmd(OFED, text)]
    assert value_of("rdma_stack", sections, "rdma.ofed_version") == version
    assert value_of("rdma_stack", sections, "rdma.ofed_kind") == kind


def test_the_recorded_release(shared: Path) -> None:
    path = shared / "recordings" / "public" / "ofed" / "sichek-mlnx_ofed_linux-24.10-2.1.8.0.txt"
    assert value_of("rdma_stack", [cmd(OFED, path.read_text())], "rdma.ofed_version") == "24.10-2.1.8.0"


def test_no_ofed_is_absent_and_trouble_is_an_error() -> None:
    assert state_of("rdma_stack", [said("no ofed_info", "yes")], "rdma.ofed_version") == "absent"
    for section in (cmd(OFED, "hello"), cmd(OFED, "", rc=124), cmd(OFED, "", "oops", 1)):
        assert state_of("rdma_stack", [section], "rdma.ofed_version") == "error"


def test_device_files() -> None:
    owners = grep({"/sys/class/infiniband_verbs/uverbs0/ibdev": "mlx5_0"})
    rows = value_of("rdma_stack", [CLASS, said("any device", "yes"), cmd(NODES, LISTED), owners], "rdma.device_nodes")
    assert [(row["name"], row["kind"], row["device"], row["everyone"]) for row in rows] == [
        ("rdma_cm", "rdma_cm", None, True),
        ("umad0", "umad", None, False),
        ("uverbs0", "uverbs", "mlx5_0", False),
        ("uverbs1", "uverbs", None, True),
    ]


def test_device_files_that_are_not_there() -> None:
    def state(*sections: Section) -> str:
        return state_of("rdma_stack", list(sections), "rdma.device_nodes")

    missing = cmd(NODES, "", "ls: cannot access '/dev/infiniband': No such file or directory\n", 2)
    assert value_of("rdma_stack", [CLASS, said("any device", "yes"), missing], "rdma.device_nodes") == []
    assert state(CLASS, said("any device", "")) == "absent"
    assert state(CLASS, said("any device", "yes"), cmd(NODES, "", "ls: Permission denied\n", 2)) == "error"
    assert state(cmd("ls -d /sys/class", "", "ls: no\n", 2), said("any device", "")) == "error"


def test_peer_memory_clients() -> None:
    sections = [CLASS, said("any device", "yes"), said("peer memory client", "nv_mem")]
    assert value_of("rdma_stack", sections, "rdma.peer_memory_clients") == ["nv_mem"]
    assert value_of("rdma_stack", sections[:2], "rdma.peer_memory_clients") == []


def test_active_mtu() -> None:
    assert [(row["device"], row["port"], row["state"], row["active_mtu"]) for row in parse_devinfo(INFO)] == [
        ("mlx5_0", 1, "active", 4096),
        ("mlx5_1", 1, "down", 1024),
    ]
    some = [CLASS, said("any device", "yes")]
    assert len(value_of("rdma_stack", [*some, cmd(DEVINFO, INFO)], "rdma.port_mtu")) == 2
    assert state_of("rdma_stack", [*some, said("no ibv_devinfo", "yes")], "rdma.port_mtu") == "absent"
    failed = cmd(DEVINFO, "", "Failed to get IB devices list: Function not implemented\n", 255)
    assert fact_of("rdma_stack", [*some, failed], "rdma.port_mtu").reason.startswith(DEVINFO)


def test_libraries() -> None:
    found = said("sharp library", "/opt/mellanox/sharp/lib/libsharp_coll.so.6")
    assert value_of("rdma_stack", [found], "rdma.sharp_library") == "/opt/mellanox/sharp/lib/libsharp_coll.so.6"
    assert state_of("rdma_stack", [found, said("looked for libraries", "yes")], "rdma.nccl_net_plugin") == "absent"
    assert state_of("rdma_stack", [found], "rdma.nccl_net_plugin") == "error"


@settings(max_examples=100, deadline=None)
@given(
    texts=st.lists(
        st.one_of(st.text(max_size=200), st.sampled_from([INFO, LISTED, INFO[:90], ":"])), min_size=3, max_size=3
    )
)
def test_nothing_that_a_node_says_raises(texts: list[str]) -> None:
    sections = [CLASS, said("any device", "yes"), cmd(OFED, texts[0]), cmd(NODES, texts[1]), cmd(DEVINFO, texts[2])]
    for fact in facts_of("rdma_stack", sections, *NAMES).values():
        assert "fault in nodectl" not in fact.reason
        assert "could not read the answer" not in fact.reason
