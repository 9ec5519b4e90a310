"""Every fact that is compared between nodes, by the rule that speaks for it: `compared_facts.txt`.

A new fact shows up here. Does it differ between healthy nodes of one kind by nature (a name, a serial number, a
temperature, a counter)? Then give its FactSpec `varies=True`. Otherwise write the list anew:

    python tests/engine/test_across_compares.py
"""

from __future__ import annotations

import re
from pathlib import Path

from across_kit import shipped

from nodectl.catalogue import Selection
from nodectl.engine.across.rules import FleetRules
from nodectl.facts import registry

LIST = Path(__file__).with_name("compared_facts.txt")
# Words of names that differ from node to node.
_BY_NATURE = re.compile(
    r"uuid|serial|guid|gids?\b|\bmac|address|hostname|nids?\b|uptime|temperature|used|offset|_free|path"
)


def compared() -> list[str]:
    """`rule: subject`, sorted; a family with KEY for its key, or each of its keys where they are fixed."""
    fleet = tuple(shipped().fleet.values())
    rules = FleetRules([Selection(profile="all", checks=(), facts=(), tables={}, fleet=fleet)], (), shipped())
    lines = []
    for spec in registry.registry().values():
        base = spec.name.partition("[")[0]
        names = [f"{base}[{key}]" for key in spec.keys or ("KEY",)] if spec.family else [spec.name]
        for name in names:
            lines += [f"{rule}: {subject}" for rule, subject in rules.alike.told_by(name)]
    return sorted(lines)


def test_the_compared_facts_are_those_that_were_thought_about() -> None:
    known, found = LIST.read_text().splitlines(), compared()
    new, gone = sorted(set(found) - set(known)), sorted(set(known) - set(found))
    assert (new, gone) == ([], []), f"{__doc__}"


def test_no_identifier_is_compared() -> None:
    names = [line.partition(": ")[2] for line in compared()]
    assert [name for name in names if _BY_NATURE.search(name)] == []


def test_what_varies_by_nature_is_compared_only_where_a_rule_names_a_part_of_it() -> None:
    rest = [line.partition(": ")[2] for line in compared() if line.startswith("fleet.other: ")]
    assert [name for name in rest if registry.resolve(name.replace("KEY", "x")).varies] == []


if __name__ == "__main__":
    LIST.write_text("".join(f"{line}\n" for line in compared()))
