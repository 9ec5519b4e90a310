"""Settings of container engines: what leaves the node, and what is made of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from node_files import SECRET, SHELLS, all_of, ask
from replies import cmd, fact_of, facts_of, said, state_of, value_of

from nodectl.facts.containers.files import file_system
from nodectl.facts.containers.toolkit_settings import FACTS as TOOLKIT
from nodectl.facts.host.limits import UNLIMITED
from nodectl.facts.reading import CannotTell, Reading
from nodectl.model import FactState
from nodectl.probe.transcript import Section, SourceReply

DAEMON = "/etc/docker/daemon.json"
SOURCE = "container_config"
MOUNTS = cmd("mounts", "/\text4\n/raid\txfs\n/home\tnfs4\n/home/local\text4\n/run\ttmpfs\nnd_complete\n")
THERE = cmd("files that are there", "there\tnvidia-container-runtime\ngone\t/usr/bin/nvidia-container-runtime\n")
DOCKER_JSON = {
    "runtimes": {"nvidia": {"path": "/usr/bin/nvidia-container-runtime", "runtimeArgs": [SECRET]}},
    "default-runtime": "nvidia",
    "exec-opts": ["native.cgroupdriver=cgroupfs"],
    "default-shm-size": "1G",
    "default-ulimits": {"memlock": {"Name": "memlock", "Soft": -1, "Hard": -1}, "nofile": {"Hard": 65536}},
    "log-opts": {"max-size": "10m", "splunk-token": SECRET},
    "proxies": {"http-proxy": f"http://user:{SECRET}@proxy:3128"},
    "registry-mirrors": [f"https://user:{SECRET}@mirror"],
    "features": {"cdi": True, "buildkit": True},
    "live-restore": True,
    "data-root": "/raid/docker",
    'odd"key\\': {"a": [1, 2.5e3, None, {}, []]},
}
CONTAINERD = f"""version = 2
imports = ["/etc/containerd/conf.d/*.toml"]
root = "/raid/containerd" # where
[plugins."io.containerd.grpc.v1.cri"]
  enable_cdi = true
  cdi_spec_dirs = [
    "/etc/cdi", # here
    "/var/run/cdi",
  ]
  [plugins."io.containerd.grpc.v1.cri".containerd]
    default_runtime_name = "nvidia"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.nvidia.options]
      BinaryName = "/usr/bin/nvidia-container-runtime"
      SystemdCgroup = true
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
  [plugins."io.containerd.grpc.v1.cri".registry.configs."r".auth]
    password = "{SECRET}"
    auth = "{SECRET}"
    identitytoken = "{SECRET}"
  [plugins."io.containerd.grpc.v1.cri".registry.headers]
    Authorization = ["Basic {SECRET}"]
"""
CRIO = f"""[crio.runtime]
default_runtime = "nvidia"
cgroup_manager = "systemd"
default_env = ["TOKEN={SECRET}"]
[crio.runtime.runtimes.nvidia]
runtime_path = "/usr/bin/nvidia-container-runtime"
monitor_env = ["TOKEN={SECRET}"]
"""
TOOLKIT_TOML = f"""disable-require = false
[nvidia-container-cli]
environment = ["TOKEN={SECRET}"]
ldconfig = "@/sbin/ldconfig"
no-cgroups = true
[nvidia-container-runtime]
mode = "auto"
[features]
allow-cuda-compat-libs-from-container = true
disable-imex-channel-creation = false
"""
ENROOT = f"""#ENROOT_LIBRARY_PATH /usr/lib/enroot
ENROOT_RUNTIME_PATH /run/enroot/user-$(id -u)
ENROOT_DATA_PATH    /raid/data
ENROOT_LOGIN_TOKEN {SECRET}
"""
NODE = {
    DAEMON: json.dumps(DOCKER_JSON, indent=2),
    "/etc/containerd/config.toml": CONTAINERD,
    "/etc/containerd/conf.d/99-nvidia.toml": "[plugins.'x'.containerd.runtimes.runc.options]\nSystemdCgroup = false\n",
    "/etc/crio/crio.conf.d/99-nvidia.conf": CRIO,
    "/etc/nvidia-container-runtime/config.toml": TOOLKIT_TOML,
    "/etc/enroot/enroot.conf": ENROOT,
    "/etc/enroot/.credentials": f"machine nvcr.io login $oauthtoken password {SECRET}\n",
    "/etc/enroot/hooks.d/98-nvidia.sh!": "#!/bin/sh\n",
    "/etc/enroot/hooks.d/99-mellanox.sh": "#!/bin/sh\n",
    "/root/.docker/config.json": json.dumps({"auths": {"r": {"auth": SECRET}}}),
    "/usr/bin/nvidia-container-runtime!": "#!/bin/sh\n",
}
WANTED = {
    "docker.runtimes": ["nvidia"],
    "docker.default_runtime": "nvidia",
    "docker.cgroup_driver": "cgroupfs",
    "docker.default_shm_mib": 1024,
    "docker.memlock_kib": UNLIMITED,
    "docker.live_restore": True,
    "docker.log_max_size": "10m",
    "docker.data_root": "/raid/docker",
    "docker.cdi": True,
    "containerd.runtimes": ["nvidia", "runc"],
    "containerd.default_runtime": "nvidia",
    "containerd.systemd_cgroup": True,
    "containerd.cdi": True,
    "containerd.cri_disabled": False,
    "containerd.root": "/raid/containerd",
    "crio.runtimes": ["nvidia"],
    "crio.default_runtime": "nvidia",
    "crio.cgroup_manager": "systemd",
    "container_toolkit.mode": "auto",
    "container_toolkit.no_cgroups": True,
    "container_toolkit.ldconfig": "@/sbin/ldconfig",
    "container_toolkit.ldconfig_found": True,
    "container_toolkit.features": ["allow-cuda-compat-libs-from-container"],
    "enroot.hooks": [{"name": "98-nvidia.sh", "executable": True}, {"name": "99-mellanox.sh", "executable": False}],
}


@pytest.mark.parametrize("shell", SHELLS)
def test_named_keys_leave_the_node_and_no_secret_does(shell: str, tmp_path: Path) -> None:
    reply = ask(SOURCE, shell, tmp_path, NODE)
    assert SECRET not in all_of(reply)
    assert reply.note == ""
    facts = facts_of(SOURCE, reply, *WANTED, "container.gpu_runtimes", "docker.storage_driver", "enroot.paths")
    assert {name: facts[name].value for name in WANTED} == WANTED
    assert facts["docker.storage_driver"].state is FactState.ABSENT
    runtimes = facts["container.gpu_runtimes"].value
    assert [(row["engine"], row["found"], row["default"]) for row in runtimes] == [
        ("docker", True, True),
        ("containerd", True, True),
        ("crio", True, True),
    ]
    assert [row["name"] for row in facts["enroot.paths"].value] == ["ENROOT_RUNTIME_PATH", "ENROOT_DATA_PATH"]


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize(
    "text", ['{"a": ', '{"runtimes": {"nvidia": {"path": "x"}}', "[1,]", '{"a" 1}', "\0\1", "[" * 99]
)
def test_a_broken_daemon_json_is_an_error(shell: str, text: str, tmp_path: Path) -> None:
    reply = ask(SOURCE, shell, tmp_path, {DAEMON: text})
    for name in ("docker.runtimes", "docker.live_restore", "docker.data_root_fstype"):
        assert state_of(SOURCE, reply, name) == "error"


@pytest.mark.parametrize("shell", SHELLS)
def test_a_node_that_has_none_of_it_says_little(shell: str, tmp_path: Path) -> None:
    reply = ask(SOURCE, shell, tmp_path, {"/etc/nothing": ""})
    assert {one.name for one in reply.sections} <= {"files that are there", "cgroup", "mounts", "subordinate ids"}
    assert state_of(SOURCE, reply, "docker.runtimes") == "absent"
    assert state_of(SOURCE, reply, "enroot.hooks") == "absent"
    assert value_of(SOURCE, reply, "container.gpu_runtimes") == []


def _daemon(*lines: str) -> list[Section]:
    return [cmd(DAEMON, "".join(f"{line}\n" for line in (*lines, "nd_complete"))), THERE, MOUNTS]


def test_the_recorded_daemon_json(shared: Path) -> None:
    recorded = json.loads((shared / "recordings/public/docker/soperator-worker-daemon.json").read_text())
    lines = [f"{key}\t{value}" for key, value in _flat(recorded)]
    sections = _daemon(*lines)
    assert value_of(SOURCE, sections, "docker.storage_driver") == "vfs"
    assert value_of(SOURCE, sections, "docker.memlock_kib") == UNLIMITED
    assert value_of(SOURCE, sections, "docker.default_shm_mib") == 262144
    assert value_of(SOURCE, sections, "docker.default_runtime") == "nvidia"
    row = value_of(SOURCE, sections, "container.gpu_runtimes")[0]
    assert (row["path"], row["found"]) == ("/usr/bin/nvidia-container-runtime", False)


def _flat(value: object, path: str = "") -> list[tuple[str, object]]:
    if isinstance(value, dict):
        return [pair for key, one in value.items() for pair in _flat(one, f"{path}|{key}" if path else key)]
    if isinstance(value, list):
        return [pair for at, one in enumerate(value) for pair in _flat(one, f"{path}|{at}")]
    return [(path, value)]


def test_options_of_a_running_dockerd_count_as_daemon_json_does() -> None:
    options = "--add-runtime\tnvidia=/usr/bin/nvidia-container-runtime\n--default-shm-size\t1G\n"
    options += "--default-ulimit\tmemlock=-1:-1\n--exec-opt\tnative.cgroupdriver=systemd\nnd_complete\n"
    sections = [cmd("dockerd options", options), THERE, MOUNTS]
    assert value_of(SOURCE, sections, "docker.runtimes") == ["nvidia"]
    assert value_of(SOURCE, sections, "docker.default_shm_mib") == 1024
    assert value_of(SOURCE, sections, "docker.memlock_kib") == UNLIMITED
    assert value_of(SOURCE, sections, "docker.cgroup_driver") == "systemd"


@pytest.mark.parametrize(
    ("size", "mib"), [("64M", 64), ("1g", 1024), ("256gb", 262144), ("1GiB", 1024), ("67108864", 64), ("65536k", 64)]
)
def test_sizes(size: str, mib: int) -> None:
    assert value_of(SOURCE, _daemon(f"default-shm-size\t{size}"), "docker.default_shm_mib") == mib


@pytest.mark.parametrize(
    ("path", "kind"),
    [("/raid/docker", "xfs"), ("/raid", "xfs"), ("/raidx/docker", "ext4"), ("/home/u", "nfs4"),
     ("/home/local/u", "ext4"), ("/run/user-$(id -u)", "tmpfs"), ("/raid/cache/$USER/x", "xfs"),
     ("/raid$USER", "ext4")],
)  # fmt: skip
def test_which_file_system_a_path_lies_on(path: str, kind: str) -> None:
    assert file_system(Reading(SourceReply(SOURCE, "ok", sections=(MOUNTS,))), path) == kind


@pytest.mark.parametrize("path", ["$HOME/enroot", "${XDG_DATA_HOME}/enroot", "~/x", "relative", "", "/$USER"])
def test_a_path_that_only_a_session_knows(path: str) -> None:
    with pytest.raises(CannotTell):
        file_system(Reading(SourceReply(SOURCE, "ok", sections=(MOUNTS,))), path)


def test_what_needs_root_is_an_error() -> None:
    denied = Section("cmd", DAEMON, "", "needs root: awk\n", 77)
    fact = fact_of(SOURCE, [denied, THERE, MOUNTS], "docker.runtimes")
    assert fact.state is FactState.ERROR
    assert "needs root" in fact.reason


def test_a_file_that_was_cut_is_an_error() -> None:
    for section, name in (
        (DAEMON, "docker.runtimes"),
        ("containerd", "containerd.runtimes"),
        ("crio", "crio.runtimes"),
    ):
        assert state_of(SOURCE, [cmd(section, "a\tb\n"), THERE, MOUNTS], name) == "error"


@pytest.mark.parametrize("shell", SHELLS)
def test_users_with_subordinate_ids_are_counted_and_not_named(shell: str, tmp_path: Path) -> None:
    both = {
        "/etc/subuid": f"{SECRET}:100000:65536\nbob:165536:65536\n",
        "/etc/subgid": "1001:100000:65536\nsmall:1:10\n",
    }
    reply = ask(SOURCE, shell, tmp_path, both)
    assert SECRET not in all_of(reply)
    assert value_of(SOURCE, reply, "rootless.users") == 1


def test_control_groups() -> None:
    assert value_of(SOURCE, [said("cgroup", "v2")], "cgroup.version") == 2
    assert value_of(SOURCE, [said("cgroup", "v1")], "cgroup.version") == 1
    assert state_of(SOURCE, [THERE], "cgroup.version") == "error"


@given(st.text(max_size=300), st.integers(0, 3))
def test_any_text_is_read_without_raising(text: str, rc: int) -> None:
    names = (
        "docker.runtimes",
        "docker.memlock_kib",
        "containerd.runtimes",
        "containerd.systemd_cgroup",
        "crio.runtimes",
    )
    for section in (DAEMON, "containerd", "crio", "nvidia-container-runtime", "enroot", "enroot hooks", "mounts"):
        for body in (text, f"{text}\nnd_complete\n"):
            sections = [cmd(section, body, "", rc)]
            for fact in facts_of(SOURCE, sections, *names, *(spec.name for spec in TOOLKIT)).values():
                assert "could not be read (" not in fact.reason


@pytest.mark.parametrize("shell", SHELLS)
def test_the_options_of_dockerd_and_the_mounts_of_a_kubernetes_node(shell: str, shared: Path, tmp_path: Path) -> None:
    mountinfo = (shared / "recordings/public/disk/mountinfo-k8s.txt").read_text()
    options = ["dockerd", "--default-shm-size=2G", "--add-runtime", "nvidia=nvidia-container-runtime"]
    options += ["--live-restore", "--cluster-store-opt", f"kv={SECRET}", f"--log-opt=token={SECRET}", "-s", "overlay2"]
    files = {
        "/run/docker.pid": "123",
        "/proc/123/cmdline": "\0".join(options) + "\0",
        "/proc/self/mountinfo": mountinfo,
        "/usr/local/bin/nvidia-container-runtime!": "#!/bin/sh\n",
    }
    reply = ask(SOURCE, shell, tmp_path, files)
    assert SECRET not in all_of(reply)
    names = ("docker.default_shm_mib", "docker.runtimes", "docker.live_restore", "docker.storage_driver")
    values = [fact.value for fact in facts_of(SOURCE, reply, *names).values()]
    assert values == [2048, ["nvidia"], True, "overlay2"]
    assert value_of(SOURCE, reply, "container.gpu_runtimes")[0]["found"] is True
    mounts = reply.find("cmd", "mounts")
    assert mounts is not None
    assert len(mounts.text.splitlines()) < 60 < len(mountinfo.splitlines())
    assert value_of(SOURCE, reply, "docker.data_root_fstype") in ("ext4", "xfs", "overlay")
