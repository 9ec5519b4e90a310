"""Vendor tables: the numbers of the catalogue, each row with the document that it is from.

    table: cuda_driver
    version: "2026.11.20"
    key: cuda_major
    columns: {driver_min: version}
    sources: {minor_compat: {title: …, url: …, retrieved: "2026-11-20"}}
    rows:
      - {cuda_major: 12, driver_min: "525.60.13", source: minor_compat, confidence: verified}

A column that a row leaves out is not known for it. The key is unique, and compared as text without case.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from nodectl.catalogue.problems import Place, check_keys, require_list, require_mapping, require_text
from nodectl.catalogue.value_types import TYPES, UnreadableError
from nodectl.model import Document
from nodectl.strict_yaml import Doc, describe, quoted, text_of

CONFIDENCES = ("verified", "inferred", "notes-only")

_KEYS = ("table", "version", "key", "columns", "sources", "rows", "about")
_ROW_EXTRAS = ("source", "confidence", "note")


class Table(msgspec.Struct, frozen=True, kw_only=True):
    """One table.

    Attributes:
        key: the column that names a row.
        columns: column -> type name.
        rows: as written (text stays text: the operator that compares says how to read it); ints and booleans of a
            typed column are already such.
        sources: documents by the short name that rows use.
        index: the row of each key.
        origin: `file:line`.
    """

    name: str
    version: str
    key: str
    columns: dict[str, str]
    rows: tuple[dict[str, Any], ...]
    sources: dict[str, Document]
    index: dict[str, dict[str, Any]]
    origin: str

    def get(self, key: object) -> dict[str, Any] | None:
        """The row of a key (text or int), or None."""
        return self.index.get(key_text(key))

    def document(self, key: object) -> Document | None:
        """The document that the row of this key is from."""
        row = self.get(key)
        return self.sources.get(row["source"]) if row else None


def key_text(key: object) -> str:
    return str(key).strip().casefold()


def read_document(place: Place, value: Any, *, may_lack_url: bool = False) -> Document | None:
    """One `{title, url, retrieved}`; None when it is wrong (then said)."""
    if not require_mapping(place, value):
        return None
    check_keys(place, value, ("title", "url", "retrieved"))
    title = require_text(place.at("title"), value.get("title"))
    if may_lack_url and "url" not in value:
        return Document(title=title, url="", retrieved=str(value.get("retrieved", "")))
    url = require_text(place.at("url"), value.get("url"))
    if url and not url.startswith(("https://", "http://")):
        place.at("url").say(f"a web address (https://…) is wanted, not {quoted(url)}")
    retrieved = require_text(place.at("retrieved"), value.get("retrieved"))
    if retrieved and not _is_date(retrieved):
        place.at("retrieved").say(f"a date such as 2026-11-20 is wanted, not {quoted(retrieved)}")
    return Document(title=title, url=url, retrieved=retrieved)


def _is_date(text: str) -> bool:
    year, _, rest = text.partition("-")
    month, _, day = rest.partition("-")
    return (
        (len(year), len(month), len(day)) == (4, 2, 2)
        and (year + month + day).isdigit()
        and 1 <= int(month) <= 12
        and 1 <= int(day) <= 31
    )


def read_table(doc: Doc, place: Place, stem: str) -> Table | None:
    """A table of its YAML document; None when it is too wrong to be one. Problems are said at `place`."""
    body = doc.value
    if not require_mapping(place, body):
        return None
    check_keys(place, body, _KEYS)
    name = require_text(place.at("table"), body.get("table"))
    if name and name != stem:
        place.at("table").say(f"the file is {stem}.yaml, so the table must be {quoted(stem)}, not {quoted(name)}")
    version = require_text(place.at("version"), body.get("version"))
    key = require_text(place.at("key"), body.get("key"))
    columns = _read_columns(place.at("columns"), body.get("columns"), key)
    sources = _read_sources(place.at("sources"), body.get("sources"))
    rows_at = place.at("rows")
    rows: list[dict[str, Any]] = []
    index: dict[str, dict[str, Any]] = {}
    if require_list(rows_at, body.get("rows")):
        for number, raw in enumerate(body["rows"]):
            row = _read_row(rows_at.at(number), raw, key, columns, sources)
            if row is None:
                continue
            rows.append(row)
            if key_text(row[key]) in index:
                rows_at.at(number).say(f"{key} {quoted(str(row[key]))} has a row already: a key must be unique")
            index[key_text(row[key])] = row
    return Table(
        name=name or stem,
        version=version,
        key=key,
        columns=columns,
        rows=tuple(rows),
        sources=sources,
        index=index,
        origin=doc.where(),
    )


def _read_columns(place: Place, value: Any, key: str) -> dict[str, str]:
    columns: dict[str, str] = {}
    if require_mapping(place, value):
        for name, kind in value.items():
            if name in _ROW_EXTRAS:
                place.at(name).say(f"{quoted(name)} has a meaning of its own in every row: choose another name")
            if isinstance(kind, str) and kind in TYPES:
                columns[name] = kind
            else:
                columns[name] = "str"
                place.at(name).say_unknown("type", kind, TYPES)
    columns.setdefault(key, "str")
    return columns


def _read_sources(place: Place, value: Any) -> dict[str, Document]:
    sources: dict[str, Document] = {}
    if require_mapping(place, value):
        for name, raw in value.items():
            document = read_document(place.at(name), raw)
            if document is not None:
                sources[name] = document
        if not value:
            place.say("a table needs at least one source")
    return sources


def _read_row(
    place: Place, raw: Any, key: str, columns: Mapping[str, str], sources: Mapping[str, Document]
) -> dict[str, Any] | None:
    if not require_mapping(place, raw):
        return None
    row: dict[str, Any] = {}
    for column, cell in raw.items():
        kind = columns.get(column)
        if kind is not None:
            if cell is not None:
                row[column] = _read_cell(place, column, cell, kind)
        elif column not in _ROW_EXTRAS:
            place.at(column).say_unknown("column", column, (*columns, *_ROW_EXTRAS))
        elif not isinstance(cell, str):
            place.at(column).say(f"text is wanted, not {describe(cell)}")
        else:
            row[column] = cell
    if row.get("source") is None and len(sources) == 1:
        row["source"] = next(iter(sources))
    if row.get("source") not in sources:
        place.at("source").say_unknown("source", raw.get("source"), sources)
    if row.setdefault("confidence", "verified") not in CONFIDENCES:
        place.at("confidence").say_unknown("confidence", row["confidence"], CONFIDENCES)
    if row.get(key) is None or text_of(row[key]) is None:
        place.say(f"a row needs its key {quoted(key)}")
        return None
    return row


def _read_cell(place: Place, column: str, cell: Any, kind: str) -> Any:
    """Check a cell against its column's type; numbers and booleans come out as such, all else as written."""
    try:
        read = TYPES[kind].read(cell)
    except UnreadableError as problem:
        place.at(column).say(str(problem))
        return cell
    if kind == "str":
        return read
    return read if kind in ("int", "float", "bool") else cell
