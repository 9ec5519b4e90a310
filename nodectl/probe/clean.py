"""The one door through which text of a node comes in.

Whatever a node sends may end up on an admin's terminal, in HTML or in a log. `clean` makes it plain: nothing in the
result can move a cursor, change a colour, write the clipboard, reverse the reading direction or hide.
"""

from __future__ import annotations

import re

MAX_LINE_CHARS = 65_536
MAX_CHARS = 8 * 1024 * 1024

# Control characters that a terminal acts on, all of ASCII's but newline and tab.
_ASCII_CONTROLS = bytes([*range(0x09), *range(0x0B, 0x20), 0x7F])

# C0 and C1 controls, then what Unicode has to reorder, hide or break lines: soft hyphen, Arabic letter mark and its
# kin, Hangul fillers, Mongolian separators, zero-width and bidi marks, line and paragraph separators, invisible
# operators, byte order mark, annotation anchors, shorthand and musical format controls, tags. Lone surrogates cannot
# be encoded at all.
_UNSAFE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f"
    "\u00ad\u0600-\u0605\u061c\u06dd\u070f\u0890\u0891\u08e2\u115f\u1160\u17b4\u17b5\u180b-\u180f"
    "\u200b-\u200f\u2028-\u202e\u2060-\u206f\u3164\ufeff\uffa0\ufff0-\ufffb"
    "\U000110bd\U000110cd\U00013430-\U0001343f\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
    "\ud800-\udfff]+"
)


def clean(data: bytes | str, *, max_line: int = MAX_LINE_CHARS, max_total: int = MAX_CHARS) -> str:
    r"""Text of a node, safe to show and to keep.

    Controls but newline and tab become visible as `\x1b`, characters that reorder or hide text as `\u202e`, bytes that
    are no UTF-8 become U+FFFD. What is longer than the limits is cut, and a mark says how much. Cleaning clean text
    changes nothing.

    Args:
        data: raw bytes, or text that is not trusted.
        max_line: longest line, in characters, its mark included.
        max_total: longest text, in characters, its mark included.
    """
    if isinstance(data, bytes) and _is_short_and_plain(data, min(max_line, max_total)):
        return data.decode("ascii")  # nearly everything that a node sends
    text = _decoded(data)
    # Cut before and after: escaping makes text longer, and a hostile megabyte must not become six.
    text = _cut_lines(_cut(text, max_total), max_line)
    if not _is_plain(text):
        text = _cut_lines(_UNSAFE.sub(_visible, text), max_line)
    return _cut(text, max_total)


def clean_line(data: bytes | str, *, max_chars: int = 200) -> str:
    """The same as one short line, for messages: line breaks and tabs become spaces."""
    if not data:
        return ""
    head = data[: 8 * max_chars]
    return _cut(" ".join(clean(head).split()), max_chars)


def _decoded(data: bytes | str) -> str:
    if isinstance(data, str):
        return data
    return data.decode("utf-8", "replace")


def _is_short_and_plain(data: bytes, limit: int) -> bool:
    return len(data) <= limit and data.isascii() and len(data.translate(None, _ASCII_CONTROLS)) == len(data)


def _is_plain(text: str) -> bool:
    """Quick: most of what a node sends is ASCII with no controls. Deleting bytes is the fastest search there is."""
    if not text.isascii():
        return False
    raw = text.encode("ascii")
    return len(raw.translate(None, _ASCII_CONTROLS)) == len(raw)


class _Escapes(dict[str, str]):
    """What stands for a character, worked out when it is first met."""

    def __missing__(self, char: str) -> str:
        code = ord(char)
        if 0xD800 <= code <= 0xDFFF:
            shown = "\ufffd"
        elif code <= 0xFF:
            shown = f"\\x{code:02x}"
        else:
            shown = f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"
        self[char] = shown
        return shown


_ESCAPES = _Escapes()


def _visible(match: re.Match[str]) -> str:
    return "".join([_ESCAPES[char] for char in match[0]])


def _cut_lines(text: str, limit: int) -> str:
    if not _has_long_line(text, limit):
        return text
    return "\n".join(_cut(line, limit) for line in text.split("\n"))


def _cut(text: str, limit: int) -> str:
    """At most `limit` characters, of which the last say what was cut off."""
    if len(text) <= limit:
        return text
    # The mark's own length depends on the number in it; 40 characters hold any.
    keep = max(limit - 40, 0)
    return (text[:keep] + f"[cut: {len(text) - keep} more characters]")[:limit]


def _has_long_line(text: str, limit: int) -> bool:
    """Leaps from newline to newline in steps of `limit`, so that it costs next to nothing on ordinary text."""
    at, size = 0, len(text)
    while size - at > limit:
        newline = text.rfind("\n", at, at + limit + 1)
        if newline < 0:
            return True
        at = newline + 1
    return False
