"""Rules about the software under RDMA: OFED, kernel modules, firmware, GPUDirect."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from nodectl.engine.rules import FactView, RowResult
from nodectl.engine.rules.gpu_rows import (
    Row,
    Tables,
    failed,
    judge_rows,
    not_judged,
    number,
    passed,
    read,
    soft,
    version,
)
from nodectl.engine.rules.rdma import ETHERNET, INFINIBAND
from nodectl.model import FactState

MLNX_OFED = "MLNX_OFED"
_INFINIBAND_CLASS = "0207"
_HANDED_ON = "vfio-pci"
_DMABUF_KERNEL = "5.12"
_MANY_VIRTUAL = 4
_FULL_PORT_GBPS = 200.0
_KERNEL_PACKAGES = (
    "mlnx-ofed-kernel-dkms", "mlnx-ofed-kernel-modules", "kmod-mlnx-ofa_kernel", "mlnx-ofa_kernel-dkms",
)  # fmt: skip

Params = Mapping[str, Any]


def _device(row: Row) -> str:
    return str(row.get("device"))


def _adapters(facts: FactView) -> list[Row]:
    """RDMA devices that are an adapter of this machine."""
    return [row for row in facts.rows("rdma.devices") if row.get("driver") and not row.get("virtual_function")]


def adapters_registered(facts: FactView, params: Params, tables: Tables) -> list[RowResult]:
    """Every InfiniBand adapter on the bus has a driver and is an RDMA device."""
    known = {row.get("pci_bus_id") for row in facts.rows("rdma.devices")}
    exclusive = str(soft(facts, "module_param[ib_core.netns_mode]", "Y")).upper() in ("N", "0")

    def judge(row: Row) -> RowResult:
        driver = read(row, "driver")
        if driver == _HANDED_ON:
            return not_judged("handed to a virtual machine")
        expected = "a driver, and an RDMA device"
        if driver is None:
            return failed(expected, "no driver")
        if row.get("pci_bus_id") not in known:
            if exclusive:
                return not_judged("RDMA devices may be in the network namespaces of containers (netns exclusive)")
            return failed(expected, f"{driver} without RDMA: mlx5_ib is not loaded, or left it alone")
        return passed(expected, str(driver))

    rows = [row for row in facts.rows("nic.pci") if row.get("class") == _INFINIBAND_CLASS]
    if not rows:
        return [not_judged("no InfiniBand adapter on the bus")]
    return judge_rows(rows, judge, lambda row: str(row.get("pci_bus_id")))


def uverbs(facts: FactView, params: Params, tables: Tables) -> list[RowResult]:
    """Every RDMA device has its file for user programs."""
    nodes = {row.get("device") for row in facts.rows("rdma.device_nodes") if row.get("kind") == "uverbs"}

    def judge(row: Row) -> RowResult:
        there = row.get("device") in nodes
        return (passed if there else failed)("a file uverbsN in /dev/infiniband", "there" if there else "none")

    return judge_rows(facts.rows("rdma.devices"), judge, _device)


def umad(facts: FactView, params: Params, tables: Tables) -> list[RowResult]:
    """As many files for management datagrams as InfiniBand ports."""
    ports = [row for row in facts.rows("rdma.ports") if row.get("link_layer") == INFINIBAND and row.get("driver")]
    if not ports:
        return [not_judged("no InfiniBand port")]
    have = sum(row.get("kind") == "umad" for row in facts.rows("rdma.device_nodes"))
    verdict = passed if have >= len(ports) else failed
    return [verdict(f"{len(ports)} files umadN, one a port", f"{have}")]


def loaded_is_on_disk(facts: FactView, params: Params, tables: Tables) -> list[RowResult]:
    """The mlx5 module that runs is the one that the next boot loads."""
    loaded, on_disk = facts.value("module[mlx5_core]"), facts.value("module_on_disk[mlx5_core]")
    if loaded.get("builtin"):
        return [not_judged("mlx5_core is part of the kernel")]
    now, then = read(loaded, "srcversion"), read(on_disk, "srcversion")
    if now is None or then is None:
        return [not_judged("the modules tell no checksum")]
    names = [f"{row.get('version') or 'the kernel'}'s" for row in (loaded, on_disk)]
    if loaded.get("version") and not on_disk.get("version"):
        return [not_judged("the loaded module is of OFED, and none is on disk: a driver container has loaded it")]
    actual = f"loaded: {names[0]} ({now}), on disk: {names[1]} ({then})"
    return [(passed if now == then else failed)("one build", "one build" if now == then else actual)]


def ofed_module_in_use(facts: FactView, params: Params, tables: Tables) -> list[RowResult]:
    """Where OFED's kernel modules are installed, they are loaded, and of the release that ofed_info names."""
    installed = [name for name in _KERNEL_PACKAGES if soft(facts, f"package[{name}]") is not None]
    if not installed:
        if any(facts.state(f"package[{name}]") is FactState.ERROR for name in _KERNEL_PACKAGES):
            return [not_judged("whether OFED's kernel modules are installed cannot be told")]
        return [not_judged("OFED's kernel modules are not installed")]
    release = str(facts.value("rdma.ofed_version"))
    loaded = read(facts.value("module[mlx5_core]"), "version")
    expected = f"mlx5_core of {release}"
    if loaded is None:
        return [failed(expected, "the kernel's own module")]
    return [(passed if _same_release(str(loaded), release) else failed)(expected, f"{loaded}")]


def _same_release(module: str, release: str) -> bool:
    """`24.10-2.1.8` and `24.10-2.1.8.0`: one may have more parts than the other."""
    return f"{release}.".startswith(f"{module}.") or f"{module}.".startswith(f"{release}.")


def one_stack(facts: FactView, params: Params, tables: Tables) -> list[RowResult]:
    """mlx5_core and mlx5_ib are of one release."""
    core, ib = (read(facts.value(f"module[{name}]"), "version") for name in ("mlx5_core", "mlx5_ib"))
    if core is None and ib is None:
        return [not_judged("the kernel's own modules tell no version")]
    return [(passed if core == ib else failed)("one release", f"mlx5_core {core or '-'}, mlx5_ib {ib or '-'}")]


def _line(release: str) -> str:
    return release.partition("-")[0]


def ofed_supported(facts: FactView, params: Params, tables: Tables) -> list[RowResult]:
    """The release line is not past its end."""
    release, kind = str(facts.value("rdma.ofed_version")), str(facts.value("rdma.ofed_kind"))
    row = tables["ofed_lines"].get(_line(release))
    if row is None:
        if kind != MLNX_OFED:
            return [not_judged(f"DOCA-OFED {_line(release)}: no end of support is documented")]
        return [failed("a long-term release, or DOCA-OFED", f"MLNX_OFED {release}: ended with the release after it")]
    if row.get("eol") is None:
        return [passed("a supported line", f"{release}, long-term")]
    month = str(facts.value("node.time_utc"))[:7]
    verdict = passed if month <= str(row["eol"]) else failed
    return [verdict(f"supported until {row['eol']} at most", f"{kind} {release} in {month}")]


def ofed_for_adapter(facts: FactView, params: Params, tables: Tables) -> list[RowResult]:
    """The release supports every adapter of the node."""
    release, kind = str(facts.value("rdma.ofed_version")), str(facts.value("rdma.ofed_kind"))
    line = version(_line(release))

    def judge(row: Row) -> RowResult:
        known = tables["nic_models"].get(row.get("pci_id")) or {}
        model = known.get("model")
        if model is None or known.get("virtual"):
            return not_judged("no document names this adapter")
        actual = f"{kind} {release}"
        if known.get("doca_only") and kind == MLNX_OFED:
            return failed(f"DOCA-OFED for {model}", actual)
        first, last = known.get("first_ofed"), known.get("last_ofed")
        if first is not None and line < version(first):
            return failed(f"{first} or newer for {model}", actual)
        if last is not None and version(last) < line:
            return failed(f"{last} or older for {model}", actual)
        return passed("knows the adapter", actual)

    return judge_rows(_adapters(facts), judge, _device)


def firmware_alike(facts: FactView, params: Params, tables: Tables) -> list[RowResult]:
    """Adapters of one board id have one firmware version."""
    rows = _adapters(facts)
    boards: dict[Any, list[Row]] = defaultdict(list)
    for row in rows:
        boards[row.get("board_id")].append(row)
    results = []
    for board, same in sorted(boards.items(), key=lambda item: str(item[0])):
        if board is None or len(same) < 2:
            continue
        versions: dict[str, list[str]] = defaultdict(list)
        for row in same:
            versions[str(read(row, "firmware"))].append(_device(row))
        actual = "; ".join(f"{one}: {', '.join(names)}" for one, names in sorted(versions.items()))
        verdict = passed if len(versions) == 1 else failed
        results.append(
            RowResult(verdict("", "").outcome, str(board), "one version", actual if len(versions) > 1 else "")
        )
    if not results:
        return [not_judged("no two adapters of one board id")]
    wrong = [result for result in results if result.actual]
    return wrong or [passed("one version for each board id", f"{len(results)} board ids")]


def firmware_bundled(facts: FactView, params: Params, tables: Tables) -> list[RowResult]:
    """Adapters have at least the firmware that came with the OFED release."""
    release = str(facts.value("rdma.ofed_version"))
    bundle = next((row for row in tables["ofed_releases"].rows if f"{release}.".startswith(_prefix(row))), None)
    if bundle is None:
        return [not_judged(f"the firmware that came with {release} is not known here")]

    def judge(row: Row) -> RowResult:
        known = tables["nic_models"].get(row.get("pci_id")) or {}
        least, have = bundle.get(str(known.get("bundle"))), read(row, "firmware")
        if least is None or have is None:
            return not_judged("no firmware of the bundle is for this adapter")
        if str(have).partition(".")[0] != str(known.get("firmware_family")):
            return not_judged(f"{have} is of another family than the bundle's")
        return (passed if version(have) >= version(least) else failed)(f"{least} or newer", str(have))

    return judge_rows(_adapters(facts), judge, _device)


def _prefix(row: Row) -> str:
    """`24.10-2.1` -> `24.10-2.1.`; `25.07` -> `25.07-`."""
    ofed = str(row["ofed"])
    return ofed + ("." if "-" in ofed else "-")


def gpudirect(facts: FactView, params: Params, tables: Tables) -> list[RowResult]:
    """There is a way for the adapters to reach GPU memory: nvidia-peermem, or DMA-BUF."""
    ids = [str(row["pci_id"]) for row in facts.rows("gpu.pci") if row.get("pci_id")]
    if not any(tables["gpu_models"].get(one) for one in ids):
        return [not_judged("no data-centre GPU: GPUDirect RDMA is not for these")]
    if not _has_fabric(facts, tables, params, len(ids)):
        return [not_judged("too few active RDMA ports for these GPUs: not a network for them")]
    ways = [name for name in ("nvidia_peermem", "nv_peer_mem", "efa_nv_peermem") if facts.get(f"module[{name}]")]
    flavor, kernel = facts.get("driver.module_flavor"), str(facts.value("kernel.version"))
    if flavor is None and not ways:
        return [not_judged("the NVIDIA driver is not loaded: see driver.loaded")]
    if flavor == "open" and version(kernel) >= version(_DMABUF_KERNEL):
        ways.append(f"DMA-BUF (open modules, kernel {kernel})")
    expected = f"nvidia-peermem loaded, or open modules on kernel {_DMABUF_KERNEL} or newer"
    if ways:
        return [passed(expected, ", ".join(ways))]
    return [failed(expected, f"{flavor} modules, kernel {kernel}, and no peer memory module")]


def _has_fabric(facts: FactView, tables: Tables, params: Params, gpus: int) -> bool:
    """Whether there are ports enough to be the network of the GPUs, and not one for storage or management.

    An Ethernet port counts half of an InfiniBand or EFA one, from a rate on. Virtual functions are the way of a virtual
    machine to its cloud's network, unless there are many.
    """
    kinds = {row["device"]: tables["nic_models"].get(row.get("pci_id")) or {} for row in facts.rows("rdma.devices")}
    ports, virtual = 0.0, 0
    for row in facts.rows("rdma.ports"):
        if read(row, "state") != "active" or not row.get("driver") or row.get("nvswitch_bridge"):
            continue
        if row.get("link_layer") != ETHERNET:
            # One EDR or HDR100 port beside four GPUs is for storage and MPI: it counts half of one of 200 Gb/s.
            ports += min(1.0, (number(row.get("rate_gbps")) or _FULL_PORT_GBPS) / _FULL_PORT_GBPS)
        elif (number(row.get("rate_gbps")) or 0) >= float(params["least_gbps"]):
            is_virtual = bool(kinds.get(row["device"], {}).get("virtual"))
            virtual += is_virtual
            ports += 0.0 if is_virtual else 0.5
    ports += 0.5 * virtual if virtual >= _MANY_VIRTUAL else 0.0
    return ports > 0 and ports >= gpus * float(params["ports_per_gpu"])


def gdrdrv(facts: FactView, params: Params, tables: Tables) -> list[RowResult]:
    """Where GDRCopy's kernel module is installed, it is loaded."""
    names = ("gdrdrv-dkms", "gdrcopy-kmod")
    installed = [name for name in names if soft(facts, f"package[{name}]") is not None]
    if not installed:
        return [not_judged("GDRCopy's kernel module is not installed as a package")]
    there = facts.get("module[gdrdrv]") is not None
    return [(passed if there else failed)("gdrdrv is loaded", "loaded" if there else f"{installed[0]} is not loaded")]
