"""`/metrics` over HTTP: what it answers to whom, that nobody can hold it up, and a real Prometheus that scrapes it."""

from __future__ import annotations

import gzip
import http.client
import json
import os
import socket
import threading
import time
import urllib.error
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from metrics_kit import WALL, fast_row, get, hello, needs, read_text, serving, small_fleet

from nodectl.errors import UserError
from nodectl.telemetry import metrics_http
from nodectl.telemetry.messages import Tick
from nodectl.telemetry.metrics_http import MAX_CLIENTS, MetricsServer, parse_listen, serve, wants_openmetrics
from nodectl.telemetry.openmetrics import Exporter
from nodectl.telemetry.store import Store

PROMETHEUS_ASKS = (
    "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,"
    "text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
)


def exporter() -> Exporter:
    fleet = small_fleet()
    return Exporter(fleet.store, fleet.nodes, wall=lambda: WALL)


@pytest.fixture
def server() -> Iterator[MetricsServer]:
    made = serve(exporter(), ":0")
    yield made
    made.close()


def ask(server: MetricsServer, method: str, path: str, **headers: str) -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    connection.request(method, path, headers={name.replace("_", "-"): value for name, value in headers.items()})
    reply = connection.getresponse()
    found = reply.status, {name.lower(): value for name, value in reply.getheaders()}, reply.read()
    connection.close()
    return found


def raw(server: MetricsServer, request: bytes) -> bytes:
    """All that comes back for some bytes."""
    with socket.create_connection(("127.0.0.1", server.port), 10) as connection:
        connection.sendall(request)
        data = b""
        while part := connection.recv(1 << 16):
            data += part
        return data


def test_the_text(server: MetricsServer) -> None:
    status, headers, body = ask(server, "GET", "/metrics")
    assert (status, headers["content-type"]) == (200, "text/plain; version=0.0.4; charset=utf-8")
    assert body == exporter().text()


def test_openmetrics_for_who_asks_for_it(server: MetricsServer) -> None:
    _, headers, body = ask(server, "GET", "/metrics", Accept=PROMETHEUS_ASKS)
    assert headers["content-type"] == "application/openmetrics-text; version=1.0.0; charset=utf-8"
    assert body == exporter().text(openmetrics=True)


def test_packed_for_who_can_unpack(server: MetricsServer) -> None:
    _, headers, body = ask(server, "GET", "/metrics?x=1", Accept_Encoding="gzip;q=1.0")
    assert headers["content-encoding"] == "gzip"
    assert gzip.decompress(body) == exporter().text()
    assert "content-encoding" not in ask(server, "GET", "/metrics", Accept_Encoding="br, gzip;q=0")[1]


@pytest.mark.parametrize(
    ("accept", "openmetrics"),
    [
        ("", False),
        ("*/*", False),
        ("text/plain", False),
        (PROMETHEUS_ASKS, True),
        ("application/openmetrics-text", True),
        ('application/openmetrics-text; version="1.0.0"', True),
        ("application/openmetrics-text; version=0.0.1,text/plain;version=0.0.4;q=0.5", False),
        ("application/openmetrics-text;q=0.2,text/plain;q=0.9", False),
        ("application/openmetrics-text;q=0", False),
        ("application/openmetrics-text;q=nonsense", False),
        (";;;,=,q", False),
    ],
)
def test_who_asks_for_openmetrics(accept: str, openmetrics: bool) -> None:
    assert wants_openmetrics(accept) is openmetrics


def test_the_first_page_has_the_link(server: MetricsServer) -> None:
    status, headers, body = ask(server, "GET", "/")
    assert status == 200 and headers["content-type"].startswith("text/html")
    assert b'<a href="/metrics">' in body


@pytest.mark.parametrize("path", ["/metrics/", "/../metrics", "/favicon.ico", "/-/reload", "/%6detrics"])
def test_there_is_nothing_else(server: MetricsServer, path: str) -> None:
    assert ask(server, "GET", path)[0] == 404


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "HEAD", "BREW"])
def test_only_get(server: MetricsServer, method: str) -> None:
    status, headers, _ = ask(server, method, "/metrics")
    assert (status, headers["allow"]) == (405, "GET")


@pytest.mark.parametrize(
    "request_text",
    [b"\r\n\r\n", b"GET\r\n\r\n", b"\x16\x03\x01\x02\x00\n\n", b"GET /metrics HTTP/9\r\n\r\n",
     b"GET /\xff HTTP/1.1\r\n\r\n",
     b"GET /metrics HTTP/1.1\r\n" + b"A: b\r\n" * 200 + b"\r\n", b"x" * 40_000],
)  # fmt: skip
def test_garbage_is_answered_or_hung_up_on(server: MetricsServer, request_text: bytes) -> None:
    try:
        said = raw(server, request_text)
    except ConnectionError:
        said = b""  # hung up while we were still talking
    assert b"200" not in said.partition(b"\n")[0]
    assert b"<" not in said and b"nodectl_node_up" not in said
    assert ask(server, "GET", "/metrics")[0] == 200


def test_an_old_client_gets_it_in_one_piece(server: MetricsServer) -> None:
    head, _, body = raw(server, b"GET /metrics HTTP/1.0\r\n\r\n").partition(b"\r\n\r\n")
    assert b"chunked" not in head
    assert body == exporter().text()


def test_it_says_what_it_is_and_no_more(server: MetricsServer) -> None:
    assert ask(server, "GET", "/")[1]["server"].startswith("nodectl/")
    assert "Python" not in ask(server, "GET", "/")[1]["server"]


# Slow clients.


def test_silent_clients_neither_hold_it_nor_stay(monkeypatch: pytest.MonkeyPatch, server: MetricsServer) -> None:
    monkeypatch.setattr(metrics_http, "ASK_S", 0.5)
    silent = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(MAX_CLIENTS)]
    time.sleep(0.2)
    assert ask(server, "GET", "/metrics")[0] == 503  # all places are taken, and that is said at once
    time.sleep(0.8)
    assert ask(server, "GET", "/metrics")[0] == 200
    for connection in silent:
        assert connection.recv(10) == b""
        connection.close()


def test_a_client_that_sends_byte_by_byte_is_cut_off(monkeypatch: pytest.MonkeyPatch, server: MetricsServer) -> None:
    monkeypatch.setattr(metrics_http, "ASK_S", 0.5)
    begun = time.monotonic()
    with socket.create_connection(("127.0.0.1", server.port)) as connection, pytest.raises(ConnectionError):
        while time.monotonic() - begun < 5:
            connection.sendall(b"G")
            time.sleep(0.1)
    assert time.monotonic() - begun < 2


def test_a_client_that_does_not_take_its_answer_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics_http, "TAKE_S", 0.5)
    store = Store()
    for number in range(300):
        store.put(f"n{number}", hello(8))
        store.put(f"n{number}", Tick(seq=1, gpus=[fast_row(power_w=1.0, gpu_util_pct=3)] * 8))
    server = serve(Exporter(store), ":0")
    try:
        with socket.socket() as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            connection.connect(("127.0.0.1", server.port))
            connection.sendall(b"GET /metrics HTTP/1.1\r\n\r\n")
            time.sleep(1.5)
            assert not [one for one in threading.enumerate() if "process_request_thread" in one.name]
    finally:
        server.close()


def test_after_close_nothing_listens_and_no_thread_is_left() -> None:
    server = serve(exporter(), "localhost:0")
    assert get(f"http://127.0.0.1:{server.port}/metrics")
    server.close()
    with pytest.raises(OSError):
        socket.create_connection(("127.0.0.1", server.port), 1)
    assert not [one for one in threading.enumerate() if one.name == "nodectl-metrics"]


# Where it listens.


@pytest.mark.parametrize(
    ("text", "address"),
    [
        (":9400", ("127.0.0.1", 9400)),
        ("9400", ("127.0.0.1", 9400)),
        ("localhost:9400", ("localhost", 9400)),
        ("0.0.0.0:9400", ("0.0.0.0", 9400)),
        ("[::]:9400", ("::", 9400)),
        ("[::1]:80", ("::1", 80)),
        (" head-1.example:1 ", ("head-1.example", 1)),
    ],
)
def test_what_listen_means(text: str, address: tuple[str, int]) -> None:
    assert parse_listen(text) == address


@pytest.mark.parametrize(
    "text", ["", ":", "*:9400", "localhost", "::1:9400", ":99999", "a:b", "http://a:1", ":1x", ":-1"]
)
def test_what_listen_does_not_mean(text: str) -> None:
    with pytest.raises(UserError, match=r"expected \[HOST\]:PORT"):
        parse_listen(text)


def test_without_a_host_only_this_machine_can_ask(server: MetricsServer) -> None:
    assert server.address == "127.0.0.1"
    assert server.notes == ()
    assert server.url == f"http://127.0.0.1:{server.port}/metrics"


def test_all_addresses_if_it_is_said_and_then_with_a_note() -> None:
    server = serve(exporter(), "0.0.0.0:0")
    try:
        assert server.address == "0.0.0.0"
        assert "no password" in server.notes[0]
    finally:
        server.close()


def test_a_port_that_is_taken(server: MetricsServer) -> None:
    with pytest.raises(UserError, match=f"port {server.port} of 127.0.0.1 is taken: choose another"):
        serve(exporter(), f":{server.port}")


def test_a_port_can_be_used_again_at_once() -> None:
    server = serve(exporter(), ":0")
    get(server.url)
    server.close()
    serve(exporter(), f":{server.port}").close()


def test_an_address_of_another_machine() -> None:
    with pytest.raises(UserError, match="is no address of this machine"):
        serve(exporter(), "203.0.113.7:9400")


def test_a_name_that_has_no_address() -> None:
    with pytest.raises(UserError, match="there is no address for"):
        serve(exporter(), "no-such-host.invalid:9400")


# The real thing.

CONFIG = """
global: {{scrape_interval: 1s, scrape_timeout: 1s}}
scrape_configs:
- job_name: nodectl
  static_configs: [{{targets: ["127.0.0.1:{port}"]}}]
"""


def test_a_real_prometheus_scrapes_it(tmp_path: Path, server: MetricsServer) -> None:
    program = needs("prometheus", "prometheus")
    (tmp_path / "prometheus.yml").write_text(CONFIG.format(port=server.port))
    words = [program, f"--config.file={tmp_path}/prometheus.yml", f"--storage.tsdb.path={tmp_path}/data"]
    with serving(words, "--web.listen-address=127.0.0.1:{port}", tmp_path) as url:
        found = _wait_for(url, "nodectl_gpu_power_watts")
        power = {(one["metric"]["node"], one["metric"]["gpu"]): float(one["value"][1]) for one in found}
        assert power == {("gpu-01", "0"): 689.204, ("gpu-01", "1"): 78.18, ("gpu-02", "0"): 80.0}
        assert {one["metric"]["rack"] for one in found} == {"a1"}
        (target,) = json.loads(get(f"{url}/api/v1/targets"))["data"]["activeTargets"]
        assert (target["health"], target["lastError"]) == ("up", "")
        down = _wait_for(url, "(nodectl_node_up == 0) + on(node) group_right nodectl_node_down_info")
        assert {(one["metric"]["node"], one["metric"]["reason"]) for one in down} >= {("gpu-04", "refused")}
        up = _wait_for(url, "nodectl_node_up")
        assert sorted(one["value"][1] for one in up) == ["0", "0", "0", "1", "1"]
        kept = json.loads(get(f"{url}/api/v1/metadata?metric=nodectl_gpu_energy_joules"))["data"]
        assert kept["nodectl_gpu_energy_joules"][0]["type"] == "counter"
        assert kept["nodectl_gpu_energy_joules"][0]["unit"] == "joules"


def _wait_for(url: str, query: str) -> list[dict[str, Any]]:
    give_up = time.monotonic() + 30
    while True:
        try:
            asked = f"{url}/api/v1/query?query={urllib.parse.quote(query)}"
            found: list[dict[str, Any]] = json.loads(get(asked))["data"]["result"]
        except (urllib.error.URLError, ConnectionError):
            found = []  # it is still starting
        if found:
            return found
        assert time.monotonic() < give_up, f"Prometheus never had {query}"
        time.sleep(0.2)


def test_reading_while_the_store_is_written_to() -> None:
    """Devices come and go while the text is made."""
    store = Store()
    stop = threading.Event()

    def write() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            gpus = number % 4
            store.put(f"n{number % 7}", hello(gpus))
            store.put(f"n{number % 7}", Tick(seq=number, gpus=[fast_row(power_w=1.0)] * gpus))

    thread = threading.Thread(target=write)
    thread.start()
    try:
        made = Exporter(store)
        for _ in range(100):
            read_text(made.text(openmetrics=True), openmetrics=True)
    finally:
        stop.set()
        thread.join()


def test_names_of_ports_below_1024_need_root() -> None:
    if os.geteuid() == 0:
        pytest.skip("root may use every port")
    with pytest.raises(UserError, match="for root only"):
        serve(exporter(), ":1")
