"""A loopback fleet of real sshd with an inventory, and `nodectl` as a user runs it: as a program."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sshd import SshFleet

NODECTL = (sys.executable, "-m", "nodectl")


class Cluster:
    """A fleet with an inventory file that grows as nodes are added."""

    def __init__(self, fleet: SshFleet, folder: Path) -> None:
        self.fleet, self.folder = fleet, folder
        self._hosts: list[str] = []

    def add(self, name: str, *, known: bool = True, options: Mapping[str, str] | None = None, **env: str) -> None:
        """A node with a real sshd of its own; keyword arguments are the environment of its sessions."""
        server = self.fleet.add(name, env=env, options=options or {}, known=known)
        self.add_address(name, server.address, server.port)

    def add_address(self, name: str, address: str, port: int) -> None:
        """A node that nodectl is told of, whatever is there."""
        self._hosts.append(f"  - {{name: {name}, address: '{address}', port: {port}}}\n")

    def inventory(self) -> Path:
        path = self.folder / "inventory.yaml"
        fleet = self.fleet
        keys = f"identity_file: {fleet.identity}, known_hosts: {fleet.known_hosts}"
        head = f"defaults: {{user: {fleet.user}, {keys}}}\n"
        path.write_text(head + "hosts:\n" + "".join(self._hosts))
        return path

    def argv(self, *words: str) -> list[str]:
        return [*NODECTL, words[0], "--hosts", str(self.inventory()), *words[1:]]

    def environment(self) -> dict[str, str]:
        home = self.folder / "home"
        home.mkdir(exist_ok=True)
        drop = ("SSH_AUTH_SOCK", "NODECTL_HOSTS", "NO_COLOR", "FORCE_COLOR")
        return {key: value for key, value in os.environ.items() if key not in drop} | {"HOME": str(home)}

    def run(self, *words: str, timeout_s: float = 60) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.argv(*words), capture_output=True, text=True, timeout=timeout_s, env=self.environment(), check=False
        )

    def report(self, *words: str, timeout_s: float = 60) -> dict[str, Any]:
        """`nodectl check --json` with these options."""
        done = self.run("check", "--json", *words, timeout_s=timeout_s)
        assert done.stdout, done.stderr
        report: dict[str, Any] = json.loads(done.stdout)
        assert report["exit_code"] == done.returncode
        return report


def put(folder: Path, name: str, body: str) -> None:
    """A shell script as a command."""
    path = folder / name
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
