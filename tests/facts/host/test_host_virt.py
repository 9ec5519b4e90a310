"""Virtual machine or bare metal, DMI, IOMMU, clock source, Secure Boot."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from replies import cmd, fact_of, facts_of, grep, said, state_of, value_of

from nodectl.model import FactState
from nodectl.probe.transcript import Section

DMI = "/sys/class/dmi/id"
DMI_FILES = ("sys_vendor", "product_name", "bios_version", "bios_date")
VM, CONTAINER = "systemd-detect-virt --vm", "systemd-detect-virt --container"
GROUPS = "/sys/kernel/iommu_groups"
X86 = "processor\t: 0\nvendor_id\t: GenuineIntel\nflags\t\t: fpu {}sse\n"
ARM = "processor\t: 0\nCPU implementer\t: 0x41\nCPU part\t: 0xd4f\n"


def _machine(
    *, detect: str | None = None, vendor: str = "", product: str = "", cpu: str = X86.format(""), rc: int = 0
) -> list[Section]:
    detected = cmd(VM, f"{detect}\n", "", rc) if detect else cmd(VM, "", "sh: systemd-detect-virt: not found\n", 127)
    files = {f"{DMI}/sys_vendor": vendor, f"{DMI}/product_name": product, f"{DMI}/bios_version": "1.0"}
    known = {path: text for path, text in files.items() if vendor}
    gone = [f"{DMI}/{name}" for name in DMI_FILES if f"{DMI}/{name}" not in known]
    return [detected, cmd("first CPU of /proc/cpuinfo", cpu), grep(known, gone)]


@pytest.mark.parametrize(
    ("said_", "rc", "type", "is_vm"),
    [
        ("none", 1, "none", False),
        ("kvm", 0, "kvm", True),
        ("vm-other", 0, "other", True),
        ("amazon", 0, "amazon", True),
    ],
)
def test_systemd_is_believed(said_: str, rc: int, type: str, is_vm: bool) -> None:
    facts = facts_of("platform", _machine(detect=said_, rc=rc), "virt.type", "virt.is_vm")
    assert (facts["virt.type"].value, facts["virt.is_vm"].value) == (type, is_vm)


@pytest.mark.parametrize(
    ("vendor", "product", "flag", "type"),
    [
        ("NVIDIA", "DGXH100", "", "none"),
        ("Supermicro", "AS -8125GS-TNHR", "", "none"),
        ("Amazon EC2", "p5.48xlarge", "hypervisor ", "amazon"),
        ("Amazon EC2", "i3.metal", "", "none"),
        ("Google", "Google Compute Engine", "hypervisor ", "google"),
        ("Microsoft Corporation", "Virtual Machine", "hypervisor ", "microsoft"),
        ("QEMU", "Standard PC (Q35 + ICH9, 2009)", "hypervisor ", "kvm"),
        ("Acme", "Cloud", "hypervisor ", "other"),
        ("", "", "hypervisor ", "other"),
        ("", "", "", "none"),
    ],
)
def test_without_systemd_cpu_and_dmi_tell_on_x86(vendor: str, product: str, flag: str, type: str) -> None:
    sections = _machine(vendor=vendor, product=product, cpu=X86.format(flag))
    assert value_of("platform", sections, "virt.type") == type


@pytest.mark.parametrize(
    ("vendor", "product", "type"),
    [("NVIDIA", "GH200 P5048", "none"), ("QEMU", "KVM Virtual Machine", "kvm"), ("Amazon EC2", "g5g.metal", None),
     ("", "", None)],
)  # fmt: skip
def test_without_systemd_on_arm_only_a_clear_name_tells(vendor: str, product: str, type: str | None) -> None:
    fact = fact_of("platform", _machine(vendor=vendor, product=product, cpu=ARM), "virt.type")
    assert fact.value == type
    assert (fact.state is FactState.ERROR) is (type is None)


def test_is_vm_is_as_unknown_as_the_type() -> None:
    sections = _machine(cpu="")
    assert state_of("platform", sections, "virt.type") == "error"
    assert state_of("platform", sections, "virt.is_vm") == "error"


def test_containers() -> None:
    assert value_of("platform", [cmd(CONTAINER, "none\n", "", 1)], "virt.container") == "none"
    missing = cmd(CONTAINER, "", "sh: not found\n", 127)
    assert value_of("platform", [missing, said("container file", "/run/.containerenv")], "virt.container") == "podman"
    assert value_of("platform", [missing, said("container file", "/.dockerenv")], "virt.container") == "docker"
    assert state_of("platform", [missing], "virt.container") == "error"


def test_dmi() -> None:
    sections = _machine(vendor="NVIDIA", product="DGXH100")
    assert value_of("platform", sections, "node.vendor") == "NVIDIA"
    assert value_of("platform", sections, "node.product") == "DGXH100"
    assert state_of("platform", sections, "bios.date") == "absent"
    bare = _machine()
    assert fact_of("platform", bare, "node.vendor").reason == "the machine has no DMI tables"
    assert state_of("platform", [*bare, said("not mounted", "/sys")], "node.vendor") == "error"


def _groups(text: str, types: str = "", stderr: str = "", rc: int = 0) -> list[Section]:
    return [cmd(f"ls {GROUPS}", text, stderr, rc), cmd("iommu group types", types)]


def test_iommu() -> None:
    sections = _groups("0\n1\n10\n", "      2 identity\n      1 DMA-FQ\n")
    assert value_of("platform", sections, "iommu.groups") == 3
    assert value_of("platform", sections, "iommu.domains") == [
        {"type": "identity", "groups": 2}, {"type": "DMA-FQ", "groups": 1},
    ]  # fmt: skip


def test_iommu_off_missing_and_broken() -> None:
    assert value_of("platform", _groups(""), "iommu.groups") == 0
    assert fact_of("platform", _groups(""), "iommu.domains").reason == "the IOMMU is off: there are no groups"
    gone = _groups("", stderr=f"ls: cannot access '{GROUPS}': No such file or directory\n", rc=2)
    denied = _groups("", stderr=f"ls: cannot open directory '{GROUPS}': Permission denied\n", rc=2)
    for name in ("iommu.groups", "iommu.domains"):
        assert state_of("platform", gone, name) == "absent"
        assert state_of("platform", [*gone, said("not mounted", "/sys")], name) == "error"
        assert state_of("platform", denied, name) == "error"
    assert state_of("platform", _groups("a b"), "iommu.groups") == "error"
    assert state_of("platform", _groups("0\n", "what\n"), "iommu.domains") == "error"


def test_recorded_clock_source(shared: Path) -> None:
    path = "/sys/devices/system/clocksource/clocksource0/current_clocksource"
    text = (shared / "recordings/h200x8/fs" / path[1:]).read_text().rstrip("\n")
    assert value_of("platform", [grep({path: text})], "clocksource.current") == "tsc"


VARIABLE = "ls -d /sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c"


@pytest.mark.parametrize(
    ("efi", "value", "listing", "state"),
    [
        ("yes", "1", cmd(VARIABLE, "x\n"), True),
        ("yes", "0", cmd(VARIABLE, "x\n"), False),
        ("no", "", cmd(VARIABLE, "", "ls: No such file or directory\n", 2), "absent"),
        ("yes", "", cmd(VARIABLE, "", "ls: No such file or directory\n", 2), "error"),
        ("yes", "", cmd(VARIABLE, "x\n"), "error"),
        ("maybe", "1", cmd(VARIABLE, "x\n"), "error"),
        ("yes", "7", cmd(VARIABLE, "x\n"), "error"),
    ],
)
def test_secure_boot(efi: str, value: str, listing: Section, state: bool | str) -> None:
    fact = fact_of("secureboot", [said("efi", efi), listing, cmd("SecureBoot", value)], "secureboot.enabled")
    if isinstance(state, bool):
        assert fact.value is state
    else:
        assert fact.state.value == state


def test_no_sysfs_is_no_bios_machine() -> None:
    sections = [said("not mounted", "/sys"), said("efi", "no"), cmd("SecureBoot", "")]
    assert state_of("secureboot", sections, "secureboot.enabled") == "error"


@given(st.text(max_size=200), st.integers(0, 255))
def test_any_text_is_read_without_raising(text: str, rc: int) -> None:
    sections = [
        *(cmd(name, text, "", rc) for name in (VM, CONTAINER, f"ls {GROUPS}", "iommu group types")),
        cmd("first CPU of /proc/cpuinfo", text),
        grep({f"{DMI}/{name}": text for name in DMI_FILES}),
    ]
    names = ("virt.type", "virt.container", "node.vendor", "iommu.groups", "iommu.domains")
    for fact in facts_of("platform", sections, *names).values():
        assert "could not be read (" not in fact.reason
        # An empty list of groups is an answer: the IOMMU is off.
        assert fact.state is not FactState.ABSENT or fact.name == "iommu.domains"
