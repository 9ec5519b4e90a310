"""Judging in other processes.

Parsing costs some 15 ms of CPU a node. With many nodes that is handed to worker processes, so that it never competes
for the interpreter lock with the threads that read sockets. A worker is this module run as a program: it reads
length-prefixed messages on stdin, writes them on stdout, and ends with its stdin.
"""

from __future__ import annotations

import contextlib
import signal
import struct
import subprocess
import sys
from pathlib import Path
from typing import IO

import msgspec

from nodectl.catalogue import Catalogue
from nodectl.engine import catalogue_for_run
from nodectl.fleet.judging import judge
from nodectl.fleet.plan import Plan, make_plan
from nodectl.model import Node, NodeResult
from nodectl.probe.transcript import Transcript

_LENGTH = struct.Struct(">I")


class PlanSpec(msgspec.Struct, frozen=True):
    """What is needed to make the same plan again elsewhere: names, not compiled checks."""

    checks_dirs: tuple[str, ...] = ()
    profile: str | None = None
    only: tuple[str, ...] = ()
    areas: tuple[str, ...] = ()

    def catalogue(self) -> Catalogue:
        return catalogue_for_run.load([Path(folder) for folder in self.checks_dirs])

    def plan(self, catalogue: Catalogue, nodes: list[Node]) -> Plan:
        return make_plan(catalogue, nodes, profile=self.profile, only=self.only, areas=self.areas)


class Start(msgspec.Struct, frozen=True):
    spec: PlanSpec
    nodes: list[Node]


class Job(msgspec.Struct, frozen=True):
    """A node by its place in Start.nodes, and its transcript as it would stand in a file."""

    node: int
    transcript: bytes


class WorkerGone(Exception):
    """The worker process ended before its answer was whole."""


class Worker:
    """One worker process, seen from the parent. Use from one thread at a time, except `kill`."""

    def __init__(self, spec: PlanSpec, nodes: list[Node]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "nodectl.fleet.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # a ctrl-c on the terminal is the parent's to handle
        )
        try:
            self._send(msgspec.msgpack.encode(Start(spec, nodes)))
        except WorkerGone:
            self.kill()
            raise
        self._decoder = msgspec.msgpack.Decoder(NodeResult)

    def judge(self, node: int, transcript: Transcript) -> NodeResult:
        """Raises WorkerGone when the process died."""
        self._send(msgspec.msgpack.encode(Job(node, transcript.to_bytes())))
        assert self._process.stdout
        message = _read(self._process.stdout)
        if message is None:
            raise WorkerGone
        return self._decoder.decode(message)

    def _send(self, message: bytes) -> None:
        assert self._process.stdin
        try:
            self._process.stdin.write(_LENGTH.pack(len(message)) + message)
            self._process.stdin.flush()
        except (OSError, ValueError) as exc:
            raise WorkerGone from exc

    def kill(self) -> None:
        """End the process now; safe from another thread, and twice."""
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            if stream:
                with contextlib.suppress(OSError, ValueError):
                    stream.close()


def _read(stream: IO[bytes]) -> bytes | None:
    try:
        head = stream.read(_LENGTH.size)
        if len(head) < _LENGTH.size:
            return None
        (length,) = _LENGTH.unpack(head)
        body = stream.read(length)
    except (OSError, ValueError):
        return None
    return body if len(body) == length else None


def main() -> None:
    """The worker's own loop."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    stdin, stdout = sys.stdin.buffer, sys.stdout.buffer
    first = _read(stdin)
    if first is None:
        return
    start = msgspec.msgpack.decode(first, type=Start)
    plan = start.spec.plan(start.spec.catalogue(), start.nodes)
    decoder = msgspec.msgpack.Decoder(Job)
    while (message := _read(stdin)) is not None:
        job = decoder.decode(message)
        result = judge(Transcript.from_bytes(job.transcript), start.nodes[job.node], plan)
        answer = msgspec.msgpack.encode(result)
        stdout.write(_LENGTH.pack(len(answer)) + answer)
        stdout.flush()


if __name__ == "__main__":
    main()
