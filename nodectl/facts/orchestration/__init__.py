"""What a scheduler knows of the node: Kubernetes, Slurm.

`MODULES` names the parser modules here that declare facts (see facts.registry).
"""

MODULES: tuple[str, ...] = ()
