"""Kernel modules: loaded, built in, on disk, and their parameters."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from replies import cmd, fact_of, facts_of, file, grep, no_file, said, state_of, value_of

from nodectl.facts.host.modules import parameter_path
from nodectl.model import FactState
from nodectl.probe.transcript import Section

NVIDIA = "nvidia 14381056 95 nvidia_uvm,nvidia_modeset, Live 0xffffffffc2a00000 (POE)\n"
MODINFO = (
    "filename:       /lib/modules/6.8.0-45-generic/updates/dkms/nvidia.ko.zst\nversion:        580.65.06\n"
    "license:        Dual MIT/GPL\nsrcversion:     ABCDEF\nvermagic:       6.8.0-45-generic SMP preempt mod_unload \n"
    "signer:         DKMS module signing key\nnd_rc 0\n"
)
NOT_FOUND = "modinfo: ERROR: Module {} not found.\n"


def _proc_modules(lines: str = NVIDIA) -> Section:
    return cmd("/proc/modules", f"{lines}nd_total 200\n")


def _info(name: str, text: str = MODINFO, stderr: str = "") -> Section:
    return cmd(f"modinfo {name}", text, stderr)


def _gone(name: str) -> Section:
    return _info(name, "nd_rc 1\n", NOT_FOUND.format(name))


def _sysfs(name: str, **files: str) -> list[Section]:
    folder = f"/sys/module/{name}"
    return [said(folder, "yes"), grep({f"{folder}/{file}": text for file, text in files.items()})]


def test_a_loaded_module() -> None:
    sections = [_proc_modules(), *_sysfs("nvidia", version="575.57.08", srcversion="FEDCBA", initstate="live")]
    assert value_of("modules", [*sections, _info("nvidia")], "module[nvidia]") == {
        "loaded": True,
        "builtin": False,
        "version": "575.57.08",
        "srcversion": "FEDCBA",
        "on_disk_version": "580.65.06",
        "refcount": 95,
        "initstate": "live",
        "taints": "POE",
    }


def test_a_loaded_module_without_modinfo_has_one_unknown_field() -> None:
    row = value_of(
        "modules", [_proc_modules(), _info("nvidia", "nd_rc 127\n", "sh: modinfo: not found")], "module[nvidia]"
    )
    assert row["loaded"] is True
    assert row["on_disk_version"] is None
    assert row["_errors"] == {"on_disk_version": "modinfo not found on the node"}


def test_dashes_and_underscores_are_the_same() -> None:
    sections = [_proc_modules("nvidia_uvm 1 0 - Live 0x0\n"), _info("nvidia-uvm")]
    assert value_of("modules", sections, "module[nvidia-uvm]")["refcount"] == 0


def test_not_loaded_is_absent() -> None:
    fact = fact_of("modules", [_proc_modules(), _info("nouveau")], "module[nouveau]")
    assert (fact.state, fact.reason) == (FactState.ABSENT, "the module nouveau is not loaded")


def test_built_in_modules_are_told_from_loaded_ones() -> None:
    by_sysfs = [_proc_modules(), *_sysfs("loop"), _gone("loop")]
    by_modinfo = [_proc_modules(), _info("loop", "filename:       (builtin)\nlicense: GPL\nnd_rc 0\n")]
    for sections in (by_sysfs, by_modinfo):
        row = value_of("modules", sections, "module[loop]")
        assert (row["builtin"], row["initstate"], row["refcount"]) == (True, "builtin", None)


def test_a_kernel_that_cannot_load_modules_has_none() -> None:
    none = cmd("/proc/modules", "", "awk: cannot open /proc/modules (No such file or directory)\n", 2)
    assert state_of("modules", [none, _gone("nouveau")], "module[nouveau]") == "absent"
    assert value_of("modules", [none, *_sysfs("loop"), _gone("loop")], "module[loop]")["builtin"] is True
    unmounted = [none, said("not mounted", "/proc"), _gone("nouveau")]
    assert state_of("modules", unmounted, "module[nouveau]") == "error"


def test_a_list_that_was_not_read_to_its_end_is_an_error() -> None:
    for section in (cmd("/proc/modules", NVIDIA), cmd("/proc/modules", ""), cmd("/proc/modules", "x\nnd_total 1\n")):
        assert state_of("modules", [section, _gone("nouveau")], "module[nouveau]") == "error"
    denied = cmd("/proc/modules", "", "awk: /proc/modules: Permission denied\n", 2)
    assert fact_of("modules", [denied, _gone("x")], "module[x]").reason.startswith("needs root")


def test_a_module_on_disk() -> None:
    row = value_of("modules", [_proc_modules(), _info("nvidia")], "module_on_disk[nvidia]")
    assert row["version"] == "580.65.06"
    assert row["kernel_release"] == "6.8.0-45-generic"
    assert row["flavor"] == "open"
    assert row["signer"] == "DKMS module signing key"
    closed = value_of("modules", [_info("nvidia", MODINFO.replace("Dual MIT/GPL", "NVIDIA"))], "module_on_disk[nvidia]")
    assert closed["flavor"] == "proprietary"
    other = value_of("modules", [_info("mlx5_core")], "module_on_disk[mlx5_core]")
    assert other["flavor"] is None


@pytest.mark.parametrize(
    ("text", "stderr", "state", "reason"),
    [
        ("nd_rc 1\n", NOT_FOUND.format("nvidia"), "absent", "finds no module nvidia for the running kernel"),
        ("nd_rc 1\n", "modinfo: module 'nvidia' not found\n", "absent", "finds no module"),
        ("nd_rc 127\n", "sh: 1: modinfo: not found\n", "error", "modinfo not found on the node"),
        ("nd_rc 1\n", "modinfo: ERROR: could not open: Permission denied\n", "error", "Permission denied"),
        ("nd_rc 0\n", "", "error", "failed (rc 0)"),
        ("", "", "error", "failed (rc None)"),
    ],
)
def test_what_modinfo_may_answer(text: str, stderr: str, state: str, reason: str) -> None:
    fact = fact_of("modules", [_proc_modules(), _info("nvidia", text, stderr)], "module_on_disk[nvidia]")
    assert fact.state.value == state
    assert reason in fact.reason


def test_without_a_modules_folder_nothing_can_be_looked_up() -> None:
    sections = [said("no modules folder", "/lib/modules/6.8.0"), _gone("nvidia")]
    fact = fact_of("modules", sections, "module_on_disk[nvidia]")
    assert (fact.state, fact.reason) == (FactState.ERROR, "there is no /lib/modules/6.8.0 to look in")


@pytest.mark.parametrize("name", ["insights-lsmod.txt", "jc-ubuntu-18.04-lsmod.txt", "azhpc-centos.txt"])
def test_recorded_lists(shared: Path, name: str) -> None:
    """lsmod prints name, size and users of /proc/modules; state and address are put back."""
    text = (shared / "recordings/public/lsmod" / name).read_text()
    rows = [line.split() for line in text.splitlines()[1:] if len(line.split()) >= 3]
    assert len(rows) > 10
    lines = "".join(f"{row[0]} {row[1]} {row[2]} {row[3] if len(row) > 3 else '-'} Live 0x0\n" for row in rows)
    names = [row[0] for row in rows]
    sections = [_proc_modules(lines), *(_gone(name) for name in [*names, "nouveau_x"])]
    facts = facts_of("modules", sections, *(f"module[{name}]" for name in [*names, "nouveau_x"]))
    for row in rows:
        assert facts[f"module[{row[0]}]"].value["refcount"] == int(row[2])
    assert facts["module[nouveau_x]"].state is FactState.ABSENT


def test_parameters() -> None:
    path = parameter_path("nvidia-uvm.uvm_disable_hmm")
    assert path == "/sys/module/nvidia_uvm/parameters/uvm_disable_hmm"
    name = "module_param[nvidia-uvm.uvm_disable_hmm]"
    assert value_of("module_params", [grep({path: "Y"})], name) == "Y"
    assert state_of("module_params", [grep({}, [path])], name) == "absent"
    assert state_of("module_params", [grep({}, [path], "Permission denied")], name) == "error"
    assert state_of("module_params", [grep({}, [path]), said("not mounted", "/sys")], name) == "error"


def test_parameters_for_root_only_are_asked_again() -> None:
    path = parameter_path("nvidia.x")
    assert value_of("module_params", [cmd(path, "3\n")], "module_param[nvidia.x]") == "3"
    refused = cmd(path, "", "needs root: cat -- /sys/...\n", 77)
    fact = fact_of("module_params", [refused], "module_param[nvidia.x]")
    assert (fact.state, fact.reason[:10]) == (FactState.ERROR, "needs root")


@given(st.text(max_size=200), st.text(max_size=100), st.integers(1, 255))
def test_nothing_but_not_found_is_absent(text: str, stderr: str, rc: int) -> None:
    sections = [cmd("/proc/modules", text, stderr, rc), cmd("modinfo x", text, stderr, rc)]
    for fact in facts_of("modules", sections, "module[x]", "module_on_disk[x]").values():
        if "o such file" not in stderr and "not found" not in stderr:
            assert fact.state is not FactState.ABSENT
        assert "could not be read (" not in fact.reason


def test_file_sections_are_not_taken_for_commands() -> None:
    assert state_of("modules", [file("/proc/modules", NVIDIA), no_file("x")], "module[nvidia]") == "error"
