"""One run of `nodectl watch`: which way of showing it, from which source, and with what exit code."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from nodectl.cli import exit_codes
from nodectl.cli.options import NodeChoice
from nodectl.cli.session import Terminated
from nodectl.cli.terminal import note, width, write
from nodectl.cli.watching.alerts import Alerts
from nodectl.cli.watching.board import Board, WatchChoice
from nodectl.cli.watching.export import Exports, exports
from nodectl.cli.watching.loop import EverySample, Loop, Output
from nodectl.cli.watching.outputs import Complete, Csv, JsonLines, Nothing, OneTable
from nodectl.cli.watching.source import Source, live_source, replay_source
from nodectl.telemetry.store import LIVE, STALE


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """How it is shown, and from where it comes: the rest of the command line. form: table, jsonl or csv."""

    form: str
    once: bool
    replay: Path | None
    speed: float
    prometheus: Path | None
    listen: str | None
    colour: str
    full_commands: bool


def run_watch(nodes: NodeChoice, choice: WatchChoice, plan: Plan) -> int:
    """The command behind its options; returns the exit code."""
    source_of = replay_source(plan.replay, plan.speed, nodes) if plan.replay else live_source(nodes, choice.interval_s)
    with source_of as source, exports(source, plan.prometheus, plan.listen, choice.interval_s) as exported:
        board = Board(source.store, choice, source.labels, source.wall)
        board.update()
        if _wants_screen(plan):
            loop, lines = _on_screen(source, board, exported, plan)
        else:
            loop, lines = _in_pipe(source, board, exported, plan, nodes.deadline_s)
        code = _exit_code(board, loop)
        notes = dict.fromkeys([*source.notes(), *(file.problem for file in exported.files if file.problem)])
    for text in [*lines, *notes]:
        note(text)
    return code


def _wants_screen(plan: Plan) -> bool:
    return (
        plan.form == "table"
        and not plan.once
        and sys.stdout.isatty()
        and os.environ.get("TERM", "dumb") not in ("", "dumb")
    )


def _on_screen(source: Source, board: Board, exported: Exports, plan: Plan) -> tuple[Loop, list[str]]:
    """The loop that has ended, and what was to be said meanwhile and could not be."""
    from nodectl.cli.watching.screen import Display, Screen, terminal

    held: list[str] = []
    say: Callable[[str], None] = held.append if sys.stderr.isatty() else note
    alerts = Alerts(board, say)
    display = Display(plan.colour)
    screen = Screen(board, source, alerts, display, board.choice.interval_s)
    screen.notes = lambda: exported.notes
    loop = Loop(source, board, alerts, screen, exported.each_tick)
    _see_all(loop, plan)
    with terminal(display, loop.wake):
        loop.run()
    return loop, held[-200:]


def _in_pipe(source: Source, board: Board, exported: Exports, plan: Plan, deadline_s: float) -> tuple[Loop, list[str]]:
    for text in exported.notes:
        note(text)
    output = _output(board, source, plan, deadline_s)
    loop = Loop(source, board, Alerts(board, note), output, exported.each_tick)
    _see_all(loop, plan)
    loop.run()
    if isinstance(output, OneTable):
        output.show(plan.colour)
    return loop, []


def _see_all(loop: Loop, plan: Plan) -> None:
    """Have streams and alerts see each sample of a recording, at any speed."""
    if plan.replay:
        streams = [loop.output.one] if isinstance(loop.output, JsonLines | Csv) else []
        loop.every = EverySample(loop.board, *streams, lambda name: loop.alerts.look([name]))
        loop.source.store.tap = loop.every


def _output(board: Board, source: Source, plan: Plan, deadline_s: float) -> Output:
    choice = board.choice
    complete = Complete(board, source, deadline_s) if plan.once else None
    if plan.form != "table":
        return JsonLines(board, complete) if plan.form == "jsonl" else Csv(board, complete)
    if plan.once:
        return OneTable(board, complete)
    if plan.prometheus or plan.listen:
        return Nothing()
    if choice.alerts or choice.duration_s is not None:
        return OneTable(board, None)
    if sys.stdout.isatty():
        note("this terminal cannot be redrawn (TERM=dumb): one table; --jsonl and --csv go on")
    return OneTable(board, Complete(board, source, deadline_s))


def _exit_code(board: Board, loop: Loop) -> int:
    if isinstance(loop.stopped, Terminated):
        return exit_codes.TERMINATED
    if loop.stopped is not None:
        return exit_codes.INTERRUPTED
    if loop.alerts.fired:
        return exit_codes.FAILED
    if loop.source.over():  # of a recording, all that matters is that it could be played
        return exit_codes.OK
    return (
        exit_codes.OK if all(row["state"] in (LIVE, STALE) for row in board.nodes.values()) else exit_codes.INCOMPLETE
    )


def list_all_fields(colour: str) -> int:
    """`--list-fields`: name, shorter names, unit, and what it is."""
    from nodectl.view.lines import Line, hanging
    from nodectl.view.sample_fields import ALL

    def lines() -> Iterator[Line]:
        for field in ALL:
            also = f" (also: {', '.join(field.aliases)})" if field.aliases else ""
            unit = f" [{field.unit}]" if field.unit else ""
            yield from hanging(
                field.name,
                f"{field.about}{unit}{also}",
                indent=0,
                label_width=24,
                width=width(sys.stdout),
                label_style="",
            )

    write(lines(), colour=colour)
    return exit_codes.OK
