"""CPU identity, topology, vulnerabilities, frequencies and idle states."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from replies import cmd, fact_of, facts_of, grep, said, state_of, value_of

from nodectl.facts.reading import CannotTell, count_cpu_list, cpu_list
from nodectl.model import FactState
from nodectl.probe.transcript import Section

CPU = "/sys/devices/system/cpu"
FIRST = "first CPU of /proc/cpuinfo"
ARM = "processor\t: 0\nBogoMIPS\t: 2000.00\nCPU implementer\t: {0}\nCPU architecture: 8\nCPU part\t: {1}\n"


def _cpu(cpuinfo: str, online: str = "0-7", smt: dict[str, str] | None = None) -> list[Section]:
    files = {f"{CPU}/online": online}
    files |= {f"{CPU}/smt/active": "1", f"{CPU}/smt/control": "on"} if smt is None else smt
    gone = [path for path in (f"{CPU}/smt/active", f"{CPU}/smt/control") if path not in files]
    return [cmd(FIRST, cpuinfo), cmd("cores", "4\n"), cmd("sockets", "1\n"), grep(files, gone)]


def test_recorded_cpuinfo(shared: Path) -> None:
    text = (shared / "recordings/public/proc/nodeexp-cpuinfo.txt").read_text().split("\n\n")[0]
    names = ("cpu.model", "cpu.vendor", "cpu.sockets", "cpu.cores", "cpu.threads", "cpu.smt", "cpu.smt_control")
    facts = facts_of("cpu", _cpu(text), *names)
    assert [fact.value for fact in facts.values()] == [
        "Intel(R) Core(TM) i7-8650U CPU @ 1.90GHz", "GenuineIntel", 1, 4, 8, True, "on",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("implementer", "part", "model"),
    [
        ("0x41", "0xd4f", "ARM Neoverse V2"),
        ("0xc0", "0xac4", "Ampere Ampere-1a"),
        ("0x41", "0xfff", "ARM part 0xfff"),
        ("0x99", "0x1", "implementer 0x99 part 0x1"),
    ],
)
def test_arm_cores_are_named_by_their_numbers(implementer: str, part: str, model: str) -> None:
    sections = _cpu(ARM.format(implementer, part))
    assert value_of("cpu", sections, "cpu.model") == model


def test_a_cpuinfo_without_a_model_is_absent_and_one_without_a_cpu_is_an_error() -> None:
    assert state_of("cpu", _cpu("processor\t: 0\n"), "cpu.model") == "absent"
    assert state_of("cpu", _cpu(""), "cpu.model") == "error"


def test_without_smt_files_the_threads_tell() -> None:
    assert value_of("cpu", _cpu("", online="0-7", smt={}), "cpu.smt") is True
    assert value_of("cpu", _cpu("", online="0-3", smt={}), "cpu.smt") is False
    assert state_of("cpu", _cpu("", smt={}), "cpu.smt_control") == "absent"


def test_no_topology_is_an_error() -> None:
    sections = [cmd("cores", "0\n", f"cat: {CPU}/cpu[0-9]*/topology/thread_siblings_list: No such file or directory\n")]
    assert state_of("cpu", sections, "cpu.cores") == "error"


def test_recorded_vulnerabilities(shared: Path) -> None:
    folder = shared / "recordings/h200x8/fs" / CPU[1:] / "vulnerabilities"
    files = {f"{CPU}/vulnerabilities/{path.name}": path.read_text().rstrip("\n") for path in folder.iterdir()}
    rows = value_of("cpu", [grep(files)], "cpu.vulnerabilities")
    assert len(rows) == len(files) > 10
    texts = {row["name"]: row["text"] for row in rows}
    assert texts["meltdown"] == "Not affected"
    assert texts["spectre_v2"].startswith("Mitigation: Enhanced / Automatic IBRS; IBPB: conditional")


def test_an_old_kernel_lists_no_vulnerabilities() -> None:
    gone = [f"{CPU}/vulnerabilities/*"]
    assert state_of("cpu", [grep({}, gone)], "cpu.vulnerabilities") == "absent"
    assert state_of("cpu", [grep({}, gone, "Permission denied")], "cpu.vulnerabilities") == "error"
    assert state_of("cpu", [grep({}, gone), said("not mounted", "/sys")], "cpu.vulnerabilities") == "error"


def _power(governors: str = "", epp: str = "", idle: str = "", **more: Section) -> list[Section]:
    def rolled(name: str, text: str) -> Section:
        gone = f"grep: {CPU}/cpu[0-9]*/cpufreq/{name}: No such file or directory\n"
        return cmd(name, text, "" if text else gone)

    nothing = f"grep: {CPU}/cpu[0-9]*/cpuidle/state[0-9]*/disable: No such file or directory\n"
    states = ("POLL", 0), ("C1", 1), ("C1E", 2), ("C6", 133)
    files = {f"{CPU}/cpu0/cpuidle/state{n}/name": name for n, (name, _) in enumerate(states)}
    files |= {f"{CPU}/cpu0/cpuidle/state{n}/latency": str(latency) for n, (_, latency) in enumerate(states)}
    return [
        rolled("scaling_governor", governors),
        rolled("energy_performance_preference", epp),
        cmd("idle states", idle, "" if idle else nothing),
        grep({f"{CPU}/cpuidle/current_driver": "intel_idle", "/sys/module/intel_idle/parameters/max_cstate": "9"}, [
            "/sys/module/processor/parameters/max_cstate"
        ]),
        grep(files if idle else {}),
    ]  # fmt: skip


def test_governors_are_rolled_up_with_their_cpus() -> None:
    governors = "".join(f"{cpu} {'powersave' if cpu in (3, 100) else 'performance'}\n" for cpu in range(256))
    assert value_of("cpu_power", _power(governors), "cpu.governors") == [
        {"governor": "performance", "cpus": "0-2,4-99,101-255", "cpu_count": 254},
        {"governor": "powersave", "cpus": "3,100", "cpu_count": 2},
    ]


def test_recorded_governors(shared: Path) -> None:
    folder = shared / "recordings/public/sysfs-cpufreq/nodeexp/devices/system/cpu"
    lines = {path.parts[-3][3:]: path.read_text().strip() for path in folder.glob("cpu*/cpufreq/scaling_governor")}
    assert lines
    rows = value_of("cpu_power", _power("".join(f"{c} {g}\n" for c, g in lines.items())), "cpu.governors")
    assert sum(row["cpu_count"] for row in rows) == len(lines)


def test_a_virtual_machine_sets_no_frequencies() -> None:
    for name in ("cpu.governors", "cpu.epp", "cpu.idle_states"):
        assert state_of("cpu_power", _power(), name) == "absent"
        assert state_of("cpu_power", [*_power(), said("not mounted", "/sys")], name) == "error"
    assert "no cpufreq driver" in fact_of("cpu_power", _power(), "cpu.governors").reason


@pytest.mark.parametrize("why", ["Permission denied", "Device or resource busy", "Input/output error"])
def test_one_cpu_that_cannot_be_read_spoils_the_roll_up(why: str) -> None:
    sections = _power("0 performance\n", "0 performance\n")
    for index in (0, 1):
        sections[index] = replace(sections[index], stderr=f"grep: {CPU}/cpu1/cpufreq/{sections[index].name}: {why}\n")
    assert state_of("cpu_power", sections, "cpu.governors") == "error"
    assert state_of("cpu_power", sections, "cpu.epp") == "error"


@pytest.mark.parametrize("text", ["x performance\n", "0\n", "0 a b\n", "performance\n"])
def test_lines_that_are_no_cpu_and_word_are_an_error(text: str) -> None:
    assert state_of("cpu_power", _power(text), "cpu.governors") == "error"


def test_idle_states_are_disabled_only_when_they_are_so_everywhere() -> None:
    idle = "    256 state0 0\n    256 state1 0\n      2 state2 0\n    254 state2 1\n    256 state3 2\n"
    rows = value_of("cpu_power", _power(idle=idle), "cpu.idle_states")
    assert [(row["name"], row["latency_us"], row["disabled"], row["disabled_cpus"]) for row in rows] == [
        ("POLL", 0, False, 0), ("C1", 1, False, 0), ("C1E", 2, False, 254), ("C6", 133, True, 256),
    ]  # fmt: skip


def test_an_idle_state_that_cpu0_does_not_show_has_unknown_fields() -> None:
    sections = _power(idle="      4 state7 0\n")
    (row,) = value_of("cpu_power", sections, "cpu.idle_states")
    assert row["_errors"].keys() == {"name", "latency_us"}
    assert row["disabled"] is False


def test_idle_drivers() -> None:
    assert value_of("cpu_power", _power(), "cpu.idle_driver") == "intel_idle"
    assert value_of("cpu_power", _power(), "cpu.max_cstate[intel_idle]") == 9
    fact = fact_of("cpu_power", _power(), "cpu.max_cstate[processor]")
    assert (fact.state, fact.reason) == (FactState.ABSENT, "the idle driver processor is not in this kernel")


def test_a_limit_for_root_only_is_asked_through_sudo() -> None:
    path = "/sys/module/processor/parameters/max_cstate"
    assert value_of("cpu_power", [cmd(path, "8\n")], "cpu.max_cstate[processor]") == 8
    refused = cmd(path, "", "needs root: sudo: a password is required\n", 1)
    assert fact_of("cpu_power", [refused], "cpu.max_cstate[processor]").reason.startswith("needs root")


@given(st.sets(st.integers(0, 4000)))
def test_cpu_lists_name_as_many_as_they_were_made_of(cpus: set[int]) -> None:
    text = cpu_list(cpus)
    assert (count_cpu_list(text) if cpus else 0) == len(cpus)


@pytest.mark.parametrize("text", ["", "a", "1-", "-1", "3-1", "0-9999999", "0,,1"])
def test_what_is_no_cpu_list_is_an_error(text: str) -> None:
    with pytest.raises(CannotTell):
        count_cpu_list(text)


@given(st.text(max_size=300))
def test_any_text_is_read_without_raising(text: str) -> None:
    for source, names in (("cpu", ("cpu.model", "cpu.cores")), ("cpu_power", ("cpu.governors", "cpu.idle_states"))):
        sections = [cmd(name, text) for name in (FIRST, "cores", "scaling_governor", "idle states")]
        for fact in facts_of(source, sections, *names).values():
            assert "could not be read" not in fact.reason
            assert fact.state is not FactState.ABSENT or fact.name == "cpu.model"
