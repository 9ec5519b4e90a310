"""Kernel settings, through the parser and through the real source in three shells."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from replies import fact_of, facts_of, grep, said, state_of, value_of

from nodectl.facts.host.sysctl import path_of
from nodectl.model import FactState
from nodectl.probe.__main__ import run_source
from nodectl.probe.compose import load_sources
from nodectl.probe.transcript import Section

SHELLS = [["dash"], ["busybox", "sh"], ["bash", "--posix"]]
PATHS = [
    ("vm.swappiness", "/proc/sys/vm/swappiness"),
    ("net.ipv4.conf.all.arp_ignore", "/proc/sys/net/ipv4/conf/all/arp_ignore"),
    ("net.ipv4.conf.eth0/100.arp_ignore", "/proc/sys/net/ipv4/conf/eth0.100/arp_ignore"),
    ("net/ipv4/conf/eth0.100/arp_ignore", "/proc/sys/net/ipv4/conf/eth0.100/arp_ignore"),
    ("kernel", "/proc/sys/kernel"),
    ("fs.nfs.nfs_callback_tcpport", "/proc/sys/fs/nfs/nfs_callback_tcpport"),
]


@pytest.mark.parametrize(("key", "path"), PATHS)
def test_a_key_is_a_path(key: str, path: str) -> None:
    assert path_of(key) == path


def _shell(shell: list[str]) -> list[str]:
    if not shutil.which(shell[0]):
        pytest.skip(f"no {shell[0]} on this machine (apt-get install {shell[0]})")
    return shell


@pytest.mark.parametrize("shell", SHELLS, ids=lambda shell: shell[0])
def test_the_source_makes_the_same_paths(shell: list[str]) -> None:
    body = load_sources()["sysctl"].body
    functions = "nd_grep() { printf '%s\\n' \"$@\"; }\nnd_text() { :; }\n"
    keys = [key for key, _ in PATHS] + [f"a.b{n}" for n in range(50)]
    done = subprocess.run(
        [*_shell(shell), "-c", functions + body, "x", *keys], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == list(dict.fromkeys(map(path_of, keys)))


@given(st.lists(st.from_regex(r"[a-z_/][a-z0-9_./-]{0,12}", fullmatch=True), min_size=1, max_size=30))
def test_source_and_parser_agree_on_every_path(keys: list[str]) -> None:
    functions = "nd_grep() { printf '%s\\n' \"$@\"; }\nnd_text() { :; }\n"
    done = subprocess.run(
        ["sh", "-c", functions + load_sources()["sysctl"].body, "x", *keys], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == list(dict.fromkeys(map(path_of, keys)))


@pytest.mark.parametrize("shell", SHELLS, ids=lambda shell: shell[0])
def test_this_machine_tells_its_settings_and_what_it_lacks(shell: list[str]) -> None:
    asked = ["kernel.osrelease", "kernel.pid_max", "net.ipv4.conf.lo.arp_ignore", "net/ipv4/conf/lo/arp_ignore"]
    missing = [f"kernel.nodectl_has_no_such_key_{n}" for n in range(90)]
    reply = run_source(load_sources()["sysctl"], asked + missing, shell=_shell(shell))
    facts = facts_of("sysctl", reply, *(f"sysctl[{key}]" for key in asked + missing))
    for key in asked:
        assert facts[f"sysctl[{key}]"].value == Path(path_of(key)).read_text().strip()
    assert all(facts[f"sysctl[{key}]"].state is FactState.ABSENT for key in missing)


def test_recorded_settings(shared: Path) -> None:
    settings = {}
    for line in (shared / "recordings/h200x8/sysctl.txt").read_text().splitlines():
        key, equals, value = line.partition(" = ")
        if equals and key not in settings:
            settings[key] = value
    assert len(settings) > 1000
    section = grep({path_of(key): value for key, value in settings.items()})
    keys = [key for key in settings if "[" not in key]
    facts = facts_of("sysctl", [section], *(f"sysctl[{key}]" for key in keys))
    assert facts["sysctl[fs.file-nr]"].value == "219 0 57749373"
    assert facts["sysctl[vm.max_map_count]"].value == settings["vm.max_map_count"]
    for key in keys:
        assert facts[f"sysctl[{key}]"].value == " ".join(settings[key].split()), key


def test_several_lines_stay_lines() -> None:
    section = grep({"/proc/sys/dev/cdrom/info": "CD-ROM info\n\ndrive name:\t\tsr0"})
    assert value_of("sysctl", [section], "sysctl[dev.cdrom.info]") == "CD-ROM info\n\ndrive name: sr0"


def test_three_states() -> None:
    path = path_of("vm.swappiness")
    name = "sysctl[vm.swappiness]"
    fact = fact_of("sysctl", [grep({}, [path])], name)
    assert fact.state is FactState.ABSENT
    assert fact.reason == "the kernel has no setting vm.swappiness (no /proc/sys/vm/swappiness)"
    assert fact.command == "sysctl -n vm.swappiness"
    denied = fact_of("sysctl", [grep({}, [path], "Permission denied")], name)
    assert (denied.state, denied.reason[:11]) == (FactState.ERROR, "needs root:")
    assert state_of("sysctl", [grep({}, [path], "Input/output error")], name) == "error"
    assert state_of("sysctl", [grep({}, [path], "Is a directory")], name) == "error"
    assert state_of("sysctl", [grep({}, [path]), said("not mounted", "/proc")], name) == "error"
    assert state_of("sysctl", [grep({})], name) == "error"


def test_a_missing_key_does_not_hide_one_whose_name_begins_so() -> None:
    section = grep({}, [path_of("vm.swap_x")])
    assert state_of("sysctl", [section], "sysctl[vm.swap]") == "error"
    assert state_of("sysctl", [grep({}, [path_of("vm.swap")])], "sysctl[vm.swap_x]") == "error"
    assert state_of("sysctl", [grep({}, [path_of("vm.swap-x")])], "sysctl[vm.swap]") == "error"


def test_busybox_words_a_missing_file_in_its_own_way() -> None:
    path = path_of("vm.nope")
    for words in (f"grep: {path}", f"grep: can't open '{path}'"):
        section = Section("grep", "files", "", f"{words}: No such file or directory\n", 2)
        assert state_of("sysctl", [section], "sysctl[vm.nope]") == "absent"
