"""Host settings whose value has parts, or is judged against another: TCP buffers, port range, shared memory."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nodectl.engine.rules import CannotTellError, FactView, RowResult, require_field
from nodectl.model import Outcome


def tcp_buffer_max(facts: FactView, params: Mapping[str, Any], tables: Mapping[str, Any]) -> list[RowResult]:
    """The third number (the largest) of a tcp_rmem or tcp_wmem.

    Params:
        key: the sysctl.
        min_bytes: the least that its third number may be.
    """
    values = _numbers(facts, params["key"], 3)
    least = int(params["min_bytes"])
    good = values[2] >= least
    return [
        RowResult(
            Outcome.PASS if good else Outcome.FAIL,
            expected=f"third number at least {least}",
            actual=" ".join(map(str, values)),
        )
    ]


def port_range_width(facts: FactView, params: Mapping[str, Any], tables: Mapping[str, Any]) -> list[RowResult]:
    """How many ports `net.ipv4.ip_local_port_range` holds, against `params["min_ports"]`."""
    low, high = _numbers(facts, "net.ipv4.ip_local_port_range", 2)
    least = int(params["min_ports"])
    width = high - low + 1
    return [
        RowResult(
            Outcome.PASS if width >= least else Outcome.FAIL,
            expected=f"at least {least} ports",
            actual=f"{width} ports ({low} to {high})",
        )
    ]


def shared_memory(facts: FactView, params: Mapping[str, Any], tables: Mapping[str, Any]) -> list[RowResult]:
    """The size of /dev/shm against `params["min_pct"]` percent of the node's memory."""
    mount = facts.get("mount[/dev/shm]")
    total = int(facts.value("mem.total_mib"))
    least = int(params["min_pct"])
    expected = f"at least {least} % of memory ({total * least // 100} MiB)"
    if mount is None:
        return [RowResult(Outcome.FAIL, expected=expected, actual="not mounted")]
    size = int(require_field(mount, "size_mib"))
    # df and MemTotal round apart: a tmpfs at its default of half the memory must not fail by a page.
    good = size * 100 >= total * least - total
    return [
        RowResult(
            Outcome.PASS if good else Outcome.FAIL,
            expected=expected,
            actual=f"{size} MiB ({size * 100 // total} %)",
        )
    ]


def _numbers(facts: FactView, key: str, count: int) -> list[int]:
    """The numbers of a sysctl that holds several."""
    text = str(facts.value(f"sysctl[{key}]"))
    parts = text.split()
    if len(parts) != count or not all(part.isdigit() for part in parts):
        raise CannotTellError(f"{key} is {text[:60]!r}: {count} numbers were expected")
    return [int(part) for part in parts]
