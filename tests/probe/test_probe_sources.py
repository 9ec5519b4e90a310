"""Every source that nodectl ships: well-formed, fit for any shell, and read-only, proven by running it.

The rig is an overlay of this machine's own files in namespaces of its own: whatever a source writes, wherever, is found
in one folder afterwards.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest
from probe_nodes import NONCE, SHELLS, FakeNode, spec
from read_only import changes

from nodectl.probe import compose as composing
from nodectl.probe import overlay
from nodectl.probe.compose import SOURCES_DIR, SourceSpec, compose, read_source
from nodectl.probe.transcript import Transcript

PATHS = sorted(SOURCES_DIR.glob("*/*"))
MACHINERY = sorted(SOURCES_DIR.parent.glob("*.sh"))
SYNTAX = {"dash": ["dash", "-n"], "busybox": ["busybox", "sh", "-n"], "bash": ["bash", "--posix", "-n"]}

# Something for every family of arguments, there or not.
KEYS = {
    "sysctl": ["vm.swappiness", "kernel.no_such_key", "net.ipv4.tcp_rmem"],
    "module": ["nvidia", "overlay"],
    "module_on_disk": ["nvidia"],
    "module_param": ["nvidia.NVreg_None", "overlay.metacopy"],
    "mount": ["/", "/proc", "/nowhere"],
    "service": ["sshd", "no-such-service"],
    "package": ["bash", "no-such-package"],
    "venv": ["/usr", "/nowhere"],
}


def test_there_is_nothing_but_sources_in_their_folder() -> None:
    assert PATHS
    assert {path.suffix for path in PATHS} == {".sh"}


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_header_and_body_can_be_read(path: Path) -> None:
    found = read_source(path)
    assert found.name == path.stem
    assert found.about[0].isalpha()
    assert not found.about.endswith(".")


@pytest.mark.parametrize("path", [*PATHS, *MACHINERY], ids=lambda path: path.stem)
@pytest.mark.parametrize("shell", SHELLS)
def test_every_shell_can_parse_it(path: Path, shell: str) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed: apt install {shell}")
    done = subprocess.run([*SYNTAX[shell], str(path)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("path", [*PATHS, *MACHINERY], ids=lambda path: path.stem)
def test_shellcheck_has_nothing_to_say(path: Path) -> None:
    if shutil.which("shellcheck") is None:
        pytest.skip("shellcheck is not installed: apt install shellcheck")
    # $ND_SUDO stands for nothing, or for words: it must not be quoted.
    text = re.sub(r"(?<=\s)\$ND_SUDO(?=\s)", "sudo -n", path.read_text())
    done = subprocess.run(
        ["shellcheck", "-s", "sh", "-S", "info", "-"], input=text, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_its_text_changes_nothing(path: Path) -> None:
    assert changes(path.read_text()) == []


@pytest.mark.parametrize(
    "body",
    [
        "echo x >/tmp/file",
        "echo x >>file",
        "nd_cmd sh -c 'touch x'",
        "cat a 2>errors",
        "x=$(mktemp)",
        "uname | tee /tmp/uname",
        "nd_cmd sed -i s/a/b/ /etc/fstab",
        "awk '{ print > \"/tmp/x\" }' /proc/stat",
        "awk '{ system(\"reboot\") }' /proc/stat",
        "awk '{ print $1 | \"sh\" }' /proc/stat",
        "nd_cmd nvidia-smi -pm 1",
        "nd_cmd_as x timeout -k 1 9 nvidia-smi --gpu-reset",
        "nd_cmd nvidia-smi -r",
        "nd_cmd $ND_SUDO nvidia-smi -q -i 0 -pl 300",
        "nd_cmd sysctl -w vm.swappiness=1",
        "nd_cmd $ND_SUDO dmesg -c",
        "if true; then rm -rf /; fi",
        "modprobe nvidia",
        "nd_cmd $ND_SUDO modprobe nvidia",
        "nd_cmd timeout 5 mount -a",
        "nd_cmd systemctl restart nvidia-persistenced",
        "journalctl --rotate",
        "ldconfig",
        "exec 5<>/dev/tcp/x/1",
        "find / -delete",
    ],
)
def test_the_reading_of_texts_finds_what_writes(body: str) -> None:
    assert changes(body) != []


@pytest.mark.parametrize(
    "body",
    [
        "nd_cmd uname -r 2>/dev/null",
        "x=$(cat /proc/stat 2>&1 >/dev/null) # echo >file",
        "awk '$1 > 5 && $2 >= 3 { print \"a>b\" }' /proc/stat",
        "nd_cmd_as 'nvidia-smi -q -x' timeout -k 1 40 nvidia-smi -q -x",
        "nd_have mount && nd_cmd nvidia-smi topo -m",
        "nd_cmd systemctl show --no-pager sshd",
        'while read -r a b <"$x/vendor"; do :; done',
        "nd_cmd ldconfig -p",
        "nd_cmd sysctl -n vm.swappiness",
    ],
)
def test_the_reading_of_texts_lets_pass_what_reads(body: str) -> None:
    assert changes(body) == []


def _rig(tmp_path: Path) -> Path:
    """An empty folder for the overlay, where the machine can do that."""
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    refusal = overlay.refusal(scratch)
    if refusal and os.environ.get("CI"):
        pytest.fail(f"CI must prove that sources write nothing, and this machine refuses the overlay: {refusal}")
    if refusal:
        pytest.skip(f"no overlay root here (root is needed): {refusal}")
    return scratch


def _run_in_overlay(
    tmp_path: Path, shell: str, args: Mapping[str, list[str]], specs: Mapping[str, SourceSpec] | None = None
) -> tuple[Transcript, str]:
    """What the script said, and what stderr says that it wrote."""
    scratch = _rig(tmp_path)
    top = tmp_path / "top"
    top.mkdir()
    FakeNode(shell, top / "nodectl-test-bin")
    (top / "nodectl-test-script").write_bytes(compose(args, nonce=NONCE, specs=specs))
    path = f"/nodectl-test-bin:{os.environ['PATH']}"
    argv = ["env", "-i", f"PATH={path}", "HOME=/root", "sh", "-c", "exec sh </nodectl-test-script"]
    done = subprocess.run(overlay.command(scratch, argv, top=top), capture_output=True, timeout=120, check=False)
    stderr = done.stderr.decode(errors="replace")
    return Transcript(node="overlay", nonce=NONCE, wire=done.stdout[done.stdout.find(b"@") :]), stderr


@pytest.mark.parametrize("shell", SHELLS)
def test_all_sources_together_write_nothing(tmp_path: Path, shell: str) -> None:
    specs = composing.load_sources()
    found, stderr = _run_in_overlay(
        tmp_path, shell, {name: KEYS.get(one.args_family, []) for name, one in specs.items()}
    )
    assert stderr == ""
    assert set(found.sources) == set(specs)
    assert {name: reply.note for name, reply in found.sources.items() if reply.state != "ok"} == {}
    assert not [name for name, reply in found.sources.items() if reply.note], "noise outside of sections"


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize(
    "body", ["echo x >/tmp/written", "nd_cmd touch /etc/written", "umask 0; mkdir -p /var/written/x"]
)
def test_a_source_that_writes_is_caught(tmp_path: Path, shell: str, body: str) -> None:
    found, stderr = _run_in_overlay(tmp_path, shell, {"one": []}, {"one": spec("one", body)})
    assert found.source("one").state == "ok"
    assert stderr.startswith("WRITTEN:")
    assert "written" in stderr
