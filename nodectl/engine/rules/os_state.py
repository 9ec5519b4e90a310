"""The state of the operating system: the next boot, packages, disks, memory errors, what is stuck."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Mapping, Sequence
from typing import Any

from nodectl.engine.rules import CannotTellError, FactView, RowResult
from nodectl.engine.rules.gpu_rows import Row, Tables, about, failed, judge_rows, not_judged, passed, read, sum_up

# What Ubuntu's own archive writes into the versions of drivers that it updates after a release.
_FROM_UBUNTU = re.compile(r"-\d+ubuntu\d+\.\d\d\.\d\d")
_VENDOR = re.compile(r"nvidia|mellanox|\*", re.IGNORECASE)
# Each of them sets the system clock as it sees fit. phc2sys does so too, or only feeds chronyd.
_CLOCK_SETTERS = ("chronyd", "ntpd", "ntpd-rs", "ntp-daemon", "openntpd", "systemd-timesyncd")
_PASSING = re.compile(r"(snap|run|proc|sys|dev|tmp|var-snap|var-lib-(docker|containers|containerd|kubelet))[-.]")
_DAY_S = 86400
_MAX_NAMED = 6


def next_boot_driver(facts: FactView, params: Mapping[str, Any], tables: Tables) -> list[RowResult]:
    """The newest kernel has NVIDIA's module, where the running one has it on disk."""
    newest = facts.value("kernel.newest")
    rows = {row["release"]: row for row in facts.rows("kernel.installed")}
    running = next(row for row in rows.values() if row["running"])
    if not running["nvidia_module"]:
        return [not_judged("the running kernel has no module on disk: a container or an image brings the driver")]
    expected = "a kernel with NVIDIA's module"
    if rows[newest]["nvidia_module"]:
        return [passed(expected, str(newest), "" if newest != running["release"] else "it is the running one")]
    hint = (
        "DKMS may build it at boot" if rows[newest]["headers"] else "its headers are missing, so nothing can build it"
    )
    return [failed(expected, f"{newest} without one", hint)]


def dkms_built(facts: FactView, params: Mapping[str, Any], tables: Tables) -> list[RowResult]:
    """Every DKMS module is installed for the running kernel and for the newest."""
    kernels = dict.fromkeys([str(facts.value("kernel.release")), str(facts.get("kernel.newest") or "")])
    installed: dict[str, set[str]] = {}
    for row in facts.rows("dkms.modules"):
        done = installed.setdefault(row["module"], set())
        if row["state"] == "installed":
            done.add(row["kernel"])
    results = [
        about(
            f"{module} for {kernel}",
            (passed if kernel in done else failed)("installed", "installed" if kernel in done else "not built"),
        )
        for module, done in sorted(installed.items())
        for kernel in kernels
        if kernel
    ]
    return sum_up(results) if results else [not_judged("DKMS has no modules")]


def no_reboot_pending(facts: FactView, params: Mapping[str, Any], tables: Tables) -> list[RowResult]:
    """Nothing waits for a reboot; what does is named, where the system keeps a list."""
    expected = "no reboot is due"
    if not facts.value("os.reboot_required"):
        return [passed(expected, "none is due")]
    packages = [str(name) for name in facts.get("os.reboot_packages") or []]
    return [failed(expected, f"due after {_named(packages)}" if packages else "a reboot is due")]


def _named(names: Sequence[str]) -> str:
    more = f" and {len(names) - _MAX_NAMED} more" if len(names) > _MAX_NAMED else ""
    return ", ".join(names[:_MAX_NAMED]) + more


def not_upgraded(facts: FactView, params: Mapping[str, Any], tables: Tables) -> list[RowResult]:
    """No driver package is upgraded by what upgrades packages by itself."""
    held, excluded = facts.value("packages.held"), facts.value("updates.excluded")
    origins, by = facts.value("updates.origins"), facts.value("updates.by")
    only_apt = list(by) == ["unattended-upgrades"]
    vendor_too = not only_apt or any(_VENDOR.search(origin) for origin in origins)
    at_risk = [
        row["name"]
        for row in facts.rows("packages.drivers")
        if not _kept(row["name"], held, excluded) and (vendor_too or _FROM_UBUNTU.search(row["version"]))
    ]
    expected = "driver packages are held, or left out of automatic upgrades"
    if not at_risk:
        return [passed(expected, f"{', '.join(by)} upgrades none of them")]
    return [failed(expected, _named(at_risk), f"{', '.join(by)} may upgrade them")]


def _kept(name: str, held: Sequence[str], excluded: Sequence[str]) -> bool:
    """Held or excluded by name, glob, versionlock entry (NAME-0:VERSION), or the beginning of a regular expression.

    The patterns are the node's: they are never run as regular expressions here. unattended-upgrades matches them at the
    beginning of a name, so that what stands before the first special character says enough.
    """
    for pattern in (*held, *excluded):
        if fnmatch.fnmatchcase(name, pattern) or pattern.startswith(f"{name}-"):
            return True
    for pattern in excluded:
        beginning = re.match(r"\^?([A-Za-z0-9+-]*)(\$?)", pattern)
        if beginning and beginning[1] and (name == beginning[1] if beginning[2] else name.startswith(beginning[1])):
            return True
    return False


def failed_mounts(facts: FactView, params: Mapping[str, Any], tables: Tables) -> list[RowResult]:
    """No mount unit failed, but those of snaps, containers and the kernel's own file systems, which come and go."""
    failures = [str(unit) for unit in facts.value("systemd.failed_units")]
    mounts = [unit for unit in failures if unit.endswith((".mount", ".automount")) and not _PASSING.match(unit)]
    expected = "no failed mount"
    return [failed(expected, _named(mounts)) if mounts else passed(expected, "none")]


def disk_space(facts: FactView, params: Mapping[str, Any], tables: Tables) -> list[RowResult]:
    """No local file system is nearly full.

    Params:
        column: `free_pct` or `inodes_free_pct`.
        min_pct: below this share it is too full,
        min_mib: unless so many MiB are free all the same (for space).
    """
    least, room = float(params["min_pct"]), int(params["min_mib"])
    column = str(params["column"])

    def judge(row: Row) -> RowResult:
        free = read(row, column)
        if free is None:
            return not_judged(f"{row['fstype']} has no such number")
        if row["read_only"] or row["fstype"] == "vfat":
            return not_judged("nothing is written there in daily use")
        available = read(row, "available_mib") or 0
        expected = f"at least {least:g}% free"
        actual = f"{free:g}% free"
        if column == "free_pct":
            actual, expected = f"{actual} ({available} MiB)", f"{expected}, or {room} MiB"
        good = free >= least or (column == "free_pct" and available >= room)
        return (passed if good else failed)(expected, actual)

    rows = [row for row in facts.rows("fs.local") if not str(row["path"]).startswith("/boot")]
    return judge_rows(rows, judge, lambda row: str(row["path"])) if rows else [not_judged("no local file system")]


def corrected_errors(facts: FactView, params: Mapping[str, Any], tables: Tables) -> list[RowResult]:
    """Corrected memory errors of each module (or controller) a day since boot.

    Params:
        per_day: how many are too many.
    """
    days = max(float(facts.value("node.uptime_s")) / _DAY_S, 1.0)
    least = int(params["per_day"])
    dimms = facts.get("edac.dimms")
    rows = dimms or facts.rows("edac.controllers")

    def judge(row: Row) -> RowResult:
        count = read(row, "corrected")
        if count is None:
            raise CannotTellError("corrected errors are not counted")
        rate = count / days
        expected = f"fewer than {least} a day"
        return (failed if rate >= least else passed)(expected, f"{count} in {days:.1f} days")

    return judge_rows(rows, judge, lambda row: str(row.get("label") or row.get("dimm") or row["mc"]))


def read_only_remounts(facts: FactView, params: Mapping[str, Any], tables: Tables) -> list[RowResult]:
    """No file system that was mounted for writing has been made read-only by the kernel."""
    wrong = [row for row in facts.rows("fs.local") if row["turned_read_only"]]
    expected = "writable, as it was mounted"
    if not wrong:
        return [passed(expected, f"{len(facts.rows('fs.local'))} file systems")]
    return [about(str(row["path"]), failed(expected, f"read-only ({row['source']}, {row['fstype']})")) for row in wrong]


def one_dimm_size(facts: FactView, params: Mapping[str, Any], tables: Tables) -> list[RowResult]:
    """EDAC's modules have one size."""
    sizes = [f"{int(size) / 1024:g} GiB" for size in facts.value("edac.dimm_sizes_mib")]
    return [(passed if len(sizes) == 1 else failed)("one size", ", ".join(sizes))]


def one_clock(facts: FactView, params: Mapping[str, Any], tables: Tables) -> list[RowResult]:
    """At most one program sets the clock; phc2sys goes together with chronyd only."""
    daemons = [str(name) for name in facts.value("time.daemons")]
    setters = [name for name in daemons if name in _CLOCK_SETTERS]
    if "phc2sys" in daemons and setters != ["chronyd"]:
        setters.append("phc2sys")
    verdict = passed if len(setters) <= 1 else failed
    return [verdict("one program that sets the clock", ", ".join(setters or daemons))]
