"""Nothing outlives its channel: neither the agent nor the shell's sampler nor nvidia-smi, whatever ends first."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from launch_kit import SHELLS, BareNode, Channel, gone, living, nothing_left, recorded
from sshd import SshFleet

from nodectl.telemetry.launch import launch_script

BACKENDS = ("nvml", "smi", "none")


def script_of(node: BareNode, backend: str, shared: Path, **smi: Any) -> bytes:
    if backend == "smi":
        node.smi(**recorded(shared / "recordings/h200x8/nvidia-smi-query-all.txt"), **smi)
    return launch_script(0.2) if backend == "nvml" else node.script(backend=backend)


@pytest.fixture(params=[(shell, backend) for shell in SHELLS for backend in BACKENDS], ids="-".join)
def running(request: pytest.FixtureRequest, tmp_path: Path, shared: Path) -> Iterator[tuple[BareNode, Channel]]:
    shell, backend = request.param
    node = BareNode(shell, tmp_path)
    with node.start(script_of(node, backend, shared)) as channel:
        channel.until("t")
        yield node, channel


def test_the_channel_is_closed(running: tuple[BareNode, Channel]) -> None:
    node, channel = running
    channel.close()
    assert channel.rest()[-1]["k"] == "bye"
    assert not gone(node.tag)


def test_the_reader_is_gone(running: tuple[BareNode, Channel]) -> None:
    """Standard output breaks while standard input stays open."""
    node, channel = running
    os.close(os.dup(channel.process.stdout.fileno()))  # type: ignore[union-attr]
    with nothing_left(node.tag):
        # The reading thread is in `read`: a null device in place of the pipe closes our end of it.
        null = os.open("/dev/null", os.O_RDONLY)
        os.dup2(null, channel.process.stdout.fileno())  # type: ignore[union-attr]
        os.close(null)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGHUP])
def test_the_first_process_is_killed(running: tuple[BareNode, Channel], number: signal.Signals) -> None:
    """The one that sshd started and knows; the channel stays open."""
    node, channel = running
    with nothing_left(node.tag):
        channel.process.send_signal(number)


@pytest.mark.parametrize("victim", ["awk", "sleep", "nvidia-smi"])
def test_any_part_of_the_sampler_is_killed(victim: str, tmp_path: Path, shared: Path) -> None:
    node = BareNode("dash", tmp_path)
    with node.start(script_of(node, "smi", shared)) as channel:
        channel.until("t")
        for process in psutil.process_iter(["cmdline"]):
            if victim in " ".join(process.info["cmdline"] or [])[:400] and node.tag in _environ(process):
                process.kill()
        time.sleep(0.3)
        channel.close()
        assert not gone(node.tag)


def _environ(process: psutil.Process) -> str:
    try:
        return str(process.environ())
    except psutil.Error:
        return ""


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("shell", SHELLS)
def test_the_parent_is_killed(shell: str, backend: str, tmp_path: Path, shared: Path) -> None:
    """A shell around the script goes, as when a login shell is killed; the channel and its reader stay."""
    node = BareNode(shell, tmp_path)
    with node.start(script_of(node, backend, shared), ["sh", "-c", "sh; :"]) as channel:
        channel.until("t")
        assert len(psutil.Process(channel.process.pid).children()) == 1
        with nothing_left(node.tag):
            channel.process.kill()


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_group_of_others_is_left_alone(backend: str, tmp_path: Path, shared: Path) -> None:
    """Started in a group that has others in it, as by a job's script: only the sampler ends."""
    node = BareNode("dash", tmp_path)
    command = ["sh", "-c", "sleep 300 & sh; wait"]
    with node.start(script_of(node, backend, shared), command) as channel:
        channel.until("t")
        channel.close()
        channel.until("bye")
        end = time.monotonic() + 8
        while len(living(node.tag)) > 2 and time.monotonic() < end:
            time.sleep(0.05)
        assert sorted(line.split()[0].rpartition("/")[2] for line in living(node.tag)) == ["sh", "sleep"]


def test_a_deaf_nvidia_smi_ends_too(tmp_path: Path, shared: Path) -> None:
    node = BareNode("dash", tmp_path)
    with node.start(script_of(node, "smi", shared, deaf=True)) as channel:
        channel.until("t")
        channel.close()
        assert not gone(node.tag)


def test_a_hung_nvidia_smi_ends_too(tmp_path: Path, shared: Path) -> None:
    node = BareNode("busybox", tmp_path)
    with node.start(script_of(node, "smi", shared, hang=True, deaf=True)) as channel:
        time.sleep(1)
        assert node.alive()
        channel.close()
        assert not gone(node.tag)


def test_a_reader_that_does_not_read_cannot_keep_it(tmp_path: Path, shared: Path) -> None:
    """Standard output is full when the channel ends."""
    node = BareNode("dash", tmp_path)
    script = script_of(node, "smi", shared)
    process = subprocess.Popen(
        [str(node.bin / "sh")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=node.env, start_new_session=True
    )
    assert process.stdin is not None
    assert process.stdout is not None
    import fcntl

    fcntl.fcntl(process.stdout.fileno(), 1031, 4096)  # F_SETPIPE_SZ: full soon
    process.stdin.write(script)
    process.stdin.flush()
    time.sleep(3)
    assert node.alive()
    process.stdin.close()
    assert not gone(node.tag)
    process.wait(5)
    process.stdout.close()


def test_without_setsid_the_tree_is_ended(tmp_path: Path, shared: Path) -> None:
    node = BareNode("dash", tmp_path)
    (node.bin / "setsid").unlink()
    with node.start(script_of(node, "smi", shared), ["sh", "-c", "sh; :"]) as channel:
        channel.until("t")
        channel.close()
        assert channel.rest()[-1]["k"] == "bye"
        assert not gone(node.tag)


def test_a_cut_script_runs_nothing(tmp_path: Path, shared: Path) -> None:
    node = BareNode("dash", tmp_path)
    script = script_of(node, "smi", shared)
    for part in (0.3, 0.9, 0.99, 0.9999):
        done = subprocess.run(
            [str(node.bin / "sh")],
            input=script[: int(len(script) * part)],
            env=node.env,
            capture_output=True,
            timeout=20,
        )
        assert done.stdout == b""
    assert not node.alive()


@pytest.fixture(params=BACKENDS)
def over_ssh(request: pytest.FixtureRequest, tmp_path: Path, shared: Path) -> Iterator[tuple[SshFleet, BareNode, Any]]:
    """A real sshd whose session runs the script; ssh is the client."""
    import shutil

    if shutil.which("ssh") is None:
        pytest.skip("no ssh on this machine: install openssh-client")
    node = BareNode("dash", tmp_path / "node")
    with SshFleet(tmp_path / "fleet") as fleet:
        fleet.add("gpu001", env=node.env)
        fleet.start()
        argv = [shutil.which("ssh"), "-F", str(fleet.ssh_config()), "gpu001", "exec sh"]
        with Channel(argv, script_of(node, request.param, shared), dict(os.environ)) as channel:  # type: ignore[list-item]
            channel.until("t")
            assert node.alive()
            yield fleet, node, channel


def test_over_ssh_the_client_closes(over_ssh: tuple[SshFleet, BareNode, Channel]) -> None:
    _, node, channel = over_ssh
    channel.close()
    assert channel.rest()[-1]["k"] == "bye"
    assert not gone(node.tag)


def test_over_ssh_the_client_is_killed(over_ssh: tuple[SshFleet, BareNode, Channel]) -> None:
    _, node, channel = over_ssh
    channel.process.kill()
    assert not gone(node.tag)


def test_over_ssh_the_session_is_killed(over_ssh: tuple[SshFleet, BareNode, Channel]) -> None:
    """kill -9 for the sshd of the session: it can tell nobody."""
    fleet, node, _ = over_ssh
    fleet["gpu001"].kill_sessions()
    assert not gone(node.tag)


def test_over_ssh_every_sshd_is_killed(over_ssh: tuple[SshFleet, BareNode, Channel]) -> None:
    fleet, node, _ = over_ssh
    own = [
        process for process in psutil.Process(fleet["gpu001"].pid).children(recursive=True) if "sshd" in process.name()
    ]
    for process in [psutil.Process(fleet["gpu001"].pid), *own]:
        process.kill()
    assert not gone(node.tag)


def test_over_ssh_the_client_freezes_and_the_server_gives_up(tmp_path: Path, shared: Path) -> None:
    """A network that is gone looks like this to the server: no answer to its keepalives. It hangs up.

    OpenSSH (9.2) asks only when nothing was sent for its interval; else it is TCP that gives up, after its own time.
    """
    import shutil

    node = BareNode("dash", tmp_path / "node")
    with SshFleet(tmp_path / "fleet") as fleet:
        fleet.add("gpu001", env=node.env, options={"ClientAliveInterval": "1", "ClientAliveCountMax": "2"})
        fleet.start()
        argv = [str(shutil.which("ssh")), "-F", str(fleet.ssh_config()), "gpu001", "exec sh"]
        script_of(node, "smi", shared)
        with Channel(argv, node.script(4.0), dict(os.environ)) as channel:
            channel.until("hello")
            channel.process.send_signal(signal.SIGSTOP)
            try:
                assert not gone(node.tag, 12)
            finally:
                channel.process.send_signal(signal.SIGCONT)
