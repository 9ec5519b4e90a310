"""The operating system against the calendar and against what NVIDIA's documents name."""

from __future__ import annotations

import calendar
import re
from collections.abc import Mapping
from typing import Any

from nodectl.engine.rules import CannotTellError, FactView, RowResult
from nodectl.engine.rules.gpu_rows import (
    Row,
    Tables,
    about,
    branch_of,
    failed,
    not_judged,
    passed,
    sum_up,
    unknown,
    version,
)

# The oldest edition of the driver guide whose list of distributions was read.
_FIRST_LISTED_BRANCH = 590


def end_of_life(facts: FactView, params: Mapping[str, Any], tables: Tables) -> list[RowResult]:
    """The release still gets fixes, by the node's clock or the table's date, whichever is later.

    Params:
        until: `standard`, what everybody gets, or `extended`, what can be had at all.
    """
    release = str(facts.value("os.release"))
    row = tables["os_lifecycle"].get(release)
    expected = "a release that gets fixes"
    if row is None:
        return [not_judged(f"no date is known for {release}")]
    standard = _day(row["standard_end"])
    extended = _day(row["extended_end"]) if row.get("extended_end") else None
    # A node whose clock is behind must not make an ended release look supported.
    today = max(str(facts.value("node.time_utc"))[:10], tables["os_lifecycle"].version.replace(".", "-"))
    end = standard if params["until"] == "standard" else extended or standard
    if today <= end:
        return [passed(expected, release, f"until {end}")]
    if params["until"] == "standard" and not extended:
        return [not_judged(f"{release} has no extended support: see os.end_of_life")]
    if params["until"] == "standard" and extended and today > extended:
        return [not_judged(f"{release} has ended for good: see os.end_of_life")]
    more = f"; {row['extended_by']} goes on until {extended}" if params["until"] == "standard" else ""
    return [failed(expected, release, f"ended on {end}{more}")]


def _day(end: object) -> str:
    """`2025-05` -> `2025-05-31`; a whole date stays."""
    text = str(end)
    match = re.fullmatch(r"(\d{4})-(\d{2})(-\d{2})?", text)
    if not match:
        raise CannotTellError(f"{text} is no date")
    return text if match[3] else f"{text}-{calendar.monthrange(int(match[1]), int(match[2]))[1]:02d}"


def _support(facts: FactView, tables: Tables) -> tuple[str, Row | None]:
    release = str(facts.value("os.release"))
    return release, tables["os_support"].get(release)


def driver(facts: FactView, params: Mapping[str, Any], tables: Tables) -> list[RowResult]:
    """NVIDIA's driver guide lists the release, or its maker brings a driver of its own."""
    release, row = _support(facts, tables)
    branch = branch_of(str(facts.value("driver.version")))
    expected = "a distribution that NVIDIA's driver guide lists"
    if row is not None and row.get("own"):
        return [passed(expected, release, "it brings a driver of its own")]
    if row is not None and row.get("listed"):
        return [passed(expected, release)]
    if branch < _FIRST_LISTED_BRANCH:
        return [not_judged(f"whether R{branch} was made for {release} is not in the documents that were read")]
    return [failed(expected, f"{release} with R{branch}", f"the guides from R{_FIRST_LISTED_BRANCH} on do not list it")]


def _range(what: str, found: str, first: object, last: object) -> RowResult:
    expected = " and ".join(
        part for part in (f"at least {first}" if first else "", f"at most {last}" if last else "") if part
    )
    cut = ".".join(found.split(".")[:2])
    if (first and version(cut) < version(first)) or (last and version(cut) > version(last)):
        return failed(expected, f"{what} {found}")
    return passed(expected, f"{what} {found}")


def toolkits(facts: FactView, params: Mapping[str, Any], tables: Tables) -> list[RowResult]:
    """Each CUDA toolkit on disk was made for the release."""
    release, row = _support(facts, tables)
    if row is None or not (row.get("first_cuda") or row.get("last_cuda")):
        return [not_judged(f"no document says which CUDA toolkits {release} has")]
    results = []
    for toolkit in facts.rows("cuda.toolkits"):
        found = toolkit.get("version")
        where = str(toolkit.get("path") or "CUDA")
        if not found:
            results.append(about(where, unknown("its version is not known")))
            continue
        results.append(about(where, _range("CUDA", str(found), row.get("first_cuda"), row.get("last_cuda"))))
    return sum_up(results)


def ofed(facts: FactView, params: Mapping[str, Any], tables: Tables) -> list[RowResult]:
    """The OFED release is one that knows the operating system."""
    release, row = _support(facts, tables)
    if row is None or not row.get("first_ofed"):
        return [not_judged(f"no document says from which OFED on {release} is known")]
    found = re.search(r"\d+\.\d+", str(facts.value("rdma.ofed_version")))
    if not found:
        return [unknown(f"{facts.value('rdma.ofed_version')} is no version of OFED")]
    return [_range("OFED", found[0], row["first_ofed"], None)]


def kernel(facts: FactView, params: Mapping[str, Any], tables: Tables) -> list[RowResult]:
    """The running kernel is of a series that the release ships or offers."""
    release, row = _support(facts, tables)
    if row is None or not row.get("kernels"):
        return [not_judged(f"the kernels of {release} are not listed")]
    running = str(facts.value("kernel.release"))
    match = re.match(r"\d+\.\d+", running)
    if not match:
        return [unknown(f"{running} is no kernel release")]
    series = [str(one) for one in row["kernels"]]
    verdict = passed if match[0] in series else failed
    return [verdict(f"a kernel of {release}: {', '.join(series)}", running)]
