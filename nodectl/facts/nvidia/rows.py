"""One GPU as nvidia-smi describes it -> one row of `gpu.devices`, and its processes -> rows of `gpu.processes`.

The XML and the text form of `nvidia-smi -q` both arrive here as a `GpuRecord`, so that they give the same rows.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from nodectl.facts.conform import ERRORS_KEY
from nodectl.facts.nvidia import smi_text
from nodectl.facts.nvidia.columns import COLUMNS, Column
from nodectl.facts.nvidia.smi_text import Reader, UnreadableError, stated
from nodectl.facts.reading import Row
from nodectl.facts.registry import Field

Leaves = dict[str, str]

MAX_PROCESSES = 4096


@dataclass
class GpuRecord:
    """What nvidia-smi printed about one GPU.

    Attributes:
        leaves: XML path below `<gpu>` -> printed text; the `id` attribute is `@id`. Only what has no children.
        processes: for each process its `pid`, `type`, `process_name`, `used_memory` as printed.
        mig_devices: number of MIG devices listed.
    """

    leaves: Leaves = field(default_factory=dict)
    processes: list[Leaves] = field(default_factory=list)
    mig_devices: int = 0


@dataclass
class ReplyRecord:
    """A whole `nvidia-smi -q` reply.

    Attributes:
        head: what is printed before the first GPU: `driver_version`, `cuda_version`, `attached_gpus`.
        gpus: the GPUs that were printed to their end, in nvidia-smi's order.
        problem: why this is not the whole list; empty when it is.
        stray: text that belongs to no field: warnings and refusals.
    """

    head: Leaves = field(default_factory=dict)
    gpus: list[GpuRecord] = field(default_factory=list)
    problem: str = ""
    stray: str = ""


# The names of constraints/throttle.yaml and of the newest NVML header; what drivers print differs in two places.
REASONS = {
    "gpu_idle": "gpu_idle",
    "applications_clocks_setting": "applications_clocks_setting",
    "sw_power_cap": "sw_power_cap",
    "hw_slowdown": "hw_slowdown",
    "hw_thermal_slowdown": "hw_thermal_slowdown",
    "hw_power_brake_slowdown": "hw_power_brake_slowdown",
    "sync_boost": "sync_boost",
    "sw_thermal_slowdown": "sw_thermal_slowdown",
    "display_clocks_setting": "display_clock_setting",
    "unknown": "unknown",
}
COUNTERS = {
    "sw_power_cap": "sw_power_cap",
    "sync_boost": "sync_boost",
    "sw_therm_slowdown": "sw_thermal_slowdown",
    "hw_therm_slowdown": "hw_thermal_slowdown",
    "hw_power_brake": "hw_power_brake_slowdown",
}
_REASON_SECTIONS = (  # renamed in driver 535.54.03
    ("clocks_event_reasons", "clocks_event_reason_"),
    ("clocks_throttle_reasons", "clocks_throttle_reason_"),
)
_BANKS = ("max", "high", "partial", "low", "none")
FABRIC_HEALTH = (
    "bandwidth",
    "route_recovery_in_progress",
    "route_unhealthy",
    "access_timeout_recovery",
    "incorrect_configuration",
    "partition_assigned",
)
_count = smi_text.integer()
_banks = smi_text.integer("bank(s)")
_microseconds = smi_text.integer("us")
_mib = smi_text.integer("MiB", "MB")

_SRAM_UNCORRECTABLE = ("sram_uncorrectable", "sram_uncorrectable_parity", "sram_uncorrectable_secded")
# name -> (counter group, what is added up). One branch prints only some of the addends: the newer SRAM and DRAM
# counters, or the single_bit and double_bit totals of GPUs before Turing.
ECC_SUMS: dict[str, tuple[str, tuple[str, ...]]] = {
    "ecc_uncorrectable_volatile": ("volatile", (*_SRAM_UNCORRECTABLE, "dram_uncorrectable", "double_bit/total")),
    "ecc_correctable_volatile": ("volatile", ("sram_correctable", "dram_correctable", "single_bit/total")),
    "ecc_uncorrectable_aggregate": ("aggregate", (*_SRAM_UNCORRECTABLE, "dram_uncorrectable", "double_bit/total")),
    "ecc_correctable_aggregate": ("aggregate", ("sram_correctable", "dram_correctable", "single_bit/total")),
    "ecc_sram_uncorrectable_volatile": ("volatile", _SRAM_UNCORRECTABLE),
    "ecc_dram_uncorrectable_volatile": ("volatile", ("dram_uncorrectable", "double_bit/device_memory")),
    "ecc_sram_uncorrectable_aggregate": ("aggregate", _SRAM_UNCORRECTABLE),
}

# name -> (section, reader of a member, printed leaf -> key of the member)
_GROUPS: dict[str, tuple[str, Reader, dict[str, str]]] = {
    "clocks_event_counters_us": (
        "clocks_event_reasons_counters",
        _microseconds,
        {f"clocks_event_reasons_counters_{printed}": key for printed, key in COUNTERS.items()},
    ),
    "remap_banks": (
        "remapped_rows/row_remapper_histogram",
        _banks,
        {f"row_remapper_histogram_{key}": key for key in _BANKS},
    ),
    "fabric_health_detail": ("fabric/health", smi_text.plain, {key: key for key in FABRIC_HEALTH}),
}

COMPUTED: tuple[Field, ...] = (
    Field(
        "index",
        "int",
        "",
        "nvidia-smi's number of the GPU, from 0: its place in the list or, where a GPU that is attached is not listed, "
        "its minor number, which keeps the gap as nvidia-smi nvlink and topo do",
    ),
    Field("clocks_event_reasons", "list", "", "what holds the clocks down now (throttle reasons), by NVML's names"),
    Field("clocks_event_counters_us", "any", "us", "time that each reason held the clocks down, since driver load"),
    Field(
        "remap_banks", "any", "", "memory banks by how many spare rows they have left: max, high, partial, low, none"
    ),
    *(Field(name, "int", "", name.replace("_", " ")) for name in ECC_SUMS),
    Field("fabric_health_detail", "any", "", "what the fabric's health is made of, as printed"),
    Field("mig_devices", "int", "", "MIG devices that are set up"),
    Field("processes_count", "int", "", "processes that use the GPU"),
)
DEVICE_FIELDS: tuple[Field, ...] = (
    COMPUTED[0],
    *(Field(column.name, column.kind.type, column.kind.unit, column.about) for column in COLUMNS),
    *COMPUTED[1:],
)


def gpu_numbers(record: ReplyRecord) -> list[int]:
    """nvidia-smi's number of each listed GPU, in the order of the list.

    `nvidia-smi -q` prints no numbers. The list is in the order of PCI addresses, so a GPU's place in it is its number
    as long as every attached GPU is listed. One that is attached but cannot be listed (it has fallen off the bus) keeps
    its number, and the list has a gap there. The minor numbers show where, if they rise with the PCI addresses as they
    do on SXM boards; on other machines they are in an order of their own (3 2 1 0 7 6 5 4 was seen) and tell nothing.
    """
    places = list(range(len(record.gpus)))
    attached = record.head.get("attached_gpus", "")
    if not attached.isdecimal() or int(attached[:6]) <= len(places):
        return places
    minors = [gpu.leaves.get("minor_number", "") for gpu in record.gpus]
    if not all(minor.isdecimal() and len(minor) < 6 for minor in minors):
        return places
    numbers = [int(minor) for minor in minors]
    rising = numbers == sorted(set(numbers)) and max(numbers, default=0) < int(attached[:6])
    return numbers if rising else places


def device_row(gpu: GpuRecord, index: int) -> Row:
    """The row of one GPU.

    A field that the driver does not print is left out; one that the device has not got is None; one that was not
    answered is None and named in `_errors`.
    """
    row: Row = {"index": index}
    errors: dict[str, str] = {}
    leaves = gpu.leaves
    for column in COLUMNS:
        _read_column(column, leaves, row, errors)
    _read_reasons(leaves, row, errors)
    for name, (section, read, keys) in _GROUPS.items():
        _read_group(leaves, row, errors, name, read, section, keys)
    for name, (group, addends) in ECC_SUMS.items():
        _read_sum(leaves, row, errors, name, [f"ecc_errors/{group}/{addend}" for addend in addends])
    _count_parts(gpu, row, errors)
    if errors:
        row[ERRORS_KEY] = errors
    return row


def process_rows(gpu: GpuRecord, index: int) -> list[Row]:
    """The processes of one GPU, with the base name of each program only."""
    rows = []
    for process in gpu.processes[:MAX_PROCESSES]:
        row: Row = {"gpu_index": index}
        errors: dict[str, str] = {}
        for name, path, read in _PROCESS:
            _read_into(row, errors, name, process.get(path), read)
        if errors:
            row[ERRORS_KEY] = errors
        rows.append(row)
    return rows


_PROCESS: tuple[tuple[str, str, Reader], ...] = (
    ("pid", "pid", _count),
    ("type", "type", smi_text.plain),
    ("name", "process_name", smi_text.process_name),
    ("memory_used_mib", "used_memory", _mib),
)
PROCESS_FIELDS = (
    Field("gpu_index", "int", "", "the GPU, as in gpu.devices"),
    Field("pid", "int", "", "process id"),
    Field("type", "str", "", "C compute, G graphics, C+G both, M+C MPS client"),
    Field("name", "str", "", "base name of the program, never its arguments"),
    Field("memory_used_mib", "int", "MiB", "GPU memory that it holds"),
)


def find(leaves: Leaves, path: str) -> str | None:
    """The text at `path`; that of a parent which is printed as one word (`<remapped_rows>N/A</remapped_rows>`)."""
    text = leaves.get(path)
    while text is None:
        path, slash, _ = path.rpartition("/")
        if not slash:
            return None
        parent = leaves.get(path)
        if parent is not None:
            return _not_a_value(parent) if parent not in ("", "None") else None
    return text


def _not_a_value(text: str) -> str:
    """A whole section printed as one word: N/A or a failure, never the value of a field inside it."""
    try:
        return "N/A" if stated(text) is None else "[no such part]"
    except UnreadableError:
        return text


def _read_into(row: Row, errors: dict[str, str], name: str, text: str | None, read: Reader) -> None:
    if text is None:
        return
    try:
        said = stated(text)
        row[name] = None if said is None else read(said)
    except UnreadableError as problem:
        row[name] = None
        errors[name] = str(problem)


def _read_column(column: Column, leaves: Leaves, row: Row, errors: dict[str, str]) -> None:
    """The first place with a value counts; then a place that was not answered; then "no such thing"."""
    name, read = column.name, column.kind.read
    failed = ""
    for path in column.paths:
        text = leaves.get(path)
        if text is None:
            text = find(leaves, path)
            if text is None:
                continue
        try:
            said = stated(text)
            if said is not None:
                row[name] = read(said)
                return
        except UnreadableError as problem:
            failed = failed or str(problem)
        row[name] = None
    if failed:
        errors[name] = failed


def _read_reasons(leaves: Leaves, row: Row, errors: dict[str, str]) -> None:
    """`clocks_event_reasons`: the active ones. One reason that was not answered leaves the list unknown."""
    name = "clocks_event_reasons"
    for section, prefix in _REASON_SECTIONS:
        active: list[str] = []
        answered = 0
        for printed, key in REASONS.items():
            text = find(leaves, f"{section}/{prefix}{printed}")
            if text is None:
                continue
            row.setdefault(name, None)
            try:
                said = stated(text)
                if said is None:
                    continue
                answered += 1
                if smi_text.yes_no(said):
                    active.append(key)
            except UnreadableError as problem:
                row[name] = None
                errors[name] = f"{key}: {problem}"
                return
        if answered:
            row[name] = active
            return


def _read_group(
    leaves: Leaves, row: Row, errors: dict[str, str], name: str, read: Reader, section: str, keys: dict[str, str]
) -> None:
    """A dict of the members that have a value; None when none has; unknown when one was not answered."""
    members: dict[str, Any] = {}
    printed = False
    for path, key in keys.items():
        text = find(leaves, f"{section}/{path}")
        if text is None:
            continue
        printed = True
        try:
            said = stated(text)
            if said is not None:
                members[key] = read(said)
        except UnreadableError as problem:
            row[name] = None
            errors[name] = f"{key}: {problem}"
            return
    if printed:
        row[name] = members or None


def _read_sum(leaves: Leaves, row: Row, errors: dict[str, str], name: str, paths: list[str]) -> None:
    """The sum of those addends that the driver prints. One that was not answered leaves the sum unknown."""
    total: int | None = None
    printed = False
    for path in paths:
        text = find(leaves, path)
        if text is None:
            continue
        printed = True
        try:
            said = stated(text)
            if said is not None:
                total = (total or 0) + _count(said)
        except UnreadableError as problem:
            row[name] = None
            errors[name] = f"{path.rpartition('/')[2]}: {problem}"
            return
    if printed:
        row[name] = total


def _count_parts(gpu: GpuRecord, row: Row, errors: dict[str, str]) -> None:
    """`mig_devices` and `processes_count`: what is listed, or what is said instead of a list."""
    for name, section, number in (
        ("mig_devices", "mig_devices", gpu.mig_devices),
        ("processes_count", "processes", len(gpu.processes)),
    ):
        text = gpu.leaves.get(section)
        if number or text in ("", "None"):
            row[name] = number
        elif text is not None:
            _read_into(row, errors, name, text, _count)
