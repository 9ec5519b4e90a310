"""`nodectl watch` on recordings: tables, JSON lines, CSV, alerts, exit codes, and what it says of wrong options."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from made_up_fleet import T0, Clock, fleet, stream
from made_up_run import TEMPERATURES, write_run

from nodectl.cli.main import run
from nodectl.model import Reason
from nodectl.telemetry.fields import GPU_FIELDS, HOST_FIELDS
from nodectl.telemetry.store import Store

FAST = ("--speed", "1000")


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_run(tmp_path_factory.mktemp("run") / "run.ndtel"))


@pytest.fixture
def watch(recording: str, capsys: pytest.CaptureFixture[str]) -> Any:
    def watched(*options: str) -> tuple[int, str, str]:
        code = run(["watch", "--replay", recording, *options])
        said = capsys.readouterr()
        return code, said.out, said.err

    return watched


def test_one_table_in_a_pipe(watch: Any) -> None:
    code, out, err = watch("--once", *FAST)
    lines = out.splitlines()
    assert lines[0].startswith("nodectl watch  3 nodes  4 GPUs")
    assert [line.split()[:2] for line in lines if line.startswith((" gpu-01", " gpu-02"))] == [
        ["gpu-02", "!"], ["gpu-01", "."],
    ] or [line.split()[0] for line in lines if line.startswith(" gpu-0")] == ["gpu-01", "gpu-02"]  # fmt: skip
    assert lines[-1] == " @ gpu-03  retry  timeout: connecting took longer than 10 s"
    assert "\x1b" not in out
    assert (code, err) == (0, "") or code == 3  # 3 where it had not yet come to its end


def test_a_pipe_alone_is_once(watch: Any) -> None:
    assert watch(*FAST)[1].startswith("nodectl watch  3 nodes")


def test_json_lines_have_every_tick_and_field(watch: Any) -> None:
    code, out, err = watch("--jsonl", *FAST)
    objects = [json.loads(line) for line in out.splitlines()]
    assert code == 0 and err == ""
    mine = [one for one in objects if one["node"] == "gpu-02" and one["state"] == "live"]
    assert [one["gpus"][1]["temperature_c"] for one in mine] == list(TEMPERATURES)
    assert [one["time"] for one in mine][:2] == ["2026-05-28T20:26:40.500Z", "2026-05-28T20:26:41.500Z"]
    first = mine[0]
    assert set(first) == {
        "schema", "time", "node", "state", "age_s", "reason", "backend", "host", "gpus", "processes", "events",
        "unsupported",
    }  # fmt: skip
    assert first["schema"] == "nodectl.watch/1"
    assert {field.name for field in GPU_FIELDS} <= set(first["gpus"][0])
    assert {field.name for field in HOST_FIELDS} == set(first["host"])
    assert first["gpus"][0]["sm_active_pct"] is None
    assert first["gpus"][0]["throttle"] == ["sw_power_cap"]
    assert first["unsupported"] == {"pcie_replays": "not on this one"}
    assert "unsupported" not in mine[1]
    assert first["processes"][0]["user"] == "alice"
    assert [event["code"] for one in mine for event in one["events"]] == [79]
    lost = [one for one in objects if one["node"] == "gpu-03"]
    assert [(one["state"], one["reason"]["code"], one["gpus"]) for one in lost] == [("retry", "timeout", [])]


def test_json_lines_by_node_and_some_fields(watch: Any) -> None:
    _, out, _ = watch("--jsonl", "--by", "node", "--fields", "temp,power,cpu", *FAST)
    one = next(json.loads(line) for line in out.splitlines() if '"gpu-02"' in line and '"live"' in line)
    assert one["rollup"] == {"temperature_c": 71, "power_w": 1386.8}
    assert one["host"] == {"cpu_util_pct": 12.4}
    assert "gpus" not in one and "processes" not in one


def test_csv_has_a_line_a_gpu_and_tick(watch: Any) -> None:
    code, out, err = watch("--csv", *FAST)
    rows = list(csv.DictReader(io.StringIO(out)))
    assert code == 0 and err == ""
    assert [row["temperature_c"] for row in rows if (row["node"], row["gpu"]) == ("gpu-02", "1")] == [
        str(value) for value in TEMPERATURES
    ]
    assert len(rows) == 4 * len(TEMPERATURES) + 1
    assert {field.name for field in (*GPU_FIELDS, *HOST_FIELDS)} <= set(rows[0])
    assert rows[0]["sm_active_pct"] == ""
    lost = next(row for row in rows if row["node"] == "gpu-03")
    assert (lost["gpu"], lost["state"], lost["temperature_c"]) == ("", "retry", "")
    assert lost["note"].startswith("timeout: ")


def test_csv_of_some_fields_and_rows(watch: Any) -> None:
    _, out, _ = watch("--csv", "--fields", "temp,sm", "--where", "temp > 90", *FAST)
    assert out.splitlines()[0] == "time,node,gpu,state,age_s,temperature_c,sm_clock_mhz"
    assert [line.split(",")[5] for line in out.splitlines()[1:]] == ["91", "93", "92"]


def test_once_with_csv_is_one_record_a_gpu(watch: Any) -> None:
    _, out, _ = watch("--csv", "--once", "--fields", "power", *FAST)
    assert len(out.splitlines()) == 1 + 4 + 1


def test_alerts_say_when_they_begin_and_end_and_set_the_exit_code(watch: Any) -> None:
    code, _, err = watch("--csv", "--alert", "temp > 85", "--alert", "temp > 200", *FAST)
    assert code == 1
    assert err.splitlines() == [
        "nodectl: alert: temp > 85: gpu-02 GPU 1 (temperature_c 91)",
        "nodectl: alert over: temp > 85: gpu-02 GPU 1 after 3s",
    ]
    assert watch("--csv", "--alert", "temp > 200", *FAST)[0] == 0


def test_an_alert_about_nodes_is_said_once_a_node(watch: Any) -> None:
    _, _, err = watch("--csv", "--alert", "cpu > 5 & state = live", *FAST)
    assert sorted(err.splitlines()) == [
        f"nodectl: alert: cpu > 5 & state = live: gpu-0{number} (cpu_util_pct 12.4, state live)" for number in (1, 2)
    ]


def test_an_alert_that_comes_again_is_said_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write_run(tmp_path / "again.ndtel", (60, 90, 60, 90, 60), lost=False)
    assert run(["watch", "--replay", str(file), "--csv", "--alert", "temp > 85", *FAST]) == 1
    said = [line.split(":")[1] for line in capsys.readouterr().err.splitlines()]
    assert said == [" alert", " alert over", " alert", " alert over"]


def test_alerts_alone_print_one_table_at_the_end(watch: Any) -> None:
    code, out, err = watch("--alert", "hbm > 80", *FAST)
    assert code == 1 and err.count("alert:") == 4
    assert out.count("NODE") == 1


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--where", "tmep > 80"), 'column 1: there is no field "tmep"; did you mean "temp"?\n  tmep > 80\n  ^'),
        (("--alert", "temp > 80W"), "--alert, column 8"),
        (("--alert", " "), "say when"),
        (("--fields", "temp,foo"), 'there is no field "foo"'),
        (("--sort", "tmep"), 'did you mean "temp"'),
        (("--interval", "0.01"), "from 0.1s to 60s"),
        (("--interval", "2m"), "from 0.1s to 60s"),
        (("--interval", "soon"), "is not a time"),
        (("--jsonl", "--csv"), "one of them"),
        (("-H", "localhost"), "--replay brings its own nodes"),
        (("--prometheus", "/nowhere/x.prom"), "there is no folder /nowhere"),
        (("--listen", "nonsense"), "expected [HOST]:PORT"),
    ],
)
def test_wrong_options_are_said_and_nothing_runs(watch: Any, options: tuple[str, ...], said: str) -> None:
    code, out, err = watch(*options)
    assert (code, out) == (2, "")
    assert said in err


def test_no_nodes_and_no_recording(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NODECTL_HOSTS", raising=False)
    assert run(["watch"]) == 2
    assert "no nodes: give --hosts" in capsys.readouterr().err


def test_fields_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["watch", "--list-fields"]) == 0
    out = capsys.readouterr().out
    assert all(field.name in out for field in (*GPU_FIELDS, *HOST_FIELDS))
    assert "also: temp" in out


def test_the_textfile_is_there_while_it_runs_and_at_the_end(watch: Any, tmp_path: Path) -> None:
    file = tmp_path / "nodectl.prom"
    code, out, _ = watch("--prometheus", str(file), *FAST)
    assert (code, out) == (0, "")
    assert 'node="gpu-02"' in file.read_text()


def test_metrics_are_served(recording: str) -> None:
    argv = [
        sys.executable,
        "-m",
        "nodectl",
        "watch",
        "--replay",
        recording,
        "--speed",
        "0.5",
        "--listen",
        "127.0.0.1:0",
    ]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        url = process.stderr.readline().split()[-1]
        text = urllib.request.urlopen(url, timeout=10).read().decode()
        process.terminate()
        assert process.wait(timeout=10) == 143
    assert "nodectl_node_up" in text


@pytest.mark.parametrize("form", ["--csv", "--jsonl"])
def test_a_reader_that_goes_away_is_no_error(recording: str, form: str) -> None:
    command = f'"$0" -m nodectl watch --replay "$1" {form} --speed 20 | head -1'
    began = time.monotonic()
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command, sys.executable, recording],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (done.returncode, len(done.stdout.splitlines()), done.stderr) == (0, 1, "")
    assert time.monotonic() - began < 20


def test_localhost_without_a_gpu_says_so(tmp_path: Path) -> None:
    environment = {**os.environ, "HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-m", "nodectl", "watch", "-H", "localhost", "--jsonl", "--duration", "6s"],
        capture_output=True, text=True, timeout=60, check=False, env=environment,
    )  # fmt: skip
    objects = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0, done.stderr
    last = objects[-1]
    assert last["state"] == "live" and last["host"]["cpu_util_pct"] is not None
    if not last["gpus"]:
        assert last["backend"] == "none" or last["unsupported"] is not None
    times = [one["time"] for one in objects if one["state"] == "live"]
    assert len(times) >= 3 and len(set(times)) == len(times)


def test_an_unreachable_node_is_exit_code_3(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "nodectl", "watch", "-H", "root@127.0.0.1:1", "-H", "localhost", "--once"],
        capture_output=True, text=True, timeout=60, check=False, env={**os.environ, "HOME": str(tmp_path)},
    )  # fmt: skip
    assert done.returncode == 3
    assert " @ " in done.stdout and "refused" in done.stdout
    assert "\n localhost " in done.stdout


def test_the_demo_fleet_is_alive(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "nodectl", "watch", "--demo", "--once"],
        capture_output=True, text=True, timeout=90, check=False, env={**os.environ, "HOME": str(tmp_path)},
    )  # fmt: skip
    assert done.returncode == 3, done.stderr  # two of its nodes cannot be reached
    lines = done.stdout.splitlines()
    letters = {line.split()[0]: line.split()[1] for line in lines if line.startswith(" gpu-")}
    assert letters["gpu-04"] == "X" and letters["gpu-01"] == "."
    assert any(line.startswith(" @ gpu-14") and "host_key_changed" in line for line in lines)


def test_rows_of_gpus_are_made_only_for_who_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    from nodectl.cli.watching import board as module
    from nodectl.cli.watching.outputs import shown

    made = []
    monkeypatch.setattr(module, "gpu_rows", lambda live, *rest: made.append(live.name) or [])
    board = module.Board(fleet(Clock(100.0), healthy=50), module.WatchChoice(), {}, lambda at: at)
    board.update()
    shown(board)
    assert made == []


def test_trying_again_is_no_news_and_the_reason_stays(recording: str) -> None:
    from nodectl.cli.watching.board import Board, WatchChoice

    store = Store(now=Clock())
    board = Board(store, WatchChoice(), {}, lambda at: at)
    store.set_state("n", "connecting", tries=0)
    assert board.update() == {"n"}
    store.set_state("n", "retry", reason=Reason("timeout", "too long"), tries=1, retry_at=3)
    assert board.update() == {"n"}
    store.set_state("n", "connecting", tries=1)
    assert board.update() == set()
    assert (board.nodes["n"]["state"], board.nodes["n"]["note"]) == ("connecting", "timeout: too long")
    store.set_state("n", "retry", reason=Reason("timeout", "too long"), tries=2, retry_at=9)
    assert board.update() == set()
    for message in stream([]):
        store.put("n", message)
    assert board.update() == {"n"}


def test_times_of_a_recording_are_its_own(watch: Any) -> None:
    _, out, _ = watch("--csv", "--fields", "temp", *FAST)
    years = {line[:4] for line in out.splitlines()[1:]}
    assert years == {time.strftime("%Y", time.gmtime(T0))}
