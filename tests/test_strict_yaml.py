"""The strict YAML reader: what it reads, what it refuses, and where it says the fault is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from nodectl import strict_yaml
from nodectl.strict_yaml import (
    MAX_DEPTH,
    MAX_PROBLEMS,
    StrictYamlError,
    describe,
    load_documents,
    number_of,
    parse_documents,
    quoted,
    text_of,
)


def one(text: str) -> Any:
    (document,) = parse_documents(text, "f.yaml")
    return document.value


def problems(text: str) -> list[str]:
    with pytest.raises(StrictYamlError) as caught:
        parse_documents(text, "f.yaml")
    assert str(caught.value) == "\n".join(caught.value.problems)
    return caught.value.problems


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("true", True),
        ("false", False),
        ("null", None),
        ("~", None),
        ("", None),
        ("0", 0),
        ("8", 8),
        ("-3", -3),
        ("999999999999999999", 999999999999999999),
        *(
            (text, text)
            for text in (
                *("no", "yes", "on", "off", "True", "FALSE", "Null", "y"),
                *(
                    "1.10",
                    "10.0",
                    "1e3",
                    ".inf",
                    ".nan",
                    "0644",
                    "0x1f",
                    "0b1",
                    "1_000",
                    "+1",
                    "-0",
                    "1000000000000000000",
                ),
                *("2026-11-20", "12:30:45", "٣"),
            )
        ),
        ('"true"', "true"),
        ("'8'", "8"),
        ('"\\e[31m"', "\x1b[31m"),
        ("|\n  a\n  b\n", "a\nb\n"),
    ],
)
def test_scalars(written: str, value: object) -> None:
    result = one(f"key: {written}")["key"]
    assert result == value
    assert type(result) is type(value)


def test_keys_are_always_text() -> None:
    assert one("on: 1\n8: 2\n1.10: 3\ntrue: 4\n'': 5\n") == {"on": 1, "8": 2, "1.10": 3, "true": 4, "": 5}


def test_documents_and_lines(tmp_path: Path) -> None:
    file = tmp_path / "checks.yaml"
    file.write_text(
        "# comment\nid: a\nexpect:\n  that:\n    - x\n    - {y: 1,\n       z: 2}\n---\n\nid: b\n---\n",
        encoding="utf-8-sig",
    )
    first, second, empty = load_documents(file)
    assert first.value == {"id": "a", "expect": {"that": ["x", {"y": 1, "z": 2}]}}
    assert (second.value, empty.value) == ({"id": "b"}, None)
    paths = [(), ("id",), ("expect",), ("expect", "that"), ("expect", "that", 0), ("expect", "that", 1, "z")]
    assert [first.line_of(path) for path in paths] == [2, 2, 3, 4, 5, 7]
    assert second.where(("id",)) == f"{file}:10"
    # A path that leads nowhere: as far as it goes.
    assert first.line_of(("expect", "nothing", 3)) == 3
    assert first.line_of(("expect", "that", 9)) == 4
    assert first.line_of(("id", "x")) == 2


def test_a_file_with_nothing_in_it_has_no_documents() -> None:
    assert parse_documents("", "f") == []
    assert parse_documents("# only a comment\n", "f") == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: 1\nb: 2\na: 3\n", ['f.yaml:3: key "a" is here twice (first on line 1)']),
        ("x: {a: 1,\n  a: {b: 1, b: 2}}", [
            'f.yaml:2: key "b" is here twice (first on line 2)',
            'f.yaml:2: key "a" is here twice (first on line 1)',
        ]),
        ("a: &x 1\nb: *x\n", [
            "f.yaml:1: anchor &x: anchors are not read",
            "f.yaml:2: alias *x: write the value out, aliases are not read",
        ]),
        ("a:\n  <<: {b: 1}\n", ["f.yaml:2: merge keys (<<) are not read"]),
        ("a: !!int 3\n!x b: !y [1]\n", [
            "f.yaml:1: tag !!int: tags are not read",
            "f.yaml:2: tag !x: tags are not read",
            "f.yaml:2: tag !y: tags are not read",
        ]),
        ("a: 1\n? [b]\n: 1\n", ["f.yaml:2: a mapping key must be plain text; quote a text that begins with {, [ or *"]),
        ("name: {{ host }}\n", ["f.yaml:1: a mapping key must be plain text; quote a text that begins with {, [ or *"]),
        ("a:\n\t- b\n", ["f.yaml:2: a tab where YAML wants spaces"]),
        ("a: b: c\n", ["f.yaml:1: not YAML: mapping values are not allowed in this context"]),
        ("a: 1\na: 2\nb: [1, 2\nc: 3\n", [
            'f.yaml:2: key "a" is here twice (first on line 1)',
            "f.yaml:4: not YAML: did not find expected ',' or ']' (while parsing a flow sequence)",
        ]),
        ("a: 1\nb: \x07\n", [
            "f.yaml:2: a control character (U+0007), which YAML forbids: remove it, or escape it in double quotes",
        ]),
        ("a: \ud800", ["f.yaml:1: a character that is not Unicode text"]),
    ],
)  # fmt: skip
def test_what_is_refused(text: str, expected: list[str]) -> None:
    assert problems(text) == expected


@pytest.mark.parametrize("text", ["[" * 100_000, "{a: " * 100_000, "- " * 100_000, "? " * 100_000])
def test_depth_is_capped_without_recursion_error(text: str) -> None:
    assert problems(text)[-1] == f"f.yaml:1: nested deeper than {MAX_DEPTH} levels"


def test_the_deepest_allowed_document_is_read() -> None:
    assert one("[" * MAX_DEPTH + "]" * MAX_DEPTH)


def test_a_file_with_very_many_problems_gives_a_readable_number() -> None:
    found = problems("a: 1\n" * 5_000)
    assert len(found) == MAX_PROBLEMS + 1
    assert found[-1].endswith("more problems follow; mend these first")


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    def said(path: Path, **options: int) -> str:
        with pytest.raises(StrictYamlError) as caught:
            load_documents(path, **options)
        return str(caught.value).replace(str(tmp_path), "DIR")

    assert said(tmp_path / "none.yaml") == "DIR/none.yaml: cannot read it: No such file or directory"
    assert said(tmp_path) == "DIR: cannot read it: Is a directory"
    (tmp_path / "big.yaml").write_text("a: 1\n" * 10)
    assert said(tmp_path / "big.yaml", max_bytes=49) == "DIR/big.yaml: larger than 49 bytes: is this the right file?"
    (tmp_path / "latin.yaml").write_bytes(b"a: 1\nb: M\xfcller\n")
    assert said(tmp_path / "latin.yaml") == "DIR/latin.yaml:2: byte 0xfc is not UTF-8 text: save the file as UTF-8"
    assert said(Path("/dev/zero")) == "/dev/zero: larger than 1048576 bytes: is this the right file?"


@pytest.mark.parametrize(
    ("value", "number", "text"),
    [
        (8, 8, "8"),
        ("1.10", 1.1, "1.10"),
        ("-2.5e3", -2500.0, "-2.5e3"),
        ("8", 8, "8"),
        (True, None, None),
        (None, None, None),
        ("1.", None, "1."),
        ("nan", None, "nan"),
        ("1e999", None, "1e999"),
        ("01.5", None, "01.5"),
        ([1], None, None),
    ],
)
def test_numbers_and_text_out_of_values(value: object, number: float | None, text: str | None) -> None:
    assert number_of(value) == number
    assert type(number_of(value)) is type(number)
    assert text_of(value) == text


def test_describe_says_what_was_found() -> None:
    values: list[object] = [None, True, {}, [], 8, "x", "yes", "\x1b[31m", "a" * 100]
    assert [describe(value) for value in values] == [
        "nothing",
        "true",
        "a mapping",
        "a list",
        "the number 8",
        '"x"',
        '"yes" (only true and false are booleans)',
        '"\\x1b[31m"',
        '"' + "a" * 60 + '…"',
    ]


@given(st.text(max_size=80))
def test_quoted_is_always_printable(text: str) -> None:
    assert quoted(text).isprintable()


# Above U+FFFF, json.dumps writes surrogate pairs, which YAML does not have.
BMP_TEXT = st.text(st.characters(max_codepoint=0xFFFF, exclude_categories=["Cs"]), max_size=12)
TREES = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**17), 10**17) | BMP_TEXT,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(st.characters(codec="ascii"), max_size=6), inner, max_size=4)
    ),
    max_leaves=20,
)


@given(TREES)
def test_whatever_was_written_as_json_comes_back(tree: Any) -> None:
    assert one(json.dumps(tree)) == tree


@given(st.text(st.sampled_from("ab:-[]{},&*!?<#|'\"\n\t 01.~\x07\ud800é")))
def test_any_text_is_read_or_refused_and_both_parsers_agree_on_what_is_read(text: str) -> None:
    def read() -> list[Any] | None:
        try:
            return [document.value for document in parse_documents(text, "f")]
        except StrictYamlError as error:
            assert all(problem.startswith("f:") for problem in error.problems)
            return None

    with_c = read()
    with pytest.MonkeyPatch.context() as patch:
        patch.delattr(yaml, "CSafeLoader", raising=False)
        without_c = read()
    if with_c is not None and without_c is not None:
        assert with_c == without_c


def test_lines_without_libyaml(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(yaml, "CSafeLoader", raising=False)
    assert problems("a: 1\nb: 2\na: 3\n") == ['f.yaml:3: key "a" is here twice (first on line 1)']
    assert problems("a: 1\nb: \x07\n")[0].startswith("f.yaml:2: a control character (U+0007)")


def test_importing_it_does_not_import_yaml() -> None:
    import subprocess
    import sys

    code = "import sys, nodectl.strict_yaml; sys.exit('yaml' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    assert strict_yaml.MAX_BYTES == 1 << 20
