"""Upgrades that nobody asks for, and packages in between: `updates.*`, `packages.broken`, `packages.drivers`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from nodectl.facts.host.os import said_none
from nodectl.facts.host.services import no_systemd, parse_show
from nodectl.facts.reading import CannotTell, NotThere, Reading, Row, command_trouble, told
from nodectl.facts.registry import Context, FactSpec, Field
from nodectl.model import Fact

if TYPE_CHECKING:
    from nodectl.probe.transcript import SourceReply

_APT = "apt-config dump"
_SHOW = "systemctl show"
_EXCLUDES = "excludes"
_CONFIGS = ("/etc/dnf/automatic.conf", "/etc/dnf/dnf5-plugins/automatic.conf", "/etc/yum/yum-cron.conf")
_DPKG, _RPM, _JOURNAL = "dpkg-query -W", "rpm -qa", "ls /var/lib/dpkg/updates"
_NONE = "no package manager"
_HALF = {"U": "unpacked", "F": "half-configured", "H": "half-installed"}
# What has to fit the kernel module that is loaded, so that an upgrade breaks the running node. Toolkits and the
# container toolkit are not among them.
_DRIVER = re.compile(
    r"nvidia-(?:driver|dkms|kernel|open|fabricmanager|utils|compute|persistenced|imex|firmware|modprobe|xconfig)\b.*"
    r"|(?:lib)?nvidia-(?:nscq|cfg|compute|gl|ml|fbc|decode|encode|extra|common|ifr|driver)\b.*|xserver-xorg-video-nvidia.*"
    r"|linux-(?:modules|objects|signatures)-nvidia-.*|cuda-drivers.*|kmod-nvidia.*|nvidia-.*-kmp-.*|nvlsm|libnvsdm.*"
    r"|mlnx-ofed-kernel.*|mlnx-ofa_kernel.*|kmod-mlnx.*|doca-ofed.*|doca-kernel.*"
)

FACTS = (
    FactSpec(
        name="updates.automatic",
        type="bool",
        about="Packages are upgraded without anybody asking: unattended-upgrades, dnf-automatic, yum-cron or"
        " transactional-update; absent where systemd does not run the node",
        source="updates",
    ),
    FactSpec(name="updates.by", type="list", about="What does that", source="updates"),
    FactSpec(
        name="updates.origins",
        type="list",
        about="Where unattended-upgrades takes upgrades from, as apt's configuration has it",
        source="updates",
    ),
    FactSpec(
        name="updates.excluded",
        type="list",
        about="Names and patterns that are left out: apt's Package-Blacklist (regular expressions), dnf's exclude",
        source="updates",
    ),
    FactSpec(
        name="packages.broken",
        type="list",
        about="Packages that are installed by half, or a driver's package in two versions",
        source="packages_state",
        varies=True,
    ),
    FactSpec(
        name="packages.drivers",
        type="rows",
        about="Installed packages that have to fit the loaded modules of GPUs and network adapters",
        source="packages_state",
        fields=(Field("name", about="package"), Field("version", about="its version")),
    ),
)


def apt_values(text: str) -> dict[str, list[str]]:
    """`APT::Periodic::Unattended-Upgrade "1";` lines; lists end in `::`, and keep every item."""
    values: dict[str, list[str]] = {}
    for line in text.splitlines():
        match = re.fullmatch(r'([A-Za-z0-9:_-]{1,200}) "(.{0,400})";', line.strip())
        if match and match[2]:
            values.setdefault(match[1].rstrip(":"), []).append(match[2])
    return values


def _apt(reading: Reading) -> dict[str, list[str]]:
    if said_none(reading, _APT):
        return {}
    text = reading.command(_APT)
    if not text.rstrip("\n").endswith("nd_end"):
        raise CannotTell(f"{_APT} was cut")
    return apt_values(text)


def _active(units: dict[str, dict[str, str]], name: str) -> bool:
    return units.get(name, {}).get("ActiveState") in ("active", "activating", "reloading")


def _applies(reading: Reading) -> bool:
    """Whether a configuration of dnf-automatic or yum-cron says that upgrades are applied."""
    for path in _CONFIGS:
        if reading.has("cmd", path):
            words = re.findall(r"^\s*apply_updates\s*=\s*(\w{1,10})", reading.ran(path).text, re.MULTILINE)
            if words and words[-1].lower() in ("yes", "true", "1", "on"):
                return True
    return False


def _by(reading: Reading) -> list[str]:
    section = reading.ran(_SHOW)
    nobody = no_systemd(reading, section)
    if nobody:
        raise nobody
    units = parse_show(reading.command(_SHOW))
    if not units:
        raise CannotTell(f"{_SHOW} described no unit")
    found = []
    periodic = _apt(reading).get("APT::Periodic::Unattended-Upgrade", ["0"])[-1]
    if periodic != "0" and _active(units, "apt-daily-upgrade.timer"):
        found.append("unattended-upgrades")
    if _active(units, "dnf-automatic-install.timer"):
        found.append("dnf-automatic")
    elif _applies(reading):
        timers = ("dnf-automatic.timer", "dnf5-automatic.timer")
        if any(_active(units, timer) for timer in timers):
            found.append("dnf-automatic")
        if _active(units, "yum-cron.service"):
            found.append("yum-cron")
    if _active(units, "transactional-update.timer"):
        found.append("transactional-update")
    return found


def _listed(reading: Reading, *keys: str) -> list[str]:
    values = _apt(reading)
    return sorted({item for key in keys for item in values.get(f"Unattended-Upgrade::{key}", [])})


def _excluded(reading: Reading) -> list[str]:
    found = set(_listed(reading, "Package-Blacklist"))
    if not said_none(reading, _EXCLUDES):
        *lines, last = reading.command(_EXCLUDES).splitlines() or [""]
        if last != "nd_end":
            raise CannotTell("the excludes of dnf were cut")
        for line in lines:
            found |= set(line.partition("=")[2].replace(",", " ").split())
    return sorted(found)


def parse(reply: SourceReply, context: Context) -> Iterator[Fact]:
    """The facts of the source `updates`."""
    reading = Reading(reply)
    where = "systemctl list-timers; apt-config dump; cat /etc/dnf/automatic.conf"
    yield told("updates.automatic", lambda: bool(_by(reading)), where)
    yield told("updates.by", lambda: _by(reading), where)
    yield told("updates.origins", lambda: _listed(reading, "Allowed-Origins", "Origins-Pattern"), _APT)
    yield told("updates.excluded", lambda: _excluded(reading), f"{_APT}; grep exclude /etc/dnf/dnf.conf")


def _lines(reading: Reading) -> tuple[str, list[list[str]]]:
    """Which package manager answered, and its lines, in fields."""
    if reading.has("text", _NONE):
        if reading.text(_NONE).strip() != "neither dpkg-query nor rpm":
            raise CannotTell("the probe did not say what manages packages")
        raise NotThere("neither dpkg nor rpm manages packages on this node")
    name, own = (_DPKG, "dpkg") if reading.has("cmd", _DPKG) else (_RPM, "rpm")
    section = reading.ran(name)
    *lines, last = section.text.splitlines() or [""]
    if last != "nd_rc 0":
        raise CannotTell(command_trouble(section) if section.rc else f"{name} failed: {section.stderr:.200}")
    rows = [line.split("\t") for line in lines]
    if any(len(row) != (3 if own == "dpkg" else 2) for row in rows):
        raise CannotTell(f"{name} is not as expected")
    if not any(row[-2] == own for row in rows):
        raise CannotTell(f"the database of {own} does not know {own} itself: it does not describe this node")
    return own, rows


def _drivers(reading: Reading) -> list[Row]:
    own, rows = _lines(reading)
    installed = {
        (row[-2], row[-1]) for row in rows if _DRIVER.fullmatch(row[-2]) and (own == "rpm" or row[0][1:2] in "iWt")
    }
    return [{"name": name, "version": version} for name, version in sorted(installed)]


def _broken(reading: Reading) -> list[str]:
    own, rows = _lines(reading)
    if own == "dpkg":
        found = {f"{row[1]} ({_HALF[row[0][1]]})" for row in rows if row[0][1:2] in _HALF}
        found |= {f"{row[1]} (must be installed again)" for row in rows if row[0][2:3] == "R"}
        if reading.command(_JOURNAL, rcs=(0, 1, 2)).strip():
            found.add("an interrupted run of dpkg (`dpkg --configure -a` ends it)")
        return sorted(found)
    versions: dict[str, set[str]] = {}
    for name, version in ((row[0], row[1]) for row in rows):
        # Modules of kernels may be there once a kernel.
        if _DRIVER.fullmatch(name) and not re.match(r"kmod-|kernel-|.*-kmp-", name):
            versions.setdefault(name, set()).add(version)
    return sorted(f"{name} (in {len(found)} versions)" for name, found in versions.items() if len(found) > 1)


def parse_state(reply: SourceReply, context: Context) -> Iterator[Fact]:
    """The facts of the source `packages_state`."""
    reading = Reading(reply)
    yield told("packages.broken", lambda: _broken(reading), "dpkg --audit; rpm -qa")
    yield told("packages.drivers", lambda: _drivers(reading), "dpkg -l; rpm -qa")


SOURCES = {"updates": parse, "packages_state": parse_state}
