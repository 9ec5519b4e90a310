"""The machine and its operating system.

`MODULES` names the parser modules here that declare facts (see facts.registry).
"""

MODULES: tuple[str, ...] = (
    "cpu",
    "cpu_power",
    "kernel",
    "limits",
    "memory",
    "modules",
    "mounts",
    "numa",
    "os",
    "packages",
    "services",
    "sysctl",
    "virt",
)
