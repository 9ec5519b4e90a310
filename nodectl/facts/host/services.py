"""systemd units and the TuneD profile: `service[NAME]`, `tuned.profile`."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

from nodectl.facts.host.limits import UNLIMITED
from nodectl.facts.reading import CannotTell, NotThere, Reading, told
from nodectl.facts.registry import Context, FactSpec, Field
from nodectl.model import Fact

if TYPE_CHECKING:
    from nodectl.probe.transcript import Section, SourceReply

_SHOW = "systemctl show"
_TUNED = "/etc/tuned/active_profile"
_SUFFIXES = (".service", ".timer", ".socket", ".mount", ".automount", ".target", ".path", ".slice", ".swap", ".scope")
_NO_SYSTEMD = re.compile(r"not been booted with systemd|Failed to connect to bus|Host is down", re.IGNORECASE)

FACTS = (
    FactSpec(
        name="service[NAME]",
        type="row",
        about="A systemd unit (.service unless the name says otherwise); absent when it is not installed. Where systemd"
        " does not run (containers), nobody can tell, and that is an error",
        source="services",
        keys_as_args=True,
        fields=(
            Field("load_state", about="loaded, masked, bad-setting, error"),
            Field("active_state", about="active, inactive, failed, activating, deactivating, reloading"),
            Field("sub_state", about="running, exited, dead, waiting, ..."),
            Field(
                "enabled", about="enabled, disabled, static, masked, indirect, ...; empty where it has no such state"
            ),
            Field("restarts", "int", about="automatic restarts since it was started by hand or at boot"),
            Field("memlock_kib", "int", "KiB", f"locked memory that it may have; unlimited is {UNLIMITED}"),
            Field("nofile", "int", "", "files that it may open"),
        ),
    ),
    FactSpec(name="tuned.profile", type="str", about="Active TuneD profile; absent without TuneD", source="tuned"),
)


def unit_name(key: str) -> str:
    """`docker` -> `docker.service`; `fstrim.timer` stays."""
    return key if key.endswith(_SUFFIXES) else f"{key}.service"


def parse_show(text: str) -> dict[str, dict[str, str]]:
    """The blocks of `systemctl show`, by each name that the unit goes by (`chronyd.service` may be an alias)."""
    units: dict[str, dict[str, str]] = {}
    for block in re.split(r"\n[ \t]*\n", text):
        values = {}
        for line in block.splitlines():
            key, equals, value = line.partition("=")
            if equals:
                values[key] = value
        for name in {values.get("Id", ""), *values.get("Names", "").split()}:
            if name:
                units[name] = values
    return units


def _limit(text: str, divisor: int) -> int | None:
    if text == "infinity":
        return UNLIMITED
    # systemd before 228 writes "unlimited" as the largest 64-bit number.
    return min(int(text) // divisor, UNLIMITED) if text.isdigit() else None


def _units(reading: Reading) -> dict[str, dict[str, str]]:
    """All units that were asked for; what they miss is for the caller to judge.

    Raises:
        CannotTell: systemd was not there to answer.
    """
    section = reading.ran(_SHOW)
    if _NO_SYSTEMD.search(section.stderr):
        raise CannotTell(f"no systemd on this node to ask (process 1 is {_process_1(reading)})")
    units = parse_show(section.text)
    if not units:
        reading.command(_SHOW)
        raise CannotTell(f"{_SHOW} described no unit")
    return units


def no_systemd(reading: Reading, section: Section) -> NotThere | None:
    """That systemctl found no systemd to ask, because something else is process 1; None where it did answer.

    A systemd that runs but cannot be reached is no such case: the section's own failure tells that.
    """
    running = _process_1(reading)
    if running in ("systemd", "unnamed", "not known"):
        return None
    if section.rc == 127 or _NO_SYSTEMD.search(section.stderr):
        return NotThere(f"systemd does not run this node (process 1 is {running})")
    return None


def _process_1(reading: Reading) -> str:
    try:
        return reading.file("/proc/1/comm").strip()[:40] or "unnamed"
    except (NotThere, CannotTell):
        return "not known"


def _service(units: Callable[[], dict[str, dict[str, str]]], key: str) -> dict[str, Any]:
    name = unit_name(key)
    values = units().get(name)
    if values is None:
        raise CannotTell(f"systemctl said nothing of {name}")
    state = values.get("LoadState", "")
    if state == "not-found":
        raise NotThere(f"there is no unit {name}")
    if not state or not values.get("ActiveState"):
        raise CannotTell(f"systemctl gave no state of {name}")
    restarts = values.get("NRestarts", "")
    return {
        "load_state": state,
        "active_state": values["ActiveState"],
        "sub_state": values.get("SubState"),
        "enabled": values.get("UnitFileState"),
        "restarts": int(restarts) if restarts.isdigit() else None,
        "memlock_kib": _limit(values.get("LimitMEMLOCK", ""), 1024),
        "nofile": _limit(values.get("LimitNOFILE", ""), 1),
    }


def parse(reply: SourceReply, context: Context) -> Iterator[Fact]:
    """The facts of the source `services`."""
    # Read once for all units: a node has dozens.
    units = functools.cache(partial(_units, Reading(reply)))
    for key in context.keys_of("service"):
        yield told(f"service[{key}]", partial(_service, units, key), f"systemctl show {key}")


def _profile(reading: Reading) -> str:
    try:
        profile = " ".join(reading.file(_TUNED).split())
    except NotThere:
        raise NotThere("TuneD is not set up here") from None
    if not profile:
        raise NotThere("TuneD has no active profile")
    if not re.fullmatch(r"[A-Za-z0-9_.+ -]{1,200}", profile):
        raise CannotTell(f"{_TUNED} holds no profile name: {profile!r:.60}")
    return profile


def parse_tuned(reply: SourceReply, context: Context) -> Iterator[Fact]:
    """The fact of the source `tuned`."""
    reading = Reading(reply)
    yield told("tuned.profile", lambda: _profile(reading), _TUNED)


SOURCES = {"services": parse, "tuned": parse_tuned}
