"""The hosts of the benchmark: one accept loop that gives each connection to any loopback address an sshd of its own,
and, if asked, a wire with a delay between them and the client."""

from __future__ import annotations

import contextlib
import getpass
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

HERE = Path(__file__).resolve().parent
KNOWN_HOSTS_LINES = 2000
TICKS_PER_S = os.sysconf("SC_CLK_TCK")


class Hosts(msgspec.Struct):
    """Where the hosts are, and what a client needs.

    Attributes:
        prefix: command words that put a client on the right side of the wire.
    """

    addresses: list[str]
    port: int
    user: str
    key: Path
    known_hosts: Path
    server: subprocess.Popen[str]
    prefix: list[str]

    def server_cpu_s(self) -> float:
        """CPU seconds of all servers that have ended, and what they ran."""
        fields = Path(f"/proc/{self.server.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[13]) + int(fields[14])) / TICKS_PER_S


@contextlib.contextmanager
def hosts(count: int, folder: Path, rtt_ms: float) -> Iterator[Hosts]:
    """`count` hosts on loopback, or behind a wire of `rtt_ms` (needs root and /dev/net/tun)."""
    sshd = shutil.which("sshd", path=os.environ["PATH"] + ":/usr/sbin:/sbin")
    compiler = shutil.which("cc") or shutil.which("gcc")
    if sshd is None or compiler is None:
        missing = "sshd (apt install openssh-server)" if sshd is None else "a C compiler (apt install gcc libc6-dev)"
        sys.exit(f"the fan-out benchmark needs {missing}")
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    superserver = _compile(compiler, "superserver", folder)
    with contextlib.ExitStack() as stack:
        near: list[str] = []
        far: list[str] = []
        network = "127.77"
        if rtt_ms:
            network = "10.66"
            near, far = stack.enter_context(_wire(_compile(compiler, "delay", folder), network, rtt_ms))
        addresses = [f"{network}.{1 + i // 250}.{1 + i % 250}" for i in range(count)]
        port = _free_port()
        config = _write_files(folder, addresses, port)
        server = subprocess.Popen(
            [*far, str(superserver), str(port), sshd, str(config)], stdout=subprocess.PIPE, text=True
        )
        stack.callback(_end, server)
        assert server.stdout is not None
        if server.stdout.readline() != "ready\n":
            sys.exit("the accept loop did not start")
        yield Hosts(addresses, port, getpass.getuser(), folder / "user_key", folder / "known_hosts", server, near)


def _free_port() -> int:
    with socket.create_server(("0.0.0.0", 0)) as probe:
        return int(probe.getsockname()[1])


def _compile(compiler: str, name: str, folder: Path) -> Path:
    program = folder / name
    subprocess.run([compiler, "-O2", "-o", str(program), str(HERE / f"{name}.c")], check=True)
    return program


def _end(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.wait()
    if process.stdout is not None:
        process.stdout.close()


def _key(path: Path) -> str:
    key = Ed25519PrivateKey.generate()
    path.touch(mode=0o600)
    path.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption())
    )
    return key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH).decode()


def _write_files(folder: Path, addresses: list[str], port: int) -> Path:
    """Keys, a known_hosts of at least 2,000 lines as a real one has, and the servers' config."""
    host_key = _key(folder / "host_key")
    (folder / "authorized_keys").write_text(_key(folder / "user_key") + "\n")
    names = [f"[{address}]:{port}" for address in addresses]
    names += [f"other{i:05d}.example" for i in range(KNOWN_HOSTS_LINES - len(names))]
    (folder / "known_hosts").write_text("".join(f"{name} {host_key}\n" for name in names))
    (folder / "home").mkdir(exist_ok=True)
    config = folder / "sshd_config"
    config.write_text(
        f"HostKey {folder}/host_key\nAuthorizedKeysFile {folder}/authorized_keys\nStrictModes no\nUsePAM no\n"
        "UseDNS no\nPermitRootLogin yes\nPasswordAuthentication no\nPidFile none\nPrintMotd no\nPrintLastLog no\n"
        f"LogLevel QUIET\nSetEnv HOME={folder}/home\n"
    )
    return config


@contextlib.contextmanager
def _wire(delay: Path, network: str, rtt_ms: float) -> Iterator[tuple[list[str], list[str]]]:
    """Two network namespaces with a delaying wire between them; every address of `network` is local in the far one."""
    near, far = f"nd-near-{os.getpid()}", f"nd-far-{os.getpid()}"
    ends = (f"ndn{os.getpid()}", f"ndf{os.getpid()}")

    def ip(*words: str) -> None:
        subprocess.run(["ip", *words], check=True)

    with contextlib.ExitStack() as stack:
        for name in (near, far):
            ip("netns", "add", name)
            stack.callback(subprocess.run, ["ip", "netns", "del", name], check=False)
        # Before all others: a wire does not wait for a busy machine.
        program = ["nice", "-n", "-15", str(delay), *ends, str(round(rtt_ms * 500))]
        wire = subprocess.Popen(program, stdout=subprocess.PIPE, text=True)
        stack.callback(_end, wire)
        assert wire.stdout is not None
        if wire.stdout.readline() != "ready\n":
            sys.exit("the wire was not made: --rtt-ms needs root and /dev/net/tun")
        for name, end, address in ((near, ends[0], "10.67.0.1"), (far, ends[1], "10.67.0.2")):
            ip("link", "set", end, "netns", name)
            ip("-n", name, "addr", "add", f"{address}/24", "dev", end)
            ip("-n", name, "link", "set", end, "up", "txqueuelen", "10000")  # 500 overflow when a fleet answers at once
            ip("-n", name, "link", "set", "lo", "up")
        ip("-n", near, "route", "add", f"{network}.0.0/16", "dev", ends[0])
        ip("-n", far, "route", "add", "local", f"{network}.0.0/16", "dev", "lo")
        yield ["ip", "netns", "exec", near], ["ip", "netns", "exec", far]
