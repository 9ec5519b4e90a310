"""The shipped catalogue, read once, with every name in it checked."""

from __future__ import annotations

import pytest

from nodectl.catalogue import Catalogue
from nodectl.engine import catalogue_for_run


@pytest.fixture(scope="session")
def catalogue() -> Catalogue:
    return catalogue_for_run.load()
