"""How a parser reads what its source sent, without ever taking "could not look" for "is not there".

A parser asks `Reading` for a file or a command's output. It gets text, or `NotThere` (looked, it is not there), or
`CannotTell` (permission, I/O error, no such command). `told` makes the fact of it. Replies that were cut, and sections
without an end, never come here: gather makes errors of them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar

from nodectl.model import Fact, absent, error, present

if TYPE_CHECKING:
    from nodectl.probe.transcript import Section, SourceReply

# What clean() makes of bytes that are no text.
_NOT_TEXT = re.compile(r"\ufffd|\\x(?:0[0-9a-f]|1[0-9a-f]|7f|[89][0-9a-f])|\\u(?:200|202|206|feff)")
_DENIED = re.compile(r"permission denied|operation not permitted|needs root", re.IGNORECASE)
_MISSING = re.compile(r"no such file or directory", re.IGNORECASE)
# `grep: PATH: why`, and in busybox `grep: can't open 'PATH': why`.
_PATH = re.compile(r"(?<=[ '])/[^\s:']+")
_MAX_REASON = 300
_MAX_LINE = 400
# The name of the text section by which a source says that /sys or /proc is not mounted: then nothing below it can be
# called absent.
NOT_MOUNTED = "not mounted"


_T = TypeVar("_T")
# A row of a `rows` fact: its fields by name.
Row = dict[str, Any]


class NotThere(Exception):
    """Looked, and it is not there. The text says what was looked for."""


class CannotTell(Exception):
    """Could not look. The text says why."""


class Reading:
    """One source's reply, as files and commands.

    Attributes:
        reply: the reply it reads from.
    """

    def __init__(self, reply: SourceReply) -> None:
        self.reply = reply
        self._greps: dict[str, list[str]] | None = None
        self._complaints: dict[str, str] = {}
        # Of several sections of one name the first counts.
        self._by_name = {(section.kind, section.name): section for section in reversed(reply.sections)}
        self._unmounted = [s.text.strip() for s in reply.sections if s.kind == "text" and s.name == NOT_MOUNTED]

    def file(self, path: str) -> str:
        """The content of a file that the source read with nd_file.

        Raises:
            NotThere: there is no such file.
            CannotTell: it could not be read, or the source did not ask for it.
        """
        return self._checked(self._section("file", path), path)

    def command(self, name: str, *, rcs: tuple[int, ...] = (0,)) -> str:
        """The output of a command (its section's name), when it ended with one of `rcs`.

        Raises:
            CannotTell: it failed, was not found, or was not run.
        """
        section = self.ran(name)
        if section.rc in rcs:
            return section.text
        raise CannotTell(command_trouble(section))

    def ran(self, name: str) -> Section:
        """A command's section, however the command ended.

        Raises:
            CannotTell: it was not run.
        """
        return self._section("cmd", name)

    def has(self, kind: str, name: str) -> bool:
        """Whether the source sent such a section."""
        return (kind, name) in self._by_name

    def text(self, name: str) -> str:
        """What the source itself said under `name` (nd_text)."""
        return self._section("text", name).text

    def line(self, path: str) -> str:
        """The content of one file among those that the source read with nd_grep; no newline at its end.

        Raises:
            NotThere, CannotTell: as `file`.
        """
        lines = self._grepped().get(path)
        if lines is not None:
            return "\n".join(lines)
        if path in self._complaints:
            raise self._complained(self._complaints[path], path)
        raise CannotTell(f"{path} reads as empty, or was not read")

    def lines_below(self, pattern: re.Pattern[str]) -> Iterator[tuple[re.Match[str], str]]:
        """(match, content) of each file of nd_grep whose path matches `pattern` as a whole, as sent."""
        for path, lines in self._grepped().items():
            match = pattern.fullmatch(path)
            if match:
                yield match, "\n".join(lines)

    def none_below(self, glob: str, what: str) -> Exception:
        """Why a glob of nd_grep gave nothing: `NotThere(what)` when nothing matches it, else `CannotTell`."""
        self._grepped()
        for path, complaint in self._complaints.items():
            if path.startswith(glob):
                trouble = self._complained(complaint, glob)
                return NotThere(what) if isinstance(trouble, NotThere) else trouble
        return CannotTell(f"{glob} was not read")

    def not_there(self, path: str, what: str = "") -> Exception:
        """`NotThere`, unless the file system that would hold it is not mounted."""
        for root in self._unmounted:
            if path.startswith(root):
                return CannotTell(f"{root} is not mounted on the node")
        return NotThere(what or f"there is no {path}")

    def _section(self, kind: str, name: str) -> Section:
        section = self._by_name.get((kind, name))
        if section is None:
            raise CannotTell(f"the probe's reply holds nothing of {name}")
        return section

    def _checked(self, section: Section, path: str) -> str:
        if section.rc == 0:
            return section.text
        raise self._complained(section.stderr, path)

    def _complained(self, stderr: str, path: str) -> Exception:
        if _DENIED.search(stderr):
            return CannotTell(f"needs root: {_short(stderr)}")
        if _MISSING.search(stderr):
            return self.not_there(path)
        return CannotTell(_short(stderr) or f"{path} could not be read")

    def _grepped(self) -> dict[str, list[str]]:
        if self._greps is None:
            found: dict[str, list[str]] = {}
            for section in self.reply.sections:
                if section.kind != "grep":
                    continue
                for line in section.text.split("\n"):
                    path, colon, text = line.partition(":")
                    if colon:
                        found.setdefault(path, []).append(text)
                for complaint in section.stderr.splitlines():
                    for path in _PATH.findall(complaint):
                        self._complaints.setdefault(path, complaint)
            self._greps = found
        return self._greps


def once(look: Callable[[], _T]) -> Callable[[], _T]:
    """A look that several facts share: done once; what it raised is raised for each of them."""
    seen: list[_T] = []
    trouble: list[Exception] = []

    def again() -> _T:
        if trouble:
            raise trouble[0]
        if not seen:
            try:
                seen.append(look())
            except Exception as problem:
                trouble.append(problem)
                raise
        return seen[0]

    return again


def told(name: str, look: Callable[[], Any], command: str) -> Fact:
    """The fact that `look` finds: its value, absent when it raises `NotThere`, otherwise an error.

    Text that holds control characters or is no UTF-8 is an error: it is not what the node meant to say.
    """
    try:
        value = look()
    except NotThere as nothing:
        return absent(name, str(nothing), command=command)
    except CannotTell as trouble:
        return error(name, str(trouble), command=command)
    except Exception as problem:
        return error(name, f"could not be read ({type(problem).__name__}: {problem})"[:_MAX_REASON], command=command)
    if isinstance(value, str) and _NOT_TEXT.search(value):
        return error(name, f"no plain text: {value!r:.80}", command=command)
    return present(name, value, command=command)


def origin(reply: SourceReply, section: Section | None = None) -> dict[str, Any]:
    """Where a fact comes from, as keyword arguments of `present`, `absent` and `error`."""
    return {
        "source": reply.source,
        "command": section.name if section else reply.source,
        "rc": section.rc if section else reply.rc,
        "duration_ms": reply.duration_ms,
    }


def errors_for(names: Iterable[str], reason: str, **where: Any) -> list[Fact]:
    return [error(name, reason, **where) for name in names]


def one_line(text: str) -> str:
    """Several lines of a message as one, without repeating a line, cut to a length that fits a report."""
    lines = dict.fromkeys(line.strip() for line in text.splitlines())
    return "; ".join(line for line in lines if line)[:_MAX_LINE]


def command_trouble(section: Section) -> str:
    """Why a command gave no answer, for a person."""
    if section.rc == 127:
        return f"{section.name.split(' ')[0]} not found on the node"
    if section.rc in (124, 137):
        return f"{section.name} did not end in its time (rc {section.rc})"
    if _DENIED.search(section.stderr):
        return f"needs root: {_short(section.stderr)}"
    return f"{section.name} failed (rc {section.rc}): {_short(section.stderr) or 'it did not say why'}"


def number(text: str, what: str) -> int:
    """A whole number, or CannotTell that says what was there instead."""
    try:
        return int(text.strip())
    except ValueError:
        raise CannotTell(f"{what} is no number: {text.strip()!r:.60}") from None


def word(text: str, what: str) -> str:
    """One line with something on it, stripped; CannotTell when it is empty or longer than a line."""
    stripped = text.strip()
    if not stripped or "\n" in stripped:
        raise CannotTell(f"{what} is not one line: {stripped!r:.60}")
    return stripped


def bracketed(text: str, what: str) -> str:
    """The chosen word of a sysfs choice: `always [madvise] never` -> `madvise`."""
    match = re.search(r"\[([^][\s]+)\]", text)
    if not match:
        raise CannotTell(f"{what} has no chosen word: {text.strip()!r:.60}")
    return match[1]


def cpu_list(cpus: Iterator[int] | list[int] | set[int]) -> str:
    """CPU numbers as the kernel writes them: `0-3,8`."""
    parts: list[str] = []
    run: list[int] = []
    for cpu in [*sorted(set(cpus)), -1]:
        if run and cpu != run[-1] + 1:
            parts.append(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}")
            run = []
        run.append(cpu)
    return ",".join(parts)


def count_cpu_list(text: str) -> int:
    """How many CPUs `0-3,8` names."""
    count = 0
    for part in text.strip().split(","):
        match = re.fullmatch(r"(\d{1,6})(?:-(\d{1,6}))?", part.strip())
        if not match:
            raise CannotTell(f"no list of CPUs: {text.strip()!r:.60}")
        first, last = int(match[1]), int(match[2] or match[1])
        if last < first:
            raise CannotTell(f"no list of CPUs: {text.strip()!r:.60}")
        count += last - first + 1
    return count


def _short(text: str) -> str:
    return " ".join(text.split())[:_MAX_REASON]
