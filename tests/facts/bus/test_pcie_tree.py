"""The way from the PCI root to the devices, out of what the probe sends; hostile and cut replies too.

tests/probe/test_probe_pcie.py has the source and this parser together, on a made-up /sys.
"""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from replies import cmd, facts_of, said

from nodectl.facts.conform import ERRORS_KEY
from nodectl.model import Fact, FactState
from nodectl.probe.transcript import Section

PCI = "/sys/bus/pci/devices"
GPU, ROOT, UP, DOWN = "0000:1b:00.0", "0000:15:01.0", "0000:16:00.0", "0000:17:01.0"
NAMES = ("pcie.devices", "pcie.bridges", "pcie.nic_count", "pcie.rdma_nic_count", "pcie.nvme_count")


def files(address: str, ids: str, klass: str, **more: str) -> str:
    known = {
        "numa_node": "0", "current_link_speed": "32.0 GT/s PCIe", "max_link_speed": "32.0 GT/s PCIe",
        "current_link_width": "16", "max_link_width": "16",
    } | more  # fmt: skip
    head = f"{PCI}/{address}/uevent:PCI_CLASS={klass}\n{PCI}/{address}/uevent:PCI_ID={ids}\n"
    return head + "".join(f"{PCI}/{address}/{name}:{text}\n" for name, text in known.items())


def windows(first: str = "0x00000000a0000000 0x00000000a0ffffff 0x0000000000040200") -> str:
    nothing = " ".join(["0x0000000000000000"] * 3)
    return "".join(f"{PCI}/{GPU}/resource:{line}\n" for line in [first, *[nothing] * 12])


def sections(
    text: str | None = None, *, space: Section | None = None, way: str = f"{ROOT}/{UP}/{DOWN}/{GPU}"
) -> list[Section]:
    if text is None:
        bridges = "".join(files(one, "1000:C030", "60400") for one in (ROOT, UP, DOWN))
        text = files(GPU, "10DE:2335", "30200") + windows() + bridges
    registers = "".join(f"{one} vendor=4096 pcie=2,2,8496,0,0,0\n" for one in (ROOT, UP, DOWN, GPU))
    return [
        cmd(f"ls -d {PCI}", f"{PCI}\n"),
        said("devices", f" {GPU}=gpu"),
        said("names", ""),
        said("ways", f"../../../devices/pci0000:15/{way}"),
        Section("grep", "files", text, "", 0),
        space or cmd("configuration space", registers),
    ]


def tree(*args: object, **options: object) -> dict[str, Fact]:
    return facts_of("pcie_tree", sections(*args, **options), *NAMES)  # type: ignore[arg-type]


def test_the_lesser_end_of_a_link_counts() -> None:
    bridges = "".join(files(one, "1000:C030", "60400") for one in (ROOT, UP))
    slot = files(DOWN, "1000:C030", "60400", max_link_width="8", max_link_speed="16.0 GT/s PCIe")
    (row,) = tree(files(GPU, "10DE:2335", "30200", current_link_width="8") + windows() + bridges + slot)[
        "pcie.devices"
    ].value
    assert (row["link_width"], row["link_width_max"], row["link_width_possible"]) == (8, 16, 8)
    assert (row["link_speed_max_gts"], row["link_speed_possible_gts"]) == (32.0, 16.0)


def test_ports_are_told_by_place_where_the_registers_are_not() -> None:
    denied = cmd("configuration space", "", "needs root: sudo: a password is required\n", 1)
    facts = tree(space=denied)
    assert {row["pci_bus_id"]: row["port"] for row in facts["pcie.bridges"].value} == {
        ROOT: "root", UP: "upstream", DOWN: "downstream",
    }  # fmt: skip
    (row,) = facts["pcie.devices"].value
    assert row["max_payload_bytes"] is None
    assert "needs root" in row[ERRORS_KEY]["max_payload_bytes"]
    assert row["answers"] is None


def test_the_header_tells_a_dead_device_to_anybody() -> None:
    denied = cmd("configuration space", "", "needs root: sudo: a password is required\n", 1)
    parts = [*sections(space=denied), cmd("configuration header", f"{GPU} vendor=65535\n{UP} vendor=4096\n")]
    (row,) = facts_of("pcie_tree", parts, *NAMES)["pcie.devices"].value
    assert row["answers"] is False


@pytest.mark.parametrize(
    ("line", "sizes", "lost"),
    [
        ("0x00000000a0000000 0x00000000a0ffffff 0x0000000000040200", {"0": 16}, []),
        ("0x0000000000000000 0x0000000000ffffff 0x0000000020040200", {"0": 16}, [0]),
        ("0x0000000000000000 0x0000000000000000 0x0000000000000000", {}, []),
        ("0x000000000000e000 0x000000000000e07f 0x0000000000040101", {}, []),
    ],
)
def test_windows_of_a_gpu(line: str, sizes: dict[str, int], lost: list[int]) -> None:
    bridges = "".join(files(one, "1000:C030", "60400") for one in (ROOT, UP, DOWN))
    (row,) = tree(files(GPU, "10DE:2335", "30200") + windows(line) + bridges)["pcie.devices"].value
    assert (row["bars_mib"], row["bars_unassigned"]) == (sizes, lost)


@pytest.mark.parametrize("text", ["", "rubbish", "0x1 0x2"])
def test_windows_that_cannot_be_read_are_errors(text: str) -> None:
    broken = "".join(f"{PCI}/{GPU}/resource:{text}\n" for _ in range(13)) if text else ""
    (row,) = tree(files(GPU, "10DE:2335", "30200") + broken)["pcie.devices"].value
    assert (row["bars_mib"], row["bars_unassigned"]) == (None, None)
    assert set(row[ERRORS_KEY]) >= {"bars_mib", "bars_unassigned"}


def test_a_device_whose_way_was_not_told_is_an_error() -> None:
    parts = [part for part in sections() if part.name != "ways"]
    assert {fact.state for fact in facts_of("pcie_tree", parts, *NAMES).values()} == {FactState.ERROR}


def test_a_bus_that_cannot_be_looked_at_is_an_error() -> None:
    parts = [cmd(f"ls -d {PCI}", "", "ls: cannot access: No such file or directory\n", 2), said("devices", "")]
    assert {fact.state for fact in facts_of("pcie_tree", parts, *NAMES).values()} == {FactState.ERROR}


_PIECES = st.sampled_from(
    [f"{GPU}=gpu ", f"{PCI}/{GPU}/uevent:", "PCI_ID=10DE:2335", "\n", ":", "/", GPU, ROOT, " vendor=", "pcie=",
     "acs=1,", "rebar=4,99999999999999", ",", "65535", "-1", "é", "\\x1b", "0x",
     "max_link_width:", "resource:0x1 0x2 0x3"]
)  # fmt: skip
_TEXT = st.lists(_PIECES, max_size=40).map("".join) | st.text(max_size=200)


@settings(max_examples=150, deadline=None)
@given(devices=_TEXT, ways=_TEXT, text=_TEXT, space=_TEXT, rc=st.sampled_from([0, 1, 2, 124]))
def test_hostile_text_never_raises(devices: str, ways: str, text: str, space: str, rc: int) -> None:
    parts = [
        cmd(f"ls -d {PCI}", f"{PCI}\n"), said("devices", f" {GPU}=gpu {devices}"), said("names", devices),
        said("ways", f"pci/{ROOT}/{GPU}\n{ways}"), said("iommu groups", text),
        Section("grep", "files", text, space, 0), Section("cmd", "configuration space", space, text, rc),
    ]  # fmt: skip
    for fact in facts_of("pcie_tree", parts, *NAMES).values():
        assert fact.state is not FactState.ABSENT
        assert "Error" not in fact.reason  # no parser died of it


def test_cut_replies_never_lose_a_device_in_silence() -> None:
    random.seed(4)
    whole = "\n".join(part.text for part in sections() if part.kind == "grep")
    for end in random.sample(range(len(whole)), 40):
        fact = tree(whole[:end])["pcie.devices"]
        assert fact.state is FactState.ERROR or len(fact.value) == 1


@pytest.mark.parametrize("rc", [127, 124, None])
def test_files_that_were_not_read_are_an_error(rc: int | None) -> None:
    parts = [part for part in sections() if part.kind != "grep"]
    failed = [*parts, Section("cmd", "uevents", "", "grep: not found", rc)]
    for told in (parts, failed):
        assert {fact.state for fact in facts_of("pcie_tree", told, *NAMES).values()} == {FactState.ERROR}
