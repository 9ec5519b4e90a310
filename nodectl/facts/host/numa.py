"""NUMA nodes: `numa.*`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from nodectl.facts.reading import CannotTell, Reading, command_trouble, told
from nodectl.facts.registry import Context, FactSpec, Field
from nodectl.model import Fact

if TYPE_CHECKING:
    from nodectl.probe.transcript import SourceReply

_NODE = "/sys/devices/system/node/node"
_CPULIST = re.compile(re.escape(_NODE) + r"(\d{1,5})/cpulist")
_MEMORY = re.compile(re.escape(_NODE) + r"(\d{1,5})/meminfo:Node \d+ MemTotal: +(\d{1,15}) kB")
_MEMORY_SECTION = "numa memory"

FACTS = (
    FactSpec(
        name="numa.node_count",
        type="int",
        about="NUMA nodes, those without CPUs too (GPU memory of Grace); absent in a kernel without NUMA",
        source="numa",
    ),
    FactSpec(
        name="numa.nodes",
        type="rows",
        about="NUMA nodes with their CPUs and memory",
        source="numa",
        fields=(
            Field("node", "int", about="number of the node"),
            Field("cpus", about="its CPUs, as the kernel lists them: 0-31,64-95; empty for a node of memory only"),
            Field("mem_total_mib", "int", "MiB", "its memory"),
        ),
    ),
)


def _nodes(reading: Reading) -> list[dict[str, Any]]:
    cpus = {}
    for match, text in reading.lines_below(_CPULIST):
        if not re.fullmatch(r"[0-9,-]*", text.strip()):
            raise CannotTell(f"{match[0]} is no list of CPUs: {text!r:.60}")
        cpus[int(match[1])] = text.strip()
    if not cpus:
        raise reading.none_below(f"{_NODE}[0-9]*", "the kernel shows no NUMA nodes")
    memory, trouble = _memory(reading)
    rows = []
    for node in sorted(cpus):
        row: dict[str, Any] = {"node": node, "cpus": cpus[node], "mem_total_mib": memory.get(node)}
        rows.append(row if node in memory else {**row, "_errors": {"mem_total_mib": trouble}})
    return rows


def _memory(reading: Reading) -> tuple[dict[int, int], str]:
    """MiB by node, and why a node may be missing in it."""
    section = reading.reply.find("cmd", _MEMORY_SECTION)
    if section is None:
        return {}, "was not read"
    found = {int(m[1]): int(m[2]) // 1024 for m in map(_MEMORY.fullmatch, section.text.splitlines()) if m}
    return found, command_trouble(section) if section.rc else "meminfo of the node has no MemTotal"


def parse(reply: SourceReply, context: Context) -> Iterator[Fact]:
    """The facts of the source `numa`."""
    reading = Reading(reply)
    yield told("numa.node_count", lambda: len(_nodes(reading)), f"{_NODE}*")
    yield told("numa.nodes", lambda: _nodes(reading), f"{_NODE}*/cpulist, meminfo")


SOURCES = {"numa": parse}
