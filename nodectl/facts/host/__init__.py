"""The machine and its operating system.

`MODULES` names the parser modules here that declare facts (see facts.registry).
"""

MODULES: tuple[str, ...] = (
    "cpu",
    "cpu_power",
    "edac",
    "filesystems",
    "kernel",
    "kernels",
    "limits",
    "memory",
    "modules",
    "mounts",
    "numa",
    "os",
    "packages",
    "processes",
    "services",
    "sysctl",
    "time_sync",
    "units",
    "updates",
    "virt",
)
