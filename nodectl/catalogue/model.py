"""What a catalogue is made of, once it is loaded: checks, their parameters and fixes, profiles, and a selection."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from nodectl.catalogue.combine import PythonRule
from nodectl.catalogue.fix_steps import by_hand
from nodectl.catalogue.operands import Context
from nodectl.catalogue.operators import Expression
from nodectl.catalogue.tables import Table
from nodectl.catalogue.value_types import TYPES, UnreadableError, show
from nodectl.model import Document, Severity

if TYPE_CHECKING:
    from nodectl.catalogue.fleet import FleetRule


class FieldLike(Protocol):
    """A column of a table fact, as the fact registry declares it."""

    @property
    def name(self) -> str: ...
    @property
    def type(self) -> str: ...
    @property
    def unit(self) -> str: ...
    @property
    def vendors(self) -> tuple[str, ...]:
        """Those whose rows have it; empty: all."""
        ...


class FactLike(Protocol):
    """A fact's declaration: what the loader needs of nodectl.facts.registry.FactSpec."""

    @property
    def type(self) -> str: ...
    @property
    def unit(self) -> str: ...
    @property
    def fields(self) -> tuple[Any, ...]: ...


class Param(msgspec.Struct, frozen=True, kw_only=True):
    """A number or word that profiles may set.

    Attributes:
        type: a name of value_types.TYPES.
        default, minimum, maximum: as written; None for no bound.
        choices: the allowed values (for a list: of each item); empty: any.
    """

    name: str
    type: str
    default: Any
    minimum: Any = None
    maximum: Any = None
    choices: tuple[Any, ...] = ()
    about: str = ""

    def read(self, value: Any) -> Any:
        """The value as checks use it.

        Raises:
            UnreadableError: it is not of the type, or out of bounds.
        """
        kind = TYPES[self.type]
        if self.type == "list":
            if not isinstance(value, list):
                raise UnreadableError(f"{show(value)} is not a list")
            for item in value:
                if self.choices and str(item) not in [str(choice) for choice in self.choices]:
                    raise UnreadableError(f"{show(item)} is none of {show(list(self.choices))}")
            return list(kind.read(value))
        key = kind.read(value)
        if self.choices and key not in [kind.read(choice) for choice in self.choices]:
            raise UnreadableError(f"{show(value)} is none of {show(list(self.choices))}")
        if kind.less is not None:
            if self.minimum is not None and kind.less(key, kind.read(self.minimum)):
                raise UnreadableError(f"{show(value)} is below the least allowed, {show(self.minimum)}")
            if self.maximum is not None and kind.less(kind.read(self.maximum), key):
                raise UnreadableError(f"{show(value)} is above the most allowed, {show(self.maximum)}")
        return key if self.type in ("int", "float", "bool", "str") else value


class Fix(msgspec.Struct, frozen=True, kw_only=True):
    """How to mend it: a step of the fix-up templates, or words for a person.

    Attributes:
        step: name of a step template; empty when there is only `manual`.
        params: for the step; a value is a literal, a list, or {"param": name}.
        phase: when in a script it runs. risk: none, low, medium or high. reboot: never, maybe or required.
        disrupts: what it interrupts, e.g. "gpu_jobs".
    """

    step: str = ""
    params: dict[str, Any] = {}
    phase: str = ""
    risk: str = ""
    disrupts: tuple[str, ...] = ()
    reboot: str = "never"
    manual: str = ""

    @property
    def text(self) -> str:
        """One line for a person who mends it by hand."""
        if self.manual:
            return self.manual
        text = by_hand(self.step, {name: show(value) for name, value in self.params.items()})
        return text if self.reboot == "never" else f"{text}; reboot {self.reboot}"


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """One check, compiled.

    Attributes:
        facts: the names of all facts that it reads.
        condition: equal for checks whose `applies_when` is the same, and stands for it; empty where that depends on the
            check's own parameters.
        values: its parameters in effect: the defaults, or what the profile of a Selection sets.
        sources: the documents that say so; those of a table that it cites are all here.
        tables: names of the tables that it reads or cites.
        origin: `file:line`.
        raw: the document as read, e.g. to list it or to build variants of it in tests.
    """

    id: str
    title: str
    area: str
    severity: Severity
    facts: tuple[str, ...]
    params: dict[str, Param]
    values: dict[str, Any]
    applies_when: Expression | None
    condition: str = ""
    expect: Expression | PythonRule
    why: str
    sources: tuple[Document, ...]
    tables: tuple[str, ...]
    evidence: tuple[str, ...]
    fix: Fix | None
    aliases: tuple[str, ...]
    confidence: str
    origin: str
    raw: dict[str, Any]

    @property
    def expected(self) -> str:
        """What it asks for, with its parameters in effect, before any node is looked at."""
        if isinstance(self.expect, PythonRule):
            return self.title  # what a rule asks for in figures depends on the node: its findings say it
        return self.expect.expected(Context({}, self.values))

    @property
    def applies(self) -> str:
        """Where it applies; empty for everywhere."""
        return self.applies_when.expected(Context({}, self.values), True) if self.applies_when else ""


class Drop(msgspec.Struct, frozen=True):
    """A check that a profile leaves out, and why."""

    id: str
    reason: str


class Profile(msgspec.Struct, frozen=True, kw_only=True):
    """Which checks are run, and how strict they are; what it extends is already worked in.

    Attributes:
        ids: the selected checks.
        params: check id -> parameter -> value.
        severities: check id -> severity in place of the check's own.
        drop: checks that were taken away, with the reason.
    """

    name: str
    title: str
    extends: str
    ids: frozenset[str]
    params: dict[str, dict[str, Any]]
    severities: dict[str, Severity]
    drop: tuple[Drop, ...]
    origin: str


class Catalogue(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that was loaded.

    Attributes:
        checks: by id, in the order of the files.
        fleet: what is looked at over all nodes at once, by id. Profiles select these rules as they do checks.
        aliases: former id -> id.
        version: of the shipped catalogue, e.g. "2026.11.20".
        digest: "sha256:…" over the content, the same for the same content whatever its layout in files.
    """

    checks: dict[str, Check]
    tables: dict[str, Table]
    profiles: dict[str, Profile]
    aliases: dict[str, str]
    version: str
    digest: str
    fleet: dict[str, FleetRule] = {}


class Selection(msgspec.Struct, frozen=True, kw_only=True):
    """What one run evaluates.

    Attributes:
        profile: its name.
        checks: with severity and values as the profile sets them, in the catalogue's order.
        facts: the names of all facts that these and the fleet rules need, sorted.
        fleet: the fleet rules, with severity and values as the profile sets them.
    """

    profile: str
    checks: tuple[Check, ...]
    facts: tuple[str, ...]
    tables: dict[str, Table]
    fleet: tuple[FleetRule, ...] = ()

    @property
    def everything(self) -> tuple[Check | FleetRule, ...]:
        """Checks, then fleet rules: what people list, select and waive alike."""
        return (*self.checks, *self.fleet)
