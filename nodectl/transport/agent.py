"""The user's ssh-agent: one connection for the whole run, one question at a time."""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import threading
from collections.abc import Iterator
from pathlib import Path

from paramiko.agent import AgentKey, AgentSSH
from paramiko.message import Message
from paramiko.ssh_exception import SSHException

from nodectl.transport.attempt import Attempt
from nodectl.transport.sockets import shut

_REQUEST_IDENTITIES = 11
_IDENTITIES_ANSWER = 12
MAX_ANSWER = 4 * 1024 * 1024


class AgentError(SSHException):
    """The agent did not answer, or refused."""


class SharedAgent(AgentSSH):
    """Keys and signatures of one agent, for many threads. Agents fall over when a thousand connections come at once.

    Args:
        path: its socket.
    """

    def __init__(self, path: str) -> None:
        super().__init__()
        self.path = path
        self.problem = ""
        self._socket: socket.socket | None = None
        self._gate = threading.Lock()
        self._local = threading.local()
        self._closed = False
        self._listed: tuple[AgentKey, ...] | None = None
        self._list_gate = threading.Lock()

    def keys(self, attempt: Attempt) -> tuple[AgentKey, ...]:
        """Its keys, asked for once. None if there is no agent: `problem` says why."""
        with self._list_gate:
            if self._listed is None:
                try:
                    self._listed = self._ask_for_keys(attempt)
                except (OSError, SSHException) as exc:
                    attempt.check()
                    self.problem = f"the ssh-agent at {self.path} does not answer: {exc}"
                    self._listed = ()
            return self._listed

    def _ask_for_keys(self, attempt: Attempt) -> tuple[AgentKey, ...]:
        with self.within(attempt):
            kind, answer = self._send_message(bytes([_REQUEST_IDENTITIES]))
        if kind != _IDENTITIES_ANSWER:
            raise AgentError("it refused to list its keys")
        keys = []
        for _ in range(answer.get_int()):
            blob, comment = answer.get_binary(), answer.get_text()
            keys.append(AgentKey(agent=self, blob=blob, comment=comment))
        if not keys:
            self.problem = "the ssh-agent holds no keys (ssh-add -l)"
        return tuple(keys)

    @contextlib.contextmanager
    def within(self, attempt: Attempt) -> Iterator[None]:
        """While inside, this thread's questions to the agent may take what `attempt` has left."""
        self._local.attempt = attempt
        try:
            yield
        finally:
            self._local.attempt = None

    def _send_message(self, msg: bytes | Message) -> tuple[int, Message]:
        attempt: Attempt | None = getattr(self._local, "attempt", None)
        left_s = attempt.remaining_s() if attempt is not None else 30.0
        if not self._gate.acquire(timeout=max(left_s, 0.001)):
            raise AgentError("the ssh-agent is busy (does it wait for a touch or a confirmation?)")
        try:
            data = msg if isinstance(msg, bytes) else msg.asbytes()
            return self._exchange(data, max(attempt.remaining_s() if attempt is not None else 30.0, 0.001))
        except (OSError, SSHException) as exc:
            # An answer that comes late would be taken for the next question's.
            self._disconnect()
            raise exc if isinstance(exc, AgentError) else AgentError(str(exc)) from None
        finally:
            self._gate.release()

    def _exchange(self, data: bytes, timeout_s: float) -> tuple[int, Message]:
        if self._closed:
            raise AgentError("stopped")
        if self._socket is None:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            self._socket.settimeout(timeout_s)
            self._socket.connect(self.path)
        self._socket.settimeout(timeout_s)
        self._socket.sendall(struct.pack(">I", len(data)) + data)
        size = struct.unpack(">I", _read_all(self._socket, 4))[0]
        if not 0 < size <= MAX_ANSWER:
            raise AgentError("its answer makes no sense")
        answer = Message(_read_all(self._socket, size))
        return ord(answer.get_byte()), answer

    def _disconnect(self) -> None:
        conn, self._socket = self._socket, None
        if conn is not None:
            conn.close()

    def close(self) -> None:
        """End it; a thread that waits for an answer gets an error."""
        self._closed = True
        conn = self._socket
        if conn is not None:
            shut(conn)
        if self._gate.acquire(timeout=0.5):
            self._disconnect()
            self._gate.release()


def _read_all(conn: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        more = conn.recv(size - len(data))
        if not more:
            raise AgentError("it closed the connection")
        data += more
    return data


def agent_path(setting: str) -> str:
    """Socket of the agent by the IdentityAgent option: empty when none is wanted or known."""
    if not setting or setting == "SSH_AUTH_SOCK":
        return os.environ.get("SSH_AUTH_SOCK", "")
    if setting.lower() == "none":
        return ""
    if setting.startswith("$"):
        return os.environ.get(setting[1:].strip("{}"), "")
    return str(Path(setting).expanduser())
