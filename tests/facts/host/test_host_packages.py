"""Installed and held packages, of dpkg and of rpm."""

from __future__ import annotations

import shutil
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st
from replies import cmd, fact_of, facts_of, file, no_file, said, state_of, value_of

from nodectl.model import FactState
from nodectl.probe.__main__ import run_source
from nodectl.probe.compose import load_sources
from nodectl.probe.transcript import Section

OWN = "ii \tdpkg\t1.22.6ubuntu6\tamd64\n"
INSTALLED = OWN + (
    "ii \tnvidia-driver-580-server-open\t580.65.06-0ubuntu1\tamd64\n"
    "hi \tnvidia-fabricmanager-580\t580.65.06-1\tamd64\n"
    "rc \tnvidia-fabricmanager-570\t570.172.08-1\tamd64\n"
    "un \tnvidia-fabricmanager\t\tamd64\n"
    "ii \tlibnccl2\t2.27.7-1+cuda13.0\tamd64\n"
    "ii \tlibnccl-dev\t2.26.2-1+cuda12.8\tamd64\n"
    "iF \tnvidia-dkms-580\t580.65.06-0ubuntu1\tamd64\n"
    "iU \tdocker-ce\t5:28.0\tamd64\n"
    "it \tman-db\t2.12\tamd64\n"
    "ii \tlibc6\t2.39\tamd64\nii \tlibc6\t2.39\ti386\n"
)
RPMS = (
    "rpm\t4.16.1.3-34.el9\tx86_64\n"
    "kernel\t5.14.0-503.11.1.el9_5\tx86_64\nkernel\t5.14.0-570.12.1.el9_6\tx86_64\n"
    "docker-ce\t3:28.0.1-1.el9\tx86_64\n"
)
RPM_OWN = cmd("rpm -q --qf %{NAME} rpm", "rpm")
LISTS = ("/etc/dnf/plugins/versionlock.list", "/etc/yum/pluginconf.d/versionlock.list")
LOCK_FILES = (*LISTS, "/etc/dnf/versionlock.toml", "/etc/zypp/locks")


def _dpkg(text: str = INSTALLED, stderr: str = "", rc: int = 0) -> list[Section]:
    return [cmd("dpkg-query", text, stderr, rc)]


def _rpm(text: str = RPMS, stderr: str = "", rc: int = 0) -> list[Section]:
    return [cmd("rpm -qa", text, stderr, rc)]


@pytest.mark.parametrize(
    ("key", "version"),
    [
        ("nvidia-driver-580-server-open", "580.65.06-0ubuntu1"),
        ("nvidia-fabricmanager-*", "580.65.06-1"),
        ("nvidia-driver-*", "580.65.06-0ubuntu1"),
        ("libc6", "2.39"),
        ("man-db", "2.12"),
    ],
)
def test_versions_of_dpkg(key: str, version: str) -> None:
    fact = fact_of("packages", _dpkg(), f"package[{key}]")
    assert fact.value == version
    assert fact.command == f"dpkg-query -W {key}"


@pytest.mark.parametrize("key", ["nvidia-fabricmanager-570", "nvidia-fabricmanager", "slurmd", "nvidia", "dpk"])
def test_what_is_not_installed_is_absent(key: str) -> None:
    fact = fact_of("packages", _dpkg(rc=1, stderr=f"no packages found matching {key}\n"), f"package[{key}]")
    assert (fact.state, fact.reason) == (FactState.ABSENT, f"the package {key} is not installed")


def test_matches_that_disagree_are_an_error() -> None:
    fact = fact_of("packages", _dpkg(), "package[libnccl*]")
    assert fact.state is FactState.ERROR
    assert fact.reason.startswith("libnccl* is installed in 2 versions: libnccl-dev 2.26.2-1+cuda12.8, libnccl2 2.27.7")
    assert "5.14.0-503.11.1.el9_5 and 5.14.0-570" in fact_of("packages", _rpm(), "package[kernel]").reason


@pytest.mark.parametrize("key", ["nvidia-dkms-580", "nvidia-dkms-*", "docker-ce"])
def test_half_installed_is_neither_a_version_nor_absent(key: str) -> None:
    fact = fact_of("packages", _dpkg(), f"package[{key}]")
    assert fact.state is FactState.ERROR
    assert "half installed" in fact.reason


def test_versions_of_rpm() -> None:
    assert value_of("packages", _rpm(), "package[docker-ce]") == "3:28.0.1-1.el9"
    assert state_of("packages", _rpm(), "package[slurm]") == "absent"


@pytest.mark.parametrize(
    "sections",
    [
        _dpkg(""),
        _dpkg(INSTALLED.replace(OWN, "")),
        _dpkg(rc=2, stderr="dpkg-query: error: failed to open package info file\n"),
        _dpkg("what is this\n"),
        _rpm(""),
        _rpm("", "error: rpmdb open failed\n", 1),
        _rpm("", "sh: rpm: not found\n", 127),
        _rpm("rpm 4\n"),
        [said("no package manager", "neither dpkg-query nor rpm")],
        [],
    ],
)
def test_a_database_that_cannot_be_believed_is_an_error(sections: list[Section]) -> None:
    assert state_of("packages", sections, "package[slurmd]") == "error"


def test_a_database_that_does_not_know_its_own_tool_says_why() -> None:
    fact = fact_of("packages", _rpm("docker-ce\t3:28.0.1-1.el9\tx86_64\n"), "package[slurmd]")
    assert fact.reason == "the database of rpm does not know rpm itself: it does not describe this node"


def test_held_by_dpkg() -> None:
    text = "hi \tnvidia-driver-580\nii \tdpkg\nhi \tlinux-image-generic\nnd_rc 0\n"
    assert value_of("packages_held", [cmd("dpkg-query -W", text)], "packages.held") == [
        "linux-image-generic", "nvidia-driver-580",
    ]  # fmt: skip
    assert value_of("packages_held", [cmd("dpkg-query -W", "ii \tdpkg\nnd_rc 0\n")], "packages.held") == []
    for broken in ("", "nd_rc 0\n", "ii \tdpkg\n", "ii \tdpkg\nnd_rc 2\n", "ii dpkg\nnd_rc 0\n"):
        assert state_of("packages_held", [cmd("dpkg-query -W", broken)], "packages.held") == "error"


def test_held_by_rpm() -> None:
    gone = [RPM_OWN, *(no_file(path) for path in LOCK_FILES)]
    assert value_of("packages_held", gone, "packages.held") == []
    texts = (
        "# added\nkernel-0:5.14.0-503.*\n!nvidia-driver-3:580\n\n",
        "",
        '[[packages]]\nname = "cuda-drivers"\n',
        "type: package\nmatch_type: glob\nsolvable_name: nvidia-open-driver-G06*\n",
    )
    files = [RPM_OWN, *(file(path, text) for path, text in zip(LOCK_FILES, texts, strict=True))]
    assert value_of("packages_held", files, "packages.held") == [
        "cuda-drivers", "kernel-0:5.14.0-503.*", "nvidia-open-driver-G06*",
    ]  # fmt: skip
    denied = [*gone[:-1], no_file(LOCK_FILES[-1], "Permission denied")]
    assert state_of("packages_held", denied, "packages.held") == "error"
    assert state_of("packages_held", gone[1:], "packages.held") == "error"
    assert state_of("packages_held", [cmd(RPM_OWN.name, "", "no\n", 1), *gone[1:]], "packages.held") == "error"


@pytest.mark.skipif(not shutil.which("dpkg-query"), reason="no dpkg-query on this machine")
def test_this_machine() -> None:
    keys = ["dpkg", "coreutils", "no-such-package-of-nodectl", "coreut*"]
    facts = facts_of(
        "packages", run_source(load_sources()["packages"], keys, shell=["sh"]), *(f"package[{key}]" for key in keys)
    )
    command = ["dpkg-query", "-W", "-f=${Version}", "coreutils"]
    version = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert facts["package[coreutils]"].value == version
    assert facts["package[coreut*]"].value == version
    assert facts["package[no-such-package-of-nodectl]"].state is FactState.ABSENT
    assert state_of(
        "packages_held", run_source(load_sources()["packages_held"], [], shell=["sh"]), "packages.held"
    ) == ("value")


@given(st.text(max_size=300), st.integers(0, 255))
def test_any_text_is_read_without_raising(text: str, rc: int) -> None:
    for sections in (_dpkg(text, "", rc), _rpm(text, "", rc)):
        fact = fact_of("packages", sections, "package[slurmd]")
        assert fact.state is FactState.ERROR
        assert "could not be read (" not in fact.reason
