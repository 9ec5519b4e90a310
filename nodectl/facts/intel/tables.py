"""What hl-smi and xpu-smi print: boxes of `|` and `+`, and lists with commas."""

from __future__ import annotations

import csv
import io
import re
from typing import TYPE_CHECKING

from nodectl.facts.reading import command_trouble, one_line

if TYPE_CHECKING:
    from nodectl.probe.transcript import SourceReply

MAX_ROWS = 4096


class ToolError(Exception):
    """A tool gave no answer. The text says why."""


def output(reply: SourceReply, name: str) -> str:
    """What a command printed.

    Raises:
        ToolError: it was not run, failed, hung or printed nothing.
    """
    section = reply.find("cmd", name)
    if section is None:
        raise ToolError(f"{name} was not run")
    if section.rc != 0:
        said = one_line(section.text)[:200]
        raise ToolError(command_trouble(section) + (f"; {said}" if said and not section.stderr else ""))
    if not section.text.strip():
        raise ToolError(f"{name} printed nothing")
    return section.text


def csv_rows(text: str, columns: int) -> list[list[str]]:
    """Rows of a list with commas, cells stripped.

    Raises:
        ToolError: a row has another number of cells.
    """
    rows: list[list[str]] = []
    for row in csv.reader(io.StringIO(text), skipinitialspace=True):
        cells = [cell.strip() for cell in row]
        if not any(cells):
            continue
        if len(cells) != columns or len(rows) > MAX_ROWS:
            raise ToolError(f"a row of {len(cells)} cells where {columns} are asked for: {', '.join(cells)[:80]}")
        rows.append(cells)
    return rows


def box_pairs(text: str) -> list[tuple[str, str]]:
    """(left, right) of each line of a box with two columns; the left is empty where a cell goes on."""
    pairs = []
    for line in text.split("\n")[: 40 * MAX_ROWS]:
        match = re.fullmatch(r"\|(.*?)\|(.*)\|", line.strip())
        if match:
            pairs.append((match[1].strip(), match[2].strip()))
    return pairs
