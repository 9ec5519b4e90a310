"""`python -m nodectl.catalogue [DIR …]`: read the shipped catalogue, or these folders, and print every problem."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path

from nodectl.catalogue import CatalogueError
from nodectl.engine import catalogue_for_run


def main(arguments: Sequence[str]) -> int:
    """Exit status: 0 for a catalogue without problems, 2 otherwise."""
    started = time.perf_counter()
    try:
        if arguments:
            catalogue = catalogue_for_run.load_dirs([Path(argument) for argument in arguments])
        else:
            catalogue = catalogue_for_run.load()
    except CatalogueError as problem:
        sys.stdout.write("".join(f"{line}\n" for line in problem.problems))
        sys.stdout.write(f"{len(problem.problems)} problems\n")
        return 2
    took_ms = (time.perf_counter() - started) * 1000
    sys.stdout.write(
        f"{len(catalogue.checks)} checks, {len(catalogue.tables)} tables, {len(catalogue.profiles)} profiles, "
        f"version {catalogue.version}, {catalogue.digest[:19]}, read in {took_ms:.0f} ms\n"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
