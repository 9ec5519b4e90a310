"""Reads ssh_config files into segments: which conditions must hold, and the options that are then given.

Follows ssh_config(5) as OpenSSH reads it: `Host` and `Match` open a block, `Include` (with patterns, relative to
`~/.ssh` or `/etc/ssh`) reads other files as if they stood there, so what it includes holds only where the block around
it does. Values keep the order of the files, because the first one wins.
"""

from __future__ import annotations

import glob
import os
import re
import stat
from pathlib import Path
from typing import NamedTuple

from nodectl.inventory.errors import InventoryError
from nodectl.strict_yaml import quoted

MAX_BYTES = 8 << 20
"""A generated config with a block for each of 50,000 hosts; what is larger was named by mistake."""

MAX_INCLUDE_DEPTH = 16
"""As in OpenSSH (READCONF_MAX_DEPTH)."""

_LINE = re.compile(r"[ \t]*\"?([A-Za-z0-9]+)\"?(?:[ \t]*=[ \t]*|[ \t]+)(.*)\Z", re.DOTALL)
_RAW = frozenset(("proxycommand", "proxyjump", "knownhostscommand"))
_SYNONYMS = {"identityfile2": "identityfile", "smartcarddevice": "pkcs11provider"}


class Pattern(NamedTuple):
    """One pattern of `Host`: `*` is any text, `?` any one character; `!` before it turns it round."""

    negated: bool
    text: str
    regex: re.Pattern[str] | None

    def fits(self, name: str) -> bool:
        return self.text == name if self.regex is None else self.regex.match(name) is not None


class Criterion(NamedTuple):
    """One condition of `Match`: `host`, `exec`, `final`, …"""

    kind: str
    negated: bool
    argument: str


class Gate(NamedTuple):
    """A `Host` or `Match` line. One of the two tuples is empty. `where` is its file:line."""

    where: str
    patterns: tuple[Pattern, ...]
    criteria: tuple[Criterion, ...]


class Option(NamedTuple):
    """One line: keyword in small letters, its arguments, and file:line."""

    key: str
    values: tuple[str, ...]
    where: str


class Segment(NamedTuple):
    """Options that are given where every gate holds. Gates are the blocks around an Include, and its own block."""

    gates: tuple[Gate, ...]
    options: list[Option]


def read_config(path: Path, *, home: Path, system: bool = False, named: bool = False) -> list[Segment]:
    """The segments of a config and of everything that it includes, in order.

    Args:
        path: the config file.
        home: the user's home folder.
        system: it is the machine's own config: Include is relative to /etc/ssh.
        named: the user named this file. As in ssh, who can write the user's own config and whatever is included is
            looked at; a file that was named, and the machine's, are taken as they are.

    Raises:
        InventoryError: with file:line.
    """
    reader = _Reader(home, system)
    reader.read(path, (), 0, trusted=system or named)
    return reader.segments


def compile_pattern(text: str) -> Pattern:
    """A `Host` pattern."""
    negated = text.startswith("!")
    text = text[1:] if negated else text
    return Pattern(negated, text, pattern_regex(text) if "*" in text or "?" in text else None)


def pattern_regex(text: str) -> re.Pattern[str]:
    """The regular expression of a pattern with `*` and `?`; runs of `*` are one, so that it cannot blow up."""
    text = re.sub(r"\*+", "*", text)
    return re.compile("".join(".*" if c == "*" else "." if c == "?" else re.escape(c) for c in text) + r"\Z", re.DOTALL)


def split_arguments(text: str, where: str) -> list[str]:
    """The arguments of a line: quotes group, `\\"` and `\\ ` escape, `#` at the start of a word begins a comment.

    Raises:
        InventoryError: a quote is not closed.
    """
    words: list[str] = []
    index, end = 0, len(text)
    while index < end:
        if text[index] in " \t":
            index += 1
            continue
        if text[index] == "#":
            break
        word: list[str] = []
        quote = ""
        while index < end:
            char = text[index]
            following = text[index + 1 : index + 2]
            if char == "\\" and following and (following in "'\"\\" or (not quote and following == " ")):
                word.append(following)
                index += 1
            elif not quote and char in " \t":
                break
            elif not quote and char in "'\"":
                quote = char
            elif quote and char == quote:
                quote = ""
            else:
                word.append(char)
            index += 1
        if quote:
            raise InventoryError(f"{where}: a quote is not closed: {quoted(text)}")
        words.append("".join(word))
    return words


class _Reader:
    def __init__(self, home: Path, system: bool) -> None:
        self.home = home
        self.system = system
        self.segments: list[Segment] = []

    def read(self, path: Path, around: tuple[Gate, ...], depth: int, *, trusted: bool = False) -> None:
        """Read a file that holds where `around` holds."""
        text = _text(path, trusted)
        gates = around
        options = self._open(gates)
        for number, raw in enumerate(text.split("\n"), 1):
            line = raw.strip(" \t\r\f")
            if not line or line[0] == "#":
                continue
            where = f"{path}:{number}"
            match = _LINE.match(line)
            if not match or not match.group(2):
                raise InventoryError(f"{where}: expected a keyword and its value, found {quoted(line)}")
            key = match.group(1).lower()
            words = split_arguments(match.group(2), where)
            if not words:
                raise InventoryError(f"{where}: {match.group(1)} has no value")
            if key == "host":
                gates = (*around, Gate(where, tuple(compile_pattern(word) for word in words), ()))
                options = self._open(gates)
            elif key == "match":
                gates = (*around, Gate(where, (), _criteria(words, where)))
                options = self._open(gates)
            elif key == "include":
                for word in words:
                    self._include(word, gates, depth, where)
                options = self._open(gates)
            else:
                key = _SYNONYMS.get(key, key)
                value = (match.group(2).lstrip(" \t="),) if key in _RAW else tuple(words)
                options.append(Option(key, value, where))

    def _open(self, gates: tuple[Gate, ...]) -> list[Option]:
        options: list[Option] = []
        self.segments.append(Segment(gates, options))
        return options

    def _include(self, pattern: str, gates: tuple[Gate, ...], depth: int, where: str) -> None:
        if depth + 1 > MAX_INCLUDE_DEPTH:
            raise InventoryError(
                f"{where}: Include goes deeper than {MAX_INCLUDE_DEPTH} files; does one include itself?"
            )
        if "${" in pattern or "%" in pattern:
            pattern = _expand_include(pattern, self.home, where)
        path = expand_tilde(pattern, self.home)
        if not path.startswith("/"):
            path = str((Path("/etc/ssh") if self.system else self.home / ".ssh") / path)
        for name in sorted(glob.glob(path)):  # noqa: PTH207 - an absolute pattern
            if not Path(name).is_dir():
                self.read(Path(name), gates, depth + 1)


def _text(path: Path, trusted: bool) -> str:
    try:
        with path.open("rb") as stream:
            if not trusted:
                _check_owner(path, os.fstat(stream.fileno()))
            data = stream.read(MAX_BYTES + 1)
    except OSError as problem:
        raise InventoryError(f"{path}: cannot read this ssh config: {problem.strerror}") from None
    if len(data) > MAX_BYTES:
        raise InventoryError(f"{path}: larger than {MAX_BYTES} bytes: is this an ssh config?")
    return data.decode("utf-8", "surrogateescape")


def _check_owner(path: Path, status: os.stat_result) -> None:
    """Who can write the config can run commands as the user (ProxyCommand): refuse what others can write."""
    others = stat.S_IWOTH | (stat.S_IWGRP if status.st_gid != os.getgid() else 0)
    if status.st_uid not in (0, os.geteuid()) or status.st_mode & others:
        raise InventoryError(
            f"{path}: others than you can write this ssh config, so ssh and nodectl refuse it: chmod go-w {path}"
        )


def _criteria(words: list[str], where: str) -> tuple[Criterion, ...]:
    """The conditions of a Match line."""
    criteria: list[Criterion] = []
    index = 0
    while index < len(words):
        word = words[index]
        index += 1
        negated = word.startswith("!")
        kind, equals, argument = word.lstrip("!").partition("=")
        kind = kind.lower()
        if kind in ("all", "canonical", "final"):
            criteria.append(Criterion(kind, negated, ""))
            continue
        if not equals:
            if index >= len(words):
                raise InventoryError(f"{where}: Match {kind} needs a value")
            argument = words[index]
            index += 1
        criteria.append(Criterion(kind, negated, argument))
    kinds = [criterion.kind for criterion in criteria]
    if "all" in kinds and (kinds[-1] != "all" or len(set(kinds) - {"all", "canonical", "final"}) > 0):
        raise InventoryError(f"{where}: Match all cannot be combined with other conditions")
    return tuple(criteria)


def expand_tilde(text: str, home: Path) -> str:
    """`~/x` and `~user/x` as paths; all else as it is.

    Raises:
        InventoryError: there is no such user.
    """
    if not text.startswith("~"):
        return text
    user, slash, rest = text[1:].partition("/")
    if not user:
        return f"{home}{slash}{rest}"
    import pwd

    try:
        return f"{pwd.getpwnam(user).pw_dir}{slash}{rest}"
    except KeyError:
        raise InventoryError(f"{quoted(text)}: there is no user {quoted(user)}") from None


def expand_environment(text: str, where: str) -> str:
    """`${NAME}` as the environment has it.

    Raises:
        InventoryError: it is not set.
    """

    def value(match: re.Match[str]) -> str:
        name = match.group(1)
        if name not in os.environ:
            raise InventoryError(f"{where}: ${{{name}}} is not set in the environment")
        return os.environ[name]

    return re.sub(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}", value, text)


def _expand_include(pattern: str, home: Path, where: str) -> str:
    """`${NAME}`, `%d`, `%u` and `%i` of an Include (OpenSSH 9.9 and newer)."""
    import getpass

    text = expand_environment(pattern, where)
    tokens = {"d": str(home), "u": getpass.getuser(), "i": str(os.getuid()), "%": "%"}

    def token(match: re.Match[str]) -> str:
        if match.group(1) not in tokens:
            raise InventoryError(f"{where}: %{match.group(1)} in Include depends on the host; nodectl cannot follow it")
        return tokens[match.group(1)]

    return re.sub(r"%(.?)", token, text)
