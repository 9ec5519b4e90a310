"""A node made of files: sources run on it for real, in every shell, with what they must not tell planted in it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from nodectl.probe import overlay
from nodectl.probe.__main__ import run_source
from nodectl.probe.compose import load_sources
from nodectl.probe.transcript import SourceReply

SECRET = "hunter2-never-leaves-the-node"
SHELLS = {"dash": ["dash"], "busybox": ["busybox", "sh"], "bash": ["bash", "--posix"]}


def ask(source: str, shell: str, tmp_path: Path, files: Mapping[str, str]) -> SourceReply:
    """What a source says on a node that has these files; a name that ends with `!` is a program."""
    scratch = tmp_path / "scratch"
    scratch.mkdir(exist_ok=True)
    refusal = overlay.refusal(scratch)
    if refusal and os.environ.get("CI"):
        pytest.fail(f"CI must run sources on files: {refusal}")
    if refusal:
        pytest.skip(f"no overlay root here (root is needed): {refusal}")
    top = tmp_path / "top"
    for name, text in files.items():
        path = top / name.rstrip("!").lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        if name.endswith("!"):
            path.chmod(0o755)
    return run_source(load_sources()[source], [], shell=SHELLS[shell], root=top)


def all_of(reply: SourceReply) -> str:
    """Every character that came from the node."""
    return reply.note + "".join(f"{one.name}\n{one.text}\n{one.stderr}\n" for one in reply.sections)
