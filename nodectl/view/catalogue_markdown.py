"""The catalogue as a Markdown document: what each check asks for, why, and who says so."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from nodectl.catalogue import Check, FleetRule
from nodectl.view.by_hand import commands_for

_SPECIAL = re.compile(r"([\\*\[\]<>|])")
_CODE = re.compile(r"(`[^`]*`)")


def catalogue_lines(checks: Sequence[Check | FleetRule], *, title: str, version: str) -> Iterator[str]:
    """The lines of the document: a list of areas, a table an area, then every check in full."""
    areas: dict[str, list[Check | FleetRule]] = {}
    for check in sorted(checks, key=lambda check: (check.area, -check.severity.rank, check.id)):
        areas.setdefault(check.area, []).append(check)
    yield f"# {escaped(title)}"
    yield ""
    count = f"{len(checks)} checks in {len(areas)} areas, version {escaped(version)}"
    yield f"{count}. Made by `nodectl checks list --markdown`."
    yield ""
    for area, members in areas.items():
        yield f"- [{escaped(area)}](#{area}) ({len(members)})"
    for area, members in areas.items():
        yield from _area(area, members)


def _area(area: str, checks: Sequence[Check | FleetRule]) -> Iterator[str]:
    yield ""
    yield f"## {escaped(area)}"
    yield ""
    yield "| check | severity | what is wanted |"
    yield "| --- | --- | --- |"
    for check in checks:
        yield f"| [{escaped(check.id)}](#{_anchor(check.id)}) | {check.severity.value} | {escaped(check.title)} |"
    for check in checks:
        yield from _check(check)


def _check(check: Check | FleetRule) -> Iterator[str]:
    yield ""
    yield f"### {escaped(check.id)}"
    yield ""
    yield f"**{escaped(check.title)}** ({check.severity.value}{_confidence(check)})"
    yield ""
    if check.expected != check.title:
        yield f"- Expected: {escaped(check.expected)}"
    if check.applies:
        yield f"- Applies when: {escaped(check.applies)}"
    for name, param in check.params.items():
        about = f": {param.about}" if param.about else ""
        yield f"- Parameter `{name}` ({param.type}), {escaped(str(check.values[name]) + about)}"
    yield f"- Why: {escaped(check.why)}"
    yield from _list("By hand", [_code(line) for line in check.evidence or commands_for(check.facts)])
    if check.fix:
        yield f"- Fix: {escaped(check.fix.text)}"
    yield from _list("Source", [_link(source.title, source.url, source.retrieved) for source in check.sources])


def _list(label: str, entries: Iterable[str]) -> Iterator[str]:
    for entry in entries:
        yield f"- {label}: {entry}"


def _confidence(check: Check | FleetRule) -> str:
    return "" if check.confidence == "verified" else f", {check.confidence}"


def _anchor(heading: str) -> str:
    """As GitHub makes them: small letters, no punctuation but - and _."""
    return re.sub(r"[^a-z0-9 _-]", "", heading.lower()).replace(" ", "-")


def _code(text: str) -> str:
    fence = "``" if "`" in text else "`"
    return f"{fence}{text}{fence}"


def _link(title: str, url: str, retrieved: str) -> str:
    read = f" (read {retrieved})" if retrieved else ""
    return f"[{escaped(title)}](<{url}>){read}" if url else f"{escaped(title)}{read}"


def escaped(text: str) -> str:
    """Text that Markdown shows as it is; what stands in backquotes stays code."""
    parts = _CODE.split(" ".join(text.split()))
    return "".join(part if part.startswith("`") else _SPECIAL.sub(r"\\\1", part) for part in parts)
