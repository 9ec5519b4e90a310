"""One check document: its keys, its house rules, and its expectation compiled."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from nodectl.catalogue.combine import PythonRule
from nodectl.catalogue.compile import compile_expect, compile_expression, compile_rule
from nodectl.catalogue.fix_steps import STEPS, problem_with
from nodectl.catalogue.model import Check, Fix, Param
from nodectl.catalogue.operators import Expression
from nodectl.catalogue.problems import (
    Place,
    check_keys,
    require_list,
    require_mapping,
    require_names,
    require_text,
)
from nodectl.catalogue.scope import KnownFacts, Scope
from nodectl.catalogue.tables import CONFIDENCES, Table, read_document
from nodectl.catalogue.value_types import TYPES, UnreadableError
from nodectl.model import Document, Severity
from nodectl.strict_yaml import Doc, quoted, text_of

KEYS = (
    "id",
    "title",
    "severity",
    "area",
    "facts",
    "applies_when",
    "params",
    "expect",
    "why",
    "sources",
    "evidence",
    "fix",
    "aliases",
    "confidence",
)
PHASES = ("guard", "drain", "packages", "modules", "files", "sysctl", "services", "firmware", "reboot")
RISKS = ("none", "low", "medium", "high")
REBOOTS = ("never", "maybe", "required")
RESERVED_AREAS = ("waiver",)

_MAX_TITLE = 100
_MAX_WHY = 500
_ID = re.compile(r"[a-z][a-z0-9_]*\.[a-z0-9][a-z0-9_]*\Z")
_NAME = re.compile(r"[a-z][a-z0-9_]*\Z")
_NO_STATE = re.compile(r"(check|ensure|verify|make sure|confirm|test)\b", re.IGNORECASE)

RuleProblem = Callable[[str], str]
"""Why a Python rule cannot be named (no such module or function), or an empty string."""


class Surroundings(msgspec.Struct, frozen=True, kw_only=True):
    """What a check is read against."""

    tables: dict[str, Table]
    broken_tables: frozenset[str]
    known_facts: KnownFacts | None
    rule_problem: RuleProblem | None


def read_check(doc: Doc, area: str, around: Surroundings, problems: list[str]) -> Check | None:
    """One check; None when anything in it is wrong. What is wrong goes to `problems`."""
    body = doc.value
    known_id = body.get("id") if isinstance(body, dict) else None
    place = Place(doc, known_id if isinstance(known_id, str) else "", problems)
    if not require_mapping(place, body):
        return None
    before = place.count
    check_keys(place, body, KEYS)
    check_id = _read_id(place, body, area)
    severity = _read_severity(place.at("severity"), body.get("severity"))
    confidence = body.get("confidence", "verified")
    if confidence not in CONFIDENCES:
        place.at("confidence").say_unknown("confidence", confidence, CONFIDENCES)
    elif confidence == "notes-only" and severity is not Severity.INFO:
        place.at("severity").say("a check that rests on notes only must be of severity info")
    facts = tuple(require_names(place.at("facts"), body.get("facts")))
    params = read_params(place.at("params"), body.get("params", {}))
    scope = Scope(facts, params, around.tables, around.known_facts, around.broken_tables)
    applies_when = None
    if "applies_when" in body:
        applies_when = compile_expression(place.at("applies_when"), body["applies_when"], scope)
        _say_lost_conditions(place.at("applies_when"), body["applies_when"])
    expect = _read_expect(place.at("expect"), body.get("expect"), scope, around.rule_problem)
    fix = _read_fix(place.at("fix"), body["fix"], scope) if "fix" in body else None
    sources = _read_sources(place.at("sources"), body.get("sources"), scope, confidence == "notes-only")
    title = _read_title(place.at("title"), body.get("title"))
    why = _read_why(place.at("why"), body.get("why"))
    if place.count == before:
        _check_unused(place, scope, isinstance(expect, PythonRule))
    if place.count > before or expect is None:
        return None
    return Check(
        id=check_id,
        title=title,
        area=area,
        severity=severity,
        facts=facts,
        params=params,
        values={name: param.read(param.default) for name, param in params.items()},
        applies_when=applies_when,
        condition=_condition_key(body.get("applies_when")),
        expect=expect,
        why=" ".join(why.split()),
        sources=sources,
        tables=tuple(scope.used_tables),
        evidence=tuple(require_names(place.at("evidence"), body.get("evidence", []))),
        fix=fix,
        aliases=_read_aliases(place, body),
        confidence=confidence,
        origin=doc.where(),
        raw=body,
    )


def _say_lost_conditions(place: Place, raw: Any, *, inside: bool = False) -> None:
    """In `all` and `any`, a part that is not applicable is left out, and so is its `not`: a condition that should keep
    the check away would let it through."""
    if not isinstance(raw, dict):
        return
    if inside and raw.get("if_absent") == "not_applicable":
        place.at("if_absent").say("not_applicable would leave this condition out: for false say fail")
    if "not" in raw:
        _say_lost_conditions(place.at("not"), raw["not"], inside=inside)
    for key in ("all", "any"):
        parts = raw.get(key)
        for number, part in enumerate(parts if isinstance(parts, list) else []):
            _say_lost_conditions(place.at(key, number), part, inside=True)


def _condition_key(raw: Any) -> str:
    """The condition as text; empty for none, and for one with parameters, which are each check's own."""
    text = repr(raw) if raw is not None else ""
    return "" if "'param'" in text else text


def _read_id(place: Place, body: dict[str, Any], area: str) -> str:
    check_id = require_text(place.at("id"), body.get("id"))
    if not check_id:
        return ""
    if not _ID.match(check_id):
        place.at("id").say(f"area.snake_name in small letters is wanted, not {quoted(check_id)}")
    elif check_id.partition(".")[0] != area:
        place.at("id").say(f"the file is of area {quoted(area)}, so the id must begin with {quoted(area + '.')}")
    if body.get("area", area) != area:
        place.at("area").say(f"the file is of area {quoted(area)}: leave `area` out, or write that")
    return check_id


def _read_severity(place: Place, value: Any) -> Severity:
    try:
        return Severity(value)
    except ValueError:
        place.say_unknown("severity", value, [severity.value for severity in Severity])
        return Severity.INFO


def _read_title(place: Place, value: Any) -> str:
    title = require_text(place, value)
    if len(title) > _MAX_TITLE:
        place.say(f"{len(title)} characters; at most {_MAX_TITLE}")
    if title.endswith("."):
        place.say("a title has no full stop at its end")
    if _NO_STATE.match(title):
        place.say(f"a title says the state that is wanted, without {quoted(title.split()[0])}")
    return title


def _read_why(place: Place, value: Any) -> str:
    why = require_text(place, value)
    if len(why) > _MAX_WHY:
        place.say(f"{len(why)} characters; at most {_MAX_WHY}: say it shorter")
    return why


def _read_aliases(place: Place, body: dict[str, Any]) -> tuple[str, ...]:
    aliases = require_names(place.at("aliases"), body.get("aliases", []))
    for number, alias in enumerate(aliases):
        if not _ID.match(alias):
            place.at("aliases", number).say(f"a former id (area.snake_name) is wanted, not {quoted(alias)}")
    return tuple(aliases)


def read_params(place: Place, raw: Any) -> dict[str, Param]:
    """The `params` of a check; wrong ones are said and left out."""
    params: dict[str, Param] = {}
    if not require_mapping(place, raw):
        return params
    for name, body in raw.items():
        at = place.at(name)
        if not _NAME.match(name):
            at.say(f"a name in small letters is wanted, not {quoted(name)}")
        if not require_mapping(at, body):
            continue
        check_keys(at, body, ("type", "default", "min", "max", "choices", "about"))
        kind = body.get("type")
        if not isinstance(kind, str) or kind not in TYPES:
            at.at("type").say_unknown("type", kind, TYPES)
            continue
        if body.get("default") is None:
            at.say("`default` is missing: what holds where no profile says otherwise")
            continue
        choices = body.get("choices", [])
        if not require_list(at.at("choices"), choices):
            continue
        param = Param(
            name=name,
            type=kind,
            default=body["default"],
            minimum=body.get("min"),
            maximum=body.get("max"),
            choices=tuple(choices),
            about=str(body.get("about", "")),
        )
        if (param.minimum is not None or param.maximum is not None) and TYPES[kind].less is None:
            at.say(f"min and max have no meaning for type {kind}")
        try:
            param.read(param.default)
        except UnreadableError as problem:
            at.at("default").say(str(problem))
            continue
        params[name] = param
    return params


def _read_expect(
    place: Place, raw: Any, scope: Scope, rule_problem: RuleProblem | None
) -> Expression | PythonRule | None:
    if raw is None:
        place.say("`expect` is missing")
        return None
    if not isinstance(raw, dict) or "python" not in raw:
        return compile_expect(place, raw, scope)
    rule = compile_rule(place, raw, scope)
    if rule is not None and rule_problem is not None:
        problem = rule_problem(rule.target)
        if problem:
            place.at("python").say(problem)
    return rule


def _read_fix(place: Place, raw: Any, scope: Scope) -> Fix | None:
    if not require_mapping(place, raw):
        return None
    if "manual" in raw:
        check_keys(place, raw, ("manual",))
        return Fix(manual=" ".join(require_text(place.at("manual"), raw["manual"]).split()))
    check_keys(place, raw, ("step", "params", "phase", "risk", "disrupts", "reboot"))
    step = require_text(place.at("step"), raw.get("step"))
    params = raw.get("params", {})
    if require_mapping(place.at("params"), params):
        for name, value in params.items():
            at = place.at("params", name)
            if isinstance(value, dict) and set(value) == {"param"}:
                if value["param"] not in scope.params:
                    at.at("param").say_unknown("parameter", value["param"], scope.params)
                scope.used_params.add(str(value["param"]))
            elif isinstance(value, dict) and not all(text_of(item) is not None for item in value.values()):
                at.say("a literal, a list, {param: …}, or one value per OS family is wanted")
        if step and step not in STEPS:
            place.at("step").say_unknown("step", step, STEPS)
        elif step:
            name, problem = problem_with(step, params)
            if problem:
                place.at("params", *([name] if name else [])).say(problem)
    for key, known in (("phase", PHASES), ("risk", RISKS), ("reboot", REBOOTS)):
        if raw.get(key) not in known:
            place.at(key).say_unknown(key, raw.get(key), known)
    return Fix(
        step=step,
        params=params if isinstance(params, dict) else {},
        phase=str(raw.get("phase")),
        risk=str(raw.get("risk")),
        disrupts=tuple(require_names(place.at("disrupts"), raw.get("disrupts", []))),
        reboot=str(raw.get("reboot")),
    )


def _read_sources(place: Place, raw: Any, scope: Scope, may_lack_url: bool) -> tuple[Document, ...]:
    """The documents; `{table: NAME}` stands for all documents of that table."""
    found: dict[Document, None] = {}
    if not require_list(place, raw):
        return ()
    if not raw:
        place.say("at least one source is needed: the document that says so")
    for number, item in enumerate(raw):
        at = place.at(number)
        if isinstance(item, dict) and "table" in item:
            check_keys(at, item, ("table",))
            name = item["table"]
            table = scope.tables.get(name) if isinstance(name, str) else None
            if table is not None:
                scope.used_tables[table.name] = None
                found.update(dict.fromkeys(table.sources.values()))
            elif name not in scope.broken_tables:
                at.at("table").say_unknown("table", name, scope.tables)
            continue
        document = read_document(at, item, may_lack_url=may_lack_url)
        if document is not None:
            found[document] = None
    return tuple(found)


def _check_unused(place: Place, scope: Scope, is_rule: bool) -> None:
    """Say what is listed and not used; which facts a Python rule uses cannot be seen from here."""
    if not is_rule:
        _say_unused(place.at("facts"), "fact", scope.facts, scope.used_facts)
    _say_unused(place.at("params"), "parameter", scope.params, scope.used_params)


def _say_unused(place: Place, what: str, listed: Iterable[str], used: set[str]) -> None:
    for number, name in enumerate(listed):
        if name not in used:
            place.at(number if what == "fact" else name).say(f"the {what} {quoted(name)} is not used: take it out")
