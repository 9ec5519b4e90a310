"""Faults of the host out of kernel-log lines: PCIe AER, machine checks, memory, NICs, disks, stuck tasks.

Each pattern names the device and how bad it is. Lines that report no fault (a driver starting up, a cable plugged in)
match nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from nodectl.facts.kernel_log.gpu import Spans, pci_bus_id
from nodectl.facts.kernel_log.lines import LogLine

KINDS = (
    "aer", "amdgpu", "disk", "edac", "habanalabs", "hung_task", "intel_gpu", "limit", "lockup", "lustre", "mce", "mlx5",
    "nfs", "nvme", "nvrm", "oom", "oops", "peermem", "segfault", "thermal",
)  # fmt: skip
LEVELS = ("fatal", "error", "warning", "corrected")
MAX_ROWS = 500

_PCI = r"([0-9a-fA-F]{4}:[0-9a-fA-F]{2}:[0-9a-fA-F]{2}\.[0-7])"


class Event(msgspec.Struct, frozen=True):
    """What one line says: a kind of `KINDS`, the device (empty when it names none), a level of `LEVELS`."""

    kind: str
    device: str
    level: str


_Level = str | Callable[[re.Match[str]], str]
_Row = tuple[str, _Level, str, str]


class _Pattern(msgspec.Struct, frozen=True):
    """`needs` is text that every line it matches holds: a cheap first look. Group 1 of the regex is the device."""

    kind: str
    level: _Level
    needs: str
    regex: re.Pattern[str]


def _aer_level(match: re.Match[str]) -> str:
    said = match[2].lower()
    if said.startswith("correct"):
        return "corrected"
    return "error" if "non-fatal" in said else "fatal"


def _bank_level(match: re.Match[str]) -> str:
    """Bit 61 of a machine-check bank's status says that the error was not corrected."""
    return "error" if int(match[2], 16) >> 61 & 1 else "corrected"


def _edac_level(match: re.Match[str]) -> str:
    return "corrected" if " CE " in match[1] else "error"


def _said_level(match: re.Match[str]) -> str:
    said = match[2].lower()
    if "fatal" in said or "uncorrect" in said or "recoverable" in said or "deferred" in said:
        return "fatal" if said == "fatal" else "error"
    return "corrected" if "correct" in said else "warning"


def _patterns() -> tuple[_Pattern, ...]:
    rows = (*_other_gpus(), *_cpu_and_pcie(), *_devices(), *_file_servers(), *_system())
    return tuple(_Pattern(kind, level, needs, re.compile(regex)) for kind, level, needs, regex in rows)


def _cpu_and_pcie() -> list[_Row]:
    said = r"(Uncorrected|Deferred|Corrected error|corrected|recoverable|fatal)\b"
    bank = r"\bCPU ?:?(\d+): Machine Check(?: Exception)?: \S+ Bank \d+: ([0-9a-f]{16})\b"
    return [
        ("aer", _aer_level, "PCIe Bus Error", rf"{_PCI}: (?:AER: )?PCIe Bus Error: severity=(\w+(?: \([\w-]+\))?)"),
        ("aer", "fatal", "DPC: ", rf"{_PCI}: DPC: containment event"),
        ("aer", "fatal", "AER: ", rf"{_PCI}: AER: (?:device recovery failed|subordinate device reset failed)"),
        ("mce", _bank_level, "Machine Check", bank),
        ("mce", "fatal", "Machine Check", r"Machine Check Exception|machine check.*panic"),
        ("mce", _said_level, "Hardware Error", rf"\[Hardware Error\]:(?: *event severity:)? *(){said}"),
        ("mce", "corrected", "_STATUS[", r"CPU:(\d+) .*_STATUS\[[^\]]*\|CE\|"),
        ("mce", "error", "_STATUS[", r"CPU:(\d+) .*_STATUS\[[^\]]*\|UE\|"),
        ("mce", "error", "hardware memory error", r"Uncorrected hardware memory error"),
        ("mce", "warning", "achine check events logged", r"[Mm]achine check events logged"),
        ("thermal", "warning", "temperature above threshold", r"CPU(\d+): .*temperature above threshold"),
        ("edac", _edac_level, "EDAC", r"EDAC (MC\d+: \d+ (?:CE|UE) .{0,80}? on \S+)"),
    ]


def _devices() -> list[_Row]:
    gone = r"Disabling device after|controller is down|Device not ready|[Rr]emoving after probe failure"
    lost = r"health compromised|unrecoverable|[Ff]atal error|firmware internal error|health recovery flow aborted"
    nvrm = r"probe routine failed|NV_ERR_RESET_REQUIRED|NV_ERR_GPU_IS_LOST|Can't find an IRQ|is 0M @"
    on_nvme = r"(?:I/O error, dev |critical medium error, dev |block )(nvme\w+)(?:, sector|: no available path)"
    on_disk = r"(?:Buffer I/O error on dev(?:ice)? |I/O error, dev |critical medium error, dev )(\w[\w-]*)"
    return [
        ("mlx5", "fatal", "mlx5", rf"{_PCI}.*(?:{lost}|timeout\. Will cause a leak)"),
        ("mlx5", "error", "mlx5", rf"{_PCI}.*(?:(?:TX|RX) timeout|NETDEV WATCHDOG|[Ss]yndrome|health_care)"),
        ("mlx5", "error", "mlx5", r"NETDEV WATCHDOG: (\S+) \(mlx5_core\)"),
        ("mlx5", "warning", "mlx5", rf"{_PCI}.*(?:insufficient power|limited by|failed)"),
        ("mlx5", "warning", "mlx5", r"(?:mlx5_core (\S+?): )?.*Port module event\[error\]"),
        ("nvme", "fatal", "nvme", rf"nvme (nvme\d+): (?:{gone}|frozen state error)"),
        ("nvme", "error", "nvme", r"nvme (nvme\d+): .*(?:timeout, |aborting|I/O error)"),
        ("nvme", "error", "nvme", on_nvme),
        ("disk", "fatal", "emount", r"\((\S+?)\): [Rr]emounting filesystem read-only"),
        ("disk", "fatal", "XFS", r"XFS \((\S+?)\): .*(?:[Cc]orruption|[Ss]hutting down|metadata I/O error)"),
        ("disk", "error", "EXT4-fs error", r"EXT4-fs error \(device (\S+?)\)"),
        ("disk", "error", "error", on_disk),
        ("disk", "error", "Disk failure", r"md/raid\S*:(\w+): Disk failure"),
        ("peermem", "warning", "peermem", r"nvidia[-_]peermem.*(?:ERROR|rror|invalid|fail)"),
        ("nvrm", "fatal", "fallen off the bus", rf"NVRM: (?:GPU )?(?:at )?(?:PCI:)?{_PCI}?.*fallen off the bus"),
        ("nvrm", "fatal", "requiring os reboot", r"NVRM: .*requiring os reboot to recover"),
        ("nvrm", "error", "NVRM", rf"NVRM: GPU {_PCI}: (?:RmInitAdapter|rm_init_adapter) failed"),
        ("nvrm", "error", "NVRM", rf"NVRM: .*?(?:{_PCI}.*)?(?:{nvrm})"),
        # No fault of the GPU: a program brought libraries of another version, on the host or in a container.
        ("nvrm", "warning", "NVRM: API mismatch", r"NVRM: API mismatch"),
        ("nvrm", "error", "nvidia-nvlink", r"nvidia-nvlink: .*(?:[Ff]ail|[Ee]rror)"),
    ]


def _other_gpus() -> list[_Row]:
    """GPUs and accelerators that are not NVIDIA's."""
    lost = r"Fatal error during GPU init|[hs]w_init of IP block .*failed|GPU reset failed|GPU reset end with ret = -"
    bad = (
        r"uncorrectable hardware errors? detected|poison is consumed|reaches threshold|GPU reset begin|fence wait loop"
    )
    amd = rf"amdgpu(?: {_PCI})?\b.*"
    gaudi = r"habanalabs (\S{1,40}?): .*"
    dead = r"heartbeat failed|[Ff]ailed to reset|device is (?:disabled|in malfunction)|[Cc]ritical (?:error|shutdown)"
    intel = rf"(?:i915|xe) {_PCI}: .*"
    return [
        ("amdgpu", "fatal", "amdgpu", amd + rf"(?:{lost})"),
        ("amdgpu", "error", "amdgpu", amd + rf"(?:{bad}|ring \S+ timeout)"),
        ("amdgpu", "corrected", "amdgpu", amd + r" correctable hardware errors? detected"),
        # A program reached for memory that it has not got.
        ("amdgpu", "warning", "amdgpu", amd + r"(?:page fault|GPU is throttled|deferred hardware errors? detected)"),
        ("habanalabs", "fatal", "habanalabs", gaudi + rf"(?:{dead})"),
        (
            "habanalabs",
            "error",
            "habanalabs",
            gaudi + r"(?:[Gg]oing to (?:hard[- ])?reset|[Uu]ncorrect|ECC error|DERR)",
        ),
        ("habanalabs", "warning", "habanalabs", gaudi + r"(?:timed out|got stuck|RAZWI)"),
        ("intel_gpu", "fatal", "[drm", intel + r"(?:[Ww]edged|FATAL|fatal (?:hardware )?error)"),
        ("intel_gpu", "error", "[drm", intel + r"(?:GPU HANG|\*ERROR\*|[Uu]ncorrectable)"),
        ("intel_gpu", "warning", "[drm", intel + r"(?:[Ee]ngine reset|Resetting \S+ for)"),
    ]


def _file_servers() -> list[_Row]:
    """Servers of network file systems; the device is the server, or Lustre's target on it."""
    return [
        ("nfs", "error", "nfs: server", r"nfs: server (\S{1,200}) not responding"),
        # It answers again: tells the outage that is over from the one that lasts.
        ("nfs", "corrected", "nfs: server", r"nfs: server (\S{1,200}) OK$"),
        ("lustre", "fatal", "LBUG", r"Lustre(?:Error)?: .{0,200}\bLBUG\b"),
        ("lustre", "error", "evicted by", r"LustreError: .{0,200}This client was evicted by ([^\s;]{1,100})"),
        (
            "lustre",
            "warning",
            "was lost; in progress",
            r"Lustre: .{0,200}Connection to (\S{1,100}).{0,100} was lost; in progress",
        ),
    ]


def _system() -> list[_Row]:
    crash = r"^(?:BUG: (?!soft lockup)|Oops: |kernel BUG at|general protection fault|Kernel panic)"
    return [
        ("oom", "warning", "Memory cgroup out", r"Memory cgroup out of memory: Kill(?:ed)? process \d+ \((.{1,40}?)\)"),
        ("oom", "error", "Out of memory", r"Out of memory(?: \(\w+\))?: Kill(?:ed)? process \d+ \((.{1,40}?)\)"),
        ("hung_task", "error", "blocked for more than", r"task (.{1,40}?):\d+ blocked for more than"),
        ("lockup", "fatal", "ard LOCKUP", r"[Hh]ard LOCKUP(?: on cpu (\d+))?"),
        ("lockup", "error", "soft lockup", r"soft lockup - (CPU#\d+)"),
        ("lockup", "error", "detected", r"\brcu\w*.* detected (?:expedited )?stalls?"),
        ("oops", "error", "", crash),
        ("segfault", "warning", "segfault at", r"segfault at .{1,120} in (lib(?:nccl|cuda|nvidia)[\w.-]{0,60})"),
        ("limit", "warning", "table full", r"(nf_conntrack): .*table full"),
        ("limit", "warning", "overflow", r"(neighbour): .*table overflow"),
        ("limit", "warning", "file-max", r"VFS: (file-max) limit \d+ reached"),
    ]


_PATTERNS = _patterns()
_NUMBERS = re.compile(r"0x[0-9a-fA-F]+|\d+")


def classify(message: str) -> Event | None:
    """What fault of the host a message reports, or None. Xids and SXids have rows of their own and give None."""
    if "Xid (" in message:
        return None
    for pattern in _PATTERNS:
        if pattern.needs in message and (match := pattern.regex.search(message)):
            level = pattern.level if isinstance(pattern.level, str) else pattern.level(match)
            device = next((group for group in match.groups()[:1] if group), "") or ""
            return Event(pattern.kind, _device(pattern.kind, device), level)
    return None


def _device(kind: str, text: str) -> str:
    if re.fullmatch(_PCI, text):
        return pci_bus_id(text)
    if kind in ("mce", "thermal", "lockup") and text.isdigit():
        return f"CPU {text}"
    if kind == "edac":
        return re.sub(r": \d+ (?:CE|UE) .* on ", " ", text)
    return text


def log_events(lines: Sequence[LogLine]) -> list[dict[str, Any]]:
    """Rows of `kernel.log_events`: one per kind, device, level and message (numbers apart), in order of the log.

    Past `MAX_ROWS` rows, devices and messages of a kind are taken together.
    """
    groups: dict[tuple[str, str, str, str], tuple[str, Spans]] = {}
    for line in lines:
        event = classify(line.message)
        if event is None:
            continue
        key = (event.kind, event.device, event.level, _NUMBERS.sub("#", line.message)[:200])
        if key not in groups and len(groups) >= MAX_ROWS:
            key = (event.kind, "(others)", event.level, "")
        # A sentence that goes on in the next line ends here.
        message = line.message[:300].removesuffix(", but")
        groups.setdefault(key, (message, Spans()))[1].add(line)
    return [
        {
            "kind": kind,
            "device": device,
            "level": level,
            "count": spans.count,
            "first_s": spans.first_s,
            "last_s": spans.last_s,
            "message": message,
        }
        for (kind, device, level, _), (message, spans) in groups.items()
    ]
