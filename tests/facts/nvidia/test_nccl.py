"""NCCL's libraries, plugins and settings."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from nvidia_replies import cmd, facts_of

from nodectl.model import FactState
from nodectl.probe.transcript import Section

REAL = "/usr/lib/x86_64-linux-gnu/libnccl.so.2.28.9"
LOOKED = Section("text", "looked", "yes")
DEVICES = (cmd("interfaces", "eth0\nlo\n"), cmd("RDMA devices", ""))


def listed(*rows: str) -> str:
    return "".join(f"{row}\n" for row in rows)


def libraries(*sections: Section) -> dict[str, object]:
    return {name: fact.value for name, fact in facts_of("nccl_libs", sections).items()}


def settings(*sections: Section) -> dict[str, object]:
    return {name: fact.value for name, fact in facts_of("nccl_env", [*sections, LOOKED, *DEVICES]).items()}


def test_the_version_is_that_of_the_loaders_cache() -> None:
    other = "/opt/x/lib/libnccl.so.2.18.3"
    found = libraries(
        cmd("cached libraries", listed(f"/lib/x86_64-linux-gnu/libnccl.so.2\t{REAL}")),
        cmd("libraries", listed(f"{REAL}\t{REAL}", f"/opt/x/lib/libnccl.so.2\t{other}")),
    )
    assert found["nccl.version"] == "2.28.9"
    assert [row["in_cache"] for row in found["nccl.libraries"]] == [False, True]  # type: ignore[attr-defined]
    facts = facts_of("nccl_libs", [cmd("libraries", listed(f"x\t{other}"))])
    assert facts["nccl.version"].state is FactState.ABSENT
    assert facts_of("nccl_libs", [])["nccl.version"].state is FactState.ERROR


def test_a_plugin_offers_versions_of_the_interface() -> None:
    real = "/opt/amazon/ofi-nccl/lib/libnccl-net-ofi.so"
    found = libraries(
        cmd("libraries"),
        cmd("cached plugins", listed(f"/opt/amazon/ofi-nccl/lib/libnccl-net.so\t{real}\t")),
        cmd("plugins", listed(f"{real}\t{real}\tncclNetPlugin_v10 ncclNetPlugin_v8 ", "no\tcolumns")),
    )
    assert found["nccl.net_plugins"] == [
        {"path": real, "api_versions": [8, 10], "in_cache": True, "default": True},
    ]


def test_a_cache_that_could_not_be_read_leaves_no_plugin_undecided() -> None:
    facts = facts_of("nccl_libs", [cmd("libraries"), cmd("plugins"), cmd("cached plugins", rc=1)])
    assert facts["nccl.net_plugins"].state is FactState.ERROR


def test_settings_of_all_files() -> None:
    found = settings(
        cmd("/etc/nccl.conf", "set\t/etc/nccl.conf\t3\tNCCL_IB_HCA\t=mlx5_0,mlx5_1\n"),
        cmd("environment files", "set\t/etc/environment\t1\tNCCL_DEBUG\tINFO\nset\t/etc/environment\tx\tNCCL_A\tb\n"),
    )
    assert found["nccl.environment"] == ["NCCL_DEBUG=INFO", "NCCL_IB_HCA==mlx5_0,mlx5_1"]
    assert found["nccl.conf_problems"] == []
    assert (found["nccl.interfaces"], found["nccl.rdma_devices"]) == (["eth0", "lo"], [])


def test_lines_that_nccl_does_not_take_are_told() -> None:
    text = "ignored\t/etc/nccl.conf\t4\tNCCL_X\t1\nnothing\t/etc/nccl.conf\t7\t\t\n"
    found = settings(cmd("/etc/nccl.conf", text))
    assert found["nccl.settings"] == []
    assert [(row["line"], row["name"]) for row in found["nccl.conf_problems"]] == [(4, "NCCL_X"), (7, "")]  # type: ignore[attr-defined]


def test_no_files_are_no_settings_and_a_file_that_cannot_be_read_is_an_error() -> None:
    assert settings()["nccl.settings"] == []
    denied = cmd("/etc/nccl.conf", rc=2, stderr="awk: cannot open /etc/nccl.conf (Permission denied)\n")
    facts = facts_of("nccl_env", [denied, LOOKED, *DEVICES])
    assert facts["nccl.settings"].state is FactState.ERROR
    assert "needs root" in facts["nccl.settings"].reason
    assert all(fact.state is FactState.ERROR for fact in facts_of("nccl_env", []).values())


def test_other_variables_are_never_taken() -> None:
    text = "set\t/etc/environment\t1\tAWS_SECRET\tabc\nset\t/etc/environment\t2\tNCCLX_Y\tabc\n"
    assert settings(cmd("environment files", text))["nccl.settings"] == []


@given(st.text(max_size=300), st.sampled_from(["/etc/nccl.conf", "environment files"]))
def test_whatever_a_file_says_it_never_raises(text: str, name: str) -> None:
    facts_of("nccl_env", [cmd(name, text), LOOKED, *DEVICES])
    facts_of(
        "nccl_libs",
        [cmd("libraries", text), cmd("plugins", text), cmd("cached plugins", text), cmd("nccl-tests", text)],
    )
