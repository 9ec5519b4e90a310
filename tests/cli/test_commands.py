"""The commands as programs: what they print where, and their exit codes. Nodes are this machine, or files."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

NODECTL = (sys.executable, "-m", "nodectl")


def nodectl(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    env = {key: value for key, value in os.environ.items() if not key.startswith("NODECTL_")} | environment
    return subprocess.run([*NODECTL, *words], capture_output=True, text=True, env=env, timeout=90, check=False)


def test_version() -> None:
    from nodectl import __version__

    assert nodectl("--version").stdout == f"nodectl {__version__}\n"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["check"], "--demo for a first look"),
        (["chekc"], 'did you mean "check"'),
        (["check", "-H", "localhost", "--only", "driver.loadd"], 'did you mean "driver.loaded"'),
        (["check", "-H", "localhost", "--area", "gup"], 'did you mean "gpu"'),
        (["check", "-H", "localhost", "--profile", "trainin"], 'did you mean "training"'),
        (["check", "-H", "nowhere.yaml"], "no such file"),
        (["check", "-H", "localhost", "-n", "gpu*"], "gpu*"),
        (["check", "-H", "localhost", "--deadline", "soon"], "not a duration"),
        (["check", "-H", "localhost", "--demo"], "leave out --hosts"),
        (["facts", "driver.vershion"], 'did you mean "driver.version"'),
        (["facts", "-H", "localhost"], "say which facts"),
        (["checks", "show", "gpu.nothing"], "no check"),
    ],
)
def test_what_a_person_gets_wrong_is_exit_2_with_a_way_out(words: list[str], said: str) -> None:
    done = nodectl(*words)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_hosts_from_the_environment() -> None:
    done = nodectl("hosts", NODECTL_HOSTS="gpu[1-2]")
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["NAME", "gpu1", "gpu2"]


def test_the_example_inventory_is_one(tmp_path: Path) -> None:
    path = tmp_path / "inventory.yaml"
    path.write_text(nodectl("hosts", "--example").stdout)
    nodes = json.loads(nodectl("hosts", "--hosts", str(path), "--json").stdout)["nodes"]
    assert len(nodes) == 131
    assert nodes[-1]["reach"] == "admin@10.0.0.2:2222 via bastion"


def test_json_is_one_document_without_escapes_and_stderr_is_silent_in_a_pipe() -> None:
    done = nodectl("check", "-H", "localhost", "--json", "--area", "kernel", FORCE_COLOR="1")
    assert json.loads(done.stdout)["schema"] == "nodectl.report/1"
    assert "\x1b" not in done.stdout
    assert done.stderr == ""


def test_no_facts_leaves_them_out() -> None:
    done = nodectl("check", "-H", "localhost", "--json", "--no-facts", "--area", "kernel")
    assert json.loads(done.stdout)["nodes"][0]["facts"] == {}


def test_a_closed_pipe_is_quiet() -> None:
    command = f"{sys.executable} -m nodectl check -H localhost -v | head -1"
    done = subprocess.run(["bash", "-o", "pipefail", "-c", command], capture_output=True, text=True, check=False)
    assert len(done.stdout.splitlines()) == 1
    assert "Traceback" not in done.stderr
    assert "BrokenPipe" not in done.stderr


def test_facts_of_a_node_keep_absent_and_error_apart() -> None:
    done = nodectl("facts", "-H", "localhost", "kernel.release", "sysctl[no.such.key]", "--json")
    facts = json.loads(done.stdout)["nodes"]["localhost"]
    assert facts["kernel.release"]["value"] == os.uname().release
    assert facts["sysctl[no.such.key]"]["state"] == "absent"


def test_waivers_are_shown_and_do_not_fail_the_run(tmp_path: Path) -> None:
    waivers = tmp_path / "waivers.yaml"
    waivers.write_text(
        "waivers:\n- {check: numa.node_count_expected, nodes: [localhost], reason: VM,"
        " owner: jane, expires: '2999-01-01'}\n"
    )
    inventory = tmp_path / "inventory.yaml"
    inventory.write_text("hosts:\n- {name: localhost, transport: local, expect: {numa_nodes: 77}}\n")
    words = ["check", "-H", str(inventory), "--only", "numa.node_count_expected", "--fail-on", "info"]
    assert nodectl(*words).returncode == 1
    done = nodectl(*words, "--waivers", str(waivers))
    assert done.returncode == 0, done.stdout
    assert "waived by jane" in " ".join(done.stdout.split())


def test_a_users_folder_adds_a_check_without_code(tmp_path: Path) -> None:
    (tmp_path / "site.yaml").write_text(
        """id: site.swappiness
title: Swapping is off here
severity: high
facts: ["sysctl[vm.swappiness]"]
expect: {fact: "sysctl[vm.swappiness]", as: int, eq: -1}
why: Our site says so.
sources: [{title: Site rules, url: "https://site.example/rules", retrieved: "2026-11-20"}]
fix: {manual: Ask the site team.}
confidence: verified
"""
    )
    done = nodectl("check", "-H", "localhost", "--checks", str(tmp_path), "--only", "site.swappiness")
    assert done.returncode == 1, done.stderr
    assert "Site rules, https://site.example/rules" in done.stdout
