"""Rules about which GPUs there are, and how they are set up."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from nodectl.engine.rules import CannotTellError, FactView, RowResult
from nodectl.engine.rules.gpu_rows import (
    NO_GPU_LISTED,
    Row,
    Tables,
    about,
    failed,
    gpu_label,
    gpu_model,
    gpu_name,
    is_idle,
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

_NO_ACTION = "None"
_GUESTS = ("VGPU",)
_OTHER_OWNER = "vfio-pci"
_IDENTITY = ("uuid", "name", "pci_bus_id", "memory_total_mib", "temperature_c", "pstate")
# What nvidia-smi prints in place of a value when the GPU does not answer; refused permission is another matter.
_LOST = ("gpu is lost", "unknown error", "err!", "gpu requires reset", "gpu access blocked")


def all_attached(facts: FactView, params: Mapping[str, Any], tables: Tables) -> list[RowResult]:
    """Bus, driver (/proc), NVML and the list that nvidia-smi prints agree on the GPUs.

    A container sees the bus and /proc of its host, and of the GPUs those that it was given: there a difference is
    unknown, not a failure.
    """
    container = soft(facts, "virt.container", "none")
    listed_rows = facts.nvidia_rows("gpu.devices")
    listed = {_address(row.get("pci_bus_id")) for row in listed_rows}
    results = []
    for row in facts.nvidia_rows("gpu.pci"):
        address, driver = str(row.get("pci_bus_id")), row.get("driver")
        if driver == _OTHER_OWNER:
            results.append(about(address, not_judged("given to a virtual machine (vfio-pci)")))
        elif _address(address) in listed:
            results.append(about(address, passed("listed by nvidia-smi", "listed")))
        else:
            held = f"driver {driver}" if driver else "no driver"
            results.append(about(address, failed("listed by nvidia-smi", f"on the PCI bus, {held}, not listed")))
    lost = sum(1 for result in results if result.outcome is Outcome.FAIL)
    results += _counts(facts, len(listed_rows), lost)
    if container != "none":
        results = [_seen_from_inside(result) for result in results]
    return sum_up(results)


def _seen_from_inside(result: RowResult) -> RowResult:
    """A failure as it must be taken inside a container."""
    if result.outcome is not Outcome.FAIL:
        return result
    reason = f"{result.actual}; a container may be shown only some of the GPUs"
    return about(result.subject, unknown(reason, result.expected))


def _counts(facts: FactView, listed: int, lost: int) -> list[RowResult]:
    """Whether NVML and /proc count as many GPUs as are listed: one result for both, none where all is told already.

    Args:
        lost: GPUs of the bus that are not listed. A count that is higher by just these tells nothing new.
    """
    wrong, untold = [], []
    for name, what in (("gpu.attached_count", "attached"), ("gpu.proc_count", "in /proc/driver/nvidia/gpus")):
        try:
            number = facts.get(name)
        except CannotTellError as problem:
            untold.append(str(problem))
            continue
        if number is not None and int(number) != listed and int(number) != listed + lost:
            wrong.append(f"{number} {what}")
    if wrong:
        return [failed("as many GPUs attached and in /proc as listed", f"{', '.join(wrong)}, {listed} listed")]
    return [unknown("; ".join(untold))] if untold else []


def _address(text: Any) -> str:
    """0000:0b:00.0 however it is written; nvidia-smi writes the domain with eight digits, in capitals."""
    domain, _, rest = str(text).lower().partition(":")
    return f"{domain.lstrip('0').rjust(4, '0')}:{rest}"


def answers(facts: FactView, params: Mapping[str, Any], tables: Tables) -> list[RowResult]:
    """No GPU has an error in place of what every GPU can tell."""

    def judge(row: Row) -> RowResult:
        errors: Mapping[str, str] = row.get("_errors") or {}
        lost = {field: text for field, text in errors.items() if any(word in text.casefold() for word in _LOST)}
        for field in (*_IDENTITY, *lost):
            if field in lost:
                return failed("values", f"{lost[field]} ({field})", f"{len(lost)} fields could not be read")
        return passed("values", "values")

    return judge_rows(facts.nvidia_rows("gpu.devices"), judge)


def recovery_action(facts: FactView, params: Mapping[str, Any], tables: Tables) -> list[RowResult]:
    """The driver asks for nothing: the recovery action, or on older drivers the two flags, say so."""

    def judge(row: Row) -> RowResult:
        action = read(row, "recovery_action")
        if action is not None:
            return passed("None", "None") if action == _NO_ACTION else failed("None", str(action))
        flags = {name: read(row, name) for name in ("reset_required", "drain_and_reset_recommended")}
        if all(value is None for value in flags.values()):
            return not_judged("this driver does not say what it would do")
        asked = [name.replace("_", " ") for name, value in flags.items() if value]
        return failed("None", ", ".join(asked)) if asked else passed("None", "None")

    return judge_rows(facts.nvidia_rows("gpu.devices"), judge)


def model_expected(facts: FactView, params: Mapping[str, Any], tables: Tables) -> list[RowResult]:
    """Every word of `expect.model` is in the product name, or it is the model's id in the table."""
    wanted = str(facts.value("expect.model")).strip()
    words = set(wanted.casefold().split())

    def judge(row: Row) -> RowResult:
        name = read(row, "name")
        if name is None:
            return unknown("its name is not reported", wanted)
        fits = words <= set(str(name).casefold().split())
        fits = fits or wanted.casefold() == str(gpu_model(row, tables).get("model"))
        return (passed if fits else failed)(wanted, str(name))

    return judge_rows(facts.nvidia_rows("gpu.devices"), judge)


def models_alike(facts: FactView, params: Mapping[str, Any], tables: Tables) -> list[RowResult]:
    """One product name for all GPUs, display cards left out."""
    rows = [row for row in facts.nvidia_rows("gpu.devices") if row.get("name") not in params["ignore"]]
    return _alike(rows, "name", "one model")


def vbios_alike(facts: FactView, params: Mapping[str, Any], tables: Tables) -> list[RowResult]:
    """One VBIOS for all GPUs of the same PCI id and board part number."""
    return same_on_boards(facts, {"field": "vbios_version", "what": "VBIOS"}, tables)


def same_on_boards(facts: FactView, params: Mapping[str, Any], tables: Tables) -> list[RowResult]:
    """One value of `field` for all GPUs of the same PCI id and board part number.

    Params:
        field, what: the field, and its name for a person.
        mixed: true: a GPU without a value among others that have one is a difference too.
    """
    rows = facts.nvidia_rows("gpu.devices")
    field = str(params["field"])
    boards: dict[tuple[Any, ...], list[Row]] = defaultdict(list)
    for row in rows:
        boards[(row.get("pci_id"), row.get("pci_subsystem_id"), row.get("board_part_number"))].append(row)
    results: list[RowResult] = []
    for alike in boards.values():
        has_some = any(row.get(field) is not None for row in alike)
        if params.get("mixed") and has_some:
            alike = [row if _told(row, field) else {**row, field: "none"} for row in alike]
        results += _alike(alike, field, f"one {params['what']}")
    return sum_up(results) if rows else [unknown(NO_GPU_LISTED)]


def _told(row: Row, field: str) -> bool:
    return row.get(field) is not None or field in (row.get("_errors") or {})


def bar1_covers_memory(facts: FactView, params: Mapping[str, Any], tables: Tables) -> list[RowResult]:
    """On SXM boards BAR1 is at least as large as the memory; GPUs with MIG on show that of a slice."""

    def judge(row: Row) -> RowResult:
        model = gpu_model(row, tables)
        if model.get("nvlink") != "baseboard" or model.get("imex"):
            return not_judged("only SXM boards of x86 systems are judged")
        bar1, memory = read(row, "bar1_total_mib"), read(row, "memory_total_mib")
        if bar1 is None or memory is None or read(row, "mig_current"):
            return not_judged("BAR1 or memory of the whole GPU is not reported (MIG)")
        return (passed if bar1 >= memory else failed)(f"at least {memory} MiB, its memory", f"{bar1} MiB")

    return judge_rows(facts.nvidia_rows("gpu.devices"), judge)


def _alike(rows: Sequence[Row], field: str, expected: str) -> list[RowResult]:
    """Every row has the commonest value of the field; without a majority the whole is one failure."""
    unread = [row for row in rows if field in (row.get("_errors") or {})]
    values = Counter(str(row[field]) for row in rows if row.get(field) is not None)
    if unread or not values:
        reason = "; ".join(f"{gpu_label(row)}: {row['_errors'][field]}" for row in unread)
        if not rows:
            return [unknown(NO_GPU_LISTED)]
        return [unknown(reason, expected) if unread else not_judged(f"{field} is not reported")]
    (common, number), *others = values.most_common()
    if not others:
        return [passed(expected, f"{common} on {number} of {number}")]
    if others[0][1] == number:
        return [failed(expected, ", ".join(f"{value} on {count}" for value, count in values.most_common()))]
    return [
        about(gpu_label(row), failed(f"{common}, as on {number} others", str(row[field])))
        for row in rows
        if row.get(field) is not None and str(row[field]) != common
    ]


def memory_total(facts: FactView, params: Mapping[str, Any], tables: Tables) -> list[RowResult]:
    """At least the model's memory, less a tolerance; more is a GDDR board with ECC off."""
    tolerance = float(params["tolerance"])

    def judge(row: Row) -> RowResult:
        if row.get("virtualization_mode") in _GUESTS:
            return not_judged("a vGPU has the memory of its profile")
        documented = gpu_model(row, tables).get("memory_mib")
        if documented is None:
            return not_judged(f"the memory of {gpu_name(row)} is not documented")
        total = read(row, "memory_total_mib")
        if total is None:
            return unknown("its memory is not reported")
        verdict = passed if total >= int(documented) * (1 - tolerance) else failed
        return verdict(f"at least {documented} MiB (less {tolerance:.0%})", f"{total} MiB")

    return judge_rows(facts.nvidia_rows("gpu.devices"), judge)


def retired_pages(facts: FactView, params: Mapping[str, Any], tables: Tables) -> list[RowResult]:
    """Single and double bit retirements together stay under the limit."""
    limit = int(params["max_pages"])

    def judge(row: Row) -> RowResult:
        counts = [read(row, name) for name in ("retired_pages_sbe", "retired_pages_dbe")]
        told = [count for count in counts if count is not None]
        if not told:
            return not_judged("this GPU remaps rows instead of retiring pages")
        return (passed if sum(told) <= limit else failed)(f"at most {limit} pages", f"{sum(told)} pages")

    return judge_rows(facts.nvidia_rows("gpu.devices"), judge)


def mig_driver(facts: FactView, params: Mapping[str, Any], tables: Tables) -> list[RowResult]:
    """Where MIG is on, the driver is at least the first one that does MIG on this model."""
    driver = str(facts.value("driver.version"))

    def judge(row: Row) -> RowResult:
        if not read(row, "mig_current"):
            return not_judged("MIG is off")
        first = gpu_model(row, tables).get("mig_min_driver")
        if first is None:
            return not_judged(f"the first driver with MIG on {gpu_name(row)} is not documented")
        return (passed if version(driver) >= version(first) else failed)(f"at least {first}", driver)

    return judge_rows(facts.nvidia_rows("gpu.devices"), judge)


def idle_memory_free(facts: FactView, params: Mapping[str, Any], tables: Tables) -> list[RowResult]:
    """No memory is held where nothing runs."""
    limit = int(params["max_used_mib"])

    def judge(row: Row) -> RowResult:
        used, processes = read(row, "memory_used_mib"), read(row, "processes_count")
        if used is None or processes is None:
            return not_judged("memory or processes are not reported")
        if processes or not is_idle(row, 1):
            return not_judged("the GPU is in use")
        return (passed if used <= limit else failed)(f"at most {limit} MiB", f"{used} MiB")

    return judge_rows(facts.nvidia_rows("gpu.devices"), judge)
