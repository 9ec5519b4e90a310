"""What each node is asked: the checks of its profile, the facts they read, the sources that tell those."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Protocol

from nodectl.catalogue import Catalogue, Selection
from nodectl.engine import declared
from nodectl.facts.registry import sources_for
from nodectl.facts.workload import venvs
from nodectl.inventory import InventoryError
from nodectl.model import Node

DEFAULT_PROFILE = "default"


class Asks(Protocol):
    """What probing needs to know of a plan."""

    def sources_of(self, node: Node) -> dict[str, list[str]]:
        """The sources to run on this node, each with the keys that it is asked for."""


class FactsPlan:
    """The same facts from every node, and no checks."""

    def __init__(self, names: Sequence[str]) -> None:
        self._names = tuple(names)
        self._sources = sources_for(names)
        self._with_expected: dict[tuple[str, ...], dict[str, list[str]]] = {}

    def sources_of(self, node: Node) -> dict[str, list[str]]:
        expected = tuple(venvs.asked_of(node.expect)) if venvs.SOURCE in self._sources else ()
        if not expected:
            return self._sources
        known = self._with_expected.get(expected)
        if known is None:
            known = sources_for([*self._names, *expected])
        return self._with_expected.setdefault(expected, known)


class Plan:
    """Selections by profile. A profile given on the command line holds for every node; else each node's own does."""

    def __init__(self, selections: Mapping[str, Selection], override: str | None = None) -> None:
        self._selections = dict(selections)
        self._override = override
        self._sources = {name: sources_for(selection.facts) for name, selection in self._selections.items()}
        # The same object for all nodes that are asked the same: scripts are composed once for each.
        self._with_expected: dict[tuple[str, tuple[str, ...]], dict[str, list[str]]] = {}

    def profile_of(self, node: Node) -> str:
        return self._override or node.profile or DEFAULT_PROFILE

    def selection_of(self, node: Node) -> Selection:
        return self._selections[self.profile_of(node)]

    def sources_of(self, node: Node) -> dict[str, list[str]]:
        """The sources to run on this node, each with the keys that it is asked for.

        Environments that the inventory expects on a node are keys, too, where a check looks at environments.
        """
        profile = self.profile_of(node)
        sources = self._sources[profile]
        names = tuple(venvs.asked_of(node.expect)) if venvs.SOURCE in sources else ()
        names += self._declared(node)
        if not names:
            return sources
        known = self._with_expected.get((profile, names))
        if known is None:
            known = sources_for([*self._selections[profile].facts, *names])
        return self._with_expected.setdefault((profile, names), known)

    def facts_of(self, node: Node) -> Collection[str]:
        """The facts to gather: those of the profile, and what the inventory declares of this node."""
        selection, more = self.selection_of(node), self._declared(node)
        return selection.facts if not more else tuple(dict.fromkeys((*selection.facts, *more)))

    def _declared(self, node: Node) -> tuple[str, ...]:
        looked_at = any(rule.across == "declared" for rule in self.selection_of(node).fleet)
        return declared.facts_of(node) if looked_at else ()

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
        InventoryError: `expect.facts` of a node names no fact.
    """
    from nodectl.catalogue import select

    nodes = list(nodes)
    wrong = dict.fromkeys(problem for node in nodes for problem in declared.problems(node))
    if wrong:
        raise InventoryError(wrong)
    names = {profile} if profile else {node.profile or DEFAULT_PROFILE for node in nodes}
    return Plan({name: select(catalogue, name, only=only, areas=areas) for name in sorted(names)}, profile)
