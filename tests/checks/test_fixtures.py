"""Every shipped check, on its fixtures: it says what they are named for, and it never passes on what it cannot see."""

from __future__ import annotations

import pytest
from check_fixtures import Fixture, Given, all_fixtures, disagreement, read, worst

from nodectl.catalogue import Catalogue, Check
from nodectl.model import FactState, Outcome, absent, error

FIXTURES = all_fixtures()


@pytest.mark.parametrize("fixture", FIXTURES, ids=lambda fixture: fixture.name)
def test_the_check_says_what_the_fixture_is_named_for(fixture: Fixture, catalogue: Catalogue) -> None:
    assert fixture.check_id in catalogue.checks, f"{fixture.path}: no such check"
    given = read(fixture, catalogue.checks[fixture.check_id])
    findings = given.evaluate(catalogue.tables)
    assert disagreement(fixture, given, findings) == "", findings


def test_every_finding_explains_itself(catalogue: Catalogue) -> None:
    for fixture in FIXTURES:
        check = catalogue.checks[fixture.check_id]
        for finding in read(fixture, check).evaluate(catalogue.tables):
            if finding.outcome is Outcome.FAIL:
                assert finding.expected and (finding.actual or finding.reason), f"{fixture.name}: {finding}"
            elif finding.outcome is not Outcome.PASS:
                assert finding.reason, f"{fixture.name}: {finding}"


def test_every_check_has_a_fixture_for_each_outcome(catalogue: Catalogue) -> None:
    have: dict[str, set[Outcome]] = {}
    for fixture in FIXTURES:
        have.setdefault(fixture.check_id, set()).add(fixture.outcome)
    lacking = []
    for check in catalogue.checks.values():
        needed = {Outcome.PASS, Outcome.FAIL, Outcome.UNKNOWN}
        if check.applies_when is not None:
            needed.add(Outcome.NOT_APPLICABLE)
        missing = needed - have.get(check.id, set())
        if missing:
            lacking.append(f"{check.id}: {', '.join(sorted(outcome.value for outcome in missing))}")
    assert not lacking, "\n".join(lacking)


def test_a_check_that_sees_nothing_is_unknown(catalogue: Catalogue) -> None:
    for fixture in FIXTURES:
        check = catalogue.checks[fixture.check_id]
        blind = Given(check, {name: error(name, "timed out") for name in check.facts}, None)
        assert worst(blind.evaluate(catalogue.tables)) is Outcome.UNKNOWN, check.id


def test_a_check_passes_without_a_fact_only_where_that_fact_could_not_matter(catalogue: Catalogue) -> None:
    """With one fact unreadable a pass is right only if the check passes whatever that fact might have been."""
    by_check: dict[str, list[tuple[Fixture, Given]]] = {}
    for fixture in FIXTURES:
        given = read(fixture, catalogue.checks[fixture.check_id])
        by_check.setdefault(fixture.check_id, []).append((fixture, given))
    wrong = []
    for check_id, cases in by_check.items():
        for fixture, given in cases:
            for name in catalogue.checks[check_id].facts:
                blind = given.with_fact(error(name, "timed out"))
                if worst(blind.evaluate(catalogue.tables)) is not Outcome.PASS:
                    continue
                others = [case.facts[name] for _, case in cases if name in case.facts]
                for other in (*others, absent(name, "not there")):
                    if other.state is FactState.ERROR:
                        continue
                    if worst(given.with_fact(other).evaluate(catalogue.tables)) is not Outcome.PASS:
                        wrong.append(f"{fixture.name}: passes with {name} unreadable, and not with {other}")
                        break
    assert not wrong, "\n".join(wrong)


def test_checks_are_told_apart_by_their_titles(catalogue: Catalogue) -> None:
    titles: dict[str, Check] = {}
    for check in catalogue.checks.values():
        assert check.title not in titles, f"{check.id} and {titles[check.title].id} have one title"
        titles[check.title] = check
