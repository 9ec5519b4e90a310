"""What each node is asked: environments that the inventory expects become keys of the source that looks at them."""

from __future__ import annotations

import pytest

from nodectl.engine import catalogue_for_run
from nodectl.fleet.plan import FactsPlan, make_plan
from nodectl.model import Node


def node(name: str, **expect: object) -> Node:
    return Node(name=name, expect=expect)


def test_expected_environments_are_asked_for_of_the_nodes_that_have_them() -> None:
    nodes = [node("a", venvs=["/opt/b", "/opt/a"]), node("b"), node("c", venvs="/opt/a"), node("d", venvs=["/opt/a"])]
    plan = make_plan(catalogue_for_run.load(), nodes)
    asked = [plan.sources_of(one)["venvs"] for one in nodes]
    assert asked == [["/opt/a", "/opt/b"], [], ["/opt/a"], ["/opt/a"]]
    assert plan.sources_of(nodes[2]) is plan.sources_of(nodes[3]), "one script for all that are asked the same"
    others = [{name: keys for name, keys in plan.sources_of(one).items() if name != "venvs"} for one in nodes[:2]]
    assert others[0] == others[1]


@pytest.mark.parametrize("path", ["opt/a", "/a b", "/$(reboot)", "/a/../../root", "-rf", "/a'", "/a\nb"])
def test_what_is_no_plain_path_never_reaches_a_node(path: str) -> None:
    plan = make_plan(catalogue_for_run.load(), [node("a", venvs=[path])])
    assert plan.sources_of(node("a", venvs=[path]))["venvs"] == []


def test_facts_that_are_asked_for_by_name_follow_the_inventory_too() -> None:
    plan = FactsPlan(["workload.venvs", "os.id"])
    assert plan.sources_of(node("a", venvs=["/opt/a"])) == {"os_release": [], "venvs": ["/opt/a"]}
    assert plan.sources_of(node("b")) == {"os_release": [], "venvs": []}
    assert FactsPlan(["os.id"]).sources_of(node("a", venvs=["/opt/a"])) == {"os_release": []}
