"""The agent as a process: how it keeps time, how it ends, what a slow reader gets, what Python it needs."""

from __future__ import annotations

import ast
import fcntl
import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from agent_bench import BOOT, RunningAgent, pynvml_source

from nodectl.telemetry.agent import MODULES, sources
from nodectl.telemetry.agent.names import GPU_FAST, GPU_SLOW, HOST_FAST, HOST_SLOW
from nodectl.telemetry.fields import FAST, GPU_FIELDS, HOST_FIELDS, SLOW

# Names of the standard library that Python 3.6 does not have, of modules that an agent might use.
NEWER = frozenset(
    """
    monotonic_ns time_ns perf_counter_ns process_time_ns thread_time thread_time_ns nullcontext SimpleQueue
    get_native_id excepthook raise_signal pidfd_open pidfd_send_signal removeprefix removesuffix cached_property
    capture_output fromisoformat freeze prod isqrt dataclass Protocol Literal Final TypedDict ParamSpec
    memfd_create copy_file_range preadv waitstatus_to_exitcode singledispatchmethod get_running_loop
    """.split()  # noqa: SIM905
)


def gone(pid: int, within_s: float = 5.0) -> bool:
    """Whether a process is gone (or is only a zombie) soon."""
    until = time.monotonic() + within_s
    while time.monotonic() < until:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except (OSError, IndexError):
            return True
        if state in "ZX":
            return True
        time.sleep(0.05)
    return False


def test_names_are_those_of_fields() -> None:
    assert tuple(field.name for field in GPU_FIELDS if field.beat == FAST) == GPU_FAST
    assert tuple(field.name for field in GPU_FIELDS if field.beat == SLOW) == GPU_SLOW
    assert tuple(field.name for field in HOST_FIELDS if field.beat == FAST) == HOST_FAST
    assert tuple(field.name for field in HOST_FIELDS if field.beat == SLOW) == HOST_SLOW


def test_every_file_is_streamed() -> None:
    folder = Path(__file__).parents[2] / "nodectl/telemetry/agent"
    assert {path.stem for path in folder.glob("*.py")} - {"__init__"} == set(MODULES)


@pytest.mark.parametrize("name", MODULES)
def test_syntax_and_names_of_python_3_6(name: str) -> None:
    tree = ast.parse(dict(sources())[name], feature_version=(3, 6))
    position = MODULES.index(name)
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            assert node.attr not in NEWER, f"{name}:{node.lineno} {node.attr} is newer than Python 3.6"
        if isinstance(node, ast.Import):
            for alias in node.names:
                assert alias.name in sys.stdlib_module_names
        if isinstance(node, ast.ImportFrom):
            module = node.module or ""
            assert module != "__future__", "annotations of the future are not known to 3.6"
            if node.level:
                assert module in MODULES[:position], f"{name} imports {module}, which is run after it"
            else:
                assert module in sys.stdlib_module_names
            assert not {alias.name for alias in node.names} & NEWER
        if isinstance(node, ast.FunctionDef):
            for part in [node.returns, *(one.annotation for one in [*node.args.args, *node.args.kwonlyargs])]:
                evaluated = (
                    [one for one in ast.walk(part) if isinstance(one, ast.BinOp | ast.Subscript)] if part else []
                )
                assert not evaluated, f"{name}:{node.lineno}: an annotation that 3.6 would evaluate: put it into quotes"


def old_python() -> str:
    """A Python 3.6 on this machine."""
    folders = [Path.home() / ".pyenv/versions"]
    found = [path for folder in folders if folder.is_dir() for path in sorted(folder.glob("3.6*/bin/python3"))]
    system = shutil.which("python3.6")
    for path in [*map(str, found), *([system] if system else [])]:
        done = subprocess.run([path, "-c", "import ctypes"], capture_output=True, check=False)
        if done.returncode == 0:
            return path
    pytest.skip("no working Python 3.6 on this machine")


def test_it_runs_on_python_3_6() -> None:
    with RunningAgent({"interval_s": 0.1, "ticks": 3}, python=old_python()) as agent:
        messages = agent.rest()
        assert agent.stderr() == ""
    assert messages[0]["python"].startswith("3.6.")
    assert [message["k"] for message in messages].count("t") == 3
    assert messages[-1]["k"] == "bye"


def test_without_pynvml_the_host_is_still_seen() -> None:
    with RunningAgent({"interval_s": 0.1}, pynvml=False) as agent:
        hello = agent.kind("hello")
        assert hello["backend"] == "none"
        assert "pynvml" in hello["why"]
        tick = agent.kind("t")
        assert dict(zip(HOST_FAST, tick["h"], strict=True))["memory_used_pct"] > 0


def test_ticks_do_not_drift() -> None:
    with RunningAgent({"interval_s": 0.1}) as agent:
        first = agent.kind("t")
        ticks = [agent.kind("t") for _ in range(25)]
    assert [tick["n"] - first["n"] for tick in ticks] == list(range(1, 26))
    errors = [tick["t"] - first["t"] - 0.1 * (tick["n"] - first["n"]) for tick in ticks]
    assert max(map(abs, errors)) < 0.05
    assert abs(sum(errors[-5:]) / 5) < 0.02


def test_stdin_closed() -> None:
    with RunningAgent({}) as agent:
        agent.kind("hello")
        begin = time.monotonic()
        assert agent.end()[-1] == {"k": "bye", "t": pytest.approx(time.time(), abs=5), "why": "stdin closed"}
        assert time.monotonic() - begin < 1.0


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM, signal.SIGINT])
def test_signals(number: signal.Signals) -> None:
    with RunningAgent({"interval_s": 60}) as agent:
        agent.kind("hello")
        agent.process.send_signal(number)
        assert agent.rest()[-1]["why"] == f"signal {int(number)}"


def test_broken_stdout() -> None:
    with RunningAgent({"interval_s": 0.1}) as agent:
        agent.kind("hello")
        assert agent.process.stdout
        agent.process.stdout.close()
        agent.process.stdout = None
        assert agent.process.wait(timeout=5) == 0


@pytest.mark.parametrize("end", ["kill", "exit"])
def test_it_does_not_outlive_its_parent(end: str) -> None:
    """The parent is killed while both ends of stdin and stdout stay open in the test."""
    program = (
        "import subprocess, sys, time\n"
        f"child = subprocess.Popen([sys.executable, '-S', '-c', {BOOT!r}])\n"
        "print(child.pid, file=sys.stderr, flush=True)\n"
        "time.sleep(2 if sys.argv[1] == 'exit' else 60)\n"
    )
    parts = [("pynvml", pynvml_source()), *sources()]
    parent = subprocess.Popen(
        [sys.executable, "-c", program, end], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert parent.stdin and parent.stdout and parent.stderr
    parent.stdin.write(json.dumps({"sources": parts, "options": {"interval_s": 0.2}}).encode() + b"\n")
    parent.stdin.flush()
    pid = int(parent.stderr.readline())
    assert b'"hello"' in parent.stdout.readline()
    assert not gone(pid, 0.5)
    if end == "kill":
        parent.kill()
    parent.wait(timeout=10)
    assert gone(pid)
    for stream in (parent.stdin, parent.stdout, parent.stderr):
        stream.close()


def test_a_slow_reader_loses_ticks_and_is_told() -> None:
    with RunningAgent({"interval_s": 0.1, "processes_every_s": 1000}) as agent:
        hello = agent.kind("hello")
        pid = hello["pid"]
        assert agent.process.stdout
        fd = agent.process.stdout.fileno()
        fcntl.fcntl(fd, 1031, 4096)  # F_SETPIPE_SZ: a page
        time.sleep(6)
        assert not gone(pid, 0.1)
        error = agent.event("error")
        assert "lines dropped" in error["text"]
        assert int(error["text"].split()[0]) > 5
        tick = agent.kind("t")
        assert tick["n"] > 50
        agent.end()


def test_it_is_nice() -> None:
    with RunningAgent({"interval_s": 0.1}) as agent:
        pid = agent.kind("hello")["pid"]
        assert int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[16]) >= 10
