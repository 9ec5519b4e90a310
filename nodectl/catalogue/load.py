"""Read a catalogue from its folders: all files, all problems, in one go.

    DIR/AREA.yaml, DIR/AREA-more.yaml   checks, one YAML document each; ids begin with "AREA."
    DIR/fleet.yaml, DIR/fleet-more.yaml fleet rules: nodectl.catalogue.fleet
    DIR/tables/NAME.yaml                one table
    DIR/profiles/NAME.yaml              one profile
    DIR/catalogue.yaml                  {catalogue: nodectl, version: "2026.11.20"}   (the shipped folder has it)
    DIR/waivers.yaml                    not read here: nodectl.catalogue.waivers

A later folder adds to the earlier ones; to define again what one of them defines is an error.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from nodectl.catalogue.checks import RESERVED_AREAS, RuleProblem, Surroundings, read_check
from nodectl.catalogue.fleet import AREA as FLEET_AREA
from nodectl.catalogue.fleet import FleetRule, KnownNames, read_fleet_rule
from nodectl.catalogue.model import Catalogue, Check, Profile
from nodectl.catalogue.problems import CatalogueError, Place, check_keys, require_mapping, require_text
from nodectl.catalogue.profiles import Draft, Known, read_profile, resolve_profiles
from nodectl.catalogue.scope import KnownFacts
from nodectl.catalogue.tables import Table, read_table
from nodectl.resources import data_dir
from nodectl.strict_yaml import Doc, StrictYamlError, load_documents, quoted

_NOT_CHECKS = ("catalogue", "waivers")


def load_catalogue(
    dirs: Sequence[Path] | None = None,
    *,
    known_facts: KnownFacts | None = None,
    rule_problem: RuleProblem | None = None,
    known_families: KnownFacts | None = None,
) -> Catalogue:
    """Read and compile a catalogue.

    Args:
        dirs: the folders, in order; None for the shipped one alone.
        known_facts: gives the declaration of a fact, so that names, fields and types are checked against it. None:
            names are taken as they are, and every comparison needs its `as`.
        known_families: the same for families, by their name without a key.
        rule_problem: says why a Python rule cannot be named; None: not checked.

    Raises:
        CatalogueError: with every problem of every file.
    """
    loader = _Loader(known_facts, rule_problem, known_families)
    for folder in dirs if dirs is not None else [data_dir("checks")]:
        loader.find(folder)
    loader.read()
    if not loader.problems and not loader.checks and not loader.fleet:
        loader.problems.append("the catalogue has no checks: is this the right folder?")
    if loader.problems:
        raise CatalogueError(loader.problems)
    return loader.catalogue()


class _Loader:
    """The folders' files, then what was read of them."""

    def __init__(
        self, known_facts: KnownFacts | None, rule_problem: RuleProblem | None, known_families: KnownFacts | None
    ) -> None:
        self._known_families = known_families
        self._known_facts = known_facts
        self._rule_problem = rule_problem
        self._check_files: list[Path] = []
        self._table_files: list[Path] = []
        self._profile_files: list[Path] = []
        self._version_files: list[Path] = []
        self.problems: list[str] = []
        self.checks: dict[str, Check] = {}
        self.fleet: dict[str, FleetRule] = {}
        self._broken_checks: set[str] = set()
        self._aliases: dict[str, str] = {}
        self._tables: dict[str, Table] = {}
        self._broken_tables: set[str] = set()
        self._drafts: dict[str, Draft] = {}
        self._profiles: dict[str, Profile] = {}
        self._version = ""
        self._content: dict[str, Any] = {}

    def find(self, folder: Path) -> None:
        """Note the files of one folder."""
        if not folder.is_dir():
            self.problems.append(f"{folder}: no such folder of checks")
            return
        for path in sorted(folder.glob("*.yaml")):
            if path.stem == "catalogue":
                self._version_files.append(path)
            elif path.stem not in _NOT_CHECKS:
                self._check_files.append(path)
        self._table_files += sorted((folder / "tables").glob("*.yaml"))
        self._profile_files += sorted((folder / "profiles").glob("*.yaml"))
        for part in (folder, folder / "tables", folder / "profiles"):
            for path in sorted(part.glob("*.yml")):
                self.problems.append(f"{path}: files end in .yaml here: rename it, or it is not read")

    def read(self) -> None:
        """Read all files: tables, then checks, then profiles, as each names the ones before."""
        for path in self._version_files:
            self._read_version(path)
        for path in self._table_files:
            self._read_table(path)
        around = Surroundings(
            tables=self._tables,
            broken_tables=frozenset(self._broken_tables),
            known_facts=self._known_facts,
            rule_problem=self._rule_problem,
        )
        for path in self._check_files:
            self._read_checks(path, around)
        self._check_aliases()
        known = Known({**self.checks, **self.fleet}, self._aliases, self._broken_checks)
        for path in self._profile_files:
            self._read_profile(path, known)
        self._profiles = resolve_profiles(self._drafts)

    def catalogue(self) -> Catalogue:
        """What was read; only when there are no problems."""
        content = msgspec.json.encode(self._content, order="sorted")
        return Catalogue(
            checks=self.checks,
            tables=self._tables,
            profiles=self._profiles,
            aliases=self._aliases,
            fleet=self.fleet,
            version=self._version or max((table.version for table in self._tables.values()), default="0"),
            digest=f"sha256:{hashlib.sha256(content).hexdigest()}",
        )

    def _documents(self, path: Path) -> list[Doc] | None:
        """None when the file is not YAML (then said)."""
        try:
            return load_documents(path)
        except StrictYamlError as problem:
            self.problems += problem.problems
            return None

    def _single(self, path: Path) -> Iterator[Doc]:
        """The one document of a file; more or none is said."""
        documents = self._documents(path)
        if documents is None:
            return
        if len(documents) != 1:
            self.problems.append(f"{path}:1: one YAML document is wanted here, not {len(documents)}")
        yield from documents[:1]

    def _read_version(self, path: Path) -> None:
        for doc in self._single(path):
            place = Place(doc, "", self.problems)
            if require_mapping(place, doc.value):
                check_keys(place, doc.value, ("catalogue", "version"))
                require_text(place.at("catalogue"), doc.value.get("catalogue"))
                version = require_text(place.at("version"), doc.value.get("version"))
                self._version = self._version or version

    def _read_table(self, path: Path) -> None:
        before = len(self.problems)
        for doc in self._single(path):
            table = read_table(doc, Place(doc, f"table {path.stem}", self.problems), path.stem)
            earlier = self._tables.get(path.stem)
            if earlier is not None:
                self.problems.append(f"{doc.where()}: the table {quoted(path.stem)} is defined at {earlier.origin}")
            elif table is not None:
                self._tables[path.stem] = table
                self._content[f"table {path.stem}"] = doc.value
        if len(self.problems) > before:
            self._broken_tables.add(path.stem)

    def _read_checks(self, path: Path, around: Surroundings) -> None:
        area = path.stem.partition("-")[0]
        if area in RESERVED_AREAS:
            self.problems.append(
                f"{path}:1: the area {quoted(area)} is kept for nodectl's own findings: rename the file"
            )
            return
        for doc in self._documents(path) or ():
            check: Check | FleetRule | None
            if area == FLEET_AREA:
                check = read_fleet_rule(doc, KnownNames(self._known_facts, self._known_families), self.problems)
            else:
                check = read_check(doc, area, around, self.problems)
            if check is None:
                if isinstance(doc.value, dict) and isinstance(doc.value.get("id"), str):
                    self._broken_checks.add(doc.value["id"])
                continue
            earlier = self.checks.get(check.id) or self.fleet.get(check.id)
            if earlier is not None:
                self.problems.append(
                    f"{check.origin}: {check.id}: is defined at {earlier.origin}: choose another id "
                    "(to change a check, set its params or severity in a profile)"
                )
                continue
            if isinstance(check, FleetRule):
                self.fleet[check.id] = check
            else:
                self.checks[check.id] = check
            self._content[check.id] = check.raw

    def _check_aliases(self) -> None:
        known: dict[str, Check | FleetRule] = {**self.checks, **self.fleet}
        for check in known.values():
            for alias in check.aliases:
                other = known.get(alias) or known.get(self._aliases.get(alias, ""))
                if other is not None:
                    self.problems.append(
                        f"{check.origin}: {check.id}: aliases: {quoted(alias)} is "
                        f"{'an' if other.id == alias else 'a former'} id of {other.id} ({other.origin})"
                    )
                self._aliases.setdefault(alias, check.id)

    def _read_profile(self, path: Path, known: Known) -> None:
        for doc in self._single(path):
            draft = read_profile(doc, path.stem, known, self.problems)
            earlier = self._drafts.get(path.stem)
            if earlier is not None:
                self.problems.append(
                    f"{doc.where()}: the profile {quoted(path.stem)} is defined at {earlier.profile.origin}: "
                    "choose another name and write extends"
                )
            elif draft is not None:
                self._drafts[path.stem] = draft
                self._content[f"profile {path.stem}"] = doc.value
