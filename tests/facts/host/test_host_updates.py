"""Automatic upgrades, packages in between, failed units."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from replies import cmd, facts_of, file, said, state_of, value_of

from nodectl.facts.host.updates import apt_values
from nodectl.probe.transcript import Section

COMM, APT, SHOW = "/proc/1/comm", "apt-config dump", "systemctl show"
NAMES = ("updates.automatic", "updates.by", "updates.origins", "updates.excluded")
NO_SYSTEMD = "System has not been booted with systemd as init system (PID 1). Can't operate.\n"
CONFIG = """APT::Periodic:: "";
APT::Periodic::Unattended-Upgrade "1";
Unattended-Upgrade::Allowed-Origins "";
Unattended-Upgrade::Allowed-Origins:: "${distro_id}:${distro_codename}";
Unattended-Upgrade::Allowed-Origins:: "${distro_id}:${distro_codename}-security";
Unattended-Upgrade::Package-Blacklist "";
Unattended-Upgrade::Package-Blacklist:: "nvidia-.*";
nd_end
"""


def unit(name: str, state: str) -> str:
    return f"Id={name}\nNames={name}\nLoadState=loaded\nActiveState={state}\nUnitFileState=enabled\n\n"


def node(*more: Section, units: str = "") -> list[Section]:
    told = {section.name for section in more}
    rest = [said(name, "none") for name in (APT, "excludes") if name not in told]
    return [file(COMM, "systemd\n"), *more, *rest, cmd(SHOW, units or unit("apt-daily-upgrade.timer", "active"))]


def test_unattended_upgrades() -> None:
    facts = facts_of("updates", node(cmd(APT, CONFIG)), *NAMES)
    assert [fact.value for fact in facts.values()] == [
        True,
        ["unattended-upgrades"],
        ["${distro_id}:${distro_codename}", "${distro_id}:${distro_codename}-security"],
        ["nvidia-.*"],
    ]


@pytest.mark.parametrize(
    ("config", "timer"),
    [(CONFIG.replace('"1"', '"0"'), "active"), (CONFIG, "inactive"), ("nd_end\n", "active")],
)
def test_what_is_switched_off_upgrades_nothing(config: str, timer: str) -> None:
    sections = node(cmd(APT, config), units=unit("apt-daily-upgrade.timer", timer))
    assert value_of("updates", sections, "updates.automatic") is False


@pytest.mark.parametrize(
    ("config", "units", "by"),
    [
        ("apply_updates = yes\n", unit("dnf-automatic.timer", "active"), ["dnf-automatic"]),
        ("apply_updates = no\n", unit("dnf-automatic.timer", "active"), []),
        ("apply_updates = no\n", unit("dnf-automatic-install.timer", "active"), ["dnf-automatic"]),
        ("apply_updates = yes\n", unit("dnf-automatic.timer", "inactive"), []),
        ("", unit("transactional-update.timer", "active"), ["transactional-update"]),
    ],
)
def test_dnf_and_zypper(config: str, units: str, by: list[str]) -> None:
    sections = node(cmd("/etc/dnf/automatic.conf", config), units=units)
    assert value_of("updates", sections, "updates.by") == by


def test_excludes_of_dnf() -> None:
    text = "/etc/dnf/dnf.conf:exclude=nvidia* kmod-nvidia*, cuda-drivers\nnd_end\n"
    assert value_of("updates", node(cmd("excludes", text)), "updates.excluded")[:2] == ["cuda-drivers", "kmod-nvidia*"]


def test_without_systemd_nobody_upgrades_and_a_bus_that_fails_is_an_error() -> None:
    gone = [file(COMM, "sh\n"), cmd(SHOW, "", NO_SYSTEMD, 1)]
    assert state_of("updates", gone, "updates.automatic") == "absent"
    broken = [file(COMM, "systemd\n"), cmd(SHOW, "", "Failed to connect to bus: Connection refused\n", 1)]
    assert state_of("updates", broken, "updates.automatic") == "error"
    assert state_of("updates", node(cmd(APT, "APT::Periodic:: ")), "updates.automatic") == "error"


DPKG = (
    "ii \tdpkg\t1.22\niFR\tnvidia-dkms-580-open\t580.95.05-0ubuntu1\nrc \told\t1\n"
    "iU \tlibc6\t2\nhi \tnvidia-open\t580\n"
)
QUERY, JOURNAL = "dpkg-query -W", cmd("ls /var/lib/dpkg/updates", "")


def test_half_installed_packages() -> None:
    sections = [cmd(QUERY, DPKG + "nd_rc 0\n"), JOURNAL]
    assert value_of("packages_state", sections, "packages.broken") == [
        "libc6 (unpacked)", "nvidia-dkms-580-open (half-configured)", "nvidia-dkms-580-open (must be installed again)",
    ]  # fmt: skip
    assert value_of("packages_state", sections, "packages.drivers") == [{"name": "nvidia-open", "version": "580"}]
    interrupted = [cmd(QUERY, "ii \tdpkg\t1.22\nnd_rc 0\n"), cmd("ls /var/lib/dpkg/updates", "0001\n")]
    assert "interrupted" in value_of("packages_state", interrupted, "packages.broken")[0]


def test_two_versions_of_a_driver_package() -> None:
    text = (
        "rpm\t4.16-1\nnvidia-driver\t580.95-1\nnvidia-driver\t590.48-1\nkmod-nvidia-open-dkms\t1-1\n"
        "kmod-nvidia-open-dkms\t2-1\nnvidia-container-toolkit\t1.18-1\nnd_rc 0\n"
    )
    assert value_of("packages_state", [cmd("rpm -qa", text)], "packages.broken") == ["nvidia-driver (in 2 versions)"]
    names = {row["name"] for row in value_of("packages_state", [cmd("rpm -qa", text)], "packages.drivers")}
    assert names == {"nvidia-driver", "kmod-nvidia-open-dkms"}


@pytest.mark.parametrize("text", ["", DPKG, DPKG + "nd_rc 2\n", "iU \tlibc6\t2\nnd_rc 0\n", "rubbish\nnd_rc 0\n"])
def test_a_database_that_was_not_read_is_an_error(text: str) -> None:
    for name in ("packages.broken", "packages.drivers"):
        assert state_of("packages_state", [cmd(QUERY, text), JOURNAL], name) == "error"
    assert (
        state_of("packages_state", [said("no package manager", "neither dpkg-query nor rpm")], "packages.broken")
        == "absent"
    )


UNITS = "failed units"


@pytest.mark.parametrize(
    ("text", "units"),
    [
        ("", []),
        ("fwupd-refresh.service loaded failed failed Refresh fwupd metadata\n", ["fwupd-refresh.service"]),
        ("● mnt-a\\x2db.mount loaded failed failed /mnt/a-b\n", ["mnt-a\\x2db.mount"]),
        ("gone.service not-found failed failed gone.service\n", ["gone.service"]),
    ],
)
def test_failed_units(text: str, units: list[str]) -> None:
    sections = [file(COMM, "systemd\n"), cmd(UNITS, text)]
    assert value_of("units", sections, "systemd.failed_units") == units


def test_units_that_were_not_seen() -> None:
    assert state_of("units", [file(COMM, "sh\n"), cmd(UNITS, "", NO_SYSTEMD, 1)], "systemd.failed_units") == "absent"
    for stderr, rc in ((NO_SYSTEMD, 1), ("", 124), ("", 127)):
        sections = [file(COMM, "systemd\n"), cmd(UNITS, "", stderr, rc)]
        assert state_of("units", sections, "systemd.failed_units") == "error"
    assert state_of(
        "units", [file(COMM, "systemd\n"), cmd(UNITS, "0 loaded units listed.\n")], "systemd.failed_units"
    ) == ("error")


@given(st.text(max_size=300))
def test_any_text_is_read_without_raising(text: str) -> None:
    apt_values(text)
    for source, sections, names in (
        ("updates", node(cmd(APT, text), cmd("excludes", text), units=text), NAMES),
        ("packages_state", [cmd(QUERY, text), JOURNAL], ("packages.broken", "packages.drivers")),
        ("units", [file(COMM, text), cmd(UNITS, text)], ("systemd.failed_units",)),
    ):
        for fact in facts_of(source, sections, *names).values():
            assert "could not be read (" not in fact.reason
