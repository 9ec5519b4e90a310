"""nvidia-smi nvlink -s and -e: every way in which it speaks of links."""

from __future__ import annotations

from typing import Any

import pytest
from nvidia_replies import LINK_ERRORS, LINKS, cmd, facts_of

from nodectl.facts.conform import ERRORS_KEY
from nodectl.model import Fact, FactState

GPU = "GPU 0: NVIDIA B200 (UUID: GPU-00000000-0000-4000-8000-000000000000)\n"
HOPPER = "\t Link 0: Replay Errors: 1\n\t Link 0: Recovery Errors: 2\n\t Link 0: CRC Errors: 3\n\n"
BLACKWELL = (
    "\t Link 0: Tx packets: 12\n\t Link 0: Malformed packet Errors: 0\n\t Link 0: Rx Errors: 4\n"
    "\t Link 0: Link recovery failed events: 1\n\t Link 0: Effective BER: 15e-255\n\t Link 0: Symbol BER: 1.5e-12\n"
    "\t Link 0: FEC Errors - 0: 36140749276\n\t Link 0: Raw BER Lane 0: 2061\n\t Link 0: Symbol Errors: N/A\n"
)


def links(status: str, errors: str | None = None, *, rc: int = 0, errors_rc: int = 0) -> Fact:
    sections = [cmd(LINKS, status, rc=rc)]
    if errors is not None:
        sections.append(cmd(LINK_ERRORS, errors, rc=errors_rc))
    return facts_of("nvidia_smi_nvlink", sections)["nvlink.links"]


def only(fact: Fact) -> dict[str, Any]:
    (row,) = fact.value
    assert isinstance(row, dict)
    return row


def test_hopper_counters() -> None:
    assert only(links(f"{GPU}\t Link 0: 26.562 GB/s\n", GPU + HOPPER)) == {
        "gpu_index": 0, "gpu_uuid": "GPU-00000000-0000-4000-8000-000000000000", "link": 0, "state": "active",
        "speed_gbs": 26.562, "replay_errors": 1, "recovery_errors": 2, "crc_errors": 3,
    }  # fmt: skip


def test_blackwell_counters_leave_out_what_grows_on_a_healthy_link() -> None:
    row = only(links(f"{GPU}\t Link 0: 53.125 GB/s\n", GPU + BLACKWELL))
    counters = {key: row[key] for key in row if key not in ("gpu_index", "gpu_uuid", "link", "state", "speed_gbs")}
    assert counters == {
        "malformed_packet_errors": 0, "rx_errors": 4, "recovery_failed_events": 1, "effective_ber": 15e-255,
        "symbol_ber": 1.5e-12, "symbol_errors": None,
    }  # fmt: skip


@pytest.mark.parametrize("said", ["<inactive>", "inactive"])
def test_an_inactive_link(said: str) -> None:
    row = only(links(f"{GPU}\t Link 3: {said}\n", GPU))
    assert (row["link"], row["state"], row["speed_gbs"], row["replay_errors"]) == (3, "inactive", None, None)
    assert ERRORS_KEY not in row


@pytest.mark.parametrize("spelling", ["inActive", "inactive"])
@pytest.mark.parametrize("rc", [0, 3])
def test_all_links_inactive(spelling: str, rc: int) -> None:
    row = only(links(f"{GPU}NVML: Unable to retrieve NVLink information as all links are {spelling}\n", GPU, rc=rc))
    assert (row["link"], row["state"]) == (None, "inactive")


def test_a_gpu_in_mig_mode_has_nothing_to_say() -> None:
    row = only(links(f"{GPU}Nvlink queries are not supported for Devices in MIG mode\n", GPU))
    assert (row["link"], row["state"]) == (None, None)
    assert ERRORS_KEY not in row


@pytest.mark.parametrize("said", ["[Unknown Error]", "some future word", "ERR!", "26.562 GBit/s"])
def test_only_a_speed_makes_a_link_active(said: str) -> None:
    row = only(links(f"{GPU}\t Link 0: {said}\n", GPU + HOPPER))
    assert row["state"] is None
    assert row[ERRORS_KEY]["state"]
    assert row["crc_errors"] == 3


def test_a_complaint_in_place_of_links_is_an_error_of_that_gpu() -> None:
    fact = links(
        f"{GPU}Unable to determine the state of the links: Unknown Error\n"
        f"{GPU.replace('GPU 0', 'GPU 1')}\t Link 0: 25 GB/s\n"
    )
    broken, fine = fact.value
    assert "Unknown Error" in broken[ERRORS_KEY]["state"]
    assert fine["state"] == "active"


def test_counters_that_cannot_be_told() -> None:
    status = f"{GPU}\t Link 0: 25 GB/s\n"
    for errors, rc in ((None, 0), ("", 124), ("", 0), (GPU, 0)):
        row = only(links(status, errors, errors_rc=rc))
        assert row["state"] == "active"
        assert row["crc_errors"] is None
        assert LINK_ERRORS in row[ERRORS_KEY]["crc_errors"]
    row = only(links(status, GPU + HOPPER.replace("CRC Errors: 3", "CRC Errors: [Unknown Error]")))
    assert (row["replay_errors"], row["crc_errors"]) == (1, None)
    assert "Unknown Error" in row[ERRORS_KEY]["crc_errors"]


def test_no_links_at_all() -> None:
    assert links(GPU, GPU).value == []
    assert links("No devices were found\n", rc=6).value == []


@pytest.mark.parametrize(
    ("text", "rc", "reason"),
    [
        ("", 127, "nvidia-smi not found"),
        ("", 137, "time limit"),
        ("NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.\n", 9, "couldn't communicate"),
        ("", 0, "nothing was printed"),
        ("Unable to determine the device handle for GPU0000:18:00.0: Unknown Error\n", 0, "where a GPU was expected"),
        (GPU + "\t Link 0: 25 GB/s\n", 15, "fallen off the bus"),
        (GPU + "NVML: Unable to retrieve NVLink information as all links are inActive\n", 15, "fallen off the bus"),
    ],
)
def test_failures(text: str, rc: int, reason: str) -> None:
    fact = links(text, rc=rc)
    assert fact.state is FactState.ERROR
    assert reason in fact.reason


def test_an_answer_is_no_message() -> None:
    reason = links(GPU + "\t Link 0: 25 GB/s\n", rc=15).reason
    assert reason == f"{LINKS}: nvidia-smi failed with exit code 15: a GPU has fallen off the bus or cannot be reached"
    told = links(f"{GPU}\t Link 0: GPU is lost\n", rc=15).reason
    assert "GPU is lost" in told
