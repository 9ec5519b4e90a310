"""The driver's libraries and GSP firmware on disk, and which library a new process would load."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from nodectl.facts.reading import Row, errors_for, one_line, origin
from nodectl.facts.registry import Context, FactSpec, Field
from nodectl.model import Fact, absent, error, present

if TYPE_CHECKING:
    from nodectl.probe.transcript import Section, SourceReply

SOURCE = "nvidia_userspace"

FACTS: tuple[FactSpec, ...] = (
    FactSpec(
        name="driver.userspace_version",
        type="version",
        source=SOURCE,
        about="Version of the libnvidia-ml.so.1 that a new process loads",
    ),
    FactSpec(
        name="driver.userspace_versions",
        type="list",
        source=SOURCE,
        about="Every version of libcuda and libnvidia-ml in the usual folders; more than one is a half-done update",
    ),
    FactSpec(
        name="driver.libcuda",
        type="rows",
        source=SOURCE,
        about="Where a new process finds the CUDA driver library, first place first",
        fields=(
            Field("name", "str", "", "the name asked for: libcuda.so.1, libcuda.so"),
            Field("path", "str", "", "the file that it stands for"),
            Field("found_by", "str", "", "LD_LIBRARY_PATH or the loader's cache"),
            Field("version", "version", "", "driver version by the file's name"),
            Field(
                "kind", "str", "", "driver; compat: of a cuda-compat package; stub: a toolkit's, to link against only"
            ),
        ),
    ),
    FactSpec(
        name="driver.gsp_versions", type="list", source=SOURCE, about="Driver versions whose GSP firmware is on disk"
    ),
)
_LIBRARIES = ("driver.userspace_version", "driver.userspace_versions", "driver.libcuda")

# Two or more numbers: a bare `.so.1` is a link that says nothing.
_SUFFIX = re.compile(r"lib(nvidia-ml|cuda)\.so\.([0-9]{2,4}(?:\.[0-9]{1,6}){1,3})")
_CACHE = re.compile(r"\s*(libnvidia-ml\.so\.1) \(([^)]{0,80})\) => (/\S{1,300})")
_LIBCUDA = re.compile(r"\s*(libcuda\.so(?:\.1)?) \(([^)]{0,80})\) => (/\S{1,300})")
_WIDE = ("x86-64", "AArch64", "aarch64")
_FIRMWARE = re.compile(r"/\S{1,200}/([0-9]{2,4}(?:\.[0-9]{1,6}){1,3})/gsp[A-Za-z0-9_]{0,40}\.bin\S{0,8}")
_SHORT = "libnvidia-ml.so.1"


def parse_userspace(reply: SourceReply, context: Context) -> Iterable[Fact]:
    """Facts of the libraries and firmware files."""
    return [*_libraries(reply), _firmware(reply)]


def _libraries(reply: SourceReply) -> list[Fact]:
    section = reply.find("cmd", "libraries")
    where = origin(reply, section)
    if section is None or section.rc != 0:
        return errors_for(_LIBRARIES, "the folders of libraries were not listed", **where)
    preferred = _links(reply.find("cmd", "LD_LIBRARY_PATH"))
    real = preferred | _links(reply.find("cmd", "cached libraries")) | _links(section)
    versions = {match[2] for file in real.values() if (match := _SUFFIX.fullmatch(PurePosixPath(file).name))}
    chosen = _short_name(preferred) or _from_cache(reply) or _short_name(real)
    every = present("driver.userspace_versions", sorted(versions, key=_order), **where)
    libcuda = present("driver.libcuda", _libcuda(preferred, real, reply), **where)
    return [_version_of(chosen, real, reply), every, libcuda]


def _libcuda(preferred: dict[str, str], real: dict[str, str], reply: SourceReply) -> list[Row]:
    """libcuda.so.1 and libcuda.so of LD_LIBRARY_PATH and then of the cache, in the loader's order."""
    section = reply.find("cmd", "ldconfig -p")
    lines = section.text.split("\n") if section is not None and section.rc == 0 else []
    entries = [match for line in lines if (match := _LIBCUDA.fullmatch(line.rstrip()))]
    cached = [match[3] for match in entries if any(word in match[2] for word in _WIDE)]
    rows: list[Row] = []
    for found_by, paths in (("LD_LIBRARY_PATH", preferred), ("the loader's cache", cached)):
        for path in paths:
            name, file = PurePosixPath(path).name, real.get(path, path)
            if name not in ("libcuda.so", "libcuda.so.1"):
                continue
            version = _SUFFIX.fullmatch(PurePosixPath(file).name)
            folders = {*PurePosixPath(path).parts, *PurePosixPath(file).parts}
            kind = "stub" if "stubs" in folders else "compat" if "compat" in folders else "driver"
            told = version[2] if version else None
            rows.append({"name": name, "path": file, "found_by": found_by, "version": told, "kind": kind})
    return rows


def _links(section: Section | None) -> dict[str, str]:
    """Path of a library -> the file that it stands for."""
    lines = section.text.split("\n") if section is not None else []
    return {path: real for path, tab, real in (line.partition("\t") for line in lines) if tab}


def _short_name(paths: Iterable[str]) -> str | None:
    return next((path for path in paths if PurePosixPath(path).name == _SHORT), None)


def _from_cache(reply: SourceReply) -> str | None:
    """What ld.so's cache gives for libnvidia-ml.so.1: the first entry of this machine's word size."""
    section = reply.find("cmd", "ldconfig -p")
    if section is None or section.rc != 0:
        return None
    entries = [match for line in section.text.split("\n") if (match := _CACHE.fullmatch(line.rstrip()))]
    wide = [match[3] for match in entries if any(word in match[2] for word in _WIDE)]
    return wide[0] if wide else None


def _version_of(path: str | None, real: dict[str, str], reply: SourceReply) -> Fact:
    name = "driver.userspace_version"
    where = origin(reply, reply.find("cmd", "libraries"))
    if path is None:
        return absent(name, "no libnvidia-ml.so.1 in the loader's cache or the usual folders", **where)
    where["command"] = f"readlink -f {path}"
    file = real.get(path, path)
    match = _SUFFIX.fullmatch(PurePosixPath(file).name)
    if match is not None:
        return present(name, match[2], **where)
    return error(name, f"{file} does not tell its version by its name", **where)


def _firmware(reply: SourceReply) -> Fact:
    name = "driver.gsp_versions"
    section = reply.find("cmd", "firmware")
    where = origin(reply, section)
    if section is None or section.rc != 0:
        reason = one_line(section.stderr) if section is not None else "the probe did not look"
        return error(name, reason or "the firmware folders were not listed", **where)
    versions = {match[1] for line in section.text.split("\n") if (match := _FIRMWARE.fullmatch(line))}
    return present(name, sorted(versions, key=_order), **where)


def _order(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))


SOURCES = {SOURCE: parse_userspace}
