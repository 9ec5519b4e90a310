"""A group of commands of which only the one that is run is imported."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

import click


class ReaderGone(Exception):
    """Whoever read our output does so no more. click would take a BrokenPipeError for a failure: exit code 1."""


class LazyGroup(click.Group):
    """Commands by name: (module that has `command`, one line of help). `--help` of the group imports none of them."""

    def __init__(self, *args: Any, members: Mapping[str, tuple[str, str]], **more: Any) -> None:
        super().__init__(*args, **more)
        self._members = members

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            raise ReaderGone from None

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self._members)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in self._members:
            return None
        command: click.Command = importlib.import_module(self._members[name][0]).command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in self._members.items()])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0] if args else ""
        if name not in self._members and not name.startswith("-"):
            from nodectl.suggest import did_you_mean

            raise click.UsageError(f'there is no command "{name}"{did_you_mean(name, self._members)}', ctx)
        return super().resolve_command(ctx, args)
