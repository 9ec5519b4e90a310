"""Times and messages of kernel-log lines in every form that a log is kept in."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodectl.facts.kernel_log.lines import Clock, LogLine, read_lines, uptime_s

BOOT = 1_700_000_000.0
CLOCK = Clock(boot_s=BOOT, utc_offset_s=3600)
MESSAGE = "NVRM: GPU Board Serial Number: 1653723052734"


def one(text: str, clock: Clock = CLOCK) -> LogLine:
    (line,) = read_lines(text, clock)
    return line


@pytest.mark.parametrize(
    ("line", "at"),
    [
        ("[   12.500000] {}", BOOT + 12.5),
        ("[6781741.548768] {}", BOOT + 6781741.548768),
        ("<6>[    8.247346] {}", BOOT + 8.247346),
        ("[Fri Oct 14 14:56:49 2022] {}", 1665759409.0),
        ("[Sun Dec  1 14:54:40 2024] gpu7 kernel: {}", 1733064880.0),
        ("kern  :warn  : 2025-01-21T02:21:33,498559+00:00 {}", 1737426093.498559),
        ("2025-01-02T15:20:12+0800 gpu7 kernel: {}", 1735802412.0),
        ("2025-01-02T07:20:12Z gpu7 kernel: {}", 1735802412.0),
        ("2025-01-02T03:50:12-03:30 gpu7 kernel: {}", 1735802412.0),
        ("6,3964,206764307,-;{}", BOOT + 206.764307),
        ("1737128175.365853 gpu7 kernel: {}", 1737128175.365853),
        ("[Feb 27 2025 15:10:02] [ERROR] [tid 12727] {}", 1740669002.0 - 3600),
        ("May 29 10:50:24 gpu7 kernel: {}", None),
        ("May 29 10:50:24 gpu7 kernel: [ 4711.000001] {}", None),
        ("{}", None),
        ("[Fri Foo 14 14:56:49 2022] {}", None),
    ],
)
def test_each_form_gives_its_time_and_the_bare_message(line: str, at: float | None) -> None:
    read = one(line.format(MESSAGE))
    if "Foo" not in line:
        assert read.message == MESSAGE
    assert read.first_s == read.last_s == (None if at is None else pytest.approx(at))
    assert read.count == 1


def test_times_since_boot_say_nothing_without_the_boot_time() -> None:
    assert one("[   12.500000] " + MESSAGE, Clock()) == LogLine(MESSAGE)
    assert one("3\t99.5\t[   12.500000] " + MESSAGE, Clock()) == LogLine(MESSAGE, count=3)


def test_folded_lines_carry_count_and_last_time() -> None:
    assert one("800000\t6781753.5\t[   12.500000] " + MESSAGE) == LogLine(
        MESSAGE, BOOT + 12.5, BOOT + 6781753.5, 800_000
    )
    assert one("2\t1737128176.000000\t1737128175.365853 gpu7 kernel: " + MESSAGE) == LogLine(
        MESSAGE, 1737128175.365853, 1737128176.0, 2
    )


def test_marks_of_the_source_and_headings_of_journalctl_are_no_messages() -> None:
    text = "nd_dropped 0\n\n-- Logs begin at Sat 2021-05-29 10:50:24 UTC. --\n-- No entries --\n"
    assert list(read_lines(text, CLOCK)) == []


def test_the_first_line_of_dmesg_tells_how_far_back_it_reaches() -> None:
    assert uptime_s("[    0.000000] Linux version 6.8.0") == 0.0
    assert uptime_s("[86400.250000] eth0: link up") == 86400.25
    assert uptime_s("Linux version 6.8.0") is None
    assert uptime_s("") is None


@given(st.text(alphabet=st.characters(codec="utf-8"), max_size=300))
def test_no_text_makes_it_raise(text: str) -> None:
    for line in read_lines(text, CLOCK):
        assert line.count >= 1
        assert (line.first_s is None) == (line.last_s is None)


@given(
    st.from_regex(
        r"\A(\d{1,14}\t[0-9.]{0,30}\t)?(<\d>)?\[?"
        r"( {0,9}\d{1,14}(\.\d{1,12})?|[A-Z][a-z]{2} [A-Z][a-z]{2} \d{1,2} \d\d:\d\d:\d\d \d{4}"
        r"|\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d([.,]\d{1,9})?(Z|[+-]\d\d:?\d\d)?)\]?[ \w:.]{0,40}\Z"
    )
)
def test_no_time_makes_it_raise(text: str) -> None:
    list(read_lines(text, CLOCK))
