"""Broken GPU nodes, asked over real SSH: what is wrong is named, once, and nothing that hangs on it is said to be well.

The nodes here have no GPU on their PCI bus. So what nvidia-smi said there is also judged as if it had come from the
recorded 8x H200 node of the demo fleet: transcripts that `nodectl check --from` reads.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import psutil
import pytest
from broken_gpus import FAULTS, HEALTHY, LISTED, NO_LIST, NONE_FOUND, RECORDED, SMI_SOURCES, Fault, lay, script
from cluster import NODECTL, Cluster
from sshd import SshFleet

from nodectl.catalogue import Catalogue
from nodectl.demo.recording import GPU_BUSES, RECORDED_AT_S, UPTIME_S, read_sections
from nodectl.engine import catalogue_for_run
from nodectl.probe.transcript import SourceReply, Transcript, write_transcript

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
EXPECT = {"gpus": 8, "model": "H200"}
AREAS = "driver,cuda,persistence,gpu,nvlink,pcie,xid,sxid,log"
FROM_THE_LIST = ("gpu.count", "gpu.devices")
BY_RANK = ("info", "low", "medium", "high", "critical")
_NAMES = "it asks nvidia-smi only for a nicer name of what the PCI bus tells"
_RESETS = "it asks nvidia-smi only whether a GPU has been reset since an Xid"
_LEVEL = "the branch of the loaded driver tells its CUDA level too"
_LISTED = "it needs no more of a GPU than that it is listed"
_HOST = "it is about the host, or about the GPUs that are left"
# Why a check passes although one of its facts could not be read: what it asks there decides nothing on these nodes.
GOOD_WITHOUT_NVIDIA_SMI = {
    "cuda.toolkit_driver": _LEVEL,
    "cuda.toolkit_knows_gpu": _NAMES,
    "driver.dcgm_knows_gpu": _NAMES,
    "driver.module_flavor": _NAMES,
    "driver.not_too_new": _NAMES,
    "driver.on_disk_flavor": _NAMES,
    "driver.on_disk_not_too_new": _NAMES,
    "nccl.known_faults": _NAMES,
    "nccl.known_issues": _NAMES,
    "nccl.package_driver": _LEVEL,
    "slurm.gres_conf": "Slurm finds the GPUs by itself there: only lists of files need to know whether MIG is on",
    "workload.cuda_level": _NAMES,
    "xid.application": _RESETS,
    "xid.hardware_fault": _RESETS,
    "xid.notice": _RESETS,
    "xid.recovery_action": _RESETS,
    "xid.repeated_fault": _RESETS,
}
GOOD_WITH_A_LOST_GPU = {
    "gpu.all_attached": _LISTED,
    "kernel.pci_realloc": _HOST,
    "nvlink.fabric_manager": _HOST,
    "nvlink.fabric_manager_mode": _HOST,
    "nvlink.fabric_manager_version": _HOST,
    "nvlink.topology": _HOST,
    "sxid.fatal": _HOST,
    "sxid.non_fatal": _HOST,
    "sxid.notable": _HOST,
}


class Asked(NamedTuple):
    """What came of asking all broken nodes once."""

    bare: dict[str, Any]
    """The report on the nodes as they are, without a GPU on the bus."""
    as_h200: dict[str, Any]
    """The report on what their nvidia-smi said, in place of that of the recorded node."""
    transcripts: Path
    left: list[str]


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Asked]:
    folder = tmp_path_factory.mktemp("broken")
    with SshFleet(folder / "fleet") as fleet:
        cluster = Cluster(fleet, folder)
        for name, fault in FAULTS.items():
            commands = lay(fault, folder / name)
            cluster.add(name, PATH=f"{commands}:{PATH}")
        fleet.start()
        inventory = cluster.inventory()
        defaults, _, hosts = inventory.read_text().partition("hosts:\n")
        names = ", ".join(FAULTS)
        inventory.write_text(f"{defaults}groups:\n  all: {{hosts: '{names}', expect: {{gpus: 8}}}}\nhosts:\n{hosts}")
        words = ("check", "--hosts", str(inventory), "--json", "--save", str(folder / "saved"), "--area", AREAS)
        bare = report(run(*words))
        left = still_running(folder)
    grafted = folder / "grafted"
    grafted.mkdir()
    healthy: Mapping[str, Any] = {path.stem: read_sections(path) for path in sorted(RECORDED.glob("*.txt"))}
    for name, fault in FAULTS.items():
        said = Transcript.load(folder / "saved" / f"{name}.ndt")
        taken = (*SMI_SOURCES, "kernel_log") if "dmesg" in fault.others else SMI_SOURCES
        replies = {source: on_the_h200(said.source(source)) for source in taken}
        both = write_transcript({**healthy, **replies}, node=name, epoch_s=RECORDED_AT_S, uptime_s=UPTIME_S)
        both.declared = {"expect": EXPECT}
        both.save(grafted)
    yield Asked(bare, report(run("check", "--from", str(grafted), "--json")), grafted, left)


def on_the_h200(reply: SourceReply) -> SourceReply:
    """A reply, with the GPUs of the recorded node where the source says what it found beside nvidia-smi."""
    found = "\n".join(f"0000:{bus}:00.0" for bus in GPU_BUSES)
    sections = tuple(
        msgspec.structs.replace(one, text=found) if (one.kind, one.name) == ("text", "NVIDIA devices") else one
        for one in reply.sections
    )
    return msgspec.structs.replace(reply, sections=sections)


def run(*words: str, timeout_s: float = 120) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*NODECTL, *words], capture_output=True, text=True, timeout=timeout_s, check=False)


def report(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    assert "internal error" not in done.stderr
    assert "\\u001b" not in done.stdout
    said: dict[str, Any] = json.loads(done.stdout)
    assert said["exit_code"] == done.returncode
    return said


def still_running(folder: Path, *, within_s: float = 5) -> list[str]:
    """Command lines of processes that were started on a node of this folder, once they have had time to end."""
    end = time.monotonic() + within_s
    while True:
        found = []
        for process in psutil.process_iter():
            try:
                if process.environ().get("PATH", "").startswith(str(folder)):
                    found.append(" ".join(process.cmdline()))
            except psutil.Error:
                continue
        if not found or time.monotonic() > end:
            return found
        time.sleep(0.1)


def node_of(said: Mapping[str, Any], name: str) -> dict[str, Any]:
    (node,) = (node for node in said["nodes"] if node["name"] == name)
    return node  # type: ignore[no-any-return]


def outcomes(said: Mapping[str, Any], name: str) -> dict[str, set[str]]:
    """{outcome: ids of the checks with a finding of that outcome on this node}"""
    found: dict[str, set[str]] = {"pass": set(), "fail": set(), "unknown": set(), "not_applicable": set()}
    for finding in said["results"]:
        if finding["node"] == name:
            found[finding["outcome"]].add(finding["check"])
    return found


def both_reports(asked: Asked) -> tuple[dict[str, Any], dict[str, Any]]:
    return asked.bare, asked.as_h200


@pytest.fixture(scope="module")
def catalogue() -> Catalogue:
    return catalogue_for_run.load()


@pytest.fixture(params=sorted(FAULTS))
def name(request: pytest.FixtureRequest) -> str:
    if request.param == "missing" and shutil.which("nvidia-smi", path=PATH):
        pytest.skip("this machine has an nvidia-smi that the node would find")
    return str(request.param)


def test_every_broken_node_is_asked_to_the_end(asked: Asked) -> None:
    assert asked.bare["partial"] is False
    for node in asked.bare["nodes"]:
        assert (node["state"], node["reason"]) == ("reached", None), node["name"]
    assert asked.left == []


def test_every_check_comes_to_a_finding_that_says_something(asked: Asked, name: str) -> None:
    for said in both_reports(asked):
        judged = set().union(*outcomes(said, name).values())
        # Fleet rules look at several nodes; of them only what the inventory declares is judged node by node.
        assert {check["id"] for check in said["checks"] if check["area"] != "fleet"} == judged - {"fleet.declared"}
        for finding in said["results"]:
            assert "could not be evaluated" not in finding["reason"], finding
            assert "a fault in nodectl" not in finding["reason"], finding
            if finding["outcome"] in ("unknown", "not_applicable"):
                assert finding["reason"], finding
            if finding["outcome"] == "fail":
                assert finding["expected"] and finding["actual"], finding


def says_why(facts: Mapping[str, Any], cause: str) -> bool:
    said = facts["driver.smi_error"]
    return said["state"] in ("value", "error") and cause in (said.get("value") or said["reason"])


@pytest.fixture(params=sorted(NO_LIST))
def no_list(request: pytest.FixtureRequest) -> str:
    if request.param == "missing" and shutil.which("nvidia-smi", path=PATH):
        pytest.skip("this machine has an nvidia-smi that the node would find")
    return str(request.param)


def test_a_list_that_cannot_be_read_is_an_error_that_names_the_cause(asked: Asked, no_list: str) -> None:
    facts = node_of(asked.as_h200, no_list)["facts"]
    for fact in FROM_THE_LIST:
        assert facts[fact]["state"] == "error", fact
        assert facts[fact].get("value") is None
        assert NO_LIST[no_list].cause in facts[fact]["reason"], fact
        assert facts[fact]["command"] == "nvidia-smi -q -x"
    assert says_why(facts, NO_LIST[no_list].cause)
    assert outcomes(asked.as_h200, no_list)["unknown"] >= {"gpu.count_expected"}


def test_an_nvidia_smi_that_gives_up_where_nothing_of_nvidia_is(asked: Asked, no_list: str) -> None:
    """It has no GPU to tell of: none is listed, and the eight that are expected are missing. One that babbles and says
    that all is well is no answer, here as elsewhere."""
    fault, facts = NO_LIST[no_list], node_of(asked.bare, no_list)["facts"]
    assert facts["nvidia.pci_count"]["value"] == 0
    for fact in FROM_THE_LIST:
        assert facts[fact]["state"] == ("absent" if fault.gives_up else "error"), fact
        assert facts[fact].get("value") is None
        assert ("there is no NVIDIA GPU" if fault.gives_up else fault.cause) in facts[fact]["reason"], fact
    assert says_why(facts, fault.cause)
    assert outcomes(asked.bare, no_list)["fail" if fault.gives_up else "unknown"] >= {"gpu.count_expected"}


@pytest.mark.parametrize("name", sorted(NONE_FOUND))
def test_no_devices_is_a_count_of_none(asked: Asked, name: str) -> None:
    for said in both_reports(asked):
        facts = node_of(said, name)["facts"]
        assert [facts[fact]["value"] for fact in FROM_THE_LIST] == [0, []]
        assert NONE_FOUND[name].cause in facts["driver.smi_error"]["value"]
        assert outcomes(said, name)["fail"] >= {"gpu.count_expected"}


@pytest.mark.parametrize("name", sorted(LISTED))
def test_a_list_that_can_be_read_counts_what_it_lists(asked: Asked, name: str) -> None:
    for said in both_reports(asked):
        facts = node_of(said, name)["facts"]
        listed = 7 if name == "seven" else 8
        assert facts["gpu.count"]["value"] == len(facts["gpu.devices"]["value"]) == listed
        assert facts["gpu.attached_count"]["value"] == 8
        assert outcomes(said, name)["fail" if name == "seven" else "pass"] >= {"gpu.count_expected"}


def test_exactly_the_fault_fails(asked: Asked, name: str) -> None:
    severity = {check["id"]: BY_RANK.index(check["severity"]) for check in asked.as_h200["checks"]}
    failed = outcomes(asked.as_h200, name)["fail"]
    assert {check for check in failed if severity[check] >= BY_RANK.index("medium")} == FAULTS[name].fails


def blindly_passed(said: Mapping[str, Any], name: str, catalogue: Catalogue) -> set[str]:
    """Checks that pass on this node although a fact that they list could not be read."""
    facts = node_of(said, name)["facts"]
    unread = {fact for fact in facts if facts[fact]["state"] == "error"}
    return {one for one in outcomes(said, name)["pass"] if unread & set(catalogue.checks[one].facts)}


def passed_with_a_lost_gpu(asked: Asked, catalogue: Catalogue) -> set[str]:
    """Checks that pass on the node with a lost GPU although they look at the GPUs."""
    return {one for one in outcomes(asked.as_h200, "lost")["pass"] if "gpu.devices" in catalogue.checks[one].facts}


def test_nothing_passes_on_what_could_not_be_read(asked: Asked, name: str, catalogue: Catalogue) -> None:
    for said in both_reports(asked):
        assert blindly_passed(said, name, catalogue) <= set(GOOD_WITHOUT_NVIDIA_SMI)


def test_no_exception_is_there_for_nothing(asked: Asked, catalogue: Catalogue) -> None:
    blind = set().union(*(blindly_passed(asked.as_h200, name, catalogue) for name in FAULTS))
    assert blind == set(GOOD_WITHOUT_NVIDIA_SMI)
    assert passed_with_a_lost_gpu(asked, catalogue) - set(GOOD_WITHOUT_NVIDIA_SMI) == set(GOOD_WITH_A_LOST_GPU)


def test_nothing_passes_on_a_gpu_that_is_lost(asked: Asked, catalogue: Catalogue) -> None:
    assert passed_with_a_lost_gpu(asked, catalogue) <= {*GOOD_WITHOUT_NVIDIA_SMI, *GOOD_WITH_A_LOST_GPU}
    (gpu,) = (row for row in node_of(asked.as_h200, "lost")["facts"]["gpu.devices"]["value"] if row["index"] == 4)
    assert gpu["pci_bus_id"] == "0000:9d:00.0"
    assert {"name", "uuid", "pci_id", "temperature_c", "persistence_mode"} <= set(gpu["_errors"])
    assert all("GPU is lost" in text for text in gpu["_errors"].values())


def test_a_field_that_could_not_be_read_names_its_gpu(asked: Asked) -> None:
    for name, gpu, check in (("unknown", "GPU 5", "gpu.temperature"), ("err", "GPU 2", "persistence.mode")):
        findings = [f for f in asked.as_h200["results"] if (f["node"], f["check"]) == (name, check)]
        assert [(f["outcome"], f["subject"]) for f in findings] == [("unknown", gpu)]
        assert FAULTS[name].cause in findings[0]["reason"]


def test_a_log_that_may_not_be_read_is_unknown_whatever_asks_for_it(asked: Asked, catalogue: Catalogue) -> None:
    for said in both_reports(asked):
        facts = node_of(said, "nolog")["facts"]
        for fact in ("xid.events", "sxid.events", "kernel.log_events", "kernel.log_complete"):
            assert facts[fact]["state"] == "error"
            assert "needs root" in facts[fact]["reason"]
            assert "Operation not permitted" in facts[fact]["reason"]
    of_the_log = {
        check.id
        for check in catalogue.checks.values()
        if {"xid.events", "sxid.events", "kernel.log_events", "kernel.log_complete"} & set(check.facts)
    }
    not_its_own = outcomes(asked.as_h200, "healthy")["not_applicable"]  # of GPUs that this node does not have
    assert outcomes(asked.as_h200, "nolog")["unknown"] == of_the_log - not_its_own
    assert of_the_log & not_its_own == {"amd.kernel_log", "gaudi.kernel_log", "intel.kernel_log"}


def test_the_text_is_inert_and_names_the_cause_once(asked: Asked, name: str) -> None:
    fault = FAULTS[name]
    done = run("check", "--from", str(asked.transcripts), "-n", name)
    if fault.fails:
        assert done.returncode == 1
    else:
        assert done.returncode == (0 if name == "healthy" else 3)
    assert done.stderr == ""
    for line in done.stdout.splitlines():
        assert line.isprintable(), repr(line)
    text = " ".join(done.stdout.split())
    unknown = text.partition("? unknown")[2]
    if name in NONE_FOUND:
        assert text.count(fault.cause) == 1
    elif fault.cause and outcomes(asked.as_h200, name)["unknown"]:
        # What floods or babbles does so to each question: those are two answers, and not one.
        assert 1 <= unknown.count(fault.cause) <= (2 if name in ("floods", "binary", "badend") else 1), unknown
    for check in fault.fails:
        assert text.count(check) >= 1


def test_escapes_and_markup_of_a_product_name_are_shown_as_they_are(asked: Asked) -> None:
    done = run("check", "--from", str(asked.transcripts), "-n", "escapes", "-v", "--color", "always")
    assert r"\x1b]0;owned\x07\x1b[2J\u202e[/red][@click=app.quit]<img src=x>" in done.stdout
    assert "\x1b]" not in done.stdout and "\x07" not in done.stdout and "\u202e" not in done.stdout
    gpu = node_of(asked.as_h200, "escapes")["facts"]["gpu.devices"]["value"][0]
    assert gpu["name"].startswith(r"\x1b]0;owned\x07")


def test_all_at_once_keeps_the_nodes_apart(asked: Asked) -> None:
    done = run("check", "--from", str(asked.transcripts))
    assert done.returncode == 1
    assert all(line.isprintable() for line in done.stdout.splitlines())
    healthy = node_of(asked.as_h200, "healthy")["facts"]
    assert outcomes(asked.as_h200, "healthy")["unknown"] == set()
    assert {row["name"] for row in healthy["gpu.devices"]["value"]} == {"NVIDIA H200"}


@pytest.mark.parametrize("body", ["exec sleep 600", "trap '' TERM HUP INT; while :; do sleep 1; done"])
def test_a_hang_that_outlasts_the_deadline(cluster: Cluster, tmp_path: Path, body: str) -> None:
    commands = lay(Fault("", script(body)), tmp_path / "commands", hurry=False)
    cluster.add("hangs", PATH=f"{commands}:{PATH}")
    cluster.fleet.start()
    begun = time.monotonic()
    said = cluster.report("--deadline", "4s", "--area", AREAS)
    assert time.monotonic() - begun < 20
    node = node_of(said, "hangs")
    assert (node["state"], node["reason"]["code"]) == ("reached", "timeout")
    for fact in FROM_THE_LIST:
        assert node["facts"][fact]["state"] == "error"
        assert "when the time for this node was up" in node["facts"][fact]["reason"]
        assert "not started" not in node["facts"][fact]["reason"]
    assert node["facts"]["nvidia.pci_count"]["state"] == "value"
    assert said["exit_code"] in (1, 3)
    assert still_running(commands, within_s=15) == []


def test_this_machine_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commands = lay(FAULTS["mismatch"], tmp_path / "commands")
    inventory = tmp_path / "inventory.yaml"
    inventory.write_text("hosts: [{name: localhost, expect: {gpus: 8}}]\n")
    monkeypatch.setenv("PATH", f"{commands}:{PATH}")
    said = report(run("check", "-H", str(inventory), "--json", "--only", "gpu.count_expected,driver.answers"))
    node = node_of(said, "localhost")
    assert (node["state"], node["host_key"]) == ("reached", "")
    assert says_why(node["facts"], "Driver/library version mismatch")
    count = node["facts"]["gpu.count"]
    if node["facts"]["nvidia.pci_count"]["value"]:
        assert count["state"] == "error" and "Driver/library version mismatch" in count["reason"]
        assert outcomes(said, "localhost")["unknown"] >= {"gpu.count_expected"}
    else:
        assert count["state"] == "absent" and "there is no NVIDIA GPU" in count["reason"]
        assert outcomes(said, "localhost")["fail"] >= {"gpu.count_expected"}
    assert said["exit_code"] in (1, 3)


def test_a_healthy_answer_is_taken_whole() -> None:
    assert HEALTHY["-q -x"].count("<gpu id=") == 8
