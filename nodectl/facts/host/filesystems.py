"""Local file systems: `fs.local`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from nodectl.facts.host.mounts import unescaped
from nodectl.facts.reading import CannotTell, Reading, Row, command_trouble, told
from nodectl.facts.registry import Context, FactSpec, Field
from nodectl.model import Fact

if TYPE_CHECKING:
    from nodectl.probe.transcript import SourceReply

_TABLE = "/proc/self/mountinfo"
_SIZES = ("size_mib", "available_mib", "free_pct", "inodes", "inodes_free_pct")
# Kernels that leave the superblock's ro flag alone after an error say so in words.
_EMERGENCY = {"emergency_ro", "shutdown"}

FACTS = (
    FactSpec(
        name="fs.local",
        type="rows",
        about="File systems on disks of this machine, and tmpfs on /tmp; each once, at its shortest path. Nothing that"
        " comes over a network, and nothing of containers",
        source="filesystems",
        fields=(
            Field("path", about="where it is mounted"),
            Field("source", about="device"),
            Field("fstype", about="ext4, xfs, btrfs, zfs, vfat, tmpfs, overlay (a container's root), ..."),
            Field("read_only", "bool", about="mounted read-only on purpose"),
            Field(
                "turned_read_only",
                "bool",
                about="mounted for writing, but the kernel made the file system read-only, as it does after errors",
            ),
            Field("size_mib", "int", "MiB", "size"),
            Field("available_mib", "int", "MiB", "free for users that are not root"),
            Field("free_pct", "float", "%", "of what users can have, as in df"),
            Field("inodes", "int", about="how many files it can hold; none for file systems without such a number"),
            Field("inodes_free_pct", "float", "%", "inodes that are free"),
        ),
    ),
)


def _mount(line: str) -> Row:
    before, dash, after = line.partition(" - ")
    left, right = before.split(), after.split()
    if not dash or len(left) < 6 or len(right) < 3:
        raise CannotTell(f"{_TABLE}: not understood: {line!r:.80}")
    mount, own = left[5].split(","), right[2].split(",")
    # Mounting read-only sets both flags; the kernel, on an error, only that of the file system (proc(5), mountinfo).
    return {
        "path": unescaped(left[4]),
        "source": unescaped(right[1]),
        "fstype": right[0],
        "read_only": "ro" in mount,
        "turned_read_only": "ro" not in mount and ("ro" in own or bool(_EMERGENCY & set(own))),
    }


def _share(part: int, whole: int) -> float | None:
    return round(100 * part / whole, 1) if whole > 0 else None


def _sizes(reading: Reading) -> dict[str, Row]:
    """{path: the sizes of `_SIZES`}, as far as stat told them."""
    found: dict[str, Row] = {}
    if not reading.has("cmd", "statfs"):
        return found
    for line in reading.ran("statfs").text.splitlines():
        match = re.fullmatch(r"(\d{1,9}) (\d{1,18}) (\d{1,18}) (-?\d{1,18}) (\d{1,20}) (\d{1,20}) (/.*)", line)
        if match:
            block, blocks, free, available, inodes, free_inodes = (int(match[n]) for n in range(1, 7))
            available = max(available, 0)
            found[match[7]] = {
                "size_mib": block * blocks >> 20,
                "available_mib": block * available >> 20,
                "free_pct": _share(available, blocks - free + available),
                "inodes": inodes or None,
                "inodes_free_pct": _share(free_inodes, inodes),
            }
    return found


def _local(reading: Reading) -> list[Row]:
    *lines, last = reading.command(_TABLE).splitlines() or [""]
    if not re.fullmatch(r"nd_total [1-9]\d*", last):
        raise CannotTell(f"{_TABLE} was not read to its end")
    sizes = _sizes(reading)
    rows = []
    for line in lines:
        row: dict[str, Any] = _mount(line)
        if row["path"] in sizes:
            rows.append({**row, **sizes[row["path"]]})
            continue
        trouble = "stat did not answer for it"
        if reading.has("cmd", "statfs") and reading.ran("statfs").rc:
            trouble = command_trouble(reading.ran("statfs"))
        rows.append({**row, **dict.fromkeys(_SIZES), "_errors": dict.fromkeys(_SIZES, trouble)})
    return sorted(rows, key=lambda row: str(row["path"]))


def parse(reply: SourceReply, context: Context) -> Iterator[Fact]:
    """The fact of the source `filesystems`."""
    reading = Reading(reply)
    yield told("fs.local", lambda: _local(reading), "findmnt; df; df -i")


SOURCES = {"filesystems": parse}
