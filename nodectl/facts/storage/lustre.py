"""The Lustre client: `lustre.*` (its mounts are in storage.mounted)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from nodectl.facts.reading import CannotTell, NotThere, Reading, Row, command_trouble, told
from nodectl.facts.registry import Context, FactSpec, Field
from nodectl.model import Fact

if TYPE_CHECKING:
    from nodectl.probe.transcript import SourceReply

_SOURCE = "lustre"
_PLACES = ("/sys/fs/lustre", "/proc/fs/lustre")
_NO_CLIENT = "no client"
_NIDS = "lctl list_nids"
_STATE = "lctl get_param state"
_IMPORT = "lctl get_param import"
_NID = re.compile(r"\S{1,100}@([a-z0-9]{1,20})")
_TARGET = re.compile(r"(mdc|osc)\.(\S{1,120})-\1-[0-9a-f]{1,20}\.state=")
_EVENT = re.compile(r"\s*-\s*\[\s*(\d{1,12}),\s*([A-Z_]{1,30})\s*\]")

FACTS = (
    FactSpec(
        name="lustre.version",
        type="version",
        about="Version of the loaded Lustre client; absent when none is loaded",
        source=_SOURCE,
    ),
    FactSpec(
        name="lustre.health",
        type="str",
        about="healthy, LBUG, NOT HEALTHY ..., as the client's health_check says",
        source=_SOURCE,
    ),
    FactSpec(
        name="lustre.nids",
        type="list",
        about="Addresses of this node in Lustre's network (LNet), e.g. 10.1.0.7@o2ib",
        source=_SOURCE,
        varies=True,
    ),
    FactSpec(
        name="lustre.networks",
        type="list",
        about="LNet networks that this node is on: o2ib is RDMA, tcp is not",
        source=_SOURCE,
    ),
    FactSpec(
        name="lustre.targets",
        type="rows",
        about="The client's connection to each metadata (MDT) and object (OST) target",
        source=_SOURCE,
        fields=(
            Field("target", about="e.g. scratch-OST0003"),
            Field("kind", about="mdt or ost"),
            Field("state", about="FULL is connected, IDLE is at rest; CONNECTING, DISCONN, EVICTED, RECOVER, ..."),
            Field("evictions", "int", about="times the server threw this client out, in the history that it keeps"),
            Field("last_evicted_s", "int", "s", "when last, since 1970; none when never"),
        ),
    ),
    FactSpec(
        name="lustre.server_versions",
        type="list",
        about="The different versions that the metadata and management servers say they have",
        source=_SOURCE,
    ),
)


def _place(reading: Reading) -> str:
    if reading.has("text", _NO_CLIENT):
        raise reading.not_there(_PLACES[0], "no Lustre client is loaded")
    place = next((place for place in _PLACES if reading.has("file", f"{place}/version")), None)
    if place is None:
        raise CannotTell("the probe's reply holds nothing of the Lustre client")
    return place


def _version(reading: Reading) -> str:
    # "2.15.3", or in /proc of old clients "lustre: 2.10.8" with more lines below.
    text = reading.file(f"{_place(reading)}/version")
    match = re.match(r"(?:lustre: *)?v?(\d+(?:\.\d+){1,4}\S{0,60})\s*(?:\n|$)", text)
    if not match:
        raise CannotTell(f"the version of the client is not understood: {text.strip()!r:.60}")
    return match[1]


def _health(reading: Reading) -> str:
    text = " ".join(reading.file(f"{_place(reading)}/health_check").split())
    if not text:
        raise CannotTell("health_check reads as empty")
    return text[:200]


def _nids(reading: Reading) -> list[str]:
    _place(reading)
    lines = reading.command(_NIDS).split()
    if any(_NID.fullmatch(line) is None for line in lines):
        raise CannotTell(f"{_NIDS} was not understood: {lines[0]!r:.60}")
    return lines


def _networks(reading: Reading) -> list[str]:
    return sorted({nid.rpartition("@")[2] for nid in _nids(reading)})


def _param(reading: Reading, name: str) -> list[str]:
    """The lines of an `lctl get_param`; none when it knows no such parameter, as without a mount."""
    _place(reading)
    section = reading.ran(name)
    *lines, last = section.text.splitlines() or [""]
    if not re.fullmatch(r"nd_rc \d+", last):
        raise CannotTell(f"{name} was not read to its end")
    if last != "nd_rc 0":
        missing = [line for line in section.stderr.splitlines() if "No such file" in line]
        if "not found" in section.stderr or len(missing) < len(section.stderr.splitlines()) or not missing:
            why = " ".join(section.stderr.split())[:200]
            raise CannotTell(
                f"needs root: {why}" if "root" in why or "denied" in why else why or command_trouble(section)
            )
    return lines


def _targets(reading: Reading) -> list[Row]:
    rows: list[Row] = []
    for line in _param(reading, _STATE):
        start = _TARGET.fullmatch(line.strip())
        event = _EVENT.fullmatch(line)
        if start:
            kind = "mdt" if start[1] == "mdc" else "ost"
            rows.append({"target": start[2], "kind": kind, "state": None, "evictions": 0, "last_evicted_s": None})
        elif not rows:
            raise CannotTell(f"the state of the targets is not understood: {line!r:.80}")
        elif line.startswith("current_state:"):
            rows[-1]["state"] = line.partition(":")[2].strip()[:40] or None
        elif event and event[2] == "EVICTED":
            rows[-1]["evictions"] += 1
            rows[-1]["last_evicted_s"] = int(event[1])
    for row in rows:
        if row["state"] is None:
            row["_errors"] = {"state": "lctl did not say it"}
    return rows


def _server_versions(reading: Reading) -> list[str]:
    found = set()
    for line in _param(reading, _IMPORT):
        match = re.fullmatch(r"\s*target_version:\s*(\d+(?:\.\d+){1,4})\s*", line)
        if match:
            found.add(match[1])
    if not found:
        raise NotThere("no server has told its version")
    return sorted(found)


def parse(reply: SourceReply, context: Context) -> Iterator[Fact]:
    """The facts of the source `lustre`."""
    reading = Reading(reply)
    yield told("lustre.version", lambda: _version(reading), "/sys/fs/lustre/version")
    yield told("lustre.health", lambda: _health(reading), "/sys/fs/lustre/health_check")
    yield told("lustre.nids", lambda: _nids(reading), _NIDS)
    yield told("lustre.networks", lambda: _networks(reading), _NIDS)
    yield told("lustre.targets", lambda: _targets(reading), "lctl get_param mdc.*.state osc.*.state")
    yield told("lustre.server_versions", lambda: _server_versions(reading), "lctl get_param mdc.*.import mgc.*.import")


SOURCES = {_SOURCE: parse}
