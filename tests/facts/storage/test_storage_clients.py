"""Clients of parallel file systems, and what Lustre's says of itself."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from replies import cmd, fact_of, facts_of, file, grep, no_file, said, state_of, value_of

from nodectl.facts.registry import registry
from nodectl.model import FactState
from nodectl.probe.transcript import Section

UNITS = """Id=gpfs.service
Names=gpfs.service
LoadState=not-found
ActiveState=inactive
UnitFileState=

Id=weka-agent.service
Names=weka-agent.service
LoadState=loaded
ActiveState=failed
UnitFileState=enabled
"""
STATE, IMPORT = "lctl get_param state", "lctl get_param import"
LUSTRE = [name for name, spec in registry().items() if spec.source == "lustre"]


def modules(*names: str) -> Section:
    return cmd("/proc/modules", "".join(f"{name}\n" for name in [*names, "nd_total 90"]))


def lustre(**texts: str) -> list[Section]:
    given_texts = {
        "version": "2.15.6\n",
        "health": "healthy\n",
        "nids": "10.50.1.11@o2ib\n10.1.1.11@tcp\n",
        "state": "mdc.lfs-MDT0000-mdc-ff00.state=\ncurrent_state: FULL\nnd_rc 0\n",
        "imports": "mdc.lfs-MDT0000-mdc-ff00.import=\n    target_version: 2.15.6.0\nnd_rc 0\n",
    } | texts
    return [
        file("/sys/fs/lustre/version", given_texts["version"]),
        file("/sys/fs/lustre/health_check", given_texts["health"]),
        cmd("lctl list_nids", given_texts["nids"]),
        cmd(STATE, given_texts["state"]),
        cmd(IMPORT, given_texts["imports"]),
    ]


def test_a_node_with_none_of_them() -> None:
    assert value_of("storage_clients", [modules()], "storage.clients") == []


def test_a_kernel_without_modules() -> None:
    gone = cmd("/proc/modules", "", "awk: cannot open /proc/modules (No such file or directory)\n", 2)
    assert value_of("storage_clients", [gone], "storage.clients") == []
    assert state_of("storage_clients", [said("not mounted", "/proc"), gone], "storage.clients") == "error"


def test_modules_units_and_versions() -> None:
    sections = [
        modules("beegfs", "wekafsio"),
        grep({"/sys/module/beegfs/version": "7.4.6"}),
        said("folder /opt/weka", "yes"),
        cmd("systemctl show", UNITS),
    ]
    rows = value_of("storage_clients", sections, "storage.clients")
    assert [(row["client"], row["version"], row["unit"], row["active_state"]) for row in rows] == [
        ("beegfs", "7.4.6", None, None),
        ("weka", None, "weka-agent.service", "failed"),
    ]


def test_a_client_that_is_installed_where_systemd_does_not_answer() -> None:
    sections = [modules(), said("folder /opt/weka", "yes"), cmd("systemctl show", "", "Failed to connect to bus\n", 1)]
    (row,) = value_of("storage_clients", sections, "storage.clients")
    assert row["unit"] == "weka-agent.service"
    assert "Failed to connect" in row["_errors"]["active_state"]


def test_modules_that_were_cut_are_an_error() -> None:
    assert state_of("storage_clients", [cmd("/proc/modules", "weka\n")], "storage.clients") == "error"


def test_the_lustre_client() -> None:
    facts = facts_of("lustre", lustre(), *LUSTRE)
    assert facts["lustre.version"].value == "2.15.6"
    assert facts["lustre.health"].value == "healthy"
    assert facts["lustre.networks"].value == ["o2ib", "tcp"]
    assert facts["lustre.server_versions"].value == ["2.15.6.0"]
    assert facts["lustre.targets"].value[0]["state"] == "FULL"


def test_recorded_health(shared: Path) -> None:
    text = (shared / "recordings/public/lustre/telegraf-sys-fs-lustre-health_check.txt").read_text()
    assert value_of("lustre", lustre(health=text), "lustre.health") == "healthy"


def test_no_client_is_absent() -> None:
    for name in LUSTRE:
        assert state_of("lustre", [said("no client", "the Lustre modules are not loaded")], name) == "absent"
        blind = [said("not mounted", "/sys"), said("no client", "x")]
        assert state_of("lustre", blind, name) == "error"


def test_an_old_client_says_its_version_with_more_below() -> None:
    text = "lustre: 2.10.8\nkernel: patchless_client\nbuild: 2.10.8\n"
    assert value_of("lustre", lustre(version=text), "lustre.version") == "2.10.8"


def test_evictions_are_counted_and_dated() -> None:
    text = (
        "osc.lfs-OST0000-osc-ff00.state=\ncurrent_state: FULL\n - [ 1795000000, EVICTED ]\n - [ 1795100000, EVICTED ]\n"
        "osc.lfs-OST0001-osc-ff00.state=\ncurrent_state: DISCONN\nnd_rc 0\n"
    )
    rows = value_of("lustre", lustre(state=text), "lustre.targets")
    assert rows == [
        {"target": "lfs-OST0000", "kind": "ost", "state": "FULL", "evictions": 2, "last_evicted_s": 1795100000},
        {"target": "lfs-OST0001", "kind": "ost", "state": "DISCONN", "evictions": 0, "last_evicted_s": None},
    ]


def test_loaded_and_not_mounted() -> None:
    missing = "error: get_param: param_path 'osc/*/state': No such file or directory\n"
    sections = [*lustre()[:3], cmd(STATE, "nd_rc 2\n", missing), cmd(IMPORT, "nd_rc 2\n", missing)]
    assert value_of("lustre", sections, "lustre.targets") == []
    assert state_of("lustre", sections, "lustre.server_versions") == "absent"


@pytest.mark.parametrize(
    ("text", "stderr"),
    [
        ("nd_rc 77\n", "needs root: lctl get_param\n"),
        ("nd_rc 127\n", "sh: lctl: not found\n"),
        ("nd_rc 1\n", "cannot open /dev/obd: Permission denied\n"),
        ("osc.lfs-OST0000-osc-ff00.state=\n", ""),
        ("current_state: FULL\nnd_rc 0\n", ""),
        ("", ""),
    ],
)
def test_targets_that_cannot_be_told(text: str, stderr: str) -> None:
    sections = [*lustre()[:3], cmd(STATE, text, stderr), cmd(IMPORT, text, stderr)]
    assert state_of("lustre", sections, "lustre.targets") == "error"


def test_a_target_without_a_state() -> None:
    (row,) = value_of("lustre", lustre(state="osc.lfs-OST0000-osc-ff00.state=\nnd_rc 0\n"), "lustre.targets")
    assert row["_errors"] == {"state": "lctl did not say it"}


@given(st.text(max_size=200))
def test_any_text_is_read_without_raising(text: str) -> None:
    sections = lustre(version=text, health=text, nids=text, state=text, imports=text)
    facts = facts_of("lustre", sections, *LUSTRE)
    clients = [modules(text), grep({"/sys/module/beegfs/version": text}), cmd("systemctl show", text)]
    for fact in (*facts.values(), fact_of("storage_clients", clients, "storage.clients")):
        assert "could not be read (" not in fact.reason
        if fact.name not in ("lustre.server_versions",):
            assert fact.state is not FactState.ABSENT
    assert state_of("lustre", [no_file("/sys/fs/lustre/version", "Input/output error")], "lustre.version") == "error"
