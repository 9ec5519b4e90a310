"""The top of the command line: the list of commands, each imported when it is used, and every error in one place."""

from __future__ import annotations

import os
import sys
from typing import Any

import click

from nodectl import __version__
from nodectl.cli import exit_codes
from nodectl.cli.lazy_group import LazyGroup, ReaderGone
from nodectl.errors import UserError

# name: (module, one line of help): the help is here so that `nodectl --help` imports no command.
COMMANDS = {
    "check": ("nodectl.cli.check", "Check nodes against the catalogue and say what is wrong"),
    "collect": ("nodectl.cli.collect", "Save what the nodes answer, to check it later"),
    "record": ("nodectl.cli.record", "Keep the live telemetry of nodes in a file, to replay it"),
    "checks": ("nodectl.cli.checks", "List the checks of the catalogue, and write your own"),
    "explain": ("nodectl.cli.checks.show", "What one check asks for, why, who says so, and how to mend it"),
    "watch": ("nodectl.cli.watch", "Live telemetry: a screen, a table, JSON lines or CSV"),
    "facts": ("nodectl.cli.facts", "List the facts that checks can ask for, or print those of a node"),
    "hosts": ("nodectl.cli.hosts", "Print what an inventory resolves to, and how each node would be reached"),
}


@click.group(
    cls=LazyGroup, members=COMMANDS, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.version_option(__version__, "-V", "--version", message="nodectl %(version)s")
def cli() -> None:
    """Health checks for GPU nodes, over SSH, with nothing installed on them.

    First look, without a GPU:   nodectl check --demo

    Your own nodes:              nodectl check --hosts inventory.yaml
    """


def run(argv: list[str] | None = None) -> int:
    """Run the command line; returns the exit code, whatever happens."""
    try:
        result: Any = cli.main(args=argv, prog_name="nodectl", standalone_mode=False)
    except click.ClickException as exc:
        exc.show()
        return exit_codes.USAGE
    except (click.exceptions.Abort, KeyboardInterrupt):
        _say("nodectl: interrupted")
        return exit_codes.INTERRUPTED
    except UserError as exc:
        _say(f"nodectl: {exc}")
        return exit_codes.USAGE
    except (ReaderGone, BrokenPipeError):
        return _nobody_reads()
    except Exception as exc:
        return _internal_error(exc)
    return result if isinstance(result, int) else exit_codes.OK


def _nobody_reads() -> int:
    """The reader of our output went away (`nodectl ... | head`): nothing is wrong. Keep the last flush quiet."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return exit_codes.OK


def _say(text: str) -> None:
    sys.stderr.write(text + "\n")


def _internal_error(exc: Exception) -> int:
    """A fault of ours: one line for the user, the traceback in a file that can be sent."""
    import tempfile
    import traceback

    text = "".join(traceback.format_exception(exc))
    try:
        with tempfile.NamedTemporaryFile("w", prefix="nodectl-error-", suffix=".txt", delete=False) as file:
            file.write(f"nodectl {__version__}\n{text}")
        where = f"the details are in {file.name}; please report it"
    except OSError:
        where = f"the details:\n{text}"
    _say(f"nodectl: internal error: {type(exc).__name__}: {exc}\n{where}")
    return exit_codes.INTERNAL
