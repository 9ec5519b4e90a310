"""CUDA toolkits and forward-compatibility libraries on disk."""

from __future__ import annotations

import json

import pytest
from nvidia_replies import cmd, facts_of, file

from nodectl.facts.conform import ERRORS_KEY
from nodectl.model import FactState
from nodectl.probe.transcript import Section


def listed(links: dict[str, str]) -> str:
    """A list of files as the sources print it: path and what it stands for."""
    return "".join(f"{path}\t{real}\n" for path, real in links.items())


FOLDERS = listed({f"/usr/local/{name}": f"/usr/local/{name}" for name in ("cuda-12.8", "cuda-10.2")})
FOLDERS = f"/usr/local/cuda\t/usr/local/cuda-12.8\n{FOLDERS}"
NVCC = "nvcc: NVIDIA (R) Cuda compiler driver\nCuda compilation tools, release 11.5, V11.5.119\n"


def version_json(version: str) -> str:
    return json.dumps({"cuda": {"name": "CUDA SDK", "version": version}, "cuda_nvcc": {"version": "9.9.9"}})


def toolkits(*sections: Section) -> dict[str, object]:
    facts = facts_of("cuda_toolkits", sections)
    return {name: fact.value for name, fact in facts.items()}


def test_toolkits_of_both_kinds_of_version_file() -> None:
    found = toolkits(
        cmd("toolkits", FOLDERS),
        cmd("compat"),
        file("/usr/local/cuda/version.json", version_json("12.8.1")),
        file("/usr/local/cuda-12.8/version.json", version_json("12.8.1")),
        file("/usr/local/cuda-10.2/version.txt", "CUDA Version 10.2.89\n"),
    )
    assert found["cuda.toolkits"] == [
        {"version": "10.2.89", "path": "/usr/local/cuda-10.2", "default": False},
        {"version": "12.8.1", "path": "/usr/local/cuda-12.8", "default": True},
    ]
    assert found["cuda.compat"] == []


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"cuda": 1}', '{"cuda": {"version": 12.8}}', '{"cuda": {"version": "x"}}', "[" * 9999]
)
def test_a_version_file_that_cannot_be_read_is_an_error_of_that_row(text: str) -> None:
    folders = "/usr/local/cuda-12.8\t/usr/local/cuda-12.8\n"
    found = toolkits(cmd("toolkits", folders), cmd("compat"), file("/usr/local/cuda-12.8/version.json", text))
    (row,) = found["cuda.toolkits"]  # type: ignore[misc]
    assert row["version"] is None
    assert "version.json" in row[ERRORS_KEY]["version"]


def test_a_toolkit_put_together_from_parts() -> None:
    parts = "/usr/local/cuda/bin/nvcc\t/usr/local/cuda-12.8/bin/nvcc\n"
    (row,) = toolkits(cmd("toolkits", FOLDERS), cmd("compat"), cmd("parts", parts))["cuda.toolkits"]  # type: ignore[misc]
    assert (row["version"], row["path"]) == ("12.8", "/usr/local/cuda-12.8")
    runtime = "/usr/local/cuda/lib64/libcudart.so.12\t/usr/local/cuda-12.8/lib64/libcudart.so.12.9.79\n"
    (row,) = toolkits(cmd("toolkits", FOLDERS), cmd("compat"), cmd("parts", runtime))["cuda.toolkits"]  # type: ignore[misc]
    assert row["version"] == "12.9"


def test_a_folder_that_a_removed_toolkit_left_behind_is_none() -> None:
    assert toolkits(cmd("toolkits", FOLDERS), cmd("compat"))["cuda.toolkits"] == []


def test_the_distributions_own_compiler() -> None:
    nvcc = (Section("text", "nvcc path", "/usr/lib/nvidia-cuda-toolkit/bin/nvcc"), cmd("nvcc --version", NVCC))
    found = toolkits(cmd("toolkits"), cmd("compat"), *nvcc)
    assert found["cuda.toolkits"] == [
        {"version": "11.5.119", "path": "/usr/lib/nvidia-cuda-toolkit/bin/nvcc", "default": False}
    ]
    known = file("/usr/local/cuda-12.8/version.json", version_json("11.5.2"))
    again = toolkits(cmd("toolkits", "/usr/local/cuda-12.8\t/usr/local/cuda-12.8\n"), cmd("compat"), known, *nvcc)
    assert len(again["cuda.toolkits"]) == 1  # type: ignore[arg-type]


def test_compat_libraries() -> None:
    real = "/usr/local/cuda-12.9/compat/libcuda.so.575.57.08"
    links = {
        "/usr/local/cuda/compat/libcuda.so.575.57.08": real,
        real: real,
        "/usr/local/cuda/compat/libcuda.so.1": "/x",
    }
    assert toolkits(cmd("toolkits"), cmd("compat", listed(links)))["cuda.compat"] == [
        {"cuda_version": "12.9", "driver_version": "575.57.08", "path": real}
    ]


def test_folders_that_were_not_listed_are_errors() -> None:
    assert all(fact.state is FactState.ERROR for fact in facts_of("cuda_toolkits", []).values())
