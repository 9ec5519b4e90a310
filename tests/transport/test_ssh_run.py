"""Good runs, and replies of every awkward kind, over real SSH."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from fake_servers import black_hole
from sshd import SshFleet
from transport_kit import Opener, Text, run

from nodectl.model import Unreachable
from nodectl.transport import Request
from nodectl.transport.known_hosts import fingerprint


def test_a_script_runs_and_its_reply_comes_back(fleet: SshFleet, opened: Opener) -> None:
    sink, reply = run(opened(), fleet.node("gpu001"), "echo out; echo err >&2; exit 7\n")
    assert (sink.data, reply.stderr, reply.exit_status, reply.reason) == (b"out\n", b"err\n", 7, None)
    assert reply.reached
    assert reply.stdout_bytes == 4
    assert set(reply.timings_ms) == {"connect", "kex", "auth", "run"}
    assert reply.started.endswith("Z")


def test_the_host_key_is_told(fleet: SshFleet, opened: Opener) -> None:
    import base64

    blob = base64.b64decode(fleet["gpu001"].public_key.split()[1])
    _, reply = run(opened(), fleet.node("gpu001"), "true\n")
    assert reply.host_key == f"ssh-ed25519 {fingerprint(blob)}"


def test_the_node_s_own_environment_counts(fleet: SshFleet, opened: Opener) -> None:
    sink, _ = run(opened(), fleet.node("gpu001"), "echo $PATH\n")
    assert sink.data == b"/usr/bin:/bin:/opt/fake\n"


def test_reading_stops_as_soon_as_the_sink_says_so(fleet: SshFleet, opened: Opener) -> None:
    begun = time.monotonic()
    sink, reply = run(opened(), fleet.node("gpu001"), "echo first; echo END; sleep 20; echo late\n", until=b"END")
    assert time.monotonic() - begun < 5
    assert reply.reason is None
    assert reply.exit_status is None
    assert b"late" not in sink.data


def test_a_script_larger_than_every_window_arrives_whole(fleet: SshFleet, opened: Opener) -> None:
    filler = "# " + "x" * 97 + "\n"
    script = filler * 50_000 + "echo END\n"
    sink, reply = run(opened(), fleet.node("gpu001"), script, until=b"END")
    assert (sink.data, reply.reason) == (b"END\n", None)


def test_both_streams_are_drained_and_stderr_is_capped(fleet: SshFleet, opened: Opener) -> None:
    script = "i=0; while [ $i -lt 40 ]; do head -c 65536 /dev/zero >&2; head -c 65536 /dev/zero; i=$((i+1)); done\n"
    sink, reply = run(opened(), fleet.node("gpu001"), script)
    assert reply.reason is None
    assert len(sink.data) == 40 * 65536
    assert len(reply.stderr) == 64 * 1024


def test_endless_stderr_does_not_hold_up_the_reply(fleet: SshFleet, opened: Opener) -> None:
    sink, reply = run(opened(), fleet.node("gpu001"), "yes >&2 & sleep 0.5; echo END; kill $!\n", until=b"END")
    assert sink.data == b"END\n"
    assert reply.reason is None


def test_binary_arrives_as_it_is(fleet: SshFleet, opened: Opener) -> None:
    sink, reply = run(opened(), fleet.node("gpu001"), "printf '\\000\\377\\033[31m\\r\\n\\200'\n")
    assert sink.data == b"\x00\xff\x1b[31m\r\n\x80"
    assert reply.reason is None


def test_a_gigabyte_is_cut_at_the_cap_and_never_held(fleet: SshFleet, opened: Opener) -> None:
    begun = time.monotonic()
    sink, reply = run(opened(), fleet.node("gpu001"), "head -c 1073741824 /dev/zero\n", max_bytes=1_000_000)
    assert time.monotonic() - begun < 10
    assert len(sink.data) == reply.stdout_bytes == 1_000_000
    assert reply.reason is not None
    assert (reply.reason.code, reply.reached) == (Unreachable.PROBE_FAILED.value, True)
    assert "1000000" in reply.reason.text


def test_a_slow_drip_is_read_as_it_comes(fleet: SshFleet, opened: Opener) -> None:
    script = "for i in 1 2 3 4 5; do echo $i; sleep 0.2; done\n"
    sink, reply = run(opened(), fleet.node("gpu001"), script, due_s=2.0)
    assert reply.reason is None
    assert sink.data == b"1\n2\n3\n4\n5\n"
    assert len(sink.fed_at) >= 4
    assert sink.fed_at[-1] - sink.fed_at[0] > 0.5


def test_a_node_that_hangs_in_mid_reply_is_left_when_the_sink_expects_nothing_more(
    fleet: SshFleet, opened: Opener
) -> None:
    begun = time.monotonic()
    sink, reply = run(opened(), fleet.node("gpu001"), "echo half; sleep 30\n", due_s=0.5)
    assert 0.4 < time.monotonic() - begun < 5
    assert sink.data == b"half\n"
    assert reply.reason is not None
    assert (reply.reason.code, reply.reached) == (Unreachable.TIMEOUT.value, True)


def test_a_node_that_hangs_in_mid_reply_is_left_at_the_deadline(fleet: SshFleet, opened: Opener) -> None:
    begun = time.monotonic()
    sink, reply = run(opened(), fleet.node("gpu001"), "echo half; sleep 30\n", deadline_s=1.5)
    assert 1.4 < time.monotonic() - begun < 2.5
    assert sink.data == b"half\n"
    assert reply.reason is not None
    assert (reply.reason.code, reply.reached) == (Unreachable.TIMEOUT.value, True)
    assert "within 1.5 s (step run)" in reply.reason.text


def test_a_server_killed_in_mid_run_is_told_from_a_clean_end(own_fleet: SshFleet, opened: Opener) -> None:
    server = own_fleet.add("gpu001")
    own_fleet.start()
    timer = threading.Timer(0.7, server.stop)
    timer.start()
    sink, reply = run(opened(), own_fleet.node("gpu001"), "echo half; echo why >&2; sleep 30\n")
    timer.join()
    assert sink.data == b"half\n"
    assert reply.reason is not None
    assert (reply.reason.code, reply.reached) == (Unreachable.CLOSED.value, True)
    assert "last on stderr: why" in reply.reason.text


def test_a_shell_that_dies_is_a_clean_end_with_no_status(fleet: SshFleet, opened: Opener) -> None:
    sink, reply = run(opened(), fleet.node("gpu001"), "echo half; kill -9 $$\n")
    assert (sink.data, reply.reason, reply.exit_status) == (b"half\n", None, None)


def test_a_command_that_does_not_read_its_input(fleet: SshFleet, opened: Opener) -> None:
    sink, reply = run(opened(), fleet.node("gpu001"), "x" * 5_000_000, command="echo gone")
    assert (sink.data, reply.reason) == (b"gone\n", None)


def test_a_sink_with_a_bug_raises_in_the_caller_and_harms_nobody(fleet: SshFleet, opened: Opener) -> None:
    class Broken(Text):
        def feed(self, data: bytes) -> bool:
            raise ZeroDivisionError("a bug")

    transports = opened()
    with pytest.raises(ZeroDivisionError, match="a bug"):
        transports.run(fleet.node("gpu001"), Request(stdin=b"echo hello\n"), Broken())
    sink, _ = run(transports, fleet.node("gpu001"), "echo fine\n")
    assert sink.data == b"fine\n"


def test_many_at_once_on_two_servers(fleet: SshFleet, opened: Opener) -> None:
    transports = opened(fanout=16)
    names = ["gpu001", "gpu002"] * 12

    def one(name: str) -> bytes:
        return run(transports, fleet.node(name), f"echo {name}\n")[0].data

    with ThreadPoolExecutor(24) as pool:
        assert [data.decode().strip() for data in pool.map(one, names)] == names


def test_ipv6(own_fleet: SshFleet, opened: Opener) -> None:
    own_fleet.add("six", address="::1")
    try:
        own_fleet.start()
    except RuntimeError as exc:
        pytest.skip(f"no IPv6 on the loopback here: {exc}")
    sink, reply = run(opened(), own_fleet.node("six"), "echo $SSH_CONNECTION\n")
    assert reply.reason is None
    assert sink.data.startswith(b"::1 ")


def test_names_are_resolved_and_a_dead_first_address_costs_little(
    own_fleet: SshFleet, opened: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Happy eyeballs: the name has a black-holed address first."""
    import socket

    server = own_fleet.add("two")
    own_fleet.start()
    line = f"[two.example]:{server.port} {server.public_key}\n"
    own_fleet.known_hosts.write_text(line)
    with black_hole() as hole:  # on loopback: it takes no connection and refuses none
        ways = [("127.0.0.1", hole), (server.address, server.port)]
        found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", way) for way in ways]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **options: found)
        begun = time.monotonic()
        sink, reply = run(opened(), own_fleet.node("two", address="two.example"), "echo hello\n")
        took_s = time.monotonic() - begun
    assert reply.reason is None, reply.reason
    assert sink.data == b"hello\n"
    assert 0.1 < took_s < 3  # the first address was tried, and not waited for


def test_address_family_and_bind_address(own_fleet: SshFleet, opened: Opener) -> None:
    server = own_fleet.add("gpu001")
    own_fleet.start()
    with own_fleet.known_hosts.open("a") as file:
        file.write(f"[localhost]:{server.port} {server.public_key}\n")
    sink, reply = run(opened(settings={"bind_address": "127.9.8.7"}), own_fleet.node("gpu001"), "echo $SSH_CLIENT\n")
    assert reply.reason is None
    assert sink.data.startswith(b"127.9.8.7 ")
    _, reply = run(opened(settings={"bind_address": "192.0.2.77"}), own_fleet.node("gpu001"))
    assert reply.reason is not None
    assert reply.reason.code == Unreachable.NO_ROUTE.value
    node = own_fleet.node("gpu001", address="localhost")
    _, reply = run(opened(settings={"address_family": "inet", "bind_address": "::1"}), node)
    assert reply.reason is not None
    assert reply.reason.code == Unreachable.NO_ROUTE.value
