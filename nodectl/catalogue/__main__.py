"""`python -m nodectl.catalogue [DIR …]` is `nodectl checks lint`, without its fixtures: quick, while writing checks."""

from __future__ import annotations

import runpy
import sys

if __name__ == "__main__":
    sys.argv[1:] = ["checks", "lint", "--no-fixtures", *sys.argv[1:]]
    runpy.run_module("nodectl", run_name="__main__")
