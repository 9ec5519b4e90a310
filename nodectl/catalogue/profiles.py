"""Profiles: which checks a run takes, with which parameters and severities; and the selection of one run.

    profile: training
    title: Multi-node training with NCCL
    extends: default
    select: {areas: [rdma], ids: [gpu.compute_mode]}      # areas: all takes every check
    params: {gpu.compute_mode: {mode: Default}}
    severities: {persistence.mode: high}
    drop: [{id: kernel.numa_balancing, reason: "set by the scheduler's prolog"}]

A profile adds to what it extends; only `drop`, with a reason, takes away.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any, TypeVar

import msgspec

from nodectl.catalogue.fleet import FleetRule
from nodectl.catalogue.model import Catalogue, Check, Drop, Profile, Selection
from nodectl.catalogue.problems import (
    CatalogueError,
    Place,
    check_keys,
    require_list,
    require_mapping,
    require_names,
    require_text,
)
from nodectl.catalogue.value_types import UnreadableError
from nodectl.model import Severity
from nodectl.strict_yaml import Doc, quoted
from nodectl.suggest import did_you_mean

_KEYS = ("profile", "title", "extends", "select", "params", "severities", "drop")
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]*\Z")


class Known(msgspec.Struct, frozen=True):
    """The checks that profiles may name.

    Attributes:
        broken: ids of checks that could not be read: naming them is no further problem.
    """

    checks: Mapping[str, Check | FleetRule]
    aliases: Mapping[str, str]
    broken: Collection[str]

    def check_id(self, place: Place, name: Any) -> str | None:
        """The present id of a check; said when there is none."""
        if isinstance(name, str):
            if name in self.checks:
                return name
            if name in self.aliases:
                return self.aliases[name]
            if name in self.broken:
                return None
        guess = did_you_mean(name, [*self.checks, *self.aliases]) if isinstance(name, str) else ""
        place.say(f"no check {quoted(str(name))}{guess}")
        return None

    @property
    def areas(self) -> list[str]:
        return sorted({check.area for check in self.checks.values()} | {name.partition(".")[0] for name in self.broken})


class Draft(msgspec.Struct, frozen=True, kw_only=True):
    """A profile as written, before what it extends is worked in."""

    profile: Profile
    place: Place


def read_profile(doc: Doc, stem: str, known: Known, problems: list[str]) -> Draft | None:
    """One profile document; what is wrong goes to `problems`."""
    body = doc.value
    place = Place(doc, f"profile {stem}", problems)
    if not require_mapping(place, body):
        return None
    check_keys(place, body, _KEYS)
    name = require_text(place.at("profile"), body.get("profile"))
    if name and name != stem:
        place.at("profile").say(f"the file is {stem}.yaml, so the profile must be {quoted(stem)}, not {quoted(name)}")
    if not _NAME.match(stem):
        place.say("a profile's name is of small letters, digits, - and _")
    extends = body.get("extends", "")
    if not isinstance(extends, str):
        place.at("extends").say("the name of one profile is wanted")
        extends = ""
    profile = Profile(
        name=stem,
        title=require_text(place.at("title"), body.get("title")),
        extends=extends,
        ids=_read_select(place.at("select"), body.get("select", {}), known),
        params=_read_params(place.at("params"), body.get("params", {}), known),
        severities=_read_severities(place.at("severities"), body.get("severities", {}), known),
        drop=_read_drop(place.at("drop"), body.get("drop", []), known),
        origin=doc.where(),
    )
    return Draft(profile=profile, place=place)


def _read_select(place: Place, raw: Any, known: Known) -> frozenset[str]:
    ids: set[str] = set()
    if not require_mapping(place, raw):
        return frozenset()
    check_keys(place, raw, ("areas", "ids"))
    areas = raw.get("areas", [])
    if areas == "all":
        ids.update(known.checks)
    else:
        wanted = require_names(place.at("areas"), areas)
        for number, area in enumerate(wanted):
            if area not in known.areas:
                place.at("areas", number).say_unknown("area", area, known.areas)
        ids.update(check.id for check in known.checks.values() if check.area in wanted)
    for number, name in enumerate(require_names(place.at("ids"), raw.get("ids", []))):
        check_id = known.check_id(place.at("ids", number), name)
        if check_id is not None:
            ids.add(check_id)
    return frozenset(ids)


def _read_params(place: Place, raw: Any, known: Known) -> dict[str, dict[str, Any]]:
    params: dict[str, dict[str, Any]] = {}
    if not require_mapping(place, raw):
        return params
    for name, values in raw.items():
        check_id = known.check_id(place.at(name), name)
        if check_id is None or not require_mapping(place.at(name), values):
            continue
        declared = known.checks[check_id].params
        for param, value in values.items():
            at = place.at(name, param)
            if param not in declared:
                at.say_unknown(f"parameter of {check_id}", param, declared or ["(it has none)"])
                continue
            try:
                params.setdefault(check_id, {})[param] = declared[param].read(value)
            except UnreadableError as problem:
                at.say(str(problem))
    return params


def _read_severities(place: Place, raw: Any, known: Known) -> dict[str, Severity]:
    severities: dict[str, Severity] = {}
    if not require_mapping(place, raw):
        return severities
    for name, value in raw.items():
        check_id = known.check_id(place.at(name), name)
        try:
            severity = Severity(value)
        except ValueError:
            place.at(name).say_unknown("severity", value, [severity.value for severity in Severity])
            continue
        if check_id is not None:
            severities[check_id] = severity
    return severities


def _read_drop(place: Place, raw: Any, known: Known) -> tuple[Drop, ...]:
    drops: list[Drop] = []
    if not require_list(place, raw):
        return ()
    for number, item in enumerate(raw):
        at = place.at(number)
        if not require_mapping(at, item):
            continue
        check_keys(at, item, ("id", "reason"))
        check_id = known.check_id(at.at("id"), item.get("id"))
        reason = require_text(at.at("reason"), item.get("reason"))
        if check_id is not None:
            drops.append(Drop(check_id, reason))
    return tuple(drops)


def resolve_profiles(drafts: Mapping[str, Draft]) -> dict[str, Profile]:
    """Work in what each profile extends. Circles and unknown names are said at the profile."""
    resolved: dict[str, Profile] = {}
    for name in drafts:
        _resolve(name, drafts, resolved, ())
    return {name: resolved[name] for name in drafts}


def _resolve(
    name: str, drafts: Mapping[str, Draft], resolved: dict[str, Profile], chain: tuple[str, ...]
) -> Profile | None:
    if name in resolved:
        return resolved[name]
    draft = drafts[name]
    own = draft.profile
    parent: Profile | None = None
    if own.extends in (*chain, name):
        draft.place.at("extends").say(f"a circle: {' extends '.join((*chain, name, own.extends))}")
    elif own.extends in drafts:
        parent = _resolve(own.extends, drafts, resolved, (*chain, name))
    elif own.extends:
        draft.place.at("extends").say_unknown("profile", own.extends, drafts)
    if parent is not None:
        params = {check: dict(values) for check, values in parent.params.items()}
        for check, values in own.params.items():
            params.setdefault(check, {}).update(values)
        own_drops = {drop.id: drop for drop in (*parent.drop, *own.drop)}
        own = msgspec.structs.replace(
            own,
            ids=parent.ids | own.ids,
            params=params,
            severities={**parent.severities, **own.severities},
            drop=tuple(own_drops.values()),
        )
    resolved[name] = own
    return own


def select(catalogue: Catalogue, profile: str, *, only: Sequence[str] = (), areas: Sequence[str] = ()) -> Selection:
    """The checks of one run.

    Args:
        profile: the name of a profile.
        only: ids, former ids or patterns (`gpu.*`). Named so, a check is taken from the whole catalogue, also where
            the profile does not select it or drops it.
        areas: of the profile's checks, take only these areas. With `only` as well, both are taken.

    Raises:
        CatalogueError: no such profile, id or area, or nothing is selected.
    """
    chosen = catalogue.profiles.get(profile)
    if chosen is None:
        known = ", ".join(sorted(catalogue.profiles)) or "none"
        raise CatalogueError(
            [f"no profile {quoted(profile)}{did_you_mean(profile, catalogue.profiles)} known profiles: {known}"]
        )
    problems: list[str] = []
    named = _named_ids(catalogue, only, problems)
    everything: dict[str, Check | FleetRule] = {**catalogue.checks, **catalogue.fleet}
    all_areas = sorted({check.area for check in everything.values()})
    for area in areas:
        if area not in all_areas:
            guess = did_you_mean(area, all_areas)
            problems.append(f"no area {quoted(area)}{guess} known areas: {', '.join(all_areas)}")
    if problems:
        raise CatalogueError(problems)
    dropped = {drop.id for drop in chosen.drop}
    of_profile = chosen.ids - dropped if areas or not only else frozenset()

    def is_taken(check: Check | FleetRule) -> bool:
        return check.id in named or (check.id in of_profile and (not areas or check.area in areas))

    checks = tuple(_in_effect(check, chosen) for check in catalogue.checks.values() if is_taken(check))
    fleet = tuple(_in_effect(rule, chosen) for rule in catalogue.fleet.values() if is_taken(rule))
    if not checks and not fleet:
        where = f" in area {', '.join(areas)}" if areas else ""
        raise CatalogueError([f"the profile {quoted(profile)} selects no check{where}: nothing would be run"])
    facts = {fact for check in checks for fact in check.facts} | {fact for rule in fleet for fact in rule.wanted}
    return Selection(profile=profile, checks=checks, facts=tuple(sorted(facts)), tables=catalogue.tables, fleet=fleet)


def _named_ids(catalogue: Catalogue, only: Sequence[str], problems: list[str]) -> set[str]:
    named: set[str] = set()
    known = {**catalogue.checks, **catalogue.fleet}
    for word in only:
        if word in known:
            named.add(word)
        elif word in catalogue.aliases:
            named.add(catalogue.aliases[word])
        else:
            found = [name for name in known if fnmatchcase(name, word)]
            if not found:
                problems.append(f"no check {quoted(word)}{did_you_mean(word, [*known, *catalogue.aliases])}")
            named.update(found)
    return named


_AnyCheck = TypeVar("_AnyCheck", Check, FleetRule)


def _in_effect(check: _AnyCheck, profile: Profile) -> _AnyCheck:
    """The check with the severity and parameters of the profile."""
    values = profile.params.get(check.id)
    severity = profile.severities.get(check.id)
    if not values and severity is None:
        return check
    return msgspec.structs.replace(
        check, values={**check.values, **(values or {})}, severity=severity or check.severity
    )
