"""The fixtures of the shipped checks, which lie beside this file (their form: nodectl.engine.fixtures)."""

from __future__ import annotations

from pathlib import Path

from nodectl.engine.fixtures import Fixture, Given, disagreement, find_fixtures, read_fixture, worst

HERE = Path(__file__).resolve().parent

__all__ = ["Fixture", "Given", "all_fixtures", "disagreement", "read", "worst"]

read = read_fixture


def all_fixtures() -> list[Fixture]:
    return find_fixtures(HERE)
