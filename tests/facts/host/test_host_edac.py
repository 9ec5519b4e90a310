"""Memory errors that EDAC counted."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from replies import cmd, fact_of, facts_of, said, state_of, value_of

from nodectl.probe.transcript import Section

NAMES = ("edac.controllers", "edac.dimms", "edac.corrected", "edac.uncorrected", "edac.dimm_sizes_mib")


def edac(mc: str, dimms: str = "", rows: str = "") -> list[Section]:
    return [
        cmd("mc counts", mc),
        cmd("dimm counts", dimms, rc=0 if dimms else 2),
        cmd("csrow counts", rows, rc=0 if rows else 2),
    ]


def recorded(folder: Path) -> list[Section]:
    """The recorded sysfs as the source prints it."""
    lines = {"mc": "", "csrow": ""}
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            kind = "csrow" if "csrow" in path.parent.name else "mc"
            lines[kind] += f"{path.relative_to(folder)}:{path.read_text().rstrip()}\n"
    return edac(lines["mc"], rows=lines["csrow"])


def test_recorded_counts(shared: Path) -> None:
    sections = recorded(shared / "recordings/public/sysfs-edac/nodeexp/devices/system/edac/mc")
    # ce_count 1 and ce_noinfo_count 2; ue_count 5 and ue_noinfo_count 6: errors of no known module count, too.
    assert value_of("edac", sections, "edac.corrected") == 3
    assert value_of("edac", sections, "edac.uncorrected") == 11
    assert value_of("edac", sections, "edac.controllers")[0]["mc"] == "mc0"
    dimms = value_of("edac", sections, "edac.dimms")
    assert [row["dimm"] for row in dimms[:3]] == ["csrow0/ch0", "csrow0/ch1", "csrow1/ch0"]
    assert dimms[0]["label"] == "mc0csrow0channel0"
    assert state_of("edac", sections, "edac.dimm_sizes_mib") == "absent"


DIMM = """mc0/dimm0/dimm_label:CPU_SrcID#0_MC#0_Chan#0_DIMM#0
mc0/dimm0/dimm_location:channel 0 slot 0 
mc0/dimm0/size:65536
mc0/dimm0/dimm_mem_type:Registered-DDR5
mc0/dimm0/dimm_ce_count:7
mc0/dimm0/dimm_ue_count:0
mc0/dimm1/size:32768
mc0/dimm1/dimm_ce_count:0
mc0/dimm2/size:0
"""  # noqa: W291
MC = "mc0/mc_name:Intel_10nm Socket#0 IMC#0\nmc0/ce_count:7\nmc0/ue_count:0\n"


def test_modules() -> None:
    rows = value_of("edac", edac(MC, DIMM, "mc0/csrow0/ch0_ce_count:7\n"), "edac.dimms")
    assert rows[0] == {
        "mc": "mc0", "dimm": "dimm0", "label": "CPU_SrcID#0_MC#0_Chan#0_DIMM#0", "location": "channel 0 slot 0",
        "size_mib": 65536, "type": "Registered-DDR5", "corrected": 7, "uncorrected": 0,
    }  # fmt: skip
    assert len(rows) == 3
    assert value_of("edac", edac(MC, DIMM), "edac.dimm_sizes_mib") == [32768, 65536]
    assert value_of("edac", edac(MC, DIMM), "edac.dimm_count") == 2


def test_no_driver_is_absent_but_no_sysfs_is_an_error() -> None:
    for name in NAMES:
        assert state_of("edac", [said("memory controllers", "none")], name) == "absent"
        assert state_of("edac", [said("memory controllers", "none"), said("not mounted", "/sys")], name) == "error"


@pytest.mark.parametrize("mc", ["", "mc0/ce_count:many\n", "rubbish\n", "../mc0/ce_count:1\n"])
def test_what_is_no_count_is_an_error(mc: str) -> None:
    assert state_of("edac", edac(mc), "edac.controllers") == "error"


def test_a_controller_without_a_counter_is_unknown_and_never_zero() -> None:
    row = value_of("edac", edac("mc0/mc_name:x\nmc0/ue_count:0\n"), "edac.controllers")[0]
    assert (row["corrected"], row["uncorrected"]) == (None, 0)
    assert row["_errors"] == {"corrected": "could not be read"}
    assert fact_of("edac", edac("mc0/mc_name:x\nmc0/ue_count:0\n"), "edac.corrected").state.value == "error"


@given(st.text(max_size=300), st.text(max_size=100))
def test_any_text_is_read_without_raising(mc: str, rest: str) -> None:
    for fact in facts_of("edac", edac(mc, rest, rest), *NAMES).values():
        assert "could not be read (" not in fact.reason
        if not mc.strip():
            assert fact.state.value == "error"
