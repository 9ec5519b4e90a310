"""MIG devices by profile, as `nvidia-smi -L` lists them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

from nodectl.facts.nvidia.smi_failure import failure, no_devices
from nodectl.facts.reading import Row, errors_for, origin
from nodectl.facts.registry import Context, FactSpec, Field
from nodectl.model import Fact, present

if TYPE_CHECKING:
    from nodectl.probe.transcript import SourceReply

SOURCE = "nvidia_smi_list"
COMMAND = "nvidia-smi -L"

FACTS: tuple[FactSpec, ...] = (
    FactSpec(
        name="mig.gpus",
        type="rows",
        source=SOURCE,
        about="GPUs and the MIG devices made of them",
        fields=(
            Field("gpu_index", "int", "", "number of the GPU"),
            Field("name", "str", "", "the GPU's name"),
            Field(
                "profiles", "list", "", "profile of each MIG device, sorted: 1g.10gb, 1g.10gb, 3g.40gb; empty without"
            ),
        ),
    ),
    FactSpec(
        name="mig.layout",
        type="list",
        source=SOURCE,
        about="The distinct layouts of the node's GPUs, e.g. 3g.40gb+2g.20gb; whole: not split",
    ),
)
_NAMES = tuple(spec.name for spec in FACTS)
WHOLE = "whole"

_GPU = re.compile(r"GPU ([0-9]{1,3}): (.{1,120}?) \(UUID: .{1,80}\)")
_DEVICE = re.compile(r"\s+MIG (\S{1,40})\s+Device\s+[0-9]{1,3}: \(UUID: .{1,120}\)")


def parse_list(reply: SourceReply, context: Context) -> Iterable[Fact]:
    """Facts of one `nvidia-smi -L`."""
    section = reply.find("cmd", COMMAND)
    where = origin(reply, section)
    if section is None:
        return errors_for(_NAMES, f"the probe did not run {COMMAND}", **where)
    rows: list[Row] = []
    stray: list[str] = []
    for line in [] if no_devices(section) else section.text.split("\n"):
        gpu, device = _GPU.fullmatch(line.rstrip()), _DEVICE.fullmatch(line.rstrip())
        if gpu is not None:
            rows.append({"gpu_index": int(gpu[1]), "name": gpu[2], "profiles": []})
        elif device is not None and rows:
            rows[-1]["profiles"].append(device[1])
        elif line.strip():
            stray.append(line)
    problem = "" if no_devices(section) else failure(section, "\n".join(stray))
    if problem:
        return errors_for(_NAMES, f"{COMMAND}: {problem}", **where)
    for row in rows:
        row["profiles"].sort()
    layouts = {"+".join(row["profiles"]) or WHOLE for row in rows}
    return [present("mig.gpus", rows, **where), present("mig.layout", sorted(layouts), **where)]


SOURCES = {SOURCE: parse_list}
