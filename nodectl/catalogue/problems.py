"""Where in which file something is wrong: every problem of a catalogue is gathered, none stops the reading.

A line reads `checks/gpu.yaml:14: gpu.count: expect.that: unknown operator "gee"; did you mean "ge"?`
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from nodectl.errors import UserError
from nodectl.strict_yaml import Doc, describe, quoted
from nodectl.suggest import did_you_mean


class CatalogueError(UserError):
    """A catalogue, profile or selection that cannot be used; nothing is run with it.

    Attributes:
        problems: one line each, `file:line: id: key path: what is wrong` where there is a file.
    """

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(self.problems))


class Place:
    """A part of one YAML document, to say what is wrong with it."""

    __slots__ = ("_doc", "_problems", "_subject", "path")

    def __init__(self, doc: Doc, subject: str, problems: list[str], path: tuple[str | int, ...] = ()) -> None:
        self._doc = doc
        self._subject = subject
        self._problems = problems
        self.path = path

    def at(self, *steps: str | int) -> Place:
        """The place of a key or item below this one."""
        return Place(self._doc, self._subject, self._problems, self.path + steps)

    def say(self, text: str) -> None:
        """Note a problem here."""
        parts = [self._doc.where(self.path), self._subject, path_text(self.path), text]
        self._problems.append(": ".join(part for part in parts if part))

    def say_unknown(self, what: str, word: Any, known: Iterable[str]) -> None:
        """Note that a word is none of the known ones."""
        names = list(known)
        if word is None:
            self.say(f"a {what} is missing: one of {', '.join(names)}")
            return
        shown = quoted(word) if isinstance(word, str) else describe(word)
        guess = did_you_mean(word, names) if isinstance(word, str) else ""
        self.say(f"unknown {what} {shown}" + (guess or f": one of {', '.join(names)} is wanted"))

    @property
    def where(self) -> str:
        """`file:line`."""
        return self._doc.where(self.path)

    @property
    def count(self) -> int:
        """How many problems have been noted in all, to tell whether a reading added any."""
        return len(self._problems)


def path_text(path: tuple[str | int, ...]) -> str:
    """`expect.all[2].that`."""
    text = ""
    for step in path:
        text += f"[{step}]" if isinstance(step, int) else (f".{step}" if text else step)
    return text


def require_mapping(place: Place, value: Any) -> bool:
    """Whether it is a mapping; said when not."""
    if isinstance(value, dict):
        return True
    place.say(f"a mapping is wanted, not {describe(value)}")
    return False


def require_list(place: Place, value: Any) -> bool:
    """Whether it is a list; said when not."""
    if isinstance(value, list):
        return True
    place.say(f"a list is wanted, not {describe(value)}")
    return False


def require_text(place: Place, value: Any) -> str:
    """The text, or an empty string when it is none (then said)."""
    if isinstance(value, str) and value.strip():
        return value
    place.say("is missing" if value is None else f"text is wanted, not {describe(value)}")
    return ""


def require_names(place: Place, value: Any) -> list[str]:
    """A list of texts; what is wrong is said and left out."""
    names: list[str] = []
    if require_list(place, value):
        for number, item in enumerate(value):
            text = require_text(place.at(number), item)
            if text and text in names:
                place.at(number).say(f"{quoted(text)} is there twice")
            elif text:
                names.append(text)
    return names


def check_keys(place: Place, value: dict[str, Any], known: Iterable[str]) -> None:
    """Say which keys of a mapping are not known."""
    names = tuple(known)
    for key in value:
        if key not in names:
            guess = did_you_mean(key, names)
            place.at(key).say(f"unknown key {quoted(key)}" + (guess or f": known are {', '.join(names)}"))
