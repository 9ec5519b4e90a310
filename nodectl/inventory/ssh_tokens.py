"""The `%h`, `%p`, … of ssh config values."""

from __future__ import annotations

import hashlib
import os
import re
import socket
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from nodectl.inventory.errors import InventoryError
from nodectl.strict_yaml import quoted

PATH_TOKENS = "CdhijkLlnpru"
"""Allowed in file options and in Match exec (ssh_config(5), TOKENS)."""

PROXY_TOKENS = "hnpr"
"""Allowed in ProxyCommand and ProxyJump."""


class Tokens(NamedTuple):
    """What the tokens stand for, for one host."""

    typed: str
    host: str
    port: int
    user: str
    local_user: str
    home: Path
    alias: str = ""
    jump: str = ""

    def expand(self, text: str, allowed: str, where: str) -> str:
        """The text with its tokens replaced.

        Raises:
            InventoryError: a token that this option does not know.
        """
        if "%" not in text:
            return text
        values: Mapping[str, Callable[[], str]] = {
            "d": lambda: str(self.home),
            "h": lambda: self.host,
            "i": lambda: str(os.getuid()),
            "j": lambda: self.jump,
            "k": lambda: self.alias or self.typed,
            "L": lambda: socket.gethostname().partition(".")[0],
            "l": socket.gethostname,
            "n": lambda: self.typed,
            "p": lambda: str(self.port),
            "r": lambda: self.user,
            "u": lambda: self.local_user,
            "C": self._connection_hash,
        }
        return percent(text, {name: values[name] for name in allowed}, where)

    def _connection_hash(self) -> str:
        parts = (socket.gethostname(), self.host, str(self.port), self.user, self.jump)
        return hashlib.sha1("".join(parts).encode(), usedforsecurity=False).hexdigest()


def percent(text: str, values: Mapping[str, Callable[[], str]], where: str) -> str:
    """The text with `%x` replaced by values["x"](), and `%%` by `%`.

    Raises:
        InventoryError: a token that is not among the values.
    """

    def value(match: re.Match[str]) -> str:
        name = match.group(1)
        if name == "%":
            return "%"
        if name not in values:
            raise InventoryError(f"{where}: %{name} means nothing in {quoted(text)}; known here: {_known(values)}")
        return values[name]()

    return re.sub(r"%(.?)", value, text, flags=re.DOTALL)


def _known(values: Mapping[str, Callable[[], str]]) -> str:
    return " ".join(f"%{name}" for name in ("%", *values))
