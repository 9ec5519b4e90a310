"""The machine and its operating system.

`MODULES` names the parser modules here that declare facts (see facts.registry).
"""

MODULES: tuple[str, ...] = (
    "boots",
    "cpu",
    "cpu_power",
    "crash_dump",
    "edac",
    "filesystems",
    "kernel",
    "kernels",
    "limits",
    "memory",
    "modules",
    "mounts",
    "nic_irqs",
    "numa",
    "os",
    "packages",
    "processes",
    "sensors",
    "services",
    "sysctl",
    "sysctl_files",
    "time_sync",
    "units",
    "updates",
    "virt",
)
