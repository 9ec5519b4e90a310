"""Kernel modules: `module[NAME]`, `module_on_disk[NAME]`, `module_param[MODULE.PARAM]`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

from nodectl.facts.reading import CannotTell, NotThere, Reading, told
from nodectl.facts.registry import Context, FactSpec, Field
from nodectl.model import Fact

if TYPE_CHECKING:
    from nodectl.probe.transcript import SourceReply

_LOADED = "/proc/modules"
_TOTAL = "nd_total "
_RC = "nd_rc "
_NO_FOLDER = "no modules folder"
_BUILTIN = "(builtin)"

FACTS = (
    FactSpec(
        name="module[NAME]",
        type="row",
        about="A kernel module that is loaded or built in; absent when it is neither. - and _ in its name are the same",
        source="modules",
        keys_as_args=True,
        fields=(
            Field("loaded", "bool", about="always true: what is not loaded is absent"),
            Field("builtin", "bool", about="part of the kernel image, cannot be unloaded"),
            Field("version", about="version of the loaded module"),
            Field("srcversion", about="checksum of its sources"),
            Field("on_disk_version", about="version that modinfo finds for the running kernel"),
            Field("refcount", "int", about="users of the module"),
            Field("initstate", about="live, coming, going, or builtin"),
            Field("taints", about="letters such as P (proprietary), O (out of tree), E (unsigned); empty for none"),
        ),
    ),
    FactSpec(
        name="module_on_disk[NAME]",
        type="row",
        about="The module file that modprobe would load now; absent when there is none for the running kernel",
        source="modules",
        keys_as_args=True,
        fields=(
            Field("version", about="its version, where it has one"),
            Field("vermagic", about="kernel that it was built for, with options"),
            Field("kernel_release", about="first word of vermagic, to compare with kernel.release"),
            Field("license", about="NVIDIA, Dual MIT/GPL, GPL, ..."),
            Field("flavor", about="of NVIDIA's modules: open or proprietary, by the licence"),
            Field("srcversion", about="checksum of its sources"),
            Field("signer", about="who signed it, if it is signed"),
            Field("filename", about="path, or (builtin)"),
        ),
    ),
    FactSpec(
        name="module_param[MODULE.PARAM]",
        type="str",
        about="Parameter of a loaded module, from /sys/module; absent when it is not loaded or hides it",
        source="module_params",
        keys_as_args=True,
    ),
)


def _under(name: str) -> str:
    return name.replace("-", "_")


def _loaded(reading: Reading) -> dict[str, list[str]]:
    """The asked lines of /proc/modules: {name: [name, size, refcount, users, state, address, (taints)]}.

    A kernel that was built without modules has no such file: nothing is loaded there.
    """
    section = reading.ran(_LOADED)
    if section.rc and "No such file" in section.stderr:
        trouble = reading.not_there(_LOADED)
        if isinstance(trouble, CannotTell):
            raise trouble
        return {}
    lines = reading.command(_LOADED).splitlines()
    if not lines or not lines[-1].startswith(_TOTAL):
        raise CannotTell("/proc/modules was not read to its end")
    rows = [line.split() for line in lines[:-1]]
    if any(len(row) < 5 for row in rows):
        raise CannotTell("/proc/modules is not as expected")
    return {row[0]: row for row in rows}


def _modinfo(reading: Reading, name: str) -> dict[str, str]:
    """What modinfo says of one module.

    Raises:
        NotThere: there is no such module for the running kernel.
        CannotTell: modinfo is missing or failed.
    """
    section = reading.ran(f"modinfo {name}")
    values: dict[str, str] = {}
    rc = None
    for line in section.text.splitlines():
        if line.startswith(_RC):
            rc = line.removeprefix(_RC).strip()
        key, colon, value = line.partition(":")
        if colon:
            values.setdefault(key, value.strip())
    if rc == "0" and values.get("filename"):
        return values
    if rc == "127":
        raise CannotTell("modinfo not found on the node")
    if reading.has("text", _NO_FOLDER):
        raise CannotTell(f"there is no {reading.text(_NO_FOLDER).strip()} to look in")
    if re.search(r"\bnot found\.?\s*$|can't find module", section.stderr, re.MULTILINE):
        raise NotThere(f"modinfo finds no module {name} for the running kernel")
    raise CannotTell(f"modinfo {name} failed (rc {rc}): {section.stderr:.200}")


def _sysfs(reading: Reading, name: str, file: str) -> str | None:
    """A file of /sys/module/NAME; None when the module has no such file."""
    path = f"/sys/module/{name}/{file}"
    return next((text.strip() for _, text in reading.lines_below(re.compile(re.escape(path)))), None)


def _module(reading: Reading, name: str) -> dict[str, Any]:
    under = _under(name)
    loaded = _loaded(reading).get(under)
    in_sysfs = reading.has("text", f"/sys/module/{under}")
    on_disk: dict[str, str] = {}
    trouble = ""
    try:
        on_disk = _modinfo(reading, name)
    except NotThere:
        pass
    except CannotTell as problem:
        trouble = str(problem)
    builtin = loaded is None and (on_disk.get("filename") == _BUILTIN or in_sysfs)
    if loaded is None and not builtin:
        raise reading.not_there("/sys/module", f"the module {name} is not loaded")
    initstate = _sysfs(reading, under, "initstate") or (loaded[4].lower() if loaded else "builtin")
    row: dict[str, Any] = {
        "loaded": True,
        "builtin": builtin,
        "version": _sysfs(reading, under, "version"),
        "srcversion": _sysfs(reading, under, "srcversion"),
        "on_disk_version": on_disk.get("version"),
        "refcount": int(loaded[2]) if loaded and loaded[2].isdigit() else None,
        "initstate": initstate,
        "taints": loaded[6].strip("()") if loaded and len(loaded) > 6 else "",
    }
    return {**row, "_errors": {"on_disk_version": trouble}} if trouble else row


def _on_disk(reading: Reading, name: str) -> dict[str, Any]:
    values = _modinfo(reading, name)
    vermagic = values.get("vermagic") or None
    flavor = None
    if _under(name).startswith("nvidia"):
        flavor = {"NVIDIA": "proprietary", "Dual MIT/GPL": "open"}.get(values.get("license", ""))
    return {
        "version": values.get("version"),
        "vermagic": vermagic,
        "kernel_release": vermagic.split()[0] if vermagic else None,
        "license": values.get("license"),
        "flavor": flavor,
        "srcversion": values.get("srcversion"),
        "signer": values.get("signer"),
        "filename": values["filename"],
    }


def parse(reply: SourceReply, context: Context) -> Iterator[Fact]:
    """The facts of the source `modules`."""
    reading = Reading(reply)
    for key in context.keys_of("module"):
        yield told(f"module[{key}]", partial(_module, reading, key), f"lsmod | grep -w {_under(key)}")
    for key in context.keys_of("module_on_disk"):
        yield told(f"module_on_disk[{key}]", partial(_on_disk, reading, key), f"modinfo {key}")


def parameter_path(key: str) -> str:
    """`nvidia-uvm.uvm_disable_hmm` -> /sys/module/nvidia_uvm/parameters/uvm_disable_hmm."""
    module, _, parameter = key.partition(".")
    return f"/sys/module/{_under(module)}/parameters/{parameter}"


def _parameter(reading: Reading, key: str) -> str:
    path = parameter_path(key)
    if reading.has("cmd", path):
        return reading.command(path).strip()
    try:
        return reading.line(path).strip()
    except NotThere:
        raise NotThere(f"there is no {path}: the module is not loaded, or does not show it") from None


def parse_parameters(reply: SourceReply, context: Context) -> Iterator[Fact]:
    """The facts of the source `module_params`."""
    reading = Reading(reply)
    for key in context.keys_of("module_param"):
        yield told(f"module_param[{key}]", partial(_parameter, reading, key), parameter_path(key))


SOURCES = {"modules": parse, "module_params": parse_parameters}
