"""A runner for the tests of this folder."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from demo_kit import Runner


@pytest.fixture
def runner(tmp_path: Path) -> Iterator[Runner]:
    """A runner; whatever the test does, nothing may be left afterwards."""
    made = Runner(tmp_path)
    yield made
    end = time.monotonic() + 2
    while made.left_behind() and time.monotonic() < end:
        time.sleep(0.05)
    assert made.left_behind() == []
