"""NCCL on a node: libraries, network plugins, nccl-tests, and the settings that every job gets."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from nodectl.facts.reading import Row, command_trouble, errors_for, origin
from nodectl.facts.registry import Context, FactSpec, Field
from nodectl.model import Fact, absent, error, present

if TYPE_CHECKING:
    from nodectl.probe.transcript import Section, SourceReply

LIBRARIES = "nccl_libs"
SETTINGS = "nccl_env"

FACTS: tuple[FactSpec, ...] = (
    FactSpec(
        name="nccl.libraries",
        type="rows",
        source=LIBRARIES,
        about="NCCL libraries in the loader's cache, the usual folders, CUDA toolkits and /opt",
        fields=(
            Field("version", "version", "", "version by the file's name"),
            Field("path", "str", "", "the file"),
            Field("in_cache", "bool", "", "the loader finds it by itself"),
        ),
    ),
    FactSpec(
        name="nccl.version",
        type="version",
        source=LIBRARIES,
        about="Version of the NCCL that the loader finds",
    ),
    FactSpec(
        name="nccl.net_plugins",
        type="rows",
        source=LIBRARIES,
        about="Network plugins for NCCL (libnccl-net*.so) in the loader's cache and the usual folders",
        fields=(
            Field("path", "str", "", "the file"),
            Field("api_versions", "list", "", "versions of NCCL's plugin interface that it offers, e.g. 8, 9"),
            Field("in_cache", "bool", "", "the loader finds it by itself"),
            Field("default", "bool", "", "it is found as libnccl-net.so, which NCCL loads unasked"),
        ),
    ),
    FactSpec(name="nccl.tests", type="list", source=LIBRARIES, about="Where all_reduce_perf of nccl-tests is"),
    FactSpec(
        name="nccl.settings",
        type="rows",
        source=SETTINGS,
        about="NCCL_* and CUDA_* variables in /etc/nccl.conf and the system's environment files",
        fields=(
            Field("name", "str", "", "the variable"),
            Field("value", "str", "", "as it stands there"),
            Field("file", "str", "", "where"),
            Field("line", "int", "", "line of the file"),
        ),
    ),
    FactSpec(
        name="nccl.environment",
        type="list",
        source=SETTINGS,
        about="The same as NAME=VALUE, sorted, to compare nodes by",
    ),
    FactSpec(
        name="nccl.conf_problems",
        type="rows",
        source=SETTINGS,
        about="Lines of /etc/nccl.conf that NCCL does not take as they were meant",
        fields=(
            Field("line", "int", "", "line of the file"),
            Field("name", "str", "", "the variable that was meant; empty: none can be made out"),
            Field("problem", "str", "", "why it has no effect"),
        ),
    ),
    FactSpec(
        name="nccl.interfaces",
        type="list",
        source=SETTINGS,
        about="Names of network interfaces",
        varies=True,
    ),
    FactSpec(name="nccl.rdma_devices", type="list", source=SETTINGS, about="RDMA devices that a setting may name"),
)
_FROM_FILES = ("nccl.settings", "nccl.environment", "nccl.conf_problems")
CONF = "/etc/nccl.conf"

_LIBNCCL = re.compile(r"libnccl\.so\.([0-9]{1,3}(?:\.[0-9]{1,6}){1,3})")
_PLUGIN = re.compile(r"libnccl-net[A-Za-z0-9._-]{0,80}")
_API = re.compile(r"ncclNetPlugin_v([0-9]{1,3})")
_VARIABLE = re.compile(r"(?:NCCL|CUDA)_[A-Z0-9_]{1,100}")
_PROBLEMS = {
    "ignored": 'NCCL takes the text before "=" as the name, with "export" and blanks: it sets a variable nobody reads',
    "nothing": 'there is no "=" on the line',
}
_MAX_VALUE = 400


def parse_libraries(reply: SourceReply, context: Context) -> Iterable[Fact]:
    """Libraries, plugins and tests on disk."""
    section = reply.find("cmd", "libraries")
    if section is None or section.rc != 0:
        reason = "the folders were not listed"
        yield from errors_for(["nccl.libraries", "nccl.version"], reason, **origin(reply, section))
    else:
        yield from _libraries(reply, section)
    yield _plugins(reply)
    tests = reply.find("cmd", "nccl-tests")
    if tests is None or tests.rc != 0:
        yield error("nccl.tests", "the folders were not listed", **origin(reply, tests))
    else:
        found = {line for line in tests.text.split("\n") if line.startswith("/")}
        yield present("nccl.tests", sorted(found), **origin(reply, tests))


def _lines(section: Section | None) -> list[list[str]]:
    """The columns of each line that has more than one."""
    lines = section.text.split("\n") if section is not None else []
    return [columns for columns in (line.split("\t") for line in lines) if len(columns) > 1]


def _libraries(reply: SourceReply, section: Section) -> list[Fact]:
    cached = [columns[1] for columns in _lines(reply.find("cmd", "cached libraries"))]
    rows: dict[str, Row] = {}
    for real in (*(columns[1] for columns in _lines(section)), *cached):
        version = _LIBNCCL.fullmatch(PurePosixPath(real).name)
        if version is not None:
            rows[real] = {"version": version[1], "path": real, "in_cache": real in cached}
    where = origin(reply, section)
    facts = [present("nccl.libraries", [rows[real] for real in sorted(rows)], **where)]
    first = next((rows[real]["version"] for real in cached if real in rows), None)
    if first is None:
        return [*facts, absent("nccl.version", "the loader's cache has no libnccl.so", **where)]
    return [*facts, present("nccl.version", first, **where)]


def _plugins(reply: SourceReply) -> Fact:
    name = "nccl.net_plugins"
    section, cache = reply.find("cmd", "plugins"), reply.find("cmd", "cached plugins")
    if section is None or section.rc != 0 or (cache is not None and cache.rc != 0):
        return error(name, "the folders were not listed", **origin(reply, section))
    cached = {columns[1] for columns in _lines(cache)}
    rows: dict[str, Row] = {}
    for columns in (*_lines(section), *_lines(cache)):
        path, real = columns[0], columns[1]
        if not real.startswith("/") or _PLUGIN.fullmatch(PurePosixPath(path).name) is None:
            continue
        offers = [int(number) for number in _API.findall(columns[2] if len(columns) > 2 else "")]
        row = rows.setdefault(real, {"path": real, "api_versions": [], "in_cache": real in cached, "default": False})
        row["api_versions"] = sorted({*row["api_versions"], *offers})
        if PurePosixPath(path).name == "libnccl-net.so":
            row["default"] = True
    return present(name, [rows[real] for real in sorted(rows)], **origin(reply, section))


def parse_settings(reply: SourceReply, context: Context) -> Iterable[Fact]:
    """Settings in files, and the names of devices that they may speak of."""
    sections = [found for name in (CONF, "environment files") if (found := reply.find("cmd", name)) is not None]
    broken = next((section for section in sections if section.rc != 0), None)
    if broken is not None:
        yield from errors_for(_FROM_FILES, command_trouble(broken), **origin(reply, broken))
    elif reply.find("text", "looked") is None:
        yield from errors_for(_FROM_FILES, "the probe did not look at the files", **origin(reply))
    else:
        yield from _settings(reply, sections)
    for name, title in (("nccl.interfaces", "interfaces"), ("nccl.rdma_devices", "RDMA devices")):
        section = reply.find("cmd", title)
        if section is None or section.rc != 0:
            yield error(name, f"the {title} were not listed", **origin(reply, section))
        else:
            yield present(name, sorted(section.text.split()), **origin(reply, section))


def _settings(reply: SourceReply, sections: list[Section]) -> list[Fact]:
    settings: list[Row] = []
    problems: list[Row] = []
    for section in sections:
        for columns in _lines(section):
            if len(columns) < 5 or not columns[2].isdecimal() or len(columns[2]) > 9:
                continue
            kind, file, line, name = columns[:4]
            if kind in _PROBLEMS:
                problems.append({"line": int(line), "name": name, "problem": _PROBLEMS[kind]})
            elif kind == "set" and _VARIABLE.fullmatch(name):
                value = "\t".join(columns[4:]).rstrip("\r")[:_MAX_VALUE]
                settings.append({"name": name, "value": value, "file": file, "line": int(line)})
    return [
        present("nccl.settings", settings, **origin(reply)),
        present("nccl.environment", sorted({f"{row['name']}={row['value']}" for row in settings}), **origin(reply)),
        present("nccl.conf_problems", problems, **origin(reply)),
    ]


SOURCES = {LIBRARIES: parse_libraries, SETTINGS: parse_settings}
