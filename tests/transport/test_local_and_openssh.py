"""The transports that run a child: this machine's sh, and the system's ssh."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import psutil
import pytest
from sshd import SshFleet, make_key
from transport_kit import Opener, run

from nodectl.model import Node, Unreachable
from nodectl.transport.openssh import ssh_reason

HERE = Node(name="here", transport="local")


def running(command: list[str]) -> list[psutil.Process]:
    return [process for process in psutil.process_iter(["cmdline"]) if process.info["cmdline"] == command]


def test_local_runs_a_script(opened: Opener) -> None:
    sink, reply = run(opened(), HERE, "echo out; echo err >&2; exit 7\n")
    assert (sink.data, reply.stderr, reply.exit_status, reply.reason) == (b"out\n", b"err\n", 7, None)
    assert reply.reached
    assert reply.stdout_bytes == 4


def test_local_drains_both_streams(opened: Opener) -> None:
    sink, reply = run(opened(), HERE, "head -c 3000000 /dev/zero >&2; head -c 3000000 /dev/zero; echo done >&2\n")
    assert len(sink.data) == 3_000_000
    assert len(reply.stderr) == 64 * 1024
    assert reply.reason is None


def test_local_command_that_does_not_read_its_input(opened: Opener) -> None:
    sink, reply = run(opened(), HERE, "x" * 5_000_000, command="echo gone")
    assert (sink.data, reply.reason) == (b"gone\n", None)


def test_local_gigabyte_is_cut(opened: Opener) -> None:
    sink, reply = run(opened(), HERE, "head -c 1073741824 /dev/zero\n", max_bytes=100_000)
    assert len(sink.data) == 100_000
    assert reply.reason is not None
    assert reply.reason.code == Unreachable.PROBE_FAILED.value


@pytest.mark.parametrize(
    "script",
    [
        "sleep 81",
        "sleep 81 & wait",
        "timeout 90 sleep 81",  # a process group of its own
        "trap '' TERM; timeout -k 90 90 sleep 81",
        "(trap '' TERM HUP; sleep 81) & echo x; wait",
    ],
)
def test_local_deadline_kills_everything_it_started(opened: Opener, script: str) -> None:
    begun = time.monotonic()
    _, reply = run(opened(), HERE, script + "\n", deadline_s=0.5)
    assert 0.4 < time.monotonic() - begun < 1.6
    assert reply.reason is not None
    assert (reply.reason.code, reply.reached) == (Unreachable.TIMEOUT.value, True)
    assert not running(["sleep", "81"])


def test_local_complete_reply_leaves_no_background_child(opened: Opener) -> None:
    _, reply = run(opened(), HERE, "sleep 82 & echo END; wait\n", until=b"END")
    assert reply.reason is None
    assert not running(["sleep", "82"])


def test_local_silence_ends_the_run(opened: Opener) -> None:
    sink, reply = run(opened(), HERE, "echo half; sleep 83\n", due_s=0.4)
    assert sink.data == b"half\n"
    assert reply.reason is not None
    assert reply.reason.code == Unreachable.TIMEOUT.value


def test_local_without_sh(opened: Opener, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    _, reply = run(opened(), HERE, "true\n")
    assert reply.reason is not None
    assert (reply.reason.code, reply.reached) == (Unreachable.PROBE_FAILED.value, False)


@pytest.fixture
def system_ssh() -> str:
    found = shutil.which("ssh")
    if found is None:
        pytest.skip("no ssh on this machine: install openssh-client (Debian, Ubuntu) or openssh-clients (RHEL)")
    return found


def test_openssh_runs_a_script(system_ssh: str, fleet: SshFleet, opened: Opener) -> None:
    sink, reply = run(opened(), fleet.node("gpu001", transport="openssh"), "echo out; echo err >&2; exit 7\n")
    assert (sink.data, reply.stderr, reply.exit_status, reply.reason) == (b"out\n", b"err\n", 7, None)
    assert reply.reached


def test_openssh_obeys_a_config(system_ssh: str, fleet: SshFleet, opened: Opener) -> None:
    transports = opened(ssh_config=fleet.ssh_config())
    sink, reply = run(transports, Node(name="gpu002", transport="openssh"), "echo in\n")
    assert (sink.data, reply.reason) == (b"in\n", None)


def test_openssh_deadline(system_ssh: str, fleet: SshFleet, opened: Opener) -> None:
    begun = time.monotonic()
    sink, reply = run(opened(), fleet.node("gpu001", transport="openssh"), "echo half; sleep 30\n", deadline_s=1.5)
    assert time.monotonic() - begun < 2.6
    assert sink.data == b"half\n"
    assert reply.reason is not None
    assert (reply.reason.code, reply.reached) == (Unreachable.TIMEOUT.value, True)


def test_openssh_failures(system_ssh: str, own_fleet: SshFleet, opened: Opener) -> None:
    own_fleet.add("gpu001")
    own_fleet.add("unknown", known=False)
    changed = own_fleet.add("changed")
    make_key(changed.folder / "new")
    changed.host_key.write_bytes((changed.folder / "new").read_bytes())
    other = own_fleet.folder / "other_key"
    make_key(other)
    own_fleet.add("down")
    own_fleet.start()["down"].stop()

    def code(name: str, **changes: object) -> str:
        _, reply = run(opened(), own_fleet.node(name, transport="openssh", **changes), "true\n")
        assert reply.reason is not None
        assert not reply.reached
        return reply.reason.code

    os.environ.pop("SSH_AUTH_SOCK", None)
    assert code("gpu001", identity_files=(str(other),)) == "auth"
    assert code("unknown") == "host_key_unknown"
    assert code("changed") == "host_key_changed"
    assert code("down") == "refused"
    assert code("gpu001", address="no-such-host.invalid") == "dns"


def test_openssh_accepts_new_keys_when_told(system_ssh: str, own_fleet: SshFleet, opened: Opener) -> None:
    server = own_fleet.add("gpu001", known=False)
    own_fleet.start()
    transports = opened(host_key_policy="accept-new")
    assert run(transports, own_fleet.node("gpu001", transport="openssh"), "true\n")[1].reason is None
    assert server.public_key in own_fleet.known_hosts.read_text()


def test_openssh_server_killed_in_mid_run(system_ssh: str, own_fleet: SshFleet, opened: Opener) -> None:
    import threading

    server = own_fleet.add("gpu001")
    own_fleet.start()
    threading.Timer(0.8, server.stop).start()
    sink, reply = run(opened(), own_fleet.node("gpu001", transport="openssh"), "echo half; sleep 30\n")
    assert sink.data == b"half\n"
    assert reply.reason is not None
    assert (reply.reason.code, reply.reached) == (Unreachable.CLOSED.value, True)


def test_without_ssh_it_says_what_to_install(opened: Opener, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    _, reply = run(opened(), Node(name="gpu001", transport="openssh"))
    assert reply.reason is not None
    assert "openssh-client" in reply.reason.hint


def test_a_name_is_never_an_option(system_ssh: str, opened: Opener, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    _, reply = run(opened(), Node(name=f"-oProxyCommand=touch {mark}", transport="openssh"))
    assert reply.reason is not None
    assert not mark.exists()


@pytest.mark.parametrize(
    ("said", "code"),
    [
        ("ssh: connect to host x port 22: Connection timed out", "timeout"),
        ("ssh: connect to host x port 22: No route to host", "no_route"),
        ("ssh: connect to host x port 22: Network is unreachable", "no_route"),
        ("kex_exchange_identification: Connection closed by remote host", "protocol"),
        (
            "Unable to negotiate with 10.0.0.1 port 22: no matching host key type found. Their offer: ssh-rsa",
            "protocol",
        ),
        ("me@bastion: Permission denied (publickey).\r\nConnection closed by UNKNOWN port 65535", "auth"),
        ("stdio forwarding failed\r\nConnection closed by UNKNOWN port 65535", "proxy_failed"),
        ("me@x: Permission denied (publickey,gssapi-keyex,gssapi-with-mic).", "auth"),
        ("", "protocol"),
    ],
)
def test_what_ssh_says_is_understood(said: str, code: str) -> None:
    reason = ssh_reason("gpu001", said.encode())
    assert reason.code == code
    assert "\n" not in reason.text
