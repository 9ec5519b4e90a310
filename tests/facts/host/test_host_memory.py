"""Memory, huge pages, transparent huge pages, NUMA nodes, resource limits."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from replies import cmd, fact_of, facts_of, file, grep, no_file, said, state_of, value_of

from nodectl.facts.host.limits import UNLIMITED
from nodectl.facts.registry import registry
from nodectl.model import FactState

THP = "/sys/kernel/mm/transparent_hugepage"
HUGE = "/sys/kernel/mm/hugepages/hugepages-"
NODES = "/sys/devices/system/node/node"
LIMITS = "/proc/self/limits"


def test_recorded_meminfo(shared: Path) -> None:
    text = (shared / "recordings/h200x8/meminfo.txt").read_text()
    facts = facts_of(
        "memory", [file("/proc/meminfo", text)], "mem.total_mib", "mem.available_mib", "mem.swap_total_mib"
    )
    assert [fact.value for fact in facts.values()] == [564026, 562731, 0]


@pytest.mark.parametrize("text", ["", "MemTotal: lots kB\n", "XMemTotal:  1 kB\n", "MemTotal:       1 MB\n"])
def test_a_meminfo_without_the_line_is_an_error(text: str) -> None:
    assert state_of("memory", [file("/proc/meminfo", text)], "mem.total_mib") == "error"


def test_recorded_transparent_huge_pages(shared: Path) -> None:
    folder = shared / "recordings/h200x8/fs" / THP[1:]
    section = grep({f"{THP}/{name}": (folder / name).read_text().rstrip("\n") for name in ("enabled", "defrag")})
    assert value_of("memory", [section], "thp.enabled") == "madvise"
    assert value_of("memory", [section], "thp.defrag") == "madvise"


@pytest.mark.parametrize(
    ("text", "word"),
    [("[always] madvise never", "always"), ("always defer [defer+madvise] madvise never", "defer+madvise")],
)
def test_the_chosen_word_stands_in_brackets(text: str, word: str) -> None:
    assert value_of("memory", [grep({f"{THP}/enabled": text})], "thp.enabled") == word


@pytest.mark.parametrize("text", ["", "always madvise never", "[]", "[two words]"])
def test_no_chosen_word_is_an_error(text: str) -> None:
    assert state_of("memory", [grep({f"{THP}/enabled": text})], "thp.enabled") == "error"


def test_a_kernel_without_them_is_absent() -> None:
    gone = grep({}, [f"{THP}/enabled", f"{THP}/defrag", "/sys/kernel/mm/ksm/run", f"{HUGE}*/nr_hugepages"])
    for name in ("thp.enabled", "thp.defrag", "ksm.run", "mem.hugepages"):
        assert state_of("memory", [gone], name) == "absent"
        fact = fact_of("memory", [gone, said("not mounted", "/sys")], name)
        assert (fact.state, fact.reason) == (FactState.ERROR, "/sys is not mounted on the node")


def test_denied_and_broken_files_are_errors() -> None:
    for why in ("Permission denied", "Input/output error"):
        broken = grep({}, [f"{THP}/enabled", f"{HUGE}*/nr_hugepages"], why)
        assert state_of("memory", [broken], "thp.enabled") == "error"
        assert state_of("memory", [broken], "mem.hugepages") == "error"


def test_pools_of_huge_pages() -> None:
    files = {f"{HUGE}2048kB/nr_hugepages": "5128", f"{HUGE}1048576kB/nr_hugepages": "2"}
    files |= {f"{HUGE}2048kB/free_hugepages": "5000"}
    rows = value_of("memory", [grep(files)], "mem.hugepages")
    assert rows[0] == {"size_kib": 2048, "total": 5128, "free": 5000}
    assert rows[1] == {"size_kib": 1048576, "total": 2, "free": None, "_errors": {"free": "could not be read"}}


@pytest.mark.parametrize(
    ("text", "size"), [("KernelPageSize:        4 kB\n", 4), ("KernelPageSize:       64 kB\n", 64)]
)
def test_page_size(text: str, size: int) -> None:
    assert value_of("memory", [cmd("page size", text)], "mem.page_size_kib") == size


def test_numa_nodes() -> None:
    # Grace: the GPU's memory is a node without CPUs.
    cpus = grep({f"{NODES}0/cpulist": "0-71", f"{NODES}1/cpulist": "72-143", f"{NODES}10/cpulist": ""})
    memory = "".join(
        f"{NODES}{node}/meminfo:Node {node} MemTotal:  {kib} kB\n" for node, kib in ((0, 501000192), (10, 97517568))
    )
    sections = [cpus, cmd("numa memory", memory, f"grep: {NODES}1/meminfo: Input/output error\n", 2)]
    assert value_of("numa", sections, "numa.node_count") == 3
    rows = value_of("numa", sections, "numa.nodes")
    assert rows[0] == {"node": 0, "cpus": "0-71", "mem_total_mib": 489258}
    assert rows[2] == {"node": 10, "cpus": "", "mem_total_mib": 95232}
    assert "Input/output error" in rows[1]["_errors"]["mem_total_mib"]


def test_a_kernel_without_numa_is_absent_and_denied_is_an_error() -> None:
    glob = f"{NODES}[0-9]*/cpulist"
    assert state_of("numa", [grep({}, [glob]), cmd("numa memory", "", "x", 2)], "numa.nodes") == "absent"
    assert state_of("numa", [grep({}, [glob], "Permission denied")], "numa.node_count") == "error"
    assert state_of("numa", [grep({f"{NODES}0/cpulist": "all"})], "numa.node_count") == "error"


def test_recorded_limits(shared: Path) -> None:
    text = (shared / "recordings/h200x8/limits.txt").read_text()
    keys = registry()["limit[NAME]"].keys
    facts = facts_of("limits", [file(LIMITS, text)], *(f"limit[{key}]" for key in keys))
    assert {name[6:-1]: fact.value for name, fact in facts.items()} == {
        "memlock_soft_kib": UNLIMITED,
        "memlock_hard_kib": UNLIMITED,
        "nofile_soft": 20000,
        "nofile_hard": 20000,
        "nproc_soft": 2256062,
        "nproc_hard": 2256062,
        "stack_soft_kib": 8192,
        "core_soft_kib": 0,
    }


def test_limits_that_cannot_be_read() -> None:
    assert state_of("limits", [file(LIMITS, "")], "limit[nofile_soft]") == "error"
    assert state_of("limits", [no_file(LIMITS, "Permission denied")], "limit[nofile_soft]") == "error"
    assert state_of("limits", [no_file(LIMITS), said("not mounted", "/proc")], "limit[nofile_soft]") == "error"


@given(st.text(max_size=300))
def test_any_text_is_read_without_raising(text: str) -> None:
    sections = [file("/proc/meminfo", text), grep({f"{THP}/enabled": text}), cmd("page size", text)]
    facts = facts_of("memory", sections, "mem.total_mib", "mem.page_size_kib", "thp.enabled")
    facts |= facts_of("limits", [file(LIMITS, text)], "limit[nofile_soft]")
    facts |= facts_of("numa", [grep({f"{NODES}0/cpulist": text}), cmd("numa memory", text)], "numa.nodes")
    for fact in facts.values():
        assert fact.state is not FactState.ABSENT
        assert "could not be read (" not in fact.reason
