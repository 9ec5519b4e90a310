"""Who stands out: majorities, camps, medians; and that it is the same in whatever order nodes come."""

from __future__ import annotations

import random
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodectl.engine.across.tally import MAX_DISTINCT, MIN_GROUP, Split, Tally


def tally(values: Iterable[Any]) -> Tally:
    made = Tally()
    for node, value in enumerate(values):
        made.add(value, node)
    return made


def split(values: Iterable[Any], **how: Any) -> Split | None:
    return tally(values).split(**how)


def test_one_of_many_differs() -> None:
    found = split(["a"] * 63 + ["b"])
    assert found is not None and found.majority is not None
    assert (found.majority.key, len(found.majority.nodes)) == ("a", 63)
    assert [(value.key, value.nodes) for value in found.others] == [("b", [63])]


@pytest.mark.parametrize("values", [["a"] * 3 + ["b"], ["a"] * 4 + ["b", "c"], ["a", "a", None, "a"]])
def test_two_thirds_are_a_clear_majority(values: list[Any]) -> None:
    found = split(values)
    assert found is not None and found.majority is not None and found.majority.key == "a"


@pytest.mark.parametrize("values", [["a", "a", "b", "b"], ["a"] * 3 + ["b"] * 2, ["a"] * 2 + [None] * 2])
def test_without_a_clear_majority_nobody_is_an_outlier(values: list[Any]) -> None:
    found = split(values)
    assert found is not None and found.majority is None
    assert sum(len(value.nodes) for value in found.others) == len(values)


def test_too_few_to_speak_of() -> None:
    assert split(["a"] * (MIN_GROUP - 2) + ["b"]) is None


def test_where_no_two_nodes_agree_nothing_is_told() -> None:
    assert split(list("abcdef")) is None


def test_what_differs_by_nature_takes_no_memory() -> None:
    made = tally(range(5000))
    assert made.by_nature and not made.values and made.split() is None
    few = tally(number % MAX_DISTINCT for number in range(5000))
    assert not few.by_nature


def test_numbers_are_told_by_the_median() -> None:
    memory = [2063912, 2063900, 2063912, 2063912, 2063908, 1999000]
    found = split(memory, number=True)
    assert found is not None and found.majority is not None
    assert found.majority.key == 2063912 and len(found.majority.nodes) == 5
    assert [value.key for value in found.others] == [1999000]


def test_a_mad_of_zero_leaves_the_tolerance() -> None:
    assert split([1000] * 9 + [1019], number=True, tolerance=0.02) is None
    assert split([1000] * 9 + [1021], number=True, tolerance=0.02) is not None


def test_around_zero_there_is_no_tolerance() -> None:
    found = split([0] * 5 + [8192], number=True)
    assert found is not None and [value.key for value in found.others] == [8192]


def test_a_broad_cloud_has_no_outliers() -> None:
    assert split([90, 95, 100, 105, 110, 98, 102], number=True) is None


def test_two_sizes_half_and_half_are_camps() -> None:
    found = split([1000, 1001, 1002, 1003, 2000, 2001, 2002, 2003], number=True)
    assert found is not None and found.majority is None
    assert sorted(len(value.nodes) for value in found.others) == [4, 4]


def test_absent_is_a_value_among_numbers_too() -> None:
    found = split([1000] * 5 + [None], number=True)
    assert found is not None and found.majority is not None
    assert [(value.key, value.nodes) for value in found.others] == [(None, [5])]


KEYS = st.one_of(st.none(), st.integers(0, 4), st.sampled_from("abc"))


@given(st.lists(KEYS, max_size=40), st.randoms())
def test_the_order_does_not_matter(values: list[Any], chance: random.Random) -> None:
    numbered = list(enumerate(values))
    chance.shuffle(numbered)
    made = Tally()
    for node, value in numbered:
        made.add(value, node)
    assert made.split() == split(values)


@given(st.lists(st.floats(-1e9, 1e9), max_size=30), st.randoms())
def test_nor_that_of_numbers(values: list[float], chance: random.Random) -> None:
    numbered = list(enumerate(values))
    chance.shuffle(numbered)
    made = Tally()
    for node, value in numbered:
        made.add(value, node)
    assert made.split(number=True) == split(values, number=True)


@given(KEYS, st.integers(0, 50), st.booleans())
def test_where_all_agree_there_is_nothing_to_tell(value: Any, count: int, number: bool) -> None:
    assert split([value] * count, number=number and not isinstance(value, str)) is None


@given(st.lists(KEYS, max_size=40))
def test_every_node_is_in_one_place(values: list[Any]) -> None:
    found = split(values)
    if found is not None:
        told = [*([found.majority] if found.majority else []), *found.others]
        assert sorted(node for value in told for node in value.nodes) == list(range(len(values)))
        if found.majority is not None:
            assert 3 * len(found.majority.nodes) >= 2 * len(values)


@given(st.lists(st.integers(-(10**12), 10**12), min_size=4, max_size=40))
def test_numbers_are_in_one_place_too(values: list[int]) -> None:
    found = split(values, number=True)
    if found is not None:
        told = [*([found.majority] if found.majority else []), *found.others]
        assert sorted(node for value in told for node in value.nodes) == list(range(len(values)))
