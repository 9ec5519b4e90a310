"""Text wrapped into lines of a width."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodectl.view.lines import beside, hanging


def _text(lines: list[list[tuple[str, str]]]) -> list[str]:
    return ["".join(text for _, text in line) for line in lines]


DEVICES = "=" + ",".join(f"mlx5_{number}" for number in range(12))


@pytest.mark.parametrize("width", [40, 60, 80])
def test_a_list_that_is_longer_than_a_line_goes_on_after_a_comma(width: int) -> None:
    lines = _text(list(hanging("", f"{DEVICES}; there are 12", indent=4, label_width=10, width=width)))
    assert all(len(line) <= width for line in lines)
    assert "".join(line[14:] for line in lines).replace(" ", "") == f"{DEVICES};thereare12"


def test_a_list_that_fits_stays_whole() -> None:
    lines = _text(list(hanging("", f"NCCL_IB_HCA of the node is {DEVICES}", indent=0, label_width=0, width=90)))
    assert lines == ["NCCL_IB_HCA of the node is", DEVICES]


def test_an_address_is_never_broken() -> None:
    address = "https://example.com/" + ",".join("abcdefgh" for _ in range(12))
    lines = _text(list(hanging("source", f"A title, {address}", indent=4, label_width=10, width=60)))
    assert lines[-1].strip() == address


@given(st.lists(st.text("ab,/ ", min_size=1), max_size=8).map(" ".join), st.integers(30, 90))
def test_nothing_is_lost(text: str, width: int) -> None:
    lines = _text(list(beside("gpu-01", text, width=width)))
    assert "".join("".join(line).replace(" ", "") for line in lines) == "gpu-01" + text.replace(" ", "")
