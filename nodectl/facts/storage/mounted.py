"""Mounted file systems that hold data: `storage.mounts`, and what NFS and Lustre say of theirs.

Everything comes from the kernel's table of mounts. Its options are those in force, not those of fstab.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING

from nodectl.facts.host.mounts import parse_mountinfo
from nodectl.facts.reading import CannotTell, Reading, Row, told
from nodectl.facts.registry import Context, FactSpec, Field
from nodectl.model import Fact

if TYPE_CHECKING:
    from nodectl.probe.transcript import SourceReply

_SOURCE = "storage_mounts"
_TABLE = "/proc/self/mountinfo"
_END = re.compile(r"nd_total ([1-9]\d*) (\d+)")

_NETWORK = frozenset(
    {
        "nfs", "nfs4", "lustre", "gpfs", "wekafs", "beegfs", "beegfs_nodev", "ceph", "glusterfs", "cifs", "smb3", "9p",
        "virtiofs", "afs", "pvfs2", "orangefs", "panfs", "fuse.sshfs", "fuse.s3fs", "fuse.glusterfs", "fuse.ceph",
        "fuse.ceph-fuse", "fuse.juicefs", "fuse.gcsfuse", "fuse.goofys", "fuse.alluxio-fuse", "fuse.mount-s3",
        "fuse.mountpoint-s3", "fuse.blobfuse", "fuse.blobfuse2", "fuse.rclone", "fuse.daos", "fuse.dfuse",
        "fuse.curvefs",
    }
)  # fmt: skip
_LOCAL = frozenset(
    {
        "ext2", "ext3", "ext4", "xfs", "btrfs", "zfs", "f2fs", "vfat", "exfat", "ntfs", "ntfs3", "iso9660", "bcachefs",
        "jfs", "reiserfs", "erofs",
    }
)  # fmt: skip
_NFS = ("nfs", "nfs4")

_PATH = Field("path", about="where it is mounted")
_READ_ONLY = Field("read_only", "bool", about="mounted read-only, or turned so by the kernel")

FACTS = (
    FactSpec(
        name="storage.mounts",
        type="rows",
        about="Mounted file systems that hold data (not those of the kernel itself, of containers and of pods)",
        source=_SOURCE,
        fields=(
            _PATH,
            Field("source", about="device or export"),
            Field("fstype", about="ext4, xfs, nfs4, lustre, ..."),
            Field(
                "kind", about="local, network, memory, overlay, automount (nothing is mounted until it is used), other"
            ),
            Field("options", "list", about="mount options and those of the file system, each once"),
            _READ_ONLY,
        ),
    ),
    FactSpec(
        name="storage.network_fstypes",
        type="list",
        about="The different types of network file systems that are mounted",
        source=_SOURCE,
    ),
    FactSpec(
        name="nfs.mounts",
        type="rows",
        about="Mounted NFS file systems, with the options in force",
        source=_SOURCE,
        fields=(
            _PATH,
            Field("source", about="server:/export"),
            Field("version", "version", about="3, 4.0, 4.1, 4.2"),
            Field("proto", about="tcp, tcp6, udp, rdma"),
            Field("connections", "int", about="TCP connections to the server (nconnect)"),
            Field(
                "hard", "bool", about="requests are repeated until the server answers; false: they fail (soft, softerr)"
            ),
            Field("rsize_bytes", "int", "bytes", "largest read"),
            Field("wsize_bytes", "int", "bytes", "largest write"),
            Field("timeout_s", "float", "s", "time before a request is repeated (timeo)"),
            Field("retries", "int", about="repeats before the server is called dead (retrans)"),
            _READ_ONLY,
        ),
    ),
    FactSpec(
        name="lustre.mounts",
        type="rows",
        about="Mounted Lustre file systems",
        source=_SOURCE,
        fields=(
            _PATH,
            Field("source", about="MGS addresses and file system"),
            Field("filesystem", about="name of the file system"),
            Field("flock", about="flock (coherent over clients), localflock (this node only) or noflock"),
            _READ_ONLY,
        ),
    ),
)


def _kind(fstype: str) -> str:
    if fstype in _NETWORK:
        return "network"
    if fstype in _LOCAL:
        return "local"
    return {"tmpfs": "memory", "overlay": "overlay", "autofs": "automount"}.get(fstype, "other")


def _mounts(reading: Reading) -> list[Row]:
    *lines, last = reading.command(_TABLE).splitlines() or [""]
    end = _END.fullmatch(last)
    if end is None or int(end[2]) < len(lines):
        raise CannotTell(f"{_TABLE} was not read to its end")
    if int(end[2]) > len(lines):
        raise CannotTell(f"{end[2]} file systems are mounted, more than nodectl looks at ({len(lines)})")
    table = parse_mountinfo("\n".join(lines))
    return [{"path": path, **row, "kind": _kind(row["fstype"])} for path, row in sorted(table.items())]


def _value(row: Row, name: str) -> str | None:
    """Of an option NAME=VALUE."""
    found = (option for option in row["options"] if option.startswith(f"{name}="))
    return next(found, "=").partition("=")[2] or None


def _number(row: Row, name: str) -> int | None:
    text = _value(row, name)
    return int(text) if text and re.fullmatch(r"\d{1,12}", text) else None


def _nfs(row: Row) -> Row:
    options = row["options"]
    version = _value(row, "vers") or _value(row, "nfsvers")
    tenths = _number(row, "timeo")
    proto = _value(row, "proto")
    # The kernel names neither of them where it is told nothing: only a word that is there is believed.
    hard = True if "hard" in options else False if {"soft", "softerr"} & set(options) else None
    found: Row = {
        "path": row["path"],
        "source": row["source"],
        "version": version if version and re.fullmatch(r"\d(\.\d)?", version) else None,
        "proto": proto,
        "connections": _number(row, "nconnect") or (1 if proto else None),
        "hard": hard,
        "rsize_bytes": _number(row, "rsize"),
        "wsize_bytes": _number(row, "wsize"),
        "timeout_s": None if tenths is None else tenths / 10,
        "retries": _number(row, "retrans"),
        "read_only": row["read_only"],
    }
    unread = [name for name, value in found.items() if value is None]
    return {**found, "_errors": dict.fromkeys(unread, "not among the mount options")} if unread else found


def _lustre(row: Row) -> Row:
    flocks = [option for option in row["options"] if option in ("flock", "localflock", "noflock")]
    return {
        "path": row["path"],
        "source": row["source"],
        "filesystem": row["source"].rpartition(":/")[2].partition("/")[0] or None,
        # mount.lustre(8): without a word there is no flock(). The word is shown where it is in force.
        "flock": flocks[-1] if flocks else "noflock",
        "read_only": row["read_only"],
    }


def parse(reply: SourceReply, context: Context) -> Iterator[Fact]:
    """The facts of the source `storage_mounts`."""
    mounts = partial(_mounts, Reading(reply))
    yield told("storage.mounts", mounts, _TABLE)
    yield told(
        "storage.network_fstypes",
        lambda: sorted({row["fstype"] for row in mounts() if row["kind"] == "network"}),
        _TABLE,
    )
    yield told("nfs.mounts", lambda: [_nfs(row) for row in mounts() if row["fstype"] in _NFS], _TABLE)
    yield told("lustre.mounts", lambda: [_lustre(row) for row in mounts() if row["fstype"] == "lustre"], _TABLE)


SOURCES = {_SOURCE: parse}
