"""Loading the catalogue, and evaluating all of it on one node with 8 GPUs and 144 NVLinks: against their budgets.

The node's facts are those of the checks' own passing fixtures; tables of GPUs and links are filled up to full size.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "checks"))

from check_fixtures import all_fixtures, read  # noqa: E402

from nodectl.catalogue import Catalogue, Selection  # noqa: E402
from nodectl.engine import catalogue_for_run  # noqa: E402
from nodectl.engine.evaluate import evaluate, evaluate_check  # noqa: E402
from nodectl.facts import registry  # noqa: E402
from nodectl.model import Fact, FactState, Outcome, present  # noqa: E402

LOAD_BUDGET_MS = 150.0
EVALUATE_BUDGET_MS = 10.0
GPUS = 8
LINKS_PER_GPU = 18
ROUNDS = 40

_SAMPLES: dict[str, Any] = {
    "str": "text",
    "int": 1,
    "float": 1.0,
    "bool": False,
    "version": "580.95.05",
    "list": [],
    "row": {},
    "any": 1,
}
_COLD_LOAD = """
import time
begun = time.perf_counter()
from nodectl.engine import catalogue_for_run
from nodectl.facts import registry
registry.registry()
imported = time.perf_counter()
catalogue_for_run.load()
print((imported - begun) * 1e3, (time.perf_counter() - imported) * 1e3)
"""


def node_facts(catalogue: Catalogue) -> dict[str, Fact]:
    """A whole node: every fact that any check reads."""
    facts: dict[str, Fact] = {}
    for fixture in all_fixtures():
        if fixture.outcome is Outcome.PASS:
            for name, fact in read(fixture, catalogue.checks[fixture.check_id]).facts.items():
                if fact.state is FactState.VALUE:
                    facts.setdefault(name, fact)
    for check in catalogue.checks.values():
        for name in check.facts:
            spec = registry.resolve(name)
            facts.setdefault(name, present(name, [] if spec.type == "rows" else _SAMPLES[spec.type]))
    facts["gpu.devices"] = full_table(facts["gpu.devices"], GPUS, 1)
    facts["nvlink.links"] = full_table(facts["nvlink.links"], GPUS, LINKS_PER_GPU)
    return facts


def full_table(fact: Fact, gpus: int, each: int) -> Fact:
    """The table with a row for every GPU (and link), every column filled."""
    first: dict[str, Any] = next(iter(fact.value), {})
    columns = {field.name: _SAMPLES[field.type] for field in registry.resolve(fact.name).fields}
    rows = [
        {**columns, **first, "index": gpu, "gpu_index": gpu, "link": link}
        for gpu in range(gpus)
        for link in range(each)
    ]
    return present(fact.name, rows)


def best_ms(function: Any) -> float:
    """The median of some runs, in milliseconds."""
    times = []
    for _ in range(ROUNDS):
        begun = time.perf_counter()
        function()
        times.append((time.perf_counter() - begun) * 1e3)
    return statistics.median(times)


def main() -> int:
    cold = [
        [
            float(word)
            for word in subprocess.run(
                [sys.executable, "-c", _COLD_LOAD], check=True, capture_output=True, text=True, cwd=ROOT
            ).stdout.split()
        ]
        for _ in range(5)
    ]
    import_ms, load_ms = (statistics.median(column) for column in zip(*cold, strict=True))
    catalogue = catalogue_for_run.load()
    checks = tuple(catalogue.checks.values())
    selection = Selection(profile="all", checks=checks, facts=(), tables=catalogue.tables)
    facts = node_facts(catalogue)
    evaluate_ms = best_ms(lambda: evaluate(selection, facts, "node1"))
    slowest = sorted(
        ((best_ms(lambda c=check: evaluate_check(c, facts, catalogue.tables, "node1")), check.id) for check in checks),
        reverse=True,
    )[:5]
    rows = sum(len(table.rows) for table in catalogue.tables.values())
    print(f"catalogue: {len(checks)} checks, {len(catalogue.tables)} tables with {rows} rows")
    print(f"  import of reader and registry {import_ms:7.1f} ms")
    print(f"  load with YAML, cold process  {load_ms:7.1f} ms   budget {LOAD_BUDGET_MS:.0f} ms")
    print(f"evaluate, {GPUS} GPUs, {GPUS * LINKS_PER_GPU} links: ")
    print(f"  all checks, one node          {evaluate_ms:7.2f} ms   budget {EVALUATE_BUDGET_MS:.0f} ms")
    for took_ms, check_id in slowest:
        print(f"    {check_id:32} {took_ms:7.2f} ms")
    return int(load_ms > LOAD_BUDGET_MS or evaluate_ms > EVALUATE_BUDGET_MS)


if __name__ == "__main__":
    sys.exit(main())
