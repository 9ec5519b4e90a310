"""Memory of a node: `mem.*`, `thp.*`, `ksm.run`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

from nodectl.facts.reading import CannotTell, Reading, bracketed, number, told
from nodectl.facts.registry import DERIVED_SOURCE, Context, Derivation, FactSpec, Field
from nodectl.model import Fact

if TYPE_CHECKING:
    from nodectl.probe.transcript import SourceReply

_MEMINFO = "/proc/meminfo"
_THP = "/sys/kernel/mm/transparent_hugepage"
_KSM = "/sys/kernel/mm/ksm/run"
_HUGE = "/sys/kernel/mm/hugepages/hugepages-"
_POOL = re.compile(re.escape(_HUGE) + r"(\d{1,12})kB/(nr|free)_hugepages")
_PAGE = "page size"

FACTS = (
    FactSpec(name="mem.total_mib", type="int", unit="MiB", about="Memory that the kernel can use", source="memory"),
    FactSpec(
        name="mem.total_gib", type="float", unit="GiB", about="Memory that the kernel can use", source=DERIVED_SOURCE
    ),
    FactSpec(
        name="mem.available_mib",
        type="int",
        unit="MiB",
        about="Memory that new work could get",
        source="memory",
        varies=True,
    ),
    FactSpec(
        name="mem.swap_total_mib", type="int", unit="MiB", about="Swap space in use by the kernel", source="memory"
    ),
    FactSpec(
        name="mem.page_size_kib",
        type="int",
        unit="KiB",
        about="Page size of the kernel: 4, or 64 on some ARM kernels",
        source="memory",
    ),
    FactSpec(
        name="mem.hugepages",
        type="rows",
        about="Pools of explicit huge pages; absent when the kernel has none",
        source="memory",
        fields=(
            Field("size_kib", "int", "KiB", "size of one page"),
            Field("total", "int", "pages", "pages in the pool"),
            Field("free", "int", "pages", "pages that nobody uses"),
        ),
    ),
    FactSpec(name="thp.enabled", type="str", about="Transparent huge pages: always, madvise or never", source="memory"),
    FactSpec(
        name="thp.defrag",
        type="str",
        about="When memory is compacted for them: always, defer, defer+madvise, madvise or never",
        source="memory",
    ),
    FactSpec(
        name="ksm.run",
        type="int",
        about="Same-page merging: 0 stopped, 1 running, 2 stopped and undone",
        source="memory",
    ),
)


def _meminfo(reading: Reading, key: str) -> int:
    """A line of /proc/meminfo, in MiB."""
    match = re.search(rf"^{key}: +(\d{{1,15}}) kB$", reading.file(_MEMINFO), re.MULTILINE)
    if not match:
        raise CannotTell(f"{_MEMINFO} has no line {key}")
    return int(match[1]) // 1024


def _hugepages(reading: Reading) -> list[dict[str, Any]]:
    pools: dict[int, dict[str, int]] = {}
    for match, text in reading.lines_below(_POOL):
        pools.setdefault(int(match[1]), {})[match[2]] = number(text, match[0])
    if not pools:
        raise reading.none_below(f"{_HUGE}*", "this kernel has no explicit huge pages")
    rows = []
    for size, pool in sorted(pools.items()):
        row: dict[str, Any] = {"size_kib": size, "total": pool.get("nr"), "free": pool.get("free")}
        missing = {key: "could not be read" for key in ("total", "free") if row[key] is None}
        rows.append({**row, "_errors": missing} if missing else row)
    return rows


def _chosen(reading: Reading, path: str) -> str:
    return bracketed(reading.line(path), path)


def _page_size(reading: Reading) -> int:
    match = re.fullmatch(r"KernelPageSize: +(\d{1,6}) kB", reading.command(_PAGE).strip())
    if not match:
        raise CannotTell("/proc/self/smaps says no page size")
    return int(match[1])


def parse(reply: SourceReply, context: Context) -> Iterator[Fact]:
    """The facts of the source `memory`."""
    reading = Reading(reply)
    for name, key in (
        ("mem.total_mib", "MemTotal"),
        ("mem.available_mib", "MemAvailable"),
        ("mem.swap_total_mib", "SwapTotal"),
    ):
        yield told(name, partial(_meminfo, reading, key), _MEMINFO)
    yield told("mem.page_size_kib", lambda: _page_size(reading), "getconf PAGESIZE")
    yield told("mem.hugepages", lambda: _hugepages(reading), f"{_HUGE}*")
    for file in ("enabled", "defrag"):
        path = f"{_THP}/{file}"
        yield told(f"thp.{file}", partial(_chosen, reading, path), path)
    yield told("ksm.run", lambda: number(reading.line(_KSM), _KSM), _KSM)


SOURCES = {"memory": parse}
DERIVED: dict[str, Derivation] = {"mem.total_gib": (("mem.total_mib",), lambda mib: round(mib / 1024, 1))}
