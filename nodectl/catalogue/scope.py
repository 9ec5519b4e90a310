"""What the names in one check mean: its facts with their declarations, its parameters, the tables that there are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from nodectl.catalogue.model import FactLike, FieldLike, Param
from nodectl.catalogue.problems import Place, require_text
from nodectl.catalogue.tables import Table
from nodectl.strict_yaml import quoted
from nodectl.suggest import did_you_mean

KnownFacts = Callable[[str], "FactLike | None"]
"""Gives a fact's declaration, or None; a ValueError's text says more exactly what is wrong with the name."""


class Scope:
    """What names mean inside one check, and which of them were used."""

    def __init__(
        self,
        facts: tuple[str, ...],
        params: dict[str, Param],
        tables: dict[str, Table],
        known_facts: KnownFacts | None = None,
        broken_tables: frozenset[str] = frozenset(),
    ) -> None:
        self.facts = facts
        self.params = params
        self.tables = tables
        self.known_facts = known_facts
        self.broken_tables = broken_tables
        self.used_facts: set[str] = set()
        self.used_params: set[str] = set()
        self.used_tables: dict[str, None] = {}
        self.the_row = ""  # the row fact that all of an expectation is about, if there is one
        self.in_row = False
        self.row_fields: dict[str, FieldLike] | None = None

    def fact(self, place: Place, name: Any) -> FactLike | None:
        """The declaration of a fact that is used at a place; None when it is not known (then said, if it is wrong)."""
        if not require_text(place, name):
            return None
        self.used_facts.add(name)
        if name not in self.facts:
            place.say(f"{quoted(name)} is not listed under `facts`" + did_you_mean(name, self.facts))
        return declaration_of(place, name, self.known_facts)


def declaration_of(place: Place, name: str, known_facts: KnownFacts | None) -> FactLike | None:
    """A fact's declaration; None when it has none (said, where the known facts are known)."""
    if known_facts is None:
        return None
    try:
        spec = known_facts(name)
    except ValueError as problem:
        place.say(str(problem))
        return None
    if spec is None:
        place.say(f"no fact {quoted(name)}")
    return spec


def fields_of(spec: FactLike | None) -> dict[str, FieldLike] | None:
    """The columns of a table fact by name; None where they are not declared."""
    return {field.name: field for field in spec.fields} if spec is not None and spec.fields else None
