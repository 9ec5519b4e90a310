"""The registry: names, families, keys that can carry nothing, and the sources that a set of facts needs."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodectl.facts import registry as reg
from nodectl.facts.registry import FactNameError, FactSpec, check_key, registry, resolve, sources_for, spec_for

# Names that scripts hang on.
PROMISED = (
    "os.id os.version_id kernel.release kernel.cmdline sysctl[vm.swappiness] thp.enabled driver.version gpu.devices"
    " driver.userspace_version driver.module_flavor cuda.driver_version cuda.toolkits gpu.count nvlink.links"
    " xid.events service[docker] module[nouveau] package[dpkg]"
)


@pytest.mark.parametrize("name", PROMISED.split())
def test_promised_names_are_declared(name: str) -> None:
    assert spec_for(name) is not None


def test_declarations_are_well_formed() -> None:
    for name, spec in registry().items():
        assert name == spec.name
        assert re.fullmatch(r"[a-z0-9_]+(\.[a-z0-9_]+)*(\[[A-Z.]+\])?|expect\.KEY", name), name
        assert spec.type in reg.TYPES
        assert len(spec.about) > 10, f"{name} does not say what it means"
        assert bool(spec.fields) <= (spec.type in ("row", "rows")), name
        for field in spec.fields:
            assert re.fullmatch(r"[a-z0-9_]+", field.name), (name, field.name)
            assert field.type in reg.TYPES


def test_every_table_declares_its_columns() -> None:
    bare = [spec.name for spec in registry().values() if spec.type in ("row", "rows") and not spec.fields]
    assert not bare


def test_registry_gives_a_copy() -> None:
    registry().clear()
    assert registry()


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("os.di", 'did you mean "os.id"'),
        ("sysctl", "is a family: ask for sysctl[KEY]"),
        ("sysctll[a]", 'did you mean "sysctl"'),
        ("limit[memlock_sof_kib]", 'did you mean "memlock_soft_kib"'),
        ("limit[]", "has no key ''"),
        ("sysctl[]", "1 to 200 characters, not 0"),
        ("sysctl[kernel.../../etc/shadow]", "must not hold '..'"),
        ("expect.", "no name of an expectation"),
        ("expect.a b", "no name of an expectation"),
        ("mount[/a", "no fact"),
    ],
)
def test_wrong_names_are_told_apart(name: str, says: str) -> None:
    with pytest.raises(FactNameError, match=re.escape(says)):
        resolve(name)
    assert spec_for(name) is None


HOSTILE = (
    "a b", "a;reboot", "$(reboot)", "`reboot`", "a|b", "a&b", "a>b", "a\nb", "a'b", 'a"b', "a\\b", "-rf", "a*", "a?b",
    "[a]", "{a}", "a\tb", "é", "a\x00b", "!a", "#a", "~root", "x" * 201, "..", "a/../b", "=a", "a=b", "%s",
)  # fmt: skip


@pytest.mark.parametrize("key", HOSTILE)
@pytest.mark.parametrize("family", ["sysctl", "mount", "service", "module", "module_param", "kernel.arg"])
def test_a_key_can_carry_no_shell(family: str, key: str) -> None:
    assert spec_for(f"{family}[{key}]") is None


@given(st.text(max_size=220))
def test_what_a_key_may_be_is_inert_in_a_shell(key: str) -> None:
    spec = FactSpec(name="f[KEY]", type="str", about="for a test", source="s", globs=True)
    if check_key(spec, key) is None:
        assert re.fullmatch(r"[A-Za-z0-9_/.][A-Za-z0-9_/.:@+,~*-]{0,199}", key)
        assert ".." not in key


@pytest.mark.parametrize(
    "name",
    [
        "sysctl[net.ipv4.conf.eth0/100.arp_ignore]",
        "sysctl[net/ipv4/ip_forward]",
        "mount[/]",
        "mount[/dev/shm]",
        "service[nvidia-imex@1.service]",
        "package[nvidia-fabricmanager-*]",
        "package[libstdc++6]",
        "package[libc6:amd64]",
        "module[nvidia-peermem]",
        "module_param[nvidia.NVreg_RestrictProfilingToAdminUsers]",
        "kernel.arg[rd.driver.blacklist]",
        "expect.gpus",
    ],
)
def test_ordinary_keys_pass(name: str) -> None:
    assert spec_for(name) is not None


def test_sources_for_is_the_union_with_keys_as_arguments() -> None:
    assert sources_for(
        ["sysctl[vm.swappiness]", "sysctl[kernel.pid_max]", "os.id", "os.family", "expect.gpus", "limit[nofile_soft]"]
    ) == {"limits": [], "os_release": [], "sysctl": ["kernel.pid_max", "vm.swappiness"]}


def test_sources_for_follows_what_a_derived_fact_needs() -> None:
    assert sources_for(["kernel.version"]) == {"node": []}


def test_two_families_of_one_source_share_its_arguments() -> None:
    assert sources_for(["module[nvidia]", "module_on_disk[mlx5_core]"]) == {"modules": ["mlx5_core", "nvidia"]}


def test_sources_for_refuses_what_is_not_declared() -> None:
    with pytest.raises(FactNameError, match="no fact"):
        sources_for(["os.id", "no.such_fact"])


def test_listing_the_facts_imports_no_parser_libraries() -> None:
    code = (
        "import sys; from nodectl.facts.registry import registry; registry();"
        "print([m for m in ('xml', 'xml.etree', 'defusedxml', 'yaml', 'paramiko', 'subprocess', 'asyncio')"
        " if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_every_parser_module_is_in_the_list() -> None:
    folder = Path(reg.__file__).parent
    declaring = {
        f"{path.parent.name}.{path.stem}"
        for path in folder.glob("*/*.py")
        if "\nSOURCES" in path.read_text(encoding="utf-8")
    }
    assert declaring == set(reg.parser_modules())
