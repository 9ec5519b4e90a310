"""What is done with and without root on the node."""

from __future__ import annotations

import os
import time

import pytest
from probe_nodes import NONCE, FakeNode, Running, command_lines, script_of, spec

_BODY = 'nd_cmd_as log $ND_SUDO sh -c "echo ran"\nnd_cmd $ND_SUDO dmesg-like'


def _as_nobody(node: FakeNode, *, sudo: bool = True, fake_sudo: str = "") -> Running:
    if os.geteuid() != 0:
        pytest.skip("needs root to become somebody else")
    for folder in (node.folder, *node.folder.parents):
        if str(folder).startswith("/tmp/"):
            folder.chmod(0o755)
    bare = node.without("sudo")
    (bare.folder / "dmesg-like").write_text("#!/bin/sh\necho log of $(id -u)\n")
    (bare.folder / "dmesg-like").chmod(0o755)
    if fake_sudo:
        (bare.folder / "sudo").write_text(f"#!/bin/sh\n{fake_sudo}\n")
        (bare.folder / "sudo").chmod(0o755)
    script = script_of([spec("one", _BODY)])
    if not sudo:
        script = script.replace(b"nd_sudo=yes", b"nd_sudo=no")
    return Running(bare, script, user=65534, group=65534)


def test_root_needs_no_sudo(node: FakeNode) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root")
    with Running(node, script_of([spec("one", "nd_cmd_as log $ND_SUDO echo ran")])) as running:
        found = running.finish()
    assert found.uid == 0
    assert found.source("one").find("cmd", "log").text == "ran\n"


def test_without_sudo_it_says_that_root_is_needed(node: FakeNode) -> None:
    with _as_nobody(node) as running:
        found = running.finish()
    assert found.uid == 65534
    log = found.source("one").find("cmd", "log")
    assert (log.text, log.rc) == ("", 77)
    assert log.stderr.startswith("needs root: sh -c")
    assert found.source("one").find("cmd", "dmesg-like").stderr == "needs root: dmesg-like\n"


def test_sudo_is_used_without_a_password_and_the_section_is_named_after_the_command(node: FakeNode) -> None:
    with _as_nobody(node, fake_sudo='[ "$1" = -n ] || exit 9; shift; exec "$@"') as running:
        found = running.finish()
    assert found.source("one").find("cmd", "log").text == "ran\n"
    assert found.source("one").find("cmd", "dmesg-like").text == "log of 65534\n"


def test_a_refusal_of_sudo_says_that_root_is_needed(node: FakeNode) -> None:
    with _as_nobody(node, fake_sudo="echo 'sudo: a password is required' >&2; exit 1") as running:
        found = running.finish()
    log = found.source("one").find("cmd", "log")
    assert log.rc == 1
    assert log.stderr == "needs root: sudo: a password is required\n"


def test_sudo_is_left_alone_when_it_is_not_wanted(node: FakeNode) -> None:
    with _as_nobody(node, sudo=False, fake_sudo="echo used; exit 0") as running:
        found = running.finish()
    assert found.source("one").find("cmd", "log").rc == 77


def test_the_nonce_is_in_no_command_line(node: FakeNode) -> None:
    """Every user of the node sees command lines."""
    with Running(node, script_of([spec("one", "nd_cmd sleep 5")])) as running:
        end = time.monotonic() + 10
        shown = b""
        while not all(part in shown for part in (b"nd-one", b"nd-ticker", b"nd-guard", b"awk")):
            assert time.monotonic() < end, shown
            shown = b"".join(command_lines(running.tag).values())
    assert NONCE.encode() not in shown
