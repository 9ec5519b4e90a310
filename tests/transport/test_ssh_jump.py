"""Jump hosts and ProxyCommands, with real servers behind real servers."""

from __future__ import annotations

import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import psutil
import pytest
from sshd import SshFleet, make_key
from transport_kit import Opener, run, settings_of

from nodectl.model import Unreachable
from nodectl.transport import Reply, SshSettings
from nodectl.transport.jump import parse_hops
from nodectl.transport.proxy import expand


def code_of(reply: Reply) -> str:
    assert reply.reason is not None
    return reply.reason.code


def hosts_of(fleet: SshFleet, *names: str, **changes: object) -> dict[str, SshSettings]:
    """What an ssh config would say of the jump hosts."""
    return {name: msgspec.structs.replace(settings_of(fleet.node(name)), **changes) for name in names}


@pytest.fixture
def site(own_fleet: SshFleet) -> SshFleet:
    """Two jump hosts and two nodes."""
    for name in ("bastion", "inner", "gpu001", "gpu002"):
        own_fleet.add(name)
    return own_fleet.start()


def test_one_jump_host_is_logged_in_to_once(site: SshFleet, opened: Opener) -> None:
    transports = opened(hosts=hosts_of(site, "bastion"))
    nodes = [site.node(name, jump="bastion") for name in ("gpu001", "gpu002") * 4]
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda node: run(transports, node, "echo $SSH_CONNECTION\n"), nodes))
    assert [reply.reason for _, reply in results] == [None] * 8
    assert site["bastion"].log.read_text().count("Accepted publickey") == 1


def test_two_hops(site: SshFleet, opened: Opener) -> None:
    transports = opened(hosts=hosts_of(site, "bastion", "inner"))
    sink, reply = run(transports, site.node("gpu001", jump="bastion,inner"), "echo in\n")
    assert (sink.data, reply.reason) == (b"in\n", None)
    for name in ("bastion", "inner"):
        assert site[name].log.read_text().count("Accepted publickey") == 1


def test_the_jump_host_s_own_config_leads_through_another(site: SshFleet, opened: Opener) -> None:
    hosts = {**hosts_of(site, "bastion"), **hosts_of(site, "inner", proxy_jump="bastion")}
    sink, reply = run(opened(hosts=hosts), site.node("gpu001", jump="inner"), "echo in\n")
    assert (sink.data, reply.reason) == (b"in\n", None)


def test_jump_hosts_that_lead_in_a_circle(site: SshFleet, opened: Opener) -> None:
    hosts = {**hosts_of(site, "bastion", proxy_jump="inner"), **hosts_of(site, "inner", proxy_jump="bastion")}
    begun = time.monotonic()
    _, reply = run(opened(hosts=hosts), site.node("gpu001", jump="bastion"))
    assert time.monotonic() - begun < 3
    assert code_of(reply) == Unreachable.PROXY_FAILED.value
    assert "in a circle" in reply.reason.text


def test_a_hundred_nodes_through_one_jump_host(site: SshFleet, opened: Opener) -> None:
    """paramiko alone loses most of these: data sent after a channel's close ends the shared connection."""
    transports = opened(hosts=hosts_of(site, "bastion"), fanout=32)
    nodes = [site.node(name, jump="bastion") for name in ("gpu001", "gpu002") * 50]
    with ThreadPoolExecutor(32) as pool:
        results = list(pool.map(lambda node: run(transports, node, "head -c 30000 /dev/zero; echo END\n"), nodes))
    assert [reply.reason for _, reply in results] == [None] * 100
    assert site["bastion"].log.read_text().count("Accepted publickey") <= 2


def test_every_end_of_a_reply_leaves_the_jump_host_connected(site: SshFleet, opened: Opener) -> None:
    """Replies that are cut at every moment: a channel is closed while its node still talks."""
    transports = opened(hosts=hosts_of(site, "bastion"), fanout=16)

    def one(number: int) -> Reply:
        node = site.node("gpu001", jump="bastion")
        return run(transports, node, "yes\n", max_bytes=1000 + 7919 * number, deadline_s=10)[1]

    with ThreadPoolExecutor(16) as pool:
        replies = list(pool.map(one, range(48)))
    assert {code_of(reply) for reply in replies} == {Unreachable.PROBE_FAILED.value}
    assert site["bastion"].log.read_text().count("Accepted publickey") <= 2


def test_jump_host_that_is_down_costs_its_timeout_once(site: SshFleet, opened: Opener) -> None:
    site["bastion"].stop()
    transports = opened(hosts=hosts_of(site, "bastion"))
    for _ in range(3):
        begun = time.monotonic()
        _, reply = run(transports, site.node("gpu001", jump="bastion"))
        assert time.monotonic() - begun < 2
        assert code_of(reply) == Unreachable.PROXY_FAILED.value
        assert "jump host cannot be used" in reply.reason.text
        assert "refused" in reply.reason.text


def test_jump_host_whose_key_is_unknown(site: SshFleet, opened: Opener) -> None:
    lines = [line for line in site.known_hosts.read_text().splitlines() if site["bastion"].known_name not in line]
    site.known_hosts.write_text("\n".join(lines) + "\n")
    _, reply = run(opened(hosts=hosts_of(site, "bastion")), site.node("gpu001", jump="bastion"))
    assert code_of(reply) == Unreachable.PROXY_FAILED.value
    assert "its host key is not known" in reply.reason.text
    assert "ssh-keyscan" in reply.reason.hint


def test_jump_host_that_does_not_let_us_in(site: SshFleet, opened: Opener) -> None:
    other = site.folder / "other"
    make_key(other)
    hosts = hosts_of(site, "bastion", identity_files=(str(other),))
    transports = opened(hosts=hosts)
    for _ in range(3):
        _, reply = run(transports, site.node("gpu001", jump="bastion"))
        assert code_of(reply) == Unreachable.PROXY_FAILED.value
        assert "login as" in reply.reason.text
    assert site["bastion"].log.read_text().count("Connection from") == 1


def test_node_with_an_unknown_key_behind_a_jump_host(site: SshFleet, opened: Opener) -> None:
    site.known_hosts.write_text(f"{site['bastion'].known_name} {site['bastion'].public_key}\n")
    transports = opened(hosts=hosts_of(site, "bastion"))
    _, reply = run(transports, site.node("gpu001", jump="bastion"))
    assert code_of(reply) == Unreachable.HOST_KEY_UNKNOWN.value
    command = reply.reason.hint.split("then: ")[1].split("   ")[0]
    assert command.startswith("echo ")  # ssh-keyscan would not get there
    os.system(command)
    assert run(opened(hosts=hosts_of(site, "bastion")), site.node("gpu001", jump="bastion"), "true\n")[1].reason is None


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        ({}, Unreachable.REFUSED, "jump host bastion could not reach it: Connection refused"),
        ({"AllowTcpForwarding": "no"}, Unreachable.PROXY_FAILED, "prohibited"),
    ],
)
def test_node_that_the_jump_host_does_not_reach(
    own_fleet: SshFleet, opened: Opener, options: dict[str, str], code: Unreachable, words: str
) -> None:
    own_fleet.add("bastion", options=options)
    own_fleet.add("gpu001")
    own_fleet.start()
    own_fleet["gpu001"].stop()
    _, reply = run(opened(hosts=hosts_of(own_fleet, "bastion")), own_fleet.node("gpu001", jump="bastion"))
    assert code_of(reply) == code.value
    assert words in reply.reason.text


def test_jump_host_killed_in_mid_run(site: SshFleet, opened: Opener) -> None:
    transports = opened(hosts=hosts_of(site, "bastion"))
    node = site.node("gpu001", jump="bastion")
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(run, transports, node, "echo half; sleep 20\n")
        time.sleep(0.7)
        site["bastion"].kill_sessions()
        sink, reply = running.result(timeout=5)
    assert (code_of(reply), reply.reached, sink.data) == (Unreachable.CLOSED.value, True, b"half\n")
    assert run(transports, node, "true\n")[1].reason is None  # the next node dials anew


def test_cancelling_behind_a_jump_host(site: SshFleet, opened: Opener) -> None:
    transports = opened(hosts=hosts_of(site, "bastion", "inner"))
    nodes = [site.node(name, jump="bastion,inner") for name in ("gpu001", "gpu002") * 3]
    with ThreadPoolExecutor(6) as pool:
        running = [pool.submit(run, transports, node, "sleep 20\n") for node in nodes]
        time.sleep(0.7)
        begun = time.monotonic()
        transports.close()
        codes = {code_of(future.result(timeout=2)[1]) for future in running}
    assert time.monotonic() - begun < 1.0
    assert codes == {Unreachable.CANCELLED.value}


def proxy_through(fleet: SshFleet, name: str) -> str:
    return f"ssh -F {fleet.ssh_config()} -W %h:%p {name}"


def test_proxy_command(site: SshFleet, opened: Opener) -> None:
    transports = opened(settings={"proxy_command": proxy_through(site, "bastion")})
    sink, reply = run(transports, site.node("gpu001"), "echo in\n")
    assert (sink.data, reply.reason) == (b"in\n", None)


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("echo no route for you >&2; exit 3", "no route for you"),
        ("/nonexistent/nc %h %p", "not found"),
        ("exit 7", "it ended with status 7"),
    ],
)
def test_proxy_command_that_dies(fleet: SshFleet, opened: Opener, command: str, words: str) -> None:
    command = f"sh -c '{command}'" if "exit" in command else command
    begun = time.monotonic()
    _, reply = run(opened(settings={"proxy_command": command}), fleet.node("gpu001"))
    assert time.monotonic() - begun < 3
    assert code_of(reply) == Unreachable.PROXY_FAILED.value
    assert words in reply.reason.text


def test_proxy_command_that_hangs_is_killed_with_its_children(fleet: SshFleet, opened: Opener) -> None:
    transports = opened(settings={"proxy_command": "sh -c 'sleep 71 & sleep 72'"})
    _, reply = run(transports, fleet.node("gpu001"), connect_timeout_s=0.6)
    assert code_of(reply) == Unreachable.TIMEOUT.value
    time.sleep(0.2)
    left = [
        p.info["cmdline"]
        for p in psutil.process_iter(["cmdline"])
        if p.info["cmdline"] in (["sleep", "71"], ["sleep", "72"])
    ]
    assert not left


def test_proxy_command_that_talks_nonsense(fleet: SshFleet, opened: Opener) -> None:
    _, reply = run(opened(settings={"proxy_command": "yes no"}), fleet.node("gpu001"))
    assert code_of(reply) in (Unreachable.PROTOCOL.value, Unreachable.PROXY_FAILED.value)


def test_a_host_name_cannot_run_anything_in_a_proxy_command(opened: Opener, fleet: SshFleet, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    settings = {"proxy_command": "nc %h %p", "hostname": f"x;touch {mark}"}
    _, reply = run(opened(settings=settings), fleet.node("gpu001"))
    assert code_of(reply) == Unreachable.PROXY_FAILED.value
    assert not mark.exists()


def test_tokens_of_a_proxy_command() -> None:
    settings = SshSettings(hostname="10.0.0.1", port=2222, alias="gpu001")
    assert expand("nc -X %% %h %p # %r@%n %x", settings, "me") == "nc -X % 10.0.0.1 2222 # me@gpu001 %x"
    with pytest.raises(ValueError, match="%h"):
        expand("nc %h", SshSettings(hostname="-oProxyCommand=x"), "me")


@pytest.mark.parametrize(
    ("value", "hops"),
    [
        ("bastion", [("bastion", None, None)]),
        ("me@bastion:2222,[fe80::1]:22", [("bastion", "me", 2222), ("fe80::1", None, 22)]),
        ("ssh://me@bastion:2222", [("bastion", "me", 2222)]),
        ("me@example.com@bastion", [("bastion", "me@example.com", None)]),
        ("bastion:port", None),
        ("", None),
    ],
)
def test_proxy_jump_values(value: str, hops: list[tuple[str, str | None, int | None]] | None) -> None:
    if hops is None:
        with pytest.raises(ValueError, match="is not user@host:port"):
            parse_hops(value)
    else:
        assert [(node.name, node.user, node.port) for node in parse_hops(value)] == hops


@pytest.mark.parametrize("by", ["deadline", "close"])
def test_jump_host_that_freezes(site: SshFleet, opened: Opener, by: str) -> None:
    """Its kernel still acknowledges everything; only the clock tells."""
    transports = opened(hosts=hosts_of(site, "bastion"))
    node = site.node("gpu001", jump="bastion")
    assert run(transports, node, "true\n")[1].reason is None
    frozen = psutil.Process(site["bastion"].pid).children(recursive=True)
    for process in frozen:
        process.suspend()
    try:
        with ThreadPoolExecutor(4) as pool:
            begun = time.monotonic()
            running = [pool.submit(run, transports, node, "x" * 3_000_000, deadline_s=1.5) for _ in range(4)]
            if by == "close":
                time.sleep(0.3)
                transports.close()
                assert time.monotonic() - begun < 1.5
            codes = {code_of(future.result(timeout=5)[1]) for future in running}
        assert time.monotonic() - begun < 3.0
        assert codes == {Unreachable.TIMEOUT.value if by == "deadline" else Unreachable.CANCELLED.value}
    finally:
        for process in frozen:
            process.resume()
