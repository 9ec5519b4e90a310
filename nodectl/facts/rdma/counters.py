"""Error counters of RDMA ports, read twice, so that what grows now is told from what is history."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from nodectl.probe.transcript import Section, SourceReply

COUNTERS = (
    "symbol_error", "link_error_recovery", "link_downed", "port_rcv_errors", "port_rcv_remote_physical_errors",
    "port_xmit_discards", "local_link_integrity_errors", "excessive_buffer_overrun_errors", "VL15_dropped",
    "port_xmit_wait", "out_of_sequence", "packet_seq_err", "local_ack_timeout_err", "rnr_nak_retry_err",
    "implied_nak_seq_err", "roce_slow_restart", "roce_adp_retrans", "rx_icrc_encapsulated",
    "req_transport_retries_exceeded", "np_cnp_sent", "np_ecn_marked_roce_packets", "rp_cnp_handled", "out_of_buffer",
)  # fmt: skip

_LINE = re.compile(
    r"/sys/class/infiniband/([A-Za-z0-9_.-]{1,64})/ports/([0-9]{1,3})/(?:hw_)?counters/([A-Za-z0-9_]{1,60}):(.*)"
)
_COMPLAINT = re.compile(r"/sys/class/infiniband/([A-Za-z0-9_.-]{1,64})/ports/([0-9]{1,3})/(?:hw_)?counters/([^:']+)")
# The kernel's ways to say that this adapter does not keep this counter.
_NOT_KEPT = re.compile(r"Invalid argument|not supported|No such file", re.IGNORECASE)
_NUMBER = re.compile(r"[0-9]{1,20}")
_UPTIME = re.compile(r"([0-9]{1,12}\.[0-9]{1,3})\b.*", re.DOTALL)
_SHORTEST_S = 0.5

Port = tuple[str, int]
Counts = dict[Port, dict[str, int]]


class Counters(msgspec.Struct, frozen=True):
    """What all ports counted.

    Attributes:
        totals: at the second reading (or the first, where there was no second).
        grown: by how much each grew between the two; nothing where a counter was reset meanwhile.
        seconds: between the two, by the node's own clock; None when it cannot be told.
        troubles: ports of which a counter could not be read, and why.
    """

    totals: Counts = {}
    grown: Counts = {}
    seconds: float | None = None
    troubles: dict[Port, str] = {}

    def per_second(self, port: Port) -> dict[str, float] | None:
        """Growth of each counter in 1/s; None where there are no two readings."""
        if self.seconds is None or port not in self.grown:
            return None
        return {name: round(count / self.seconds, 3) for name, count in self.grown[port].items()}


def read_counters(reply: SourceReply) -> Counters:
    """The two readings of a reply."""
    first, second = reply.find("cmd", "counters 1"), reply.find("cmd", "counters 2")
    before = _counts(first) if first is not None else {}
    after = _counts(second) if second is not None else {}
    grown: Counts = {}
    for port, counts in after.items():
        earlier = before.get(port, {})
        grown[port] = {
            name: count - earlier[name] for name, count in counts.items() if name in earlier and count >= earlier[name]
        }
    seconds = _elapsed(reply.find("file", "/proc/uptime"), reply.find("cmd", "uptime 2"))
    troubles: dict[Port, str] = {}
    for section in (first, second):
        if section is not None:
            troubles |= _troubles(section)
    return Counters(after or before, grown, seconds, troubles)


def _counts(section: Section) -> Counts:
    counts: Counts = {}
    for line in section.text.split("\n"):
        match = _LINE.fullmatch(line.rstrip())
        if match is None:
            continue
        port = counts.setdefault((match[1], int(match[2])), {})
        if match[3] in COUNTERS and _NUMBER.fullmatch(match[4].strip()):
            port[match[3]] = int(match[4])
    return counts


def _troubles(section: Section) -> dict[Port, str]:
    found: dict[Port, str] = {}
    for line in section.stderr.splitlines():
        match = _COMPLAINT.search(line)
        if match is not None and not _NOT_KEPT.search(line):
            why = line.rpartition(": ")[2].strip()[:80]
            found.setdefault((match[1], int(match[2])), f"{match[3][:60]} could not be read: {why}")
    return found


def _elapsed(first: Section | None, second: Section | None) -> float | None:
    if first is None or second is None:
        return None
    start, end = _UPTIME.fullmatch(first.text), _UPTIME.fullmatch(second.text)
    if start is None or end is None:
        return None
    seconds = float(end[1]) - float(start[1])
    return seconds if seconds >= _SHORTEST_S else None
