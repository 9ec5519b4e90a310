"""From the YAML of one leaf of an expectation to a compiled operator, with everything that can be wrong said."""

from __future__ import annotations

from typing import Any, NamedTuple

from nodectl.catalogue import regex_guard
from nodectl.catalogue.model import FactLike, FieldLike
from nodectl.catalogue.operands import (
    ABSENT_OUTCOMES,
    FactOperand,
    FieldOperand,
    Literal,
    Lookup,
    Operand,
    ParamOperand,
)
from nodectl.catalogue.operators import (
    COMPARE,
    OPERATORS,
    ORDERED,
    Compare,
    Expression,
    Matches,
    Members,
    NotEmpty,
    Present,
    Within,
)
from nodectl.catalogue.problems import Place, check_keys, require_mapping, require_text
from nodectl.catalogue.scope import Scope, fields_of
from nodectl.catalogue.truth import FALSE, UNKNOWN, Truth
from nodectl.catalogue.value_types import TYPES, UnreadableError
from nodectl.catalogue.wording import wording_for
from nodectl.strict_yaml import describe, number_of, quoted
from nodectl.suggest import did_you_mean

_TABLE_TYPES = ("row", "rows")
_TEXT_LIKE = ("str", "version", "kernel", "vbios")
_IF_ABSENT = {"fail": FALSE, **ABSENT_OUTCOMES}
_KEY_CUTS = {"major": 1, "major.minor": 2}


class Declared(NamedTuple):
    """The declared type of an operand: a name of TYPES, `row`, `rows`, or empty where none is declared."""

    type: str = ""
    unit: str = ""


def compile_leaf(place: Place, raw: dict[str, Any], scope: Scope) -> Expression | None:
    """Compile `{fact|field: NAME, OPERATOR: VALUE, …}`; None when something is wrong (then said)."""
    used = [key for key in raw if key in OPERATORS]
    for key in raw:
        if key not in OPERATORS and key not in ("fact", "field", "as", "if_absent"):
            place.at(key).say_unknown("operator or key", key, (*OPERATORS, "fact", "field", "as", "if_absent"))
    if len(used) != 1:
        known = set(raw) - {"fact", "field", "as", "if_absent"}
        if used:
            place.at(used[1]).say(f"one operator is wanted, not {len(used)} ({', '.join(used)}): write all: […]")
        elif not known:
            place.say(f"an operator is missing: one of {', '.join(OPERATORS)}")
        return None
    subject, declared = compile_subject(place, raw, scope)
    as_type = raw.get("as")
    if as_type is not None and as_type not in TYPES:
        place.at("as").say_unknown("type", as_type, TYPES)
        return None
    if_absent = read_if_absent(place, raw)
    if subject is None:
        return None
    leaf = _LeafCompiler(place.at(used[0]), scope, subject, declared, as_type or "", if_absent)
    before = place.count
    try:
        compiled = leaf.compile(used[0], raw)
    except UnreadableError as problem:
        place.at(used[0]).say(str(problem))
        return None
    return compiled if place.count == before else None


def read_if_absent(place: Place, raw: dict[str, Any]) -> Truth:
    word = raw.get("if_absent", "unknown")
    if not isinstance(word, str) or word not in _IF_ABSENT:
        place.at("if_absent").say_unknown("outcome", word, _IF_ABSENT)
        return UNKNOWN
    return _IF_ABSENT[word]


def compile_subject(place: Place, raw: dict[str, Any], scope: Scope) -> tuple[Operand | None, Declared]:
    """The `fact:` and/or `field:` of a mapping."""
    if "fact" in raw:
        spec = scope.fact(place.at("fact"), raw["fact"])
        name = raw["fact"]
        if not isinstance(name, str) or (spec is None and scope.known_facts is not None):
            return None, Declared()  # what is wrong with it has been said
        if "field" not in raw:
            return FactOperand(name), _declared(spec)
        field = require_text(place.at("field"), raw["field"])
        if spec is not None and spec.type not in ("row", "any"):
            place.at("field").say(f"{quoted(name)} is a {spec.type}, which has no fields" + _hint_each(spec))
            return None, Declared()
        return FactOperand(name, field, is_the_row=name == scope.the_row), _field_type(
            place.at("field"), field, fields_of(spec)
        )
    if "field" in raw:
        field = require_text(place.at("field"), raw["field"])
        if not scope.in_row:
            place.at("field").say("`field` has a meaning only inside `each`: here it wants a `fact` beside it")
            return None, Declared()
        column = (scope.row_fields or {}).get(field.partition(".")[0])
        vendors = column.vendors if column is not None else ()
        return FieldOperand(field, vendors), _field_type(place.at("field"), field, scope.row_fields)
    place.say("`fact` or `field` is missing")
    return None, Declared()


def _hint_each(spec: FactLike) -> str:
    return ": use `each`" if spec.type == "rows" else ""


def _declared(spec: FactLike | FieldLike | None) -> Declared:
    if spec is None:
        return Declared()
    return Declared("" if spec.type == "any" else spec.type, spec.unit)


def _field_type(place: Place, field: str, fields: dict[str, FieldLike] | None) -> Declared:
    """The type of a column; said when there is no such column."""
    if fields is None or not field:
        return Declared()
    if field in fields:
        return _declared(fields[field])
    if field.partition(".")[0] not in fields:
        place.say_unknown("field", field, fields)
    return Declared()


class _LeafCompiler:
    """Everything about one leaf; `place` is that of its operator."""

    def __init__(
        self, place: Place, scope: Scope, subject: Operand, declared: Declared, as_type: str, if_absent: Truth
    ) -> None:
        self.place = place
        self.scope = scope
        self.subject = subject
        self.declared = declared
        self.as_type = as_type
        self.if_absent = if_absent
        self.wording = wording_for(subject.name, declared.unit)

    def compile(self, operator: str, raw: dict[str, Any]) -> Expression | None:
        """Raises UnreadableError for a literal that is not of the type."""
        value = raw[operator]
        if operator in ("present", "not_empty"):
            return self._presence(operator, value, raw)
        if self.declared.type in _TABLE_TYPES:
            self.place.say(f"{quoted(self.subject.name)} is a table of rows: use `each`, or a `field` of it")
            return None
        if operator == "matches":
            return self._matches(value)
        if operator == "within":
            return self._within(value)
        operand, other = compile_value(self.place, value, self.scope)
        if operand is None:
            return None
        kind = self._type(operator, other)
        if kind is None:
            return None
        if operator in COMPARE:
            self._check_compare(operator, operand, kind)
            return Compare(operator, self.subject, operand, TYPES[kind], self.if_absent, self.wording)
        self._check_members(operator, operand, other, kind)
        return Members(operator, self.subject, operand, TYPES[kind], self.if_absent, self.wording)

    def _type(self, operator: str, other: Declared) -> str | None:
        """The name of the type to compare as: `as`, or what is declared of the left side, or of the right."""
        kind = self.as_type or self.declared.type
        if operator == "is":
            if kind not in ("bool", ""):
                self.place.say(f"`is` compares true and false, and {self.subject.name} is {kind}: use eq, or as: bool")
                return None
            return "bool"
        if not kind and operator not in ("contains", "contains_none", "subset_of"):
            kind = other.type if other.type in TYPES and other.type != "list" else ""
        if not kind:
            self.place.say(f"the type of {self.subject.name} is not declared: add as: one of {', '.join(TYPES)}")
            return None
        allowed = _TYPES_FOR.get(operator)
        if allowed and kind not in allowed:
            self.place.say(f"{operator} does not work on type {kind}: it takes {', '.join(allowed)}")
            return None
        return kind

    def _check_compare(self, operator: str, operand: Operand, kind: str) -> None:
        if not isinstance(operand, Literal):
            return
        if operator == "is" and not isinstance(operand.value, bool):
            self.place.say(f"true or false is wanted, not {describe(operand.value)}")
        if isinstance(operand.value, list) != (kind == "list"):
            wanted = "a list" if kind == "list" else "one value (for several: one_of)"
            self.place.say(f"{wanted} is wanted, not {describe(operand.value)}")

    def _check_members(self, operator: str, operand: Operand, other: Declared, kind: str) -> None:
        if isinstance(operand, Literal):
            single = not isinstance(operand.value, list)
            if single and operator != "contains":
                self.place.say(f"{operator} takes a list, not {describe(operand.value)}")
            elif operand.value == []:
                self.place.say("an empty list says nothing")
        elif other.type and other.type != "list" and operator != "contains":
            self.place.say(f"{operator} takes a list, and {operand.name} is {other.type}")

    def _presence(self, operator: str, value: Any, raw: dict[str, Any]) -> Expression | None:
        if not isinstance(value, bool):
            self.place.say(f"true or false is wanted, not {describe(value)}")
            return None
        if "as" in raw:
            self.place.say(f"`as` has no meaning beside {operator}")
        if operator == "present":
            if "if_absent" in raw:
                self.place.say("`if_absent` has no meaning beside present")
            return Present(self.subject, value, self.wording)
        kind = self.declared.type
        if kind in ("int", "float", "bool"):
            self.place.say(f"not_empty is for lists, tables and text, and {self.subject.name} is {kind}")
        return NotEmpty(self.subject, value, self.if_absent, self.wording)

    def _matches(self, value: Any) -> Expression | None:
        if not isinstance(value, str):
            self.place.say(f"a regular expression is wanted, not {describe(value)}")
            return None
        kind = self.as_type or self.declared.type or "str"
        if kind not in _TEXT_LIKE:
            self.place.say(f"matches does not work on type {kind}: it takes text")
        problem = regex_guard.problem_with(value)
        if problem:
            self.place.say(problem)
            return None
        return Matches(self.subject, value, self.if_absent, self.wording)

    def _within(self, value: Any) -> Expression | None:
        if not require_mapping(self.place, value):
            return None
        check_keys(self.place, value, ("value", "tolerance"))
        operand, other = compile_value(self.place.at("value"), value.get("value"), self.scope)
        tolerance = _read_tolerance(self.place.at("tolerance"), value.get("tolerance"))
        kind = self._type("within", other)
        if operand is None or tolerance is None or kind is None:
            return None
        if isinstance(operand, Literal):
            TYPES[kind].read(operand.value)
        return Within(self.subject, operand, tolerance, TYPES[kind], self.if_absent, self.wording)


_TYPES_FOR: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(ORDERED, tuple(name for name, kind in TYPES.items() if kind.less is not None)),
    **dict.fromkeys(("one_of", "none_of"), tuple(name for name in TYPES if name != "list")),
    **dict.fromkeys(("contains", "contains_none"), ("list", "str")),
    "subset_of": ("list",),
    "within": ("int", "float", "bytes"),
}


def _read_tolerance(place: Place, value: Any) -> tuple[float, bool, str] | None:
    """(number, is it a share of the value, as shown) of `5`, `0.5` or `2%`."""
    is_share = isinstance(value, str) and value.endswith("%")
    number = number_of(value[:-1].strip() if is_share else value)
    if number is None or number < 0:
        place.say(f'a number that is not negative, or a share such as "2%", is wanted, not {describe(value)}')
        return None
    return (number / 100, True, f"{number:g} %") if is_share else (float(number), False, f"{number:g}")


def compile_value(place: Place, raw: Any, scope: Scope) -> tuple[Operand | None, Declared]:
    """The right side of an operator: a literal, or {param}, {fact}, {field}, {lookup}."""
    if raw is None:
        place.say("a value is missing")
        return None, Declared()
    if isinstance(raw, list):
        if any(isinstance(item, (dict, list)) or item is None for item in raw):
            place.say("a list here holds plain values only; a whole list may come from {param: …} or {fact: …}")
            return None, Declared()
        return Literal(raw), Declared()
    if not isinstance(raw, dict):
        return Literal(raw), Declared()
    if "param" in raw:
        check_keys(place, raw, ("param",))
        return _compile_param(place.at("param"), raw["param"], scope)
    if "lookup" in raw:
        return _compile_lookup(place, raw, scope)
    if "fact" in raw or "field" in raw:
        check_keys(place, raw, ("fact", "field"))
        return compile_subject(place, raw, scope)
    place.say("a value is a literal, {param: …}, {fact: …}, {field: …} or {lookup: …, key: …, column: …}")
    return None, Declared()


def _compile_param(place: Place, name: Any, scope: Scope) -> tuple[Operand | None, Declared]:
    if not isinstance(name, str) or name not in scope.params:
        if scope.params:
            place.say_unknown("parameter", name, scope.params)
        else:
            place.say(f"{describe(name)} is no parameter: the check declares none under `params`")
        return None, Declared()
    scope.used_params.add(name)
    return ParamOperand(name), Declared(scope.params[name].type)


def _compile_lookup(place: Place, raw: dict[str, Any], scope: Scope) -> tuple[Operand | None, Declared]:
    check_keys(place, raw, ("lookup", "key", "column", "if_missing", "key_as"))
    name = raw["lookup"]
    key, _ = compile_value(place.at("key"), raw.get("key"), scope)
    word = raw.get("if_missing", "unknown")
    if not isinstance(word, str) or word not in ABSENT_OUTCOMES:
        place.at("if_missing").say_unknown("outcome", word, ABSENT_OUTCOMES)
        return None, Declared()
    cut_word = raw.get("key_as")
    if cut_word is not None and cut_word not in _KEY_CUTS:
        place.at("key_as").say_unknown("cut", cut_word, _KEY_CUTS)
        return None, Declared()
    if isinstance(name, str) and name in scope.broken_tables:
        return None, Declared()  # what is wrong with the table has been said
    table = scope.tables.get(name) if isinstance(name, str) else None
    if table is None:
        place.at("lookup").say_unknown("table", name, scope.tables)
        return None, Declared()
    scope.used_tables[table.name] = None
    column = require_text(place.at("column"), raw.get("column"))
    if column and column not in table.columns:
        place.at("column").say_unknown(f"column of table {table.name}", column, table.columns)
        return None, Declared()
    if key is None or not column:
        return None, Declared()
    if isinstance(key, Literal):
        row = table.get(key.value)
        if row is None or row.get(column) is None:
            lack = "row for" if row is None else f"{column} of"
            place.at("key").say(f"table {table.name} has no {lack} {key.name}" + did_you_mean(key.name, table.index))
    lookup = Lookup(table, key, column, _KEY_CUTS.get(cut_word or "", 0), ABSENT_OUTCOMES[word])
    return lookup, Declared(table.columns[column])
