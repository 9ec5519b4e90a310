"""Parts of the agent by themselves: host files, processes, jobs, secrets, lines."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodectl.telemetry.agent.host import Host
from nodectl.telemetry.agent.names import HOST_FAST
from nodectl.telemetry.agent.proc_info import ProcInfo, job_of, masked
from nodectl.telemetry.agent.readings import Rate
from nodectl.telemetry.agent.sysfs import disks, infiniband_ports, network_interfaces
from nodectl.telemetry.agent.wire import LINE_BYTES, Output, line_of, plain, slow_line_of
from nodectl.telemetry.agent.worker import Job

POD = "0a1b2c3d-1111-2222-3333-444455556666"


class Tree:
    """A made-up /proc and /sys."""

    def __init__(self, root: Path) -> None:
        self.proc, self.sys = root / "proc", root / "sys"

    def write(self, **files: str) -> None:
        for name, text in files.items():
            self.put("proc/" + name, text)

    def put(self, name: str, text: str | int) -> None:
        path = self.proc.parent / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{text}\n")

    def nic(self, name: str, sent: int, received: int, kind: int = 1, device: bool = True, vf: bool = False) -> None:
        folder = f"sys/class/net/{name}"
        self.put(f"{folder}/type", kind)
        self.put(f"{folder}/statistics/tx_bytes", sent)
        self.put(f"{folder}/statistics/rx_bytes", received)
        if device:
            self.put(f"{folder}/device/vendor", "0x15b3")
        if vf:
            self.put(f"{folder}/device/physfn/vendor", "0x15b3")

    def port(self, name: str, sent: int, received: int, state: str = "4: ACTIVE") -> None:
        folder = f"sys/class/infiniband/{name}/ports/1"
        self.put(f"{folder}/state", state)
        self.put(f"{folder}/counters/port_xmit_data", sent)
        self.put(f"{folder}/counters/port_rcv_data", received)

    def disk(self, name: str, read: int, written: int, device: bool = True) -> None:
        self.put(f"sys/block/{name}/stat", f"  10 0 {read} 5 10 0 {written} 5 0 10 10 0 0 0 0 0 0")
        if device:
            self.put(f"sys/block/{name}/device/model", "disk")


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    made = Tree(tmp_path)
    made.write(
        stat="cpu  100 0 100 700 100 0 0 0 0 0\ncpu0 1 2 3 4\nintr 5",
        meminfo="MemTotal:       1000 kB\nMemFree: 1 kB\nMemAvailable:    250 kB",
        loadavg="3.25 2.0 1.0 2/345 678",
    )
    return made


def sample(host: Host, after_s: float) -> dict[str, float | None]:
    """A sample as if the last one had been that long ago."""
    host._at -= after_s
    for flow in (host._net, host._ib, host._disks):
        flow._at -= after_s
    return dict(zip(HOST_FAST, host.sample(Job("host", lambda job: None)), strict=True))


def test_host_values(tree: Tree) -> None:
    tree.nic("eth0", 0, 0)
    tree.nic("eth1", 1 << 30, 0)
    tree.nic("veth1", 0, 0, device=False)
    tree.nic("eth0v3", 0, 0, vf=True)
    tree.nic("ib0", 0, 0, kind=32)
    tree.port("mlx5_0", 0, 0)
    tree.port("mlx5_1", 0, 0, "1: DOWN")
    tree.disk("nvme0n1", 0, 0)
    tree.disk("dm-0", 0, 0, device=False)
    host = Host(str(tree.proc), str(tree.sys))
    assert host.facts()["nics"] == ["eth0", "eth1"]
    assert host.facts()["ib"] == ["mlx5_0/1"]
    assert host.memory_total_mib == 0
    assert host.unsupported == {}
    tree.write(stat="cpu  150 0 150 750 150 0 0 0 20 0")
    tree.nic("eth0", 100 << 20, 30 << 20)
    tree.nic("veth1", 999 << 20, 0, device=False)
    tree.nic("ib0", 999 << 20, 0, kind=32)
    tree.port("mlx5_0", 25 << 20, 5 << 20)
    tree.disk("nvme0n1", 4096, 8192)
    values = sample(host, 10.0)
    assert values["cpu_util_pct"] == 50.0
    assert values["memory_used_pct"] == 75.0
    assert values["load1"] == 3.25
    assert values["net_tx_mib_s"] == pytest.approx(10.0, rel=0.02)
    assert values["net_rx_mib_s"] == pytest.approx(3.0, rel=0.02)
    assert values["ib_tx_mib_s"] == pytest.approx(10.0, rel=0.02)
    assert values["ib_rx_mib_s"] == pytest.approx(2.0, rel=0.02)
    assert values["disk_read_mib_s"] == pytest.approx(0.2, rel=0.02)
    assert values["disk_write_mib_s"] == pytest.approx(0.4, rel=0.02)


def test_a_host_with_nothing_is_null_with_a_reason(tmp_path: Path) -> None:
    host = Host(str(tmp_path / "proc"), str(tmp_path / "sys"))
    values = sample(host, 1.0)
    assert set(values.values()) == {None}
    assert host.unsupported["net_tx_mib_s"] == "no physical network interface is seen"
    assert host.unsupported["ib_rx_mib_s"] == "no active InfiniBand or RoCE port"


def test_a_counter_that_is_set_back_and_a_device_that_goes(tree: Tree) -> None:
    tree.nic("eth0", 500 << 20, 0)
    tree.nic("eth1", 0, 0)
    host = Host(str(tree.proc), str(tree.sys))
    tree.nic("eth0", 1, 0)
    tree.nic("eth1", 20 << 20, 0)
    assert sample(host, 10.0)["net_tx_mib_s"] == pytest.approx(2.0, rel=0.02)
    host._looked_at -= 100
    tree.put("sys/class/net/eth9/type", 1)
    assert sample(host, 10.0)["net_tx_mib_s"] == 0.0


def test_faster_ticks_repeat_what_was_read(tree: Tree) -> None:
    host = Host(str(tree.proc), str(tree.sys))
    first = sample(host, 1.0)
    tree.write(loadavg="9.0 2.0 1.0 2/345 678")
    assert sample(host, 0.0) == first
    assert sample(host, 1.0)["load1"] == 9.0


def test_recorded_machine(shared: Path) -> None:
    """The H200 machine's own /sys, as far as it was recorded."""
    root = shared / "recordings/h200x8/fs/sys"
    for find in (network_interfaces, infiniband_ports, disks):
        for source in find(str(root)):
            source.close()


@pytest.mark.parametrize(
    ("cgroup", "job"),
    [
        ("0::/system.slice/slurmstepd.scope/job_4711/step_0/user/task_0", "slurm:4711"),
        ("4:memory:/slurm/uid_1000/job_99/step_batch", "slurm:99"),
        (
            "0::/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-"
            "pod0a1b2c3d_1111_2222_3333_444455556666.slice/cri-containerd-" + "a" * 64 + ".scope",
            "pod:" + POD,
        ),
        (
            "1:cpu:/kubepods/pod0a1b2c3d-1111-2222-3333-444455556666/" + "b" * 64,
            "pod:" + POD,
        ),
        ("0::/system.slice/docker-" + "c" * 64 + ".scope", "container:" + "c" * 12),
        ("0::/user.slice/user-1000.slice/session-3.scope", ""),
    ],
)
def test_jobs(cgroup: str, job: str) -> None:
    assert job_of(cgroup) == job


def test_job_of_the_environment_comes_before_the_container() -> None:
    assert job_of("0::/docker/" + "c" * 64, b"HOME=/\0SLURM_JOB_ID=12\0") == "slurm:12"
    assert job_of("0::/", b"XSLURM_JOB_ID=12\0") == ""


def test_secrets_are_masked() -> None:
    words = [
        "python",
        "train.py",
        "--api-key",
        "abc",
        "--lr=0.1",
        "--hf_token=hf_x",
        "postgres://me:pw@db/x",
        "sk-12345678ab",
    ]
    words += ["WANDB_API_KEY=zzz", "--password", "--verbose", "out.log", "0123456789abcdef0123456789abcdef01234567"]
    shown = masked(words)
    assert shown == (
        "python train.py --api-key *** --lr=0.1 --hf_token=*** postgres://***@db/x *** WANDB_API_KEY=*** "
        "--password --verbose out.log ***"
    )


def test_processes_of_this_machine(tmp_path: Path) -> None:
    user, command, job = ProcInfo().of(os.getpid())
    assert user
    assert command
    assert "/" not in command
    assert job is not None or job is None
    assert ProcInfo().of(2**22 + 5) == (None, None, None)
    full = ProcInfo(full_commands=True).of(os.getpid())[1]
    assert full and len(full) > len(command)


def test_a_process_that_names_itself(tmp_path: Path) -> None:
    folder = tmp_path / "77"
    folder.mkdir()
    (folder / "stat").write_text("77 (a) b) S " + " ".join(map(str, range(30))))
    (folder / "cmdline").write_bytes(b"ray::Worker.step \x1b[31m --token abc")
    assert ProcInfo(root=str(tmp_path)).of(77)[1] == "ray::Worker.step"
    (folder / "stat").write_text("77 (a) b) S " + " ".join(map(str, range(1, 31))))
    (folder / "cmdline").write_bytes(b"/opt/a\xff\x1b[2Jb\0")
    command = ProcInfo(root=str(tmp_path)).of(77)[1]
    assert command == "a\ufffd?[2Jb"


def test_rates() -> None:
    rate = Rate(1.0)
    assert rate.of(100, 1.0) is None
    assert rate.of(300, 2.0) == 200.0
    assert rate.of(5, 3.0) is None
    assert rate.of(10, 3.5) == 10.0


@given(st.one_of(st.text(), st.binary(), st.integers()))
def test_text_is_plain(value: object) -> None:
    text = plain(value, 50)
    assert len(text) <= 50
    assert text.isprintable()
    line = line_of({"text": text})
    assert line.isascii()
    assert line.count(b"\n") == 1
    assert json.loads(line) == {"text": text}


def test_a_line_with_too_many_processes_is_cut() -> None:
    row = ["0", 1, "user", "x" * 200, 1.0, "C", ""]
    line = slow_line_of({"k": "s", "p": [row] * 5000})
    assert len(line) <= LINE_BYTES
    assert json.loads(line)["p"]


def test_output_never_waits_and_keeps_lines_whole() -> None:
    reading, writing = os.pipe()
    try:
        output = Output(writing)
        sent = 0
        while not output.dropped:
            output.tick(b'{"n":%d,"x":"%s"}\n' % (sent, b"y" * 3000))
            sent += 1
        output.keep(b'{"kept":1}\n')
        got = b""
        while output.waits or not got.endswith(b'{"kept":1}\n'):
            got += os.read(reading, 65536)
            output.flush()
        lines = [json.loads(line) for line in got.splitlines()]
        assert [line.get("n") for line in lines[:-1]] == list(range(sent - 1))
        assert lines[-1] == {"kept": 1}
        os.close(reading)
        reading = -1
        output.tick(b"x\n")
        assert output.broken
    finally:
        os.close(writing)
        if reading >= 0:
            os.close(reading)
