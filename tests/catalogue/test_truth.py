"""The laws of four-valued logic: Kleene's three values, and not-applicable parts that are left out."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodectl.catalogue.truth import (
    FALSE,
    NOT_APPLICABLE,
    TRUE,
    UNKNOWN,
    Truth,
    conjunction,
    disjunction,
    negation,
)

THREE = (FALSE, UNKNOWN, TRUE)
TRUTHS = st.sampled_from(list(Truth))
MANY = st.lists(TRUTHS, max_size=6)


@pytest.mark.parametrize(("left", "right"), list(product(THREE, THREE)))
def test_and_is_the_lesser_and_or_the_greater(left: Truth, right: Truth) -> None:
    low, high = sorted((left, right), key=THREE.index)
    assert conjunction([left, right]) is low
    assert disjunction([left, right]) is high


@given(MANY)
def test_de_morgan(parts: list[Truth]) -> None:
    assert negation(conjunction(parts)) is disjunction([negation(part) for part in parts])


@given(MANY)
def test_order_and_repetition_do_not_matter(parts: list[Truth]) -> None:
    for combine in (conjunction, disjunction):
        assert combine(parts) is combine(parts[::-1]) is combine(parts + parts)


@given(MANY, MANY)
def test_parts_may_be_grouped(left: list[Truth], right: list[Truth]) -> None:
    for combine in (conjunction, disjunction):
        assert combine([combine(left), combine(right)]) is combine(left + right)


@given(MANY)
def test_what_does_not_apply_is_left_out(parts: list[Truth]) -> None:
    rest = [part for part in parts if part is not NOT_APPLICABLE]
    for combine in (conjunction, disjunction):
        assert combine(parts) is combine(rest)
        assert (combine(parts) is NOT_APPLICABLE) == (not rest)


@given(TRUTHS)
def test_not_twice_changes_nothing(part: Truth) -> None:
    assert negation(negation(part)) is part


@given(MANY, st.integers(0, 5))
def test_knowing_more_never_turns_an_answer_round(parts: list[Truth], at: int) -> None:
    """A combination that is TRUE or FALSE with one part unknown is the same whatever that part turns out to be."""
    blind = [UNKNOWN if number == at else part for number, part in enumerate(parts)]
    for combine in (conjunction, disjunction):
        answer = combine(blind)
        if answer in (TRUE, FALSE) and at < len(parts):
            for known in (TRUE, FALSE):
                assert combine([known if number == at else part for number, part in enumerate(parts)]) is answer
