"""What is looked at over all nodes: ids that must not be there twice, clocks, racks."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from across_kit import findings, result, same, unreached
from hypothesis import given
from hypothesis import strategies as st

from nodectl.model import FleetFinding, Node, NodeResult, Outcome, Severity


def machine(number: int, **more: Any) -> NodeResult:
    """A machine like no other."""
    facts = {
        "node.machine_id": f"{number:032x}",
        "node.boot_id": f"boot-{number}",
        "node.hostname": f"gpu{number}",
        "virt.container": "none",
        "gpu.devices": [{"index": 0, "uuid": f"GPU-{number}", "serial": f"165{number}", "power_limit_w": 700.0}],
    }
    return result(f"n{number}", facts | more, host_key=f"ssh-ed25519 SHA256:{number}")


def test_machines_of_their_own_have_nothing_in_common() -> None:
    assert findings([machine(number) for number in range(1, 9)]) == ()


def test_clones_share_their_machine_id() -> None:
    shared = {"node.machine_id": "c" * 32}
    nodes = [machine(1), machine(2, **shared), machine(3), machine(4, **shared)]
    (found,) = findings(nodes)
    assert (found.check, found.nodes, found.severity) == ("fleet.machine_id", ("n2", "n4"), Severity.LOW)
    assert found.actual == f"2 nodes have {'c' * 32}"
    assert found.subject == "node.machine_id"


def test_two_nodes_are_enough() -> None:
    (found,) = findings([machine(1), machine(2, **{"node.hostname": "gpu1"})])
    assert found.check == "fleet.hostname"


def test_two_names_of_one_machine_are_said_once() -> None:
    twin = msgspec.structs.replace(machine(1), node="alias")
    (found,) = findings([machine(1), twin, machine(2)])
    assert (found.check, found.nodes) == ("fleet.same_machine", ("alias", "n1"))


def test_containers_of_one_host_are_no_clones() -> None:
    inside = {"virt.container": "docker"}
    twin = msgspec.structs.replace(machine(1, **inside), node="other")
    assert findings([machine(1, **inside), twin]) == ()


@pytest.mark.parametrize(
    "filler", ["0", "N/A", "Default string", "To be filled by O.E.M.", "", "uninitialized", "00000000"]
)
def test_what_nobody_filled_in_is_no_number(filler: str) -> None:
    gpus = [{"index": 0, "uuid": None, "serial": filler}]
    nodes = [machine(number, **{"gpu.devices": gpus, "node.machine_id": filler or None}) for number in (1, 2, 3)]
    assert findings(nodes) == ()


def test_boards_with_several_gpus_have_one_serial_number() -> None:
    board = [{"index": 0, "uuid": "GPU-a", "serial": "7"}, {"index": 1, "uuid": "GPU-b", "serial": "7"}]
    assert findings([machine(1, **{"gpu.devices": board}), machine(2)]) == ()


def test_all_gpus_of_a_node_that_is_there_twice_are_one_finding() -> None:
    gpus = [{"index": i, "uuid": f"GPU-x{i}"} for i in range(8)]
    (found,) = findings([machine(1, **{"gpu.devices": gpus}), machine(2, **{"gpu.devices": gpus})])
    assert found.check == "fleet.gpu_uuid"
    assert found.actual == "2 nodes have GPU-x0 and 7 more"
    assert len(found.values) == 8


def timed(number: int, told: str, *, started: str = "2026-11-20T10:00:00.000Z", took_ms: int = 1000) -> NodeResult:
    return result(f"n{number}", {"node.time_utc": told}, started=started, duration_ms=took_ms)


def clocks(*nodes: NodeResult) -> list[FleetFinding]:
    return [found for found in findings(nodes) if found.check == "fleet.clock"]


GOOD = [timed(number, "2026-11-20T10:00:00Z") for number in range(1, 6)]


def test_a_clock_that_is_off_is_found() -> None:
    (found,) = clocks(*GOOD, timed(7, "2026-11-20T09:58:00Z"))
    assert found.nodes == ("n7",)
    assert found.actual == "at least 118 s behind the median node (told to within 4 s)"
    assert isinstance(found.value, float) and -120 < found.value < -110
    (found,) = clocks(*GOOD, timed(7, "2026-11-22T10:00:00Z"))
    assert found.actual.startswith("at least 48 h ahead of the median node")


def test_what_the_timing_of_the_probe_hides_is_no_fault() -> None:
    slow = timed(7, "2026-11-20T10:00:40Z", took_ms=45_000)  # it looked at its clock somewhere in these 45 s
    assert clocks(*GOOD, slow) == []
    assert clocks(*GOOD, timed(7, "2026-11-20T10:00:06Z")) == []


def test_our_own_clock_may_be_wrong() -> None:
    late = [timed(number, "2026-11-20T10:00:00Z", started="2026-12-24T18:00:00.000Z") for number in range(1, 6)]
    assert clocks(*late) == []
    odd = timed(9, "2026-11-20T10:10:00Z", started="2026-12-24T18:00:00.000Z")
    assert [found.nodes for found in clocks(*late, odd)] == [("n9",)]


def test_nodes_that_were_asked_later_are_not_ahead() -> None:
    later = timed(9, "2026-11-20T10:30:00Z", started="2026-11-20T10:30:00.000Z")
    assert clocks(*GOOD, later) == []


def test_too_few_clocks_have_no_median() -> None:
    assert clocks(*GOOD[:2], timed(7, "2030-01-01T00:00:00Z")) == []


@given(
    st.lists(
        st.one_of(st.none(), st.text(max_size=30), st.datetimes().map(lambda d: f"{d:%Y-%m-%dT%H:%M:%S}Z")), min_size=5
    )
)
def test_no_clock_raises(told: list[str | None]) -> None:
    findings([result(f"n{number}", {"node.time_utc": text}) for number, text in enumerate(told)])


def racked(name: str, rack: str = "r1", watts: Any = 12_000, origin: str = "inventory.yaml:3") -> Node:
    expect = {} if watts is None else {"rack_power_w": watts}
    return Node(name=name, labels={"rack": rack} if rack else {}, expect=expect, origin=origin)


def limits(name: str, *watts: float | None) -> NodeResult:
    rows = [{"index": i, "uuid": f"{name}-{i}", "power_limit_w": one} for i, one in enumerate(watts)]
    return result(name, {"gpu.devices": rows})


EIGHT = (700.0,) * 8


def rack(nodes: list[Node], *results: NodeResult) -> list[FleetFinding]:
    return list(findings(results, nodes=nodes, only="fleet.rack_power"))


def test_a_rack_within_its_power_has_nothing_to_tell() -> None:
    assert rack([racked("a"), racked("b")], limits("a", *EIGHT), limits("b", *EIGHT)) == []


def test_a_rack_above_its_power_fails() -> None:
    nodes = [racked("a", watts=10_000), racked("b", watts=None)]  # said for one node, meant for the rack
    (found,) = rack(nodes, limits("a", *EIGHT), limits("b", *EIGHT))
    assert (found.outcome, found.severity) == (Outcome.FAIL, Severity.MEDIUM)
    assert (found.subject, found.nodes) == ("rack r1", ("a", "b"))
    assert found.actual == "11,200 W (16 GPUs of 2 nodes)"
    assert found.expected == "at most 10,000 W"
    assert found.reason == "declared at inventory.yaml:3"


def test_a_node_that_was_not_reached_makes_it_a_lower_bound() -> None:
    nodes = [racked("a", watts=12_000), racked("b", watts=12_000)]
    (found,) = rack(nodes, limits("a", *EIGHT), unreached("b"))
    assert found.outcome is Outcome.UNKNOWN
    assert found.actual == "at least 5,600 W (8 GPUs of 1 nodes)"
    assert found.reason.startswith("the power limits of 1 of 2 nodes were not read")
    (found,) = rack([racked("a", watts=5000), racked("b", watts=5000)], limits("a", *EIGHT), unreached("b"))
    assert found.outcome is Outcome.FAIL


def test_a_gpu_that_does_not_tell_its_limit_counts_as_unread() -> None:
    (found,) = rack([racked("a")], limits("a", 700.0, None))
    assert found.outcome is Outcome.UNKNOWN


@pytest.mark.parametrize(
    ("nodes", "words"),
    [
        ([racked("a", watts=1000), racked("b", watts=2000)], "declare different budgets: 1000, 2000 W"),
        ([racked("a", rack="")], "without a label `rack`"),
        ([racked("a", watts="lots")], "rack_power_w is lots: a number of watts is wanted"),
    ],
)
def test_a_budget_that_cannot_be_used_is_unknown(nodes: list[Node], words: str) -> None:
    (found,) = rack(nodes, *(limits(node.name, *EIGHT) for node in nodes))
    assert found.outcome is Outcome.UNKNOWN
    assert words in found.reason


def test_racks_are_summed_apart() -> None:
    nodes = [racked("a", "r1", 6000), racked("b", "r2", 5000)]
    assert [found.subject for found in rack(nodes, limits("a", *EIGHT), limits("b", *EIGHT))] == ["rack r2"]


def test_without_a_budget_no_rack_is_judged() -> None:
    nodes = [racked("a", watts=None), racked("b", watts=None)]
    assert rack(nodes, limits("a", *EIGHT), unreached("b")) == []


def test_no_rule_no_work() -> None:
    assert findings(same(5, {"kernel.release": "x"}), only="nothing") == ()
