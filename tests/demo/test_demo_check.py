"""`nodectl check --demo` from end to end: the stories are found, and nothing else."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
from demo_kit import Finished, Runner

from nodectl.demo.story import FLEET, Door

HEALTHY = ("gpu-01", "gpu-02", "gpu-10", "gpu-11", "gpu-12")
DRIFT = {"persistence.mode", "gpu.power_limit_default", "cpu.governor"}
# The checks of medium severity and above that must find each node's fault.
STORIES = {
    "gpu-03": {"driver.answers", "driver.userspace_matches", "driver.on_disk_matches", "containers.cdi_current"},
    "gpu-04": {
        "gpu.count_expected",
        "gpu.all_attached",
        "pcie.devices_answer",
        "xid.hardware_fault",
        "xid.recovery_action",
    },
    "gpu-05": {"gpu.ecc_uncorrectable", "gpu.row_remap_not_pending", "gpu.recovery_action"},
    "gpu-06": DRIFT,
    "gpu-07": DRIFT,
    "gpu-08": {"nvlink.link_count", "sxid.fatal", "xid.hardware_fault"},
    "gpu-09": {"xid.hardware_fault", "log.stuck"},
}
# What else may speak of the same fault.
ECHOES = {"xid.recovery_action", "gpu.recovery_action", "log.hardware"}
SERIOUS = ("critical", "high", "medium")


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> tuple[Finished, Path]:
    """One run as JSON, and the transcripts that it kept."""
    folder = tmp_path_factory.mktemp("demo")
    runner = Runner(folder)
    saved = folder / "saved"
    finished = runner.run("check", "--demo", "--json", "--save", str(saved))
    assert runner.left_behind() == []
    return finished, saved


def _serious(report: dict[str, Any]) -> dict[str, set[str]]:
    found: dict[str, set[str]] = defaultdict(set)
    for result in report["results"]:
        if result["outcome"] == "fail" and result["severity"] in SERIOUS:
            found[result["node"]].add(result["check"])
    return found


def test_it_fails_and_is_quick(live: tuple[Finished, Path]) -> None:
    finished, _ = live
    assert finished.code == 1
    assert finished.report["summary"]["nodes"] == {"ok": 5, "failed": 7, "unknown": 0, "unreachable": 2}
    assert finished.took_s < 10


def test_nothing_is_said_on_stderr(live: tuple[Finished, Path]) -> None:
    assert live[0].err == ""


@pytest.mark.parametrize("node", STORIES)
def test_each_story_is_found(live: tuple[Finished, Path], node: str) -> None:
    assert STORIES[node] <= _serious(live[0].report)[node]


@pytest.mark.parametrize("node", STORIES)
def test_each_node_tells_only_its_own_story(live: tuple[Finished, Path], node: str) -> None:
    assert _serious(live[0].report)[node] <= STORIES[node] | ECHOES


def test_every_link_of_a_fault_is_named(live: tuple[Finished, Path]) -> None:
    found = {result["check"]: result["actual"] for result in live[0].report["results"] if result["node"] == "gpu-08"}
    assert found["xid.hardware_fault"].endswith(", links 8, 9")
    assert found["sxid.fatal"].endswith(", links 36, 37")


def test_the_gpus_beside_a_lost_one_are_judged_as_themselves(live: tuple[Finished, Path]) -> None:
    """They keep their numbers, as nvidia-smi nvlink and topo have them, and nothing about them is unknown."""
    (node,) = [node for node in live[0].report["nodes"] if node["name"] == "gpu-04"]
    assert [row["index"] for row in node["facts"]["gpu.devices"]["value"]] == [0, 1, 2, 3, 4, 6, 7]
    results = [result for result in live[0].report["results"] if result["node"] == "gpu-04"]
    assert {result["outcome"] for result in results if result["check"].startswith("nvlink.")} <= {
        "pass",
        "not_applicable",
    }
    assert [result["check"] for result in results if result["outcome"] == "unknown"] == []


@pytest.mark.parametrize("node", HEALTHY)
def test_healthy_nodes_pass_everything(live: tuple[Finished, Path], node: str) -> None:
    results = [result for result in live[0].report["results"] if result["node"] == node]
    assert len({result["check"] for result in results}) > 100
    assert {result["outcome"] for result in results} <= {"pass", "not_applicable"}


def test_healthy_nodes_pass_the_training_profile_too(runner: Runner) -> None:
    report = runner.run("check", "--demo", "--json", "-p", "training", "--node", ",".join(HEALTHY)).report
    assert report["summary"]["nodes"]["ok"] == len(HEALTHY)
    assert _serious(report) == {}
    assert [result for result in report["results"] if result["outcome"] == "unknown"] == []


def test_a_hanging_driver_is_unknown_and_never_a_pass(live: tuple[Finished, Path]) -> None:
    of_node = [result for result in live[0].report["results"] if result["node"] == "gpu-09"]
    of_gpus = [result for result in of_node if result["check"] in ("driver.answers", "gpu.answers", "persistence.mode")]
    assert {result["outcome"] for result in of_gpus} == {"unknown"}
    hung = "nvidia-smi -q -x did not end within 45 s, nor when it was killed: a hung driver or file system?"
    assert all(result["reason"].endswith(hung) for result in of_gpus)
    # What does not need the driver's answer is judged all the same.
    passed = {result["check"] for result in of_node if result["outcome"] == "pass"}
    assert {"cpu.governor", "kernel.iommu_passthrough", "driver.userspace_matches"} <= passed


def test_each_way_of_not_getting_in_is_told(live: tuple[Finished, Path]) -> None:
    lost = {node["name"]: node["reason"] for node in live[0].report["nodes"] if node["state"] == "unreachable"}
    assert {name: reason["code"] for name, reason in lost.items()} == {
        "gpu-13": "refused",
        "gpu-14": "host_key_changed",
    }
    assert "ssh-keygen -R gpu-14" in lost["gpu-14"]["hint"]


def test_the_same_drift_on_two_nodes_is_folded(runner: Runner) -> None:
    finished = runner.run("check", "--demo", "--node", "@rack-a2", "--area", "persistence,cpu")
    assert "gpu-[06-07]" in finished.out
    assert "gpu-06 " not in finished.out


def test_transcripts_tell_the_same(live: tuple[Finished, Path], runner: Runner) -> None:
    finished, saved = live
    again = runner.run("check", "--from", str(saved), "--json")
    assert again.code == finished.code
    for part in ("results", "fleet", "checks", "summary", "nodes"):
        assert again.report[part] == finished.report[part]


def test_collect_gives_what_check_reads(live: tuple[Finished, Path], runner: Runner, tmp_path: Path) -> None:
    folder = tmp_path / "collected"
    assert runner.run("collect", "--demo", "-o", str(folder)).code == 3  # two nodes were not reached
    assert {path.name for path in folder.iterdir()} == {f"{node.name}.ndt" for node in FLEET}
    report = runner.run("check", "--from", str(folder), "--json").report
    assert report["results"] == live[0].report["results"]


def test_facts_of_a_demo_node(runner: Runner) -> None:
    finished = runner.run("facts", "--demo", "-n", "gpu-11", "gpu.models", "node.hostname", "xid.events")
    assert finished.code == 0
    assert "NVIDIA H100 80GB HBM3" in finished.out
    assert "gpu-11" in finished.out


_WATCH = """
import atexit, json, os
seen = {"open": [], "connect": []}
def hook(event, args):
    if event == "open":
        seen["open"].append(str(args[0]))
    elif event == "socket.connect":
        seen["connect"].append(args[1][0] if isinstance(args[1], tuple) else str(args[1]))
sys.addaudithook(hook)
atexit.register(lambda: os.write(int(os.environ["SEEN"]), json.dumps(seen).encode()))
"""


def test_it_uses_nothing_of_the_users_ssh(runner: Runner, tmp_path: Path) -> None:
    """No config, key or known_hosts is opened, no agent is asked, and nothing but loopback is connected to."""
    import json

    agent = socket.socket(socket.AF_UNIX)
    agent.bind(str(tmp_path / "agent"))
    agent.listen()
    seen_file = os.open(tmp_path / "seen", os.O_RDWR | os.O_CREAT)
    env = {"SSH_AUTH_SOCK": str(tmp_path / "agent"), "SEEN": str(seen_file), "NODECTL_HOSTS": None}
    finished = runner.run("check", "--demo", "--only", "gpu.answers", code=_WATCH, env=env, pass_fds=(seen_file,))
    os.close(seen_file)
    agent.setblocking(False)
    with pytest.raises(BlockingIOError):
        agent.accept()
    agent.close()
    seen = json.loads((tmp_path / "seen").read_text())
    assert "14 nodes" in finished.out
    assert [path for path in seen["open"] if "/.ssh" in path or path.startswith("/etc/ssh")] == []
    assert set(seen["connect"]) == {"127.0.0.1"}
    assert len(seen["connect"]) >= len(FLEET)


def test_without_home_or_user(runner: Runner) -> None:
    finished = runner.run("check", "--demo", "--node", "gpu-01", env={"HOME": None})
    assert (finished.code, finished.err) == (0, "")


def test_without_loopback_there_is_one_clear_error(tmp_path: Path) -> None:
    """In a network namespace of its own, where lo is down."""
    unshare = shutil.which("unshare")
    if unshare is None or subprocess.run([unshare, "-rn", "true"], capture_output=True, check=False).returncode:
        pytest.skip("this machine lets us make no network namespace (unshare -rn)")
    runner = Runner(tmp_path)
    import sys

    finished = subprocess.run(
        [unshare, "-rn", sys.executable, "-m", "nodectl", "check", "--demo"],
        capture_output=True,
        text=True,
        env=runner.env,
        check=False,
        timeout=30,
    )
    assert finished.returncode == 2
    assert "127.0.0.1" in finished.stderr and "lo up" in finished.stderr
    assert finished.stdout == ""
    assert runner.left_behind() == []


def test_every_node_has_its_place_in_this_file() -> None:
    open_ones = {node.name for node in FLEET if node.door is Door.OPEN}
    assert open_ones == {*HEALTHY, *STORIES}
