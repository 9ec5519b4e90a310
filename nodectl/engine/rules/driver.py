"""Rules about the driver as a whole: its branch, its flavour, and whether it and the GPUs know each other."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from nodectl.engine.rules import FactView, RowResult
from nodectl.engine.rules.gpu_rows import (
    Row,
    Tables,
    about,
    branch_of,
    failed,
    not_judged,
    passed,
    soft,
    sum_up,
    unknown,
)
from nodectl.facts.nvidia.smi_failure import NOT_FOUND

_MONTH = re.compile(r"([0-9]{4}-[0-9]{2})(?:-[0-9]{2}.*)?\Z")
_GSP_MODE_MASK = 0xF
_FLAVORS = {"open_only": ("open",), "proprietary_only": ("proprietary",), "either": ("open", "proprietary")}


def answers(facts: FactView, params: Mapping[str, Any], tables: Tables) -> list[RowResult]:
    """nvidia-smi gave no error; that it is not on the host's path says nothing of the driver."""
    problem = facts.get("driver.smi_error")
    expected = "an answer without an error"
    if problem is None:
        return [passed(expected, "it answers")]
    if problem == NOT_FOUND:
        return [unknown("nvidia-smi was not found; a driver container keeps it out of the host's path", expected)]
    return [failed(expected, str(problem))]


def branch_supported(facts: FactView, params: Mapping[str, Any], tables: Tables) -> list[RowResult]:
    """The branch has not reached its end of life, by the node's clock or the table's date, whichever is later."""
    driver = str(facts.value("driver.version"))
    branch = branch_of(driver)
    table = tables["driver_branches"]
    supported = sorted(int(row["branch"]) for row in table.rows if row.get("status") == "supported")
    expected = "a supported branch: " + ", ".join(f"R{number}" for number in supported)
    row = table.get(branch)
    if row is None or row.get("status") is None:
        if branch > supported[-1]:
            return [unknown(f"R{branch} is newer than the table of branches ({table.version})", expected)]
        if row is None:
            return [failed(expected, f"R{branch} ({driver})", "not among the branches that NVIDIA supports")]
        return [unknown(f"nothing is documented of R{branch}", expected)]
    kind, end = row.get("type"), row.get("eol")
    shown = f"R{branch} ({driver}{f', {kind}' if kind else ''})"
    if row["status"] == "eol":
        return [failed(expected, shown, f"its support ended in {end}" if end else "its support has ended")]
    if not end:
        return [passed(expected, shown)]
    # A node whose clock is behind must not make an ended branch look supported.
    month = max(_month(facts.value("node.time_utc")), _month(table.version.replace(".", "-")))
    if month > end:
        return [failed(expected, shown, f"its support ended in {end}")]
    return [passed(expected, shown, f"supported until {end}")]


def branch_ends_soon(facts: FactView, params: Mapping[str, Any], tables: Tables) -> list[RowResult]:
    """The branch, while it is supported, stays so for some time.

    Params:
        months: how many, by the node's clock.
    """
    driver = str(facts.value("driver.version"))
    row = tables["driver_branches"].get(branch_of(driver)) or {}
    end, now = row.get("eol"), _month(facts.value("node.time_utc"))
    if row.get("status") != "supported" or not end:
        return [not_judged(f"no end of R{branch_of(driver)} that is still to come is documented")]
    if not now:
        return [unknown("the node's clock was not understood")]
    left = 12 * (int(end[:4]) - int(now[:4])) + int(end[5:]) - int(now[5:])
    if left < 0:
        return [not_judged(f"its support has ended in {end}: see driver.branch_supported")]
    expected = f"supported for {params['months']} months and more"
    verdict = passed if left >= params["months"] else failed
    return [verdict(expected, f"R{branch_of(driver)}, until {end}")]


def _month(time: Any) -> str:
    """YYYY-MM of a time or date; empty where there is none."""
    match = _MONTH.match(str(time))
    return match[1] if match else ""


class Model:
    """One kind of GPU of the node, as far as the tables know it."""

    def __init__(self, pci_id: str, printed: Row, tables: Tables) -> None:
        row = tables["gpu_models"].get(pci_id) or {}
        self.row = row
        self.architecture = str(printed.get("architecture") or row.get("architecture") or "")
        self.of_architecture = tables["architectures"].get(self.architecture) or {}
        self.capability = str(row.get("compute_capability") or "")
        self.of_capability = tables["compute_capabilities"].get(self.capability) or {}
        self.label = str(printed.get("name") or row.get("name") or row.get("model") or f"the GPU {pci_id}")

    def column(self, name: str) -> Any:
        """What is known of the model, else of its compute capability or architecture; None when none of them says."""
        for row in (self.row, self.of_capability, self.of_architecture):
            if row.get(name) is not None:
                return row[name]
        return None


def models(facts: FactView, tables: Tables) -> list[Model]:
    """The kinds of GPU on the PCI bus, which are known also when the driver does not work."""
    printed: dict[str, Row] = {str(row.get("pci_id")): row for row in soft(facts, "gpu.devices", [])}
    return [Model(str(pci_id), printed.get(str(pci_id), {}), tables) for pci_id in facts.value("gpu.pci_ids")]


def module_flavor(facts: FactView, params: Mapping[str, Any], tables: Tables) -> list[RowResult]:
    """Open or proprietary kernel modules, as each GPU needs them.

    Params:
        fact: the one that says which they are: the loaded ones or those on disk.
    """
    flavor = str(facts.value(params["fact"]))
    results = []
    for model in models(facts, tables):
        allowed = _FLAVORS.get(str(model.column("kernel_modules")))
        if allowed is None:
            results.append(about(model.label, not_judged(f"no document says which modules {model.label} needs")))
            continue
        verdict = passed if flavor in allowed else failed
        results.append(about(model.label, verdict(f"{' or '.join(allowed)} kernel modules", flavor)))
    return sum_up(results)


def minimum_for_gpu(facts: FactView, params: Mapping[str, Any], tables: Tables) -> list[RowResult]:
    """The loaded branch is at least the first one that is documented for each GPU."""
    driver = str(facts.value("driver.version"))
    branch = branch_of(driver)
    results = []
    for model in models(facts, tables):
        first = model.column("min_branch") or model.column("first_branch")
        if first is None:
            results.append(about(model.label, not_judged(f"the first branch for {model.label} is not documented")))
            continue
        verdict = passed if branch >= int(first) else failed
        results.append(about(model.label, verdict(f"at least R{first}", driver)))
    return sum_up(results)


def not_too_new(facts: FactView, params: Mapping[str, Any], tables: Tables) -> list[RowResult]:
    """The driver is not past the last branch for a GPU of the node.

    Params:
        fact: the one that says its version: that of the loaded driver or of the one on disk.
    """
    driver = str(facts.value(params["fact"]))
    results = []
    for model in models(facts, tables):
        last = model.column("last_branch")
        if not model.of_architecture:
            result = not_judged(f"the architecture of {model.label} is not known")
        elif last is None:
            result = passed("a branch that still supports it", f"{model.architecture} has no last branch yet")
        else:
            verdict = failed if branch_of(driver) > int(last) else passed
            result = verdict(f"at most R{last}, the last for {model.architecture}", driver)
        results.append(about(model.label, result))
    return sum_up(results)


def one_userspace(facts: FactView, params: Mapping[str, Any], tables: Tables) -> list[RowResult]:
    """One version of the driver libraries in the usual folders."""
    versions = [str(item) for item in facts.value("driver.userspace_versions")]
    return [(passed if len(versions) == 1 else failed)("one version", ", ".join(versions))]


def gsp_not_disabled(facts: FactView, params: Mapping[str, Any], tables: Tables) -> list[RowResult]:
    """NVreg_EnableGpuFirmware does not turn GSP off where the modules cannot do without."""
    value = int(facts.value("driver.param[EnableGpuFirmware]"))
    expected = "not 0 with the open modules"
    if value & _GSP_MODE_MASK:
        return [passed(expected, str(value))]
    flavor = soft(facts, "driver.module_flavor")
    if flavor is None:
        return [unknown(f"EnableGpuFirmware is {value}, but the flavour of the modules is not known", expected)]
    if flavor == "open":
        return [failed(expected, str(value), "the open modules cannot run without GSP")]
    return [passed(expected, str(value), "GSP is off, which the proprietary modules allow up to Hopper")]
