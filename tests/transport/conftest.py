"""A loopback fleet for the tests of this folder, and small things to run on it."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import psutil
import pytest
from login_kit import Agent
from sshd import SshFleet
from transport_kit import Opener, settings_of

from nodectl.model import Node
from nodectl.transport import SshSettings, Transports, open_transports


@pytest.fixture
def opened() -> Iterator[Opener]:
    """Opens transports that are closed after the test; keyword arguments as for `open_transports`. A `settings` dict
    changes what every node resolves to; `hosts` gives the settings of names that are no nodes (jump hosts)."""
    made: list[Transports] = []

    def open_some(
        *,
        settings: dict[str, object] | None = None,
        hosts: dict[str, SshSettings] | None = None,
        **options: object,
    ) -> Transports:
        def resolve(node: Node) -> SshSettings:
            if hosts and node.name in hosts:
                known = hosts[node.name]
                return msgspec.structs.replace(known, proxy_jump=node.jump) if node.jump else known
            return msgspec.structs.replace(settings_of(node), **(settings or {}))

        transports = open_transports(resolve=resolve, **options)  # type: ignore[arg-type]
        made.append(transports)
        return transports

    yield open_some
    for transports in made:
        transports.close()


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SshFleet]:
    """Two servers that no test changes."""
    with SshFleet(tmp_path_factory.mktemp("fleet")) as made:
        made.add("gpu001", env={"PATH": "/usr/bin:/bin:/opt/fake"})
        made.add("gpu002")
        yield made.start()


@pytest.fixture
def own_fleet(tmp_path: Path) -> Iterator[SshFleet]:
    """An empty fleet for one test."""
    with SshFleet(tmp_path / "fleet") as made:
        yield made


@pytest.fixture(autouse=True)
def nothing_left_behind() -> Iterator[None]:
    """No thread of ours and no child outlives a test by more than a second."""
    me = psutil.Process()
    before = {child.pid for child in me.children()}
    yield
    end = time.monotonic() + 1.0
    while True:
        threads = [thread.name for thread in threading.enumerate() if thread.name.startswith("nodectl-")]
        threads = [name for name in threads if not name.startswith("nodectl-dns-")]
        children = [child for child in me.children() if child.pid not in before and _is_ours(child)]
        if not threads and not children:
            return
        if time.monotonic() > end:
            pytest.fail(f"left behind: threads {threads}, children {children}")
        time.sleep(0.02)


def _is_ours(child: psutil.Process) -> bool:
    try:
        return child.name() != "sshd"
    except psutil.Error:
        return False


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Agent]:
    if shutil.which("ssh-agent") is None:
        pytest.skip("no ssh-agent on this machine: install openssh-client")
    made = Agent(tmp_path)
    yield made
    made.stop()


@pytest.fixture
def server(own_fleet: SshFleet) -> SshFleet:
    own_fleet.add("gpu001")
    return own_fleet.start()
