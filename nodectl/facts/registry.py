"""What can be known about a node: every fact with its type, unit, meaning and the probe source that tells it.

The declarations live beside the parsers, in the modules that each of `PACKAGES` names. A parser module has:

    FACTS: tuple[FactSpec, ...]             what it declares
    SOURCES: dict[str, Parser]              the probe sources that it reads (one parser per source)
    DERIVED: dict[str, Derivation]          optional: facts computed from other facts (declared with source "derived")

Such a module is imported whenever facts are listed, so it must import heavy libraries (xml, ...) inside its parsers.

A fact may be told by several vendors' sources (`gpu.devices`): each declares its own part, with `vendor`. See `joint`.

A family is declared as `sysctl[KEY]` and asked for as `sysctl[vm.swappiness]`. Keys come from check files and end as
arguments of a probe source on the node: `check_key` refuses everything that could be more than a name there.
"""

from __future__ import annotations

import functools
import importlib
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from nodectl.errors import UserError
from nodectl.model import Fact
from nodectl.suggest import did_you_mean

if TYPE_CHECKING:
    from nodectl.probe.transcript import SourceReply

# Each package names its own parser modules (`MODULES` in its `__init__`).
PACKAGES: tuple[str, ...] = (
    "amd",
    "bus",
    "containers",
    "host",
    "intel",
    "kernel_log",
    "nvidia",
    "orchestration",
    "rdma",
    "storage",
    "workload",
)

# Whose devices a part of a joint fact tells of, in the order in which the parts are put together. Habana makes Gaudi.
VENDORS = ("nvidia", "amd", "habana", "intel")
JOINT_TYPES = ("int", "list", "rows")
VENDOR_FIELD = "vendor"

TYPES = ("str", "int", "float", "bool", "version", "list", "row", "rows", "any")
INVENTORY = "inventory"
DERIVED_SOURCE = "derived"
EXPECT_PREFIX = "expect."

_MAX_KEY = 200
# No space, quote, backslash, `$`, `;`, ... : what is left is inert even unquoted, but for the globs that only
# `package[NAME]` takes. A leading `-` would be an option.
_KEY = re.compile(r"[A-Za-z0-9_/.][A-Za-z0-9_/.:@+,~-]*")
_GLOB_KEY = re.compile(r"[A-Za-z0-9_/.][A-Za-z0-9_/.:@+,~*-]*")
_EXPECT_KEY = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}")


class FactNameError(UserError, ValueError):
    """A fact name that is not declared, or a family key that cannot be asked of a node."""


class _NoSuchFactError(FactNameError):
    """What would do instead is looked for only when somebody reads it: names are tried, to see whether they are one."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self._name = name

    def __str__(self) -> str:
        return f'no fact "{self._name}"{did_you_mean(self._name, _tables().specs)}'


class Field(msgspec.Struct, frozen=True):
    """One column of a `row` or `rows` fact.

    Attributes:
        type: one of `TYPES` but row and rows.
        vendors: in a joint fact, the vendors whose rows have it; empty where all have. The registry fills it in. A
            check on a field that the row's vendor does not have is not applicable to that row.
    """

    name: str
    type: str = "str"
    unit: str = ""
    about: str = ""
    vendors: tuple[str, ...] = ()


class FactSpec(msgspec.Struct, frozen=True, kw_only=True):
    """One declared fact, or a family of them.

    Attributes:
        name: `driver.version`, or for a family `sysctl[KEY]`.
        type: one of `TYPES`; the value of every member of a family has it.
        source: the probe source that tells it, or `inventory`, or `derived`.
        fields: the columns of a `row` or `rows`.
        keys: the only keys that a closed family has (`limit[nofile_soft]`); empty: any key that `check_key` lets by.
        keys_as_args: the keys asked for become arguments of the source (`# args:` in its header). Otherwise the
            source tells all keys anyway and the parser picks.
        globs: a key may hold `*`.
        varies: differs between healthy nodes of one kind by nature (names, serials, temperatures, counters that grow):
            fleet rules leave it alone.
        vendor: whose part of a joint fact this declares: its source tells it for this vendor's devices, and that it is
            absent on a node that has none. Empty for a fact that is one source's alone.
        parts: of a joint fact, (vendor, source) of each part. The registry fills it in.
    """

    name: str
    type: str
    unit: str = ""
    about: str
    source: str
    fields: tuple[Field, ...] = ()
    keys: tuple[str, ...] = ()
    keys_as_args: bool = False
    globs: bool = False
    varies: bool = False
    vendor: str = ""
    parts: tuple[tuple[str, str], ...] = ()

    @property
    def sources(self) -> tuple[str, ...]:
        """The sources that tell it: several for a joint fact."""
        return tuple(source for _, source in self.parts) or (self.source,)

    @property
    def family(self) -> str | None:
        """`sysctl` for `sysctl[KEY]`; None for a fact that stands alone."""
        base, bracket, _ = self.name.partition("[")
        return base if bracket else None


class Context(msgspec.Struct, frozen=True):
    """What a parser may know beside the reply of its source.

    Attributes:
        keys: per family the keys asked for, sorted, e.g. `{"sysctl": ("kernel.numa_balancing", "vm.swappiness")}`.
        uid: who asked, on the node (0: root); None when the node did not say.
    """

    keys: Mapping[str, tuple[str, ...]] = {}
    uid: int | None = None

    def keys_of(self, family: str) -> tuple[str, ...]:
        return self.keys.get(family, ())


Parser = Callable[["SourceReply", Context], Iterable[Fact]]
# What it needs, and a function of those values (in that order) to a value or to a Fact (absent, error).
Derivation = tuple[tuple[str, ...], Callable[..., Any]]

_EXPECT = FactSpec(
    name="expect.KEY",
    type="any",
    about="What the inventory says that this node should have (`expect:`), e.g. expect.gpus",
    source=INVENTORY,
)


class _Tables(msgspec.Struct, frozen=True):
    specs: dict[str, FactSpec]
    families: dict[str, FactSpec]
    parsers: dict[str, Parser]
    derived: dict[str, Derivation]


@functools.cache
def _tables() -> _Tables:
    specs: dict[str, FactSpec] = {_EXPECT.name: _EXPECT}
    parts: dict[str, list[FactSpec]] = {}
    parsers: dict[str, Parser] = {}
    derived: dict[str, Derivation] = {}
    for name in parser_modules():
        module = importlib.import_module(f"nodectl.facts.{name}")
        for spec in module.FACTS:
            if spec.type not in TYPES:
                raise FactNameError(f"nodectl.facts.{name}: {spec.name} has the unknown type {spec.type!r}")
            if spec.vendor:
                parts.setdefault(spec.name, []).append(spec)
            if spec.name in specs and not (spec.vendor and specs[spec.name].vendor):
                raise FactNameError(f"nodectl.facts.{name}: the fact {spec.name} is declared twice")
            specs[spec.name] = spec
        for source, parser in module.SOURCES.items():
            if source in parsers:
                raise FactNameError(f"nodectl.facts.{name}: the source {source} has a parser already")
            parsers[source] = parser
        derived.update(getattr(module, "DERIVED", {}))
    specs.update((name, joint(declared)) for name, declared in parts.items())
    families = {spec.family: spec for spec in specs.values() if spec.family}
    return _Tables(specs, families, parsers, derived)


def joint(parts: Sequence[FactSpec]) -> FactSpec:
    """One declaration of a fact that several vendors' sources tell: numbers add up, lists unite, rows are put together.

    A row says whose it is in its column `vendor`. A column that not every vendor declares names those that do.

    Raises:
        FactNameError: the parts do not fit together.
    """
    parts = sorted(parts, key=lambda part: VENDORS.index(part.vendor))
    first = parts[0]
    for part in parts:
        if part.type not in JOINT_TYPES or (part.type, part.unit, part.varies) != (
            first.type,
            first.unit,
            first.varies,
        ):
            raise FactNameError(f"{first.name}: the part of {part.vendor} is {part.type}, which cannot be put together")
    columns: dict[str, list[Field]] = {}
    having: dict[str, list[str]] = {}
    for part in parts:
        for field in part.fields:
            columns.setdefault(field.name, []).append(field)
            having.setdefault(field.name, []).append(part.vendor)
    for name, fields in columns.items():
        if any((field.type, field.unit) != (fields[0].type, fields[0].unit) for field in fields):
            raise FactNameError(f"{first.name}: the vendors declare the column {name} with different types or units")
        if len(having[name]) != len(set(having[name])):
            raise FactNameError(f"{first.name}: a vendor declares the column {name} twice")
    told = tuple(
        msgspec.structs.replace(fields[0], vendors=() if len(fields) == len(parts) else tuple(having[name]))
        for name, fields in columns.items()
    )
    if first.type == "rows":
        told = (*told, Field(VENDOR_FIELD, "str", "", f"who makes it: {', '.join(VENDORS)}"))
    return msgspec.structs.replace(
        first, fields=told, vendor="", parts=tuple((part.vendor, part.source) for part in parts)
    )


def parser_modules() -> list[str]:
    """`host.cpu`, ...: every module that declares facts, package by package."""
    return [
        f"{package}.{name}"
        for package in PACKAGES
        for name in importlib.import_module(f"nodectl.facts.{package}").MODULES
    ]


def registry() -> dict[str, FactSpec]:
    """Every declared fact by its declared name: a family once, as `sysctl[KEY]`; the inventory's as `expect.KEY`."""
    return dict(_tables().specs)


def parser_of(source: str) -> Parser | None:
    """The parser of a probe source, or None when nobody reads it."""
    return _tables().parsers.get(source)


def derivation_of(name: str) -> Derivation | None:
    """How a derived fact comes from others, or None for a fact that a source tells."""
    return _tables().derived.get(name)


def family_of(base: str) -> FactSpec | None:
    """The declaration of a family by its name without a key: `sysctl` -> `sysctl[KEY]`."""
    return _tables().families.get(base)


def split_name(name: str) -> tuple[str, str | None]:
    """`sysctl[vm.swappiness]` -> (`sysctl`, `vm.swappiness`); a name with no key -> (name, None)."""
    base, bracket, rest = name.partition("[")
    if bracket and rest.endswith("]"):
        return base, rest[:-1]
    return name, None


def check_key(spec: FactSpec, key: str) -> str | None:
    """Why `key` cannot be asked for in the family `spec`, or None when it can."""
    if spec.keys:
        if key in spec.keys:
            return None
        return f"{spec.name} has no key {key!r}{did_you_mean(key, spec.keys)} known: {', '.join(spec.keys)}"
    if not key or len(key) > _MAX_KEY:
        return f"the key of {spec.name} must have 1 to {_MAX_KEY} characters, not {len(key)}"
    if not (_GLOB_KEY if spec.globs else _KEY).fullmatch(key):
        allowed = "letters, digits and _ / . : @ + , ~ -" + (" *" if spec.globs else "")
        return f"the key {key!r} of {spec.name} may hold only {allowed}, and must not start with a sign"
    if ".." in key:
        return f"the key {key!r} of {spec.name} must not hold '..'"
    return None


def resolve(name: str) -> FactSpec:
    """The declaration behind a name that a check uses.

    Raises:
        FactNameError: no such fact, or a key that the family does not take; the text says what would do.
    """
    tables = _tables()
    if name.startswith(EXPECT_PREFIX):
        if _EXPECT_KEY.fullmatch(name[len(EXPECT_PREFIX) :]):
            return _EXPECT
        raise FactNameError(f"{name!r} is no name of an expectation: letters, digits and _ . - only")
    base, key = split_name(name)
    if key is not None:
        family = tables.families.get(base)
        if family is None:
            raise FactNameError(f'no fact family "{base}[...]"{did_you_mean(base, tables.families)}')
        problem = check_key(family, key)
        if problem:
            raise FactNameError(problem)
        return family
    spec = tables.specs.get(name)
    if spec is None:
        if name in tables.families:
            raise FactNameError(f'"{name}" is a family: ask for {tables.families[name].name}')
        raise _NoSuchFactError(name)
    return spec


def spec_for(fact_name: str) -> FactSpec | None:
    """The declaration behind a name (`sysctl[vm.swappiness]` -> `sysctl[KEY]`), or None when there is none."""
    try:
        return resolve(fact_name)
    except FactNameError:
        return None


def with_needs(fact_names: Collection[str]) -> set[str]:
    """The names and everything that the derived ones among them are computed from."""
    found: set[str] = set()
    todo = list(fact_names)
    derived = _tables().derived
    while todo:
        name = todo.pop()
        if name not in found:
            found.add(name)
            todo.extend(derived[name][0] if name in derived else ())
    return found


def sources_for(fact_names: Collection[str]) -> dict[str, list[str]]:
    """The probe sources that these facts need, each with its arguments (family keys), all sorted.

    Raises:
        FactNameError: a name that is not declared.
    """
    asked: dict[str, set[str]] = {}
    for name in with_needs(fact_names):
        spec = resolve(name)
        if spec.source in (INVENTORY, DERIVED_SOURCE):
            continue
        key = split_name(name)[1]
        for source in spec.sources:
            args = asked.setdefault(source, set())
            if spec.keys_as_args and key is not None:
                args.add(key)
    return {source: sorted(asked[source]) for source in sorted(asked)}
