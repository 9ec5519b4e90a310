"""The storage sources on a node whose network mount hangs: they end at once, and say that it is mounted."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from probe_nodes import FakeNode, Running, script_of

from nodectl.facts.gather import gather
from nodectl.model import Node
from nodectl.probe.__main__ import run_source
from nodectl.probe.compose import load_sources
from nodectl.probe.overlay import refusal
from nodectl.probe.transcript import write_transcript

HUNG_MOUNT = Path(__file__).with_name("hung_mount.py")
SOURCES = ("storage_mounts", "storage_clients", "lustre", "disks", "disk_health")


def test_a_mount_that_hangs_is_told_of_and_not_touched(node: FakeNode, tmp_path: Path) -> None:
    hung = tmp_path / "hung"
    hung.mkdir()
    prefix = ["unshare", "-m", sys.executable, str(HUNG_MOUNT), str(hung)]
    if os.geteuid() != 0:
        pytest.skip("needs root to mount a file system that hangs")
    tried = subprocess.run([*prefix, "true"], capture_output=True, text=True, timeout=20, check=False)
    if tried.returncode != 0:
        pytest.skip(f"no FUSE here: {tried.stderr.strip()}")
    specs = load_sources()
    with Running(node, script_of([specs[name] for name in SOURCES]), [*prefix, "sh"]) as running:
        began = time.monotonic()
        found = running.finish()
        took_s = time.monotonic() - began
        running.wait(5.0)
    assert found.ending == "complete"
    assert {name: found.source(name).state for name in SOURCES} == dict.fromkeys(SOURCES, "ok")
    assert {name: found.source(name).note for name in SOURCES} == dict.fromkeys(SOURCES, "")
    assert took_s < 5.0
    mounts = gather(found, ["storage.mounts"], Node(name="n"))["storage.mounts"]
    assert str(hung) in {row["path"] for row in mounts.value}


SMART = '{"smartctl": {"exit_status": 0}, "smart_status": {"passed": true}}'
NODE = {
    "proc/mdstat": "Personalities : [raid1]\nmd0 : active raid1 sda[0]\n  1 blocks [2/1] [U_]\n\n"
    "unused devices: <none>\n",
    "proc/modules": "lustre 1 0 - Live 0x0\nnfs 1 0 - Live 0x0\n",
    "proc/self/mountinfo": "29 1 253:0 / / rw - ext4 /dev/md0 rw\n30 29 0:5 / /proc rw - proc proc rw\n"
    "31 29 0:61 / /home rw,relatime shared:9 - nfs4 nas:/home rw,vers=4.2,rsize=1048576,wsize=1048576,soft,proto=tcp\n"
    "32 29 0:62 / /var/lib/kubelet/pods/x/y rw - nfs4 nas:/y rw\n33 29 7:1 / /snap/core/1 ro - squashfs /dev/l ro\n",
    "sys/class/nvme/nvme0/transport": "pcie\n",
    "sys/class/nvme/nvme0/state": "live\n",
    "sys/class/nvme/nvme0/model": "MODEL X     \n",
    "sys/class/nvme/nvme1/transport": "tcp\n",
    "sys/class/nvme/nvme1/state": "connecting\n",
    "sys/block/nvme0n1/size": "1000000000\n",
    "sys/block/nvme0n1/queue/scheduler": "[none] mq-deadline\n",
    "sys/block/loop0/queue/scheduler": "none\n",
    "sys/block/dm-0/queue/scheduler": "none\n",
    "sys/block/dm-0/dm/uuid": "mpath-360000\n",
    "sys/block/dm-0/dm/name": "mpatha\n",
    "sys/block/dm-0/slaves/sda/x": "",
    "sys/block/dm-0/slaves/sdb/x": "",
    "sys/block/sda/queue/scheduler": "none\n",
    "sys/block/sda/size": "200000\n",
    "sys/block/sda/removable": "1\n",
    "sys/block/sda/device/state": "running\n",
    "sys/block/sdb/queue/scheduler": "none\n",
    "sys/block/sdb/size": "0\n",
    "sys/block/sdb/removable": "0\n",
    "sys/block/sdb/device/state": "offline\n",
    "sys/kernel/x": "",
    "sys/module/lustre/version": "2.15.5\n",
    "sys/fs/lustre/version": "2.15.5\n",
    "sys/fs/lustre/health_check": "healthy\n",
    "usr/bin/smartctl": f"#!/bin/sh\necho '{SMART}'\n",
    "usr/bin/lctl": "#!/bin/sh\ncase $1-$2 in list_nids-) echo 10.0.0.1@o2ib ;;"
    " *mdc*state) echo mdc.l-MDT0000-mdc-f.state=; echo 'current_state: FULL'; echo ' - [ 1795000000, EVICTED ]';"
    " echo ' - [ 1795000001, FULL ]' ;; *) exit 2 ;; esac\n",
}


@pytest.mark.parametrize("shell", [["dash"], ["busybox", "sh"], ["bash", "--posix"]], ids=lambda shell: shell[0])
def test_the_sources_on_the_files_of_a_node(tmp_path: Path, shell: list[str]) -> None:
    scratch, top = tmp_path / "scratch", tmp_path / "top"
    scratch.mkdir()
    why_not = refusal(scratch)
    if why_not:
        pytest.skip(f"no overlay root here: {why_not}")
    for path, text in NODE.items():
        (top / path).parent.mkdir(parents=True, exist_ok=True)
        (top / path).write_text(text)
        (top / path).chmod(0o755 if "bin/" in path else 0o644)
    specs = load_sources()
    replies = {name: run_source(specs[name], [], shell=shell, root=top) for name in SOURCES}
    assert {name: reply.note for name, reply in replies.items()} == dict.fromkeys(SOURCES, "")
    names = ["storage.mounts", "nfs.mounts", "storage.clients", "lustre.networks", "lustre.targets", "lustre.version"]
    names += [
        "storage.nvme",
        "storage.nvme_count",
        "storage.disks",
        "storage.multipath",
        "storage.raid",
        "storage.health",
    ]
    facts = gather(write_transcript(replies), names, Node(name="n"))
    found = {name: fact.value for name, fact in facts.items()}
    assert {fact.name: fact.reason for fact in facts.values() if fact.value is None} == {}
    assert [row["path"] for row in found["storage.mounts"]] == ["/", "/home"]
    assert found["nfs.mounts"][0]["hard"] is False
    assert [(row["client"], row["version"]) for row in found["storage.clients"]] == [("lustre", "2.15.5")]
    assert found["lustre.networks"] == ["o2ib"]
    assert [(row["state"], row["evictions"]) for row in found["lustre.targets"]] == [("FULL", 1)]
    assert [(row["name"], row["state"]) for row in found["storage.nvme"]] == [
        ("nvme0", "live"),
        ("nvme1", "connecting"),
    ]
    assert found["storage.nvme_count"] == 1
    assert [row["name"] for row in found["storage.disks"]] == ["nvme0n1", "sda"]
    assert found["storage.multipath"] == [{"name": "mpatha", "paths": 2, "paths_running": 1}]
    assert [row["missing_members"] for row in found["storage.raid"]] == [1]
    assert [(row["device"], row["passed"]) for row in found["storage.health"]] == [("nvme0", True)]
