"""A probe leaves no process on the node, however it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from probe_nodes import FakeNode, Running, gone_within, left_behind, script_of, spec
from sshd import SshFleet

SILENT = [
    spec("silent", "nd_text a b\nsleep 600", timeout_s=60),
    spec("stubborn", "trap '' TERM HUP INT\nsleep 600; sleep 600", timeout_s=60),
    spec("nested", "nd_cmd timeout 500 sleep 600", timeout_s=60),
    spec("quick", "nd_text a b", lane="fast"),
    spec("later", "sleep 600", timeout_s=60, lane="fast"),
]


def _started(node: FakeNode, **options: object) -> Running:
    running = Running(node, script_of(SILENT), **options)
    running.read_until(b" at 3 later ")
    time.sleep(0.2)
    assert len(left_behind(running.tag)) > 10
    return running


def test_after_an_ordinary_end(node: FakeNode) -> None:
    with Running(node, script_of([spec("one", "nd_text a b"), spec("two", "nd_text a b", lane="fast")])) as running:
        assert running.finish().ending == "complete"
        assert running.wait(5.0) == 0
        assert gone_within(running.tag, 1.0), left_behind(running.tag)


def _close(running: Running) -> None:
    running.close()


def _kill_main(running: Running) -> None:
    running.process.kill()


def _to_group(number: int) -> Callable[[Running], None]:
    return lambda running: os.killpg(running.process.pid, number)


ENDS = {
    "the client closes": _close,
    "main is killed": _kill_main,
    "main is terminated": lambda running: running.process.terminate(),
    "its group is killed": _to_group(signal.SIGKILL),
    "its group is hung up": _to_group(signal.SIGHUP),
    "its group is interrupted": _to_group(signal.SIGINT),
    "its group is terminated": _to_group(signal.SIGTERM),
}


@pytest.mark.parametrize("end", ENDS)
def test_when_it_is_ended_in_the_middle(node: FakeNode, end: str) -> None:
    with _started(node) as running:
        ENDS[end](running)
        assert gone_within(running.tag, 4.0), left_behind(running.tag)


@pytest.mark.parametrize("end", ["the client closes", "main is killed"])
def test_where_broken_pipes_give_no_signal(node: FakeNode, end: str) -> None:
    def ignore() -> None:
        signal.signal(signal.SIGPIPE, signal.SIG_IGN)

    with _started(node, restore_signals=False, preexec_fn=ignore) as running:
        ENDS[end](running)
        assert gone_within(running.tag, 4.0), left_behind(running.tag)


@pytest.mark.parametrize("end", ["the client closes", "main is killed", "main is terminated"])
def test_where_it_does_not_lead_its_group(node: FakeNode, end: str) -> None:
    with _started(node, start_new_session=False) as running:
        ENDS[end](running)
        assert gone_within(running.tag, 4.0), left_behind(running.tag)


def test_where_nothing_can_make_a_process_group(node: FakeNode) -> None:
    with _started(node.without("timeout", "setsid")) as running:
        running.close()
        assert gone_within(running.tag, 4.0), left_behind(running.tag)


def test_a_client_that_does_not_read(node: FakeNode) -> None:
    """Its pipe is full and stays so: the node gives up by its own clock."""
    flood = spec("flood", "while :; do nd_text a 0123456789012345678901234567890123456789; done", timeout_s=60)
    script = script_of([flood, *SILENT])
    limit = script.partition(b"nd_limit=")[2].split()[0]
    with Running(node, script.replace(b"nd_limit=" + limit, b"nd_limit=3")) as running:
        time.sleep(1.5)
        assert left_behind(running.tag)
        assert gone_within(running.tag, 6.0), left_behind(running.tag)


@pytest.mark.parametrize("end", ["client", "server"])
def test_over_ssh_when_one_side_dies(tmp_path: Path, end: str) -> None:
    tag = os.urandom(8).hex()
    with SshFleet(tmp_path / "fleet") as fleet:
        fleet.add("gpu001", env={"ND_TEST_TAG": tag})
        fleet.start()
        node = fleet.nodes()[0]
        options = ["-o", f"UserKnownHostsFile={fleet.known_hosts}", "-o", "IdentitiesOnly=yes", "-F", "none", "-T"]
        argv = [
            "ssh",
            *options,
            "-i",
            str(fleet.identity),
            "-p",
            str(node.port),
            f"{node.user}@{node.address}",
            "exec sh",
        ]
        try:
            client = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        except FileNotFoundError:
            pytest.skip("no ssh on this machine: install openssh-client")
        assert client.stdin is not None
        assert client.stdout is not None
        client.stdin.write(script_of(SILENT))
        client.stdin.close()
        seen = b""
        while b" at 3 later " not in seen:
            data = os.read(client.stdout.fileno(), 65536)
            assert data, seen
            seen += data
        assert len(left_behind(tag)) > 10
        if end == "client":
            client.kill()
        else:
            fleet["gpu001"].kill_sessions()
        assert gone_within(tag, 5.0), left_behind(tag)
        client.kill()
        client.stdout.close()
        client.wait()
