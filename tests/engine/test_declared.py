"""`expect.facts` of the inventory against what the nodes said."""

from __future__ import annotations

from typing import Any

import pytest
from across_kit import facts_of, shipped

from nodectl.engine import declared
from nodectl.model import Finding, Node, Outcome

FACTS = facts_of(
    {
        "driver.version": "580.95.05",
        "sysctl[vm.swappiness]": "10",
        "cpu.threads": 192,
        "cpu.smt": True,
        "kernel.args": ["ro", "iommu=pt"],
        "gpu.devices": [{"index": 0, "vbios_version": "96.00"}, {"index": 1, "vbios_version": "96.00"}],
        "tuned.profile": None,
        "kernel.release": OSError("the reply was cut"),
    }
)


def told(**expect: Any) -> list[Finding]:
    node = Node(name="n1", expect=expect, origin="inventory.yaml:7")
    return list(declared.findings(shipped().fleet.values(), FACTS, node))


def of(name: str, wanted: Any) -> Finding:
    (found,) = told(facts={name: wanted})
    return found


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("driver.version", "580.*"),
        ("driver.version", ["570.1", "580.95.05"]),
        ("sysctl[vm.swappiness]", 10),
        ("sysctl[vm.swappiness]", "10"),
        ("cpu.threads", 192),
        ("cpu.threads", "192"),
        ("cpu.smt", True),
        ("kernel.args", "iommu=pt"),
        ("kernel.args", "iommu=*"),
        ("kernel.args", ["iommu=pt", "ro"]),
        ("gpu.devices.vbios_version", "96.*"),
        ("tuned.profile", {"absent": True}),
    ],
)
def test_as_declared(name: str, wanted: Any) -> None:
    found = of(name, wanted)
    assert (found.outcome, found.actual) == (Outcome.PASS, "1 of 1")


@pytest.mark.parametrize(
    ("name", "wanted", "actual"),
    [
        ("driver.version", "570.*", "580.95.05"),
        ("driver.version", "58?.95.05", "580.95.05"),
        ("driver.version", {"absent": True}, "580.95.05"),
        ("cpu.threads", 96, "192"),
        ("cpu.threads", "many", "192"),
        ("cpu.smt", False, "yes"),
        ("kernel.args", "iommu=on", "iommu=pt, ro"),
        ("kernel.args", ["ro"], "iommu=pt, ro"),
        ("gpu.devices.vbios_version", "97.*", "96.00"),
        ("tuned.profile", "hpc-compute", "absent"),
    ],
)
def test_not_as_declared(name: str, wanted: Any, actual: str) -> None:
    found = of(name, wanted)
    assert (found.outcome, found.subject, found.actual) == (Outcome.FAIL, name, actual)
    assert found.reason == "declared at inventory.yaml:7"


@pytest.mark.parametrize("name", ["kernel.release", "cpu.cores"])
def test_what_could_not_be_read_is_unknown(name: str) -> None:
    assert of(name, "6.8.0").outcome is Outcome.UNKNOWN
    assert of(name, {"absent": True}).outcome is Outcome.UNKNOWN


def test_only_what_is_wrong_is_told() -> None:
    found = told(facts={"cpu.threads": 192, "driver.version": "1.*", "kernel.release": "x"})
    assert [(one.subject, one.outcome) for one in found] == [
        ("driver.version", Outcome.FAIL),
        ("kernel.release", Outcome.UNKNOWN),
    ]


def test_nothing_declared_does_not_apply() -> None:
    (found,) = told(gpus=8)
    assert found.outcome is Outcome.NOT_APPLICABLE


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        (
            {"driver.versoin": "580"},
            'inventory.yaml:7: expect.facts: no fact "driver.versoin"; did you mean "driver.version"?',
        ),
        ({"gpu.devices": 8}, "gpu.devices: say which field"),
        ({"gpu.devices.colour": "red"}, "gpu.devices.colour: say which field"),
        ({"cpu.threads": {"ge": 8}}, "cpu.threads: a value, a list of them or {absent: true} is wanted"),
        (["driver.version"], 'a mapping like {driver.version: "580.*"} is wanted'),
    ],
)
def test_a_slip_in_the_inventory_is_said_before_anything_is_run(facts: Any, words: str) -> None:
    (problem,) = declared.problems(Node(name="n1", expect={"facts": facts}, origin="inventory.yaml:7"))
    assert words in problem


def test_what_is_asked_of_the_node() -> None:
    node = Node(
        name="n", expect={"facts": {"gpu.devices.vbios_version": "1", "gpu.devices.name": "x", "cpu.smt": True}}
    )
    assert declared.facts_of(node) == ("gpu.devices", "cpu.smt")
    assert declared.facts_of(Node(name="n")) == ()


def test_an_expectation_that_nobody_reads_is_said() -> None:
    nodes = [Node(name=f"n{i}", expect={"rack_powr_w": 8, "facts": {}}, origin="inventory.yaml:3") for i in range(3)]
    (text,) = declared.unread(shipped(), nodes)
    assert text == 'no check reads expect.rack_powr_w of n0 and 2 more (inventory.yaml:3); did you mean "rack_power_w"?'
