"""Every way of not getting in, made for real, is told apart and says what to do."""

from __future__ import annotations

import socket
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from fake_servers import black_hole, closes, closes_first, says, serving, silent
from sshd import SshFleet, make_key
from transport_kit import Opener, run

from nodectl.model import Node, Unreachable
from nodectl.transport import Reply


def code_of(reply: Reply) -> str:
    assert reply.reason is not None
    assert not reply.reached
    return reply.reason.code


def here(port: int, name: str = "node") -> Node:
    return Node(name=name, address="127.0.0.1", port=port, user="root")


def test_closed_port(opened: Opener) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    _, reply = run(opened(), here(port))
    assert code_of(reply) == Unreachable.REFUSED.value
    assert f"node (127.0.0.1 port {port}): the connection was refused" in reply.reason.text
    assert "sshd" in reply.reason.hint


def test_black_hole(opened: Opener) -> None:
    begun = time.monotonic()
    with black_hole() as port:
        _, reply = run(opened(), here(port), connect_timeout_s=1.0)
    assert 0.9 < time.monotonic() - begun < 1.5
    assert code_of(reply) == Unreachable.TIMEOUT.value
    assert "within 1 s (step connect)" in reply.reason.text


def test_name_that_does_not_exist(opened: Opener) -> None:
    _, reply = run(opened(), Node(name="no-such-host.invalid"))
    assert code_of(reply) == Unreachable.DNS.value
    assert "no-such-host.invalid does not resolve" in reply.reason.text


@pytest.mark.parametrize("name", ["a" * 300, "", "gpu..001", "gpu 001", "\u0000"])
def test_names_that_are_no_names(opened: Opener, name: str) -> None:
    _, reply = run(opened(settings={"hostname": name}), Node(name="node"))
    assert code_of(reply) in (Unreachable.DNS.value, Unreachable.REFUSED.value, Unreachable.HOST_KEY_UNKNOWN.value)


def test_resolver_that_hangs(opened: Opener, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **options: time.sleep(3) or [])
    begun = time.monotonic()
    _, reply = run(opened(), Node(name="slow.example"), connect_timeout_s=0.5)
    assert time.monotonic() - begun < 1.2
    assert code_of(reply) == Unreachable.TIMEOUT.value
    assert "(step dns)" in reply.reason.text


def test_no_route(opened: Opener) -> None:
    with socket.socket(socket.AF_INET6) as probe:
        probe.settimeout(0.5)
        try:
            probe.connect(("2001:db8::1", 22))
        except TimeoutError:
            pytest.skip("IPv6 packets to nowhere are swallowed here")
        except OSError:
            pass
    _, reply = run(opened(), Node(name="node", address="2001:db8::1"))
    assert code_of(reply) == Unreachable.NO_ROUTE.value


def test_banner_that_never_comes(opened: Opener) -> None:
    with serving(silent) as server:
        _, reply = run(opened(), here(server.port), connect_timeout_s=0.6)
    assert code_of(reply) == Unreachable.TIMEOUT.value
    assert "(step banner)" in reply.reason.text


def test_key_exchange_that_never_ends(opened: Opener) -> None:
    with serving(says(b"SSH-2.0-Tarpit\r\n")) as server:
        _, reply = run(opened(), here(server.port), connect_timeout_s=0.6)
    assert code_of(reply) == Unreachable.TIMEOUT.value
    assert "(step kex)" in reply.reason.text


def test_login_that_hangs(own_fleet: SshFleet, opened: Opener) -> None:
    user = own_fleet.user
    options = {
        "AuthorizedKeysFile": "none",
        "AuthorizedKeysCommand": "/bin/sleep 30",
        "AuthorizedKeysCommandUser": user,
    }
    own_fleet.add("gpu001", options=options)
    own_fleet.start()
    begun = time.monotonic()
    _, reply = run(opened(), own_fleet.node("gpu001"), connect_timeout_s=1.2)
    assert time.monotonic() - begun < 2
    assert code_of(reply) == Unreachable.TIMEOUT.value
    assert "(step auth)" in reply.reason.text
    assert reply.host_key.startswith("ssh-ed25519 SHA256:")


def test_banner_drip_does_not_stretch_the_deadline(opened: Opener) -> None:
    def drip(connection: socket.socket, number: int) -> None:
        while True:
            connection.sendall(b"still here\r\n")
            time.sleep(0.1)

    with serving(drip) as server:
        begun = time.monotonic()
        _, reply = run(opened(), here(server.port), connect_timeout_s=1.0)
    assert time.monotonic() - begun < 1.6
    assert code_of(reply) == Unreachable.TIMEOUT.value


@pytest.mark.parametrize("said", [b"HTTP/1.1 400 Bad Request\r\n" * 101, b"\xff" * 20_000, b"220 mail ESMTP\r\n" * 101])
def test_something_else_listens(opened: Opener, said: bytes) -> None:
    with serving(says(said)) as server:
        _, reply = run(opened(), here(server.port), connect_timeout_s=5)
    assert code_of(reply) == Unreachable.PROTOCOL.value
    assert "not an SSH server" in reply.reason.text
    assert all(ch.isprintable() for ch in reply.reason.text)


def test_packet_that_would_fill_the_memory(opened: Opener) -> None:
    with serving(says(b"SSH-2.0-Evil\r\n" + b"\xff\xff\xff\xfc" + b"x" * 64)) as server:
        _, reply = run(opened(), here(server.port), connect_timeout_s=5)
    assert code_of(reply) == Unreachable.PROTOCOL.value
    assert "is not valid" in reply.reason.text


def test_connection_closed_before_the_banner_is_tried_again(opened: Opener) -> None:
    with serving(closes) as server:
        _, reply = run(opened(), here(server.port))
        assert server.connections == 3
    assert code_of(reply) == Unreachable.PROTOCOL.value
    assert "before its SSH banner" in reply.reason.text
    assert "MaxStartups" in reply.reason.hint


def test_second_try_gets_in(fleet: SshFleet, opened: Opener) -> None:
    real = fleet["gpu001"]
    with serving(closes_first(2, (real.address, real.port))) as server:
        settings = {"host_key_alias": real.known_name}
        node = fleet.node("gpu001", address="127.0.0.1", port=server.port)
        sink, reply = run(opened(settings=settings), node, "echo in\n")
        assert server.connections == 3
    assert (sink.data, reply.reason) == (b"in\n", None)


def test_wrong_key_is_refused_and_never_tried_again(own_fleet: SshFleet, opened: Opener) -> None:
    server = own_fleet.add("gpu001")
    own_fleet.start()
    other = own_fleet.folder / "other_key"
    make_key(other)
    _, reply = run(opened(), own_fleet.node("gpu001", identity_files=(str(other),)))
    assert code_of(reply) == Unreachable.AUTH.value
    assert f"login as {own_fleet.user} failed: the key was not accepted ({other})" in reply.reason.text
    assert "the server takes publickey" in reply.reason.text
    assert "authorized_keys" in reply.reason.hint
    assert server.log.read_text().count("Connection from") == 1
    secret = other.read_text().splitlines()[2]
    assert secret not in repr(reply)


def test_user_that_does_not_exist(fleet: SshFleet, opened: Opener) -> None:
    _, reply = run(opened(), fleet.node("gpu001", user="nobody-like-this"))
    assert code_of(reply) == Unreachable.AUTH.value


def test_unknown_host_key_and_the_command_that_mends_it(own_fleet: SshFleet, opened: Opener) -> None:
    own_fleet.add("gpu001", known=False)
    own_fleet.start()
    node = own_fleet.node("gpu001")
    _, reply = run(opened(), node, "true\n")
    assert code_of(reply) == Unreachable.HOST_KEY_UNKNOWN.value
    assert "ssh-ed25519 SHA256:" in reply.reason.text
    command = reply.reason.hint.split("then: ")[1].split("   ")[0]
    assert command.startswith("ssh-keyscan -p 2222 127.")
    subprocess.run(command, shell=True, check=True, capture_output=True)
    sink, reply = run(opened(), node, "echo in\n")
    assert (sink.data, reply.reason) == (b"in\n", None)


def test_changed_host_key_and_the_command_that_mends_it(own_fleet: SshFleet, opened: Opener) -> None:
    server = own_fleet.add("gpu001")
    other = own_fleet.add("gpu002")
    make_key(server.folder / "host_key2")
    server.host_key.write_bytes((server.folder / "host_key2").read_bytes())
    server.host_key.with_name("host_key.pub").write_bytes((server.folder / "host_key2.pub").read_bytes())
    own_fleet.start()
    transports = opened()
    for policy in ("strict", "accept-new"):
        _, reply = run(opened(host_key_policy=policy), own_fleet.node("gpu001"), "true\n")
        assert code_of(reply) == Unreachable.HOST_KEY_CHANGED.value
    assert f"{own_fleet.known_hosts}:1" in reply.reason.text
    assert reply.reason.text.count("SHA256:") == 2
    _, fine = run(transports, own_fleet.node("gpu002"), "true\n")
    assert fine.reason is None
    command = reply.reason.hint[reply.reason.hint.index("ssh-keygen -R") :]
    subprocess.run(command, shell=True, check=True, capture_output=True)
    assert other.known_name in own_fleet.known_hosts.read_text()
    sink, reply = run(opened(), own_fleet.node("gpu001"), "echo in\n")
    assert (sink.data, reply.reason) == (b"in\n", None)


def test_accept_new_writes_the_key_down_once(own_fleet: SshFleet, opened: Opener) -> None:
    names = [f"gpu00{i}" for i in range(1, 5)]
    for name in names:
        own_fleet.add(name, known=False)
    own_fleet.start()
    own_fleet.known_hosts.write_text("# no newline at the end")
    transports = opened(host_key_policy="accept-new")
    with ThreadPoolExecutor(8) as pool:
        replies = list(pool.map(lambda name: run(transports, own_fleet.node(name), "true\n")[1], names * 2))
    assert [reply.reason for reply in replies] == [None] * 8
    lines = own_fleet.known_hosts.read_text().splitlines()
    assert lines[0] == "# no newline at the end"
    assert sorted(lines[1:]) == sorted(f"{own_fleet[n].known_name} {own_fleet[n].public_key}" for n in names)
    _, reply = run(opened(), own_fleet.node("gpu003"), "true\n")
    assert reply.reason is None


def test_accept_new_on_a_full_disk_still_gets_in_and_says_so(own_fleet: SshFleet, opened: Opener) -> None:
    own_fleet.add("gpu001", known=False)
    own_fleet.start()
    transports = opened(host_key_policy="accept-new")
    sink, reply = run(transports, own_fleet.node("gpu001", known_hosts=("/dev/full",)), "echo in\n")
    assert (sink.data, reply.reason) == (b"in\n", None)
    assert any("was accepted but not written down" in note for note in transports.notes)


def test_no_common_key_exchange(own_fleet: SshFleet, opened: Opener) -> None:
    own_fleet.add("old", options={"KexAlgorithms": "diffie-hellman-group1-sha1"})
    own_fleet.start()
    _, reply = run(opened(), own_fleet.node("old"))
    assert code_of(reply) == Unreachable.PROTOCOL.value
    assert "no key exchange in common: it offers diffie-hellman-group1-sha1; nodectl offers" in reply.reason.text
    assert "curve25519" in reply.reason.text
    assert "SHA-1" in reply.reason.hint
    assert "transport: openssh" in reply.reason.hint


def test_host_that_only_knows_ssh_rsa(own_fleet: SshFleet, opened: Opener) -> None:
    server = own_fleet.add("old", options={"HostKeyAlgorithms": "ssh-rsa"})
    server.host_key.unlink()
    keygen = ["ssh-keygen", "-q", "-t", "rsa", "-b", "2048", "-N", "", "-f", str(server.host_key)]
    subprocess.run(keygen, check=True, input=b"y\n", stdout=subprocess.DEVNULL)
    own_fleet.start()
    _, reply = run(opened(), own_fleet.node("old"))
    assert code_of(reply) == Unreachable.PROTOCOL.value
    assert "no host key algorithm in common: it offers ssh-rsa" in reply.reason.text


def test_server_that_allows_no_session(own_fleet: SshFleet, opened: Opener) -> None:
    own_fleet.add("gpu001", options={"MaxSessions": "0"})
    own_fleet.start()
    _, reply = run(opened(), own_fleet.node("gpu001"))
    assert code_of(reply) == Unreachable.PROTOCOL.value
    assert "refused a session" in reply.reason.text


def test_settings_that_cannot_be_worked_out_are_one_node_s_trouble(fleet: SshFleet, opened: Opener) -> None:
    from nodectl.transport import SshSettings, open_transports

    def resolve(node: Node) -> SshSettings:
        raise RuntimeError("~/.ssh/config:3: no such keyword")

    with open_transports(resolve=resolve) as transports:
        _, reply = run(transports, fleet.node("gpu001"))
    assert code_of(reply) == Unreachable.PROBE_FAILED.value
    assert "~/.ssh/config:3" in reply.reason.text


def test_unknown_transport_names_the_near_one(opened: Opener) -> None:
    _, reply = run(opened(), Node(name="x", transport="opensh"))
    assert 'did you mean "openssh"?' in reply.reason.text


def test_dead_nodes_never_delay_the_others(fleet: SshFleet, opened: Opener, tmp_path: Path) -> None:
    """A third of the fleet is dead in five ways; the living are done before the first of them is given up."""
    transports = opened(fanout=32)
    with black_hole() as hole, serving(silent) as mute, serving(says(b"SSH-2.0-Tarpit\r\n")) as tarpit:
        dead = [here(port, f"dead{i}") for i, port in enumerate((hole, mute.port, tarpit.port, hole, mute.port))]
        nodes = [*dead, *[fleet.node("gpu001")] * 5, *[fleet.node("gpu002")] * 5]
        begun = time.monotonic()

        def one(node: Node) -> tuple[str, float]:
            _, reply = run(transports, node, "echo in\n", connect_timeout_s=3.0)
            return (reply.reason.code if reply.reason else "ok"), time.monotonic() - begun

        with ThreadPoolExecutor(len(nodes)) as pool:
            results = list(pool.map(one, nodes))
    assert [code for code, _ in results] == ["timeout"] * 5 + ["ok"] * 10
    assert max(at for code, at in results if code == "ok") < 2.5
    assert max(at for code, at in results if code == "timeout") < 4.0
