"""Builds tests/telemetry/fake_nvml.c and drives it while an agent has it loaded."""

from __future__ import annotations

import mmap
import shutil
import struct
import subprocess
from pathlib import Path

import pytest

SOURCE = Path(__file__).with_name("fake_nvml.c")
REFUSALS = ("ecc", "hbm", "gpm", "pcie", "link_sum", "nvlink", "events", "margin", "wide_pcie", "deny_gpm", "nvlink5")
GPU_IS_LOST, UNKNOWN = 15, 999

_HEAD = ("init_code", "count", "refuse", "pid", "mps_pid", "busy_pids", "init_hang", "pad")
_ARRAYS = ("code", "hang", "slow_ms", "xid", "mig", "no_handle")
_TAIL = ("throughput", "energy", "util", "ecc", "init", "gpm", "pcie_bytes_s", "nvlink_kib_s")
_MAX = 16
_TAIL_AT = 4 * (len(_HEAD) + _MAX * len(_ARRAYS))
_SIZE = _TAIL_AT + 8 * len(_TAIL)


def build(folder: Path) -> Path:
    """The folder with the fake library; skips where there is no gcc."""
    if not shutil.which("gcc"):
        pytest.skip("no gcc to build the fake libnvidia-ml with")
    library = folder / "libnvidia-ml.so.1"
    done = subprocess.run(
        ["gcc", "-shared", "-fPIC", "-O1", "-Wno-unused-parameter", "-o", str(library), str(SOURCE)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return folder


class FakeNvml:
    """The control block of one agent's library."""

    def __init__(self, library: Path, control: Path) -> None:
        control.write_bytes(bytes(_SIZE))
        self._file = control.open("r+b")
        self._map = mmap.mmap(self._file.fileno(), _SIZE)
        self.env = {"LD_LIBRARY_PATH": str(library), "FAKE_NVML": str(control)}
        self.set(count=2)
        self.rates(pcie_bytes_s=3 << 30, nvlink_kib_s=5 << 20)

    def close(self) -> None:
        self._map.close()
        self._file.close()

    def set(self, **values: int) -> None:
        for name, value in values.items():
            struct.pack_into("i", self._map, 4 * _HEAD.index(name), value)

    def refuse(self, *names: str) -> None:
        self.set(refuse=sum(1 << REFUSALS.index(name) for name in names))

    def gpu(self, number: int, **values: int) -> None:
        for name, value in values.items():
            at = 4 * (len(_HEAD) + _MAX * _ARRAYS.index(name) + number)
            struct.pack_into("i", self._map, at, value)

    def rates(self, **values: int) -> None:
        for name, value in values.items():
            struct.pack_into("q", self._map, _TAIL_AT + 8 * _TAIL.index(name), value)

    def calls(self, name: str) -> int:
        return int(struct.unpack_from("q", self._map, _TAIL_AT + 8 * _TAIL.index(name))[0])
