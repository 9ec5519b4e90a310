"""Rules about Python environments: whether what is in them runs on the GPUs and the driver of the node.

What is installed is judged, not what is missing: an environment without FlashAttention has nothing wrong with it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from nodectl.engine.rules import FactView, RowResult, field_error
from nodectl.engine.rules.cuda import driver_level, level, runs
from nodectl.engine.rules.driver import Model, models
from nodectl.engine.rules.gpu_rows import (
    Row,
    Tables,
    about,
    failed,
    judge_rows,
    not_judged,
    passed,
    read,
    sum_up,
    unknown,
    version,
)
from nodectl.engine.rules.nccl import faults_of
from nodectl.facts.workload.venvs import is_path, paths_of
from nodectl.model import Outcome

_RELEASE = re.compile(r"[0-9]+(?:\.[0-9]+)*")
_HOPPER = "9.0"
_NAMES = {
    "torch": "PyTorch",
    "triton": "Triton",
    "transformer_engine": "Transformer Engine",
    "bitsandbytes": "bitsandbytes",
    "nccl": "NCCL",
}


def _release(text: Any) -> Any:
    """A version to compare, without what follows the numbers: builds before a release (2.7.0a0, .dev) hold its code."""
    match = _RELEASE.match(str(text))
    return version(match[0] if match else text)


def _label(row: Row) -> str:
    return str(row.get("path"))


def _each(facts: FactView, field: str, judge: Callable[[Row], RowResult]) -> list[RowResult]:
    """One verdict for each environment that holds the package."""

    def one(row: Row) -> RowResult:
        if read(row, "found") is not True:
            return not_judged("it is not there: see workload.environments")
        if read(row, field) is None:
            return not_judged(f"{_NAMES.get(field, field)} is not installed in it")
        return judge(row)

    return judge_rows(facts.rows("workload.venvs"), one, _label)


def environments(facts: FactView, params: Mapping[str, Any], tables: Tables) -> list[RowResult]:
    """Each environment that the inventory names is there."""
    rows = {str(row.get("path")): row for row in facts.rows("workload.venvs")}
    results = []
    for path in paths_of(facts.value("expect.venvs")):
        row = rows.get(path)
        if row is not None:
            result = _environment(row)
        elif is_path(path):
            result = unknown("the node was not asked for it")
        else:
            result = unknown("it is no absolute path of ordinary characters, so the node was not asked for it")
        results.append(about(path, result))
    return sum_up(results)


def _environment(row: Row) -> RowResult:
    expected = "a Python environment"
    problem = field_error(row, "found")
    if problem:
        return unknown(problem, expected)
    if row.get("found") is None:
        return unknown(field_error(row, "torch") or "it could not be looked at", expected)
    if row["found"]:
        return passed(expected, f"Python {row.get('python') or 'of some version'}")
    return failed(expected, "none", field_error(row, "torch"))


def torch_build(facts: FactView, params: Mapping[str, Any], tables: Tables) -> list[RowResult]:
    """PyTorch is a build for CUDA."""

    def judge(row: Row) -> RowResult:
        cuda = read(row, "torch_cuda")
        if cuda is not None:
            return passed("a build for CUDA", f"{row['torch']} for CUDA {cuda}")
        return failed("a build for CUDA", f"{row['torch']}+{row.get('torch_build') or 'no CUDA'}")

    return _each(facts, "torch", judge)


def torch_driver(facts: FactView, params: Mapping[str, Any], tables: Tables) -> list[RowResult]:
    """The driver runs programs of the CUDA version that PyTorch was built with."""

    def judge(row: Row) -> RowResult:
        cuda = read(row, "torch_cuda")
        return not_judged("PyTorch is no build for CUDA") if cuda is None else runs(level(cuda), facts, tables)

    return _each(facts, "torch", judge)


def torch_gpu(facts: FactView, params: Mapping[str, Any], tables: Tables) -> list[RowResult]:
    """PyTorch's wheels of that version and CUDA build hold code for every GPU of the node."""
    gpus = models(facts, tables)

    def judge(row: Row) -> RowResult:
        cuda = read(row, "torch_cuda")
        if cuda is None:
            return not_judged("PyTorch is no build for CUDA")
        shown = f"PyTorch {row['torch']} for CUDA {cuda}"
        return _worst([_torch_for(gpu, row["torch"], cuda, str(row.get("torch_build")), shown) for gpu in gpus])

    return _each(facts, "torch", judge)


def _torch_for(gpu: Model, torch: str, cuda: str, build: str, shown: str) -> RowResult:
    if not gpu.of_capability:
        return not_judged(f"the compute capability of {gpu.label} is not known")
    of = gpu.of_capability
    if of.get("torch_min") is not None:
        floor, built = of["torch_min"], of["torch_cuda_min"]
        fits = _release(torch) >= version(floor) and level(cuda) >= level(built)
        expected = (
            f"PyTorch {floor} or newer for CUDA {built} or newer ({gpu.label}, sm_{gpu.capability.replace('.', '')})"
        )
        return (passed if fits else failed)(expected, shown)
    last = of.get("last_cuda_major")
    if last is not None and level(cuda)[0] > int(last):
        return failed(f"a build for CUDA {last}.x or older ({gpu.label})", shown)
    # Only the project's own wheels are known to leave out what CUDA itself can still compile for.
    if of.get("torch_left_in") is not None and build.startswith("cu"):
        left = _release(torch) >= version(of["torch_left_in"]) and level(cuda) >= level(of["torch_left_cuda"])
        expected = f"from PyTorch {of['torch_left_in']} on a build for CUDA below {of['torch_left_cuda']} ({gpu.label})"
        return (failed if left else passed)(expected, shown)
    return passed(f"code for {gpu.label}", shown)


def _worst(results: list[RowResult]) -> RowResult:
    """The verdict over several GPUs: a failure first, then what could not be told, then a pass."""
    if not results:
        return unknown("no GPU is known on the PCI bus")
    ranks = (Outcome.FAIL, Outcome.UNKNOWN, Outcome.PASS, Outcome.NOT_APPLICABLE)
    return min(results, key=lambda result: ranks.index(result.outcome))


def jit_toolchain(facts: FactView, params: Mapping[str, Any], tables: Tables) -> list[RowResult]:
    """What compiles on the node (Triton's ptxas, NVRTC of PyTorch's CUDA) can name the GPUs."""
    gpus = models(facts, tables)

    def judge(row: Row) -> RowResult:
        cuda = read(row, "torch_cuda")
        if cuda is None:
            return not_judged("PyTorch is no build for CUDA")
        results = []
        for gpu in gpus:
            first = gpu.of_capability.get("first_cuda")
            if first is None:
                results.append(not_judged(f"which CUDA compiles for {gpu.label} is not known"))
                continue
            verdict = passed if level(cuda) >= level(first) else failed
            results.append(verdict(f"a build for CUDA {first} or newer ({gpu.label})", f"CUDA {cuda}"))
        return _worst(results)

    return _each(facts, "torch", judge)


def package_floor(facts: FactView, params: Mapping[str, Any], tables: Tables) -> list[RowResult]:
    """A package is at least the first version for the GPUs of the node.

    Params:
        field: the package, as a field of workload.venvs; the table has its floors in the column FIELD_min.
    """
    field = str(params["field"])
    name = _NAMES[field]
    gpus = models(facts, tables)

    def judge(row: Row) -> RowResult:
        results = []
        for gpu in gpus:
            if not gpu.of_capability:
                results.append(not_judged(f"the compute capability of {gpu.label} is not known"))
                continue
            floor = gpu.of_capability.get(f"{field}_min")
            if floor is None:
                results.append(not_judged(f"no floor of {name} is documented for {gpu.label}"))
                continue
            verdict = passed if _release(row[field]) >= version(floor) else failed
            results.append(verdict(f"{name} {floor} or newer ({gpu.label})", str(row[field])))
        return _worst(results)

    return _each(facts, field, judge)


def flash_attention_3(facts: FactView, params: Mapping[str, Any], tables: Tables) -> list[RowResult]:
    """FlashAttention 3 is only where a Hopper GPU runs it."""
    gpus = models(facts, tables)
    known = [gpu for gpu in gpus if gpu.capability]

    def judge(row: Row) -> RowResult:
        expected = f"only on Hopper (compute capability {_HOPPER})"
        if any(gpu.capability == _HOPPER for gpu in known):
            return passed(expected, f"{row['flash_attn_3']}, on Hopper")
        if len(known) < len(gpus) or not gpus:
            return unknown("the compute capability of a GPU is not known", expected)
        return failed(expected, f"{row['flash_attn_3']} on {', '.join(sorted({gpu.label for gpu in gpus}))}")

    return _each(facts, "flash_attn_3", judge)


def flash_attention_blackwell(facts: FactView, params: Mapping[str, Any], tables: Tables) -> list[RowResult]:
    """On Blackwell, FlashAttention 2 is not all there is."""
    new = sorted({gpu.label for gpu in models(facts, tables) if gpu.architecture == "Blackwell"})
    if not new:
        return [not_judged("no GPU here is known to be of the Blackwell generation")]

    def judge(row: Row) -> RowResult:
        expected = f"FlashAttention 4 beside it ({', '.join(new)})"
        if read(row, "flash_attn_4") is not None:
            return passed(expected, f"{row['flash_attn']} and {row['flash_attn_4']}")
        return failed(expected, f"{row['flash_attn']} only")

    return _each(facts, "flash_attn", judge)


def nccl_faults(facts: FactView, params: Mapping[str, Any], tables: Tables) -> list[RowResult]:
    """The NCCL of the environment, which PyTorch loads before any other, has no documented fault that matters."""

    def judge(row: Row) -> RowResult:
        return faults_of(str(row["nccl"]), facts, tables, ("critical",))

    return _each(facts, "nccl", judge)


def nccl_matches_torch(facts: FactView, params: Mapping[str, Any], tables: Tables) -> list[RowResult]:
    """The NCCL of the environment was built for the CUDA major of its PyTorch."""

    def judge(row: Row) -> RowResult:
        cuda, major = read(row, "torch_cuda"), row.get("nccl_cuda_major")
        if row.get("torch") is None or cuda is None or major is None:
            return not_judged("there is no CUDA version to compare with")
        verdict = passed if level(cuda)[0] == int(major) else failed
        return verdict(f"NCCL for CUDA {level(cuda)[0]}", f"NCCL {row['nccl']} for CUDA {major}")

    return _each(facts, "nccl", judge)


def formats(facts: FactView, params: Mapping[str, Any], tables: Tables) -> list[RowResult]:
    """The tensor cores of every GPU have the number formats that the node is meant for.

    Params:
        needs: formats, where the inventory names none (expect.precisions).
    """
    declared = facts.get("expect.precisions")
    wanted = [one.lower() for one in (paths_of(declared) if declared is not None else params["needs"])]
    known = {one for row in tables["compute_capabilities"].rows for one in row.get("formats") or ()}
    judged = [one for one in wanted if one in known]
    if not judged:
        return [not_judged(f"no format is asked for that not every GPU has ({', '.join(sorted(known))})")]
    results = []
    for gpu in models(facts, tables):
        has = gpu.of_capability.get("formats")
        if has is None:
            results.append(about(gpu.label, unknown(f"which formats {gpu.label} has is not in the table")))
            continue
        verdict = passed if set(judged) <= set(has) else failed
        shown = ", ".join(has) or "none of them"
        results.append(about(gpu.label, verdict(f"{', '.join(judged)} in its tensor cores", shown)))
    return sum_up(results)


def cuda_level(facts: FactView, params: Mapping[str, Any], tables: Tables) -> list[RowResult]:
    """The driver's CUDA level is at least what the profile and the GPUs ask for.

    Params:
        min_cuda: the profile's floor; "0" for none.
    """
    said = driver_level(facts, tables)
    if said is None:
        return [unknown("the CUDA level of the driver is not known")]
    has = level(said)
    results = []
    for gpu in models(facts, tables):
        first = gpu.of_capability.get("first_cuda")
        floor = max(level(first or "0"), level(params["min_cuda"]))
        if floor == (0, 0):
            results.append(about(gpu.label, not_judged(f"which CUDA {gpu.label} needs is not known")))
            continue
        verdict = passed if has >= floor else failed
        expected = f"CUDA {floor[0]}.{floor[1]} or newer"
        results.append(about(gpu.label, verdict(expected, f"the driver is for CUDA {has[0]}.{has[1]}")))
    return sum_up(results)
