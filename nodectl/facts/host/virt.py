"""What kind of machine it is: `virt.*`, `node.vendor`, `node.product`, `bios.*`, `iommu.*`, `secureboot.enabled`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

from nodectl.facts.host.cpu import first_cpu
from nodectl.facts.reading import CannotTell, NotThere, Reading, bracketed, command_trouble, told, word
from nodectl.facts.registry import DERIVED_SOURCE, Context, Derivation, FactSpec, Field
from nodectl.model import Fact

if TYPE_CHECKING:
    from nodectl.probe.transcript import SourceReply

_DMI = "/sys/class/dmi/id"
_CLOCK = "/sys/devices/system/clocksource/clocksource0/current_clocksource"
_GROUPS = "/sys/kernel/iommu_groups"
_VM, _CONTAINER = "systemd-detect-virt --vm", "systemd-detect-virt --container"
_EFI_VARIABLE = "/sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c"
_LOCKDOWN = "/sys/kernel/security/lockdown"
_ENFORCE = "/sys/module/module/parameters/sig_enforce"
# Who makes virtual machines, by what their DMI tables say, in the words of systemd-detect-virt.
_VM_MAKERS = (
    (r"Amazon EC2", "amazon"),
    (r"Google", "google"),
    (r"QEMU|KVM|OpenStack|RHEV|oVirt|Nutanix|DigitalOcean|Alibaba", "kvm"),
    (r"Microsoft", "microsoft"),
    (r"VMware|VMW", "vmware"),
    (r"innotek|VirtualBox|Oracle Corporation VirtualBox", "oracle"),
    (r"Xen", "xen"),
    (r"Parallels", "parallels"),
    (r"BHYVE", "bhyve"),
    (r"Apple Virtualization", "apple"),
)


def _spec(name: str, type: str, about: str, *, source: str = "platform", fields: tuple[Field, ...] = ()) -> FactSpec:
    return FactSpec(name=name, type=type, about=about, source=source, fields=fields)


FACTS = (
    _spec("virt.type", "str", "none on bare metal, else kvm, amazon, google, microsoft, vmware, ...; other if unnamed"),
    _spec("virt.is_vm", "bool", "A virtual machine", source=DERIVED_SOURCE),
    _spec("virt.container", "str", "none, or the container that nodectl's session is in: docker, podman, lxc, ..."),
    _spec("node.vendor", "str", "Maker of the machine, from DMI"),
    _spec("node.product", "str", "Model of the machine, from DMI"),
    _spec("bios.version", "str", "Version of the system firmware, from DMI"),
    _spec("bios.date", "str", "Date of the system firmware as DMI writes it (month/day/year)"),
    _spec("iommu.groups", "int", "IOMMU groups; 0 when the IOMMU is off"),
    _spec(
        "iommu.domains",
        "rows",
        "How IOMMU groups translate: identity is pass-through (iommu=pt); absent without groups",
        fields=(Field("type", about="identity, DMA, DMA-FQ, ..."), Field("groups", "int", about="groups of this type")),
    ),
    _spec("clocksource.current", "str", "Clock source of the kernel: tsc, kvm-clock, hpet, ..."),
    _spec(
        "secureboot.enabled", "bool", "Secure Boot is enforced; absent on a machine without EFI", source="secureboot"
    ),
    _spec(
        "kernel.lockdown",
        "str",
        "none, integrity or confidentiality: in the latter two unsigned modules are refused; absent without lockdown",
        source="secureboot",
    ),
    _spec(
        "kernel.module_sig_enforce",
        "bool",
        "The kernel refuses modules without a valid signature; absent where it checks no signatures",
        source="secureboot",
    ),
)


def _dmi(reading: Reading, file: str) -> str:
    path = f"{_DMI}/{file}"
    try:
        return word(reading.line(path), path)
    except NotThere:
        raise reading.not_there(path, "the machine has no DMI tables") from None


def _detected(reading: Reading, name: str) -> str:
    """The word of systemd-detect-virt (it says "none" with rc 1); empty when there is none."""
    said = reading.ran(name).text.strip()
    return said if re.fullmatch(r"[a-z0-9-]{2,30}", said) else ""


def _vm(reading: Reading) -> str:
    said = _detected(reading, _VM)
    if said:
        return "other" if said == "vm-other" else said
    return _vm_by_hardware(reading)


def _vm_by_hardware(reading: Reading) -> str:
    """Where systemd-detect-virt is missing: the CPU says on x86 whether there is a hypervisor, DMI whose it is."""
    cpu = first_cpu(reading)
    identity = []
    for file in ("sys_vendor", "product_name", "bios_version"):
        try:
            identity.append(_dmi(reading, file))
        except (NotThere, CannotTell):
            continue
    maker = next((name for pattern, name in _VM_MAKERS if any(re.search(pattern, text) for text in identity)), None)
    if "flags" in cpu:
        if "hypervisor" not in cpu["flags"].split():
            return "none"
        return maker or "other"
    # Other CPUs have no such flag. A cloud's metal instances carry the cloud's name too, so a name alone is no proof.
    if maker in ("kvm", "vmware", "xen", "oracle", "parallels", "bhyve", "apple"):
        return maker
    if identity and maker is None:
        return "none"
    raise CannotTell("no systemd-detect-virt, and neither the CPU nor DMI tells a VM from bare metal")


def _container(reading: Reading) -> str:
    said = _detected(reading, _CONTAINER)
    if said:
        return said
    if reading.has("text", "container file"):
        marks = {"/.dockerenv": "docker", "/run/.containerenv": "podman"}
        mark = reading.text("container file").strip()
        if mark not in marks:
            raise CannotTell(f"not the mark of a container: {mark!r:.60}")
        return marks[mark]
    raise CannotTell("no systemd-detect-virt, and no container left its mark")


def _group_count(reading: Reading) -> int:
    section = reading.ran(f"ls {_GROUPS}")
    if section.rc:
        if "No such file" in section.stderr:
            raise reading.not_there(_GROUPS, "this kernel knows no IOMMU groups")
        raise CannotTell(command_trouble(section))
    names = section.text.split()
    if not all(name.isdigit() for name in names):
        raise CannotTell(f"{_GROUPS} holds what is no group")
    return len(names)


def _domains(reading: Reading) -> list[dict[str, Any]]:
    if _group_count(reading) == 0:
        raise NotThere("the IOMMU is off: there are no groups")
    section = reading.ran("iommu group types")
    rows = []
    for line in section.text.splitlines():
        match = re.fullmatch(r"\s*(\d{1,6}) ([A-Za-z-]{1,20})", line)
        if not match:
            raise CannotTell(f"iommu group types: not understood: {line!r:.60}")
        rows.append({"type": match[2], "groups": int(match[1])})
    if not rows:
        if "No such file" in section.stderr:
            raise NotThere("this kernel does not say how its IOMMU groups translate")
        raise CannotTell(command_trouble(section) if section.rc else section.stderr[:200] or "they read as empty")
    return rows


def parse(reply: SourceReply, context: Context) -> Iterator[Fact]:
    """The facts of the source `platform`."""
    reading = Reading(reply)
    yield told("virt.type", lambda: _vm(reading), _VM)
    yield told("virt.container", lambda: _container(reading), _CONTAINER)
    for name, file in (
        ("node.vendor", "sys_vendor"),
        ("node.product", "product_name"),
        ("bios.version", "bios_version"),
        ("bios.date", "bios_date"),
    ):
        yield told(name, partial(_dmi, reading, file), f"{_DMI}/{file}")
    yield told("iommu.groups", lambda: _group_count(reading), f"ls {_GROUPS}")
    yield told("iommu.domains", lambda: _domains(reading), f"{_GROUPS}/*/type")
    yield told("clocksource.current", lambda: word(reading.line(_CLOCK), _CLOCK), _CLOCK)


def _secure_boot(reading: Reading) -> bool:
    efi = reading.text("efi").strip()
    if efi not in ("yes", "no"):
        raise CannotTell("the probe did not say whether there is EFI firmware")
    if efi == "no":
        raise reading.not_there("/sys/firmware/efi", "the machine was not started by EFI firmware")
    read = reading.ran("SecureBoot")
    if read.text.strip() in ("0", "1"):
        return read.text.strip() == "1"
    listing = reading.ran(f"ls -d {_EFI_VARIABLE}")
    if listing.rc and "No such file" in listing.stderr:
        raise CannotTell("EFI firmware, but its variables are not mounted or hold no SecureBoot")
    raise CannotTell(f"the EFI variable SecureBoot cannot be read: {read.stderr}"[:200])


def parse_secure_boot(reply: SourceReply, context: Context) -> Iterator[Fact]:
    """The facts of the source `secureboot`."""
    reading = Reading(reply)
    yield told("secureboot.enabled", lambda: _secure_boot(reading), "mokutil --sb-state")
    yield told("kernel.lockdown", lambda: bracketed(reading.line(_LOCKDOWN), _LOCKDOWN), _LOCKDOWN)
    yield told("kernel.module_sig_enforce", lambda: _enforced(reading.line(_ENFORCE)), _ENFORCE)


def _enforced(text: str) -> bool:
    if text.strip() not in ("Y", "N"):
        raise CannotTell(f"{_ENFORCE} is neither Y nor N: {text.strip()!r:.20}")
    return text.strip() == "Y"


SOURCES = {"platform": parse, "secureboot": parse_secure_boot}
DERIVED: dict[str, Derivation] = {"virt.is_vm": (("virt.type",), lambda kind: kind != "none")}
