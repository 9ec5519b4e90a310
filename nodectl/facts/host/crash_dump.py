"""The crash kernel: `crash.*`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from nodectl.facts.reading import CannotTell, NotThere, Reading, number, told
from nodectl.facts.registry import Context, FactSpec
from nodectl.model import Fact

if TYPE_CHECKING:
    from nodectl.probe.transcript import SourceReply

_SOURCE = "crash_dump"
_SIZE = "/sys/kernel/kexec_crash_size"
_LOADED = "/sys/kernel/kexec_crash_loaded"

FACTS = (
    FactSpec(
        name="crash.reserved_mib",
        type="int",
        unit="MiB",
        about="Memory that is kept for a crash kernel; absent when the running kernel cannot load one",
        source=_SOURCE,
    ),
    FactSpec(
        name="crash.kernel_loaded", type="bool", about="A crash kernel waits to be started by a panic", source=_SOURCE
    ),
)


def _line(reading: Reading, path: str) -> str:
    try:
        return reading.line(path)
    except NotThere:
        raise reading.not_there(path, "this kernel is built without kexec") from None


def _loaded(reading: Reading) -> bool:
    said = _line(reading, _LOADED).strip()
    if said not in ("0", "1"):
        raise CannotTell(f"{_LOADED} is neither 0 nor 1: {said!r:.20}")
    return said == "1"


def parse(reply: SourceReply, context: Context) -> Iterator[Fact]:
    """The facts of the source `crash_dump`."""
    reading = Reading(reply)
    yield told("crash.reserved_mib", lambda: number(_line(reading, _SIZE), _SIZE) // 2**20, _SIZE)
    yield told("crash.kernel_loaded", lambda: _loaded(reading), _LOADED)


SOURCES = {_SOURCE: parse}
