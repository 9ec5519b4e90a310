"""`transport: openssh`: the system's own `ssh`, for Kerberos, ControlMaster, PKCS#11 and whatever else it can do.

One process a node: about three times the CPU and twenty times the memory of `transport: ssh`.
"""

from __future__ import annotations

import os
import re
import shutil
import threading
from pathlib import Path

import msgspec

from nodectl.model import Node, Reason, Unreachable
from nodectl.transport.attempt import TICK_S, Attempt, Watchdog
from nodectl.transport.base import Failure, Reply, Request, Sink, printable
from nodectl.transport.child import Child
from nodectl.transport.child_stream import ChildStream, ChildStreams
from nodectl.transport.collect import Collector, closed
from nodectl.transport.local import child_reply, ending, stopped
from nodectl.transport.stream import Ended, Stream, StreamRequest, StreamSink, stream_closed

SSH_FAILED = 255
"""ssh's exit status for its own errors."""

# What ssh prints, in the order to look for it. Texts of OpenSSH 7 to 10 with LC_ALL=C.
_WORDS: tuple[tuple[str, Unreachable], ...] = (
    (r"REMOTE HOST IDENTIFICATION HAS CHANGED|REVOKED HOST KEY|host key .* has changed", Unreachable.HOST_KEY_CHANGED),
    (r"Host key verification failed|No .* host key is known", Unreachable.HOST_KEY_UNKNOWN),
    (r"Permission denied|Too many authentication failures|No more authentication methods", Unreachable.AUTH),
    (r"Could not resolve hostname", Unreachable.DNS),
    (r"UNKNOWN port 65535|stdio forwarding failed|ProxyCommand|proxy", Unreachable.PROXY_FAILED),
    (r"Connection refused", Unreachable.REFUSED),
    (r"No route to host|Network is unreachable|Cannot assign requested address", Unreachable.NO_ROUTE),
    (r"[Tt]imed out", Unreachable.TIMEOUT),
    (r"Unable to negotiate|no matching|banner|Bad remote protocol|Protocol major", Unreachable.PROTOCOL),
    (r"Connection closed|Connection reset|kex_exchange_identification|Broken pipe", Unreachable.PROTOCOL),
)
_HINTS = {
    Unreachable.HOST_KEY_UNKNOWN: "compare its fingerprint on its console, then ssh-keyscan -p PORT HOST >> "
    "~/.ssh/known_hosts   (or let every new key in: --host-key accept-new)",
    Unreachable.HOST_KEY_CHANGED: "if it was installed anew: ssh-keygen -R HOST, then add its new key",
    Unreachable.AUTH: "a key, a ticket (kinit) or an agent must let ssh in without a question",
    Unreachable.DNS: "correct the name, or give the node an `address:`",
    Unreachable.REFUSED: "nothing listens on that port: is sshd running there, is the port right?",
    Unreachable.TIMEOUT: "is the node up? does a firewall drop the packets?",
}


class OpensshTransport:
    """Runs `ssh` for each node, with the user's own config.

    Args:
        watchdog: ends attempts whose time is up.
        ssh_config: read instead of `~/.ssh/config`, if given.
        host_key_policy: `strict` leaves it to the user's config; `accept-new` says so to ssh.
        children: reads streams.
    """

    def __init__(
        self, watchdog: Watchdog, ssh_config: Path | None, host_key_policy: str, children: ChildStreams
    ) -> None:
        self._watchdog = watchdog
        self._children = children
        self._config = ssh_config
        self._policy = host_key_policy

    def run(self, node: Node, request: Request, sink: Sink, stop: threading.Event | None = None) -> Reply:
        """See `base.Transport`."""
        attempt = Attempt(node.name, request, stop)
        attempt.step = "connect"
        collector = Collector(sink, request.max_bytes)
        with self._watchdog.watching(attempt):
            reply = self._run(node, request, collector, attempt)
        if collector.error is not None:
            raise collector.error
        attempt.lap("run")
        return msgspec.structs.replace(reply, started=attempt.started, timings_ms=attempt.timings_ms)

    def stream(
        self, node: Node, request: StreamRequest, sink: StreamSink, stop: threading.Event | None = None
    ) -> Stream:
        """See `Transports.stream`. ssh does not say when it is in, so the first output counts as the start."""
        attempt = Attempt(node.name, request.as_request(), stop)
        attempt.step = "first output"
        begun = threading.Event()

        def feed(data: bytes) -> None:
            if not begun.is_set():
                attempt.lap("connect")
                begun.set()
            sink.feed(data)

        def over(child: ChildStream) -> None:
            attempt.lap("run")
            try:
                sink.ended(_stream_reply(child, attempt))
            finally:
                begun.set()

        with self._watchdog.watching(attempt):
            try:
                attempt.check()
                argv = self._argv(node, request.as_request())
                child = ChildStream(argv, {**os.environ, "LC_ALL": "C"}, request, feed, over)
            except (Failure, OSError) as exc:
                sink.ended(Reply(reason=_not_started(node, exc), reached=False, started=attempt.started))
                return Ended()
            self._children.add(child)
            with attempt.freeing(child.close):
                while not (attempt.over or begun.wait(TICK_S)):
                    pass
            attempt.unlimited()
            attempt.step = "run" if begun.is_set() else attempt.step
        if stop is not None and stop.is_set():
            child.close()
        return child

    def close(self) -> None:
        """The watchdog, closed before, has killed the children; each `run` takes away its own."""

    def arguments(self, node: Node, request: Request) -> list[str]:
        """The command line. Only what the inventory says goes in; the rest is for ssh's own config."""
        options = {
            "BatchMode": "yes",
            "ConnectTimeout": str(max(1, round(request.connect_timeout_s))),
            "ServerAliveInterval": "5",
            "ServerAliveCountMax": "3",
            "LogLevel": "ERROR",
            "ClearAllForwardings": "yes",
            "ForwardX11": "no",
            "PermitLocalCommand": "no",
            "RemoteCommand": "none",
        }
        if self._policy == "accept-new":
            options["StrictHostKeyChecking"] = "accept-new"
        if node.known_hosts:
            options["UserKnownHostsFile"] = " ".join(str(Path(name).expanduser()) for name in node.known_hosts)
        if node.jump is not None:
            options["ProxyJump"] = node.jump
        argv = ["ssh", "-T", "-a"]
        if self._config is not None:
            argv += ["-F", str(self._config)]
        for name, value in options.items():
            argv += ["-o", f"{name}={value}"]
        if node.port is not None:
            argv += ["-p", str(node.port)]
        if node.user is not None:
            argv += ["-l", node.user]
        for name in node.identity_files:
            argv += ["-i", str(Path(name).expanduser())]
        return [*argv, "--", node.address or node.name, request.command]

    def _argv(self, node: Node, request: Request) -> list[str]:
        """`arguments`, if there is an ssh to give them to.

        Raises:
            Failure: there is none.
        """
        if shutil.which("ssh") is None:
            text = f"{node.name}: there is no ssh command on this machine, and its transport is openssh"
            hint = "install it (openssh-client on Debian, openssh-clients on RHEL), or use `transport: ssh`"
            raise Failure(Reason(Unreachable.PROBE_FAILED.value, text, hint))
        return self.arguments(node, request)

    def _run(self, node: Node, request: Request, collector: Collector, attempt: Attempt) -> Reply:
        if attempt.over:
            return Reply(reason=attempt.ending(), reached=False)
        try:
            child = Child(self._argv(node, request), {**os.environ, "LC_ALL": "C"})
        except (Failure, OSError) as exc:
            return Reply(reason=_not_started(node, exc), reached=False)
        try:
            status = child.converse(request.stdin, collector, attempt)
        finally:
            child.close()
        stderr = bytes(collector.stderr)
        reason = ending(collector, attempt, request)
        reached = collector.stdout_bytes > 0 or status not in (SSH_FAILED, None)
        if reason is None and collector.ending == "eof" and status in (SSH_FAILED, None):
            reason = (
                closed(attempt.target, collector.stdout_bytes, "", stderr)
                if reached
                else ssh_reason(attempt.target, stderr)
            )
        return Reply(
            reason=reason,
            reached=reached,
            stderr=stderr,
            exit_status=status if status is None or status >= 0 else 128 - status,
            stdout_bytes=collector.stdout_bytes,
        )


def _not_started(node: Node, error: Failure | OSError) -> Reason:
    if isinstance(error, Failure):
        return error.reason
    return Reason(Unreachable.PROBE_FAILED.value, f"{node.name}: ssh cannot be run: {error.strerror}")


def _stream_reply(child: ChildStream, attempt: Attempt) -> Reply:
    reached = child.received > 0 or child.status not in (SSH_FAILED, None)
    reason = stopped(attempt, child)
    if reason is None and child.status in (SSH_FAILED, None):
        stderr = bytes(child.stderr)
        reason = (
            stream_closed(attempt.target, child.received, "", stderr) if reached else ssh_reason(attempt.target, stderr)
        )
    return child_reply(child, attempt, reason, reached)


def ssh_reason(target: str, stderr: bytes) -> Reason:
    """What ssh's own words mean."""
    text = stderr.decode("utf-8", "replace")
    lines = [line for line in text.splitlines() if line.strip() and not re.match(r"@+$|\*+", line)]
    for pattern, code in _WORDS:
        if re.search(pattern, text):
            said = next((line for line in reversed(lines) if re.search(pattern, line)), lines[-1] if lines else "")
            return Reason(code.value, f"{target}: ssh says: {printable(said)}", _HINTS.get(code, ""))
    said = printable(lines[-1]) if lines else "nothing, but ended with status 255"
    return Reason(Unreachable.PROTOCOL.value, f"{target}: ssh says: {said}", f"try it by hand: ssh -v {target}")
