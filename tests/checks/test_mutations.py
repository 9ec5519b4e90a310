"""Are the fixtures able to fail? Each operator of each shipped check is inverted; a fixture must notice."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import pytest
from check_fixtures import Fixture, Given, all_fixtures, read

from nodectl.catalogue import Catalogue, Check
from nodectl.catalogue.checks import Surroundings, read_check
from nodectl.catalogue.operators import OPERATORS
from nodectl.facts import registry
from nodectl.model import Finding
from nodectl.strict_yaml import Doc

BY_CHECK: dict[str, list[Fixture]] = {}
for _fixture in all_fixtures():
    BY_CHECK.setdefault(_fixture.check_id, []).append(_fixture)

_INVERSE = {"all": "any", "any": "all"}


def leaves(tree: Any, path: tuple[Any, ...]) -> Iterator[tuple[Any, ...]]:
    """The paths of all leaves of an expectation, and of its all/any with more than one part."""
    if isinstance(tree, dict):
        if any(key in OPERATORS for key in tree):
            yield path
            return
        for key, part in tree.items():
            if key in _INVERSE and len(part) > 1:
                yield (*path, key)
            if key in ("all", "any", "not", "that", "where"):
                yield from leaves(part, (*path, key))
    elif isinstance(tree, list):
        for number, part in enumerate(tree):
            yield from leaves(part, (*path, number))


def inverted(raw: dict[str, Any], path: tuple[Any, ...]) -> dict[str, Any]:
    """The document with the leaf at `path` negated, or all and any exchanged."""
    body = copy.deepcopy(raw)
    *way, last = path
    holder: Any = body
    for step in way:
        holder = holder[step]
    if last in _INVERSE and isinstance(holder[last], list):
        holder[_INVERSE[last]] = holder.pop(last)
    else:
        holder[last] = {"not": holder[last]}
    return body


def compiled(body: dict[str, Any], check: Check, catalogue: Catalogue) -> Check:
    problems: list[str] = []
    around = Surroundings(
        tables=catalogue.tables, broken_tables=frozenset(), known_facts=registry.resolve, rule_problem=None
    )
    mutant = read_check(Doc(body, "mutant.yaml", 1, None), check.area, around, problems)
    assert mutant is not None, problems
    return mutant


def said(given: Given, catalogue: Catalogue) -> list[tuple[Any, ...]]:
    def key(finding: Finding) -> tuple[Any, ...]:
        return finding.subject, finding.outcome

    return [key(finding) for finding in given.evaluate(catalogue.tables)]


@pytest.mark.parametrize("check_id", sorted(BY_CHECK))
def test_inverting_an_operator_is_noticed(check_id: str, catalogue: Catalogue) -> None:
    check = catalogue.checks[check_id]
    cases = [read(fixture, check) for fixture in BY_CHECK[check_id]]
    before = [said(given, catalogue) for given in cases]
    survivors = []
    for root in ("applies_when", "expect"):
        for path in leaves(check.raw.get(root), (root,)):
            mutant = compiled(inverted(check.raw, path), check, catalogue)
            mutated = [read(fixture, mutant) for fixture in BY_CHECK[check_id]]
            if [said(given, catalogue) for given in mutated] == before:
                survivors.append(".".join(map(str, path)))
    assert not survivors, f"{check_id}: no fixture notices when these are inverted: {survivors}"
