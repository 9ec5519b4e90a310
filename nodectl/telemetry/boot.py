"""The first of what runs in a node's python3: makes modules of the sources that came along. Plain Python 3.6.

`nodectl.telemetry.launch` puts a call of `start` after it.
"""

import importlib
import importlib.machinery
import sys
import typing


class Carried:
    """Finds and loads modules whose sources are in memory: nothing is looked up or written on disk for them."""

    def __init__(self, sources: "dict[str, str]") -> None:
        self._sources = sources

    def find_spec(
        self, name: str, path: "typing.Any" = None, target: "typing.Any" = None
    ) -> "importlib.machinery.ModuleSpec | None":
        if name not in self._sources:
            return None
        is_package = any(other.startswith(name + ".") for other in self._sources)
        return importlib.machinery.ModuleSpec(name, self, origin="carried", is_package=is_package)  # type: ignore[arg-type]

    def create_module(self, spec: "typing.Any") -> None:
        return None

    def exec_module(self, module: "typing.Any") -> None:
        name = module.__name__
        exec(compile(self._sources[name], "<%s>" % name, "exec", dont_inherit=True), module.__dict__)  # noqa: S102, UP031


def start(sources: "dict[str, str]", main: str, options: "dict[str, typing.Any]") -> "typing.Any":
    """Runs `main(options)` of the module of that name."""
    sys.meta_path.insert(0, Carried(sources))
    return importlib.import_module(main).main(options)
