"""What the tests of the transport share besides fixtures."""

from __future__ import annotations

import time
from collections.abc import Callable

from nodectl.model import Node
from nodectl.transport import Reply, Request, SshSettings, Transports

Opener = Callable[..., Transports]


class Text:
    """A sink that keeps everything. Complete when `until` has come; due `due_s` after the last data."""

    def __init__(self, until: bytes = b"", due_s: float | None = None) -> None:
        self.data = b""
        self.until = until
        self.due_s = due_s
        self.fed_at: list[float] = []

    def feed(self, data: bytes) -> bool:
        self.data += data
        self.fed_at.append(time.monotonic())
        return bool(self.until) and self.until in self.data

    def due_in_s(self) -> float | None:
        return self.due_s


def settings_of(node: Node) -> SshSettings:
    """What an inventory says when there is no ssh config. Only the named key, so that the tester's agent stays out."""
    return SshSettings(
        hostname=node.address or node.name,
        port=node.port or 22,
        user=node.user or "",
        identity_files=node.identity_files,
        identities_only=True,
        identity_agent="none",
        known_hosts_files=node.known_hosts,
        proxy_jump=node.jump or "",
    )


def run(transports: Transports, node: Node, script: str = "", **options: object) -> tuple[Text, Reply]:
    """Run a script; keywords are `until`, `due_s`, `stop`, and fields of Request."""
    stop = options.pop("stop", None)
    sink = Text(options.pop("until", b""), options.pop("due_s", None))  # type: ignore[arg-type]
    request = Request(stdin=script.encode(), **options)  # type: ignore[arg-type]
    return sink, transports.run(node, request, sink, stop)  # type: ignore[arg-type]
