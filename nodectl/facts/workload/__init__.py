"""The Python environments that jobs run in.

`MODULES` names the parser modules here that declare facts (see facts.registry).
"""

MODULES: tuple[str, ...] = ("venvs",)
