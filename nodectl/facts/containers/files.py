"""How the settings of container engines come from the node: one setting a line, already picked out there.

The node takes JSON and TOML apart (probe/sources/containers/container_config.sh), so that whatever else those files
hold, registry passwords among it, never leaves the node.
"""

from __future__ import annotations

import re

from nodectl.facts.reading import CannotTell, NotThere, Reading, command_trouble

COMPLETE = "nd_complete"
_BROKEN = "nd_broken"
_FILE = "nd_file "
_QUOTED = re.compile(r"\"((?:[^\"\\]|\\.){0,2000})\"|'([^']{0,2000})'")
_BARE = re.compile(r"[^\s#]{1,200}")
# Where a file is not of this node's own.
NETWORK_FILE_SYSTEMS = frozenset(
    {
        "afs", "beegfs", "ceph", "cifs", "fuse.ceph", "fuse.ceph-fuse", "fuse.gcsfuse", "fuse.glusterfs",
        "fuse.juicefs", "fuse.s3fs", "fuse.sshfs", "gpfs", "lustre", "nfs", "nfs4", "orangefs", "panfs", "pvfs2",
        "smb3", "wekafs",
    }
)  # fmt: skip
_FREE_TEXT = re.compile(r"[$~*`]")


def settings(reading: Reading, section: str, what: str) -> list[tuple[str, str]]:
    """(key, value) pairs of a section, in order.

    Raises:
        NotThere: the node has no such file.
        CannotTell: it could not be read to its end, or is broken.
    """
    if not reading.has("cmd", section):
        raise not_sent(reading, what)
    ran = reading.ran(section)
    if ran.rc and "No such file" in ran.stderr:
        raise NotThere(f"there is no {what}")
    if ran.rc:
        raise CannotTell(command_trouble(ran))
    *lines, last = ran.text.splitlines() or [""]
    if last.strip() == _BROKEN:
        raise CannotTell(f"{what} is no valid JSON")
    if last.strip() != COMPLETE:
        raise CannotTell(f"{what} was not read to its end")
    pairs = []
    for line in lines:
        key, tab, value = line.partition("\t")
        if tab:
            pairs.append((key.strip(), value.strip()))
        elif not line.startswith(_FILE):
            raise CannotTell(f"{what}: not understood: {line!r:.60}")
    return pairs


def not_sent(reading: Reading, what: str) -> NotThere | CannotTell:
    """Why a section is missing: sources leave out what a node has not; another section tells that they looked."""
    if reading.has("text", "found") or reading.has("cmd", "mounts"):
        return NotThere(f"there is no {what}")
    return CannotTell("the probe's reply does not say that it looked")


def looked_for(reading: Reading) -> dict[str, bool]:
    """The files and programs that the probe looked for, and whether they are there."""
    found = {}
    for line in reading.command("files that are there").splitlines():
        state, tab, path = line.partition("\t")
        if not tab or state not in ("there", "gone"):
            raise CannotTell(f"not understood: {line!r:.60}")
        found[path] = state == "there"
    return found


def toml_text(value: str) -> str:
    """The text of a TOML value: unquoted, without a comment behind it."""
    match = _QUOTED.match(value)
    if match:
        return match[1] if match[1] is not None else match[2]
    bare = _BARE.match(value)
    return bare[0] if bare else ""


def toml_list(value: str) -> list[str]:
    return [one if one else other for one, other in _QUOTED.findall(value)]


def flag(value: str, what: str) -> bool:
    """true or false.

    Raises:
        CannotTell: it is neither.
    """
    word = toml_text(value).lower()
    if word not in ("true", "false"):
        raise CannotTell(f"{what} is neither true nor false: {value!r:.40}")
    return word == "true"


def file_system(reading: Reading, path: str) -> str:
    """The type of the file system that a path lies on.

    Raises:
        CannotTell: the path holds what only a shell resolves, or the mounts could not be read.
    """
    known = re.split(r"[$~*`]", path, maxsplit=1)[0]
    if not known.startswith("/") or (_FREE_TEXT.search(path) and known == "/"):
        raise CannotTell(f"{path} is known only to the session that uses it")
    whole = known.rstrip("/") if known != path else path
    parent = whole if known == path or known.endswith("/") else whole.rpartition("/")[0]
    best, found = "", ""
    for mount, kind in settings(reading, "mounts", "/proc/self/mountinfo"):
        inside = mount == "/" or parent == mount or parent.startswith(f"{mount}/")
        if inside and len(mount) >= len(best):
            best, found = mount, kind
    if not found:
        raise CannotTell(f"no mount holds {path}")
    return found
