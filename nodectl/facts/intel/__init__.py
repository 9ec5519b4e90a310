"""Intel's: Gaudi and Data Center GPU Max.

`MODULES` names the parser modules here that declare facts (see facts.registry).
"""

MODULES: tuple[str, ...] = ("gaudi", "max")
