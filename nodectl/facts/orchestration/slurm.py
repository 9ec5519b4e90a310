"""A Slurm node: what its files say, and its state as the controller has it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

from nodectl.facts.containers.files import settings
from nodectl.facts.orchestration.slurm_text import count_names, gpus_of, names_host, node_row, values_of
from nodectl.facts.reading import CannotTell, NotThere, Reading, Row, command_trouble, told
from nodectl.facts.registry import Context, FactSpec, Field
from nodectl.model import Fact

if TYPE_CHECKING:
    from nodectl.probe.transcript import SourceReply

SOURCE = "slurm"
_STATE = "scontrol show node"
_VERSION = re.compile(r"^slurm(?:-wlm)? ([0-9]{1,4}(?:\.[0-9]{1,4}){1,3})", re.MULTILINE)
_LOOKED = re.compile(r"(exec|noexec|missing|hidden)\t([A-Za-z]{1,40})\t(\S{1,1000})")
_UNKNOWN_NODE = re.compile(r"Node \S{1,200} not found|Invalid node name", re.IGNORECASE)
_NOT_SET = ("", "(null)", "none", "n/a")


def _spec(name: str, kind: str, about: str, **more: Any) -> FactSpec:
    return FactSpec(name=name, type=kind, about=about, source=SOURCE, **more)


FACTS = (
    _spec("slurm.version", "version", "Version of the slurmd that is installed; absent without slurmd"),
    _spec("slurm.running", "bool", "slurmd runs here; no on a node without Slurm"),
    _spec("slurm.task_plugins", "list", "TaskPlugin of slurm.conf; empty: not set"),
    _spec("slurm.proctrack", "str", "ProctrackType; absent: not set (proctrack/cgroup)"),
    _spec("slurm.gres_types", "list", "GresTypes; empty: not set"),
    _spec("slurm.auth_type", "str", "AuthType; absent: not set (auth/munge)"),
    _spec("slurm.propagate_limits", "list", "PropagateResourceLimits in capitals; empty: not set, which is ALL"),
    _spec("slurm.propagate_limits_except", "list", "PropagateResourceLimitsExcept in capitals; empty: not set"),
    _spec("slurm.health_check_program", "str", "HealthCheckProgram; absent: none"),
    _spec("slurm.gres_autodetect", "str", "AutoDetect of gres.conf; absent: not set"),
    _spec("slurm.gres_conf_gpus", "int", "GPUs that gres.conf lists for this node by File= or Count="),
    _spec("slurm.gres_conf_without_file", "int", "Lines for GPUs of this node in gres.conf that name no device file"),
    _spec("slurm.configured_gpus", "int", "GPUs in this node's Gres= of slurm.conf; absent when it has none there"),
    _spec("slurm.configured_memory_mib", "int", "RealMemory of this node in slurm.conf", unit="MiB"),
    _spec("slurm.constrain_devices", "bool", "ConstrainDevices of cgroup.conf; not set means no"),
    _spec("slurm.constrain_cores", "bool", "ConstrainCores of cgroup.conf; not set means no"),
    _spec("slurm.constrain_ram", "bool", "ConstrainRAMSpace of cgroup.conf; not set means no"),
    FactSpec(
        name="slurm.programs",
        type="rows",
        about="Prolog, Epilog, HealthCheckProgram and the like that slurm.conf names by absolute path",
        source=SOURCE,
        fields=(
            Field("key", about="the setting"),
            Field("path", about="the file"),
            Field("state", about="exec: there and executable; noexec; missing"),
        ),
    ),
    FactSpec(
        name="slurm.spank_plugins",
        type="rows",
        about="SPANK plugins of plugstack.conf that are named by absolute path",
        source=SOURCE,
        fields=(
            Field("path", about="the plugin"),
            Field("required", "bool", about="without it no job starts"),
            Field("found", "bool", about="the file is there"),
        ),
    ),
    FactSpec(
        name="slurm.node",
        type="row",
        about="This node as the controller has it; absent without slurmd, and when the controller knows no such node",
        source=SOURCE,
        varies=True,
        fields=(
            Field("name", about="its name in Slurm"),
            Field("state", about="IDLE, ALLOCATED, MIXED, DOWN, ..."),
            Field("flags", "list", about="DRAIN, NOT_RESPONDING, INVALID_REG, MAINT, ..."),
            Field("reason", about="why it is drained or down"),
            Field("version", "version", about="of the slurmd that runs"),
            Field("real_memory_mib", "int", "MiB", "configured memory"),
            Field("gpus", "int", about="configured GPUs"),
            Field("gpus_used", "int", about="GPUs that jobs have"),
        ),
    ),
)


def _no_slurm(reading: Reading) -> bool:
    return not reading.text("found").strip() and not reading.has("text", "slurm.conf")


def _conf(reading: Reading) -> str:
    if not reading.has("text", "slurm.conf"):
        raise CannotTell("slurm.conf was not found in any of the usual folders")
    return "slurm.conf"


def _pairs(reading: Reading) -> list[tuple[str, str]]:
    if _no_slurm(reading):
        raise NotThere("there is no Slurm on this node")
    return settings(reading, "settings", _conf(reading))


def _text(reading: Reading, key: str) -> str:
    found = [value for name, value in _pairs(reading) if name == key]
    if not found or found[-1].lower() in _NOT_SET:
        raise NotThere(f"slurm.conf does not set {key}")
    return found[-1]


def _list(reading: Reading, key: str, *, upper: bool = False) -> list[str]:
    try:
        text = _text(reading, key)
    except NotThere:
        _pairs(reading)
        return []
    return [(word.upper() if upper else word) for part in text.split(",") if (word := part.strip())]


def _version(reading: Reading) -> str:
    if "slurmd" not in reading.text("found").split():
        raise NotThere("there is no slurmd on the node's path")
    text = reading.command("slurmd -V")
    match = _VERSION.search(text)
    if not match:
        raise CannotTell(f"slurmd gave no version: {text.strip()!r:.60}")
    return match[1]


def _running(reading: Reading) -> bool:
    return not _no_slurm(reading) and reading.text("running").strip() == "yes"


def _lines(reading: Reading, section: str, what: str) -> tuple[dict[str, str], list[dict[str, str]]]:
    """(settings, the lines that are about this node) of slurm.conf or gres.conf."""
    pairs = settings(reading, section, what)
    host = reading.text("node").strip()
    mine, defaults = [], {}
    for key, value in pairs:
        if key != "line":
            continue
        values = {name.lower(): text.strip('"') for name, text in values_of(value).items()}
        names = values.get("nodename", "")
        if names.upper() == "DEFAULT":
            defaults = values
        elif not names or names_host(names, host):
            mine.append({**defaults, **values})
    return {key: value for key, value in pairs if key != "line"}, mine


def _configured(reading: Reading) -> dict[str, str]:
    _pairs(reading)
    lines = _lines(reading, "settings", "slurm.conf")[1]
    named = [line for line in lines if line.get("nodename")]
    if not named:
        raise NotThere("slurm.conf has no line with Gres= for this node")
    return named[-1]


def _configured_gpus(reading: Reading) -> int:
    try:
        return gpus_of(_configured(reading).get("gres", ""))
    except ValueError as problem:
        raise CannotTell(str(problem)) from None


def _configured_memory(reading: Reading) -> int:
    text = _configured(reading).get("realmemory", "")
    if not text:
        raise NotThere("slurm.conf gives this node no RealMemory")
    if not re.fullmatch(r"\d{1,15}", text):
        raise CannotTell(f"RealMemory is no number: {text!r:.40}")
    return int(text)


def _gres_conf(reading: Reading) -> tuple[dict[str, str], list[dict[str, str]]]:
    if _no_slurm(reading):
        raise NotThere("there is no Slurm on this node")
    _conf(reading)
    values, lines = _lines(reading, "gres.conf", "gres.conf")
    gpus = [line for line in lines if line.get("name", "").lower() == "gpu"]
    for line in lines:
        if "autodetect" in line:
            values["autodetect"] = line["autodetect"]
    return values, gpus


def _autodetect(reading: Reading) -> str:
    text = _gres_conf(reading)[0].get("autodetect", "")
    if text.lower() in (*_NOT_SET, "off"):
        raise NotThere("gres.conf does not set AutoDetect")
    return text.lower()


def _gres_gpus(reading: Reading) -> int:
    gpus = _gres_conf(reading)[1]
    if not gpus:
        raise NotThere("gres.conf lists no GPU for this node")
    return sum(_line_gpus(line) for line in gpus)


def _line_gpus(line: dict[str, str]) -> int:
    if line.get("file") or line.get("multiplefiles"):
        return count_names(line.get("file") or line["multiplefiles"])
    count = line.get("count", "1")
    if not re.fullmatch(r"\d{1,6}", count):
        raise CannotTell(f"Count is no number: {count!r:.40}")
    return int(count)


def _without_file(reading: Reading) -> int:
    gpus = _gres_conf(reading)[1]
    if not gpus:
        raise NotThere("gres.conf lists no GPU for this node")
    return sum(1 for line in gpus if not line.get("file") and not line.get("multiplefiles"))


def _constrain(reading: Reading, key: str) -> bool:
    _pairs(reading)
    try:
        values = dict(settings(reading, "cgroup.conf", "cgroup.conf"))
    except NotThere:
        return False
    return values.get(key, "no").lower() == "yes"


def _looked(reading: Reading, section: str) -> list[tuple[str, str, str]]:
    """(state, key, path) of files that the probe looked for."""
    if _no_slurm(reading):
        raise NotThere("there is no Slurm on this node")
    _conf(reading)
    if not reading.has("cmd", section) and not reading.has("cmd", "programs"):
        raise CannotTell("needs root: slurm.conf cannot be read")
    if not reading.has("cmd", section):
        return []
    *lines, last = reading.command(section).splitlines() or [""]
    if last.strip() != "nd_complete":
        raise CannotTell("the files were not looked at to the end")
    found = []
    for line in lines:
        match = _LOOKED.fullmatch(line)
        if not match:
            raise CannotTell(f"not understood: {line!r:.60}")
        found.append((match[1], match[2], match[3]))
    return found


def _programs(reading: Reading) -> list[Row]:
    rows: list[Row] = []
    for state, key, path in _looked(reading, "programs"):
        row: Row = {"key": key, "path": path, "state": state}
        if state == "hidden":
            row |= {"state": None, "_errors": {"state": "needs root: its folder cannot be looked into"}}
        rows.append(row)
    return rows


def _plugins(reading: Reading) -> list[Row]:
    rows: list[Row] = []
    for state, key, path in _looked(reading, "plugins"):
        row: Row = {"path": path, "required": key == "required", "found": state in ("exec", "noexec")}
        if state == "hidden":
            row |= {"found": None, "_errors": {"found": "needs root: its folder cannot be looked into"}}
        rows.append(row)
    return rows


def _node(reading: Reading) -> Row:
    if _no_slurm(reading):
        raise NotThere("there is no Slurm on this node")
    if "scontrol" not in reading.text("found").split():
        raise CannotTell("there is no scontrol on the node's path")
    section = reading.ran(_STATE)
    if section.rc and _UNKNOWN_NODE.search(section.stderr + section.text):
        raise NotThere(f"the controller knows no node {reading.text('node').strip()!r:.60}")
    if section.rc:
        raise CannotTell(command_trouble(section))
    row = node_row(section.text)
    if row is None:
        raise CannotTell(f"scontrol described no node: {section.text.strip()!r:.60}")
    return row


def parse(reply: SourceReply, context: Context) -> Iterator[Fact]:
    """The facts of the source `slurm`."""
    reading = Reading(reply)
    looks: dict[str, tuple[Callable[[], Any], str]] = {
        "version": (partial(_version, reading), "slurmd -V"),
        "running": (partial(_running, reading), "pidof slurmd"),
        "task_plugins": (partial(_list, reading, "taskplugin"), ""),
        "proctrack": (partial(_text, reading, "proctracktype"), ""),
        "gres_types": (partial(_list, reading, "grestypes"), ""),
        "auth_type": (partial(_text, reading, "authtype"), ""),
        "propagate_limits": (partial(_list, reading, "propagateresourcelimits", upper=True), ""),
        "propagate_limits_except": (partial(_list, reading, "propagateresourcelimitsexcept", upper=True), ""),
        "health_check_program": (partial(_text, reading, "healthcheckprogram"), ""),
        "gres_autodetect": (partial(_autodetect, reading), "cat /etc/slurm/gres.conf"),
        "gres_conf_gpus": (partial(_gres_gpus, reading), "cat /etc/slurm/gres.conf"),
        "gres_conf_without_file": (partial(_without_file, reading), "cat /etc/slurm/gres.conf"),
        "configured_gpus": (partial(_configured_gpus, reading), ""),
        "configured_memory_mib": (partial(_configured_memory, reading), ""),
        "constrain_devices": (partial(_constrain, reading, "constraindevices"), "cat /etc/slurm/cgroup.conf"),
        "constrain_cores": (partial(_constrain, reading, "constraincores"), "cat /etc/slurm/cgroup.conf"),
        "constrain_ram": (partial(_constrain, reading, "constrainramspace"), "cat /etc/slurm/cgroup.conf"),
        "programs": (partial(_programs, reading), ""),
        "spank_plugins": (partial(_plugins, reading), "cat /etc/slurm/plugstack.conf"),
        "node": (partial(_node, reading), "scontrol -d show node $(hostname -s)"),
    }
    for name, (look, command) in looks.items():
        yield told(f"slurm.{name}", look, command or "cat /etc/slurm/slurm.conf")


SOURCES = {SOURCE: parse}
