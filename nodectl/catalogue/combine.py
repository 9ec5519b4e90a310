"""Expectations made of others: all, any, not, and each (one expectation on every row of a table fact)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from nodectl.catalogue.operands import Context, Gone, Operand
from nodectl.catalogue.operators import Expression
from nodectl.catalogue.truth import (
    FALSE,
    NOT_APPLICABLE,
    TRUE,
    UNKNOWN,
    Truth,
    Verdict,
    conjunction,
    disjunction,
    negation,
)
from nodectl.catalogue.value_types import UnreadableError, read_int, show


def _join(texts: list[str], glue: str) -> str:
    """The texts that say something, each once."""
    return glue.join(dict.fromkeys(text for text in texts if text))


class All:
    """Every part holds."""

    __slots__ = ("_parts",)
    is_single = False

    def __init__(self, parts: list[Expression]) -> None:
        self._parts = parts

    def test(self, context: Context) -> Truth:
        return conjunction(part.test(context) for part in self._parts)

    def _named(self) -> bool:
        return len(self._parts) > 1

    def explain(self, context: Context, named: bool = False) -> Verdict:
        named = named or self._named()
        verdicts = [part.explain(context, named) for part in self._parts]
        truth = conjunction(verdict.truth for verdict in verdicts)
        shown = [verdict for verdict in verdicts if verdict.truth is truth]
        return Verdict(
            truth,
            _join([verdict.expected for verdict in shown], ", "),
            _join([verdict.actual for verdict in shown], ", "),
            _join([verdict.reason for verdict in shown], "; "),
        )

    def expected(self, context: Context | None, named: bool = False) -> str:
        return _join([part.expected(context, named or self._named()) for part in self._parts], ", ")

    def opposite(self, context: Context | None, named: bool = False) -> str:
        return f"not ({self.expected(context, named=True)})"

    def run(self, context: Context) -> tuple[Truth, list[Verdict]]:
        """Parts are reported one by one, so that a table part keeps its rows apart."""
        found: list[tuple[Truth, list[Verdict]]] = []
        for part in self._parts:
            if part.is_single and self._named():
                verdict = part.explain(context, named=True)
                found.append((verdict.truth, [verdict]))
            else:
                found.append(part.run(context))
        truth = conjunction([one for one, _ in found])
        wanted = (truth,) if truth in (TRUE, NOT_APPLICABLE) else (FALSE, UNKNOWN)
        return truth, [verdict for one, verdicts in found if one in wanted for verdict in verdicts]


class Any_:
    """At least one part holds."""

    __slots__ = ("_parts",)
    is_single = False

    def __init__(self, parts: list[Expression]) -> None:
        self._parts = parts

    def test(self, context: Context) -> Truth:
        return disjunction(part.test(context) for part in self._parts)

    def explain(self, context: Context, named: bool = False) -> Verdict:
        named = named or len(self._parts) > 1
        verdicts = [part.explain(context, named) for part in self._parts]
        truth = disjunction(verdict.truth for verdict in verdicts)
        shown = verdicts
        if truth is TRUE:
            shown = [verdict for verdict in verdicts if verdict.truth is TRUE]
        return Verdict(
            truth,
            _join([verdict.expected for verdict in shown], " or "),
            _join([verdict.actual for verdict in shown], ", "),
            _join([verdict.reason for verdict in shown if verdict.truth is truth], "; "),
        )

    def expected(self, context: Context | None, named: bool = False) -> str:
        named = named or len(self._parts) > 1
        return _join([part.expected(context, named) for part in self._parts], " or ")

    def opposite(self, context: Context | None, named: bool = False) -> str:
        return f"not ({self.expected(context, named=True)})"

    def run(self, context: Context) -> tuple[Truth, list[Verdict]]:
        verdict = self.explain(context)
        return verdict.truth, [verdict]


class Not:
    """The part does not hold."""

    __slots__ = ("_part",)
    is_single = False

    def __init__(self, part: Expression) -> None:
        self._part = part

    def test(self, context: Context) -> Truth:
        return negation(self._part.test(context))

    def explain(self, context: Context, named: bool = False) -> Verdict:
        verdict = self._part.explain(context, named)
        return verdict._replace(truth=negation(verdict.truth), expected=self.expected(context, named))

    def expected(self, context: Context | None, named: bool = False) -> str:
        return self._part.opposite(context, named)

    def opposite(self, context: Context | None, named: bool = False) -> str:
        return self._part.expected(context, named)

    def run(self, context: Context) -> tuple[Truth, list[Verdict]]:
        verdict = self.explain(context)
        return verdict.truth, [verdict]


class Label:
    """`GPU {index} link {link}` with the fields of a row put in."""

    __slots__ = ("_pieces", "fields")

    def __init__(self, text: str) -> None:
        head, *rest = text.split("{")
        # Text and field by turns: text, field, text, field, …, text.
        self._pieces: list[str] = [head]
        for piece in rest:
            field, _, tail = piece.partition("}")
            self._pieces += [field, tail]
        self.fields = tuple(self._pieces[1::2])

    def of(self, row: Mapping[str, Any], number: int) -> str:
        """The label of a row; `row 3` where the label has no fields."""
        if not self.fields:
            return f"{self._pieces[0]} {number}".strip()
        shown = list(self._pieces)
        for at in range(1, len(shown), 2):
            value = row.get(shown[at])
            shown[at] = "?" if value is None else show(value)
        return "".join(shown)


class EachSpec(msgspec.Struct, frozen=True, kw_only=True):
    """The parts of an `each`, compiled."""

    rows: Operand
    that: Expression
    where: Expression | None
    label: Label
    allow_empty: bool
    at_least: Operand | None
    if_absent: Truth


class _Tally:
    """Rows counted while they are judged."""

    __slots__ = ("held", "misses", "not_applicable", "total", "unknown")

    def __init__(self, total: int) -> None:
        self.total = total
        self.held = 0
        self.not_applicable = 0
        self.unknown = 0
        self.misses: list[Verdict] = []


class Each:
    """An expectation on every row. Over nothing it is unknown, unless the check allows that."""

    __slots__ = ("_spec",)
    is_single = False

    def __init__(self, spec: EachSpec) -> None:
        self._spec = spec

    def test(self, context: Context) -> Truth:
        return self.run(context)[0]

    def explain(self, context: Context, named: bool = False) -> Verdict:
        truth, verdicts = self.run(context)
        if len(verdicts) == 1 and not verdicts[0].subject:
            return verdicts[0]
        shown = [verdict for verdict in verdicts if verdict.truth is truth]
        actual = _join([f"{verdict.subject} {verdict.actual}".strip() for verdict in shown], ", ")
        reason = _join([verdict.reason for verdict in shown], "; ")
        return Verdict(truth, self.expected(context, named), actual, reason)

    def expected(self, context: Context | None, named: bool = False) -> str:
        spec = self._spec
        text = spec.that.expected(context, named)
        if spec.at_least is not None:
            return f"at least {spec.at_least.describe(context)} with {spec.that.expected(context, named=True)}"
        return f"each of {spec.rows.name}: {text}" if named else text

    def opposite(self, context: Context | None, named: bool = False) -> str:
        return f"not ({self.expected(context, named=True)})"

    def run(self, context: Context) -> tuple[Truth, list[Verdict]]:
        spec = self._spec
        rows = spec.rows.get(context)
        if rows.__class__ is Gone:
            truth = spec.if_absent if rows.absent else UNKNOWN
            return self._one(context, truth, "absent" if rows.absent else "", rows.reason)
        if not isinstance(rows, (list, tuple)):
            return self._one(context, UNKNOWN, "", f"{spec.rows.name}: {show(rows)} is not a table")
        outer = context.row
        try:
            tally = self._judge_rows(context, rows)
        finally:
            context.row = outer
        if spec.at_least is not None:
            return self._count(context, tally, spec.at_least)
        return self._all(context, tally)

    def _judge_rows(self, context: Context, rows: list[Any] | tuple[Any, ...]) -> _Tally:
        spec = self._spec
        that, where = spec.that, spec.where
        count_only = spec.at_least is not None
        tally = _Tally(len(rows))
        for number, row in enumerate(rows):
            context.row = row = row if isinstance(row, dict) else {"value": row}
            if where is not None:
                meant = where.test(context)
                if meant is not TRUE:
                    if meant is not UNKNOWN:
                        tally.total -= 1
                        continue
                    tally.unknown += 1
                    if not count_only:
                        subject = spec.label.of(row, number)
                        expected = that.expected(context)
                        tally.misses.append(Verdict(UNKNOWN, expected, "", where.explain(context).reason, subject))
                    continue
            truth = that.test(context)
            if truth is TRUE:
                tally.held += 1
            elif truth is NOT_APPLICABLE:
                tally.not_applicable += 1
            else:
                tally.unknown += truth is UNKNOWN
                if not count_only:
                    tally.misses.append(that.explain(context)._replace(subject=spec.label.of(row, number)))
        return tally

    def _all(self, context: Context, tally: _Tally) -> tuple[Truth, list[Verdict]]:
        if tally.misses:
            truth = FALSE if len(tally.misses) > tally.unknown else UNKNOWN
            return truth, tally.misses
        if tally.held:
            rest = f" ({tally.not_applicable} not judged)" if tally.not_applicable else ""
            return self._one(context, TRUE, f"{tally.held} of {tally.held}{rest}", "")
        name = self._spec.rows.name
        if tally.not_applicable:
            return self._one(context, NOT_APPLICABLE, "", f"it applies to none of the {tally.total} in {name}")
        if self._spec.allow_empty:
            return self._one(context, TRUE, "none", "")
        return self._one(context, UNKNOWN, "", f"{name} has nothing that could be judged")

    def _count(self, context: Context, tally: _Tally, at_least: Operand) -> tuple[Truth, list[Verdict]]:
        wanted = at_least.get(context)
        if wanted.__class__ is Gone:
            return self._one(context, wanted.truth, "", wanted.reason)
        try:
            needed = read_int(wanted)
        except UnreadableError as problem:
            return self._one(context, UNKNOWN, "", f"{at_least.name}: {problem}")
        reason = f"{tally.unknown} of {tally.total} could not be told" if tally.unknown else ""
        if needed <= 0 and tally.total == 0 and not self._spec.allow_empty:
            truth, reason = UNKNOWN, f"{self._spec.rows.name} has nothing that could be judged"
        elif tally.held >= needed:
            truth = TRUE
        elif tally.held + tally.unknown >= needed:
            truth = UNKNOWN
        else:
            truth = FALSE
        return self._one(context, truth, f"{tally.held} of {tally.total}", reason)

    def _one(self, context: Context, truth: Truth, actual: str, reason: str) -> tuple[Truth, list[Verdict]]:
        return truth, [Verdict(truth, self.expected(context), actual, reason)]


class PythonRule:
    """What operators cannot say: a function of nodectl.engine.rules, called by the engine.

    Attributes:
        target: `nodectl.engine.rules.xid:events`.
        arguments: name -> literal or parameter.
    """

    __slots__ = ("arguments", "target")

    def __init__(self, target: str, arguments: dict[str, Operand]) -> None:
        self.target = target
        self.arguments = arguments
