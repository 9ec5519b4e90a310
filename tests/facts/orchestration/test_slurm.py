"""A Slurm node: its files, its programs, and its state by the controller."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from node_files import SECRET, SHELLS, all_of, ask
from replies import cmd, fact_of, facts_of, said, state_of, value_of

from nodectl.facts.orchestration.slurm import FACTS
from nodectl.facts.orchestration.slurm_text import count_names, gpus_of, names_host, node_row, values_of
from nodectl.model import FactState
from nodectl.probe.transcript import Section

NAMES = [spec.name for spec in FACTS]
SLURM_CONF = f"""# main
ClusterName=ai
AccountingStoragePass={SECRET}
JobCompPass = {SECRET}
SlurmctldParameters=jwt_key={SECRET}
TaskPlugin=task/cgroup,task/affinity # both
proctracktype=proctrack/cgroup
GresTypes=gpu
Prolog=/etc/slurm/prolog.d/*
Epilog=/etc/slurm/epilog.sh
TaskProlog=relative.sh
HealthCheckProgram="/etc/slurm/nhc"
PropagateResourceLimitsExcept=MEMLOCK
Include nodes.conf
"""
NODES_CONF = """NodeName=DEFAULT RealMemory=2000000 \\
   CPUs=192
NodeName=HOST[0-3],HOST Gres=gpu:h200:8,shard:64 State=UNKNOWN
NodeName=cpu[1-3] CPUs=4
"""
PLUGINS = f"required /usr/lib/slurm/spank_pyxis.so token={SECRET}\noptional /usr/lib/x.so\n"
SCONTROL = """#!/bin/sh
cat <<EOF
NodeName=$4 Arch=x86_64 CoresPerSocket=48
   Gres=gpu:h200:8(S:0-1)
   GresUsed=gpu:h200:4(IDX:0-3)
   NodeAddr=x Version=25.05.3
   OS=Linux 6.8.0-87-generic #88-Ubuntu SMP
   RealMemory=2000000 AllocMem=0 State=MIXED*+DRAIN ThreadsPerCore=2
   Reason=gres/gpu count reported lower than configured (7 < 8) a=b [slurm@2026-11-20T06:39:53]
EOF
"""


def _node(host: str) -> dict[str, str]:
    return {
        "/etc/slurm/slurm.conf": SLURM_CONF,
        "/etc/slurm/nodes.conf": NODES_CONF.replace("HOST", host),
        "/etc/slurm/slurmdbd.conf": f"StoragePass={SECRET}\n",
        "/etc/slurm/gres.conf": "AutoDetect=off\nName=gpu Type=h200 File=/dev/nvidia[0-7]\nName=shard Count=64\n",
        "/etc/slurm/cgroup.conf": "ConstrainDevices=yes\nConstrainCores=no\n",
        "/etc/slurm/plugstack.conf": "include plugstack.d/*.conf\n",
        "/etc/slurm/plugstack.d/pyxis.conf": PLUGINS,
        "/usr/lib/slurm/spank_pyxis.so": "",
        "/etc/slurm/prolog.d/10-a.sh!": "#!/bin/sh\n",
        "/etc/slurm/nhc": "#!/bin/sh\n",
        "/etc/munge/munge.key": SECRET,
        "/usr/local/bin/slurmd!": "#!/bin/sh\necho slurm 25.05.3\n",
        "/usr/local/bin/scontrol!": SCONTROL,
    }


@pytest.mark.parametrize("shell", SHELLS)
def test_a_whole_node(shell: str, tmp_path: Path) -> None:
    host = Path("/proc/sys/kernel/hostname").read_text().strip().partition(".")[0]
    reply = ask("slurm", shell, tmp_path, _node(host))
    assert SECRET not in all_of(reply)
    assert reply.note == ""
    facts = facts_of("slurm", reply, *NAMES)
    assert {name: fact.reason for name, fact in facts.items() if fact.state is FactState.ERROR} == {}
    values = {name.removeprefix("slurm."): fact.value for name, fact in facts.items()}
    assert values["version"] == "25.05.3"
    assert values["task_plugins"] == ["task/cgroup", "task/affinity"]
    assert values["proctrack"] == "proctrack/cgroup"
    assert values["propagate_limits"] == []
    assert values["propagate_limits_except"] == ["MEMLOCK"]
    assert facts["slurm.gres_autodetect"].state is FactState.ABSENT
    assert (values["gres_conf_gpus"], values["gres_conf_without_file"]) == (8, 0)
    assert (values["configured_gpus"], values["configured_memory_mib"]) == (8, 2000000)
    assert (values["constrain_devices"], values["constrain_cores"], values["constrain_ram"]) == (True, False, False)
    assert [(row["key"], row["state"]) for row in values["programs"]] == [
        ("Prolog", "exec"),
        ("Epilog", "missing"),
        ("HealthCheckProgram", "noexec"),
    ]
    assert [(row["required"], row["found"]) for row in values["spank_plugins"]] == [(True, True), (False, False)]
    assert values["node"] == {
        "name": host,
        "state": "MIXED",
        "flags": ["DRAIN", "NOT_RESPONDING"],
        "reason": "gres/gpu count reported lower than configured (7 < 8) a=b [slurm@2026-11-20T06:39:53]",
        "version": "25.05.3",
        "real_memory_mib": 2000000,
        "gpus": 8,
        "gpus_used": 4,
    }


@pytest.mark.parametrize("shell", SHELLS)
def test_a_node_without_slurm_says_one_thing(shell: str, tmp_path: Path) -> None:
    reply = ask("slurm", shell, tmp_path, {"/etc/nothing": ""})
    assert [(one.name, one.text) for one in reply.sections] == [("found", "")]
    facts = facts_of("slurm", reply, *NAMES)
    assert facts.pop("slurm.running").value is False
    assert {fact.state for fact in facts.values()} == {FactState.ABSENT}


def test_a_controller_that_hangs_costs_eight_seconds_and_only_its_own_fact(tmp_path: Path) -> None:
    files = {**_node("x"), "/usr/local/bin/scontrol!": "#!/bin/sh\nexec sleep 60\n"}
    began = time.monotonic()
    reply = ask("slurm", "dash", tmp_path, files)
    assert time.monotonic() - began < 15
    assert reply.state == "ok"
    assert "did not end in its time" in fact_of("slurm", reply, "slurm.node").reason
    assert value_of("slurm", reply, "slurm.version") == "25.05.3"


def _state(text: str, stderr: str = "", rc: int = 0) -> list[Section]:
    return [said("found", "slurmd scontrol"), said("node", "gpu-01"), cmd("scontrol show node", text, stderr, rc)]


@pytest.mark.parametrize(
    ("text", "stderr", "rc", "says"),
    [
        ("", "slurm_load_node error: Unable to contact slurm controller (connect failure)\n", 1, "Unable to contact"),
        ("", "", 124, "did not end in its time"),
        ("hello\n", "", 0, "described no node"),
        ("NodeName=gpu-01\n", "", 0, "described no node"),
        ("", "scontrol: error: resolve_ctls_from_dns_srv: res_nsearch error\n", 1, "res_nsearch"),
    ],
)
def test_a_state_that_nobody_tells_is_an_error(text: str, stderr: str, rc: int, says: str) -> None:
    fact = fact_of("slurm", _state(text, stderr, rc), "slurm.node")
    assert fact.state is FactState.ERROR
    assert says in fact.reason


def test_a_node_that_the_controller_does_not_know_is_absent() -> None:
    fact = fact_of("slurm", _state("Node gpu-01 not found\n", "", 1), "slurm.node")
    assert (fact.state, fact.reason) == (FactState.ABSENT, "the controller knows no node 'gpu-01'")


def test_whether_slurmd_runs() -> None:
    found = said("found", "slurmd")
    assert value_of("slurm", [found, said("running", "yes")], "slurm.running") is True
    assert value_of("slurm", [found, said("running", "no")], "slurm.running") is False
    assert state_of("slurm", [found], "slurm.running") == "error"
    assert value_of("slurm", [said("found", "")], "slurm.running") is False


def test_recorded_nodes(shared: Path) -> None:
    text = (shared / "recordings/public/slurm/sckyzo-slurm-24.11.7-scontrol_nodes.txt").read_text()
    rows = [row for line in text.splitlines() if (row := node_row(line))]
    assert len(rows) == 20
    by_name = {row["name"]: row for row in rows}
    assert (by_name["na1"]["state"], by_name["na1"]["flags"], by_name["na1"]["gpus"]) == ("MIXED", ["DYNAMIC_NORM"], 0)
    assert (by_name["nb1"]["state"], by_name["nb1"]["gpus"], by_name["nb1"]["version"]) == ("IDLE", 4, "24.11.7")
    assert by_name["nb9"]["gpus"] == 4
    assert {row["real_memory_mib"] for row in rows} == {15867}


def test_recorded_gres(shared: Path) -> None:
    folder = shared / "recordings/public/slurm"
    words = [
        word
        for name in ("sckyzo-slurm-24.11.7-node_detail.txt", "sckyzo-slurm-25.05-node_detail_gres.txt")
        for line in (folder / name).read_text().splitlines()
        for word in line.split()
        if word.startswith("gpu:") or word == "(null)"
    ]
    assert len(words) > 20
    assert {gpus_of(word) for word in words} == {0, 2, 3, 4} - ({3} if "gpu:model_a:3(IDX:0-2)" not in words else set())


@pytest.mark.parametrize(
    ("gres", "count"),
    [("gpu:8", 8), ("gpu", 1), ("gpu:h200:8(S:0-1)", 8), ("gpu:a:2,gpu:b:2", 4), ("(null)", 0), ("", 0),
     ("gpu:nvidia_h100_80gb_hbm3:8(S:0,1),shard:h100:64(S:0-1)", 8), ("gpu:0(IDX:N/A)", 0), ("gpu:no_consume:4", 4),
     ("gpu:tesla", 1), ("shard:64", 0)],
)  # fmt: skip
def test_gpus_of_a_gres_text(gres: str, count: int) -> None:
    assert gpus_of(gres) == count


@pytest.mark.parametrize(
    ("spec", "host", "named"),
    [("gpu[01-64]", "gpu07", True), ("gpu[01-64]", "gpu7", False), ("gpu[1-64]", "gpu07", False),
     ("gpu[1-64]", "gpu64", True),
     ("gpu[1-64]", "gpu65", False), ("a,gpu-[1,3]", "gpu-3", True), ("r[1-2]n[1-8]", "r2n8", True),
     ("r[1-2]n[1-8]", "r3n1", False),
     ("x", "x", True), ("x", "xy", False), ("gpu[1-999999999]", "gpu12345", True), ("", "x", False), ("[", "x", False)],
)  # fmt: skip
def test_host_lists(spec: str, host: str, named: bool) -> None:
    assert names_host(spec, host) is named


@pytest.mark.parametrize(
    ("spec", "count"),
    [("/dev/nvidia[0-7]", 8), ("/dev/nvidia0", 1), ("/dev/nvidia[0-3],/dev/nvidia[4,6]", 6),
     ("/dev/nvidia[0-999999998]", 999999999)],
)  # fmt: skip
def test_device_files(spec: str, count: int) -> None:
    assert count_names(spec) == count


def test_gres_lines_of_other_nodes_do_not_count() -> None:
    conf = "line\tNodeName=other Name=gpu File=/dev/nvidia[0-3]\n"
    conf += "line\tNodeName=gpu-[01-02] Name=gpu Count=2\nnd_complete\n"
    sections = [said("found", "slurmd"), said("node", "gpu-01"), said("slurm.conf", "/x"), cmd("gres.conf", conf)]
    assert value_of("slurm", sections, "slurm.gres_conf_gpus") == 2
    assert value_of("slurm", sections, "slurm.gres_conf_without_file") == 1


def test_cut_and_denied_files_are_errors() -> None:
    base = [said("found", "slurmd"), said("node", "gpu-01"), said("slurm.conf", "/etc/slurm/slurm.conf")]
    for settings in (cmd("settings", "taskplugin\tx\n"), Section("cmd", "settings", "", "needs root: awk\n", 77)):
        for name in ("slurm.task_plugins", "slurm.constrain_devices", "slurm.configured_gpus"):
            assert state_of("slurm", [*base, settings], name) == "error"


@given(st.text(max_size=300), st.integers(0, 2))
def test_any_text_is_read_without_raising(text: str, rc: int) -> None:
    for body in (text, f"line\t{text}\nnd_complete\n", f"NodeName=x State={text}"):
        sections = [said("found", "slurmd scontrol"), said("node", text[:20]), said("slurm.conf", "/x")]
        names = ("settings", "gres.conf", "cgroup.conf", "programs", "plugins", "slurmd -V", "scontrol show node")
        sections += [cmd(name, body, "", rc) for name in names]
        for fact in facts_of("slurm", sections, *NAMES).values():
            assert "could not be read (" not in fact.reason


@given(st.text(alphabet="ab=[],-0189 \t\n\"'()+*", max_size=200), st.text(max_size=20))
def test_no_text_takes_long(text: str, host: str) -> None:
    began = time.monotonic()
    names_host(text, host)
    count_names(text)
    values_of(text)
    node_row(text)
    assert time.monotonic() - began < 1


def test_a_slurm_conf_that_was_not_found_is_an_error() -> None:
    sections = [said("found", "slurmd scontrol"), said("node", "x")]
    for name in ("slurm.health_check_program", "slurm.constrain_devices", "slurm.gres_autodetect", "slurm.programs"):
        assert state_of("slurm", sections, name) == "error"


def test_a_node_without_plugstack_conf_has_no_plugins() -> None:
    sections = [said("found", "slurmd"), said("slurm.conf", "/x"), cmd("programs", "nd_complete\n")]
    assert value_of("slurm", sections, "slurm.spank_plugins") == []
    assert value_of("slurm", sections, "slurm.programs") == []
    assert state_of("slurm", sections[:2], "slurm.spank_plugins") == "error"
    denied = Section("cmd", "plugins", "", "needs root: /etc/slurm/plugstack.conf\n", 77)
    assert state_of("slurm", [*sections, denied], "slurm.spank_plugins") == "error"
