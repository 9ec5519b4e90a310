"""Facts of `nvidia-smi -q -x` (or of its text form `nvidia-smi -q`): the GPUs as the driver sees them.

A list that is not whole never becomes a value: a reply that was cut after three of eight GPUs gives errors, so that no
count and no "every GPU" check can pass on it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from nodectl.facts.conform import ERRORS_KEY
from nodectl.facts.nvidia.rows import DEVICE_FIELDS, PROCESS_FIELDS, ReplyRecord, device_row, gpu_numbers, process_rows
from nodectl.facts.nvidia.smi_failure import failure, no_devices
from nodectl.facts.nvidia.smi_text import UnreadableError, integer, stated, version
from nodectl.facts.nvidia.text import looks_like_text, read_text
from nodectl.facts.nvidia.xml import ROOT, read_xml
from nodectl.facts.reading import Row, errors_for, origin
from nodectl.facts.registry import Context, FactSpec
from nodectl.model import Fact, absent, error, present

if TYPE_CHECKING:
    from nodectl.probe.transcript import Section, SourceReply

SOURCE = "nvidia_smi_q"
VENDOR = "nvidia"
XML_COMMAND = "nvidia-smi -q -x"
TEXT_COMMAND = "nvidia-smi -q"

FACTS: tuple[FactSpec, ...] = (
    FactSpec(
        name="driver.smi_error",
        type="str",
        source=SOURCE,
        about="What nvidia-smi complained about; absent when it works",
        varies=True,
    ),
    FactSpec(
        name="cuda.driver_version",
        type="version",
        source=SOURCE,
        about="The newest CUDA version that the driver supports",
    ),
    FactSpec(
        name="gpu.count",
        type="int",
        source=SOURCE,
        vendor=VENDOR,
        about="GPUs that their vendors' tools list (nvidia-smi, amd-smi, hl-smi, xpu-smi)",
    ),
    FactSpec(
        name="gpu.attached_count",
        type="int",
        source=SOURCE,
        about="GPUs that the driver says are attached; more than gpu.count when one cannot be listed",
    ),
    FactSpec(
        name="gpu.models",
        type="list",
        source=SOURCE,
        vendor=VENDOR,
        about="The different product names of the GPUs",
    ),
    FactSpec(
        name="gpu.devices",
        type="rows",
        source=SOURCE,
        vendor=VENDOR,
        fields=DEVICE_FIELDS,
        about="One row a GPU, as its vendor's tool has it (nvidia-smi, amd-smi, hl-smi, xpu-smi)",
    ),
    FactSpec(
        name="gpu.processes", type="rows", source=SOURCE, fields=PROCESS_FIELDS, about="The processes that use a GPU"
    ),
)
_FROM_LIST = ("gpu.count", "gpu.models", "gpu.devices", "gpu.processes")
_ALL = ("cuda.driver_version", "gpu.attached_count", *_FROM_LIST)
_count = integer()


def parse_query(reply: SourceReply, context: Context) -> Iterable[Fact]:
    """Facts of one `nvidia-smi -q` call."""
    section = reply.find("cmd", XML_COMMAND) or reply.find("cmd", TEXT_COMMAND)
    if section is None:
        return errors_for(["driver.smi_error", *_ALL], "the probe did not run nvidia-smi", **origin(reply))
    where = origin(reply, section)
    if no_devices(section):
        return [
            present("driver.smi_error", failure(section, section.text), **where),
            absent("cuda.driver_version", "nvidia-smi found no GPU and printed no CUDA version", **where),
            *(present(name, 0, **where) for name in ("gpu.count", "gpu.attached_count")),
            *(present(name, [], **where) for name in ("gpu.models", "gpu.devices", "gpu.processes")),
        ]
    record = _read(section)
    if record is None:
        reason = failure(section, section.text) or "nvidia-smi printed nothing"
        if section.rc and _has_no_gpu(reply):
            none = "there is no NVIDIA GPU"
            return [present("driver.smi_error", reason, **where), *(absent(name, none, **where) for name in _ALL)]
        return [present("driver.smi_error", reason, **where), *errors_for(_ALL, reason, **where)]
    return [_smi_error(section, record, where), *_head_facts(record, where), *_list_facts(record, where)]


def _has_no_gpu(reply: SourceReply) -> bool:
    """The source looked for NVIDIA's GPUs without nvidia-smi, and found none."""
    devices = reply.find("text", "NVIDIA devices")
    return devices is not None and not devices.text.strip()


def _read(section: Section) -> ReplyRecord | None:
    """The answer, or None where nvidia-smi printed something else."""
    if f"<{ROOT}" in section.text:
        return read_xml(section.text)
    if looks_like_text(section.text):
        return read_text(section.text)
    return None


def _smi_error(section: Section, record: ReplyRecord, where: dict[str, Any]) -> Fact:
    reason = failure(section, record.stray)
    if reason:
        return present("driver.smi_error", reason, **where)
    if record.problem:
        return present("driver.smi_error", f"its answer cannot be used: {record.problem}", **where)
    return absent("driver.smi_error", "nvidia-smi works", **where)


def _head_facts(record: ReplyRecord, where: dict[str, Any]) -> Iterable[Fact]:
    for name, key, read in (
        ("cuda.driver_version", "cuda_version", version),
        ("gpu.attached_count", "attached_gpus", _count),
    ):
        text = record.head.get(key)
        if text is None:
            if record.problem:
                yield error(name, f"nvidia-smi -q: {record.problem}", **where)
            else:
                yield absent(name, "this nvidia-smi does not print it", **where)
            continue
        try:
            said = stated(text)
            if said is None:
                yield absent(name, f"nvidia-smi says {text}", **where)
            else:
                yield present(name, read(said), **where)
        except UnreadableError as problem:
            yield error(name, str(problem), **where)


def _list_facts(record: ReplyRecord, where: dict[str, Any]) -> Iterable[Fact]:
    if record.problem:
        return errors_for(_FROM_LIST, f"nvidia-smi -q: {record.problem}", **where)
    numbers = gpu_numbers(record)
    rows = [device_row(gpu, index) for index, gpu in zip(numbers, record.gpus, strict=True)]
    facts = [present("gpu.count", len(rows), **where), present("gpu.devices", rows, **where)]
    unnamed = _first_error(rows, "name")
    names = [name for name in dict.fromkeys(row.get("name") for row in rows) if name is not None]
    if unnamed:
        facts.append(error("gpu.models", unnamed, **where))
    elif rows and not names:
        facts.append(absent("gpu.models", "this nvidia-smi -q does not print the GPUs' names", **where))
    else:
        facts.append(present("gpu.models", names, **where))
    untold = _first_error(rows, "processes_count")
    if untold:
        facts.append(error("gpu.processes", untold, **where))
    else:
        listed = zip(numbers, record.gpus, strict=True)
        processes = [row for index, gpu in listed for row in process_rows(gpu, index)]
        facts.append(present("gpu.processes", processes, **where))
    return facts


def _first_error(rows: list[Row], field: str) -> str:
    for row in rows:
        reason = row.get(ERRORS_KEY, {}).get(field)
        if reason:
            return f"GPU {row['index']}: {reason}"
    return ""


SOURCES = {SOURCE: parse_query}
