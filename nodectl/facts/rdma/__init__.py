"""RDMA: the OFED or rdma-core stack, adapters, ports, RoCE.

`MODULES` names the parser modules here that declare facts (see facts.registry).
"""

MODULES: tuple[str, ...] = ("devices", "roce", "stack")
