"""Who sets which kernel setting: files of sysctl.d in their order, TuneD, and what runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from replies import cmd, fact_of, file, grep, no_file, said, state_of, value_of

from nodectl.facts.host.sysctl_files import dotted, effective_files
from nodectl.facts.reading import CannotTell
from nodectl.model import FactState
from nodectl.probe.__main__ import run_source
from nodectl.probe.compose import load_sources
from nodectl.probe.overlay import refusal
from nodectl.probe.transcript import Section, write_transcript

NAME = "sysctl.configured"
NO_TUNED = no_file("/etc/tuned/active_profile")


def files(
    texts: dict[str, str], running: dict[str, str], *more: Section, missing: tuple[str, ...] = ()
) -> list[Section]:
    listed = "".join(f"{path}\n" for path in texts)
    found = {path: text for path, text in texts.items() if text}
    values = {f"/proc/sys/{key.replace('.', '/')}": value for key, value in running.items()}
    return [cmd("sysctl files", listed), grep(found), grep(values, missing), *(more or (NO_TUNED,))]


def rows(sections: list[Section]) -> dict[str, dict[str, Any]]:
    return {row["key"]: row for row in value_of("sysctl_files", sections, NAME)}


def tuned(*profiles: tuple[str, str]) -> list[Section]:
    paths = [file(f"/usr/lib/tuned/{name}/tuned.conf", text) for name, text in profiles]
    return [file("/etc/tuned/active_profile", f"{profiles[0][0]}\n"), *paths]


def test_files_go_by_their_names_and_hide_their_namesakes() -> None:
    paths = [
        "/etc/sysctl.d/50-x.conf",
        "/etc/sysctl.d/90-z.conf",
        "/run/sysctl.d/60-y.conf",
        "/usr/lib/sysctl.d/10-a.conf",
        "/usr/lib/sysctl.d/50-x.conf",
    ]
    assert effective_files(paths) == [paths[3], paths[0], paths[2], paths[1]]
    with pytest.raises(CannotTell):
        effective_files(["/etc/passwd"])


@pytest.mark.parametrize(
    ("key", "name"),
    [
        ("vm.swappiness", "vm.swappiness"),
        ("net/ipv4/tcp_ecn", "net.ipv4.tcp_ecn"),
        ("net.ipv4.conf.eth0/100.rp_filter", "net.ipv4.conf.eth0/100.rp_filter"),
        ("net/ipv4/conf/eth0.100/rp_filter", "net.ipv4.conf.eth0/100.rp_filter"),
    ],
)
def test_both_ways_to_write_a_key(key: str, name: str) -> None:
    assert dotted(key) == name


def test_the_last_line_wins_and_is_compared_with_what_runs() -> None:
    found = rows(
        files(
            {
                "/usr/lib/sysctl.d/10-a.conf": "vm.swappiness = 60\nkernel.pid_max=0x8000",
                "/etc/sysctl.d/90-b.conf": "vm/swappiness=10\n-net.ipv4.tcp_rmem = 4096 87380   6291456",
            },
            {"vm.swappiness": "60", "kernel.pid_max": "32768", "net.ipv4.tcp_rmem": "4096\t87380\t6291456"},
        )
    )
    assert (found["vm.swappiness"]["value"], found["vm.swappiness"]["applied"]) == ("10", False)
    assert found["vm.swappiness"]["set_by"] == "/etc/sysctl.d/90-b.conf"
    assert found["vm.swappiness"]["contested"] is False, "a file may override the distribution's own"
    assert found["kernel.pid_max"]["applied"] is True
    assert (found["net.ipv4.tcp_rmem"]["applied"], found["net.ipv4.tcp_rmem"]["optional"]) == (True, True)


def test_a_file_that_is_hidden_sets_nothing() -> None:
    texts = {"/etc/sysctl.d/50-x.conf": "", "/usr/lib/sysctl.d/50-x.conf": "vm.swappiness=1"}
    assert rows(files(texts, {"vm.swappiness": "60"})) == {}


def test_two_files_of_the_site_that_do_not_agree() -> None:
    texts = {"/etc/sysctl.d/10-a.conf": "vm.swappiness=1", "/etc/sysctl.d/90-b.conf": "vm.swappiness=10"}
    row = rows(files(texts, {"vm.swappiness": "10"}))["vm.swappiness"]
    assert (row["contested"], row["others"]) == (True, "/etc/sysctl.d/10-a.conf: 1")
    texts["/etc/sysctl.d/10-a.conf"] = "vm.swappiness=10"
    assert rows(files(texts, {"vm.swappiness": "10"}))["vm.swappiness"]["contested"] is False


def test_wildcards_and_lines_without_a_value_are_left_out() -> None:
    text = "net.ipv4.conf.*.rp_filter = 2\n-net.ipv4.conf.all.rp_filter\nvm.a b = 1\nnonsense"
    assert rows(files({"/etc/sysctl.d/90-b.conf": text}, {})) == {}


def test_a_setting_that_the_kernel_does_not_have() -> None:
    texts = {"/etc/sysctl.d/90-b.conf": "kernel.sched_min_granularity_ns=10000000"}
    row = rows(files(texts, {}))["kernel.sched_min_granularity_ns"]
    assert (row["known"], row["applied"], row["running"]) == (False, None, None)


def test_a_setting_that_only_root_may_read() -> None:
    path = "/proc/sys/fs/protected_regular"
    sections = [
        cmd("sysctl files", "/etc/sysctl.d/90-b.conf\n"),
        grep({"/etc/sysctl.d/90-b.conf": "fs.protected_regular=2"}),
        grep({}, [path], "Permission denied"),
        NO_TUNED,
    ]
    row = rows(sections)["fs.protected_regular"]
    assert row["known"] is True
    assert "needs root" in row["_errors"]["applied"]


def test_tuned_and_what_it_includes() -> None:
    more = tuned(
        ("hpc", "[main]\ninclude=throughput\n[sysctl]\nvm.swappiness = 10 # low\nnet.core.somaxconn=>2048\n"),
        ("throughput", "[sysctl]\nvm.swappiness=30\nvm.dirty_ratio=${ratio}\n[sysfs]\nx=1\n"),
    )
    found = rows(files({}, {"vm.swappiness": "60", "net.core.somaxconn": "4096", "vm.dirty_ratio": "20"}, *more))
    assert (found["vm.swappiness"]["value"], found["vm.swappiness"]["applied"]) == ("10", False)
    assert found["vm.swappiness"]["set_by"] == "tuned:hpc"
    assert [found[key]["applied"] for key in ("net.core.somaxconn", "vm.dirty_ratio")] == [None, None]
    assert "x" not in found


@pytest.mark.parametrize(
    ("reapply", "by"),
    [("", "/etc/sysctl.d/9.conf"), ("reapply_sysctl = 1\n", "/etc/sysctl.d/9.conf"), ("reapply_sysctl=0\n", "tuned:p")],
)
def test_who_has_the_last_word(reapply: str, by: str) -> None:
    more = [*tuned(("p", "[sysctl]\nvm.swappiness=10\n")), cmd("reapply_sysctl", reapply, "", 0 if reapply else 1)]
    row = rows(files({"/etc/sysctl.d/9.conf": "vm.swappiness=1"}, {"vm.swappiness": "1"}, *more))["vm.swappiness"]
    assert (row["set_by"], row["contested"]) == (by, True)


def test_what_cannot_be_told() -> None:
    assert state_of("sysctl_files", [said("not mounted", "/proc"), *files({}, {})], NAME) == "error"
    assert state_of("sysctl_files", [NO_TUNED], NAME) == "error"
    assert value_of("sysctl_files", files({}, {}), NAME) == []


@given(st.text(max_size=200))
def test_any_text_is_read_without_raising(text: str) -> None:
    path = "/etc/sysctl.d/9.conf"
    for sections in (
        files({path: text}, {"vm.swappiness": text}),
        files({path: f"vm.swappiness={text}"}, {"vm.swappiness": "1"}),
        files({path: "vm.swappiness=1"}, {}, *tuned(("p", f"[sysctl]\n{text}"))),
        [cmd("sysctl files", text), NO_TUNED],
    ):
        fact = fact_of("sysctl_files", sections, NAME)
        assert fact.state is not FactState.ABSENT
        assert "could not be read (" not in fact.reason, fact


@pytest.mark.parametrize("shell", [["dash"], ["busybox", "sh"], ["bash", "--posix"]], ids=lambda shell: shell[0])
def test_the_source_on_files_of_a_node(tmp_path: Path, shell: list[str]) -> None:
    top, scratch = tmp_path / "top", tmp_path / "scratch"
    scratch.mkdir()
    why_not = refusal(scratch)
    if why_not:
        pytest.skip(f"no overlay root here: {why_not}")
    for path, text in {
        "etc/sysctl.d/90-site.conf": "#x=1\n vm/swappiness = 7\nkernel.no_such_key=1\n-net.ipv4.conf.*.rp_filter=2\n",
        "etc/tuned/active_profile": "mine\n",
        "etc/tuned/profiles/mine/tuned.conf": "[main]\ninclude=base\n[sysctl]\nvm.dirty_ratio=40\n",
        "usr/lib/tuned/base/tuned.conf": "[sysctl]\nvm.dirty_ratio=30\nvm.dirty_background_ratio=10\n",
    }.items():
        (top / path).parent.mkdir(parents=True, exist_ok=True)
        (top / path).write_text(text)
    reply = run_source(load_sources()["sysctl_files"], [], shell=shell, root=top)
    assert reply.note == ""
    fact = fact_of("sysctl_files", reply, NAME)
    found = {row["key"]: row for row in fact.value}
    assert found["vm.swappiness"]["value"] == "7"
    assert found["vm.swappiness"]["running"]
    assert found["kernel.no_such_key"]["known"] is False
    assert found["vm.dirty_ratio"]["value"] == "40"
    assert found["vm.dirty_background_ratio"]["set_by"] == "tuned:mine"
    assert write_transcript({"sysctl_files": reply})
