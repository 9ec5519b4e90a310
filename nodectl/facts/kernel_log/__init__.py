"""What the kernel's log tells of GPUs and of the machine.

`MODULES` names the parser modules here that declare facts (see facts.registry).
"""

MODULES: tuple[str, ...] = ("log",)
