"""Fleet rules: what is looked at over all nodes of a run at once. Documents of `fleet.yaml`, beside those of checks.

    id: fleet.vbios
    title: GPUs of alike nodes have one VBIOS version
    severity: info
    facts: [gpu.devices]                       # asked of every node; left out: the facts that `compare` names
    across: alike                              # alike (default) | unique | clock | rack_power | declared
    compare: [gpu.devices.vbios_version]       # what is compared (below)
    why: ...
    sources: [...]

What `compare` may name:

    driver.version            a fact: text, number, yes or no, version, or a list (compared as a set)
    sysctl[*]                 every member of a family that the run gathered
    service[*].enabled        a field of a row
    gpu.devices.vbios_version a column of a table: the set of its distinct values
    docker.*                  every fact of the first two kinds whose name begins so, and that no rule names itself
    "*"                       every fact of the first two kinds that no other fleet rule speaks for
    host_key                  (unique only) the SSH host key

Nodes are compared with those of the same hardware class (`CLASS_FACTS`); `unique` and `clock` look at all nodes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import msgspec

from nodectl.catalogue.checks import read_params
from nodectl.catalogue.model import Fix, Param
from nodectl.catalogue.problems import Place, check_keys, require_list, require_mapping, require_names, require_text
from nodectl.catalogue.scope import KnownFacts
from nodectl.catalogue.tables import CONFIDENCES, read_document
from nodectl.model import Document, Severity
from nodectl.strict_yaml import Doc, quoted

AREA = "fleet"
CLASS_FACTS = ("gpu.pci_ids", "node.product", "os.id", "os.version_id")
"""What makes two nodes comparable: GPUs by PCI id, platform, operating system."""

ACROSS = ("alike", "unique", "clock", "rack_power", "declared")
HOST_KEY = "host_key"
EVERYTHING = "*"

_KEYS = (
    "id",
    "title",
    "severity",
    "facts",
    "across",
    "compare",
    "speaks_for",
    "params",
    "why",
    "sources",
    "evidence",
    "fix",
    "aliases",
    "confidence",
)
_PARAMS = {"alike": ("tolerance_pct", "ignore", "near"), "clock": ("max_s",)}
_ID = re.compile(r"fleet\.[a-z0-9][a-z0-9_]*\Z")
_PREFIX = re.compile(r"[a-z][a-z0-9_]*\.\*\Z")
_COMPARED = re.compile(r"(?P<base>[a-z][a-z0-9_.]*)(?P<key>\[[^\[\]]+\])?(?:\.(?P<field>[a-z][a-z0-9_]*))?\Z")


class Compared(msgspec.Struct, frozen=True):
    """One thing that is compared.

    Attributes:
        fact: a fact's name, a family with `*` for its key (`sysctl[*]`), `*` or `host_key`.
        field: of a row or a table; empty for the fact itself.
    """

    fact: str
    field: str = ""

    @property
    def family(self) -> str:
        """`sysctl` for `sysctl[*]`; empty for anything else."""
        return self.fact.removesuffix("[*]") if self.fact.endswith("[*]") else ""

    @property
    def is_pattern(self) -> bool:
        """Whether it stands for facts that it does not name."""
        return "*" in self.fact

    @property
    def prefix(self) -> str:
        """`docker.` for `docker.*`; empty for anything else."""
        return self.fact[:-1] if self.fact.endswith(".*") else ""

    @property
    def text(self) -> str:
        return f"{self.fact}.{self.field}" if self.field else self.fact


class FleetRule(msgspec.Struct, frozen=True, kw_only=True):
    """One fleet rule. What it shares with model.Check means the same there.

    Attributes:
        across: how nodes are looked at together, one of `ACROSS`.
        compare: what is compared.
        speaks_for: facts that are not compared because this rule says the same of them (`kernel.cmdline`).
        values: parameters in effect.
    """

    id: str
    title: str
    severity: Severity
    facts: tuple[str, ...]
    across: str
    compare: tuple[Compared, ...]
    speaks_for: tuple[Compared, ...]
    params: dict[str, Param]
    values: dict[str, Any]
    why: str
    sources: tuple[Document, ...]
    evidence: tuple[str, ...]
    fix: Fix | None
    aliases: tuple[str, ...]
    confidence: str
    origin: str
    raw: dict[str, Any]
    area: str = AREA

    @property
    def expected(self) -> str:
        """What it asks for, in words."""
        things = ", ".join("everything else that was gathered" if one.fact == EVERYTHING else one.text
                           for one in self.compare)  # fmt: skip
        return {
            "alike": f"the same on nodes of one hardware class: {things}",
            "unique": f"on every node a value of its own: {things}",
            "clock": f"node.time_utc within {self.values.get('max_s')} s of the median of all nodes",
            "rack_power": "sum of the GPUs' power limits of a rack (label `rack`) at most expect.rack_power_w",
            "declared": "each fact that expect.facts names as it says there",
        }[self.across]

    @property
    def applies(self) -> str:
        """Where it applies; empty for everywhere."""
        return "4 nodes of the class or more could be compared" if self.across == "alike" else ""

    @property
    def wanted(self) -> tuple[str, ...]:
        """The facts that a run must gather for it."""
        return tuple(dict.fromkeys((*self.facts, *CLASS_FACTS)))


class KnownNames(msgspec.Struct, frozen=True):
    """The declarations of facts, and of families by their name without a key; None: names are taken as they are."""

    facts: KnownFacts | None = None
    families: KnownFacts | None = None


def read_fleet_rule(doc: Doc, known: KnownNames, problems: list[str]) -> FleetRule | None:
    """One document; None when anything in it is wrong. What is wrong goes to `problems`."""
    body = doc.value
    known_id = body.get("id") if isinstance(body, dict) else None
    place = Place(doc, known_id if isinstance(known_id, str) else "", problems)
    if not require_mapping(place, body):
        return None
    before = place.count
    check_keys(place, body, _KEYS)
    rule_id = require_text(place.at("id"), body.get("id"))
    if rule_id and not _ID.match(rule_id):
        place.at("id").say(f"fleet.snake_name in small letters is wanted, not {quoted(rule_id)}")
    across = body.get("across", ACROSS[0])
    if across not in ACROSS:
        place.at("across").say_unknown("way to look across", across, ACROSS)
        across = ACROSS[0]
    facts = require_names(place.at("facts"), body.get("facts", []))
    for number, name in enumerate(facts):
        _fact_problem(place.at("facts", number), name, known.facts)
    params = read_params(place.at("params"), body.get("params", {}))
    for name in params:
        if name not in _PARAMS.get(across, ()):
            place.at("params", name).say_unknown(f"parameter of {across}", name, _PARAMS.get(across) or ["(none)"])
    if across == "clock" and "max_s" not in params:
        place.at("params").say("`max_s` is missing: how many seconds clocks may differ")
    compare = tuple(_read_compared(place.at("compare"), body.get("compare", []), known))
    if across in ("alike", "unique") and not body.get("compare"):
        place.at("compare").say("is missing: what to compare")
    if "facts" not in body:
        facts = [one.fact for one in compare if not one.is_pattern and one.fact != HOST_KEY]
    rule = FleetRule(
        id=rule_id,
        title=_short(place.at("title"), body.get("title"), 100),
        severity=_severity(place.at("severity"), body.get("severity")),
        facts=tuple(dict.fromkeys(facts)),
        across=across,
        compare=compare,
        speaks_for=tuple(_read_compared(place.at("speaks_for"), body.get("speaks_for", []), known)),
        params=params,
        values={name: param.read(param.default) for name, param in params.items()},
        why=" ".join(_short(place.at("why"), body.get("why"), 500).split()),
        sources=_sources(place.at("sources"), body.get("sources"), may_lack=across == "declared"),
        evidence=tuple(require_names(place.at("evidence"), body.get("evidence", []))),
        fix=_fix(place.at("fix"), body["fix"]) if "fix" in body else None,
        aliases=tuple(require_names(place.at("aliases"), body.get("aliases", []))),
        confidence=body.get("confidence", "inferred"),
        origin=doc.where(),
        raw=body,
    )
    if rule.confidence not in CONFIDENCES:
        place.at("confidence").say_unknown("confidence", rule.confidence, CONFIDENCES)
    return rule if place.count == before else None


def _severity(place: Place, value: Any) -> Severity:
    try:
        return Severity(value)
    except ValueError:
        place.say_unknown("severity", value, [severity.value for severity in Severity])
        return Severity.INFO


def _short(place: Place, value: Any, most: int) -> str:
    text = require_text(place, value)
    if len(text) > most:
        place.say(f"{len(text)} characters; at most {most}: say it shorter")
    return text


def _sources(place: Place, raw: Any, *, may_lack: bool) -> tuple[Document, ...]:
    found = []
    if require_list(place, raw):
        if not raw and not may_lack:
            place.say("at least one source is needed")
        for number, item in enumerate(raw):
            document = read_document(place.at(number), item)
            if document is not None:
                found.append(document)
    return tuple(found)


def _fix(place: Place, raw: Any) -> Fix | None:
    if not require_mapping(place, raw):
        return None
    check_keys(place, raw, ("manual",))
    return Fix(manual=" ".join(require_text(place.at("manual"), raw.get("manual")).split()))


def _fact_problem(place: Place, name: str, known_facts: KnownFacts | None) -> Any:
    """The declaration of a fact; None when there is none (then said)."""
    if known_facts is None:
        return None
    try:
        return known_facts(name)
    except ValueError as problem:
        place.say(str(problem))
        return None


def _read_compared(place: Place, raw: Any, known: KnownNames) -> Iterator[Compared]:
    for number, text in enumerate(require_names(place, raw)):
        compared = _compared(place.at(number), text, known)
        if compared is not None:
            yield compared


def _compared(place: Place, text: str, known: KnownNames) -> Compared | None:
    if text in (EVERYTHING, HOST_KEY):
        return Compared(text)
    if _PREFIX.match(text):
        return Compared(text)
    match = _COMPARED.match(text)
    if match is None:
        place.say(f"a fact, FAMILY[*], FACT.FIELD, PREFIX.* or * is wanted, not {quoted(text)}")
        return None
    if known.facts is None or known.families is None:
        key = match["key"] or ""
        return Compared(match["base"] + key, match["field"] or "")
    base, bracket, rest = text.partition("[")
    if bracket:
        key, _, field = rest.partition("]")
        if key == "*":
            spec = known.families(base)
            if spec is None:
                place.say(f"no fact family {quoted(base + '[...]')}")
        else:
            spec = _fact_problem(place, f"{base}[{key}]", known.facts)
        return _of_field(place, Compared(f"{base}[{key}]", field.removeprefix(".")), spec) if spec else None
    try:
        return _of_field(place, Compared(text), known.facts(text))
    except ValueError as problem:
        fact, dot, field = text.rpartition(".")
        try:
            return _of_field(place, Compared(fact, field), known.facts(fact)) if dot else None
        except ValueError:
            place.say(str(problem))
            return None


def _of_field(place: Place, compared: Compared, spec: Any) -> Compared | None:
    """The same, if the fact is of a type that can be compared so; otherwise that is said."""
    names = [field.name for field in spec.fields]
    if compared.field:
        if compared.field not in names:
            place.say_unknown(f"field of {spec.name}", compared.field, names or ["(it has none)"])
            return None
        return compared
    if spec.type in ("row", "rows", "any"):
        place.say(f"{spec.name} is {spec.type}: name one of its fields, FACT.FIELD")
        return None
    return compared
