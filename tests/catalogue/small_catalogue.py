"""Small catalogues for tests: files written to a folder, facts declared by hand, single expressions compiled."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from nodectl.catalogue.compile import compile_expect, compile_expression
from nodectl.catalogue.model import Param
from nodectl.catalogue.operands import Context
from nodectl.catalogue.operators import Expression
from nodectl.catalogue.problems import Place
from nodectl.catalogue.scope import Scope
from nodectl.catalogue.tables import Table, read_table
from nodectl.model import Fact, absent, error, present
from nodectl.strict_yaml import Doc, parse_documents
from nodectl.suggest import did_you_mean


class Spec(NamedTuple):
    """A declared fact, or a column of one."""

    type: str
    fields: tuple[Any, ...] = ()
    unit: str = ""
    name: str = ""
    vendors: tuple[str, ...] = ()


def column(name: str, type_: str, unit: str = "", vendors: tuple[str, ...] = ()) -> Spec:
    return Spec(type_, (), unit, name, vendors)


FACTS: dict[str, Spec] = {
    "driver.version": Spec("version"),
    "driver.on_disk_version": Spec("version"),
    "os.id": Spec("str"),
    "kernel.release": Spec("str"),
    "gpu.count": Spec("int"),
    "gpu.models": Spec("list"),
    "mem.total_mib": Spec("int", (), "MiB"),
    "load.one": Spec("float"),
    "virt.is_vm": Spec("bool"),
    "expect.gpus": Spec("any"),
    "service[x]": Spec("row", (column("active_state", "str"), column("restarts", "int"))),
    "gpu.devices": Spec(
        "rows",
        (
            column("index", "int"),
            column("name", "str"),
            column("pci_id", "str"),
            column("persistence_mode", "bool"),
            column("power_limit_w", "float", "W"),
            column("power_default_limit_w", "float", "W"),
            column("ecc_current", "bool"),
            column("memory_total_mib", "int", "MiB"),
            column("reasons", "list"),
            column("remap_banks", "any"),
            column("vendor", "str"),
            column("fabric", "str", "", ("nvidia",)),
        ),
    ),
}

TABLE = """
table: models
version: "2026.11.20"
key: pci_id
columns: {pci_id: str, memory_mib: int, driver_min: version}
sources:
  sheet: {title: "Data sheet", url: "https://example.com/sheet", retrieved: "2026-11-20"}
rows:
  - {pci_id: "10de:2335", memory_mib: 143771, driver_min: "535.86.10", source: sheet}
  - {pci_id: "10DE:2330", memory_mib: 81559, source: sheet, confidence: inferred}
  - {pci_id: "12.8", driver_min: "570.26", source: sheet}
"""

CHECK = """
id: gpu.count
title: There is a GPU
severity: high
facts: [gpu.count]
expect: {fact: gpu.count, ge: 1}
why: Without one there is nothing to do.
sources:
  - {title: "A manual", url: "https://example.com/manual", retrieved: "2026-11-20"}
"""


def known(name: str) -> Spec | None:
    spec = FACTS.get(name)
    if spec is None:
        raise ValueError(f'no fact "{name}"{did_you_mean(name, FACTS)}')
    return spec


def models_table() -> Table:
    (doc,) = parse_documents(TABLE, "models.yaml")
    problems: list[str] = []
    table = read_table(doc, Place(doc, "", problems), "models")
    assert table is not None and not problems, problems
    return table


def facts_of(**values: Any) -> dict[str, Fact]:
    """Facts by name with `__` for a dot; an Exception is an error, None absent, all else a value."""
    facts = {}
    for key, value in values.items():
        name = key.replace("__", ".")
        if isinstance(value, Exception):
            facts[name] = error(name, str(value))
        elif value is None:
            facts[name] = absent(name, "not there")
        else:
            facts[name] = present(name, value)
    return facts


def compiled(
    raw: Any, *, params: dict[str, Param] | None = None, known_facts: Any = known, whole: bool = False
) -> Expression:
    """Compile one expectation in which every declared fact may be used; `whole`: as the `expect` of a check."""
    if isinstance(raw, str):
        (doc,) = parse_documents(raw, "test.yaml")
        raw = doc.value
    problems: list[str] = []
    scope = Scope(facts=tuple(FACTS), params=params or {}, tables={"models": models_table()}, known_facts=known_facts)
    compile_one = compile_expect if whole else compile_expression
    expression = compile_one(Place(Doc(raw, "test.yaml", 1, None), "", problems), raw, scope)
    assert expression is not None and not problems, problems
    return expression


def context(facts: dict[str, Fact], **params: Any) -> Context:
    return Context(facts, params)


def write(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return folder
