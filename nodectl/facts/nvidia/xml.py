"""`nvidia-smi -q -x`: the XML text -> a `ReplyRecord`, without ever trusting the text.

The XML of an 8-GPU node is 214 kB, of which more than half lists clocks that the GPU could run at. The probe leaves
those out on the node already; a recording may still have them, so they are cut here by string search, before the
parser. The parser is expat itself: it keeps counts and depth as it goes, needs no tree, and refuses by handler what
defusedxml refuses: entity declarations, external entities, unparsed entities. The DOCTYPE line that nvidia-smi writes
is normal and no external DTD is ever read. (Measured on 8x H200: defusedxml.ElementTree 2.8 ms and 11 ms to import;
this reader 2.4 ms, 1 ms to import, and its result is flat already.)
"""

from __future__ import annotations

import re
from collections.abc import Callable

from nodectl.facts.nvidia.rows import MAX_PROCESSES, GpuRecord, Leaves, ReplyRecord
from nodectl.facts.nvidia.smi_text import UnreadableError, process_name

MAX_CHARACTERS = 4 * 1024 * 1024
MAX_DEPTH = 24
MAX_LEAVES = 4000  # of one GPU; nvidia-smi 595 prints 220
MAX_GPUS = 256

ROOT = "nvidia_smi_log"
_CLOSE = f"</{ROOT}>"
_CONTAINERS = frozenset({"gpu", "process_info", "mig_device"})
_BULK = ("supported_clocks", "accounted_processes")
_PROCESS_NAME = re.compile(r"<process_name>([^\n]*?)</process_name>")


class _RefusedError(Exception):
    """The XML holds what nvidia-smi never writes."""


def read_xml(text: str) -> ReplyRecord:
    """Read what nvidia-smi printed, with whatever stands before and after the XML.

    Returns:
        The record. Its `problem` says why the list of GPUs is not whole: cut, malformed, refused, too big.
    """
    start = _find_start(text)
    if start < 0:
        return ReplyRecord(problem="no XML in the answer", stray=text.strip())
    end = text.find(_CLOSE, start)
    body = text[start:] if end < 0 else text[start : end + len(_CLOSE)]
    after = "" if end < 0 else text[end + len(_CLOSE) :]
    record = ReplyRecord(stray=f"{text[:start].strip()}\n{after.strip()}".strip())
    body = cut_bulk(body)
    if len(body) > MAX_CHARACTERS:
        record.problem = f"the XML is larger than {MAX_CHARACTERS} characters"
        return record
    body = _PROCESS_NAME.sub(_safe_name, body)
    _parse(body, record, whole=end >= 0)
    return record


def _find_start(text: str) -> int:
    declaration = text.find("<?xml")
    root = text.find(f"<{ROOT}")
    return declaration if 0 <= declaration < root or root < 0 else root


def cut_bulk(text: str) -> str:
    """Leave out the elements that nobody reads and that make up most of the text. One without its end tag stays."""
    for name in _BULK:
        opening, closing = f"<{name}>", f"</{name}>"
        kept = []
        at = 0
        while (first := text.find(opening, at)) >= 0:
            last = text.find(closing, first)
            if last < 0:
                break
            kept.append(text[at:first])
            at = last + len(closing)
        if kept:
            kept.append(text[at:])
            text = "".join(kept)
    return text


def _safe_name(match: re.Match[str]) -> str:
    """Arguments go, and so do characters that nvidia-smi does not escape in a process name."""
    try:
        name = process_name(match[1]) if not match[1].startswith("[") else match[1]
    except UnreadableError:
        name = ""
    return f"<process_name>{re.sub('[&<>]', '_', name)}</process_name>"


def _parse(body: str, record: ReplyRecord, *, whole: bool) -> None:
    from xml.parsers import expat

    reader = _Reader(record)
    parser = expat.ParserCreate()
    parser.buffer_text = True
    parser.SetParamEntityParsing(expat.XML_PARAM_ENTITY_PARSING_NEVER)
    parser.EntityDeclHandler = _refuse("an entity declaration")
    parser.UnparsedEntityDeclHandler = _refuse("an unparsed entity")
    parser.ExternalEntityRefHandler = _refuse("an external entity")
    parser.StartElementHandler = reader.start
    parser.EndElementHandler = reader.end
    parser.CharacterDataHandler = reader.text.append
    try:
        parser.Parse(body, True)
    except _RefusedError as refusal:
        record.problem = f"the XML is refused: {refusal}"
    except expat.ExpatError as problem:
        attached = record.head.get("attached_gpus", "")
        of = f" of {attached}" if attached.isdecimal() else ""
        if whole:
            record.problem = f"the XML is malformed after {len(record.gpus)}{of} GPUs: {problem}"
        else:
            record.problem = f"truncated after {len(record.gpus)}{of} GPUs"
    except ValueError as problem:  # a lone surrogate cannot be encoded for expat
        record.problem = f"the XML is malformed: {problem}"


def _refuse(what: str) -> Callable[..., int]:
    def handler(*_: object) -> int:
        raise _RefusedError(f"it holds {what}")

    return handler


class _Reader:
    """Expat's callbacks: fills a `ReplyRecord` with flat paths, GPU by GPU. A GPU counts when its end tag was seen."""

    def __init__(self, record: ReplyRecord) -> None:
        self.text: list[str] = []
        self._record = record
        self._gpu: GpuRecord | None = None
        self._into: Leaves = record.head
        self._path = ""  # of the open element, below the root, the GPU or the process; ends in "/"
        self._outer: list[str] = []  # the same of the elements around it
        self._inner = 0  # depth at which a process or a MIG device is open; 0: none
        self._leaf = False

    def start(self, name: str, attributes: dict[str, str]) -> None:
        outer = self._outer
        outer.append(self._path)
        if name in _CONTAINERS or len(outer) == 1 or len(outer) > MAX_DEPTH:
            self._start_container(name, attributes, len(outer))
        else:
            self._path += name + "/"
        self._leaf = True
        self.text.clear()

    def _start_container(self, name: str, attributes: dict[str, str], depth: int) -> None:
        """The root, a GPU, a process or a MIG device: paths begin anew, so that parts are not taken for the whole."""
        if depth > MAX_DEPTH:
            raise _RefusedError(f"elements are nested deeper than {MAX_DEPTH}")
        if depth == 1:
            if name != ROOT:
                raise _RefusedError(f"its root is {name[:40]!r}, not {ROOT}")
            self._path = ""
        elif name == "gpu" and depth == 2:
            self._gpu = GpuRecord({"@id": attributes["id"]} if "id" in attributes else {})
            self._into = self._gpu.leaves
            self._path = ""
        elif name != "gpu" and self._gpu is not None and not self._inner:
            self._inner = depth
            self._into = {}
            self._path = ""
            if name == "mig_device":
                self._gpu.mig_devices += 1
            elif len(self._gpu.processes) < MAX_PROCESSES:
                self._gpu.processes.append(self._into)
        else:
            self._path += name + "/"

    def end(self, name: str) -> None:
        if self._leaf:
            self._leaf = False
            into = self._into
            if len(into) >= MAX_LEAVES:
                raise _RefusedError(f"more than {MAX_LEAVES} fields in one place")
            if self._path:
                into[self._path[:-1]] = "".join(self.text).strip()
        if name in _CONTAINERS and self._gpu is not None:
            self._end_container(self._gpu, len(self._outer))
        self._path = self._outer.pop()

    def _end_container(self, gpu: GpuRecord, depth: int) -> None:
        if depth == self._inner:
            self._inner = 0
            self._into = gpu.leaves
        elif depth == 2:
            if len(self._record.gpus) >= MAX_GPUS:
                raise _RefusedError(f"more than {MAX_GPUS} GPUs")
            self._record.gpus.append(gpu)
            self._gpu = None
            self._into = self._record.head
