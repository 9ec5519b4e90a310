"""Escapes only for a person at a terminal, and never somebody else's."""

from __future__ import annotations

import io

import pytest

from nodectl.cli.terminal import paint, wants_colour, write


class Tty(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("stream", "environment", "choice", "expected"),
    [
        (Tty(), {}, "auto", True),
        (Tty(), {"NO_COLOR": "1"}, "auto", False),
        (Tty(), {"TERM": "dumb"}, "auto", False),
        (io.StringIO(), {}, "auto", False),
        (io.StringIO(), {"FORCE_COLOR": "1"}, "auto", True),
        (io.StringIO(), {}, "always", True),
        (Tty(), {}, "never", False),
    ],
)
def test_wants_colour(
    stream: io.StringIO, environment: dict[str, str], choice: str, expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert wants_colour(stream, choice) is expected


def test_a_pipe_gets_no_escapes() -> None:
    out = io.StringIO()
    write([[("fail", "X "), ("bold", "gpu.count")]], out, colour="auto")
    assert out.getvalue() == "X gpu.count\n"


def test_escapes_in_text_are_shown_and_not_sent() -> None:
    line = [("fail", "\x1b]52;c;aGk=\x07\u202e\nnext")]
    assert paint(line, colour=False) == r"\x1b]52;c;aGk=\x07\u202e\nnext"
    assert paint(line, colour=True).count("\x1b") == 2  # our own two
