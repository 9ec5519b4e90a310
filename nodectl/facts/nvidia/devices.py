"""Device files of the GPUs, and what modprobe.d tells the NVIDIA kernel modules at the next load."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from nodectl.facts.reading import Row, command_trouble, origin
from nodectl.facts.registry import Context, FactSpec, Field
from nodectl.model import Fact, absent, error, present

if TYPE_CHECKING:
    from nodectl.probe.transcript import SourceReply

DEVICES = "nvidia_devices"
OPTIONS = "nvidia_modprobe"

FACTS: tuple[FactSpec, ...] = (
    FactSpec(
        name="driver.device_files",
        type="rows",
        source=DEVICES,
        about="Device files of the NVIDIA driver in /dev, /dev/nvidia-caps and a driver container's /dev",
        fields=(
            Field("path", "str", "", "the file"),
            Field("name", "str", "", "without its folder: nvidia0, nvidiactl, nvidia-uvm"),
            Field("mode", "str", "", "permissions, octal: 666"),
            Field("uid", "int", "", "owner"),
            Field("gid", "int", "", "group"),
            Field("is_device", "bool", "", "it is a character device"),
        ),
    ),
    FactSpec(
        name="driver.gpu_minors",
        type="list",
        source=DEVICES,
        about="Minor number of each GPU that the driver has taken: GPU minor 3 is /dev/nvidia3",
    ),
    FactSpec(
        name="driver.module_options",
        type="rows",
        source=OPTIONS,
        about="Options of NVIDIA's kernel modules as the next load takes them (modprobe.d, kernel command line)",
        fields=(
            Field("module", "str", "", "nvidia, nvidia_uvm, ..."),
            Field("name", "str", "", "the option, e.g. NVreg_EnableMSI"),
            Field("value", "str", "", "without its quotes"),
            Field("file", "str", "", "where it stands"),
        ),
    ),
)

_MINOR = re.compile(
    r"/proc/driver/nvidia/gpus/[^:]{1,20}(?::[^:]{1,10}){0,3}/information:Device Minor:\s*([0-9]{1,5})\s*"
)
_FILE = re.compile(r"([0-7]{1,5}) ([0-9]{1,10}) ([0-9]{1,10})\t(char|other)\t(/\S{1,200})")
_OPTION = re.compile(r'([A-Za-z][A-Za-z0-9_]{0,80})=("[^"]{0,500}"|\S{0,500})')
_LINE = re.compile(r"\s*options\s+(nvidia(?:[_-][a-z]+)*)\s+(.*)")
_ARGUMENT = re.compile(r"(nvidia(?:[_-][a-z]+)*)\.([A-Za-z][A-Za-z0-9_]{0,80})=(.{0,500})")
CMDLINE = "/proc/cmdline"


def parse_devices(reply: SourceReply, context: Context) -> Iterable[Fact]:
    """Device files and minors."""
    section = reply.find("cmd", "device files")
    if section is None or section.rc != 0:
        reason = command_trouble(section) if section is not None else "the probe did not list the device files"
        yield error("driver.device_files", reason, **origin(reply, section))
    else:
        rows = []
        for line in section.text.split("\n"):
            match = _FILE.fullmatch(line)
            if match is not None:
                mode, uid, gid, kind, path = match.groups()
                row = {"path": path, "name": PurePosixPath(path).name, "mode": mode, "uid": int(uid), "gid": int(gid)}
                rows.append({**row, "is_device": kind == "char"})
        yield present("driver.device_files", rows, **origin(reply, section))
    yield _minors(reply)


def _minors(reply: SourceReply) -> Fact:
    name = "driver.gpu_minors"
    section = reply.find("cmd", "Device Minor")
    if section is None or section.rc != 0:
        reason = command_trouble(section) if section is not None else "the probe did not look at the driver's GPUs"
        return error(name, reason, **origin(reply, section))
    lines = [line for line in section.text.split("\n") if line.strip()]
    found = [match[1] for line in lines if (match := _MINOR.fullmatch(line))]
    if len(found) < len(lines):
        return error(name, "a line of the driver's information was not understood", **origin(reply, section))
    if not found:
        return absent(name, "the driver is not loaded, or has taken no GPU", **origin(reply, section))
    return present(name, sorted(int(minor) for minor in found), **origin(reply, section))


def parse_options(reply: SourceReply, context: Context) -> Iterable[Fact]:
    """What the next load of the modules is told. Later files win, and a file in /etc hides its namesakes elsewhere."""
    name = "driver.module_options"
    section, cmdline = reply.find("cmd", "modprobe.d"), reply.find("cmd", CMDLINE)
    if section is None or section.rc != 0 or cmdline is None or cmdline.rc != 0:
        broken = section if section is None or section.rc != 0 else cmdline
        reason = command_trouble(broken) if broken is not None else "the probe did not look at modprobe.d"
        return [error(name, reason, **origin(reply, broken))]
    chosen: dict[str, str] = {}
    lines: list[tuple[str, str]] = []
    for text in section.text.split("\n"):
        kind, _, rest = text.partition("\t")
        path, _, line = rest.partition("\t")
        if kind == "file":
            chosen.setdefault(PurePosixPath(path).name, path)
        elif kind == "line":
            lines.append((path, line))
    rows: dict[tuple[str, str], Row] = {}
    for path, line in sorted(lines, key=lambda pair: PurePosixPath(pair[0]).name):
        match = _LINE.fullmatch(line)
        if match is None or chosen.get(PurePosixPath(path).name) != path:
            continue
        module = match[1].replace("-", "_")
        for option in _OPTION.finditer(match[2]):
            value = option[2].strip('"')
            rows[module, option[1]] = {"module": module, "name": option[1], "value": value, "file": path}
    for word in cmdline.text.split("\n"):
        argument = _ARGUMENT.fullmatch(word.strip())
        if argument is not None:
            module = argument[1].replace("-", "_")
            value = argument[3].strip('"')
            rows[module, argument[2]] = {"module": module, "name": argument[2], "value": value, "file": CMDLINE}
    return [present(name, list(rows.values()), **origin(reply, section))]


SOURCES = {DEVICES: parse_devices, OPTIONS: parse_options}
