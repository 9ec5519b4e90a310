"""Rules about container engines and how containers get GPUs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nodectl.engine.rules import FactView, RowResult
from nodectl.engine.rules.gpu_rows import (
    Row,
    Tables,
    about,
    failed,
    not_judged,
    passed,
    read,
    sum_up,
    unknown,
    version,
)
from nodectl.facts.containers.files import NETWORK_FILE_SYSTEMS
from nodectl.facts.host.limits import UNLIMITED
from nodectl.model import Fact, FactState

_GPU_KIND = "nvidia.com/gpu"
_RUN = ("/var/run/cdi/", "/run/cdi/")
_ENROOT_LOCAL = ("ENROOT_RUNTIME_PATH", "ENROOT_DATA_PATH", "ENROOT_TEMP_PATH")
_SHOWN = 4


def engines_run(facts: FactView, params: Mapping[str, Any], tables: Tables) -> list[RowResult]:
    """No engine's unit has failed or starts over and over."""
    expected = "not failed"
    results = []
    for name in ("docker", "containerd", "crio"):
        unit = facts.get(f"service[{name}]")
        if unit is None:
            continue
        active, sub = unit.get("active_state"), unit.get("sub_state")
        shown = f"{active} ({sub})" if sub else str(active)
        bad = active == "failed" or sub == "auto-restart"
        results.append(about(name, (failed if bad else passed)(expected, shown)))
    return sum_up(results) if results else [not_judged("no engine here is a service of systemd")]


def toolkit_flaws(facts: FactView, params: Mapping[str, Any], tables: Tables) -> list[RowResult]:
    """The toolkit is newer than every release with a flaw of the table."""
    shown = str(facts.value("container_toolkit.version"))
    rows = tables["container_toolkit_flaws"].rows
    newest = max((str(row["fixed_in"]) for row in rows), key=version)
    expected = f"at least {newest}"
    open_flaws = [str(row["cve"]) for row in rows if version(shown) <= version(row["last_affected"])]
    if open_flaws:
        return [failed(expected, shown, f"{', '.join(open_flaws)} not fixed")]
    return [passed(expected, shown)]


def docker_gpu_loss(facts: FactView, params: Mapping[str, Any], tables: Tables) -> list[RowResult]:
    """Docker's cgroups are not systemd's, or GPUs come by CDI."""
    expected = "cgroup driver cgroupfs, or the NVIDIA runtime in mode cdi"
    if facts.get("container_toolkit.mode") == "cdi":
        return [passed(expected, "mode cdi")]
    driver = facts.get("docker.cgroup_driver")
    if driver is None:
        driver = "systemd" if int(facts.value("cgroup.version")) == 2 else "cgroupfs"
        reason = f"docker's choice on cgroup v{facts.value('cgroup.version')}"
    else:
        reason = "as daemon.json sets it"
    return [(failed if driver == "systemd" else passed)(expected, f"cgroup driver {driver}", reason)]


def docker_logs(facts: FactView, params: Mapping[str, Any], tables: Tables) -> list[RowResult]:
    """A log driver that keeps files on the node has a limit."""
    driver = str(facts.get("docker.log_driver", "json-file"))
    size = facts.get("docker.log_max_size")
    expected = "a driver that rotates, or max-size"
    if driver != "json-file":
        return [passed(expected, driver)]
    if size is None or str(size) == "-1":
        return [failed(expected, "json-file without max-size")]
    return [passed(expected, f"json-file, max-size {size}")]


def docker_memlock(facts: FactView, params: Mapping[str, Any], tables: Tables) -> list[RowResult]:
    """Unlimited locked memory, from daemon.json or from the unit that starts the containers."""
    expected = "unlimited"
    own = facts.get("docker.memlock_kib")
    if own is not None:
        return [(passed if own >= UNLIMITED else failed)(expected, _kib(own), "default-ulimits")]
    unit = facts.get("service[containerd]") or facts.get("service[docker]")
    limit = None if unit is None else unit.get("memlock_kib")
    if limit is None:
        return [unknown("daemon.json does not set it, and the unit's limit is not known", expected)]
    return [(passed if limit >= UNLIMITED else failed)(expected, _kib(limit), "LimitMEMLOCK of the unit")]


def _kib(value: int) -> str:
    return "unlimited" if value >= UNLIMITED else f"{value} KiB"


def cdi_current(facts: FactView, params: Mapping[str, Any], tables: Tables) -> list[RowResult]:
    """Each spec that counts names files that are there, of the driver that runs, and all GPUs."""
    driver = str(facts.value("driver.version"))
    rows = facts.rows("cdi.specs")
    over = {row.get("kind") for row in rows if str(row.get("path")).startswith(_RUN)}
    results = []
    for row in rows:
        path = str(row.get("path"))
        if not path.startswith(_RUN) and row.get("kind") in over:
            result = not_judged(f"{path} is overridden by a spec in /var/run/cdi")
        else:
            result = _spec(row, driver, facts.fact("gpu.count"))
        results.append(about(path, result))
    return sum_up(results)


def _spec(row: Row, driver: str, gpus: Fact) -> RowResult:
    expected = f"files of driver {driver} that are there, and every GPU"
    problems = row.get("_errors") or {}
    versions = row.get("driver_versions") or []
    if versions and versions != [driver]:
        return failed(expected, f"files of driver {', '.join(versions)}")
    missing = row.get("missing") or []
    if missing:
        more = f" and {len(missing) - _SHOWN} more" if len(missing) > _SHOWN else ""
        return failed(expected, f"gone: {', '.join(missing[:_SHOWN])}{more}")
    devices = read(row, "devices") if "devices" not in problems else []
    nodes = row.get("gpu_nodes")
    # A GPU in MIG mode with no instance is rightly left out; device plugins describe what they hand out.
    whole = row.get("kind") == _GPU_KIND and not any(":" in str(name) for name in devices or [])
    if whole and gpus.state is FactState.VALUE and nodes is not None and nodes < gpus.value:
        return failed(expected, f"{nodes} of {gpus.value} GPUs")
    if problems:
        return unknown("; ".join(sorted({str(text) for text in problems.values()})), expected)
    if whole and gpus.state is FactState.ERROR and nodes is not None:
        return unknown(f"gpu.count: {gpus.reason}", expected)
    return passed(expected, f"driver {', '.join(versions)}" if versions else "all files are there")


def cdi_conflicts(facts: FactView, params: Mapping[str, Any], tables: Tables) -> list[RowResult]:
    """No two specs in folders of the same rank describe one device."""
    expected = "each device in one spec of a folder"
    seen: dict[tuple[str, str, str], str] = {}
    clashes: dict[tuple[str, str], list[str]] = {}
    for row in facts.rows("cdi.specs"):
        path = str(row.get("path"))
        kind = read(row, "kind")
        for name in read(row, "devices") or []:
            key = (path.rpartition("/")[0], str(kind), str(name))
            other = seen.setdefault(key, path)
            if other != path:
                clashes.setdefault((other, path), []).append(f"{kind}={name}")
    if not clashes:
        return [passed(expected, "no device twice")]
    return [
        about(second, failed(expected, f"{len(names)} devices also in {first}", ", ".join(names[:_SHOWN])))
        for (first, second), names in clashes.items()
    ]


def toolkit_ldconfig(facts: FactView, params: Mapping[str, Any], tables: Tables) -> list[RowResult]:
    """The ldconfig that is named is the host's, and there."""
    path = str(facts.value("container_toolkit.ldconfig"))
    expected = "an ldconfig of the host (with @) that is there"
    if not path.startswith("@"):
        if "allow-ldconfig-from-container" in facts.get("container_toolkit.features", []):
            return [passed(expected, path, "the container's ldconfig is allowed by a feature")]
        if version(facts.value("container_toolkit.version")) < version("1.17.3"):
            return [passed(expected, path, "releases before 1.17.3 take the container's")]
        return [failed(expected, path, "without @ it is the container's, which is refused since 1.17.3")]
    found = facts.value("container_toolkit.ldconfig_found")
    return [passed(expected, path)] if found else [failed(expected, path, "there is no such file")]


def enroot_hook(facts: FactView, params: Mapping[str, Any], tables: Tables) -> list[RowResult]:
    """A hook of Enroot is there and can be run, and so can what it calls.

    Params:
        hook: its file name.
        needs: the fact that says whether the program that it calls is there; empty: none.
    """
    hook, needs = str(params["hook"]), str(params["needs"])
    expected = f"{hook}, executable" + (", and nvidia-container-cli" if needs else "")
    rows = {row.get("name"): row for row in facts.get("enroot.hooks", [])}
    if hook not in rows:
        return [failed(expected, f"no {hook}")]
    if not read(rows[hook], "executable"):
        return [failed(expected, f"{hook} is not executable")]
    if needs and facts.get(needs) is None:
        return [failed(expected, "no nvidia-container-cli")]
    return [passed(expected, "there")]


def enroot_paths(facts: FactView, params: Mapping[str, Any], tables: Tables) -> list[RowResult]:
    """The folders in which containers are unpacked and run are on no network file system."""
    results = []
    for row in facts.rows("enroot.paths"):
        name = str(row.get("name"))
        if name not in _ENROOT_LOCAL:
            continue
        kind = row.get("fstype")
        if kind is None:
            result = not_judged(f"{name} ({row.get('path')}) is known only to the session that uses it")
        else:
            verdict = failed if kind in NETWORK_FILE_SYSTEMS else passed
            result = verdict("a local file system", f"{row.get('path')} on {kind}")
        results.append(about(name, result))
    return sum_up(results) if results else [not_judged("enroot.conf sets none of these folders")]
