"""The driver's parts: loaded module, module on disk, libraries, firmware, Fabric Manager, DCGM."""

from __future__ import annotations

from pathlib import Path

import pytest
from nvidia_replies import cmd, facts_of, file, no_file

from nodectl.facts.gather import gather
from nodectl.model import Fact, FactState, Node
from nodectl.probe.transcript import Section, write_transcript

OPEN = (
    "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.159.04  Release Build  (root@build)\nGCC version: x\n"
)
CLOSED = "NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.161.08  Sat Jan 27 03:21:38 UTC 2024\nGCC version: x\n"
VERSION, SYSFS, PARAMS = "/proc/driver/nvidia/version", "/sys/module/nvidia/version", "/proc/driver/nvidia/params"
GPUS = "ls -1 /proc/driver/nvidia/gpus"
NO_GPUS = cmd(GPUS, rc=2, stderr="ls: cannot access '/proc/driver/nvidia/gpus': No such file or directory\n")


def proc(*sections: Section, params: tuple[str, ...] = ()) -> dict[str, Fact]:
    return facts_of("nvidia_proc", sections, keys={"driver.param": params})


@pytest.mark.parametrize(
    ("text", "version", "flavor"), [(OPEN, "580.159.04", "open"), (CLOSED, "535.161.08", "proprietary")]
)
def test_the_loaded_module(text: str, version: str, flavor: str) -> None:
    params = 'EnableStreamMemOPs: 1\nRegistryDwords: "A=1;B=2"\nRmMsg: ""\n'
    facts = proc(
        file(VERSION, text),
        file(PARAMS, params),
        cmd(GPUS, "0000:18:00.0\n0000:2a:00.0\n"),
        params=("EnableStreamMemOPs", "RegistryDwords", "RmMsg", "Nothing"),
    )
    assert (facts["driver.version"].value, facts["driver.module_flavor"].value) == (version, flavor)
    assert facts["gpu.proc_count"].value == 2
    assert facts["driver.param[EnableStreamMemOPs]"].value == "1"
    assert facts["driver.param[RegistryDwords]"].value == "A=1;B=2"
    assert facts["driver.param[RmMsg]"].value == ""
    assert facts["driver.param[Nothing]"].state is FactState.ABSENT


def test_h200x8(shared: Path) -> None:
    root = shared / "recordings/h200x8/fs/proc/driver/nvidia"
    facts = proc(
        file(VERSION, (root / "version").read_text()),
        file(PARAMS, (root / "params").read_text()),
        cmd(GPUS, "\n".join(path.name for path in (root / "gpus").iterdir())),
        params=("ImexChannelCount",),
    )
    assert facts["driver.version"].value == "580.159.04"
    assert facts["driver.module_flavor"].value == "open"
    assert facts["gpu.proc_count"].value == 8
    assert facts["driver.param[ImexChannelCount]"].value == "2048"


def test_no_driver_loaded() -> None:
    files = (no_file(VERSION), no_file(SYSFS), no_file(PARAMS), NO_GPUS)
    for licence, flavor in (("Dual MIT/GPL\n", "open"), ("NVIDIA\n", "proprietary")):
        facts = proc(*files, cmd("modinfo -F license nvidia", licence), params=("X",))
        assert facts["driver.module_flavor"].value == flavor
        for name in ("driver.version", "gpu.proc_count", "driver.param[X]"):
            assert facts[name].state is FactState.ABSENT
            assert "not loaded" in facts[name].reason
    nothing = proc(*files, cmd("modinfo -F license nvidia", rc=1, stderr="modinfo: ERROR: Module nvidia not found.\n"))
    assert nothing["driver.module_flavor"].state is FactState.ABSENT
    unknown = proc(*files, cmd("modinfo -F license nvidia", rc=127, stderr="sh: modinfo: not found\n"))
    assert unknown["driver.module_flavor"].state is FactState.ERROR


def test_what_cannot_be_read_is_an_error() -> None:
    denied = Section("file", VERSION, "", f"cat: {VERSION}: Permission denied\n", 1)
    facts = proc(denied, no_file(SYSFS))
    assert "needs root" in facts["driver.version"].reason
    assert facts["driver.version"].state is FactState.ERROR
    strange = proc(file(VERSION, "hello\n"))
    assert strange["driver.version"].state is FactState.ERROR
    assert strange["driver.module_flavor"].state is FactState.ERROR
    assert proc(file(VERSION, "hello\n"), file(SYSFS, "470.256.02\n"))["driver.version"].value == "470.256.02"
    assert all(fact.state is FactState.ERROR for fact in proc().values())


def test_the_branch_is_derived() -> None:
    transcript = write_transcript({"nvidia_proc": [file(VERSION, OPEN)]})
    facts = gather(transcript, ["driver.branch", "driver.version"], Node(name="n"))
    assert facts["driver.branch"].value == 580
    missing = write_transcript({"nvidia_proc": [no_file(VERSION), no_file(SYSFS)]})
    assert gather(missing, ["driver.branch"], Node(name="n"))["driver.branch"].state is FactState.ABSENT


MODINFO = """filename:       /lib/modules/6.8.0-51-generic/updates/dkms/nvidia.ko.zst
firmware:       nvidia/580.159.04/gsp_tu10x.bin
firmware:       nvidia/580.159.04/gsp_ga10x.bin
version:        580.159.04
license:        Dual MIT/GPL
srcversion:     0123456789ABCDEF
vermagic:       6.8.0-51-generic SMP preempt mod_unload modversions
"""


def test_the_module_on_disk() -> None:
    facts = facts_of("nvidia_modinfo", [cmd("modinfo nvidia", MODINFO)])
    assert facts["driver.on_disk_version"].value == "580.159.04"
    assert facts["driver.on_disk_flavor"].value == "open"
    assert facts["driver.on_disk_path"].value.endswith("updates/dkms/nvidia.ko.zst")
    assert facts["driver.on_disk_vermagic"].value.startswith("6.8.0-51-generic ")


@pytest.mark.parametrize(
    ("section", "state"),
    [
        (cmd("modinfo nvidia", rc=1, stderr="modinfo: ERROR: Module nvidia not found.\n"), FactState.ABSENT),
        (cmd("modinfo nvidia", rc=127, stderr="sh: modinfo: not found\n"), FactState.ERROR),
        (cmd("modinfo nvidia", rc=1, stderr="modinfo: could not open modules.dep: No such file\n"), FactState.ERROR),
        (cmd("modinfo nvidia", "version: hello\nlicense: WTF\n"), FactState.ERROR),
    ],
)
def test_no_module_on_disk(section: Section, state: FactState) -> None:
    for fact in facts_of("nvidia_modinfo", [section]).values():
        assert fact.state is state, fact


CACHE = """	libnvidia-ml.so.1 (libc6) => /lib/i386-linux-gnu/libnvidia-ml.so.1
	libnvidia-ml.so.1 (libc6,x86-64) => /lib/x86_64-linux-gnu/libnvidia-ml.so.1
	libcuda.so.1 (libc6,x86-64) => /lib/x86_64-linux-gnu/libcuda.so.1
"""
LIB = "/usr/lib/x86_64-linux-gnu"
CACHED = f"/lib/x86_64-linux-gnu/libnvidia-ml.so.1\t{LIB}/libnvidia-ml.so.580.159.04\n"
LIBRARIES = "\n".join(
    f"{LIB}/{short}\t{LIB}/{target}"
    for short, target in (
        ("libnvidia-ml.so.1", "libnvidia-ml.so.580.159.04"),
        ("libnvidia-ml.so.570.86.15", "libnvidia-ml.so.570.86.15"),
        ("libnvidia-ml.so.580.159.04", "libnvidia-ml.so.580.159.04"),
        ("libcuda.so.1", "libcuda.so.580.159.04"),
    )
)
FIRMWARE = "/lib/firmware/nvidia/570.86.15/gsp_ga10x.bin\n/lib/firmware/nvidia/580.159.04/gsp_tu10x.bin.zst\n"


def test_libraries_and_firmware() -> None:
    facts = facts_of(
        "nvidia_userspace",
        [
            cmd("LD_LIBRARY_PATH"),
            cmd("ldconfig -p", CACHE),
            cmd("cached libraries", CACHED),
            cmd("libraries", LIBRARIES),
            cmd("firmware", FIRMWARE),
        ],
    )
    assert facts["driver.userspace_version"].value == "580.159.04"
    assert facts["driver.userspace_version"].command == "readlink -f /lib/x86_64-linux-gnu/libnvidia-ml.so.1"
    assert facts["driver.userspace_versions"].value == ["570.86.15", "580.159.04"]
    assert facts["driver.gsp_versions"].value == ["570.86.15", "580.159.04"]


def test_the_order_of_the_loader() -> None:
    mine = "/opt/x/libnvidia-ml.so.1\t/opt/x/libnvidia-ml.so.535.1\n"
    sections = [cmd("LD_LIBRARY_PATH", mine), cmd("ldconfig -p", CACHE), cmd("libraries", LIBRARIES)]
    assert facts_of("nvidia_userspace", sections)["driver.userspace_version"].value == "535.1"
    no_cache = [cmd("libraries", LIBRARIES)]
    assert facts_of("nvidia_userspace", no_cache)["driver.userspace_version"].value == "580.159.04"


def test_a_library_without_a_version_in_its_name_is_an_error() -> None:
    sections = [cmd("libraries", "/usr/lib/wsl/lib/libnvidia-ml.so.1\t/usr/lib/wsl/lib/libnvidia-ml.so.1\n")]
    fact = facts_of("nvidia_userspace", sections)["driver.userspace_version"]
    assert fact.state is FactState.ERROR
    nothing = facts_of("nvidia_userspace", [cmd("libraries"), cmd("firmware")])
    assert nothing["driver.userspace_version"].state is FactState.ABSENT
    assert nothing["driver.gsp_versions"].value == []


def test_fabric_manager_and_dcgm() -> None:
    facts = facts_of(
        "nvidia_services",
        [
            cmd("nv-fabricmanager --version", "Fabric Manager version is : 580.159.04\n"),
            cmd("nv-hostengine --version", "Version : 4.2.3\nBuild ID : 14\n"),
        ],
    )
    assert facts["driver.fabricmanager_version"].value == "580.159.04"
    assert facts["driver.dcgm_version"].value == "4.2.3"
    missing = facts_of(
        "nvidia_services",
        [Section("text", "nv-fabricmanager", "not found"), Section("text", "nv-hostengine", "not found")],
    )
    assert all(fact.state is FactState.ABSENT for fact in missing.values())
    broken = facts_of("nvidia_services", [cmd("nv-fabricmanager --version", "", rc=1, stderr="boom\n")])
    assert broken["driver.fabricmanager_version"].state is FactState.ERROR
    assert "boom" in broken["driver.fabricmanager_version"].reason
    dcgmi = facts_of("nvidia_services", [cmd("dcgmi --version", "dcgmi  version: 3.3.5\n")])
    assert dcgmi["driver.dcgm_version"].value == "3.3.5"
