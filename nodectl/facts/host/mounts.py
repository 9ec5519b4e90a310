"""Mounted file systems: `mount[PATH]`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

from nodectl.facts.reading import CannotTell, NotThere, Reading, command_trouble, told
from nodectl.facts.registry import Context, FactSpec, Field
from nodectl.model import Fact

if TYPE_CHECKING:
    from nodectl.probe.transcript import SourceReply

_TABLE = "/proc/self/mountinfo"
_SIZES = ("size_mib", "available_mib", "used_pct")
_DF = re.compile(r"(?P<total>\d{1,18}) +\d{1,18} +(?P<free>-?\d{1,18}) +(?P<used>\d{1,3}%|-) (?P<path>/.*)$")

FACTS = (
    FactSpec(
        name="mount[PATH]",
        type="row",
        about="The file system mounted at a path (the topmost); absent when the path is no mount point",
        source="mounts",
        keys_as_args=True,
        fields=(
            Field("source", about="device or export"),
            Field("fstype", about="ext4, xfs, tmpfs, nfs4, lustre, overlay, ..."),
            Field("options", "list", about="mount options and those of the file system, each once"),
            Field("read_only", "bool", about="mounted read-only, or turned so by the kernel after errors"),
            Field("size_mib", "int", "MiB", "size"),
            Field("available_mib", "int", "MiB", "free for users that are not root"),
            Field("used_pct", "int", "%", "in use, as df says"),
        ),
    ),
)


def unescaped(text: str) -> str:
    """A field of mountinfo, where white space and backslashes are octal escapes."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), text)


def parse_mountinfo(text: str) -> dict[str, dict[str, Any]]:
    """Lines of mountinfo (proc(5)) by mount point; where several lie on one, the last, which hides the others."""
    mounts = {}
    for line in text.splitlines():
        before, dash, after = line.partition(" - ")
        left, right = before.split(), after.split()
        if not dash or len(left) < 6 or len(right) < 3:
            raise CannotTell(f"{_TABLE}: not understood: {line!r:.80}")
        options = left[5].split(",")
        own = right[2].split(",")
        read_only = "ro" in options or "ro" in own
        rest = [option for option in dict.fromkeys([*options, *own]) if option not in ("ro", "rw")]
        mounts[unescaped(left[4])] = {
            "source": unescaped(right[1]),
            "fstype": right[0],
            "options": ["ro" if read_only else "rw", *rest],
            "read_only": read_only,
        }
    return mounts


def _sizes(reading: Reading, path: str) -> dict[str, Any]:
    """The sizes, or None with the reason in `_errors`."""
    section = reading.reply.find("cmd", f"df {path}")
    if section is None:
        trouble = "df was not asked"
    elif section.rc:
        trouble = command_trouble(section)
    else:
        lines = section.text.splitlines()
        match = _DF.search(lines[-1]) if lines else None
        if match and match["path"] == path:
            used = match["used"].rstrip("%")
            return {
                "size_mib": int(match["total"]) // 1024,
                "available_mib": int(match["free"]) // 1024,
                "used_pct": None if used == "-" else int(used),
            }
        trouble = f"df spoke of another mount: {lines[-1]!r:.80}" if match else "df was not understood"
    return {**dict.fromkeys(_SIZES), "_errors": dict.fromkeys(_SIZES, trouble)}


def _mount(reading: Reading, key: str) -> dict[str, Any]:
    *lines, last = reading.command(_TABLE).splitlines() or [""]
    if not re.fullmatch(r"nd_total [1-9]\d*", last):
        raise CannotTell(f"{_TABLE} was not read to its end")
    mount = parse_mountinfo("\n".join(lines)).get(key)
    if mount is None:
        raise NotThere(f"nothing is mounted at {key}")
    return {**mount, **_sizes(reading, key)}


def parse(reply: SourceReply, context: Context) -> Iterator[Fact]:
    """The facts of the source `mounts`."""
    reading = Reading(reply)
    for key in context.keys_of("mount"):
        yield told(f"mount[{key}]", partial(_mount, reading, key), f"findmnt {key}; df -P {key}")


SOURCES = {"mounts": parse}
