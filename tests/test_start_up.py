"""What is imported when: heavy libraries only where they are used."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = ("paramiko", "textual", "jinja2", "rich", "cryptography", "ClusterShell", "psutil", "pynvml")


def imported_after(code: str) -> set[str]:
    """Top-level modules that a fresh interpreter has loaded after running `code`."""
    program = f"{code}\nimport sys\nprint('\\n'.join(sorted(m.partition('.')[0] for m in sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    return set(done.stdout.split())


@pytest.mark.parametrize(
    ("code", "allowed"),
    [
        ("import sys; sys.argv = ['nodectl', '--version']\nimport nodectl.__main__ as m\nm.main()", set()),
        ("import nodectl.cli.main as m\nm.run(['--help'])", set()),
        ("import nodectl.cli.main as m\nm.run(['check', '--help'])", set()),
        ("import nodectl.cli.main as m\nm.run(['checks', 'list'])", set()),
        ("import nodectl.cli.main as m\nm.run(['facts'])", set()),
        ("import nodectl.engine.evaluate, nodectl.facts.gather, nodectl.probe.compose", set()),
        ("import nodectl.transport, nodectl.inventory", set()),
    ],
)
def test_heavy_libraries_stay_out(code: str, allowed: set[str]) -> None:
    assert imported_after(code) & set(HEAVY) <= allowed


def test_version_imports_nothing_beyond_the_interpreter() -> None:
    bare = imported_after("pass")
    ours = imported_after("import sys; sys.argv = ['nodectl', '--version']\nimport nodectl.__main__ as m\nm.main()")
    assert ours - bare <= {"nodectl", "__future__"} | {word for word in ours if word[0].isdigit()}
