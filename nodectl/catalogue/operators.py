"""The operators: one leaf of an expectation compares one value in one way.

Each is compiled once, when the catalogue is loaded. A leaf has

    test(context)        the Truth alone: quick, for the many rows that are fine
    explain(context)     the same Truth with expected, actual and reason in words
    expected(context)    the expected text alone; without a context (or a row) names stand for what is not known

`explain` calls `test`'s own code, so the two cannot differ.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from operator import eq, ne
from typing import Any, Protocol

from nodectl.catalogue.operands import Context, Gone, Literal, Operand
from nodectl.catalogue.truth import FALSE, TRUE, UNKNOWN, Truth, Verdict
from nodectl.catalogue.value_types import MAX_TEXT, TYPES, UnreadableError, ValueType, plain, show
from nodectl.catalogue.wording import COMPARE_WORDS, MEMBER_WORDS, OPPOSITES, Wording, pattern_words


class Expression(Protocol):
    """A compiled expectation, or a part of one."""

    def test(self, context: Context) -> Truth: ...

    def explain(self, context: Context, named: bool = False) -> Verdict: ...

    def expected(self, context: Context | None, named: bool = False) -> str: ...

    def opposite(self, context: Context | None, named: bool = False) -> str:
        """The expected text of its negation."""
        ...

    def run(self, context: Context) -> tuple[Truth, list[Verdict]]:
        """The Truth, and what to report: one Verdict per subject that is not fine, or one for all when it is."""
        ...

    @property
    def is_single(self) -> bool:
        """One leaf, whose name needs not be said beside its value."""
        ...


class _Leaf:
    """What all leaves share: reading the subject, and what happens when it is gone."""

    __slots__ = ("_if_absent", "_subject", "_wording")
    is_single = True

    def __init__(self, subject: Operand, if_absent: Truth, wording: Wording) -> None:
        self._subject = subject
        self._if_absent = if_absent
        self._wording = wording

    def _judge(self, context: Context) -> tuple[Truth, Any, str]:
        """Truth, the raw value or Gone, and the reason where there is one to give."""
        raise NotImplementedError

    def test(self, context: Context) -> Truth:
        return self._judge(context)[0]

    def _when_gone(self, gone: Gone) -> tuple[Truth, Any, str]:
        return (self._if_absent if gone.absent else gone.truth), gone, gone.reason

    def explain(self, context: Context, named: bool = False) -> Verdict:
        truth, raw, reason = self._judge(context)
        expected = self.expected(context, named)
        if raw.__class__ is Gone:
            actual = "absent" if raw.absent else ""
        else:
            actual = self._wording.show(raw)
        if named and actual:
            actual = f"{raw.what if raw.__class__ is Gone else self._subject.name} {actual}".lstrip()
        return Verdict(truth, expected, actual, reason)

    def expected(self, context: Context | None, named: bool = False) -> str:
        text = self._expected(context)
        return f"{self._subject.name} {text}" if named else text

    def opposite(self, context: Context | None, named: bool = False) -> str:
        text = self._opposite(context)
        return f"{self._subject.name} {text}" if named else text

    def _expected(self, context: Context | None) -> str:
        raise NotImplementedError

    def _opposite(self, context: Context | None) -> str:
        return f"not {self._expected(context)}"

    def run(self, context: Context) -> tuple[Truth, list[Verdict]]:
        verdict = self.explain(context)
        return verdict.truth, [verdict]


class Compare(_Leaf):
    """eq ne ge gt le lt is: two values of one declared type."""

    __slots__ = ("_holds", "_literal", "_operand", "_operator", "_type")

    def __init__(
        self,
        operator: str,
        subject: Operand,
        operand: Operand,
        kind: ValueType,
        if_absent: Truth,
        wording: Wording,
    ) -> None:
        super().__init__(subject, if_absent, wording)
        self._operator = operator
        self._operand = operand
        self._type = kind
        self._holds = _comparison(operator, kind)
        # A literal was checked and is read once, here. UnreadableError is the loader's to report.
        self._literal = kind.read(operand.value) if isinstance(operand, Literal) else None

    def _judge(self, context: Context) -> tuple[Truth, Any, str]:
        raw = self._subject.get(context)
        if raw.__class__ is Gone:
            return self._when_gone(raw)
        other = self._literal
        read = self._type.read
        if other is None:
            limit = self._operand.get(context)
            if limit.__class__ is Gone:
                return limit.truth, raw, limit.reason
            try:
                other = read(limit)
            except UnreadableError as problem:
                return UNKNOWN, raw, f"{self._operand.name}: {problem}"
        try:
            value = read(raw)
        except UnreadableError as problem:
            return UNKNOWN, raw, f"{self._subject.name}: {problem}"
        return (TRUE if self._holds(value, other) else FALSE), raw, ""

    def _expected(self, context: Context | None) -> str:
        return self._worded(context, COMPARE_WORDS[self._operator])

    def _opposite(self, context: Context | None) -> str:
        if self._operator == "is" and self._literal is not None:
            return self._wording.show(not self._literal)
        return self._worded(context, OPPOSITES[self._operator])

    def _worded(self, context: Context | None, words: str) -> str:
        if isinstance(self._operand, Literal):
            text = self._wording.show(self._operand.value if self._operator != "is" else self._literal)
        else:
            text = self._operand.describe(context, unit=self._wording.unit)
        if not words and self._operand.is_reference:
            words = "equal to"
        return f"{words} {text}".lstrip()


def _comparison(operator: str, kind: ValueType) -> Callable[[Any, Any], bool]:
    """The function behind eq ne ge gt le lt is, for one type.

    Raises:
        UnreadableError: the type has no order.
    """
    if operator in ("eq", "is"):
        return eq
    if operator == "ne":
        return ne
    less = kind.less
    if less is None:
        raise UnreadableError(f"{operator} needs an order, which {kind.what} has not")
    if operator == "lt":
        return less
    if operator == "gt":
        return lambda value, other: less(other, value)
    if operator == "ge":
        return lambda value, other: not less(value, other)
    return lambda value, other: not less(other, value)


COMPARE = ("is", "eq", "ne", "ge", "gt", "le", "lt")
ORDERED = ("ge", "gt", "le", "lt")


class Members(_Leaf):
    """one_of none_of (a value in a set), contains contains_none subset_of (a list or text against a set)."""

    __slots__ = ("_holds", "_literal", "_operand", "_operator", "_type")

    def __init__(
        self,
        operator: str,
        subject: Operand,
        operand: Operand,
        kind: ValueType,
        if_absent: Truth,
        wording: Wording,
    ) -> None:
        super().__init__(subject, if_absent, wording)
        self._operator = operator
        self._operand = operand
        self._type = kind
        self._holds = _MEMBERSHIP[operator]
        self._literal = self._read_set(operand.value) if isinstance(operand, Literal) else None

    def _read_set(self, raw: Any) -> frozenset[Any]:
        """The right side as keys: of the declared type for one_of and none_of, else as text."""
        items: Iterable[Any] = raw if isinstance(raw, (list, tuple)) else (raw,)
        read = self._type.read if self._operator in ("one_of", "none_of") else plain
        return frozenset([read(item) for item in items])

    def _judge(self, context: Context) -> tuple[Truth, Any, str]:
        raw = self._subject.get(context)
        if raw.__class__ is Gone:
            return self._when_gone(raw)
        members = self._literal
        if members is None:
            other = self._operand.get(context)
            if other.__class__ is Gone:
                return other.truth, raw, other.reason
            try:
                members = self._read_set(other)
            except UnreadableError as problem:
                return UNKNOWN, raw, f"{self._operand.name}: {problem}"
        try:
            value = self._type.read(raw)
        except UnreadableError as problem:
            return UNKNOWN, raw, f"{self._subject.name}: {problem}"
        return (TRUE if self._holds(value, members) else FALSE), raw, ""

    def _expected(self, context: Context | None) -> str:
        return self._worded(context, MEMBER_WORDS[self._operator], "")

    def _opposite(self, context: Context | None) -> str:
        return self._worded(context, OPPOSITES[self._operator], "not ")

    def _worded(self, context: Context | None, words: str, before_one: str) -> str:
        if not isinstance(self._operand, Literal):
            return f"{words} {self._operand.describe(context)}"
        value = self._operand.value
        if self._operator == "one_of" and isinstance(value, list) and len(value) == 1:
            return f"{before_one}{show(value[0])}"
        return f"{words} {show(value)}"


# Of the subject (a key, or for the last three a list or a text) and the set on the right.
_MEMBERSHIP: dict[str, Callable[[Any, frozenset[Any]], bool]] = {
    "one_of": lambda value, members: value in members,
    "none_of": lambda value, members: value not in members,
    "contains": lambda value, members: all(member in value for member in members),
    "contains_none": lambda value, members: not any(member in value for member in members),
    "subset_of": lambda value, members: members.issuperset(value),
}

MEMBERS = tuple(_MEMBERSHIP)


class Matches(_Leaf):
    """The whole text matches a regular expression."""

    __slots__ = ("_pattern",)

    def __init__(self, subject: Operand, pattern: str, if_absent: Truth, wording: Wording) -> None:
        super().__init__(subject, if_absent, wording)
        self._pattern = re.compile(pattern, re.DOTALL)

    def _judge(self, context: Context) -> tuple[Truth, Any, str]:
        raw = self._subject.get(context)
        if raw.__class__ is Gone:
            return self._when_gone(raw)
        try:
            text = TYPES["str"].read(raw)
        except UnreadableError as problem:
            return UNKNOWN, raw, f"{self._subject.name}: {problem}"
        if len(text) > MAX_TEXT:
            return UNKNOWN, raw, f"{self._subject.name}: {len(text)} characters are too many to match"
        return (TRUE if self._pattern.fullmatch(text) else FALSE), raw, ""

    def _expected(self, context: Context | None) -> str:
        return pattern_words(self._pattern.pattern)


class Present(_Leaf):
    """Whether there is a value at all. Only what could not be looked at is unknown."""

    __slots__ = ("_wanted",)

    def __init__(self, subject: Operand, wanted: bool, wording: Wording) -> None:
        super().__init__(subject, UNKNOWN, wording)
        self._wanted = wanted

    def _judge(self, context: Context) -> tuple[Truth, Any, str]:
        raw = self._subject.get(context)
        if raw.__class__ is not Gone:
            return (TRUE if self._wanted else FALSE), raw, ""
        if not raw.absent:
            return raw.truth, raw, raw.reason
        return (FALSE if self._wanted else TRUE), raw, raw.reason

    def _expected(self, context: Context | None) -> str:
        return "present" if self._wanted else "absent"

    def _opposite(self, context: Context | None) -> str:
        return "absent" if self._wanted else "present"


class NotEmpty(_Leaf):
    """Whether a list, table or text has anything in it."""

    __slots__ = ("_wanted",)

    def __init__(self, subject: Operand, wanted: bool, if_absent: Truth, wording: Wording) -> None:
        super().__init__(subject, if_absent, wording)
        self._wanted = wanted

    def _judge(self, context: Context) -> tuple[Truth, Any, str]:
        raw = self._subject.get(context)
        if raw.__class__ is Gone:
            return self._when_gone(raw)
        if isinstance(raw, str):
            full = bool(raw.strip())
        elif isinstance(raw, (list, tuple, dict)):
            full = bool(raw)
        else:
            return UNKNOWN, raw, f"{self._subject.name}: {show(raw)} is not a list, a table or text"
        return (TRUE if full is self._wanted else FALSE), raw, ""

    def _expected(self, context: Context | None) -> str:
        return "not empty" if self._wanted else "empty"

    def _opposite(self, context: Context | None) -> str:
        return "empty" if self._wanted else "not empty"


class Within(_Leaf):
    """A number near another: `tolerance` is absolute, or a share of it."""

    __slots__ = ("_is_share", "_operand", "_shown_tolerance", "_tolerance", "_type")

    def __init__(
        self,
        subject: Operand,
        operand: Operand,
        tolerance: tuple[float, bool, str],
        kind: ValueType,
        if_absent: Truth,
        wording: Wording,
    ) -> None:
        super().__init__(subject, if_absent, wording)
        self._operand = operand
        self._tolerance, self._is_share, self._shown_tolerance = tolerance
        self._type = kind

    def _judge(self, context: Context) -> tuple[Truth, Any, str]:
        raw = self._subject.get(context)
        if raw.__class__ is Gone:
            return self._when_gone(raw)
        middle = self._operand.get(context)
        if middle.__class__ is Gone:
            return middle.truth, raw, middle.reason
        read: Callable[[Any], Any] = self._type.read
        try:
            centre = read(middle)
        except UnreadableError as problem:
            return UNKNOWN, raw, f"{self._operand.name}: {problem}"
        try:
            distance = abs(read(raw) - centre)
        except UnreadableError as problem:
            return UNKNOWN, raw, f"{self._subject.name}: {problem}"
        allowed = abs(centre) * self._tolerance if self._is_share else self._tolerance
        return (TRUE if distance <= allowed else FALSE), raw, ""

    def _expected(self, context: Context | None) -> str:
        return f"{self._operand.describe(context, unit=self._wording.unit)} ± {self._shown_tolerance}"


OPERATORS = (*COMPARE, *MEMBERS, "matches", "present", "not_empty", "within")
