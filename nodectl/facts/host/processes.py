"""What runs and what is stuck: `proc.*`, `time.daemons`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING

from nodectl.facts.reading import CannotTell, Reading, Row, number, told
from nodectl.facts.registry import DERIVED_SOURCE, Context, Derivation, FactSpec, Field
from nodectl.model import Fact

if TYPE_CHECKING:
    from nodectl.probe.transcript import SourceReply

_STATES = "states"
_AGAIN = "still blocked"
_FILE_NR = "/proc/sys/fs/file-nr"
_LOAD = "/proc/loadavg"
_PROCESS = re.compile(r"([DZ]) (\d{1,9}) (\d{1,9}) (.{0,100})")


def _spec(name: str, about: str, *, type: str = "int", source: str = "processes", varies: bool = True) -> FactSpec:
    unit = "%" if name.endswith("_pct") else ""
    return FactSpec(name=name, type=type, unit=unit, about=about, source=source, varies=varies)


FACTS = (
    FactSpec(
        name="proc.blocked",
        type="rows",
        about="Processes in state D (they wait and cannot be killed) at two looks a second apart; no kernel threads",
        source="processes",
        varies=True,
        fields=(Field("pid", "int", about="process id"), Field("name", about="its name, at most 15 characters")),
    ),
    _spec("proc.zombies", "Processes that have ended and that their parent did not collect"),
    _spec("proc.threads", "Processes and threads, as the kernel schedules them"),
    _spec(
        "proc.threads_max", "How many there can be: the smaller of kernel.pid_max and kernel.threads-max", varies=False
    ),
    _spec("proc.threads_used_pct", "How much of that is in use", type="float", source=DERIVED_SOURCE),
    _spec("proc.files_open", "Open files of all processes"),
    _spec("proc.files_max", "How many there can be (fs.file-max)", varies=False),
    _spec("proc.files_used_pct", "How much of that is in use", type="float", source=DERIVED_SOURCE),
    _spec(
        "time.daemons",
        "Programs that run and that set the clock: chronyd, ntpd, systemd-timesyncd, ptp4l, phc2sys, ...",
        type="list",
        varies=False,
    ),
)


class _States:
    """The states of all processes at the first look."""

    def __init__(self, reading: Reading) -> None:
        self.rows: list[tuple[str, int, str]] = []
        self.counts: dict[str, int] = {}
        self.daemons: list[str] = []
        for line in reading.text(_STATES).splitlines():
            word, _, rest = line.partition(" ")
            match = _PROCESS.fullmatch(line)
            if word in ("nd_zombies", "nd_total"):
                self.counts[word] = number(rest, word)
            elif word == "nd_daemon":
                self.daemons.append("systemd-timesyncd" if rest == "systemd-timesyn" else rest)
            elif match:
                self.rows.append((match[1], int(match[2]), match[4]))
            else:
                raise CannotTell(f"the states of processes: not understood: {line!r:.80}")
        if not self.counts.get("nd_total"):
            raise (
                reading.not_there("/proc", "")
                if reading.has("text", "not mounted")
                else CannotTell("the states of processes were not read to their end")
            )


def _blocked(reading: Reading) -> list[Row]:
    first = [(pid, name) for state, pid, name in _States(reading).rows if state == "D"]
    if not first:
        return []
    *pids, last = reading.command(_AGAIN).splitlines() or [""]
    if last != "nd_end":
        raise CannotTell("the second look at blocked processes was cut")
    return [{"pid": pid, "name": name} for pid, name in first if str(pid) in pids]


def _threads(reading: Reading) -> int:
    match = re.search(r" \d{1,9}/(\d{1,9}) ", reading.line(_LOAD))
    if not match:
        raise CannotTell(f"{_LOAD} is not as expected")
    return int(match[1])


def _threads_max(reading: Reading) -> int:
    return min(number(reading.line(f"/proc/sys/kernel/{name}"), name) for name in ("pid_max", "threads-max"))


def _files(reading: Reading, column: int) -> int:
    words = reading.line(_FILE_NR).split()
    if len(words) != 3:
        raise CannotTell(f"{_FILE_NR} is not as expected")
    return number(words[column], _FILE_NR)


def parse(reply: SourceReply, context: Context) -> Iterator[Fact]:
    """The facts of the source `processes`."""
    reading = Reading(reply)
    yield told("proc.blocked", lambda: _blocked(reading), "ps -eo state,pid,comm | grep ^D")
    yield told("proc.zombies", lambda: _States(reading).counts["nd_zombies"], "ps -eo state | grep -c Z")
    yield told("time.daemons", lambda: sorted(_States(reading).daemons), "ps -eo comm")
    yield told("proc.threads", lambda: _threads(reading), _LOAD)
    yield told("proc.threads_max", lambda: _threads_max(reading), "sysctl kernel.pid_max kernel.threads-max")
    for name, column in (("proc.files_open", 0), ("proc.files_max", 2)):
        yield told(name, partial(_files, reading, column), _FILE_NR)


def _percent(used: int, most: int) -> float:
    if most <= 0:
        raise CannotTell("the limit is not a positive number")
    return round(100 * used / most, 1)


SOURCES = {"processes": parse}
DERIVED: dict[str, Derivation] = {
    "proc.threads_used_pct": (("proc.threads", "proc.threads_max"), _percent),
    "proc.files_used_pct": (("proc.files_open", "proc.files_max"), _percent),
}
