"""Waivers: failures that somebody has agreed to live with, on named nodes, until a named day.

waivers:
  - check: rdma.peermem_loaded
    nodes: ["gpu-0[1-4]", "@rack7", "login*"]     # node sets, groups of the inventory, patterns
    subject: "GPU 3"                              # optional; a pattern; without it every part of the node
    reason: Kernel held back for ticket OPS-812
    owner: jane
    expires: "2026-11-30"                         # the last day on which it holds, in UTC
    covers: [fail]                                # optional; unknown is waived only where it is named here
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import msgspec

from nodectl.catalogue.model import Catalogue
from nodectl.catalogue.problems import CatalogueError, Place, check_keys, require_list, require_mapping, require_text
from nodectl.inventory import InventoryError, nodeset
from nodectl.model import Finding, Node, Outcome
from nodectl.strict_yaml import StrictYamlError, load_documents, quoted
from nodectl.suggest import did_you_mean

_KEYS = ("check", "nodes", "subject", "reason", "owner", "expires", "covers")
_COVERS = {"fail": Outcome.FAIL, "unknown": Outcome.UNKNOWN}


class Waiver(msgspec.Struct, frozen=True, kw_only=True):
    """One waiver.

    Attributes:
        names, groups, patterns: the nodes that it is for, by name, by inventory group, by pattern.
        nodes: the same as written, for people.
        subject: a pattern for the part of the node; empty for every part.
        expires: the last day on which it holds, in UTC.
        origin: `file:line`.
    """

    check: str
    nodes: tuple[str, ...]
    names: frozenset[str]
    groups: frozenset[str]
    patterns: tuple[str, ...]
    subject: str
    reason: str
    owner: str
    expires: date
    covers: frozenset[Outcome]
    origin: str

    @property
    def label(self) -> str:
        """What Finding.waived_by says: who, until when, why."""
        return f"{self.owner}, until {self.expires.isoformat()}: {self.reason} ({self.origin})"

    def is_for(self, node: Node) -> bool:
        return (
            node.name in self.names
            or not self.groups.isdisjoint(node.groups)
            or any(fnmatchcase(node.name, pattern) for pattern in self.patterns)
        )

    def fits(self, finding: Finding) -> bool:
        """Whether it waives a finding on a node that it is for."""
        return (
            finding.check == self.check
            and finding.outcome in self.covers
            and (not self.subject or fnmatchcase(finding.subject, self.subject))
        )


def load_waivers(paths: Iterable[Path], catalogue: Catalogue) -> tuple[Waiver, ...]:
    """Read waiver files.

    Raises:
        CatalogueError: with every problem of every file; a waiver of a check that does not exist is one.
    """
    problems: list[str] = []
    waivers: list[Waiver] = []
    for path in paths:
        try:
            documents = load_documents(path)
        except StrictYamlError as problem:
            problems += problem.problems
            continue
        for doc in documents:
            place = Place(doc, "", problems)
            if not require_mapping(place, doc.value):
                continue
            check_keys(place, doc.value, ("waivers",))
            at = place.at("waivers")
            if require_list(at, doc.value.get("waivers")):
                for number, raw in enumerate(doc.value["waivers"]):
                    waiver = _read(at.at(number), raw, catalogue)
                    if waiver is not None:
                        waivers.append(waiver)
    if problems:
        raise CatalogueError(problems)
    return tuple(waivers)


def _read(place: Place, raw: Any, catalogue: Catalogue) -> Waiver | None:
    """One waiver; None when something in it is wrong (then said)."""
    if not require_mapping(place, raw):
        return None
    before = place.count
    check_keys(place, raw, _KEYS)
    check = require_text(place.at("check"), raw.get("check"))
    check = catalogue.aliases.get(check, check)
    if check and check not in catalogue.checks and check not in catalogue.fleet:
        known = [*catalogue.checks, *catalogue.fleet]
        place.at("check").say(f"no check {quoted(check)}{did_you_mean(check, known)}")
    nodes, names, groups, patterns = _read_nodes(place.at("nodes"), raw.get("nodes"))
    reason = require_text(place.at("reason"), raw.get("reason"))
    owner = require_text(place.at("owner"), raw.get("owner"))
    expires = _read_day(place.at("expires"), raw.get("expires"))
    subject = require_text(place.at("subject"), raw["subject"]) if "subject" in raw else ""
    covers: set[Outcome] = set()
    words = raw.get("covers", ["fail"])
    if require_list(place.at("covers"), words):
        for number, word in enumerate(words):
            if word in _COVERS:
                covers.add(_COVERS[word])
            else:
                place.at("covers", number).say_unknown("outcome", word, _COVERS)
    if place.count > before or expires is None:
        return None
    return Waiver(
        check=check,
        nodes=tuple(nodes),
        names=frozenset(names),
        groups=frozenset(groups),
        patterns=tuple(patterns),
        subject=subject,
        reason=" ".join(reason.split()),
        owner=owner,
        expires=expires,
        covers=frozenset(covers),
        origin=place.where,
    )


def _read_nodes(place: Place, raw: Any) -> tuple[list[str], set[str], set[str], list[str]]:
    """(as written, names, groups, patterns)."""
    nodes: list[str] = []
    names: set[str] = set()
    groups: set[str] = set()
    patterns: list[str] = []
    if not require_list(place, raw):
        return nodes, names, groups, patterns
    if not raw:
        place.say('an empty list waives nothing; for every node write ["*"]')
    for number, item in enumerate(raw):
        text = require_text(place.at(number), item)
        if not text:
            continue
        nodes.append(text)
        if text.startswith("@"):
            groups.add(text[1:])
        elif "*" in text or "?" in text:
            patterns.append(text)
        else:
            try:
                names.update(nodeset.expand(text))
            except InventoryError as problem:
                place.at(number).say(str(problem))
    return nodes, names, groups, patterns


def _read_day(place: Place, raw: Any) -> date | None:
    text = require_text(place, raw)
    try:
        day = date.fromisoformat(text)
    except ValueError:
        day = None
    if text and (day is None or day.isoformat() != text):
        place.say(f'a day such as "2026-11-30" is wanted, the last on which it holds (UTC), not {quoted(text)}')
        return None
    return day
