"""The NVIDIA sources run for real: under three shells, with a made-up nvidia-smi, in made-up /sys, /proc and /usr."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from nvidia_replies import TWO_GPUS, XML, facts_of

from nodectl.model import Fact, FactState
from nodectl.probe.__main__ import run_source
from nodectl.probe.compose import load_sources
from nodectl.probe.overlay import refusal
from nodectl.probe.transcript import SourceReply

SHELLS = {"dash": ["dash"], "busybox": ["busybox", "sh"], "bash": ["bash", "--posix"]}
INSTALLED = [pytest.param(argv, id=name) for name, argv in SHELLS.items() if shutil.which(argv[0])]
MINE = (
    "cuda_toolkits", "gpu_pci", "nccl_libs", "nvidia_modinfo", "nvidia_proc", "nvidia_services", "nvidia_smi_nvlink",
    "nvidia_smi_q", "nvidia_smi_topo", "nvidia_userspace", "pcie_aer",
)  # fmt: skip

FAKE = """#!/bin/sh
case "$*" in
*nvlink*|*topo*) echo "$*"; exit 3 ;;
esac
cat {answer}
echo 'a warning' >&2
exit {rc}
"""


@pytest.fixture
def with_smi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, int], None]:
    """Put a nvidia-smi on the PATH that answers so."""

    def put(answer: str, rc: int) -> None:
        (tmp_path / "answer").write_text(answer)
        program = tmp_path / "nvidia-smi"
        program.write_text(FAKE.format(answer=tmp_path / "answer", rc=rc))
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")

    return put


def run(name: str, shell: list[str], root: Path | None = None) -> SourceReply:
    reply = run_source(load_sources()[name], [], shell=shell, root=root)
    assert reply.state == "ok", reply.note
    return reply


def facts(name: str, shell: list[str], root: Path | None = None) -> dict[str, Fact]:
    return facts_of(name, run(name, shell, root).sections)


BULK = """<supported_clocks>
	<supported_mem_clock><value>3201 MHz</value></supported_mem_clock>
</supported_clocks>
<supported_clocks>N/A</supported_clocks>
"""
PROCESS = "<process_info><pid>1</pid>\n<process_name>{}</process_name>\n<type>C</type></process_info>"


@pytest.mark.parametrize("shell", INSTALLED)
@pytest.mark.parametrize("rc", [0, 14])
def test_the_query_is_thinned_on_the_node_and_keeps_its_exit_code(with_smi, shell: list[str], rc: int) -> None:  # type: ignore[no-untyped-def]
    names = ("/usr/bin/python3 train.py --token=secret", "/opt/a&b", "[Not Found]")
    listed = "\n".join(PROCESS.format(name) for name in names)
    answer = TWO_GPUS.read_text().replace("<processes>", f"{BULK}<processes>{listed}", 1)
    with_smi(answer, rc)
    section, *_ = run("nvidia_smi_q", shell).sections
    assert (section.name, section.rc, section.stderr) == (XML, rc, "a warning\n")
    assert "supported_clocks" not in section.text
    assert "secret" not in section.text
    assert "<process_name>python3</process_name>" in section.text
    assert "<process_name>a_b</process_name>" in section.text
    found = facts_of("nvidia_smi_q", [section])
    assert found["gpu.count"].value == 2
    assert [row["name"] for row in found["gpu.processes"].value] == ["python3", "a_b", None]


@pytest.mark.parametrize("shell", INSTALLED)
def test_a_refusal_keeps_its_text_and_exit_code(with_smi, shell: list[str]) -> None:  # type: ignore[no-untyped-def]
    with_smi("Failed to initialize NVML: Driver/library version mismatch\nNVML library version: 580.159", 18)
    found = facts("nvidia_smi_q", shell)
    assert "580.159; a warning (exit code 18" in found["driver.smi_error"].value
    (topo,) = run("nvidia_smi_topo", shell).sections
    assert (topo.name, topo.text, topo.rc) == ("nvidia-smi topo -m", "topo -m\n", 3)
    assert [(one.name, one.text) for one in run("nvidia_smi_nvlink", shell).sections] == [
        ("nvidia-smi nvlink -s", "nvlink -s\n"),
        ("nvidia-smi nvlink -e", "nvlink -e\n"),
    ]


@pytest.mark.parametrize("shell", INSTALLED)
def test_a_machine_without_any_of_it(shell: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Every source ends well and its parser says why there is nothing. (This test's machine has no NVIDIA driver.)"""
    if shutil.which("nvidia-smi") or Path("/proc/driver/nvidia").exists():
        pytest.skip("this machine has an NVIDIA driver")
    monkeypatch.setenv("LD_LIBRARY_PATH", "")
    for name in MINE:
        found = facts(name, shell)
        assert all(fact.reason for fact in found.values() if fact.state is not FactState.VALUE), name
    assert "nvidia-smi not found" in facts("nvidia_smi_q", shell)["driver.smi_error"].value
    assert facts("nvidia_proc", shell)["driver.version"].state is FactState.ABSENT
    assert facts("gpu_pci", shell)["nvidia.pci_count"].value == 0


@pytest.fixture(scope="module")
def overlay() -> None:
    with tempfile.TemporaryDirectory() as scratch:
        why = refusal(Path(scratch))
    if why:
        pytest.skip(f"no overlay root here (run as root): {why}")


def put(root: Path, path: str, text: str) -> None:
    target = root / path.lstrip("/")
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(text)


def put_device(root: Path, address: str, vendor: str, device: str, klass: str, **files: str) -> None:
    base = f"/sys/bus/pci/devices/{address}"
    uevent = f"DRIVER=some\nPCI_CLASS={klass[2:].lstrip('0').upper()}\nPCI_ID={vendor[2:].upper()}:{device}\n"
    for name, text in {"vendor": vendor, "class": klass, "uevent": uevent, **files}.items():
        put(root, f"{base}/{name}", text.rstrip("\n") + "\n")


GPU_FILES = {
    "numa_node": "-1", "current_link_speed": "2.5 GT/s PCIe", "max_link_speed": "32.0 GT/s PCIe",
    "current_link_width": "16", "max_link_width": "16", "enable": "1",
}  # fmt: skip


@pytest.mark.parametrize("shell", INSTALLED)
def test_the_pci_bus(overlay: None, tmp_path: Path, shell: list[str]) -> None:
    put_device(tmp_path, "0000:18:00.0", "0x10de", "2335", "0x030200", **GPU_FILES)
    put_device(tmp_path, "0000:18:00.1", "0x10de", "10FA", "0x040300")  # the audio function of a GPU
    put_device(tmp_path, "0000:05:00.0", "0x10de", "22A3", "0x068000", **GPU_FILES)
    put_device(tmp_path, "0000:1a:00.0", "0x15b3", "1021", "0x020700", **GPU_FILES)
    put_device(tmp_path, "0000:1a:00.1", "0x15b3", "101E", "0x020700", physfn="")
    put_device(tmp_path, "0000:00:00.0", "0x8086", "09A2", "0x088000")
    found = facts("gpu_pci", shell, tmp_path)
    (gpu,) = found["gpu.pci"].value
    assert (gpu["pci_bus_id"], gpu["pci_id"], gpu["link_speed_gts"]) == ("0000:18:00.0", "10de:2335", 2.5)
    assert [row["pci_id"] for row in found["nvswitch.pci"].value] == ["10de:22a3"]
    assert [row["virtual_function"] for row in found["nic.pci"].value] == [False, True]


@pytest.mark.parametrize("shell", INSTALLED)
def test_pcie_errors(overlay: None, tmp_path: Path, shell: list[str]) -> None:
    counters = {f"aer_dev_{kind}": f"RxErr 3\nTOTAL_ERR_{kind[:3].upper()} 3" for kind in ("nonfatal", "fatal")}
    counters["aer_dev_correctable"] = "RxErr 7\nBadTLP 0\nTOTAL_ERR_COR 7"
    for way, ids in {
        "0000:17:00.0": ("0x1000", "C030", "0x060400"),
        "0000:17:00.0/0000:18:00.0": ("0x10de", "2335", "0x030200"),
        "0000:16:00.0": ("0x1000", "C030", "0x060400"),
        "0000:16:00.0/0000:19:00.0": ("0x144d", "A808", "0x010802"),
        "0000:15:00.0": ("0x1000", "C030", "0x060400"),  # above nothing but a SATA controller: neither is asked
        "0000:15:00.0/0000:1a:00.0": ("0x8086", "A282", "0x010601"),
    }.items():
        address = way.rpartition("/")[2]
        put_device(tmp_path, address, *ids, **counters)
        listed = tmp_path / f"sys/bus/pci/devices/{address}"
        real = tmp_path / f"sys/devices/pci0000:10/{way}"
        real.parent.mkdir(parents=True, exist_ok=True)
        listed.rename(real)
        listed.symlink_to(f"../../../devices/pci0000:10/{way}")
    rows = facts("pcie_aer", shell, tmp_path)["pcie.aer"].value
    assert [(row["pci_bus_id"], row["kind"], row["correctable"]) for row in rows] == [
        ("0000:16:00.0", "bridge", 7),
        ("0000:17:00.0", "bridge", 7),
        ("0000:18:00.0", "gpu", 7),
        ("0000:19:00.0", "nvme", 7),
    ]
    assert [row["correctable_per_min"] for row in rows] == [0.0] * 4


@pytest.mark.parametrize("shell", INSTALLED)
def test_the_driver_on_disk_and_in_the_kernel(overlay: None, tmp_path: Path, shell: list[str]) -> None:
    put(
        tmp_path,
        "/proc/driver/nvidia/version",
        "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.159.04  R\n",
    )
    put(tmp_path, "/proc/driver/nvidia/params", "EnableMSI: 1\n")
    for number in range(8):
        put(tmp_path, f"/proc/driver/nvidia/gpus/0000:{number:02x}:00.0/information", "x")
    put(tmp_path, "/sys/module/nvidia/version", "580.159.04\n")
    library = "/usr/lib/x86_64-linux-gnu"
    put(tmp_path, f"{library}/libnvidia-ml.so.580.159.04", "")
    put(tmp_path, f"{library}/libcuda.so.575.57.08", "")
    (tmp_path / library[1:] / "libnvidia-ml.so.1").symlink_to("libnvidia-ml.so.580.159.04")
    put(tmp_path, "/usr/lib/firmware/nvidia/580.159.04/gsp_ga10x.bin", "")
    loaded = facts("nvidia_proc", shell, tmp_path)
    assert (loaded["driver.version"].value, loaded["gpu.proc_count"].value) == ("580.159.04", 8)
    on_disk = facts("nvidia_userspace", shell, tmp_path)
    assert on_disk["driver.userspace_version"].value == "580.159.04"
    assert on_disk["driver.userspace_versions"].value == ["575.57.08", "580.159.04"]
    assert on_disk["driver.gsp_versions"].value == ["580.159.04"]


@pytest.mark.parametrize("shell", INSTALLED)
def test_toolkits_and_nccl(overlay: None, tmp_path: Path, shell: list[str]) -> None:
    put(tmp_path, "/usr/local/cuda-98.7/version.json", '{"cuda": {"version": "98.7.1"}}')
    put(tmp_path, "/usr/local/cuda-98.7/compat/libcuda.so.980.10.01", "")
    put(tmp_path, "/opt/cuda-97.6/version.txt", "CUDA Version 97.6.55\n")
    put(tmp_path, "/opt/thing/lib/libnccl.so.9.8.7", "")
    found = facts("cuda_toolkits", shell, tmp_path)
    versions = {row["path"]: row["version"] for row in found["cuda.toolkits"].value}
    assert versions["/usr/local/cuda-98.7"] == "98.7.1"
    assert versions["/opt/cuda-97.6"] == "97.6.55"
    assert {
        "cuda_version": "98.7",
        "driver_version": "980.10.01",
        "path": "/usr/local/cuda-98.7/compat/libcuda.so.980.10.01",
    } in (found["cuda.compat"].value)
    libraries = facts("nccl_libs", shell, tmp_path)["nccl.libraries"].value
    assert {"version": "9.8.7", "path": "/opt/thing/lib/libnccl.so.9.8.7", "in_cache": False} in libraries
