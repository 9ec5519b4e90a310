"""Checks that operators cannot say, as pure functions.

A rule is a function in a module of this package, named by a check's YAML
(`expect: {python: "nodectl.engine.rules.xid:events"}`):

    def events(facts: FactView, params: Mapping[str, Any], tables: Mapping[str, Table]) -> list[RowResult]:

It sees the facts that its check lists, and nothing else: no clock, no files, no network. A fact that could not be read
makes the whole check unknown, by itself, as soon as the rule asks for it; so does any exception. What is true of one
part only (one GPU whose field could not be read) is said with a RowResult of that part. An empty list is unknown: a
rule that finds nothing wrong says so with a RowResult that passes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import msgspec

from nodectl.catalogue.operands import NOT_REPORTED
from nodectl.model import Fact, FactState, Outcome

NVIDIA = "nvidia"

_T = TypeVar("_T")


class CannotTellError(Exception):
    """A rule cannot tell: its check is unknown, with this text as the reason."""


class RowResult(msgspec.Struct, frozen=True):
    """What a rule says of one part of a node (`subject`: "GPU 3"), or of the node as a whole (no subject)."""

    outcome: Outcome
    subject: str = ""
    expected: str = ""
    actual: str = ""
    reason: str = ""


class FactView:
    """The facts that a check lists, for a rule to read."""

    __slots__ = ("_facts", "_listed", "_working")

    def __init__(
        self, facts: Mapping[str, Fact], listed: tuple[str, ...], working: dict[str, Any] | None = None
    ) -> None:
        self._facts = facts
        self._listed = listed
        self._working = {} if working is None else working

    def once(self, key: str, look: Callable[[FactView], _T]) -> _T:
        """What `look` makes of the facts, kept for the other rules of this node that ask under the same key.

        Each rule must list all facts that `look` reads: what another rule has looked at is not hidden from it. A look
        that raises is not kept.
        """
        if key not in self._working:
            self._working[key] = look(self)
        found: _T = self._working[key]
        return found

    def fact(self, name: str) -> Fact:
        """The fact itself, in whatever state.

        Raises:
            CannotTellError: the check does not list it, or it was not gathered.
        """
        if name not in self._listed:
            raise CannotTellError(f"the rule reads {name}, which its check does not list under `facts`")
        fact = self._facts.get(name)
        if fact is None:
            raise CannotTellError(f"{name} was not gathered")
        return fact

    def state(self, name: str) -> FactState:
        return self.fact(name).state

    def value(self, name: str) -> Any:
        """The value of a fact that must be there.

        Raises:
            CannotTellError: it is absent, or could not be read.
        """
        fact = self.fact(name)
        if fact.state is not FactState.VALUE:
            raise CannotTellError(f"{name}: {fact.reason or fact.state.value}")
        return fact.value

    def get(self, name: str, default: Any = None) -> Any:
        """The value, or the default where the fact is absent.

        Raises:
            CannotTellError: it could not be read.
        """
        return default if self.fact(name).state is FactState.ABSENT else self.value(name)

    def rows(self, name: str) -> list[dict[str, Any]]:
        """The rows of a table fact. `gpu.devices` and `gpu.pci` have every vendor's: see `nvidia_rows`.

        Raises:
            CannotTellError: it is absent, could not be read, or is not a table.
        """
        rows = self.value(name)
        if not isinstance(rows, (list, tuple)) or not all(isinstance(row, dict) for row in rows):
            raise CannotTellError(f"{name} is not a table of rows")
        return list(rows)

    def nvidia_rows(self, name: str) -> list[dict[str, Any]]:
        """The rows of NVIDIA's devices alone, of a table that may hold those of several vendors.

        Raises:
            CannotTellError: as `rows`.
        """
        return self.rows_of(NVIDIA, name)

    def rows_of(self, vendor: str, name: str) -> list[dict[str, Any]]:
        """The rows of one vendor's devices (`vendor` as the facts have it: nvidia, amd, habana, intel).

        Raises:
            CannotTellError: as `rows`.
        """
        return [row for row in self.rows(name) if row.get("vendor", NVIDIA) == vendor]


def field_error(row: Mapping[str, Any], field: str) -> str:
    """Why a field of a row could not be read; empty when it has a value or the device has no such thing."""
    errors = row.get("_errors")
    return str(errors[field]) if isinstance(errors, dict) and field in errors else ""


def require_field(row: Mapping[str, Any], field: str) -> Any:
    """The value of a field of a row.

    Raises:
        CannotTellError: it could not be read, or is not reported.
    """
    problem = field_error(row, field)
    value = row.get(field)
    if problem or value is None:
        raise CannotTellError(f"{field}: {problem or NOT_REPORTED}")
    return value
