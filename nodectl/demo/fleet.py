"""The demo fleet while it lives: a server for each node, and a folder with the key, known_hosts and ssh config."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import NamedTuple

from nodectl.demo.live import Line, LiveNode
from nodectl.demo.recording import DATA
from nodectl.demo.server import Answer, KeyPair, Live, NodeServer
from nodectl.demo.story import FLEET, DemoNode, Door
from nodectl.errors import UserError
from nodectl.inventory import load_hosts
from nodectl.model import Node

LOGIN = "admin"


class DemoError(UserError):
    """This machine cannot run the demo fleet. The text says why and what to do."""


class DemoFleet(NamedTuple):
    """What a run needs: the nodes, and the ssh config that says how they are reached."""

    nodes: list[Node]
    ssh_config: Path


@contextlib.contextmanager
def demo_fleet() -> Iterator[DemoFleet]:
    """The fleet, up and running; gone without a trace at the end.

    Raises:
        DemoError: 127.0.0.1 cannot be used, or there is no folder for temporary files.
    """
    with contextlib.ExitStack() as stack:
        _try_loopback()
        _end_cleanly(stack)
        folder = _folder(stack)
        login = KeyPair.generate()
        known_hosts, hosts = [], []
        servers: list[NodeServer] = []
        for node in FLEET:
            host_key = KeyPair.generate()
            port = _open(stack, node, host_key, login.public, servers)
            shown = KeyPair.generate() if node.door is Door.OTHER_KEY else host_key
            known_hosts.append(f"{node.name} {shown.public}\n")
            hosts.append(f"Host {node.name}\n    HostName 127.0.0.1\n    Port {port}\n    HostKeyAlias {node.name}\n")
        _write(folder / "id_ed25519", login.private)
        _write(folder / "known_hosts", "".join(known_hosts))
        ssh_config = folder / "ssh_config"
        _write(ssh_config, _head(folder) + "".join(hosts))
        try:
            yield DemoFleet(load_hosts(str(DATA / "inventory.yaml")), ssh_config)
        finally:
            for server in servers:
                server.stop()


def _end_cleanly(stack: contextlib.ExitStack) -> None:
    """While the fleet is up, a closed terminal or a SIGTERM unwinds the program instead of ending it where it stands:
    otherwise its folder, with a private key, would stay behind. Who has handlers of their own keeps them.
    """

    def leave(number: int, frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    if threading.current_thread() is not threading.main_thread():
        return
    for number in (signal.SIGHUP, signal.SIGTERM):
        if signal.getsignal(number) is signal.SIG_DFL:
            stack.callback(signal.signal, number, signal.signal(number, leave))


def _try_loopback() -> None:
    """One connection from this machine to itself: where that does not work, one error is better than fourteen nodes
    that cannot be reached.
    """
    try:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            socket.create_connection(listener.getsockname(), 2.0).close()
    except OSError as error:
        raise _no_loopback(error) from error


def _no_loopback(error: OSError) -> DemoError:
    why = os.strerror(error.errno) if error.errno else str(error)
    return DemoError(
        f"--demo: this machine cannot connect to itself on 127.0.0.1: {why}; the demo fleet needs the loopback "
        "interface (ip link set lo up) and free ports there"
    )


def _folder(stack: contextlib.ExitStack) -> Path:
    try:
        return Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="nodectl-demo-")))
    except OSError as error:
        why = os.strerror(error.errno) if error.errno else str(error)
        text = f"--demo: no folder for its keys can be made: {why}; name one that can be written to in TMPDIR"
        raise DemoError(text) from error


def _open(
    stack: contextlib.ExitStack, node: DemoNode, host_key: KeyPair, allowed: str, servers: list[NodeServer]
) -> int:
    """Starts the node's server; gives its port."""
    try:
        if node.door is Door.REFUSES:
            # Bound and not listened on: connections are refused, and nobody else can take the port.
            closed = stack.enter_context(socket.socket())
            closed.bind(("127.0.0.1", 0))
            port: int = closed.getsockname()[1]
            return port
        server = NodeServer(host_key, allowed, _answer(node), _live(node), think_s=node.think_s)
    except OSError as error:
        raise _no_loopback(error) from error
    # At the end all servers are told to stop first; closing then waits for each only as long as it still needs.
    stack.callback(server.close)
    servers.append(server)
    return server.port


def _answer(node: DemoNode) -> Answer:
    def answer(nonce: str, sources: list[str]) -> bytes:
        return node.recording().wire(nonce, sources)

    return answer


def _live(node: DemoNode) -> Live:
    def lines(interval_s: float) -> Iterator[Line]:
        return LiveNode(node.name, node.live, h100=node.h100).lines(interval_s)

    return lines


def _head(folder: Path) -> str:
    # In an ssh config a % begins a token.
    path = str(folder).replace("%", "%%")
    return (
        "# The demo fleet of nodectl: made for one run, and deleted at its end.\n"
        "Host *\n"
        f"    User {LOGIN}\n"
        f'    IdentityFile "{path}/id_ed25519"\n'
        "    IdentitiesOnly yes\n"
        "    IdentityAgent none\n"
        f'    UserKnownHostsFile "{path}/known_hosts"\n'
        "    GlobalKnownHostsFile /dev/null\n"
        "    StrictHostKeyChecking yes\n"
    )


def _write(path: Path, text: str) -> None:
    """A file for its owner only, from the start."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "w") as file:
        file.write(text)
