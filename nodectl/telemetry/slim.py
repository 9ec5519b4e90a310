"""Python sources without what only their readers need, for the way to a node: the same program on the same lines."""

from __future__ import annotations

import ast
import io
import re
import tokenize


def slim(source: str) -> str:
    """The source without comments and docstrings, but with the comments at its top: a licence travels along.

    Line numbers stay, so that a traceback from a node fits the file here. A docstring becomes an empty one.
    """
    lines = source.splitlines(keepends=True)
    top = len(re.match(r"(?:#.*\n|[ \t]*\n)*", source)[0].splitlines())  # type: ignore[index]
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        row, column = token.start
        if token.type == tokenize.COMMENT and row > top:
            lines[row - 1] = lines[row - 1][:column].rstrip() + "\n"
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            _drop_docstring(node, lines)
    return "".join(lines)


def _drop_docstring(node: ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef, lines: list[str]) -> None:
    if ast.get_docstring(node, clean=False) is None:
        return
    first = node.body[0]
    last = first.end_lineno or first.lineno
    follows = _bytes(lines[last - 1])[first.end_col_offset or 0 :].decode()
    before = _bytes(lines[first.lineno - 1])[: first.col_offset].decode()
    if follows.strip() or before.strip():  # something else stands on its lines
        return
    lines[first.lineno - 1] = before + '""\n'
    lines[first.lineno : last] = ["\n"] * (last - first.lineno)


def _bytes(line: str) -> bytes:
    return line.encode("utf-8")  # the columns of `ast` count bytes
