"""What the rules about kernel-log events share: times in words, and when a quiet log proves nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timezone
from typing import Any, TypeVar

from nodectl.engine.rules import FactView

T = TypeVar("T")

UNREADABLE = (
    "The kernel log does not reach back to boot (overwritten or rotated), so older events may be missing. "
    "A persistent journal keeps them."
)

# Xids that only give the detail of another one.
DETAIL_OF = {171: 48, 172: 48}


def incomplete(facts: FactView) -> bool:
    """True when the log may have lost something since boot."""
    return facts.value("kernel.log_complete") is not True


def quietly(ask: Callable[[], T], otherwise: T) -> T:
    """The answer, or `otherwise` when the fact is an error or absent: for what only makes a text better."""
    try:
        return ask()
    except Exception:
        return otherwise


def when(row: Mapping[str, Any]) -> str:
    """`2026-11-20 21:59 UTC`, or `2026-11-20 21:59 to 22:14 UTC`; empty when the log has no times."""
    first, last = _minute(row.get("first_s")), _minute(row.get("last_s"))
    if not first:
        return ""
    if not last or last == first:
        return f"{first} UTC"
    same_day = last[:10] == first[:10]
    return f"{first} to {last[11:] if same_day else last} UTC"


def links_in_words(links: Iterable[int]) -> str:
    """`link 8`, or `links 8, 9`; empty for none."""
    numbers = sorted(set(links))
    return f"link{'s' if len(numbers) > 1 else ''} {', '.join(map(str, numbers))}" if numbers else ""


def _minute(seconds: Any) -> str:
    if not isinstance(seconds, (int, float)):
        return ""
    try:
        return datetime.fromtimestamp(seconds, tz=timezone.utc).strftime("%Y-%m-%d %H:%M")
    except (ValueError, OverflowError, OSError):
        return ""
