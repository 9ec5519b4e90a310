"""Streams that do not begin, and streams whose node goes away. The end is told once, with the reasons of `run`."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import msgspec
import psutil
import pytest
from fake_servers import black_hole, closes, closes_first, says, serving, silent
from sshd import SshFleet, make_key
from stream_kit import COUNTING, begin, until
from transport_kit import Opener, run, settings_of

from nodectl.model import Node, Unreachable
from nodectl.transport import SshSettings

BY_NETWORK = ("ssh", "openssh")


def hosts_of(fleet: SshFleet, *names: str) -> dict[str, SshSettings]:
    return {name: settings_of(fleet.node(name)) for name in names}


def here(port: int, **changes: object) -> Node:
    return Node(name="dead", address="127.0.0.1", port=port, **changes)  # type: ignore[arg-type]


def test_the_reasons_are_those_of_run(server: SshFleet, opened: Opener) -> None:
    transports = opened()
    own = server.add("gpu002", known=False)
    stranger = server.folder / "stranger"
    make_key(stranger)
    server.start()
    good = server.node("gpu001")
    with serving(closes) as hangs_up, serving(says(b"220 mail\r\n", then_close=True)) as mail:
        with socket.create_server(("127.0.0.1", 0)) as gone:
            port = gone.getsockname()[1]
        nodes = [
            (here(port), Unreachable.REFUSED),
            (here(hangs_up.port), Unreachable.PROTOCOL),
            (here(mail.port), Unreachable.PROTOCOL),
            (Node(name="no-such-host.invalid"), Unreachable.DNS),
            (server.node("gpu002"), Unreachable.HOST_KEY_UNKNOWN),
            (msgspec.structs.replace(good, identity_files=(str(stranger),)), Unreachable.AUTH),
        ]
        assert own.address
        for node, code in nodes:
            flow, stream = begin(transports, node, COUNTING)
            reply = flow.reply()
            assert flow.code == code.value
            assert (reply.reached, flow.data) == (False, b"")
            assert run(transports, node, "true\n")[1].reason.code == code.value  # type: ignore[union-attr]
            stream.close()


def test_a_changed_host_key(server: SshFleet, opened: Opener) -> None:
    line = make_key(server.folder / "other_key")
    server.known_hosts.write_text(f"{server['gpu001'].known_name} {line}\n")
    for transport in BY_NETWORK:
        flow, _ = begin(opened(), server.node("gpu001", transport=transport), COUNTING)
        assert flow.code == Unreachable.HOST_KEY_CHANGED.value


@pytest.mark.parametrize("transport", BY_NETWORK)
def test_the_start_has_a_deadline(opened: Opener, transport: str) -> None:
    transports = opened()
    with black_hole() as hole, serving(silent) as mute, serving(says(b"SSH-2.0-Tarpit\r\n")) as tarpit:
        nodes = [here(port, transport=transport) for port in (hole, mute.port, tarpit.port)]
        begun = time.monotonic()
        with ThreadPoolExecutor(3) as pool:
            flows = list(pool.map(lambda node: begin(transports, node, start_timeout_s=1.0)[0], nodes))
        assert time.monotonic() - begun < 2.5
    assert [flow.code for flow in flows] == [Unreachable.TIMEOUT.value] * 3


def test_a_command_that_takes_no_stdin_is_not_waited_for_for_ever(server: SshFleet, opened: Opener) -> None:
    flow, _ = begin(opened(), server.node("gpu001"), "x" * 8_000_000, command="exec sleep 60", start_timeout_s=1.5)
    reason = flow.reply().reason
    assert reason is not None
    assert (reason.code, "did not take its input" in reason.text) == (Unreachable.TIMEOUT.value, True)


@pytest.mark.parametrize("transport", BY_NETWORK)
def test_stop_ends_a_start(opened: Opener, transport: str) -> None:
    stop = threading.Event()
    with serving(silent) as mute, ThreadPoolExecutor(1) as pool:
        started = pool.submit(begin, opened(), here(mute.port, transport=transport), stop=stop)
        time.sleep(0.4)
        stop.set()
        flow, _ = started.result(timeout=1.5)
    assert flow.code == Unreachable.CANCELLED.value


def test_it_is_tried_again_while_nothing_is_lost(server: SshFleet, opened: Opener) -> None:
    with serving(closes_first(1, (server["gpu001"].address, server.port))) as front:
        with server.known_hosts.open("a") as file:
            file.write(f"[127.0.0.1]:{front.port} {server['gpu001'].public_key}\n")
        node = msgspec.structs.replace(server.node("gpu001"), address="127.0.0.1", port=front.port)
        flow, stream = begin(opened(), node, COUNTING)
        flow.wait_for(b"line 2\n")
        stream.close()
        assert flow.code == Unreachable.CANCELLED.value


@pytest.mark.parametrize("transport", BY_NETWORK)
def test_sshd_is_killed_and_comes_back(server: SshFleet, opened: Opener, transport: str) -> None:
    transports = opened()
    node = server.node("gpu001", transport=transport)
    flow, _ = begin(transports, node, COUNTING)
    flow.wait_for(b"line 3\n")
    server["gpu001"].stop()
    reply = flow.reply()
    assert flow.code == Unreachable.CLOSED.value
    assert reply.reached
    assert begin(transports, node, COUNTING)[0].code == Unreachable.REFUSED.value
    server["gpu001"].start()
    again, stream = begin(transports, node, COUNTING)
    again.wait_for(b"line 3\n")
    stream.close()
    assert again.code == Unreachable.CANCELLED.value


def test_only_the_session_is_killed(server: SshFleet, opened: Opener) -> None:
    flow, _ = begin(opened(), server.node("gpu001"), COUNTING)
    flow.wait_for(b"line 1\n")
    server["gpu001"].kill_sessions()
    assert flow.code == Unreachable.CLOSED.value


@pytest.mark.parametrize("transport", ["ssh", "openssh", "local"])
def test_the_command_is_killed(server: SshFleet, opened: Opener, transport: str) -> None:
    node = Node(name="here", transport="local") if transport == "local" else server.node("gpu001", transport=transport)
    flow, _ = begin(opened(), node, "echo up $$; exec sleep 60\n")
    flow.wait_for(b"up")
    until(lambda: flow.data.endswith(b"\n"))
    os.kill(int(flow.data.split()[-1]), signal.SIGKILL)
    reply = flow.reply()
    if transport == "local":
        assert (reply.reason, reply.exit_status) == (None, 128 + 9)
    elif transport == "openssh":
        assert reply.exit_status in (255, 137)
    else:  # SSH says that a signal ended it, and no exit status
        assert (reply.reason, reply.exit_status) == (None, None)


@pytest.mark.parametrize("transport", ["ssh", "local"])
def test_output_ends_before_the_command_does(server: SshFleet, opened: Opener, transport: str) -> None:
    """It could never be heard of again; so it is over, after a second for its exit status."""
    node = Node(name="here", transport="local") if transport == "local" else server.node("gpu001")
    flow, _ = begin(opened(), node, "echo $$; exec >&- 2>&-; exec sleep 60\n")
    flow.reply(4)
    assert flow.code == "ok"
    assert flow.replies[0].exit_status is None
    if transport == "local":
        assert not psutil.pid_exists(int(flow.data))
    else:  # stdin was closed, which sleep does not mind
        with contextlib.suppress(psutil.NoSuchProcess):
            psutil.Process(int(flow.data)).kill()


def test_a_hostile_server_that_sends_nonsense_in_mid_stream(server: SshFleet, opened: Opener) -> None:
    """Something on the way breaks the stream of packets."""
    links: list[socket.socket] = []

    def talk(connection: socket.socket, number: int) -> None:
        with socket.create_connection((server["gpu001"].address, server.port)) as behind:
            links.append(connection)

            def up() -> None:
                with contextlib.suppress(OSError):
                    while data := connection.recv(65536):
                        behind.sendall(data)

            threading.Thread(target=up, daemon=True).start()
            while data := behind.recv(65536):
                connection.sendall(data)

    with serving(talk) as front:
        with server.known_hosts.open("a") as file:
            file.write(f"[127.0.0.1]:{front.port} {server['gpu001'].public_key}\n")
        node = msgspec.structs.replace(server.node("gpu001"), address="127.0.0.1", port=front.port)
        flow, _ = begin(opened(), node, COUNTING)
        flow.wait_for(b"line 1\n")
        links[0].sendall(os.urandom(4096))
        assert flow.code == Unreachable.CLOSED.value


def test_dead_peers_are_noticed_by_tcp(server: SshFleet, opened: Opener) -> None:
    """What tells that a node has died without a word: probes after 5 s of silence, three of them."""
    transports = opened()
    flow, stream = begin(transports, server.node("gpu001"), COUNTING)
    flow.wait_for(b"line 1\n")
    (link,) = transports._transport("ssh")._links  # type: ignore[attr-defined]
    options = ("TCP_KEEPIDLE", "TCP_KEEPINTVL", "TCP_KEEPCNT", "TCP_USER_TIMEOUT")
    values = [link.sock.getsockopt(socket.IPPROTO_TCP, getattr(socket, name)) for name in options]
    assert link.sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
    assert values == [5, 5, 3, 15_000]
    stream.close()


def test_a_node_that_reads_nothing_holds_up_nobody(server: SshFleet, opened: Opener) -> None:
    """It sends, and what has to be said to it (window space) cannot be delivered; others share the reading thread."""
    jammed = threading.Event()

    def talk(connection: socket.socket, number: int) -> None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        with socket.create_connection((server["gpu001"].address, server.port)) as behind:

            def up() -> None:
                with contextlib.suppress(OSError):
                    while not jammed.is_set() and (data := connection.recv(65536)):
                        behind.sendall(data)

            threading.Thread(target=up, daemon=True).start()
            with contextlib.suppress(OSError):
                while data := behind.recv(65536):
                    connection.sendall(data)

    with serving(talk) as front:
        with server.known_hosts.open("a") as file:
            file.write(f"[127.0.0.1]:{front.port} {server['gpu001'].public_key}\n")
        node = msgspec.structs.replace(server.node("gpu001"), address="127.0.0.1", port=front.port)
        transports = opened()
        flood, flooding = begin(transports, node, "exec yes\n", max_bytes_per_s=50_000_000)
        calm, stream = begin(transports, server.node("gpu001"), COUNTING)
        calm.wait_for(b"line 3\n")
        jammed.set()
        time.sleep(0.5)
        lines = calm.data.count(b"\n")
        time.sleep(1.0)
        assert calm.data.count(b"\n") - lines > 10
        assert len(flood.data) > 1_000_000
        stream.close()
        flooding.close()
        assert flood.reply().reason is not None


@pytest.fixture
def site(own_fleet: SshFleet) -> SshFleet:
    for name in ("bastion", "gpu001", "gpu002"):
        own_fleet.add(name)
    return own_fleet.start()


def test_behind_a_jump_host(site: SshFleet, opened: Opener) -> None:
    transports = opened(hosts=hosts_of(site, "bastion"))
    nodes = [site.node(name, jump="bastion") for name in ("gpu001", "gpu002") * 2]
    begun = [begin(transports, node, COUNTING) for node in nodes]
    for flow, _ in begun:
        flow.wait_for(b"line 5\n")
    assert site["bastion"].log.read_text().count("Accepted publickey") == 1
    pids = [int(flow.data.split(b"pid ")[1].split()[0]) for flow, _ in begun]
    begun[0][1].close()
    assert begun[0][0].code == Unreachable.CANCELLED.value
    until(lambda: not psutil.pid_exists(pids[0]))
    lines = begun[1][0].data.count(b"\n")
    until(lambda: begun[1][0].data.count(b"\n") > lines + 3)
    site["gpu002"].stop()
    assert begun[1][0].code == Unreachable.CLOSED.value
    assert begun[3][0].code == Unreachable.CLOSED.value
    assert not begun[2][0].replies
    ended, _ = begin(transports, nodes[0], "exit 4\n")
    assert ended.reply().exit_status == 4


def test_the_jump_host_goes_away(site: SshFleet, opened: Opener) -> None:
    transports = opened(hosts=hosts_of(site, "bastion"))
    flows = [begin(transports, site.node(name, jump="bastion"), COUNTING)[0] for name in ("gpu001", "gpu002")]
    for flow in flows:
        flow.wait_for(b"line 2\n")
    site["bastion"].stop()
    assert [flow.code for flow in flows] == [Unreachable.CLOSED.value] * 2
    site["bastion"].start()
    again, stream = begin(transports, site.node("gpu001", jump="bastion"), COUNTING)
    again.wait_for(b"line 2\n")
    stream.close()
    assert again.code == Unreachable.CANCELLED.value


@pytest.mark.parametrize(
    "algorithms",
    [
        {"Ciphers": "aes128-gcm@openssh.com"},
        {"Ciphers": "aes256-ctr", "MACs": "hmac-sha2-256-etm@openssh.com"},
        {"Ciphers": "aes256-ctr", "MACs": "hmac-sha2-256"},  # lengths are encrypted: never read by the pump
    ],
)
def test_keys_are_exchanged_anew_under_a_stream(
    own_fleet: SshFleet, opened: Opener, algorithms: dict[str, str]
) -> None:
    """A stream lasts for days; servers rekey after some data or time. With every way of packing packets."""
    own_fleet.add("gpu001", options={"RekeyLimit": "256K 1s", **algorithms})
    own_fleet.start()
    script = "i=0; while [ $i -lt 60 ]; do i=$((i+1)); head -c 30000 /dev/zero; sleep 0.05; done; echo done\n"
    flow, stream = begin(opened(), own_fleet.node("gpu001"), script)
    flow.wait_for(b"done\n", 15)
    assert len(flow.data) == 60 * 30000 + 5
    stream.close()
    assert flow.code == Unreachable.CANCELLED.value
