"""YAML without surprises: the one reader for the inventory, the catalogue and everything else that people write.

    documents = load_documents(Path("gpu.yaml"))        # [Doc, ...]; a file with nothing in it gives []
    documents[0].value                                  # plain dict, list, str, int, bool or None
    documents[0].line_of(("expect", "that", 2))         # line (from 1) of that key or list item
    documents[0].where(("expect",))                     # "gpu.yaml:12", to begin an error with

What is read:

* Mapping keys are always text, as written (`8: x` has the key "8", `on: x` the key "on").
* Unquoted `true` and `false` are booleans; `null`, `~` and nothing at all are None.
* Unquoted plain decimal integers of up to 18 digits are ints: `8`, `-3`. Not `0644`, `+1`, `1_000`, `0x1f`.
* All else is text: `no`, `on`, `True`, `1.10` (a version?), `2026-11-20`, `0644`. Where a number is meant, ask
  `number_of(value)`; where text is meant, `text_of(value)` gives an int back just as it was written.

What is refused, each with `file:line`: duplicate keys, anchors and aliases, merge keys (`<<`), tags (`!!x`), keys that
are not plain text, text that is not UTF-8, nesting deeper than `MAX_DEPTH`, files over `max_bytes`. All problems of a
file are gathered into one `StrictYamlError.problems`; a syntax error ends the reading there. Errors in what the
*values* mean are the caller's: `describe(value)` says what was found.

Measured: 200 documents of 24 lines in 33 ms with libyaml, of which libyaml's own events are 21 ms.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from nodectl.errors import UserError

MAX_BYTES = 1 << 20
"""No file that a person writes comes near 1 MiB; a log or a dump that is named by mistake does."""

MAX_DEPTH = 32
"""The deepest documents that nodectl defines nest about 12 levels; this bounds every recursion over the values."""

MAX_PROBLEMS = 50
"""More than anybody reads; a hostile file must not make a report of a million lines."""

_MAX_SHOWN = 60
"""Characters of a wrong value that an error shows."""

_INT = re.compile(r"(?:0|-?[1-9][0-9]{0,17})\Z")
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]{0,17})(?:\.[0-9]{1,18})?(?:[eE][+-]?[0-9]{1,2})?\Z")
# What the YAML 1.1 grammar allows as characters of a stream, turned round.
_FORBIDDEN = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]")
_WORDS: dict[str, Any] = {"true": True, "false": False, "null": None, "~": None, "": None}


class StrictYamlError(UserError):
    """A file that cannot be read as strict YAML.

    Attributes:
        problems: one `file:line: what is wrong` each, in the order of the file.
    """

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class Doc:
    """One YAML document: its plain value, and where each part of it stands in the file.

    Attributes:
        value: dict (text keys), list, str, int, bool or None, nested.
        file: the file as the user named it.
    """

    __slots__ = ("_line", "_lines", "file", "value")

    def __init__(self, value: Any, file: str, line: int, lines: Any) -> None:
        self.value = value
        self.file = file
        self._line = line
        self._lines = lines

    def line_of(self, path: tuple[Any, ...] = ()) -> int:
        """The line (from 1) of a mapping's key or a list's item; () is the document's first.

        A path that leads nowhere gives the line of the last part of it that is there (a missing key is reported
        where its mapping begins).
        """
        line, children = self._line, self._lines
        for step in path:
            if isinstance(children, dict):
                entry = children.get(step)
            elif isinstance(children, list) and isinstance(step, int) and 0 <= step < len(children):
                entry = children[step]
            else:
                break
            if entry is None:
                break
            line, children = (entry, None) if isinstance(entry, int) else entry
        return int(line)

    def where(self, path: tuple[Any, ...] = ()) -> str:
        """`file:line` of `line_of(path)`."""
        return f"{self.file}:{self.line_of(path)}"


def load_documents(path: Path, *, max_bytes: int = MAX_BYTES) -> list[Doc]:
    """Read every document of a YAML file.

    Raises:
        StrictYamlError: the file cannot be opened, is too big, or is not strict YAML.
    """
    return parse_documents(read_text(path, max_bytes=max_bytes), str(path))


def read_text(path: Path, *, max_bytes: int = MAX_BYTES) -> str:
    """The text of a file of at most `max_bytes`; a UTF-8 byte order mark is dropped.

    Raises:
        StrictYamlError: it cannot be opened, is too big, or is not UTF-8.
    """
    try:
        with path.open("rb") as stream:
            data = stream.read(max_bytes + 1)
    except OSError as problem:
        raise StrictYamlError([f"{path}: cannot read it: {problem.strerror or problem}"]) from None
    if len(data) > max_bytes:
        raise StrictYamlError([f"{path}: larger than {max_bytes} bytes: is this the right file?"])
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as problem:
        line = data.count(b"\n", 0, problem.start) + 1
        raise StrictYamlError(
            [f"{path}:{line}: byte 0x{data[problem.start]:02x} is not UTF-8 text: save the file as UTF-8"]
        ) from None


def parse_documents(text: str, file: str) -> list[Doc]:
    """Read every document of YAML text; `file` is what errors call it.

    Raises:
        StrictYamlError: it is not strict YAML.
    """
    import yaml

    loader_type = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    builder = _Builder(file)
    try:
        loader = loader_type(text)
        try:
            builder.read(loader)
        finally:
            loader.dispose()
    except yaml.YAMLError as problem:
        builder.add(*_syntax_problem(problem, text))
    except UnicodeEncodeError as problem:  # a lone surrogate: not from a file, but a caller may have one
        builder.add(text.count("\n", 0, problem.start) + 1, "a character that is not Unicode text")
    if builder.problems:
        raise StrictYamlError(builder.problems)
    return builder.documents


def number_of(value: Any) -> int | float | None:
    """The number that a value is: an int as it stands, text like `1.5` or `-2e3` as a float; None for all else."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, str) and _NUMBER.match(value):
        return int(value) if _INT.match(value) else float(value)
    return None


def text_of(value: Any) -> str | None:
    """The text that a value is: text as it stands, an int as it was written; None for all else."""
    if isinstance(value, str):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return None


def describe(value: Any) -> str:
    """What was found, for an error: `a list`, `the number 8`, `"yes" (only true and false are booleans)`."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        return "a list"
    if isinstance(value, str):
        shown = quoted(value)
        yes_no = value.lower() in ("yes", "no", "on", "off", "true", "false")
        return f"{shown} (only true and false are booleans)" if yes_no else shown
    return f"the number {value}"


def quoted(text: str, limit: int = _MAX_SHOWN) -> str:
    """`"text"` for an error, cut to `limit` characters, with control characters made visible."""
    shown = text if len(text) <= limit else text[:limit] + "…"
    if not shown.isprintable():
        shown = "".join(c if c.isprintable() else c.encode("unicode_escape", "replace").decode("ascii") for c in shown)
    return f'"{shown}"'


class _TooDeepError(Exception):
    """Ends the reading of a file that nests too deeply; the problem is noted already."""


class _Builder:
    """Turns the parser's events into plain values and, beside them, the lines that they stand on.

    The lines of a mapping are {key: entry}, of a sequence [entry]; an entry is a line, or (line, lines) of a container.
    """

    def __init__(self, file: str) -> None:
        import yaml

        self.file = file
        self.documents: list[Doc] = []
        self.problems: list[str] = []
        self._events = yaml.events

    def add(self, line: int, text: str) -> None:
        """Note one problem, up to the cap."""
        if len(self.problems) < MAX_PROBLEMS:
            self.problems.append(f"{self.file}:{line}: {text}")
        elif len(self.problems) == MAX_PROBLEMS:
            self.problems.append(f"{self.file}:{line}: more problems follow; mend these first")

    def read(self, loader: Any) -> None:
        """Take every document; ends early where going on makes no sense (too deep)."""
        self._next = loader.get_event
        while True:
            event = self._next()
            if type(event) is self._events.StreamEndEvent:
                return
            if type(event) is not self._events.DocumentStartEvent:
                continue
            try:
                value, entry = self._value(self._next(), 0)
            except _TooDeepError:
                return
            line, lines = (entry, None) if isinstance(entry, int) else entry
            self.documents.append(Doc(value, self.file, line, lines))

    def _value(self, event: Any, depth: int) -> tuple[Any, Any]:
        """(value, entry) of the value that begins with this event; takes every event of it."""
        line = event.start_mark.line + 1
        kind = type(event)
        if kind is self._events.AliasEvent:
            self.add(line, f"alias *{event.anchor}: write the value out, aliases are not read")
            return None, line
        if event.anchor is not None:
            self.add(line, f"anchor &{event.anchor}: anchors are not read")
        if event.tag is not None:
            self.add(line, f"tag {_short_tag(event.tag)}: tags are not read")
        if kind is self._events.ScalarEvent:
            return (event.value if event.style else _plain(event.value)), line
        if depth >= MAX_DEPTH:
            self.add(line, f"nested deeper than {MAX_DEPTH} levels")
            raise _TooDeepError
        if kind is self._events.SequenceStartEvent:
            return self._sequence(line, depth + 1)
        return self._mapping(line, depth + 1)

    def _sequence(self, line: int, depth: int) -> tuple[list[Any], Any]:
        values: list[Any] = []
        lines: list[Any] = []
        while type(event := self._next()) is not self._events.SequenceEndEvent:
            value, entry = self._value(event, depth)
            values.append(value)
            lines.append(entry)
        return values, (line, lines)

    def _mapping(self, line: int, depth: int) -> tuple[dict[str, Any], Any]:
        values: dict[str, Any] = {}
        lines: dict[str, Any] = {}
        while type(event := self._next()) is not self._events.MappingEndEvent:
            key_line = event.start_mark.line + 1
            key = self._key(event, key_line, depth)
            value, entry = self._value(self._next(), depth)
            if key is None:
                continue
            if key in values:
                first = lines[key]
                self.add(key_line, f"key {quoted(key)} is here twice (first on line {_line(first)})")
                continue
            values[key] = value
            lines[key] = key_line if isinstance(entry, int) else (key_line, entry[1])
        return values, (line, lines)

    def _key(self, event: Any, line: int, depth: int) -> str | None:
        """The key, or None where it is no key (its problem is noted)."""
        if type(event) is not self._events.ScalarEvent:
            self._value(event, depth)
            self.add(line, "a mapping key must be plain text; quote a text that begins with {, [ or *")
            return None
        key = str(event.value)
        if event.anchor is not None or event.tag is not None:
            self._value(event, depth)
        if not event.style and key in ("<<", ""):
            self.add(line, "merge keys (<<) are not read" if key else "a key is missing before the colon")
            return None
        return key


def _line(entry: Any) -> int:
    return entry if isinstance(entry, int) else int(entry[0])


def _plain(text: str) -> Any:
    """The value of an unquoted scalar."""
    if text in _WORDS:
        return _WORDS[text]
    return int(text) if _INT.match(text) else text


def _short_tag(tag: str) -> str:
    prefix = "tag:yaml.org,2002:"
    return "!!" + tag[len(prefix) :] if tag.startswith(prefix) else tag


def _syntax_problem(problem: Any, text: str) -> tuple[int, str]:
    """(line from 1, text) for what the YAML parser said."""
    mark = getattr(problem, "problem_mark", None) or getattr(problem, "context_mark", None)
    if mark is None:  # only a character that YAML forbids comes without a mark
        match = _FORBIDDEN.search(text)
        line = text.count("\n", 0, match.start()) + 1 if match else 1
        shown = f" (U+{ord(match.group()):04X})" if match else ""
        return line, f"a control character{shown}, which YAML forbids: remove it, or escape it in double quotes"
    source = text.split("\n")[mark.line : mark.line + 1]
    if source and "\t" in source[0][: mark.column + 1]:
        return mark.line + 1, "a tab where YAML wants spaces"
    said = getattr(problem, "problem", None) or "it cannot be read"
    context = getattr(problem, "context", None)
    return mark.line + 1, f"not YAML: {said}" + (f" ({context})" if context else "")
