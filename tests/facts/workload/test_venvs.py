"""Python environments by the names of the folders that installers leave."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from replies import cmd, fact_of, said, state_of, value_of

from nodectl.facts.conform import ERRORS_KEY
from nodectl.facts.workload.venvs import asked_of
from nodectl.model import FactState
from nodectl.probe.transcript import Section

SITE = "/opt/train/lib/python3.12/site-packages"


def environment(*dists: str, torch: str = "", path: str = "/opt/train") -> Section:
    lines = [f"site\t{SITE}", *(f"dist\t{dist}" for dist in dists), *([f"torch\t{torch}"] if torch else [])]
    return cmd(f"venv {path}", "\n".join(lines) + "\n")


def row_of(*sections: Section) -> dict[str, object]:
    (row,) = value_of("venvs", sections, "workload.venvs")
    assert isinstance(row, dict)
    return row


def test_packages_by_the_names_of_their_folders() -> None:
    row = row_of(
        environment(
            "torch-2.9.1+cu130.dist-info",
            "flash_attn-2.8.3.dist-info",
            "flash_attn_3-3.0.0b1.dist-info",
            "transformer_engine-2.9.0.dist-info",
            "transformer_engine_cu13-2.9.0.dist-info",
            "nvidia_nccl_cu13-2.27.7.dist-info",
            "nvidia_cublas-13.0.0.19.dist-info",
            "bitsandbytes-0.48.2-py3.12.egg-info",
            torch="cuda: Optional[str] = '13.0'",
        )
    )
    told = {name: value for name, value in row.items() if value is not None}
    assert told == {
        "path": "/opt/train",
        "found": True,
        "python": "3.12",
        "torch": "2.9.1",
        "torch_build": "cu130",
        "torch_cuda": "13.0",
        "flash_attn": "2.8.3",
        "flash_attn_3": "3.0.0b1",
        "transformer_engine": "2.9.0",
        "nccl": "2.27.7",
        "nccl_cuda_major": 13,
        "cublas": "13.0.0.19",
        "bitsandbytes": "0.48.2",
    }


@pytest.mark.parametrize(
    ("dist", "line", "build", "cuda"),
    [
        ("torch-2.7.0+cu128.dist-info", "", "cu128", "12.8"),
        ("torch-2.7.0+cu118.dist-info", "", "cu118", "11.8"),
        ("torch-2.7.0+cpu.dist-info", "", "cpu", None),
        ("torch-2.7.0+cpu.dist-info", "cuda: Optional[str] = None", "cpu", None),
        ("torch-2.9.0.dist-info", "cuda: Optional[str] = '12.8'", "", "12.8"),
        ("torch-2.4.1.dist-info", "cuda = '12.4'", "", "12.4"),
        ("torch-2.7.0a0+ecf3bae40a.nv25.02.dist-info", "cuda: Optional[str] = '12.8'", "ecf3bae40a.nv25.02", "12.8"),
        ("torch-2.9.0+rocm6.4.dist-info", "", "rocm6.4", None),
    ],
)
def test_what_torch_was_built_for(dist: str, line: str, build: str, cuda: str | None) -> None:
    row = row_of(environment(dist, torch=line))
    assert (row["torch_build"], row["torch_cuda"], ERRORS_KEY in row) == (build, cuda, False)


def test_a_torch_that_does_not_say_what_it_was_built_for_is_an_error_of_that_field() -> None:
    row = row_of(environment("torch-2.5.1.dist-info"))
    assert row["torch"] == "2.5.1"
    assert "torch_cuda" in row[ERRORS_KEY]  # type: ignore[operator]


def test_two_versions_of_one_package_are_an_error_of_that_field() -> None:
    row = row_of(environment("torch-2.6.0+cu126.dist-info", "torch-2.7.0+cu128.dist-info", "triton-3.3.0.dist-info"))
    assert (row["torch"], row["triton"]) == (None, "3.3.0")
    assert "2.6.0+cu126, 2.7.0+cu128" in row[ERRORS_KEY]["torch"]  # type: ignore[index]


def test_a_link_of_lib64_counts_once() -> None:
    twice = cmd("venv /opt/train", f"site\t{SITE}\ndist\ttriton-3.3.0.dist-info\n" * 2)
    assert row_of(twice)["triton"] == "3.3.0"


def test_what_is_not_there_is_said_of_every_package() -> None:
    gone = cmd("venv /opt/train", "", "ls: cannot access '/opt/train': No such file or directory\n", 2)
    row = row_of(gone)
    assert row["found"] is False
    assert "there is no such folder" in row[ERRORS_KEY]["torch"]  # type: ignore[index]
    assert state_of("venvs", [gone], "venv[/opt/train]") == "absent"
    empty = row_of(cmd("venv /opt/train", ""))
    assert (empty["found"], "no Python environment" in empty[ERRORS_KEY]["torch"]) == (False, True)  # type: ignore[index]


def test_what_could_not_be_read_is_not_missing() -> None:
    denied = cmd("venv /opt/train", "", "ls: cannot open directory '/opt/train': Permission denied\n", 2)
    row = row_of(denied)
    assert row.get("found") is None
    assert "needs root" in row[ERRORS_KEY]["found"]  # type: ignore[index]
    assert state_of("venvs", [denied], "venv[/opt/train]") == "error"


def test_nothing_asked_is_absent_and_nothing_said_is_an_error() -> None:
    assert state_of("venvs", [said("no environments", "none was asked for")], "workload.venvs") == "absent"
    assert state_of("venvs", [], "workload.venvs") == "error"
    assert state_of("venvs", [environment()], "venv[/opt/other]") == "error"


@pytest.mark.parametrize(
    ("value", "names"),
    [
        ("/opt/train", ["venv[/opt/train]"]),
        (["/opt/a", "/opt/b", "/opt/a"], ["venv[/opt/a]", "venv[/opt/b]"]),
        (None, []),
        ([], []),
        (["relative", "-rf", "/a b", "/$(reboot)", "/a/../b", "/a;reboot", "/x'y", "/a\nb", 5, True], []),
        (["/opt/a", "/opt/a b"], ["venv[/opt/a]"]),
    ],
)
def test_what_the_inventory_names_is_asked_only_if_it_is_a_plain_path(value: object, names: list[str]) -> None:
    assert asked_of({"venvs": value}) == names


def test_no_more_than_a_few_are_asked() -> None:
    assert len(asked_of({"venvs": [f"/opt/{number}" for number in range(500)]})) == 32


@given(st.text(max_size=400), st.sampled_from([0, 1, 2, 127]), st.text(max_size=60))
def test_whatever_a_node_says_a_row_is_what_it_is_declared_as(text: str, rc: int, stderr: str) -> None:
    fact = fact_of("venvs", [cmd("venv /opt/train", text, stderr, rc)], "workload.venvs")
    assert fact.state in (FactState.VALUE, FactState.ERROR)
    if fact.state is FactState.VALUE:
        (row,) = fact.value
        assert row["path"] == "/opt/train"
        assert row.get("torch") is None or any(c.isdigit() for c in row["torch"])


@given(st.lists(st.from_regex(r"[a-z_]{1,12}-[0-9.]{1,8}(\+[a-z0-9.]{0,8})?\.dist-info", fullmatch=True), max_size=8))
def test_names_of_folders_never_break_it(dists: list[str]) -> None:
    assert row_of(environment(*dists))["found"] is True
