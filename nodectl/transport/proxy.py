"""ProxyCommand: a child of ours whose stdin and stdout are the connection."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import tempfile
from typing import IO, Any

from nodectl.model import Reason, Unreachable
from nodectl.transport.attempt import Attempt
from nodectl.transport.base import Failure, printable
from nodectl.transport.settings import HostSettings

# As ssh since 9.6: a name with one of these in it, put into a shell command, could run something else.
_UNSAFE = re.compile(r"[\s'\"`$\\;&<>|(){}\x00-\x1f]")


class ProxyChild:
    """The running command.

    Attributes:
        sock: our end of its stdin and stdout.
    """

    def __init__(self, command: str) -> None:
        ours, theirs = socket.socketpair()
        self._stderr = _scratch()
        try:
            self._process = subprocess.Popen(  # noqa: S602  the user's own ssh config says what to run
                f"exec {command}",
                shell=True,
                stdin=theirs.fileno(),
                stdout=theirs.fileno(),
                stderr=self._stderr,
                start_new_session=True,
            )
        except OSError:
            ours.close()
            self._stderr.close()
            raise
        finally:
            theirs.close()
        self.sock = ours

    def last_words(self) -> str:
        """The last line that it wrote to stderr, and how it ended."""
        with contextlib.suppress(OSError, ValueError):
            size = self._stderr.seek(0, os.SEEK_END)
            self._stderr.seek(max(0, size - 4096))
            lines = self._stderr.read().decode("utf-8", "replace").strip().splitlines()
            if lines:
                return printable(lines[-1])
        status = self._process.poll()
        return f"it ended with status {status}" if status is not None else ""

    def wait_briefly(self) -> None:
        """Give a command that has closed its output the time to say why."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(0.3)

    def kill(self) -> None:
        """End it and what it started. Does not wait."""
        with contextlib.suppress(OSError):
            os.killpg(self._process.pid, signal.SIGKILL)

    def close(self) -> None:
        """End it, and take away what is left of it."""
        self.sock.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(0.05)  # most end by themselves when their input does
        self.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(1.0)
        self._stderr.close()


def _scratch() -> IO[bytes]:
    """A file without a name; in memory where the system can do that."""
    if hasattr(os, "memfd_create"):
        return os.fdopen(os.memfd_create("nodectl-proxy-stderr"), "w+b", buffering=0)
    return tempfile.TemporaryFile(buffering=0)


def expand(template: str, settings: HostSettings, user: str) -> str:
    """Put host, port and user into a ProxyCommand, with the tokens of ssh_config(5).

    Raises:
        ValueError: a name has characters that a shell would act on.
    """
    values = {
        "%h": settings.hostname,
        "%p": str(settings.port),
        "%r": user,
        "%n": settings.alias or settings.hostname,
        "%%": "%",
    }

    def value(match: re.Match[str]) -> str:
        token = match.group(0)
        text = values.get(token, token)
        if token != "%%" and (_UNSAFE.search(text) or text.startswith("-")):  # noqa: S105
            raise ValueError(f"{token} would be {text!a}, which a shell does not take for a plain name")
        return text

    return re.sub(r"%[hprn%]", value, template)


def start(settings: HostSettings, user: str, attempt: Attempt) -> ProxyChild:
    """Run the ProxyCommand of a host.

    Raises:
        Failure: it cannot be run.
    """
    try:
        return ProxyChild(expand(settings.proxy_command, settings, user))
    except (ValueError, OSError) as exc:
        text = f"{attempt.target}: its ProxyCommand cannot be run: {exc}"
        raise Failure(Reason(Unreachable.PROXY_FAILED.value, text, "look at ProxyCommand in your ssh config")) from None


def failure(child: ProxyChild, error: Failure, attempt: Attempt) -> Failure:
    """What to tell when a handshake through a ProxyCommand failed because the command did."""
    if attempt.over:
        return error
    child.wait_briefly()
    words: Any = child.last_words()
    text = f"{attempt.target}: its ProxyCommand failed" + (f": {words}" if words else "")
    hint = "run the ProxyCommand of your ssh config by hand"
    return Failure(
        Reason(Unreachable.PROXY_FAILED.value, text, hint)
    )  # not again: it may have been a login that failed
