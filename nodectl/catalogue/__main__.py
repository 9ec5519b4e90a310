"""`python -m nodectl.catalogue [DIR …]` is nodectl.engine.lint, which stands above catalogue and facts."""

from __future__ import annotations

import runpy

if __name__ == "__main__":
    runpy.run_module("nodectl.engine.lint", run_name="__main__")
