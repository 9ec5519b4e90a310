"""A loopback fleet of real OpenSSH servers, for any test that wants nodes.

    from sshd import SshFleet              # pytest finds it: this folder has a conftest.py

    with SshFleet(tmp_path) as fleet:
        fleet.add("gpu001", env={"PATH": f"{fake_commands}:/usr/bin:/bin"})
        fleet.add("gpu002", options={"MaxSessions": "1"})
        fleet.start()
        nodes = fleet.nodes()              # model.Node: address, port, user, identity file, known_hosts
        config = fleet.ssh_config()        # or: a config file with a Host block for each

Each server has its own 127.x.y.z address, host key and environment; they share one user key and one known_hosts file.
Nothing is written outside the folder. No privilege is needed: without root, sshd lets in the user who started it.
"""

from __future__ import annotations

import base64
import contextlib
import getpass
import os
import random
import shutil
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import psutil
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from nodectl.model import Node

MISSING = "no sshd on this machine: install openssh-server (Debian, Ubuntu, RHEL, Fedora) or openssh (Arch, SUSE)"
START_S = 10.0


def find_sshd() -> str:
    """Path of sshd, which insists on being started by its full path. Skips the test when there is none."""
    found = shutil.which("sshd", path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin:/sbin")
    if found is None:
        pytest.skip(MISSING)
    if os.geteuid() == 0 and not Path("/run/sshd").is_dir():  # where a root sshd locks its unprivileged half in
        with contextlib.suppress(OSError):
            Path("/run/sshd").mkdir(mode=0o755)
    return found


def make_key(path: Path) -> str:
    """Write an ed25519 key pair like ssh-keygen (without running it).

    Returns:
        the public line, without comment.
    """
    key = Ed25519PrivateKey.generate()
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
    )
    line = key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH).decode()
    path.touch(mode=0o600)
    path.write_bytes(private)
    path.with_name(path.name + ".pub").write_text(line + "\n")
    return line


class Sshd:
    """One server. Made by `SshFleet.add`."""

    def __init__(self, name: str, address: str, port: int, folder: Path, command: list[str]) -> None:
        self.name = name
        self.address = address
        self.port = port
        self.folder = folder
        self.host_key = folder / "host_key"
        self.log = folder / "log"
        self._command = command
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def public_key(self) -> str:
        """`ssh-ed25519 AAAA...`."""
        return self.host_key.with_name("host_key.pub").read_text().strip()

    @property
    def known_name(self) -> str:
        """As known_hosts writes it."""
        return f"[{self.address}]:{self.port}" if self.port != 22 else self.address

    @property
    def pid(self) -> int:
        assert self._process is not None, "not started"
        return self._process.pid

    def launch(self) -> None:
        """Start it without waiting until it listens."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(self._command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def wait_until_listening(self) -> None:
        end = time.monotonic() + START_S
        while not _listens(self.address, self.port):
            assert self._process is not None
            if self._process.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"sshd of {self.name} did not start:\n{self.log.read_text(errors='replace')}")
            time.sleep(0.005)

    def start(self) -> None:
        self.launch()
        self.wait_until_listening()

    def stop(self) -> None:
        """Kill the server and every session that it has: what a crash of the node looks like to its clients."""
        process, self._process = self._process, None
        if process is None:
            return
        with contextlib.suppress(psutil.Error):
            for child in psutil.Process(process.pid).children(recursive=True):
                with contextlib.suppress(psutil.Error):
                    child.kill()
        process.kill()
        process.wait()

    def kill_sessions(self) -> None:
        """Kill what serves the clients; the server goes on."""
        for child in psutil.Process(self.pid).children():
            with contextlib.suppress(psutil.Error):
                child.kill()


class SshFleet:
    """Servers that are stopped when the block ends.

    Args:
        folder: where keys, configs and logs go.
        port: of all of them.
    """

    def __init__(self, folder: Path, port: int = 2222) -> None:
        self._sshd = find_sshd()
        self.folder = folder
        self.port = port
        self.user = getpass.getuser()
        self.identity = folder / "user_key"
        self.known_hosts = folder / "known_hosts"
        self.authorized_keys = folder / "authorized_keys"
        folder.mkdir(parents=True, exist_ok=True)
        self.authorized_keys.write_text(make_key(self.identity) + "\n")
        self.known_hosts.touch()
        self.servers: dict[str, Sshd] = {}
        self._network, self._claim = _claim_network()

    def __enter__(self) -> SshFleet:
        return self

    def __exit__(self, *error: object) -> None:
        for server in self.servers.values():
            server.stop()
        self._claim.close()

    def __getitem__(self, name: str) -> Sshd:
        return self.servers[name]

    def add(
        self,
        name: str,
        *,
        env: Mapping[str, str] | None = None,
        options: Mapping[str, str] | None = None,
        address: str = "",
        known: bool = True,
    ) -> Sshd:
        """One more server, not started yet.

        Args:
            env: environment of its sessions (SetEnv).
            options: lines of its sshd_config, stronger than the defaults.
            address: IPv4 or IPv6; its own loopback address if not given.
            known: its host key goes into `known_hosts`.
        """
        number = len(self.servers) + 1
        address = address or f"127.{self._network >> 8 | 64}.{self._network & 255}.{number}"
        folder = self.folder / name
        folder.mkdir()
        (folder / "home").mkdir()  # not the tester's: a .bashrc may take longer than the rest of the test
        make_key(folder / "host_key")
        config = folder / "sshd_config"
        config.write_text(self._config(folder, address, {"HOME": str(folder / "home"), **(env or {})}, options or {}))
        server = Sshd(name, address, self.port, folder, [self._sshd, "-D", "-e", "-f", str(config)])
        self.servers[name] = server
        if known:
            with self.known_hosts.open("a") as file:
                file.write(f"{server.known_name} {server.public_key}\n")
        return server

    def start(self) -> SshFleet:
        """Start all that do not run yet, side by side."""
        waiting = [server for server in self.servers.values() if server._process is None]
        for server in waiting:
            server.launch()
        for server in waiting:
            server.wait_until_listening()
        return self

    def node(self, name: str, **changes: object) -> Node:
        """A server as the transport sees it. `changes` are fields of `model.Node`."""
        server = self.servers[name]
        fields: dict[str, object] = {
            "name": name,
            "address": server.address,
            "port": server.port,
            "user": self.user,
            "identity_files": (str(self.identity),),
            "known_hosts": (str(self.known_hosts),),
        }
        return Node(**{**fields, **changes})  # type: ignore[arg-type]

    def nodes(self) -> list[Node]:
        return [self.node(name) for name in self.servers]

    def ssh_config(self) -> Path:
        """An ssh config with a Host block for each server, by its name."""
        path = self.folder / "ssh_config"
        blocks = [
            f"Host {server.name}\n  HostName {server.address}\n  Port {server.port}\n  User {self.user}\n"
            f"  IdentityFile {self.identity}\n  IdentitiesOnly yes\n  UserKnownHostsFile {self.known_hosts}\n"
            for server in self.servers.values()
        ]
        path.write_text("\n".join(blocks))
        return path

    def _config(self, folder: Path, address: str, env: Mapping[str, str], options: Mapping[str, str]) -> str:
        listen = f"[{address}]:{self.port}" if ":" in address else f"{address}:{self.port}"
        settings = {
            "ListenAddress": listen,
            "HostKey": str(folder / "host_key"),
            "AuthorizedKeysFile": str(self.authorized_keys),
            "PidFile": "none",
            "StrictModes": "no",
            "UsePAM": "no",
            "UseDNS": "no",
            "PermitRootLogin": "yes",
            "PasswordAuthentication": "no",
            "KbdInteractiveAuthentication": "no",
            "PrintMotd": "no",
            "PrintLastLog": "no",
            "MaxStartups": "200",
            "LogLevel": "VERBOSE",
        }
        settings.update(options)
        lines = [f"{key} {value}" for key, value in settings.items()]
        lines.append("SetEnv " + " ".join(f'"{key}={value}"' for key, value in env.items()))
        return "\n".join(lines) + "\n"


def _claim_network() -> tuple[int, socket.socket]:
    """A number for 127.x.y.* that no other fleet on this machine uses, and what keeps it ours while it is open."""
    while True:
        network = random.SystemRandom().randrange(1, 2**14)
        claim = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        if sys.platform != "linux":  # such names are known to Linux only
            return network, claim
        try:
            claim.bind(f"\0nodectl-test-fleet-{network}")
        except OSError:
            claim.close()
        else:
            return network, claim


def _listens(address: str, port: int) -> bool:
    """Looked up in /proc rather than tried: a connection would start a session in the server."""
    packed = socket.inet_pton(socket.AF_INET6 if ":" in address else socket.AF_INET, address)
    words = [struct.unpack("=I", packed[i : i + 4])[0] for i in range(0, len(packed), 4)]
    wanted = "".join(f"{word:08X}" for word in words) + f":{port:04X}"
    table = Path("/proc/net/tcp6" if ":" in address else "/proc/net/tcp")
    if not table.exists():  # not Linux
        with socket.socket() as probe:
            return probe.connect_ex((address, port)) == 0
    for line in table.read_text().splitlines()[1:]:
        fields = line.split()
        if fields[1] == wanted and fields[3] == "0A":
            return True
    return False


def known_hosts_line(name: str, public_key: str) -> str:
    """A line with a hashed name, as `HashKnownHosts yes` writes it."""
    import hashlib
    import hmac

    salt = os.urandom(20)
    digest = hmac.new(salt, name.encode(), hashlib.sha1).digest()
    return f"|1|{base64.b64encode(salt).decode()}|{base64.b64encode(digest).decode()} {public_key}\n"
