"""Which container engines there are, and the NVIDIA container toolkit: versions as their binaries print them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING

from nodectl.facts.reading import CannotTell, NotThere, Reading, told
from nodectl.facts.registry import Context, FactSpec
from nodectl.model import Fact

if TYPE_CHECKING:
    from nodectl.probe.transcript import SourceReply

SOURCE = "container_engines"
_NUMBER = r"v?([0-9]{1,6}(?:\.[0-9]{1,8}){1,3})"
# Fact -> (binary, what it prints, meaning).
_TOLD: dict[str, tuple[str, re.Pattern[str], str]] = {
    "container.docker_version": (
        "dockerd",
        re.compile(rf"^Docker version {_NUMBER}", re.MULTILINE),
        "Docker's daemon, running or not; a client alone does not count",
    ),
    "container.podman_version": ("podman", re.compile(rf"^podman version {_NUMBER}", re.MULTILINE), "Podman"),
    "container.containerd_version": (
        "containerd",
        re.compile(rf"^containerd \S{{1,200}} {_NUMBER}", re.MULTILINE),
        "containerd",
    ),
    "container.crio_version": ("crio", re.compile(rf"^crio version {_NUMBER}", re.MULTILINE), "CRI-O"),
    "container.runc_version": ("runc", re.compile(rf"^runc version {_NUMBER}", re.MULTILINE), "runc"),
    "container.crun_version": ("crun", re.compile(rf"^crun version {_NUMBER}", re.MULTILINE), "crun"),
    "container.enroot_version": ("enroot", re.compile(rf"^{_NUMBER}\b", re.MULTILINE), "Enroot"),
    "container_toolkit.version": (
        "nvidia-ctk",
        re.compile(rf"^NVIDIA Container Toolkit CLI version {_NUMBER}", re.MULTILINE),
        "NVIDIA Container Toolkit (nvidia-ctk)",
    ),
    "container_toolkit.library_version": (
        "nvidia-container-cli",
        re.compile(rf"^lib-version: {_NUMBER}", re.MULTILINE),
        "libnvidia-container, which the toolkit's legacy mode and Enroot's hook use",
    ),
}

FACTS = tuple(
    FactSpec(name=name, type="version", about=f"Version of {about}; absent when it is not installed", source=SOURCE)
    for name, (_, _, about) in _TOLD.items()
)


def _version(reading: Reading, binary: str, pattern: re.Pattern[str]) -> str:
    if binary in reading.text("not found").split():
        raise NotThere(f"there is no {binary} on the node's path")
    text = reading.command(binary)
    match = pattern.search(text)
    if match is None:
        raise CannotTell(f"{binary} gave no version: {text.strip()!r:.60}")
    return match[1]


def parse(reply: SourceReply, context: Context) -> Iterator[Fact]:
    """The facts of the source `container_engines`."""
    reading = Reading(reply)
    for name, (binary, pattern, _) in _TOLD.items():
        word = "version" if binary == "enroot" else "--version"
        yield told(name, partial(_version, reading, binary, pattern), f"{binary} {word}")


SOURCES = {SOURCE: parse}
