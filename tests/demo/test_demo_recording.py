"""The recorded data answers every source and every fact, and an edit that would change nothing is an error."""

from __future__ import annotations

from pathlib import Path

import pytest

from nodectl.demo.recording import DATA, GPU_BUSES, Recording, read_sections
from nodectl.demo.story import FLEET, DemoNode, Door
from nodectl.facts.gather import gather
from nodectl.facts.registry import registry
from nodectl.model import Fact, FactState, Node
from nodectl.probe.compose import load_sources
from nodectl.probe.transcript import Transcript

NONCE = "0123456789abcdef0123456789abcdef"
QUERY = "nvidia-smi -q -x"
# Looked for, and rightly not there on this node.
ABSENT = {"expect.KEY", "tuned.profile", "driver.smi_error"}
# Ubuntu as it comes: neither DGX OS nor a Jetson.
ABSENT |= {"os.dgx_version", "os.l4t_version"}
# No multi-node NVLink.
ABSENT |= {"fabric.imex_channels", "fabric.imex_nodes", "fabric.imex_state"}
# A Slurm node with Docker: no Kubernetes, no CRI-O, no Podman.
ABSENT |= {
    "container.crio_version",
    "container.crun_version",
    "container.podman_version",
    "containerd.cdi",
    "containerd.default_runtime",
    "crio.cgroup_manager",
    "crio.default_runtime",
    "crio.runtimes",
    "gpu_operator.driver_container",
    "gpu_operator.validations",
    "kubelet.cgroup_driver",
    "kubelet.cpu_manager",
    "kubelet.device_plugin_sockets",
    "kubelet.dra_plugins",
    "kubelet.fail_swap_on",
    "kubelet.max_pods",
    "kubelet.memory_manager",
    "kubelet.registered_devices",
    "kubelet.runtime_endpoint",
    "kubelet.shutdown_grace_s",
    "kubelet.swap_behavior",
    "kubelet.topology_manager",
    "kubelet.topology_scope",
    "kubelet.version",
    "podman.legacy_hook",
}
# Its GPUs are NVIDIA's.
ABSENT |= {name for name in registry() if name.startswith(("amd.", "gaudi.", "intel.")) and "pci_count" not in name}


def _facts(node: DemoNode, names: list[str]) -> dict[str, Fact]:
    sources = tuple(load_sources())
    transcript = Transcript(node=node.name, nonce=NONCE, wire=node.recording().wire(NONCE, sources), wanted=sources)
    return gather(transcript, names, Node(name=node.name))


def test_every_source_is_recorded() -> None:
    assert set(Recording.load().sources) == set(load_sources())


@pytest.mark.parametrize("name", ["gpu-01", "gpu-11"])
def test_a_healthy_node_answers_every_fact(name: str) -> None:
    node = next(node for node in FLEET if node.name == name)
    names = []
    for fact, spec in registry().items():
        family, bracket, _ = fact.partition("[")
        names += [f"{family}[{key}]" for key in spec.keys] if bracket else [fact]
    facts = _facts(node, names)
    assert len(facts) > 80
    assert {fact.name: fact.reason for fact in facts.values() if fact.state is FactState.ERROR} == {}
    assert {fact.name for fact in facts.values() if fact.state is FactState.ABSENT} <= ABSENT
    rows = [row for fact in facts.values() if isinstance(fact.value, list) for row in fact.value]
    assert [row["_errors"] for row in rows if isinstance(row, dict) and "_errors" in row] == []


def test_nodes_are_told_apart() -> None:
    wanted = ["node.hostname", "node.machine_id", "node.boot_id", "gpu.devices", "nvlink.links"]
    facts = [_facts(node, wanted) for node in FLEET if node.name in ("gpu-01", "gpu-02", "gpu-11")]
    for name in ("node.hostname", "node.machine_id", "node.boot_id"):
        assert len({one[name].value for one in facts}) == 3
    devices = [row for one in facts for row in one["gpu.devices"].value]
    assert len({row["uuid"] for row in devices}) == len({row["serial"] for row in devices}) == 24
    for one in facts:
        assert {row["uuid"] for row in one["gpu.devices"].value} == {
            row["gpu_uuid"] for row in one["nvlink.links"].value
        }


def test_nothing_identifies_the_machines_that_were_recorded() -> None:
    texts = {path.name: path.read_text() for path in (DATA / "h200").iterdir()}
    for word in ("nixbld", "-fc-", "firecracker", "884b9e7e", "Pass-Through", "hypervisor"):
        assert [name for name, text in texts.items() if word in text and name != "platform.txt"] == []


@pytest.mark.parametrize("node", [node for node in FLEET if node.door is Door.OPEN], ids=lambda node: node.name)
def test_the_wire_reads_back_as_the_recording(node: DemoNode) -> None:
    recording = node.recording()
    transcript = Transcript(node=node.name, nonce=NONCE, wire=recording.wire(NONCE, recording.sources))
    assert transcript.ending == "complete"
    assert tuple(transcript.sources) == recording.sources
    states = {name: reply.state for name, reply in transcript.sources.items() if reply.state != "ok"}
    hung = ("nvidia_smi_list", "nvidia_smi_nvlink", "nvidia_smi_p2p", "nvidia_smi_q", "nvidia_smi_topo")
    assert states == (dict.fromkeys(hung, "timeout") if node.name == "gpu-09" else {})
    for name, reply in transcript.sources.items():
        for section in reply.sections:
            assert section.text == recording.text(name, section.name) or section.kind == "grep" or section.rc is None


def test_only_what_is_asked_is_answered() -> None:
    wire = Recording.load().wire(NONCE, ("node", "cpu", "not_there"))
    transcript = Transcript(node="gpu-01", nonce=NONCE, wire=wire, ending="complete")
    assert {name: reply.state for name, reply in transcript.sources.items()} == {
        "node": "ok",
        "cpu": "ok",
        "not_there": "cut",
    }


def test_edits_stay_in_their_own_node() -> None:
    base = Recording.load()
    edited = base.copy()
    edited.gpu(3, persistence_mode="Disabled")
    edited.kernel_says(1, "NVRM: hello")
    assert "Disabled</persistence_mode>" not in base.text("nvidia_smi_q", QUERY)
    assert edited.text("nvidia_smi_q", QUERY).count("Disabled</persistence_mode>") == 1
    assert "hello" not in base.text("kernel_log", "dmesg")
    for section in ("dmesg", "journalctl -k -b -o short-unix"):
        assert edited.text("kernel_log", section).count("NVRM: hello") == 1


def test_an_edit_of_one_gpu_leaves_the_others() -> None:
    base, edited = Recording.load(), Recording.load()
    edited.gpu(4, aggregate__dram_uncorrectable="7")
    changed = [
        (one, other)
        for one, other in zip(
            base.text("nvidia_smi_q", QUERY).splitlines(),
            edited.text("nvidia_smi_q", QUERY).splitlines(),
            strict=True,
        )
        if one != other
    ]
    assert len(changed) == 1
    before = edited.text("nvidia_smi_q", QUERY).split(">7</dram_uncorrectable>")[0]
    assert before.rindex(f"00000000:{GPU_BUSES[4].upper()}:00.0") > before.rindex("<gpu id=")
    assert before.rindex("<aggregate>") > before.rindex("<volatile>")


@pytest.mark.parametrize(
    "edit",
    [
        lambda node: node.replace("sysctl", "no such text", "x"),
        lambda node: node.replace("kernel_log", "nvidia", "x", "no such section"),
        lambda node: node.substitute("sysctl", "no such text", "x"),
        lambda node: node.answer("node", "no such command", "x"),
        lambda node: node.hang("node", "no such command", 3),
        lambda node: node.gpu(0, no_such_tag="x"),
        lambda node: node.gpu(0, volatile__no_such_tag="x"),
        lambda node: node.unit("no-such.service", "active", "running", "enabled"),
    ],
)
def test_an_edit_that_changes_nothing_is_an_error(edit: object) -> None:
    with pytest.raises(ValueError):
        edit(Recording.load())  # type: ignore[operator]


def test_a_file_that_begins_with_no_section_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "x.txt").write_text("text\n>>> cmd 0 ls\n")
    with pytest.raises(ValueError, match=r"x\.txt"):
        read_sections(tmp_path / "x.txt")


def test_sections_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "x.txt").write_text(">>> cmd 2 ls -d /x y\na\n\nb\n>>! ls: no\n>>> text 0 word\nyes\n>>> cmd 0 true\n")
    one, two, three = read_sections(tmp_path / "x.txt")
    assert (one.kind, one.name, one.text, one.stderr, one.rc) == ("cmd", "ls -d /x y", "a\n\nb\n", "ls: no\n", 2)
    assert (two.kind, two.text) == ("text", "yes")
    assert (three.text, three.stderr) == ("", "")
