"""From the YAML of an expectation (`expect`, `applies_when`, `where`, `that`) to compiled expressions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from nodectl.catalogue.combine import All, Any_, Each, EachSpec, Label, Not, PythonRule
from nodectl.catalogue.leaf import compile_leaf, compile_value, read_if_absent
from nodectl.catalogue.model import FactLike
from nodectl.catalogue.operands import FactOperand, Literal, Operand
from nodectl.catalogue.operators import OPERATORS, Expression
from nodectl.catalogue.problems import Place, check_keys, require_list, require_mapping
from nodectl.catalogue.scope import Scope, fields_of
from nodectl.strict_yaml import describe, quoted
from nodectl.suggest import did_you_mean

_COMBINERS = ("all", "any", "not", "each", "python")
_EACH_KEYS = ("each", "label", "where", "that", "allow_empty", "at_least", "if_absent")


def compile_expect(place: Place, raw: Any, scope: Scope) -> Expression | None:
    """Compile what a check expects; where it is all about one row, its texts need not name that row again and again."""
    scope.the_row = _only_row(raw)
    try:
        return compile_expression(place, raw, scope)
    finally:
        scope.the_row = ""


def _only_row(raw: Any) -> str:
    """The row fact whose fields are all that an expectation is about; empty where there is none such."""
    facts = set(_row_facts(raw))
    return facts.pop() if len(facts) == 1 else ""


def _row_facts(raw: Any) -> Iterator[str]:
    """For each part of an expectation the fact whose field it is about, or an empty text."""
    if not isinstance(raw, dict):
        return
    parts = raw.get("all", raw.get("any"))
    if isinstance(parts, list):
        for part in parts:
            yield from _row_facts(part)
    elif "not" in raw:
        yield from _row_facts(raw["not"])
    else:
        fact = raw.get("fact")
        yield fact if isinstance(fact, str) and "field" in raw else ""


def compile_expression(place: Place, raw: Any, scope: Scope) -> Expression | None:
    """Compile one expectation; None when something in it is wrong (then said, all of it)."""
    if not require_mapping(place, raw):
        return None
    heads = [key for key in raw if key in _COMBINERS]
    if len(heads) > 1:
        place.at(heads[1]).say(f"{heads[0]} and {heads[1]} side by side: put one inside the other")
        return None
    if not heads:
        if "fact" in raw or "field" in raw or any(key in OPERATORS for key in raw):
            return compile_leaf(place, raw, scope)
        _say_unknown_keys(place, raw)
        return None
    head = heads[0]
    if head == "python":
        place.at("python").say("a Python rule must be the whole of `expect`")
        return None
    if head == "each":
        return _compile_each(place, raw, scope)
    check_keys(place, raw, (head,))
    inside = place.at(head)
    if head == "not":
        part = compile_expression(inside, raw["not"], scope)
        return Not(part) if part is not None else None
    if not require_list(inside, raw[head]):
        return None
    if not raw[head]:
        inside.say("an empty list says nothing")
        return None
    parts = [compile_expression(inside.at(number), item, scope) for number, item in enumerate(raw[head])]
    whole = [part for part in parts if part is not None]
    if len(whole) < len(parts):
        return None
    return All(whole) if head == "all" else Any_(whole)


def _say_unknown_keys(place: Place, raw: dict[str, Any]) -> None:
    words = (*_COMBINERS, "fact", "field", *OPERATORS)
    if not raw:
        place.say("an empty mapping says nothing")
    for key in raw:
        place.at(key).say(f"unknown key {quoted(key)}" + (did_you_mean(key, words) or f": one of {', '.join(words)}"))


def _compile_each(place: Place, raw: dict[str, Any], scope: Scope) -> Expression | None:
    check_keys(place, raw, _EACH_KEYS)
    if scope.in_row:
        place.say("each inside each is not possible: write a Python rule")
        return None
    spec = scope.fact(place.at("each"), raw["each"])
    if spec is not None and spec.type not in ("rows", "list", "any"):
        place.at("each").say(f"{quoted(raw['each'])} is {spec.type}: each takes a table or a list")
        return None
    if "that" not in raw:
        place.say("`that` is missing: what each row must be")
    before = place.count
    scope.in_row, scope.row_fields = True, _row_fields(spec)
    label = _compile_label(place, raw, scope)
    where = compile_expression(place.at("where"), raw["where"], scope) if "where" in raw else None
    that = compile_expression(place.at("that"), raw["that"], scope) if "that" in raw else None
    scope.in_row, scope.row_fields = False, None
    allow_empty = raw.get("allow_empty", False)
    if not isinstance(allow_empty, bool):
        place.at("allow_empty").say(f"true or false is wanted, not {describe(allow_empty)}")
    at_least = _compile_at_least(place, raw, scope)
    if_absent = read_if_absent(place, raw)
    if that is None or place.count > before or not isinstance(raw["each"], str):
        return None
    return Each(
        EachSpec(
            rows=FactOperand(raw["each"]),
            that=that,
            where=where,
            label=label,
            allow_empty=bool(allow_empty),
            at_least=at_least,
            if_absent=if_absent,
        )
    )


class _ValueField:
    """The one column of a list fact."""

    name = "value"
    type = "any"
    unit = ""
    vendors: tuple[str, ...] = ()


def _row_fields(spec: FactLike | None) -> dict[str, Any] | None:
    if spec is not None and spec.type == "list":
        return {"value": _ValueField()}
    return fields_of(spec)


def _compile_label(place: Place, raw: dict[str, Any], scope: Scope) -> Label:
    """The label, or one made of the first column."""
    text = raw.get("label")
    if text is None:
        first = next(iter(scope.row_fields), None) if scope.row_fields else None
        if first is None:
            return Label("row")
        return Label("{value}" if first == "value" else f"{first} {{{first}}}")
    at = place.at("label")
    if not isinstance(text, str) or not text.strip() or text.count("{") != text.count("}"):
        at.say(f'a text such as "GPU {{index}}" is wanted, not {describe(text)}')
        return Label("row")
    label = Label(text)
    for field in label.fields:
        if scope.row_fields is not None and field not in scope.row_fields:
            at.say_unknown("field", field, scope.row_fields)
    return label


def _compile_at_least(place: Place, raw: dict[str, Any], scope: Scope) -> Operand | None:
    if "at_least" not in raw:
        return None
    at = place.at("at_least")
    operand, declared = compile_value(at, raw["at_least"], scope)
    if isinstance(operand, Literal):
        number = operand.value
        if not isinstance(number, int) or isinstance(number, bool) or number < 1:
            at.say(f"a whole number from 1 on is wanted, not {describe(number)}")
    elif declared.type not in ("int", ""):
        at.say(f"a whole number is wanted, and this is {declared.type}")
    return operand


def compile_rule(place: Place, raw: dict[str, Any], scope: Scope) -> PythonRule | None:
    """Compile `{python: "nodectl.engine.rules.xid:events", name: literal or {param: p}, …}`."""
    target = raw["python"]
    if not isinstance(target, str):
        place.at("python").say(f'"nodectl.engine.rules.MODULE:FUNCTION" is wanted, not {describe(target)}')
        return None
    arguments: dict[str, Operand] = {}
    for name, value in raw.items():
        if name == "python":
            continue
        at = place.at(name)
        if not name.isidentifier():
            at.say(f"{quoted(name)} is no name for an argument")
        if isinstance(value, dict) and set(value) != {"param"}:
            at.say("an argument of a Python rule is a literal or {param: …}")
            continue
        operand, _ = compile_value(at, value, scope)
        if operand is not None:
            arguments[name] = operand
    return PythonRule(target, arguments)
