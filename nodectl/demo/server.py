"""A real SSH server on loopback for each node of the demo fleet.

A connection goes the whole way that one to a real node goes: host key, public key login, one channel, the probe's
script on stdin. Only what a shell would do with the script is played back: the server reads the script's first line and
answers with the recorded node's sections for the sources that were asked; or, where it is the script that starts the
telemetry agent, with a line every now and then until its stdin ends.
"""

from __future__ import annotations

import contextlib
import io
import logging
import math
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import paramiko
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519
from paramiko.common import (
    AUTH_FAILED,
    AUTH_SUCCESSFUL,
    OPEN_FAILED_ADMINISTRATIVELY_PROHIBITED,
    OPEN_SUCCEEDED,
)

from nodectl.telemetry.launch import HEADER as LAUNCH_HEADER

_HEADER = re.compile(rb"# nodectl-probe/1 nonce=([0-9a-f]{8,64}) sources=([a-z0-9_,]*)\n")
_AGENT = re.compile(re.escape(LAUNCH_HEADER.encode()) + rb" interval=([0-9.]{1,12})[ \n]")
_SHELLS = (b"exec sh", b"sh")
_MAX_SCRIPT_BYTES = 1 << 20
_CHUNK = 32 << 10
_LOGIN_S = 30.0
_LOOK_S = 0.05
_LOOK_LIVE_S = 5.0
# A client that goes away in the middle is no news, and the log of a server is not for the user's terminal.
_LOG = "nodectl.demo.sshd"
logging.getLogger(_LOG).addHandler(logging.NullHandler())
logging.getLogger(_LOG).propagate = False

# What to answer: nonce and source names to the bytes that the node would have sent.
Answer = Callable[[str, list[str]], bytes]
# What to send while telemetry runs: seconds from tick to tick to lines, each with when it is due (monotonic clock).
Live = Callable[[float], Iterator[tuple[float, bytes]]]


class KeyPair(msgspec.Struct, frozen=True):
    """An ed25519 key in OpenSSH's forms."""

    private: str
    public: str

    @classmethod
    def generate(cls) -> KeyPair:
        key = ed25519.Ed25519PrivateKey.generate()
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
        )
        public = key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
        return cls(private.decode(), public.decode())

    def load(self) -> paramiko.Ed25519Key:
        return paramiko.Ed25519Key.from_private_key(io.StringIO(self.private))


class _Session(paramiko.ServerInterface):
    """Lets one key in, and one command run."""

    def __init__(self, allowed: str) -> None:
        self._allowed = allowed
        self.command: bytes | None = None
        self.asked = threading.Event()

    def get_allowed_auths(self, username: str) -> str:
        return "publickey"

    def check_auth_publickey(self, username: str, key: paramiko.PKey) -> int:
        same = f"{key.get_name()} {key.get_base64()}" == self._allowed
        return AUTH_SUCCESSFUL if same else AUTH_FAILED

    def check_channel_request(self, kind: str, chanid: int) -> int:
        return OPEN_SUCCEEDED if kind == "session" else OPEN_FAILED_ADMINISTRATIVELY_PROHIBITED

    def check_channel_exec_request(self, channel: paramiko.Channel, command: bytes) -> bool:
        if self.asked.is_set():
            return False
        self.command = command
        self.asked.set()
        return True


class NodeServer:
    """One demo node: listens on 127.0.0.1, on a port that the system picks.

    Args:
        host_key: the node's own.
        allowed: public key (`ssh-ed25519 AAAA...`) that may log in.
        answer: makes the reply. live: makes the telemetry.
        think_s: how long the node takes to answer.
    """

    def __init__(self, host_key: KeyPair, allowed: str, answer: Answer, live: Live, *, think_s: float = 0.0) -> None:
        self._host_key, self._allowed, self._think_s = host_key.load(), allowed, think_s
        self._answer, self._live = answer, live
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._transports: set[paramiko.Transport] = set()
        self._closed = threading.Event()
        self._threads = [threading.Thread(target=self._accept, name="nodectl-demo-accept", daemon=True)]
        self._threads[0].start()

    @property
    def port(self) -> int:
        port: int = self._listener.getsockname()[1]
        return port

    def close(self) -> None:
        """Stop listening, end every connection, and wait for the threads."""
        self.stop()
        for thread in list(self._threads):
            thread.join(1.0)

    def stop(self) -> None:
        """The first half of `close`: everything is told to end, and nothing is waited for."""
        self._closed.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for transport in list(self._transports):
            transport.close()

    def _accept(self) -> None:
        while not self._closed.is_set():
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._serve, args=(connection,), name="nodectl-demo-node", daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, connection: socket.socket) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        transport = paramiko.Transport(connection)
        transport.daemon = True
        transport.set_log_channel(_LOG)
        self._transports.add(transport)
        try:
            if not self._closed.is_set():
                self._converse(transport)
        except (paramiko.SSHException, OSError, EOFError):
            pass  # the client went away: that is its right
        finally:
            transport.close()
            connection.close()
            if transport.ident is not None:
                transport.join(1.0)
            self._transports.discard(transport)

    def _converse(self, transport: paramiko.Transport) -> None:
        transport.add_server_key(self._host_key)
        session = _Session(self._allowed)
        transport.start_server(server=session)
        channel = self._login(transport)
        if channel is not None and self._until(session.asked, transport):
            self._reply(channel, session.command or b"")

    def _login(self, transport: paramiko.Transport) -> paramiko.Channel | None:
        """The channel, once the client has logged in and opened it. A transport that ends wakes nobody: look often."""
        give_up = time.monotonic() + _LOGIN_S
        while transport.is_active() and not self._closed.is_set() and time.monotonic() < give_up:
            channel = transport.accept(_LOOK_S)
            if channel is not None:
                return channel
        return None

    def _until(self, event: threading.Event, transport: paramiko.Transport) -> bool:
        while not event.wait(_LOOK_S):
            if self._closed.is_set() or not transport.is_active():
                return False
        return True

    def _reply(self, channel: Any, command: bytes) -> None:
        channel.settimeout(_LOGIN_S)
        script, agent = bytearray(), None
        if command in _SHELLS:
            while len(script) < _MAX_SCRIPT_BYTES and (data := channel.recv(_CHUNK)):
                script += data
                if agent := _AGENT.match(script):  # its stdin stays open
                    break
        match = _HEADER.match(script)
        if agent is not None:
            self._closed.wait(self._think_s)
            self._stream(channel, self._live(float(agent[1])))
            channel.send_exit_status(0)
        elif match is None:
            channel.sendall_stderr(b"this is a recorded node: it only answers nodectl's probe and telemetry\n")
            channel.send_exit_status(127)
        else:
            self._closed.wait(self._think_s)
            channel.sendall(self._answer(match[1].decode(), [name for name in match[2].decode().split(",") if name]))
            channel.send_exit_status(0)
        channel.shutdown_write()
        # The client closes once it has read everything; closing first could cut what is still on its way.
        give_up = time.monotonic() + 5
        while not channel.closed and not self._closed.is_set() and time.monotonic() < give_up:
            time.sleep(0.01)

    def _stream(self, channel: Any, lines: Iterator[tuple[float, bytes]]) -> None:
        """Sends each line when it is due, until the client ends stdin or goes away. After the last line: silence."""
        for due_at, line in lines:
            if not self._open_until(channel, due_at):
                return
            channel.settimeout(_LOGIN_S)
            channel.sendall(line)
        self._open_until(channel, math.inf)

    def _open_until(self, channel: Any, due_at: float) -> bool:
        """Waits, reading what is left of stdin. False: it has ended."""
        while not self._closed.is_set():
            left_s = due_at - time.monotonic()
            if left_s <= 0:
                return True
            channel.settimeout(min(left_s, _LOOK_LIVE_S))
            with contextlib.suppress(TimeoutError):
                if not channel.recv(_CHUNK):
                    return False
        return False
