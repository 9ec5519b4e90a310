"""The one exception of this package."""

from __future__ import annotations

from collections.abc import Iterable

from nodectl.errors import UserError


class InventoryError(UserError):
    """What was named as hosts, or the ssh config, cannot be used; nothing was run.

    Attributes:
        problems: each `file:line: what is wrong, what was expected` (`--hosts: …` for an option), in order.
    """

    def __init__(self, problems: str | Iterable[str]) -> None:
        self.problems: tuple[str, ...] = (problems,) if isinstance(problems, str) else tuple(problems)
        super().__init__("\n".join(self.problems))
