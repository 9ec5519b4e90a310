"""Settings that the inventory declares, against those that the node has."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nodectl.engine.rules import CannotTellError, FactView, RowResult, field_error, require_field
from nodectl.model import FactState, Outcome


def _declared(facts: FactView, name: str) -> Mapping[str, Any]:
    value = facts.value(name)
    if not isinstance(value, Mapping):
        raise CannotTellError(f"{name} must be a mapping, not {str(value)[:60]!r}")
    return {str(key): one for key, one in value.items()}


def _text(value: Any) -> str:
    """A value of the inventory as a kernel setting is written."""
    if isinstance(value, bool):
        return str(int(value))
    return " ".join(str(value).split())


def expected_sysctls(facts: FactView, params: Mapping[str, Any], tables: Mapping[str, Any]) -> list[RowResult]:
    """Each setting of `expect.sysctl` has the value that is declared."""
    wanted = _declared(facts, "expect.sysctl")
    results = [_sysctl(facts, key, _text(value)) for key, value in wanted.items()]
    bad = [result for result in results if result.outcome is not Outcome.PASS]
    return bad or [RowResult(Outcome.PASS, actual=f"{len(results)} of {len(results)} as declared")]


def _sysctl(facts: FactView, key: str, wanted: str) -> RowResult:
    try:
        fact = facts.fact(f"sysctl[{key}]")
    except CannotTellError:
        return RowResult(Outcome.UNKNOWN, key, wanted, reason=f"kernel.sysctl_expected does not read {key}")
    if fact.state is FactState.ERROR:
        return RowResult(Outcome.UNKNOWN, key, wanted, reason=fact.reason)
    if fact.state is FactState.ABSENT:
        return RowResult(Outcome.FAIL, key, wanted, "this kernel has no such setting")
    actual = " ".join(str(fact.value).split())
    return RowResult(Outcome.PASS if actual == wanted else Outcome.FAIL, key, wanted, actual)


def expected_hugepages(facts: FactView, params: Mapping[str, Any], tables: Mapping[str, Any]) -> list[RowResult]:
    """Each pool of `expect.hugepages` ({size in KiB: pages}) has at least as many pages."""
    wanted = _declared(facts, "expect.hugepages")
    pools = {str(row["size_kib"]): row for row in facts.get("mem.hugepages", ())}
    results = []
    for size, pages in wanted.items():
        if not size.isdigit() or not str(pages).isdigit():
            raise CannotTellError(f"expect.hugepages: {size}: {pages} is no size in KiB with a number of pages")
        have = int(require_field(pools[size], "total")) if size in pools else 0
        if have < int(pages):
            results.append(RowResult(Outcome.FAIL, f"{size} KiB pages", f"at least {pages}", str(have)))
    return results or [RowResult(Outcome.PASS, actual=f"{len(wanted)} pools as declared")]


def applied(facts: FactView, params: Mapping[str, Any], tables: Mapping[str, Any]) -> list[RowResult]:
    """Each configured setting of `params["keys"]` that the kernel has runs with its configured value."""
    wanted = frozenset(params["keys"])
    rows = [row for row in facts.rows("sysctl.configured") if row["key"] in wanted and row["known"]]
    results = []
    for row in rows:
        problem = field_error(row, "applied")
        if problem:
            results.append(RowResult(Outcome.UNKNOWN, row["key"], row["value"], reason=problem))
        elif row["applied"] is False:
            results.append(
                RowResult(Outcome.FAIL, row["key"], row["value"], str(row["running"]), f"{row['set_by']} sets it")
            )
    return results or [RowResult(Outcome.PASS, actual=f"{len(rows)} configured settings run")]


def known(facts: FactView, params: Mapping[str, Any], tables: Mapping[str, Any]) -> list[RowResult]:
    """The kernel has each setting that a file of the site sets, of the parts of the kernel in `params["parts"]`."""
    parts = tuple(f"{part}." for part in params["parts"])
    rows = [
        row
        for row in facts.rows("sysctl.configured")
        if row["set_by"].startswith(("/etc/", "/run/")) and row["key"].startswith(parts) and not row["optional"]
    ]
    results = [
        RowResult(Outcome.FAIL, row["key"], "a setting of this kernel", f"set to {row['value']} by {row['set_by']}")
        for row in rows
        if not row["known"]
    ]
    return results or [RowResult(Outcome.PASS, actual=f"{len(rows)} settings of files of the site are known")]


def one_owner(facts: FactView, params: Mapping[str, Any], tables: Mapping[str, Any]) -> list[RowResult]:
    """No two files of the site, nor one and TuneD, set different values for a setting."""
    rows = [row for row in facts.rows("sysctl.configured") if not row["set_by"].startswith("/usr/")]
    results = [
        RowResult(Outcome.FAIL, row["key"], f"one value, as {row['set_by']} has it: {row['value']}", str(row["others"]))
        for row in rows
        if row["contested"]
    ]
    return results or [RowResult(Outcome.PASS, actual=f"{len(rows)} settings, each of one value")]
