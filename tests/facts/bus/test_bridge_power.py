"""PCI bridges that may sleep."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from replies import cmd, fact_of, state_of, value_of

from nodectl.model import FactState

BUS = cmd("ls -d /sys/bus/pci/devices", "/sys/bus/pci/devices\n")
NAME = "pci.bridges_may_sleep"


def test_bridges_are_counted_by_what_they_may_do() -> None:
    sections = [BUS, cmd("bridge power", "     12 auto active\n      3 auto suspended\n     71 on active\n")]
    assert value_of("pci_bridge_power", sections, NAME) == 15
    assert value_of("pci_bridge_power", sections, "pci.bridges") == 86
    assert value_of("pci_bridge_power", [BUS, cmd("bridge power")], NAME) == 0


def test_what_cannot_be_told() -> None:
    assert state_of("pci_bridge_power", [cmd(BUS.name, "", "ls: no\n", 2), cmd("bridge power")], NAME) == "error"
    assert state_of("pci_bridge_power", [BUS, cmd("bridge power", "  3 unknown unknown\n")], NAME) == "error"


@given(st.text(max_size=100))
def test_any_text_is_read_without_raising(text: str) -> None:
    fact = fact_of("pci_bridge_power", [BUS, cmd("bridge power", text)], NAME)
    assert fact.state is not FactState.ABSENT
    assert "could not be read (" not in fact.reason
