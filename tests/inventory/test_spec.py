"""`--hosts` text: node sets, user@host:port, localhost, Slurm, and what is taken for a file."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodectl.inventory import InventoryError, load_hosts
from nodectl.inventory import slurm as slurm_module
from nodectl.inventory.target import host_problem, parse_jumps, parse_target, user_problem
from nodectl.model import Node


def refused(spec: str) -> tuple[str, ...]:
    with pytest.raises(InventoryError) as caught:
        load_hosts(spec)
    return caught.value.problems


def brief(nodes: list[Node]) -> list[tuple[str, str, str | None, int | None, str]]:
    return [(node.name, node.address, node.user, node.port, node.transport) for node in nodes]


@pytest.mark.parametrize(
    ("spec", "nodes"),
    [
        ("b,g[1-2]", [("b", "", None, None, "ssh"), ("g1", "", None, None, "ssh"), ("g2", "", None, None, "ssh")]),
        ("localhost", [("localhost", "", None, None, "local")]),
        ("localhost:2222", [("localhost", "", None, 2222, "ssh")]),
        ("me@localhost", [("localhost", "", "me", None, "ssh")]),
        ("admin@gpu[1-2]:2222", [("gpu1", "", "admin", 2222, "ssh"), ("gpu2", "", "admin", 2222, "ssh")]),
        ("user@realm@host", [("host", "", "user@realm", None, "ssh")]),
        ("ssh://root@gpu1:23/", [("gpu1", "", "root", 23, "ssh")]),
        ("[2001:db8::1]:2222", [("2001:db8::1", "", None, 2222, "ssh")]),
        ("root@[2001:db8::1]", [("2001:db8::1", "", "root", None, "ssh")]),
        ("2001:db8::1,fe80::1%eth0", [("2001:db8::1", "", None, None, "ssh"), ("fe80::1%eth0", "", None, None, "ssh")]),
        ("10.0.0.[1-2]", [("10.0.0.1", "", None, None, "ssh"), ("10.0.0.2", "", None, None, "ssh")]),
        ("gpu1,gpu1,gpu[1-1]", [("gpu1", "", None, None, "ssh")]),
        ("h:1,h:2,g", [("h:1", "h", None, 1, "ssh"), ("h:2", "h", None, 2, "ssh"), ("g", "", None, None, "ssh")]),
        ("a@::1,[::1]:2", [("a@::1", "::1", "a", None, "ssh"), ("[::1]:2", "::1", None, 2, "ssh")]),
        ("g[0-2/2]", [("g0", "", None, None, "ssh"), ("g2", "", None, None, "ssh")]),
    ],
)  # fmt: skip
def test_names(spec: str, nodes: list[tuple[str, str, str | None, int | None, str]]) -> None:
    assert brief(load_hosts(spec)) == nodes


NO_NAME = 'is no host name: letters, digits, "-", "_" and "." can stand in one'


@pytest.mark.parametrize(
    ("spec", "problems"),
    [
        ("", ["--hosts: expected a file or host names, found nothing"]),
        (",", ['--hosts: no hosts in ","']),
        ("a,gpu[1-", ["--hosts: a,gpu[1-: a bracket is not closed; a node set is like gpu[001-128],login"]),
        ("-oProxyCommand=x", [f'--hosts: "-oProxyCommand=x" {NO_NAME}']),
        ("a;b,c d", [f'--hosts: "a;b" {NO_NAME}', "--hosts: c d: a space in a host name; part names with commas"]),
        ("host:x", ['--hosts: "host:x": expected a port from 1 to 65535, found "x"']),
        ("host:99999", ['--hosts: "host:99999": expected a port from 1 to 65535, found "99999"']),
        ("host:", ['--hosts: "host:": the port is missing after the colon']),
        ("[::1]:", ['--hosts: "[::1]:": the port is missing after the colon']),
        ("root@", ['--hosts: "root@": the host is missing']),
        ("@gpu", ["--hosts: @gpu: only @slurm:PARTITION begins with @ (a group is chosen with --node @GROUP)"]),
        ("r$x@gpu", ['--hosts: "r$x@gpu": "r$x" is no user name']),
        ("1:2:3", ['--hosts: "1:2:3" is no IPv6 address; with a port it is written [address]:port']),
        ("gpu\x1b[31m", ["--hosts: gpu\\x1b[31m: a bracket is not closed; a node set is like gpu[001-128],login"]),
        ("a" * 300, ["--hosts: a host name has at most 253 characters, not 300"]),
        ("inv.yaml", ["inv.yaml: no such file (host names are given like gpu[001-128],login)"]),
        ("INV.YML", ["INV.YML: no such file (host names are given like gpu[001-128],login)"]),
        ("./hosts", ["./hosts: no such file (host names are given like gpu[001-128],login)"]),
        ("~/no such/hosts", ["~/no such/hosts: no such file (host names are given like gpu[001-128],login)"]),
        ("/etc/", ["/etc/: is a directory; name the inventory file in it"]),
        ("gpu[1-60000],cpu[1-60000]", ["--hosts: more than 100000 hosts"]),
    ],
)  # fmt: skip
def test_wrong_names(spec: str, problems: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert list(refused(spec)) == problems


def test_a_file_that_is_there_is_read_whatever_it_is_called(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cluster").write_text("hosts: n1\n")
    (tmp_path / "list").write_text("n1\nn2\n")
    (tmp_path / "login").mkdir()
    assert [node.name for node in load_hosts("cluster")] == ["n1"]
    assert [node.name for node in load_hosts("list")] == ["n1", "n2"]
    assert [node.name for node in load_hosts("login")] == ["login"]  # a folder of that name is no inventory


def test_an_inventory_through_a_pipe(tmp_path: Path) -> None:
    code = "from nodectl.inventory import load_hosts; print([node.name for node in load_hosts('/dev/stdin')])"
    done = subprocess.run(
        [sys.executable, "-c", code], input="hosts: [a, b]\n", capture_output=True, text=True, check=True
    )
    assert done.stdout == "['a', 'b']\n"


def test_a_wrong_ssh_config_is_told_before_anything_runs(tmp_path: Path) -> None:
    with pytest.raises(InventoryError, match="cannot read this ssh config"):
        load_hosts("gpu1", ssh_config=tmp_path / "none")
    (tmp_path / "config").write_text("Host x\nPort\n")
    with pytest.raises(InventoryError, match="config:2: expected a keyword and its value"):
        load_hosts("gpu1", ssh_config=tmp_path / "config")


@pytest.fixture
def sinfo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A stand-in for Slurm's command that knows the partitions gpu and empty."""
    program = tmp_path / "sinfo"
    program.write_text(
        "#!/bin/sh\n"
        'case "$*" in\n'
        "'-h -p gpu -o %N') echo 'gpu[001-003],login1';;\n"
        "'-h -o %N') echo 'gpu[001-003]'; echo cpu1;;\n"
        "'-h -o %R') printf 'gpu\\nempty\\n';;\n"
        "'-h -p broken -o %N') echo 'Unable to contact slurm' >&2; exit 1;;\n"
        "'-h -p slow -o %N') exec sleep 5;;\n"
        "'-h -p odd -o %N') echo 'gpu;1';;\n"
        "esac\n"
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    return program


def test_slurm_partitions(sinfo: Path) -> None:
    nodes = load_hosts("@slurm:gpu,extra")
    assert [node.name for node in nodes] == ["gpu001", "gpu002", "gpu003", "login1", "extra"]
    assert nodes[0].origin == "--hosts @slurm:gpu"
    assert [node.name for node in load_hosts("@slurm")] == ["gpu001", "gpu002", "gpu003", "cpu1"]


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("@slurm:gpus", '--hosts: @slurm:gpus: Slurm knows no node of it; did you mean "gpu"?'),
        ("@slurm:x", "--hosts: @slurm:x: Slurm knows no node of it; partitions here: gpu, empty"),
        (
            "@slurm:broken",
            '--hosts: @slurm:broken: `sinfo -h -p broken -o %N` failed with exit status 1: "Unable to contact slurm"',
        ),
        ("@slurm:slow", "--hosts: @slurm:slow: sinfo gave no answer in 0 s: is slurmctld up?"),
        ("@slurm:odd", f'--hosts: "gpu;1" {NO_NAME}'),
        ("@slurm:-x", '--hosts: @slurm:-x: "-x" is no partition name'),
    ],
)
def test_slurm_that_does_not_answer(sinfo: Path, spec: str, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slurm_module, "SINFO_TIMEOUT_S", 0.3)
    assert refused(spec) == (said,)


def test_no_slurm_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    (said,) = refused("@slurm:gpu")
    assert said == (
        "--hosts: @slurm:gpu: sinfo is not on this machine's PATH: run nodectl where Slurm's commands are, or name the "
        "nodes: --hosts 'gpu[001-128]'"
    )


def test_jump_values() -> None:
    assert [tuple(hop) for hop in parse_jumps("a,ssh://u@b:22,[::1]:2")] == [
        (None, "a", None),
        ("u", "b", 22),
        (None, "::1", 2),
    ]
    assert parse_jumps("none") == parse_jumps("") == ()
    with pytest.raises(InventoryError, match="more than 8 jump hosts"):
        parse_jumps(",".join("abcdefghi"))


@given(st.text(st.sampled_from("ab1@:[]%/-,.;$ \x1b")))
def test_any_text_gives_sound_nodes_or_an_inventory_error(text: str) -> None:
    if "/" in text:
        text = text.replace("/", "")  # else it names a file
    try:
        nodes = load_hosts(text)
    except InventoryError as error:
        assert all(problem.startswith("--hosts: ") and problem.isprintable() for problem in error.problems)
    else:
        for node in nodes:
            assert host_problem(node.address or node.name) == ""
            assert node.user is None or user_problem(node.user) == ""


@given(
    st.none() | st.sampled_from(["root", "a.b", "u@realm"]),
    st.sampled_from(["gpu1", "10.0.0.1", "2001:db8::1", "::1"]),
    st.none() | st.integers(1, 65535),
)
def test_a_target_that_is_written_out_is_read_back(user: str | None, host: str, port: int | None) -> None:
    shown = f"[{host}]" if ":" in host else host
    text = (f"{user}@" if user else "") + shown + (f":{port}" if port else "")
    assert parse_target(text) == (user, host, port)


def test_importing_the_package_is_light() -> None:
    heavy = ["paramiko", "ClusterShell", "yaml", "subprocess", "textual", "jinja2"]
    code = f"import sys, nodectl.inventory; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
    code = (
        "import sys; from nodectl.inventory.sshconfig import SshConfig; from nodectl.inventory import load_hosts;"
        "from nodectl.model import Node; SshConfig().resolve(load_hosts('a,b')[0]);"
        "print([name for name in ('paramiko', 'ClusterShell', 'yaml') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
