"""Kernel, boot arguments and identity of a node: `kernel.*` and `node.*`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING

from nodectl.facts.reading import CannotTell, NotThere, Reading, told, word
from nodectl.facts.registry import DERIVED_SOURCE, Context, Derivation, FactSpec
from nodectl.model import Fact

if TYPE_CHECKING:
    from nodectl.probe.transcript import SourceReply

_RELEASE = "/proc/sys/kernel/osrelease"
_HOSTNAME = "/proc/sys/kernel/hostname"
_BOOT_ID = "/proc/sys/kernel/random/boot_id"
_UPTIME = "/proc/uptime"
_CMDLINE = "/proc/cmdline"
_MACHINE_ID = "/etc/machine-id"
_DATE = "date -u +%Y-%m-%dT%H:%M:%SZ"


def _spec(name: str, type: str, about: str, *, unit: str = "", source: str = "node", varies: bool = False) -> FactSpec:
    return FactSpec(name=name, type=type, about=about, unit=unit, source=source, varies=varies)


FACTS = (
    _spec("kernel.release", "str", "Release of the running kernel, as in uname -r"),
    _spec("kernel.version", "version", "The release cut to a.b.c, to compare with", source=DERIVED_SOURCE),
    _spec("kernel.arch", "str", "Machine type of the kernel, as in uname -m: x86_64, aarch64"),
    _spec("kernel.cmdline", "str", "Boot arguments as one line, as in /proc/cmdline"),
    _spec("kernel.args", "list", "Boot arguments one by one, quotes undone; what follows -- is for init and left out"),
    _spec(
        "kernel.arg[NAME]",
        "str",
        'Value of a boot argument: the last one wins, "" for a bare flag, absent if not given; - and _ are the same',
    ),
    _spec("node.hostname", "str", "Host name that the kernel has", varies=True),
    _spec(
        "node.machine_id",
        "str",
        "Id of this installation, from /etc/machine-id; two nodes with one id are clones",
        varies=True,
    ),
    _spec("node.boot_id", "str", "Id of this boot", varies=True),
    _spec("node.uptime_s", "float", "Time since boot", unit="s", varies=True),
    _spec("node.time_utc", "str", "The node's clock when it was asked, RFC 3339", varies=True),
    _spec("node.uid", "int", "Numeric user id that asked (0 is root)", varies=True),
)


def split_cmdline(text: str) -> list[str]:
    """Boot arguments as the kernel splits them.

    A double quote keeps spaces together and is dropped when it opens an argument or a value. What stands behind `--`
    belongs to init.
    """
    args: list[str] = []
    word_, quoted = "", False
    for character in [*text.strip(), " "]:
        if character == '"':
            quoted = not quoted
        if character.isspace() and not quoted:
            if word_ == "--":
                return args
            if word_:
                args.append(_dequoted(word_))
            word_ = ""
        else:
            word_ += character
    if word_:
        args.append(_dequoted(word_.rstrip()))
    return args


def _dequoted(arg: str) -> str:
    name, equals, value = arg.partition("=")
    if arg.startswith('"'):
        return arg[1:-1] if arg.endswith('"') and len(arg) > 1 else arg[1:]
    if equals and value.startswith('"'):
        return f"{name}={value[1:-1] if value.endswith(chr(34)) and len(value) > 1 else value[1:]}"
    return arg


def last_argument(args: list[str], name: str) -> str | None:
    """The value of the last argument of that name, "" for a bare flag, None when it is not given."""
    wanted = name.replace("-", "_")
    for arg in reversed(args):
        key, _, value = arg.partition("=")
        if key.replace("-", "_") == wanted:
            return value
    return None


def version_of(release: str) -> str:
    """`6.8.0-45-generic` -> `6.8.0`, `6.8-rc1` -> `6.8.0`."""
    match = re.match(r"(\d+)\.(\d+)(?:\.(\d+))?", release)
    if not match:
        raise CannotTell(f"no kernel release: {release!r:.60}")
    return f"{match[1]}.{match[2]}.{match[3] or 0}"


def _matching(text: str, pattern: str, what: str) -> str:
    found = text.strip()
    if not re.fullmatch(pattern, found):
        raise CannotTell(f"no {what}: {found!r:.60}")
    return found


def _machine_id(text: str) -> str:
    if text.strip() in ("", "uninitialized"):
        raise NotThere(f"{_MACHINE_ID} is not set up yet")
    return _matching(text, r"[0-9a-f]{32}", "machine id")


def _uptime(text: str) -> float:
    return float(_matching(text, r"\d+(\.\d+)? +\d+(\.\d+)?", "uptime").split()[0])


def _cmdline(reading: Reading) -> str:
    return word(reading.file(_CMDLINE), _CMDLINE)


def _argument(reading: Reading, name: str) -> str:
    value = last_argument(split_cmdline(_cmdline(reading)), name)
    if value is None:
        raise NotThere(f"{name} is not among the boot arguments")
    return value


def _uid(context: Context) -> int:
    if context.uid is None:
        raise CannotTell("the node did not say who asked")
    return context.uid


def parse(reply: SourceReply, context: Context) -> Iterator[Fact]:
    """The facts of the source `node`."""
    reading = Reading(reply)
    name = r"[A-Za-z0-9_.:+-]{1,255}"
    yield told("kernel.release", lambda: _matching(reading.line(_RELEASE), r"\d+\.\S{1,200}", "release"), "uname -r")
    yield told("kernel.arch", lambda: _matching(reading.command("uname -m"), name, "machine type"), "uname -m")
    yield told("kernel.cmdline", lambda: _cmdline(reading), _CMDLINE)
    args = told("kernel.args", lambda: split_cmdline(_cmdline(reading)), _CMDLINE)
    yield args
    for key in context.keys_of("kernel.arg"):
        yield told(f"kernel.arg[{key}]", partial(_argument, reading, key), _CMDLINE)
    yield told("node.hostname", lambda: _matching(reading.line(_HOSTNAME), name, "host name"), "hostname")
    yield told("node.machine_id", lambda: _machine_id(reading.file(_MACHINE_ID)), _MACHINE_ID)
    yield told("node.boot_id", lambda: _matching(reading.line(_BOOT_ID), r"[0-9a-f-]{36}", "boot id"), _BOOT_ID)
    yield told("node.uptime_s", lambda: _uptime(reading.line(_UPTIME)), _UPTIME)
    yield told(
        "node.time_utc", lambda: _matching(reading.command(_DATE), r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", "time"), _DATE
    )
    yield told("node.uid", lambda: _uid(context), "id -u")


SOURCES = {"node": parse}
DERIVED: dict[str, Derivation] = {"kernel.version": (("kernel.release",), version_of)}
