"""`nodectl checks` and `nodectl explain` as programs."""

from __future__ import annotations

import json
import re
from pathlib import Path

from test_commands import nodectl


def test_explain_says_all_about_a_check() -> None:
    done = nodectl("explain", "kernel.swappiness")
    assert done.returncode == 0
    for label in (
        "expected      at most 10",
        "why ",
        "parameter     max = 10",
        "source ",
        "by hand       sysctl vm",
        "fix ",
    ):
        assert label in done.stdout
    assert done.stdout == nodectl("checks", "show", "kernel.swappiness").stdout


def test_markdown_lists_every_check_and_all_links_lead_somewhere() -> None:
    text = nodectl("checks", "list", "--markdown").stdout
    checks = json.loads(nodectl("checks", "list", "--json").stdout)["checks"]
    headings = {
        re.sub(r"[^a-z0-9 _-]", "", line.lstrip("# ").lower()).replace(" ", "-")
        for line in text.splitlines()
        if line.startswith("#")
    }
    for check in checks:
        assert f"\n### {check['id']}\n" in text
        for source in check["sources"]:
            assert f"(<{source['url']}>)" in text
    links = re.findall(r"\]\(#([^)]*)\)", text)
    assert len(links) > len(checks)
    assert set(links) <= headings


def test_lint_of_the_shipped_checks_is_silent() -> None:
    done = nodectl("checks", "lint")
    assert (done.returncode, done.stdout) == (0, "")
    assert "fixtures: no remarks" in done.stderr


def test_a_check_from_this_machine_can_be_used_at_once(tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    made = nodectl("checks", "new", "site.kernel", "kernel.release", "-H", "localhost", "-o", str(folder))
    assert (made.returncode, made.stdout) == (0, "")
    assert nodectl("checks", "lint", "--strict", str(folder)).returncode == 0
    checked = nodectl("check", "-H", "localhost", "--checks", str(folder), "--only", "site.kernel", "--json")
    assert [result["outcome"] for result in json.loads(checked.stdout)["results"]] == ["pass"]
    again = nodectl("checks", "new", "site.kernel", "kernel.release", "-H", "localhost", "-o", str(folder))
    assert again.returncode == 2
    assert "site.kernel is defined at" in again.stderr


def test_new_takes_back_what_cannot_be_loaded(tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    done = nodectl(
        "checks", "new", "site.x", "kernel.release", "--title", "Check it.", "-H", "localhost", "-o", str(folder)
    )
    assert done.returncode == 2
    assert "title" in done.stderr
    assert list(folder.rglob("*.yaml")) == []


def test_lint_of_a_broken_folder_names_file_and_line(tmp_path: Path) -> None:
    (tmp_path / "site.yaml").write_text("id: site.x\n")
    done = nodectl("checks", "lint", str(tmp_path))
    assert done.returncode == 2
    assert f"{tmp_path}/site.yaml:1: site.x: " in done.stderr
