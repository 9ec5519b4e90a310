"""os-release of many distributions, and what each means for whoever mends such a node."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from replies import cmd, fact_of, facts_of, file, no_file, said, state_of, value_of

from nodectl.facts.host.os import parse_os_release
from nodectl.model import FactState

NOT_OSTREE = said("ostree", "no")
NO_DGX, NO_L4T = said("/etc/dgx-release", "none"), said("/etc/nv_tegra_release", "none")
NAMES = ("os.id", "os.version_id", "os.family", "os.image_based")
GOLDEN = {
    "public/os-release/amazon-2.txt": ("amzn", "2", "amazon", False),
    "public/os-release/cos-97.txt": ("cos", "97", "other", True),
    "public/os-release/debian-12.txt": ("debian", "12", "debian", False),
    "public/os-release/gpud-etc-os-release.txt": ("ubuntu", "22.04", "debian", False),
    "public/os-release/npd-cos.txt": ("cos", "77", "other", True),
    "public/os-release/npd-flatcar.txt": ("flatcar", "4372.0.1", "flatcar", True),
    "public/os-release/npd-sles.txt": ("sles", "15.4", "suse", False),
    "public/os-release/oracle-9.1.txt": ("ol", "9.1", "rhel", False),
    "public/os-release/rhel-10.0.txt": ("rhel", "10.0", "rhel", False),
    "public/os-release/rhel-8.10.txt": ("rhel", "8.10", "rhel", False),
    "public/os-release/rocky-8.10.txt": ("rocky", "8.10", "rhel", False),
    "public/os-release/rocky-9.5.txt": ("rocky", "9.5", "rhel", False),
    "public/os-release/slemicro.txt": ("sle-micro", "5.3", "suse", True),
    "public/os-release/sles-15.5.txt": ("sles", "15.5", "suse", False),
    "public/os-release/ubuntu-20.04.txt": ("ubuntu", "20.04", "debian", False),
    "public/os-release/ubuntu-22.04.txt": ("ubuntu", "22.04", "debian", False),
    "h200x8/os-release.txt": ("ubuntu", "24.04", "debian", False),
}


@pytest.mark.parametrize("path", sorted(GOLDEN))
def test_recorded_distributions(shared: Path, path: str) -> None:
    text = (shared / "recordings" / path).read_text()
    facts = facts_of("os_release", [file("/etc/os-release", text), NOT_OSTREE], *NAMES)
    assert tuple(fact.value for fact in facts.values()) == GOLDEN[path]
    assert facts["os.id"].command == "/etc/os-release"


def test_every_recording_is_in_the_golden_list(shared: Path) -> None:
    recorded = {f"public/os-release/{path.name}" for path in (shared / "recordings/public/os-release").iterdir()}
    assert recorded <= set(GOLDEN)


@pytest.mark.parametrize(
    ("text", "family"),
    [
        ('ID=bottlerocket\nID_LIKE=""', "bottlerocket"),
        ('ID="amzn"\nID_LIKE="fedora"\nVERSION_ID="2023"', "amazon"),
        ("ID=linuxmint\nID_LIKE='ubuntu debian'", "debian"),
        ('ID="opensuse-leap"\nID_LIKE="suse opensuse"', "suse"),
        ("ID=azurelinux\nVERSION_ID=3.0", "other"),
        ("ID=arch", "other"),
        ("ID=almalinux", "rhel"),
    ],
)
def test_families(text: str, family: str) -> None:
    assert value_of("os_release", [file("/etc/os-release", text), NOT_OSTREE], "os.family") == family


DGX = 'DGX_NAME="DGX Server"\nDGX_SWBUILD_VERSION="7.1.0"\nDGX_OTA_VERSION="7.2.3"\nDGX_OTA_VERSION="7.3.1"\n'
L4T = (
    "# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic, EABI: aarch64, DATE: Wed Jan  8 01:49:37 UTC 2025"
)
UBUNTU = "ID=ubuntu\nID_LIKE=debian\nVERSION_ID=24.04\n"


@pytest.mark.parametrize(
    ("text", "release"),
    [
        (UBUNTU, "ubuntu-24.04"),
        ('ID="rhel"\nVERSION_ID="9.6"', "rhel-9"),
        ('ID="rocky"\nVERSION_ID="10.1"', "rocky-10"),
        ('ID="sles"\nVERSION_ID="15.6"', "sles-15.6"),
        ('ID="amzn"\nVERSION_ID="2023"', "amzn-2023"),
        ("ID=debian\nVERSION_ID=13", "debian-13"),
        ("ID=flatcar\nVERSION_ID=4372.0.1", "flatcar"),
        ("ID=bottlerocket\nVERSION_ID=1.50.0", "bottlerocket"),
        ("ID=cos\nVERSION_ID=121", "cos"),
        ("ID=azurelinux\nVERSION_ID=3.0", "azurelinux-3"),
        ("ID=arch\nNAME=Arch", "arch"),
    ],
)
def test_releases_as_support_tables_name_them(text: str, release: str) -> None:
    sections = [file("/etc/os-release", text), NOT_OSTREE, NO_DGX, NO_L4T]
    assert value_of("os_release", sections, "os.release") == release
    assert state_of("os_release", sections[:2], "os.dgx_version") == "error"


def test_systems_of_nvidia() -> None:
    sections = [file("/etc/os-release", UBUNTU), NOT_OSTREE]
    dgx, l4t = cmd("/etc/dgx-release", DGX), cmd("/etc/nv_tegra_release", L4T)
    assert value_of("os_release", [*sections, dgx, NO_L4T], "os.release") == "dgx-os-7"
    assert value_of("os_release", [*sections, dgx], "os.dgx_version") == "7.3.1"
    assert value_of("os_release", [*sections, l4t], "os.release") == "l4t-36"
    assert value_of("os_release", [*sections, l4t], "os.l4t_version") == "36.4.3"
    for name in ("os.dgx_version", "os.l4t_version"):
        assert state_of("os_release", [*sections, NO_DGX, NO_L4T], name) == "absent"
    for text in ("", "DGX_NAME=x", "# R36"):
        broken = [*sections, cmd("/etc/dgx-release", text), cmd("/etc/nv_tegra_release", text)]
        assert state_of("os_release", broken, "os.dgx_version") == "error"
        assert state_of("os_release", broken, "os.l4t_version") == "error"
        assert state_of("os_release", broken, "os.release") == "error"
    # The DGX software stack on RHEL is RHEL.
    rocky = file("/etc/os-release", 'ID="rocky"\nVERSION_ID="9.6"')
    assert value_of("os_release", [rocky, NOT_OSTREE, dgx], "os.release") == "rocky-9"


def test_ostree_and_coreos_are_images() -> None:
    fedora = file("/etc/os-release", "ID=fedora\nVERSION_ID=44\n")
    assert value_of("os_release", [fedora, said("ostree", "yes")], "os.image_based") is True
    coreos = file("/etc/os-release", "ID=fedora\nVARIANT_ID=coreos\nVERSION_ID=44\n")
    assert value_of("os_release", [coreos, NOT_OSTREE], "os.image_based") is True


def test_a_rolling_release_has_no_version() -> None:
    sections = [file("/etc/os-release", "ID=arch\nNAME=Arch\n"), NOT_OSTREE]
    fact = fact_of("os_release", sections, "os.version_id")
    assert fact.state is FactState.ABSENT
    assert fact.reason == "/etc/os-release has no VERSION_ID"


def test_the_second_place_counts_when_the_first_is_empty_of_a_file() -> None:
    sections = [file("/usr/lib/os-release", "ID=ubuntu\n"), NOT_OSTREE]
    assert value_of("os_release", sections, "os.id") == "ubuntu"


def test_no_file_is_absent_but_no_permission_is_an_error() -> None:
    assert state_of("os_release", [no_file("/usr/lib/os-release"), NOT_OSTREE], "os.id") == "absent"
    fact = fact_of("os_release", [no_file("/etc/os-release", "Permission denied"), NOT_OSTREE], "os.id")
    assert fact.state is FactState.ERROR
    assert fact.reason.startswith("needs root")
    assert state_of("os_release", [no_file("/etc/os-release", "Input/output error"), NOT_OSTREE], "os.id") == "error"


@pytest.mark.parametrize("text", ["", "\n\n", "garbage", "<html>404</html>", "id=ubuntu"])
def test_a_file_that_names_nothing_is_an_error(text: str) -> None:
    for name in NAMES:
        assert state_of("os_release", [file("/etc/os-release", text), NOT_OSTREE], name) == "error"


def test_quotes_and_escapes() -> None:
    text = 'A="x \\"y\\" \\$z \\\\ \\`"\nB=\'it is\'\nC=plain\n# D=comment\n  E=""\nF="half\nG=\'a"b\'\n'
    assert parse_os_release(text) == {
        "A": 'x "y" $z \\ `', "B": "it is", "C": "plain", "E": "", "F": '"half', "G": 'a"b',
    }  # fmt: skip


@given(st.text(alphabet=st.characters(codec="utf-8")))
def test_any_text_is_read_without_raising(text: str) -> None:
    parse_os_release(text)
    for fact in facts_of("os_release", [file("/etc/os-release", text), NOT_OSTREE], *NAMES).values():
        assert "could not be read" not in fact.reason


@given(st.dictionaries(st.from_regex(r"[A-Z][A-Z0-9_]{0,9}", fullmatch=True), st.text(alphabet="ab 'x-.3", max_size=9)))
def test_what_is_written_in_double_quotes_is_read_back(values: dict[str, str]) -> None:
    assert parse_os_release("".join(f'{key}="{value}"\n' for key, value in values.items())) == values


def test_other_sections_are_not_taken_for_the_file() -> None:
    assert state_of("os_release", [cmd("/etc/os-release", "ID=ubuntu"), NOT_OSTREE], "os.id") == "error"
