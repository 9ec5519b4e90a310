"""The command `nodectl`. Answers `--version` before anything else is imported."""

from __future__ import annotations

import sys


def main() -> None:
    if sys.argv[1:] in (["--version"], ["-V"]):
        from nodectl import __version__

        sys.stdout.write(f"nodectl {__version__}\n")
        return
    from nodectl.cli.main import run

    sys.exit(run())


if __name__ == "__main__":
    main()
