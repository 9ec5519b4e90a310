"""RDMA devices, ports and counters out of sysfs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from replies import cmd, facts_of, file, said

from nodectl.facts.rdma.counters import COUNTERS
from nodectl.facts.registry import registry
from nodectl.model import Fact, FactState
from nodectl.probe.transcript import Section

ROOT = "/sys/class/infiniband"
NAMES = tuple(name for name, spec in registry().items() if spec.source == "rdma")
PORT = {
    "state": "4: ACTIVE",
    "phys_state": "5: LinkUp",
    "rate": "400 Gb/sec (4X NDR)",
    "link_layer": "InfiniBand",
    "lid": "0x33f6",
    "sm_lid": "0x1",
}


def lines(device: str, files: Mapping[str, str]) -> str:
    return "".join(f"{ROOT}/{device}/{path}:{text}\n" for path, text in files.items())


def port(number: int = 1, **changes: str) -> dict[str, str]:
    return {f"ports/{number}/{name}": text for name, text in (PORT | changes).items()}


def pci(address: str = "0000:18:00.0", driver: str = "mlx5_core", device: str = "15B3:1021") -> str:
    return "".join(
        f"{ROOT}/{{0}}/device/uevent:{line}\n"
        for line in (f"DRIVER={driver}", "PCI_CLASS=20700", f"PCI_ID={device}", f"PCI_SLOT_NAME={address}")
    )


def node(text: str, *names: str, stderr: str = "", virtual: str = "", masters: str = "") -> list[Section]:
    return [
        cmd("ls -d /sys/class", "/sys/class\n"),
        said("devices", " " + " ".join(names or ("mlx5_0",))),
        said("virtual functions", virtual),
        said("masters", masters),
        Section("grep", "files", text, stderr, 2 if stderr else 0),
    ]


def counted(before: Mapping[str, object], after: Mapping[str, object], *, seconds: float = 2.0) -> list[Section]:
    def text(counts: Mapping[str, object]) -> str:
        return lines("mlx5_0", {f"ports/1/counters/{name}": str(count) for name, count in counts.items()})

    return [
        file("/proc/uptime", "1000.00 5.0\n"),
        cmd("counters 1", text(before)),
        cmd("counters 2", text(after)),
        cmd("uptime 2", f"{1000 + seconds:.2f} 9.0\n"),
    ]


def facts(sections: list[Section]) -> dict[str, Fact]:
    return facts_of("rdma", sections, *NAMES)


def one_port(sections: list[Section]) -> dict[str, Any]:
    (row,) = facts(sections)["rdma.ports"].value
    return dict(row)


def test_an_infiniband_port() -> None:
    files = {"fw_ver": "28.39.1002", "hca_type": "MT4129", "board_id": "MT_0000000838", "node_type": "1: CA"}
    text = pci().format("mlx5_0") + lines("mlx5_0", files | {"device/numa_node": "-1"} | port())
    found = facts(node(text))
    (device,) = found["rdma.devices"].value
    assert (device["driver"], device["pci_id"], device["pci_bus_id"]) == ("mlx5_core", "15b3:1021", "0000:18:00.0")
    assert (device["firmware"], device["node_type"], device["numa_node"]) == ("28.39.1002", "CA", None)
    row = one_port(node(text))
    assert (row["state"], row["phys_state"], row["rate_gbps"], row["width"]) == ("active", "linkup", 400.0, "4X")
    assert (row["lid"], row["sm_lid"], row["pci_function"]) == (0x33F6, 1, 0)
    assert "_errors" not in row
    assert found["rdma.firmware_versions"].value == ["MT_0000000838 28.39.1002"]
    assert (found["rdma.active_port_count"].value, found["rdma.port_rates"].value) == (1, ["400"])


def test_no_device_is_an_answer() -> None:
    found = facts([cmd("ls -d /sys/class", "/sys/class\n"), said("devices", "")])
    assert found["rdma.devices"].value == found["rdma.ports"].value == []
    assert found["rdma.device_count"].value == 0


@pytest.mark.parametrize(
    "sections",
    [
        [],
        [cmd("ls -d /sys/class", "", "ls: cannot access\n", 2), said("devices", "")],
        [said("not mounted", "/sys"), cmd("ls -d /sys/class", "/sys/class\n"), said("devices", "")],
        [cmd("ls -d /sys/class", "/sys/class\n"), said("devices", ""), said("odd names", "yes")],
        node("", "mlx5_0"),
    ],
)
def test_what_cannot_be_looked_at_is_an_error(sections: list[Section]) -> None:
    assert {fact.state for fact in facts(sections).values()} == {FactState.ERROR}


def test_a_roce_port_knows_its_interface_and_not_that_of_a_virtual_function() -> None:
    uplink = {"dev_port": "0", "flags": "0x1843", "operstate": "up", "mtu": "9000", "speed": "400000"}
    files = {f"device/net/ens1f0np0/{name}": text for name, text in uplink.items()}
    files |= {"device/net/ens1f0np0/phys_port_name": "p0", "device/net/ens1f0np0/carrier_changes": "3"}
    files |= {"device/net/e1/dev_port": "0", "device/net/e1/flags": "0x2", "device/net/e1/phys_port_name": "pf0vf1"}
    files |= port(link_layer="Ethernet", lid="0x0", sm_lid="0x0")
    row = one_port(node(lines("mlx5_0", files), masters=" ens1f0np0=../../../../virtual/net/bond0"))
    assert (row["netdev"], row["bond"], row["admin_up"], row["mtu"]) == ("ens1f0np0", "bond0", True, 9000)
    assert (row["netdev_speed_mbps"], row["carrier_changes"], row["lid"]) == (400000, 3, 0)


def test_two_ports_of_one_function_have_each_their_interface() -> None:
    files = port(1) | port(2, state="1: DOWN", phys_state="2: Polling", rate="10 Gb/sec (4X SDR)")
    for number, name in ((0, "ib0"), (1, "ib1")):
        files |= {f"device/net/{name}/dev_port": str(number), f"device/net/{name}/flags": "0x1002"}
        files |= {f"device/net/{name}/type": "32", f"device/net/{name}/mode": "connected"}
        files |= {f"device/net/{name}/mtu": "65520", f"device/net/{name}/operstate": "up"}
    found = facts(node(lines("mlx5_0", files)))
    assert [(row["port"], row["netdev"], row["state"]) for row in found["rdma.ports"].value] == [
        (1, "ib0", "active"),
        (2, "ib1", "down"),
    ]
    assert [row["mode"] for row in found["rdma.ipoib"].value] == ["connected", "connected"]


def test_iwarp_says_infiniband_and_is_not_taken_for_it() -> None:
    assert one_port(node(lines("mlx5_0", port() | {"node_type": "4: RNIC"})))["link_layer"] == "iWARP"
    assert one_port(node(lines("mlx5_0", port() | {"hca_type": "I40IW"})))["link_layer"] == "iWARP"
    assert one_port(node(lines("mlx5_0", port(link_layer="Unspecified"))))["link_layer"] == "unspecified"


def test_virtual_functions_and_software_devices_count_for_nothing() -> None:
    text = pci().format("mlx5_0") + lines("mlx5_0", port()) + lines("rxe0", port(link_layer="Ethernet"))
    found = facts(node(text, "mlx5_0", "rxe0", virtual=" mlx5_0"))
    assert [(row["virtual_function"], row["software"]) for row in found["rdma.devices"].value] == [
        (True, False),
        (False, True),
    ]
    assert (found["rdma.device_count"].value, found["rdma.active_port_count"].value) == (0, 0)


@pytest.mark.parametrize(
    ("section", "expected"),
    [
        (None, False),
        (cmd("NVSwitch bridges", f"{ROOT}/mlx5_0/device/vpd\n"), True),
        (cmd("NVSwitch bridges", "", "", 1), False),
        (cmd("NVSwitch bridges", "", "needs root: grep\n", 77), None),
    ],
)
def test_the_way_to_the_nvswitches(section: Section | None, expected: bool | None) -> None:
    sections = node(lines("mlx5_0", port())) + ([section] if section else [])
    assert one_port(sections)["nvswitch_bridge"] is expected


def test_counters_that_grow_have_a_rate() -> None:
    text = lines("mlx5_0", port())
    row = one_port(node(text) + counted({"symbol_error": 10, "link_downed": 1}, {"symbol_error": 50, "link_downed": 1}))
    assert row["counters"] == {"symbol_error": 50, "link_downed": 1}
    assert row["per_s"] == {"symbol_error": 20.0, "link_downed": 0.0}


def test_a_counter_that_was_reset_or_is_not_kept_has_none() -> None:
    text = lines("mlx5_0", port())
    row = one_port(node(text) + counted({"symbol_error": 9, "link_downed": 0}, {"symbol_error": 2, "link_downed": 0}))
    assert row["per_s"] == {"link_downed": 0.0}
    row = one_port(node(text) + counted({"symbol_error": "N/A (no PMA)"}, {"symbol_error": "N/A (no PMA)"}))
    assert not row["counters"]
    assert "_errors" not in row


def test_one_reading_gives_totals_and_no_rate() -> None:
    sections = node(lines("mlx5_0", port())) + counted({"symbol_error": 7}, {"symbol_error": 9})
    row = one_port([one for one in sections if one.name not in ("counters 2", "uptime 2")])
    assert (row["counters"], row["per_s"]) == ({"symbol_error": 7}, None)
    assert set(row["_errors"]) == {"per_s"}
    row = one_port([one for one in sections if one.name != "uptime 2"])
    assert (row["per_s"], set(row["_errors"])) == (None, {"per_s"})


@pytest.mark.parametrize(("why", "is_error"), [("Invalid argument", False), ("Input/output error", True)])
def test_a_counter_that_cannot_be_read(why: str, is_error: bool) -> None:
    sections = node(lines("mlx5_0", port())) + counted({"link_downed": 0}, {"link_downed": 0})
    bad = cmd("counters 2", sections[-2].text, f"grep: {ROOT}/mlx5_0/ports/1/counters/symbol_error: {why}\n", 2)
    row = one_port([*sections[:-2], bad, sections[-1]])
    assert ("counters" in row.get("_errors", {})) is is_error


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"state": "7: HAPPY"}, "state"),
        ({"rate": "fast"}, "rate_gbps"),
        ({"sm_lid": "one"}, "sm_lid"),
    ],
)
def test_a_file_that_says_something_else_costs_its_field(changes: dict[str, str], field: str) -> None:
    row = one_port(node(lines("mlx5_0", port(**changes))))
    assert row[field] is None
    assert set(row["_errors"]) == {field}


def test_a_file_that_could_not_be_read_is_no_value() -> None:
    files = port()
    del files["ports/1/sm_lid"], files["ports/1/state"]
    stderr = "".join(f"grep: {ROOT}/mlx5_0/ports/1/{name}: Connection timed out\n" for name in ("sm_lid", "state"))
    found = facts(node(lines("mlx5_0", files), stderr=stderr))
    assert set(found["rdma.ports"].value[0]["_errors"]) == {"state", "sm_lid"}
    assert found["rdma.active_port_count"].state is FactState.ERROR


def test_recorded_devices(shared: Path) -> None:
    """mlx4, mlx5, Omni-Path and iWARP, of other people's machines."""
    for folder in ("nodeexp", "procfs"):
        here = shared / "recordings" / "public" / "sysfs-infiniband" / folder
        names = sorted(path.name for path in here.iterdir())
        files = [path for path in sorted(here.rglob("*")) if path.is_file()]
        text = "".join(f"{ROOT}/{path.relative_to(here)}:{path.read_text().strip()}\n" for path in files)
        counters = "".join(line + "\n" for line in text.splitlines() if "counters/" in line)
        samples = [file("/proc/uptime", "10.00 1.0\n"), cmd("counters 1", counters), cmd("counters 2", counters)]
        found = facts([*node(text, *names), *samples, cmd("uptime 2", "11.00 1.0\n")])
        rows = {(row["device"], row["port"]): row for row in found["rdma.ports"].value}
        assert {row["state"] for row in rows.values()} == {"active"}
        assert not [row for row in rows.values() if "_errors" in row]
        assert rows["mlx4_0", 1]["rate_gbps"] == 40.0
        if folder == "nodeexp":
            assert rows["i40iw0", 1]["link_layer"] == "iWARP"
            assert not rows["i40iw0", 1]["counters"]
        else:
            assert rows["hfi1_0", 1]["counters"]["symbol_error"] == 0
            assert (rows["mlx5_0", 1]["width"], rows["mlx5_0", 1]["speed_name"]) == ("1X", "EDR")


_NAMES = st.sampled_from(["mlx5_0", "mlx5_1", "x", "..", "mlx5_0/ports"])
_PATHS = st.sampled_from(
    [*port(), *port(255), "fw_ver", "device/uevent", "device/net/ib0/flags", "device/net/ib0/dev_port", "node_type"]
)
_TEXT = st.one_of(
    st.text(max_size=20), st.sampled_from(["0x", "-1", "4: ACTIVE", "9" * 50, "PCI_ID=1:2", "1e9 Gb/sec"])
)
_LINE = st.builds(lambda name, path, text: f"{ROOT}/{name}/{path}:{text}\n", _NAMES, _PATHS, _TEXT)
_COUNT = st.builds(
    lambda name, counter, text: f"{ROOT}/{name}/ports/1/counters/{counter}:{text}\n",
    _NAMES,
    st.sampled_from([*COUNTERS[:3], "odd"]),
    _TEXT,
)


@settings(max_examples=150, deadline=None)
@given(
    files=st.lists(st.one_of(_LINE, st.text(max_size=30)), max_size=12).map("".join),
    counts=st.lists(st.lists(st.one_of(_COUNT, st.text(max_size=30)), max_size=6).map("".join), min_size=2, max_size=2),
    uptimes=st.lists(st.sampled_from(["", "x", "1.0 2", "0.00 1", "5.00 1", "-1.0"]), min_size=2, max_size=2),
    stderr=st.text(max_size=60),
)
def test_nothing_that_a_node_says_raises_or_makes_a_state(
    files: str, counts: list[str], uptimes: list[str], stderr: str
) -> None:
    sections = [
        *node(files, "mlx5_0", "mlx5_1", stderr=stderr),
        file("/proc/uptime", uptimes[0]),
        cmd("counters 1", counts[0]),
        cmd("counters 2", counts[1]),
        cmd("uptime 2", uptimes[1]),
    ]
    found = facts(sections)
    assert set(found) == set(NAMES)
    for fact in found.values():
        assert "fault in nodectl" not in fact.reason, fact
        assert "could not read the answer" not in fact.reason, fact
    for row in found["rdma.ports"].value or []:
        assert "fault in nodectl" not in str(row.get("_errors", ""))
        if row["state"] is None:
            assert "state" in row["_errors"]
        if row["per_s"]:
            assert set(row["per_s"]) <= set(row["counters"])
