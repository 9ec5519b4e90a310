"""What many tests share."""

from __future__ import annotations

from pathlib import Path

import pytest

_SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session")
def shared() -> Path:
    """Recordings of other people's machines: read where they lie, beside the checkout, and never copied into it."""
    if not (_SHARED / "recordings").is_dir():
        pytest.skip("no ../shared/recordings beside this checkout: the recordings of real machines are not here")
    return _SHARED
