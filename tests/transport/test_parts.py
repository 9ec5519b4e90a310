"""Single parts: deadlines, the watchdog, the gate, addresses, and what a sink is told."""

from __future__ import annotations

import errno
import socket
import struct
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transport_kit import Text

from nodectl.model import Unreachable
from nodectl.transport.attempt import Attempt, Watchdog
from nodectl.transport.base import Deadline, Failure, Request, printable, utc_now
from nodectl.transport.certificate import Certificate, host_certificate_problem, parse_certificate
from nodectl.transport.collect import Collector
from nodectl.transport.gate import Gates
from nodectl.transport.sockets import Resolver, _alternate, _connect_reason, _literal


def test_deadline() -> None:
    deadline = Deadline(0.05)
    assert 0 < deadline.remaining_s() <= 0.05
    time.sleep(0.06)
    assert deadline.passed
    assert deadline.remaining_s() == 0


def test_times_are_utc() -> None:
    assert utc_now().endswith("Z")
    assert len(utc_now()) == len("2026-11-20T12:00:00.000Z")


@given(st.text())
def test_what_a_server_says_is_one_safe_line(text: str) -> None:
    shown = printable(text)
    assert shown.isprintable()
    assert len(shown) <= 200


def test_a_step_s_limit_lies_inside_the_deadline() -> None:
    attempt = Attempt("x", Request(deadline_s=1.0))
    attempt.limit(0.2)
    assert attempt.remaining_s() <= 0.2
    attempt.limit(5.0)
    assert attempt.remaining_s() <= 1.0
    attempt.limit(None)
    assert attempt.remaining_s() <= 1.0


def test_what_frees_a_thread_is_called_even_when_it_comes_too_late() -> None:
    attempt = Attempt("x", Request())
    attempt.abort("cancelled")
    calls: list[int] = []
    with attempt.freeing(lambda: calls.append(1)):
        pass
    assert calls
    with pytest.raises(Failure, match="stopped"):
        attempt.check()


def test_the_first_ending_counts() -> None:
    attempt = Attempt("x", Request(deadline_s=0.0))
    attempt.abort("cancelled")
    attempt.abort("timeout")
    assert attempt.ending().code == Unreachable.CANCELLED.value


def test_a_closer_that_raises_does_not_save_the_others() -> None:
    attempt = Attempt("x", Request())
    calls: list[int] = []

    def broken() -> None:
        raise OSError("no")

    with attempt.freeing(lambda: calls.append(1)), attempt.freeing(broken):
        attempt.abort("timeout")
    assert calls == [1]


def test_the_watchdog_ends_what_is_late() -> None:
    watchdog = Watchdog()
    late, fine = Attempt("late", Request(deadline_s=0.2)), Attempt("fine", Request(deadline_s=10))
    with watchdog.watching(late), watchdog.watching(fine):
        time.sleep(0.5)
        assert late.over
        assert not fine.over
        watchdog.close()
        assert fine.over
    with watchdog.watching(Attempt("after", Request())) as after:
        assert after.over


def test_the_watchdog_can_be_closed_at_any_moment() -> None:
    for _ in range(200):
        watchdog = Watchdog()
        with watchdog.watching(Attempt("x", Request())):
            pass
        watchdog.close()
    assert not [thread for thread in threading.enumerate() if thread.name == "nodectl-watchdog"]


def test_the_gate_holds_eight_and_sets_them_apart() -> None:
    gates = Gates(at_once=8, apart_s=0.01)
    lock = threading.Lock()
    inside, most, starts = 0, 0, []

    def one(number: int) -> None:
        nonlocal inside, most
        with gates.handshake("server", Attempt(str(number), Request())):
            with lock:
                inside += 1
                most = max(most, inside)
                starts.append(time.monotonic())
            time.sleep(0.1)
            with lock:
                inside -= 1

    with ThreadPoolExecutor(24) as pool:
        list(pool.map(one, range(24)))
    assert most == 8
    starts.sort()
    assert starts[7] - starts[0] >= 0.06
    assert not gates._gates


def test_distinct_servers_do_not_wait_for_one_another() -> None:
    gates = Gates(at_once=1, apart_s=5)
    begun = time.monotonic()
    for server in range(20):
        with gates.handshake(server, Attempt("x", Request())):
            pass
    assert time.monotonic() - begun < 0.5


def test_waiting_at_the_gate_ends_with_the_deadline() -> None:
    gates = Gates(at_once=1)
    with gates.handshake("server", Attempt("a", Request())):
        attempt = Attempt("b", Request(deadline_s=0.3))
        with pytest.raises(Failure) as caught, gates.handshake("server", attempt):
            pass
    assert caught.value.reason.code == Unreachable.TIMEOUT.value
    assert "turn" in caught.value.reason.text


def test_addresses_alternate_between_families() -> None:
    four = [(socket.AF_INET, ("10.0.0.1", 22)), (socket.AF_INET, ("10.0.0.2", 22))]
    six = [(socket.AF_INET6, ("::1", 22))]
    assert _alternate([*six, *four, four[0]]) == [six[0], four[0], four[1]]
    assert _alternate([]) == []


def test_literal_addresses_are_not_asked_for() -> None:
    assert _literal("10.0.0.1", 22) == (socket.AF_INET, ("10.0.0.1", 22))
    assert _literal("::1", 22) == (socket.AF_INET6, ("::1", 22))
    assert _literal("fe80::1%lo", 22) is None
    assert _literal("gpu001", 22) is None


def test_a_name_is_asked_for_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def ask(host: str, port: int, **options: object) -> list[object]:
        asked.append(host)
        time.sleep(0.1)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("10.0.0.1", port))]

    monkeypatch.setattr(socket, "getaddrinfo", ask)
    names = Resolver()
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: names.resolve("gpu001", 22, Attempt("x", Request())), range(8)))
    assert found == [[(socket.AF_INET, ("10.0.0.1", 22))]] * 8
    assert asked == ["gpu001"]


@pytest.mark.parametrize(
    ("errors", "code"),
    [
        ([errno.ECONNREFUSED], "refused"),
        ([errno.ETIMEDOUT, errno.ECONNREFUSED], "refused"),
        ([errno.ETIMEDOUT, errno.EHOSTUNREACH], "no_route"),
        ([errno.ENETUNREACH], "no_route"),
        ([errno.EACCES], "no_route"),
        ([errno.ETIMEDOUT], "timeout"),
        ([errno.EMFILE], "probe_failed"),
        ([errno.ECONNRESET], "protocol"),
    ],
)
def test_connect_errors_are_told_apart(errors: list[int], code: str) -> None:
    assert _connect_reason("x", errors).code == code


def test_the_sink_gets_no_more_than_the_cap() -> None:
    sink = Text()
    collector = Collector(sink, 10)
    collector.stdout(b"12345678")
    assert not collector.over.is_set()
    collector.stdout(b"12345678")
    collector.stdout(b"late")
    assert (sink.data, collector.ending, collector.stdout_bytes) == (b"1234567812", "too_big", 10)


def test_the_sink_s_clock_starts_anew_with_data() -> None:
    collector = Collector(Text(due_s=0.2), 100)
    time.sleep(0.12)
    collector.stdout(b"x")
    time.sleep(0.12)
    assert not collector.silent()
    time.sleep(0.12)
    assert collector.silent()


def certificate(**changes: object) -> Certificate:
    whole = Certificate(2, "id", ("gpu001",), 0, 2**64 - 1, b"", b"ca", "ssh-ed25519")
    return whole._replace(**changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, ""),
        ({"principals": ()}, ""),
        ({"principals": ("GPU001",)}, ""),
        ({"principals": ("gpu002",)}, "not for gpu001"),
        ({"kind": 1}, "user certificate"),
        ({"signature_type": "ssh-rsa"}, "no longer accepted"),
        ({"critical_options": b"x"}, "critical options"),
        ({"valid_before_s": 1}, "expired on 1970-01-01"),
        ({"valid_after_s": 2**63}, "not valid before"),
    ],
)
def test_host_certificates(changes: dict[str, object], words: str) -> None:
    problem = host_certificate_problem(certificate(**changes), "gpu001")
    assert (words in problem) if words else (problem == "")


@given(st.binary(max_size=300))
def test_no_certificate_breaks_the_parser(data: bytes) -> None:
    kind = b"ssh-ed25519-cert-v01@openssh.com"
    for blob in (data, struct.pack(">I", len(kind)) + kind + data):
        try:
            parse_certificate(blob)
        except ValueError:
            continue
