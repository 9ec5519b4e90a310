"""The others: how each of them is told to do the same thing, and how many hosts it reached."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
from hosts import Hosts

HERE = Path(__file__).resolve().parent
END_VARIABLE = "NODECTL_BENCH_END"
"""Environment variable with what a whole reply has at its end."""
# OpenSSH 9's own first choice of key exchange costs 60 ms of CPU a connection; with this one all do the same work.
KEX = "curve25519-sha256"


class Job(msgspec.Struct):
    """One run of one peer: what to start, with what on stdin, and how to count the good hosts from what it printed."""

    argv: list[str]
    stdin: Path | None
    env: dict[str, str]
    good: Callable[[str], int]


Peer = Callable[[Hosts, Path, Path, int, Path], Job | None]
"""(hosts, host file, script, fan-out, folder for output) -> what to run; None if it is not installed."""


def ssh_options(hosts: Hosts) -> list[str]:
    options = {
        "IdentitiesOnly": "yes",
        "UserKnownHostsFile": str(hosts.known_hosts),
        "StrictHostKeyChecking": "yes",
        "BatchMode": "yes",
        "LogLevel": "ERROR",
        "ConnectTimeout": "60",
        "KexAlgorithms": KEX,
    }
    words = ["-F", "none", "-p", str(hosts.port), "-l", hosts.user, "-i", str(hosts.key)]
    return words + [word for name, value in options.items() for word in ("-o", f"{name}={value}")]


def nodectl(hosts: Hosts, host_file: Path, script: Path, fanout: int, out: Path) -> Job | None:
    files = [
        hosts.user,
        str(hosts.key),
        str(hosts.known_hosts),
        str(hosts.port),
        str(fanout),
        str(script),
        str(host_file),
    ]
    return Job([sys.executable, str(HERE / "client.py"), *files], None, {}, lambda text: int(text or 0))


def ssh(hosts: Hosts, host_file: Path, script: Path, fanout: int, out: Path) -> Job | None:
    if shutil.which("ssh") is None or shutil.which("xargs") is None:
        return None
    command = shlex.join(["ssh", *ssh_options(hosts)])
    one = f'exec {command} "$1" "exec sh" < {shlex.quote(str(script))} > {shlex.quote(str(out))}/"$1"'
    argv = ["xargs", "-a", str(host_file), f"-P{fanout}", "-n1", "sh", "-c", one, "_"]
    return Job(argv, None, {}, lambda _: _files_with_end(out))


def clush(hosts: Hosts, host_file: Path, script: Path, fanout: int, out: Path) -> Job | None:
    program = shutil.which("clush")
    if program is None:
        return None
    argv = [program, "-q", "-f", str(fanout), "--hostfile", str(host_file), "-l", hosts.user, "-u", "600", "-t", "60"]
    return Job([*argv, "-o", shlex.join(ssh_options(hosts)), "exec sh"], script, {}, lambda text: _ends(text))


def pssh(hosts: Hosts, host_file: Path, script: Path, fanout: int, out: Path) -> Job | None:
    program = shutil.which("parallel-ssh") or shutil.which("pssh")
    if program is None:
        return None
    argv = [program, "-h", str(host_file), "-p", str(fanout), "-t", "600", "-x", shlex.join(ssh_options(hosts))]
    return Job([*argv, "-o", str(out), "-I", "exec sh"], script, {}, lambda _: _files_with_end(out))


def ansible(hosts: Hosts, host_file: Path, script: Path, fanout: int, out: Path) -> Job | None:
    program = shutil.which("ansible")
    if program is None:
        return None
    # raw has no stdin: the script goes as the argument of sh -c.
    (out / "ansible.cfg").write_text("[defaults]\nhost_key_checking = True\n")
    env = {
        "ANSIBLE_CONFIG": str(out / "ansible.cfg"),
        "ANSIBLE_SSH_ARGS": shlex.join(ssh_options(hosts)),
        "ANSIBLE_HOME": str(out),
        "LC_ALL": "C.UTF-8",
    }
    argv = [program, "all", "-i", str(host_file), "-f", str(fanout), "-m", "raw", "-a", script.read_text()]
    return Job(argv, None, env, lambda text: _ends(text))


def collect(hosts: Hosts, host_file: Path, script: Path, fanout: int, out: Path) -> Job | None:
    """The whole program: `nodectl collect` with the probe that its default profile needs, transcripts written."""
    inventory = out.with_name(out.name + ".yaml")
    listed = "\n".join(f"  - {address}" for address in host_file.read_text().split())
    defaults = {
        "user": hosts.user,
        "port": hosts.port,
        "identity_file": str(hosts.key),
        "known_hosts": str(hosts.known_hosts),
    }
    lines = [f"  {key}: {value}\n" for key, value in defaults.items()]
    inventory.write_text(f"defaults:\n{''.join(lines)}hosts:\n{listed}\n")
    argv = [sys.executable, "-m", "nodectl", "collect", "--hosts", str(inventory), "--fanout", str(fanout)]
    argv += ["--deadline", "600s", "--connect-timeout", "60s", "-o", str(out)]
    return Job(
        argv, None, {}, lambda _: sum(b'"ending":"complete"' in path.read_bytes() for path in out.rglob("*.ndt"))
    )


PEERS: dict[str, Peer] = {
    "nodectl": nodectl,
    "collect": collect,
    "ssh": ssh,
    "clush": clush,
    "pssh": pssh,
    "ansible": ansible,
}


def _ends(text: str) -> int:
    return text.count(os.environ[END_VARIABLE])


def _files_with_end(folder: Path) -> int:
    return sum(_ends(path.read_text(errors="replace")) > 0 for path in folder.iterdir() if path.is_file())
