"""Recordings of real machines -> facts, compared with golden files that were reviewed by eye.

`NODECTL_WRITE_GOLDEN=1 pytest tests/facts/test_nvidia_golden.py` writes them anew. What identifies a machine (UUIDs,
serial numbers) is masked; rows after the first show only what differs from it.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from nvidia_replies import LINK_ERRORS, LINKS, TEXT, TOPO, XML, cmd, facts_of

from nodectl.model import Fact, FactState

GOLDEN = Path(__file__).parent / "golden"
MASKED = {"uuid", "serial", "gpu_uuid", "fabric_cluster_uuid", "pid"}

# golden file -> source, {section: recording below ../shared/recordings}
RECORDINGS: dict[str, tuple[str, dict[str, str]]] = {
    "h200x8-580-xml": ("nvidia_smi_q", {XML: "h200x8/nvidia-smi-q.xml"}),
    "h200x8-580-topo": ("nvidia_smi_topo", {TOPO: "h200x8/nvidia-smi-topo.txt"}),
    "h200x8-580-nvlink": (
        "nvidia_smi_nvlink",
        {LINKS: "h200x8/nvidia-smi-nvlink-s.txt", LINK_ERRORS: "h200x8/nvidia-smi-nvlink-e.txt"},
    ),
    "nvlink-a100-all-inactive": ("nvidia_smi_nvlink", {LINKS: "public/nvlink/aznhc-a100-all-inactive.txt"}),
    "nvlink-a100-status": ("nvidia_smi_nvlink", {LINKS: "public/nvlink/status-a100.txt"}),
    "nvlink-h100-mig": ("nvidia_smi_nvlink", {LINKS: "public/nvlink/nge-h100-mig-590.48.01-nvlink-s.txt"}),
    "nvlink-h100-errors-excerpt": (
        "nvidia_smi_nvlink",
        {LINKS: "public/nvlink/nge-h100-590.48.01-nvlink-s.txt", LINK_ERRORS: "public/nvlink/stas-h100-nvlink-e.txt"},
    ),
    "topo-a100x8": ("nvidia_smi_topo", {TOPO: "public/topo/stas-a100-x8-nv12.txt"}),
    "topo-h100x1": ("nvidia_smi_topo", {TOPO: "public/topo/nge-h100-590.48.01-topo.txt"}),
} | {
    f"{Path(name).stem}-{Path(name).suffix[1:]}": (
        "nvidia_smi_q",
        {XML: f"public/nvidia-smi-xml/{name}"} if name.endswith(".xml") else {TEXT: f"public/nvidia-smi-q/{name}"},
    )
    for name in (
        "c3sr-example1.xml",
        "c3sr-example2.xml",
        "ceems-a100-pcie-x8-mig-535.129.03.xml",
        "netdata-rtx-3060.xml",
        "netdata-rtx-pro-6000-driver-580.xml",
        "telegraf-a10g.xml",
        "telegraf-a100-sxm4-v12.xml",
        "telegraf-gtx-1660-ti.xml",
        "telegraf-rtx-3060-v12.xml",
        "telegraf-rtx-4000-sff-ada-v13.xml",
        "aznhc-retired-pages-bad.txt",
        "gpud-a10-550.127.05-hw-slowdown.txt",
        "h100-x8-535.161.08-hw-slowdown.txt",
        "nge-h100-mig-590.48.01-load.txt",
        "nge-rtx4080s-595.71.05-load.txt",
        "rtx4090-x8-535.154.05-a.txt",
        "stas-ecc-excerpt-510.73.08.txt",
        "titan-v-x1-560.35.03.txt",
    )
}


def _masked(row: dict[str, Any]) -> dict[str, Any]:
    return {key: type(value).__name__ if key in MASKED and value is not None else value for key, value in row.items()}


def _short(fact: Fact) -> Any:
    """A fact as its golden file has it."""
    if fact.state is not FactState.VALUE:
        return {fact.state.value: fact.reason}
    if not isinstance(fact.value, list) or not fact.value or not isinstance(fact.value[0], dict):
        return fact.value
    first, *others = (_masked(row) for row in fact.value)
    changed = [
        {key: row.get(key, "(not printed)") for key in {**first, **row} if row.get(key) != first.get(key)}
        for row in others
    ]
    return {"rows": len(fact.value), "first": first, "others": changed}


@pytest.mark.parametrize("name", RECORDINGS)
def test_golden(name: str, shared: Path) -> None:
    source, paths = RECORDINGS[name]
    sections = [cmd(command, (shared / "recordings" / path).read_text()) for command, path in paths.items()]
    got = {fact.name: _short(fact) for fact in facts_of(source, sections).values()}
    file = GOLDEN / f"{name}.json"
    if os.environ.get("NODECTL_WRITE_GOLDEN"):
        file.write_text(_written(got))
    assert got == json.loads(file.read_text())


def _written(facts: dict[str, Any]) -> str:
    """One line a row, so that a change shows as the lines that it changes."""
    parts = []
    for name, value in sorted(facts.items()):
        if isinstance(value, dict) and "rows" in value:
            others = ",\n  ".join(json.dumps(row) for row in value["others"])
            first = json.dumps(value["first"], indent=3).replace("\n}", "\n  }")
            text = f'{{"rows": {value["rows"]}, "first": {first},\n "others": [\n  {others}]}}'
        else:
            text = json.dumps(value)
        parts.append(f"{json.dumps(name)}: {text}")
    return "{\n" + ",\n".join(parts) + "\n}\n"


def test_no_golden_file_is_left_over() -> None:
    assert {path.stem for path in GOLDEN.glob("*.json") if path.stem in RECORDINGS} == set(RECORDINGS)
