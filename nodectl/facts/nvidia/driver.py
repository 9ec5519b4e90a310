"""The NVIDIA driver in its parts: the loaded kernel module, the module on disk, Fabric Manager and DCGM beside it.

The parts must be of one version, and after a package update they are not until the next reboot: nvidia-smi then fails
with "Driver/library version mismatch", or works until something starts that loads the new library.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

from nodectl.facts.reading import one_line, origin
from nodectl.facts.registry import DERIVED_SOURCE, Context, Derivation, FactSpec, Field
from nodectl.model import Fact, absent, error, present

if TYPE_CHECKING:
    from nodectl.probe.transcript import Section, SourceReply

PROC = "nvidia_proc"
MODINFO = "nvidia_modinfo"
SERVICES = "nvidia_services"

FACTS: tuple[FactSpec, ...] = (
    FactSpec(name="driver.version", type="version", source=PROC, about="Version of the loaded kernel module"),
    FactSpec(
        name="driver.module_flavor",
        type="str",
        source=PROC,
        about="open or proprietary: the loaded kernel module, or the one on disk where none is loaded",
    ),
    FactSpec(name="driver.param[NAME]", type="str", source=PROC, about="A parameter of the loaded kernel module"),
    FactSpec(
        name="driver.params",
        type="rows",
        source=PROC,
        about="Every parameter of the loaded kernel module, as it runs with it",
        fields=(
            Field("name", "str", "", "without NVreg_"),
            Field("value", "str", "", "numbers are decimal"),
        ),
    ),
    FactSpec(name="gpu.proc_count", type="int", source=PROC, about="GPUs that the loaded kernel module has taken"),
    FactSpec(name="driver.branch", type="int", source=DERIVED_SOURCE, about="Branch of the loaded driver, e.g. 580"),
    FactSpec(
        name="driver.on_disk_version",
        type="version",
        source=MODINFO,
        about="Version of the kernel module on disk, for the running kernel: what a reload would load",
    ),
    FactSpec(name="driver.on_disk_flavor", type="str", source=MODINFO, about="open or proprietary: the module on disk"),
    FactSpec(name="driver.on_disk_path", type="str", source=MODINFO, about="File of the kernel module on disk"),
    FactSpec(
        name="driver.on_disk_vermagic", type="str", source=MODINFO, about="Kernel that the module on disk was built for"
    ),
    FactSpec(
        name="driver.fabricmanager_version", type="version", source=SERVICES, about="Version of NVIDIA Fabric Manager"
    ),
    FactSpec(name="driver.dcgm_version", type="version", source=SERVICES, about="Version of NVIDIA DCGM"),
)
_ON_DISK = ("driver.on_disk_version", "driver.on_disk_flavor", "driver.on_disk_path", "driver.on_disk_vermagic")

_MODULE = re.compile(r"NVRM version:\s+NVIDIA UNIX (.{0,80}?)\s+([0-9]{2,4}(?:\.[0-9]{1,6}){1,3})\b")
VERSION = re.compile(r"[0-9]{1,6}(\.[0-9A-Za-z]{1,12}){1,6}")
_PARAMETER = re.compile(r"([A-Za-z][A-Za-z0-9_]{0,80}): (.*)")
_BUS = re.compile(r"[0-9a-fA-F]{4,8}:[0-9a-fA-F]{2}:[0-9a-fA-F]{2}\.[0-7]")
_FABRICMANAGER = re.compile(r"Fabric Manager version is\s*:\s*([0-9]{2,4}(?:\.[0-9]{1,6}){1,3})\b")
_DCGM = re.compile(r"version\s*:\s*([0-9]{1,3}(?:\.[0-9]{1,6}){1,3})\b", re.IGNORECASE)
_ABSENT = ("No such file", "not found", "does not exist", "not exist")


def parse_proc(reply: SourceReply, context: Context) -> Iterable[Fact]:
    """Facts of the loaded kernel module."""
    proc = reply.find("file", "/proc/driver/nvidia/version")
    sysfs = reply.find("file", "/sys/module/nvidia/version")
    match = _MODULE.search(proc.text) if proc is not None else None
    yield _loaded_version(reply, proc, sysfs, match[2] if match else None)
    yield _flavor(reply, proc, match[1] if match else None)
    yield from _parameters(reply, context)
    yield _taken(reply)


def _loaded_version(reply: SourceReply, proc: Section | None, sysfs: Section | None, found: str | None) -> Fact:
    name = "driver.version"
    if found is not None:
        return present(name, found, **origin(reply, proc))
    if sysfs is not None and sysfs.rc == 0 and VERSION.fullmatch(sysfs.text.strip()):
        return present(name, sysfs.text.strip(), **origin(reply, sysfs))
    if proc is not None and proc.rc == 0:
        return error(name, f"cannot read a version in {proc.text[:80]!r}", **origin(reply, proc))
    return _missing(name, reply, proc, "the NVIDIA kernel module is not loaded")


def _flavor(reply: SourceReply, proc: Section | None, words: str | None) -> Fact:
    """The open module names itself so; the other one says "Kernel Module" only."""
    name = "driver.module_flavor"
    if words is not None:
        return present(name, "open" if "Open Kernel Module" in words else "proprietary", **origin(reply, proc))
    licence = reply.find("cmd", "modinfo -F license nvidia")
    if licence is not None and licence.rc == 0 and licence.text.strip():
        return _flavor_of_licence(name, licence.text.strip(), reply, licence)
    if proc is not None and proc.rc == 0:
        return error(name, f"cannot read the module's kind in {proc.text[:80]!r}", **origin(reply, proc))
    return _missing(name, reply, licence or proc, "no NVIDIA kernel module is loaded or on disk")


def _flavor_of_licence(name: str, licence: str, reply: SourceReply, section: Section) -> Fact:
    """The open module is under MIT/GPL, the other one under "NVIDIA"."""
    first = licence.splitlines()[0].strip()
    if "GPL" in first:
        return present(name, "open", **origin(reply, section))
    if first.casefold() == "nvidia":
        return present(name, "proprietary", **origin(reply, section))
    return error(name, f"the module's licence {first[:40]!r} is neither of NVIDIA's", **origin(reply, section))


def _parameters(reply: SourceReply, context: Context) -> Iterable[Fact]:
    section = reply.find("file", "/proc/driver/nvidia/params")
    values: dict[str, str] = {}
    if section is not None and section.rc == 0:
        for line in section.text.splitlines():
            match = _PARAMETER.fullmatch(line.strip())
            if match is not None:
                text = match[2]
                quoted = len(text) >= 2 and text[0] == text[-1] == '"'
                values[match[1]] = text[1:-1] if quoted else text
    if values:
        rows = [{"name": name, "value": value} for name, value in values.items()]
        yield present("driver.params", rows, **origin(reply, section))
    else:
        yield _missing("driver.params", reply, section, "the NVIDIA kernel module is not loaded")
    for key in context.keys_of("driver.param"):
        name = f"driver.param[{key}]"
        if key in values:
            yield present(name, values[key], **origin(reply, section))
        elif section is not None and section.rc == 0 and values:
            yield absent(name, f"this driver has no parameter {key}", **origin(reply, section))
        else:
            yield _missing(name, reply, section, "the NVIDIA kernel module is not loaded")


def _taken(reply: SourceReply) -> Fact:
    name = "gpu.proc_count"
    section = reply.find("cmd", "ls -1 /proc/driver/nvidia/gpus")
    if section is not None and section.rc == 0:
        buses = [line for line in section.text.split() if _BUS.fullmatch(line)]
        return present(name, len(buses), **origin(reply, section))
    return _missing(name, reply, section, "the NVIDIA kernel module is not loaded, or has taken no GPU")


def _missing(name: str, reply: SourceReply, section: Section | None, why: str) -> Fact:
    """Absent where the file is not there; an error where it could not be looked at."""
    if section is None:
        return error(name, "the probe did not read it", **origin(reply))
    said = one_line(section.stderr)
    if section.rc == 127:
        return error(name, f"{section.name.partition(' ')[0]} not found on the node", **origin(reply, section))
    if "modules.dep" not in said and section.rc is not None and any(word in said for word in _ABSENT):
        return absent(name, why, **origin(reply, section))
    if "ermission denied" in said:
        return error(name, f"needs root: {said}", **origin(reply, section))
    return error(name, said or f"could not be read (exit code {section.rc})", **origin(reply, section))


def parse_modinfo(reply: SourceReply, context: Context) -> Iterable[Fact]:
    """Facts of the kernel module on disk."""
    section = reply.find("cmd", "modinfo nvidia")
    if section is None or section.rc != 0:
        return [
            _missing(name, reply, section, "no nvidia module for the running kernel is on disk") for name in _ON_DISK
        ]
    fields: dict[str, str] = {}
    for line in section.text.splitlines():
        key, colon, value = line.partition(":")
        if colon:
            fields.setdefault(key.strip(), value.strip())
    where = origin(reply, section)
    facts = []
    for name, key in zip(_ON_DISK, ("version", "license", "filename", "vermagic"), strict=True):
        value = fields.get(key, "")
        if not value:
            facts.append(error(name, f"modinfo prints no {key}", **where))
        elif key == "license":
            facts.append(_flavor_of_licence(name, value, reply, section))
        elif key == "version" and VERSION.fullmatch(value) is None:
            facts.append(error(name, f"modinfo prints {value[:40]!r} as the version", **where))
        else:
            facts.append(present(name, value[:300], **where))
    return facts


def parse_services(reply: SourceReply, context: Context) -> Iterable[Fact]:
    """Versions of the programs that accompany the driver."""
    fabricmanager = reply.find("cmd", "nv-fabricmanager --version")
    yield _program("driver.fabricmanager_version", reply, fabricmanager, "nv-fabricmanager", _FABRICMANAGER)
    engine = reply.find("cmd", "nv-hostengine --version") or reply.find("cmd", "dcgmi --version")
    yield _program("driver.dcgm_version", reply, engine, "nv-hostengine", _DCGM)


def _program(name: str, reply: SourceReply, section: Section | None, program: str, pattern: re.Pattern[str]) -> Fact:
    if section is None:
        looked = reply.find("text", program)
        if looked is not None:
            return absent(name, f"{program} is not installed", **origin(reply, looked))
        return error(name, f"the probe did not look for {program}", **origin(reply))
    match = pattern.search(f"{section.text}\n{section.stderr}")
    if match is not None:
        return present(name, match[1], **origin(reply, section))
    said = one_line(f"{section.text}\n{section.stderr}")[:200]
    return error(
        name, f"{section.name} (exit code {section.rc}): {said or 'printed nothing'}", **origin(reply, section)
    )


def branch(version: str) -> int:
    """`580.159.04` -> 580."""
    return int(version.partition(".")[0])


DERIVED: dict[str, Derivation] = {"driver.branch": (("driver.version",), branch)}
SOURCES = {PROC: parse_proc, MODINFO: parse_modinfo, SERVICES: parse_services}
