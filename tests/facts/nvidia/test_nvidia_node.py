"""Device files, options of the next load, MIG devices and the CUDA library that programs find."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nvidia_replies import cmd, facts_of, file

from nodectl.model import FactState

INFORMATION = "/proc/driver/nvidia/gpus/0000:1b:00.0/information:Device Minor: \t 3\n"
GPU_LINE = "GPU 0: NVIDIA H100 80GB HBM3 (UUID: GPU-00000000-0000-0000-0000-000000000000)"
MIG_LINE = "  MIG 3g.40gb     Device  0: (UUID: MIG-00000000-0000-0000-0000-000000000000)"
OLD_MIG_LINE = "  MIG 1g.5gb Device 0: (UUID: MIG-GPU-00000000-0000-0000-0000-000000000000/7/0)"


def test_device_files_and_minors() -> None:
    text = "666 0 0\tchar\t/dev/nvidia3\n660 0 44\tother\t/dev/nvidiactl\nrubbish\n"
    facts = facts_of("nvidia_devices", [cmd("device files", text), cmd("Device Minor", INFORMATION)])
    assert facts["driver.device_files"].value == [
        {"path": "/dev/nvidia3", "name": "nvidia3", "mode": "666", "uid": 0, "gid": 0, "is_device": True},
        {"path": "/dev/nvidiactl", "name": "nvidiactl", "mode": "660", "uid": 0, "gid": 44, "is_device": False},
    ]
    assert facts["driver.gpu_minors"].value == [3]


def test_a_driver_without_gpus_has_no_minors_and_a_strange_line_is_an_error() -> None:
    facts = facts_of("nvidia_devices", [cmd("device files"), cmd("Device Minor")])
    assert facts["driver.gpu_minors"].state is FactState.ABSENT
    strange = cmd("Device Minor", INFORMATION.replace("3", "N/A"))
    assert facts_of("nvidia_devices", [cmd("device files"), strange])["driver.gpu_minors"].state is FactState.ERROR
    assert all(fact.state is FactState.ERROR for fact in facts_of("nvidia_devices", []).values())


def options(text: str, cmdline: str = "") -> list[tuple[str, str, str, str]]:
    facts = facts_of("nvidia_modprobe", [cmd("modprobe.d", text), cmd("/proc/cmdline", cmdline)])
    return [(row["module"], row["name"], row["value"], row["file"]) for row in facts["driver.module_options"].value]


def test_options_of_modprobe_d() -> None:
    path = "/etc/modprobe.d/nvidia.conf"
    lines = ("options nvidia-drm modeset=1", 'options nvidia NVreg_A=0x1 NVreg_B="x=1;y z"')
    text = f"file\t{path}\n" + "".join(f"line\t{path}\t{line}\n" for line in lines)
    assert options(text) == [
        ("nvidia_drm", "modeset", "1", path),
        ("nvidia", "NVreg_A", "0x1", path),
        ("nvidia", "NVreg_B", "x=1;y z", path),
    ]


def test_a_file_in_etc_hides_its_namesake_and_later_names_and_the_command_line_win() -> None:
    first, hidden, later = (
        "/etc/modprobe.d/nvidia.conf",
        "/usr/lib/modprobe.d/nvidia.conf",
        "/usr/lib/modprobe.d/z.conf",
    )
    text = (
        f"file\t{first}\nfile\t{hidden}\nline\t{hidden}\toptions nvidia NVreg_A=9\n"
        f"file\t{later}\nline\t{later}\toptions nvidia NVreg_B=2\nline\t{first}\toptions nvidia NVreg_B=1 NVreg_C=1\n"
    )
    assert options(text, "nvidia.NVreg_C=5\nnvidia-drm.modeset=1\n") == [
        ("nvidia", "NVreg_B", "2", later),
        ("nvidia", "NVreg_C", "5", "/proc/cmdline"),
        ("nvidia_drm", "modeset", "1", "/proc/cmdline"),
    ]


def test_what_could_not_be_read_is_an_error() -> None:
    facts = facts_of("nvidia_modprobe", [cmd("modprobe.d"), cmd("/proc/cmdline", rc=1, stderr="cat: denied\n")])
    assert facts["driver.module_options"].state is FactState.ERROR


@pytest.mark.parametrize("line", [MIG_LINE, OLD_MIG_LINE])
def test_mig_devices_of_a_gpu(line: str) -> None:
    facts = facts_of("nvidia_smi_list", [cmd("nvidia-smi -L", f"{GPU_LINE}\n{line}\n")])
    profile = line.split()[1]
    assert facts["mig.gpus"].value == [{"gpu_index": 0, "name": "NVIDIA H100 80GB HBM3", "profiles": [profile]}]
    assert facts["mig.layout"].value == [profile]


def test_whole_gpus_and_failures_of_the_list() -> None:
    facts = facts_of("nvidia_smi_list", [cmd("nvidia-smi -L", f"{GPU_LINE}\n")])
    assert facts["mig.layout"].value == ["whole"]
    none = facts_of("nvidia_smi_list", [cmd("nvidia-smi -L", "No devices were found\n", rc=6)])
    assert none["mig.gpus"].value == []
    for section in (
        cmd("nvidia-smi -L", rc=127, stderr="sh: nvidia-smi: not found\n"),
        cmd("nvidia-smi -L", "Failed to initialize NVML: Driver/library version mismatch\n", rc=18),
        cmd("nvidia-smi -L", f"{GPU_LINE}\nUnable to determine the device handle for GPU1: Unknown Error\n"),
        cmd("nvidia-smi -L", rc=124),
    ):
        assert facts_of("nvidia_smi_list", [section])["mig.gpus"].state is FactState.ERROR


def test_every_recorded_list(shared: Path) -> None:
    folder = shared / "recordings" / "public" / "nvidia-smi-list"
    paths = [*sorted(folder.iterdir()), shared / "recordings" / "h200x8" / "nvidia-smi-L.txt"]
    layouts = {}
    for path in paths:
        facts = facts_of("nvidia_smi_list", [cmd("nvidia-smi -L", path.read_text())])
        layouts[path.name] = facts["mig.layout"].value
    assert layouts == {
        "ceems-a100-pcie-x8-mig-L.txt": ["1g.5gb+1g.5gb+4g.20gb", "1g.5gb+2g.10gb+4g.20gb", "whole"],
        "nge-h100-590.48.01-L.txt": ["whole"],
        "nge-h100-mig-590.48.01-L.txt": ["1g.10gb+1g.10gb+2g.20gb+3g.40gb"],
        "nvidia-smi-L.txt": ["whole"],
    }


def libcuda(preferred: str, cache: str, cached: str) -> list[tuple[str, str, str | None]]:
    sections = [
        cmd("LD_LIBRARY_PATH", preferred),
        cmd("ldconfig -p", cache),
        cmd("cached libraries", cached),
        cmd("libraries"),
        cmd("firmware"),
    ]
    rows = facts_of("nvidia_userspace", sections)["driver.libcuda"].value
    return [(row["name"], row["kind"], row["version"]) for row in rows]


def test_what_a_program_finds_as_libcuda() -> None:
    own = "/usr/lib/x86_64-linux-gnu/libcuda.so.580.159.04"
    stub = "/usr/local/cuda/lib64/stubs/libcuda.so"
    compat = "/usr/local/cuda-13.1/compat/libcuda.so.590.48.01"
    cache = (
        "\tlibcuda.so.1 (libc6,x86-64) => /lib/x86_64-linux-gnu/libcuda.so.1\n"
        "\tlibcuda.so.1 (libc6) => /lib/i386-linux-gnu/libcuda.so.1\n"
        f"\tlibcuda.so (libc6,x86-64) => {stub}\n"
    )
    cached = f"/lib/x86_64-linux-gnu/libcuda.so.1\t{own}\n{stub}\t{stub}\n"
    assert libcuda("", cache, cached) == [("libcuda.so.1", "driver", "580.159.04"), ("libcuda.so", "stub", None)]
    preferred = f"/usr/local/cuda/compat/libcuda.so.1\t{compat}\n"
    assert libcuda(preferred, cache, cached)[0] == ("libcuda.so.1", "compat", "590.48.01")
    assert libcuda("", "", "") == []


def test_all_parameters_of_the_module() -> None:
    sections = [
        file("/proc/driver/nvidia/version", "NVRM version: NVIDIA UNIX x86_64 Kernel Module  580.159.04  Mon\n"),
        file("/proc/driver/nvidia/params", 'EnableMSI: 1\nRegistryDwords: "a=1;"\n'),
        cmd("ls -1 /proc/driver/nvidia/gpus"),
    ]
    assert facts_of("nvidia_proc", sections)["driver.params"].value == [
        {"name": "EnableMSI", "value": "1"},
        {"name": "RegistryDwords", "value": "a=1;"},
    ]


@given(st.text(max_size=300), st.sampled_from([0, 1, 6, 124]))
def test_whatever_a_node_says_nothing_raises(text: str, rc: int) -> None:
    facts_of("nvidia_smi_list", [cmd("nvidia-smi -L", text, rc=rc)])
    facts_of("nvidia_devices", [cmd("device files", text, rc=rc), cmd("Device Minor", text, rc=rc)])
    facts_of("nvidia_modprobe", [cmd("modprobe.d", text, rc=rc), cmd("/proc/cmdline", text)])
