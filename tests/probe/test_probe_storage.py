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
from nodectl.probe.compose import load_sources

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
