"""What each node is asked: the checks of its profile, the facts they read, the sources that tell those."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

from nodectl.catalogue import Catalogue, Selection
from nodectl.facts.registry import sources_for
from nodectl.model import Node

DEFAULT_PROFILE = "default"


class Asks(Protocol):
    """What probing needs to know of a plan."""

    def sources_of(self, node: Node) -> dict[str, list[str]]:
        """The sources to run on this node, each with the keys that it is asked for."""


class FactsPlan:
    """The same facts from every node, and no checks."""

    def __init__(self, names: Sequence[str]) -> None:
        self._sources = sources_for(names)

    def sources_of(self, node: Node) -> dict[str, list[str]]:
        return self._sources


class Plan:
    """Selections by profile. A profile given on the command line holds for every node; else each node's own does."""

    def __init__(self, selections: Mapping[str, Selection], override: str | None = None) -> None:
        self._selections = dict(selections)
        self._override = override
        self._sources = {name: sources_for(selection.facts) for name, selection in self._selections.items()}

    def profile_of(self, node: Node) -> str:
        return self._override or node.profile or DEFAULT_PROFILE

    def selection_of(self, node: Node) -> Selection:
        return self._selections[self.profile_of(node)]

    def sources_of(self, node: Node) -> dict[str, list[str]]:
        """The sources to run on this node, each with the keys that it is asked for."""
        return self._sources[self.profile_of(node)]

    @property
    def selections(self) -> list[Selection]:
        return list(self._selections.values())


def make_plan(
    catalogue: Catalogue,
    nodes: Iterable[Node],
    *,
    profile: str | None = None,
    only: Sequence[str] = (),
    areas: Sequence[str] = (),
) -> Plan:
    """The plan of a run.

    Raises:
        CatalogueError: there is no such profile, check or area, or nothing is left to check.
    """
    from nodectl.catalogue import select

    names = {profile} if profile else {node.profile or DEFAULT_PROFILE for node in nodes}
    return Plan({name: select(catalogue, name, only=only, areas=areas) for name in sorted(names)}, profile)
