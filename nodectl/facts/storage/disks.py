"""Disks as the kernel has them: `storage.nvme`, `storage.disks`, `storage.multipath`, `storage.raid`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from nodectl.facts.reading import CannotTell, NotThere, Reading, Row, bracketed, told
from nodectl.facts.registry import Context, FactSpec, Field
from nodectl.model import Fact

if TYPE_CHECKING:
    from nodectl.probe.transcript import SourceReply

_SOURCE = "disks"
_MDSTAT = "/proc/mdstat"
_NVME = re.compile(r"/sys/class/nvme/(nvme\d{1,4})/([a-z_]{1,30})")
_BLOCK = re.compile(r"/sys/block/([A-Za-z0-9!_.-]{1,60})/(?:queue/|device/)?([a-z_]{1,30})")
_MAPPED = re.compile(r"/sys/block/(dm-\d{1,6})/dm/name")
_ARRAY = re.compile(
    r"(md\S{1,60}) : (active|inactive)(?: \((read-only|auto-read-only|broken)\))?"
    r"(?: (raid\d{1,2}|linear|multipath|faulty|container))? ?(.*)"
)
_MEMBER = re.compile(r"\S+\[\d+\](?:\(([A-Z])\))*")
_COUNTS = re.compile(r"\[(\d{1,4})/(\d{1,4})\] \[[U_.]+\]")
_PROGRESS = re.compile(r"(recovery|resync|reshape|check) *=")
_WAITS = re.compile(r"(resync|recovery|reshape)=(PENDING|DELAYED|REMOTE)")

FACTS = (
    FactSpec(
        name="storage.nvme",
        type="rows",
        about="NVMe drives (controllers), local and over fabrics",
        source=_SOURCE,
        fields=(
            Field("name", about="nvme0"),
            Field("model"),
            Field("firmware", about="firmware revision"),
            Field("transport", about="pcie, or tcp, rdma, fc over fabrics"),
            Field("state", about="live; resetting, connecting, deleting, dead"),
            Field("address", about="PCI address, or that of the target"),
            Field("numa_node", "int"),
        ),
    ),
    FactSpec(name="storage.nvme_count", type="int", about="NVMe drives on the PCI bus of the node", source=_SOURCE),
    FactSpec(
        name="storage.nvme_models", type="list", about="The different models of local NVMe drives", source=_SOURCE
    ),
    FactSpec(
        name="storage.disks",
        type="rows",
        about="Disks and NVMe namespaces (not: loop, RAM, CD, RAID and mapped devices)",
        source=_SOURCE,
        fields=(
            Field("name", about="sda, nvme0n1, vda"),
            Field("kind", about="nvme, scsi, virtio or other"),
            Field("model"),
            Field("size_gb", "int", "GB", "10^9 bytes"),
            Field("rotational", "bool", about="the kernel takes it for a hard disk; virtual disks often say so too"),
            Field("removable", "bool"),
            Field("scheduler", about="I/O scheduler in use: none, mq-deadline, bfq, kyber"),
            Field("read_ahead_kib", "int", "KiB"),
            Field("state", about="of a SCSI disk: running, offline, blocked, transport-offline"),
        ),
    ),
    FactSpec(
        name="storage.multipath",
        type="rows",
        about="Devices that are reached over several paths (dm-multipath)",
        source=_SOURCE,
        fields=(
            Field("name", about="as in /dev/mapper"),
            Field("paths", "int"),
            Field("paths_running", "int", about="paths whose disk is in the state running or live"),
        ),
    ),
    FactSpec(
        name="storage.raid",
        type="rows",
        about="Software RAID arrays (md); absent when the kernel has no such driver loaded",
        source=_SOURCE,
        fields=(
            Field("name", about="md0"),
            Field("level", about="raid0, raid1, ...; none for an array that is not running"),
            Field("active", "bool", about="it runs"),
            Field(
                "read_only",
                "bool",
                about="turned read-only, or broken (not: auto-read-only, which ends at the first write)",
            ),
            Field("members", "int", about="devices that belong to it now, with spares"),
            Field("failed_members", "int", about="devices marked as failed"),
            Field("missing_members", "int", about="devices that it lacks; none for levels without redundancy"),
            Field("activity", about="recovery, resync, reshape or check under way; none when at rest"),
        ),
    ),
)


def _gathered(reading: Reading, marker: str, pattern: re.Pattern[str]) -> dict[str, dict[str, str]]:
    """Files by the device that they are of, from the greps of the source.

    Raises:
        CannotTell: the source did not look at them.
    """
    count = reading.text(marker).strip()
    if not count.isdigit():
        raise CannotTell(f"{marker}: not a number: {count!r:.40}")
    if reading.not_there("/sys/x").__class__ is not NotThere:
        raise reading.not_there("/sys/x")
    devices: dict[str, dict[str, str]] = {}
    for match, text in reading.lines_below(pattern):
        devices.setdefault(match[1], {})[match[2]] = text.strip()
    if int(count) > 0 and not devices:
        raise CannotTell("sysfs described no device")
    return devices


def _number(text: str | None) -> int | None:
    return int(text) if text is not None and re.fullmatch(r"-?\d{1,18}", text) else None


def _nvme(reading: Reading) -> list[Row]:
    rows = []
    for name, files in sorted(_gathered(reading, "nvme drives", _NVME).items(), key=lambda item: int(item[0][4:])):
        numa = _number(files.get("numa_node"))
        row: Row = {
            "name": name,
            "model": files.get("model") or None,
            "firmware": files.get("firmware_rev") or None,
            "transport": files.get("transport") or None,
            "state": files.get("state") or None,
            "address": files.get("address") or None,
            "numa_node": None if numa is None or numa < 0 else numa,
        }
        unread = {key: "could not be read" for key in ("transport",) if row[key] is None}
        rows.append({**row, "_errors": unread} if unread else row)
    return rows


def _local(reading: Reading) -> list[Row]:
    rows = _nvme(reading)
    if any(row["transport"] is None for row in rows):
        raise CannotTell("of some NVMe drive sysfs does not say how it is attached")
    return [row for row in rows if row["transport"] == "pcie"]


def _block_kind(name: str) -> str:
    for prefix, kind in (("nvme", "nvme"), ("sd", "scsi"), ("vd", "virtio")):
        if name.startswith(prefix):
            return kind
    return "other"


def _flag(text: str | None) -> bool | None:
    return {"0": False, "1": True}.get(text or "")


def _scheduler(text: str | None) -> str | None:
    if not text:
        return None
    # A device with one choice only shows it without brackets.
    return bracketed(text, "scheduler") if "[" in text else (text if " " not in text else None)


def _disks(reading: Reading) -> list[Row]:
    rows = []
    for name, files in sorted(_gathered(reading, "disk files", _BLOCK).items()):
        if name.startswith("dm-"):
            continue
        sectors = _number(files.get("size"))
        if sectors == 0:
            continue  # an empty card reader, or an NVMe path that is not the device itself
        rows.append(
            {
                "name": name,
                "kind": _block_kind(name),
                "model": files.get("model") or None,
                "size_gb": None if sectors is None else sectors * 512 // 10**9,
                "rotational": _flag(files.get("rotational")),
                "removable": _flag(files.get("removable")),
                "scheduler": _scheduler(files.get("scheduler")),
                "read_ahead_kib": _number(files.get("read_ahead_kb")),
                "state": files.get("state") or None,
            }
        )
    return rows


def _multipath(reading: Reading) -> list[Row]:
    paths: dict[str, list[str]] = {}
    for path in reading.text("multipath paths").strip().strip(",").split(","):
        if not path:
            continue
        device, _, disk = path.partition(" ")
        if not re.fullmatch(r"dm-\d{1,6}", device) or not disk:
            raise CannotTell(f"the paths of multipath devices are not understood: {path!r:.60}")
        paths.setdefault(device, []).append(disk)
    if not paths:
        return []
    states = {name: files.get("state") for name, files in _gathered(reading, "disk files", _BLOCK).items()}
    names = {match[1]: text.strip() for match, text in reading.lines_below(_MAPPED)}
    return [
        {
            "name": names.get(device) or device,
            "paths": len(disks),
            "paths_running": sum(states.get(disk) in ("running", "live") for disk in disks),
        }
        for device, disks in sorted(paths.items())
    ]


def _array(line: str, below: str) -> Row:
    match = _ARRAY.fullmatch(line)
    if match is None:
        raise CannotTell(f"{_MDSTAT}: not understood: {line!r:.80}")
    members = match[5].split()
    if any(_MEMBER.fullmatch(member) is None for member in members):
        raise CannotTell(f"{_MDSTAT}: not understood: {match[5]!r:.80}")
    counts = _COUNTS.search(below)
    progress = _PROGRESS.search(below) or _WAITS.search(below)
    return {
        "name": match[1],
        "level": match[4],
        "active": match[2] == "active",
        "read_only": match[3] in ("read-only", "broken"),
        "members": len(members),
        "failed_members": sum("(F)" in member for member in members),
        "missing_members": max(0, int(counts[1]) - int(counts[2])) if counts else None,
        "activity": progress[1] if progress else None,
    }


def _raid(reading: Reading) -> list[Row]:
    try:
        text = reading.file(_MDSTAT)
    except NotThere:
        raise NotThere("the kernel has no software RAID loaded") from None
    if not text.startswith("Personalities :") or not re.search(r"^unused devices:", text, re.MULTILINE):
        raise CannotTell(f"{_MDSTAT} is not as expected, or was cut: {text[:40]!r}")
    rows: list[Row] = []
    for block in re.split(r"\n(?=\S)", text)[1:]:
        first, _, below = block.partition("\n")
        if not first.startswith("unused devices:"):
            rows.append(_array(first.rstrip(), below))
    # A container (of BIOS RAID) holds no data itself: its volumes are arrays of their own.
    return [row for row in rows if row["active"] or row["level"] != "container"]


def parse(reply: SourceReply, context: Context) -> Iterator[Fact]:
    """The facts of the source `disks`."""
    reading = Reading(reply)
    nvme, block = "/sys/class/nvme", "/sys/block"
    yield told("storage.nvme", lambda: _nvme(reading), nvme)
    yield told("storage.nvme_count", lambda: len(_local(reading)), nvme)
    yield told("storage.nvme_models", lambda: sorted({row["model"] for row in _local(reading) if row["model"]}), nvme)
    yield told("storage.disks", lambda: _disks(reading), block)
    yield told("storage.multipath", lambda: _multipath(reading), f"{block}/dm-*/slaves")
    yield told("storage.raid", lambda: _raid(reading), _MDSTAT)


SOURCES = {_SOURCE: parse}
