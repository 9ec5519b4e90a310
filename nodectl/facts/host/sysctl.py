"""Kernel settings: `sysctl[KEY]`."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING

from nodectl.facts.reading import NotThere, Reading, told
from nodectl.facts.registry import Context, FactSpec
from nodectl.model import Fact

if TYPE_CHECKING:
    from nodectl.probe.transcript import SourceReply

FACTS = (
    FactSpec(
        name="sysctl[KEY]",
        type="str",
        about="Kernel setting as in sysctl -n KEY, its numbers one space apart; absent when the kernel has no such key",
        source="sysctl",
        keys_as_args=True,
    ),
)

_SWAP = str.maketrans("./", "/.")


def path_of(key: str) -> str:
    """The file of a key, by the rule of sysctl(8): `net.ipv4.conf.eth0/100.arp_ignore` -> .../conf/eth0.100/arp_ignore.

    A key whose first separator is a slash is a path already.
    """
    first = next((character for character in key if character in "./"), ".")
    return "/proc/sys/" + (key if first == "/" else key.translate(_SWAP))


def _value(reading: Reading, key: str) -> str:
    path = path_of(key)
    try:
        text = reading.line(path)
    except NotThere:
        raise NotThere(f"the kernel has no setting {key} (no {path})") from None
    return "\n".join(" ".join(line.split()) for line in text.splitlines())


def parse(reply: SourceReply, context: Context) -> Iterator[Fact]:
    """The facts of the source `sysctl`: one for each key asked for."""
    reading = Reading(reply)
    for key in context.keys_of("sysctl"):
        yield told(f"sysctl[{key}]", partial(_value, reading, key), f"sysctl -n {key}")


SOURCES = {"sysctl": parse}
