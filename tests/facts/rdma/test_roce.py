"""RoCE settings out of sysfs, mlnx_qos, dcb, ethtool and LLDP."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from replies import cmd, facts_of, grep, said

from nodectl.facts.rdma.qos import read_dcb, read_mlnx_qos, read_pause
from nodectl.facts.registry import registry
from nodectl.model import Fact, FactState
from nodectl.probe.transcript import Section

DEVICE = "/sys/class/infiniband/mlx5_0"
NET = f"{DEVICE}/device/net/ens1np0"
NAMES = tuple(name for name, spec in registry().items() if spec.source == "roce")
FILES = {
    f"{DEVICE}/ports/1/state": "4: ACTIVE",
    f"{DEVICE}/ports/1/rate": "400 Gb/sec (4X NDR)",
    f"{DEVICE}/board_id": "MT_0000000838",
    f"{DEVICE}/tc/1/traffic_class": "Global tclass=106",
    f"{NET}/mtu": "9000",
    f"{NET}/ecn/roce_np/enable/3": "1",
    f"{NET}/ecn/roce_np/enable/4": "0",
    f"{NET}/ecn/roce_rp/enable/3": "1",
    f"{NET}/ecn/roce_np/cnp_dscp": "48",
    "/sys/kernel/config/rdma_cm/mlx5_0/ports/1/default_roce_mode": "RoCE v2",
    "/sys/kernel/config/rdma_cm/mlx5_0/ports/1/default_roce_tos": "106",
}
QOS = """DCBX mode: OS controlled
Priority trust state: dscp
dscp2prio mapping:
\tprio:0 dscp:07,06,05,04,03,02,01,00,
\tprio:3 dscp:31,30,29,28,27,26,25,24,
\tprio:5 dscp:59,
default priority:
Receive buffer size (bytes): 20016,156096,0,0,0,0,0,0,max_buffer_size=1027728
Cable len: 7
PFC configuration:
\tpriority    0   1   2   3   4   5   6   7
\tenabled     0   0   0   1   0   0   0   0   \n\
\tbuffer      0   0   0   1   0   0   0   0   \n\
tc: 0 ratelimit: unlimited, tsa: vendor
\t priority:  1
"""
DCB_PFC = "pfc-cap 8 macsec-bypass off delay 0 \nprio-pfc 0:off 1:off 2:off 3:on 4:off 5:off 6:off 7:off \n"
DCB_APP = "default-prio 0 \ndscp-prio CS3:3 AF31:3 48:6 \n"
ETHTOOL = "Pause parameters for ens1np0:\nAutonegotiate:\toff\nRX:\t\ton\nTX:\t\toff\n\n"
MLNX, PFC, APP = (
    f"timeout -k 1 {limit} {tool} ens1np0"
    for limit, tool in ((5, "mlnx_qos -i"), (3, "dcb pfc show dev"), (3, "dcb app show dev"))
)
HEAD = [
    said("interface", "mlx5_0/1 ens1np0"),
    cmd("ls -d /sys/class", "/sys/class\n"),
    said("ports", " mlx5_0/1"),
]


def facts(*sections: Section) -> dict[str, Fact]:
    return facts_of("roce", [*HEAD, grep(FILES), *sections], *NAMES)


def row(*sections: Section) -> dict[str, Any]:
    (found,) = facts(*sections)["roce.ports"].value
    return dict(found)


def test_a_port_that_is_set_up() -> None:
    found = row(cmd(MLNX, QOS), cmd("timeout -k 1 3 ethtool -a ens1np0", ETHTOOL))
    assert (found["state"], found["rate_gbps"], found["mtu"]) == ("active", 400.0, 9000)
    assert (found["trust"], found["pfc"], found["dscp_priority"]) == ("dscp", ["3"], {"59": 5})
    assert (found["ecn_np"], found["ecn_rp"], found["cnp_dscp"]) == (["3"], ["3"], 48)
    assert (found["traffic_class"], found["cma_mode"], found["cma_tos"]) == (106, "RoCE v2", 106)
    assert (found["pause_rx"], found["pause_tx"]) == (True, False)
    assert "_errors" not in found
    assert facts(cmd(MLNX, QOS))["roce.settings"].value == ["trust=dscp pfc=3 ecn=3/3 tc=106 mtu=9000"]


def test_dcb_where_there_is_no_mlnx_qos() -> None:
    found = row(cmd(PFC, DCB_PFC), cmd(APP, DCB_APP))
    assert (found["trust"], found["pfc"], found["dscp_priority"]) == ("dscp", ["3"], {"24": 3, "26": 3, "48": 6})
    assert row(cmd(PFC, DCB_PFC), cmd(APP, ""))["trust"] == "pcp"
    assert row(cmd(PFC, DCB_PFC), cmd(APP, "", "no\n", 1))["trust"] is None


def test_an_interface_without_priorities_is_no_error_and_no_tool_is() -> None:
    found = row(cmd(PFC, "", "Attribute read: Operation not supported\n", 1), cmd(APP, "", "no\n", 1))
    assert (found["pfc"], "_errors" in found) == (None, False)
    assert set(row()["_errors"]) == {"pfc", "trust"}
    assert "mlnx_qos" in row(cmd(MLNX, "", "", 124))["_errors"]["pfc"]
    assert set(row(cmd(MLNX, QOS[:60]))["_errors"]) == {"pfc", "trust"}


def test_no_traffic_class_is_none_forced() -> None:
    files = {**FILES, f"{DEVICE}/tc/1/traffic_class": ""}
    (found,) = facts_of("roce", [*HEAD, grep(files), cmd(MLNX, QOS)], "roce.ports")["roce.ports"].value
    assert found["traffic_class"] == 0
    files.pop(f"{DEVICE}/tc/1/traffic_class")
    (found,) = facts_of("roce", [*HEAD, grep(files), cmd(MLNX, QOS)], "roce.ports")["roce.ports"].value
    assert found["traffic_class"] is None


def test_gids() -> None:
    table = [
        ("fe80:0000:0000:0000:0000:00ff:fe00:0000", "IB/RoCE v1"),
        ("fe80:0000:0000:0000:0000:00ff:fe00:0000", "RoCE v2"),
        ("0000:0000:0000:0000:0000:ffff:0a00:0001", "IB/RoCE v1"),
        ("0000:0000:0000:0000:0000:ffff:0a00:0001", "RoCE v2"),
    ]
    text = "".join(
        f"{DEVICE}/ports/1/gids/{number}:{gid}\n{DEVICE}/ports/1/gid_attrs/types/{number}:{kind}\n"
        for number, (gid, kind) in enumerate(table)
    )
    found = row(cmd("gids", text))
    assert (found["gid_v2"], found["gid_v2_ipv4"]) == (2, 1)
    found = row()
    assert (found["gid_v2"], found["gid_v2_ipv4"]) == (0, 0)
    assert "gid_v2" in row(cmd("gids", "", "grep: Input/output error\n", 2))["_errors"]


def test_a_bond_with_a_dead_member() -> None:
    bond = "/sys/class/net/bond0"
    files = {
        f"{bond}/bonding/mode": "802.3ad 4",
        f"{bond}/bonding/xmit_hash_policy": "layer3+4 1",
        f"{bond}/bonding/slaves": "ens1np0 ens2np1",
        f"{bond}/lower_ens1np0/bonding_slave/mii_status": "up",
        f"{bond}/lower_ens2np1/bonding_slave/mii_status": "down",
    }
    found = facts(grep(files), said("bond of", "ens1np0 bond0"))
    assert found["roce.ports"].value[0]["bond"] == "bond0"
    assert found["roce.bonds"].value == [
        {
            "bond": "bond0",
            "mode": "802.3ad",
            "hash_policy": "layer3+4",
            "members": ["ens1np0", "ens2np1"],
            "down": ["ens2np1"],
        }
    ]


def test_no_port_is_an_answer_and_no_sys_is_none() -> None:
    found = facts_of("roce", [HEAD[1], said("ports", "")], *NAMES)
    assert (found["roce.ports"].value, found["lldp.neighbours"].state) == ([], FactState.ABSENT)
    broken = [[], [said("not mounted", "/sys"), *HEAD[1:]], [cmd("ls -d /sys/class", "", "ls: no\n", 2), HEAD[2]]]
    for sections in (*broken, [*HEAD, said("left out", "yes")]):
        assert {fact.state for fact in facts_of("roce", sections, *NAMES).values()} == {FactState.ERROR}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("sichek-bjg45.json", [("ens11f0", "bj08-m1-a10-40-swl017", "25GE1/0/39", 9216, True)]),
        (
            "sichek-clnet36.json",
            [
                ("ens14f0np0", "CL-A052A", "Twenty-FiveGigE1/0/16", 9416, False),
                ("eth0", "CL-RLF233", "FourHundredGigE1/0/98", 9216, False),
            ],
        ),
    ],
)
def test_recorded_neighbours(shared: Path, name: str, expected: list[tuple[Any, ...]]) -> None:
    text = (shared / "recordings" / "public" / "lldp" / name).read_text()
    rows = facts(cmd("lldpctl -f json", text))["lldp.neighbours"].value
    fields = ("netdev", "switch", "port", "max_frame", "aggregated")
    assert [tuple(one[field] for field in fields) for one in rows] == expected


def test_neighbours_that_cannot_be_asked() -> None:
    def state(*section: Any) -> FactState:
        return facts(cmd("lldpctl -f json", *section))["lldp.neighbours"].state

    assert facts()["lldp.neighbours"].state is FactState.ABSENT
    assert state("", "lldpctl: unable to connect to socket /run/lldpd.socket\n", 1) is FactState.ABSENT
    assert state("", "needs root: timeout -k 1 5 lldpctl -f json\n", 77) is FactState.ERROR
    assert state("", "unable to connect to socket: Permission denied\n", 1) is FactState.ERROR
    assert state('{"lldp": ') is FactState.ERROR
    assert facts(cmd("lldpctl -f json", '{"lldp": {}}'))["lldp.neighbours"].value == []


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=10),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["lldp", "interface", "chassis", "port", "id", "mfs", "x"]), inner, max_size=4
        )
    ),
    max_leaves=20,
)
_TEXT = st.one_of(st.text(max_size=200), st.sampled_from([QOS, QOS[:200], DCB_PFC, DCB_APP, ETHTOOL, ""]))


@settings(max_examples=150, deadline=None)
@given(texts=st.lists(_TEXT, min_size=5, max_size=5), rc=st.sampled_from([0, 1, 124]), lldp=_JSON)
def test_nothing_that_a_node_says_raises(texts: list[str], rc: int, lldp: Any) -> None:
    names = (MLNX, PFC, APP, "timeout -k 1 3 ethtool -a ens1np0", "gids")
    sections = [cmd(name, text, rc=rc) for name, text in zip(names, texts, strict=True)]
    found = facts(*sections, cmd("lldpctl -f json", json.dumps(lldp)), said("interface", texts[0][:40]))
    for fact in found.values():
        assert "fault in nodectl" not in fact.reason, fact
        assert "could not read the answer" not in fact.reason, fact
    assert read_mlnx_qos(texts[0]).keys() == read_dcb(None, None).keys()
    assert read_pause(None) == (None, None)
