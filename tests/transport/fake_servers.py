"""TCP servers that misbehave in ways that a real sshd cannot be asked for."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator

Talk = Callable[[socket.socket, int], None]


class FakeServer:
    """Accepts on 127.0.0.1 and lets `talk(connection, number)` do the rest, each in a thread."""

    def __init__(self, talk: Talk, backlog: int = 16) -> None:
        self._talk = talk
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=backlog)
        self.port: int = self._listener.getsockname()[1]
        self.connections = 0
        self._open: list[socket.socket] = []
        self._thread = threading.Thread(target=self._accept, name="fake-server", daemon=True)
        self._thread.start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            self._open.append(connection)
            threading.Thread(target=self._serve, args=(connection, self.connections), daemon=True).start()

    def _serve(self, connection: socket.socket, number: int) -> None:
        with contextlib.suppress(OSError):
            self._talk(connection, number)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(1)
        for connection in self._open:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()


@contextlib.contextmanager
def serving(talk: Talk) -> Iterator[FakeServer]:
    server = FakeServer(talk)
    try:
        yield server
    finally:
        server.close()


def silent(connection: socket.socket, number: int) -> None:
    """Says nothing at all."""
    while connection.recv(4096):
        pass


def says(data: bytes, *, then_close: bool = False) -> Talk:
    """Says one thing, then nothing more."""

    def talk(connection: socket.socket, number: int) -> None:
        connection.sendall(data)
        if then_close:
            connection.shutdown(socket.SHUT_RDWR)
            return
        silent(connection, number)

    return talk


def closes(connection: socket.socket, number: int) -> None:
    """Hangs up at once, like sshd past MaxStartups."""
    connection.close()


def closes_first(times: int, address: tuple[str, int]) -> Talk:
    """Hangs up on the first connections, and passes later ones on to a real server."""

    def talk(connection: socket.socket, number: int) -> None:
        if number <= times:
            connection.close()
            return
        with socket.create_connection(address) as behind:
            back = threading.Thread(target=_pipe, args=(behind, connection), daemon=True)
            back.start()
            _pipe(connection, behind)
            back.join()

    return talk


def _pipe(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)


@contextlib.contextmanager
def black_hole() -> Iterator[int]:
    """A port whose queue of waiting connections is full: the kernel drops every further SYN."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(0)
    port: int = listener.getsockname()[1]
    fillers = []
    for _ in range(4):
        filler = socket.socket()
        filler.setblocking(False)
        filler.connect_ex(("127.0.0.1", port))
        fillers.append(filler)
    try:
        yield port
    finally:
        for filler in fillers:
            filler.close()
        listener.close()
