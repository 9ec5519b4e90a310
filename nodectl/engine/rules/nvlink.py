"""Rules about the NVLinks of each GPU: how many are up, how fast, with which errors, and whom they reach."""

from __future__ import annotations

import functools
import re
from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Any

from nodectl.engine.rules import CannotTellError, FactView, RowResult
from nodectl.engine.rules.gpu_rows import (
    Row,
    Tables,
    about,
    failed,
    gpu_model,
    gpu_name,
    judge_rows,
    not_judged,
    number,
    of_models,
    passed,
    read,
    soft,
    unknown,
    where_split,
)
from nodectl.model import Outcome

BASEBOARD = "baseboard"
NO_NVLINK = "none"

_NV = re.compile(r"NV[1-9][0-9]*\Z")
_MAX_NAMED = 6
_RECOVERIES = ("replay_errors", "recovery_errors", "recovery_events", "recovery_failed_events")
_CRC = ("crc_errors", "malformed_packet_errors", "buffer_overrun_errors", "rx_errors", "local_link_integrity_errors")
_BIT_ERRORS = ("effective_ber",)
_DISABLED = "the driver's parameter NvLinkDisable turns all NVLinks off: see driver.nvlink_not_disabled"


class _Links:
    """The NVLinks of one GPU.

    Attributes:
        active: how many are up, as far as could be read.
        rows: one a link; also the row without a number that stands for "all inactive".
    """

    def __init__(self, rows: list[Row]) -> None:
        self.rows = rows
        self.active: int = sum(row.get("state") == "active" for row in rows)

    def count(self) -> int:
        """How many are active.

        Raises:
            CannotTellError: the state of one could not be read.
        """
        for row in self.rows:
            read(row, "state")
        return self.active


class _AllLinks:
    """The links of all GPUs, as nvidia-smi nvlink has them.

    Attributes:
        by_index: of each GPU by nvidia-smi's number; empty where nvidia-smi knows no NVLink.
    """

    def __init__(self, facts: FactView) -> None:
        by_index: dict[int, list[Row]] = defaultdict(list)
        by_uuid: dict[str, list[Row]] = defaultdict(list)
        for row in facts.get("nvlink.links", []):
            by_index[int(row["gpu_index"])].append(row)
            if row.get("gpu_uuid") is not None:
                by_uuid[row["gpu_uuid"]].append(row)
        self.by_index = {index: _Links(rows) for index, rows in by_index.items()}
        self._by_uuid = {uuid: _Links(rows) for uuid, rows in by_uuid.items()}

    def of(self, gpu: Row) -> _Links:
        """Those of a row of gpu.devices: by UUID, and by number only where either side does not say a UUID.

        Numbers of two calls of nvidia-smi may differ when a GPU has fallen off the bus.
        """
        uuid = gpu.get("uuid")
        if uuid in self._by_uuid:
            return self._by_uuid[uuid]
        rows = self.by_index[int(gpu["index"])].rows if int(gpu["index"]) in self.by_index else []
        return _Links([row for row in rows if uuid is None or row.get("gpu_uuid") is None])


def _hidden(gpu: Row, facts: FactView, gpus: int) -> str:
    """Why this GPU's links cannot be judged; empty when they can."""
    if read(gpu, "mig_current"):
        return "MIG hides the NVLinks"
    if gpus == 1 and soft(facts, "virt.is_vm", False):
        return "a VM with one GPU has its NVLinks off"
    return ""


Rule = Callable[[FactView, Mapping[str, Any], Tables], list[RowResult]]


def _unless_disabled(rule: Rule) -> Rule:
    """The rule, not judging what it does not find fine where a parameter of the driver turns all NVLinks off.

    Such a driver prints nothing of its links, or prints them as inactive; driver.nvlink_not_disabled tells the cause.
    """

    @functools.wraps(rule)
    def judged(facts: FactView, params: Mapping[str, Any], tables: Tables) -> list[RowResult]:
        try:
            results = rule(facts, params, tables)
        except CannotTellError:
            if not _is_disabled(facts):
                raise
            return [not_judged(_DISABLED)]
        fine = all(result.outcome in (Outcome.PASS, Outcome.NOT_APPLICABLE) for result in results)
        return results if fine or not _is_disabled(facts) else [not_judged(_DISABLED)]

    return judged


def _is_disabled(facts: FactView) -> bool:
    return str(soft(facts, "driver.param[NvLinkDisable]", "0")) == "1"


@_unless_disabled
def link_count(facts: FactView, params: Mapping[str, Any], tables: Tables) -> list[RowResult]:
    """As many active links as the model's board has wired, where a document says how many."""
    links, gpus = facts.once("nvlink.links", _AllLinks), facts.nvidia_rows("gpu.devices")

    def judge(gpu: Row) -> RowResult:
        known = gpu_model(gpu, tables)
        hidden = _hidden(gpu, facts, len(gpus))
        if hidden:
            return not_judged(hidden)
        if known.get("nvlink") == NO_NVLINK:
            return not_judged("this model has no NVLink")
        if known.get("nvlink") != BASEBOARD or known.get("nvlink_links") is None:
            return not_judged(f"no document says how many links {gpu_name(gpu)} must have up")
        wanted = int(known["nvlink_links"])
        active = links.of(gpu).count()
        return (passed if active >= wanted else failed)(f"{wanted} active links", f"{active} active")

    return judge_rows(gpus, judge)


@_unless_disabled
def links_alike(facts: FactView, params: Mapping[str, Any], tables: Tables) -> list[RowResult]:
    """Where the number is not documented: as many active links as the best GPU of the same model in the node."""
    links, gpus = facts.once("nvlink.links", _AllLinks), facts.nvidia_rows("gpu.devices")
    best: dict[Any, int] = defaultdict(int)
    peers: dict[Any, int] = defaultdict(int)
    for gpu in gpus:
        best[gpu.get("pci_id")] = max(best[gpu.get("pci_id")], links.of(gpu).active)
        peers[gpu.get("pci_id")] += 1

    def judge(gpu: Row) -> RowResult:
        known = gpu_model(gpu, tables)
        hidden = _hidden(gpu, facts, len(gpus))
        if hidden:
            return not_judged(hidden)
        if known.get("nvlink_links") is not None:
            return not_judged("the number is documented: see nvlink.link_count")
        most = best[gpu.get("pci_id")]
        if known.get("nvlink") == NO_NVLINK or most == 0:
            return not_judged("no GPU of this model has an active NVLink here")
        if peers[gpu.get("pci_id")] == 1:
            return not_judged("there is no second GPU of this model to compare with")
        active = links.of(gpu).count()
        return (passed if active >= most else failed)(f"{most} active links, as on its peers", f"{active} active")

    return judge_rows(gpus, judge)


@_unless_disabled
def link_speed(facts: FactView, params: Mapping[str, Any], tables: Tables) -> list[RowResult]:
    """Every active link has the raw speed of its generation, less a tolerance."""
    links, tolerance = facts.once("nvlink.links", _AllLinks), float(params["tolerance"])

    def judge(gpu: Row) -> RowResult:
        wanted = number(gpu_model(gpu, tables).get("nvlink_gbs"))
        if wanted is None:
            return not_judged(f"the speed of one link of {gpu_name(gpu)} is not documented")
        active = [row for row in links.of(gpu).rows if row.get("state") == "active"]
        if not active:
            return not_judged("no link is active: see nvlink.link_count")
        speeds = {row["link"]: number(read(row, "speed_gbs")) for row in active}
        slow = {link: speed for link, speed in speeds.items() if speed is None or speed < wanted * (1 - tolerance)}
        expected = f"{wanted:g} GB/s on each link"
        if not slow:
            return passed(expected, f"{len(active)} links")
        return failed(expected, _named({f"link {link}": f"{speed or 0:g} GB/s" for link, speed in slow.items()}))

    return judge_rows(facts.nvidia_rows("gpu.devices"), judge)


@_unless_disabled
def recovery_errors(facts: FactView, params: Mapping[str, Any], tables: Tables) -> list[RowResult]:
    """No replay and no recovery on any link."""
    return _counters(facts, _RECOVERIES, float(params["max_errors"]))


@_unless_disabled
def crc_errors(facts: FactView, params: Mapping[str, Any], tables: Tables) -> list[RowResult]:
    """No damaged packet on any link."""
    return _counters(facts, _CRC, float(params["max_errors"]))


@_unless_disabled
def bit_errors(facts: FactView, params: Mapping[str, Any], tables: Tables) -> list[RowResult]:
    """The effective bit error rate of every link (Blackwell) stays under the limit."""
    return _counters(facts, _BIT_ERRORS, float(params["max_ber"]))


def _counters(facts: FactView, names: tuple[str, ...], limit: float) -> list[RowResult]:
    """Every link keeps each of the counters that the driver prints at or under the limit; one verdict a GPU."""
    expected = f"at most {limit:g} on each link"

    def judge(links: _Links) -> RowResult:
        told = 0
        over: dict[str, str] = {}
        for row in links.rows:
            # 18 links of 8 GPUs with several counters each: the plain way first.
            unread = bool(row.get("_errors"))
            for name in names:
                value = number(read(row, name) if unread else row.get(name))
                if value is None:
                    continue
                told += 1
                if value > limit:
                    over[f"link {row.get('link')}"] = f"{value:g} {name.replace('_', ' ')}"
        if over:
            return failed(expected, _named(over))
        return passed(expected, "none above") if told else not_judged("this GPU does not count them")

    links = facts.once("nvlink.links", _AllLinks).by_index
    if not links:
        return [not_judged("no GPU has NVLinks")]
    return judge_rows([{"index": index} for index in sorted(links)], lambda row: judge(links[row["index"]]))


def _named(parts: Mapping[str, str]) -> str:
    shown = ", ".join(f"{name}: {text}" for name, text in list(parts.items())[:_MAX_NAMED])
    return shown + (f" and {len(parts) - _MAX_NAMED} more" if len(parts) > _MAX_NAMED else "")


@_unless_disabled
def topology(facts: FactView, params: Mapping[str, Any], tables: Tables) -> list[RowResult]:
    """NVLink (NV#) between each two GPUs of boards on which all are connected."""
    gpus = facts.nvidia_rows("gpu.devices")
    on_switches = of_models(gpus, tables, "fabric_manager", "node", "switch_tray")
    connected = {int(gpu["index"]) for gpu in on_switches if not gpu.get("mig_current")}
    if len(connected) < 2:
        return [not_judged("no two GPUs here are of models whose boards connect all of them")]
    rows: dict[int, list[Row]] = defaultdict(list)
    for row in facts.rows("gpu.topology"):
        rows[int(row["gpu_index"])].append(row)

    def judge(gpu: Row) -> RowResult:
        peers = [row for row in rows[int(gpu["index"])] if int(row["peer_index"]) in connected]
        if len(peers) < len(connected) - 1:
            raise CannotTellError(f"nvidia-smi topo -m shows {len(peers)} of {len(connected) - 1} peers")
        others = {f"GPU {row['peer_index']}": str(read(row, "link")) for row in peers}
        far = {peer: link for peer, link in others.items() if not _NV.match(link)}
        if far:
            return failed("NV# to every other GPU", _named(far))
        return passed("NV# to every other GPU", ", ".join(sorted(set(others.values()))))

    return judge_rows([gpu for gpu in gpus if int(gpu["index"]) in connected], judge)


def p2p(facts: FactView, params: Mapping[str, Any], tables: Tables) -> list[RowResult]:
    """Every pair of GPUs that NVLink connects may read each other's memory."""
    split = where_split(facts.nvidia_rows("gpu.devices"), "MIG is on: there is no peer access between slices")
    if split:
        return split
    linked = {
        (row["gpu_index"], row["peer_index"])
        for row in facts.rows("gpu.topology")
        if str(row.get("link") or "").startswith("NV")
    }
    if not linked:
        return [not_judged("no pair of GPUs is connected by NVLink")]
    expected = "OK"
    wrong: dict[int, list[str]] = {}
    untold: list[str] = []
    for row in facts.rows("gpu.p2p"):
        pair = (row.get("gpu_index"), row.get("peer_index"))
        if pair not in linked:
            continue
        linked.discard((pair[0], pair[1]))
        status = row.get("status")
        if status is None or status == "U":
            untold.append(f"GPU {pair[0]} from GPU {pair[1]}")
        elif status != expected:
            wrong.setdefault(int(pair[0]), []).append(f"{status} from GPU {pair[1]}")
    results = [about(f"GPU {index}", failed(expected, ", ".join(parts))) for index, parts in sorted(wrong.items())]
    untold += [f"GPU {one} from GPU {other}" for one, other in sorted(linked)]
    if untold:
        results.append(unknown(f"nvidia-smi does not tell: {', '.join(untold[:4])}", expected))
    return results or [passed(expected, "OK for all pairs on NVLink")]
