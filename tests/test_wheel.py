"""An installed nodectl and a checkout behave alike: the catalogue, the templates and the demo travel in the wheel."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-q"]
    subprocess.run(
        [*pip, "wheel", "--no-deps", "--no-build-isolation", "-w", str(folder), str(ROOT)],
        check=True, capture_output=True, timeout=120,
    )  # fmt: skip
    (path,) = folder.glob("nodectl-*.whl")
    return path


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    site = tmp_path_factory.mktemp("site")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-q"]
    subprocess.run(
        [*pip, "install", "--no-deps", "--no-index", "--target", str(site), str(wheel)],
        check=True, capture_output=True, timeout=120,
    )  # fmt: skip
    return site


def run(site: Path, cwd: Path, *words: str) -> subprocess.CompletedProcess[str]:
    env = os.environ | {"PYTHONPATH": str(site)}
    return subprocess.run(
        [sys.executable, "-P" if sys.version_info >= (3, 11) else "-B", "-m", "nodectl", *words],
        cwd=cwd, env=env, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip


def is_cache(path: Path) -> bool:
    """Whether a tool has left it in the checkout: `__pycache__`, `.ruff_cache` beside a ruff.toml, ..."""
    return any(part == "__pycache__" or part.startswith(".") for part in path.parts)


def test_every_data_file_is_in_the_wheel(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    for folder in ("checks", "templates"):
        for path in (ROOT / folder).rglob("*"):
            if path.is_file():
                assert f"nodectl/_data/{path.relative_to(ROOT)}" in names
    for path in (ROOT / "nodectl").rglob("*"):
        if path.is_file() and not is_cache(path.relative_to(ROOT)):
            assert str(path.relative_to(ROOT)) in names


def test_nothing_of_the_checkout_strays_into_it(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert [name for name in names if is_cache(Path(name))] == []
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"nodectl"}


def test_it_judges_the_demo_fleet_as_the_checkout_does(installed: Path, tmp_path: Path) -> None:
    theirs, ours = (
        run(installed, tmp_path, "check", "--demo", "--json"),
        run(ROOT, tmp_path, "check", "--demo", "--json"),
    )
    assert (theirs.returncode, ours.returncode) == (1, 1), theirs.stderr + ours.stderr
    a, b = json.loads(theirs.stdout), json.loads(ours.stdout)
    assert a["results"] == b["results"]
    assert a["catalogue"] == b["catalogue"]
    origin = run(installed, tmp_path, "checks", "show", "gpu.count_expected").stdout
    assert str(installed) in origin
