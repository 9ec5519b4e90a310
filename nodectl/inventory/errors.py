"""The one exception of this package."""

from __future__ import annotations

from collections.abc import Iterable

from nodectl.errors import UserError


class InventoryError(UserError):
    """What was named as hosts, or the ssh config, cannot be used; nothing was run.

    Attributes:
        problems: each `file:line: what is wrong, what was expected` (`--hosts: …` for an option), in order. They are
            one line each, and control characters that a file or an option had are made visible.
    """

    def __init__(self, problems: str | Iterable[str]) -> None:
        each = (problems,) if isinstance(problems, str) else problems
        self.problems: tuple[str, ...] = tuple(visible(problem) for problem in each)
        super().__init__("\n".join(self.problems))


def visible(text: str) -> str:
    """Text with its control characters (and others that no terminal should get) as escapes like `\\x1b`."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "replace").decode("ascii") for c in text)
