"""Installed packages: `package[NAME]`, `packages.held`."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING

from nodectl.facts.reading import CannotTell, NotThere, Reading, command_trouble, told
from nodectl.facts.registry import Context, FactSpec
from nodectl.model import Fact

if TYPE_CHECKING:
    from nodectl.probe.transcript import SourceReply

_DPKG = "dpkg-query"
_RPM = "rpm -qa"
_RPM_OWN = "rpm -q --qf %{NAME} rpm"
_HELD = "dpkg-query -W"
_NONE = "no package manager"
_LOCK_LISTS = ("/etc/dnf/plugins/versionlock.list", "/etc/yum/pluginconf.d/versionlock.list")
_LOCK_TOML = "/etc/dnf/versionlock.toml"
_LOCK_ZYPP = "/etc/zypp/locks"

FACTS = (
    FactSpec(
        name="package[NAME]",
        type="str",
        about="Version of an installed package (dpkg, or rpm as [EPOCH:]VERSION-RELEASE); absent when it is not"
        " installed. NAME may hold * where a name carries a branch (nvidia-fabricmanager-*): the one version that all"
        " installed matches have, and an error when they differ",
        source="packages",
        keys_as_args=True,
        globs=True,
    ),
    FactSpec(
        name="packages.held",
        type="list",
        about="Packages held at their version: dpkg holds, dnf/yum versionlock entries, zypper locks, as written there",
        source="packages_held",
    ),
)


class _Installed:
    """The packages that the node's package manager answered with."""

    def __init__(self, versions: dict[str, set[str]], broken: dict[str, str]) -> None:
        self.versions = versions
        self.broken = broken

    def version(self, key: str) -> str:
        """The version of the only match of `key`, which may be a glob."""
        for name, state in self.broken.items():
            if fnmatch.fnmatchcase(name, key):
                raise CannotTell(f"the package {name} is half installed (dpkg says {state!r})")
        found = {name: versions for name, versions in self.versions.items() if fnmatch.fnmatchcase(name, key)}
        if not found:
            raise NotThere(f"the package {key} is not installed")
        different = sorted(set().union(*found.values()))
        if len(different) > 1:
            each = ", ".join(f"{name} {' and '.join(sorted(v))}" for name, v in sorted(found.items()))
            raise CannotTell(f"{key} is installed in {len(different)} versions: {each}"[:300])
        return different[0]


def parse_dpkg(text: str) -> tuple[dict[str, set[str]], dict[str, str]]:
    """Lines STATUS, NAME, VERSION, ARCHITECTURE of dpkg-query: what is installed, and what is so by half."""
    versions: dict[str, set[str]] = {}
    broken: dict[str, str] = {}
    for line in text.splitlines():
        fields = line.split("\t")
        if len(fields) != 4 or not fields[1]:
            raise CannotTell(f"dpkg-query: not understood: {line!r:.80}")
        status, name, version, _ = fields
        state = status[1:2]
        # n: not installed, c: only its configuration files are left. W and t wait for triggers of others: usable.
        if state in ("i", "W", "t"):
            versions.setdefault(name, set()).add(version)
        elif state not in ("n", "c"):
            broken[name] = status.strip()
    return versions, broken


def parse_rpm(text: str) -> dict[str, set[str]]:
    """Lines NAME, [EPOCH:]VERSION-RELEASE, ARCHITECTURE of rpm -qa."""
    versions: dict[str, set[str]] = {}
    for line in text.splitlines():
        fields = line.split("\t")
        if len(fields) != 3 or not fields[0]:
            raise CannotTell(f"rpm -qa: not understood: {line!r:.80}")
        versions.setdefault(fields[0], set()).add(fields[1])
    return versions


def _installed(reading: Reading) -> _Installed:
    if reading.has("text", _NONE):
        raise CannotTell("neither dpkg nor rpm manages packages on this node")
    if reading.has("cmd", _DPKG):
        # rc 1: some of the names match nothing, which is an answer.
        versions, broken = parse_dpkg(reading.command(_DPKG, rcs=(0, 1)))
        own = "dpkg"
    else:
        versions, broken = parse_rpm(reading.command(_RPM)), {}
        own = "rpm"
    if own not in versions:
        raise CannotTell(f"the database of {own} does not know {own} itself: it does not describe this node")
    return _Installed(versions, broken)


def parse(reply: SourceReply, context: Context) -> Iterator[Fact]:
    """The facts of the source `packages`."""
    reading = Reading(reply)
    command = "dpkg-query -W" if reading.has("cmd", _DPKG) else "rpm -q"
    installed: _Installed | None = None
    trouble = ""
    try:
        installed = _installed(reading)
    except CannotTell as problem:
        trouble = str(problem)

    def version(key: str) -> str:
        if installed is None:
            raise CannotTell(trouble)
        return installed.version(key)

    for key in context.keys_of("package"):
        yield told(f"package[{key}]", partial(version, key), f"{command} {key}")


def _held_dpkg(reading: Reading) -> list[str]:
    section = reading.ran(_HELD)
    *lines, last = section.text.splitlines() or [""]
    if last != "nd_rc 0":
        raise CannotTell(command_trouble(section) if section.rc else f"{_HELD} failed: {section.stderr:.200}")
    rows = [line.split("\t") for line in lines]
    if any(len(row) != 2 for row in rows):
        raise CannotTell("dpkg-query -W is not as expected")
    if not any(name == "dpkg" for _, name in rows):
        raise CannotTell("the database of dpkg does not know dpkg itself: it does not describe this node")
    return sorted({name for status, name in rows if status.startswith("h")})


def _held_rpm(reading: Reading) -> list[str]:
    if reading.command(_RPM_OWN).strip() != "rpm":
        raise CannotTell("the database of rpm does not know rpm itself: it does not describe this node")
    held: set[str] = set()
    for path in (*_LOCK_LISTS, _LOCK_TOML, _LOCK_ZYPP):
        try:
            text = reading.file(path)
        except NotThere:
            continue
        if path == _LOCK_TOML:
            held |= set(re.findall(r'^\s*name\s*=\s*"([^"]{1,200})"', text, re.MULTILINE))
        elif path == _LOCK_ZYPP:
            held |= set(re.findall(r"^solvable_name:\s*(\S{1,200})", text, re.MULTILINE))
        else:
            # A line with ! in front excludes a version: nothing is held by it.
            lines = (line.strip() for line in text.splitlines())
            held |= {line for line in lines if line and not line.startswith(("#", "!"))}
    return sorted(held)


def _held(reading: Reading) -> list[str]:
    if reading.has("text", _NONE):
        raise CannotTell("neither dpkg nor rpm manages packages on this node")
    return _held_dpkg(reading) if reading.has("cmd", _HELD) else _held_rpm(reading)


def parse_held(reply: SourceReply, context: Context) -> Iterator[Fact]:
    """The fact of the source `packages_held`."""
    reading = Reading(reply)
    yield told("packages.held", lambda: _held(reading), "apt-mark showhold; dnf versionlock list; zypper locks")


SOURCES = {"packages": parse, "packages_held": parse_held}
