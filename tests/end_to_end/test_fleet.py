"""`nodectl check` over real SSH: what is said of nodes that answer, and of each kind that does not."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import time
from pathlib import Path

import psutil
import pytest
from cluster import Cluster, put

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def by_name(report: dict) -> dict:  # type: ignore[type-arg]
    return {node["name"]: node for node in report["nodes"]}


def of_nodes(report: dict) -> set[str]:  # type: ignore[type-arg]
    """The checks of a report that judge each node by itself."""
    alone = {"fleet.declared"}  # of the fleet rules the one that does
    return {check["id"] for check in report["checks"] if check["area"] != "fleet" or check["id"] in alone}


def test_every_node_answers(cluster: Cluster) -> None:
    for number in range(1, 5):
        cluster.add(f"gpu{number:02}")
    cluster.fleet.start()
    report = cluster.report()
    nodes = by_name(report)
    assert list(nodes) == ["gpu01", "gpu02", "gpu03", "gpu04"]
    for name, node in nodes.items():
        assert (node["state"], node["reason"]) == ("reached", None)
        assert node["host_key"].startswith("ssh-ed25519 SHA256:")
        assert node["facts"]["os.id"]["state"] == "value"
        findings = [f for f in report["results"] if f["node"] == name]
        assert {f["check"] for f in findings} == of_nodes(report)
    assert report["partial"] is False
    assert report["summary"]["nodes"]["unreachable"] == 0


def test_a_third_of_the_fleet_is_gone_and_each_says_why(cluster: Cluster) -> None:
    for name in ("good1", "good2", "good3", "good4", "changed", "unknown", "gone"):
        cluster.add(name, known=name != "unknown")
    cluster.fleet.start()
    cluster.fleet["gone"].stop()
    changed = cluster.fleet["changed"]
    other = cluster.fleet["good1"].public_key
    lines = [line for line in cluster.fleet.known_hosts.read_text().splitlines() if changed.address not in line]
    cluster.fleet.known_hosts.write_text("\n".join([*lines, f"{changed.known_name} {other}"]) + "\n")
    cluster.add_address("refused", "127.0.0.1", closed_port())
    cluster.add_address("nodns", "no-such-host.invalid", 22)
    report = cluster.report("--connect-timeout", "5s")
    nodes = by_name(report)
    codes = {name: node["reason"]["code"] for name, node in nodes.items() if node["state"] == "unreachable"}
    assert codes == {
        "changed": "host_key_changed",
        "unknown": "host_key_unknown",
        "gone": "refused",
        "refused": "refused",
        "nodns": "dns",
    }
    assert all(nodes[name]["reason"]["hint"] for name in codes)
    assert "ssh-keygen" in nodes["changed"]["reason"]["hint"]
    assert {name for name, node in nodes.items() if node["state"] == "reached"} == {"good1", "good2", "good3", "good4"}
    assert report["summary"]["nodes"]["unreachable"] == 5
    assert report["exit_code"] in (1, 3)


def test_only_unreachable_nodes_are_incomplete_not_green(cluster: Cluster) -> None:
    cluster.add_address("refused", "127.0.0.1", closed_port())
    done = cluster.run("check")
    assert done.returncode == 3
    assert "refused" in done.stdout
    assert cluster.run("check", "--allow-incomplete").returncode == 0


def test_wrong_inventory_runs_nothing(cluster: Cluster, tmp_path: Path) -> None:
    inventory = tmp_path / "wrong.yaml"
    inventory.write_text("defaults: {user: root}\ngrops:\n  h200: {hosts: 'gpu[001-002]'}\nhosts: [a]\n")
    done = subprocess.run(
        [*cluster.argv("check")[:3], "check", "--hosts", str(inventory)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert f"{inventory}:2:" in done.stderr
    assert 'did you mean "groups"' in done.stderr
    assert done.stdout == ""


def test_a_hanging_node_does_not_hold_up_the_others(cluster: Cluster) -> None:
    cluster.add("hangs", options={"ForceCommand": "sleep 600"})
    cluster.add("fine")
    cluster.fleet.start()
    begun = time.monotonic()
    report = cluster.report("--deadline", "4s")
    assert time.monotonic() - begun < 10
    nodes = by_name(report)
    assert nodes["fine"]["state"] == "reached"
    assert nodes["hangs"]["state"] == "unreachable"
    assert nodes["hangs"]["reason"]["code"] == "timeout"


@pytest.mark.parametrize(
    ("name", "command"),
    [
        ("floods", "yes 0123456789012345678901234567890123456789"),
        ("binary", "head -c 300000 /dev/urandom"),
        ("escapes", r"printf '\033]0;owned\007\033[2J[/red][@click=x]\n'"),
        ("nologin", "echo This account is currently not available.; exit 1"),
        ("mute", "true"),
    ],
)
def test_a_node_that_sends_nonsense(cluster: Cluster, name: str, command: str) -> None:
    cluster.add(name, options={"ForceCommand": command})
    cluster.add("fine")
    cluster.fleet.start()
    done = cluster.run("check", "--deadline", "15s")
    report = cluster.report("--deadline", "15s")
    nodes = by_name(report)
    assert nodes["fine"]["state"] == "reached"
    assert nodes[name]["state"] == "unreachable"
    assert nodes[name]["reason"]["code"] == "probe_failed"
    assert "\x1b" not in done.stdout
    assert name in done.stdout


def test_a_session_that_is_cut_halfway_keeps_what_came(cluster: Cluster, commands: Path) -> None:
    # The probe runs `date` somewhere in its middle; this one kills the session's own sshd.
    put(
        commands,
        "uname",
        "kill -9 $(ps -o ppid= -p $(ps -o sid= -p $$) | tr -d ' ') 2>/dev/null; exec /usr/bin/uname \"$@\"",
    )
    cluster.add("cut", PATH=f"{commands}:{PATH}")
    cluster.fleet.start()
    report = cluster.report("--deadline", "20s")
    (node,) = report["nodes"]
    if node["state"] == "reached":
        assert node["reason"]["code"] == "closed_during_probe"
        assert any(fact["state"] == "error" for fact in node["facts"].values())
    else:
        assert node["reason"]["code"] in ("closed_during_probe", "probe_failed")
    assert not [f for f in report["results"] if f["outcome"] == "pass" and f["check"] == "kernel.args"]


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_reports_what_it_has(cluster: Cluster, how: signal.Signals, tmp_path: Path) -> None:
    cluster.add("fine")
    for number in range(3):
        cluster.add(f"hangs{number}", options={"ForceCommand": "sleep 600"})
    cluster.fleet.start()
    saved = tmp_path / "saved"
    process = subprocess.Popen(
        cluster.argv("check", "--json", "--save", str(saved)),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=cluster.environment(),
    )  # fmt: skip
    give_up = time.monotonic() + 30
    while not (saved / "fine.ndt").exists() and time.monotonic() < give_up:
        time.sleep(0.02)  # until the one node that answers has answered
    children = psutil.Process(process.pid).children(recursive=True)
    begun = time.monotonic()
    process.send_signal(how)
    out, err = process.communicate(timeout=10)
    took_s = time.monotonic() - begun
    assert process.returncode == 128 + how, err
    assert took_s < 2
    report = json.loads(out)
    assert (report["partial"], report["exit_code"]) == (True, 128 + how)
    nodes = by_name(report)
    assert nodes["fine"]["state"] == "reached"
    assert {f["check"] for f in report["results"] if f["node"] == "fine"} == of_nodes(report)
    assert {nodes[f"hangs{n}"]["reason"]["code"] for n in range(3)} == {"cancelled"}
    assert not [child for child in children if child.is_running()]


def test_collected_transcripts_give_the_same_result(cluster: Cluster, tmp_path: Path) -> None:
    cluster.add("one")
    cluster.add("two", options={"ForceCommand": "true"})
    cluster.fleet.start()
    folder = tmp_path / "transcripts"
    done = cluster.run("collect", "-o", str(folder))
    assert done.returncode == 3
    files = sorted(folder.iterdir())
    assert [file.name for file in files] == ["one.ndt", "two.ndt"]
    assert {file.stat().st_mode & 0o777 for file in files} == {0o600}
    first = subprocess.run(
        [*cluster.argv("check")[:3], "check", "--from", str(folder), "--json"],
        capture_output=True,
        text=True,
        check=False,
    )
    again = subprocess.run(
        [*cluster.argv("check")[:3], "check", "--from", str(folder), "--json"],
        capture_output=True,
        text=True,
        check=False,
    )
    one, two = json.loads(first.stdout), json.loads(again.stdout)
    assert one["results"] == two["results"]
    assert one["nodes"] == two["nodes"]
    nodes = by_name(one)
    assert nodes["one"]["state"] == "reached"
    assert nodes["two"]["reason"]["code"] == "probe_failed"


def test_a_full_disk_on_our_side_is_said_and_loses_nothing(cluster: Cluster, tmp_path: Path) -> None:
    cluster.add("one")
    cluster.fleet.start()
    words = cluster.argv("check", "--save", str(tmp_path / "full"))
    limited = ["sh", "-c", 'ulimit -f 1; exec "$@"', "sh", *words]
    done = subprocess.run(limited, capture_output=True, text=True, env=cluster.environment(), check=False)
    assert "could not be written" in " ".join(done.stdout.split())
    assert "1 node" in done.stdout
    assert not list((tmp_path / "full").iterdir())
