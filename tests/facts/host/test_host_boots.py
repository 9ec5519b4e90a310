"""When a node was started, and how often in a day."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from replies import cmd, facts_of, file, grep, said, state_of, value_of

from nodectl.facts.gather import gather
from nodectl.facts.host.boots import last_day, parse_last
from nodectl.model import Node
from nodectl.probe.transcript import write_transcript

LAST = "last starts"
TEXT = """reboot   system boot  6.8.0-87-generic 2026-11-20T19:06:47+01:00   still running
reboot   system boot  6.8.0-87-generic 2026-11-20T12:00:00+0000 - 2026-11-20T18:00:00+00:00  (06:00)
reboot   system boot  6.8.0-85-generic 2026-10-02T07:41:12-05:30 - crash

wtmp begins 2026-10-02T07:41:12+00:00
"""


def test_times_are_told_in_utc() -> None:
    assert value_of("boots", [cmd(LAST, TEXT)], "node.boots") == [
        "2026-11-20T18:06:47Z", "2026-11-20T12:00:00Z", "2026-10-02T13:11:12Z",
    ]  # fmt: skip


def test_the_last_day() -> None:
    sources = {"boots": [cmd(LAST, TEXT)], "node": [cmd("date -u +%Y-%m-%dT%H:%M:%SZ", "2026-11-20T20:06:28Z\n")]}
    fact = gather(write_transcript(sources), ["node.boots_last_day"], Node(name="n"))["node.boots_last_day"]
    assert fact.value == 2
    assert last_day(["2026-11-19T20:06:28Z", "2026-11-19T20:06:29Z"], "2026-11-20T20:06:28Z") == 1


def test_no_record_is_absent_and_no_answer_an_error() -> None:
    assert state_of("boots", [said("no record", "neither last nor /var/log/wtmp")], "node.boots") == "absent"
    assert state_of("boots", [cmd(LAST, "\nwtmp begins 2026-11-20T12:00:00+00:00\n")], "node.boots") == "absent"
    assert state_of("boots", [cmd(LAST, "", "last: unrecognized option", 1)], "node.boots") == "error"


@pytest.mark.parametrize("line", ["reboot   system boot  6.8 Sun Nov  9 20:06", "reboot  x 2026-13-40T99:00:00+00:00"])
def test_times_of_another_form_are_an_error(line: str) -> None:
    assert state_of("boots", [cmd(LAST, line + "\n")], "node.boots") == "error"


@given(st.text(max_size=200))
def test_any_text_is_read_without_raising(text: str) -> None:
    sections = [cmd(LAST, f"reboot {text}"), file("/etc/machine-id", text), grep({})]
    for fact in facts_of("boots", sections, "node.boots").values():
        assert "could not be read (" not in fact.reason


def test_years_at_the_edge_do_not_raise() -> None:
    assert state_of("boots", [cmd(LAST, "reboot x 0001-01-01T00:00:00+10:00\n")], "node.boots") == "error"
    assert parse_last("") == []
