"""Checks x facts -> findings. Pure: no clock, no files, no network; the same input gives the same findings.

Nothing that a node sends can make it raise: what goes wrong inside a check makes that check unknown, with the text.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from nodectl.catalogue.combine import PythonRule
from nodectl.catalogue.model import Check, Selection
from nodectl.catalogue.operands import Context
from nodectl.catalogue.tables import Table
from nodectl.catalogue.truth import FALSE, NOT_APPLICABLE, TRUE, UNKNOWN, Truth, Verdict
from nodectl.engine.rules import CannotTellError, FactView, RowResult
from nodectl.model import Fact, Finding, Outcome

RULES_PACKAGE = "nodectl.engine.rules."

_OUTCOME: dict[Truth, Outcome] = {
    TRUE: Outcome.PASS,
    FALSE: Outcome.FAIL,
    UNKNOWN: Outcome.UNKNOWN,
    NOT_APPLICABLE: Outcome.NOT_APPLICABLE,
}


class Shared:
    """What the checks of one node have in common, so that it is worked out once: equal conditions, and what rules keep.

    Attributes:
        working: see FactView.once.
    """

    __slots__ = ("_conditions", "working")

    def __init__(self) -> None:
        self._conditions: dict[str, Verdict | None] = {}
        self.working: dict[str, Any] = {}

    def condition(self, key: str, look: Callable[[], Verdict | None]) -> Verdict | None:
        """What `look` says; once for all conditions of the same key (an empty one is nobody else's)."""
        if not key:
            return look()
        if key not in self._conditions:
            self._conditions[key] = look()
        return self._conditions[key]


Rule = Callable[[FactView, Mapping[str, Any], Mapping[str, Table]], list[RowResult]]


def evaluate(selection: Selection, facts: Mapping[str, Fact], node: str) -> tuple[Finding, ...]:
    """What the selected checks say of one node.

    Args:
        selection: the checks of this run.
        facts: the node's facts by name; one that is missing is as good as one that could not be read.
        node: its name, for the findings.

    Returns:
        Per check one finding for every subject that is not fine, or a single one (pass, not applicable).
    """
    findings: list[Finding] = []
    shared = Shared()
    for check in selection.checks:
        findings.extend(evaluate_check(check, facts, selection.tables, node, shared))
    return tuple(findings)


def evaluate_check(
    check: Check, facts: Mapping[str, Fact], tables: Mapping[str, Table], node: str, shared: Shared | None = None
) -> list[Finding]:
    """What one check says of one node (see evaluate). `shared`: what the checks of the same facts have in common."""
    try:
        verdicts = _verdicts(check, facts, tables, shared or Shared())
    except CannotTellError as problem:
        verdicts = [Verdict(UNKNOWN, reason=str(problem))]
    except Exception as problem:  # a bug in a rule, or a value that no type foresaw: never a pass, never a crash
        verdicts = [Verdict(UNKNOWN, reason=f"the check could not be evaluated: {type(problem).__name__}: {problem}")]
    return [
        Finding(
            node=node,
            check=check.id,
            subject=verdict.subject,
            outcome=_OUTCOME[verdict.truth],
            severity=check.severity,
            expected=verdict.expected,
            actual=verdict.actual,
            reason=verdict.reason,
            facts=check.facts,
        )
        for verdict in verdicts
    ]


def _verdicts(check: Check, facts: Mapping[str, Fact], tables: Mapping[str, Table], shared: Shared) -> list[Verdict]:
    """At least one; no two of one subject."""
    context = Context(facts, check.values)
    if check.applies_when is not None:
        clause = shared.condition(check.condition, lambda: _condition(check, context))
        if clause is not None:
            return [clause]
    if isinstance(check.expect, PythonRule):
        arguments = {name: operand.get(context) for name, operand in check.expect.arguments.items()}
        return _of_rule(
            rule_function(check.expect.target)(FactView(facts, check.facts, shared.working), arguments, tables)
        )
    truth, verdicts = check.expect.run(context)
    if truth in (TRUE, NOT_APPLICABLE):
        return [_merge(verdicts)]
    return _by_subject(verdict for verdict in verdicts if verdict.truth in (FALSE, UNKNOWN))


def _condition(check: Check, context: Context) -> Verdict | None:
    """None where the check applies; else what is said of it."""
    if check.applies_when is None or check.applies_when.test(context) is TRUE:
        return None
    return _does_not_apply(check.applies_when.explain(context, named=True))


def _does_not_apply(clause: Verdict) -> Verdict:
    """From what `applies_when` came to: not applicable, or unknown where that could not be told."""
    if clause.truth is UNKNOWN:
        return Verdict(UNKNOWN, reason=f"whether it applies could not be told: {clause.reason}")
    if clause.truth is NOT_APPLICABLE:
        return Verdict(NOT_APPLICABLE, reason=clause.reason)
    return Verdict(NOT_APPLICABLE, reason=f"applies where {clause.expected}; here {clause.actual or 'it is not so'}")


def _of_rule(results: list[RowResult]) -> list[Verdict]:
    """What a rule said, as verdicts: those that are not fine, or one for all."""
    if not results:
        return [Verdict(UNKNOWN, reason="the rule had nothing to judge")]
    by_outcome = {outcome: truth for truth, outcome in _OUTCOME.items()}
    verdicts = [Verdict(by_outcome[row.outcome], row.expected, row.actual, row.reason, row.subject) for row in results]
    misses = [verdict for verdict in verdicts if verdict.truth in (FALSE, UNKNOWN)]
    if misses:
        return _by_subject(misses)
    passes = [verdict for verdict in verdicts if verdict.truth is TRUE]
    if not passes:
        return [_merge(verdicts)]
    if len(passes) == 1:
        return [passes[0]._replace(subject="")]
    merged = _merge(passes)
    return [merged._replace(actual=f"{len(passes)} of {len(passes)}")]


def _merge(verdicts: list[Verdict]) -> Verdict:
    """One verdict for several of the same truth, about the node as a whole."""
    if len(verdicts) == 1:
        verdict = verdicts[0]
        return verdict._replace(subject="") if verdict.subject else verdict
    return Verdict(
        verdicts[0].truth,
        _texts((verdict.expected for verdict in verdicts), ", "),
        _texts((verdict.actual for verdict in verdicts), ", "),
        _texts((verdict.reason for verdict in verdicts), "; "),
    )


def _by_subject(verdicts: Iterable[Verdict]) -> list[Verdict]:
    """One verdict a subject: the worst outcome there, with the words of all that came to it."""
    subjects: dict[str, list[Verdict]] = {}
    for verdict in verdicts:
        subjects.setdefault(verdict.subject, []).append(verdict)
    merged: list[Verdict] = []
    for subject, group in subjects.items():
        truth = FALSE if any(verdict.truth is FALSE for verdict in group) else UNKNOWN
        worst = [verdict for verdict in group if verdict.truth is truth]
        merged.append(worst[0] if len(worst) == 1 else _merge(worst)._replace(subject=subject))
    return merged


def _texts(texts: Iterable[str], glue: str) -> str:
    """The texts that say something, each once."""
    return glue.join(dict.fromkeys(text for text in texts if text))


@functools.cache
def rule_function(target: str) -> Rule:
    """The function behind `nodectl.engine.rules.MODULE:FUNCTION`, imported when it is first needed.

    Raises:
        CannotTellError: there is none. The loader checks names, so this is for catalogues loaded without that.
    """
    module, _, function = target.partition(":")
    name = module.removeprefix(RULES_PACKAGE)
    if name == module or not name.isidentifier() or not function.isidentifier() or function.startswith("_"):
        raise CannotTellError(f"{target} is not a rule of {RULES_PACKAGE.rstrip('.')}")
    try:
        found = getattr(importlib.import_module(module), function, None)
    except ImportError as problem:
        raise CannotTellError(f"the rule {target} cannot be imported: {problem}") from problem
    if not callable(found):
        raise CannotTellError(f"there is no rule {target}")
    rule: Rule = found
    return rule
