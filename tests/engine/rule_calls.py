"""Calling a Python rule in a test: plain values in, outcomes out, with the shipped tables."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from nodectl.catalogue import Table
from nodectl.engine import catalogue_for_run
from nodectl.engine.evaluate import Rule
from nodectl.engine.rules import FactView, RowResult
from nodectl.model import Fact, Outcome, absent, error, present

ABSENT = object()
ERROR = object()


@lru_cache
def tables() -> Mapping[str, Table]:
    return catalogue_for_run.load().tables


def view(values: Mapping[str, Any]) -> FactView:
    """Facts by name; ABSENT and ERROR stand for those states."""

    def fact(name: str, value: Any) -> Fact:
        if value is ABSENT:
            return absent(name, "not there")
        return error(name, "timed out") if value is ERROR else present(name, value)

    return FactView({name: fact(name, value) for name, value in values.items()}, tuple(values))


def call(rule: Rule, values: Mapping[str, Any], **params: Any) -> list[RowResult]:
    return rule(view(values), params, tables())


def worst(rule: Rule, values: Mapping[str, Any], **params: Any) -> Outcome:
    return max((result.outcome for result in call(rule, values, **params)), key=lambda outcome: outcome.rank)


def subjects(results: list[RowResult], outcome: Outcome = Outcome.FAIL) -> list[str]:
    return [result.subject for result in results if result.outcome is outcome]


def gpus(*rows: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Rows of gpu.devices with their indexes put in."""
    return [{"index": index, **row} for index, row in enumerate(rows)]
