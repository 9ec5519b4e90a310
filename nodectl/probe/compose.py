r"""The sources as files, and the one script that a node is given."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path

import msgspec

from nodectl.suggest import did_you_mean

_HERE = Path(__file__).resolve().parent
SOURCES_DIR = _HERE / "sources"

HEADER = "# nodectl-probe/1"
# A source of 2 MiB is broken; the reader has the same limit. Where nvidia-smi babbles, all sources that ask it do so at
# once, and what the others say must still fit into a reply.
SOURCE_CAP_BYTES = 2 * 1024 * 1024
# Fast sources take milliseconds. When a file system hangs under several of them, the others still get their turn, up to
# this many seconds; the rest is left out.
FAST_LANE_BUDGET_S = 20
# From the end of a source's time to where the node leaves it behind: TERM, KILL 2 s later, then the guard's own clock.
GRACE_S = 6
# For the node to start the script.
START_S = 5

_KEYS = ("source", "about", "timeout", "lane", "root", "args", "sample", "by_hand")
_REQUIRED = ("source", "about", "timeout", "lane", "root")
_CHOICES = {"lane": ("fast", "slow"), "root": ("no", "helps", "needed"), "sample": ("yes", "no")}
_HEADER_LINE = re.compile(r"# ([a-z_]+): *(.*?) *$")
_NAME = re.compile(r"[a-z][a-z0-9_]{0,40}")
_MAX_TIMEOUT_S = 120


class SourceError(Exception):
    """A source file that is not as it must be: `file:line: what, and what was expected`."""


class SourceSpec(msgspec.Struct, frozen=True, kw_only=True):
    """One source file.

    Attributes:
        name: as the file is called.
        about: one line for people.
        timeout_s: seconds that it may take on the node, without the pause of a `sample` source.
        lane: `fast` (one after the other) or `slow` (side by side with everything else).
        root: `no`, `helps` or `needed`.
        args_family: the family of facts whose keys are its arguments; empty for none.
        sample: it reads counters twice.
        by_hand: what a person would type on the node to see the same; `{key}` stands for a key that is asked for.
        body: shell text, without comments, blank lines and indentation.
    """

    name: str
    about: str
    timeout_s: int
    lane: str
    root: str
    args_family: str = ""
    sample: bool = False
    by_hand: str = ""
    body: str = ""


@cache
def load_sources() -> dict[str, SourceSpec]:
    """Every source that nodectl has, by name.

    Raises:
        SourceError: a file's header is wrong.
    """
    return {path.stem: read_source(path) for path in sorted(SOURCES_DIR.glob("*/*.sh"), key=lambda path: path.stem)}


def read_source(path: Path) -> SourceSpec:
    """Reads one source file.

    Raises:
        SourceError: its header is wrong, or its body has what cannot be carried.
    """
    header: dict[str, str] = {}
    lines = path.read_text(encoding="utf-8").split("\n")
    for number, key, value in _header(lines):
        _check_header_line(f"{path}:{number}", header, key, value)
        header[key] = value
    for key in _REQUIRED:
        if key not in header:
            raise SourceError(f'{path}:1: the header has no "# {key}: ..." line')
    if header["source"] != path.stem or not _NAME.fullmatch(path.stem):
        raise SourceError(
            f'{path}:1: "# source: {header["source"]}" is not the file\'s name (small letters, digits, _)'
        )
    return SourceSpec(
        name=path.stem,
        about=header["about"],
        timeout_s=int(header["timeout"]),
        lane=header["lane"],
        root=header["root"],
        args_family=header.get("args", ""),
        sample=header.get("sample") == "yes",
        by_hand=header.get("by_hand", ""),
        body=_body(path, lines),
    )


def _header(lines: list[str]) -> Iterator[tuple[int, str, str]]:
    """The `# key: value` lines at the top, up to the first line that is none."""
    for number, line in enumerate(lines, 1):
        match = _HEADER_LINE.match(line)
        if not match:
            return
        yield number, match[1], match[2]


def _check_header_line(where: str, header: Mapping[str, str], key: str, value: str) -> None:
    if key not in _KEYS:
        raise SourceError(f'{where}: unknown key "{key}"{did_you_mean(key, _KEYS)} (known: {", ".join(_KEYS)})')
    if key in header:
        raise SourceError(f'{where}: "{key}" is there twice')
    if not value:
        raise SourceError(f'{where}: "{key}" has no value')
    if key in _CHOICES and value not in _CHOICES[key]:
        raise SourceError(f'{where}: "{key}" is one of {", ".join(_CHOICES[key])}, not "{value}"')
    if key == "timeout" and not (value.isdigit() and 0 < int(value) <= _MAX_TIMEOUT_S):
        raise SourceError(f'{where}: "timeout" is whole seconds, 1 to {_MAX_TIMEOUT_S}, not "{value}"')
    if key == "args" and not _NAME.fullmatch(value):
        raise SourceError(f'{where}: "args" is the family of a fact such as sysctl, not "{value}"')


def _body(path: Path, lines: list[str]) -> str:
    kept = []
    for number, line in enumerate(lines, 1):
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        if "<<" in line:
            # Comments, blank lines and indentation are left out on the way, which would change what it says.
            raise SourceError(f"{path}:{number}: no here-documents and no << in a source: use printf, or $((x * 2))")
        kept.append(text)
    return "\n".join(kept) + "\n" if kept else ""


@cache
def prelude() -> str:
    """The functions that every source may call, as they are sent."""
    return _shipped("prelude.sh")


@cache
def _shipped(name: str) -> str:
    path = _HERE / name
    return _body(path, path.read_text(encoding="utf-8").split("\n"))


def compose(
    sources: Mapping[str, Sequence[str]],
    *,
    nonce: str,
    sample_s: int = 1,
    sudo: bool = True,
    specs: Mapping[str, SourceSpec] | None = None,
) -> bytes:
    """The script that a node is given on stdin of `sh`: one function, called on its last line.

    Args:
        sources: names of sources, with the arguments of each; what is in the fast lane runs in this order.
        nonce: hexadecimal digits, new for every node and run; what the node's data cannot contain.
        sample_s: seconds between the two readings of a `sample` source.
        sudo: whether sources that need root may try `sudo -n` when the login is not root.
        specs: instead of the sources that nodectl has.

    Raises:
        ValueError: an unknown source, or a nonce or an argument that cannot be sent.
    """
    if not re.fullmatch(r"[0-9a-f]{8,64}", nonce):
        raise ValueError("a nonce is 8 to 64 hexadecimal digits")
    chosen = _chosen(sources, specs)
    lanes = _lanes(chosen)
    names = ",".join(sources)
    lines = [
        f"{HEADER} nonce={nonce} sources={names}",
        "nd_probe() {",
        f"ND_NONCE={nonce} ND_SAMPLE_S={int(sample_s)} nd_sudo={'yes' if sudo else 'no'} nd_cap={SOURCE_CAP_BYTES}",
        f"nd_budget={FAST_LANE_BUDGET_S} nd_limit={_deadline_s(chosen, sample_s)} nd_lanes={len(lanes)}",
        f"nd_names={names}",
        f"nd_prelude={shlex.quote(prelude())}",
        f"nd_ticker={shlex.quote(_shipped('ticker.sh'))}",
        f"nd_guard={shlex.quote(_shipped('guard.sh'))}",
    ]
    lines += [f"nd_body_{spec.name}={shlex.quote(spec.body)}" for spec in chosen]
    for number, lane in enumerate(lanes):
        calls = [_call(spec, sources[spec.name], sample_s) for spec in lane]
        lines += [f"nd_lane_{number}() {{", *calls, "}"]
    lines += [_shipped("frame.sh") + "nd_main", "exit", "}", "nd_probe", ""]
    return "\n".join(lines).encode()


def probe_deadline_s(sources: Iterable[str], *, sample_s: int = 1) -> int:
    """The longest that a node may take over these sources, in seconds, when everything on it hangs."""
    return _deadline_s(_chosen(sources, None), sample_s)


def _chosen(sources: Iterable[str], specs: Mapping[str, SourceSpec] | None) -> list[SourceSpec]:
    known = load_sources() if specs is None else specs
    for name in sources:
        if name not in known:
            raise ValueError(f'no source "{name}"{did_you_mean(name, known)}')
    return [known[name] for name in sources]


def _lanes(chosen: Sequence[SourceSpec]) -> list[list[SourceSpec]]:
    """The slow ones begin first, each in a lane of its own; the fast ones share the last lane."""
    fast = [spec for spec in chosen if spec.lane == "fast"]
    slow = [[spec] for spec in chosen if spec.lane == "slow"]
    return [*slow, fast] if fast else slow


def _timeout_s(spec: SourceSpec, sample_s: int) -> int:
    return spec.timeout_s + (sample_s if spec.sample else 0)


def _deadline_s(chosen: Sequence[SourceSpec], sample_s: int) -> int:
    limits = [0]
    for lane in _lanes(chosen):
        each = [_timeout_s(spec, sample_s) + GRACE_S for spec in lane]
        limits.append(min(sum(each), FAST_LANE_BUDGET_S + max(each)) if len(lane) > 1 else sum(each))
    return max(limits) + START_S


def _call(spec: SourceSpec, args: Sequence[str], sample_s: int) -> str:
    for arg in args:
        if not arg.isprintable():
            raise ValueError(f"{spec.name}: an argument has characters that cannot be sent: {arg!a}")
    return " ".join(["nd_one", spec.name, str(_timeout_s(spec, sample_s)), *map(shlex.quote, args)])
