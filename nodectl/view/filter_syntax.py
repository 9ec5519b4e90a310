r"""The grammar of the filter language: text to a tree, and a tree back to text.

    filter     := both ( "|" both )*
    both       := term ( "&" term )*
    term       := "!" term | "(" filter ")" | "~" regex | field op value | text
    op         := = != > >= < <= ~

Words that stand side by side are one text (`row remap failed`). In double quotes anything can stand, with `\"` for a
quote and `\\` for a backslash. A regular expression without quotes ends at a space, or at `&`, `|` or `)` outside its
own brackets. Nothing here knows which fields there are: that is filter.py.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from nodectl.errors import UserError

MAX_LENGTH = 2000
MAX_DEPTH = 40

_SPACE = re.compile(r"\s*")
# A `!` may stand in a word, but not begin the operator `!=` there.
_WORD = re.compile(r'(?:[^\s&|()<>=~"!]|!(?!=))+')
_OPERATOR = re.compile(r"[!<>=]=|[=<>~]")
_AND_OR = {"&": re.compile(r"&&?"), "|": re.compile(r"\|\|?")}
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"', re.DOTALL)
_ESCAPED = re.compile(r'\\(["\\])')
_SAFE = re.compile(r"[A-Za-z0-9_.,:/%+@\[\]*-]+\Z")


class FilterError(UserError):
    """A filter that cannot be read.

    Attributes:
        column: where, from 1.
        problem: what is wrong there, without the column.
    """

    def __init__(self, problem: str, at: int) -> None:
        super().__init__(f"column {at + 1}: {problem}")
        self.problem = problem
        self.column = at + 1


@dataclass(frozen=True)
class Text:
    """The row holds this text, in whatever case."""

    text: str


@dataclass(frozen=True)
class Match:
    """The row's text matches this regular expression."""

    pattern: str
    at: int = field(default=0, compare=False)


@dataclass(frozen=True)
class Compare:
    """A field, an operator, and the value as it was written."""

    name: str
    op: str
    value: str
    at: int = field(default=0, compare=False)
    value_at: int = field(default=0, compare=False)


@dataclass(frozen=True)
class Not:
    term: Tree


@dataclass(frozen=True)
class Both:
    """All of the terms. With none of them: everything."""

    terms: tuple[Tree, ...]


@dataclass(frozen=True)
class Either:
    terms: tuple[Tree, ...]


Tree = Text | Match | Compare | Not | Both | Either


def parse(text: str) -> Tree:
    """The tree of a filter; a blank one is `Both(())`.

    Raises:
        FilterError: it cannot be read; the only thing that is ever raised.
    """
    if len(text) > MAX_LENGTH:
        raise FilterError(f"the filter has {len(text)} characters, at most {MAX_LENGTH} are allowed", MAX_LENGTH)
    return _Parser(text).whole()


def show(tree: Tree) -> str:
    """A filter that parses to this tree."""
    if isinstance(tree, Text):
        return _written(tree.text)
    if isinstance(tree, Match):
        return f"~{_quoted(tree.pattern)}"
    if isinstance(tree, Compare):
        value = _quoted(tree.value) if tree.op == "~" else _written(tree.value)
        return f"{tree.name} {tree.op} {value}"
    if isinstance(tree, Not):
        return f"!{_inner(tree.term)}"
    return (" & " if isinstance(tree, Both) else " | ").join(_inner(term) for term in tree.terms)


def _inner(tree: Tree) -> str:
    return f"({show(tree)})" if isinstance(tree, Both | Either) else show(tree)


def _written(text: str) -> str:
    return text if _SAFE.match(text) else _quoted(text)


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


class _Parser:
    """Recursive descent; `at` is where reading goes on."""

    def __init__(self, text: str) -> None:
        self.text, self.at, self.depth = text, 0, 0

    def whole(self) -> Tree:
        if not self._peek():
            return Both(())
        tree = self._either()
        if self._peek() == ")":
            raise FilterError('there is no "(" for this ")"', self.at)
        if self._peek():
            raise self._missing_operator()
        return tree

    def _either(self) -> Tree:
        terms = [self._both()]
        while self._take(_AND_OR["|"]):
            terms.append(self._both())
        return terms[0] if len(terms) == 1 else Either(tuple(terms))

    def _both(self) -> Tree:
        terms = [self._term()]
        while self._take(_AND_OR["&"]):
            terms.append(self._term())
        return terms[0] if len(terms) == 1 else Both(tuple(terms))

    def _term(self) -> Tree:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise FilterError(f"more than {MAX_DEPTH} levels of ( and !", self.at)
        char, start = self._peek(), self.at
        if self._take(_OPERATOR, unless="~"):
            raise FilterError(f'a field is missing before "{self.text[start : self.at]}"', start)
        if char == "!":
            self.at += 1
            tree: Tree = Not(self._term())
        elif char == "(":
            self.at += 1
            tree = self._either()
            if self._peek() != ")":
                raise self._missing_operator() if self._peek() else FilterError('this "(" is not closed', start)
            self.at += 1
        elif char == "~":
            self.at += 1
            tree = Match(self._regex(), start)
        elif char in ("", "&", "|", ")"):
            raise FilterError("something is missing here: a text, ~regex, field > value or !", self.at)
        else:
            tree = self._comparison_or_text()
        self.depth -= 1
        return tree

    def _comparison_or_text(self) -> Tree:
        start, first = self.at, self._word_or_quoted()
        is_quoted = self.text[start] == '"'
        operator_at = self._skip()
        operator = self._take(_OPERATOR)
        if operator:
            if is_quoted:
                raise FilterError("a field has no quotes", start)
            op = "=" if operator == "==" else operator
            self._skip()
            value_at = self.at
            if op == "~":
                return Compare(first, op, self._regex(), start, value_at)
            if self._peek() != '"' and not _WORD.match(self.text, self.at):
                raise FilterError(f'a value is missing after "{operator}"', self.at)
            return Compare(first, op, self._word_or_quoted(), start, value_at)
        words = [first]
        while not is_quoted and (found := _WORD.match(self.text, self._skip())):
            if found[0].startswith("!"):
                break
            word_at, self.at = self.at, found.end()
            operator_at = self._skip()
            if _OPERATOR.match(self.text, operator_at):
                raise FilterError(f'& or | is missing before "{found[0]}"', word_at)
            words.append(found[0])
        return Text(" ".join(words))

    def _word_or_quoted(self) -> str:
        if self._peek() != '"':
            found = _WORD.match(self.text, self.at)
            assert found is not None  # callers looked
            self.at = found.end()
            return found[0]
        quoted = _QUOTED.match(self.text, self.at)
        if not quoted:
            raise FilterError("this quote is not closed", self.at)
        self.at = quoted.end()
        return _ESCAPED.sub(r"\1", quoted[1])

    def _regex(self) -> str:
        if self._peek() == '"':
            return self._word_or_quoted()
        start, depth, in_class = self.at, 0, False
        while self.at < len(self.text):
            char = self.text[self.at]
            if char == "\\":
                self.at += 1
            elif in_class:
                in_class = char != "]"
            elif char == "[":
                in_class = True
            elif char == "(":
                depth += 1
            elif char.isspace() or (depth == 0 and char in "&|)"):
                break
            elif char == ")":
                depth -= 1
            self.at += 1
        self.at = min(self.at, len(self.text))
        if self.at == start:
            raise FilterError("a regular expression is missing after ~", start)
        return self.text[start : self.at]

    def _missing_operator(self) -> FilterError:
        return FilterError(f'& or | is missing before "{self.text[self.at : self.at + 12]}"', self.at)

    def _skip(self) -> int:
        found = _SPACE.match(self.text, self.at)
        self.at = found.end() if found else self.at
        return self.at

    def _peek(self) -> str:
        self._skip()
        return self.text[self.at : self.at + 1]

    def _take(self, token: re.Pattern[str], unless: str = "") -> str:
        self._skip()
        found = token.match(self.text, self.at)
        if not found or found[0] == unless:
            return ""
        self.at = found.end()
        return found[0]
