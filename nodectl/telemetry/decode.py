"""From a line of a node's stream to its message. A hostile node may send anything: nothing but NotUnderstood comes out.

Ticks are most of what comes, so they are decoded straight into their type. The others are rare and are read with
patience: a key that is missing, null or of a wrong type becomes its default, an unknown key is nothing. Text goes
through `clean`, and what is longer or more than the limits of `messages` is cut.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable
from typing import Any, TypeVar

import msgspec

from nodectl.probe.clean import clean_line
from nodectl.telemetry.messages import (
    LONG,
    MAX_FIELDS,
    MAX_GPUS,
    MAX_LINE_BYTES,
    MAX_PROCESSES,
    SHORT,
    Bye,
    Event,
    Gpu,
    Hello,
    Host,
    Message,
    Process,
    Slow,
    Tick,
    Unsupported,
    Values,
)


class NotUnderstood(ValueError):
    """A line is no message. `unknown_kind` where it is one of a kind that this version does not know."""

    def __init__(self, text: str, *, unknown_kind: bool = False) -> None:
        super().__init__(text)
        self.unknown_kind = unknown_kind


def decode(line: bytes) -> Message:
    """The message of one line.

    Raises:
        NotUnderstood: it is none.
    """
    if len(line) > MAX_LINE_BYTES:
        raise NotUnderstood(f"a line of {len(line)} bytes")
    try:
        return _public(_decoded(line))
    except (msgspec.MsgspecError, ValueError, RecursionError, OverflowError) as exc:
        if isinstance(exc, NotUnderstood):
            raise
        raise NotUnderstood(clean_line(str(exc)), unknown_kind=_is_unknown_kind(line)) from None


# The lines as they come: what is rare is taken as it is, and made into its type by hand.


class _HelloLine(msgspec.Struct, tag_field="k", tag="hello"):
    v: Any = 1
    backend: Any = None
    why: Any = None
    interval_s: Any = None
    t: Any = None
    hostname: Any = None
    boot_id: Any = None
    driver: Any = None
    python: Any = None
    pid: Any = None
    gpus: Any = None
    host: Any = None
    unsupported: Any = None
    gpu_fields: Any = None
    host_fields: Any = None
    gpu_slow_fields: Any = None
    host_slow_fields: Any = None
    cut: Any = None

    def message(self) -> Hello:
        gpus = self.gpus if isinstance(self.gpus, list) else []
        cut = list(_words(self.cut))
        if len(gpus) > MAX_GPUS:
            cut.append(f"{len(gpus)} devices: the first {MAX_GPUS} are kept")
        return Hello(
            v=_whole(self.v) or 1,
            backend=_text(self.backend) or "none",
            why=_text(self.why, LONG),
            interval_s=min(max(_number(self.interval_s) or 1.0, 0.05), 3600.0),
            t=_number(self.t) or 0.0,
            hostname=_text(self.hostname),
            boot_id=_text(self.boot_id),
            driver=_text(self.driver),
            python=_text(self.python),
            pid=_whole(self.pid) or 0,
            gpus=tuple(_gpu(position, device) for position, device in enumerate(gpus[:MAX_GPUS])),
            host=_host(self.host),
            unsupported=_unsupported(self.unsupported),
            gpu_fields=_words(self.gpu_fields),
            host_fields=_words(self.host_fields),
            gpu_slow_fields=_words(self.gpu_slow_fields),
            host_slow_fields=_words(self.host_slow_fields),
            cut=tuple(cut),
        )


class _SlowLine(msgspec.Struct, tag_field="k", tag="s"):
    n: int = 0
    t: float = 0.0
    g: Values | None = None
    h: list[float | None] | None = None
    p: list[Any] | None = None

    def message(self) -> Slow:
        processes = None if self.p is None else tuple(filter(None, map(_process, self.p[:MAX_PROCESSES])))
        return Slow(seq=self.n, t=self.t, gpus=self.g, host=self.h, processes=processes)


class _EventLine(msgspec.Struct, tag_field="k", tag="e"):
    t: Any = None
    gpu: Any = None
    what: Any = None
    code: Any = None
    text: Any = None

    def message(self) -> Event:
        gpu = None if self.gpu is None else _text(self.gpu)
        return Event(
            t=_number(self.t) or 0.0,
            gpu=gpu,
            what=_text(self.what),
            code=_whole(self.code),
            text=_text(self.text, LONG),
        )


class _ByeLine(msgspec.Struct, tag_field="k", tag="bye"):
    t: Any = None
    why: Any = None

    def message(self) -> Bye:
        return Bye(t=_number(self.t) or 0.0, why=_text(self.why, LONG))


class _AnyLine(msgspec.Struct):
    k: str


_Line = Tick | _SlowLine | _HelloLine | _EventLine | _ByeLine
_LINES: msgspec.json.Decoder[Any] = msgspec.json.Decoder(_Line)
_ANY = msgspec.json.Decoder(_AnyLine)
_KINDS = frozenset({"hello", "t", "s", "e", "bye"})


def _decoded(line: bytes) -> _Line:
    try:
        known: _Line = _LINES.decode(line)
        return known
    except msgspec.ValidationError:
        raise
    except ValueError:  # no JSON, or no UTF-8
        return _second_try(line)


def _second_try(line: bytes) -> _Line:
    """What is not quite JSON: bytes that are no UTF-8, half surrogates of odd command lines, NaN, Infinity."""
    if not line.startswith(b"{"):
        raise NotUnderstood("no JSON object")
    value = json.loads(line.decode("utf-8", "replace"), parse_constant=lambda name: None, parse_float=_finite)
    known: _Line = msgspec.convert(value, _Line)
    return known


def _finite(text: str) -> float | None:
    number = float(text)
    return number if math.isfinite(number) else None


def _public(line: _Line) -> Message:
    return line if type(line) is Tick else line.message()  # type: ignore[union-attr]


def _is_unknown_kind(line: bytes) -> bool:
    """Whether it is a whole object of a kind that we do not know: a newer agent, not garbage."""
    try:
        return _ANY.decode(line).k not in _KINDS
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return False


_CONTROLS = re.compile(r"[^ -~]")


def _text(value: Any, limit: int = SHORT) -> str:
    """Clean text of any value, as one line."""
    if value is None or isinstance(value, dict | list):
        return ""
    text = value if isinstance(value, str) else str(value)
    if len(text) <= limit and not _CONTROLS.search(text):
        return text  # what nearly all text is: plain ASCII
    return clean_line(text, max_chars=limit)


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    number = float(value)
    return number if math.isfinite(number) else None


def _whole(value: Any) -> int | None:
    number = _number(value)
    return int(number) if number is not None and abs(number) < 2**63 else None


def _words(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list):
        return ()
    return tuple(_text(word) for word in value[:MAX_FIELDS])


def _gpu(position: int, value: Any) -> Gpu:
    device = value if isinstance(value, dict) else {}
    return Gpu(
        index=_text(device.get("index")) or str(position),
        uuid=_text(device.get("uuid")),
        name=_text(device.get("name")),
        pci_bus_id=_text(device.get("pci_bus_id")),
        memory_total_mib=_number(device.get("memory_total_mib")),
        power_limit_w=_number(device.get("power_limit_w")),
        temperature_slowdown_c=_number(device.get("temperature_slowdown_c")),
        parent=_text(device.get("parent")),
        mig=device.get("mig") is True,
    )


def _host(value: Any) -> Host:
    host = value if isinstance(value, dict) else {}
    return Host(
        cpus=_whole(host.get("cpus")),
        memory_total_mib=_number(host.get("memory_total_mib")),
        nics=_words(host.get("nics")),
        ib=_words(host.get("ib")),
    )


def _unsupported(value: Any) -> Unsupported:
    if not isinstance(value, dict):
        return {}
    return {
        _text(name): _texts(reason) if isinstance(reason, dict) else _text(reason, LONG)
        for name, reason in _first(value.items(), MAX_FIELDS)
    }


def _texts(value: dict[Any, Any]) -> dict[str, str]:
    return {_text(key): _text(reason, LONG) for key, reason in _first(value.items(), MAX_GPUS)}


T = TypeVar("T")


def _first(items: Iterable[T], count: int) -> list[T]:
    return [item for _, item in zip(range(count), items, strict=False)]


def _process(row: Any) -> Process | None:
    """One row of `p`; None where it is none. A short row is filled with defaults, a long one is cut."""
    if not isinstance(row, list) or len(row) < 2:
        return None
    pid = _whole(row[1])
    if pid is None:
        return None
    row = [*row[:7], *[None] * (7 - len(row))]
    return Process(
        gpu=_text(row[0]),
        pid=pid,
        user=_text(row[2]),
        command=_text(row[3], LONG),
        memory_mib=_number(row[4]),
        type=_text(row[5], 8),
        job=_text(row[6]),
    )
