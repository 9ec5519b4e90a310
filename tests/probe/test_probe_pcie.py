"""The source pcie_tree in a made-up /sys, under every shell: what it says is what was built there."""

from __future__ import annotations

from pathlib import Path

import pytest
from fake_pci import FakePci, config_space, switch
from probe_nodes import SHELLS

from nodectl.facts.gather import gather
from nodectl.model import Fact, FactState, Node
from nodectl.probe import overlay
from nodectl.probe.__main__ import run_source
from nodectl.probe.compose import load_sources
from nodectl.probe.transcript import write_transcript

COMMANDS = {"dash": ["dash"], "busybox": ["busybox", "sh"], "bash": ["bash", "--posix"]}
NAMES = ["pcie.devices", "pcie.bridges", "pcie.nic_count", "pcie.rdma_nic_count", "pcie.nvme_count"]
GPU, NIC, DRIVE = "0000:1b:00.0", "0000:18:00.0", "0000:22:00.0"


def _ask(tmp_path: Path, shell: str, pci: FakePci) -> dict[str, Fact]:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    if refusal := overlay.refusal(scratch):
        pytest.skip(f"no overlay root here (root is needed): {refusal}")
    reply = run_source(load_sources()["pcie_tree"], [], shell=COMMANDS[shell], root=pci.top)
    assert (reply.state, reply.note) == ("ok", "")
    return gather(write_transcript({"pcie_tree": reply.sections}), NAMES, Node(name="n"))


@pytest.mark.parametrize("shell", SHELLS)
def test_a_gpu_and_a_nic_behind_a_switch_and_a_drive(tmp_path: Path, shell: str) -> None:
    pci = FakePci(tmp_path / "top")
    way = switch(pci, "0000", "0000:15:01.0", "0000:16:00.0", ("0000:17:00.0", "0000:17:01.0"), acs=0x1D)
    space = config_space((0x15B3, 0x1021), read_request=4096, ats=True)
    pci.add(NIC, f"{way}/0000:17:00.0", "15b3:1021", "020700", driver="mlx5_core", config=space, group=7,
            link=("16.0", "32.0", 8, 16), names=("mlx5_0",))  # fmt: skip
    space = config_space((0x10DE, 0x2335), payload=512, rebar=(256, 262144))
    pci.add(GPU, f"{way}/0000:17:01.0", "10de:2335", "030200", driver="nvidia", config=space, group=7,
            group_type="DMA-FQ", bars=((0xA0000000, 16 << 20), (0, 256 << 30)))  # fmt: skip
    pci.add(DRIVE, "pci0000:21", "144d:a80a", "010802", driver="nvme", names=("nvme0",), link=("8.0", "16.0", 4, 4))
    pci.add("0000:02:00.0", "pci0000:00", "8086:1533", "020000", driver="igb")  # no RDMA: not asked for
    facts = _ask(tmp_path, shell, pci)
    drive, gpu, nic = sorted(facts["pcie.devices"].value, key=lambda row: row["kind"] != "nvme")[:1] + [
        next(row for row in facts["pcie.devices"].value if row["kind"] == kind) for kind in ("gpu", "nic")
    ]
    assert gpu["bridges"] == ["0000:15:01.0", "0000:16:00.0", "0000:17:01.0"]
    assert gpu["switch"] == nic["switch"] == "0000:16:00.0"
    assert (gpu["iommu_group"], gpu["iommu_type"]) == (7, "DMA-FQ")
    assert (gpu["bars_mib"], gpu["bars_unassigned"]) == ({"0": 16, "1": 262144}, [1])
    assert (gpu["resizable_bar_mib"], gpu["resizable_bar_max_mib"]) == (256, 262144)
    assert (gpu["max_payload_bytes"], gpu["max_payload_able_bytes"], gpu["max_read_request_bytes"]) == (512, 512, 512)
    assert (nic["link_speed_gts"], nic["link_width"], nic["link_width_possible"], nic["names"]) == (
        16.0,
        8,
        16,
        ["mlx5_0"],
    )
    assert (nic["max_read_request_bytes"], nic["ats"], gpu["ats"]) == (4096, True, None)
    assert (nic["relaxed_ordering"], nic["extended_tags"], nic["ten_bit_tags"]) == (True, True, True)
    assert (drive["bridges"], drive["switch"], drive["link_speed_possible_gts"]) == ([], None, 16.0)
    ports = {row["pci_bus_id"]: row for row in facts["pcie.bridges"].value}
    assert {address: row["port"] for address, row in ports.items()} == {
        "0000:15:01.0": "root", "0000:16:00.0": "upstream", "0000:17:00.0": "downstream", "0000:17:01.0": "downstream",
    }  # fmt: skip
    assert [row["acs_redirect"] for row in ports.values()] == [True, None, True, True]
    assert ports["0000:16:00.0"]["below"] == [f"gpu {GPU}", f"nic {NIC}"]
    assert [facts[name].value for name in NAMES[2:]] == [1, 1, 1]
    assert not [row for row in (*facts["pcie.devices"].value, *ports.values()) if "_errors" in row]


@pytest.mark.parametrize("shell", SHELLS)
def test_dead_devices_short_spaces_and_hidden_buses(tmp_path: Path, shell: str) -> None:
    pci = FakePci(tmp_path / "top")
    pci.add(GPU, "pci0000:00", "10de:2335", "030200", config=b"\xff" * 4096)
    # A conventional bridge has 256 bytes; it must not put the spaces after it out of step.
    pci.add("0000:10:00.0", "pci0000:00", "1b21:1080", "060400", config=config_space((0x1B21, 0x1080), size=256))
    pci.add(NIC, "pci0000:00/0000:10:00.0", "15b3:1013", "020000", driver="mlx5_core")
    # Behind a VMD the root port is on a bus of its own.
    pci.add("0000:0e:00.5", "pci0000:00", "8086:28c0", "010400", driver="vmd")
    pci.add("10000:80:02.0", "pci0000:00/0000:0e:00.5/pci10000:80", "8086:352a", "060400", driver="pcieport")
    pci.add("10000:81:00.0", "pci0000:00/0000:0e:00.5/pci10000:80/10000:80:02.0", "144d:a80a", "010802", driver="nvme")
    facts = _ask(tmp_path, shell, pci)
    rows = {row["pci_bus_id"]: row for row in facts["pcie.devices"].value}
    assert (rows[GPU]["answers"], rows[NIC]["answers"]) == (False, True)
    assert "does not answer" in rows[GPU]["_errors"]["max_payload_bytes"]
    assert rows[NIC]["max_payload_bytes"] == 256
    assert rows["10000:81:00.0"]["bridges"] == ["10000:80:02.0"]
    (bridge,) = [row for row in facts["pcie.bridges"].value if row["pci_bus_id"] == "0000:10:00.0"]
    assert set(bridge["_errors"]) >= {"max_payload_bytes", "acs_redirect"}


@pytest.mark.parametrize("shell", SHELLS)
def test_a_node_with_nothing_of_it(tmp_path: Path, shell: str) -> None:
    pci = FakePci(tmp_path / "top")
    pci.add("0000:02:00.0", "pci0000:00", "8086:1533", "020000", driver="igb")
    facts = _ask(tmp_path, shell, pci)
    assert {name: fact.state for name, fact in facts.items()} == dict.fromkeys(NAMES, FactState.VALUE)
    assert [facts[name].value for name in NAMES] == [[], [], 0, 0, 0]
