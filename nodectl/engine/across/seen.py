"""A node as the fleet rules see it, and the hardware class that it is compared in."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from typing import Any, NamedTuple

from nodectl.catalogue.fleet import CLASS_FACTS
from nodectl.model import Fact, FactState, FleetGroup, Node, NodeResult

ClassKey = tuple[Any, ...]
_DIGITS = re.compile(r"([0-9]{1,18})")
_NOT_TOLD = "?"


class Seen(NamedTuple):
    """One node that was reached. `place` is its number among the names of all nodes, in natural order."""

    place: int
    node: Node
    result: NodeResult
    kind: ClassKey

    def value(self, name: str) -> Any:
        """The value of a fact; None when it is absent, unreadable or was not gathered."""
        fact = self.result.facts.get(name)
        return fact.value if fact is not None and fact.state is FactState.VALUE else None

    def rows(self, name: str) -> list[dict[str, Any]]:
        """The rows of a table; none when it is absent or unreadable."""
        rows = self.value(name)
        return [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []

    @property
    def in_container(self) -> bool:
        """Whether it shares its kernel with others: then much of what names a machine is not its own."""
        return self.value("virt.container") not in (None, "none")


def natural(text: str) -> tuple[tuple[int, int, str], ...]:
    """A sort key under which gpu9 comes before gpu10."""
    pieces = (piece for piece in _DIGITS.split(text) if piece)
    return tuple((0, int(piece), "") if _DIGITS.fullmatch(piece) else (1, 0, piece) for piece in pieces)


def class_of(facts: Mapping[str, Fact]) -> ClassKey:
    """What makes it comparable with others. What could not be told is a value of its own: no guess is made."""
    return tuple(_part(facts.get(name)) for name in CLASS_FACTS)


def _part(fact: Fact | None) -> Any:
    if fact is None or fact.state is FactState.ERROR:
        return _NOT_TOLD
    if fact.state is FactState.ABSENT:
        return None
    return tuple(sorted(map(str, fact.value))) if isinstance(fact.value, list) else fact.value


class Classes:
    """The hardware classes of a run, as they come in."""

    def __init__(self) -> None:
        self.nodes: dict[ClassKey, list[int]] = {}
        self._models: dict[ClassKey, Counter[str]] = {}

    def add(self, seen: Seen) -> None:
        self.nodes.setdefault(seen.kind, []).append(seen.place)
        names = {str(row.get("name")) for row in seen.rows("gpu.devices") if row.get("name")}
        self._models.setdefault(seen.kind, Counter())[", ".join(sorted(names))] += 1

    def name(self, kind: ClassKey) -> str:
        """`NVIDIA H200 (10de:2335), PowerEdge XE9680, ubuntu 24.04`."""
        pci_ids, product, os_id, version = kind
        models = self._models[kind]
        model = min(models, key=lambda name: (not name, -models[name], name))
        ids = _NOT_TOLD if pci_ids == _NOT_TOLD else ", ".join(pci_ids or ())
        if ids == _NOT_TOLD:
            gpus = "GPUs not told"
        else:
            gpus = f"{model} ({ids})" if model and ids else model or ids or "no GPU"
        platform = "platform not told" if product == _NOT_TOLD else product
        system = "OS not told" if os_id == _NOT_TOLD else " ".join(str(one) for one in (os_id, version) if one)
        return ", ".join(str(part) for part in (gpus, platform, system) if part)

    def groups(self, names: list[str], least: int) -> tuple[FleetGroup, ...]:
        """All classes, the largest first."""
        groups = [
            FleetGroup(
                name=self.name(kind), nodes=tuple(names[index] for index in sorted(nodes)), compared=len(nodes) >= least
            )
            for kind, nodes in self.nodes.items()
        ]
        return tuple(sorted(groups, key=lambda group: (-len(group.nodes), group.name)))
