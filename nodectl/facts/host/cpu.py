"""CPU identity, topology and vulnerabilities: `cpu.*` (governors and idle states are in host_cpu_power)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from nodectl.facts.reading import CannotTell, NotThere, Reading, count_cpu_list, number, told, word
from nodectl.facts.registry import Context, FactSpec, Field
from nodectl.model import Fact

if TYPE_CHECKING:
    from nodectl.probe.transcript import SourceReply

FIRST_CPU = "first CPU of /proc/cpuinfo"
_CPU = "/sys/devices/system/cpu"
_VULNERABILITY = re.compile(re.escape(f"{_CPU}/vulnerabilities/") + r"([a-z0-9_]{1,60})")

# An ARM core says who made it and which part it is, in numbers of the architecture's MIDR register.
_ARM_MAKERS = {
    0x41: "ARM",
    0x46: "Fujitsu",
    0x48: "HiSilicon",
    0x4E: "NVIDIA",
    0x50: "APM",
    0x51: "Qualcomm",
    0xC0: "Ampere",
}
_ARM_PARTS = {
    (0x41, 0xD0C): "Neoverse N1",
    (0x41, 0xD40): "Neoverse V1",
    (0x41, 0xD49): "Neoverse N2",
    (0x41, 0xD4F): "Neoverse V2",
    (0x41, 0xD83): "Neoverse V3AE",
    (0x41, 0xD84): "Neoverse V3",
    (0x41, 0xD8E): "Neoverse N3",
    (0x4E, 0x004): "Carmel",
    (0x4E, 0x010): "Olympus",
    (0xC0, 0xAC3): "Ampere-1",
    (0xC0, 0xAC4): "Ampere-1a",
}

FACTS = (
    FactSpec(name="cpu.model", type="str", about="CPU model as the kernel names it", source="cpu"),
    FactSpec(name="cpu.vendor", type="str", about="GenuineIntel, AuthenticAMD, ARM, ...", source="cpu"),
    FactSpec(name="cpu.sockets", type="int", about="CPU packages with a CPU online", source="cpu"),
    FactSpec(name="cpu.cores", type="int", about="Physical cores online, in all sockets", source="cpu"),
    FactSpec(name="cpu.threads", type="int", about="Logical CPUs online", source="cpu"),
    FactSpec(name="cpu.smt", type="bool", about="Several threads share a core (Hyper-Threading, SMT)", source="cpu"),
    FactSpec(
        name="cpu.smt_control", type="str", about="on, off, forceoff, notsupported or notimplemented", source="cpu"
    ),
    FactSpec(
        name="cpu.vulnerabilities",
        type="rows",
        about="What the kernel says of each known CPU vulnerability",
        source="cpu",
        fields=(
            Field("name", about="as in /sys/devices/system/cpu/vulnerabilities"),
            Field("text", about="Not affected, Mitigation: ..., or Vulnerable ..."),
        ),
    ),
)


def first_cpu(reading: Reading) -> dict[str, str]:
    """The `key : value` lines of the first CPU in /proc/cpuinfo.

    Raises:
        CannotTell: there are none.
    """
    values: dict[str, str] = {}
    for line in reading.command(FIRST_CPU).splitlines():
        key, colon, value = line.partition(":")
        if colon:
            values.setdefault(key.strip(), value.strip())
    if "processor" not in values and "vendor_id" not in values:
        raise CannotTell("/proc/cpuinfo describes no processor")
    return values


def _arm(values: dict[str, str]) -> tuple[int, int] | None:
    try:
        return int(values["CPU implementer"], 16), int(values["CPU part"], 16)
    except (KeyError, ValueError):
        return None


def _model(values: dict[str, str]) -> str:
    for key in ("model name", "cpu model", "cpu"):
        if values.get(key):
            return values[key]
    arm = _arm(values)
    if arm is None:
        raise NotThere("/proc/cpuinfo names no model")
    maker = _ARM_MAKERS.get(arm[0], f"implementer {arm[0]:#x}")
    return f"{maker} {_ARM_PARTS.get(arm, f'part {arm[1]:#x}')}"


def _vendor(values: dict[str, str]) -> str:
    if values.get("vendor_id"):
        return values["vendor_id"]
    arm = _arm(values)
    if arm is None:
        raise NotThere("/proc/cpuinfo names no vendor")
    return _ARM_MAKERS.get(arm[0], f"implementer {arm[0]:#x}")


def _count(reading: Reading, name: str) -> int:
    count = number(reading.command(name), name)
    if count < 1:
        raise CannotTell(f"the kernel shows no topology of the CPUs ({name})")
    return count


def _threads(reading: Reading) -> int:
    return count_cpu_list(reading.line(f"{_CPU}/online"))


def _smt(reading: Reading) -> bool:
    try:
        active = reading.line(f"{_CPU}/smt/active").strip()
    except NotThere:
        # Kernels before 4.19 do not say it; threads that share a core do.
        return _threads(reading) > _count(reading, "cores")
    if active not in ("0", "1"):
        raise CannotTell(f"smt/active is neither 0 nor 1: {active!r:.20}")
    return active == "1"


def _vulnerabilities(reading: Reading) -> list[dict[str, str]]:
    rows = [{"name": match[1], "text": text.strip()} for match, text in reading.lines_below(_VULNERABILITY)]
    if not rows:
        raise reading.none_below(f"{_CPU}/vulnerabilities", "this kernel does not list CPU vulnerabilities")
    return sorted(rows, key=lambda row: row["name"])


def parse(reply: SourceReply, context: Context) -> Iterator[Fact]:
    """The facts of the source `cpu`."""
    reading = Reading(reply)
    smt = f"{_CPU}/smt"
    yield told("cpu.model", lambda: _model(first_cpu(reading)), "/proc/cpuinfo")
    yield told("cpu.vendor", lambda: _vendor(first_cpu(reading)), "/proc/cpuinfo")
    yield told("cpu.sockets", lambda: _count(reading, "sockets"), f"{_CPU}/cpu*/topology/physical_package_id")
    yield told("cpu.cores", lambda: _count(reading, "cores"), f"{_CPU}/cpu*/topology/thread_siblings_list")
    yield told("cpu.threads", lambda: _threads(reading), f"{_CPU}/online")
    yield told("cpu.smt", lambda: _smt(reading), f"{smt}/active")
    yield told("cpu.smt_control", lambda: word(reading.line(f"{smt}/control"), "smt/control"), f"{smt}/control")
    yield told("cpu.vulnerabilities", lambda: _vulnerabilities(reading), f"{_CPU}/vulnerabilities/*")


SOURCES = {"cpu": parse}
