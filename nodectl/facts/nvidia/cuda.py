"""CUDA toolkits and forward-compatibility packages on disk."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

import msgspec

from nodectl.facts.conform import ERRORS_KEY
from nodectl.facts.reading import Row, origin
from nodectl.facts.registry import Context, FactSpec, Field
from nodectl.model import Fact, error, present

if TYPE_CHECKING:
    from nodectl.probe.transcript import Section, SourceReply

TOOLKITS = "cuda_toolkits"

FACTS: tuple[FactSpec, ...] = (
    FactSpec(
        name="cuda.toolkits",
        type="rows",
        source=TOOLKITS,
        about="CUDA toolkits on disk",
        fields=(
            Field("version", "version", "", "version of the toolkit"),
            Field("path", "str", "", "its folder"),
            Field("default", "bool", "", "/usr/local/cuda points to it"),
        ),
    ),
    FactSpec(
        name="cuda.compat",
        type="rows",
        source=TOOLKITS,
        about="CUDA forward-compatibility libraries on disk",
        fields=(
            Field("cuda_version", "version", "", "CUDA version of the toolkit that they belong to"),
            Field("driver_version", "version", "", "driver version that they bring"),
            Field("path", "str", "", "the file"),
        ),
    ),
)

DEFAULT = "/usr/local/cuda"
_VERSION = re.compile(r"[0-9]{1,3}(\.[0-9]{1,6}){1,3}")
_VERSION_TXT = re.compile(r"CUDA Version ([0-9]{1,3}(?:\.[0-9]{1,6}){1,3})")
_FOLDER = re.compile(r"cuda-([0-9]{1,3}\.[0-9]{1,3})")
_NVCC = re.compile(r"release ([0-9]{1,3}\.[0-9]{1,3}), V([0-9]{1,3}(?:\.[0-9]{1,6}){1,3})")
_LIBCUDA = re.compile(r"libcuda\.so\.([0-9]{2,4}(?:\.[0-9]{1,6}){1,3})")
_LIBCUDART = re.compile(r"libcudart\.so\.([0-9]{1,3}\.[0-9]{1,3})(?:\.[0-9]{1,6}){0,2}")
_MAX_JSON = 256 * 1024


def parse_toolkits(reply: SourceReply, context: Context) -> Iterable[Fact]:
    """Facts of the CUDA folders."""
    toolkits, compat = reply.find("cmd", "toolkits"), reply.find("cmd", "compat")
    if toolkits is None or toolkits.rc != 0:
        yield error("cuda.toolkits", "the folders were not listed", **origin(reply, toolkits))
    else:
        yield present("cuda.toolkits", _toolkits(reply, toolkits), **origin(reply, toolkits))
    if compat is None or compat.rc != 0:
        yield error("cuda.compat", "the folders were not listed", **origin(reply, compat))
    else:
        yield present("cuda.compat", _compat(compat), **origin(reply, compat))


def _links(section: Section | None) -> dict[str, str]:
    """Path -> the file or folder that it stands for."""
    lines = section.text.split("\n") if section is not None else []
    return {path: real for path, tab, real in (line.partition("\t") for line in lines) if tab}


def _toolkits(reply: SourceReply, section: Section) -> list[Row]:
    links = _links(section)
    default = links.get(DEFAULT)
    parts = _links(reply.find("cmd", "parts")).values()
    rows: dict[str, Row] = {}
    for path, real in links.items():
        version, problem = _stated_version(reply, path)
        if version is None and not problem:
            version, problem = _version_by_parts(real, parts)
        if version is None and not problem:
            continue  # what a removed toolkit has left behind: neither a version file nor a compiler or runtime
        row = rows.setdefault(real, {"version": version, "path": real, "default": real == default})
        if row["version"] is None and version is not None:
            row["version"] = version
        if row["version"] is None:
            row[ERRORS_KEY] = {"version": problem}
        else:
            row.pop(ERRORS_KEY, None)
    _add_compiler(reply, rows)
    return [rows[real] for real in sorted(rows)]


def _stated_version(reply: SourceReply, path: str) -> tuple[str | None, str]:
    """The version that the toolkit's own file states, and why there is none although a file is there."""
    as_json = reply.find("file", f"{path}/version.json")
    if as_json is not None:
        return _version_in_json(as_json)
    as_text = reply.find("file", f"{path}/version.txt")
    if as_text is not None:
        match = _VERSION_TXT.search(as_text.text)
        return (match[1], "") if match else (None, f"{as_text.name} holds no version")
    return None, ""


def _version_by_parts(real: str, parts: Iterable[str]) -> tuple[str | None, str]:
    """Of a toolkit that was put together from parts: the runtime's version, or the one in the folder's name."""
    inside = [part for part in parts if part.startswith(f"{real}/")]
    for part in inside:
        runtime = _LIBCUDART.fullmatch(PurePosixPath(part).name)
        if runtime is not None:
            return runtime[1], ""
    folder = _FOLDER.fullmatch(PurePosixPath(real).name)
    if folder is not None and inside:
        return folder[1], ""
    return None, f"{real} holds a compiler but no version" if inside else ""


def _version_in_json(section: Section) -> tuple[str | None, str]:
    """`{"cuda": {"name": "CUDA SDK", "version": "12.8.1"}, ...}`, written by toolkits since 11.1."""
    if section.rc != 0 or len(section.text) > _MAX_JSON:
        return None, f"{section.name} could not be read"
    try:
        found = msgspec.json.decode(section.text)["cuda"]["version"]
    except (msgspec.DecodeError, UnicodeError, LookupError, TypeError, RecursionError):
        return None, f"{section.name} holds no version"
    if isinstance(found, str) and _VERSION.fullmatch(found):
        return found, ""
    return None, f"{section.name} holds no version"


def _add_compiler(reply: SourceReply, rows: dict[str, Row]) -> None:
    """A distribution's own toolkit has a compiler on the PATH and no folder of its own; its path is the compiler."""
    path, said = reply.find("text", "nvcc path"), reply.find("cmd", "nvcc --version")
    if path is None or said is None or said.rc != 0:
        return
    match = _NVCC.search(said.text)
    file = path.text.strip()
    if match is None or not file.startswith("/") or any(file.startswith(f"{known}/") for known in rows):
        return
    release = match[1]
    if not any(_release(row["version"]) == release for row in rows.values()):
        rows[file] = {"version": match[2], "path": file, "default": False}


def _release(version: str | None) -> str:
    return ".".join((version or "").split(".")[:2])


def _compat(section: Section) -> list[Row]:
    rows: dict[str, Row] = {}
    for path, real in _links(section).items():
        driver = _LIBCUDA.fullmatch(PurePosixPath(real).name)
        if driver is None:
            continue
        folder = _FOLDER.search(real) or _FOLDER.search(path)
        rows[real] = {
            "cuda_version": folder[1] if folder else None,
            "driver_version": driver[1],
            "path": real,
        }
    return [rows[real] for real in sorted(rows)]


SOURCES = {TOOLKITS: parse_toolkits}
