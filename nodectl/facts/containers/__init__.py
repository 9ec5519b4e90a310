"""Container runtimes, and what gives them GPUs.

`MODULES` names the parser modules here that declare facts (see facts.registry).
"""

MODULES: tuple[str, ...] = ("cdi", "engine_settings", "engines", "toolkit_settings")
