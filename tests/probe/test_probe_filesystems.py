"""Which file systems the source `filesystems` asks for their space: none that a dead server could block."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from nodectl.probe.compose import load_sources

AWKS = (["mawk"], ["gawk"], ["busybox", "awk"])
MOUNTS = """\
31 1 253:0 / / rw - ext4 /dev/sda2 rw
32 31 259:1 / /boot/efi rw - vfat /dev/sda1 rw
40 31 0:50 / /nfs rw shared:9 - nfs4 srv:/x rw
41 40 253:7 / /nfs/local rw - xfs /dev/sdb rw
42 31 253:0 /home /srv/home rw - ext4 /dev/sda2 rw
43 31 0:44 /@ /bt rw - btrfs /dev/sdc rw
44 31 0:45 /@home /bt-home rw - btrfs /dev/sdc rw
45 31 0:60 / /var/lib/docker/overlay2/x/merged rw - overlay overlay rw
46 31 0:61 / /tmp rw - tmpfs tmpfs rw
47 31 0:62 / /run rw - tmpfs tmpfs rw
48 31 7:1 / /snap/core ro - squashfs /dev/loop1 ro
49 31 253:9 / /data rw - ext4 /dev/sdd rw
50 49 0:70 / /data rw - lustre 10.0.0.1@o2ib:/fs rw
51 31 253:8 / /nfs2 rw - ext4 /dev/sde rw
"""


def _program() -> str:
    body = load_sources()["filesystems"].body
    match = re.search(r"awk '\n(.*?)' /proc/self/mountinfo", body, re.DOTALL)
    assert match
    return match[1]


@pytest.mark.parametrize("awk", AWKS, ids=lambda awk: awk[0])
def test_each_local_file_system_once_and_nothing_remote(awk: list[str], tmp_path: Path) -> None:
    if shutil.which(awk[0]) is None:
        pytest.skip(f"{awk[0]} is not installed")
    table = tmp_path / "mountinfo"
    table.write_text(MOUNTS)
    done = subprocess.run([*awk, _program(), str(table)], capture_output=True, text=True, check=True)
    *lines, last = done.stdout.splitlines()
    assert [line.split()[4] for line in lines] == ["/", "/boot/efi", "/bt", "/tmp", "/nfs2"]
    assert last == "nd_total 14"


@pytest.mark.parametrize("awk", AWKS, ids=lambda awk: awk[0])
def test_a_recorded_node_of_kubernetes(awk: list[str], shared: Path) -> None:
    if shutil.which(awk[0]) is None:
        pytest.skip(f"{awk[0]} is not installed")
    table = shared / "recordings/public/disk/mountinfo-k8s.txt"
    done = subprocess.run([*awk, _program(), str(table)], capture_output=True, text=True, check=True)
    paths = [line.split()[4] for line in done.stdout.splitlines()[:-1]]
    assert paths[:2] == ["/", "/mnt/local-volume/vol-0"]
    assert not [path for path in paths if path.startswith("/var/lib/kubelet")]
