"""How the CPUs are clocked and how deep they sleep: `cpu.governors`, `cpu.epp`, `cpu.idle_*`, `cpu.max_cstate`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

from nodectl.facts.reading import CannotTell, NotThere, Reading, command_trouble, cpu_list, number, told, word
from nodectl.facts.registry import Context, FactSpec, Field
from nodectl.model import Fact

if TYPE_CHECKING:
    from nodectl.probe.transcript import SourceReply

_CPU = "/sys/devices/system/cpu"
_STATE = re.compile(re.escape(f"{_CPU}/cpu0/cpuidle/") + r"(state\d{1,3})/(name|latency)")
_DRIVER = f"{_CPU}/cpuidle/current_driver"
_CPUS = Field("cpus", about="which CPUs, as the kernel lists them: 0-3,8")
_COUNT = Field("cpu_count", "int", about="how many CPUs")

FACTS = (
    FactSpec(
        name="cpu.governors",
        type="rows",
        about="Frequency governors in use, each with its CPUs; absent where the kernel sets no frequencies (most VMs)",
        source="cpu_power",
        fields=(Field("governor", about="performance, powersave, schedutil, ..."), _CPUS, _COUNT),
    ),
    FactSpec(
        name="cpu.epp",
        type="rows",
        about="Energy performance preferences in use, each with its CPUs; absent where the driver has none",
        source="cpu_power",
        fields=(Field("epp", about="performance, balance_performance, default, ..."), _CPUS, _COUNT),
    ),
    FactSpec(name="cpu.idle_driver", type="str", about="intel_idle, acpi_idle, ... or none", source="cpu_power"),
    FactSpec(
        name="cpu.idle_states",
        type="rows",
        about="Idle states of the CPUs, from shallow to deep; absent where there are none (most VMs)",
        source="cpu_power",
        fields=(
            Field("state", about="state0, state1, ..."),
            Field("name", about="POLL, C1, C6, ..."),
            Field("latency_us", "int", "us", "time to wake up"),
            Field("disabled", "bool", about="disabled on every CPU"),
            Field("disabled_cpus", "int", about="CPUs on which it is disabled"),
        ),
    ),
    FactSpec(
        name="cpu.max_cstate[DRIVER]",
        type="int",
        about="Deepest C-state that an idle driver may use, as its module parameter says",
        source="cpu_power",
        keys=("intel_idle", "processor"),
    ),
)


_CPU_NUMBER, _WORD = re.compile(r"\d{1,6}"), re.compile(r"\S{1,60}")


def _rolled_up(reading: Reading, file: str, key: str, nothing: str) -> list[dict[str, Any]]:
    """`CPU VALUE` lines as one row a value."""
    section = reading.ran(file)
    cpus: dict[str, set[int]] = {}
    for line in section.text.splitlines():
        cpu, _, value = line.partition(" ")
        if not _CPU_NUMBER.fullmatch(cpu) or not _WORD.fullmatch(value.strip()):
            raise CannotTell(f"{file}: not a CPU and a word: {line!r:.60}")
        cpus.setdefault(value.strip(), set()).add(int(cpu))
    trouble = [line for line in section.stderr.splitlines() if "No such file" not in line]
    if trouble:
        raise CannotTell(f"{file}: {trouble[0]:.200}")
    if not cpus:
        if not section.stderr:
            raise CannotTell(f"{file} reads as empty")
        raise reading.not_there(_CPU, nothing)
    rows = [{key: value, "cpus": cpu_list(found), "cpu_count": len(found)} for value, found in cpus.items()]
    return sorted(rows, key=lambda row: (-row["cpu_count"], row[key]))


def _disabled(reading: Reading) -> dict[str, tuple[int, int]]:
    """{state: (CPUs on which it is disabled, CPUs)}."""
    section = reading.ran("idle states")
    counts: dict[str, tuple[int, int]] = {}
    for line in section.text.splitlines():
        match = re.fullmatch(r"\s*(\d{1,6}) (state\d{1,3}) (\d{1,3})", line)
        if not match:
            raise CannotTell(f"idle states: not understood: {line!r:.60}")
        off, total = counts.get(match[2], (0, 0))
        # Bit 0 is what the user set, bit 1 what the driver set: either keeps the state from being used.
        counts[match[2]] = (off + (int(match[1]) if match[3] != "0" else 0), total + int(match[1]))
    if not counts and "No such file" not in section.stderr:
        raise CannotTell(command_trouble(section) if section.rc else "the idle states read as empty")
    return counts


def _idle_states(reading: Reading) -> list[dict[str, Any]]:
    disabled = _disabled(reading)
    if not disabled:
        raise reading.not_there(_CPU, "the kernel puts these CPUs into no idle states (usual in a VM)")
    known: dict[str, dict[str, str]] = {}
    for match, text in reading.lines_below(_STATE):
        known.setdefault(match[1], {})[match[2]] = text.strip()
    rows = []
    for state in sorted(disabled, key=lambda name: int(name.removeprefix("state"))):
        off, total = disabled[state]
        row: dict[str, Any] = {
            "state": state,
            "name": known.get(state, {}).get("name"),
            "latency_us": number(known[state]["latency"], "latency") if "latency" in known.get(state, {}) else None,
            "disabled": off == total,
            "disabled_cpus": off,
        }
        missing = {key: "cpu0 does not show it" for key in ("name", "latency_us") if row[key] is None}
        rows.append({**row, "_errors": missing} if missing else row)
    return rows


def _max_cstate(reading: Reading, driver: str) -> int:
    path = f"/sys/module/{driver}/parameters/max_cstate"
    if reading.has("cmd", path):
        return number(reading.command(path), path)
    try:
        return number(reading.line(path), path)
    except NotThere:
        raise NotThere(f"the idle driver {driver} is not in this kernel") from None


def parse(reply: SourceReply, context: Context) -> Iterator[Fact]:
    """The facts of the source `cpu_power`."""
    reading = Reading(reply)
    no_frequency = "the kernel sets no CPU frequencies here: no cpufreq driver (usual in a VM)"
    no_preference = "the frequency driver knows no energy preference"
    governor, preference = "scaling_governor", "energy_performance_preference"
    yield told(
        "cpu.governors",
        lambda: _rolled_up(reading, governor, "governor", no_frequency),
        f"{_CPU}/cpu*/cpufreq/{governor}",
    )
    yield told(
        "cpu.epp", lambda: _rolled_up(reading, preference, "epp", no_preference), f"{_CPU}/cpu*/cpufreq/{preference}"
    )
    yield told("cpu.idle_driver", lambda: word(reading.line(_DRIVER), "current_driver"), _DRIVER)
    yield told("cpu.idle_states", lambda: _idle_states(reading), f"{_CPU}/cpu*/cpuidle/state*/disable")
    for driver in context.keys_of("cpu.max_cstate"):
        path = f"/sys/module/{driver}/parameters/max_cstate"
        yield told(f"cpu.max_cstate[{driver}]", partial(_max_cstate, reading, driver), path)


SOURCES = {"cpu_power": parse}
