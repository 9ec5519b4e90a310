"""The rules about drivers and CUDA, at their edges and over whole tables."""

from __future__ import annotations

import pytest
from rule_calls import ABSENT, ERROR, call, subjects, tables, worst

from nodectl.catalogue.value_types import TYPES
from nodectl.engine.rules import CannotTellError, cuda, driver
from nodectl.model import Outcome

PASS, FAIL, UNKNOWN, NOT_APPLICABLE = Outcome.PASS, Outcome.FAIL, Outcome.UNKNOWN, Outcome.NOT_APPLICABLE
H200, B200, V100, GRACE = "10de:2335", "10de:2901", "10de:1db5", "10de:2342"
version = TYPES["version"].read


def branch(driver_version: str, time: object = "2026-11-20T12:00:00Z") -> Outcome:
    return worst(driver.branch_supported, {"driver.version": driver_version, "node.time_utc": time})


@pytest.mark.parametrize(
    ("time", "outcome"),
    [("2028-06-30T23:59:59Z", PASS), ("2028-07-01T00:00:00Z", FAIL), ("2031-01-01T00:00:00Z", FAIL)],
)
def test_a_branch_is_supported_to_the_end_of_its_last_month(time: str, outcome: Outcome) -> None:
    assert branch("580.159.04", time) is outcome


def test_every_branch_of_the_table_is_judged_as_the_table_says() -> None:
    wanted = {"eol": FAIL, "supported": PASS, None: UNKNOWN}
    for row in tables()["driver_branches"].rows:
        assert branch(f"{row['branch']}.10.01") is wanted[row.get("status")], row


def test_a_branch_without_an_end_needs_no_clock() -> None:
    assert branch("615.10.01", ERROR) is PASS
    with pytest.raises(CannotTellError):
        branch("580.159.04", ERROR)


def test_the_branches_to_choose_from_are_named() -> None:
    (result,) = call(driver.branch_supported, {"driver.version": "535.161.08", "node.time_utc": ERROR})
    assert result.expected == "a supported branch: R580, R595, R615"


def test_a_branch_that_is_not_in_the_table() -> None:
    assert branch("418.226.00") is FAIL  # older than all that are supported
    assert branch("585.10.01") is FAIL  # between two that are: never a data-centre branch
    assert branch("700.10.01") is UNKNOWN


def flavor(loaded: str, *pci_ids: str, devices: object = ERROR) -> Outcome:
    facts = {"driver.module_flavor": loaded, "gpu.pci_ids": list(pci_ids), "gpu.devices": devices}
    return worst(driver.module_flavor, facts, fact="driver.module_flavor")


def test_flavors_over_the_whole_table_of_models() -> None:
    for row in tables()["gpu_models"].rows:
        known = row.get("kernel_modules")
        assert flavor("open", row["pci_id"]) is (FAIL if known == "proprietary_only" else PASS), row
        assert flavor("proprietary", row["pci_id"]) is (FAIL if known == "open_only" else PASS), row


def test_the_model_says_more_than_the_architecture() -> None:
    """Grace Hopper is Hopper by name, and yet needs the open modules."""
    devices = [{"index": 0, "pci_id": GRACE, "architecture": "Hopper"}]
    assert flavor("proprietary", GRACE, devices=devices) is FAIL
    assert flavor("proprietary", H200) is PASS


def test_the_architecture_helps_where_the_model_is_not_known() -> None:
    new = "10de:2fff"
    assert flavor("proprietary", new, devices=[{"index": 0, "pci_id": new, "architecture": "Blackwell"}]) is FAIL
    assert flavor("proprietary", new) is NOT_APPLICABLE


def test_two_kinds_of_gpu_are_judged_apart() -> None:
    facts = {"driver.version": "595.91.07", "gpu.pci_ids": [H200, V100], "gpu.devices": ERROR}
    results = call(driver.not_too_new, facts, fact="driver.version")
    assert subjects(results) == ["v100-sxm"]


@pytest.mark.parametrize(("driver_version", "outcome"), [("565.57.01", FAIL), ("570.26", PASS), ("580.65.06", PASS)])
def test_the_first_branch_for_blackwell(driver_version: str, outcome: Outcome) -> None:
    facts = {"driver.version": driver_version, "gpu.pci_ids": [B200], "gpu.devices": ERROR}
    assert worst(driver.minimum_for_gpu, facts) is outcome


@pytest.mark.parametrize(
    ("value", "modules", "outcome"),
    [
        ("18", "open", PASS),
        ("1", "open", PASS),
        ("17", "open", PASS),
        ("0", "open", FAIL),
        ("32", "open", FAIL),
        ("0", "proprietary", PASS),
        ("0", ABSENT, UNKNOWN),
    ],
)
def test_the_mode_of_gsp_is_in_the_low_bits(value: str, modules: object, outcome: Outcome) -> None:
    facts = {"driver.param[EnableGpuFirmware]": value, "driver.module_flavor": modules}
    assert worst(driver.gsp_not_disabled, facts) is outcome


def toolkit(release: str, driver_version: str, level: object = ABSENT, compat: object = ABSENT) -> Outcome:
    facts = {
        "cuda.toolkits": [{"version": release, "path": f"/usr/local/cuda-{release}", "default": True}],
        "cuda.compat": compat,
        "cuda.driver_version": level,
        "driver.version": driver_version,
        "gpu.pci_ids": [H200],
    }
    return worst(cuda.toolkit_driver, facts)


def test_every_toolkit_runs_on_the_driver_that_it_came_with() -> None:
    for row in tables()["cuda_toolkits"].rows:
        if row.get("driver_full"):
            assert toolkit(row["release"], row["driver_full"]) is PASS, row
            assert worst(cuda.toolkit_all_features, _both(row["release"], row["driver_full"])) is PASS, row


def _both(release: str, driver_version: str) -> dict[str, object]:
    return {"cuda.toolkits": [{"version": release}], "driver.version": driver_version}


@pytest.mark.parametrize(
    ("release", "below", "floor"),
    [("11.8.0", "450.66", "450.80.02"), ("12.9.1", "520.61.05", "525.60.13"), ("13.3.1", "575.57.08", "580.65.06")],
)
def test_the_floor_is_that_of_the_major(release: str, below: str, floor: str) -> None:
    assert toolkit(release, below) is FAIL
    assert toolkit(release, floor) is PASS


def test_a_toolkit_newer_than_the_tables_is_unknown_not_failed() -> None:
    assert toolkit("14.0.0", "615.10.01", "13.4") is UNKNOWN


@pytest.mark.parametrize(("libraries", "runs"), [("580.95.05", PASS), ("570.172.08", FAIL), ("565.57.01", FAIL)])
def test_compat_libraries_must_be_newer_than_the_driver(libraries: str, runs: Outcome) -> None:
    compat = [{"cuda_version": "13.0", "driver_version": libraries, "path": "/usr/local/cuda-13.0/compat"}]
    assert toolkit("13.0.2", "570.172.08", "12.8", compat) is runs


@pytest.mark.parametrize(("libraries", "useful"), [("590.48.01", PASS), ("580.159.04", PASS), ("580.95.05", FAIL)])
def test_compat_libraries_of_the_drivers_own_version_do_no_harm(libraries: str, useful: Outcome) -> None:
    compat = [{"cuda_version": "13.0", "driver_version": libraries, "path": "/usr/local/cuda-13.0/compat"}]
    assert worst(cuda.compat_useful, {"cuda.compat": compat, "driver.version": "580.159.04"}) is useful


@pytest.mark.parametrize(("driver_version", "outcome"), [("610.43.02", FAIL), ("615.10.01", PASS), ("620.1.1", PASS)])
def test_a_toolkit_without_a_bundled_driver_names_a_branch(driver_version: str, outcome: Outcome) -> None:
    assert worst(cuda.toolkit_all_features, _both("13.4.2", driver_version)) is outcome


def test_an_old_toolkit_needs_no_row() -> None:
    assert toolkit("10.2.89", "580.159.04", "13.0") is PASS


def test_every_floor_is_reached_by_its_own_first_branch() -> None:
    """The native level of each branch is not below what its first version could run."""
    floors = {int(row["cuda_major"]): row["driver_min"] for row in tables()["cuda_driver"].rows}
    for row in tables()["driver_branches"].rows:
        if row.get("first_version") and row.get("max_cuda"):
            major = int(row["max_cuda"].partition(".")[0])
            assert version(row["first_version"]) >= version(floors[major]), row


@pytest.mark.parametrize(
    ("release", "pci_id", "outcome"),
    [
        ("12.8.0", B200, PASS),
        ("12.6.3", B200, FAIL),
        ("12.9.1", V100, PASS),
        ("13.0.0", V100, FAIL),
        ("11.8.0", H200, PASS),
        ("11.7.1", H200, FAIL),
    ],
)
def test_what_a_toolkit_can_compile_for(release: str, pci_id: str, outcome: Outcome) -> None:
    facts = {"cuda.toolkits": [{"version": release}], "gpu.pci_ids": [pci_id], "gpu.devices": ERROR}
    assert worst(cuda.toolkit_knows_gpu, facts) is outcome


def test_the_tables_name_the_same_architectures() -> None:
    known = {row["architecture"] for row in tables()["architectures"].rows}
    assert {row["architecture"] for row in tables()["gpu_models"].rows} <= known
    for row in tables()["gpu_models"].rows:
        by_architecture = tables()["architectures"].get(row["architecture"]) or {}
        if row["kernel_modules"] != "open_only":
            assert row["kernel_modules"] == by_architecture["kernel_modules"], row


def test_rows_that_were_only_noted_are_in_no_table_that_can_fail_a_node() -> None:
    for name in ("gpu_models", "cuda_driver", "cuda_toolkits", "driver_branches", "architectures", "throttle_reasons"):
        for row in tables()[name].rows:
            assert row["confidence"] in ("verified", "inferred"), (name, row)
