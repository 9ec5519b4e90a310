"""`nvidia-smi topo -m`: how GPUs are connected to each other, to NICs and to CPUs.

The matrix has one column a GPU, one a NIC, then the affinities. nvidia-smi underlines the header with terminal escapes,
separates columns by tabs (people's copies: by blanks), and prints no matrix at all where the topology is hidden.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from nodectl.facts.conform import ERRORS_KEY
from nodectl.facts.nvidia.smi_failure import failure, no_devices
from nodectl.facts.reading import Row, errors_for, one_line, origin
from nodectl.facts.registry import Context, FactSpec, Field
from nodectl.model import Fact, absent, error, present

if TYPE_CHECKING:
    from nodectl.probe.transcript import SourceReply

SOURCE = "nvidia_smi_topo"
COMMAND = "nvidia-smi topo -m"
P2P_SOURCE = "nvidia_smi_p2p"
P2P_COMMAND = "nvidia-smi topo -p2p r"
_P2P = "gpu.p2p"

_LINK = "NV# (bonded NVLinks), PIX, PXB, PHB, NODE, SYS, from near to far"
FACTS: tuple[FactSpec, ...] = (
    FactSpec(
        name="gpu.topology",
        type="rows",
        source=SOURCE,
        about="How each GPU reaches each other GPU",
        fields=(
            Field("gpu_index", "int", "", "from this GPU"),
            Field("peer_index", "int", "", "to this GPU"),
            Field("link", "str", "", _LINK),
        ),
    ),
    FactSpec(
        name="gpu.nic_topology",
        type="rows",
        source=SOURCE,
        about="How each GPU reaches each RDMA NIC",
        fields=(
            Field("gpu_index", "int", "", "from this GPU"),
            Field("nic", "str", "", "to this RDMA device, e.g. mlx5_0"),
            Field("link", "str", "", _LINK),
        ),
    ),
    FactSpec(
        name="gpu.affinity",
        type="rows",
        source=SOURCE,
        about="The CPUs and the NUMA node that are near to each GPU",
        fields=(
            Field("gpu_index", "int", "", "the GPU"),
            Field("cpu_affinity", "str", "", "CPUs near to it, as a list of ranges"),
            Field("numa_affinity", "str", "", "NUMA nodes near to it, as a list of ranges"),
            Field("numa_node", "int", "", "the NUMA node, where it is a single one"),
            Field("gpu_numa_node", "int", "", "NUMA node of the GPU's own memory (Grace)"),
        ),
    ),
    FactSpec(
        name=_P2P,
        type="rows",
        source=P2P_SOURCE,
        about="Whether each GPU may read the memory of each other GPU directly (peer to peer)",
        fields=(
            Field("gpu_index", "int", "", "this GPU"),
            Field("peer_index", "int", "", "reads from this GPU"),
            Field("status", "str", "", "OK, CNS (chipset), GNS (GPU), TNS (topology), NS, DR (disabled by regkey), U"),
        ),
    ),
)
_NAMES = tuple(spec.name for spec in FACTS if spec.name != _P2P)

_ESCAPE = re.compile(r"(?:\x1b|\\x1b|\\033|␛)\[[0-9;]*m")
_CELLS = re.compile(r"\t+| {2,}")
_GPU = re.compile(r"GPU([0-9]{1,3})")
_NIC = re.compile(r"NIC[0-9]{1,3}|[a-z][A-Za-z0-9_]{1,40}")
_LEGEND = re.compile(r"\s*(NIC[0-9]{1,3}): (\S{1,40})\s*")
_LINK_WORD = re.compile(r"[A-Z]{1,5}[0-9]{0,3}")
_RANGES = re.compile(r"[0-9]{1,5}(-[0-9]{1,5})?(,[0-9]{1,5}(-[0-9]{1,5})?)*")
_AFFINITIES = {"cpu affinity": "cpu_affinity", "numa affinity": "numa_affinity", "gpu numa id": "gpu_numa_node"}
MAX_DEVICES = 256


class _MatrixError(ValueError):
    """The text is no topology matrix, or not a whole one."""


def parse_topology(reply: SourceReply, context: Context) -> Iterable[Fact]:
    """Facts of one `nvidia-smi topo -m` call."""
    section = reply.find("cmd", COMMAND)
    if section is None:
        return errors_for(_NAMES, "the probe did not run nvidia-smi topo -m", **origin(reply))
    where = origin(reply, section)
    if no_devices(section):
        return [present(name, [], **where) for name in _NAMES]
    text = _ESCAPE.sub("", section.text)
    if section.rc == 0 and _says_unsupported(text):
        return [absent(name, f"nvidia-smi topo -m: {one_line(text)}", **where) for name in _NAMES]
    try:
        if section.rc != 0:
            raise _MatrixError(failure(section, _stray(text)))
        peers, nics, affinities = _read_matrix(text)
    except _MatrixError as problem:
        return errors_for(_NAMES, f"nvidia-smi topo -m: {problem}", **where)
    rows = dict(zip(_NAMES, (peers, nics, affinities), strict=True))
    return [present(name, value, **where) for name, value in rows.items()]


def parse_p2p(reply: SourceReply, context: Context) -> Iterable[Fact]:
    """The fact of one `nvidia-smi topo -p2p r` call."""
    return [_p2p(reply)]


def _p2p(reply: SourceReply) -> Fact:
    section = reply.find("cmd", P2P_COMMAND)
    if section is None:
        return error(_P2P, f"the probe did not run {P2P_COMMAND}", **origin(reply))
    where = origin(reply, section)
    if no_devices(section):
        return present(_P2P, [], **where)
    text = _ESCAPE.sub("", section.text)
    if section.rc == 0 and _says_unsupported(text):
        return absent(_P2P, f"{P2P_COMMAND}: {one_line(text)}", **where)
    try:
        if section.rc != 0:
            raise _MatrixError(failure(section, _stray(text)))
        peers, _nics, _affinities = _read_matrix(text)
    except _MatrixError as problem:
        return error(_P2P, f"{P2P_COMMAND}: {problem}", **where)
    return present(_P2P, [_renamed(row) for row in peers], **where)


def _renamed(row: Row) -> Row:
    """A row of the matrix with its word as `status`."""
    errors = row.get(ERRORS_KEY)
    renamed = {"gpu_index": row["gpu_index"], "peer_index": row["peer_index"], "status": row["link"]}
    return renamed | {ERRORS_KEY: {"status": errors["link"]}} if errors else renamed


def _stray(text: str) -> str:
    """The message of a call that failed; nothing where it printed a matrix all the same."""
    try:
        _read_matrix(text)
    except _MatrixError:
        return text
    return ""


def _says_unsupported(text: str) -> bool:
    head = text.strip().casefold()
    return len(head) < 200 and ("not supported" in head or "not available" in head)


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in _CELLS.split(line.strip()) if cell.strip()]


def _read_matrix(text: str) -> tuple[list[Row], list[Row], list[Row]]:
    lines = text.split("\n")
    header, body = _find_header(lines)
    devices = [cell for cell in header if cell.casefold() not in _AFFINITIES]
    columns = [_AFFINITIES[cell.casefold()] for cell in header if cell.casefold() in _AFFINITIES]
    gpus = [int(match[1]) for cell in devices if (match := _GPU.fullmatch(cell))]
    if len(devices) > MAX_DEVICES:
        raise _MatrixError(f"more than {MAX_DEVICES} devices")
    names = {match[1]: match[2] for line in lines if (match := _LEGEND.fullmatch(line))}
    peers: list[Row] = []
    nics: list[Row] = []
    affinities: list[Row] = []
    seen = []
    for line in body:
        cells = _cells(line)
        match = _GPU.fullmatch(cells[0]) if cells else None
        if match is None:
            continue
        index = int(match[1])
        seen.append(index)
        if len(cells) < 1 + len(devices):
            raise _MatrixError(f"the line of GPU {index} has {len(cells) - 1} of {len(devices)} links")
        for device, word in zip(devices, cells[1:], strict=False):
            _add_link(index, device, word, names, peers, nics)
        affinities.append(_affinity(index, columns, cells[1 + len(devices) :]))
    if sorted(seen) != sorted(gpus):
        raise _MatrixError(f"{len(seen)} of {len(gpus)} GPUs have a line of links")
    return peers, nics, affinities


def _find_header(lines: list[str]) -> tuple[list[str], list[str]]:
    """The cells of the header, and the lines of the matrix below it (up to the legend)."""
    for number, line in enumerate(lines):
        cells = _cells(line)
        if len(cells) > 1 and _GPU.fullmatch(cells[0]) and (_GPU.fullmatch(cells[1]) or _is_heading(cells[1])):
            end = next((at for at in range(number + 1, len(lines)) if lines[at].startswith("Legend")), len(lines))
            unknown = [cell for cell in cells if not (_GPU.fullmatch(cell) or _is_heading(cell))]
            if unknown:
                raise _MatrixError(f"the column {unknown[0][:40]!r} is not known")
            return cells, lines[number + 1 : end]
    raise _MatrixError(f"no matrix: {one_line(chr(10).join(lines))[:200]}")


def _is_heading(cell: str) -> bool:
    return cell.casefold() in _AFFINITIES or _NIC.fullmatch(cell) is not None


def _add_link(index: int, device: str, word: str, names: dict[str, str], peers: list[Row], nics: list[Row]) -> None:
    if word == "X":
        return
    row: Row = {"gpu_index": index}
    match = _GPU.fullmatch(device)
    if match is not None:
        row["peer_index"] = int(match[1])
        peers.append(row)
    else:
        row["nic"] = names.get(device, device)
        nics.append(row)
    if _LINK_WORD.fullmatch(word):
        row["link"] = word
    else:
        row["link"] = None
        if word != "N/A":
            row[ERRORS_KEY] = {"link": f"nvidia-smi says {word[:40]}"}


def _affinity(index: int, columns: list[str], cells: list[str]) -> Row:
    row: Row = {"gpu_index": index}
    if cells and len(cells) != len(columns):
        # An empty cell cannot be seen between tabs that also align: better unknown than the wrong column.
        reason = f"{len(cells)} of {len(columns)} affinities are printed, and which is which cannot be told"
        row.update(dict.fromkeys(columns))
        row[ERRORS_KEY] = dict.fromkeys(columns, reason)
        return row
    values: dict[str, Any] = dict(zip(columns, cells, strict=False))
    for column in columns:
        text = values.get(column)
        known = text is not None and _RANGES.fullmatch(text) is not None
        row[column] = text if known else None
        if text is not None and not known and text != "N/A":
            row.setdefault(ERRORS_KEY, {})[column] = f"nvidia-smi says {text[:40]}"
    for name, column in (("numa_node", "numa_affinity"), ("gpu_numa_node", "gpu_numa_node")):
        text = row.get(column)
        if column in row:
            row[name] = int(text) if text is not None and text.isdecimal() else None
    if "numa_affinity" in row.get(ERRORS_KEY, {}):
        row[ERRORS_KEY]["numa_node"] = row[ERRORS_KEY]["numa_affinity"]
    return row


SOURCES = {SOURCE: parse_topology, P2P_SOURCE: parse_p2p}
