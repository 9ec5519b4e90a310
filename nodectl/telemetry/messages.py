"""The messages of a node's stream: one JSON object a line, with its caps; all text in it is clean.

The kinds (`k`): `hello` (once, and again when the devices change), `t` a tick, `s` the slow beat, `e` an event, `bye`.
`decode` reads a line; `encode` makes the line of a message again, which is what recordings keep.
"""

from __future__ import annotations

import msgspec

STREAM_VERSION = 1
MAX_GPUS = 256
MAX_PROCESSES = 4096
MAX_FIELDS = 256
MAX_LINE_BYTES = 256 * 1024
SHORT, LONG = 128, 512

Values = list[list[float | None] | None]
Unsupported = dict[str, str | dict[str, str]]


class Gpu(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """One device: a GPU, or a MIG device (`mig`, its GPU's index in `parent`, its own index such as `3/1`)."""

    index: str
    uuid: str = ""
    name: str = ""
    pci_bus_id: str = ""
    memory_total_mib: float | None = None
    power_limit_w: float | None = None
    temperature_slowdown_c: float | None = None
    parent: str = ""
    mig: bool = False


class Host(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """What does not change of a host. nics, ib: names of network interfaces and of InfiniBand devices."""

    cpus: int | None = None
    memory_total_mib: float | None = None
    nics: tuple[str, ...] = ()
    ib: tuple[str, ...] = ()


class Hello(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True, tag_field="k", tag="hello"):
    """What is fixed while a stream lasts.

    Attributes:
        v: version of the stream; one that is newer than STREAM_VERSION is read as far as it is understood.
        why: why a lesser backend than NVML runs.
        interval_s: seconds from tick to tick, 0.05 to 3600.
        t: the node's own clock, Unix seconds.
        unsupported: fields that are never known on this node and why, for all GPUs or by GPU index.
        gpu_fields, host_fields: names of the values of a tick, in their order; empty means the fast ones of `fields`.
        gpu_slow_fields, host_slow_fields: the same for the slow beat.
        cut: what of this hello was left out, because it was over a limit. Not of the node, but made here.
    """

    v: int = 1
    backend: str = "none"
    why: str = ""
    interval_s: float = 1.0
    t: float = 0.0
    hostname: str = ""
    boot_id: str = ""
    driver: str = ""
    python: str = ""
    pid: int = 0
    gpus: tuple[Gpu, ...] = ()
    host: Host = Host()
    unsupported: Unsupported = msgspec.field(default_factory=dict)
    gpu_fields: tuple[str, ...] = ()
    host_fields: tuple[str, ...] = ()
    gpu_slow_fields: tuple[str, ...] = ()
    host_slow_fields: tuple[str, ...] = ()
    cut: tuple[str, ...] = ()

    @property
    def newer(self) -> bool:
        return self.v > STREAM_VERSION

    def why_unsupported(self, field: str, gpu_index: str | None = None) -> str:
        """The reason why a field is never known here; empty where it may be known."""
        reason = self.unsupported.get(field, "")
        if isinstance(reason, dict):
            return reason.get(gpu_index, "") if gpu_index is not None else ""
        return reason


class Tick(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    gc=False,
    tag_field="k",
    tag="t",
    rename={"seq": "n", "gpus": "g", "host": "h", "cost_ms": "ms"},
):
    """One sample of the fast fields. gpus: the values of each device of the hello, or None for a lost one."""

    seq: int = 0
    t: float = 0.0
    gpus: Values | None = None
    host: list[float | None] | None = None
    cost_ms: float | None = None


class Process(msgspec.Struct, frozen=True, array_like=True):
    """A process on a GPU. type: `C` compute, `G` graphics, `M` MPS. job: of Slurm or Kubernetes, or empty."""

    gpu: str
    pid: int
    user: str = ""
    command: str = ""
    memory_mib: float | None = None
    type: str = ""
    job: str = ""


class Slow(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    tag_field="k",
    tag="s",
    rename={"seq": "n", "gpus": "g", "host": "h", "processes": "p"},
):
    """The slow beat. A part that is None is not in this line: what was known before still holds."""

    seq: int = 0
    t: float = 0.0
    gpus: Values | None = None
    host: list[float | None] | None = None
    processes: tuple[Process, ...] | None = None


class Event(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True, tag_field="k", tag="e"):
    """Something happened. what: `xid`, `lost`, `back`, `devices` (a new hello follows) or `error`. gpu: an index."""

    t: float = 0.0
    gpu: str | None = None
    what: str = ""
    code: int | None = None
    text: str = ""


class Bye(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True, tag_field="k", tag="bye"):
    """The last line of an agent that ends by itself."""

    t: float = 0.0
    why: str = ""


Message = Hello | Tick | Slow | Event | Bye

_ENCODER = msgspec.json.Encoder()


def encode(message: Message) -> bytes:
    """The line of a message, without its newline. `decode` gives the message back."""
    return _ENCODER.encode(message)
