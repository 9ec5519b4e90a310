"""Who sets which kernel setting at boot: `sysctl.configured`, from the files of sysctl.d(5) and the TuneD profile.

As systemd-sysctl has it: a file hides those of the same name in later folders, files go by their names whatever their
folder, and the last line for a setting wins. TuneD sets its own after that, and then the files again (reapply_sysctl).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

import msgspec

from nodectl.facts.host.sysctl import path_of
from nodectl.facts.reading import CannotTell, NotThere, Reading, Row, told
from nodectl.facts.registry import Context, FactSpec, Field
from nodectl.model import Fact

if TYPE_CHECKING:
    from nodectl.probe.transcript import SourceReply

_SOURCE = "sysctl_files"
_FILES = "sysctl files"
_FOLDERS = ("/etc/sysctl.d", "/run/sysctl.d", "/usr/local/lib/sysctl.d", "/usr/lib/sysctl.d", "/lib/sysctl.d")
_OWN = ("/etc/", "/run/")
_FILE = re.compile(r"(/[^:]{1,200}/)([^/:]{1,200}\.conf)")
_LINE = re.compile(r"\s*(-?)\s*([^\s=#;][^=]*?)\s*=\s*(.*?)\s*")
_KEY = re.compile(r"[A-Za-z0-9_.:@+-]+(?:/[A-Za-z0-9_.:@+-]+)*")
_ACTIVE = "/etc/tuned/active_profile"
_PROFILE = re.compile(r"(?:/etc|/usr/lib)/tuned/(?:profiles/)?([A-Za-z0-9_.+-]{1,100})/tuned\.conf")
# What TuneD computes first (variables, functions), or only sets where the present value is lower or higher.
_COMPUTED = re.compile(r"[$<>]|^\s*$")

FACTS = (
    FactSpec(
        name="sysctl.configured",
        type="rows",
        about="Kernel settings that a file of sysctl.d or the active TuneD profile sets, and their value now. Lines"
        " with wildcards are left out",
        source=_SOURCE,
        fields=(
            Field("key", about="as in sysctl: vm.swappiness"),
            Field("value", about="what the last of them sets"),
            Field("set_by", about="the file that has the last word, or tuned:PROFILE"),
            Field("running", about="the value now; none when the kernel has no such setting"),
            Field("known", "bool", about="the kernel has such a setting"),
            Field("applied", "bool", about="the value now is the configured one"),
            Field("optional", "bool", about="its line begins with -: nobody minds when the kernel does not know it"),
            Field("contested", "bool", about="another file of /etc or /run, or TuneD, sets another value"),
            Field("others", about="who else sets another value, and which"),
        ),
    ),
)


class _Setting(msgspec.Struct, frozen=True):
    """One line that sets something."""

    key: str
    value: str
    by: str
    optional: bool = False

    @property
    def of_the_site(self) -> bool:
        """Written by whoever runs the node, and not by the distribution."""
        return self.by.startswith((*_OWN, "tuned:"))


def dotted(key: str) -> str:
    """The usual name of a key that may be written with slashes: `net/ipv4/tcp_ecn` -> `net.ipv4.tcp_ecn`."""
    return path_of(key).removeprefix("/proc/sys/").translate(str.maketrans("./", "/."))


def effective_files(paths: list[str]) -> list[str]:
    """The files that count, in the order in which they are applied.

    Raises:
        CannotTell: a path is no file of sysctl.d.
    """
    chosen: dict[str, tuple[int, str]] = {}
    for path in paths:
        match = _FILE.fullmatch(path)
        if match is None or match[1].rstrip("/") not in _FOLDERS:
            raise CannotTell(f"no file of sysctl.d: {path!r:.80}")
        rank = _FOLDERS.index(match[1].rstrip("/"))
        if match[2] not in chosen or rank < chosen[match[2]][0]:
            chosen[match[2]] = (rank, path)
    return [chosen[name][1] for name in sorted(chosen)]


def _from_files(reading: Reading) -> list[_Setting]:
    paths = effective_files(reading.command(_FILES).splitlines())
    lines = {match[0]: text for match, text in reading.lines_below(_FILE)}
    found = []
    for path in paths:
        for line in lines.get(path, "").split("\n"):
            match = _LINE.fullmatch(line)
            if match and _KEY.fullmatch(match[2]):
                found.append(_Setting(dotted(match[2]), " ".join(match[3].split()), path, bool(match[1])))
    return found


def _section(text: str, name: str) -> Iterator[tuple[str, str]]:
    """Lines KEY=VALUE of one section of a tuned.conf."""
    inside = False
    for line in text.splitlines():
        stripped = line.strip()
        if stripped.startswith("["):
            inside = stripped == f"[{name}]"
        elif inside and "=" in stripped and not stripped.startswith(("#", ";")):
            key, _, value = stripped.partition("=")
            yield key.strip(), value.split("#")[0].strip()


def _from_tuned(reading: Reading) -> list[_Setting]:
    """What the active profile sets; what it includes comes first, and is overridden."""
    try:
        active = reading.file(_ACTIVE).split()
    except NotThere:
        return []
    if not active:
        return []
    by = f"tuned:{' '.join(active)}"
    files = [
        section for section in reading.reply.sections if section.kind == "file" and _PROFILE.fullmatch(section.name)
    ]
    found: dict[str, str] = {}
    # The profiles come in the order in which they were asked for: each before what it includes.
    for section in reversed(files):
        if section.rc != 0:
            raise CannotTell(f"{section.name} could not be read: {section.stderr.strip()[:100]}")
        found.update((dotted(key), value) for key, value in _section(section.text, "sysctl") if _KEY.fullmatch(key))
    return [_Setting(key, " ".join(value.strip("\"'").split()), by) for key, value in found.items()]


def _files_again(reading: Reading) -> bool:
    """TuneD applies sysctl.d once more after its own settings, unless its main file says not."""
    if not reading.has("cmd", "reapply_sysctl"):
        return True
    said = reading.ran("reapply_sysctl").text.strip().splitlines()
    return not said or said[-1].partition("=")[2].strip().lower() not in ("0", "false", "no")


def _same(one: str, other: str) -> bool:
    one, other = " ".join(one.split()), " ".join(other.split())
    if one == other:
        return True
    try:
        return int(one, 0) == int(other, 0)
    except ValueError:
        return False


def _row(reading: Reading, settings: list[_Setting]) -> Row:
    last = settings[-1]
    path = path_of(last.key)
    computed = last.by.startswith("tuned:") and bool(_COMPUTED.search(last.value))
    others = {
        one.by: f"{one.by}: {one.value}"
        for one in settings
        if one.by != last.by and one.of_the_site and last.of_the_site and not _same(one.value, last.value)
    }
    row: Row = {
        "key": last.key,
        "value": last.value,
        "set_by": last.by,
        "running": None,
        "known": True,
        "applied": None,
        "optional": last.optional,
        "contested": bool(others),
        "others": ", ".join(others.values()) or None,
    }
    try:
        running = " ".join(reading.line(path).split())
    except NotThere:
        return {**row, "known": False}
    except CannotTell as trouble:
        # It was not sent (there is no such file), or is for root only.
        if "needs root" in str(trouble):
            return {**row, "_errors": {"running": str(trouble), "applied": str(trouble)}}
        return {**row, "known": False}
    return {**row, "running": running, "applied": None if computed else _same(running, last.value)}


def _configured(reading: Reading) -> list[Row]:
    trouble = reading.not_there("/proc/sys")
    if not isinstance(trouble, NotThere):
        raise trouble
    files, tuned = _from_files(reading), _from_tuned(reading)
    ordered = [*tuned, *files] if _files_again(reading) else [*files, *tuned]
    by_key: dict[str, list[_Setting]] = {}
    for setting in ordered:
        by_key.setdefault(setting.key, []).append(setting)
    return [_row(reading, by_key[key]) for key in sorted(by_key)]


def parse(reply: SourceReply, context: Context) -> Iterator[Fact]:
    """The fact of the source `sysctl_files`."""
    reading = Reading(reply)
    yield told("sysctl.configured", lambda: _configured(reading), "/etc/sysctl.d, /usr/lib/sysctl.d, tuned.conf")


SOURCES = {_SOURCE: parse}
