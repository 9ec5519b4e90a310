"""Rules about NCCL: its version against GPUs and driver, its plugins, and settings that hold for every job."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from nodectl.engine.rules import FactView, RowResult
from nodectl.engine.rules.cuda import level, runs
from nodectl.engine.rules.driver import models
from nodectl.engine.rules.gpu_rows import (
    Row,
    Tables,
    about,
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

_BUILD = re.compile(r"\+cuda([0-9]{1,3}\.[0-9]{1,3})")
_BLACKWELL = (10, 0)
_PACKAGES = ("package[libnccl2]", "package[libnccl]")


def _cached(facts: FactView, judge: Callable[[Row], RowResult]) -> list[RowResult]:
    """One verdict for each library that the loader finds by itself; others are only loaded by who asks for them."""

    def one(row: Row) -> RowResult:
        return judge(row) if read(row, "in_cache") else not_judged("it is loaded only by who names its folder")

    return judge_rows(facts.rows("nccl.libraries"), one, lambda row: f"NCCL {row.get('version')} {row.get('path')}")


def known_faults(facts: FactView, params: Mapping[str, Any], tables: Tables) -> list[RowResult]:
    """No documented fault of the release touches this node.

    Params:
        classes: critical, warning.
    """
    return _cached(facts, lambda row: faults_of(str(read(row, "version")), facts, tables, params["classes"]))


def faults_of(release: str, facts: FactView, tables: Tables, classes: Sequence[str]) -> RowResult:
    """A verdict on one release.

    Args:
        release: e.g. 2.27.5.
        facts: kernel.arch, gpu.pci_ids, gpu.devices.
        classes: which classes of faults count.
    """
    here = version(release)
    found: list[str] = []
    doubtful: list[str] = []
    for row in tables["nccl_faults"].rows:
        if row["class"] not in classes or not version(row["since"]) <= here < version(row["fixed"]):
            continue
        touches = _touches(row, facts, tables)
        if touches is not False:
            (found if touches else doubtful).append(f"{row['what']}; fixed in {row['fixed']}")
    expected = "a release without a documented fault of this kind"
    if found:
        return failed(expected, release, "; ".join(found))
    if doubtful:
        return unknown(f"{release} {'; '.join(doubtful)}: whether that touches these GPUs is not known", expected)
    return passed(expected, release)


def _touches(fault: Row, facts: FactView, tables: Tables) -> bool | None:
    """Whether a fault touches this node; None when that is not known."""
    if fault.get("machine") == "aarch64" and facts.value("kernel.arch") != "aarch64":
        return False
    if fault.get("gpus") != "before_blackwell":
        return True
    capabilities = [gpu.capability for gpu in models(facts, tables)]
    if any(one and level(one) < _BLACKWELL for one in capabilities):
        return True
    return None if "" in capabilities or not capabilities else False


def knows_gpu(facts: FactView, params: Mapping[str, Any], tables: Tables) -> list[RowResult]:
    """The library has code for every GPU of the node."""
    floors = [(gpu.label, gpu.of_capability.get("nccl_min")) for gpu in models(facts, tables)]
    asked = [(label, floor) for label, floor in floors if floor is not None]

    def judge(row: Row) -> RowResult:
        release = str(read(row, "version"))
        if not asked:
            return not_judged("no first NCCL release is documented for these GPUs")
        label, floor = max(asked, key=lambda pair: version(pair[1]))
        verdict = passed if version(release) >= version(floor) else failed
        return verdict(f"NCCL {floor} or newer ({label})", release)

    return _cached(facts, judge)


def package_driver(facts: FactView, params: Mapping[str, Any], tables: Tables) -> list[RowResult]:
    """The driver runs the CUDA version that the installed package of NCCL was built for."""
    results = []
    for name in _PACKAGES:
        installed = facts.get(name)
        if installed is None:
            continue
        match = _BUILD.search(str(installed))
        subject = f"{name[8:-1]} {installed}"
        if match is None:
            results.append(about(subject, not_judged("its version does not say for which CUDA it was built")))
        else:
            results.append(about(subject, runs(level(match[1]), facts, tables)))
    return sum_up(results) if results else [not_judged("no package of NCCL is installed")]


def plugin_api(facts: FactView, params: Mapping[str, Any], tables: Tables) -> list[RowResult]:
    """The plugin that NCCL loads unasked offers an interface that the installed NCCL takes."""
    release = str(facts.value("nccl.version"))
    row = tables["nccl_plugin_api"].get(".".join(release.split(".")[:2]))

    def judge(plugin: Row) -> RowResult:
        if not (read(plugin, "in_cache") and read(plugin, "default")):
            return not_judged("NCCL loads it only where a job names it")
        if row is None:
            return not_judged(f"which plugins NCCL {release} takes is not in the table")
        offers = read(plugin, "api_versions") or []
        expected = f"v{row['oldest']} to v{row['newest']} of the plugin interface (NCCL {release})"
        if not offers:
            return unknown("it does not say which versions of the interface it offers", expected)
        fits = any(int(row["oldest"]) <= int(one) <= int(row["newest"]) for one in offers)
        return (passed if fits else failed)(expected, ", ".join(f"v{one}" for one in offers))

    return judge_rows(facts.rows("nccl.net_plugins"), judge, lambda plugin: str(plugin.get("path")))


def _where(row: Row) -> str:
    return f"{row.get('name')} in {row.get('file')}:{row.get('line')}"


def harmful_settings(facts: FactView, params: Mapping[str, Any], tables: Tables) -> list[RowResult]:
    """No setting of a class stands in a file of the whole node.

    Params:
        class: disabling or debugging, as in the table.
    """
    known = tables["nccl_settings"]
    results = []
    for row in facts.rows("nccl.settings"):
        rule = known.get(row.get("name"))
        if rule is None or rule["class"] != params["class"] or not _is_bad(rule, str(row.get("value"))):
            continue
        missing = _missing(rule, facts)
        if missing:
            results.append(about(_where(row), not_judged(missing)))
        else:
            results.append(about(_where(row), failed("left to the job", str(row.get("value")), str(rule["what"]))))
    if any(result.outcome is Outcome.FAIL for result in results):
        return [result for result in results if result.outcome is Outcome.FAIL]
    return [passed("none of these settings", "none")]


def _is_bad(rule: Row, value: str) -> bool:
    bad = [str(one).lower() for one in rule.get("bad") or ()]
    return value.strip().lower() in bad if bad else bool(value.strip())


def _missing(rule: Row, facts: FactView) -> str:
    """Why a setting does no harm here; empty when it does."""
    if rule.get("needs") == "rdma" and not facts.value("nccl.rdma_devices"):
        return "the node has no RDMA device"
    if rule.get("needs") == "nvswitch" and not facts.value("nvswitch.pci"):
        return "the node has no NVSwitch"
    return ""


def _last(facts: FactView, name: str) -> Row | None:
    rows = [row for row in facts.rows("nccl.settings") if row.get("name") == name]
    return rows[-1] if rows else None


def names_exist(facts: FactView, params: Mapping[str, Any], tables: Tables) -> list[RowResult]:
    """What a setting names is there: NCCL_SOCKET_IFNAME among interfaces, NCCL_IB_HCA among RDMA devices.

    A list of beginnings of names, or after "=" of whole names; "^" leaves them out, and then nothing need match.

    Params:
        setting: the variable.
        fact: the list of what there is.
    """
    row = _last(facts, params["setting"])
    if row is None:
        return [not_judged(f"{params['setting']} is set in no file of the node")]
    value = str(row.get("value")).strip().strip("\"'")
    if value.startswith("^") or not value:
        return [about(_where(row), passed("names that are there", value or "empty"))]
    exact = value.startswith("=")
    there = [str(one) for one in facts.value(params["fact"])]
    lost = []
    for word in value.lstrip("=").split(","):
        name = word.strip().partition(":")[0]
        if name and not any(one == name if exact else one.startswith(name) for one in there):
            lost.append(name)
    shown = f"{value}; there are {', '.join(there) or 'none'}"
    verdict = failed if lost else passed
    return [about(_where(row), verdict("names that are there", shown, f"no {', '.join(lost)}" if lost else ""))]


def hca_exact(facts: FactView, params: Mapping[str, Any], tables: Tables) -> list[RowResult]:
    """NCCL_IB_HCA=mlx5_1 means mlx5_10, too: where both are there, whole names are asked for with "="."""
    row = _last(facts, "NCCL_IB_HCA")
    if row is None:
        return [not_judged("NCCL_IB_HCA is set in no file of the node")]
    value = str(row.get("value")).strip().strip("\"'")
    if value.lstrip("^").startswith("="):
        return [about(_where(row), passed("names that mean one device each", value))]
    there = [str(one) for one in facts.value("nccl.rdma_devices")]
    names = [word.strip().partition(":")[0] for word in value.lstrip("^").split(",")]
    double = [name for name in names if name in there and any(one != name and one.startswith(name) for one in there)]
    reason = f"{', '.join(double)} also means longer names that begin with it" if double else ""
    return [about(_where(row), (failed if double else passed)("names that mean one device each", value, reason))]


def conf_readable(facts: FactView, params: Mapping[str, Any], tables: Tables) -> list[RowResult]:
    """Every line of /etc/nccl.conf has the effect that it was written for."""
    expected = "NAME=VALUE, without export and blanks"
    problems = facts.rows("nccl.conf_problems")
    if not problems:
        return [passed(expected, "every line")]
    return [
        about(
            f"/etc/nccl.conf:{row.get('line')}",
            failed(expected, str(row.get("name") or "no name"), str(row["problem"])),
        )
        for row in problems
    ]


def tests_present(facts: FactView, params: Mapping[str, Any], tables: Tables) -> list[RowResult]:
    """nccl-tests are on the node."""
    found = facts.value("nccl.tests")
    expected = "all_reduce_perf in a usual folder"
    return [passed(expected, ", ".join(found)) if found else failed(expected, "not found")]


def visible_devices(facts: FactView, params: Mapping[str, Any], tables: Tables) -> list[RowResult]:
    """No file of the whole node hides GPUs from every job."""
    row = _last(facts, "CUDA_VISIBLE_DEVICES")
    if row is None:
        return [passed("not set for the whole node", "not set")]
    count = soft(facts, "nvidia.pci_count")
    reason = f"the node has {count} NVIDIA GPUs" if count is not None else ""
    return [about(_where(row), failed("not set for the whole node", str(row.get("value")), reason))]
