r"""The sources as files, and the one script that a node is given."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

import msgspec

from nodectl.suggest import did_you_mean

_HERE = Path(__file__).resolve().parent
SOURCES_DIR = _HERE / "sources"

_KEYS = ("source", "about", "timeout", "lane", "root", "args", "sample")
_REQUIRED = ("source", "about", "timeout", "lane", "root")
_CHOICES = {"lane": ("fast", "slow"), "root": ("no", "helps", "needed"), "sample": ("yes", "no")}
_HEADER_LINE = re.compile(r"# ([a-z_]+): *(.*?) *$")
_NAME = re.compile(r"[a-z][a-z0-9_]{0,40}")
_MAX_TIMEOUT_S = 120


class SourceError(Exception):
    """A source file that is not as it must be: `file:line: what, and what was expected`."""


class SourceSpec(msgspec.Struct, frozen=True, kw_only=True):
    """One source file.

    Attributes:
        name: as the file is called.
        about: one line for people.
        timeout_s: seconds that it may take on the node, without the pause of a `sample` source.
        lane: `fast` (one after the other) or `slow` (side by side with everything else).
        root: `no`, `helps` or `needed`.
        args_family: the family of facts whose keys are its arguments; empty for none.
        sample: it reads counters twice.
        body: shell text, without comments and blank lines.
    """

    name: str
    about: str
    timeout_s: int
    lane: str
    root: str
    args_family: str = ""
    sample: bool = False
    body: str = ""


@cache
def load_sources() -> dict[str, SourceSpec]:
    """Every source that nodectl has, by name.

    Raises:
        SourceError: a file's header is wrong.
    """
    return {path.stem: read_source(path) for path in sorted(SOURCES_DIR.glob("*.sh"))}


def read_source(path: Path) -> SourceSpec:
    """Reads one source file.

    Raises:
        SourceError: its header is wrong, or its body has what cannot be carried.
    """
    header: dict[str, str] = {}
    lines = path.read_text(encoding="utf-8").split("\n")
    for number, key, value in _header(lines):
        _check_header_line(f"{path}:{number}", header, key, value)
        header[key] = value
    for key in _REQUIRED:
        if key not in header:
            raise SourceError(f'{path}:1: the header has no "# {key}: ..." line')
    if header["source"] != path.stem or not _NAME.fullmatch(path.stem):
        raise SourceError(
            f'{path}:1: "# source: {header["source"]}" is not the file\'s name (small letters, digits, _)'
        )
    return SourceSpec(
        name=path.stem,
        about=header["about"],
        timeout_s=int(header["timeout"]),
        lane=header["lane"],
        root=header["root"],
        args_family=header.get("args", ""),
        sample=header.get("sample") == "yes",
        body=_body(path, lines),
    )


def _header(lines: list[str]) -> Iterator[tuple[int, str, str]]:
    """The `# key: value` lines at the top, up to the first line that is none."""
    for number, line in enumerate(lines, 1):
        match = _HEADER_LINE.match(line)
        if not match:
            return
        yield number, match[1], match[2]


def _check_header_line(where: str, header: Mapping[str, str], key: str, value: str) -> None:
    if key not in _KEYS:
        raise SourceError(f'{where}: unknown key "{key}"{did_you_mean(key, _KEYS)} (known: {", ".join(_KEYS)})')
    if key in header:
        raise SourceError(f'{where}: "{key}" is there twice')
    if not value:
        raise SourceError(f'{where}: "{key}" has no value')
    if key in _CHOICES and value not in _CHOICES[key]:
        raise SourceError(f'{where}: "{key}" is one of {", ".join(_CHOICES[key])}, not "{value}"')
    if key == "timeout" and not (value.isdigit() and 0 < int(value) <= _MAX_TIMEOUT_S):
        raise SourceError(f'{where}: "timeout" is whole seconds, 1 to {_MAX_TIMEOUT_S}, not "{value}"')
    if key == "args" and not _NAME.fullmatch(value):
        raise SourceError(f'{where}: "args" is the family of a fact such as sysctl, not "{value}"')


def _body(path: Path, lines: list[str]) -> str:
    kept = []
    for number, line in enumerate(lines, 1):
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        if "<<" in line:
            # Comments and blank lines are left out on the way, which would change what a here-document says.
            raise SourceError(f"{path}:{number}: no here-documents and no << in a source: use printf, or $((x * 2))")
        kept.append(line.rstrip())
    return "\n".join(kept) + "\n" if kept else ""


@cache
def prelude() -> str:
    """The functions that every source may call, as they are sent."""
    return _body(_HERE / "prelude.sh", (_HERE / "prelude.sh").read_text(encoding="utf-8").split("\n"))
