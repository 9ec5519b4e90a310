"""Nodes to try the probe on, one for each shell that it must run under."""

from __future__ import annotations

from pathlib import Path

import pytest
from probe_nodes import SHELLS, FakeNode


@pytest.fixture(params=SHELLS)
def node(request: pytest.FixtureRequest, tmp_path: Path) -> FakeNode:
    return FakeNode(request.param, tmp_path / "bin")


@pytest.fixture(scope="module", params=SHELLS)
def steady_node(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> FakeNode:
    """The same for a whole module, where hypothesis runs many examples."""
    return FakeNode(request.param, tmp_path_factory.mktemp("node") / "bin")
