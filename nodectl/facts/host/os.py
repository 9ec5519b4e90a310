"""Which distribution a node runs: `os.*`, from os-release(5)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from nodectl.facts.reading import CannotTell, NotThere, Reading, told
from nodectl.facts.registry import Context, FactSpec
from nodectl.model import Fact

if TYPE_CHECKING:
    from nodectl.probe.transcript import SourceReply

_PATHS = ("/etc/os-release", "/usr/lib/os-release")
_LINE = re.compile(r"\s*([A-Z][A-Z0-9_]*)=(.*)")

# What decides how a node is mended. Amazon Linux calls itself like Fedora but has package names and repositories of
# its own; COS, Talos and CoreOS are images that have no family here: `other`.
_FAMILY_BY_ID = {
    "amzn": "amazon",
    "bottlerocket": "bottlerocket",
    "flatcar": "flatcar",
    "debian": "debian",
    "ubuntu": "debian",
    "rhel": "rhel",
    "centos": "rhel",
    "fedora": "rhel",
    "rocky": "rhel",
    "almalinux": "rhel",
    "ol": "rhel",
    "suse": "suse",
    "sles": "suse",
    "opensuse": "suse",
}
_IMAGE_IDS = (
    "flatcar",
    "bottlerocket",
    "cos",
    "talos",
    "rhcos",
    "sle-micro",
    "sl-micro",
    "suse-microos",
    "opensuse-microos",
)
# Releases are told apart by the major number there; by the whole VERSION_ID everywhere else.
_BY_MAJOR = ("rhel", "centos", "rocky", "almalinux", "ol", "debian", "azurelinux", "mariner")
# What VERSION_ID says changes with every build there, and support is not a matter of releases.
_WITHOUT_RELEASES = ("flatcar", "bottlerocket", "cos", "talos", "rhcos", "arch")
_DGX, _L4T = "/etc/dgx-release", "/etc/nv_tegra_release"
_IMAGE_VARIANTS = ("coreos", "silverblue", "iot", "snappy")

FACTS = (
    FactSpec(name="os.id", type="str", about="ID of os-release, e.g. ubuntu, rocky, sles", source="os_release"),
    FactSpec(
        name="os.version_id",
        type="str",
        about="VERSION_ID of os-release, e.g. 24.04; rolling releases have none",
        source="os_release",
    ),
    FactSpec(name="os.pretty_name", type="str", about="PRETTY_NAME of os-release, for people", source="os_release"),
    FactSpec(
        name="os.family",
        type="str",
        about="debian, rhel, suse, flatcar, bottlerocket, amazon or other: how packages and files are managed",
        source="os_release",
    ),
    FactSpec(
        name="os.image_based",
        type="bool",
        about="The root is an image, replaced as a whole (Flatcar, Bottlerocket, COS, SLE Micro, ostree systems)",
        source="os_release",
    ),
    FactSpec(
        name="os.release",
        type="str",
        about="The release as support tables name it: ubuntu-24.04, rocky-9, debian-12, sles-15.6, amzn-2023; dgx-os-7"
        " and l4t-36 for NVIDIA's own; the bare ID for systems without releases (flatcar, bottlerocket, cos)",
        source="os_release",
    ),
    FactSpec(
        name="os.dgx_version",
        type="version",
        about="Version of DGX OS, from /etc/dgx-release, with the updates that it names; absent on other systems",
        source="os_release",
    ),
    FactSpec(
        name="os.l4t_version",
        type="version",
        about="Version of Jetson Linux (L4T), from /etc/nv_tegra_release; absent on other systems",
        source="os_release",
    ),
)


def parse_os_release(text: str) -> dict[str, str]:
    """The assignments of an os-release file; shell quoting undone, lines that are none skipped."""
    values = {}
    for line in text.splitlines():
        match = _LINE.fullmatch(line)
        if match:
            values[match[1]] = _unquoted(match[2].strip())
    return values


def _unquoted(text: str) -> str:
    if len(text) >= 2 and text[0] == text[-1] and text[0] in "\"'":
        inner = text[1:-1]
        return re.sub(r"\\([\"$`\\])", r"\1", inner) if text[0] == '"' else inner
    return text


def family(values: dict[str, str]) -> str:
    """The family by ID, else by the first known word of ID_LIKE, else `other`."""
    own = values.get("ID", "")
    if own in _FAMILY_BY_ID:
        return _FAMILY_BY_ID[own]
    for like in values.get("ID_LIKE", "").split():
        if like in _FAMILY_BY_ID:
            return _FAMILY_BY_ID[like]
    return "other"


def dgx_version(text: str) -> str:
    """`7.3.1` of a /etc/dgx-release: the last update that it names, else what was installed."""
    values = re.findall(r"^DGX_(SWBUILD|OTA)_VERSION=[\"']?(\d[\d.]{0,30})[\"']?\s*$", text, re.MULTILINE)
    updates = [version for kind, version in values if kind == "OTA"]
    if not values:
        raise CannotTell(f"{_DGX} names no version")
    return updates[-1] if updates else str(values[-1][1])


def l4t_version(text: str) -> str:
    """`# R36 (release), REVISION: 4.3, GCID: ...` -> `36.4.3`."""
    match = re.match(r"# R(\d{1,4}) \(release\), REVISION: (\d[\d.]{0,20})", text)
    if not match:
        raise CannotTell(f"{_L4T} names no release: {text.strip()!r:.60}")
    return f"{match[1]}.{match[2]}"


def said_none(reading: Reading, name: str) -> bool:
    """Whether the source said in place of a command that there is nothing to run it on.

    Raises:
        CannotTell: it said neither that nor anything else of it.
    """
    if reading.has("cmd", name):
        return False
    if reading.text(name).strip() != "none":
        raise CannotTell(f"the probe did not say whether there is {name}")
    return True


def _own(reading: Reading, path: str) -> str:
    """The version that NVIDIA's own systems have beside os-release."""
    if said_none(reading, path):
        raise NotThere(f"there is no {path}")
    return dgx_version(reading.command(path)) if path == _DGX else l4t_version(reading.command(path))


def _release(values: dict[str, str], reading: Reading) -> str:
    own_id = values.get("ID", "")
    if not own_id:
        raise NotThere("os-release has no ID")
    for path, name in ((_L4T, "l4t"), (_DGX, "dgx-os")):
        if own_id == "ubuntu" and not said_none(reading, path):
            return f"{name}-{_own(reading, path).partition('.')[0]}"
    version = values.get("VERSION_ID", "")
    if not version or own_id in _WITHOUT_RELEASES:
        return own_id
    return f"{own_id}-{version.partition('.')[0] if own_id in _BY_MAJOR else version}"


def _image_based(values: dict[str, str], reading: Reading) -> bool:
    if values.get("ID", "") in _IMAGE_IDS or values.get("VARIANT_ID", "") in _IMAGE_VARIANTS:
        return True
    ostree = reading.text("ostree").strip()
    if ostree not in ("yes", "no"):
        raise CannotTell("the probe did not say whether ostree started this system")
    return ostree == "yes"


def parse(reply: SourceReply, context: Context) -> Iterator[Fact]:
    """The facts of the source `os_release`."""
    reading = Reading(reply)
    path = next((path for path in _PATHS if reading.has("file", path)), _PATHS[0])

    def values() -> dict[str, str]:
        found = parse_os_release(reading.file(path))
        if not {"ID", "NAME", "PRETTY_NAME", "VERSION_ID"} & found.keys():
            raise CannotTell(f"{path} holds no ID and no NAME")
        return found

    def value(key: str) -> str:
        found = values().get(key, "")
        if not found:
            raise NotThere(f"{path} has no {key}")
        return found

    yield told("os.id", lambda: value("ID"), path)
    yield told("os.version_id", lambda: value("VERSION_ID"), path)
    yield told("os.pretty_name", lambda: value("PRETTY_NAME"), path)
    yield told("os.family", lambda: family(values()), path)
    yield told("os.image_based", lambda: _image_based(values(), reading), path)
    yield told("os.release", lambda: _release(values(), reading), f"{path}; {_DGX}; {_L4T}")
    yield told("os.dgx_version", lambda: _own(reading, _DGX), _DGX)
    yield told("os.l4t_version", lambda: _own(reading, _L4T), _L4T)


SOURCES = {"os_release": parse}
