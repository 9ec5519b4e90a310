"""Faults of the host out of kernel-log lines: which kind, which device, how bad; and what is no fault."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodectl.facts.kernel_log.host import KINDS, LEVELS, MAX_ROWS, classify, log_events
from nodectl.facts.kernel_log.lines import Clock, read_lines

FAULTS = [
    ("aer", "0000:00:1c.0", "corrected", "pcieport 0000:00:1c.0: PCIe Bus Error: severity=Corrected, type=Physical La"),
    ("aer", "0000:07:00.0", "corrected", "pcieport 0000:07:00.0: PCIe Bus Error: severity=Correctable, type=Data Link"),
    ("aer", "0000:09:00.0", "error", "igb 0000:09:00.0: AER: PCIe Bus Error: severity=Uncorrected (Non-Fatal), type=T"),
    ("aer", "0000:c0:01.1", "fatal", "pcieport 0000:c0:01.1: PCIe Bus Error: severity=Uncorrected (Fatal), type=Trans"),
    ("aer", "0000:00:1b.0", "fatal", "pcieport 0000:00:1b.0: DPC: containment event, status:0x1f01 source:0x0000"),
    ("mce", "CPU 5", "error", "mce: [Hardware Error]: CPU 5: Machine Check: 0 Bank 1: bc00080001010135"),
    ("mce", "CPU 7", "corrected", "mce: [Hardware Error]: CPU 7: Machine Check: 0 Bank 1: 9c00080001010135"),
    ("mce", "CPU 10", "error", "mce: [Hardware Error]: CPU 10: Machine Check Exception: 5 Bank 6: fb80000000000e0b"),
    ("mce", "CPU 12", "corrected", "[Hardware Error]: CPU:12 (19:21:0) MC5_STATUS[Over|CE|MiscV|-|-|-|SyndV|-|-|-]: 0"),
    ("mce", "", "corrected", "[Hardware Error]: Corrected error, no action required."),
    ("mce", "", "error", "[Hardware Error]: Uncorrected, software containable error."),
    ("mce", "", "fatal", "{1}[Hardware Error]: event severity: fatal"),
    ("mce", "", "error", "{1}[Hardware Error]: event severity: recoverable"),
    ("mce", "", "corrected", "{1}[Hardware Error]: event severity: corrected"),
    ("mce", "", "warning", "mce: [Hardware Error]: Machine check events logged"),
    ("thermal", "CPU 3", "warning", "mce: CPU3: Core temperature above threshold, cpu clock throttled (total events ="),
    ("edac", "MC0 Chan#1_DIMM#0", "error", "EDAC MC0: 1 UE memory read error on Chan#1_DIMM#0 (channel:1 slot:0)"),
    ("edac", "MC0 Chan#1_DIMM#0", "corrected", "EDAC MC0: 2 CE memory read error on Chan#1_DIMM#0 (channel:1 slot:0)"),
    ("mlx5", "0000:d2:00.0", "fatal", "mlx5_core 0000:d2:00.0: poll_health:825: device's health compromised - reached"),
    ("mlx5", "0000:03:00.0", "fatal", "mlx5_core 0000:03:00.0: ENABLE_HCA(0x104) timeout. Will cause a leak"),
    ("mlx5", "0000:65:00.0", "error", "mlx5_core 0000:65:00.0 ens15np0: TX timeout detected"),
    ("mlx5", "eth0", "error", "NETDEV WATCHDOG: eth0 (mlx5_core): transmit queue 0 timed out"),
    ("mlx5", "0000:5c:00.0", "warning", "mlx5_core 0000:5c:00.0: Detected insufficient power on the PCIe slot (27W)."),
    ("mlx5", "", "warning", "mlx5_port_module_event:1131:(pid 0): Port module event[error]: module 0, Cable error, Hi"),
    ("nvme", "nvme4", "error", "nvme nvme4: I/O tag 22 (2016) opcode 0x2 (Admin Cmd) QID 0 timeout, reset controller"),
    ("nvme", "nvme4", "fatal", "nvme nvme4: Disabling device after reset failure: -19"),
    ("nvme", "nvme0", "fatal", "nvme nvme0: controller is down; will reset: CSTS=0xffffffff, PCI_STATUS=0x10"),
    ("nvme", "nvme0n1", "error", "blk_update_request: I/O error, dev nvme0n1, sector 1234"),
    ("disk", "sda", "error", "I/O error, dev sda, sector 12 op 0x0:(READ) flags 0x0"),
    ("disk", "md0", "fatal", "EXT4-fs (md0): Remounting filesystem read-only"),
    ("disk", "dm-0", "error", "Buffer I/O error on dev dm-0, logical block 1308098575, lost async page write"),
    ("oom", "python3", "error", "Out of memory: Killed process 123 (python3) total-vm:1kB, anon-rss:1kB"),
    ("oom", "python", "error", "Out of memory: Kill process 456 (python) score 50 or sacrifice child"),
    ("oom", "a b", "warning", "Memory cgroup out of memory: Killed process 123 (a b) total-vm:1kB"),
    ("hung_task", "kworker/u203:1", "error", "INFO: task kworker/u203:1:72 blocked for more than 122 seconds."),
    ("lockup", "CPU#3", "error", "watchdog: BUG: soft lockup - CPU#3 stuck for 22s! [python3:1]"),
    ("lockup", "CPU 5", "fatal", "NMI watchdog: Watchdog detected hard LOCKUP on cpu 5"),
    ("oops", "", "error", "BUG: kernel NULL pointer dereference, address: 0000000000000000"),
    ("peermem", "", "warning", "nvidia-peermem nv_get_p2p_free_callback:127 ERROR detected invalid context, skipping"),
    ("limit", "nf_conntrack", "warning", "nf_conntrack: nf_conntrack: table full, dropping packet"),
    ("limit", "neighbour", "warning", "neighbour: arp_cache: neighbor table overflow!"),
    ("nvrm", "0000:91:00.0", "fatal", "NVRM: GPU 0000:91:00.0: GPU has fallen off the bus."),
    ("nvrm", "0000:01:00.0", "error", "NVRM: GPU 0000:01:00.0: RmInitAdapter failed! (0x26:0x56:1463)"),
    ("amdgpu", "0000:05:00.0", "fatal", "amdgpu 0000:05:00.0: amdgpu: Fatal error during GPU init"),
    ("amdgpu", "0000:05:00.0", "error", "amdgpu 0000:05:00.0: amdgpu: GPU reset begin!"),
    ("amdgpu", "0000:26:00.0", "error", "amdgpu 0000:26:00.0: amdgpu: 1 uncorrectable hardware errors detected in um"),
    ("amdgpu", "0000:26:00.0", "corrected", "amdgpu 0000:26:00.0: amdgpu: 3 correctable hardware errors detected in u"),
    ("amdgpu", "", "error", "[drm:amdgpu_job_timedout [amdgpu]] *ERROR* ring sdma0 timeout, signaled seq=1, emitted s"),
    ("amdgpu", "0000:26:00.0", "warning", "amdgpu 0000:26:00.0: amdgpu: [gfxhub0] no-retry page fault (src_id:0 ring:"),
    ("habanalabs", "hl3", "fatal", "habanalabs hl3: device heartbeat failed!"),
    ("habanalabs", "0000:19:00.0", "error", "habanalabs 0000:19:00.0: Going to hard-reset device"),
    ("intel_gpu", "0000:4d:00.0", "error", "i915 0000:4d:00.0: [drm] GPU HANG: ecode 12:1:85dffffb, in python3"),
    ("intel_gpu", "0000:4d:00.0", "fatal", "xe 0000:4d:00.0: [drm] device wedged, needs recovery"),
    ("nvrm", "", "warning", "NVRM: API mismatch: the client has the version 570.124.06, but"),
]  # fmt: skip

NO_FAULTS = [
    "NVRM: Xid (PCI:0000:91:00): 79, GPU has fallen off the bus.",
    "NVRM: GPU at PCI:0000:91:00: GPU-b6c3b2be-c55b-d076-fa0e-d464e4c7e08b",
    "NVRM: loading NVIDIA UNIX x86_64 Kernel Module  550.90.07  Fri May 31 09:35:42 UTC 2024",
    "NVRM:      0    103  GSP_RM_ALLOC          0x0000000000002081 0x0000000000000004",
    "nvidia-nvswitch0: open (major=510)",
    "nvidia-nvswitch: Probing device 0000:83:00.0, Vendor Id = 0x10de, Device Id = 0x22a3, Class = 0x68000",
    "mlx5_core 0000:3b:00.0: Port module event: module 0, Cable plugged",
    "mlx5_core 0000:1a:00.0: firmware version: 28.39.1002",
    "nvme nvme1: Shutdown timeout set to 11 seconds",
    "nvme nvme1: 104/0/0 default/read/poll queues",
    "EDAC MC0: Giving out device to module i10nm_edac controller Intel_10nm Socket#0 IMC#0: DEV 0000:7e:0c.0",
    "acpi PNP0A08:29: _OSC: platform does not support [SHPCHotplug AER DPC]",
    "mce: CPU0: Thermal monitoring enabled (TM1)",
    "amdgpu 0000:05:00.0: amdgpu: SMU is initialized successfully!",
    "amdgpu: Virtual CRAT table created for CPU",
    "habanalabs hl0: Successfully added device 0000:19:00.0 to habanalabs driver",
    "i915 0000:4d:00.0: [drm] GuC firmware i915/pvc_guc_70.bin version 70.9.1",
    "Write protecting the kernel read-only data: 32768k",
    "",
]


@pytest.mark.parametrize(("kind", "device", "level", "message"), FAULTS)
def test_a_fault_has_its_kind_device_and_level(kind: str, device: str, level: str, message: str) -> None:
    event = classify(message)
    assert event is not None
    assert (event.kind, event.device, event.level) == (kind, device, level)
    assert event.kind in KINDS
    assert event.level in LEVELS


@pytest.mark.parametrize("message", NO_FAULTS)
def test_ordinary_messages_are_no_faults(message: str) -> None:
    assert classify(message) is None


def test_equal_messages_but_for_numbers_are_one_row() -> None:
    text = "\n".join(
        f"[{10 + i}.000000] mlx5_core 0000:5c:00.0: mlx5_pcie_event:299:(pid {i}): Detected insufficient power (2{i}W)."
        for i in range(5)
    )
    (row,) = log_events(list(read_lines(text, Clock(1000.0))))
    assert (row["count"], row["first_s"], row["last_s"]) == (5, 1010.0, 1014.0)


def test_made_up_devices_end_in_one_row() -> None:
    text = "\n".join(f"Out of memory: Killed process 1 (p{i}x) total-vm:1kB" for i in range(3 * MAX_ROWS))
    rows = log_events(list(read_lines(text, Clock())))
    assert len(rows) == MAX_ROWS + 1
    assert rows[-1]["device"] == "(others)"
    assert sum(row["count"] for row in rows) == 3 * MAX_ROWS


def test_a_driver_that_does_not_match_its_libraries_is_one_sentence() -> None:
    text = (
        "[9.0] NVRM: API mismatch: the client has the version 580.159.04, but\n"
        "[9.0] NVRM: this kernel module has the version 580.95.05.  Please\n"
        "[9.0] NVRM: make sure that this kernel module and all NVIDIA driver\n"
        "[9.0] NVRM: components have the same version.\n"
    )
    (row,) = log_events(list(read_lines(text, Clock(1000.0))))
    assert (row["kind"], row["level"], row["count"]) == ("nvrm", "warning", 1)
    assert row["message"] == "NVRM: API mismatch: the client has the version 580.159.04"


@given(st.text(max_size=400))
def test_no_text_makes_it_raise(text: str) -> None:
    classify(text)


@given(st.sampled_from([message for *_, message in FAULTS]), st.data())
def test_no_torn_line_makes_it_raise(message: str, data: st.DataObject) -> None:
    begin = data.draw(st.integers(0, len(message)))
    end = data.draw(st.integers(begin, len(message)))
    event = classify(message[begin:end] + data.draw(st.text(max_size=20)))
    assert event is None or (event.kind in KINDS and event.level in LEVELS)


@pytest.mark.parametrize(
    ("message", "kind", "device", "level"),
    [
        ("nfs: server nas-01.example not responding, still trying", "nfs", "nas-01.example", "error"),
        ("nfs: server 10.0.0.5 not responding, timed out", "nfs", "10.0.0.5", "error"),
        ("nfs: server nas-01.example OK", "nfs", "nas-01.example", "corrected"),
        (
            "LustreError: 167-0: lfs01-OST0001-osc-ff00: This client was evicted by lfs01-OST0001; in progress",
            "lustre",
            "lfs01-OST0001",
            "error",
        ),
        ("LustreError: 4242:0:(osc_request.c:1:osc_x()) LBUG", "lustre", "", "fatal"),
        (
            "Lustre: lfs01-OST0001-osc-ff00: Connection to lfs01-OST0001 (at 10.5.0.3@o2ib) was lost; in progress",
            "lustre",
            "lfs01-OST0001",
            "warning",
        ),
    ],
)
def test_file_servers(message: str, kind: str, device: str, level: str) -> None:
    event = classify(message)
    assert event is not None
    assert (event.kind, event.device, event.level) == (kind, device, level)


@pytest.mark.parametrize(
    "message", ["nfs: Deprecated parameter 'intr'", "Lustre: Mounted lfs01-client", "NFS: Registering the id_resolver"]
)
def test_what_file_systems_say_in_passing(message: str) -> None:
    assert classify(message) is None
