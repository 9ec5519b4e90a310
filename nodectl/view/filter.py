"""The filter language, the same wherever rows are chosen: `--where`, `--alert`, and `/` on screens.

    gpu-01                     the row holds this text, in whatever case
    ~gpu-0[1-4]                ... or matches this regular expression; case counts only if it has capitals
    temp > 80 & util < 10      a field against a value: = != > >= < <= and ~ (a regular expression)
    mem > 70G | mem > 95%      values may have units: 80C 1.5G 700W 2kW 1.4GHz 30s 90%
    !(state = live)            ! inverts, & and | join, ( ) group
    label.rack = r1            labels of the inventory

A field that is not known (None) matches no comparison, not even `!=`; `!(temp > 80)` is true for it. `=` and `!=` of a
field that holds several words (users, jobs, throttle reasons) ask whether any of them is that word. filter_syntax.py
has the grammar. A filter is compiled once, and then costs 0.1 to 0.3 us a comparison and row.
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec

from nodectl.suggest import did_you_mean
from nodectl.view.filter_syntax import Both, Compare, FilterError, Match, Not, Text, Tree, parse

__all__ = ["FilterError", "FilterField", "Predicate", "Row", "compile_filter"]

Row = Mapping[str, Any]
Test = Callable[[Row], bool]

NUMBER, TEXT, WORDS = "number", "text", "words"
LABEL = "label."
MAX_ROW_TEXT = 500
"""Characters of a row, or of a field, that are searched by a regular expression: what nodes send is not trusted."""

_ORDER: dict[str, Callable[[Any, Any], bool]] = {
    ">": operator.gt,
    ">=": operator.ge,
    "<": operator.lt,
    "<=": operator.le,
    "=": operator.eq,
    "!=": operator.ne,
}
_NUMBER = re.compile(r"([+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+))\s*([^\s0-9]\S{0,7})?\Z", re.ASCII)
_HEX = re.compile(r"0[xX][0-9a-fA-F]{1,16}\Z")
_MB, _GB, _TB = 1e6 / 2**20, 1e9 / 2**20, 1e12 / 2**20
_SIZES = {
    "b": 2**-20, "k": 2**-10, "kb": 1e3 / 2**20, "kib": 2**-10, "m": 1.0, "mib": 1.0, "mb": _MB,
    "g": 1024.0, "gib": 1024.0, "gb": _GB, "t": 2.0**20, "tib": 2.0**20, "tb": _TB,
}  # fmt: skip
# What may stand behind a number, by the unit of the field, and what one of it is in that unit. In small letters, but
# for those that mean something else then.
_UNITS: dict[str, dict[str, float]] = {
    "%": {"%": 1.0},
    "C": {"c": 1.0, "°c": 1.0},
    "W": {"w": 1.0, "kw": 1e3, "MW": 1e6, "mW": 1e-3},
    "MiB": _SIZES,
    "MiB/s": _SIZES | {f"{name}/s": size for name, size in _SIZES.items()},
    "MHz": {"m": 1.0, "mhz": 1.0, "g": 1e3, "ghz": 1e3},
    "J": {"j": 1.0, "kj": 1e3, "MJ": 1e6, "wh": 3600.0, "kwh": 3.6e6},
    "s": {"ms": 1e-3, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0},
}
_EXAMPLES = {"%": "90%", "C": "80C", "W": "700W or 2kW", "MiB": "70G", "MiB/s": "1.5G/s", "MHz": "1980MHz or 1.4GHz",
             "J": "5kJ", "s": "30s or 2m"}  # fmt: skip
_ESCAPE = re.compile(r"\\.", re.DOTALL)


class FilterField(msgspec.Struct, frozen=True):
    """A field that rows have.

    Attributes:
        name: its key in a row.
        type: `number` (int, float or None), `text` (str or None), or `words` (a sequence of str, or None).
        unit: of a number, as in telemetry/fields.py.
        aliases: shorter names for people.
        other: the name of a field that is meant instead when a value has a unit that fits only there: `mem > 90%` and
            `mem > 70G` are two fields.
        of_node: the same for all rows of a node.
    """

    name: str
    type: str = NUMBER
    unit: str = ""
    aliases: tuple[str, ...] = ()
    other: str = ""
    of_node: bool = False
    about: str = ""


class Predicate:
    """A compiled filter: call it with a row.

    Attributes:
        text: the filter as it was written.
        fields: names of the fields that it compares, as keys of a row.
        matches: the same as calling, without the cost of a method.
        searches: it looks into the text of the row.
    """

    __slots__ = ("fields", "matches", "searches", "text")

    def __init__(self, text: str, matches: Test, fields: frozenset[str], searches: bool) -> None:
        self.text, self.matches, self.fields, self.searches = text, matches, fields, searches

    def __call__(self, row: Row) -> bool:
        return self.matches(row)

    def __repr__(self) -> str:
        return f"Predicate({self.text!r})"


def compile_filter(
    text: str, fields: Iterable[FilterField], *, row_text: Callable[[Row], str] | None = None
) -> Predicate:
    """A filter, ready to be asked of many rows.

    Args:
        text: as a person wrote it; a blank one matches every row.
        fields: those that rows may have. `label.NAME` is always a field (text).
        row_text: what bare text and `~regex` are searched in; by default all fields of type text and words.

    Raises:
        FilterError: it cannot be read, names a field that there is not, or a value that does not fit its field.
    """
    tree = parse(text)
    compiler = _Compiler(tuple(fields), row_text)
    test = compiler.test(tree)
    return Predicate(text, test, frozenset(compiler.used), compiler.searches)


class _Compiler:
    def __init__(self, fields: tuple[FilterField, ...], row_text: Callable[[Row], str] | None) -> None:
        self.by_name = {name: field for field in fields for name in field.aliases}
        self.by_name |= {field.name: field for field in fields}
        self.row_text = row_text or _text_of([field for field in fields if field.type != NUMBER])
        self.used: set[str] = set()
        self.searches = False

    def test(self, tree: Tree) -> Test:
        if isinstance(tree, Text):
            return self._holds(tree.text)
        if isinstance(tree, Match):
            self.searches = True
            found, row_text = _regex(tree.pattern, tree.at + 1), self.row_text
            return lambda row: found(row_text(row))
        if isinstance(tree, Compare):
            return self._compare(tree)
        if isinstance(tree, Not):
            inner = self.test(tree.term)
            return lambda row: not inner(row)
        return _joined([self.test(term) for term in tree.terms], every=isinstance(tree, Both))

    def _holds(self, text: str) -> Test:
        self.searches = True
        wanted, row_text = text.casefold(), self.row_text
        return lambda row: wanted in row_text(row).casefold()

    def _compare(self, term: Compare) -> Test:
        field = self._field(term)
        if field.type == NUMBER:
            if term.op == "~":
                raise FilterError(f"{term.name} is a number: use = != > >= < or <=", term.at)
            name, value = self._number(field, term)
            self.used.add(name)
            return _compare_number(name, _ORDER[term.op], value)
        self.used.add(field.name)
        if term.op not in ("=", "!=", "~"):
            raise FilterError(f"{term.name} is text and has no order: use = != or ~", term.at)
        wanted = term.value.casefold()
        test: Callable[[str], bool]
        if term.op == "~":
            test = _regex(term.value, term.value_at)
        else:
            test = lambda text: text.casefold() == wanted  # noqa: E731
        return _compare_text(field, test, inverted=term.op == "!=")

    def _field(self, term: Compare) -> FilterField:
        if term.name.startswith(LABEL) and len(term.name) > len(LABEL):
            return FilterField(term.name, TEXT, of_node=True)
        field = self.by_name.get(term.name) or self.by_name.get(term.name.casefold())
        if field is None:
            hint = did_you_mean(term.name, self.by_name)
            raise FilterError(f'there is no field "{term.name}"{hint}', term.at)
        return field

    def _number(self, field: FilterField, term: Compare) -> tuple[str, float]:
        """Which field is meant, and the value in its unit."""
        for one in (field, self.by_name.get(field.other)):
            if one is not None and (value := number_in(term.value, one.unit)) is not None:
                return one.name, value
        kind = f"a number in {field.unit}, such as {_EXAMPLES.get(field.unit, '8')}" if field.unit else "a plain number"
        raise FilterError(f'"{term.value}" is no value for {term.name}, which is {kind}', term.value_at)


def number_in(text: str, unit: str) -> float | None:
    """A number, with or without a unit behind it, in that unit; None if it is none, or its unit does not fit."""
    if _HEX.match(text) and not unit:
        return float(int(text, 16))
    found = _NUMBER.match(text)
    if not found:
        return None
    number, suffix = float(found[1]), found[2]
    if not math.isfinite(number):
        return None
    if not suffix:
        return number
    factors = _UNITS.get(unit, {})
    factor = factors.get(suffix, factors.get(suffix.casefold(), factors.get(suffix.upper())))
    return None if factor is None else number * factor


def _compare_number(name: str, order: Callable[[Any, Any], bool], value: float) -> Test:
    def test(row: Row) -> bool:
        own = row.get(name)
        return own is not None and order(own, value)

    return test


def _compare_text(field: FilterField, test: Callable[[str], bool], *, inverted: bool) -> Test:
    name = field.name

    def one(row: Row) -> bool:
        own = row.get(name)
        return own is not None and test(own) is not inverted

    def several(row: Row) -> bool:
        own = row.get(name)
        return own is not None and any(map(test, own)) is not inverted

    return several if field.type == WORDS else one


def _joined(tests: list[Test], *, every: bool) -> Test:
    if len(tests) == 2:  # by far the most common, and twice as fast as a loop
        first, second = tests
        return (lambda row: first(row) and second(row)) if every else (lambda row: first(row) or second(row))
    if every:
        return lambda row: all(test(row) for test in tests)
    return lambda row: any(test(row) for test in tests)


def _text_of(fields: list[FilterField]) -> Callable[[Row], str]:
    single = [field.name for field in fields if field.type == TEXT]
    several = [field.name for field in fields if field.type == WORDS]

    def text(row: Row) -> str:
        parts = [value for name in single if (value := row.get(name))]
        for name in several:
            parts += row.get(name) or ()
        return " ".join(parts)

    return text


def _regex(pattern: str, at: int) -> Callable[[str], bool]:
    """Whether a text matches, once it is known that no text can make that take for ever.

    A pattern without capitals ignores case: it searches the text in small letters. The flag for that would not do, as
    the guard works out which characters a repeat can take without it.
    """
    from nodectl.catalogue.regex_guard import problem_with  # takes the catalogue along: only where it is needed

    problem = problem_with(pattern)
    if problem:
        raise FilterError(problem, at)
    search = re.compile(pattern).search
    if any(char.isupper() for char in _ESCAPE.sub("", pattern)):
        return lambda text: search(text[:MAX_ROW_TEXT]) is not None
    return lambda text: search(text[:MAX_ROW_TEXT].lower()) is not None
