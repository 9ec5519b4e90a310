"""Interrupts of network adapters, and the crash kernel."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from replies import cmd, fact_of, grep, said, state_of, value_of

from nodectl.model import FactState

BUS = cmd("ls -d /sys/bus/pci/devices", "/sys/bus/pci/devices\n")
SIZE, LOADED = "/sys/kernel/kexec_crash_size", "/sys/kernel/kexec_crash_loaded"


def test_interrupts_are_counted_by_where_they_arrive() -> None:
    sections = [
        BUS,
        cmd("interrupts of 0000:18:00.0", "      3 \n     30 0\n     34 0-3\n"),
        cmd("interrupts of 0000:3b:00.0", "", "cat: x: Input/output error\n", 1),
    ]
    one, two = value_of("nic_irqs", sections, "nic.irqs")
    assert one == {"pci_bus_id": "0000:18:00.0", "irqs": 64, "cpus": 2}
    assert "Input/output" in two["_errors"]["cpus"]


def test_no_adapter_and_no_bus() -> None:
    assert value_of("nic_irqs", [BUS], "nic.irqs") == []
    assert state_of("nic_irqs", [cmd("ls -d /sys/bus/pci/devices", "", "ls: no\n", 2)], "nic.irqs") == "error"
    assert state_of("nic_irqs", [said("not mounted", "/proc"), BUS], "nic.irqs") == "error"


def test_the_crash_kernel() -> None:
    section = grep({SIZE: "2147483648", LOADED: "0"})
    assert value_of("crash_dump", [section], "crash.reserved_mib") == 2048
    assert value_of("crash_dump", [section], "crash.kernel_loaded") is False
    gone = grep({}, [SIZE, LOADED])
    assert state_of("crash_dump", [gone], "crash.reserved_mib") == "absent"
    assert state_of("crash_dump", [said("not mounted", "/sys"), gone], "crash.kernel_loaded") == "error"


@given(st.text(max_size=200))
def test_any_text_is_read_without_raising(text: str) -> None:
    irqs = fact_of("nic_irqs", [BUS, cmd("interrupts of 0000:18:00.0", text)], "nic.irqs")
    size = fact_of("crash_dump", [grep({SIZE: text, LOADED: text})], "crash.reserved_mib")
    for fact in (irqs, size):
        assert fact.state is not FactState.ABSENT
        assert "could not be read (" not in fact.reason
