"""Resource limits: `limit[NAME]`, from /proc/self/limits."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING

from nodectl.facts.reading import CannotTell, Reading, told
from nodectl.facts.registry import Context, FactSpec
from nodectl.model import Fact

if TYPE_CHECKING:
    from nodectl.probe.transcript import SourceReply

UNLIMITED = 2**63 - 1
_PATH = "/proc/self/limits"
# {key: (row of the file, column: 0 soft, 1 hard, divisor)}
_KEYS = {
    "memlock_soft_kib": ("Max locked memory", 0, 1024),
    "memlock_hard_kib": ("Max locked memory", 1, 1024),
    "nofile_soft": ("Max open files", 0, 1),
    "nofile_hard": ("Max open files", 1, 1),
    "nproc_soft": ("Max processes", 0, 1),
    "nproc_hard": ("Max processes", 1, 1),
    "stack_soft_kib": ("Max stack size", 0, 1024),
    "core_soft_kib": ("Max core file size", 0, 1024),
}

FACTS = (
    FactSpec(
        name="limit[NAME]",
        type="int",
        about="Resource limit of the session in which nodectl asks (a login over SSH; a service or a job of the"
        f" scheduler may have others). KiB where the name says so; unlimited is {UNLIMITED}",
        source="limits",
        keys=tuple(_KEYS),
    ),
)


def _limit(reading: Reading, key: str) -> int:
    row, column, divisor = _KEYS[key]
    match = re.search(
        rf"^{row} {{2,}}(\d{{1,20}}|unlimited) +(\d{{1,20}}|unlimited) ", reading.file(_PATH), re.MULTILINE
    )
    if not match:
        raise CannotTell(f'{_PATH} has no line "{row}"')
    value = match[1 + column]
    return UNLIMITED if value == "unlimited" else min(int(value) // divisor, UNLIMITED)


def parse(reply: SourceReply, context: Context) -> Iterator[Fact]:
    """The facts of the source `limits`."""
    reading = Reading(reply)
    for key in context.keys_of("limit"):
        yield told(f"limit[{key}]", partial(_limit, reading, key), _PATH)


SOURCES = {"limits": parse}
