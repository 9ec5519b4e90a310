"""Expressions that could take for ever on hostile text are refused; ordinary ones are not."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nodectl.catalogue.regex_guard import MAX_LENGTH, problem_with
from nodectl.catalogue.value_types import MAX_TEXT


@pytest.mark.parametrize(
    "pattern",
    [
        "rh.*",
        r"[0-9]+\.[0-9]+\.[0-9]+",
        "(?:a|b)",
        "(a|b)?c",
        r"(.* )?pci=([^ ]*,)?realloc=off([, ].*)?",
        r"x{2,5}y{3}",
        r"\(.*\)",
        "[]a*+]+",
        r"[^\]]+",
        r"a\.*",
        "a|b|c",
        "a+b+c+d+e+f+g+h+i+",
        ".*a.*b.*",
        "a{4}a{5}a{6}",
    ],
)
def test_ordinary_expressions_are_fine(pattern: str) -> None:
    assert problem_with(pattern) == ""


@pytest.mark.parametrize(
    ("pattern", "said"),
    [
        ("(a+)+", "inner one"),
        ("(a*)*b", "inner one"),
        ("(?:a?b*)+", "inner one"),
        ("((a)+)+", "inner one"),
        ("(a+){2,}", "inner one"),
        ("(a|ab)*", "inner one"),
        ("((a|b))+", "inner one"),
        ("(a|ab){5}", "inner one"),
        (".*a.*b.*c", "end is open"),
        ("[^a]*x[^b]*y[^c]*z", "end is open"),
        (r"\S+\S+\S+x", "end is open"),
        ("[0-9]+[0-9]+[0-9]+", "end is open"),
        ("a+a+a+a+b", "end is open"),
        ("a*b*c*d*e", "end is open"),
        (r"a+$a+$a+", "end is open"),
        ("a{0,99}a{99}a{9,}", "end is open"),
        ("[[a]", "nested set"),
        (r"(a)\1", "back references"),
        ("(?=a)b", "not allowed"),
        ("(?P<x>a)", "not allowed"),
        ("(a", "not a regular expression"),
        ("a" * (MAX_LENGTH + 1), "characters"),
    ],
)
def test_refuses(pattern: str, said: str) -> None:
    assert said in problem_with(pattern)


@settings(max_examples=200, deadline=None)
@given(st.text("ab.*+?|()[]^{}1,\\S-", max_size=14))
def test_what_is_let_through_ends_soon(pattern: str) -> None:
    """The guard never fails itself, and what it lets by takes a hostile text in bounded time."""
    if problem_with(pattern):
        return
    compiled = re.compile(pattern, re.DOTALL)
    for text in ("a" * MAX_TEXT, "ab" * (MAX_TEXT // 2), "a" * (MAX_TEXT - 1) + "!"):
        begun = time.process_time()
        compiled.fullmatch(text)
        assert time.process_time() - begun < 3
