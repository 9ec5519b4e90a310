"""Which regular expressions a check may use.

Python's engine backtracks, and the text that is matched comes from a node. So only expressions whose cost is bounded
are taken:

* at most 200 characters; no back references, look-around or flags;
* nothing that repeats may stand inside another repeat (`(a+)*`), and no choice inside one (`(a|ab)*`);
* at most two loose repeats. A repeat is loose when its end is not plain from the text: the next character that must
  come could itself be one of its own (`.*x`), where `[0-9]+\\.` can end in one way only. `.*` at the very end is not
  loose: it takes all that is left.

With text of at most 2048 characters (value_types.MAX_TEXT) the worst that is left (`a+a+a+b`) takes a second; an
ordinary expression takes microseconds.
"""

from __future__ import annotations

import re
import warnings

MAX_LENGTH = 200
_MAX_LOOSE = 2
_MANY = 16
"""A repeat of at most so many times counts as unbounded when it may be more often."""
_MANY_CHOICES = 4

_REPEAT = re.compile(r"[*+?]|\{([0-9]*)(,?)([0-9]*)\}")
_FREE_TAIL = re.compile(r"\.[*+][)?]*\Z")
# Every ASCII character, and one each of the kinds of others that classes tell apart.
_ALPHABET = "".join(map(chr, range(128))) + "é٣\u2003中"


def problem_with(pattern: str) -> str:
    """Why this expression is refused, or an empty string when it is fine."""
    if len(pattern) > MAX_LENGTH:
        return f"the expression has {len(pattern)} characters, at most {MAX_LENGTH} are allowed"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # syntax whose meaning Python is about to change
            re.compile(pattern)
    except (re.error, OverflowError, RecursionError, Warning) as problem:
        return f"not a regular expression: {problem}"
    return _Scan(pattern).problem()


class _Scan:
    """One pass over a pattern that compiles: groups, classes, repeats."""

    def __init__(self, pattern: str) -> None:
        self.pattern = pattern
        self.loose = 0
        # For each open group: does it hold a repeat, does it hold a choice.
        self.groups: list[list[bool]] = [[False, False]]

    def problem(self) -> str:
        at = 0
        while at < len(self.pattern):
            char = self.pattern[at]
            if char == "(":
                if self.pattern[at + 1] == "?" and self.pattern[at + 2] != ":":
                    return "(?…) other than (?:…) is not allowed: write a plain expression"
                at += 3 if self.pattern[at + 1] == "?" else 1
                self.groups.append([False, False])
                continue
            if char == "|":
                self.groups[-1][1] = True
                at += 1
                continue
            if char == "\\" and self.pattern[at + 1].isdigit():
                return "back references are not allowed"
            inside = self.groups.pop() if char == ")" else [False, False]
            at = self._after_repeat(at, self._atom_end(at), inside)
            if at < 0:
                return (
                    "a repeat of something that repeats or has choices can take for ever on hostile text: "
                    "write it without the inner one"
                )
        if self.loose > _MAX_LOOSE:
            return (
                f"{self.loose} repeats whose end is open (such as .* before more); at most {_MAX_LOOSE} are allowed, "
                "as more can take for ever on hostile text"
            )
        return ""

    def _atom_end(self, at: int) -> int:
        """Where the atom at `at` ends: one character, an escape or a class."""
        char = self.pattern[at]
        if char == "\\":
            return at + 2
        if char != "[":
            return at + 1
        end = at + 2 + (self.pattern[at + 1] == "^")  # a ] that comes first is an ordinary member
        while self.pattern[end] != "]":
            end += 2 if self.pattern[end] == "\\" else 1
        return end + 1

    def _after_repeat(self, start: int, at: int, inside: list[bool]) -> int:
        """Take the repeat that may follow the atom of `start` to `at`. -1: it repeats what must not repeat."""
        repeat = self._repeat(at)
        outer = self.groups[-1]
        outer[0] = outer[0] or inside[0] or repeat is not None
        outer[1] = outer[1] or inside[1]
        if repeat is None:
            return at
        _, most, end = repeat
        if (most > 1 and inside[0]) or (most > _MANY_CHOICES and inside[1]):
            return -1
        if most > _MANY and self._is_loose(start, at, end):
            self.loose += 1
        return end

    def _repeat(self, at: int) -> tuple[int, int, int] | None:
        """(least, most, where it ends) of the repeat at `at`, if there is one."""
        found = _REPEAT.match(self.pattern, at)
        if found is None or found.group() in ("{}", "{,}"):
            return None
        least_text, comma, most_text = found.groups()
        end = found.end()
        if self.pattern[end : end + 1] in ("?", "+"):  # lazy, or possessive from Python 3.11 on
            end += 1
        if found.group()[0] != "{":
            sign = found.group()
            return int(sign == "+"), 1 if sign == "?" else _MANY + 1, end
        least = int(least_text or 0)
        most = int(most_text) if most_text else (_MANY + 1 if comma else least)
        return least, most, end

    def _is_loose(self, start: int, at: int, end: int) -> bool:
        """Whether the end of the repeat of the atom `start` to `at` is not plain from the character after it."""
        if _FREE_TAIL.fullmatch(self.pattern, start):
            return False
        if self.pattern[end : end + 1] in ("", "(", ")", "|") or self.pattern[start] == ")":
            return True
        after = self._atom_end(end)
        repeat = self._repeat(after)
        if repeat is not None and repeat[0] == 0:
            return True
        own, following = _characters(self.pattern[start:at]), _characters(self.pattern[end:after])
        return not following or bool(own & following)


def _characters(atom: str) -> set[str]:
    """Which of the alphabet an atom takes; none for one that takes no character (`$`, `\\b`)."""
    compiled = re.compile(atom, re.DOTALL)
    return {char for char in _ALPHABET if compiled.fullmatch(char)}
