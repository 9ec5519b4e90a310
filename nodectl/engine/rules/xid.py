"""Xids since boot: NVIDIA's own bucket for each, one result per GPU and Xid.

What an Xid asks for is in `tables["xid"]`; its column `class` says which check reports it. The rules on top:

* The driver's word comes first: what Xid 154 advised, and the recovery action that nvidia-smi shows now. Where the
  driver tells the action of an Xid (`linked_branch`) and now says "None", the Xid is history.
* Xid 45 follows other Xids and is never judged beside one. 171 and 172 only detail a 48.
* 13 and 31 are the application's, unless they come back on one GPU within a day.
* A code that the catalogue does not have, or not for this GPU, is unknown: never ignored, never called a fault.
* "No Xid" needs a log that reaches back to boot. Otherwise it is unknown.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from nodectl.engine.rules import FactView, RowResult, xid_nvlink5
from nodectl.engine.rules.log_text import DETAIL_OF, UNREADABLE, incomplete, links_in_words, quietly, when
from nodectl.model import FactState, Outcome

Row = Mapping[str, Any]

_RECOVERY_XID = 154
_FOLLOWS_OTHERS = 45
_NOTHING_TO_DO = "none"
_TIMELESS = "The log has no times: several lines may be one crash, or an error that came back."


class _Gpus(msgspec.Struct):
    """The GPUs that nvidia-smi lists now, by PCI address; empty when it did not answer."""

    rows: dict[str, Row]
    families: frozenset[str]
    driver: str
    branch: int
    unread: bool

    def label(self, device: str) -> str:
        row = self.rows.get(device)
        return f"GPU {row['index']}" if row and row.get("index") is not None else f"GPU {device}"

    def families_of(self, device: str) -> frozenset[str]:
        """The columns of the catalogue for this GPU; for one that is gone those of its neighbours, if all are alike."""
        row = self.rows.get(device)
        return _families(row) if row else self.families

    def action(self, device: str) -> str:
        """The recovery action that the driver shows now, lower case; empty when it shows none at all."""
        return str((self.rows.get(device) or {}).get("recovery_action") or "").lower()


def events(facts: FactView, params: Mapping[str, Any], tables: Mapping[str, Any]) -> list[RowResult]:
    """The Xids of the classes that `params["classes"]` names.

    Params:
        classes: of fault, notice, handled, repeat.
        unknown_codes: true: also report codes that the catalogue does not have.
        min_incidents: for repeat: how many incidents on one GPU within 24 hours make it one.
    """
    rows: Sequence[Row] = facts.rows("xid.events")
    gpus = _gpus(facts)
    classes = set(params["classes"])
    results: list[RowResult] = []
    history: list[str] = []
    for row in rows:
        entry = tables["xid"].get(row["xid"])
        applies = _applies(entry, row, gpus)
        kind = _class(row, entry, rows, params, tables) if entry and applies is not False else ""
        if kind not in classes:
            if applies is not True and params.get("unknown_codes") and not row.get("before_reset"):
                results.append(_unknown_code(row, entry, gpus))
            continue
        if row.get("before_reset") or _settled(row, entry, gpus):
            history.append(_short(row, gpus))
        else:
            results.append(_failure(row, entry, rows, gpus, tables, kind))
    return results or [_nothing(facts, history, gpus)]


def recovery(facts: FactView, params: Mapping[str, Any], tables: Mapping[str, Any]) -> list[RowResult]:
    """What the newest Xid 154 of each GPU advised, where nvidia-smi does not show what the driver asks for now.

    Where it does and something is asked, that is gpu.recovery_action's to tell; where nothing is, the Xid is history.
    """
    rows: Sequence[Row] = facts.rows("xid.events")
    gpus = _gpus(facts)
    results: list[RowResult] = []
    shown: list[RowResult] = []
    history: list[str] = []
    for row in rows:
        if row["xid"] != _RECOVERY_XID or row.get("recovery_action_code") in (0, None):
            continue
        device = row["gpu_pci_bus_id"]
        said = str(row.get("recovery_action_text") or f"action {row['recovery_action_code']}")
        if row.get("before_reset") or gpus.action(device) == _NOTHING_TO_DO:
            history.append(f"{gpus.label(device)}: {said}")
            continue
        if gpus.action(device):
            reason = f"{gpus.label(device)}: nvidia-smi shows what the driver asks for: see gpu.recovery_action"
            shown.append(RowResult(Outcome.NOT_APPLICABLE, subject=gpus.label(device), reason=reason))
            continue
        action, at = tables["recovery_actions"].get(row["recovery_action_code"]), when(row)
        results.append(
            RowResult(
                Outcome.FAIL,
                subject=gpus.label(device),
                expected="no recovery action asked for",
                actual=f"{said} ({at})" if at else said,
                reason=f"The driver asks: {action['do']}." if action else "The driver asks for it in Xid 154.",
            )
        )
    if results or (shown and not incomplete(facts)):
        return results or shown
    return [_nothing(facts, history, gpus, "no recovery action asked for")]


def _gpus(facts: FactView) -> _Gpus:
    """Never fails: a node whose nvidia-smi hangs has the Xids that say why, and those must be judged."""
    listed: list[Row] = quietly(lambda: list(facts.nvidia_rows("gpu.devices")), [])
    rows = {row["pci_bus_id"]: row for row in listed if row.get("pci_bus_id")}
    families = {_families(row) for row in rows.values()}
    driver = str(quietly(lambda: facts.value("driver.version"), ""))
    head = driver.split(".")[0]
    return _Gpus(
        rows=rows,
        families=families.pop() if len(families) == 1 else frozenset(),
        driver=driver,
        branch=int(head) if head.isdigit() else 0,
        unread=quietly(lambda: facts.state("gpu.devices"), FactState.ERROR) is FactState.ERROR,
    )


def _families(row: Row) -> frozenset[str]:
    """Which of the catalogue's columns (A100, H100, B100, GB200) stand for a GPU; none for other architectures."""
    architecture = str(row.get("architecture") or "").lower()
    grace = "NVIDIA GH" in str(row.get("name") or "") or "NVIDIA GB" in str(row.get("name") or "")
    if architecture == "ampere":
        return frozenset(("a100",))
    if architecture == "hopper":
        return frozenset(("h100", "gb200")) if grace else frozenset(("h100",))
    if architecture == "blackwell":
        return frozenset(("gb200",)) if grace else frozenset(("b200",))
    return frozenset()


def _applies(entry: Row | None, row: Row, gpus: _Gpus) -> bool | None:
    """Whether the catalogue has the code for this GPU; None where it has it for some, and which GPU it is is unread."""
    if entry is None:
        return False
    only = entry.get("only")
    families = gpus.families_of(row["gpu_pci_bus_id"])
    if not only or not families:
        return None if only and gpus.unread else True
    return not families.isdisjoint(only.split() if isinstance(only, str) else only)


def _class(row: Row, entry: Row, rows: Sequence[Row], params: Mapping[str, Any], tables: Mapping[str, Any]) -> str:
    """The class of an Xid here and now; empty where another row says all that there is to say."""
    others = {other["xid"] for other in rows if other["gpu_pci_bus_id"] == row["gpu_pci_bus_id"]}
    kind = str(entry["class"])
    if row["xid"] == _FOLLOWS_OTHERS:
        return "" if row.get("previous_xid") or others - {_FOLLOWS_OTHERS} else kind
    if DETAIL_OF.get(row["xid"]) in others:
        return ""
    if kind == "nvlink5":
        return "fault" if xid_nvlink5.is_fault(row, tables) else "notice"
    if kind == "repeat":
        incidents = row.get("incidents_24h")
        again = row["count"] if incidents is None else incidents
        return "repeat" if again >= params.get("min_incidents", 2) else "handled"
    return kind


def _settled(row: Row, entry: Row, gpus: _Gpus) -> bool:
    """The driver tells the recovery action of this Xid, and now says that there is none."""
    since = entry.get("linked_branch")
    return bool(since and gpus.branch >= since and gpus.action(row["gpu_pci_bus_id"]) == _NOTHING_TO_DO)


def _failure(row: Row, entry: Row, rows: Sequence[Row], gpus: _Gpus, tables: Mapping[str, Any], kind: str) -> RowResult:
    repeated = kind == "repeat"
    timeless = repeated and row.get("incidents_24h") is None
    reason = _TIMELESS if timeless else _reason(row, entry, rows, tables, repeated)
    return RowResult(
        Outcome.UNKNOWN if timeless else Outcome.FAIL,
        subject=f"{gpus.label(row['gpu_pci_bus_id'])} Xid {row['xid']}",
        expected=f"no Xid {row['xid']}",
        actual=_actual(row),
        reason=reason,
    )


def _actual(row: Row) -> str:
    parts = [f"{row['count']} lines" if row["count"] > 1 else "1 line"]
    if (row.get("incidents_24h") or 0) > 1:
        parts.append(f"{row['incidents_24h']} incidents within 24 h")
    parts.append(when(row))
    parts.append(links_in_words(row.get("links") or ()))
    if row.get("process"):
        others = (row.get("processes_count") or 1) - 1
        parts.append(f"process {row['process']}" + (f" and {others} more" if others else ""))
    return ", ".join(part for part in parts if part)


def _reason(row: Row, entry: Row, rows: Sequence[Row], tables: Mapping[str, Any], repeated: bool) -> str:
    """What it means, what the driver and NVIDIA say to do, and where to look."""
    said = [f"{_sentence(entry['meaning'])}."]
    advised = _advised(row["gpu_pci_bus_id"], rows)
    if advised and row["xid"] != _RECOVERY_XID:
        said.append(f"The driver says: {advised}.")
    elif bucket := _bucket(xid_nvlink5.bucket(row, tables, entry.get("bucket")), tables):
        said.append(f"NVIDIA: {bucket}.")
    else:
        said.append("NVIDIA names no action for it.")
    if repeated:
        unit = row.get("repeated_unit")
        said.append(f"It hit {unit} more than once: suspect the GPU." if unit else
                    "Try the job on another GPU: if the error moves with it, it is the application's.")  # fmt: skip
    after = entry.get("investigate")
    if after:
        said.append(f"Then: {_bucket(after, tables) or after}.")
    look_at = xid_nvlink5.where_to_look(row, tables) or entry.get("look_at")
    if look_at:
        said.append(f"Look at {look_at}.")
    return " ".join(said)


def _advised(device: str, rows: Sequence[Row]) -> str:
    """The text of the newest Xid 154 of a GPU that still stands."""
    for row in rows:
        if row["xid"] == _RECOVERY_XID and row["gpu_pci_bus_id"] == device and not row.get("before_reset"):
            return str(row.get("recovery_action_text") or "") if row.get("recovery_action_code") else ""
    return ""


def _bucket(name: str | None, tables: Mapping[str, Any]) -> str:
    row = tables["xid_buckets"].get(name) if name else None
    return str(row["means"]) if row else ""


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def _unknown_code(row: Row, entry: Row | None, gpus: _Gpus) -> RowResult:
    device = row["gpu_pci_bus_id"]
    where = "NVIDIA's catalogue calls it unused or does not have it"
    if entry is not None:
        name = (gpus.rows.get(device) or {}).get("name") or "this GPU"
        unless = "only for some GPUs, and which this is could not be read" if gpus.unread else f"but not for {name}"
        where = f"NVIDIA's catalogue has it ({entry['meaning']}), {unless}"
    driver = f"driver {gpus.driver}" if gpus.driver else "the driver"
    return RowResult(
        Outcome.UNKNOWN,
        subject=f"{gpus.label(device)} Xid {row['xid']}",
        expected="a code of NVIDIA's Xid catalogue",
        actual=_actual(row),
        reason=f"{where}; {driver} knows more: look it up in the Xid catalogue of that driver.",
    )


def _short(row: Row, gpus: _Gpus) -> str:
    return f"Xid {row['xid']} on {gpus.label(row['gpu_pci_bus_id'])}"


def _nothing(facts: FactView, history: list[str], gpus: _Gpus, expected: str = "no such Xid since boot") -> RowResult:
    """Nothing to report: a pass only when the log reaches back to boot."""
    if incomplete(facts):
        return RowResult(
            Outcome.UNKNOWN, expected=expected, actual="none in what is left of the log", reason=UNREADABLE
        )
    if history:
        settled = ", ".join(dict.fromkeys(history))
        return RowResult(Outcome.PASS, expected=expected, actual=f"none that still stands (settled since: {settled})")
    return RowResult(Outcome.PASS, expected=expected, actual="none since boot")
