"""One fact from the parts that several vendors' sources tell: `gpu.devices` of a node, whoever made its GPUs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nodectl.facts.registry import VENDOR_FIELD, FactSpec
from nodectl.model import Fact, FactState, absent, error, present


def joined(spec: FactSpec, told: Mapping[str, Fact]) -> Fact:
    """The joint fact: rows one after the other, lists united, numbers added.

    Args:
        spec: its declaration.
        told: source -> its part. A source that was not asked (a transcript older than the source) has none.

    Returns:
        An error where any part is one: what that vendor has there is not known. Absent where all are. Else the values.
    """
    parts = [(vendor, told[source]) for vendor, source in spec.parts if source in told]
    if not parts:
        return error(spec.name, f"the probe reply holds nothing of the sources {', '.join(spec.sources)}")
    errors = [fact for _, fact in parts if fact.state is FactState.ERROR]
    if errors:
        reasons = dict.fromkeys(fact.reason for fact in errors)
        return error(spec.name, "; ".join(reasons), **_origin(errors))
    values = [(vendor, fact) for vendor, fact in parts if fact.state is FactState.VALUE]
    if not values:
        facts = [fact for _, fact in parts]
        return absent(spec.name, "; ".join(dict.fromkeys(fact.reason for fact in facts)), **_origin(facts))
    origin = _origin([fact for _, fact in values])
    if spec.type == "int":
        return present(spec.name, sum(fact.value for _, fact in values), **origin)
    if spec.type == "list":
        united = dict.fromkeys(value for _, fact in values for value in fact.value)
        return present(spec.name, list(united), **origin)
    rows = [{VENDOR_FIELD: vendor, **row} for vendor, fact in values for row in fact.value]
    return present(spec.name, rows, **origin)


def _origin(facts: list[Fact]) -> dict[str, Any]:
    """Where the parts come from. One that stands alone keeps its own; of several, the slowest's time counts."""
    if len(facts) == 1:
        fact = facts[0]
        return {"source": fact.source, "command": fact.command, "rc": fact.rc, "duration_ms": fact.duration_ms}
    took = [fact.duration_ms for fact in facts if fact.duration_ms is not None]
    return {
        "source": ", ".join(dict.fromkeys(fact.source for fact in facts if fact.source)),
        "command": "; ".join(dict.fromkeys(fact.command for fact in facts if fact.command)),
        "rc": next((fact.rc for fact in facts if fact.rc), None),
        "duration_ms": max(took, default=None),
    }
