"""The fields of a node's row and of a GPU's row: what filters, --fields, --sort, JSON and CSV call them.

All that is sampled (telemetry/fields.py) under its own name, what is worked out from it, and who the row is about. A
row is a dict of these; a key that is missing or None is not known.
"""

from __future__ import annotations

from collections.abc import Iterable

from nodectl.suggest import did_you_mean
from nodectl.telemetry.fields import GPU_FIELDS, HOST_FIELDS
from nodectl.view.filter import LABEL, NUMBER, TEXT, WORDS, FilterField

_ALIASES: dict[str, tuple[str, ...]] = {
    "temperature_c": ("temp",),
    "temperature_memory_c": ("hbm",),
    "gpu_util_pct": ("util",),
    "power_w": ("power",),
    "power_limit_w": ("limit", "cap"),
    "sm_clock_mhz": ("sm", "clock"),
    "ecc_uncorrectable": ("ecc",),
    "t_limit_margin_c": ("margin",),
    "cpu_util_pct": ("cpu",),
    "memory_used_pct": ("ram",),
    "load1": ("load",),
}

IDENTITY: tuple[FilterField, ...] = (
    FilterField("node", TEXT, of_node=True, about="name of the node in the inventory"),
    FilterField("gpu", TEXT, about="index of the GPU on its node (3/1: a MIG device)"),
    FilterField("state", TEXT, of_node=True, about="connecting, live, stale, retry, failed or ended"),
    FilterField("age_s", NUMBER, "s", ("age",), of_node=True, about="age of the newest sample"),
    FilterField("backend", TEXT, of_node=True, about="what the node is read with: nvml, smi, amdgpu or none"),
)
DERIVED: tuple[FilterField, ...] = (
    FilterField("gpu_memory_pct", NUMBER, "%", ("mem",), other="memory_used_mib", about="GPU memory in use, of all"),
    FilterField("memory_total_mib", NUMBER, "MiB", about="GPU memory"),
    FilterField("power_pct", NUMBER, "%", about="power draw, of the limit"),
    FilterField("throttle", WORDS, aliases=("thr",), about="names of the clock event reasons, but for idle"),
    FilterField("xid", NUMBER, about="the last Xid since watching began"),
    FilterField("processes", NUMBER, about="how many processes use the GPU"),
    FilterField("users", WORDS, aliases=("user",), about="whose processes use the GPU"),
    FilterField("jobs", WORDS, aliases=("job",), about="Slurm jobs or Kubernetes pods of these processes"),
)
ABOUT_NODE: tuple[FilterField, ...] = (
    FilterField("gpus", NUMBER, of_node=True, about="GPUs of the node, lost ones included"),
    FilterField("lost", NUMBER, aliases=("lost_gpus",), of_node=True, about="GPUs that no longer answer"),
    FilterField("model", TEXT, about="name of the GPU model"),
    FilterField("uuid", TEXT, about="UUID of the GPU"),
    FilterField("driver", TEXT, of_node=True, about="driver version"),
    FilterField("letter", TEXT, aliases=("s",), about=". ok, ! warn, X fail, ? unknown, ~ stale, @ not connected"),
    FilterField("note", TEXT, about="what is wrong, or why there is no connection"),
    FilterField("labels", WORDS, of_node=True, about="labels of the inventory as NAME=VALUE; label.NAME for one"),
)
SAMPLED_GPU = tuple(FilterField(f.name, NUMBER, f.unit, _ALIASES.get(f.name, ()), about=f.about) for f in GPU_FIELDS)
SAMPLED_HOST = tuple(
    FilterField(f.name, NUMBER, f.unit, _ALIASES.get(f.name, ()), of_node=True, about=f.about) for f in HOST_FIELDS
)
ALL: tuple[FilterField, ...] = (*IDENTITY, *SAMPLED_GPU, *DERIVED, *SAMPLED_HOST, *ABOUT_NODE)
FILTER_FIELDS: tuple[FilterField, ...] = (*ALL, FilterField("label.rack", TEXT, aliases=("rack",), of_node=True))

_BY_NAME = {name: field for field in FILTER_FIELDS for name in (*field.aliases, field.name)}


def field_named(name: str) -> FilterField:
    """A field by its name or a shorter one; `label.NAME` is one, too.

    Raises:
        ValueError: there is no such field; says which is close.
    """
    if name.startswith(LABEL):
        return FilterField(name, TEXT, of_node=True)
    field = _BY_NAME.get(name) or _BY_NAME.get(name.casefold())
    if field is None:
        raise ValueError(f'there is no field "{name}"{did_you_mean(name, _BY_NAME)}')
    return field


def only_of_nodes(names: Iterable[str]) -> bool:
    """Whether these are fields that all rows of a node share."""
    return all(field_named(name).of_node for name in names)
