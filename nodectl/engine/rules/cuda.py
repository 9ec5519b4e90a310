"""Rules about CUDA toolkits and cuda-compat packages against the driver.

They are those of NVIDIA's "CUDA Compatibility": a driver runs everything up to its own CUDA level; within one CUDA
major it runs newer minors from that major's floor on; above that only through cuda-compat, on data-centre GPUs.
https://docs.nvidia.com/deploy/cuda-compatibility/ (retrieved 2026-11-20)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from nodectl.catalogue.tables import Table
from nodectl.engine.rules import FactView, RowResult
from nodectl.engine.rules.driver import models
from nodectl.engine.rules.gpu_rows import (
    Row,
    Tables,
    about,
    branch_of,
    failed,
    judge_rows,
    not_judged,
    passed,
    read,
    soft,
    sum_up,
    unknown,
    version,
)
from nodectl.model import Outcome

Level = tuple[int, int]

_BRANCHES_WITH_COMPAT = ("LTSB", "PB")


def level(text: Any) -> Level:
    """(12, 8) of "12.8.1": CUDA's third number changes no interface.

    Raises:
        UnreadableError: it is no version.
    """
    version(text)
    major, _, rest = str(text).partition(".")
    return int(major), int(rest.partition(".")[0] or 0)


def _toolkit_name(row: Row) -> str:
    return f"CUDA {row.get('version')}"


def _compat_name(row: Row) -> str:
    return f"cuda-compat {row.get('cuda_version')}"


def toolkit_driver(facts: FactView, params: Mapping[str, Any], tables: Tables) -> list[RowResult]:
    """Each toolkit's programs run on the loaded driver: natively, by minor-version or by forward compatibility."""

    def judge(row: Row) -> RowResult:
        return runs(level(read(row, "version")), facts, tables)

    return judge_rows(facts.rows("cuda.toolkits"), judge, _toolkit_name)


def runs(wanted: Level, facts: FactView, tables: Tables) -> RowResult:
    """Whether the loaded driver runs what a CUDA toolkit of this level has built.

    Args:
        wanted: (12, 8) for CUDA 12.8.
        facts: driver.version, cuda.driver_version, cuda.compat, gpu.pci_ids.
    """
    driver = str(facts.value("driver.version"))
    branch = tables["driver_branches"].get(branch_of(driver)) or {}
    native = soft(facts, "cuda.driver_version") or branch.get("max_cuda")
    if native is not None and level(native) >= wanted:
        return passed(f"a driver for CUDA {wanted[0]}.{wanted[1]}", f"{driver} (CUDA {native})")
    result = _by_floor(wanted, driver, tables["cuda_driver"])
    if result.outcome is Outcome.PASS:
        return result
    helping = [
        row
        for row in soft(facts, "cuda.compat", []) or []
        if level(read(row, "cuda_version")) >= wanted and version(read(row, "driver_version")) > version(driver)
    ]
    if not helping:
        return result
    data_centre = all(tables["gpu_models"].get(pci_id) for pci_id in facts.value("gpu.pci_ids"))
    return _by_compat(helping[0], result, branch, data_centre)


def driver_level(facts: FactView, tables: Tables) -> str | None:
    """The CUDA level of the loaded driver: as nvidia-smi says, or where it prints none, that of the branch.

    Raises:
        CannotTellError: nvidia-smi did not answer.
    """
    said = facts.get("cuda.driver_version")
    if said is None:
        row = tables["driver_branches"].get(branch_of(str(facts.value("driver.version")))) or {}
        said = row.get("max_cuda")
    return None if said is None else str(said)


def _by_floor(wanted: Level, driver: str, floors: Table) -> RowResult:
    """Minor-version compatibility: the driver is at least the floor of the CUDA major."""
    row = floors.get(wanted[0])
    if row is None or row.get("driver_min") is None:
        return unknown(f"the oldest driver for CUDA {wanted[0]} is not in the table")
    floor = row["driver_min"]
    if version(driver) < version(floor):
        return failed(f"at least {floor}", driver)
    return passed(f"at least {floor}", driver, "by minor-version compatibility: see cuda.toolkit_all_features")


def _by_compat(compat: Row, below: RowResult, branch: Row, data_centre: bool) -> RowResult:
    """Forward compatibility, given a cuda-compat package that is new enough."""
    name = f"cuda-compat {compat.get('cuda_version')}"
    if not data_centre:
        return unknown(f"{name} works on data-centre GPUs only, and a GPU here is not known as one", below.expected)
    if branch.get("type") not in _BRANCHES_WITH_COMPAT:
        reason = f"{name} needs a long-term or production branch, and this is {branch.get('type') or 'neither'}"
        return failed(below.expected, below.actual, reason)
    return passed(f"{below.expected}, or cuda-compat", below.actual, f"through {name}, for user space only")


def toolkit_all_features(facts: FactView, params: Mapping[str, Any], tables: Tables) -> list[RowResult]:
    """The driver is at least the one that the toolkit was released with."""
    driver = str(facts.value("driver.version"))
    releases = tables["cuda_toolkits"]

    def judge(row: Row) -> RowResult:
        text = str(read(row, "version"))
        major, minor = level(text)
        release = releases.get(text) or releases.get(f"{major}.{minor}.0") or {}
        if release.get("driver_full") is not None:
            full = release["driver_full"]
            verdict = passed if version(driver) >= version(full) else failed
            return verdict(f"at least {full}", driver)
        if release.get("branch_full") is not None:
            verdict = passed if branch_of(driver) >= int(release["branch_full"]) else failed
            return verdict(f"at least R{release['branch_full']}", driver)
        return not_judged(f"CUDA {text} is not in the table of toolkits")

    return judge_rows(facts.rows("cuda.toolkits"), judge, _toolkit_name)


def compat_useful(facts: FactView, params: Mapping[str, Any], tables: Tables) -> list[RowResult]:
    """No cuda-compat package is older than the loaded driver."""
    driver = str(facts.value("driver.version"))

    def judge(row: Row) -> RowResult:
        compat = str(read(row, "driver_version"))
        verdict = failed if version(compat) < version(driver) else passed
        return verdict(f"libraries of driver {driver} or newer", f"{compat} in {row.get('path') or 'an unknown place'}")

    return judge_rows(facts.rows("cuda.compat"), judge, _compat_name)


def toolkit_knows_gpu(facts: FactView, params: Mapping[str, Any], tables: Tables) -> list[RowResult]:
    """At least one installed toolkit compiles for each kind of GPU."""
    toolkits = [level(read(row, "version")) for row in facts.rows("cuda.toolkits")]
    shown = "CUDA " + ", ".join(f"{major}.{minor}" for major, minor in sorted(toolkits))
    results = []
    for model in models(facts, tables):
        first, last = model.column("first_cuda"), model.column("last_cuda_major")
        if first is None:
            results.append(about(model.label, not_judged(f"which CUDA compiles for {model.label} is not known")))
            continue
        expected = f"CUDA {first} or newer" + (f", up to {last}.x" if last else "")
        verdict = passed if _one_fits(toolkits, level(first), last) else failed
        results.append(about(model.label, verdict(expected, shown)))
    return sum_up(results)


def _one_fits(toolkits: Sequence[Level], first: Level, last_major: int | None) -> bool:
    return any(level >= first and (last_major is None or level[0] <= int(last_major)) for level in toolkits)
