"""Rules about what surrounds the driver on a node: device files, options, DKMS, MIG layout, DCGM, the CUDA library."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nodectl.engine.rules import FactView, RowResult
from nodectl.engine.rules.cuda import driver_level
from nodectl.engine.rules.driver import models
from nodectl.engine.rules.gpu_rows import (
    Row,
    Tables,
    about,
    failed,
    judge_rows,
    not_judged,
    passed,
    read,
    sum_up,
    version,
)
from nodectl.facts.nvidia.mig import WHOLE
from nodectl.model import Outcome

_DKMS_PACKAGES = ("nvidia", "nvidia-open", "nvidia-current", "nvidia-current-open", "nvidia-srv")
# What /proc/driver/nvidia/params calls an option otherwise.
_RENAMED = {"RestrictProfilingToAdminUsers": "RmProfilingAdminOnly", "AssignGpus": "GpuBlacklist"}
_DCGM_PARTS = ("11", "12", "13")
_BASES = {"0x": 16, "0X": 16}


def device_files(facts: FactView, params: Mapping[str, Any], tables: Tables) -> list[RowResult]:
    """Each GPU that the driver has taken has its device file, and there is the control device.

    Params:
        names: further files that must be there, beside those of the GPUs.
    """
    there = {row["name"]: row for row in facts.rows("driver.device_files")}
    wanted = [f"nvidia{minor}" for minor in facts.value("driver.gpu_minors")] if params["gpus"] else []
    results = []
    for name in (*wanted, *params["names"]):
        row = there.get(name)
        if row is None:
            result = failed(f"/dev/{name}", "not there")
        elif not row["is_device"]:
            result = failed("a device file", f"{row['path']} is none")
        else:
            result = passed(f"/dev/{name}", str(row["path"]))
        results.append(about(f"/dev/{name}", result))
    if all(result.outcome is Outcome.PASS for result in results) or facts.get("virt.container") is None:
        return sum_up(results)
    return [not_judged("a container has the device files that it was given")]


def device_permissions(facts: FactView, params: Mapping[str, Any], tables: Tables) -> list[RowResult]:
    """Device files that the driver manages are open to those to whom its parameters open them."""
    if int(facts.value("driver.param[ModifyDeviceFiles]")) == 0:
        return [not_judged("the driver leaves device files alone (ModifyDeviceFiles is 0)")]
    mode = int(facts.value("driver.param[DeviceFileMode]"))
    uid, gid = int(facts.value("driver.param[DeviceFileUID]")), int(facts.value("driver.param[DeviceFileGID]"))

    def judge(row: Row) -> RowResult:
        has = int(str(read(row, "mode")), 8)
        shown = f"{row['mode']}, owner {row['uid']}, group {row['gid']}"
        expected = f"{mode:o}, owner {uid}, group {gid} (module parameters)"
        if mode & ~has:
            return failed(expected, shown)
        if (row["uid"], row["gid"]) != (uid, gid) and (has & 0o006) != 0o006:
            return failed(expected, shown)
        return passed(expected, shown)

    files = [row for row in facts.rows("driver.device_files") if _is_managed(str(row["name"]))]
    if not files:
        return [not_judged("there is no device file of a GPU: see driver.device_files")]
    return judge_rows(files, judge, lambda row: str(row["path"]))


def _is_managed(name: str) -> bool:
    return name == "nvidiactl" or name.removeprefix("nvidia").isdecimal()


def options_loaded(facts: FactView, params: Mapping[str, Any], tables: Tables) -> list[RowResult]:
    """The loaded module runs with the options that modprobe.d and the command line give to the next one."""
    running = {str(row["name"]): str(row["value"]) for row in facts.rows("driver.params")}
    results = []
    for row in facts.rows("driver.module_options"):
        name = str(row["name"]).removeprefix("NVreg_")
        if row["module"] != "nvidia" or name == row["name"]:
            continue
        subject = f"{row['name']} in {row['file']}"
        value = running.get(_RENAMED.get(name, name))
        if value is None:
            results.append(about(subject, not_judged("the loaded driver does not tell this parameter")))
            continue
        verdict = passed if _same(str(row["value"]), value) else failed
        results.append(about(subject, verdict(f"as written: {row['value']}", f"{value} in the loaded module")))
    return sum_up(results) if results else [not_judged("no option of the nvidia module is written anywhere")]


def _same(written: str, loaded: str) -> bool:
    """Whether both mean one value: the kernel reads 0x12 and 0660 as C does, and -1 as the greatest."""
    left, right = _number(written), _number(loaded)
    if left is None or right is None:
        return written.strip() == loaded.strip()
    return left % (1 << 32) == right % (1 << 32)


def _number(text: str) -> int | None:
    text = text.strip()
    try:
        if text[:1] == "0" and len(text) > 1 and text.isdecimal():
            return int(text, 8)
        return int(text, _BASES.get(text[:2], 10))
    except ValueError:
        return None


def dkms_one_version(facts: FactView, params: Mapping[str, Any], tables: Tables) -> list[RowResult]:
    """DKMS builds one version of the driver."""
    known = {str(row["version"]) for row in facts.rows("dkms.modules") if row["module"] in _DKMS_PACKAGES}
    if not known:
        return [not_judged("DKMS does not build the driver here")]
    return [(failed if len(known) > 1 else passed)("one version", ", ".join(sorted(known)))]


def mig_layout(facts: FactView, params: Mapping[str, Any], tables: Tables) -> list[RowResult]:
    """Each GPU is split into the MIG devices that the inventory names for every GPU."""
    declared = facts.value("expect.mig_profiles")
    wanted = sorted(str(one) for one in (declared if isinstance(declared, (list, tuple)) else [declared]))
    wanted = [] if wanted == [WHOLE] else wanted
    expected = " + ".join(wanted) or "not split"

    def judge(row: Row) -> RowResult:
        has = [str(one) for one in read(row, "profiles")]
        return (passed if has == wanted else failed)(expected, " + ".join(has) or "not split")

    return judge_rows(facts.rows("mig.gpus"), judge, lambda row: f"GPU {row.get('gpu_index')}")


def dcgm_knows_gpu(facts: FactView, params: Mapping[str, Any], tables: Tables) -> list[RowResult]:
    """DCGM's diagnostics know every GPU model of the node."""
    has = str(facts.value("driver.dcgm_version"))
    results = []
    for pci_id, model in zip(facts.value("gpu.pci_ids"), models(facts, tables), strict=True):
        row = tables["dcgm_skus"].get(pci_id)
        if row is None:
            results.append(about(model.label, not_judged(f"the first DCGM for {model.label} is not in the table")))
            continue
        verdict = passed if version(has) >= version(row["dcgm_min"]) else failed
        results.append(about(model.label, verdict(f"DCGM {row['dcgm_min']} or newer", has)))
    return sum_up(results)


def libcuda_first(facts: FactView, params: Mapping[str, Any], tables: Tables) -> list[RowResult]:
    """What a new process loads as the CUDA driver library is the driver's own, or a newer cuda-compat."""
    driver = str(facts.value("driver.version"))
    results = []
    seen: set[str] = set()
    for row in facts.rows("driver.libcuda"):
        if row["name"] not in seen:
            seen.add(row["name"])
            results.append(about(f"{row['name']} by {row['found_by']}", _libcuda(row, driver)))
    return sum_up(results)


def _libcuda(row: Row, driver: str) -> RowResult:
    expected = f"the library of driver {driver}"
    path, has = str(row["path"]), row.get("version")
    if row["kind"] == "stub":
        return failed(expected, path, "a stub to link against: programs that load it stop with error 34")
    if has is None:
        return not_judged(f"{path} does not tell its version by its name")
    if row["kind"] == "compat" and version(has) > version(driver):
        return passed(f"{expected}, or newer by cuda-compat", path)
    if version(has) == version(driver):
        return passed(expected, path)
    if row["kind"] == "driver" and row["found_by"] != "LD_LIBRARY_PATH":
        return not_judged(f"{path} is not of the loaded module's version: see driver.userspace_matches")
    return failed(expected, path, "CUDA stops with error 803")


def dcgm_plugin(facts: FactView, params: Mapping[str, Any], tables: Tables) -> list[RowResult]:
    """The part of DCGM 4 for the CUDA major of the driver is installed."""
    major = str(driver_level(facts, tables)).partition(".")[0]
    part = f"datacenter-gpu-manager-4-cuda{major}"
    if major not in _DCGM_PARTS:
        return [not_judged(f"which part of DCGM goes with CUDA {major} is not known")]
    installed = facts.get(f"package[{part}]")
    return [failed(part, "not installed") if installed is None else passed(part, str(installed))]
