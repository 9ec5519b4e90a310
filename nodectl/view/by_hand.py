"""How a person reads the same facts on the node, with the usual tools."""

from __future__ import annotations

from collections.abc import Iterable

from nodectl.facts import registry
from nodectl.probe.compose import load_sources

_MANY_KEYS = 4


def commands_for(fact_names: Iterable[str]) -> list[str]:
    """One command line for each probe source that these facts come from; those of a family name its keys."""
    keys: dict[str, list[str]] = {}
    for name in sorted(registry.with_needs(list(fact_names))):
        spec = registry.resolve(name)
        for source in registry.sources_for([name]):
            key = registry.split_name(name)[1]
            found = keys.setdefault(source, [])
            if spec.keys_as_args and key is not None:
                found.append(key)
    sources = load_sources()
    lines = []
    for source, asked in keys.items():
        command = sources[source].by_hand
        if "{key}" in command:
            shown = asked[:_MANY_KEYS] or ["NAME"]
            command = command.replace("{key}", " ".join(shown) + (" ..." if len(asked) > _MANY_KEYS else ""))
        if command:
            lines.append(command)
    return lines
