"""Cut, mutated and hostile replies: parsers never raise, types always hold, a cut list is never a value."""

from __future__ import annotations

import re

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from nvidia_replies import LINK_ERRORS, LINKS, TEXT, TOPO, TWO_GPUS, cmd, facts_of, file, query

from nodectl.facts.nvidia.xml import ROOT
from nodectl.model import FactState
from nodectl.probe.transcript import Section

XML_TEXT = TWO_GPUS.read_text()
END = f"</{ROOT}>"
SHORT = re.sub(r"\n\s+", "\n", XML_TEXT)
FROM_LIST = ("gpu.count", "gpu.models", "gpu.devices", "gpu.processes")
NASTY = st.one_of(
    st.sampled_from(
        ["", "nan", "inf", "-1", "1e9", "９", "1_000", "true", "None", "[x]", "<", "</gpu>", "&amp;", "&x;", "\x00"]
    ),
    st.sampled_from(["N/A", "[Unknown Error]", "ERR!", "9" * 400, "\\x1b[31m", "<gpu>", "]]>", "<!--", "\ud800"]),
    st.text(max_size=30),
)
QUICK = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)

Q_TEXT = """==============NVSMI LOG==============

Driver Version                                         : 580.159.04
CUDA Version                                           : 13.0
Attached GPUs                                          : 2
GPU 00000000:00:06.0
    Product Name                                       : NVIDIA H200
    MIG Mode
        Current                                        : Disabled
    Clocks Event Reasons
        HW Slowdown                                    : Active
            HW Thermal Slowdown                        : Not Active
    Processes
        Process ID                                     : 4711
            Name                                       : /usr/bin/python3
GPU 00000000:00:07.0
    Product Name                                       : NVIDIA H200
"""
TOPO_TEXT = (
    "\tGPU0\tGPU1\tNIC0\tCPU Affinity\tNUMA Affinity\n"
    "GPU0\t X \tNV18\tPIX\t0-55\t0\nGPU1\tNV18\t X \tSYS\t0-55\t0\nNIC0\tPIX\tSYS\t X \t\t\n"
    "\nLegend:\n\nNIC Legend:\n\n  NIC0: mlx5_0\n"
)
LINK_TEXT = "GPU 0: NVIDIA H200 (UUID: GPU-00000000-0000)\n\t Link 0: 26.562 GB/s\n\t Link 1: <inactive>\n"
COUNTER_TEXT = (
    "GPU 0: NVIDIA H200 (UUID: GPU-00000000-0000)\n\t Link 0: CRC Errors: 0\n\t Link 0: Symbol BER: 15e-255\n"
)
ROOT_PCI = "/sys/bus/pci/devices/0000:18:00.0"
PCI_TEXT = f"{ROOT_PCI}/uevent:PCI_ID=10DE:2335\n{ROOT_PCI}/uevent:PCI_CLASS=30200\n{ROOT_PCI}/current_link_width:16\n"
BUS = cmd("ls -d /sys/bus/pci/devices", "/sys/bus/pci/devices\n")

# Each source with a function from one text to its sections.
WAYS = {
    "xml": (SHORT, "nvidia_smi_q", lambda text: [cmd("nvidia-smi -q -x", text)]),
    "text": (Q_TEXT, "nvidia_smi_q", lambda text: [cmd(TEXT, text)]),
    "topo": (TOPO_TEXT, "nvidia_smi_topo", lambda text: [cmd(TOPO, text)]),
    "nvlink": (LINK_TEXT, "nvidia_smi_nvlink", lambda text: [cmd(LINKS, text), cmd(LINK_ERRORS, COUNTER_TEXT)]),
    "counters": (COUNTER_TEXT, "nvidia_smi_nvlink", lambda text: [cmd(LINKS, LINK_TEXT), cmd(LINK_ERRORS, text)]),
    "proc": (
        "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.159.04  Release\n",
        "nvidia_proc",
        lambda text: [file("/proc/driver/nvidia/version", text), file("/proc/driver/nvidia/params", text)],
    ),
    "modinfo": (
        "filename: /x.ko\nversion: 580.1\nlicense: NVIDIA\nvermagic: 6.8\n",
        "nvidia_modinfo",
        lambda text: [cmd("modinfo nvidia", text)],
    ),
    "libraries": (
        "/usr/lib64/libnvidia-ml.so.1\t/usr/lib64/libnvidia-ml.so.580.1\n",
        "nvidia_userspace",
        lambda text: [cmd("libraries", text), cmd("ldconfig -p", text), cmd("firmware", text)],
    ),
    "cuda": (
        '{"cuda": {"version": "12.8.1"}}',
        "cuda_toolkits",
        lambda text: [
            cmd("toolkits", "/c\t/c\n" + text),
            cmd("compat", text),
            cmd("parts", text),
            file("/c/version.json", text),
        ],
    ),
    "nccl": (
        "/a/libnccl.so.2\t/a/libnccl.so.2.27.7\n",
        "nccl_libs",
        lambda text: [cmd("libraries", text), cmd("ldconfig -p", text)],
    ),
    "pci": (PCI_TEXT, "gpu_pci", lambda text: [BUS, Section("grep", "files", text, text, 2)]),
    "aer": (
        f"{ROOT_PCI}/aer_dev_fatal:TOTAL_ERR_FATAL 0\n 0000:18:00.0=gpu",
        "pcie_aer",
        lambda text: [
            BUS,
            Section("text", "devices", text),
            cmd("aer 1", text),
            cmd("aer 2", text),
            cmd("uptime 2", text),
        ],
    ),
    "services": (
        "Fabric Manager version is : 580.1\nVersion : 4.2.3\n",
        "nvidia_services",
        lambda text: [cmd("nv-fabricmanager --version", text), cmd("dcgmi --version", text)],
    ),
}


@pytest.mark.parametrize("way", WAYS)
@given(data=st.data())
@QUICK
def test_no_text_makes_a_parser_raise_or_lie_about_types(way: str, data: st.DataObject) -> None:
    """`facts_of` checks every value against its declaration."""
    text, source, sections = WAYS[way]
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(text)))
        length = data.draw(st.integers(0, 40))
        text = text[:start] + data.draw(NASTY) + text[start + length :]
    facts_of(source, sections(text))


@given(cut=st.integers(0, len(XML_TEXT)))
@settings(max_examples=150, deadline=None)
def test_xml_cut_anywhere_is_never_a_list(cut: int) -> None:
    facts = query(XML_TEXT[:cut], rc=None)
    whole = END in XML_TEXT[:cut]
    for name in FROM_LIST:
        assert (facts[name].state is FactState.VALUE) is whole, name
    assert facts["driver.smi_error"].state is FactState.VALUE


@given(cut=st.integers(0, len(Q_TEXT) - 1))
@settings(max_examples=100, deadline=None)
def test_text_cut_in_a_line_or_before_the_last_gpu_is_never_a_list(cut: int) -> None:
    text = Q_TEXT[:cut]
    facts = query(text, command=TEXT)
    if facts["gpu.count"].state is FactState.VALUE:
        assert facts["gpu.count"].value == 2
        assert text.endswith("\n")


@given(place=st.integers(0, 400), printed=NASTY)
@settings(max_examples=200, deadline=None)
def test_a_field_that_says_something_odd_costs_no_other_field(place: int, printed: str) -> None:
    """Whatever one field says (short of breaking the XML): all other fields of the row stay as they were."""
    leaves = list(re.finditer(r"<(\w+)>([^<>]*)</\1>", XML_TEXT[: XML_TEXT.index("</gpu>")]))
    leaf = leaves[place % len(leaves)]
    if re.search(r"[<>&\x00-\x1f\ud800-\udfff\ufffe\uffff]", printed) or leaf[1] in ("processes", "mig_devices"):
        return
    start, end = leaf.span(2)
    facts = query(XML_TEXT[:start] + printed + XML_TEXT[end:])
    before = query(XML_TEXT)["gpu.devices"].value[0]
    after = facts["gpu.devices"].value[0]
    changed = {key for key in {**before, **after} if before.get(key, "-") != after.get(key, "-")} - {"_errors"}
    assert len(changed) <= 3, changed  # ECC counters are parts of sums


@given(st.text(max_size=400))
@settings(max_examples=100, deadline=None)
def test_any_text_at_all(text: str) -> None:
    for _, source, sections in WAYS.values():
        facts_of(source, sections(text))
