"""Types are declared, never guessed: what each reads, what it refuses, and how versions are ordered."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodectl.catalogue.value_types import (
    TYPES,
    UNLIMITED,
    UnreadableError,
    read_version,
    show,
    version_less,
)

READ: list[tuple[str, Any, Any]] = [
    ("int", 8, 8),
    ("int", " 8 ", 8),
    ("int", "-3", -3),
    ("int", "0x1f", 31),
    ("int", 8.0, 8),
    ("float", 1, 1.0),
    ("float", "26.562", 26.562),
    ("float", "2e3", 2000.0),
    ("bool", True, True),
    ("bool", "Y", True),
    ("bool", "0", False),
    ("bool", 1, True),
    ("bool", "Enabled", True),
    ("str", "a", "a"),
    ("str", 8, "8"),
    ("list", "4096 87380\t6291456", ("4096", "87380", "6291456")),
    ("list", [8, "a", True], ("8", "a", "true")),
    ("bytes", 4096, 4096),
    ("bytes", "1G", 1 << 30),
    ("bytes", "1.5 GiB", 3 << 29),
    ("bytes", "64 kB", 65536),
    ("bytes", "512Mi", 512 << 20),
]


@pytest.mark.parametrize(("kind", "raw", "value"), READ)
def test_reads(kind: str, raw: Any, value: Any) -> None:
    found = TYPES[kind].read(raw)
    assert found == value
    assert type(found) is type(value)


REFUSED: list[tuple[str, Any]] = [
    ("int", True),
    ("int", "8.5"),
    ("int", 8.5),
    ("int", ""),
    ("int", "eight"),
    ("int", "٨"),
    ("int", None),
    ("int", [8]),
    ("float", "nan"),
    ("float", float("inf")),
    ("float", True),
    ("float", 10**400),
    ("bool", 2),
    ("bool", "maybe"),
    ("str", True),
    ("str", {"a": 1}),
    ("list", 8),
    ("list", [{"a": 1}]),
    ("bytes", "64 GB"),
    ("bytes", -1),
    ("bytes", "lots"),
    ("version", "unknown"),
    ("version", "R580"),
    ("version", ""),
    ("version", "1" * 129),
    ("version", True),
    ("version", 12.8),
    ("kernel", "generic"),
    ("kernel", 6),
    ("vbios", "96"),
    ("vbios", "96.00.xx.00"),
]


@pytest.mark.parametrize(("kind", "raw"), REFUSED)
def test_refuses_what_is_not_of_the_type(kind: str, raw: Any) -> None:
    with pytest.raises(UnreadableError):
        TYPES[kind].read(raw)


ORDERED = [
    ("version", "570.86.15", "570.124.06"),
    ("version", "24.04-0.6.6.0", "24.04-0.7.0.0"),
    ("version", "2.21.5rc1", "2.21.5"),
    ("version", "2.21.5", "2.21.6rc1"),
    ("version", "2.1.0a0+32f93b1", "2.1.0"),
    ("version", "1.1.1", "1.1.1a"),
    ("version", "9.6", "9.6p1"),
    ("version", "9.6p1", "9.6.1"),
    ("version", "2.0~rc1", "2.0"),
    ("version", "6.8", "6.8.12"),
    ("version", "550.9", "550.54"),
    ("version", "9", "10"),
    ("kernel", "6.8.0-45-generic", "6.8.12"),
    ("kernel", "5.4.0-200-generic", "5.15.0-25-generic"),
    ("vbios", "96.00.9F.00.01", "96.00.BC.00.01"),
    ("vbios", "96.00.A5.00.03", "96.00.A5.00.10"),
    ("int", "9", "10"),
    ("bytes", "900M", "1G"),
]


@pytest.mark.parametrize(("kind", "low", "high"), ORDERED)
def test_orders(kind: str, low: str, high: str) -> None:
    less, read = TYPES[kind].less, TYPES[kind].read
    assert less is not None
    assert less(read(low), read(high))
    assert not less(read(high), read(low))
    assert read(low) != read(high)


EQUAL = [
    ("version", "6.8", "6.8.0"),
    ("version", "1:580.95.05", "580.95.5"),
    ("version", "v1.18.0", "1.18"),
    ("version", 12, "12"),
    ("kernel", "6.8.0-45-generic", "6.8.0-100-nvidia"),
    ("kernel", "5.14.0-427.13.1.el9_4.x86_64", "5.14.0"),
    ("vbios", "96.00.a5.00.01", "96.0.A5.0.1"),
    ("int", "8", 8),
]


@pytest.mark.parametrize(("kind", "left", "right"), EQUAL)
def test_takes_as_equal(kind: str, left: Any, right: Any) -> None:
    less, read = TYPES[kind].less, TYPES[kind].read
    assert less is not None
    assert read(left) == read(right)
    assert not less(read(left), read(right))
    assert not less(read(right), read(left))


_PART = st.one_of(
    st.integers(0, 12).map(str), st.sampled_from(["rc", "a", "b", "beta", "dev", "p", "el", "post", "~", "cuda"])
)
VERSIONS = st.builds(
    lambda first, rest: str(first) + "".join(sep + part for sep, part in rest),
    st.integers(0, 12),
    st.lists(st.tuples(st.sampled_from([".", "-", "", "+"]), _PART), max_size=5),
)


@given(VERSIONS, VERSIONS)
def test_any_two_versions_are_ordered_one_way(left: str, right: str) -> None:
    a, b = read_version(left), read_version(right)
    assert [version_less(a, b), version_less(b, a), a == b].count(True) == 1


@given(VERSIONS, VERSIONS, VERSIONS)
def test_version_order_is_transitive(first: str, second: str, third: str) -> None:
    a, b, c = (read_version(text) for text in (first, second, third))
    if version_less(a, b) and version_less(b, c):
        assert version_less(a, c)
    if a == b:
        assert version_less(a, c) == version_less(b, c)
        assert version_less(c, a) == version_less(c, b)


@given(st.lists(st.integers(0, 10**6), min_size=1, max_size=6), st.lists(st.integers(0, 10**6), min_size=1, max_size=6))
def test_versions_of_numbers_are_ordered_like_lists_of_numbers(left: list[int], right: list[int]) -> None:
    size = max(len(left), len(right))
    padded = [numbers + [0] * (size - len(numbers)) for numbers in (left, right)]
    a, b = (read_version(".".join(map(str, numbers))) for numbers in (left, right))
    assert version_less(a, b) == (padded[0] < padded[1])


_ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=30),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(st.sampled_from(sorted(TYPES)), _ANYTHING)
def test_whatever_a_node_sends_is_read_or_refused(kind: str, value: Any) -> None:
    try:
        key = TYPES[kind].read(value)
    except UnreadableError as problem:
        assert str(problem)
        return
    hash(key)
    less = TYPES[kind].less
    if less is not None:
        assert not less(key, key)


@given(_ANYTHING)
def test_everything_can_be_shown(value: Any) -> None:
    assert len(show(value)) < 400


def test_shows_values_as_people_write_them() -> None:
    assert show(700.0, "W") == "700 W"
    assert show(UNLIMITED) == "unlimited"
    assert show("") == '""'
    assert show([]) == "none"
    assert show(list(range(15))) == "0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11 and 3 more"
    assert show([{"a": 1}, {"a": 2}]) == "2 rows"
    assert show({"state": "up", "_errors": {}}) == "state up"
    assert show("x" * 500).endswith("…")
