"""Lines of a kernel log: the time of each, in any of the forms that a log is kept in, and the message without it.

[6781741.548768] msg                                    dmesg, seconds since boot
[Fri Oct 14 14:56:49 2022] msg                          dmesg -T, taken as UTC
kern  :warn  : 2025-01-21T02:21:33,498559+00:00 msg     dmesg --decode --time-format=iso
6,3964,206764307,-;msg                                  /dev/kmsg, microseconds since boot
<6>[    8.247346] msg                                   pstore, dmesg -r
1737128175.365853 host kernel: msg                      journalctl -o short-unix
2025-01-02T15:20:12+0800 host kernel: msg               journalctl -o short-iso
May 29 10:50:24 host kernel: msg                        syslog: no year, so no time
[Feb 27 2025 15:10:02] [ERROR] [tid 12727] msg          fabricmanager.log, local time
7 <tab> 6781753.40 <tab> LINE                           as `kernel_log.sh` folds 7 equal ones: time of the last, first
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime, timezone

import msgspec

_FOLDED = re.compile(r"(\d{1,12})\t([0-9.]{0,24})\t")
_UPTIME = re.compile(r"(?:<\d{1,3}>)?\[ {0,15}(\d{1,12}\.\d{1,9})\] ?")
_CTIME = re.compile(r"(?:<\d{1,3}>)?\[[A-Z][a-z]{2} ([A-Z][a-z]{2}) +(\d{1,2}) (\d\d):(\d\d):(\d\d) (\d{4})\] ?")
_KMSG = re.compile(r"\d{1,6},\d{1,20},(\d{1,18}),[^;]{0,200};")
_UNIX = re.compile(r"(\d{9,11}(?:\.\d{1,9})?) +\S+ +")
_ISO = re.compile(
    r"(?:[a-z]+ *:[a-z]+ *: *)?(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)(?:[.,](\d{1,9}))?(Z|[+-]\d\d:?\d\d)? +"
)
_SYSLOG = re.compile(r"[A-Z][a-z]{2} +\d{1,2} \d\d:\d\d:\d\d +\S+ +")
_FABRIC = re.compile(r"\[([A-Z][a-z]{2}) (\d{1,2}) (\d{4}) (\d\d):(\d\d):(\d\d)\] +\[([A-Z]+)\] +(?:\[tid \d+\] +)?")
# What a journal puts between the time and the message: `host kernel: `, where dmesg has nothing.
_FROM_KERNEL = re.compile(r"(?:\S{1,80} )?kernel: (?:\[ *\d+\.\d+\] )?")
_MONTHS = {"Jan": 1, "Feb": 2, "Mar": 3, "Apr": 4, "May": 5, "Jun": 6,
           "Jul": 7, "Aug": 8, "Sep": 9, "Oct": 10, "Nov": 11, "Dec": 12}  # fmt: skip
_MAX_LINE = 1000


class Clock(msgspec.Struct, frozen=True):
    """What turns the times of a log into seconds since the epoch.

    Attributes:
        boot_s: when the node booted, seconds since the epoch; None: times since boot say nothing.
        utc_offset_s: how far the node's local time is ahead of UTC.
    """

    boot_s: float | None = None
    utc_offset_s: int = 0


class LogLine(msgspec.Struct, frozen=True):
    """One message, or `count` equal ones.

    Attributes:
        first_s, last_s: seconds since the epoch, UTC; None where the log has no time or the boot time is unknown.
    """

    message: str
    first_s: float | None = None
    last_s: float | None = None
    count: int = 1


def read_lines(text: str, clock: Clock) -> Iterator[LogLine]:
    """The lines of a log in any of the forms above; blank lines and the marks of `kernel_log.sh` are left out."""
    for raw in text.split("\n"):
        line = raw[:_MAX_LINE].rstrip()
        if not line or line.startswith(("nd_dropped ", "-- ")):
            continue
        folded = _FOLDED.match(line)
        if folded is None:
            message, at = _split(line, clock)
            yield LogLine(message, at, at)
            continue
        message, first = _split(line[folded.end() :], clock)
        last = _folded_time(folded[2], clock)
        yield LogLine(message, first, first if last is None else last, max(1, int(folded[1])))


def uptime_s(line: str) -> float | None:
    """Seconds since boot at which a dmesg line was written, or None when it is no such line."""
    match = _UPTIME.match(line)
    return float(match[1]) if match else None


def _folded_time(stamp: str, clock: Clock) -> float | None:
    try:
        value = float(stamp)
    except ValueError:
        return None
    if value >= 1e9:  # no uptime is that long (31 years); no node's clock is before 2001
        return value
    return None if clock.boot_s is None else round(clock.boot_s + value, 6)


def _split(line: str, clock: Clock) -> tuple[str, float | None]:
    """(message, seconds since the epoch or None)."""
    head = line[0]
    if head in "[<":
        return _split_bracketed(line, clock)
    if head.isdigit():
        if match := _UNIX.match(line):
            return _message(line[match.end() :]), float(match[1])
        if match := _KMSG.match(line):
            return line[match.end() :], _since_boot(int(match[1]) / 1e6, clock)
    if match := _ISO.match(line):
        return _message(line[match.end() :]), _iso_time(match)
    if match := _SYSLOG.match(line):
        return _message(line[match.end() :]), None
    return _message(line), None


def _split_bracketed(line: str, clock: Clock) -> tuple[str, float | None]:
    if match := _UPTIME.match(line):
        return line[match.end() :], _since_boot(float(match[1]), clock)
    if match := _CTIME.match(line):
        month, day, hour, minute, second, year = match.groups()
        return _message(line[match.end() :]), _utc(year, month, day, hour, minute, second)
    if match := _FABRIC.match(line):
        month, day, year, hour, minute, second, _level = match.groups()
        local = _utc(year, month, day, hour, minute, second)
        return line[match.end() :], None if local is None else local - clock.utc_offset_s
    return line, None


def _message(rest: str) -> str:
    match = _FROM_KERNEL.match(rest)
    return rest[match.end() :] if match else rest


def _since_boot(seconds: float, clock: Clock) -> float | None:
    return None if clock.boot_s is None else round(clock.boot_s + seconds, 6)


def _utc(year: str, month: str, day: str, hour: str, minute: str, second: str) -> float | None:
    number = _MONTHS.get(month)
    if number is None:
        return None
    try:
        at = datetime(int(year), number, int(day), int(hour), int(minute), int(second), tzinfo=timezone.utc)
    except ValueError:
        return None
    return at.timestamp()


def _iso_time(match: re.Match[str]) -> float | None:
    year, month, day, hour, minute, second, fraction, zone = match.groups()
    try:
        at = datetime(int(year), int(month), int(day), int(hour), int(minute), int(second), tzinfo=timezone.utc)
    except ValueError:
        return None
    offset = 0
    if zone and zone != "Z":
        digits = zone[1:].replace(":", "")
        offset = (int(digits[:2]) * 3600 + int(digits[2:]) * 60) * (-1 if zone[0] == "-" else 1)
    return round(at.timestamp() - offset + (float(f"0.{fraction}") if fraction else 0.0), 6)
