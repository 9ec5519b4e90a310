"""Kernels on disk and what the next boot brings: `kernel.installed`, `kernel.newest`, `dkms.modules`, `os.reboot_*`."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from nodectl.facts.host.os import said_none
from nodectl.facts.reading import CannotTell, NotThere, Reading, Row, command_trouble, told
from nodectl.facts.registry import DERIVED_SOURCE, Context, Derivation, FactSpec, Field
from nodectl.model import Fact

if TYPE_CHECKING:
    from nodectl.probe.transcript import SourceReply

_FOLDERS = "kernels on disk"
_NVIDIA = "nvidia modules on disk"
_DKMS = "dkms tree"
_MARKS = "marks of the last update"
_PACKAGES = "/run/reboot-required.pkgs"
_UPDATER = "update_engine_client -status"
_RPM = "rpm install times"
_MANAGER = "package manager"
_END = "nd_end"
_RUNNING = "nd_running "
_DEP = re.compile(r"/lib/modules/([^/\s]{1,200})/modules\.dep:(\S{1,300}):")
_STATES = ("added", "built", "installed")

FACTS = (
    FactSpec(
        name="kernel.installed",
        type="rows",
        about="Kernels on disk: folders of /lib/modules that have a kernel image. Absent when the running kernel is not"
        " among them (containers, network boot, kernels that the hypervisor or an image brings)",
        source="kernels",
        fields=(
            Field("release", about="as uname -r would say"),
            Field("running", "bool", about="the kernel that runs now"),
            Field("headers", "bool", about="its headers are there, so that DKMS can build for it"),
            Field("nvidia_module", "bool", about="modprobe would find NVIDIA's module"),
            Field("nvidia_path", about="where, below /lib/modules/RELEASE"),
        ),
    ),
    FactSpec(
        name="kernel.newest",
        type="str",
        about="The newest kernel on disk of the running one's flavour (generic, nvidia, amd64, 64k, ...): what a boot"
        " loader starts next unless it was told otherwise",
        source=DERIVED_SOURCE,
    ),
    FactSpec(
        name="dkms.modules",
        type="rows",
        about="What DKMS has, by module, version and kernel; absent without DKMS",
        source="kernels",
        fields=(
            Field("module", about="name of the DKMS package, e.g. nvidia, mlnx-ofed-kernel"),
            Field("version", about="its version"),
            Field("kernel", about="kernel release it was built for; empty where it is only added"),
            Field("state", about="added, built or installed"),
        ),
    ),
    FactSpec(
        name="os.reboot_required",
        type="bool",
        about="The system says that it waits for a reboot: /run/reboot-required, zypper's mark, Flatcar's updater, or"
        " packages that `needs-restarting -r` looks at were updated since boot",
        source="kernels",
    ),
    FactSpec(
        name="os.reboot_packages",
        type="list",
        about="The packages that ask for that reboot, where the system keeps such a list",
        source="kernels",
        varies=True,
    ),
)


def flavor(release: str) -> str:
    """`6.8.0-1040-nvidia-64k` -> `nvidia-64k`, `5.14.0-427.el9.aarch64+64k` -> `64k`, `...el8uek.x86_64` -> `uek`."""
    parts = release.split("-")
    for number, part in enumerate(parts[1:], start=1):
        if part[:1].isalpha() and not re.fullmatch(r"rc\d{1,3}", part):
            return "-".join(parts[number:])
    if "uek" in release:
        return "uek"
    return release.partition("+")[2]


def order(release: str) -> tuple[int, ...]:
    """The numbers of a release up to its first letter, to sort by."""
    head = re.match(r"[\d.+~_-]{0,100}", release)
    return tuple(int(number) for number in re.findall(r"\d{1,12}", head[0] if head else ""))


def newest(installed: Sequence[Mapping[str, Any]]) -> Any:
    """The newest release of the running kernel's flavour."""
    running = next(row["release"] for row in installed if row["running"])
    return max((row["release"] for row in installed if flavor(row["release"]) == flavor(running)), key=order)


def _ended(reading: Reading, name: str) -> list[str]:
    """The lines of a command that says `nd_end` when it is through."""
    *lines, last = reading.command(name).splitlines() or [""]
    if last != _END:
        raise CannotTell(f"{name} was not read to its end")
    return lines


def _nvidia(reading: Reading) -> dict[str, str]:
    found = {}
    for line in _ended(reading, _NVIDIA):
        match = _DEP.fullmatch(line)
        if not match:
            raise CannotTell(f"{_NVIDIA}: not understood: {line!r:.80}")
        found[match[1]] = match[2]
    return found


def _installed(reading: Reading) -> list[Row]:
    *lines, last = reading.command(_FOLDERS).splitlines() or [""]
    running = last.removeprefix(_RUNNING).strip()
    if not last.startswith(_RUNNING) or not running:
        raise CannotTell(f"{_FOLDERS} were not read to their end")
    nvidia = _nvidia(reading)
    rows: list[Row] = []
    for line in lines:
        release, *marks = line.split(" ")
        if "image" in marks and "modules" in marks:
            rows.append(
                {
                    "release": release,
                    "running": release == running,
                    "headers": "headers" in marks,
                    "nvidia_module": release in nvidia,
                    "nvidia_path": nvidia.get(release),
                }
            )
    if not any(row["running"] for row in rows):
        raise NotThere(f"the running kernel {running} was not started from this disk")
    return sorted(rows, key=lambda row: order(row["release"]))


def _dkms(reading: Reading) -> list[Row]:
    if said_none(reading, _DKMS):
        raise NotThere("DKMS is not in use: there is no /var/lib/dkms")
    best: dict[tuple[str, str, str], str] = {}
    for line in _ended(reading, _DKMS):
        state, _, path = line.partition(" ")
        module, _, rest = path.partition("/")
        version, _, built_for = rest.partition("/")
        # The architecture stands behind the kernel's release.
        kernel = built_for.rpartition("/")[0]
        if state not in _STATES or not module or not version or (state != "added" and not kernel):
            raise CannotTell(f"{_DKMS}: not understood: {line!r:.80}")
        key = (module, version, kernel)
        best[key] = max(best.get(key, "added"), state, key=_STATES.index)
    built = {(module, version) for module, version, kernel in best if kernel}
    return [
        {"module": module, "version": version, "kernel": kernel, "state": state}
        for (module, version, kernel), state in sorted(best.items())
        if kernel or (module, version) not in built
    ]


def _updated_since_boot(reading: Reading) -> list[str]:
    """Packages of needs-restarting's list that were installed after boot. rpm complains of those that are not there."""
    boot = re.fullmatch(r"btime (\d{9,11})\s*", reading.command("btime"))
    section = reading.ran(_RPM)
    times = re.findall(r"^(\S{1,100}) (\d{9,11})$", section.text, re.MULTILINE)
    if not boot or not any(name == "rpm" for name, _ in times):
        raise CannotTell(command_trouble(section) if section.rc else "rpm does not know when it was installed")
    return sorted({name for name, at in times if int(at) > int(boot[1]) and name != "rpm"})


def _reboot(reading: Reading) -> tuple[bool, list[str]]:
    """Whether a reboot is due, and which packages ask for it."""
    marked = bool(_ended(reading, _MARKS))
    if reading.has("text", _MANAGER):
        if reading.text(_MANAGER).strip() != "dpkg":
            raise CannotTell("the probe did not say what manages packages")
        return marked, _asking(reading) if marked else []
    if reading.has("cmd", _UPDATER):
        status = reading.command(_UPDATER)
        if "CURRENT_OP=" not in status:
            raise CannotTell(f"{_UPDATER} named no state")
        return marked or "NEED_REBOOT" in status, []
    if reading.has("cmd", _RPM):
        packages = _updated_since_boot(reading)
        return marked or bool(packages), packages
    if marked:
        return True, []
    raise NotThere("nothing on this system keeps track of reboots that are due")


def _asking(reading: Reading) -> list[str]:
    if not reading.has("file", _PACKAGES):
        return []
    return sorted({line.strip() for line in reading.file(_PACKAGES).splitlines() if line.strip()})


def parse(reply: SourceReply, context: Context) -> Iterator[Fact]:
    """The facts of the source `kernels`."""
    reading = Reading(reply)
    yield told("kernel.installed", lambda: _installed(reading), "ls /boot /lib/modules")
    yield told("dkms.modules", lambda: _dkms(reading), "dkms status")
    yield told("os.reboot_required", lambda: _reboot(reading)[0], "ls /run/reboot-required; needs-restarting -r")
    yield told("os.reboot_packages", lambda: _reboot(reading)[1], f"cat {_PACKAGES}; needs-restarting -r")


SOURCES = {"kernels": parse}
DERIVED: dict[str, Derivation] = {"kernel.newest": (("kernel.installed",), newest)}
