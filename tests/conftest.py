"""What many tests share."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

# A shell ignores ctrl-c in what it runs in the background, and nodectl keeps to that; tests of ctrl-c want it back.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

_SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session")
def shared() -> Path:
    """Recordings of other people's machines: read where they lie, beside the checkout, and never copied into it."""
    if not (_SHARED / "recordings").is_dir():
        pytest.skip("no ../shared/recordings beside this checkout: the recordings of real machines are not here")
    return _SHARED
