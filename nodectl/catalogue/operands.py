"""What an operator reads: facts, fields of the current row, parameters, table look-ups and literals.

Everything here gives either a raw value or a `Gone`, which says why there is none. Nothing raises for what a node sent.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from nodectl.catalogue.tables import Table
from nodectl.catalogue.truth import NOT_APPLICABLE, UNKNOWN, Truth
from nodectl.catalogue.value_types import UnreadableError, plain, read_version, show
from nodectl.model import Fact, FactState

NOT_REPORTED = "not reported by this device or driver"

_MISSING: Any = object()


class Gone:
    """No value, and why.

    Attributes:
        absent: True: looked, and it is not there. False: it could not be told.
        reason: in words.
        truth: what an expectation on it comes to if the check does not say otherwise.
        what: what it is that is gone, as a text about several things names it: a whole row, or a field of it.
    """

    __slots__ = ("absent", "reason", "truth", "what")

    def __init__(self, absent: bool, reason: str, truth: Truth = UNKNOWN, what: str = "") -> None:
        self.absent = absent
        self.reason = reason
        self.truth = truth
        self.what = what


class Context:
    """What one check is evaluated against.

    Attributes:
        facts: all facts of the node by name.
        params: the check's parameters, in effect.
        row: the current row inside `each`.
    """

    __slots__ = ("facts", "params", "row")

    def __init__(self, facts: Mapping[str, Fact], params: Mapping[str, Any]) -> None:
        self.facts = facts
        self.params = params
        self.row: Mapping[str, Any] | None = None


class Operand(Protocol):
    """Something that gives a raw value or Gone."""

    @property
    def name(self) -> str: ...

    @property
    def is_reference(self) -> bool:
        """True where a reader wants to see the name beside the value: facts, fields, look-ups."""
        ...

    def get(self, context: Context) -> Any: ...

    def describe(self, context: Context | None, value: Any = _MISSING, unit: str = "") -> str:
        """For the expected text. `value` is what `get` gave, where that is known."""
        ...


class Literal:
    """A value written in the check."""

    __slots__ = ("name", "value")
    is_reference = False

    def __init__(self, value: Any) -> None:
        self.value = value
        self.name = show(value)

    def get(self, context: Context) -> Any:
        return self.value

    def describe(self, context: Context | None, value: Any = _MISSING, unit: str = "") -> str:
        return show(self.value, unit)


class ParamOperand:
    """A parameter of the check."""

    __slots__ = ("name",)
    is_reference = False

    def __init__(self, name: str) -> None:
        self.name = name

    def get(self, context: Context) -> Any:
        return context.params[self.name]

    def describe(self, context: Context | None, value: Any = _MISSING, unit: str = "") -> str:
        return show(context.params[self.name], unit) if context is not None else f"parameter {self.name}"


class FactOperand:
    """A fact, or one field of a fact that is a single row.

    Where a whole expectation is about one row (`is_the_row`) its field alone is name enough.
    """

    __slots__ = ("_fact", "_field", "_row_name", "name")
    is_reference = True

    def __init__(self, fact: str, field: str = "", *, is_the_row: bool = False) -> None:
        self._fact = fact
        self._field = tuple(field.split(".")) if field else ()
        self._row_name = "" if is_the_row else fact
        self.name = f"{self._row_name} {field}".strip()

    def get(self, context: Context) -> Any:
        fact = context.facts.get(self._fact)
        if fact is None:
            return Gone(False, f"{self._fact} was not gathered")
        if fact.state is FactState.VALUE:
            value = fact.value
            if value is None:
                return Gone(True, f"{self._fact}: {NOT_REPORTED}", what=self._row_name)
            return value if not self._field else _field_of(value, self._field, self.name)
        why = fact.reason or ("not there" if fact.state is FactState.ABSENT else "could not be read")
        return Gone(fact.state is FactState.ABSENT, f"{self._fact}: {why}", what=self._row_name)

    def describe(self, context: Context | None, value: Any = _MISSING, unit: str = "") -> str:
        return _named(self, context, value, unit)


class FieldOperand:
    """A field of the current row. Where only some vendors' rows have it, it is not applicable to the others'."""

    __slots__ = ("_path", "_vendors", "name")
    is_reference = True

    def __init__(self, field: str, vendors: tuple[str, ...] = ()) -> None:
        self.name = field
        self._path = tuple(field.split("."))
        self._vendors = vendors

    def get(self, context: Context) -> Any:
        row = context.row
        if row is None:
            return Gone(False, f"{self.name}: there is no row here")
        # The usual case first: a plain column of a row that has no errors. Everything else takes the long way.
        if "_errors" not in row:
            value = row.get(self.name)
            if value is not None:
                return value
        if self._vendors and (vendor := row.get("vendor")) is not None and vendor not in self._vendors:
            return Gone(False, f"{self.name}: not told of GPUs of this vendor ({show(vendor)})", NOT_APPLICABLE)
        return _field_of(row, self._path, self.name)

    def describe(self, context: Context | None, value: Any = _MISSING, unit: str = "") -> str:
        return _named(self, context if context is not None and context.row is not None else None, value, unit)


def _named(operand: FactOperand | FieldOperand, context: Context | None, value: Any, unit: str) -> str:
    """`driver.version (580.159.04)`; only the name where the value is not known."""
    if value is _MISSING and context is not None:
        value = operand.get(context)
    if value is _MISSING or value.__class__ is Gone:
        return operand.name
    return f"{operand.name} ({show(value, unit)})"


def _field_of(row: Any, path: tuple[str, ...], name: str) -> Any:
    """The value at a (dotted) field of a row, or Gone."""
    value = row
    for step in path:
        if not isinstance(value, dict):
            return Gone(False, f"{name}: {show(value)} has no fields")
        errors = value.get("_errors")
        if isinstance(errors, dict) and step in errors:
            return Gone(False, f"{name}: {errors[step]}")
        value = value.get(step)
        if value is None:
            return Gone(True, f"{name}: {NOT_REPORTED}", what=name)
    return value


class Lookup:
    """A cell of a table: the row is chosen by a key that may come from a fact, the column is fixed."""

    __slots__ = ("_cut", "_if_missing", "column", "key", "name", "table")
    is_reference = True

    def __init__(self, table: Table, key: Operand, column: str, cut: int, if_missing: Truth) -> None:
        self.table = table
        self.key = key
        self.column = column
        self._cut = cut
        self._if_missing = if_missing
        self.name = f"table {table.name}"

    def get(self, context: Context) -> Any:
        key = self.key.get(context)
        if key.__class__ is Gone:
            return key
        try:
            text = cut_version(key, self._cut) if self._cut else plain(key)
        except UnreadableError as problem:
            return Gone(False, f"{self.key.name}: {problem}")
        row = self.table.get(text)
        if row is None:
            return Gone(False, f"table {self.table.name} has no row for {show(text)}", self._if_missing)
        value = row.get(self.column)
        if value is None:
            reason = f"table {self.table.name} does not tell {self.column} of {show(text)}"
            return Gone(False, reason, self._if_missing)
        return value

    def describe(self, context: Context | None, value: Any = _MISSING, unit: str = "") -> str:
        if context is None or (isinstance(self.key, FieldOperand) and context.row is None):
            return f"{self.column} of table {self.table.name}"
        if value is _MISSING:
            value = self.get(context)
        if value.__class__ is Gone:
            return f"{self.column} of table {self.table.name}"
        key = self.key.get(context)
        shown = key if self._cut == 0 else cut_version(key, self._cut)
        return f"{show(value, unit)} (table {self.table.name}: {show(shown)})"


def cut_version(value: Any, parts: int) -> str:
    """The first numbers of a version: 12.8.1 cut to 2 is 12.8.

    Raises:
        UnreadableError: it is no version, or has fewer numbers.
    """
    read_version(value)
    numbers = str(value).strip().split(".")[:parts]
    if len(numbers) < parts or not all(number.isdigit() for number in numbers):
        raise UnreadableError(f'"{show(value)}" has not {parts} numbers to look up')
    return ".".join(numbers)


ABSENT_OUTCOMES = {"unknown": UNKNOWN, "not_applicable": NOT_APPLICABLE}
