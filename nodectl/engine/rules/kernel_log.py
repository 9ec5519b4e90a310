"""SXids of NVSwitches and faults of the host in the kernel log since boot, one result per device."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from nodectl.engine.rules import FactView, RowResult
from nodectl.engine.rules.log_text import UNREADABLE, incomplete, links_in_words, when
from nodectl.model import Outcome

Row = Mapping[str, Any]


def sxids(facts: FactView, params: Mapping[str, Any], tables: Mapping[str, Any]) -> list[RowResult]:
    """SXids whose class is in `params["classes"]` (fatal, always_fatal, notable, non_fatal), one per switch and code.

    A code that the table does not have goes by what its line says: fatal or non_fatal.
    """
    groups: dict[tuple[str, int], list[Row]] = {}
    history = 0
    for row in facts.rows("sxid.events"):
        if _sxid_class(row, tables) not in params["classes"]:
            continue
        if row.get("before_reset"):
            history += 1
        else:
            groups.setdefault((row["nvswitch_pci_bus_id"], row["sxid"]), []).append(row)
    results = [_sxid_result(device, sxid, rows, tables) for (device, sxid), rows in groups.items()]
    return results or [_nothing(facts, "no such SXid since boot", history)]


def _sxid_class(row: Row, tables: Mapping[str, Any]) -> str:
    """The documented class; a line that says fatal makes a merely notable code fatal."""
    entry = tables["sxid"].get(row["sxid"])
    said = "fatal" if row.get("fatal") else "non_fatal"
    if entry is None or (row.get("fatal") and entry["class"] in ("non_fatal", "notable")):
        return said
    return str(entry["class"])


def _sxid_result(device: str, sxid: int, rows: Sequence[Row], tables: Mapping[str, Any]) -> RowResult:
    entry = tables["sxid"].get(sxid)
    action = tables["sxid_classes"].get(_sxid_class(rows[0], tables))
    name = entry["name"] if entry else "not in the documented list"
    lines = sum(row["count"] for row in rows)
    links = links_in_words(row["link"] for row in rows if row.get("link") is not None)
    parts = [f"{lines} lines" if lines > 1 else "1 line", when(_span(rows)), links]
    return RowResult(
        Outcome.FAIL,
        subject=f"NVSwitch {device} SXid {sxid}",
        expected=f"no SXid {sxid}",
        actual=", ".join(part for part in parts if part),
        reason=f"{name[:1].upper()}{name[1:]}." + (f" {action['do']}." if action else ""),
    )


def faults(facts: FactView, params: Mapping[str, Any], tables: Mapping[str, Any]) -> list[RowResult]:
    """Events of `kernel.log_events`, one result per kind and device.

    Params:
        kinds: which kinds.
        levels: which levels (fatal, error, warning, corrected).
        min_count: how many lines of one device make it a fault.
    """
    groups: dict[str, list[Row]] = {}
    for row in facts.rows("kernel.log_events"):
        if row["kind"] in params["kinds"] and row["level"] in params["levels"]:
            groups.setdefault(f"{row['kind']} {row.get('device') or ''}".strip(), []).append(row)
    least = params.get("min_count", 1)
    results = []
    for subject, rows in groups.items():
        lines = sum(row["count"] for row in rows)
        if lines < least:
            continue
        worst = max(rows, key=lambda row: row["count"])
        parts = [f"{lines} lines" if lines > 1 else "1 line", when(_span(rows))]
        results.append(
            RowResult(
                Outcome.FAIL,
                subject=subject,
                expected="no such message since boot" if least <= 1 else f"fewer than {least} such messages since boot",
                actual=", ".join(part for part in parts if part),
                reason=f"The kernel log says: {worst['message']}",
            )
        )
    return results or [_nothing(facts, "no such message since boot", 0)]


def _span(rows: Sequence[Row]) -> dict[str, Any]:
    firsts = [row["first_s"] for row in rows if row.get("first_s") is not None]
    lasts = [row["last_s"] for row in rows if row.get("last_s") is not None]
    return {"first_s": min(firsts, default=None), "last_s": max(lasts, default=None)}


def _nothing(facts: FactView, expected: str, history: int) -> RowResult:
    if incomplete(facts):
        return RowResult(
            Outcome.UNKNOWN, expected=expected, actual="none in what is left of the log", reason=UNREADABLE
        )
    before = f" ({history} before the driver was loaded again)" if history else ""
    return RowResult(Outcome.PASS, expected=expected, actual="none since boot" + before)
