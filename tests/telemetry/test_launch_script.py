"""The launch script itself: its size, what is in it, which python3 it takes, and the agent that comes out of it."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st
from launch_kit import SHELLS, BareNode, recorded

from nodectl.telemetry import agent, boot, launch
from nodectl.telemetry.launch import BACKENDS, MAX_BYTES, LaunchOptions, launch_script
from nodectl.telemetry.slim import slim

SHELL_FILES = Path(launch.__file__).with_name("shell")


@pytest.fixture(params=SHELLS)
def node(request: pytest.FixtureRequest, tmp_path: Path) -> BareNode:
    return BareNode(request.param, tmp_path)


def add_python(node: BareNode, name: str = "python3", text: str = "") -> None:
    """Puts this Python, or a script with that text, on the node's PATH, or where a path says."""
    place = node.root / name[1:] if name.startswith("/") else node.bin / name
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(text or f'#!/bin/sh\nexec {os.path.realpath(sys.executable)} "$@"\n')
    place.chmod(0o755)


@pytest.mark.parametrize("backend", BACKENDS)
def test_it_is_small_and_the_same_each_time(backend: str) -> None:
    script = launch_script(1.0, LaunchOptions(backend=backend))
    assert len(script) <= MAX_BYTES
    assert script == launch_script(1, LaunchOptions(backend=backend))
    assert script.startswith(b"# nodectl-agent/1 interval=1 ")
    # One string of the environment holds at most 128 KiB.
    assert max(len(line) for line in script.split(b"'")) < 120 * 1024


def test_nothing_of_the_user_is_in_it() -> None:
    script = launch_script(1.0) + launch._program({}).encode()
    for word in (Path.home(), Path(launch.__file__).parents[2], os.uname().nodename, psutil.Process().username()):
        if len(str(word)) > 4:
            assert str(word).encode() not in script


def test_an_interval_out_of_bounds_is_moved_and_an_unknown_backend_refused() -> None:
    assert launch_script(0.0001) == launch_script(0.1)
    assert launch_script(1e9) == launch_script(60)
    with pytest.raises(ValueError, match="backend 'cuda'"):
        launch_script(1, LaunchOptions(backend="cuda"))


@pytest.mark.parametrize("backend", ["nvml", "auto"])
def test_the_agent_runs_from_memory(node: BareNode, backend: str, tmp_path: Path) -> None:
    add_python(node)
    before = set(tmp_path.rglob("*"))
    with node.start(node.script(0.1, backend), cwd=tmp_path) as channel:
        hello = channel.until("hello")
        channel.until("t")
        process = psutil.Process(channel.process.pid)
        command, nice = " ".join(process.cmdline()), process.nice()
        opened = [file.path for file in process.open_files()]
        children = process.children()
        channel.close()
        assert channel.rest()[-1]["k"] == "bye"
        assert channel.process.wait(5) == 0
    assert hello["pid"] == channel.process.pid  # nothing is between
    assert children == []
    assert nice >= 10
    assert len(command) < 250
    assert "-I -S -B" in command
    assert not [path for path in opened if not path.startswith(("/proc", "/sys", "/dev"))]
    assert set(tmp_path.rglob("*")) == before


def test_modules_in_the_working_folder_are_not_taken(tmp_path: Path) -> None:
    node = BareNode("dash", tmp_path / "node")
    add_python(node)
    for name in ("json", "ctypes", "pynvml", "zlib", "select"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('taken from the working folder')\n")
    env = {**node.env, "PYTHONPATH": str(tmp_path), "PYTHONSTARTUP": str(tmp_path / "json.py")}
    done = subprocess.run(
        [str(node.bin / "sh")], input=node.script(), env=env, cwd=tmp_path, capture_output=True, timeout=20
    )
    assert b'"why":"stdin closed"' in done.stdout


def test_a_python_elsewhere_is_found(node: BareNode) -> None:
    add_python(node, "/usr/libexec/platform-python")
    with node.start(node.script()) as channel:
        assert channel.until("hello")["python"]


def test_the_next_python_is_taken_when_the_first_is_of_no_use(node: BareNode) -> None:
    add_python(node, "python3", "#!/bin/sh\nexit 1\n")
    add_python(node, "/usr/bin/python3.12")
    with node.start(node.script()) as channel:
        assert channel.until("hello")["python"]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("#!/bin/sh\necho 'Python 3.5 is older than 3.6' >&2\nexit 1\n", "python3: Python 3.5 is older than 3.6"),
        ('#!/bin/sh\necho "Traceback" >&2; echo "No module \\"_ctypes\\"" >&2\nexit 1\n', 'No module "_ctypes"'),
        ("#!/nonexistent/python\n", "python3: "),
        ("", "there is no python3"),
    ],
)
def test_why_no_python_was_taken_is_said(node: BareNode, text: str, why: str) -> None:
    if text:
        add_python(node, "python3", text)
    with node.start(node.script()) as channel:
        hello = channel.until("hello")
    assert hello["backend"] == "none"
    assert why in hello["why"]
    assert "nvidia-smi is not on this node" in hello["why"]


def test_python_is_tried_really_by_version() -> None:
    old = shutil.which("python2.7") or shutil.which("python2")
    if old is None or subprocess.run([old, "-V"], capture_output=True).returncode:
        pytest.skip("no Python 2 on this machine")
    text = (SHELL_FILES / "launch.sh").read_text()
    check = text[text.index("\nimport sys\n") : text.index("import binascii")]
    done = subprocess.run([old, "-c", check], capture_output=True, text=True)
    assert done.returncode == 1
    assert "is older than 3.6" in done.stderr


def test_with_python_on_an_nvidia_node_the_agent_runs_and_not_nvidia_smi(tmp_path: Path, shared: Path) -> None:
    node = BareNode("dash", tmp_path)
    add_python(node)
    smi = node.smi(**recorded(shared / "recordings/h200x8/nvidia-smi-query-all.txt"))
    with node.start(node.script()) as channel:
        assert channel.until("hello")["python"]
    assert smi.calls == []


def test_the_shell_files_are_clean() -> None:
    found = shutil.which("shellcheck")
    if found is None:
        pytest.skip("shellcheck is not installed")
    files = [str(path) for path in SHELL_FILES.glob("*.sh")]
    done = subprocess.run([found, "-s", "sh", *files], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_nothing_is_written_by_the_shell() -> None:
    """No here-document (bash puts them in /tmp) and no redirection into a file."""
    for path in SHELL_FILES.glob("*.sh"):
        for line in path.read_text().splitlines():
            code = line.split("#")[0] if line.lstrip().startswith("#") else line
            assert "<<" not in code, line
            for word in code.split():
                if word.startswith((">", "2>")) and not word.startswith((">/dev/null", ">&", "2>&1", "2>/dev/null")):
                    raise AssertionError(line)


@pytest.mark.parametrize("name", ["boot", *(name for name, _ in agent.sources()), "pynvml"])
def test_slim_sources_are_the_same_programs(name: str) -> None:
    sources = {**dict(agent.sources()), "boot": Path(boot.__file__).read_text(), "pynvml": launch._pynvml()}
    assert same_program(sources[name])


def test_the_licence_of_pynvml_travels_along() -> None:
    assert "Redistribution and use in source and binary forms" in slim(launch._pynvml())


PIECES = st.sampled_from(
    [
        '"""doc"""\n',
        "'''two\nlines # no comment\n'''\n",
        'x = "# no comment"  # comment\n',
        "# comment é\n",
        'def f():\n    """doc é"""\n',
        'def g(a):  # comment\n    "doc"\n    return a\n',
        'class C:\n    """doc\n\n    more"""; y = 1\n',
        "z = '''é''' + \"\"\"é # no\n\"\"\"  # yes\n",
        "\n",
    ]
)


@given(st.lists(PIECES, max_size=8))
def test_slim_of_any_source_is_the_same_program(pieces: list[str]) -> None:
    assert same_program("".join(pieces))


def same_program(source: str) -> bool:
    """Whether `slim` gives the same syntax tree but for docstrings, on the same lines, and no more comments."""
    result = slim(source)
    assert len(result.splitlines()) == len(source.splitlines())
    return bare(result) == bare(source)


def bare(source: str) -> str:
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node) is not None:
            node.body[0].value.value = ""  # type: ignore[attr-defined]
    # Where statements begin; where an expression ends on its line may differ.
    lines = [node.lineno for node in ast.walk(tree) if isinstance(node, ast.stmt)]
    return ast.dump(tree) + repr(lines)


def test_boot_is_plain_python_3_6() -> None:
    for name in ("boot", *(name for name, _ in agent.sources())):
        source = dict(agent.sources()).get(name) or Path(boot.__file__).read_text()
        ast.parse(source, feature_version=(3, 6))


@pytest.mark.parametrize("version", ["3.6", "3.7", "3.8", "3.9", "3.10", "3.12", "3.13"])
def test_the_agent_starts_under_each_python(version: str, tmp_path: Path) -> None:
    places = [
        shutil.which(f"python{version}"),
        *sorted(Path("~/.pyenv/versions").expanduser().glob(f"{version}.*/bin/python3")),
    ]
    found = next((str(place) for place in places if place and works(str(place), version)), None)
    if found is None:
        pytest.skip(f"no Python {version} on this machine")
    node = BareNode("dash", tmp_path)
    add_python(node, "python3", f'#!/bin/sh\nexec {found} "$@"\n')
    with node.start(node.script(0.1)) as channel:
        assert channel.until("hello")["python"].startswith(version)
        channel.until("t")
        channel.close()
        assert channel.rest()[-1]["why"] == "stdin closed"


def works(python: str, version: str) -> bool:
    done = subprocess.run([python, "-IS", "-V"], capture_output=True, text=True)
    return f"Python {version}." in done.stdout
