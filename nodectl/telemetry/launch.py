r"""What goes to the standard input of `sh` on a node to start its live telemetry.

The script is one group, `{ ... }`, so that a cut one runs nothing. It looks for a python3 (3.6 or newer, with ctypes)
and becomes it: the agent and nvidia-ml-py's `pynvml.py`, compressed, are handed over in one environment variable, so
that nothing is written to disk, `ps` shows one short line, and standard input is left to be the channel, whose end is
the agent's end. There is no process between sshd and the agent.

    nvml     the agent in python3; where NVML cannot be opened it samples the host and says `none`
    smi      no python3: `nvidia-smi --query-gpu -lms` through awk, by shell/*
    amdgpu   AMD GPUs and no NVIDIA driver: the files of the amdgpu driver through awk, by shell/*
    none     nothing of the above: the host through awk, by shell/*

All speak the lines of `messages`. How the shell's sampler is built and ends is written in shell/sample.sh.
"""

from __future__ import annotations

import base64
import importlib.util
import re
import shlex
import zlib
from functools import cache
from pathlib import Path

import msgspec

from nodectl.errors import UserError
from nodectl.telemetry import agent
from nodectl.telemetry.fields import FAST, GPU_FIELDS, HOST_FIELDS, SLOW
from nodectl.telemetry.slim import slim

HEADER = "# nodectl-agent/1"
BACKENDS = ("auto", "nvml", "smi", "amdgpu", "none")
MAX_BYTES = 120_000
NICE = 10
LEAST_INTERVAL_S, MOST_INTERVAL_S = 0.1, 60.0

_HERE = Path(__file__).resolve().parent
_PACKAGE = "nodectl_agent"
_SMI_SLOW_S = 10.0

# What nvidia-smi calls a field, the newest name first. Two entries of one field are added up.
SMI_FIELDS: tuple[tuple[str, str], ...] = (
    ("gpu_util_pct", "utilization.gpu"),
    ("memory_util_pct", "utilization.memory"),
    ("memory_used_mib", "memory.used"),
    ("temperature_c", "temperature.gpu"),
    ("temperature_memory_c", "temperature.memory"),
    ("power_w", "power.draw"),
    ("sm_clock_mhz", "clocks.current.sm,clocks.sm"),
    ("mem_clock_mhz", "clocks.current.memory,clocks.mem"),
    ("clocks_event_reasons", "clocks_event_reasons.active,clocks_throttle_reasons.active"),
    ("ecc_uncorrectable", "ecc.errors.uncorrected.volatile.total"),
    ("ecc_correctable", "ecc.errors.corrected.volatile.total"),
    ("remapped_rows", "remapped_rows.correctable"),
    ("remapped_rows", "remapped_rows.uncorrectable"),
    ("remap_pending", "remapped_rows.pending"),
    ("remap_failure", "remapped_rows.failure"),
    ("recovery_action", "gpu_recovery_action"),
    ("power_limit_w", "enforced.power.limit,power.limit"),
    ("t_limit_margin_c", "temperature.gpu.tlimit"),
    ("pcie_gen", "pcie.link.gen.gpucurrent,pcie.link.gen.current"),
    ("pcie_width", "pcie.link.width.current"),
)
# What the amdgpu driver has in files that can be read at no cost. (pcie_bw makes its reader wait for a second.)
AMD_FIELDS = (
    "gpu_util_pct",
    "memory_util_pct",
    "memory_used_mib",
    "temperature_c",
    "temperature_memory_c",
    "power_w",
    "sm_clock_mhz",
    "mem_clock_mhz",
    "ecc_uncorrectable",
    "ecc_correctable",
    "power_limit_w",
    "t_limit_margin_c",
    "energy_j",
    "pcie_replays",
    "pcie_gen",
    "pcie_width",
)


class LaunchError(UserError):
    """The script cannot be made: what is missing, and what to do."""


class LaunchOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How a node is sampled.

    Attributes:
        backend: `auto`, or the one of BACKENDS that must run.
        full_commands: whole command lines of GPU processes (what looks like a secret masked); the agent only.
        slow_every_s: seconds between readings of the slow fields; the agent only, the others read them each 5 or 10 s.
        processes_every_s: seconds between looks at the processes; the agent only, nvidia-smi is asked each 5 s.
        root: folder in place of `/` for the driver's and the host's files, for tests.
    """

    backend: str = "auto"
    full_commands: bool = False
    slow_every_s: float = 10.0
    processes_every_s: float = 5.0
    root: str = ""


def launch_script(interval_s: float, options: LaunchOptions | None = None) -> bytes:
    """The script for one node; the same for all nodes, and nothing of the user or of a node is in it.

    Args:
        interval_s: seconds from tick to tick, 0.1 to 60; what is outside is moved to the nearest.

    Returns:
        POSIX sh for dash, busybox and bash, about 111 kB.

    Raises:
        LaunchError: nvidia-ml-py is not installed, or what must be sent has become too big.
        ValueError: an unknown backend.
    """
    options = options or LaunchOptions()
    if options.backend not in BACKENDS:
        raise ValueError(f"backend {options.backend!r}: one of {', '.join(BACKENDS)}")
    return _script(min(max(float(interval_s), LEAST_INTERVAL_S), MOST_INTERVAL_S), options)


@cache
def _script(interval_s: float, options: LaunchOptions) -> bytes:
    values = {"nd_backend": options.backend, **_shell_values(interval_s, options)}
    lines = [
        f"{HEADER} interval={interval_s:g} backend={options.backend}",
        "{",
        *(f"{name}={shlex.quote(value)}" for name, value in values.items()),
        f"export {' '.join(name for name in values if name.startswith('ND_'))}",
        _code("launch.sh") + "nd_main",
        "}",
        "",
    ]
    script = "\n".join(lines).encode()
    if len(script) > MAX_BYTES:
        raise LaunchError(
            f"the telemetry agent has become {len(script)} bytes, more than the {MAX_BYTES} that are sent to a node: "
            "install the nvidia-ml-py that this nodectl was made for (pip install --force-reinstall nodectl)"
        )
    return script


def _shell_values(interval_s: float, options: LaunchOptions) -> dict[str, str]:
    told = {"amdgpu": AMD_FIELDS, "smi": [name for name, _ in SMI_FIELDS]}
    gpu_names = [field.name for field in GPU_FIELDS]
    return {
        "nd_agent": packed_agent(interval_s, options),
        "nd_boot": BOOTSTRAP,
        "nd_sample": _code("smi.sh", "amdgpu.sh", "sample.sh"),
        "nd_awk": _code("host.awk", "smi.awk", "amdgpu.awk", "hub.awk"),
        "ND_INTERVAL": f"{interval_s:g}",
        "ND_MS": f"{round(interval_s * 1000)}",
        "ND_SLOW_TICKS": f"{max(1, round(_SMI_SLOW_S / interval_s))}",
        "ND_NICE": str(NICE),
        "ND_ROOT": options.root,
        "ND_QUERY": " ".join(f"{name}={theirs}" for name, theirs in SMI_FIELDS),
        "ND_FAST": " ".join(field.name for field in GPU_FIELDS if field.beat == FAST),
        "ND_SLOW": " ".join(field.name for field in GPU_FIELDS if field.beat == SLOW),
        "ND_HOST": " ".join(field.name for field in HOST_FIELDS if field.beat == FAST),
        **{
            f"ND_NEVER_{backend}": " ".join(name for name in gpu_names if name not in known)
            for backend, known in told.items()
        },
    }


# What `ps` shows of the agent.
BOOTSTRAP = (
    "import os,zlib,binascii;"
    'exec(zlib.decompress(binascii.a2b_base64(os.environ.pop("ND_AGENT"))).decode(),{"__name__":"nodectl agent"})'
)


def packed_agent(interval_s: float, options: LaunchOptions) -> str:
    """What BOOTSTRAP unpacks and runs: base64 of the compressed program, in lines of 1,000."""
    settings = {
        "interval_s": interval_s,
        "full_commands": options.full_commands,
        "slow_every_s": options.slow_every_s,
        "processes_every_s": options.processes_every_s,
    }
    text = base64.b64encode(zlib.compress(_program(settings).encode(), 9)).decode()
    return "\n".join(text[at : at + 1000] for at in range(0, len(text), 1000))


def _program(settings: dict[str, float | bool]) -> str:
    files = agent.sources()
    sources = {_PACKAGE: "", **{f"{_PACKAGE}.{name}": slim(text) for name, text in files}, "pynvml": slim(_pynvml())}
    main = f"{_PACKAGE}.{files[-1][0]}"
    boot = slim((_HERE / "boot.py").read_text(encoding="utf-8"))
    return f"{boot}\n\nstart({sources!r}, {main!r}, {settings!r})\n"


def _pynvml() -> str:
    """nvidia-ml-py's module as it is installed, with its licence."""
    found = importlib.util.find_spec("pynvml")
    if found is None or found.origin is None:
        raise LaunchError("nvidia-ml-py is not installed: pip install nvidia-ml-py")
    return Path(found.origin).read_text(encoding="utf-8")


_COMMENT = re.compile(r"^[ \t]*#.*\n", re.MULTILINE)


def _code(*names: str) -> str:
    """Files of shell/ without their comment lines."""
    return "".join(_COMMENT.sub("", (_HERE / "shell" / name).read_text(encoding="utf-8")) for name in names)
