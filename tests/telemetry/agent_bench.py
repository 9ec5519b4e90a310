"""The agent as it runs on a node: composed in memory, streamed to a `python3`, its lines read back."""

from __future__ import annotations

import json
import os
import re
import select
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from nodectl.telemetry.agent import sources

# The smallest launcher: a package in memory, filled from one JSON line of stdin; the rest of stdin is the channel.
BOOT = """
import json, os, sys, types
data = b""
while not data.endswith(b"\\n"):
    data += os.read(0, 1 << 20)
given = json.loads(data.decode())
package = types.ModuleType("ndagent")
package.__path__ = []
sys.modules["ndagent"] = package
for name, text in given["sources"]:
    full = name if name == "pynvml" else "ndagent." + name
    module = types.ModuleType(full)
    module.__package__ = "" if name == "pynvml" else "ndagent"
    sys.modules[full] = module
    exec(compile(text, full, "exec"), module.__dict__)
    if name != "pynvml":
        setattr(package, name, module)
sys.modules["ndagent.agent"].main(given["options"])
"""


def pynvml_source() -> str:
    """nvidia-ml-py's own module."""
    import pynvml  # type: ignore[import-untyped,unused-ignore]

    return Path(pynvml.__file__).read_text(encoding="utf-8")


class RunningAgent:
    """An agent process and the messages that it has sent so far."""

    def __init__(
        self,
        options: Mapping[str, Any],
        env: Mapping[str, str] | None = None,
        python: str = sys.executable,
        pynvml: bool = True,
        sooner: Mapping[str, float] | None = None,
    ) -> None:
        """sooner: other values for the agent's waiting times, by the names of its constants."""
        self.process = subprocess.Popen(
            [python, "-S", "-c", BOOT],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={"PATH": os.environ["PATH"], **(env or {})},
        )
        parts = ([("pynvml", pynvml_source())] if pynvml else []) + sources()
        for name, value in (sooner or {}).items():
            changed = [
                (part, re.sub(rf"^{name} = [\d.]+", f"{name} = {value}", text, flags=re.M)) for part, text in parts
            ]
            assert changed != parts, f"there is no {name}"
            parts = changed
        assert self.process.stdin
        self.process.stdin.write(json.dumps({"sources": parts, "options": dict(options)}).encode() + b"\n")
        self.process.stdin.flush()
        self.messages: list[dict[str, Any]] = []
        self._rest = b""

    def __enter__(self) -> RunningAgent:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
            if stream:
                stream.close()

    def read(self, timeout_s: float) -> bool:
        """Takes what has come, waiting for it; False at the end of the stream."""
        assert self.process.stdout
        fd = self.process.stdout.fileno()
        if not select.select([fd], [], [], timeout_s)[0]:
            return True
        data = os.read(fd, 1 << 20)
        lines = (self._rest + data).split(b"\n")
        self._rest = lines.pop()
        self.messages += [json.loads(line) for line in lines]
        return bool(data)

    def until(self, wanted: Callable[[dict[str, Any]], bool], timeout_s: float = 20.0) -> dict[str, Any]:
        """The next message that is wanted; it and those before it are taken off."""
        begin = time.monotonic()
        at = 0
        while True:
            while at < len(self.messages):
                at += 1
                message = self.messages[at - 1]
                if wanted(message):
                    del self.messages[:at]
                    return message
            if time.monotonic() - begin > timeout_s or not self.read(0.5):
                raise AssertionError(f"never came; stderr: {self.stderr()!r}; last: {self.messages[-3:]}")

    def kind(self, kind: str, timeout_s: float = 20.0) -> dict[str, Any]:
        return self.until(lambda message: message["k"] == kind, timeout_s)

    def event(self, what: str, timeout_s: float = 20.0) -> dict[str, Any]:
        return self.until(lambda message: message["k"] == "e" and message["what"] == what, timeout_s)

    def end(self, timeout_s: float = 5.0) -> list[dict[str, Any]]:
        """Closes the agent's stdin and returns what it says until it is gone."""
        assert self.process.stdin
        self.process.stdin.close()
        return self.rest(timeout_s)

    def rest(self, timeout_s: float = 5.0) -> list[dict[str, Any]]:
        begin = time.monotonic()
        while self.read(0.2):
            assert time.monotonic() - begin < timeout_s, "the agent does not end"
        self.process.wait(timeout=timeout_s)
        return self.messages

    def stderr(self) -> str:
        assert self.process.stderr
        os.set_blocking(self.process.stderr.fileno(), False)
        return (self.process.stderr.read() or b"").decode()
