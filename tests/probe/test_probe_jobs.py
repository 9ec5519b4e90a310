"""What is read of jobs' surroundings, from files as they are: nothing of another variable's value leaves the node."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from msgspec.structs import replace
from probe_nodes import SHELLS

from nodectl.probe.__main__ import run_source
from nodectl.probe.compose import load_sources
from nodectl.probe.transcript import SourceReply

CONF = """\
# site
NCCL_IB_HCA==mlx5_0,mlx5_1
export NCCL_DEBUG=INFO
NCCL_ALGO = Ring
WANDB_API_KEY=s3cret-1
s3cret-2
"""
ENVIRONMENT = """\
PATH="/usr/bin:/s3cret-3"
NCCL_SOCKET_IFNAME="eth0"
# NCCL_P2P_DISABLE=1
AWS_SECRET_ACCESS_KEY=s3cret-4 NCCL_TOPO_FILE=/etc/topo.xml TOKEN=s3cret-5
"""
PROFILE = """\
if [ -n "$PS1" ]; then export NCCL_NVLS_ENABLE=0; export HF_TOKEN=s3cret-6; fi
export CUDA_VISIBLE_DEVICES='0,1'
unset NCCL_SHM_DISABLE
MY_NCCL_X=s3cret-7
"""


def shell(name: str) -> list[str]:
    words = ["busybox", "sh"] if name == "busybox" else [name]
    if shutil.which(words[0]) is None:
        pytest.skip(f"{words[0]} is not installed: apt install {words[0]}")
    return words


def run(name: str, args: list[str], shell_name: str, **replaced: str) -> SourceReply:
    """One source, with other text in place of parts of its body."""
    spec = load_sources()[name]
    body = spec.body
    for old, new in replaced.items():
        assert old in body
        body = body.replace(old, new)
    return run_source(replace(spec, body=body), args, shell=shell(shell_name))


@pytest.mark.parametrize("shell_name", SHELLS)
def test_settings_and_nothing_else(tmp_path: Path, shell_name: str) -> None:
    (tmp_path / "nccl.conf").write_text(CONF)
    (tmp_path / "environment").write_text(ENVIRONMENT)
    (tmp_path / "profile.d").mkdir()
    (tmp_path / "profile.d" / "nccl.sh").write_text(PROFILE)
    reply = run("nccl_env", [], shell_name, **{"/etc/": f"{tmp_path}/"})
    text = "\n".join(section.text for section in reply.sections)
    assert "s3cret" not in text
    lines = [line.split("\t") for line in text.split("\n") if line.count("\t") == 4]
    assert [(kind, name, value) for kind, _, _, name, value in lines] == [
        ("set", "NCCL_IB_HCA", "=mlx5_0,mlx5_1"),
        ("ignored", "NCCL_DEBUG", "INFO"),
        ("ignored", "NCCL_ALGO", " Ring"),
        ("nothing", "", ""),
        ("set", "NCCL_SOCKET_IFNAME", "eth0"),
        ("set", "NCCL_TOPO_FILE", "/etc/topo.xml"),
        ("set", "NCCL_NVLS_ENABLE", "0"),
        ("set", "CUDA_VISIBLE_DEVICES", "0,1"),
    ]


@pytest.mark.parametrize("shell_name", SHELLS)
def test_an_environment_is_read_by_names_alone(tmp_path: Path, shell_name: str) -> None:
    site = tmp_path / "env" / "lib" / "python3.12" / "site-packages"
    (site / "torch").mkdir(parents=True)
    (tmp_path / "env" / "lib64").symlink_to("lib")
    (site / "torch" / "version.py").write_text("__version__ = '2.9.1'\ncuda: Optional[str] = '13.0'\nhip = None\n")
    for name in ("torch-2.9.1+cu130", "nvidia_nccl_cu13-2.27.7", "private_package-1.0", "torchvision-0.24.1"):
        (site / f"{name}.dist-info").mkdir()
    reply = run("venvs", [str(tmp_path / "env"), str(tmp_path / "gone")], shell_name)
    found, gone = reply.sections
    assert set(found.text.splitlines()) == {
        f"site\t{site}",
        "dist\ttorch-2.9.1+cu130.dist-info",
        "dist\tnvidia_nccl_cu13-2.27.7.dist-info",
        "torch\tcuda: Optional[str] = '13.0'",
        "torch\thip = None",
    }
    assert gone.rc != 0
    assert "No such file" in gone.stderr


@pytest.mark.parametrize("shell_name", SHELLS)
def test_options_of_the_nvidia_modules_and_no_others(tmp_path: Path, shell_name: str) -> None:
    folder = tmp_path / "modprobe.d"
    folder.mkdir()
    (folder / "a.conf").write_text("options nvidia NVreg_A=1\n#options nvidia NVreg_B=1\noptions wifi key=s3cret\n")
    (folder / "b.conf").write_text("options nvidia-drm modeset=1\nblacklist nouveau\n")
    reply = run("nvidia_modprobe", [], shell_name, **{"/etc/modprobe.d": str(folder)})
    text = reply.sections[0].text
    assert "s3cret" not in text
    assert [line for line in text.splitlines() if str(folder) in line] == [
        f"file\t{folder}/a.conf",
        f"line\t{folder}/a.conf\toptions nvidia NVreg_A=1",
        f"file\t{folder}/b.conf",
        f"line\t{folder}/b.conf\toptions nvidia-drm modeset=1",
    ]
