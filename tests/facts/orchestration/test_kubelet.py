"""A Kubernetes node, seen from the node."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from node_files import SECRET, SHELLS, all_of, ask
from replies import cmd, fact_of, facts_of, said, state_of, value_of

from nodectl.facts.orchestration.kubelet import FACTS
from nodectl.model import FactState
from nodectl.probe.transcript import Section

NAMES = [spec.name for spec in FACTS]
YAML = f"""apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
cgroupDriver: systemd # yes
staticPodURLHeader: {{"Authorization": ["{SECRET}"]}}
memorySwap:
  swapBehavior: LimitedSwap
failSwapOn: false
topologyManagerPolicy: "single-numa-node"
cpuManagerPolicy: static
shutdownGracePeriod: 1m30s
maxPods: 110
"""
JSON = (
    '{"kind":"KubeletConfiguration","cgroupDriver":"cgroupfs",'
    f'"staticPodURLHeader":{{"A":["{SECRET}"]}},"maxPods":58}}'
)
CHECKPOINT = (
    '{"Data":{"PodDeviceEntries":[{"PodUID":"u","ResourceName":"nvidia.com/gpu","DeviceIDs":{"0":["GPU-a"]},'
    f'"AllocResp":"{SECRET}"}}],"RegisteredDevices":{{"nvidia.com/gpu":["GPU-a::0","GPU-a::1","GPU-b::0"],"rdma/hca":["x"],'
    '"nvidia.com/mig-1g.10gb":null}},"Checksum":7}'
)
NODE = {
    "/usr/local/bin/kubelet!": "#!/bin/sh\necho Kubernetes v1.31.4\n",
    "/var/lib/kubelet/config.yaml": YAML,
    "/var/lib/kubelet/kubeadm-flags.env": SECRET,
    "/var/lib/kubelet/pki/kubelet.key": SECRET,
    "/var/lib/kubelet/plugins/gpu.nvidia.com/dra.sock": "",
    "/var/lib/kubelet/device-plugins/kubelet.sock": "",
    "/var/lib/kubelet/device-plugins/nvidia-gpu.sock": "",
    "/var/lib/kubelet/device-plugins/kubelet_internal_checkpoint": CHECKPOINT,
    "/run/nvidia/validations/driver-ready": SECRET,
    "/run/nvidia/validations/toolkit-ready": "",
    "/run/nvidia/driver/usr/bin/nvidia-smi": "",
}


@pytest.mark.parametrize("shell", SHELLS)
def test_a_whole_node(shell: str, tmp_path: Path) -> None:
    reply = ask("kubelet", shell, tmp_path, NODE)
    assert SECRET not in all_of(reply)
    assert reply.note == ""
    facts = facts_of("kubelet", reply, *NAMES)
    assert {name: fact.reason for name, fact in facts.items() if fact.state is FactState.ERROR} == {}
    values = {name.removeprefix("kubelet."): fact.value for name, fact in facts.items()}
    assert (values["version"], values["joined"]) == ("1.31.4", True)
    assert (values["cgroup_driver"], values["cpu_manager"]) == ("systemd", "static")
    assert values["topology_manager"] == "single-numa-node"
    assert (values["fail_swap_on"], values["swap_behavior"]) == (False, "LimitedSwap")
    assert (values["shutdown_grace_s"], values["max_pods"]) == (90, 110)
    assert values["device_plugin_sockets"] == ["nvidia-gpu.sock"]
    assert values["dra_plugins"] == ["gpu.nvidia.com"]
    assert values["registered_devices"] == [
        {"resource": "nvidia.com/gpu", "count": 2},
        {"resource": "nvidia.com/mig-1g.10gb", "count": 0},
        {"resource": "rdma/hca", "count": 1},
    ]
    assert values["gpu_operator.validations"] == ["driver", "toolkit"]
    assert values["gpu_operator.driver_container"] is True
    assert facts["kubelet.memory_manager"].state is FactState.ABSENT


@pytest.mark.parametrize("shell", SHELLS)
def test_settings_as_json(shell: str, tmp_path: Path) -> None:
    files = {"/usr/local/bin/kubelet!": "#!/bin/sh\nexit 1\n", "/etc/kubernetes/kubelet/kubelet-config.json": JSON}
    reply = ask("kubelet", shell, tmp_path, files)
    assert SECRET not in all_of(reply)
    assert value_of("kubelet", reply, "kubelet.cgroup_driver") == "cgroupfs"
    assert value_of("kubelet", reply, "kubelet.max_pods") == 58
    assert state_of("kubelet", reply, "kubelet.version") == "error"


@pytest.mark.parametrize("shell", SHELLS)
def test_a_node_without_kubelet_says_one_thing(shell: str, tmp_path: Path) -> None:
    reply = ask("kubelet", shell, tmp_path, {"/etc/nothing": ""})
    assert [(one.name, one.text) for one in reply.sections] == [("found", "")]
    facts = facts_of("kubelet", reply, *NAMES)
    assert facts.pop("kubelet.joined").value is False
    assert {fact.state for fact in facts.values()} == {FactState.ABSENT}


def test_a_kubelet_that_is_only_installed_belongs_to_no_cluster(tmp_path: Path) -> None:
    reply = ask("kubelet", "dash", tmp_path, {"/usr/local/bin/kubelet!": "#!/bin/sh\necho Kubernetes v1.31.4\n"})
    assert value_of("kubelet", reply, "kubelet.joined") is False
    assert state_of("kubelet", reply, "kubelet.cgroup_driver") == "absent"


def test_k3s_is_named() -> None:
    fact = fact_of("kubelet", [said("found", "k3s")], "kubelet.version")
    assert (fact.state, fact.reason) == (FactState.ABSENT, "k3s has its kubelet inside")


def test_a_flag_wins_over_the_file() -> None:
    settings = cmd("settings", "cgroupDriver\tcgroupfs\nnd_complete\n")
    flags = cmd("flags", "--cgroup-driver\tsystemd\nnd_complete\n")
    assert value_of("kubelet", [said("found", "kubelet"), settings, flags], "kubelet.cgroup_driver") == "systemd"
    assert value_of("kubelet", [said("found", "kubelet"), settings], "kubelet.cgroup_driver") == "cgroupfs"
    assert state_of("kubelet", [said("found", "kubelet running")], "kubelet.cgroup_driver") == "error"
    assert state_of("kubelet", [said("found", "kubelet")], "kubelet.cgroup_driver") == "absent"


def test_what_needs_root_is_an_error_and_what_is_not_there_is_absent() -> None:
    found = said("found", "kubelet")
    for section, name in (("sockets", "kubelet.device_plugin_sockets"), ("registered", "kubelet.registered_devices")):
        denied = Section("cmd", section, "", "needs root: ls\n", 77)
        gone = Section("cmd", section, "", "ls: cannot access: No such file or directory\n", 2)
        assert state_of("kubelet", [found, denied], name) == "error"
        assert state_of("kubelet", [found, gone], name) == "absent"
    assert state_of("kubelet", [found, cmd("registered", "")], "kubelet.registered_devices") == "error"


@pytest.mark.parametrize(("text", "seconds"), [("30s", 30), ("1m30s", 90), ("2h", 7200), ("0s", 0), ("1m0.5s", 60)])
def test_spans_of_time(text: str, seconds: int) -> None:
    settings = cmd("settings", f"shutdownGracePeriod\t{text}\nnd_complete\n")
    assert value_of("kubelet", [said("found", "kubelet"), settings], "kubelet.shutdown_grace_s") == seconds


@given(st.text(max_size=300), st.integers(0, 2))
def test_any_text_is_read_without_raising(text: str, rc: int) -> None:
    for body in (text, f"maxPods\t{text}\nshutdownGracePeriod\t{text}\nnd_complete\n", '{"a":' + text):
        sections = [said("found", "kubelet running")]
        names = ("kubelet --version", "settings", "flags", "sockets", "registered", "dra plugins", "validations")
        sections += [cmd(name, body, "", rc) for name in names]
        for fact in facts_of("kubelet", sections, *NAMES).values():
            assert "could not be read (" not in fact.reason
