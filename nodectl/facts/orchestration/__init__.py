"""Slurm and Kubernetes, as seen from a node.

`MODULES` names the parser modules here that declare facts (see facts.registry).
"""

MODULES: tuple[str, ...] = ("kubelet", "slurm")
