"""Its folder is on the path of the tests below it: `replies` and `nvidia_replies` are theirs."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from nodectl.facts import gather


@pytest.fixture(autouse=True)
def nothing_is_remembered() -> Iterator[None]:
    """Tests put parsers of their own in place of those whose answers are kept."""
    _forget()
    yield
    _forget()


def _forget() -> None:
    gather._way_to.cache_clear()
    gather._parsed_once.cache_clear()
