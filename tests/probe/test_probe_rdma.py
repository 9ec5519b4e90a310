"""The sources about RDMA on a made-up /sys: what they read is what the facts are made of, under every shell."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from probe_nodes import FakeNode, run_probe

from nodectl.facts.gather import gather
from nodectl.facts.registry import registry
from nodectl.model import Fact, FactState, Node
from nodectl.probe.compose import SourceSpec, load_sources

COUNTERS = {"symbol_error": "7", "link_downed": "0", "port_xmit_wait": "99"}


def rooted(name: str, top: Path) -> SourceSpec:
    """The source with `top` in front of every path below /sys, /dev, /opt and /usr."""
    spec = load_sources()[name]
    body = spec.body
    for root in ("/sys/", "/dev/infiniband", "/opt/", "/usr/l"):
        body = body.replace(root, f"{top}{root}")
    return msgspec.structs.replace(spec, body=body, lane="slow")


def put(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text + "\n")


def device(top: Path, name: str, *, link_layer: str = "InfiniBand", netdev: str = "ib0", virtual: bool = False) -> None:
    here = top / "sys/class/infiniband" / name
    for file, text in {
        "fw_ver": "28.39.1002",
        "hca_type": "MT4129",
        "board_id": "MT_0000000838",
        "node_type": "1: CA",
        "node_desc": f"gpu-01 {name}",
        "device/uevent": "DRIVER=mlx5_core\nPCI_ID=15B3:1021\nPCI_SLOT_NAME=0000:18:00.0",
        "device/numa_node": "1",
        "ports/1/state": "4: ACTIVE",
        "ports/1/phys_state": "5: LinkUp",
        "ports/1/rate": "400 Gb/sec (4X NDR)",
        "ports/1/link_layer": link_layer,
        "ports/1/lid": "0x21",
        "ports/1/sm_lid": "0x1",
        f"device/net/{netdev}/flags": "0x1043",
        f"device/net/{netdev}/dev_port": "0",
        f"device/net/{netdev}/mtu": "4092",
        f"device/net/{netdev}/operstate": "up",
        f"device/net/{netdev}/type": "32" if link_layer == "InfiniBand" else "1",
        f"device/net/{netdev}/speed": "400000",
    }.items():
        put(here / file, text)
    for counter, text in COUNTERS.items():
        put(here / "ports/1/counters" / counter, text)
    put(here / "ports/1/hw_counters/out_of_sequence", "3")
    if virtual:
        (here / "device/physfn").mkdir()


def facts(node: FakeNode, name: str, top: Path) -> dict[str, Fact]:
    transcript = run_probe(node, [rooted(name, top)])
    assert transcript.source(name).note == ""
    # The made-up /sys is not at the root of the file system.
    transcript = msgspec.structs.replace(transcript, wire=transcript.wire.replace(str(top).encode(), b""))
    names = [fact for fact, spec in registry().items() if spec.source == name]
    return gather(transcript, names, Node(name="n"))


@pytest.fixture
def top(tmp_path: Path) -> Path:
    (tmp_path / "top/sys/class").mkdir(parents=True)
    return tmp_path / "top"


def test_devices_and_ports(node: FakeNode, top: Path) -> None:
    device(top, "mlx5_0")
    device(top, "mlx5_1", link_layer="Ethernet", netdev="ens1f0np0", virtual=True)
    (top / "sys/devices/virtual/net/bond0").mkdir(parents=True)
    net = top / "sys/class/infiniband/mlx5_1/device/net/ens1f0np0"
    (net / "master").symlink_to(top / "sys/devices/virtual/net/bond0")
    (top / "sys/class/infiniband/mlx5_1/ports/1/rate").unlink()
    found = facts(node, "rdma", top)
    first, second = found["rdma.ports"].value
    assert (first["state"], first["rate_gbps"], first["lid"], first["netdev"]) == ("active", 400.0, 0x21, "ib0")
    assert first["counters"] == {"symbol_error": 7, "link_downed": 0, "port_xmit_wait": 99, "out_of_sequence": 3}
    assert set(first["per_s"].values()) == {0.0}
    assert (second["netdev"], second["bond"], second["virtual_function"]) == ("ens1f0np0", "bond0", True)
    assert (second["rate_gbps"], second["netdev_speed_mbps"]) == (None, 400000)
    assert [row["numa_node"] for row in found["rdma.devices"].value] == [1, 1]
    assert [row["netdev"] for row in found["rdma.ipoib"].value] == ["ib0"]
    assert found["rdma.firmware_versions"].value == ["MT_0000000838 28.39.1002"]


def test_a_machine_without_rdma(node: FakeNode, top: Path) -> None:
    found = facts(node, "rdma", top)
    assert found["rdma.devices"].value == []
    found = facts(node.without("ofed_info", "ibv_devinfo"), "rdma_stack", top)
    assert {fact.state for fact in found.values()} == {FactState.ABSENT}


def test_the_software(node: FakeNode, top: Path) -> None:
    device(top, "mlx5_0")
    put(top / "sys/class/infiniband_verbs/uverbs0/ibdev", "mlx5_0")
    (top / "sys/kernel/mm/memory_peers/nv_mem").mkdir(parents=True)
    put(top / "opt/hpcx-v2.20/sharp/lib/libsharp_coll.so.6", "")
    (top / "dev/infiniband").mkdir(parents=True)
    bin_ = node.folder
    tool(bin_ / "ofed_info", "echo OFED-internal-25.07-0.9.7:")
    tool(bin_ / "ibv_devinfo", "printf 'hca_id:\\tmlx5_0\\n\\t\\tport:\\t1\\n\\t\\t\\tactive_mtu:\\t\\t4096 (5)\\n'")
    found = facts(node, "rdma_stack", top)
    assert found["rdma.ofed_version"].value == "25.07-0.9.7"
    assert found["rdma.peer_memory_clients"].value == ["nv_mem"]
    assert found["rdma.device_nodes"].value == []
    assert found["rdma.sharp_library"].value == "/opt/hpcx-v2.20/sharp/lib/libsharp_coll.so.6"
    mtu: list[dict[str, Any]] = found["rdma.port_mtu"].value
    assert (mtu[0]["device"], mtu[0]["active_mtu"]) == ("mlx5_0", 4096)


def test_roce(node: FakeNode, top: Path) -> None:
    device(top, "mlx5_0")
    device(top, "mlx5_1", link_layer="Ethernet", netdev="ens1f0np0")
    device(top, "mlx5_2", link_layer="Ethernet", netdev="ens2f0v0", virtual=True)
    here = top / "sys/class/infiniband/mlx5_1"
    put(here / "tc/1/traffic_class", "Global tclass=106")
    put(here / "device/net/ens1f0np0/ecn/roce_np/enable/3", "1")
    put(here / "device/net/pf0vf0/flags", "0x1003")
    put(here / "device/net/pf0vf0/phys_port_name", "pf0vf0")
    for number, gid in enumerate(
        ("fe80:0000:0000:0000:0000:00ff:fe00:0001", "0000:0000:0000:0000:0000:0000:0000:0000")
    ):
        put(here / f"ports/1/gids/{number}", gid)
        put(here / f"ports/1/gid_attrs/types/{number}", "RoCE v2")
    bond = top / "sys/class/net/bond0"
    put(bond / "bonding/mode", "802.3ad 4")
    put(bond / "bonding/slaves", "ens1f0np0")
    put(bond / "lower_ens1f0np0/bonding_slave/mii_status", "down")
    (here / "device/net/ens1f0np0/master").symlink_to(bond)
    tool(node.folder / "mlnx_qos", "exit 3")
    tool(node.folder / "dcb", "printf 'prio-pfc 0:off 1:off 2:off 3:on 4:off 5:off 6:off 7:off \\ndscp-prio 26:3 \\n'")
    found = facts(node, "roce", top)
    (row,) = found["roce.ports"].value
    assert (row["device"], row["netdev"], row["bond"], row["mtu"]) == ("mlx5_1", "ens1f0np0", "bond0", 4092)
    assert (row["pfc"], row["trust"], row["ecn_np"], row["traffic_class"]) == (["3"], "dscp", ["3"], 106)
    assert (row["gid_v2"], row["gid_v2_ipv4"]) == (1, 0)
    assert found["roce.bonds"].value[0]["down"] == ["ens1f0np0"]


def test_no_roce(node: FakeNode, top: Path) -> None:
    device(top, "mlx5_0")
    found = facts(node, "roce", top)
    assert found["roce.ports"].value == found["roce.bonds"].value == []
    assert found["lldp.neighbours"].state is FactState.ABSENT


def tool(path: Path, body: str) -> None:
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
