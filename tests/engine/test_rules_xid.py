"""The rules about Xids, SXids and kernel-log faults: what is told, how, and when silence proves nothing.

What each shipped check says of whole cases is in tests/checks; here are the rules themselves.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodectl.engine import catalogue_for_run
from nodectl.engine.rules import CannotTellError, FactView, RowResult, kernel_log, xid
from nodectl.engine.rules.log_text import when
from nodectl.model import Fact, Outcome, absent, error, present

TABLES = catalogue_for_run.load().tables
H200 = {"name": "NVIDIA H200", "architecture": "Hopper", "recovery_action": "None"}
GPUS = [{"index": 0, "pci_bus_id": "0000:19:00.0", **H200}, {"index": 1, "pci_bus_id": "0000:3b:00.0", **H200}]
ALL_CLASSES = ("fault", "repeat", "notice", "handled")


def event(number: int, device: str = "0000:19:00.0", **fields: Any) -> dict[str, Any]:
    row = {
        "xid": number,
        "gpu_pci_bus_id": device,
        "count": 1,
        "incidents_24h": 1,
        "first_s": 1_795_200_000.0,
        "last_s": 1_795_200_000.0,
        "message": f"NVRM: Xid (PCI:{device}): {number}",
        "before_reset": False,
    }
    return {**row, **fields}


def view(**facts: Any) -> FactView:
    """A node's facts by name (`__` for the dot); a value, or a Fact as it is."""
    named = {name.replace("__", "."): value for name, value in facts.items()}
    made = {n: v if isinstance(v, Fact) else present(n, v) for n, v in named.items()}
    return FactView(made, tuple(made))


def node(*rows: Mapping[str, Any], complete: bool = True, gpus: Any = GPUS, driver: str = "550.90.07") -> FactView:
    return view(xid__events=list(rows), kernel__log_complete=complete, gpu__devices=gpus, driver__version=driver)


def judge(facts: FactView, *classes: str, **params: Any) -> list[RowResult]:
    return xid.events(facts, {"classes": classes, "min_incidents": 2, **params}, TABLES)


def one(results: list[RowResult]) -> RowResult:
    (result,) = results
    return result


@pytest.mark.parametrize(
    ("number", "reports"),
    [(79, "fault"), (48, "fault"), (119, "fault"), (54, "fault"), (151, "fault"), (167, "fault"), (94, "notice"),
     (92, "notice"), (78, "notice"), (157, "notice"), (160, "notice"), (8, "handled"), (69, "handled"),
     (43, "handled"), (63, "handled"), (13, "handled"), (31, "handled"), (45, "handled")],
)  # fmt: skip
def test_a_lone_xid_is_reported_by_the_class_of_its_bucket_only(number: int, reports: str) -> None:
    gpus = [{**GPUS[0], "architecture": "Blackwell", "name": "NVIDIA B200"}] if number == 160 else GPUS
    for kind in ALL_CLASSES:
        results = judge(node(event(number), gpus=gpus), kind)
        assert (one(results).outcome is Outcome.FAIL) is (kind == reports), kind


@pytest.mark.parametrize("number", [66, 106, 107, 162])
def test_what_nvidia_says_to_ignore_is_no_finding(number: int) -> None:
    gpus = [{**GPUS[0], "architecture": "Blackwell", "name": "NVIDIA B200"}]
    assert one(judge(node(event(number), gpus=gpus), *ALL_CLASSES, unknown_codes=True)).outcome is Outcome.PASS


def test_every_code_of_the_table_is_said_in_words() -> None:
    for row in TABLES["xid"].rows:
        for result in judge(node(event(row["xid"]), gpus=[]), *ALL_CLASSES):
            if result.outcome is Outcome.FAIL:
                assert result.reason.endswith(".")
                assert "WORKFLOW" not in result.reason
                assert "_" not in result.reason.replace("NVLPW_CTRL", "").replace("CE_", ""), result.reason


def test_one_result_per_gpu_and_xid_with_nvidias_action() -> None:
    results = judge(node(event(79), event(79, "0000:3b:00.0"), event(119)), "fault")
    assert [result.subject for result in results] == ["GPU 0 Xid 79", "GPU 1 Xid 79", "GPU 0 Xid 119"]
    assert "reboot the bare-metal node" in results[0].reason
    assert "reset the GPU" in results[2].reason


def test_a_gpu_that_is_gone_is_named_by_its_address() -> None:
    assert one(judge(node(event(79, "0000:91:00.0")), "fault")).subject == "GPU 0000:91:00.0 Xid 79"


def test_count_time_and_process_are_shown() -> None:
    row = event(119, count=5, incidents_24h=3, last_s=1_795_203_600.0, process="nvidia-smi", processes_count=3)
    assert one(judge(node(row), "fault")).actual == (
        "5 lines, 3 incidents within 24 h, 2026-11-20 18:40 to 19:40 UTC, process nvidia-smi and 2 more"
    )


@pytest.mark.parametrize("other", [79, 13, 31, 94])
def test_45_is_never_judged_beside_another_xid_of_its_gpu(other: int) -> None:
    results = judge(node(event(45), event(other)), *ALL_CLASSES)
    assert [result.subject for result in results] == [f"GPU 0 Xid {other}"]


def test_45_of_another_gpu_stands_for_itself() -> None:
    assert one(judge(node(event(45), event(79, "0000:3b:00.0")), "handled")).subject == "GPU 0 Xid 45"
    assert one(judge(node(event(45, previous_xid=149)), "handled")).outcome is Outcome.PASS


@pytest.mark.parametrize("number", [171, 172])
def test_the_detail_of_a_48_is_told_by_the_48(number: int) -> None:
    assert one(judge(node(event(48), event(number)), "fault")).subject == "GPU 0 Xid 48"
    assert one(judge(node(event(number)), "fault")).subject == f"GPU 0 Xid {number}"


@pytest.mark.parametrize("number", [13, 31])
def test_an_application_fault_that_comes_back_on_one_gpu_is_no_longer_the_applications(number: int) -> None:
    twice = event(number, count=40, incidents_24h=2, repeated_unit="GPC 8, TPC 5")
    result = one(judge(node(twice), "repeat"))
    assert result.outcome is Outcome.FAIL
    assert "GPC 8, TPC 5" in result.reason
    assert one(judge(node(twice), "handled")).outcome is Outcome.PASS
    assert one(judge(node(twice), "repeat", min_incidents=3)).outcome is Outcome.PASS
    assert one(judge(node(event(number, count=40, incidents_24h=1)), "repeat")).outcome is Outcome.PASS


def test_without_times_it_cannot_be_told_whether_it_came_back() -> None:
    timeless = event(13, count=4, incidents_24h=None, first_s=None, last_s=None)
    assert one(judge(node(timeless), "repeat")).outcome is Outcome.UNKNOWN


@pytest.mark.parametrize(("fatal", "kind"), [(True, "fault"), (None, "fault"), (False, "notice")])
def test_nvlink5_errors_go_by_what_the_line_says(fatal: bool | None, kind: str) -> None:
    gpus = [{**GPUS[0], "architecture": "Blackwell", "name": "NVIDIA B200"}]
    for other in ("fault", "notice"):
        result = one(judge(node(event(149, fatal=fatal), gpus=gpus), other))
        assert (result.outcome is Outcome.FAIL) is (other == kind)


@pytest.mark.parametrize(
    ("number", "errors", "fatal", "kind", "words"),
    [
        (149, ["NETIR_LINK_EVT 0x025525c6 0x00000000"], True, "fault", "the device at the other end"),
        (149, ["NETIR_LINK_EVT/NETIR_LINK_DOWN 0x02800011 0x00000000"], True, "notice", "Look at the host"),
        (149, ["NETIR_LINK_EVT 0x02600011 0x0", "NETIR_LINK_EVT 0x00200011 0x0"], True, "fault", "signal integrity"),
        (149, ["NETIR_BER_EVENT 0x00000013 0x00000002"], False, "notice", "cables"),
        (145, ["RLW_REMAP 0x00000004 0x00000001"], False, "notice", "if an Xid 154 accompanies"),
        (145, ["RLW_REMAP 0x00000004 0x00000040"], True, "fault", ""),
    ],
)
def test_nvlink5_errors_are_decoded(number: int, errors: list[str], fatal: bool, kind: str, words: str) -> None:
    gpus = [{**GPUS[0], "architecture": "Blackwell", "name": "NVIDIA B200"}]
    found = event(number, fatal=fatal, nvlink5_errors=errors)
    for other in ("fault", "notice"):
        result = one(judge(node(found, gpus=gpus), other))
        assert (result.outcome is Outcome.FAIL) is (other == kind)
        assert words in result.reason or other != kind


@pytest.mark.parametrize(
    ("number", "architecture", "name", "applies"),
    [
        (74, "Hopper", "NVIDIA H200", True),
        (74, "Blackwell", "NVIDIA B200", False),
        (74, "Ada Lovelace", "NVIDIA L40S", True),
        (54, "Blackwell", "NVIDIA GB200", False),
        (54, "Blackwell", "NVIDIA B200", True),
        (121, "Hopper", "NVIDIA H200", False),
        (121, "Hopper", "NVIDIA GH200 480GB", True),
        (110, "Ampere", "NVIDIA A100-SXM4-80GB", False),
    ],
)
def test_a_code_that_the_catalogue_has_for_other_gpus_is_unknown(
    number: int, architecture: str, name: str, applies: bool
) -> None:
    gpus = [{**GPUS[0], "architecture": architecture, "name": name}]
    results = judge(node(event(number), gpus=gpus), *ALL_CLASSES, unknown_codes=True)
    assert (one(results).outcome is Outcome.FAIL) is applies
    if not applies:
        assert one(results).outcome is Outcome.UNKNOWN
        assert name in one(results).reason


def test_a_lost_gpu_is_taken_for_one_like_its_neighbours() -> None:
    gpus = [{**row, "architecture": "Blackwell", "name": "NVIDIA B200"} for row in GPUS]
    result = one(judge(node(event(74, "0000:91:00.0"), gpus=gpus), "fault", unknown_codes=True))
    assert result.outcome is Outcome.UNKNOWN


def test_an_unused_code_is_unknown_and_names_the_driver() -> None:
    result = one(judge(node(event(56)), "fault", unknown_codes=True))
    assert result.outcome is Outcome.UNKNOWN
    assert "driver 550.90.07" in result.reason
    assert one(judge(node(event(56)), "notice")).outcome is Outcome.PASS


def test_a_node_whose_nvidia_smi_hangs_is_still_judged() -> None:
    facts = view(
        xid__events=[event(119)],
        kernel__log_complete=True,
        gpu__devices=error("gpu.devices", "timeout"),
        driver__version=absent("driver.version", "not loaded"),
    )
    assert one(judge(facts, "fault")).subject == "GPU 0000:19:00.0 Xid 119"
    assert one(judge(facts, "notice")).outcome is Outcome.PASS


@pytest.mark.parametrize(
    ("number", "driver", "action", "stands"),
    [
        (95, "580.95.05", "None", False),
        (95, "580.95.05", "Reset", True),
        (95, "550.90.07", "None", True),
        (109, "565.57.01", "None", True),
        (109, "570.86.15", "None", False),
        (119, "580.95.05", "None", True),
        (95, "580.95.05", None, True),
    ],
)
def test_the_drivers_recovery_action_settles_what_it_is_linked_to(
    number: int, driver: str, action: str | None, stands: bool
) -> None:
    gpus = [{**GPUS[0], "recovery_action": action}]
    result = one(judge(node(event(number), gpus=gpus, driver=driver), "fault"))
    assert (result.outcome is Outcome.FAIL) is stands


def test_xid_154_has_the_last_word() -> None:
    advice = event(154, recovery_action_code=2, recovery_action_text="Node Reboot Required")
    gpus = [{**GPUS[0], "recovery_action": None}]
    assert "The driver says: Node Reboot Required." in one(judge(node(event(119), advice, gpus=gpus), "fault")).reason
    result = one(xid.recovery(node(event(119), advice, gpus=gpus), {}, TABLES))
    assert (result.outcome, result.subject, result.reason) == (Outcome.FAIL, "GPU 0", "The driver asks: reboot OS.")


def test_an_action_that_nvidia_smi_shows_is_left_to_its_own_check() -> None:
    advice = event(154, recovery_action_code=1, recovery_action_text="GPU Reset Required")
    shown = [{**GPUS[0], "recovery_action": "Reset"}, GPUS[1]]
    result = one(xid.recovery(node(advice, gpus=shown), {}, TABLES))
    assert (result.outcome, result.subject) == (Outcome.NOT_APPLICABLE, "GPU 0")
    assert "gpu.recovery_action" in result.reason
    # A log that was cut may have said it of a GPU that is not listed.
    assert one(xid.recovery(node(advice, gpus=shown, complete=False), {}, TABLES)).outcome is Outcome.UNKNOWN
    lost = event(154, "0000:91:00.0", recovery_action_code=2, recovery_action_text="Node Reboot Required")
    assert one(xid.recovery(node(advice, lost, gpus=shown), {}, TABLES)).subject == "GPU 0000:91:00.0"
    unread = {**GPUS[0], "recovery_action": None, "_errors": {"recovery_action": "[Unknown Error]"}}
    assert one(xid.recovery(node(advice, gpus=[unread]), {}, TABLES)).outcome is Outcome.FAIL
    hung = error("gpu.devices", "nvidia-smi did not end")
    assert one(xid.recovery(node(advice, gpus=hung), {}, TABLES)).outcome is Outcome.FAIL


def test_a_recovery_action_without_time_or_text_is_still_said() -> None:
    lost = "0000:91:00.0"
    timeless = event(154, lost, recovery_action_code=1, recovery_action_text="GPU Reset", first_s=None, last_s=None)
    assert one(xid.recovery(node(timeless), {}, TABLES)).actual == "GPU Reset"
    assert "action 9" in one(xid.recovery(node(event(154, lost, recovery_action_code=9)), {}, TABLES)).actual


def test_a_recovery_action_is_done_when_the_driver_says_none() -> None:
    advice = event(154, recovery_action_code=1, recovery_action_text="GPU Reset Required")
    assert one(xid.recovery(node(advice), {}, TABLES)).outcome is Outcome.PASS
    assert one(xid.recovery(node(event(154, recovery_action_code=0)), {}, TABLES)).outcome is Outcome.PASS
    gone = event(154, "0000:91:00.0", recovery_action_code=9, recovery_action_text="PF FLR")
    assert one(xid.recovery(node(gone), {}, TABLES)).actual.startswith("PF FLR")


@pytest.mark.parametrize(
    "rule", [lambda facts: judge(facts, *ALL_CLASSES), lambda facts: xid.recovery(facts, {}, TABLES)]
)
def test_a_quiet_log_is_a_pass_only_when_it_is_whole(rule: Any) -> None:
    assert one(rule(node())).outcome is Outcome.PASS
    assert one(rule(node(complete=False))).outcome is Outcome.UNKNOWN
    assert one(rule(node(event(119, before_reset=True)))).outcome is Outcome.PASS
    assert one(rule(node(event(119, before_reset=True), complete=False))).outcome is Outcome.UNKNOWN
    unread = view(xid__events=error("xid.events", "needs root"), kernel__log_complete=error("x", "needs root"))
    with pytest.raises(CannotTellError, match="needs root"):
        rule(unread)


_ROWS = st.fixed_dictionaries(
    {
        "xid": st.integers(1, 200),
        "gpu_pci_bus_id": st.sampled_from(["0000:19:00.0", "0000:3b:00.0", "0000:91:00.0"]),
        "count": st.integers(1, 10**6),
        "incidents_24h": st.none() | st.integers(1, 50),
        "before_reset": st.booleans(),
    },
    optional={
        "fatal": st.none() | st.booleans(),
        "first_s": st.none() | st.floats(0, 1e12),
        "last_s": st.none() | st.floats(0, 1e12),
        "recovery_action_code": st.none() | st.integers(0, 9),
        "recovery_action_text": st.none() | st.text(max_size=9),
        "previous_xid": st.none() | st.integers(1, 200),
        "links": st.none() | st.lists(st.integers(0, 99)),
        "process": st.none() | st.text(max_size=9),
    },
)


def _key(row: dict[str, Any]) -> tuple[Any, ...]:
    return row["xid"], row["gpu_pci_bus_id"], row["before_reset"]


@given(
    st.lists(_ROWS, max_size=12, unique_by=_key),
    st.booleans(),
    st.sampled_from(["470.1", "550.90.07", "595.45.04", ""]),
)
def test_no_xid_row_is_lost_or_told_twice(rows: list[dict[str, Any]], complete: bool, driver: str) -> None:
    facts = node(*rows, complete=complete, driver=driver)
    told: list[str] = []
    for kind in ALL_CLASSES:
        results = judge(facts, kind, unknown_codes=kind == "fault")
        assert results
        told += {result.subject for result in results if result.subject}
    assert len(told) == len(set(told))
    everything = judge(facts, *ALL_CLASSES, unknown_codes=True)
    assert {result.subject for result in everything if result.subject} == set(told)
    if not complete:
        assert all(result.outcome is not Outcome.PASS for result in everything)


def fault(kind: str, device: str, level: str, count: int = 1) -> dict[str, Any]:
    return {
        "kind": kind,
        "device": device,
        "level": level,
        "count": count,
        "first_s": None,
        "last_s": None,
        "message": "m",
    }


def test_host_faults_are_told_by_kind_and_device() -> None:
    rows = [fault("aer", "0000:17:00.0", "fatal"), fault("aer", "0000:17:00.0", "error", 3), fault("mce", "", "error"),
            fault("aer", "0000:17:00.0", "corrected", 90)]  # fmt: skip
    facts = view(kernel__log_events=rows, kernel__log_complete=True)
    params = {"kinds": ["aer", "mce"], "levels": ["fatal", "error"]}
    results = kernel_log.faults(facts, params, TABLES)
    assert [(result.subject, result.actual) for result in results] == [
        ("aer 0000:17:00.0", "4 lines"),
        ("mce", "1 line"),
    ]
    corrected = {"kinds": ["aer"], "levels": ["corrected"]}
    assert one(kernel_log.faults(facts, {**corrected, "min_count": 91}, TABLES)).outcome is Outcome.PASS
    assert one(kernel_log.faults(facts, {**corrected, "min_count": 90}, TABLES)).outcome is Outcome.FAIL


def test_links_of_one_switch_and_sxid_are_told_together() -> None:
    rows = [
        {"sxid": 20034, "nvswitch_pci_bus_id": "0000:05:00.0", "link": link, "fatal": True, "count": 1}
        for link in (63, 62)
    ]
    facts = view(sxid__events=rows, kernel__log_complete=True)
    result = one(kernel_log.sxids(facts, {"classes": ["fatal", "always_fatal"]}, TABLES))
    assert (result.subject, result.actual) == ("NVSwitch 0000:05:00.0 SXid 20034", "2 lines, links 62, 63")
    assert "reset all GPUs and NVSwitches together, or reboot" in result.reason
    assert one(kernel_log.sxids(facts, {"classes": ["notable"]}, TABLES)).outcome is Outcome.PASS


@pytest.mark.parametrize(
    ("first", "last", "text"),
    [
        (None, None, ""),
        (0, 30, "1970-01-01 00:00 UTC"),
        (0, 3600, "1970-01-01 00:00 to 01:00 UTC"),
        (0, 90000, "1970-01-01 00:00 to 1970-01-02 01:00 UTC"),
        (1e18, 1e18, ""),
        (float("nan"), 1.0, ""),
        ("x", None, ""),
    ],
)
def test_times_in_words(first: Any, last: Any, text: str) -> None:
    assert when({"first_s": first, "last_s": last}) == text
