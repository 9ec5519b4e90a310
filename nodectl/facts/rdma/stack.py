"""The RDMA software of a node: OFED or DOCA release, device files, peer memory, active MTU, SHARP."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from nodectl.facts.reading import CannotTell, NotThere, Reading, Row, command_trouble, one_line, told
from nodectl.facts.registry import Context, FactSpec, Field
from nodectl.model import Fact

if TYPE_CHECKING:
    from nodectl.probe.transcript import SourceReply

SOURCE = "rdma_stack"
_OFED = "timeout -k 1 5 ofed_info -s"
_DEVINFO = "timeout -k 1 10 ibv_devinfo"
_NODES = "ls -l /dev/infiniband"

FACTS: tuple[FactSpec, ...] = (
    FactSpec(
        name="rdma.ofed_version",
        type="version",
        source=SOURCE,
        about="Release of MLNX_OFED or DOCA-OFED, e.g. 24.10-2.1.8.0; absent with the kernel's own stack",
    ),
    FactSpec(
        name="rdma.ofed_kind",
        type="str",
        source=SOURCE,
        about="MLNX_OFED or DOCA-OFED; absent with the kernel's own stack and rdma-core",
    ),
    FactSpec(
        name="rdma.device_nodes",
        type="rows",
        source=SOURCE,
        about="Files in /dev/infiniband; absent where the kernel has no RDMA device",
        varies=True,
        fields=(
            Field("name", about="uverbs0, umad0, rdma_cm, ..."),
            Field("kind", about="uverbs, umad, issm, rdma_cm"),
            Field("device", about="for uverbs: the RDMA device"),
            Field("mode", about="permissions as ls prints them, e.g. crw-rw-rw-"),
            Field("everyone", "bool", about="every user may read and write it"),
        ),
    ),
    FactSpec(
        name="rdma.peer_memory_clients",
        type="list",
        source=SOURCE,
        about="Who has registered GPU memory with the RDMA core of OFED, e.g. nv_mem",
    ),
    FactSpec(
        name="rdma.port_mtu",
        type="rows",
        source=SOURCE,
        about="MTU of RDMA ports as ibv_devinfo tells it",
        varies=True,
        fields=(
            Field("device"),
            Field("port", "int"),
            Field("link_layer"),
            Field("state", about="active, down, ..."),
            Field("max_mtu", "int", "bytes"),
            Field("active_mtu", "int", "bytes", "payload of one packet that the link agreed on"),
        ),
    ),
    FactSpec(name="rdma.sharp_library", type="str", source=SOURCE, about="Path of libsharp_coll; absent if not found"),
    FactSpec(
        name="rdma.nccl_net_plugin", type="str", source=SOURCE, about="Path of libnccl-net.so; absent if not found"
    ),
)

_RELEASE = re.compile(
    r"(MLNX_OFED_LINUX|MLNX_EN|OFED-internal|DOCA-OFED)-([0-9][0-9A-Za-z.]*(?:-[0-9][0-9A-Za-z.]*)?):?"
)
_LS = re.compile(r"([bcdlps-][rwxsStT-]{9})[.+@]? +\d+ \S+ +\S+ .* ([A-Za-z0-9_]{1,40})")
_UVERBS = re.compile(r"/sys/class/infiniband_verbs/(uverbs[0-9]{1,4})/ibdev")
_MTU = re.compile(r"([0-9]{3,5}) \([0-9]\)")


def _release(reading: Reading) -> re.Match[str]:
    if reading.has("text", "no ofed_info"):
        raise NotThere("there is no ofed_info: the kernel's own RDMA stack, with rdma-core")
    text = reading.command(_OFED).strip()
    match = _RELEASE.fullmatch(text)
    if match is None:
        raise CannotTell(f"ofed_info -s says {text!r:.80}")
    return match


def _kind(reading: Reading) -> str:
    """DOCA's builds call themselves OFED-internal."""
    return "DOCA-OFED" if _release(reading)[1] in ("OFED-internal", "DOCA-OFED") else "MLNX_OFED"


def _has_devices(reading: Reading) -> None:
    """Raises where the kernel has no RDMA device, or cannot be asked."""
    looked = reading.ran("ls -d /sys/class")
    if looked.rc != 0 or reading.has("text", "not mounted"):
        raise CannotTell(f"cannot look at /sys/class: {one_line(looked.stderr) or 'not mounted'}")
    if not reading.text("any device"):
        raise NotThere("the kernel has no RDMA device")


def _nodes(reading: Reading) -> list[Row]:
    _has_devices(reading)
    section = reading.ran(_NODES)
    if section.rc and "No such file" in section.stderr:
        return []
    if section.rc:
        raise CannotTell(command_trouble(section))
    owners = {match[1]: text.strip() for match, text in reading.lines_below(_UVERBS)}
    rows: list[Row] = []
    for line in section.text.splitlines():
        match = _LS.fullmatch(line.rstrip())
        if match is None or match[1][0] != "c":
            continue
        kind = match[2].rstrip("0123456789")
        rows.append(
            {
                "name": match[2],
                "kind": kind,
                "device": owners.get(match[2]),
                "mode": match[1],
                "everyone": match[1][7:9] == "rw",
            }
        )
    return rows


def _clients(reading: Reading) -> list[str]:
    _has_devices(reading)
    return sorted(s.text.strip() for s in reading.reply.sections if s.kind == "text" and s.name == "peer memory client")


def parse_devinfo(text: str) -> list[Row]:
    """Rows of rdma.port_mtu out of what ibv_devinfo prints."""
    rows: list[Row] = []
    device = ""
    for line in text.splitlines():
        key, colon, value = (part.strip() for part in line.partition(":"))
        if not colon:
            continue
        if key == "hca_id":
            device = value
        elif key == "port" and device and re.fullmatch(r"[0-9]{1,3}", value):
            rows.append(dict.fromkeys(("link_layer", "state", "max_mtu", "active_mtu")) | {"device": device})
            rows[-1]["port"] = int(value)
        elif not rows or rows[-1]["device"] != device:
            continue
        elif key in ("max_mtu", "active_mtu"):
            match = _MTU.fullmatch(value)
            rows[-1][key] = int(match[1]) if match else None
        elif key == "state":
            rows[-1]["state"] = value.partition(" ")[0].removeprefix("PORT_").lower() or None
        elif key == "link_layer":
            rows[-1]["link_layer"] = value or None
    return rows


def _port_mtu(reading: Reading) -> list[Row]:
    _has_devices(reading)
    if reading.has("text", "no ibv_devinfo"):
        raise NotThere("ibv_devinfo is not installed (package ibverbs-utils or libibverbs-utils)")
    section = reading.ran(_DEVINFO)
    rows = parse_devinfo(section.text)
    if not rows:
        raise CannotTell(command_trouble(section) if section.rc else "ibv_devinfo lists no port")
    return rows


def _path(reading: Reading, name: str, what: str) -> str:
    if not reading.has("text", name):
        reading.text("looked for libraries")  # the source came to its end
        raise NotThere(f"no {what} in the usual folders")
    return reading.text(name).strip()


def parse(reply: SourceReply, context: Context) -> Iterator[Fact]:
    """The facts of the source rdma_stack."""
    reading = Reading(reply)
    yield told("rdma.ofed_version", lambda: _release(reading)[2], "ofed_info -s")
    yield told("rdma.ofed_kind", lambda: _kind(reading), "ofed_info -s")
    yield told("rdma.device_nodes", lambda: _nodes(reading), _NODES)
    yield told("rdma.peer_memory_clients", lambda: _clients(reading), "ls /sys/kernel/mm/memory_peers")
    yield told("rdma.port_mtu", lambda: _port_mtu(reading), "ibv_devinfo")
    yield told("rdma.sharp_library", lambda: _path(reading, "sharp library", "libsharp_coll"), "ls libsharp_coll.so")
    yield told("rdma.nccl_net_plugin", lambda: _path(reading, "nccl net plugin", "libnccl-net.so"), "ls libnccl-net.so")


SOURCES = {SOURCE: parse}
