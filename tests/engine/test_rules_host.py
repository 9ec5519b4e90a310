"""The rules about host settings that are more than one number."""

from __future__ import annotations

import pytest
from rule_calls import ABSENT, call, worst

from nodectl.engine.rules import CannotTellError, host
from nodectl.model import Outcome

PASS, FAIL = Outcome.PASS, Outcome.FAIL
TCP_RMEM, PORTS = "sysctl[net.ipv4.tcp_rmem]", "sysctl[net.ipv4.ip_local_port_range]"
SHARED_MEMORY = "mount[/dev/shm]"


@pytest.mark.parametrize(("text", "outcome"), [("4096 87380 16777216", PASS), ("4096\t87380\t16777215", FAIL)])
def test_the_third_number_of_a_tcp_buffer_counts(text: str, outcome: Outcome) -> None:
    assert worst(host.tcp_buffer_max, {TCP_RMEM: text}, key="net.ipv4.tcp_rmem", min_bytes=16777216) is outcome


@pytest.mark.parametrize("text", ["", "1 2", "1 2 3 4", "a b c", "-1 -2 -3"])
def test_a_tcp_buffer_that_is_not_three_numbers_cannot_be_told(text: str) -> None:
    with pytest.raises(CannotTellError, match="3 numbers"):
        call(host.tcp_buffer_max, {TCP_RMEM: text}, key="net.ipv4.tcp_rmem", min_bytes=1)


@pytest.mark.parametrize(("low", "high", "outcome"), [(1, 28000, PASS), (1, 27999, FAIL)])
def test_the_width_of_a_port_range_counts_both_ends(low: int, high: int, outcome: Outcome) -> None:
    assert worst(host.port_range_width, {PORTS: f"{low}\t{high}"}, min_ports=28000) is outcome


@pytest.mark.parametrize(
    ("size", "total", "outcome"),
    [(1031700, 2063401, PASS), (64, 2063401, FAIL), (500, 1024, FAIL), (511, 1023, PASS)],
)
def test_shared_memory_at_its_default_of_half_the_memory_passes(size: int, total: int, outcome: Outcome) -> None:
    facts = {SHARED_MEMORY: {"size_mib": size}, "mem.total_mib": total}
    assert worst(host.shared_memory, facts, min_pct=50) is outcome


def test_shared_memory_that_is_not_there_is_too_small_and_one_that_cannot_be_read_is_unknown() -> None:
    assert worst(host.shared_memory, {SHARED_MEMORY: ABSENT, "mem.total_mib": 1024}, min_pct=50) is FAIL
    with pytest.raises(CannotTellError, match="size_mib"):
        call(host.shared_memory, {SHARED_MEMORY: {"size_mib": None}, "mem.total_mib": 1024}, min_pct=50)
