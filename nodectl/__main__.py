"""The command `nodectl`. Answers `--version` before anything else is imported."""

from __future__ import annotations

import sys


def main() -> None:
    if sys.argv[1:] in (["--version"], ["-V"]):
        from nodectl import __version__

        sys.stdout.write(f"nodectl {__version__}\n")
        return
    from nodectl.cli.exit_codes import INTERRUPTED
    from nodectl.cli.main import run

    code = run()
    if code == INTERRUPTED:
        import signal

        # It ends now: one more ctrl-c changes nothing, and not the exit code either.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    sys.exit(code)


if __name__ == "__main__":
    main()
