"""nvidia-smi that fails, and XML that is not what it should be."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from nvidia_replies import TWO_GPUS, facts_of, query

from nodectl.facts.nvidia.xml import cut_bulk, read_xml
from nodectl.model import FactState
from nodectl.probe.transcript import Section

FROM_LIST = ("gpu.count", "gpu.models", "gpu.devices", "gpu.processes")
H200X8 = "recordings/h200x8"


@pytest.fixture(scope="module")
def two_gpus() -> str:
    return TWO_GPUS.read_text()


def first_gpu(text: str, old: str, new: str) -> str:
    assert old in text, f"the recording has no {old}"
    return text.replace(old, new, 1)


MISMATCH = "Failed to initialize NVML: Driver/library version mismatch\nNVML library version: 580.159\n"
NO_DRIVER = "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver. Make sure that ...\n\n"
NO_HANDLE = "Unable to determine the device handle for GPU0000:18:00.0: Unknown Error\n"
LOST = "Unable to determine the device handle for GPU 0000:02:00.0: GPU is lost.  Reboot the system to recover\n"
FAILURES = [
    ("", 127, "timeout: failed to run command 'nvidia-smi': No such file or directory\n", "nvidia-smi not found"),
    ("", 127, "nvidia-smi: error while loading shared libraries: libx.so.1: cannot open\n", "shared libraries"),
    (MISMATCH, 18, "", "Driver/library version mismatch; NVML library version: 580.159 (exit code 18"),
    (NO_DRIVER, 9, "", "couldn't communicate"),
    (NO_HANDLE, 255, "", "GPU0000:18:00.0: Unknown Error"),
    (LOST, 15, "", "fallen off the bus"),
    ("", 124, "", "did not answer in its time limit"),
    ("", 137, "Killed\n", "did not answer in its time limit"),
    ("", 9, "", "the NVIDIA driver is not loaded"),
    ("", 0, "", "printed nothing"),
    ("Failed to initialize NVML: Insufficient Permissions\n", 4, "", "Insufficient Permissions"),
    ("", 99, "", "exit code 99"),
]


@pytest.mark.parametrize(("text", "rc", "stderr", "reason"), FAILURES)
def test_failures_say_why(text: str, rc: int, stderr: str, reason: str) -> None:
    facts = query(text, rc=rc, stderr=stderr)
    assert reason in facts["driver.smi_error"].value
    for name, fact in facts.items():
        if name != "driver.smi_error":
            assert fact.state is FactState.ERROR, name
            assert reason in fact.reason


def test_no_devices_is_a_count_of_nought() -> None:
    facts = query("No devices were found\n", rc=6)
    assert facts["gpu.count"].value == 0
    assert facts["gpu.devices"].value == []
    assert "No devices were found" in facts["driver.smi_error"].value
    assert facts["cuda.driver_version"].state is FactState.ABSENT


def test_a_warning_beside_a_whole_answer_costs_nothing(two_gpus: str) -> None:
    facts = query(f"{two_gpus}\nWARNING: infoROM is corrupted at gpu 0000:00:07.0\n", rc=14)
    assert facts["gpu.count"].value == 2
    assert "infoROM is corrupted at gpu 0000:00:07.0" in facts["driver.smi_error"].value
    lost = query(f"Unable to determine the device handle for GPU1: Unknown Error\n{two_gpus}", rc=0)
    assert "Unable to determine" in lost["driver.smi_error"].value


def test_the_probe_did_not_run_it() -> None:
    facts = facts_of("nvidia_smi_q", [])
    assert all(fact.state is FactState.ERROR for fact in facts.values())


@pytest.mark.parametrize(
    "declaration",
    [
        '<!DOCTYPE nvidia_smi_log [<!ENTITY a "b">]>',
        '<!DOCTYPE nvidia_smi_log [<!ENTITY % p SYSTEM "file:///etc/passwd"> %p;]>',
        '<!DOCTYPE nvidia_smi_log [<!ENTITY e SYSTEM "file:///etc/passwd">]>',
        '<!DOCTYPE nvidia_smi_log [<!NOTATION n SYSTEM "n"><!ENTITY u SYSTEM "u" NDATA n>]>',
    ],
)
def test_entities_are_refused(two_gpus: str, declaration: str) -> None:
    text = re.sub(r"<!DOCTYPE[^>]*>", lambda _: declaration, two_gpus, count=1)
    facts = query(text)
    assert facts["gpu.devices"].state is FactState.ERROR
    assert "refused" in facts["gpu.devices"].reason


def test_a_doctype_with_element_declarations_only_is_normal(two_gpus: str) -> None:
    declaration = "<!DOCTYPE nvidia_smi_log [<!ELEMENT gpu (#PCDATA)>]>"
    assert query(re.sub(r"<!DOCTYPE[^>]*>", declaration, two_gpus, count=1))["gpu.count"].value == 2


def test_depth_size_and_number_are_capped() -> None:
    head = "<nvidia_smi_log><attached_gpus>1</attached_gpus>"
    deep = f"{head}<gpu>{'<a>' * 100}{'</a>' * 100}</gpu></nvidia_smi_log>"
    assert "nested deeper" in read_xml(deep).problem
    many = f"{head}<gpu>{''.join(f'<a{n}>1</a{n}>' for n in range(5000))}</gpu></nvidia_smi_log>"
    assert "more than" in read_xml(many).problem
    assert "more than" in read_xml(f"{head}{'<gpu></gpu>' * 300}</nvidia_smi_log>").problem
    assert "larger" in read_xml(f"{head}{' ' * 5_000_000}</nvidia_smi_log>").problem
    assert "root" in read_xml("<?xml version='1.0'?><other><nvidia_smi_log></nvidia_smi_log></other>").problem
    assert read_xml(f"{head}<gpu>\ud800</gpu></nvidia_smi_log>").problem


def test_bulk_is_cut_by_string_search_and_only_when_whole() -> None:
    text = "<a><supported_clocks>\n<x/>\n</supported_clocks>b<accounted_processes></accounted_processes></a>"
    assert cut_bulk(text) == "<a>b</a>"
    cut = "<a>1<supported_clocks>N/A</supported_clocks>2<supported_clocks><x>"
    assert cut_bulk(cut) == "<a>12<supported_clocks><x>"


def test_the_recording_with_and_without_its_bulk_is_the_same(shared: Path) -> None:
    text = (shared / H200X8 / "nvidia-smi-q.xml").read_text()
    assert len(cut_bulk(text)) < len(text) / 2
    assert query(text)["gpu.devices"].value == query(cut_bulk(text))["gpu.devices"].value
    assert query(text)["gpu.count"].value == 8


NOT_FOUND = Section("cmd", "nvidia-smi -q -x", "", "sh: 1: nvidia-smi: not found\n", 127)
DEPENDENT = (*FROM_LIST, "gpu.attached_count", "cuda.driver_version")


@pytest.mark.parametrize("section", [NOT_FOUND, Section("cmd", "nvidia-smi -q -x", NO_DRIVER, "", 9)])
def test_without_an_nvidia_gpu_nothing_is_lost(section: Section) -> None:
    facts = facts_of("nvidia_smi_q", [section, Section("text", "NVIDIA devices", "")])
    for name in DEPENDENT:
        assert (facts[name].state, facts[name].reason) == (FactState.ABSENT, "there is no NVIDIA GPU"), name
    assert facts["driver.smi_error"].state is FactState.VALUE


@pytest.mark.parametrize(
    "devices", ["0000:1b:00.0", "/dev/dxg", "/proc/driver/nvidia/gpus/0000:1b:00.0", "the PCI bus cannot be looked at"]
)
def test_a_gpu_that_is_there_or_cannot_be_excluded_makes_it_an_error(devices: str) -> None:
    facts = facts_of("nvidia_smi_q", [NOT_FOUND, Section("text", "NVIDIA devices", f"{devices}\n")])
    assert {facts[name].state for name in DEPENDENT} == {FactState.ERROR}


def test_a_hanging_nvidia_smi_is_an_error_without_a_look_at_the_bus() -> None:
    facts = facts_of("nvidia_smi_q", [Section("cmd", "nvidia-smi -q -x", "", "", 124)])
    assert {facts[name].state for name in DEPENDENT} == {FactState.ERROR}
