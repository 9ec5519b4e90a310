"""Versions of container engines, as their binaries print them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from replies import cmd, fact_of, facts_of, said, state_of, value_of

from nodectl.facts.containers.engines import FACTS
from nodectl.model import FactState
from nodectl.probe.transcript import Section

NAMES = [spec.name for spec in FACTS]
CONTAINERD, TOOLKIT, LIBRARY = NAMES[2], "container_toolkit.version", "container_toolkit.library_version"
BINARIES = ("dockerd", "podman", "containerd", "crio", "runc", "crun", "nvidia-ctk", "nvidia-container-cli", "enroot")


def _asked(binary: str, text: str, stderr: str = "", rc: int = 0) -> list[Section]:
    return [cmd(binary, text, stderr, rc), said("not found", " ".join(one for one in BINARIES if one != binary))]


@pytest.mark.parametrize(
    ("name", "binary", "text", "version"),
    [
        ("container.docker_version", "dockerd", "Docker version 28.2.2, build e6534b4\n", "28.2.2"),
        ("container.docker_version", "dockerd", "Docker version 20.10.21-ce, build x\n", "20.10.21"),
        ("container.podman_version", "podman", "podman version 4.9.3\n", "4.9.3"),
        (CONTAINERD, "containerd", "containerd github.com/containerd/containerd v1.7.28 b98a3\n", "1.7.28"),
        (CONTAINERD, "containerd", "containerd github.com/containerd/containerd/v2 2.1.4 75cb2\n", "2.1.4"),
        (CONTAINERD, "containerd", "containerd containerd.io 1.6.28 ae07e\n", "1.6.28"),
        ("container.crio_version", "crio", "crio version 1.30.3\nVersion:        1.30.3\n", "1.30.3"),
        ("container.runc_version", "runc", "runc version 1.1.12-0ubuntu2~22.04.1\nspec: 1.0.2-dev\n", "1.1.12"),
        ("container.crun_version", "crun", "crun version 1.14.1\ncommit: de537\n", "1.14.1"),
        ("container.enroot_version", "enroot", "3.5.0\n", "3.5.0"),
        (TOOLKIT, "nvidia-ctk", "NVIDIA Container Toolkit CLI version 1.17.8\ncommit: f202\n", "1.17.8"),
        (TOOLKIT, "nvidia-ctk", "NVIDIA Container Toolkit CLI version 1.18.0-rc.1\n", "1.18.0"),
        (LIBRARY, "nvidia-container-cli", "cli-version: 1.17.8\nlib-version: 1.17.8\n", "1.17.8"),
    ],
)  # fmt: skip
def test_versions(name: str, binary: str, text: str, version: str) -> None:
    assert value_of("container_engines", _asked(binary, text), name) == version
    others = facts_of("container_engines", _asked(binary, text), *(one for one in NAMES if one != name))
    assert {fact.state for fact in others.values()} == {FactState.ABSENT}


@pytest.mark.parametrize(
    ("text", "stderr", "rc", "says"),
    [
        ("", "", 124, "did not end in its time"),
        ("", "dockerd: error while loading shared libraries\n", 127, "not found"),
        ("Docker Version: vingt-huit\n", "", 0, "gave no version"),
        ("", "segmentation fault\n", 139, "failed (rc 139)"),
    ],
)
def test_a_binary_that_does_not_answer_is_an_error(text: str, stderr: str, rc: int, says: str) -> None:
    fact = fact_of("container_engines", _asked("dockerd", text, stderr, rc), "container.docker_version")
    assert fact.state is FactState.ERROR
    assert says in fact.reason


def test_without_the_list_of_what_is_missing_nothing_is_absent() -> None:
    assert state_of("container_engines", [cmd("dockerd", "")], "container.podman_version") == "error"


@given(st.text(max_size=200), st.integers(0, 255))
def test_any_text_is_read_without_raising(text: str, rc: int) -> None:
    for binary, name in zip(BINARIES, NAMES, strict=False):
        fact = fact_of("container_engines", _asked(binary, text, "", rc), name)
        assert "could not be read (" not in fact.reason
