"""The watcher on real servers that are killed, come back, fall silent and flood; nothing is left at the end."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from sshd import SshFleet, make_key
from watch_kit import agent, until, wait_for

from nodectl.model import Node
from nodectl.telemetry import watcher as module
from nodectl.telemetry.store import FAILED, LIVE, RETRY, Store
from nodectl.telemetry.watcher import Watcher
from nodectl.transport import SshSettings, Transports, open_transports


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[SshFleet]:
    with SshFleet(tmp_path / "fleet") as made:
        for name in ("gpu001", "gpu002", "bastion"):
            made.add(name)
        yield made.start()


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    until(lambda: not [one for one in threading.enumerate() if one not in before], 1.5)


def transports_of(fleet: SshFleet) -> Transports:
    def resolve(node: Node) -> SshSettings:
        known = fleet.node(node.name) if node.name in fleet.servers else node
        return SshSettings(
            hostname=known.address or known.name,
            port=known.port or 22,
            user=known.user or "",
            identity_files=known.identity_files,
            identities_only=True,
            identity_agent="none",
            known_hosts_files=known.known_hosts,
            proxy_jump=node.jump or "",
        )

    return open_transports(resolve=resolve)


def agents(fleet: SshFleet) -> list[psutil.Process]:
    """What runs on the nodes."""
    found = []
    for server in fleet.servers.values():
        for process in psutil.Process(server.pid).children(recursive=True):
            try:
                if process.name() in ("sh", "dash", "cat", "sleep", "yes"):
                    found.append(process)
            except psutil.Error:
                continue
    return found


def test_a_day_in_the_life(fleet: SshFleet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FIRST_PAUSE_S", 0.3)
    nodes = [
        fleet.node("gpu001"),
        Node(name="behind", address=fleet["gpu002"].address, port=fleet.port, user=fleet.user, jump="bastion",
             identity_files=(str(fleet.identity),), known_hosts=(str(fleet.known_hosts),)),
        Node(name="here", transport="local"),
        Node(name="through-ssh", address=fleet["gpu002"].address, port=fleet.port, user=fleet.user, transport="openssh",
             identity_files=(str(fleet.identity),), known_hosts=(str(fleet.known_hosts),)),
    ]  # fmt: skip
    store = Store()
    with transports_of(fleet) as transports:
        watcher = Watcher(nodes, transports, store, lambda s: agent())
        watcher.start()
        for node in nodes:
            wait_for(store, node.name, LIVE)
        began_at = {name: live.seq for name, live in store.nodes.items()}
        until(lambda: all(live.seq > began_at[name] + 3 for name, live in store.nodes.items()))
        fleet["gpu001"].stop()
        reason = wait_for(store, "gpu001", RETRY).reason
        assert reason is not None
        assert reason.code in ("closed_during_probe", "refused")
        until(lambda: store.nodes["gpu001"].tries >= 2)
        fleet["gpu001"].start()
        wait_for(store, "gpu001", LIVE)
        fleet["bastion"].stop()
        wait_for(store, "behind", RETRY)
        fleet["bastion"].start()
        wait_for(store, "behind", LIVE)
        running = agents(fleet)
        assert running
        begun = time.monotonic()
        assert watcher.stop()
        assert time.monotonic() - begun < 2.0
        until(lambda: not [one for one in running if one.is_running() and one.status() != "zombie"], 2.0)
        assert not agents(fleet)
        for name in ("gpu001", "gpu002"):  # ended because stdin did, and not by a signal
            assert (fleet[name].folder / "home" / "ended").exists()


def test_a_node_that_stops_sending(fleet: SshFleet, monkeypatch: pytest.MonkeyPatch) -> None:
    """sshd is there and answers, but the session is frozen: what TCP cannot notice."""
    monkeypatch.setattr(module, "FIRST_PAUSE_S", 0.1)
    monkeypatch.setattr(module, "LOOK_S", 0.1)
    store = Store()
    with transports_of(fleet) as transports:
        watcher = Watcher([fleet.node("gpu001")], transports, store, lambda s: agent(), silent_s=1.0)
        watcher.start()
        wait_for(store, "gpu001", LIVE)
        frozen = psutil.Process(fleet["gpu001"].pid).children(recursive=True)
        for process in frozen:
            os.kill(process.pid, signal.SIGSTOP)
        reason = wait_for(store, "gpu001", RETRY).reason
        assert reason is not None
        assert "nothing came for" in reason.text
        wait_for(store, "gpu001", LIVE)  # a new session
        for process in frozen:
            os.kill(process.pid, signal.SIGCONT)
        assert watcher.stop()
        until(lambda: not agents(fleet))


def test_hostile_nodes_harm_nobody_else(fleet: SshFleet) -> None:
    """One sends garbage for ever, one floods with good lines: the third does not miss a tick of a tenth of a second."""
    store = Store()
    nodes = [fleet.node("gpu001"), Node(name="here", transport="local")]
    with transports_of(fleet) as transports:
        garbage = Watcher([fleet.node("gpu002")], transports, store, lambda s: b"exec yes hello\n")
        hello_flood = agent(after='kill $loop; echo \'{"k":"t","n":1,"g":[[1]]}\' > t; exec yes "$(cat t)"')
        flood = Watcher([nodes[0]], transports, store, lambda s: hello_flood)
        good = Watcher([nodes[1]], transports, store, lambda s: agent())
        for watcher in (good, garbage, flood):
            watcher.start()
        wait_for(store, "here", LIVE)
        wait_for(store, "gpu001", LIVE)
        reason = wait_for(store, "gpu002", RETRY).reason
        assert reason is not None
        assert "nothing that is telemetry" in reason.text
        cpu, seq = psutil.Process().cpu_times(), store.nodes["here"].seq
        time.sleep(2.0)
        used = psutil.Process().cpu_times()
        assert store.nodes["here"].seq - seq >= 12
        assert used.user + used.system - cpu.user - cpu.system < 1.2
        for watcher in (good, garbage, flood):
            assert watcher.stop()
        until(lambda: not agents(fleet))


def test_a_changed_host_key_and_a_refused_login(fleet: SshFleet) -> None:
    store = Store()
    stranger = fleet.folder / "stranger"
    make_key(stranger)
    lines = fleet.known_hosts.read_text().splitlines()
    changed = [
        line if not line.startswith(fleet["gpu001"].known_name) else f"{line.split()[0]} {make_key(fleet.folder / 'k')}"
        for line in lines
    ]
    fleet.known_hosts.write_text("\n".join(changed) + "\n")
    nodes = [
        Node(name="changed", address=fleet["gpu001"].address, port=fleet.port, user=fleet.user,
             known_hosts=(str(fleet.known_hosts),), identity_files=(str(fleet.identity),)),
        Node(name="refused", address=fleet["gpu002"].address, port=fleet.port, user=fleet.user,
             known_hosts=(str(fleet.known_hosts),), identity_files=(str(stranger),)),
    ]  # fmt: skip
    with transports_of(fleet) as transports:
        watcher = Watcher(nodes, transports, store, lambda s: agent())
        watcher.start()
        codes = {wait_for(store, node.name, FAILED).reason.code for node in nodes}  # type: ignore[union-attr]
        assert codes == {"host_key_changed", "auth"}
        assert watcher.stop()


def test_stop_while_all_are_connecting(fleet: SshFleet) -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as mute, transports_of(fleet) as transports:
        nodes = [Node(name=f"n{i}", address="127.0.0.1", port=mute.getsockname()[1]) for i in range(20)]
        watcher = Watcher(nodes, transports, Store(), lambda s: agent())
        watcher.start()
        time.sleep(0.5)
        begun = time.monotonic()
        assert watcher.stop()
        assert time.monotonic() - begun < 1.0
