"""Rules about GPUs and accelerators of AMD, Habana and Intel. Which vendor's is a parameter of the check."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from typing import Any

from nodectl.engine.rules import FactView, RowResult
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
)

_OTHER_OWNER = "vfio-pci"
_WORDS = {"amd": "AMD GPU", "habana": "Gaudi", "intel": "Intel GPU"}
_DKMS = re.compile(r"(?:\d+:)?\d+\.\d+\.\d+\.(\d{5}|\d{8})(?!\d)")


def label(row: Row) -> str:
    """`AMD GPU 3`: the vendors count apart."""
    return f"{_WORDS.get(str(row.get('vendor')), 'GPU')} {row.get('index')}"


def all_listed(facts: FactView, params: Mapping[str, Any], tables: Tables) -> list[RowResult]:
    """Every device of the vendor on the PCI bus is told of by its driver and tool.

    A container sees the bus of its host and may be given only some of the devices: there a missing one is unknown.

    Params:
        vendor: whose.
        tool: what lists them, for the words.
    """
    listed = {row.get("pci_bus_id") for row in facts.rows_of(params["vendor"], "gpu.devices")}
    inside = facts.get("virt.container", "none") != "none"
    expected = f"listed by {params['tool']}"
    results = []
    for row in facts.rows_of(params["vendor"], "gpu.pci"):
        address, driver = str(row.get("pci_bus_id")), row.get("driver")
        if driver == _OTHER_OWNER:
            result = not_judged("given to a virtual machine (vfio-pci)")
        elif address in listed:
            result = passed(expected, "listed")
        else:
            actual = f"on the PCI bus, {f'driver {driver}' if driver else 'no driver'}, not listed"
            reason = f"{actual}; a container may be shown only some of the devices"
            result = unknown(reason, expected) if inside else failed(expected, actual)
        results.append(about(address, result))
    return sum_up(results)


def alike(facts: FactView, params: Mapping[str, Any], tables: Tables) -> list[RowResult]:
    """Devices of one PCI id have one value of a field: those that differ from the commonest fail.

    Params:
        vendor, field: of which rows of gpu.devices.
        what: the field in words.
    """
    field, expected = params["field"], f"one {params['what']} for all"
    results = []
    rows = facts.rows_of(params["vendor"], "gpu.devices")
    for pci_id in dict.fromkeys(row.get("pci_id") for row in rows):
        group = [row for row in rows if row.get("pci_id") == pci_id]
        values = Counter(str(row[field]) for row in group if row.get(field) is not None)
        tied = len(values) > 1 and values.most_common(2)[0][1] == values.most_common(2)[1][1]
        if tied:
            shown = ", ".join(f"{value} on {number}" for value, number in values.most_common())
            results.append(failed(expected, shown))
            continue
        common = values.most_common(1)[0][0] if values else None
        results += judge_rows(group, lambda row, common=common: _as_common(row, field, common, expected), label)  # type: ignore[misc]
    return sum_up(results)


def _as_common(row: Row, field: str, common: str | None, expected: str) -> RowResult:
    value = read(row, field)
    if value is None:
        return not_judged(f"{field} is not reported")
    if str(value) == common:
        return passed(expected, str(value))
    return failed(f"{common}, as on the others", str(value))


def firmware_alike(facts: FactView, params: Mapping[str, Any], tables: Tables) -> list[RowResult]:
    """Each part of the devices of one PCI id has one firmware version."""
    rows = facts.rows_of(params["vendor"], "gpu.devices")
    common: dict[tuple[Any, str], Counter[str]] = {}
    for row in rows:
        for part, version in (row.get("firmware") or {}).items():
            common.setdefault((row.get("pci_id"), part), Counter())[str(version)] += 1

    def judge(row: Row) -> RowResult:
        firmware = read(row, "firmware")
        if not firmware:
            return not_judged("firmware is not reported")
        wrong = []
        for part, version in firmware.items():
            usual = common[(row.get("pci_id"), part)].most_common(1)[0][0]
            if str(version) != usual:
                wrong.append(f"{part} {version} (others {usual})")
        expected = "the firmware of the others"
        return failed(expected, ", ".join(wrong)) if wrong else passed(expected, f"{len(firmware)} parts alike")

    return judge_rows(rows, judge, label)


def pcie_speed(facts: FactView, params: Mapping[str, Any], tables: Tables) -> list[RowResult]:
    """The PCIe link runs at the highest generation of the device while it works; an idle link may be slow."""

    def judge(row: Row) -> RowResult:
        now, best = read(row, "pcie_gen_current"), read(row, "pcie_gen_max")
        if now is None or best is None:
            return not_judged("the PCIe generation is not reported")
        expected, actual = f"generation {best}", f"generation {now}"
        if now >= best:
            return passed(expected, actual)
        if not read(row, "gpu_utilization_pct"):
            return not_judged(f"idle, {actual} of {best}")
        return failed(expected, actual)

    return judge_rows(facts.rows_of(params["vendor"], "gpu.devices"), judge, label)


def memory_total(facts: FactView, params: Mapping[str, Any], tables: Tables) -> list[RowResult]:
    """At least the model's memory, less a tolerance."""
    tolerance = float(params["tolerance"])

    def judge(row: Row) -> RowResult:
        model = tables["accelerators"].get(read(row, "pci_id")) or {}
        documented, total = model.get("memory_mib"), read(row, "memory_total_mib")
        if documented is None:
            return not_judged(f"the memory of {row.get('pci_id') or 'this device'} is not documented")
        if total is None:
            return not_judged("memory is not reported")
        if row.get("memory_partition") not in (None, "NPS1") or row.get("compute_partition") not in (None, "SPX"):
            return not_judged("the GPU is partitioned: what it shows may be the memory of a part")
        verdict = passed if total >= int(documented) * (1 - tolerance) else failed
        return verdict(f"at least {documented} MiB (less {tolerance:.0%})", f"{total} MiB")

    return judge_rows(facts.rows_of(params["vendor"], "gpu.devices"), judge, label)


def one_hive(facts: FactView, params: Mapping[str, Any], tables: Tables) -> list[RowResult]:
    """The GPUs of a baseboard are in one XGMI hive. PCIe cards may be bridged in several, and are not judged."""
    rows = []
    for row in facts.rows_of("amd", "gpu.devices"):
        model = tables["accelerators"].get(row.get("pci_id")) or {}
        if str(model.get("baseboard")).casefold() == "true":
            rows.append(row)
    if not rows:
        return [not_judged("no GPU of a baseboard that is known to be linked")]
    if all(row.get("xgmi_hive_id") is None for row in rows):
        return [not_judged("the driver does not report XGMI hives")]
    common = Counter(str(row.get("xgmi_hive_id")) for row in rows).most_common(1)[0][0]

    def judge(row: Row) -> RowResult:
        hive = read(row, "xgmi_hive_id")
        expected = "in the hive of the others"
        return passed(expected, "one hive") if str(hive) == common else failed(expected, f"hive {hive or 'none'}")

    return judge_rows(rows, judge, label)


def device_nodes(facts: FactView, params: Mapping[str, Any], tables: Tables) -> list[RowResult]:
    """/dev/kfd and a render node a GPU are there, for their group to read and write."""
    rows = {str(row.get("path")): row for row in facts.rows("amd.device_nodes")}
    renders = [path for path in rows if path.startswith("/dev/dri/renderD")]
    count = int(facts.value("amd.count"))
    results = []
    if "/dev/kfd" not in rows:
        results.append(about("/dev/kfd", failed("there", "not there")))
    if len(renders) < count:
        results.append(about("/dev/dri", failed(f"at least {count} render nodes", f"{len(renders)} render nodes")))
    for path, row in rows.items():
        ok = row.get("group_access") or row.get("all_access")
        expected = "its group may read and write it"
        results.append(about(path, passed(expected, "so") if ok else failed(expected, "only its owner may")))
    return sum_up(results)


def rocm_pair(facts: FactView, params: Mapping[str, Any], tables: Tables) -> list[RowResult]:
    """ROCm and the amdgpu driver of AMD's packages are of releases that AMD has tested together."""
    package, rocm = str(facts.value("package[amdgpu-dkms]")), str(facts.value("amd.rocm_version"))
    match = _DKMS.match(package)
    if match is None:
        return [not_judged(f"the release is not in the version of amdgpu-dkms ({package})")]
    digits = match[1]
    major, minor = (digits[:1], digits[1:3]) if len(digits) == 5 else (digits[:2], digits[2:4])
    release = f"{int(major)}.{int(minor)}"
    row = tables["rocm_driver"].get(release)
    if row is None:
        return [not_judged(f"what driver release {release} goes with was not read in a document")]
    tested = row["rocm"]
    ours = ".".join(rocm.split(".")[:2])
    verdict = passed if ours in tested else failed
    return [verdict(f"ROCm {', '.join(tested)} with driver release {release}", f"ROCm {rocm}")]


def health(facts: FactView, params: Mapping[str, Any], tables: Tables) -> list[RowResult]:
    """xpu-smi finds every component of every GPU healthy; what it does not know is not judged."""

    def judge(row: Row) -> RowResult:
        verdicts = read(row, "health") or {}
        known = {name: said for name, said in verdicts.items() if str(said).casefold() not in ("", "unknown")}
        if not known:
            return not_judged("xpu-smi tells nothing of its health")
        bad = [f"{name} {said}" for name, said in known.items() if str(said).casefold() != "ok"]
        return failed("ok", ", ".join(bad)) if bad else passed("ok", "ok")

    return judge_rows(facts.rows_of("intel", "gpu.devices"), judge, label)


def external_ports(facts: FactView, params: Mapping[str, Any], tables: Tables) -> list[RowResult]:
    """All ports of a Gaudi that lead out of the node are up. A node whose are all down is not cabled."""
    rows = facts.rows_of("habana", "gpu.devices")
    told = [row for row in rows if row.get("ports_external_up") is not None]
    if told and not any(row["ports_external_up"] for row in told) and len(told) == len(rows):
        return [not_judged("no external port is up: the node is not cabled for scale-out")]

    def judge(row: Row) -> RowResult:
        up, down = read(row, "ports_external_up"), read(row, "ports_external_down")
        if up is None:
            return not_judged("ports are not reported")
        shown = [port for port in row.get("ports_down") or [] if "external" in port]
        return failed("no external port down", f"down: {', '.join(shown)}") if down else passed("all up", f"{up} up")

    return judge_rows(rows, judge, label)


def same_release(facts: FactView, params: Mapping[str, Any], tables: Tables) -> list[RowResult]:
    """The loaded Gaudi driver is of the release of hl-smi: the first two numbers agree."""
    driver, tool = str(facts.value("gaudi.driver_version")), str(facts.value("gaudi.smi_version"))
    verdict = passed if driver.split(".")[:2] == tool.split(".")[:2] else failed
    return [verdict(f"release {'.'.join(tool.split('.')[:2])}, that of hl-smi", driver)]


def against_limit(facts: FactView, params: Mapping[str, Any], tables: Tables) -> list[RowResult]:
    """A field of every row against another field of the same row: what the device says that it can or may.

    Params:
        vendor, rows: whose rows of which table.
        field, limit: the two fields; a row that has not both is not judged.
        want: "below" or "at least".
    """
    field, limit, want = params["field"], params["limit"], params["want"]

    def judge(row: Row) -> RowResult:
        now, bound = read(row, field), read(row, limit)
        if now is None or bound is None:
            return not_judged(f"{field if now is None else limit} is not reported")
        holds = now < bound if want == "below" else now >= bound
        return (passed if holds else failed)(f"{want} {bound:g} ({limit})", f"{now:g}")

    if params["rows"] == "gpu.pci":
        return judge_rows(facts.rows_of(params["vendor"], "gpu.pci"), judge, lambda row: str(row.get("pci_bus_id")))
    return judge_rows(facts.rows_of(params["vendor"], "gpu.devices"), judge, label)
