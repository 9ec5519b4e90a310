"""What switches say of themselves over LLDP, as lldpd has it (`lldpctl -f json`)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from nodectl.facts.reading import Row, command_trouble
from nodectl.facts.registry import Field
from nodectl.model import Fact, absent, error, present

if TYPE_CHECKING:
    from nodectl.probe.transcript import SourceReply

NAME = "lldp.neighbours"
COMMAND = "lldpctl -f json"
FIELDS = (
    Field("netdev", about="interface of this node"),
    Field("switch", about="name of the switch"),
    Field("description", about="make of the switch"),
    Field("port", about="port of the switch"),
    Field("max_frame", "int", "bytes", "largest frame that the switch port takes"),
    Field("vlan", about="VLAN of untagged frames"),
    Field("aggregated", "bool", about="the switch port belongs to a link aggregation"),
)
_MAX_TEXT = 100


def neighbours(reply: SourceReply) -> Fact:
    """The fact lldp.neighbours."""
    where = {"source": reply.source, "command": COMMAND, "duration_ms": reply.duration_ms}
    section = reply.find("cmd", COMMAND)
    if section is None:
        return absent(NAME, "there is no lldpctl, or no RoCE port to ask for", **where)
    if section.rc != 0:
        if "connect to" in section.stderr and "ermission" not in section.stderr:
            return absent(NAME, "lldpd does not run", **where)
        return error(NAME, command_trouble(section), rc=section.rc, **where)
    try:
        found = json.loads(section.text)
    except (ValueError, RecursionError):
        return error(NAME, "lldpctl did not answer with JSON", rc=section.rc, **where)
    return present(NAME, list(_rows(found)), **where)


def _rows(found: Any) -> Iterator[Row]:
    """lldpctl prints one interface as a map, several as a list of maps with one key."""
    interfaces = _at(_at(found, "lldp"), "interface")
    for one in interfaces if isinstance(interfaces, list) else [interfaces]:
        for netdev, about in one.items() if isinstance(one, dict) else ():
            chassis = _at(about, "chassis")
            name = next(iter(chassis), None) if isinstance(chassis, dict) else None
            # A switch without a name has its parts where the name would be.
            parts = chassis.get(name) if isinstance(chassis, dict) and name != "id" else chassis
            port, vlan = _at(about, "port"), _at(about, "vlan")
            frame = _at(port, "mfs")
            yield {
                "netdev": str(netdev)[:_MAX_TEXT],
                "switch": _text(name) if name != "id" else None,
                "description": _text(_at(parts, "descr")),
                "port": _text(_at(_at(port, "id"), "value")),
                "max_frame": int(frame)
                if isinstance(frame, str) and frame.isascii() and frame.isdigit() and len(frame) < 8
                else None,
                "vlan": _text(_at(vlan, "vlan-id")),
                "aggregated": _at(port, "aggregation") is not None,
            }


def _at(found: Any, key: str) -> Any:
    return found.get(key) if isinstance(found, dict) else None


def _text(found: Any) -> str | None:
    return found[:_MAX_TEXT] if isinstance(found, str) and found else None
