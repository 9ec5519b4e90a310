"""localhost in this process: the agent's lines by nvidia-ml-py (on a fake library) and psutil, without a child."""

from __future__ import annotations

import ctypes
import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pynvml
import pytest
from fake_nvml import GPU_IS_LOST, FakeNvml, build

from nodectl.model import Node
from nodectl.telemetry.agent import library
from nodectl.telemetry.agent.names import GPU_FAST, HOST_FAST
from nodectl.telemetry.launch import launch_script
from nodectl.telemetry.local import LocalStreams, PsutilHost
from nodectl.telemetry.store import LIVE, Store
from nodectl.telemetry.watcher import Watcher
from nodectl.transport.base import Reply
from nodectl.transport.stream import Ended, Stream, StreamRequest, StreamSink

HERE = Node(name="localhost", transport="local")


class Sink:
    """Keeps what came."""

    def __init__(self) -> None:
        self.messages: list[dict[str, Any]] = []
        self.replies: list[Reply] = []
        self._changed = threading.Condition()

    def feed(self, data: bytes) -> None:
        assert data.endswith(b"\n")
        with self._changed:
            self.messages += [json.loads(line) for line in data.splitlines()]
            self._changed.notify_all()

    def ended(self, reply: Reply) -> None:
        with self._changed:
            self.replies.append(reply)
            self._changed.notify_all()

    def until(self, wanted: Callable[[], Any], within_s: float = 10.0) -> Any:
        with self._changed:
            assert self._changed.wait_for(wanted, within_s), self.messages
            return wanted()

    def all(self, kind: str) -> list[dict[str, Any]]:
        return [message for message in self.messages if message["k"] == kind]


class Others:
    """Stands for the transports: takes note of what is asked of them."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def stream(
        self, node: Node, request: StreamRequest, sink: StreamSink, stop: threading.Event | None = None
    ) -> Stream:
        self.asked.append(node.name)
        sink.ended(Reply(reason=None, reached=False))
        return Ended()


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("nvml"))


def forget_nvml() -> None:
    pynvml.nvmlLib = None
    pynvml._nvmlGetFunctionPointer_cache.clear()


@pytest.fixture
def nvml(built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeNvml]:
    fake = FakeNvml(built, tmp_path / "control")
    for name, value in fake.env.items():
        monkeypatch.setenv(name, value)
    # A copy of its own: the loader gives the same library, with the control file of an earlier test, for the same path.
    own = tmp_path / "libnvidia-ml.so.1"
    own.write_bytes((built / "libnvidia-ml.so.1").read_bytes())
    monkeypatch.setattr(library, "_load", lambda: ctypes.CDLL(str(own)))
    forget_nvml()
    yield fake
    forget_nvml()
    fake.close()


@pytest.fixture
def no_nvml(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    def refuse() -> None:
        raise library.NoNvml("libnvidia-ml.so.1 cannot be loaded: no such file")

    monkeypatch.setattr(library, "_load", refuse)
    forget_nvml()
    yield
    forget_nvml()


def threads() -> set[threading.Thread]:
    return set(threading.enumerate())


def test_it_says_what_the_agent_says(nvml: FakeNvml) -> None:
    sink, others = Sink(), Others()
    before, open_before = threads(), psutil.Process().num_fds()
    stream = LocalStreams(others, 0.1).stream(HERE, StreamRequest(), sink)
    sink.until(lambda: len(sink.all("t")) > 4 and sink.all("s"))
    assert psutil.Process().children() == []
    stream.close()
    sink.until(lambda: sink.replies)
    hello, tick, slow = sink.all("hello")[0], sink.all("t")[-1], sink.all("s")[0]
    assert others.asked == []
    assert (hello["backend"], hello["pid"], len(hello["gpus"])) == ("nvml", os.getpid(), 2)
    assert [len(row) for row in tick["g"]] == [len(GPU_FAST)] * 2
    assert len(tick["h"]) == len(HOST_FAST)
    assert tick["g"][0][GPU_FAST.index("temperature_c")] is not None
    assert tick["ms"] < 100
    assert len(slow["g"]) == 2
    assert "agent_cpu_pct" in hello["unsupported"]
    numbers = [message["n"] for message in sink.all("t")]
    assert numbers == list(range(1, len(numbers) + 1))
    assert sink.messages[-1]["k"] == "bye"
    assert len(sink.replies) == 1
    stream.close()
    until(lambda: threads() <= before)  # one of a test before this may have ended meanwhile
    assert psutil.Process().num_fds() <= open_before + 1  # the fake's own control file stays


def test_a_lost_gpu_is_an_event(nvml: FakeNvml) -> None:
    sink = Sink()
    stream = LocalStreams(Others(), 0.1).stream(HERE, StreamRequest(), sink)
    sink.until(lambda: sink.all("t"))
    nvml.gpu(1, code=GPU_IS_LOST)
    event = sink.until(lambda: sink.all("e"))[0]
    assert (event["what"], event["gpu"]) == ("lost", "1")
    count = len(sink.all("t"))
    sink.until(lambda: len(sink.all("t")) > count + 1)
    assert sink.all("t")[-1]["g"][1] is None
    assert sink.all("t")[-1]["g"][0] is not None
    stream.close()
    sink.until(lambda: sink.replies)


def test_a_hung_gpu_does_not_hang_the_end(nvml: FakeNvml) -> None:
    sink = Sink()
    stream = LocalStreams(Others(), 0.1).stream(HERE, StreamRequest(), sink)
    sink.until(lambda: sink.all("t"))
    nvml.gpu(0, hang=1)
    time.sleep(0.5)
    begin = time.monotonic()
    stream.close()
    sink.until(lambda: sink.replies)
    assert time.monotonic() - begin < 2
    nvml.gpu(0, hang=0)


def test_without_nvml_the_transports_are_asked(no_nvml: None) -> None:
    sink, others = Sink(), Others()
    before = threads()
    LocalStreams(others).stream(HERE, StreamRequest(), sink)
    assert others.asked == ["localhost"]
    assert len(sink.replies) == 1
    assert sink.messages == []
    until(lambda: threads() <= before)  # one of a test before this may have ended meanwhile


def test_other_nodes_are_the_transports(nvml: FakeNvml) -> None:
    others = Others()
    LocalStreams(others).stream(Node(name="gpu001"), StreamRequest(), Sink())
    assert others.asked == ["gpu001"]


def test_a_watcher_takes_it_for_any_stream(nvml: FakeNvml) -> None:
    store = Store()
    streams = LocalStreams(Others(), 0.1)
    with Watcher([HERE], streams, store, launch_script, interval_s=0.1):
        until(lambda: store.nodes["localhost"].state == LIVE and store.nodes["localhost"].seq > 3)
        assert store.nodes["localhost"].backend == "nvml"
        assert store.nodes["localhost"].missed == 0


def test_the_host_fields_are_what_psutil_says() -> None:
    host = PsutilHost()
    time.sleep(0.2)
    end = time.monotonic() + 0.3
    while time.monotonic() < end:
        sum(range(1000))
    row = dict(zip(HOST_FAST, host.sample(time.monotonic()), strict=True))
    assert row["cpu_util_pct"] is not None
    assert 0 < row["cpu_util_pct"] <= 100
    memory = psutil.virtual_memory()
    assert row["memory_used_pct"] == pytest.approx(100 * (1 - memory.available / memory.total), abs=5)
    assert row["load1"] is not None
    missing = {name for name, value in row.items() if value is None}
    assert missing == set(host.unsupported) - {"agent_cpu_pct"}
    assert host.facts()["cpus"] == psutil.cpu_count()


def until(wanted: Callable[[], Any], within_s: float = 5.0) -> None:
    end = time.monotonic() + within_s
    while not wanted():
        assert time.monotonic() < end
        time.sleep(0.02)
