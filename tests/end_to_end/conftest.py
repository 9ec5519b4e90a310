"""Fixtures of the end-to-end tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from cluster import Cluster
from sshd import SshFleet


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    with SshFleet(tmp_path / "fleet") as fleet:
        yield Cluster(fleet, tmp_path)


@pytest.fixture
def commands(tmp_path: Path) -> Path:
    """A folder to put first on a node's PATH, for commands that answer as a broken machine's would."""
    folder = tmp_path / "bin"
    folder.mkdir()
    return folder
