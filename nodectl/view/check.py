"""One check of the catalogue, explained."""

from __future__ import annotations

from collections.abc import Iterator

from nodectl.catalogue import Check, FleetRule
from nodectl.view.by_hand import commands_for
from nodectl.view.lines import Line, hanging

_LABEL = 14


def check_lines(check: Check | FleetRule, *, width: int = 100) -> Iterator[Line]:
    """What it expects, when, why, who says so, how to look by hand and how to mend it."""

    def entry(label: str, text: str) -> Iterator[Line]:
        return hanging(label, text, indent=2, label_width=_LABEL, width=width)

    yield [("bold", check.id), ("dim", f"  {check.severity.value}, {check.confidence}")]
    yield from hanging("", check.title, indent=2, label_width=0, width=width)
    if check.expected != check.title:
        yield from entry("expected", check.expected)
    if check.applies:
        yield from entry("applies when", check.applies)
    yield from entry("why", check.why)
    for name, param in check.params.items():
        text = f"{name} = {check.values[name]} ({param.type}" + (f"; {param.about})" if param.about else ")")
        yield from entry("parameter", text)
    yield from entry("reads", ", ".join(check.facts))
    for number, source in enumerate(check.sources):
        retrieved = f" (read {source.retrieved})" if source.retrieved else ""
        yield from entry("source" if number == 0 else "", f"{source.title}, {source.url}{retrieved}")
    for number, line in enumerate(check.evidence or commands_for(check.facts)):
        yield from entry("by hand" if number == 0 else "", line)
    if check.fix:
        yield from entry("fix", check.fix.text)
    yield from entry("defined at", check.origin)
