"""Settings of Fabric Manager, and IMEX, which shares GPU memory between the trays of a multi-node NVLink system."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

from nodectl.facts.reading import CannotTell, NotThere, Reading, command_trouble, number, told, word
from nodectl.facts.registry import Context, FactSpec
from nodectl.model import Fact

if TYPE_CHECKING:
    from nodectl.probe.transcript import SourceReply

SOURCE = "nvidia_fabric"
_CONFIG, _IMEX, _CHANNELS, _QUERY = "fabricmanager.cfg", "imex", "imex channels", "nvidia-imex-ctl -q"
_NODES = "/etc/nvidia-imex/nodes_config.cfg"
_NOT_FOUND = "not found"

FACTS: tuple[FactSpec, ...] = (
    FactSpec(
        name="fabric.manager_mode",
        type="int",
        source=SOURCE,
        about="FABRIC_MODE of Fabric Manager: 0 bare metal or full pass-through, 1 shared NVSwitch, 2 vGPU",
    ),
    FactSpec(
        name="fabric.imex_nodes",
        type="list",
        source=SOURCE,
        varies=True,
        about="The nodes of the IMEX domain, as its node file lists them; absent without IMEX",
    ),
    FactSpec(
        name="fabric.imex_state",
        type="str",
        source=SOURCE,
        about="What the IMEX service says of itself (READY); absent without IMEX",
    ),
    FactSpec(
        name="fabric.imex_channels",
        type="int",
        source=SOURCE,
        about="IMEX channel devices in /dev; absent where their folder is",
    ),
)
_SETTING = re.compile(r"([A-Z_]{1,60})=(.*)")
_STATE = re.compile(r"[A-Z][A-Z_ ]{1,30}")
MAX_NODES = 4096


def parse_fabric(reply: SourceReply, context: Context) -> Iterable[Fact]:
    """The facts of the source nvidia_fabric."""
    reading = Reading(reply)
    yield told("fabric.manager_mode", lambda: _mode(reading), "/usr/share/nvidia/nvswitch/fabricmanager.cfg")
    yield told("fabric.imex_nodes", lambda: _nodes(reading), _NODES)
    yield told("fabric.imex_state", lambda: _state(reading), _QUERY)
    yield told("fabric.imex_channels", lambda: _channels(reading), "ls /dev/nvidia-caps-imex-channels")


def _mode(reading: Reading) -> int:
    if reading.has("text", _CONFIG):
        raise NotThere("Fabric Manager has no configuration file here")
    lines = reading.command(_CONFIG).splitlines()
    settings = {match[1]: match[2] for line in lines if (match := _SETTING.fullmatch(line))}
    if "FABRIC_MODE" not in settings:
        raise CannotTell("fabricmanager.cfg has no FABRIC_MODE")
    return number(settings["FABRIC_MODE"], "FABRIC_MODE")


def _need_imex(reading: Reading) -> None:
    if reading.text(_IMEX) == _NOT_FOUND:
        raise NotThere("nvidia-imex is not installed")


def _nodes(reading: Reading) -> list[str]:
    _need_imex(reading)
    lines = (line.partition("#")[0].strip() for line in reading.file(_NODES).splitlines())
    nodes = [line for line in lines if line]
    if len(nodes) > MAX_NODES:
        raise CannotTell(f"more than {MAX_NODES} nodes")
    return nodes


def _state(reading: Reading) -> str:
    _need_imex(reading)
    if not reading.has("cmd", _QUERY):
        raise CannotTell("nvidia-imex-ctl is not installed, and only it tells the state")
    section = reading.ran(_QUERY)
    if section.rc != 0:
        raise CannotTell(command_trouble(section))
    state = word(section.text, _QUERY)
    if not _STATE.fullmatch(state):
        raise CannotTell(f"{_QUERY} says {state[:60]!r}")
    return state


def _channels(reading: Reading) -> int:
    if reading.has("text", _CHANNELS):
        raise NotThere("there is no /dev/nvidia-caps-imex-channels")
    return number(reading.command(_CHANNELS), "the count of channels")


SOURCES = {SOURCE: parse_fabric}
