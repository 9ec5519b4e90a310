"""The end of a run: at any moment, within a second, with nothing left behind (see also the fixture of this folder)."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest
from fake_servers import black_hole, says, serving, silent
from sshd import SshFleet
from transport_kit import Opener, run

from nodectl.model import Node, Unreachable
from nodectl.transport import Request

ROOT = Path(__file__).resolve().parents[2]


def code_of(future_result: object) -> str:
    _, reply = future_result  # type: ignore[misc]
    return reply.reason.code if reply.reason else "ok"


def test_close_ends_every_step_within_a_second(fleet: SshFleet, opened: Opener) -> None:
    transports = opened(fanout=32)
    with black_hole() as hole, serving(silent) as mute, serving(says(b"SSH-2.0-Tarpit\r\n")) as tarpit:
        nodes = [Node(name=f"dead{port}", address="127.0.0.1", port=port) for port in (hole, mute.port, tarpit.port)]
        nodes += [fleet.node("gpu001"), fleet.node("gpu002"), Node(name="here", transport="local")]
        nodes.append(fleet.node("gpu001", transport="openssh"))
        with ThreadPoolExecutor(len(nodes)) as pool:
            running = [pool.submit(run, transports, node, "sleep 30\n") for node in nodes]
            time.sleep(1.0)
            begun = time.monotonic()
            transports.close()
            closed_in_s = time.monotonic() - begun
            codes = [code_of(future.result(timeout=2)) for future in running]
    assert closed_in_s < 1.0
    assert codes == [Unreachable.CANCELLED.value] * len(nodes)


def test_a_run_after_close_ends_at_once(fleet: SshFleet, opened: Opener) -> None:
    transports = opened()
    transports.close()
    transports.close()
    for node in (fleet.node("gpu001"), Node(name="here", transport="local"), fleet.node("gpu001", transport="openssh")):
        begun = time.monotonic()
        assert code_of(run(transports, node, "sleep 5\n")) == Unreachable.CANCELLED.value
        assert time.monotonic() - begun < 0.5


@pytest.mark.parametrize("transport", ["ssh", "openssh", "local"])
def test_stop_ends_one_run_and_not_the_others(fleet: SshFleet, opened: Opener, transport: str) -> None:
    transports = opened()
    stop = threading.Event()
    node = fleet.node("gpu001", transport=transport)
    with ThreadPoolExecutor(2) as pool:
        stopped = pool.submit(run, transports, node, "sleep 30\n", stop=stop)
        other = pool.submit(run, transports, node, "sleep 1.5; echo in\n")
        time.sleep(0.7)
        stop.set()
        begun = time.monotonic()
        assert code_of(stopped.result(timeout=2)) == Unreachable.CANCELLED.value
        assert time.monotonic() - begun < 1.0
        assert code_of(other.result(timeout=5)) == "ok"


def test_stop_while_waiting_for_a_turn(opened: Opener) -> None:
    """The ninth handshake with one server waits at the gate."""
    transports = opened()
    stop = threading.Event()
    with serving(silent) as server:
        node = Node(name="one", address="127.0.0.1", port=server.port)
        with ThreadPoolExecutor(12) as pool:
            running = [pool.submit(run, transports, node, stop=stop) for _ in range(12)]
            time.sleep(0.6)
            assert server.connections == 8
            stop.set()
            codes = {code_of(future.result(timeout=2)) for future in running}
    assert codes == {Unreachable.CANCELLED.value}


def test_the_gate_lets_the_next_in_when_one_has_failed(opened: Opener) -> None:
    transports = opened()
    with serving(silent) as server:
        node = Node(name="one", address="127.0.0.1", port=server.port)
        with ThreadPoolExecutor(12) as pool:
            running = [pool.submit(run, transports, node, connect_timeout_s=0.5) for _ in range(12)]
            codes = [code_of(future.result(timeout=5)) for future in running]
        assert server.connections == 12
    assert codes == ["timeout"] * 12


INTERRUPTED = """
import signal, sys, threading
sys.path[:0] = [{root!r}, {tests!r}, {here!r}]
from nodectl.model import Node
from nodectl.transport import Request, open_transports
from transport_kit import Text, settings_of
files = dict(identity_files=({key!r},), known_hosts=({known!r},))
node = Node(name="n", address={address!r}, port={port}, user={user!r}, **files)
nodes = [node, Node(name="here", transport="local")]
transports = open_transports(nodes, resolve=settings_of)
threads = [threading.Thread(target=transports.run, args=(n, Request(stdin=b"sleep 73\\n"), Text())) for n in nodes]
for thread in threads:
    thread.start()
print("ready", flush=True)
try:
    for thread in threads:
        thread.join()
except KeyboardInterrupt:
    transports.close()
    for thread in threads:
        thread.join()
    left = [t.name for t in threading.enumerate() if t is not threading.main_thread()]
    print("left", left, flush=True)
    sys.exit(130)
"""


def test_ctrl_c_in_a_real_process(fleet: SshFleet) -> None:
    server = fleet["gpu001"]
    program = INTERRUPTED.format(
        root=str(ROOT), tests=str(ROOT / "tests"), here=str(Path(__file__).parent), address=server.address,
        port=server.port, user=fleet.user, key=str(fleet.identity), known=str(fleet.known_hosts),
    )  # fmt: skip
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    time.sleep(1.0)
    children = psutil.Process(process.pid).children(recursive=True)
    assert children
    begun = time.monotonic()
    os.kill(process.pid, signal.SIGINT)
    output, _ = process.communicate(timeout=5)
    assert time.monotonic() - begun < 1.5
    assert (process.returncode, output) == (130, "left []\n")
    assert not [child for child in children if child.is_running() and child.status() != psutil.STATUS_ZOMBIE]


def test_close_from_within_a_signal_handler(fleet: SshFleet, opened: Opener) -> None:
    """The handler runs in the thread that it interrupts, which may hold any lock."""
    transports = opened()
    before = signal.signal(signal.SIGALRM, lambda *_: transports.close())
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.5)
        result = run(transports, fleet.node("gpu001"), "sleep 30\n")
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert code_of(result) == Unreachable.CANCELLED.value


def test_nothing_of_ssh_is_loaded_for_local_nodes() -> None:
    program = (
        "import sys, nodectl.transport as t\n"
        "assert 'paramiko' not in sys.modules\n"
        "t.open_transports([], resolve=None).close()\n"
        "from nodectl.model import Node\n"
        "with t.open_transports([Node(name='x', transport='local')], resolve=None) as all:\n"
        "    class Sink:\n"
        "        def feed(self, data): return False\n"
        "        def due_in_s(self): return None\n"
        "    assert all.run(Node(name='x', transport='local'), t.Request(stdin=b'true\\n'), Sink()).reason is None\n"
        "assert 'paramiko' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, cwd=ROOT)


def test_unknown_policy_is_refused(opened: Opener) -> None:
    with pytest.raises(ValueError, match=r'"accept-new"'):
        opened(host_key_policy="accept_new")


def test_paramiko_says_nothing(fleet: SshFleet) -> None:
    """Not even with logging turned up in the application."""
    program = (
        f"import sys, logging; sys.path[:0] = [{str(ROOT)!r}, {str(Path(__file__).parent)!r}]\n"
        "logging.basicConfig(level=logging.DEBUG)\n"
        "from transport_kit import run, settings_of\n"
        "from nodectl.model import Node\n"
        "from nodectl.transport import open_transports\n"
        "with open_transports(resolve=settings_of) as t:\n"
        f"    print(run(t, Node(name='x', address={fleet['gpu001'].address!r}, port=2222))[1].reason.code)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("host_key_unknown\n", "")


def test_request_defaults() -> None:
    assert (Request().command, Request().deadline_s, Request().connect_timeout_s) == ("exec sh", 30.0, 15.0)
