"""`/metrics` over HTTP for a Prometheus server: only on this machine, unless another address is named.

A GET of `/metrics` is all that it knows (and `/`, a page with the link). Every connection has a thread, one request and
so many seconds; there are only so many at a time. The text is made while it is sent, so a slow reader costs no memory.
"""

from __future__ import annotations

import contextlib
import errno
import io
import ipaddress
import os
import re
import socket
import threading
import time
import zlib
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from nodectl import __version__
from nodectl.errors import UserError
from nodectl.telemetry.openmetrics import Exporter

OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"
TEXT = "text/plain; version=0.0.4; charset=utf-8"
LOOPBACK = "127.0.0.1"
ASK_S = 5.0
"""For a client to say what it wants."""
TAKE_S = 30.0
"""For a client to take the answer."""
MAX_CLIENTS = 8

_MAX_HEAD_BYTES = 16 << 10
_CHUNK = 64 << 10
_PAGE = b'<!doctype html>\n<title>nodectl</title>\n<a href="/metrics">metrics of the watched nodes</a>\n'
_BUSY = b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
_LISTEN = re.compile(r"(?:(?:\[(?P<six>[0-9a-fA-F:.%a-z]+)\]|(?P<host>[^\s:\[\]/]*)):)?(?P<port>[0-9]{1,5})")


class MetricsServer:
    """Serves until `close`. `url` is where; `notes` what its user should know."""

    def __init__(self, server: _Server, host: str) -> None:
        self._server = server
        address, port = server.server_address[:2]
        self.address, self.port = str(address), int(port)
        shown = f"[{host}]" if ":" in host else host
        self.url = f"http://{shown}:{self.port}/metrics"
        self.notes: tuple[str, ...] = ()
        if not ipaddress.ip_address(self.address.partition("%")[0]).is_loopback:
            self.notes = (
                f"{self.url} can be read by everybody who reaches this machine: it knows no password and no encryption",
            )
        self._thread = threading.Thread(
            target=server.serve_forever, kwargs={"poll_interval": 0.2}, name="nodectl-metrics", daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        """Stop listening; answers under way are left to their own end."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(2.0)


def parse_listen(text: str) -> tuple[str, int]:
    """Host and port of `--listen`: `:9400` and `9400` mean this machine alone, `0.0.0.0:9400` all its IPv4 addresses.

    Raises:
        UserError: it is no such thing.
    """
    match = _LISTEN.fullmatch(text.strip())
    if match is None or int(match["port"]) > 65535 or match["host"] == "*":
        raise UserError(
            f"--listen {text}: expected [HOST]:PORT, such as :9400 for this machine alone, "
            "0.0.0.0:9400 or [::]:9400 for all its addresses"
        )
    return match["six"] or match["host"] or LOOPBACK, int(match["port"])


def serve(exporter: Exporter, listen: str) -> MetricsServer:
    """A server, up and running. Port 0 is one that the system picks.

    Raises:
        UserError: `listen` cannot be understood, or that address cannot be used.
    """
    host, port = parse_listen(listen)
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        server = _Server(exporter, family, address)
    except OSError as error:
        raise UserError(f"--listen {listen}: {_why_not(error, host, port)}") from error
    return MetricsServer(server, host)


def _why_not(error: OSError, host: str, port: int) -> str:
    if isinstance(error, socket.gaierror):
        return f"there is no address for {host} ({error.strerror}): name an address of this machine"
    if error.errno == errno.EADDRINUSE:
        return (
            f"port {port} of {host} is taken: choose another, or see what has it (ss -ltnp 'sport = :{port}'); "
            "it may be another nodectl watch"
        )
    if error.errno in (errno.EACCES, errno.EPERM):
        return f"port {port} is for root only: choose one from 1024 up"
    if error.errno == errno.EADDRNOTAVAIL:
        return f"{host} is no address of this machine: see `ip address`, or leave the host out for {LOOPBACK}"
    return os.strerror(error.errno) if error.errno else str(error)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 32

    def __init__(self, exporter: Exporter, family: int, address: Any) -> None:
        self.exporter = exporter
        self.address_family = family
        self._places = threading.BoundedSemaphore(MAX_CLIENTS)
        super().__init__(address, _Handler)

    def server_bind(self) -> None:
        # HTTPServer asks the DNS for the name of its address here, which can take long and is of no use.
        if self.address_family == socket.AF_INET6:
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()

    def process_request(self, request: Any, client_address: Any) -> None:
        if self._places.acquire(blocking=False):
            super().process_request(request, client_address)
            return
        request.settimeout(0.2)
        with contextlib.suppress(OSError):
            request.sendall(_BUSY)
        self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._places.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away is its right; and nothing belongs on the user's terminal."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = f"nodectl/{__version__}"
    sys_version = ""
    timeout = ASK_S
    server: _Server

    def setup(self) -> None:
        super().setup()
        self.rfile = io.BytesIO(self._head())
        self._give_up = time.monotonic() + TAKE_S

    def _head(self) -> bytes:
        """The request, whole and in time; or nothing, and the connection ends."""
        until = time.monotonic() + ASK_S
        head = b""
        while b"\r\n\r\n" not in head and b"\n\n" not in head:
            left = until - time.monotonic()
            if left <= 0 or len(head) > _MAX_HEAD_BYTES:
                return b""
            self.connection.settimeout(left)
            try:
                data = self.connection.recv(4096)
            except OSError:
                return b""
            if not data:
                return b""
            head += data
        return head

    def parse_request(self) -> bool:
        good = super().parse_request()
        self.close_connection = True  # one request a connection
        if good and self.command != "GET":
            self._say(405, "only GET\n", allow="GET")
            return False
        return good

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path == "/metrics":
            self._metrics()
        elif path == "/":
            self._begin(200, "text/html; charset=utf-8", len(_PAGE))
            self._send(_PAGE)
        else:
            self._say(404, "there is only /metrics\n")

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """What the base class finds wrong with a request, without repeating any of it."""
        self._say(code, "this is no request that is understood here\n")

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: the terminal belongs to the watch."""

    def _metrics(self) -> None:
        openmetrics = wants_openmetrics(self.headers.get("Accept", ""))
        gzip = _takes_gzip(self.headers.get("Accept-Encoding", ""))
        chunked = self.request_version == "HTTP/1.1"
        self._begin(200, OPENMETRICS if openmetrics else TEXT, None, gzip=gzip, chunked=chunked)
        parts = self.server.exporter.families(openmetrics=openmetrics)
        for part in _gathered(_gzipped(parts) if gzip else parts):
            self._send(b"%x\r\n%b\r\n" % (len(part), part) if chunked else part)
        if chunked:
            self._send(b"0\r\n\r\n")

    def _say(self, code: int, text: str, allow: str = "") -> None:
        body = text.encode()
        self._begin(code, "text/plain; charset=utf-8", len(body), allow=allow)
        if self.command != "HEAD":
            self._send(body)

    def _begin(
        self, code: int, kind: str, length: int | None, *, gzip: bool = False, chunked: bool = False, allow: str = ""
    ) -> None:
        self.send_response(code)
        self.send_header("Content-Type", kind)
        if length is not None:
            self.send_header("Content-Length", str(length))
        if gzip:
            self.send_header("Content-Encoding", "gzip")
        if chunked:
            self.send_header("Transfer-Encoding", "chunked")
        if allow:
            self.send_header("Allow", allow)
        self.send_header("Vary", "Accept, Accept-Encoding")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Connection", "close")
        self.end_headers()

    def _send(self, data: bytes) -> None:
        left = self._give_up - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self.connection.settimeout(left)  # of the whole sendall, however slowly it is taken
        self.connection.sendall(data)


def wants_openmetrics(accept: str) -> bool:
    """Whether an Accept header likes OpenMetrics 1.0 at least as much as the older text format."""
    openmetrics = text = 0.0
    for choice in accept.lower().split(","):
        kind, *parameters = [word.strip() for word in choice.split(";")]
        said = dict(word.partition("=")[::2] for word in parameters)
        try:
            quality = float(said.get("q", "1"))
        except ValueError:
            continue
        if kind == "application/openmetrics-text" and said.get("version", "1.0.0").strip('"') == "1.0.0":
            openmetrics = max(openmetrics, quality)
        elif kind in ("text/plain", "text/*"):
            text = max(text, quality)
    return openmetrics > 0 and openmetrics >= text


def _takes_gzip(accept: str) -> bool:
    for choice in accept.lower().split(","):
        name, _, quality = choice.partition(";")
        if name.strip() == "gzip":
            return not re.fullmatch(r"\s*q=0(\.0*)?\s*", quality)
    return False


def _gzipped(parts: Iterator[bytes]) -> Iterator[bytes]:
    packer = zlib.compressobj(1, zlib.DEFLATED, 31)
    for part in parts:
        yield packer.compress(part)
    yield packer.flush()


def _gathered(parts: Iterator[bytes]) -> Iterator[bytes]:
    """Parts of a decent size, and none that is empty: an empty chunk would end the answer."""
    held: list[bytes] = []
    size = 0
    for part in parts:
        held.append(part)
        size += len(part)
        if size >= _CHUNK:
            yield b"".join(held)
            held, size = [], 0
    if size:
        yield b"".join(held)
