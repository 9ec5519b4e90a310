"""What is wrong with a catalogue beyond what keeps it from being loaded.

Loading finds wrong keys, types, names of facts, missing sources (catalogue.load). Here: thresholds that nothing real
can reach, and fixtures that are missing or disagree with their check.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import msgspec

from nodectl.catalogue import Catalogue, Check
from nodectl.engine.fixtures import OUTCOMES, Fixture, FixtureError, disagreement, find_fixtures, read_fixture
from nodectl.engine.physical_limits import impossible_thresholds
from nodectl.model import Outcome
from nodectl.suggest import did_you_mean

_WORDS = {outcome: word for word, outcome in OUTCOMES.items()}


class Remark(msgspec.Struct, frozen=True):
    """One thing that is not as it should be; `serious`: it makes the check say what is not so."""

    where: str
    check: str
    text: str
    serious: bool

    def __str__(self) -> str:
        return f"{self.where}: {self.check}: {self.text}" if self.check else f"{self.where}: {self.text}"


def lint(catalogue: Catalogue, checks: Iterable[Check], fixtures: Sequence[Fixture] | None) -> Iterator[Remark]:
    """Every remark on these checks.

    Args:
        catalogue: all that was loaded: tables and profiles are needed too.
        checks: those to look at.
        fixtures: all that were found; None: fixtures are not looked for.
    """
    chosen = list(checks)
    for check in chosen:
        for path, text in impossible_thresholds(check, catalogue):
            yield Remark(check.origin, check.id, f"{'.'.join(map(str, path))}: {text}", True)
    if fixtures is None:
        return
    for fixture in fixtures:
        if fixture.check_id not in catalogue.checks:
            guess = did_you_mean(fixture.check_id, catalogue.checks)
            yield Remark(str(fixture.path), "", f'there is no check "{fixture.check_id}"{guess}', True)
    for check in chosen:
        yield from _of_fixtures(catalogue, check, [one for one in fixtures if one.check_id == check.id])


def lacking_outcomes(check: Check, fixtures: Iterable[Fixture]) -> list[Outcome]:
    """The outcomes that no fixture of a check is for, of those that it can have."""
    needed = [Outcome.PASS, Outcome.FAIL, Outcome.UNKNOWN]
    if check.applies_when is not None:
        needed.append(Outcome.NOT_APPLICABLE)
    have = {fixture.outcome for fixture in fixtures}
    return [outcome for outcome in needed if outcome not in have]


def _of_fixtures(catalogue: Catalogue, check: Check, fixtures: Sequence[Fixture]) -> Iterator[Remark]:
    for fixture in fixtures:
        try:
            given = read_fixture(fixture, check)
        except FixtureError as problem:
            where, _, text = str(problem).partition(": ")
            yield Remark(where, check.id, text, True)
            continue
        wrong = disagreement(fixture, given, given.evaluate(catalogue.tables))
        if wrong:
            yield Remark(str(fixture.path), check.id, wrong, True)
    missing = lacking_outcomes(check, fixtures)
    if missing:
        files = ", ".join(f"NAME.{_WORDS[outcome]}.yaml" for outcome in missing)
        yield Remark(check.origin, check.id, f"no fixture shows it come to this: {files} in {check.id}/", False)


def fixtures_below(folders: Iterable[Path]) -> list[Fixture]:
    """The fixtures of several folders.

    Raises:
        FixtureError: a file's name says no outcome.
    """
    return [fixture for folder in folders for fixture in find_fixtures(folder)]
