"""Local disks, network file systems and their clients.

`MODULES` names the parser modules here that declare facts (see facts.registry).
"""

MODULES: tuple[str, ...] = ("clients", "disks", "health", "lustre", "mounted")
