"""Keys, certificates and a real ssh-agent for the tests of logging in."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

from sshd import SshFleet

PASSPHRASE = "correct horse battery"


def keygen(*arguments: str | Path) -> None:
    subprocess.run(["ssh-keygen", "-q", *map(str, arguments)], check=True, stdin=subprocess.DEVNULL)


def encrypted_key(path: Path, kind: str = "ed25519") -> Path:
    keygen("-t", kind, "-N", PASSPHRASE, "-f", path)
    return path


def authorize(fleet: SshFleet, public: Path) -> None:
    fleet.authorized_keys.write_text(public.read_text())


class Agent:
    """A real ssh-agent."""

    def __init__(self, folder: Path) -> None:
        self.path = str(folder / "agent.sock")
        self._process = subprocess.Popen(["ssh-agent", "-D", "-a", self.path], stdout=subprocess.DEVNULL)
        while not Path(self.path).exists():
            time.sleep(0.005)

    def add(self, key: Path, *options: str) -> None:
        env = {**os.environ, "SSH_AUTH_SOCK": self.path, "SSH_ASKPASS_REQUIRE": "force"}
        env["SSH_ASKPASS"] = str(_askpass(key.parent))
        subprocess.run(["ssh-add", "-q", *options, str(key)], env=env, check=True, stdin=subprocess.DEVNULL)

    def pause(self, paused: bool) -> None:
        self._process.send_signal(signal.SIGSTOP if paused else signal.SIGCONT)

    def stop(self) -> None:
        self._process.send_signal(signal.SIGCONT)
        self._process.terminate()
        self._process.wait()


def _askpass(folder: Path) -> Path:
    path = folder / "askpass"
    path.write_text(f"#!/bin/sh\necho '{PASSPHRASE}'\n")
    path.chmod(0o700)
    return path
