"""The report as JSON: `nodectl.report/1`, from which every other format is rendered."""

from __future__ import annotations

from typing import TextIO

import msgspec

from nodectl.model import REPORT_SCHEMA, Report


def encode(report: Report, *, pretty: bool = False) -> bytes:
    """One JSON document, UTF-8, keys in the order of the schema."""
    document = msgspec.json.encode(report)
    return msgspec.json.format(document, indent=2) if pretty else document


def write_json(report: Report, stream: TextIO) -> None:
    """To `stream`: indented for a person at a terminal, compact in a pipe."""
    stream.write(encode(report, pretty=stream.isatty()).decode() + "\n")
    stream.flush()


def decode(document: bytes) -> Report:
    """A report that was written by `encode`; unknown keys are ignored.

    Raises:
        msgspec.ValidationError: not a report of this schema.
    """
    return msgspec.json.decode(document, type=Report)


def schema() -> bytes:
    """The JSON Schema of nodectl.report/1, as it ships in report-1.schema.json."""
    document = msgspec.json.schema(Report)
    document = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": REPORT_SCHEMA, **document}
    return msgspec.json.format(msgspec.json.encode(document, order="deterministic"), indent=1) + b"\n"
