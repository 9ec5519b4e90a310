"""What is wrong with a catalogue is said with file, line, check and key path, all of it at once."""

from __future__ import annotations

from pathlib import Path

import pytest
from small_catalogue import CHECK, TABLE, known, write

from nodectl.catalogue import CatalogueError, load_catalogue


def problems_of(folder: Path) -> list[str]:
    with pytest.raises(CatalogueError) as caught:
        load_catalogue(
            [folder],
            known_facts=known,
            rule_problem=lambda target: "" if target == "nodectl.engine.rules.x:y" else "no such rule",
        )
    return [problem.replace(f"{folder}/", "") for problem in caught.value.problems]


def check_with(old: str, new: str) -> str:
    assert old in CHECK
    return CHECK.replace(old, new)


EXPECT = "expect: {fact: gpu.count, ge: 1}"
FACTS = "facts: [gpu.count]"

# part of the check, what stands there instead, what is said
CASES: list[tuple[str, str, str]] = [
    (EXPECT, "expect: {fact: gpu.count, gee: 1}",
     'gpu.yaml:6: gpu.count: expect.gee: unknown operator or key "gee"; did you mean "ge"?'),
    (EXPECT, "expect: {fact: gpu.count}",
     ("gpu.yaml:6: gpu.count: expect: an operator is missing: one of is, eq, ne, ge, gt, le, lt, one_of, none_of, "
     "contains, contains_none, subset_of, matches, present, not_empty, within")),
    (EXPECT, "expect: {fact: gpu.count, ge: 1, le: 8}",
     "gpu.yaml:6: gpu.count: expect.le: one operator is wanted, not 2 (ge, le): write all: […]"),
    (EXPECT, "expect: {fact: gpu.count, as: number, ge: 1}",
     ('gpu.yaml:6: gpu.count: expect.as: unknown type "number": one of int, float, version, vbios, kernel, bytes, '
     "str, bool, list is wanted")),
    (EXPECT, "expect: {fact: gpu.count, ge: many}", 'gpu.yaml:6: gpu.count: expect.ge: "many" is not a whole number'),
    (EXPECT, "expect: {fact: gpu.count, as: version, ge: latest}",
     'gpu.yaml:6: gpu.count: expect.ge: "latest" is not a version'),
    (EXPECT, "expect: {fact: gpu.count, ge: [1]}",
     "gpu.yaml:6: gpu.count: expect.ge: one value (for several: one_of) is wanted, not a list"),
    (EXPECT, "expect: {fact: gpu.count, ge: }", "gpu.yaml:6: gpu.count: expect.ge: a value is missing"),
    (EXPECT, "expect: {fact: gpu.count, is: true}",
     "gpu.yaml:6: gpu.count: expect.is: `is` compares true and false, and gpu.count is int: use eq, or as: bool"),
    (EXPECT, "expect: {fact: gpu.count, as: str, ge: 1}",
     ("gpu.yaml:6: gpu.count: expect.ge: ge does not work on type str: it takes int, float, version, vbios, "
     "kernel, bytes")),
    (EXPECT, "expect: {fact: gpu.count, one_of: 1}",
     "gpu.yaml:6: gpu.count: expect.one_of: one_of takes a list, not the number 1"),
    (EXPECT, "expect: {fact: gpu.count, one_of: []}",
     "gpu.yaml:6: gpu.count: expect.one_of: an empty list says nothing"),
    (EXPECT, "expect: {fact: gpu.count, contains: 1}",
     "gpu.yaml:6: gpu.count: expect.contains: contains does not work on type int: it takes list, str"),
    (EXPECT, EXPECT + "\napplies_when: {all: [{fact: gpu.count, ge: 1, if_absent: not_applicable}]}",
     ("gpu.yaml:7: gpu.count: applies_when.all[0].if_absent: not_applicable would leave this condition out: for false "
     "say fail")),
    (EXPECT, EXPECT + "\napplies_when: {any: [{not: {not: {fact: gpu.count, ge: 1, if_absent: not_applicable}}}]}",
     ("gpu.yaml:7: gpu.count: applies_when.any[0].not.not.if_absent: not_applicable would leave this condition out: "
     "for false say fail")),
    (EXPECT, "expect: {fact: gpu.count, present: yes}",
     'gpu.yaml:6: gpu.count: expect.present: true or false is wanted, not "yes" (only true and false are booleans)'),
    (EXPECT, "expect: {fact: gpu.count, as: int, present: true}",
     "gpu.yaml:6: gpu.count: expect.present: `as` has no meaning beside present"),
    (EXPECT, "expect: {fact: gpu.count, not_empty: true}",
     "gpu.yaml:6: gpu.count: expect.not_empty: not_empty is for lists, tables and text, and gpu.count is int"),
    (EXPECT, "expect: {fact: gpu.count, as: str, matches: '(a'}",
     ("gpu.yaml:6: gpu.count: expect.matches: not a regular expression: missing ), unterminated subpattern at "
     "position 0")),
    (EXPECT, "expect: {fact: gpu.count, as: str, matches: '(a+)+'}",
     ("gpu.yaml:6: gpu.count: expect.matches: a repeat of something that repeats or has choices can take for ever on "
     "hostile text: write it without the inner one")),
    (EXPECT, "expect: {fact: gpu.count, within: {value: 8, tolerance: -1}}",
     ("gpu.yaml:6: gpu.count: expect.within.tolerance: a number that is not negative, or a share such as \"2%\", is "
     "wanted, not the number -1")),
    (EXPECT, "expect: {fact: gpu.count, ge: 1, if_absent: pass}",
     'gpu.yaml:6: gpu.count: expect.if_absent: unknown outcome "pass": one of fail, unknown, not_applicable is wanted'),
    (EXPECT, "expect: {fact: gpu.count, ge: {param: least}}",
     'gpu.yaml:6: gpu.count: expect.ge.param: "least" is no parameter: the check declares none under `params`'),
    (EXPECT, "expect: {fact: gpu.count, ge: {lookup: model, key: a, column: b}}",
     'gpu.yaml:6: gpu.count: expect.ge.lookup: unknown table "model"; did you mean "models"?'),
    (EXPECT, "expect: {fact: gpu.count, ge: {lookup: models, key: '10de:2335', column: memory}}",
     'gpu.yaml:6: gpu.count: expect.ge.column: unknown column of table models "memory"; did you mean "memory_mib"?'),
    (EXPECT, "expect: {fact: gpu.count, ge: {lookup: models, key: '10de:2336', column: memory_mib}}",
     'gpu.yaml:6: gpu.count: expect.ge.key: table models has no row for 10de:2336; did you mean "10de:2335"?'),
    (EXPECT, "expect: {fact: gpu.count, ge: {lookup: models, key: '10de:2330', column: driver_min}}",
     'gpu.yaml:6: gpu.count: expect.ge.key: table models has no driver_min of 10de:2330; did you mean "10de:2330"?'),
    (EXPECT, "expect: {fact: gpu.cuont, ge: 1}",
     'gpu.yaml:6: gpu.count: expect.fact: "gpu.cuont" is not listed under `facts`; did you mean "gpu.count"?'),
    (EXPECT, "expect: {field: index, eq: 1}",
     "gpu.yaml:6: gpu.count: expect.field: `field` has a meaning only inside `each`: here it wants a `fact` beside it"),
    (EXPECT, "expect: {all: []}", "gpu.yaml:6: gpu.count: expect.all: an empty list says nothing"),
    (EXPECT, "expect: {al: [{fact: gpu.count, ge: 1}]}",
     'gpu.yaml:6: gpu.count: expect.al: unknown key "al"; did you mean "all"?'),
    (EXPECT, "expect: {all: [{fact: gpu.count, ge: 1}], any: [{fact: gpu.count, ge: 1}]}",
     "gpu.yaml:6: gpu.count: expect.any: all and any side by side: put one inside the other"),
    (EXPECT, "expect: {each: gpu.count, that: {field: index, eq: 1}}",
     'gpu.yaml:6: gpu.count: expect.each: "gpu.count" is int: each takes a table or a list'),
    (EXPECT, "expect: {python: 'nodectl.engine.rules.x:z'}", "gpu.yaml:6: gpu.count: expect.python: no such rule"),
    (EXPECT, "expect: {not: {python: 'nodectl.engine.rules.x:y'}}",
     "gpu.yaml:6: gpu.count: expect.not.python: a Python rule must be the whole of `expect`"),
    (EXPECT, "expect: {python: 'nodectl.engine.rules.x:y', limit: {fact: gpu.count}}",
     "gpu.yaml:6: gpu.count: expect.limit: an argument of a Python rule is a literal or {param: …}"),
    (FACTS, "facts: [gpu.count, os.id]",
     'gpu.yaml:5: gpu.count: facts[1]: the fact "os.id" is not used: take it out'),
    (FACTS, "facts: []", 'gpu.yaml:6: gpu.count: expect.fact: "gpu.count" is not listed under `facts`'),
    ("id: gpu.count", "id: cpu.count",
     'gpu.yaml:2: cpu.count: id: the file is of area "gpu", so the id must begin with "gpu."'),
    ("id: gpu.count", "id: gpu.Count",
     'gpu.yaml:2: gpu.Count: id: area.snake_name in small letters is wanted, not "gpu.Count"'),
    ("severity: high", "severity: urgent",
     'gpu.yaml:4: gpu.count: severity: unknown severity "urgent": one of critical, high, medium, low, info is wanted'),
    ("severity: high", "severity: high\nseverity: low",
     'gpu.yaml:5: key "severity" is here twice (first on line 4)'),
    ("severity: high", "severity: high\nconfidence: notes-only",
     "gpu.yaml:4: gpu.count: severity: a check that rests on notes only must be of severity info"),
    ("severity: high", "severity: high\nparams: {least: {type: int}}",
     "gpu.yaml:5: gpu.count: params.least: `default` is missing: what holds where no profile says otherwise"),
    ("severity: high", "severity: high\nparams: {least: {type: int, default: 0, min: 1}}",
     "gpu.yaml:5: gpu.count: params.least.default: 0 is below the least allowed, 1"),
    ("severity: high", "severity: high\nparams: {least: {type: int, default: 1}}",
     'gpu.yaml:5: gpu.count: params.least: the parameter "least" is not used: take it out'),
    ("severity: high", "severity: high\nfix: {step: sysctls, phase: sysctl, risk: low, reboot: never}",
     'gpu.yaml:5: gpu.count: fix.step: unknown step "sysctls"; did you mean "sysctl"?'),
    ("severity: high", "severity: high\nfix: {step: sysctl, params: {key: a}, phase: sysctl, risk: low, reboot: never}",
     "gpu.yaml:5: gpu.count: fix.params: the step sysctl wants key, value: value is missing"),
    ("severity: high",
     "severity: high\nfix: {step: module_load, params: {module: a, mod: b}, phase: modules, risk: low, reboot: never}",
     "gpu.yaml:5: gpu.count: fix.params.mod: the step module_load has no parameter mod (it has module)"),
    ("severity: high",
     "severity: high\nfix: {step: module_load, params: {module: a}, phase: soon, risk: low, reboot: never}",
     ('gpu.yaml:5: gpu.count: fix.phase: unknown phase "soon": one of guard, drain, packages, modules, files, sysctl, '
     "services, firmware, reboot is wanted")),
    ("title: There is a GPU", "title: Ensure there is a GPU",
     'gpu.yaml:3: gpu.count: title: a title says the state that is wanted, without "Ensure"'),
    ("title: There is a GPU", "title: There is a GPU.",
     "gpu.yaml:3: gpu.count: title: a title has no full stop at its end"),
    ("title: There is a GPU", "titel: There is a GPU",
     'gpu.yaml:3: gpu.count: titel: unknown key "titel"; did you mean "title"?'),
    ('retrieved: "2026-11-20"', 'retrieved: "20 Nov"',
     'gpu.yaml:9: gpu.count: sources[0].retrieved: a date such as 2026-11-20 is wanted, not "20 Nov"'),
    ('url: "https://example.com/manual"', 'url: "manual.pdf"',
     'gpu.yaml:9: gpu.count: sources[0].url: a web address (https://…) is wanted, not "manual.pdf"'),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new", "said"), CASES, ids=[case[2].partition(": ")[2][:60] for case in CASES])
def test_says_what_is_wrong_with_a_check(old: str, new: str, said: str, tmp_path: Path) -> None:
    folder = write(tmp_path, {"gpu.yaml": check_with(old, new), "tables/models.yaml": TABLE})
    assert said in problems_of(folder)


def test_a_row_scope_is_checked(tmp_path: Path) -> None:
    each = "expect: {each: gpu.devices, label: 'GPU {idx}', that: {field: persistence_mod, is: true}}"
    text = check_with(EXPECT, each).replace(FACTS, "facts: [gpu.devices]")
    assert problems_of(write(tmp_path, {"gpu.yaml": text})) == [
        'gpu.yaml:6: gpu.count: expect.label: unknown field "idx"; did you mean "index"?',
        'gpu.yaml:6: gpu.count: expect.that.field: unknown field "persistence_mod"; did you mean "persistence_mode"?',
    ]


def test_a_fact_must_be_declared(tmp_path: Path) -> None:
    text = CHECK.replace("gpu.count]", "gpu.counts]").replace("fact: gpu.count,", "fact: gpu.counts,")
    assert problems_of(write(tmp_path, {"gpu.yaml": text})) == [
        'gpu.yaml:6: gpu.count: expect.fact: no fact "gpu.counts"; did you mean "gpu.count"?'
    ]


def test_a_comparison_needs_a_type(tmp_path: Path) -> None:
    text = CHECK.replace("gpu.count]", "expect.gpus]").replace("fact: gpu.count,", "fact: expect.gpus,")
    assert problems_of(write(tmp_path, {"gpu.yaml": text})) == [
        (
            "gpu.yaml:6: gpu.count: expect.ge: the type of expect.gpus is not declared: add as: one of int, float, "
            "version, vbios, kernel, bytes, str, bool, list"
        )
    ]


def test_sources_are_needed(tmp_path: Path) -> None:
    text = CHECK[: CHECK.index("sources:")] + "sources: []\n"
    assert problems_of(write(tmp_path, {"gpu.yaml": text})) == [
        "gpu.yaml:8: gpu.count: sources: at least one source is needed: the document that says so"
    ]


def test_all_problems_of_all_files_at_once(tmp_path: Path) -> None:
    files = {
        "gpu.yaml": check_with("severity: high", "severity: urgent") + "---\n" + check_with("ge: 1", "gee: 1"),
        "os.yaml": "id: [\n",
        "tables/models.yaml": TABLE.replace("key: pci_id", "key: pci_id\nkeys: x"),
        "profiles/default.yaml": "profile: default\ntitle: All\nselect: {areas: [gpus]}\n",
        "more.yml": "",
    }
    found = problems_of(write(tmp_path, files))
    assert [problem.split(":")[0] for problem in found] == [
        "more.yml",
        "tables/models.yaml",
        "gpu.yaml",
        "gpu.yaml",
        "os.yaml",
        "profiles/default.yaml",
    ]
    assert found[3].startswith("gpu.yaml:16: gpu.count: expect.gee: ")
    assert (
        found[5]
        == 'profiles/default.yaml:3: profile default: select.areas[0]: unknown area "gpus"; did you mean "gpu"?'
    )


def test_ids_and_former_ids_are_unique(tmp_path: Path) -> None:
    other = CHECK.replace("id: gpu.count", "id: gpu.number\naliases: [gpu.count]")
    found = problems_of(write(tmp_path, {"gpu.yaml": f"{CHECK}---\n{CHECK}---\n{other}"}))
    assert found == [
        (
            "gpu.yaml:12: gpu.count: is defined at gpu.yaml:2: choose another id (to change a check, set its params or "
            "severity in a profile)"
        ),
        'gpu.yaml:22: gpu.number: aliases: "gpu.count" is an id of gpu.count (gpu.yaml:2)',
    ]


def test_a_later_folder_may_not_redefine(tmp_path: Path) -> None:
    files = {"gpu.yaml": CHECK, "tables/models.yaml": TABLE, "profiles/default.yaml": "profile: default\ntitle: A\n"}
    first, second = write(tmp_path / "a", files), write(tmp_path / "b", files)
    with pytest.raises(CatalogueError) as caught:
        load_catalogue([first, second], known_facts=known)
    assert [problem.split(": ")[0].rpartition("/b/")[2] for problem in caught.value.problems] == [
        "tables/models.yaml:2",
        "gpu.yaml:2",
        "profiles/default.yaml:1",
    ]


def test_folders_that_cannot_be_a_catalogue(tmp_path: Path) -> None:
    assert problems_of(tmp_path) == ["the catalogue has no checks: is this the right folder?"]
    with pytest.raises(CatalogueError, match="no such folder of checks"):
        load_catalogue([tmp_path / "none"])
    write(tmp_path, {"waiver.yaml": CHECK})
    assert problems_of(tmp_path) == [
        'waiver.yaml:1: the area "waiver" is kept for nodectl\'s own findings: rename the file'
    ]


TABLE_CASES = [
    ("table: models", "table: model", ('tables/models.yaml:2: table models: table: the file is models.yaml, so the '
     'table must be "models", not "model"')),
    ("memory_mib: int", "memory_mib: integer", ('tables/models.yaml:5: table models: columns.memory_mib: unknown type '
     '"integer"; did you mean "int"?')),
    ("memory_mib: 143771", "memory_mib: much", ('tables/models.yaml:9: table models: rows[0].memory_mib: "much" is not '
     "a whole number")),
    ('"535.86.10"', '"latest"', 'tables/models.yaml:9: table models: rows[0].driver_min: "latest" is not a version'),
    ("memory_mib: 143771", "memory: 143771", ('tables/models.yaml:9: table models: rows[0].memory: unknown column '
     '"memory"; did you mean "memory_mib"?')),
    ("10DE:2330", "10DE:2335", ('tables/models.yaml:10: table models: rows[1]: pci_id "10DE:2335" has a row already: a '
     "key must be unique")),
    ('driver_min: "570.26", source: sheet', 'driver_min: "570.26", source: sheets', ('tables/models.yaml:11: table '
     'models: rows[2].source: unknown source "sheets"; did you mean "sheet"?')),
    ("confidence: inferred", "confidence: sure", ('tables/models.yaml:10: table models: rows[1].confidence: unknown '
     'confidence "sure": one of verified, inferred, notes-only is wanted')),
    ('pci_id: "12.8", ', "", 'tables/models.yaml:11: table models: rows[2]: a row needs its key "pci_id"'),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new", "said"), TABLE_CASES)
def test_says_what_is_wrong_with_a_table(old: str, new: str, said: str, tmp_path: Path) -> None:
    assert old in TABLE
    folder = write(tmp_path, {"gpu.yaml": CHECK, "tables/models.yaml": TABLE.replace(old, new)})
    assert problems_of(folder) == [said]


def test_a_broken_table_is_not_also_an_unknown_one(tmp_path: Path) -> None:
    lookup = check_with("ge: 1", "ge: {lookup: models, key: '10de:2335', column: memory_mib}")
    folder = write(tmp_path, {"gpu.yaml": lookup, "tables/models.yaml": "table: [\n"})
    assert len(problems_of(folder)) == 1
