"""The servers of the demo fleet, asked over the real transport; and what is left when they close."""

from __future__ import annotations

import errno
import os
import socket
import stat
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from nodectl.demo import DemoError, DemoFleet, demo_fleet
from nodectl.demo.server import KeyPair
from nodectl.inventory.sshconfig import SshConfig
from nodectl.model import Node
from nodectl.transport import Reply, Request, open_transports


class _Text:
    def __init__(self) -> None:
        self.data = b""

    def feed(self, data: bytes) -> bool:
        self.data += data
        return False

    def due_in_s(self) -> float | None:
        return None


@pytest.fixture
def fleet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[DemoFleet]:
    before = set(threading.enumerate())
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with demo_fleet() as made:
        yield made
    assert [thread.name for thread in threading.enumerate() if thread not in before] == []
    assert list(tmp_path.glob("nodectl-demo-*")) == []


def _ask(fleet: DemoFleet, name: str, request: Request, **settings: object) -> tuple[_Text, Reply]:
    config = SshConfig(fleet.ssh_config)

    def resolve(node: Node) -> object:
        return msgspec.structs.replace(config.resolve(node), **settings)

    node = next(node for node in fleet.nodes if node.name == name)
    sink = _Text()
    with open_transports([node], resolve=resolve) as transports:  # type: ignore[arg-type]
        reply = transports.run(node, request, sink)
    return sink, reply


def test_the_nodes_are_an_ordinary_inventory(fleet: DemoFleet) -> None:
    by_name = {node.name: node for node in fleet.nodes}
    assert list(by_name) == [f"gpu-{number:02d}" for number in range(1, 15)]
    assert by_name["gpu-03"].expect == {"gpus": 8, "model": "H200", "venvs": ["/opt/train"]}
    assert by_name["gpu-14"].expect == {"gpus": 8, "model": "H100", "venvs": ["/opt/train"]}
    assert by_name["gpu-07"].labels == {"rack": "a2"}


def test_only_the_owner_can_read_its_files(fleet: DemoFleet) -> None:
    folder = fleet.ssh_config.parent
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}
    assert modes == dict.fromkeys(("id_ed25519", "known_hosts", "ssh_config"), 0o600)


def test_another_key_is_refused(fleet: DemoFleet, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_text(KeyPair.generate().private)
    other.chmod(0o600)
    _, reply = _ask(fleet, "gpu-01", Request(), identity_files=(str(other),))
    assert reply.reason is not None
    assert (reply.reason.code, reply.reached) == ("auth", False)


def test_another_host_key_is_refused_before_anything_is_offered(fleet: DemoFleet) -> None:
    _, reply = _ask(fleet, "gpu-14", Request(), identity_files=())
    assert reply.reason is not None
    assert (reply.reason.code, reply.reached) == ("host_key_changed", False)


def test_a_closed_door_stays_closed(fleet: DemoFleet) -> None:
    for _ in range(2):
        _, reply = _ask(fleet, "gpu-13", Request())
        assert reply.reason is not None
        assert reply.reason.code == "refused"


@pytest.mark.parametrize(
    ("command", "stdin"),
    [("hostname", b""), ("exec sh", b"rm -rf /\n"), ("exec sh", b""), ("exec sh", b"# nodectl-probe/1 nonce=zz\n")],
)
def test_what_is_no_probe_is_not_run(fleet: DemoFleet, command: str, stdin: bytes) -> None:
    sink, reply = _ask(fleet, "gpu-01", Request(command=command, stdin=stdin))
    assert (reply.exit_status, sink.data) == (127, b"")
    assert b"recorded node" in reply.stderr


def test_a_silent_client_does_not_hold_up_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    before = set(threading.enumerate())
    silent = []
    with demo_fleet() as fleet:
        config = SshConfig(fleet.ssh_config)
        for node in fleet.nodes[:5]:
            silent.append(socket.create_connection(("127.0.0.1", config.resolve(node).port)))
        time.sleep(0.2)
        begun = time.monotonic()
    took_s = time.monotonic() - begun
    for one in silent:
        one.close()
    assert took_s < 2
    assert [thread.name for thread in threading.enumerate() if thread not in before] == []


def test_two_fleets_at_once(fleet: DemoFleet) -> None:
    with demo_fleet() as other:
        configs = [SshConfig(one.ssh_config) for one in (fleet, other)]
        ports = [config.resolve(node).port for config in configs for node in fleet.nodes]
    assert len(set(ports)) == len(ports)


def test_a_folder_name_with_odd_characters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    odd = tmp_path / "a b%h~"
    odd.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(odd))
    with demo_fleet() as fleet:
        _, reply = _ask(fleet, "gpu-01", Request(command="hostname"))
    assert reply.exit_status == 127


def test_no_loopback(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> socket.socket:
        raise OSError(errno.EADDRNOTAVAIL, os.strerror(errno.EADDRNOTAVAIL))

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(socket, "create_server", refuse)
    with pytest.raises(DemoError, match=r"127\.0\.0\.1.*Cannot assign requested address"), demo_fleet():
        pass
    assert list(tmp_path.iterdir()) == []


def test_ports_that_run_out_half_way_close_what_is_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, made = socket.create_server, []

    def some(*args: object, **options: object) -> socket.socket:
        if len(made) == 6:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        made.append(real(*args, **options))  # type: ignore[arg-type]
        return made[-1]

    before = set(threading.enumerate())
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(socket, "create_server", some)
    with pytest.raises(DemoError, match="Too many open files"), demo_fleet():
        pass
    assert all(one.fileno() == -1 for one in made)
    assert [thread.name for thread in threading.enumerate() if thread not in before] == []
    assert list(tmp_path.iterdir()) == []


def test_no_room_for_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> str:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(tempfile, "mkdtemp", full)
    with pytest.raises(DemoError, match=r"No space left on device; .*TMPDIR"), demo_fleet():
        pass
