"""Nodes beside others of their class: values, rows, lists, absences, and what is said of them."""

from __future__ import annotations

import random
from typing import Any

import pytest
from across_kit import CLASS, failed, findings, load_text, result, rules_for, same, shipped, unreached, with_fact
from hypothesis import given
from hypothesis import strategies as st

from nodectl.engine.across.failures import judged_by
from nodectl.engine.across.values import measure_of, shown, shown_against
from nodectl.facts import registry
from nodectl.model import Outcome, Severity

GPU = {"index": 0, "uuid": "GPU-1", "vbios_version": "96.00.A5.00.01", "power_limit_w": 700.0}


def test_one_node_of_64_has_another_vbios() -> None:
    nodes = [result(f"n{i}", {"gpu.devices": [{**GPU, "uuid": f"GPU-{i}"}]}) for i in range(1, 65)]
    nodes[16] = with_fact(nodes[16], "gpu.devices", [{**GPU, "vbios_version": "96.00.89.00.01"}])
    (found,) = findings(nodes, only="fleet.vbios")
    assert (found.nodes, found.value, found.majority) == (("n17",), "96.00.89.00.01", "96.00.A5.00.01")
    assert (found.majority_nodes, found.compared, found.untold) == (63, 64, 0)
    assert found.actual == "96.00.89.00.01"
    assert found.expected == "96.00.A5.00.01 on 63 of 64 alike nodes"
    assert (found.outcome, found.severity, found.node) == (Outcome.FAIL, Severity.INFO, "")
    assert found.group == "10de:2335, PowerEdge XE9680, ubuntu 24.04"


def test_only_nodes_of_one_class_are_compared() -> None:
    old = {"os.version_id": "22.04", "kernel.release": "5.15.0-1"}
    nodes = [*same(5, {"kernel.release": "6.8.0-1"}), *same(5, old, prefix="old")]
    assert findings(nodes) == ()
    assert [(group.name, len(group.nodes), group.compared) for group in rules_for(nodes).groups()] == [
        ("10de:2335, PowerEdge XE9680, ubuntu 22.04", 5, True),
        ("10de:2335, PowerEdge XE9680, ubuntu 24.04", 5, True),
    ]


@pytest.mark.parametrize("number", [1, 2, 3])
def test_small_groups_are_silent(number: int) -> None:
    nodes = [result(f"n{index}", {"kernel.release": f"6.8.{index}"}) for index in range(number)]
    rules = rules_for(nodes)
    assert rules.findings() == ()
    assert [group.compared for group in rules.groups()] == [False]


def test_a_class_that_could_not_be_told_is_a_class_of_its_own() -> None:
    nodes = [
        *same(4, {"kernel.release": "6.8.0"}),
        result("lost", {"gpu.pci_ids": OSError("x"), "kernel.release": "5"}),
    ]
    assert findings(nodes) == ()
    assert {group.name for group in rules_for(nodes).groups()} == {
        "10de:2335, PowerEdge XE9680, ubuntu 24.04",
        "GPUs not told, PowerEdge XE9680, ubuntu 24.04",
    }


def test_absent_on_a_minority_is_a_difference_and_an_error_is_none() -> None:
    nodes = same(6, {"sysctl[vm.swappiness]": "10"})
    nodes.append(result("gone", {"sysctl[vm.swappiness]": None}))
    nodes.append(result("blind", {"sysctl[vm.swappiness]": OSError("needs root")}))
    (found,) = findings(nodes)
    assert (found.nodes, found.value, found.actual) == (("gone",), None, "absent")
    assert (found.compared, found.untold) == (7, 1)
    assert found.reason == "could not be told on 1 more"


def test_errors_are_no_agreement() -> None:
    nodes = [*same(3, {"kernel.release": "6.8.0"}), *same(9, {"kernel.release": OSError("cut")}, prefix="e")]
    assert findings(nodes) == ()  # three could be told: too few
    nodes.append(result("n4", {"kernel.release": "6.9.0"}))
    (found,) = findings(nodes)
    assert (found.nodes, found.compared, found.untold) == (("n4",), 4, 9)


def test_half_and_half_is_said_as_such() -> None:
    nodes = [*same(4, {"kernel.release": "6.8.0"}), *same(4, {"kernel.release": "6.9.0"}, prefix="m")]
    (found,) = findings(nodes)
    assert found.actual == "no clear majority: 6.8.0 on 4, 6.9.0 on 4"
    assert (found.value, found.majority, found.majority_nodes) == (None, None, 0)
    assert [(one.value, one.nodes) for one in found.values] == [
        ("6.8.0", ("n1", "n2", "n3", "n4")),
        ("6.9.0", ("m1", "m2", "m3", "m4")),
    ]
    assert len(found.nodes) == 8


def test_boot_parameters_without_what_names_the_node() -> None:
    common = ["ro", "iommu=pt", "quiet"]
    nodes = [result(f"n{i}", {"kernel.args": [*common, f"root=UUID={i}", "BOOT_IMAGE=/vmlinuz"]}) for i in range(5)]
    assert findings(nodes) == ()
    nodes[3] = with_fact(nodes[3], "kernel.args", ["ro", "quiet", "iommu=on"])
    (found,) = findings(nodes)
    assert (found.check, found.nodes, found.actual) == (
        "fleet.boot_parameters",
        ("n3",),
        "without iommu=pt; with iommu=on",
    )
    assert found.expected == "the same on 4 of 5 alike nodes"


def test_what_the_kernel_computes_from_memory_need_not_agree_to_the_digit() -> None:
    values = ["16508641", "16508650", "16508641", "16508700", "16508641"]
    nodes = [result(f"n{i}", {"sysctl[kernel.threads-max]": value}) for i, value in enumerate(values)]
    assert findings(nodes) == ()
    (found,) = findings([*nodes, result("n9", {"sysctl[kernel.threads-max]": "4194304"})])
    assert (found.nodes, found.value) == (("n9",), 4194304)


def test_fields_of_rows_and_columns_of_tables() -> None:
    up = {"load_state": "loaded", "active_state": "active", "sub_state": "running", "enabled": "enabled", "restarts": 0}
    nodes = same(4, {"service[nvidia-fabricmanager]": up, "gpu.devices": [GPU, {**GPU, "index": 1}]})
    nodes.append(
        result(
            "odd",
            {
                "service[nvidia-fabricmanager]": {**up, "active_state": "failed", "restarts": 5},
                "gpu.devices": [GPU, {**GPU, "power_limit_w": 500.0}],
            },
        )
    )
    told = {found.subject: (found.actual, found.nodes) for found in findings(nodes) if found.group}
    assert told == {
        "service[nvidia-fabricmanager].active_state": ("failed", ("odd",)),
        "gpu.devices.power_limit_w": ("500.0, 700.0", ("odd",)),
    }


def test_a_field_that_could_not_be_read_is_untold() -> None:
    blind = {**GPU, "vbios_version": None, "_errors": {"vbios_version": "[Unknown Error]"}}
    nodes = [*same(4, {"gpu.devices": [GPU]}), result("blind", {"gpu.devices": [GPU, blind]})]
    assert findings(nodes, only="fleet.vbios") == ()
    nodes[0] = with_fact(nodes[0], "gpu.devices", [{**GPU, "vbios_version": "1.2"}])
    (found,) = findings(nodes, only="fleet.vbios")
    assert (found.nodes, found.untold) == (("n1",), 1)


GPU_CHECK = """
id: gpu.alike
title: Kernel
severity: medium
facts: [kernel.release, os.id]
applies_when: {fact: os.id, eq: ubuntu}
expect: {fact: kernel.release, as: str, eq: "6.9.0"}
why: It matters.
sources: [{title: "A manual", url: "https://example.com/manual", retrieved: "2026-11-20"}]
"""
KERNEL = """
id: fleet.kernel
title: Kernels are alike
severity: info
facts: [kernel.release]
compare: [kernel.release, os.pretty_name]
why: It matters.
sources: [{title: "A manual", url: "https://example.com/manual", retrieved: "2026-11-20"}]
"""


def test_a_majority_that_fails_is_not_praised() -> None:
    catalogue = load_text(KERNEL, checks=GPU_CHECK)
    nodes = same(5, {"kernel.release": "6.8.0"})
    bad = [result(one.node, {"kernel.release": "6.8.0"}, findings=(failed("gpu.alike"),)) for one in nodes]
    (found,) = findings([*bad, result("good", {"kernel.release": "6.9.0"})], catalogue)
    assert found.majority_fails == ("gpu.alike",)
    assert found.reason == "the majority is no model: most of it fails gpu.alike"
    assert found.told_by == ()


def test_a_difference_that_a_check_tells_says_so() -> None:
    catalogue = load_text(KERNEL, checks=GPU_CHECK)
    odd = result("odd", {"kernel.release": "6.8.0", "os.pretty_name": "x"}, findings=(failed("gpu.alike"),))
    nodes = [*same(5, {"kernel.release": "6.9.0", "os.pretty_name": "y"}), odd]
    told = {found.subject: found.told_by for found in findings(nodes, catalogue)}
    assert told == {"kernel.release": ("gpu.alike",), "os.pretty_name": ()}  # the gate of a check is not its matter


def test_unreached_nodes_are_no_values() -> None:
    nodes = [*same(4, {"kernel.release": "6.8.0"}), *(unreached(f"u{i}") for i in range(9))]
    rules = rules_for(nodes)
    assert rules.findings() == ()
    assert [len(group.nodes) for group in rules.groups()] == [4]


def test_names_are_in_natural_order() -> None:
    nodes = [*same(10, {"kernel.release": "a"}), *same(3, {"kernel.release": "b"}, prefix="n1")]
    (found,) = findings(nodes[::-1])
    assert found.nodes == ("n11", "n12", "n13")


VALUES = st.dictionaries(
    st.sampled_from(["kernel.release", "cpu.cores", "mem.total_mib", "sysctl[vm.swappiness]", "kernel.args", "os.id"]),
    st.integers(0, 3),
    min_size=1,
)
_AS: dict[str, Any] = {
    "kernel.release": str,
    "sysctl[vm.swappiness]": str,
    "os.id": str,
    "kernel.args": lambda number: ["ro", str(number)],
    "mem.total_mib": lambda number: 1000 * number,
}


def made(name: str, drawn: dict[str, int]) -> Any:
    def value(fact: str, number: int) -> Any:
        if number == 0:
            return None if len(fact) % 2 else OSError("lost")
        return _AS.get(fact, int)(number)

    return result(name, {fact: value(fact, number) for fact, number in drawn.items()})


@given(st.lists(VALUES, max_size=12), st.randoms())
def test_the_order_of_arrival_does_not_matter(drawn: list[dict[str, int]], chance: random.Random) -> None:
    nodes = [made(f"n{number}", values) for number, values in enumerate(drawn)]
    mixed = list(nodes)
    chance.shuffle(mixed)
    assert findings(mixed) == findings(nodes)
    assert rules_for(mixed).groups() == rules_for(nodes).groups()


@given(VALUES, st.integers(1, 12))
def test_a_unanimous_fleet_has_no_finding(drawn: dict[str, int], number: int) -> None:
    assert findings([made(f"n{index}", drawn) for index in range(number)]) == ()


@given(st.lists(VALUES, min_size=1, max_size=12))
def test_a_minority_is_never_the_larger_part(drawn: list[dict[str, int]]) -> None:
    nodes = [made(f"n{number}", values) for number, values in enumerate(drawn)]
    for found in findings(nodes):
        assert len(set(found.nodes)) == len(found.nodes) <= found.compared
        if found.majority_nodes:
            assert found.majority_nodes > len(found.nodes)


HOSTILE = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text()),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(), inner, max_size=3)),
    max_leaves=6,
)


@given(
    st.lists(HOSTILE, min_size=4, max_size=6),
    st.sampled_from(["gpu.devices", "kernel.args", "cpu.cores", "mem.total_mib"]),
)
def test_a_value_of_no_foreseen_form_raises_nothing(values: list[Any], fact: str) -> None:
    findings([result(f"n{index}", {fact: value}) for index, value in enumerate(values)])


def test_what_a_value_looks_like() -> None:
    assert shown(None) == "absent"
    assert shown(True) == "yes"
    assert shown(2063912, "MiB") == "2063912 MiB"
    assert shown("") == "empty"
    assert shown(()) == "none"
    assert shown("x" * 500).endswith("...") and len(shown("x" * 500)) == 100
    assert shown(tuple("abcdefgh")) == "a, b, c, d, e, f and 2 more"
    assert shown_against(("a", "c"), ("a", "b")) == "without b; with c"
    assert shown_against("1", "2") == "1"


def test_counts_and_settings_are_no_measures() -> None:
    def number(name: str) -> bool:
        measure = measure_of(registry.resolve(name))
        assert measure is not None
        return measure.number

    assert number("mem.total_mib")
    assert not number("cpu.cores")
    assert not number("limit[nofile_hard]")
    assert measure_of(registry.resolve("gpu.devices")) is None


def test_a_rule_that_is_dropped_leaves_its_facts_alone() -> None:
    """What fleet.kernel speaks for does not come back under fleet.other."""
    nodes = [*same(5, {"kernel.release": "a"}), result("n9", {"kernel.release": "b"})]
    assert findings(nodes, only="fleet.other") == ()
    assert len(findings(nodes)) == 1


def test_the_class_facts_are_what_the_shipped_rules_ask_for() -> None:
    assert set(CLASS) <= set(shipped().fleet["fleet.other"].wanted)


def test_two_rules_may_compare_the_same() -> None:
    again = KERNEL.replace("id: fleet.kernel", "id: fleet.mine").replace("info", "high")
    nodes = [*same(5, {"kernel.release": "a"}), result("odd", {"kernel.release": "b"})]
    told = [
        (found.check, found.nodes, found.majority_nodes, found.compared)
        for found in findings(nodes, load_text(KERNEL, again))
    ]
    assert told == [("fleet.mine", ("odd",), 5, 6), ("fleet.kernel", ("odd",), 5, 6)]


def test_a_prefix_stands_for_facts_that_no_rule_names() -> None:
    rule = KERNEL.replace("[kernel.release, os.pretty_name]", '["kernel.*"]')
    other = KERNEL.replace("id: fleet.kernel", "id: fleet.rest").replace("[kernel.release, os.pretty_name]", '["*"]')
    nodes = [*same(5, {"kernel.release": "a", "cpu.cores": 8}), result("odd", {"kernel.release": "b", "cpu.cores": 7})]
    told = {found.check: found.subject for found in findings(nodes, load_text(rule, other))}
    assert told == {"fleet.kernel": "kernel.release", "fleet.rest": "cpu.cores"}


def test_what_a_check_is_about() -> None:
    about = """
id: gpu.many
title: All kinds of leaves
severity: medium
facts: [kernel.release, kernel.version, gpu.devices, kernel.args, "service[x]", os.id]
applies_when: {fact: os.id, eq: ubuntu}
expect:
  all:
    - {fact: kernel.release, as: str, eq: {fact: kernel.version}}
    - {not: {fact: "service[x]", field: active_state, eq: failed}}
    - {each: gpu.devices, that: {any: [{field: power_limit_w, ge: 100}, {field: ecc_current, is: true}]}}
    - {each: kernel.args, that: {field: value, as: str, ne: quiet}}
why: It matters.
sources: [{title: "A manual", url: "https://example.com/manual", retrieved: "2026-11-20"}]
"""
    check = load_text(KERNEL, checks=about).checks["gpu.many"]
    assert judged_by(check) == {
        ("kernel.release", ""),
        ("kernel.version", ""),
        ("service[x]", "active_state"),
        ("gpu.devices", "power_limit_w"),
        ("gpu.devices", "ecc_current"),
        ("kernel.args", ""),
    }
