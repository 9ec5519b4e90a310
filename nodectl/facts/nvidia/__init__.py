"""NVIDIA's driver, tools and GPUs.

`MODULES` names the parser modules here that declare facts (see facts.registry).
"""

MODULES: tuple[str, ...] = (
    "cuda",
    "devices",
    "driver",
    "fabric",
    "mig",
    "nccl",
    "nvlink",
    "smi",
    "summary",
    "topo",
    "userspace",
)
