"""nvidia-smi -q: what a reply says, what a failed or cut one says, and what is never taken for a value."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from nvidia_replies import TEXT, TWO_GPUS, XML, cmd, facts_of, query

from nodectl.facts.conform import ERRORS_KEY
from nodectl.facts.nvidia.columns import COLUMNS, WATT, Column
from nodectl.facts.nvidia.rows import COUNTERS, DEVICE_FIELDS, REASONS
from nodectl.facts.nvidia.text import TEXT_TO_XML, read_text
from nodectl.model import FactState

FROM_LIST = ("gpu.count", "gpu.models", "gpu.devices", "gpu.processes")
H200X8 = "recordings/h200x8"


@pytest.fixture(scope="module")
def two_gpus() -> str:
    return TWO_GPUS.read_text()


def first_gpu(text: str, old: str, new: str) -> str:
    assert old in text, f"the recording has no {old}"
    return text.replace(old, new, 1)


def test_two_h200(two_gpus: str) -> None:
    facts = query(two_gpus)
    assert facts["driver.smi_error"].state is FactState.ABSENT
    assert facts["cuda.driver_version"].value == "13.0"
    assert (facts["gpu.count"].value, facts["gpu.attached_count"].value) == (2, 2)
    assert facts["gpu.models"].value == ["NVIDIA H200"]
    assert facts["gpu.processes"].value == []
    row = facts["gpu.devices"].value[1]
    expected = {
        "index": 1, "pci_bus_id": "0000:00:07.0", "pci_id": "10de:2335", "pci_subsystem_id": "10de:18bf",
        "memory_total_mib": 143771, "persistence_mode": True, "ecc_current": True, "mig_current": False,
        "power_limit_w": 700.0, "t_limit_slowdown_c": -2, "t_limit_shutdown_c": -8, "sm_clock_max_mhz": 1980,
        "pcie_gen_current": 5, "pcie_gen_host_max": None, "pcie_width_current": 16,
        "clocks_event_reasons": ["gpu_idle"],
        "remap_banks": {"max": 3072, "high": 0, "partial": 0, "low": 0, "none": 0},
        "ecc_uncorrectable_volatile": 0, "retired_pages_dbe": None, "fabric_state": "Completed",
        "fabric_health": None, "recovery_action": "None", "processes_count": 0, "virtualization_mode": "Pass-Through",
    }  # fmt: skip
    assert {name: row[name] for name in expected} == expected
    assert ERRORS_KEY not in row


def _listed(two_gpus: str, attached: int, minors: list[str]) -> list[int]:
    """The indexes of a list of two GPUs out of `attached`, with these minor numbers."""
    text = two_gpus.replace("<attached_gpus>2<", f"<attached_gpus>{attached}<")
    for old, minor in zip(("0", "1"), minors, strict=True):
        text = first_gpu(text, f"<minor_number>{old}<", f"<minor_number> {minor} <")
    rows = query(text)["gpu.devices"].value
    assert [row["pci_bus_id"] for row in rows] == ["0000:00:06.0", "0000:00:07.0"]
    return [row["index"] for row in rows]


@pytest.mark.parametrize(
    ("minors", "indexes"),
    [
        (["0", "2"], [0, 2]),
        (["1", "2"], [1, 2]),
        (["0", "1"], [0, 1]),
        (["2", "0"], [0, 1]),  # not in the order of PCI addresses: they are no numbers of nvidia-smi
        (["2", "2"], [0, 1]),
        (["0", "3"], [0, 1]),  # more than are attached
        (["0", "N/A"], [0, 1]),
        (["0", "[Unknown Error]"], [0, 1]),
        (["", "2"], [0, 1]),
    ],
)
def test_a_gpu_that_is_not_listed_keeps_its_number(two_gpus: str, minors: list[str], indexes: list[int]) -> None:
    assert _listed(two_gpus, 3, minors) == indexes


def test_where_all_are_listed_a_gpu_has_its_place_as_number(two_gpus: str) -> None:
    assert _listed(two_gpus, 2, ["1", "7"]) == [0, 1]


def test_processes_have_the_number_of_their_gpu(two_gpus: str) -> None:
    process = "<process_info><pid>7</pid><type>C</type><process_name>a</process_name></process_info>"
    text = two_gpus.replace("<attached_gpus>2<", "<attached_gpus>3<").replace("<minor_number>1<", "<minor_number>2<")
    head, middle, tail = text.partition("</processes>")
    text = head + middle + tail.replace("</processes>", f"{process}</processes>", 1)
    assert [row["gpu_index"] for row in query(text)["gpu.processes"].value] == [2]


def test_every_field_of_a_row_is_declared(two_gpus: str) -> None:
    declared = {field.name for field in DEVICE_FIELDS}
    for row in query(two_gpus)["gpu.devices"].value:
        assert set(row) <= declared
    assert len(declared) == len(DEVICE_FIELDS)


def test_throttle_reasons_have_the_names_of_the_table(shared: Path) -> None:
    known = set(re.findall(r"^  key: (\w+)$", (shared / "constraints/throttle.yaml").read_text(), re.MULTILINE))
    assert set(REASONS.values()) - {"unknown"} <= known
    assert set(COUNTERS.values()) <= known


def _say_everywhere(text: str, paths: tuple[str, ...], printed: str) -> tuple[str, bool]:
    """Put `printed` at each of the paths of the first GPU."""
    end = text.index("</gpu>")
    gpu, rest = text[:end], text[end:]
    changed = False
    for path in paths:
        *outer, leaf = path.split("/")
        at = 0
        for name in outer:
            at = gpu.find(f"<{name}>", at)
            if at < 0:
                break
        found = re.compile(rf"<{leaf}>[^<]*</{leaf}>").search(gpu, at) if at >= 0 else None
        if found is not None:
            gpu = f"{gpu[: found.start()]}<{leaf}>{printed}</{leaf}>{gpu[found.end() :]}"
            changed = True
    return gpu + rest, changed


PRINTED = [column for column in COLUMNS if _say_everywhere(TWO_GPUS.read_text(), column.paths, "x")[1]]
FAILED = ["[Unknown Error]", "Unknown Error", "ERR!", "[GPU is lost]", "[GPU requires reset]", ""]
NOT_THERE = ["N/A", "[N/A]", "Not Supported", "Requested functionality has been deprecated"]


def test_the_recording_prints_most_columns() -> None:
    assert len(PRINTED) > len(COLUMNS) - 8


@pytest.mark.parametrize("column", PRINTED, ids=lambda column: column.name)
@pytest.mark.parametrize("printed", FAILED)
def test_a_field_that_was_not_answered_is_an_error(two_gpus: str, column: Column, printed: str) -> None:
    row = query(_say_everywhere(two_gpus, column.paths, printed)[0])["gpu.devices"].value[0]
    if column.name == "pci_bus_id":  # the GPU's own id attribute still tells it
        assert row[column.name] == "0000:00:06.0"
    else:
        assert row[column.name] is None
        assert row[ERRORS_KEY][column.name]


@pytest.mark.parametrize("column", PRINTED, ids=lambda column: column.name)
@pytest.mark.parametrize("printed", NOT_THERE)
def test_a_field_that_the_device_has_not_got_is_none(two_gpus: str, column: Column, printed: str) -> None:
    row = query(_say_everywhere(two_gpus, column.paths, printed)[0])["gpu.devices"].value[0]
    assert row[column.name] is None or column.name == "pci_bus_id"
    assert column.name not in row.get(ERRORS_KEY, {})


def test_a_number_that_is_none_is_an_error_of_that_field_only(two_gpus: str) -> None:
    row = query(first_gpu(two_gpus, "<gpu_temp>35 C<", "<gpu_temp>1e3 C<"))["gpu.devices"].value[0]
    assert row["temperature_c"] is None
    assert list(row[ERRORS_KEY]) == ["temperature_c"]
    assert row["t_limit_c"] == 52


def test_one_unanswered_throttle_reason_leaves_the_list_unknown(two_gpus: str) -> None:
    old = "<clocks_event_reason_hw_slowdown>Not Active<"
    row = query(first_gpu(two_gpus, old, "<clocks_event_reason_hw_slowdown>[Unknown Error]<"))["gpu.devices"].value[0]
    assert row["clocks_event_reasons"] is None
    assert "hw_slowdown" in row[ERRORS_KEY]["clocks_event_reasons"]


def test_throttle_reasons_under_their_old_name(two_gpus: str) -> None:
    old = two_gpus.replace("clocks_event_reason", "clocks_throttle_reason")
    old = first_gpu(old, "hw_thermal_slowdown>Not Active<", "hw_thermal_slowdown>Active<")
    assert query(old)["gpu.devices"].value[0]["clocks_event_reasons"] == ["gpu_idle", "hw_thermal_slowdown"]


def test_ecc_sums(two_gpus: str) -> None:
    text = first_gpu(two_gpus, "<sram_uncorrectable_parity>0<", "<sram_uncorrectable_parity>2<")
    text = first_gpu(text, "<sram_uncorrectable_secded>0<", "<sram_uncorrectable_secded>3<")
    text = first_gpu(text, "<dram_uncorrectable>0<", "<dram_uncorrectable>4<")
    row = query(text)["gpu.devices"].value[0]
    assert row["ecc_uncorrectable_volatile"] == 9
    assert (row["ecc_sram_uncorrectable_volatile"], row["ecc_dram_uncorrectable_volatile"]) == (5, 4)
    assert row["ecc_uncorrectable_aggregate"] == 0
    lost = query(first_gpu(text, "<dram_uncorrectable>4<", "<dram_uncorrectable>[Unknown Error]<"))[
        "gpu.devices"
    ].value[0]
    assert lost["ecc_uncorrectable_volatile"] is None
    assert "dram_uncorrectable" in lost[ERRORS_KEY]["ecc_uncorrectable_volatile"]
    assert lost["ecc_sram_uncorrectable_volatile"] == 5


def test_a_whole_section_printed_as_one_word(two_gpus: str) -> None:
    for word, is_error in (("N/A", False), ("[GPU is lost]", True)):
        text = re.sub(
            r"<remapped_rows>.*?</remapped_rows>", f"<remapped_rows>{word}</remapped_rows>", two_gpus, flags=re.S
        )
        row = query(text)["gpu.devices"].value[0]
        for name in ("remapped_rows_pending", "remapped_rows_failure", "remap_banks"):
            assert row[name] is None
            assert (name in row.get(ERRORS_KEY, {})) is is_error


def test_the_power_limit_in_force_is_not_the_default_one(two_gpus: str) -> None:
    capped = first_gpu(two_gpus, "<current_power_limit>700.00 W<", "<current_power_limit>450.00 W<")
    row = query(capped)["gpu.devices"].value[0]
    assert (row["power_limit_w"], row["power_default_limit_w"]) == (450.0, 700.0)
    old = two_gpus.replace("gpu_power_readings", "power_readings").replace(
        "current_power_limit", "enforced_power_limit"
    )
    row = query(first_gpu(old, "<enforced_power_limit>700.00 W<", "<enforced_power_limit>300.00 W<"))[
        "gpu.devices"
    ].value[0]
    assert (row["power_limit_w"], row["power_default_limit_w"], row["power_draw_w"]) == (300.0, 700.0, 78.26)


def test_a_field_that_the_driver_does_not_print_is_left_out(two_gpus: str) -> None:
    text = two_gpus.replace("<gpu_recovery_action>None</gpu_recovery_action>", "")
    assert "recovery_action" not in query(text)["gpu.devices"].value[0]


def test_eight_attached_and_seven_listed_are_both_kept(two_gpus: str) -> None:
    facts = query(two_gpus.replace("<attached_gpus>2<", "<attached_gpus>3<"))
    assert (facts["gpu.count"].value, facts["gpu.attached_count"].value) == (2, 3)


def test_a_partial_list_never_becomes_a_value(two_gpus: str) -> None:
    after_first = two_gpus.index("</gpu>") + len("</gpu>")
    facts = query(two_gpus[: after_first + 200])
    for name in FROM_LIST:
        assert facts[name].state is FactState.ERROR, name
        assert "truncated after 1 of 2 GPUs" in facts[name].reason
    assert facts["gpu.attached_count"].value == 2
    assert "truncated" in facts["driver.smi_error"].value


PROCESS = """<process_info><gpu_instance_id>N/A</gpu_instance_id><pid>{pid}</pid><type>C</type>
<process_name>{name}</process_name><used_memory>{memory}</used_memory></process_info>"""


@pytest.mark.parametrize(
    ("printed", "name"),
    [
        ("/usr/bin/python3", "python3"),
        ("python train.py --token=secret", "python"),
        ("/opt/my app/run --key k", "my"),
        ("ray::worker: job secret", "ray::worker"),
        ("./a&b", "a_b"),
        ("C:\\Games\\x.exe", "x.exe"),
    ],
)
def test_processes_keep_only_their_base_name(two_gpus: str, printed: str, name: str) -> None:
    entry = PROCESS.format(pid=4711, name=printed, memory="72776 MiB")
    facts = query(two_gpus.replace("<processes>", f"<processes>{entry}", 1))
    assert facts["gpu.processes"].value == [
        {"gpu_index": 0, "pid": 4711, "type": "C", "name": name, "memory_used_mib": 72776}
    ]
    assert [row["processes_count"] for row in facts["gpu.devices"].value] == [1, 0]
    assert "secret" not in str([fact.value for fact in facts.values()])


def test_a_process_that_is_gone_is_an_error_of_its_fields(two_gpus: str) -> None:
    entry = PROCESS.format(pid=1, name="[Not Found]", memory="[Unknown Error]")
    (row,) = query(two_gpus.replace("<processes>", f"<processes>{entry}", 1))["gpu.processes"].value
    assert (row["name"], row["memory_used_mib"]) == (None, None)
    assert set(row[ERRORS_KEY]) == {"name", "memory_used_mib"}


def test_mig_devices_are_counted_and_not_taken_for_the_gpu(two_gpus: str) -> None:
    device = "<mig_device><index>0</index><fb_memory_usage><total>19968 MiB</total></fb_memory_usage></mig_device>"
    text = re.sub(r"<mig_devices>.*?</mig_devices>", f"<mig_devices>{device * 3}</mig_devices>", two_gpus, flags=re.S)
    row = query(text)["gpu.devices"].value[0]
    assert (row["mig_devices"], row["memory_total_mib"]) == (3, 143771)


LIVE = {"power_draw_w", "temperature_memory_c"}


def test_xml_and_text_give_the_same_rows(shared: Path) -> None:
    """Both were taken of one idle machine within two seconds."""
    xml = query((shared / H200X8 / "nvidia-smi-q.xml").read_text())
    text = query((shared / H200X8 / "nvidia-smi-q.txt").read_text(), command=TEXT)
    for name in xml:
        if name != "gpu.devices":
            assert xml[name].value == text[name].value, name
    for one, other in zip(xml["gpu.devices"].value, text["gpu.devices"].value, strict=True):
        assert set(one) == set(other)
        assert {key for key in one if one[key] != other[key]} <= LIVE


def test_every_column_can_be_read_from_the_text_form() -> None:
    mapped = set(TEXT_TO_XML.values())
    for column in COLUMNS:
        assert mapped & set(column.paths), column.name
        if column.kind is not WATT and column.name != "pci_bus_id":
            assert set(column.paths) <= mapped, column.name


def test_text_that_is_cut() -> None:
    head = "==============NVSMI LOG==============\n\nAttached GPUs : 2\n"
    gpu = "GPU 00000000:01:00.0\n    Product Name : X\n"
    assert "truncated after 1 of 2" in read_text(head + gpu).problem
    assert "truncated" in read_text(head + gpu + gpu + "    Prod").problem
    assert read_text(head + gpu + gpu).problem == ""
    assert "no attached GPUs" in read_text("==============NVSMI LOG==============\n" + gpu).problem


def test_every_recording_is_read(shared: Path) -> None:
    """A complete reply gives its GPUs; one that is only an excerpt says so, and is no list."""
    folders = [shared / "recordings/public" / name for name in ("nvidia-smi-xml", "nvidia-smi-q")]
    recordings = [path for folder in folders for path in sorted(folder.iterdir())]
    assert len(recordings) > 25
    excerpts = {"stas-ecc-excerpt-510.73.08.txt", "stas-retired-pages-excerpt.txt"}
    for path in recordings:
        facts = query(path.read_text(), command=XML if path.suffix == ".xml" else TEXT)
        if path.name in excerpts:
            assert facts["gpu.devices"].state is FactState.ERROR, path.name
            continue
        rows = facts["gpu.devices"].value
        assert rows, path.name
        assert all(ERRORS_KEY not in row for row in rows), path.name
        assert facts["gpu.count"].value == len(rows)
        assert facts["driver.smi_error"].state is FactState.ABSENT


def test_a_section_that_was_cut_says_so(two_gpus: str) -> None:
    facts = facts_of("nvidia_smi_q", [cmd(XML, two_gpus[:5000], rc=None)])
    assert "cut before its end" in facts["driver.smi_error"].value
    assert facts["gpu.devices"].state is FactState.ERROR
