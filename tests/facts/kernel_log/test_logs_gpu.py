"""Xids and SXids of log lines: which device, how often, when, and which are history."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodectl.facts.kernel_log.gpu import MAX_LINKS, Resets, Spans, pci_bus_id, sxid_events, xid_events
from nodectl.facts.kernel_log.lines import Clock, LogLine, read_lines

CLOCK = Clock(boot_s=1_700_000_000.0)


def xids(text: str) -> list[dict[str, Any]]:
    lines = list(read_lines(text, CLOCK))
    return xid_events(lines, _resets(lines))


def sxids(text: str, fabric_manager: str = "") -> list[dict[str, Any]]:
    lines = list(read_lines(text, CLOCK))
    return sxid_events(lines, list(read_lines(fabric_manager, CLOCK)), _resets(lines))


def _resets(lines: list[LogLine]) -> Resets:
    resets = Resets(loads=[], devices={})
    for line in lines:
        resets.note(line)
    return resets


@pytest.mark.parametrize(
    ("text", "device", "xid", "process"),
    [
        ("NVRM: Xid (PCI:0000:4f:00): 79, pid=1234, GPU has fallen off the bus.", "0000:4f:00.0", 79, None),
        ("NVRM: Xid (PCI:0000:91:00): 79, pid='<unknown>', name=<unknown>, GPU has fallen", "0000:91:00.0", 79, None),
        ("NVRM: Xid (0000:3b:00): 48, pid=77, name=python3, Ch 00000008", "0000:3b:00.0", 48, "python3"),
        ("NVRM: Xid (0000:03:00): 14, Channel 00000001", "0000:03:00.0", 14, None),
        ("NVRM: Xid (PCI:0000:3f:00): 46", "0000:3f:00.0", 46, None),
        ("NVRM: Xid (PCI:0000:00:08.0): 145, RLW_REMAP Nonfatal XC1 i0 Link 10", "0000:00:08.0", 145, None),
        ("NVRM: Xid (PCI:0008:01:00 GPU-I:02): 31, pid=9, name=train.3, Ch 0000000d", "0008:01:00.0", 31, "train.3"),
        ("NVRM: Xid (PCI:0000:66:00): 999, pid=1234, name=test", "0000:66:00.0", 999, "test"),
    ],
)  # fmt: skip
def test_every_form_of_an_xid_line(text: str, device: str, xid: int, process: str | None) -> None:
    (row,) = xids("[  10.000000] " + text)
    assert (row["gpu_pci_bus_id"], row["xid"], row["process"], row["message"]) == (device, xid, process, text)
    assert row["count"] == row["incidents_24h"] == 1
    assert row["first_s"] == row["last_s"] == 1_700_000_010.0


@pytest.mark.parametrize(
    "text",
    [
        "NVRM: Xid (PCI:0000:66:00): abc, pid=1",
        "NVRM: Xid : 32, pid=1",
        "NVRM: GPU at PCI:0000:91:00: GPU-b6c3b2be",
        "",
    ],
)
def test_lines_that_are_no_xid(text: str) -> None:
    assert xids(text) == []


def test_what_the_driver_adds_to_some_xids() -> None:
    (row,) = xids("NVRM: Xid (PCI:0000:dc:00): 45, pid=1, name=python3, Ch 00000001 caused by previous Xid 149")
    assert row["previous_xid"] == 149
    (row,) = xids("NVRM: Xid (PCI:0018:01:00): 149, NETIR_LINK_EVT  Fatal   XC0 i0 Link 09 (0x025525c6 0x00000000)")
    assert (row["fatal"], row["links"]) == (True, [9])
    assert row["nvlink5_errors"] == ["NETIR_LINK_EVT 0x025525c6 0x00000000"]
    (row,) = xids("NVRM: Xid (PCI:0000:00:08.0): 145, RLW_REMAP Nonfatal XC1 i0 Link 10")
    assert (row["fatal"], row["links"], row["nvlink5_errors"]) == (False, [10], None)
    (row,) = xids(
        "NVRM: Xid (PCI:0000:04:00): 145, RLW_REMAP Nonfatal XC0 i0 Link 00 (0x00000004 0x00000001 0x00000000)\n"
        "NVRM: Xid (PCI:0000:04:00): 145, RLW_REMAP Nonfatal XC0 i0 Link 00 (0x00000004 0x00000001 0x00000000)\n"
        "NVRM: Xid (PCI:0000:04:00): 145, RLW_CTRL Nonfatal XC0 i0 Link -1 (0x00000003 0x80000000 0x00000000)"
    )
    assert row["nvlink5_errors"] == ["RLW_REMAP 0x00000004 0x00000001", "RLW_CTRL 0x00000003 0x80000000"]
    (row,) = xids("NVRM: Xid (PCI:0003:00:00): 74, NVLink: fatal error detected on link 14(0x0, 0x0, 0x10000)")
    assert (row["fatal"], row["links"]) == (True, [14])


def test_every_link_that_an_xid_names_is_kept() -> None:
    head = "NVRM: Xid (PCI:0000:d1:00): 74, pid='<unknown>', name=<unknown>, NVLink: fatal error detected on link"
    (row,) = xids("\n".join(f"{head} {link}(0x0, 0x0)" for link in (9, 8, 9)))
    assert (row["count"], row["links"]) == (3, [8, 9])
    (row,) = xids("NVRM: Xid (PCI:0000:d1:00): 79, pid=1, GPU has fallen off the bus.")
    assert row["links"] is None
    (row,) = xids("\n".join(f"{head} {link}(0x0)" for link in range(3000)))
    assert (row["count"], len(row["links"])) == (3000, MAX_LINKS)


def test_xid_154_keeps_the_newest_advice() -> None:
    head = "NVRM: Xid (PCI:0008:01:00): 154, GPU recovery action changed from"
    (row,) = xids(f"[10.0] {head} 0x0 (None) to 0x1 (GPU Reset Required)\n[20.0] {head} 0x1 (x) to 0x2 (OS Reboot)")
    assert (row["recovery_action_code"], row["recovery_action_text"], row["count"]) == (2, "OS Reboot", 2)


def test_lines_of_one_crash_are_one_incident() -> None:
    burst = "\n".join(
        f"[{100 + i * 0.001:.6f}] NVRM: Xid (PCI:0000:38:00): 13, (GPC 8, TPC {i % 3}, SM 0)" for i in range(90)
    )
    (row,) = xids(burst)
    assert (row["count"], row["incidents_24h"], row["repeated_unit"]) == (90, 1, None)


def test_incidents_are_counted_within_any_24_hours() -> None:
    hours = [0, 1, 30, 31, 32, 80]
    (row,) = xids("\n".join(f"[{hour * 3600}.000000] NVRM: Xid (PCI:0000:38:00): 31, (GPC 1, TPC 2" for hour in hours))
    assert (row["count"], row["incidents_24h"]) == (6, 3)
    assert row["repeated_unit"] == "GPC 1, TPC 2"


def test_a_folded_burst_is_one_incident() -> None:
    (row,) = xids("5000\t3599.0\t[  10.000000] NVRM: Xid (PCI:0000:38:00): 31, pid=1")
    assert (row["count"], row["incidents_24h"], row["last_s"]) == (5000, 1, 1_700_003_599.0)


def test_a_log_without_times_has_no_incidents() -> None:
    (row,) = xids("NVRM: Xid (PCI:0000:38:00): 31, pid=1\nNVRM: Xid (PCI:0000:38:00): 31, pid=2")
    assert (row["count"], row["incidents_24h"], row["first_s"]) == (2, None, None)


def test_what_came_before_a_driver_load_is_history() -> None:
    rows = xids(
        "[1.0] NVRM: loading NVIDIA UNIX x86_64 Kernel Module  550.90.07\n"
        "[50.0] NVRM: Xid (PCI:0000:38:00): 119, pid=1\n"
        "[90.0] NVRM: loading NVIDIA UNIX Open Kernel Module for x86_64  580.95.05\n"
        "[99.0] NVRM: Xid (PCI:0000:38:00): 119, pid=1"
    )
    assert [(row["first_s"], row["before_reset"]) for row in rows] == [
        (1_700_000_050.0, True),
        (1_700_000_099.0, False),
    ]


@pytest.mark.parametrize(
    "line",
    [
        "[90.0] NVRM: Xid (PCI:0000:38:00): 154, GPU recovery action changed from 0x1 (GPU Reset) to 0x0 (None)",
        "[90.0] nvidia 0000:38:00.0: resetting",
        "[90.0] vfio-pci 0000:38:00.0: reset done",
    ],
)
def test_a_reset_of_one_device_makes_only_its_own_xids_history(line: str) -> None:
    rows = xids(f"[50.0] NVRM: Xid (PCI:0000:38:00): 95, x\n[50.0] NVRM: Xid (PCI:0000:4c:00): 95, x\n{line}")
    before = {row["gpu_pci_bus_id"]: row["before_reset"] for row in rows if row["xid"] == 95}
    assert before == {"0000:38:00.0": True, "0000:4c:00.0": False}


def test_sxids_are_told_by_switch_and_link_and_their_registers_are_no_events() -> None:
    rows = sxids(
        "[1.0] nvidia-nvswitch0: SXid (PCI:0000:05:00.0): 20034, Fatal, Link 63 LTSSM Fault Up\n"
        "[1.1] nvidia-nvswitch0: SXid (PCI:0000:05:00.0): 20034, Severity 1 Engine instance 63 Sub-engine instance 00\n"
        "[1.2] nvidia-nvswitch0: SXid (PCI:0000:05:00.0): 20034, Data {0x10000000, 0x10000000}\n"
        "[1.3] nvidia-nvswitch3: SXid (PCI:0000:86:00.0): 12028, Non-fatal, Link 61 egress PRIV error (First)\n"
        "[1.4] nvidia-nvswitch1: SXid (PCI:0000:06:00.0): 24007, Data {0x0}"
    )
    found = [(row["nvswitch_pci_bus_id"], row["sxid"], row["link"], row["fatal"], row["count"]) for row in rows]
    assert found == [
        ("0000:05:00.0", 20034, 63, True, 1),
        ("0000:86:00.0", 12028, 61, False, 1),
        ("0000:06:00.0", 24007, None, None, 1),
    ]


def test_fabric_manager_adds_only_what_the_kernel_log_has_not() -> None:
    said = (
        "[Nov 14 2023 23:00:00] [ERROR] [tid 1] detected NVSwitch non-fatal error 12028 on fid 0 on NVSwitch pci bus "
        "id 00000000:86:00.0 physical id 3 port 61\n"
        "[Nov 14 2023 23:00:01] [ERROR] [tid 1] detected NVSwitch fatal error 20034 on fid 0 on NVSwitch pci bus "
        "id 00000000:05:00.0 physical id 0 port 7"
    )
    rows = sxids("[1.0] nvidia-nvswitch3: SXid (PCI:0000:86:00.0): 12028, Non-fatal, Link 61 x", said)
    found = [(row["nvswitch_pci_bus_id"], row["sxid"], row["link"], row["fatal"]) for row in rows]
    assert found == [("0000:86:00.0", 12028, 61, False), ("0000:05:00.0", 20034, 7, True)]


@pytest.mark.parametrize(
    ("text", "bus_id"),
    [
        ("0000:4f:00", "0000:4f:00.0"),
        ("PCI:0000:4F:00", "0000:4f:00.0"),
        ("00000000:4F:00.0", "0000:4f:00.0"),
        ("000d:00:00", "000d:00:00.0"),
        ("4f:00.1", "0000:4f:00.1"),
        ("00010000:01:00.0", "10000:01:00.0"),
        ("not an address", "not an address"),
        ("", ""),
    ],
)
def test_pci_addresses_are_written_as_sysfs_does(text: str, bus_id: str) -> None:
    assert pci_bus_id(text) == bus_id


@given(st.lists(st.tuples(st.floats(0, 1e9), st.floats(0, 1e6), st.integers(1, 10**6)), max_size=30))
def test_spans_keep_their_promises(entries: list[tuple[float, float, int]]) -> None:
    spans = Spans()
    for start, length, count in entries:
        spans.add(LogLine("m", start, start + length, count))
    assert spans.count == sum(count for _, _, count in entries)
    incidents = spans.incidents()
    assert len(incidents) <= len(entries)
    assert incidents == sorted(incidents)
    most = spans.most_in_a_day()
    assert most is None if not entries else most is not None and 1 <= most <= len(incidents)


@given(st.text(alphabet="NVRM: XidSPC(0)1ab.,;=x'<>\n\t[]Fatl ", max_size=400))
def test_no_text_makes_it_raise(text: str) -> None:
    xids(text)
    sxids(text, text)


def test_a_node_that_makes_up_devices_is_not_believed_without_end() -> None:
    rows = xids("\n".join(f"NVRM: Xid (PCI:{i:04x}:00:00): 13, x" for i in range(6000)))
    assert len(rows) == 4000
