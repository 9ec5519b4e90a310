"""`--node`: which nodes a pattern means, and what is said when it means none."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodectl.inventory import InventoryError, select
from nodectl.model import Node

NODES = [
    *(Node(name=f"gpu{n}", groups=("h200",), labels={"rack": f"r{n % 2}"}) for n in (1, 2, 3)),
    *(Node(name=f"gpu{n}", groups=("h100", "old"), labels={"rack": f"r{n % 2}"}) for n in (4, 5, 6)),
    Node(name="login", labels={"role": "head"}),
    Node(name="me@host:22", address="host"),
]  # fmt: skip


def names(*patterns: str) -> list[str]:
    return [node.name for node in select(NODES, patterns)]


@pytest.mark.parametrize(
    ("patterns", "found"),
    [
        ([], [node.name for node in NODES]),
        (["gpu[2-3],login"], ["gpu2", "gpu3", "login"]),
        (["login", "gpu1"], ["gpu1", "login"]),
        (["gpu*"], ["gpu1", "gpu2", "gpu3", "gpu4", "gpu5", "gpu6"]),
        (["gpu?,*in"], ["gpu1", "gpu2", "gpu3", "gpu4", "gpu5", "gpu6", "login"]),
        (["@h200"], ["gpu1", "gpu2", "gpu3"]),
        (["@h200", "@old"], ["gpu1", "gpu2", "gpu3", "gpu4", "gpu5", "gpu6"]),
        (["rack=r0"], ["gpu2", "gpu4", "gpu6"]),
        (["rack=*", "role=head"], ["gpu1", "gpu2", "gpu3", "gpu4", "gpu5", "gpu6", "login"]),
        (["gpu[5-99]"], ["gpu5", "gpu6"]),
        (["gpu[1-3]!gpu2"], ["gpu1", "gpu3"]),
        (["me@host:22"], ["me@host:22"]),
    ],
)
def test_what_a_pattern_means(patterns: list[str], found: list[str]) -> None:
    assert names(*patterns) == found


@pytest.mark.parametrize(
    ("patterns", "problems"),
    [
        (["gpu11"], ['--node: no node is called "gpu11"; did you mean "gpu1"?']),
        (["h200"], ['--node: no node is called "h200"; did you mean "@h200"?']),
        (["cpu*"], ['--node: no node\'s name is like "cpu*"']),
        (["@h20"], ['--node: no group "h20"; did you mean "h200"?']),
        (["@x"], ['--node: no group "x"; groups here: h100, h200, old']),
        (["role=heat"], ['--node: no node has the label "role=heat"; did you mean "head"?']),
        (["rack=x"], ['--node: no node has the label "rack=x"; values here: r0, r1']),
        (["rak=r1"], ['--node: no node has a label "rak"; did you mean "rack"?']),
        (["gpu1,no", "@a"], ['--node: no node is called "no"', '--node: no group "a"; groups here: h100, h200, old']),
        (["gpu["], ["--node: gpu[: a bracket is not closed; a node set is like gpu[001-128],login"]),
        (["gpu[1-200000]"], ["--node: gpu[1-200000]: more than 100000 names"]),
        ([""], ['--node: no node is called ""']),
    ],
)  # fmt: skip
def test_patterns_that_mean_nothing(patterns: list[str], problems: list[str]) -> None:
    with pytest.raises(InventoryError) as caught:
        select(NODES, patterns)
    assert list(caught.value.problems) == problems


def test_no_groups_and_labels_at_all() -> None:
    with pytest.raises(InventoryError, match='no group "a"; groups here: none'):
        select([Node(name="n")], ["@a"])


@given(st.lists(st.text(st.sampled_from("gpu1-6[],@=*?!&h20 \x1b"), max_size=10), min_size=1, max_size=3))
def test_any_pattern_selects_some_or_is_refused(patterns: list[str]) -> None:
    try:
        found = select(NODES, patterns)
    except InventoryError as error:
        assert all(problem.isprintable() for problem in error.problems)
    else:
        assert found and [node for node in NODES if node in found] == found
