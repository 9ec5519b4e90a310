"""The catalogue joined with the fact registry and the Python rules: names of both are checked when it is loaded."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from nodectl.catalogue import Catalogue, load_catalogue
from nodectl.engine.evaluate import RULES_PACKAGE
from nodectl.facts import registry
from nodectl.resources import data_dir
from nodectl.suggest import did_you_mean

_RULES_DIR = Path(__file__).resolve().parent / "rules"
_FUNCTION = re.compile(r"^def ([a-z][a-z0-9_]*)\(", re.MULTILINE)


def load(user_dirs: Sequence[Path] = ()) -> Catalogue:
    """The shipped catalogue and then the user's folders, every name in them checked.

    Raises:
        CatalogueError: with every problem of every file.
    """
    return load_dirs([data_dir("checks"), *user_dirs])


def load_dirs(dirs: Sequence[Path]) -> Catalogue:
    """These folders alone; else as load."""
    return load_catalogue(
        dirs, known_facts=registry.resolve, rule_problem=rule_problem, known_families=registry.family_of
    )


def rule_problem(target: str) -> str:
    """Why a check cannot name this Python rule, or an empty string. Reads the rule's file, does not import it."""
    module, colon, function = target.partition(":")
    name = module.removeprefix(RULES_PACKAGE)
    if name == module or not colon or not name.isidentifier() or name.startswith("_"):
        return f'a rule is "{RULES_PACKAGE}MODULE:FUNCTION", not "{target}"'
    functions = _functions_of(name)
    if functions is None:
        modules = sorted(path.stem for path in _RULES_DIR.glob("[a-z]*.py"))
        return f'no module "{name}" in {RULES_PACKAGE.rstrip(".")}{did_you_mean(name, modules)}'
    if function not in functions:
        return f'no function "{function}" in {module}{did_you_mean(function, functions)}'
    return ""


@lru_cache(maxsize=64)
def _functions_of(name: str) -> tuple[str, ...] | None:
    try:
        text = (_RULES_DIR / f"{name}.py").read_text(encoding="utf-8")
    except OSError:
        return None
    return tuple(_FUNCTION.findall(text))
