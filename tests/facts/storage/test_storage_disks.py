"""Disks, NVMe drives, multipath, software RAID, and what disks say of their health."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from replies import cmd, fact_of, facts_of, file, grep, no_file, said, state_of, value_of

from nodectl.facts.registry import registry
from nodectl.model import FactState
from nodectl.probe.transcript import Section

MDSTAT = "/proc/mdstat"
DISKS = [name for name, spec in registry().items() if spec.source == "disks"]
NVME = "/sys/class/nvme/nvme0"
DRIVE = {
    f"{NVME}/transport": "pcie",
    f"{NVME}/state": "live",
    f"{NVME}/model": "SAMSUNG MZQL23T8HCLS-00A07              ",
    f"{NVME}/firmware_rev": "GDC5602Q",
    f"{NVME}/address": "0000:05:00.0",
    f"{NVME}/numa_node": "-1",
}
NO_RAID = no_file(MDSTAT)


def disks(nvme: dict[str, str] | None = None, block: dict[str, str] | None = None, paths: str = "") -> list[Section]:
    nvme, block = nvme or {}, block or {}
    return [
        NO_RAID,
        said("nvme drives", str(len(nvme))),
        *([grep(nvme)] if nvme else []),
        said("multipath paths", paths),
        said("disk files", str(len(block))),
        *([grep(block)] if block else []),
    ]


def test_a_local_drive() -> None:
    (row,) = value_of("disks", disks(DRIVE), "storage.nvme")
    assert (row["model"], row["numa_node"], row["state"]) == ("SAMSUNG MZQL23T8HCLS-00A07", None, "live")
    assert value_of("disks", disks(DRIVE), "storage.nvme_count") == 1


def test_a_drive_over_fabrics_is_none_of_the_nodes_own() -> None:
    fabric = {f"{NVME}/transport": "tcp", f"{NVME}/state": "connecting", f"{NVME}/address": "traddr=10.0.0.9"}
    sections = disks(fabric)
    assert value_of("disks", sections, "storage.nvme_count") == 0
    assert value_of("disks", sections, "storage.nvme")[0]["state"] == "connecting"


def test_a_node_without_any() -> None:
    facts = facts_of("disks", disks(), *DISKS)
    assert facts["storage.nvme_count"].value == 0
    assert facts["storage.disks"].value == facts["storage.multipath"].value == []
    assert facts["storage.raid"].state is FactState.ABSENT


def test_without_sys_nobody_can_tell() -> None:
    for name in ("storage.nvme", "storage.nvme_count", "storage.disks"):
        assert state_of("disks", [said("not mounted", "/sys"), *disks()], name) == "error"
    assert state_of("disks", [said("not mounted", "/proc"), *disks()], "storage.raid") == "error"


def test_a_drive_that_says_nothing_is_not_left_out_of_the_count() -> None:
    silent = {f"{NVME}/state": "live"}
    assert state_of("disks", disks(silent), "storage.nvme_count") == "error"


def test_disks_of_all_kinds() -> None:
    block = {
        "/sys/block/nvme0n1/size": "7501476528",
        "/sys/block/nvme0n1/queue/scheduler": "[none] mq-deadline ",
        "/sys/block/nvme0n1/queue/rotational": "0",
        "/sys/block/vda/size": "536870912",
        "/sys/block/vda/queue/scheduler": "none [mq-deadline] kyber",
        "/sys/block/sdb/size": "0",
        "/sys/block/sda/size": "1875385008",
        "/sys/block/sda/device/model": "Micron_5400_MTFD",
        "/sys/block/sda/device/state": "running",
        "/sys/block/sda/queue/scheduler": "none",
    }
    rows = {row["name"]: row for row in value_of("disks", disks(block=block), "storage.disks")}
    assert {name: (row["kind"], row["scheduler"], row["size_gb"]) for name, row in rows.items()} == {
        "nvme0n1": ("nvme", "none", 3840),
        "vda": ("virtio", "mq-deadline", 274),
        "sda": ("scsi", "none", 960),
    }


def test_paths_of_a_multipath_device() -> None:
    block = {
        "/sys/block/dm-3/dm/name": "mpatha",
        "/sys/block/sda/device/state": "running",
        "/sys/block/sdb/device/state": "transport-offline",
    }
    sections = disks(block=block, paths="dm-3 sda,dm-3 sdb,")
    assert value_of("disks", sections, "storage.multipath") == [{"name": "mpatha", "paths": 2, "paths_running": 1}]


HEAD, TAIL = "Personalities : [raid0] [raid1] \n", "unused devices: <none>\n"


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (
            "md0 : active raid1 sdb2[1] sda2[0]\n      2094080 blocks super 1.2 [2/2] [UU]\n      \n",
            ("md0", "raid1", True, False, 2, 0, 0, None),
        ),
        (
            "md0 : active raid1 sdb2[1](F) sda2[0]\n      2094080 blocks super 1.2 [2/1] [U_]\n      \n",
            ("md0", "raid1", True, False, 2, 1, 1, None),
        ),
        (
            (
                "md5 : active raid5 sdd1[3] sdb1[1] sda1[0]\n      9 blocks level 5, algorithm 2 [3/2] [UU_]\n"
                "      [==>..................]  recovery = 12.6% (37043392/292945152) finish=127.5min\n\n"
            ),
            ("md5", "raid5", True, False, 3, 0, 1, "recovery"),
        ),
        (
            "md127 : inactive sdb[1](S) sda[0](S)\n      6306 blocks super external:imsm\n       \n",
            ("md127", None, False, False, 2, 0, None, None),
        ),
        (
            "md1 : active (auto-read-only) raid1 sdb[1] sda[0]\n      9 blocks [2/2] [UU]\n      \tresync=PENDING\n",
            ("md1", "raid1", True, False, 2, 0, 0, "resync"),
        ),
        (
            "md1 : active (read-only) raid0 nvme1n1[1] nvme0n1[0]\n      9 blocks super 1.2 512k chunks\n",
            ("md1", "raid0", True, True, 2, 0, None, None),
        ),
    ],
)
def test_arrays(text: str, wanted: tuple[object, ...]) -> None:
    (row,) = value_of("disks", [file(MDSTAT, HEAD + text + TAIL)], "storage.raid")
    assert tuple(row.values()) == wanted


def test_no_array_and_tables_that_were_cut() -> None:
    assert value_of("disks", [file(MDSTAT, "Personalities : \nunused devices: <none>\n")], "storage.raid") == []
    for text in ("", HEAD, "Personalities : [raid1]\nmd0 : active raid1 sd", HEAD + "md0 : odd\n" + TAIL):
        assert state_of("disks", [file(MDSTAT, text)], "storage.raid") == "error"


def smart(*sections: Section, device: str = "nvme0", tool: str = "smartctl") -> list[Section]:
    return [said("tool", tool), said(f"disk {device}", "/sys/class/nvme"), *sections]


def recorded(shared: Path, name: str) -> list[Section]:
    return smart(cmd("smartctl nvme0", (shared / "recordings/public/smartctl" / name).read_text()))


def test_recorded_drives(shared: Path) -> None:
    (good,) = value_of("disk_health", recorded(shared, "gcm-nvme0-good.json"), "storage.health")
    (odd,) = value_of("disk_health", recorded(shared, "gcm-cache-nvme3-bad.json"), "storage.health")
    for row in (good, odd):
        # Its authors call the second one bad for 10 entries in its error log, which say nothing of the drive.
        assert (row["passed"], row["critical_warning"], row["media_errors"]) == (True, 0, 0)
    assert odd["temperature_c"] == 52


def test_a_sata_disk_that_fails() -> None:
    answer = {
        "smartctl": {"exit_status": 8},
        "smart_status": {"passed": False},
        "ata_smart_attributes": {"table": [{"id": 5, "raw": {"value": 12}}, {"id": 197, "raw": {"value": 3}}]},
    }
    sections = smart(cmd("smartctl sda", json.dumps(answer), rc=8), device="sda")
    (row,) = value_of("disk_health", sections, "storage.health")
    assert (row["passed"], row["reallocated_sectors"], row["pending_sectors"]) == (False, 12, 3)
    assert row["critical_warning"] is None


@pytest.mark.parametrize("warning", [4, {"value": 4, "available_spare": 0}])
def test_nvme_cli(warning: object) -> None:
    answer = {"critical_warning": warning, "temperature": 311, "avail_spare": 100, "spare_thresh": 10}
    answer |= {"percent_used": 3, "media_errors": "0"}
    (row,) = value_of(
        "disk_health", smart(cmd("nvme smart-log nvme0", json.dumps(answer)), tool="nvme"), "storage.health"
    )
    assert (row["passed"], row["critical_warning"], row["temperature_c"], row["media_errors"]) == (False, 4, 38, 0)


@pytest.mark.parametrize(
    "section",
    [
        cmd("smartctl nvme0", "", "needs root: timeout 5 smartctl\n", 77),
        cmd("smartctl nvme0", '{"smartctl": {"exit_status": 2, "messages": [{"string": "open failed"}]}}', rc=2),
        cmd("smartctl nvme0", "", "", 124),
        cmd("smartctl nvme0", "no json"),
        cmd("smartctl nvme0", "[]"),
        cmd("smartctl nvme0", "{}"),
        cmd("smartctl nvme0", "[" * 100_000),
    ],
)
def test_a_disk_that_could_not_be_asked_is_an_error(section: Section) -> None:
    assert state_of("disk_health", smart(section), "storage.health") == "error"


@pytest.mark.parametrize(
    "text",
    [
        "/dev/sda: DELL or MegaRaid controller, please try adding '-d megaraid,N'",
        "/dev/sda: Unknown USB bridge [0x0bda:0x9210 (0x2001)]",
    ],
)
def test_a_disk_that_only_its_controller_knows_reports_nothing(text: str) -> None:
    answer = {"smartctl": {"exit_status": 1, "messages": [{"string": text, "severity": "error"}]}}
    (row,) = value_of(
        "disk_health", smart(cmd("smartctl sda", json.dumps(answer), rc=1), device="sda"), "storage.health"
    )
    assert row["passed"] is None
    assert "_errors" not in row


def test_one_disk_of_two_that_could_not_be_asked_costs_only_its_own() -> None:
    good = {"smartctl": {"exit_status": 0}, "smart_status": {"passed": True}}
    sections = [
        *smart(cmd("smartctl nvme0", json.dumps(good))),
        said("disk nvme1", "/sys/class/nvme"),
        cmd("smartctl nvme1", "", "", 124),
    ]
    one, two = value_of("disk_health", sections, "storage.health")
    assert one["passed"] is True
    assert "did not end" in two["_errors"]["passed"]


def test_without_a_tool_health_is_not_known() -> None:
    sections = smart(tool="")
    assert state_of("disk_health", sections, "storage.health_tool") == "absent"
    assert state_of("disk_health", sections, "storage.health") == "error"
    assert value_of("disk_health", [said("tool", "")], "storage.health") == []


@given(st.text(max_size=200))
def test_any_text_is_read_without_raising(text: str) -> None:
    nvme = dict.fromkeys(DRIVE, text)
    block = {"/sys/block/sda/size": text, "/sys/block/sda/queue/scheduler": text, "/sys/block/sda/device/state": text}
    facts = facts_of("disks", [file(MDSTAT, HEAD + text + TAIL), *disks(nvme, block, text)[1:]], *DISKS)
    health = fact_of("disk_health", smart(cmd("smartctl nvme0", text), said(f"disk {text}", text)), "storage.health")
    for fact in (*facts.values(), health):
        assert fact.state is not FactState.ABSENT
        assert "could not be read (" not in fact.reason, fact
