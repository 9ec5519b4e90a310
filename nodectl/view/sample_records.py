"""Samples for programs: a JSON object a node and tick, or lines of CSV. Keys are the names of the fields.

    {"schema": "nodectl.watch/1", "time": "...Z", "node": ..., "state": ..., "age_s": ...,
     "reason": null or {code, text}, "backend": ..., "host": {field: value},
     "gpus": [{"gpu": "0", "uuid": ..., field: value}], "processes": [...],
     "events": [...], "unsupported": {field: reason}}

`time` is when the sample came, RFC 3339 UTC. A value that is not known is null (JSON) or empty (CSV), never 0; why one
is never known is in `unsupported`, in a node's first object. `events` are those since the object before. By node, there
is `rollup` in place of `gpus`.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from nodectl.model import Reason
from nodectl.telemetry.fields import GPU_FIELDS, HOST_FIELDS
from nodectl.telemetry.messages import Event, Process
from nodectl.view.sample_fields import ABOUT_NODE, DERIVED, SAMPLED_GPU, SAMPLED_HOST, field_named

Row = Mapping[str, Any]

SCHEMA = "nodectl.watch/1"
_GPU_NAMES = tuple(field.name for field in (*SAMPLED_GPU, *DERIVED))
_HOST_NAMES = tuple(field.name for field in SAMPLED_HOST)
_WHO = ("time", "node", "gpu", "state", "age_s")
_BEHIND = ("model", "uuid", "backend", "driver", "note")
_WHOLE = {field.name for field in (*GPU_FIELDS, *HOST_FIELDS) if field.type != "float"} | {"memory_total_mib"}
_ENCODER = msgspec.json.Encoder()


def json_line(
    row: Row,
    gpus: Sequence[Row] | None,
    *,
    at: float,
    reason: Reason | None,
    wanted: Sequence[str] = (),
    processes: Iterable[Process] = (),
    events: Iterable[Event] = (),
    unsupported: Mapping[str, Any] | None = None,
) -> bytes:
    """One object, without a newline.

    Args:
        row: of the node. gpus: rows of its GPUs, or None for the roll-up.
        at: Unix time of the sample. wanted: names of fields; empty means all.
    """
    keep = _kept(wanted)
    found: dict[str, Any] = {
        "schema": SCHEMA,
        "time": rfc3339(at),
        "node": row["node"],
        "state": row["state"],
        "age_s": _plain("age_s", row["age_s"]),
        "reason": {"code": reason.code, "text": reason.text} if reason else None,
        "backend": row["backend"],
        "host": {name: _plain(name, row.get(name)) for name in _HOST_NAMES if name in keep},
    }
    if gpus is None:
        found["rollup"] = _values(row, keep)
    else:
        found["gpus"] = [
            {"gpu": gpu["gpu"], "uuid": gpu["uuid"], "model": gpu["model"], "lost": bool(gpu["lost"])}
            | _values(gpu, keep)
            for gpu in gpus
        ]
    if not wanted:
        found["processes"] = [
            {
                "gpu": one.gpu, "pid": one.pid, "user": one.user, "command": one.command,
                "memory_mib": one.memory_mib, "type": one.type, "job": one.job,
            }
            for one in processes
        ]  # fmt: skip
        found["events"] = [
            {"t": one.t, "gpu": one.gpu, "what": one.what, "code": one.code, "text": one.text} for one in events
        ]
    if unsupported is not None:
        found["unsupported"] = unsupported
    return _ENCODER.encode(found)


class CsvTable:
    """Columns of a CSV stream. wanted: names of fields; empty means all."""

    def __init__(self, wanted: Sequence[str] = ()) -> None:
        if wanted:
            names = [name for name in dict.fromkeys(field_named(name).name for name in wanted) if name not in _WHO]
        else:
            names = [*_GPU_NAMES, *_HOST_NAMES, *_BEHIND]
        self.names: tuple[str, ...] = (*_WHO, *names)

    def header(self) -> list[str]:
        return list(self.names)

    def record(self, row: Row, at: float) -> list[str]:
        """The cells of one row; `time` is `at`, a Unix time."""
        return [rfc3339(at), *(_cell(name, row.get(name)) for name in self.names[1:])]


def rfc3339(at: float) -> str:
    moment = datetime.datetime.fromtimestamp(at, datetime.timezone.utc)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _kept(wanted: Sequence[str]) -> frozenset[str]:
    if wanted:
        return frozenset(field_named(name).name for name in wanted)
    return frozenset((*_GPU_NAMES, *_HOST_NAMES, *(field.name for field in ABOUT_NODE)))


def _values(row: Row, keep: frozenset[str]) -> dict[str, Any]:
    return {name: _plain(name, row.get(name)) for name in _GPU_NAMES if name in keep}


def _plain(name: str, value: Any) -> Any:
    """Without digits that mean nothing: whole numbers of what is counted, thousandths of what is measured."""
    if not isinstance(value, float):
        return value
    return int(value) if name in _WHOLE and value.is_integer() else round(value, 3)


def _cell(name: str, value: Any) -> str:
    """A cell that no spreadsheet takes for a formula."""
    if value is None:
        return ""
    if isinstance(value, tuple | list):
        value = " ".join(map(str, value))
    if isinstance(value, int | float):
        return str(_plain(name, value))
    text = " ".join(str(value).split())
    return f"'{text}" if text[:1] in ("=", "+", "-", "@") else text
