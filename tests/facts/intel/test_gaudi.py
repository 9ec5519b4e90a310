"""Gaudi: hl-smi's table and lists, ports, the driver's files, and what is said when they are not there."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from replies import cmd, facts_of, grep, no_file, said

from nodectl.model import Fact, FactState
from nodectl.probe.transcript import Section

NAMES = (
    "gpu.devices", "gpu.count", "gpu.models", "gaudi.count", "gaudi.smi_error", "gaudi.smi_version",
    "gaudi.driver_version", "gaudi.nic_driver_version", "gaudi.firmware_versions", "gaudi.preboot_versions",
)  # fmt: skip
BUS = cmd("ls -d /sys/bus/pci/devices", "/sys/bus/pci/devices\n")
ADDRESSES = ("0000:9a:00.0", "0000:9b:00.0")
TABLE = """+-----------------------------------------------------------------------------+
| HL-SMI Version:                              hl-1.20.0-fw-58.1.1.1          |
| Driver Version:                                     1.19.1-6f47ddd          |
| Nic Driver Version:                                 1.19.1-f071c23          |
|-------------------------------+----------------------+----------------------+
| AIP  Name        Persistence-M| Bus-Id        Disp.A | Volatile Uncor-Events|
| Fan  Temp  Perf  Pwr:Usage/Cap|         Memory-Usage | AIP-Util  Compute M. |
|===============================+======================+======================|
|   0  HL-225              N/A  | 0000:9a:00.0     N/A |                   0  |
| N/A   22C   N/A  96W /  600W  |   768MiB /  98304MiB |     0%            0% |
|-------------------------------+----------------------+----------------------+
|   1  HL-225              N/A  | 0000:9b:00.0     N/A |                   2  |
| N/A   24C   N/A  78W /  600W  |   768MiB /  98304MiB |     5%            0% |
|-------------------------------+----------------------+----------------------+
| Compute Processes:                                               AIP Memory |
|  AIP       PID   Type   Process name                             Usage      |
|=============================================================================|
|   0        N/A   N/A    N/A                                      N/A        |
+=============================================================================+
"""
USUAL = """0, 3, 0000:9a:00.0, HL-225, 98304 MiB, 768 MiB, 22 C
1, 1, 0000:9b:00.0, HL-225, 98304 MiB, 768 MiB, 24 C
"""
MORE = """0000:9a:00.0, 01P0-HL2080A0-15-TNPS34-20-07-02, 96 W, 600 W, 0 %
0000:9b:00.0, 01P0-HL2080A0-15-TNPS34-20-07-03, 78 W, 600 W, 5 %
"""
PORTS = "port 0:\tinternal\nport 1:\tinternal\nport 8:\texternal\n"
FILES = {
    "/sys/class/accel/accel0/device/pci_addr": "0000:9a:00.0",
    "/sys/class/accel/accel0/device/status": "Operational",
    "/sys/class/accel/accel0/device/preboot_btl_ver": "Preboot version hl-gaudi2-1.20.0-fw-58.0.0-sec-9 (Jan 16 2025)",
    "/sys/class/accel/accel0/device/cpucp_ver": "hl-gaudi2-1.20.0-fw-58.1.1.1",
    "/sys/class/accel/accel0/device/hard_reset_cnt": "1",
    "/sys/bus/pci/devices/0000:9a:00.0/uevent": "DRIVER=habanalabs\nPCI_ID=1DA3:1020",
}


def link(*states: str) -> str:
    return "".join(f"port {port}:\t{state}\n" for port, state in zip((0, 1, 8), states, strict=True))


def node(
    *sections: Section, links: tuple[str, str] = (link("UP", "UP", "UP"), link("UP", "DOWN", "DOWN"))
) -> list[Section]:
    told = sections or (cmd("hl-smi", TABLE), cmd("hl-smi -Q usual", USUAL), cmd("hl-smi -Q more", MORE))
    ports = [cmd(f"hl-smi -n ports -i {address}", PORTS) for address in ADDRESSES]
    states = [cmd(f"hl-smi -n link -i {address}", text) for address, text in zip(ADDRESSES, links, strict=True)]
    head = [BUS, said("Gaudi", " ".join(ADDRESSES)), no_file("/sys/module/habanalabs/version"), grep(FILES)]
    return [*head, *told, *ports, *states]


def facts(sections: list[Section]) -> dict[str, Fact]:
    return facts_of("gaudi", sections, *NAMES)


def test_a_node_without_gaudi_has_none_of_it() -> None:
    for fact in facts([BUS, said("Gaudi", "")]).values():
        assert (fact.state, fact.reason) == (FactState.ABSENT, "there is no Gaudi accelerator")


def test_a_healthy_and_a_faulty_device() -> None:
    told = facts(node())
    assert told["gpu.count"].value == told["gaudi.count"].value == 2
    assert told["gpu.models"].value == ["HL-225"]
    assert (told["gaudi.smi_version"].value, told["gaudi.driver_version"].value) == ("1.20.0", "1.19.1")
    assert told["gaudi.nic_driver_version"].value == "1.19.1"
    assert told["gaudi.firmware_versions"].value == ["hl-gaudi2-1.20.0-fw-58.1.1.1"]
    assert told["gaudi.preboot_versions"].value == ["hl-gaudi2-1.20.0-fw-58.0.0-sec-9"]
    first, second = told["gpu.devices"].value
    assert first == {
        "vendor": "habana", "index": 0, "name": "HL-225", "pci_bus_id": "0000:9a:00.0", "pci_id": "1da3:1020",
        "module_id": 3, "uuid": "01P0-HL2080A0-15-TNPS34-20-07-02", "memory_total_mib": 98304, "memory_used_mib": 768,
        "temperature_c": 22, "power_draw_w": 96.0, "power_limit_w": 600.0, "gpu_utilization_pct": 0,
        "ecc_uncorrectable_volatile": 0, "status": "Operational", "hard_resets": 1, "soft_resets": None,
        "firmware_version": "hl-gaudi2-1.20.0-fw-58.1.1.1", "vbios_version": "hl-gaudi2-1.20.0-fw-58.0.0-sec-9",
        "ports_internal_up": 2, "ports_internal_down": 0, "ports_external_up": 1, "ports_external_down": 0,
        "ports_down": [],
    }  # fmt: skip
    assert second["ecc_uncorrectable_volatile"] == 2
    assert (second["ports_internal_down"], second["ports_external_down"]) == (1, 1)
    assert second["ports_down"] == ["1 (internal)", "8 (external)"]


def test_the_table_alone_is_enough() -> None:
    told = facts(node(cmd("hl-smi", TABLE), cmd("hl-smi -Q usual", "", "unknown option", 1)))
    assert told["gpu.count"].value == 2
    assert told["gpu.devices"].value[1]["power_draw_w"] == 78.0


@pytest.mark.parametrize(
    ("section", "says"),
    [
        (cmd("hl-smi", "", "", 124), "did not end in its time"),
        (cmd("hl-smi", "No devices found\n"), "no accelerator that can be read"),
        (cmd("hl-smi", "\n"), "printed nothing"),
    ],
)
def test_no_answer_is_an_error_and_is_said(section: Section, says: str) -> None:
    told = facts(node(section))
    assert says in told["gaudi.smi_error"].value
    assert told["gpu.count"].state is told["gpu.devices"].state is FactState.ERROR
    assert told["gaudi.driver_version"].state is FactState.ABSENT


def test_without_hl_smi_the_drivers_files_tell_the_devices() -> None:
    told = facts(node(cmd("hl-smi", "", "timeout: failed to run command 'hl-smi': No such file or directory", 127)))
    assert told["gaudi.smi_error"].state is told["gaudi.smi_version"].state is FactState.ABSENT
    (row,) = told["gpu.devices"].value
    assert (row["pci_bus_id"], row["pci_id"], row["status"]) == ("0000:9a:00.0", "1da3:1020", "Operational")
    assert "ports_internal_down" not in row
    assert told["gpu.count"].value == 1


def test_ports_that_cannot_be_asked_are_unknown() -> None:
    told = facts(node(links=(link("UP", "UP", "UP"), "")))
    first, second = told["gpu.devices"].value
    assert first["ports_internal_up"] == 2
    assert second["ports_internal_up"] is None
    assert "ports_internal_down" in second["_errors"]


def test_ports_of_which_it_is_not_said_where_they_lead_are_unknown() -> None:
    sections = [one for one in node() if not one.name.startswith("hl-smi -n ports")]
    silent = [cmd(f"hl-smi -n ports -i {address}", "port 0: internal\nport 1: internal\n") for address in ADDRESSES]
    for row in facts([*sections, *silent])["gpu.devices"].value:
        assert "where port 8 leads" in row["_errors"]["ports_internal_down"]


def test_a_list_that_was_cut_is_not_a_shorter_list() -> None:
    told = facts(node(cmd("hl-smi", "x"), cmd("hl-smi -Q usual", USUAL[:70])))
    assert told["gpu.count"].state is FactState.ERROR


@given(st.text(max_size=300), st.text(max_size=200), st.text(max_size=100))
def test_no_text_makes_it_raise(table: str, usual: str, ports: str) -> None:
    facts(node(cmd("hl-smi", table), cmd("hl-smi -Q usual", usual), cmd("hl-smi -Q more", usual), links=(ports, ports)))
