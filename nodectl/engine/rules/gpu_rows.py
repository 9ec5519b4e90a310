"""What the rules about GPUs share: reading rows honestly, naming them, and summing many verdicts up into findings."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from nodectl.catalogue.tables import Table
from nodectl.catalogue.value_types import TYPES, UnreadableError
from nodectl.engine.rules import CannotTellError, FactView, RowResult, field_error
from nodectl.model import FactState, Outcome

Row = Mapping[str, Any]
Tables = Mapping[str, Table]
Judge = Callable[[Row], RowResult]

BUSY_PSTATE = "P0"
# As checks without a rule of their own say it: a driver that lists no GPU gives one reason, and not two.
NO_GPU_LISTED = "gpu.devices has nothing that could be judged"


def read(row: Row, field: str) -> Any:
    """The value of a field; None where the device or the driver has no such thing.

    Raises:
        CannotTellError: the device did not answer when asked for it.
    """
    reason = field_error(row, field)
    if reason:
        raise CannotTellError(f"{field}: {reason}")
    return row.get(field)


def passed(expected: str, actual: str, reason: str = "") -> RowResult:
    return RowResult(Outcome.PASS, expected=expected, actual=actual, reason=reason)


def failed(expected: str, actual: str, reason: str = "") -> RowResult:
    return RowResult(Outcome.FAIL, expected=expected, actual=actual, reason=reason)


def unknown(reason: str, expected: str = "") -> RowResult:
    return RowResult(Outcome.UNKNOWN, expected=expected, reason=reason)


def not_judged(reason: str) -> RowResult:
    return RowResult(Outcome.NOT_APPLICABLE, reason=reason)


def about(subject: str, result: RowResult) -> RowResult:
    """The same verdict, about one part of the node."""
    return RowResult(
        result.outcome, subject=subject, expected=result.expected, actual=result.actual, reason=result.reason
    )


def gpu_label(row: Row) -> str:
    return f"GPU {row.get('index')}"


_TOLD_APART = (Outcome.FAIL, Outcome.UNKNOWN)


def judge_rows(rows: Iterable[Row], judge: Judge, label: Callable[[Row], str] = gpu_label) -> list[RowResult]:
    """One verdict a row, summed up; a row that could not be read is unknown."""
    results = []
    listed = list(rows)
    for row in listed:
        try:
            result = judge(row)
        except (CannotTellError, UnreadableError) as problem:
            result = unknown(str(problem))
        # Whose it is matters for what is told apart: what is wrong, and a row that stands alone.
        if len(listed) == 1 or result.outcome in _TOLD_APART:
            result = about(label(row), result)
        results.append(result)
    if not results and label is gpu_label:
        return [unknown(NO_GPU_LISTED)]
    return sum_up(results)


def sum_up(results: list[RowResult]) -> list[RowResult]:
    """Each failure and each unknown; where there is none, one pass ("8 of 8"), or one "not judged" with the reasons."""
    if not results:
        return [unknown("there is nothing to judge: the list is empty")]
    wrong = [result for result in results if result.outcome in _TOLD_APART]
    if wrong:
        return wrong
    good = [result for result in results if result.outcome is Outcome.PASS]
    left_out = [result for result in results if result.outcome is Outcome.NOT_APPLICABLE]
    why_not = "; ".join(dict.fromkeys(result.reason for result in left_out))
    if not good:
        return [not_judged(why_not)]
    if len(good) == 1 and not left_out:
        return good
    remarks = list(dict.fromkeys(result.reason for result in good if result.reason))
    if left_out:
        remarks.append(f"{len(left_out)} not judged: {why_not}")
    expected = good[0].expected if len({result.expected for result in good}) == 1 else ""
    return [passed(expected, f"{len(good)} of {len(good)}", "; ".join(remarks))]


def version(text: Any) -> Any:
    """A key that orders versions.

    Raises:
        UnreadableError: it is no version.
    """
    return TYPES["version"].read(text)


def number(value: Any) -> float | None:
    """A number, which stands as text where it was written in a table; None stays None.

    Raises:
        UnreadableError: it is no number.
    """
    if value is None or isinstance(value, float):
        return value
    return float(value) if isinstance(value, int) else float(TYPES["float"].read(value))


def branch_of(driver_version: str) -> int:
    """580 of 580.159.04.

    Raises:
        UnreadableError: it does not begin with a number.
    """
    return int(TYPES["int"].read(str(driver_version).partition(".")[0]))


def soft(facts: FactView, name: str, default: Any = None) -> Any:
    """A fact that only helps: `default` where it is absent or could not be read."""
    fact = facts.fact(name)
    return fact.value if fact.state is FactState.VALUE else default


def gpu_name(row: Row) -> str:
    return str(row.get("name") or row.get("pci_id") or "this GPU")


def gpu_model(row: Row, tables: Tables) -> Row:
    """What the table knows of this GPU's model; empty when nothing.

    Raises:
        CannotTellError: the GPU did not say which model it is.
    """
    return tables["gpu_models"].get(read(row, "pci_id")) or {}


def of_models(rows: Iterable[Row], tables: Tables, column: str, *values: Any) -> list[Row]:
    """The rows whose model has one of the values in that column of the table; none where no GPU is such a one.

    Where some are, a GPU that does not say its model is taken for one of them: it must not be left out in silence.

    Raises:
        CannotTellError: no GPU is known to be such a one, and one did not say what it is.
    """
    found: list[Row] = []
    known = False
    for row in rows:
        if field_error(row, "pci_id"):
            found.append(row)
        elif gpu_model(row, tables).get(column) in values:
            found.append(row)
            known = True
    if found and not known:
        raise CannotTellError(f"{gpu_label(found[0])}: {field_error(found[0], 'pci_id')}")
    return found


def where_split(gpus: Iterable[Row], why_not: str) -> list[RowResult]:
    """What to say instead of a verdict on GPUs as wholes: not judged (`why_not`) where one is split into MIG devices,
    unknown where one did not say whether it is. Empty where none is split."""
    rows = list(gpus)
    if any(row.get("mig_current") for row in rows):
        return [not_judged(why_not)]
    untold = [(gpu_label(row), field_error(row, "mig_current")) for row in rows]
    return [about(label, unknown(f"mig_current: {reason}")) for label, reason in untold if reason]


def is_idle(row: Row, busy_pct: int) -> str:
    """Why this GPU cannot be judged under load, e.g. "idle (P8, 0 % used)"; empty when it is at work.

    At work is: P0, used for at least `busy_pct` percent of the time, and no idle reason that holds its clocks down.
    """
    pstate = read(row, "pstate")
    used = read(row, "gpu_utilization_pct")
    reasons = read(row, "clocks_event_reasons") or []
    if pstate == BUSY_PSTATE and used is not None and used >= busy_pct and "gpu_idle" not in reasons:
        return ""
    shown = [str(pstate)] if pstate else []
    shown.append(f"{used} % used" if used is not None else "utilisation is not reported")
    return f"idle ({', '.join(shown)})"
