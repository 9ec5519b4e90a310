"""Memory controllers and modules as EDAC sees them: `edac.*`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from nodectl.facts.reading import CannotTell, NotThere, Reading, Row, command_trouble, once, told
from nodectl.facts.registry import DERIVED_SOURCE, Context, Derivation, FactSpec, Field
from nodectl.model import Fact

if TYPE_CHECKING:
    from nodectl.probe.transcript import SourceReply

_NONE = "memory controllers"
_LINE = re.compile(r"(mc\d{1,4})/(?:((?:dimm|csrow)\d{1,4})/)?([a-z0-9_]{1,40}):(.{0,200})")
_COUNT = re.compile(r"\d{1,18}")
_WHERE = "/sys/devices/system/edac/mc"

FACTS = (
    FactSpec(
        name="edac.controllers",
        type="rows",
        about="Memory controllers that a driver watches, with their errors since it was loaded (mostly: since boot);"
        " absent where no EDAC driver is loaded (virtual machines, many desktops)",
        source="edac",
        varies=True,
        fields=(
            Field("mc", about="mc0, mc1, ..."),
            Field("name", about="driver and socket, as the driver calls it"),
            Field("size_mib", "int", "MiB", "memory behind it, where the driver says it"),
            Field("corrected", "int", about="corrected errors, with those of no known module"),
            Field("uncorrected", "int", about="uncorrected errors, with those of no known module"),
        ),
    ),
    FactSpec(
        name="edac.dimms",
        type="rows",
        about="Memory modules that EDAC shows (older drivers: channels of a row), with their errors",
        source="edac",
        varies=True,
        fields=(
            Field("mc", about="controller"),
            Field("dimm", about="dimm0, or csrow0/ch1 where a driver counts by rows"),
            Field("label", about="name of the slot, as firmware or driver have it"),
            Field("location", about="channel and slot"),
            Field("size_mib", "int", "MiB", "size"),
            Field("type", about="memory type, e.g. Registered-DDR5"),
            Field("corrected", "int", about="corrected errors"),
            Field("uncorrected", "int", about="uncorrected errors; none where it is not counted by module"),
        ),
    ),
    FactSpec(
        name="edac.corrected",
        type="int",
        about="Corrected memory errors of all controllers",
        source=DERIVED_SOURCE,
        varies=True,
    ),
    FactSpec(
        name="edac.uncorrected",
        type="int",
        about="Uncorrected memory errors of all controllers",
        source=DERIVED_SOURCE,
        varies=True,
    ),
    FactSpec(
        name="edac.dimm_sizes_mib",
        type="list",
        about="Sizes of the memory modules, each size once; absent where EDAC shows no modules",
        source="edac",
    ),
    FactSpec(name="edac.dimm_count", type="int", about="Memory modules with memory on them, by EDAC", source="edac"),
)


class _Edac:
    """The files that the source read: {controller: {file: text}} and {(controller, part): {file: text}}."""

    def __init__(self, reading: Reading) -> None:
        if reading.has("text", _NONE) and reading.text(_NONE).strip() == "none":
            raise reading.not_there("/sys/devices", "no EDAC driver watches the memory here")
        self.controllers: dict[str, dict[str, str]] = {}
        self.parts: dict[tuple[str, str], dict[str, str]] = {}
        for name in ("mc counts", "dimm counts", "csrow counts"):
            if not reading.has("cmd", name):
                raise CannotTell(f"{_WHERE} was not read")
            section = reading.ran(name)
            for line in section.text.splitlines():
                match = _LINE.fullmatch(line)
                if not match:
                    raise CannotTell(f"{name}: not understood: {line!r:.80}")
                if match[2]:
                    self.parts.setdefault((match[1], match[2]), {})[match[3]] = match[4].strip()
                else:
                    self.controllers.setdefault(match[1], {})[match[3]] = match[4].strip()
        if not self.controllers:
            raise CannotTell(command_trouble(reading.ran("mc counts")))


def _number(files: dict[str, str], *names: str) -> int | None:
    """The sum of the files that are there; None when none is.

    Raises:
        CannotTell: one of them holds no number.
    """
    texts = [files[name] for name in names if name in files]
    if any(not _COUNT.fullmatch(text) for text in texts):
        raise CannotTell(f"{_WHERE}: a counter is no number: {texts!r:.80}")
    return sum(map(int, texts)) if texts else None


def _controllers(edac: _Edac) -> list[Row]:
    rows = []
    for mc, files in edac.controllers.items():
        row: Row = {
            "mc": mc,
            "name": files.get("mc_name"),
            "size_mib": _number(files, "size_mb") or None,
            "corrected": _number(files, "ce_count", "ce_noinfo_count"),
            "uncorrected": _number(files, "ue_count", "ue_noinfo_count"),
        }
        missing = {key: "could not be read" for key in ("corrected", "uncorrected") if row[key] is None}
        rows.append({**row, "_errors": missing} if missing else row)
    return sorted(rows, key=lambda row: int(row["mc"][2:]))


def _dimms(edac: _Edac) -> list[Row]:
    rows = []
    for (mc, part), files in edac.parts.items():
        if part.startswith("dimm"):
            rows.append(
                {
                    "mc": mc,
                    "dimm": part,
                    "label": files.get("dimm_label") or None,
                    "location": files.get("dimm_location") or None,
                    "size_mib": _number(files, "size"),
                    "type": files.get("dimm_mem_type") or None,
                    "corrected": _number(files, "dimm_ce_count"),
                    "uncorrected": _number(files, "dimm_ue_count"),
                }
            )
    # Newer kernels show both forms of the same modules.
    if not rows:
        rows = [row for (mc, part), files in edac.parts.items() for row in _channels(mc, part, files)]
    if not rows:
        raise NotThere("EDAC shows no single modules here")
    return sorted(rows, key=lambda row: (int(row["mc"][2:]), [int(n) for n in re.findall(r"\d+", row["dimm"])]))


def _channels(mc: str, part: str, files: dict[str, str]) -> Iterator[Row]:
    for name in files:
        match = re.fullmatch(r"(ch\d{1,3})_ce_count", name)
        if match:
            yield {
                "mc": mc,
                "dimm": f"{part}/{match[1]}",
                "label": files.get(f"{match[1]}_dimm_label") or None,
                "location": None,
                "size_mib": None,
                "type": None,
                "corrected": _number(files, name),
                "uncorrected": None,
            }


def _sizes(dimms: list[Row]) -> list[int]:
    """Sizes of the populated modules."""
    sizes = [row["size_mib"] for row in dimms if row["size_mib"]]
    if not sizes:
        raise NotThere("EDAC tells no sizes of modules here")
    return sizes


def parse(reply: SourceReply, context: Context) -> Iterator[Fact]:
    """The facts of the source `edac`."""
    reading = Reading(reply)
    edac = once(lambda: _Edac(reading))
    dimms = once(lambda: _dimms(edac()))
    yield told("edac.controllers", lambda: _controllers(edac()), f"{_WHERE}/mc*/*_count")
    yield told("edac.dimms", dimms, f"{_WHERE}/mc*/dimm*")
    yield told("edac.dimm_sizes_mib", lambda: sorted(set(_sizes(dimms()))), f"{_WHERE}/mc*/dimm*/size")
    yield told("edac.dimm_count", lambda: len(_sizes(dimms())), f"{_WHERE}/mc*/dimm*/size")


def _total(rows: list[Row], column: str) -> int:
    values = [row[column] for row in rows]
    if None in values:
        raise CannotTell("a controller did not tell its errors")
    return sum(values)


SOURCES = {"edac": parse}
DERIVED: dict[str, Derivation] = {
    "edac.corrected": (("edac.controllers",), lambda rows: _total(rows, "corrected")),
    "edac.uncorrected": (("edac.controllers",), lambda rows: _total(rows, "uncorrected")),
}
