"""The watcher on transports that are told what to do: states, pauses, silence, the end."""

from __future__ import annotations

import threading
import time

import pytest
from watch_kit import HELLO, FakeStream, FakeTransports, tick, until, wait_for

from nodectl.model import Node, Reason
from nodectl.telemetry import watcher as module
from nodectl.telemetry.store import CONNECTING, ENDED, FAILED, LIVE, RETRY, STALE, Store
from nodectl.telemetry.watcher import Watcher, pause_s


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FIRST_PAUSE_S", 0.05)
    monkeypatch.setattr(module, "LOOK_S", 0.05)


@pytest.fixture(autouse=True)
def no_thread_left() -> object:
    yield
    until(lambda: not [one for one in threading.enumerate() if one.name.startswith("nodectl-watch")], 1.0)


def watch(transports: FakeTransports, *names: str, **options: object) -> tuple[Watcher, Store]:
    store = Store()
    nodes = [Node(name=name) for name in names or ("a",)]
    watcher = Watcher(nodes, transports, store, lambda s: b"x", **options)  # type: ignore[arg-type]
    watcher.start()
    return watcher, store


def lives(stream: FakeStream) -> None:
    stream.say(HELLO, tick(1))


def test_messages_reach_the_store_and_the_node_is_live() -> None:
    transports = FakeTransports()
    watcher, store = watch(transports)
    until(lambda: transports.streams)
    assert wait_for(store, "a", CONNECTING).hello is None
    transports.streams[0].sink.feed(HELLO.encode()[:20])
    transports.streams[0].sink.feed(HELLO.encode()[20:] + b"\n" + tick(1, 77).encode() + b"\n")
    node = wait_for(store, "a", LIVE)
    assert node.gpus[0] is not None
    assert node.gpus[0][0] == 77
    assert watcher.counts()["a"].messages == 2
    assert watcher.stop()
    assert transports.streams[0].closed
    assert node.state == ENDED


def test_a_lost_stream_is_opened_again_and_the_node_is_live_again() -> None:
    transports = FakeTransports(lives)
    watcher, store = watch(transports)
    wait_for(store, "a", LIVE)
    seen: list[object] = []
    put = store.set_state
    store.set_state = lambda *a, **k: (seen.append((a, k)), put(*a, **k))[1]  # type: ignore[method-assign]
    until(lambda: len(transports.streams) == 1)
    transports.streams[0].end(Reason("closed_during_probe", "a: gone"))
    until(lambda: len(transports.streams) == 2)
    node = wait_for(store, "a", LIVE)
    assert (node.reason, node.retry_at) == (None, None)
    (name, state), fields = seen[0]  # type: ignore[misc]
    assert (name, state, fields["reason"].text, fields["tries"]) == ("a", RETRY, "a: gone", 1)
    assert fields["retry_at"] > store.now() - 5
    watcher.stop()


def test_pauses_grow_to_a_minute_and_are_spread() -> None:
    assert all(0.025 <= pause_s(1, False) <= 0.05 for _ in range(20))
    assert all(30 <= pause_s(30, False) <= 60 for _ in range(20))
    assert all(30 <= pause_s(3000, False) <= 60 for _ in range(20))
    assert all(150 <= pause_s(1, True) <= 300 for _ in range(20))
    assert len({pause_s(5, False) for _ in range(20)}) > 10


@pytest.mark.parametrize("code", ["auth", "host_key_changed", "host_key_unknown", "probe_failed"])
def test_what_trying_does_not_mend_is_tried_rarely(code: str) -> None:
    transports = FakeTransports(lambda stream: stream.end(Reason(code, "a: no"), reached=False))
    watcher, store = watch(transports)
    node = wait_for(store, "a", FAILED)
    assert node.reason is not None
    assert node.reason.code == code
    assert node.retry_at is not None
    assert node.retry_at - store.now() > 100
    time.sleep(0.3)
    assert len(transports.streams) == 1
    watcher.stop()
    assert node.state == ENDED
    assert node.reason.code == code


def test_tries_are_counted_until_a_stream_has_lasted(monkeypatch: pytest.MonkeyPatch) -> None:
    """A node whose agent dies after each hello is not connected to every second for ever."""

    def flaps(stream: FakeStream) -> None:
        lives(stream)
        stream.end(None, exit_status=1, stderr=b"Traceback\nValueError: x\n")

    transports = FakeTransports(flaps)
    watcher, store = watch(transports)
    until(lambda: len(transports.streams) >= 4)
    node = wait_for(store, "a", RETRY)
    assert node.reason is not None
    assert node.tries >= 3
    assert node.reason.text == "a: the agent ended with status 1; last on stderr: ValueError: x"
    monkeypatch.setattr(module, "STEADY_S", 0.0)
    count = len(transports.streams)
    until(lambda: len(transports.streams) > count + 1)
    assert wait_for(store, "a", RETRY).tries == 1
    watcher.stop()


def test_the_agent_says_why_it_ends() -> None:
    def leaves(stream: FakeStream) -> None:
        stream.say(HELLO, '{"k":"bye","t":0,"why":"the driver was unloaded"}')
        stream.end(None, exit_status=0)

    watcher, store = watch(FakeTransports(leaves))
    reason = wait_for(store, "a", RETRY).reason
    assert reason is not None
    assert reason.text == "a: the agent ended: the driver was unloaded"
    watcher.stop()


def test_noise_in_place_of_a_hello_is_told() -> None:
    def no_python(stream: FakeStream) -> None:
        stream.say("This account is currently not available.")
        stream.end(None, exit_status=1)

    watcher, store = watch(FakeTransports(no_python))
    reason = wait_for(store, "a", RETRY).reason
    assert reason is not None
    assert reason.text.endswith("with status 1; it printed: This account is currently not available.")
    watcher.stop()


def test_a_node_that_falls_silent_is_stale_and_then_given_up() -> None:
    transports = FakeTransports(lives)
    clock = [0.0]
    store = Store(now=lambda: time.monotonic() + clock[0])
    watcher = Watcher([Node(name="a")], transports, store, lambda s: b"", silent_s=0.6)
    watcher.start()
    wait_for(store, "a", LIVE)
    clock[0] += 4  # the store's clock alone, so that stale comes well before the end
    wait_for(store, "a", STALE)
    until(lambda: len(transports.streams) == 2, 3)
    assert transports.streams[0].closed
    wait_for(store, "a", LIVE)
    watcher.stop()


def test_the_reason_of_a_silent_node() -> None:
    transports = FakeTransports(lives)
    watcher, store = watch(transports, silent_s=0.2)
    reason = wait_for(store, "a", RETRY).reason
    assert reason is not None
    assert (reason.code, "nothing came for" in reason.text) == ("timeout", True)
    watcher.stop()


def test_an_agent_that_never_says_hello(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "HELLO_S", 0.5)
    watcher, store = watch(FakeTransports(lambda stream: stream.say("Welcome!")), silent_s=0.1)
    begun = time.monotonic()
    reason = wait_for(store, "a", RETRY).reason
    assert time.monotonic() - begun > 0.4
    assert reason is not None
    assert "the agent said nothing" in reason.text
    assert reason.text.endswith("it printed: Welcome!")
    watcher.stop()


def test_a_node_that_sends_nonsense_for_ever_is_closed() -> None:
    def flood(stream: FakeStream) -> None:
        for _ in range(10):
            stream.sink.feed(b"x" * 65535 + b"\n")

    transports = FakeTransports(flood)
    watcher, store = watch(transports)
    reason = wait_for(store, "a", RETRY).reason
    assert reason is not None
    assert "nothing that is telemetry" in reason.text
    assert transports.streams[0].closed
    watcher.stop()


def test_no_more_than_fanout_connect_at_once() -> None:
    transports = FakeTransports(lives)
    transports.pause_s = 0.02
    names = [f"n{i}" for i in range(40)]
    watcher, store = watch(transports, *names, fanout=5)
    for name in names:
        wait_for(store, name, LIVE)
    assert transports.most_at_once == 5
    until(lambda: threading.active_count() < 5 or not any("connect" in one.name for one in threading.enumerate()), 1)
    assert watcher.stop()
    assert {node.state for node in store.nodes.values()} == {ENDED}
    assert all(stream.closed for stream in transports.streams)


def test_stop_does_not_wait_for_ever() -> None:
    transports = FakeTransports()
    watcher, _ = watch(transports)
    until(lambda: transports.streams)
    transports.streams[0].close = lambda: None  # type: ignore[method-assign]
    begun = time.monotonic()
    assert not watcher.stop(0.3)
    assert time.monotonic() - begun < 1.0


def test_nothing_is_tried_after_stop_or_when_the_transports_are_closed() -> None:
    transports = FakeTransports(lives)
    watcher, store = watch(transports)
    wait_for(store, "a", LIVE)
    transports.streams[0].end(Reason("cancelled", "the transports were closed"))
    wait_for(store, "a", ENDED)
    time.sleep(0.2)
    assert len(transports.streams) == 1
    watcher.stop()
    watcher.stop()
    with pytest.raises(RuntimeError):
        watcher.start()


def test_a_bug_in_connecting_costs_its_node_only() -> None:
    def breaks(stream: FakeStream) -> None:
        if stream.node.name == "b":
            raise ZeroDivisionError("oops")
        lives(stream)

    watcher, store = watch(FakeTransports(breaks), "b", "a")
    reason = wait_for(store, "b", FAILED).reason
    assert reason is not None
    assert "ZeroDivisionError: oops" in reason.text
    wait_for(store, "a", LIVE)
    watcher.stop()
