"""CDI specs and the links in /dev/char."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from node_files import SECRET, SHELLS, all_of, ask
from replies import cmd, fact_of, facts_of, said, state_of, value_of

from nodectl.model import FactState
from nodectl.probe.transcript import Section

YAML = f"""---
cdiVersion: 0.5.0
containerEdits:
  env:
  - NVIDIA_VISIBLE_DEVICES=void
  - TOKEN={SECRET}
  deviceNodes:
  - path: /dev/nvidiactl
  hooks:
  - args:
    - nvidia-cdi-hook
    - update-ldcache
    hookName: createContainer
    path: /usr/bin/nvidia-cdi-hook
  mounts:
  - containerPath: /usr/lib/libcuda.so.570.124.06
    hostPath: /usr/lib/libcuda.so.570.124.06
  - containerPath: /lib/firmware/nvidia/570.124.06/gsp_ga10x.bin
    hostPath: /lib/firmware/nvidia/570.124.06/gsp_ga10x.bin
  - containerPath: /usr/lib/libnvidia-egl-gbm.so.1.1.2
    hostPath: /usr/lib/libnvidia-egl-gbm.so.1.1.2
devices:
- containerEdits:
    deviceNodes:
    - path: /dev/nvidia0
    - path: /dev/null
  name: "0"
- containerEdits:
    deviceNodes:
    - path: /dev/nvidia0
  name: all
kind: nvidia.com/gpu
"""


def _device(number: int) -> dict[str, object]:
    node = {"path": f"/dev/nvidia{number}", "hostPath": f"/run/nvidia/driver/dev/nvidia{number}"}
    return {"name": f"GPU-{number + 1}", "containerEdits": {"deviceNodes": [node]}}


JSON = {
    "cdiVersion": "0.6.0",
    "kind": "k8s.device-plugin.nvidia.com/gpu",
    "devices": [_device(0), _device(1)],
    "containerEdits": {"env": [f"TOKEN={SECRET}"]},
}
FILES = {
    "/etc/cdi/nvidia.yaml": YAML,
    "/var/run/cdi/k8s.json": json.dumps(JSON),
    "/etc/cdi/other.yaml": f"kind: vendor.example/thing\nenv: [{SECRET}]\n",
    "/usr/lib/libcuda.so.570.124.06": "",
    "/usr/bin/nvidia-cdi-hook": "",
    "/run/nvidia/driver/dev/nvidia1": "",
}


@pytest.mark.parametrize("shell", SHELLS)
def test_specs(shell: str, tmp_path: Path) -> None:
    reply = ask("cdi", shell, tmp_path, FILES)
    assert SECRET not in all_of(reply)
    one, two = value_of("cdi", reply, "cdi.specs")
    assert (one["path"], one["kind"], one["cdi_version"]) == ("/etc/cdi/nvidia.yaml", "nvidia.com/gpu", "0.5.0")
    assert one["devices"] == ["0", "all"]
    assert one["gpu_nodes"] == 1
    assert one["driver_versions"] == ["570.124.06"]
    assert "/usr/lib/libcuda.so.570.124.06" not in one["missing"]
    assert "/lib/firmware/nvidia/570.124.06/gsp_ga10x.bin" in one["missing"]
    assert "/dev/null" not in one["missing"]
    assert (two["kind"], two["devices"], two["gpu_nodes"]) == (
        "k8s.device-plugin.nvidia.com/gpu",
        ["GPU-1", "GPU-2"],
        2,
    )
    assert two["missing"] == ["/run/nvidia/driver/dev/nvidia0"], "inside the driver container's root, not on the host"


@pytest.mark.parametrize("shell", SHELLS)
def test_a_node_without_specs(shell: str, tmp_path: Path) -> None:
    reply = ask("cdi", shell, tmp_path, {"/etc/nothing": ""})
    assert value_of("cdi", reply, "cdi.specs") == []


def _spec(text: str, rc: int = 0) -> list[Section]:
    return [cmd("spec /etc/cdi/nvidia.yaml", text, "", rc), said("specs", "1")]


def test_a_spec_that_cannot_be_read_is_a_row_that_says_so() -> None:
    denied = Section("cmd", "spec /etc/cdi/nvidia.yaml", "nd_complete\t\t\n", "needs root: cat\n", 0)
    row = value_of("cdi", [denied, said("specs", "1")], "cdi.specs")[0]
    assert "needs root" in row["_errors"]["missing"]
    row = value_of("cdi", _spec("name\t\t0\nnd_complete\t\t\n"), "cdi.specs")[0]
    assert "names no kind" in row["_errors"]["missing"]


def test_hidden_files_are_neither_there_nor_gone() -> None:
    row = value_of("cdi", _spec("kind\t\tnvidia.com/gpu\nhostPath\thidden\t/root/x\nnd_complete\t\t\n"), "cdi.specs")[0]
    assert row["missing"] is None
    assert "needs root" in row["_errors"]["missing"]


def test_a_spec_that_was_cut_is_an_error() -> None:
    for text in ("", "kind\t\tnvidia.com/gpu\n", "gibberish\nnd_complete\t\t\n"):
        assert state_of("cdi", _spec(text), "cdi.specs") == "error"
    assert state_of("cdi", [], "cdi.specs") == "error"


def test_links() -> None:
    nodes = cmd("nodes", "/dev/nvidia0\n/dev/nvidiactl\n")
    name = "nvidia.char_links_missing"
    assert value_of("cdi", [nodes, cmd("/dev/char", "../nvidia0\n../nvidiactl\nnd_links 200\n")], name) == []
    assert value_of("cdi", [nodes, cmd("/dev/char", "../nvidia0\nnd_links 200\n")], name) == ["/dev/nvidiactl"]
    assert value_of("cdi", [nodes, cmd("/dev/char", "nd_links 200\n")], name) == ["/dev/nvidia0", "/dev/nvidiactl"]
    for sections in ([cmd("nodes", "")], [nodes], [nodes, cmd("/dev/char", "nd_links 0\n")]):
        assert state_of("cdi", sections, name) == "absent"
    for sections in ([nodes, cmd("/dev/char", "../nvidia0\n")], [nodes, cmd("/dev/char", "", "ls: denied\n", 2)]):
        assert state_of("cdi", sections, name) == "error"


@given(st.text(max_size=300), st.integers(0, 2))
def test_any_text_is_read_without_raising(text: str, rc: int) -> None:
    for body in (text, f"{text}\nnd_complete\t\t\n"):
        sections = [*_spec(body, rc), cmd("nodes", text, "", rc), cmd("/dev/char", f"{text}\nnd_links 3\n", "", rc)]
        for fact in facts_of("cdi", sections, "cdi.specs", "nvidia.char_links_missing").values():
            assert "could not be read (" not in fact.reason


def test_many_missing_files_are_cut() -> None:
    text = (
        "kind\t\tnvidia.com/gpu\n"
        + "".join(f"hostPath\tgone\t/x/{number}\n" for number in range(1000))
        + "nd_complete\t\t\n"
    )
    fact = fact_of("cdi", _spec(text), "cdi.specs")
    assert fact.state is FactState.VALUE
    assert len(fact.value[0]["missing"]) == 20
