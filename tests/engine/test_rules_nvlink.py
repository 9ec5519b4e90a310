"""The rules about NVLink and the fabric: who must have links, who runs Fabric Manager, and what is no fault."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from rule_calls import ABSENT, ERROR, call, gpus, subjects, tables, worst

from nodectl.engine.rules import CannotTellError, fabric, nvlink
from nodectl.model import Outcome

PASS, FAIL, UNKNOWN, NOT_APPLICABLE = Outcome.PASS, Outcome.FAIL, Outcome.UNKNOWN, Outcome.NOT_APPLICABLE
H200 = {"name": "NVIDIA H200", "pci_id": "10de:2335", "architecture": "Hopper", "mig_current": False}
A100 = {"name": "NVIDIA A100-SXM4-80GB", "pci_id": "10de:20b2", "architecture": "Ampere", "mig_current": False}
B200 = {"name": "NVIDIA B200", "pci_id": "10de:2901", "architecture": "Blackwell", "mig_current": False}
GB200 = {"name": "NVIDIA GB200", "pci_id": "10de:2941", "architecture": "Blackwell", "mig_current": False}
H800 = {"name": "NVIDIA H800", "pci_id": "10de:2324", "architecture": "Hopper", "mig_current": False}
L40S = {"name": "NVIDIA L40S", "pci_id": "10de:26b9", "architecture": "Ada Lovelace"}
DISABLED = "driver.param[NvLinkDisable]"
SWITCHES = [{"pci_bus_id": "0000:05:00.0", "pci_id": "10de:22a3"}]


def links(gpu: int, active: int, inactive: int = 0, **fields: Any) -> list[dict[str, Any]]:
    rows = [{"gpu_index": gpu, "link": n, "state": "active", "speed_gbs": 26.562, **fields} for n in range(active)]
    return rows + [
        {"gpu_index": gpu, "link": active + n, "state": "inactive", "speed_gbs": None} for n in range(inactive)
    ]


def node(links_: Any, *devices: Mapping[str, Any], vm: Any = False) -> dict[str, Any]:
    return {"nvlink.links": links_, "gpu.devices": gpus(*devices), "virt.is_vm": vm, DISABLED: "0"}


@pytest.mark.parametrize(("active", "outcome"), [(18, PASS), (17, FAIL), (0, FAIL)])
def test_hopper_has_eighteen_links(active: int, outcome: Outcome) -> None:
    assert worst(nvlink.link_count, node(links(0, active, 18 - active), H200)) is outcome


def test_a_gpu_of_which_nothing_is_printed_has_no_link_up() -> None:
    results = call(nvlink.link_count, node(links(0, 18), H200, H200))
    assert subjects(results) == ["GPU 1"]


def test_links_belong_to_the_gpu_of_their_uuid() -> None:
    """GPU 1 has fallen off the bus: one call counts on without it, the other leaves a gap."""
    first, last = {**H200, "uuid": "GPU-a"}, {**H200, "uuid": "GPU-c"}
    gapped = links(0, 18, gpu_uuid="GPU-a") + links(2, 17, gpu_uuid="GPU-c")
    (result,) = call(nvlink.link_count, node(gapped, first, last))
    assert (result.subject, result.actual) == ("GPU 1", "17 active")
    # The number of another GPU is no answer for this one.
    crossed = links(0, 18, gpu_uuid="GPU-b") + links(1, 18, gpu_uuid="GPU-a")
    (result,) = call(nvlink.link_count, node(crossed, first, last))
    assert (result.subject, result.actual) == ("GPU 1", "0 active")


def test_without_uuids_links_go_by_number() -> None:
    told, untold = links(0, 18, gpu_uuid="GPU-a"), links(0, 18)
    assert worst(nvlink.link_count, node(told, H200)) is PASS
    assert worst(nvlink.link_count, node(untold, {**H200, "uuid": "GPU-a"})) is PASS


def test_models_without_a_documented_count_are_compared_with_each_other() -> None:
    alike = node(links(0, 8, 10) + links(1, 8, 10), H800, H800)
    assert worst(nvlink.link_count, alike) is NOT_APPLICABLE
    assert worst(nvlink.links_alike, alike) is PASS
    uneven = node(links(0, 8, 10) + links(1, 7, 11), H800, H800)
    assert subjects(call(nvlink.links_alike, uneven)) == ["GPU 1"]
    assert worst(nvlink.links_alike, node(links(0, 8), H800)) is NOT_APPLICABLE


def test_one_gpu_in_a_vm_has_its_links_off() -> None:
    off = [{"gpu_index": 0, "link": None, "state": "inactive", "speed_gbs": None}]
    assert worst(nvlink.link_count, node(off, H200, vm=True)) is NOT_APPLICABLE
    assert worst(nvlink.link_count, node(off, H200, vm=False)) is FAIL
    assert worst(nvlink.link_count, node(links(0, 18), H200, H200, vm=True)) is FAIL


@pytest.mark.parametrize("links_", [ERROR, [], links(0, 0, 18) + links(1, 0, 18), links(0, 17, 1) + links(1, 18)])
@pytest.mark.parametrize(
    ("parameter", "is_off"), [("1", True), (1, True), ("0", False), (ABSENT, False), (ERROR, False)]
)
def test_links_that_a_parameter_turns_off_are_not_judged(links_: Any, parameter: Any, is_off: bool) -> None:
    facts = {**node(links_, H200, H200), DISABLED: parameter}
    if is_off:
        (result,) = call(nvlink.link_count, facts)
        assert (result.outcome, "NvLinkDisable" in result.reason) == (NOT_APPLICABLE, True)
    elif links_ is ERROR:
        with pytest.raises(CannotTellError, match="timed out"):
            call(nvlink.link_count, facts)
    else:
        assert worst(nvlink.link_count, facts) is FAIL


def test_links_that_are_up_all_the_same_are_judged() -> None:
    facts = {**node(links(0, 18) + links(1, 18), H200, H200), DISABLED: "1"}
    assert worst(nvlink.link_count, facts) is PASS
    assert worst(nvlink.link_speed, facts, tolerance=0.02) is PASS


def test_a_node_without_nvlink_prints_none() -> None:
    assert worst(nvlink.link_count, node(ABSENT, L40S, L40S)) is NOT_APPLICABLE
    assert worst(nvlink.recovery_errors, {"nvlink.links": ABSENT}, max_errors=0) is NOT_APPLICABLE


@pytest.mark.parametrize(
    ("speed", "outcome"), [(26.562, PASS), (26.1, PASS), (26.0, FAIL), (25.0, FAIL), (53.125, PASS)]
)
def test_the_raw_speed_is_what_counts(speed: float, outcome: Outcome) -> None:
    facts = node(links(0, 18, speed_gbs=speed), H200)
    assert worst(nvlink.link_speed, facts, tolerance=0.02) is outcome


def test_a_link_may_be_slower_by_the_tolerance_and_no_more() -> None:
    assert worst(nvlink.link_speed, node(links(0, 1, speed_gbs=26.562), H200), tolerance=0.0) is PASS
    assert worst(nvlink.link_speed, node(links(0, 1, speed_gbs=26.561), H200), tolerance=0.0) is FAIL


def test_counters_of_either_generation() -> None:
    def said(**counters: Any) -> Outcome:
        return worst(nvlink.recovery_errors, {"nvlink.links": links(0, 2, **counters), DISABLED: "0"}, max_errors=0)

    assert said(replay_errors=0, recovery_errors=0, crc_errors=900) is PASS
    assert said(replay_errors=0, recovery_errors=1) is FAIL
    assert said(recovery_events=0, recovery_failed_events=0) is PASS
    assert said(recovery_events=1, recovery_failed_events=0) is FAIL
    assert said() is NOT_APPLICABLE


def test_many_bad_links_do_not_make_a_wall_of_text() -> None:
    (result,) = call(nvlink.crc_errors, {"nvlink.links": links(0, 18, crc_errors=5), DISABLED: "0"}, max_errors=0)
    assert result.actual.endswith("and 12 more")
    (result,) = call(nvlink.crc_errors, {"nvlink.links": links(0, 6, crc_errors=5), DISABLED: "0"}, max_errors=0)
    assert result.actual.endswith("link 5: 5 crc errors")


def topology(word: str, *devices: Mapping[str, Any]) -> dict[str, Any]:
    count = len(devices)
    rows = [{"gpu_index": a, "peer_index": b, "link": word} for a in range(count) for b in range(count) if a != b]
    return {"gpu.topology": rows, "gpu.devices": gpus(*devices), "virt.is_vm": False, DISABLED: "0"}


@pytest.mark.parametrize(
    ("word", "outcome"), [("NV18", PASS), ("NV4", PASS), ("SYS", FAIL), ("NODE", FAIL), ("NV", FAIL), ("NV0", FAIL)]
)
def test_links_between_gpus_on_switches(word: str, outcome: Outcome) -> None:
    assert worst(nvlink.topology, topology(word, H200, H200)) is outcome


def test_cards_may_reach_each_other_as_they_like() -> None:
    assert worst(nvlink.topology, topology("SYS", L40S, L40S)) is NOT_APPLICABLE
    assert worst(nvlink.topology, topology("SYS", H200, L40S)) is NOT_APPLICABLE
    assert worst(nvlink.topology, topology("SYS", {**A100, "mig_current": True}, A100)) is NOT_APPLICABLE


def test_a_matrix_that_lacks_a_gpu_is_unknown() -> None:
    facts = topology("NV18", H200, H200, H200)
    facts["gpu.topology"] = [row for row in facts["gpu.topology"] if row["peer_index"] != 2]
    outcomes = {result.subject: result.outcome for result in call(nvlink.topology, facts)}
    assert outcomes == {"GPU 0": UNKNOWN, "GPU 1": UNKNOWN}


def manager(device: Mapping[str, Any], switches: Any, vm: Any, on_disk: Any = "580.159.04") -> Outcome:
    facts = {
        "service[nvidia-fabricmanager]": ABSENT,
        "driver.on_disk_version": on_disk,
        "gpu.devices": gpus(device, device),
        "nvswitch.pci": switches,
        "virt.is_vm": vm,
    }
    return worst(fabric.fabric_manager, facts)


@pytest.mark.parametrize(
    ("device", "switches", "vm", "outcome"),
    [
        (H200, SWITCHES, False, FAIL),
        (H200, SWITCHES, True, FAIL),
        (H200, [], True, NOT_APPLICABLE),
        (H200, [], False, NOT_APPLICABLE),
        (H200, [], ERROR, NOT_APPLICABLE),
        (A100, SWITCHES, False, FAIL),
        (A100, [], False, NOT_APPLICABLE),
        (B200, [], False, FAIL),
        (B200, [], True, NOT_APPLICABLE),
        (GB200, [], False, NOT_APPLICABLE),
        (L40S, [], False, NOT_APPLICABLE),
    ],
)
def test_where_fabric_manager_belongs(device: Mapping[str, Any], switches: Any, vm: Any, outcome: Outcome) -> None:
    assert manager(device, switches, vm) is outcome


def test_where_it_cannot_be_told_whether_fabric_manager_belongs() -> None:
    with pytest.raises(CannotTellError):
        manager(H200, ERROR, False)
    with pytest.raises(CannotTellError):
        manager(B200, [], ERROR)
    assert manager(H200, SWITCHES, False, on_disk=ABSENT) is NOT_APPLICABLE


@pytest.mark.parametrize(
    ("state", "status", "outcome"),
    [
        ("Completed", "Success", PASS),
        ("Completed", "Not Supported", FAIL),
        ("Completed", None, FAIL),
        ("In Progress", None, FAIL),
        ("Not Started", None, FAIL),
        (None, None, NOT_APPLICABLE),
    ],
)
def test_fabric_states(state: str | None, status: str | None, outcome: Outcome) -> None:
    row = {**H200, "fabric_state": state, "fabric_status": status}
    assert worst(fabric.fabric_state, {"gpu.devices": gpus(row)}) is outcome


def test_health_by_summary_and_by_parts() -> None:
    def said(summary: str | None, **parts: str) -> Outcome:
        row = {**B200, "fabric_health": summary, "fabric_health_detail": parts or None}
        return worst(fabric.fabric_health, {"gpu.devices": gpus(row)})

    assert said("Healthy", bandwidth="Full") is PASS
    assert said("Limited Capacity", bandwidth="Degraded") is FAIL
    assert said(None, bandwidth="Full", route_unhealthy="False", incorrect_configuration="None") is PASS
    assert said(None, bandwidth="Full", incorrect_configuration="Incorrect SysGUID") is FAIL
    assert said(None, partition_assigned="False") is NOT_APPLICABLE


def test_every_model_with_a_count_also_has_a_speed_and_a_place_for_its_manager() -> None:
    for row in tables()["gpu_models"].rows:
        if row.get("nvlink_links"):
            assert row["nvlink"] == nvlink.BASEBOARD, row
            assert float(row["nvlink_gbs"]) in (25.0, 26.562, 53.125), row
            assert row["fabric_manager"] in ("node", "switch_tray"), row


LOST = {"pci_id": None, "mig_current": None, "_errors": dict.fromkeys(("pci_id", "mig_current"), "GPU is lost")}


def test_a_lost_gpu_among_good_ones_is_not_left_out_in_silence() -> None:
    assert worst(nvlink.link_speed, node(links(0, 1), H200, LOST), tolerance=0.02) is UNKNOWN
    pairs = [{"gpu_index": a, "peer_index": b, "link": "NV18"} for a, b in ((0, 1), (1, 0))]
    both = {"gpu.devices": gpus(H200, H200, LOST), "gpu.topology": pairs, "virt.is_vm": False, DISABLED: "0"}
    assert worst(nvlink.topology, both) is UNKNOWN


def test_a_cluster_is_compared_with_the_first_gpu_that_names_one() -> None:
    named = {**GB200, "fabric_cluster_uuid": "aa-bb", "fabric_clique_id": "1"}
    unread = dict.fromkeys(("fabric_cluster_uuid", "fabric_clique_id"))
    lost = {**LOST, **unread, "_errors": {**LOST["_errors"], **dict.fromkeys(unread, "GPU is lost")}}  # type: ignore[dict-item]
    assert worst(fabric.cluster_identity, {"gpu.devices": gpus(named, named)}) is PASS
    assert worst(fabric.cluster_identity, {"gpu.devices": gpus(lost, named)}) is UNKNOWN
    other = {**named, "fabric_cluster_uuid": "cc-dd"}
    assert worst(fabric.cluster_identity, {"gpu.devices": gpus(named, other)}) is FAIL


def test_one_gpu_that_is_known_tells_where_fabric_manager_belongs() -> None:
    def manager_of(*rows: Mapping[str, Any]) -> Outcome:
        facts = {
            "gpu.devices": gpus(*rows),
            "nvswitch.pci": SWITCHES,
            "virt.is_vm": False,
            "driver.on_disk_version": "580.1",
            "service[nvidia-fabricmanager]": {"active_state": "active"},
        }
        return worst(fabric.fabric_manager, facts)

    assert manager_of(H200, LOST) is PASS
    with pytest.raises(CannotTellError):
        manager_of(LOST)
