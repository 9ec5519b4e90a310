"""The house rules that a linter does not know."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
OURS = sorted([*(ROOT / "nodectl").rglob("*.py"), *(ROOT / "tests").rglob("*.py")])


def test_files_stay_short() -> None:
    long = {str(path.relative_to(ROOT)): n for path in OURS if (n := len(path.read_text().splitlines())) > 400}
    assert not long


def test_functions_stay_short() -> None:
    long = []
    for path in OURS:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or 0) - node.lineno + 1
                if lines > 60:
                    long.append(f"{path.relative_to(ROOT)}:{node.lineno} {node.name}: {lines} lines")
    assert not long


def test_helpers_of_tests_have_names_of_their_own() -> None:
    """Their folders are all on one path: of two modules of one name only one is found."""
    tests = [
        path for path in OURS if path.is_relative_to(ROOT / "tests") and not path.is_relative_to(ROOT / "tests/bench")
    ]
    names = Counter(path.name for path in tests)
    assert [name for name, count in names.items() if count > 1 and name != "conftest.py"] == []


def test_modules_say_what_they_are_for() -> None:
    silent = [str(path.relative_to(ROOT)) for path in OURS if not ast.get_docstring(ast.parse(path.read_text()))]
    assert not silent


def test_layers_hold() -> None:
    linter = Path(sys.executable).with_name("lint-imports")
    if not linter.exists():
        pytest.skip("import-linter is not installed: pip install -e '.[dev]'")
    done = subprocess.run([str(linter)], cwd=ROOT, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stdout
