"""The one door for text of a node."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodectl.probe.clean import MAX_CHARS, MAX_LINE_CHARS, clean, clean_line

_TEXT = st.one_of(
    st.binary(max_size=300),
    st.text(max_size=300),
    st.lists(
        st.sampled_from(
            ["\x1b[2J", "\x1b]52;c;eA==\x07", "a", "\n", "\t", "\r", "é", "\u202e", "\u200b", "\ud800", "\x9b", "漢"]
        )
    ).map("".join),
)


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        (b"plain\ttext\n", "plain\ttext\n"),
        (b"\x1b[31mred\x1b[0m", "\\x1b[31mred\\x1b[0m"),
        (b"\x1b]52;c;cm0gLXJm\x07", "\\x1b]52;c;cm0gLXJm\\x07"),
        (b"a\r\nb\x00c\x7f", "a\\x0d\nb\\x00c\\x7f"),
        ("\x9b31m".encode(), "\\x9b31m"),
        (b"bad \xff\xfe utf-8", "bad \ufffd\ufffd utf-8"),
        ("user\u202egpj.exe", "user\\u202egpj.exe"),
        ("zero\u200bwidth\ufeff", "zero\\u200bwidth\\ufeff"),
        ("line\u2028break\x85", "line\\u2028break\\x85"),
        ("tag\U000e0041", "tag\\U000e0041"),
        ("lone \ud83d half", "lone \ufffd half"),
        ("ünïcödé 漢字 🙂", "ünïcödé 漢字 🙂"),
    ],
)
def test_what_becomes_of_it(raw: bytes | str, shown: str) -> None:
    assert clean(raw) == shown


@given(_TEXT)
def test_nothing_in_it_can_act_on_a_terminal_or_hide(raw: bytes | str) -> None:
    text = clean(raw)
    bad = {char for char in text if unicodedata.category(char) in ("Cc", "Cf", "Cs", "Zl", "Zp")} - {"\n", "\t"}
    assert not bad
    text.encode("utf-8")
    assert "".join(text.splitlines()) == text.replace("\n", ""), "nothing but a newline breaks a line"


@given(_TEXT)
def test_cleaning_twice_is_cleaning_once(raw: bytes | str) -> None:
    assert clean(clean(raw)) == clean(raw)


@given(_TEXT, st.integers(60, 120), st.integers(60, 200))
def test_limits_hold_and_cleaning_again_changes_nothing(raw: bytes | str, max_line: int, max_total: int) -> None:
    text = clean(raw, max_line=max_line, max_total=max_total)
    assert len(text) <= max_total
    assert max(len(line) for line in text.split("\n")) <= max_line
    assert clean(text, max_line=max_line, max_total=max_total) == text


@given(st.text(alphabet="ab\n\t \\x1b[]", max_size=500))
def test_plain_text_passes_as_it_is(text: str) -> None:
    assert clean(text) == text == clean(text.encode())


def test_what_was_cut_is_said() -> None:
    assert clean("x" * 1000 + "\nshort", max_line=100) == "x" * 60 + "[cut: 940 more characters]\nshort"
    long = clean(b"y" * (MAX_CHARS + 10), max_line=MAX_CHARS)
    assert len(long) <= MAX_CHARS
    assert "more characters]" in long[-60:]
    assert len(clean(b"z" * (MAX_LINE_CHARS + 1))) <= MAX_LINE_CHARS
    assert clean(b"z" * MAX_LINE_CHARS) == "z" * MAX_LINE_CHARS


def test_a_flood_of_escapes_does_not_grow_without_end() -> None:
    assert len(clean(b"\x1b" * MAX_CHARS)) <= MAX_CHARS


def test_one_line_for_messages() -> None:
    assert clean_line(b"  two\n\tlines \x1b[1m ") == "two lines \\x1b[1m"
    assert len(clean_line("word " * 1000, max_chars=80)) <= 80
    assert clean_line(b"") == ""
