"""`--prometheus FILE` and `--listen [HOST]:PORT` beside whatever else a watch shows."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from nodectl.cli.watching.source import Source
from nodectl.errors import UserError

TEXTFILE_S = 5.0
"""Least time between two writes of the file: node_exporter is asked four times a minute."""


class Textfile:
    """Writes the file every now and then, and once at the end. A disk that is full does not end a watch."""

    def __init__(self, write: Callable[[], None], interval_s: float) -> None:
        self._write, self._interval_s = write, max(TEXTFILE_S, interval_s)
        self._due_at = time.monotonic()  # the first one at once: who collects it sees that it is alive
        self.problem = ""

    def __call__(self) -> None:
        if time.monotonic() >= self._due_at:
            self.write()

    def write(self) -> None:
        self._due_at = time.monotonic() + self._interval_s
        try:
            self._write()
            self.problem = ""
        except UserError as exc:
            self.problem = str(exc)


class Exports:
    """What is exported. each_tick: to be called by the loop. notes: what the user should know."""

    def __init__(self) -> None:
        self.each_tick: list[Callable[[], None]] = []
        self.files: list[Textfile] = []
        self._said: list[str] = []

    @property
    def notes(self) -> list[str]:
        return [*self._said, *(file.problem for file in self.files if file.problem)]

    def add_note(self, text: str) -> None:
        self._said.append(text)


@contextlib.contextmanager
def exports(source: Source, file: Path | None, listen: str | None, interval_s: float) -> Iterator[Exports]:
    """Export what the source has, until the context ends.

    Raises:
        UserError: the file cannot be written, or that address cannot be listened on.
    """
    found = Exports()
    with contextlib.ExitStack() as stack:
        if file or listen:
            from nodectl.telemetry.openmetrics import Exporter, check_textfile, write_textfile

            exporter = Exporter(source.store, source.nodes, wall=lambda: source.wall(source.store.now()))
            if file:
                check_textfile(file)
                textfile = Textfile(lambda: write_textfile(exporter, file), interval_s)
                found.files.append(textfile)
                found.each_tick.append(textfile)
                stack.callback(textfile.write)
            if listen:
                from nodectl.telemetry.metrics_http import serve

                server = serve(exporter, listen)
                stack.callback(server.close)
                found.add_note(f"metrics are at {server.url}")
                for note in server.notes:
                    found.add_note(note)
        yield found
