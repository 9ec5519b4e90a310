"""The exposition text: the whole of it for a small fleet, its rules for any fleet, and what Prometheus itself says."""

from __future__ import annotations

import stat
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from metrics_kit import FAST_FIELDS, WALL, Clock, Sample, fast_row, get, hello, needs, read_text, serving, small_fleet

from nodectl import __version__
from nodectl.errors import UserError
from nodectl.model import Node, Reason
from nodectl.telemetry import metrics
from nodectl.telemetry.fields import GPU_FIELDS, HOST_FIELDS
from nodectl.telemetry.messages import Event, Gpu, Hello, Process, Slow, Tick
from nodectl.telemetry.openmetrics import Exporter, check_textfile, label_names, write_textfile
from nodectl.telemetry.store import RETRY, Store

EXPECTED = Path(__file__).parent / "exposition"
BOTH = pytest.mark.parametrize("openmetrics", [False, True])


def exporter() -> Exporter:
    fleet = small_fleet()
    return Exporter(fleet.store, fleet.nodes, wall=lambda: WALL)


def of(samples: list[Sample], name: str) -> dict[str, float]:
    """Values of a metric by node, and GPU."""
    return {
        "/".join(filter(None, (sample.label("node"), sample.label("gpu")))): sample.value
        for sample in samples
        if sample.name == name
    }


@pytest.mark.parametrize("name", ["prometheus", "openmetrics"])
def test_the_whole_text(name: str) -> None:
    expected = (EXPECTED / f"{name}.txt").read_text().replace("VERSION", __version__)
    assert exporter().text(openmetrics=name == "openmetrics").decode() == expected


@BOTH
def test_it_is_good_text(openmetrics: bool) -> None:
    samples = read_text(exporter().text(openmetrics=openmetrics), openmetrics=openmetrics)
    assert len(samples) > 50


def test_both_formats_have_the_same_samples() -> None:
    both = [
        [
            (sample.name, sample.labels, sample.value)
            for sample in read_text(exporter().text(openmetrics=om), openmetrics=om)
        ]
        for om in (False, True)
    ]
    assert both[0] == both[1]


def test_what_is_not_known_is_left_out_and_zero_is_not() -> None:
    samples = read_text(exporter().text(), openmetrics=False)
    assert of(samples, "nodectl_gpu_utilization_ratio") == {"gpu-01/0": 0.57, "gpu-01/1": 0.0}
    assert of(samples, "nodectl_gpu_ecc_uncorrectable_errors_total") == {"gpu-01/0": 0.0}
    assert of(samples, "nodectl_gpu_temperature_celsius") == {}


def test_units_are_the_base_units() -> None:
    samples = read_text(exporter().text(), openmetrics=False)
    assert of(samples, "nodectl_gpu_memory_used_bytes") == {"gpu-01/0": 615 * 2**20}
    assert of(samples, "nodectl_gpu_sm_clock_hertz") == {"gpu-01/0": 1.62e9}
    assert of(samples, "nodectl_gpu_pcie_transmit_bytes_per_second") == {"gpu-01/0": 1.5 * 2**20}
    assert of(samples, "nodectl_gpu_energy_joules_total") == {"gpu-01/0": 5_398_992.25}


def test_a_node_that_is_down_has_a_reason_and_no_samples() -> None:
    samples = read_text(exporter().text(), openmetrics=False)
    assert of(samples, "nodectl_node_up") == {"gpu-01": 1, "gpu-02": 1, "gpu-03": 0, "gpu-04": 0, "gpu-05": 0}
    down = [sample for sample in samples if sample.name == "nodectl_node_down_info"]
    assert [(one.label("node"), one.label("state"), one.label("reason")) for one in down] == [
        ("gpu-03", "stale", "stale"),
        ("gpu-04", "retry", "refused"),
        ("gpu-05", "connecting", "connecting"),
    ]
    speaking = {one.label("node") for one in samples if one.name.startswith(("nodectl_gpu", "nodectl_host"))}
    assert speaking == {"gpu-01", "gpu-02"}


def test_a_lost_gpu_is_down_and_its_neighbours_are_not() -> None:
    samples = read_text(exporter().text(), openmetrics=False)
    assert of(samples, "nodectl_gpu_up") == {"gpu-01/0": 1, "gpu-01/1": 1, "gpu-02/0": 1, "gpu-02/1": 0}
    assert of(samples, "nodectl_gpu_power_watts").keys() == {"gpu-01/0", "gpu-01/1", "gpu-02/0"}
    assert of(samples, "nodectl_gpu_last_xid") == {"gpu-02/1": 79}


def test_the_words_of_a_reason_make_no_new_series() -> None:
    fleet = small_fleet()
    fleet.store.set_state("gpu-04", RETRY, reason=Reason("refused", "connection refused after 9 ms"), tries=7)
    assert Exporter(fleet.store, fleet.nodes, wall=lambda: WALL).text() == exporter().text()


def test_a_node_that_has_stopped_sending_is_down_before_anybody_marks_it() -> None:
    fleet = small_fleet()
    made = Exporter(fleet.store, fleet.nodes)
    assert of(read_text(made.text(), openmetrics=False), "nodectl_node_up")["gpu-01"] == 1
    fleet.clock.now += 30
    assert set(of(read_text(made.text(), openmetrics=False), "nodectl_node_up").values()) == {0}


def test_other_devices_after_a_new_hello() -> None:
    fleet = small_fleet()
    made = Exporter(fleet.store, fleet.nodes)
    made.text()
    fleet.store.put("gpu-01", hello(1, "NVIDIA B200"))
    fleet.store.put("gpu-01", Tick(seq=1, gpus=[fast_row(power_w=1000.0)]))
    (only,) = [
        sample
        for sample in read_text(made.text(), openmetrics=False)
        if sample.name == "nodectl_gpu_power_watts" and sample.label("node") == "gpu-01"
    ]
    assert (only.label("name"), only.value) == ("NVIDIA B200", 1000.0)


def test_mig_devices_bear_the_gpu_that_they_are_part_of() -> None:
    store = Store()
    mig = Gpu(index="0/1", uuid="MIG-1", name="NVIDIA H200 MIG 1g.18gb", parent="0", mig=True)
    store.put("n", hello(1, gpus=(*hello(1).gpus, mig)))
    store.put("n", Tick(seq=1, gpus=[fast_row(memory_used_mib=2), fast_row(memory_used_mib=1)]))
    samples = [one for one in read_text(Exporter(store).text(), openmetrics=False) if one.name.endswith("used_bytes")]
    assert [(one.label("gpu"), one.label("parent")) for one in samples] == [("0", None), ("0/1", "0")]


def test_two_devices_that_say_they_are_the_same_do_not_spoil_the_text() -> None:
    store = Store()
    store.put("n", hello(gpus=(Gpu(index="0", uuid="a"), Gpu(index="0", uuid="a"), Gpu(index="1", uuid="b"))))  # type: ignore[arg-type]
    store.put("n", Tick(seq=1, gpus=[fast_row(power_w=watts) for watts in (1.0, 2.0, 3.0)]))
    assert of(read_text(Exporter(store).text(), openmetrics=False), "nodectl_gpu_power_watts") == {"n/0": 1, "n/1": 3}


def test_labels_of_the_inventory() -> None:
    wanted = {
        "rack": "a1",
        "node": "x",
        "data-center": "b",
        "data.center": "c",
        "1st": "d",
        "__name__": "e",
        "job": "f",
    }
    assert label_names(wanted) == {
        "label_1st": "d",
        "label___name__": "e",
        "data_center": "b",
        "data_center_2": "c",
        "label_job": "f",
        "label_node": "x",
        "rack": "a1",
    }


def test_every_field_has_a_metric_and_every_metric_another_name() -> None:
    families = [value for value in vars(metrics).values() if isinstance(value, metrics.Family)]
    families += [column.family for column in (*metrics.GPU_COLUMNS, *metrics.HOST_COLUMNS)]
    names = [name for family in families for name in {family.name, family.sample}]
    assert len(set(names)) == len(names)
    assert (len(metrics.GPU_COLUMNS), len(metrics.HOST_COLUMNS)) == (len(GPU_FIELDS), len(HOST_FIELDS))


def test_reasons_are_called_as_the_catalogue_calls_them() -> None:
    table = Path(__file__).parents[2] / "checks" / "tables" / "throttle_reasons.yaml"
    rows = yaml.safe_load(table.read_text())["rows"]
    known = {int(row["mask"], 16): row["reason"] for row in rows}
    assert {bit: name for bit, name in known.items() if bit > 1} == dict(metrics.CLOCK_REASONS)


# Anything that a node or an inventory may say.

TEXTS = st.text(max_size=12)
NUMBERS = st.one_of(
    st.none(),
    st.floats(allow_nan=True, allow_infinity=True),
    st.integers(-(2**63), 2**63),
    st.sampled_from([0, 0.0, 57]),
)
ROWS = st.one_of(st.none(), st.lists(NUMBERS, min_size=len(FAST_FIELDS), max_size=len(FAST_FIELDS)))
GPUS = st.builds(Gpu, index=TEXTS, uuid=TEXTS, name=TEXTS, pci_bus_id=TEXTS, parent=TEXTS)
HELLOS = st.builds(
    Hello,
    backend=TEXTS,
    hostname=TEXTS,
    driver=TEXTS,
    gpus=st.lists(GPUS, max_size=3).map(tuple),
    unsupported=st.dictionaries(TEXTS, st.one_of(TEXTS, st.dictionaries(TEXTS, TEXTS, max_size=2)), max_size=2),
)
PROCESSES = st.builds(Process, gpu=TEXTS, pid=st.integers(), job=TEXTS)


@BOTH
@settings(max_examples=60, deadline=None)
@given(
    name=st.text(min_size=1, max_size=12),
    labels=st.dictionaries(TEXTS, TEXTS, max_size=3),
    said=HELLOS,
    rows=st.lists(ROWS, max_size=4),
    processes=st.lists(PROCESSES, max_size=3).map(tuple),
    code=st.one_of(st.none(), st.integers(-(2**63), 2**63)),
)
def test_whatever_is_said_the_text_is_good(
    openmetrics: bool, name: str, labels: dict[str, str], said: Hello, rows: list[Any], processes: Any, code: int | None
) -> None:
    store = Store(now=Clock())
    store.add([name, "other"])
    store.put(name, said)
    store.put(name, Tick(seq=1, gpus=rows, host=None))
    store.put(name, Slow(seq=2, processes=processes))
    for gpu in said.gpus:
        store.put(name, Event(gpu=gpu.index, what="xid", code=code))
    text = Exporter(store, [Node(name=name, labels=labels)]).text(openmetrics=openmetrics)
    samples = read_text(text, openmetrics=openmetrics)
    up = [(sample.label("node") or "", sample.value) for sample in samples if sample.name == "nodectl_node_up"]
    assert up == ([(name, 1.0), ("other", 0.0)] if name != "other" else [("other", 1.0)])
    if openmetrics:
        assert all(sample.value >= 0 for sample in samples if sample.name.endswith("_total"))


@given(value=st.text(min_size=1))
def test_label_values_come_back_as_they_were(value: str) -> None:
    store = Store()
    store.add(["n"])
    samples = read_text(Exporter(store, [Node(name="n", labels={"rack": value})]).text(), openmetrics=False)
    (up,) = [sample for sample in samples if sample.name == "nodectl_node_up"]
    assert up.label("rack") == value.encode("utf-8", "replace").decode()


# The textfile.


def test_the_textfile(tmp_path: Path) -> None:
    path = tmp_path / "nodectl.prom"
    path.write_text("old")
    path.chmod(0o600)
    made = exporter()
    write_textfile(made, path)
    assert path.read_bytes() == made.text()
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert list(tmp_path.iterdir()) == [path]


def test_a_textfile_that_cannot_be_finished_leaves_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "nodectl.prom"
    path.write_text("old")
    made = exporter()
    whole = made.text()

    def parts(**options: object) -> Any:
        yield whole[:100]
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(made, "families", parts)
    with pytest.raises(UserError, match="No space left"):
        write_textfile(made, path)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("name", ["metrics.txt", "nodectl", ".prom", "there-is-none/nodectl.prom"])
def test_a_textfile_that_nobody_would_read_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError, match="--prometheus"):
        check_textfile(tmp_path / name)


def test_a_folder_is_no_textfile(tmp_path: Path) -> None:
    (tmp_path / "folder.prom").mkdir()
    with pytest.raises(UserError, match="name a file in it"):
        check_textfile(tmp_path / "folder.prom")
    check_textfile(tmp_path / "nodectl.prom")


# What those say for whom it is made.


def test_promtool_has_nothing_to_say() -> None:
    promtool = needs("promtool", "prometheus")
    said = subprocess.run(
        [promtool, "check", "metrics"], input=exporter().text(), capture_output=True, timeout=30, check=False
    )
    assert (said.returncode, said.stdout, said.stderr) == (0, b"", b"")


def test_node_exporter_reads_the_textfile(tmp_path: Path) -> None:
    program = needs("prometheus-node-exporter", "prometheus-node-exporter")
    write_textfile(exporter(), tmp_path / "nodectl.prom")
    words = [
        program,
        "--collector.disable-defaults",
        "--collector.textfile",
        f"--collector.textfile.directory={tmp_path}",
    ]
    with serving(words, "--web.listen-address=127.0.0.1:{port}", tmp_path) as url:
        text = get(f"{url}/metrics")
    assert "node_textfile_scrape_error 0" in text
    assert 'nodectl_gpu_power_watts{gpu="0",name="NVIDIA H200",node="gpu-01",rack="a1",uuid="GPU-0"} 689.204' in text


def test_it_is_quick_enough_for_thousands() -> None:
    """0.25 ms a node were measured; this only finds what is far off."""
    store = Store()
    row = [float(number) + 0.25 for number in range(len(FAST_FIELDS))]
    for number in range(100):
        store.put(f"n{number}", hello(8))
        store.put(f"n{number}", Tick(seq=1, gpus=[row] * 8))
    made = Exporter(store)
    begun = time.process_time()
    assert made.text().count(b"\n") > 100 * 8 * len(FAST_FIELDS)
    assert time.process_time() - begun < 0.5
