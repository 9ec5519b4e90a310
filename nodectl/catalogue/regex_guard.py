"""Which regular expressions a check may use.

Python's engine backtracks, and the text that is matched comes from a node. So only expressions whose cost is bounded
are taken: at most 200 characters; no back references or look-around; nothing that repeats may stand inside another
repeat (`(a+)*`); no choice inside an unbounded repeat (`(a|ab)*`); at most two unbounded repeats of a wide class
(`.`, `[^x]`, `\\S`, `\\D`, `\\W`) and eight in all, where `.*` at the end takes all that is left and is free. With
text of at most 4096 characters the worst that is left takes a fraction of a second.
"""

from __future__ import annotations

import re

MAX_LENGTH = 200
_MAX_REPEATS = 8
_MAX_WIDE_REPEATS = 2
_REPEAT = re.compile(r"[*+?]|\{[0-9]*,?[0-9]*\}")
_FREE_TAIL = re.compile(r"(?<!\\)\.[*+][)?]*\Z")
_WIDE_ESCAPES = frozenset("SDW")


def problem_with(pattern: str) -> str:
    """Why this expression is refused, or an empty string when it is fine."""
    if len(pattern) > MAX_LENGTH:
        return f"the expression has {len(pattern)} characters, at most {MAX_LENGTH} are allowed"
    try:
        re.compile(pattern)
    except (re.error, OverflowError, RecursionError) as problem:
        return f"not a regular expression: {problem}"
    return _Scan(pattern).problem()


class _Scan:
    """One pass over a pattern that compiles: groups, classes, repeats."""

    def __init__(self, pattern: str) -> None:
        self.pattern = pattern
        self.repeats = 0
        self.wide_repeats = 0
        # For each open group: does it hold a repeat, does it hold a choice.
        self.groups: list[list[bool]] = [[False, False]]

    def problem(self) -> str:
        at = 0
        while at < len(self.pattern):
            char = self.pattern[at]
            if char == "(":
                if self.pattern[at + 1 : at + 2] == "?" and self.pattern[at + 2 : at + 3] != ":":
                    return "(?…) other than (?:…) is not allowed: write a plain expression"
                at += 3 if self.pattern[at + 1 : at + 3] == "?:" else 1
                self.groups.append([False, False])
                continue
            if char == "|":
                self.groups[-1][1] = True
                at += 1
                continue
            if char == "\\" and self.pattern[at + 1 : at + 2].isdigit():
                return "back references are not allowed"
            inside = self.groups.pop() if char == ")" else [False, False]
            end, wide = self._atom_end(at)
            at = self._after_repeat(end, wide, inside)
            if at < 0:
                return (
                    "a repeat of something that repeats or has choices can take for ever on hostile text: "
                    "write it without the inner repeat"
                )
        if _FREE_TAIL.search(self.pattern):
            self.wide_repeats -= 1
        if self.repeats > _MAX_REPEATS or self.wide_repeats > _MAX_WIDE_REPEATS:
            return (
                f"too many unbounded repeats: at most {_MAX_WIDE_REPEATS} of a wide class such as .* "
                f"and {_MAX_REPEATS} in all"
            )
        return ""

    def _atom_end(self, at: int) -> tuple[int, bool]:
        """Where the atom at `at` ends, and whether it takes nearly any character."""
        char = self.pattern[at]
        if char == "\\":
            return at + 2, self.pattern[at + 1 : at + 2] in _WIDE_ESCAPES
        if char != "[":
            return at + 1, char == "."
        wide = self.pattern[at + 1] == "^"
        end = at + 2 + wide  # a ] that comes first is an ordinary member
        while self.pattern[end] != "]":
            if self.pattern[end] == "\\":
                wide = wide or self.pattern[end + 1] in _WIDE_ESCAPES
                end += 1
            end += 1
        return end + 1, wide

    def _after_repeat(self, at: int, wide: bool, inside: list[bool]) -> int:
        """Take the repeat that may follow an atom. -1: it repeats what must not repeat."""
        found = _REPEAT.match(self.pattern, at)
        outer = self.groups[-1]
        if found is None or found.group() in ("{}", "{,}"):
            outer[0] = outer[0] or inside[0]
            outer[1] = outer[1] or inside[1]
            return at
        text = found.group()
        unbounded = text in "*+" or text.endswith(",}")
        many = unbounded or text != "?"
        if many and (inside[0] or (unbounded and inside[1])):
            return -1
        outer[0] = True
        outer[1] = outer[1] or inside[1]
        self.repeats += unbounded
        self.wide_repeats += unbounded and wide
        end = found.end()
        return end + 1 if self.pattern[end : end + 1] == "?" else end
